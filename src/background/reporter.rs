//! Records the progress of an attempt, and tells it whether to stop.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::app::service::Service;
use crate::domain::event::EventPayload;
use crate::domain::job::{Step, StepState};
use crate::provision::context::Made;
use crate::provision::fault::Fault;
use crate::provision::node::{Node, Report};
use crate::provision::resource::{Conventions, Want};
use crate::store::{Claimed, Lease, StepRecord, Store};

pub struct Reporter {
    store: Store,
    lease: Lease,
    steps: Mutex<Vec<Step>>,
    arns: HashMap<String, String>,
    /// Resources that are wanted present.
    wanted: HashSet<String>,
    made: Arc<Made>,
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
        made: Arc<Made>,
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
            made,
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

    fn arn(&self, resource: &str) -> Option<String> {
        self.made
            .arn(resource)
            .or_else(|| self.arns.get(resource).cloned())
    }
}

/// Applies an event to the steps. Returns the position of the step that it changed.
fn follow(steps: &mut Vec<Step>, payload: &EventPayload) -> Option<usize> {
    let mut change = |resource: &str, change: &dyn Fn(&mut Step)| {
        let position = steps
            .iter()
            .position(|step| step.resource == resource)
            .unwrap_or_else(|| {
                steps.push(Step::pending(resource));
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
            let touched = matches!(
                payload,
                EventPayload::ChangeApplied { .. } | EventPayload::StepDone { .. }
            );
            StepRecord {
                arn: self.arn(&step.resource),
                made: self.made.is_ours(&step.resource),
                made_at: self.made.at(&step.resource),
                owned: touched && self.wanted.contains(&step.resource),
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
