//! The problem documents of what the store refuses, because of what it holds already.

use super::code::Code;
use super::document::Problem;
use crate::store::Refusal;

const SHOW_ROTATION: &str = "GET /v1/apps/{app}/credentials shows the stage of the rotation.";

pub(super) fn of_refusal(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::AppExists(app) => Problem::new(Code::AppExists, format!("App {app} already exists."))
            .url(format!("/v1/apps/{app}"))
            .remedy("Update or repair the app, retry its last job, or choose another name."),
        Refusal::NoApp => Problem::new(Code::NotFound, "No such app.".into()),
        Refusal::Removed(app, at) => Problem::new(
            Code::AppRemoved,
            format!("App {app} was removed at {at}. Its record is kept."),
        )
        .url(format!("/v1/apps/{app}"))
        .remedy("To see the record, use GET /v1/apps/{app}. To use the name again, onboard a new app (POST /v1/apps)."),
        Refusal::RemovalBegun(app, job) => Problem::new(
            Code::RemovalBegun,
            format!("The resources of app {app} are being deleted. This cannot be undone."),
        )
        .url(format!("/v1/jobs/{job}"))
        .remedy("Wait for the job to end, then onboard the app again (POST /v1/apps)."),
        Refusal::NoJob => Problem::new(Code::NotFound, "No such job.".into()),
        Refusal::Active(job) => Problem::new(Code::JobActive, "Another job is running for this app.".into())
            .url(format!("/v1/jobs/{job}"))
            .retryable()
            .remedy("Wait for the job to end, or cancel it."),
        Refusal::Superseded(job) => Problem::new(Code::JobSuperseded, "A later job of this app has replaced this job.".into())
            .url(format!("/v1/jobs/{job}"))
            .remedy("Retry the later job, or repair the app."),
        Refusal::State(illegal) => Problem::new(Code::JobState, illegal.to_string()),
        Refusal::Changed => Problem::new(
            Code::PreconditionFailed,
            "The app has changed since the ETag in If-Match.".into(),
        )
        .remedy("Get the app, review what has changed, and repeat the request with its new ETag."),
        Refusal::BeingRemoved(app) => Problem::new(Code::BeingRemoved, format!("App {app} is being removed."))
            .url(format!("/v1/apps/{app}"))
            .remedy("Restore the app (POST /v1/apps/{app}/restore), or wait until it is removed."),
        Refusal::NotBeingRemoved => Problem::new(Code::NotBeingRemoved, "The app is not being removed.".into()),
        Refusal::RotationActive(_) => Problem::new(Code::RotationActive, "A rotation of this app's access key is in progress.".into())
            .remedy(&format!("Wait for it to end, or roll it back. {SHOW_ROTATION}")),
        Refusal::NoApproval => Problem::new(Code::NotFound, "The job needs no approval.".into()),
        Refusal::Decided(state) => Problem::new(
            Code::NotAwaitingApproval,
            format!("The job does not await approval. Its approval is {state}."),
        ),
        Refusal::NotApproved(state) => Problem::new(
            Code::NotApproved,
            format!("The job was not approved, so it cannot be retried. Its approval is {state}."),
        )
        .remedy("Request the change again."),
        Refusal::PlanChanged(job, difference) => Problem {
            difference: Some((**difference).clone()),
            ..Problem::new(Code::PlanChanged, "The plan of the job is not the one with this digest.".into())
        }
        .url(format!("/v1/jobs/{job}/approval"))
        .remedy("Read the plan (GET /v1/jobs/{id}/approval), and approve it by its plan_digest."),
        Refusal::OwnRequest => Problem::new(Code::SelfApproval, "You have requested this job.".into())
            .remedy("Ask another person with the role approver. In an emergency, an admin can approve with `break_glass` and a reason."),
        Refusal::NoRotation => Problem::new(Code::NoRotation, "This app has no rotation to roll back.".into()),
        Refusal::RotationStage(illegal) => Problem::new(Code::RotationStage, illegal.to_string())
            .remedy(&format!("To create a new access key, rotate again. {SHOW_ROTATION}")),
        Refusal::NoAccount => Problem::new(Code::NotFound, "No such account.".into()),
        Refusal::AccountExists(name) => Problem::new(
            Code::AccountExists,
            format!("The account is already registered as {name}."),
        )
        .url(format!("/v1/accounts/{name}"))
        .remedy("Use the registered account, update it (PUT /v1/accounts/{account}), or choose another name for another AWS account."),
        Refusal::AccountInUse(name) => Problem::new(
            Code::AccountInUse,
            format!("Apps live in the account {name}."),
        )
        .url(format!("/v1/apps?account={name}"))
        .remedy("Remove its apps first (DELETE /v1/apps/{app})."),
        Refusal::AccountNotReady(name, state) => Problem::new(
            Code::AccountNotReady,
            format!("The account {name} is {state}."),
        )
        .url(format!("/v1/accounts/{name}"))
        .remedy("Verify the account (POST /v1/accounts/{account}/verify), and correct what it reports."),
        Refusal::KeyReused => Problem::new(
            Code::IdempotencyKeyReused,
            "This Idempotency-Key was used with a different request.".into(),
        )
        .remedy("Use a new key for a new request."),
    }
}
