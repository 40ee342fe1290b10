//! Records the progress of an attempt, and tells it whether to stop.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::app::service::Service;
use crate::domain::event::EventPayload;
use crate::domain::job::{Step, StepState};
use crate::domain::resource_id::ResourceId;
use crate::provision::change::Want;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::journal::Journal;
use crate::provision::node::Node;
use crate::provision::report::Report;
use crate::store::{Claimed, Lease, StepRecord, Store};

pub struct Reporter {
    store: Store,
    lease: Lease,
    steps: Mutex<Vec<Step>>,
    arns: HashMap<ResourceId, String>,
    /// What is wanted there.
    wanted: HashSet<ResourceId>,
    journal: Arc<Journal>,
    canceled: AtomicBool,
    stopping: AtomicBool,
}

impl Reporter {
    /// Continues from the steps as the last attempt left them.
    pub fn new(
        service: &Service,
        claimed: &Claimed,
        nodes: &[Box<dyn Node>],
        conventions: &Conventions,
        journal: Arc<Journal>,
    ) -> Self {
        let wanted = nodes
            .iter()
            .filter(|node| node.want() == Want::Present)
            .map(|node| node.id())
            .collect();
        let arns = nodes
            .iter()
            .filter_map(|node| Some((node.id(), node.arn(conventions)?)))
            .collect();
        Self {
            store: service.store.clone(),
            lease: claimed.lease,
            steps: Mutex::new(claimed.job.steps.clone()),
            arns,
            wanted,
            journal,
            canceled: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }
    }

    /// The job's cancellation was requested.
    pub fn cancel(&self) {
        self.canceled.store(true, Ordering::Relaxed);
    }

    /// The process is stopping.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The ARN that a resource has, or will have.
    pub fn arn_of(&self, node: &dyn Node) -> Option<String> {
        self.arn(&node.id())
    }

    fn arn(&self, resource: &ResourceId) -> Option<String> {
        self.journal
            .arn(resource)
            .or_else(|| self.arns.get(resource).cloned())
    }
}

/// Applies an event to the steps. Returns the position of the step that it changed.
fn follow(steps: &mut Vec<Step>, payload: &EventPayload) -> Option<usize> {
    let mut change = |resource: &ResourceId, change: &dyn Fn(&mut Step)| {
        let position = steps
            .iter()
            .position(|step| *resource == step.resource)
            .unwrap_or_else(|| {
                steps.push(Step::pending(resource.clone()));
                steps.len() - 1
            });
        change(&mut steps[position]);
        Some(position)
    };
    match payload {
        EventPayload::StepStarted { resource } => change(resource, &|step| {
            step.state = StepState::Running;
            step.attempts += 1;
            step.error = None;
        }),
        EventPayload::ChangeApplied {
            resource,
            change: text,
            ..
        } => change(resource, &|step| step.changes.push(text.clone())),
        EventPayload::StepWaiting { resource, .. } => {
            change(resource, &|step| step.state = StepState::Waiting)
        }
        EventPayload::StepDone {
            resource,
            duration_ms,
            ..
        }
        | EventPayload::StepGone {
            resource,
            duration_ms,
            ..
        } => change(resource, &|step| {
            step.state = StepState::Done;
            step.error = None;
            step.duration_ms = Some(*duration_ms);
        }),
        EventPayload::StepFailed { resource, error } => change(resource, &|step| {
            step.state = StepState::Failed;
            step.error = Some(error.clone());
        }),
        EventPayload::StepSkipped { resource, .. } => {
            change(resource, &|step| step.state = StepState::Skipped)
        }
        _ => None,
    }
}

impl Report for Reporter {
    fn tell(&self, payload: EventPayload) {
        // Held until it is recorded: of two records the later one has the later steps.
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let record = follow(&mut steps, &payload).map(|position| {
            let step = steps[position].clone();
            let id = payload.resource();
            let touched = matches!(
                payload,
                EventPayload::ChangeApplied { .. } | EventPayload::StepDone { .. }
            );
            StepRecord {
                arn: id.and_then(|id| self.arn(id)),
                made: id.is_some_and(|id| self.journal.is_created_by_app(id)),
                made_at: id.and_then(|id| self.journal.created_at(id)),
                owned: touched && id.is_some_and(|id| self.wanted.contains(id)),
                gone: matches!(payload, EventPayload::StepGone { .. }),
                step,
                steps: steps.clone(),
            }
        });
        self.store.record(self.lease, record, payload);
    }

    fn interrupted(&self) -> Option<Fault> {
        if self.canceled.load(Ordering::Relaxed) {
            return Some(Fault::Canceled);
        }
        self.is_stopping().then_some(Fault::Stopping)
    }
}
