//! Tells the database what a walk does, and the walk whether to go on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::event::Happening;
use crate::domain::job::{Step, StepState};
use crate::engine::{Node, Report};
use crate::resources::context::Made;
use crate::resources::{Conventions, Fault};
use crate::service::Service;
use crate::store::{Claimed, Lease, StepRecord, Store};

/// The reporter of one attempt.
pub struct Reporter {
    store: Store,
    lease: Lease,
    steps: Mutex<HashMap<String, Step>>,
    arns: HashMap<String, String>,
    made: Arc<Made>,
    canceled: AtomicBool,
    stopping: AtomicBool,
}

impl Reporter {
    /// The reporter of a claimed job, which goes on from the steps as they were left.
    pub fn new(service: &Service, claimed: &Claimed, nodes: &[Box<dyn Node>], conventions: &Conventions, made: Arc<Made>) -> Self {
        let steps = claimed.job.steps.iter().map(|step| (step.resource.clone(), step.clone())).collect();
        let arns = nodes.iter().filter_map(|node| Some((node.id(), node.arn(conventions)?))).collect();
        Self {
            store: service.store.clone(),
            lease: claimed.lease,
            steps: Mutex::new(steps),
            arns,
            made,
            canceled: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }
    }

    /// Somebody asked to end the job.
    pub fn cancel(&self) {
        self.canceled.store(true, Ordering::Relaxed);
    }

    /// The process stops.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the process stops.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The ARN under which a node was seen, or that it gets.
    pub fn arn_of(&self, node: &dyn Node) -> Option<String> {
        self.arn(&node.id())
    }

    fn arn(&self, resource: &str) -> Option<String> {
        self.made.arn(resource).or_else(|| self.arns.get(resource).cloned())
    }

    /// The step as it is after what happened; `None` if it concerns no step's record.
    fn step_after(&self, happening: &Happening) -> Option<Step> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let mut change = |resource: &str, change: &dyn Fn(&mut Step)| {
            let step = steps.entry(resource.to_owned()).or_insert_with(|| Step::pending(resource));
            change(step);
            Some(step.clone())
        };
        match happening {
            Happening::StepStarted { resource } => change(resource, &|step| {
                step.state = StepState::Running;
                step.attempts += 1;
                step.error = None;
            }),
            Happening::ChangeApplied { resource, change: text, .. } => change(resource, &|step| step.changes.push(text.clone())),
            Happening::StepWaiting { resource, .. } => change(resource, &|step| step.state = StepState::Waiting),
            Happening::StepDone { resource, duration_ms, .. } | Happening::StepGone { resource, duration_ms, .. } => {
                change(resource, &|step| {
                    step.state = StepState::Done;
                    step.error = None;
                    step.duration_ms = Some(*duration_ms);
                })
            }
            Happening::StepFailed { resource, error } => change(resource, &|step| {
                step.state = StepState::Failed;
                step.error = Some(error.clone());
            }),
            Happening::StepSkipped { resource, .. } => change(resource, &|step| step.state = StepState::Skipped),
            _ => None,
        }
    }
}

impl Report for Reporter {
    fn tell(&self, happening: Happening) {
        let gone = matches!(happening, Happening::StepGone { .. });
        let record = self.step_after(&happening).map(|step| StepRecord {
            gone,
            arn: self.arn(&step.resource),
            made: self.made.is_ours(&step.resource),
            step,
        });
        self.store.record(self.lease, record, happening);
    }

    fn interrupted(&self) -> Option<Fault> {
        if self.canceled.load(Ordering::Relaxed) {
            return Some(Fault::Canceled);
        }
        self.is_stopping().then_some(Fault::Stopping)
    }
}
