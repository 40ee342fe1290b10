//! The problem documents of failed use cases: what is wrong, and what to do next.

use super::code::Code;
use super::document::Problem;
use super::refusal::of_refusal;
use crate::app::error::{GrantError, UseCaseError};
use crate::aws::{AwsError, ErrorKind};
use crate::provision::export::Unseen;
use crate::provision::fault::Fault;
use crate::vault::VaultError;

const NEW_PASSWORD: &str = "To create another one, delete the person's console password in AWS (aws iam delete-login-profile), then repair the set-up.";
const ROTATE: &str = "To create a new access key, rotate the app's credentials (POST /v1/apps/{app}/credentials/rotate).";

pub(super) fn of_use_case(error: &UseCaseError) -> Problem {
    let new = |code| Problem::new(code, error.to_string());
    match error {
        UseCaseError::NoSuch(_) => new(Code::NotFound),
        UseCaseError::Grant(refused) => of_grant(refused, new),
        UseCaseError::OutOfScope(_) => {
            new(Code::OutOfScope).remedy("Use a token whose scope includes it, or ask an administrator for one.")
        }
        UseCaseError::SignInAgain => new(Code::SignInAgain)
            .url("/auth/login?fresh=true".into())
            .remedy("Open /auth/login?fresh=true&return_to=<path> in the browser, sign in, and repeat the request within five minutes."),
        UseCaseError::Fields(errors) => new(Code::InvalidFields).errors(errors),
        UseCaseError::Options(errors) => new(Code::InvalidParameters).errors(errors),
        UseCaseError::Refused(refusal) => of_refusal(refusal),
        UseCaseError::Protected(app) => new(Code::Protected)
            .url(format!("/v1/apps/{app}"))
            .remedy("First set \"protected\": false in its spec (PUT /v1/apps/{app})."),
        UseCaseError::ConfirmationRequired(_) => new(Code::ConfirmationRequired)
            .remedy("To proceed, repeat the request with `confirm=<app name>`."),
        UseCaseError::NoDriftReport(app) => new(Code::NoReport).remedy(&format!(
            "To check the app now, use POST /v1/apps/{app}/drift. The service also checks it every SLIPWAY_DRIFT_INTERVAL."
        )),
        UseCaseError::NoSetupReport(account) => new(Code::NoReport).remedy(&format!(
            "To check it now, use POST /v1/accounts/{account}/setup/drift. The service also checks it every SLIPWAY_DRIFT_INTERVAL."
        )),
        UseCaseError::NoKeySlot(_) => new(Code::NoKeySlot).remedy(
            "Repeat the request with `replace=<access key id>`, naming a key that nobody uses. It is deleted and the new key takes its place.",
        ),
        UseCaseError::KeyInUse(_) => new(Code::KeyInUse).remedy(
            "Find out who uses the key and give them another one, or repeat the request with `force=true`.",
        ),
        UseCaseError::AlreadyClaimed => new(Code::AlreadyClaimed).remedy(ROTATE),
        UseCaseError::ClaimExpired => new(Code::ClaimExpired).remedy(ROTATE),
        UseCaseError::PasswordClaimed => new(Code::AlreadyClaimed).remedy(NEW_PASSWORD),
        UseCaseError::PasswordExpired => new(Code::ClaimExpired).remedy(NEW_PASSWORD),
        UseCaseError::KeyDeleted => new(Code::KeyGone).remedy(
            "GET /v1/apps/{app}/credentials lists the app's access keys. If there is none, repair the app to create one.",
        ),
        UseCaseError::WebhookDisabled(_) => new(Code::WebhookDisabled).remedy(
            "Correct the receiver, then enable the webhook again (PATCH /v1/webhooks/{id} with `\"state\": \"active\"`).",
        ),
        UseCaseError::NoPlan(job_error) => Problem {
            aws: job_error.aws.clone(),
            remedy: job_error.remedy.clone(),
            ..new(Code::AwsRefused)
        }
        .retryable(),
        UseCaseError::Aws(error) => of_aws(error),
        UseCaseError::Unseen(unseen) => of_unseen(unseen),
        UseCaseError::Store(_) => Problem::new(
            Code::DatabaseUnavailable,
            "The database is not available.".into(),
        )
        .retryable()
        .remedy("Retry later with the same Idempotency-Key. If the first request was accepted after all, it is not repeated."),
        UseCaseError::Vault(error) => new(Code::CannotOpen).remedy(&remedy_of_vault(error)),
        UseCaseError::Defect => Problem::internal(),
    }
}

fn of_grant(error: &GrantError, new: impl Fn(Code) -> Problem) -> Problem {
    match error {
        GrantError::Invalid(_) => new(Code::InvalidGrant).remedy(
            "Request a new ID token with the audience of the trust rule, and compare its claims with GET /v1/trust-rules.",
        ),
        GrantError::Unavailable => new(Code::IssuerUnavailable)
            .retry_after(60)
            .remedy("Retry after the time in Retry-After, with a new ID token."),
        GrantError::ProviderUnavailable => new(Code::IssuerUnavailable)
            .retry_after(60)
            .remedy("Retry after the time in Retry-After, or use a token that somebody has created."),
        GrantError::Type => new(Code::UnsupportedGrantType),
        GrantError::Pending => new(Code::AuthorizationPending)
            .remedy("Sign in at verification_uri, and ask again after interval seconds."),
        GrantError::SlowDown => {
            new(Code::SlowDown).remedy("Wait five seconds longer between requests from now on.")
        }
        GrantError::Expired => new(Code::ExpiredToken)
            .remedy("Begin anew with POST /v1/oauth/device_authorization."),
        GrantError::Denied(_) => new(Code::AccessDenied)
            .remedy("Ask the operator which group of the identity provider may use Slipway."),
    }
}

fn of_aws(error: &AwsError) -> Problem {
    let fault = Fault::from(error.clone());
    let code = match error.kind {
        ErrorKind::Throttled => Code::AwsThrottled,
        _ => Code::AwsRefused,
    };
    let mut problem = Problem::new(code, error.to_string());
    problem.aws = Some(error.refusal());
    if let Some(job_error) = fault.job_error() {
        problem.remedy.clone_from(&job_error.remedy);
        problem.retryable = job_error.retryable;
    }
    problem
}

fn of_unseen(unseen: &Unseen) -> Problem {
    let mut problem = Problem::new(Code::AwsRefused, unseen.to_string());
    match unseen.fault.job_error() {
        Some(job_error) => {
            problem.aws.clone_from(&job_error.aws);
            problem.remedy.clone_from(&job_error.remedy);
            problem.retryable = job_error.retryable;
        }
        None => problem.retryable = true,
    }
    problem
}

fn remedy_of_vault(error: &VaultError) -> String {
    match error {
        VaultError::UnknownKey(id) => format!(
            "Start the service with the key {id} in SLIPWAY_PREVIOUS_ENCRYPTION_KEYS or as SLIPWAY_ENCRYPTION_KEY. \
             The secret can still be claimed. If the key is lost, rotate the app's credentials."
        ),
        _ => "Restore the database from a backup, or rotate the app's credentials.".into(),
    }
}
