//! One attempt of a job: reconciles the nodes of a graph.
//!
//! Invariant: nodes that do not depend on each other are reconciled concurrently. A node that depends on a failed one is
//! skipped.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tracing::Instrument as _;

use crate::clock::Timestamp;
use crate::domain::event::EventPayload;
use crate::domain::job::JobError;
use crate::domain::resource_id::ResourceId;
use crate::provision::change::Want;
use crate::provision::context::ReconcileContext;
use crate::provision::fault::Fault;
use crate::provision::node::Node;
use crate::provision::reconcile::deadline_passed;
use crate::provision::report::{Outcome, Report};
use crate::telemetry::spans;

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptOutcome {
    /// All resources match their targets.
    Converged {
        /// Warnings for people.
        warnings: Vec<String>,
    },
    /// The job is tried again later.
    Later {
        /// The reason.
        reason: String,
        /// The delay.
        after: Duration,
    },
    /// The job can never succeed as requested.
    Failed(JobError),
    /// A person has to act first.
    Parked(JobError),
    /// The job was canceled.
    Canceled,
    /// The process is shutting down.
    Stopped,
    /// Another worker has the job.
    LostLease,
}

/// Brings every node to its target. Ends when no node can continue.
pub async fn execute(
    nodes: &[Box<dyn Node>],
    cx: &ReconcileContext,
    deadline: Timestamp,
    report: &dyn Report,
) -> AttemptOutcome {
    let mut outcomes: BTreeMap<ResourceId, Outcome> = nodes
        .iter()
        .filter_map(|node| done_before(node.as_ref(), cx))
        .collect();
    let mut waiting: Vec<&dyn Node> = nodes
        .iter()
        .map(AsRef::as_ref)
        .filter(|node| !outcomes.contains_key(&node.id()))
        .collect();
    let mut running = FuturesUnordered::new();
    loop {
        let mut blocked = Vec::new();
        for node in waiting {
            match readiness(node, nodes, &outcomes) {
                Readiness::Ready => {
                    let id = node.id();
                    let span = spans::step(id.kind(), &id);
                    let step = async move { (id, node.reconcile(cx, deadline, report).await) };
                    running.push(step.instrument(span));
                }
                Readiness::Needs => blocked.push(node),
                Readiness::Never(because) => {
                    report.tell(EventPayload::StepSkipped {
                        resource: node.id(),
                        because,
                    });
                    outcomes.insert(node.id(), Outcome::Skipped);
                }
            }
        }
        waiting = blocked;
        match running.next().await {
            Some((id, outcome)) => {
                if let Outcome::Done { warnings, .. } = &outcome {
                    cx.note_reconciled(id.clone(), warnings.clone());
                }
                outcomes.insert(id, outcome)
            }
            None if waiting
                .iter()
                .all(|node| matches!(readiness(*node, nodes, &outcomes), Readiness::Needs)) =>
            {
                break;
            }
            None => None,
        };
    }
    outcome(outcomes.into_values().collect(), cx, deadline)
}

/// A node that the previous attempt brought to its target is not observed again.
fn done_before(node: &dyn Node, cx: &ReconcileContext) -> Option<(ResourceId, Outcome)> {
    let warnings = cx.recently_reconciled(&node.id())?;
    Some((
        node.id(),
        Outcome::Done {
            changes: Vec::new(),
            warnings,
        },
    ))
}

enum Readiness {
    Ready,
    Needs,
    Never(ResourceId),
}

/// What has to be done before a node. What is to be there goes first, so that a change that fails has removed
/// nothing; then what is to go, each after what needs it.
pub(crate) fn before(node: &dyn Node, nodes: &[Box<dyn Node>]) -> Vec<ResourceId> {
    match node.want() {
        Want::Present => node.needs(),
        Want::Absent | Want::Released => {
            let id = node.id();
            let first =
                |other: &dyn Node| other.want() == Want::Present || other.needs().contains(&id);
            nodes
                .iter()
                .map(AsRef::as_ref)
                .filter(|other| first(*other))
                .map(Node::id)
                .collect()
        }
    }
}

/// Whether all dependencies of a node are done. A dependency outside the graph counts as done.
fn readiness(
    node: &dyn Node,
    nodes: &[Box<dyn Node>],
    outcomes: &BTreeMap<ResourceId, Outcome>,
) -> Readiness {
    let mut ready = Readiness::Ready;
    for need in before(node, nodes) {
        match outcomes.get(&need) {
            Some(Outcome::Done { .. }) => {}
            Some(_) => return Readiness::Never(need),
            None if nodes.iter().any(|other| other.id() == need) => ready = Readiness::Needs,
            None => {}
        }
    }
    ready
}

/// What follows from all outcomes: a lost lease before a cancel, what can still be tried before what
/// cannot, what never works before what waits for a person.
fn outcome(outcomes: Vec<Outcome>, cx: &ReconcileContext, deadline: Timestamp) -> AttemptOutcome {
    let failed = |wanted: fn(&Fault) -> bool| {
        outcomes.iter().find_map(move |outcome| match outcome {
            Outcome::Failed(fault) if wanted(fault) => Some(fault.clone()),
            _ => None,
        })
    };
    if failed(|fault| matches!(fault, Fault::LostLease)).is_some() {
        return AttemptOutcome::LostLease;
    }
    if failed(|fault| matches!(fault, Fault::Canceled)).is_some() {
        return AttemptOutcome::Canceled;
    }
    if failed(|fault| matches!(fault, Fault::Stopping)).is_some() {
        return AttemptOutcome::Stopped;
    }
    let later = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Later {
            reason,
            after,
            job_error,
        } => Some((after, reason, job_error)),
        _ => None,
    });
    if let Some((after, reason, job_error)) = later.min_by_key(|(after, ..)| **after) {
        if cx.clock.now().after(*after) >= cx.deadline(deadline) {
            return AttemptOutcome::Failed(deadline_passed(reason, job_error.as_ref()));
        }
        return AttemptOutcome::Later {
            reason: reason.clone(),
            after: *after,
        };
    }
    if let Some(Fault::Rejected(job_error)) = failed(|fault| matches!(fault, Fault::Rejected(_))) {
        return AttemptOutcome::Failed(job_error);
    }
    if let Some(Fault::Blocked(job_error)) = failed(|fault| matches!(fault, Fault::Blocked(_))) {
        return AttemptOutcome::Parked(job_error);
    }
    let warnings = outcomes.into_iter().flat_map(|outcome| match outcome {
        Outcome::Done { warnings, .. } => warnings,
        _ => Vec::new(),
    });
    AttemptOutcome::Converged {
        warnings: warnings.collect(),
    }
}
