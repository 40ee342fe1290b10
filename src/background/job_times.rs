//! Measures how long jobs are queued, run and wait, and how long they take in all.

use std::time::Duration;

use crate::app::service::Service;
use crate::clock::Timestamp;
use crate::domain::job::Job;
use crate::domain::job_kind::JobKind;
use crate::store::AttemptResult;

/// When a job was requested and when its attempt started.
pub struct JobTimes {
    kind: JobKind,
    created: Timestamp,
    started: Timestamp,
}

impl JobTimes {
    /// The attempt starts now. The first one ends the time in the queue, except after an approval: that is a person's
    /// time, not the queue's.
    pub fn start(service: &Service, job: &Job) -> Self {
        let times = Self {
            kind: job.kind,
            created: job.created_at,
            started: service.clock.now(),
        };
        if job.attempt == 1 && !job.needs_approval {
            times.record_state("queued", times.started.since(times.created));
        }
        times
    }

    /// The attempt has ended. A wait is recorded as it is planned.
    pub fn record(&self, service: &Service, ended: &AttemptResult) {
        let now = service.clock.now();
        self.record_state("running", now.since(self.started));
        match ended {
            AttemptResult::Waiting { at, .. } => self.record_state("waiting", at.since(now)),
            AttemptResult::AwaitingApproval { .. } | AttemptResult::Released { .. } => {}
            AttemptResult::Succeeded(_)
            | AttemptResult::Failed(_)
            | AttemptResult::NeedsAttention(_)
            | AttemptResult::Canceled => {
                metrics::histogram!("slipway_job_seconds", "kind" => self.kind.to_string())
                    .record(now.since(self.created).as_secs_f64());
            }
        }
    }

    fn record_state(&self, state: &'static str, time: Duration) {
        metrics::histogram!("slipway_job_state_seconds", "kind" => self.kind.to_string(), "state" => state)
            .record(time.as_secs_f64());
    }
}
