//! Jobs, as the API shows them.

use std::collections::BTreeMap;

use serde::Serialize;
use ulid::Ulid;
use utoipa::ToSchema;

use crate::app::claim::claim_path;
use crate::clock::Timestamp;
use crate::domain::job::{Job, JobError, JobResult, JobState, RepositoryResult, Step};
use crate::domain::job_kind::JobKind;
use crate::domain::names::{AccountName, AppName};
use crate::domain::task::Task;

/// The result of a job that succeeded. It never contains a secret.
#[derive(Serialize, ToSchema)]
#[schema(as = JobResult)]
pub struct JobResultResponse {
    /// The ARN of the app's IAM user.
    user_arn: Option<String>,
    /// The ID of the app's access key.
    access_key_id: Option<String>,
    /// The path to claim the secret at, once.
    #[schema(example = "/v1/apps/acme-shop/credentials/AKIAIOSFODNN7EXAMPLE/claim")]
    claim: Option<String>,
    /// The names of the app's buckets.
    buckets: Vec<String>,
    /// The app's repositories.
    repositories: Vec<RepositoryResult>,
    /// Conditions to be aware of, although the job succeeded.
    warnings: Vec<String>,
    #[serde(flatten)]
    #[schema(ignore)]
    lists: BTreeMap<String, Vec<BTreeMap<String, String>>>,
}

/// A job.
#[derive(Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobResponse {
    /// The ID of the job.
    #[schema(value_type = String, example = "01JD2Y0QZJ5Z3X8V6N7W4T9RKM")]
    id: Ulid,
    /// The kind of the job.
    kind: JobKind,
    /// The task of the job with its parameters.
    task: Task,
    /// The name of the app. Absent for a job of an account's set-up.
    #[schema(value_type = Option<String>, example = "acme-shop")]
    app: Option<AppName>,
    /// The account of the app, or of the set-up.
    #[schema(value_type = String, example = "default")]
    account: AccountName,
    /// The state of the job.
    state: JobState,
    /// The number of attempts so far.
    attempt: u32,
    /// Why the job waits, or why it did not succeed.
    reason: Option<String>,
    /// When the next attempt starts.
    next_attempt_at: Option<Timestamp>,
    /// The steps of the job, one for each resource.
    steps: Vec<Step>,
    /// The result, if the job succeeded.
    result: Option<JobResultResponse>,
    /// Why the job failed or stopped.
    error: Option<JobError>,
    /// The token that requested the job.
    requested_by: String,
    /// Whether another person has to approve the plan of the job. See `GET /v1/jobs/{id}/approval`.
    needs_approval: bool,
    /// When the job was accepted.
    created_at: Timestamp,
    /// When the first attempt started.
    started_at: Option<Timestamp>,
    /// When the job ended.
    finished_at: Option<Timestamp>,
}

impl From<Job> for JobResponse {
    fn from(job: Job) -> Self {
        Self {
            result: job
                .result
                .map(|result| JobResultResponse::of(&job.app, result)),
            id: job.id,
            kind: job.kind,
            task: job.task,
            app: Some(job.app).filter(|app| !app.is_of_setup()),
            account: job.account,
            state: job.state,
            attempt: job.attempt,
            reason: job.reason,
            next_attempt_at: job.next_attempt_at,
            steps: job.steps,
            error: job.error,
            requested_by: job.requested_by,
            needs_approval: job.needs_approval,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
        }
    }
}

impl JobResultResponse {
    fn of(app: &AppName, result: JobResult) -> Self {
        let claimable = result.access_key_id.as_ref().filter(|_| result.claimable);
        Self {
            claim: claimable.map(|key| claim_path(app, key)),
            user_arn: result.user_arn,
            access_key_id: result.access_key_id,
            buckets: result.buckets,
            repositories: result.repositories,
            warnings: result.warnings,
            lists: result.lists,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_shows_where_to_claim_the_secret_of_its_key() {
        let app = AppName::parse("acme").unwrap();
        let claim = |access_key_id: Option<&str>, claimable| {
            let result = JobResult {
                access_key_id: access_key_id.map(str::to_owned),
                claimable,
                ..JobResult::default()
            };
            JobResultResponse::of(&app, result).claim
        };
        assert_eq!(
            claim(Some("AKIA1"), true).as_deref(),
            Some("/v1/apps/acme/credentials/AKIA1/claim")
        );
        assert_eq!(claim(Some("AKIA1"), false), None);
        assert_eq!(claim(None, false), None);
    }
}
