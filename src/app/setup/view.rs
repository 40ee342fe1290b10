//! Set-ups, their plans and their drift, as they are shown.

use serde::Serialize;
use ulid::Ulid;
use utoipa::ToSchema;

use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::app::setup::claim::claim_path;
use crate::app::setup::find::FoundSetup;
use crate::clock::Timestamp;
use crate::domain::account_setup::{BillingAttestation, SetupSpec};
use crate::domain::app::{AppResource, AppState};
use crate::domain::console_password::newest;
use crate::domain::drift::{DriftReport, DriftSummary};
use crate::domain::job::{JobError, JobState};
use crate::domain::names::{AccountName, AppName};
use crate::domain::plan::{Plan, PlannedChange};
use crate::domain::retained::RetainedResource;
use crate::store::JobFilter;

/// The set-up of an account.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Setup)]
pub struct SetupView {
    /// The name of the account.
    pub account: AccountName,
    /// What the account should have.
    pub spec: SetupSpec,
    /// The state after the last job.
    pub state: AppState,
    /// Who attested that IAM access to billing is activated, and when.
    pub billing_attestation: Option<BillingAttestation>,
    /// The first console passwords of the people in the spec.
    pub passwords: Vec<PasswordView>,
    /// The resources of the set-up, as of its last jobs.
    pub resources: Vec<AppResource>,
    /// Resources that jobs of the set-up created or adopted and that its spec does not include. They are kept in AWS
    /// until you remove them.
    pub retained: Vec<RetainedResource>,
    /// Conditions to be aware of, as of the last job that succeeded or the last drift check.
    pub warnings: Vec<String>,
    /// The result of the last drift check, if any.
    pub drift: Option<DriftSummary>,
    /// The job that is active for the set-up.
    #[schema(value_type = Option<String>)]
    pub active_job: Option<Ulid>,
    /// The last job of the set-up.
    #[schema(value_type = Option<String>)]
    pub last_job: Option<Ulid>,
    /// The version of the record. It increases with every change.
    pub version: i64,
    /// When the account was first set up.
    pub created_at: Timestamp,
    /// When the record of the set-up last changed.
    pub updated_at: Timestamp,
}

/// The first console password of a person.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = FirstPassword)]
pub struct PasswordView {
    /// The e-mail address of the person.
    #[schema(value_type = String, example = "ana@example.com")]
    pub person: AppName,
    /// The path at which the password can be claimed. Absent if it was claimed or has expired.
    #[schema(example = "/v1/accounts/default/setup/people/ana@example.com/claim")]
    pub claim: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// The changes that a set-up would make now.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SetupPlan {
    /// The name of the account.
    pub account: AccountName,
    /// The set-up, with all defaults filled in.
    pub spec: SetupSpec,
    /// The changes, in a valid order. A resource without changes has one entry with the action `none`.
    pub changes: Vec<PlannedChange>,
    /// Conditions to be aware of before you proceed.
    pub warnings: Vec<String>,
    /// The number of AWS calls that would change something.
    #[schema(example = 9)]
    pub calls: usize,
}

/// The result of a drift check of an account's set-up.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SetupDriftReport {
    /// The name of the account.
    pub account: AccountName,
    /// When AWS was queried.
    pub checked_at: Timestamp,
    /// Whether AWS differs from the set-up.
    pub drifted: bool,
    /// The changes that a repair would make, with the values before and after.
    pub changes: Vec<PlannedChange>,
    /// Resources that jobs of the set-up created or adopted and that its spec does not include. They do not count as
    /// drift.
    pub retained: Vec<RetainedResource>,
    /// Conditions to be aware of.
    pub warnings: Vec<String>,
    /// Why the check is incomplete.
    pub error: Option<JobError>,
}

impl SetupPlan {
    /// The plan of a set-up. `None` if it is that of an app.
    pub fn of(plan: Plan) -> Option<Self> {
        let setup = plan.spec.setup?;
        Some(Self {
            account: plan.spec.account,
            spec: setup.spec,
            changes: plan.changes,
            warnings: plan.warnings,
            calls: plan.calls,
        })
    }
}

impl SetupDriftReport {
    /// The report of a check of the set-up of this account.
    pub fn of(account: AccountName, report: DriftReport) -> Self {
        Self {
            account,
            checked_at: report.checked_at,
            drifted: report.drifted,
            changes: report.changes,
            retained: report.retained,
            warnings: report.warnings,
            error: report.error,
        }
    }
}

/// The set-up of an account, with its warnings and passwords.
///
/// # Errors
/// When the database is not available.
pub async fn view(service: &Service, found: FoundSetup) -> Result<SetupView, UseCaseError> {
    let record = &found.record;
    let setup = found.setup().ok_or(UseCaseError::Defect)?;
    let passwords = service.store.password_records(record.id).await?;
    let of_spec = setup.spec.people.iter().filter_map(|person| {
        let password = newest(&passwords, &person.email)?;
        let claim = password.is_unclaimed;
        Some(PasswordView {
            person: person.email.clone(),
            claim: claim.then(|| claim_path(&record.spec.account, &person.email)),
            created_at: password.intended_at,
        })
    });
    Ok(SetupView {
        account: record.spec.account.clone(),
        spec: setup.spec.clone(),
        state: record.summary.state,
        billing_attestation: setup.attestation.clone(),
        passwords: of_spec.collect(),
        resources: record.resources.clone(),
        retained: record.retained.resources.clone(),
        warnings: warnings(service, &found).await?,
        drift: record.summary.drift,
        active_job: record.summary.active_job,
        last_job: record.last_job,
        version: record.version,
        created_at: record.summary.created_at,
        updated_at: record.summary.updated_at,
    })
}

/// What was last told of the account: by the drift check or by the job that succeeded, whichever is later.
async fn warnings(service: &Service, found: &FoundSetup) -> Result<Vec<String>, UseCaseError> {
    let record = &found.record;
    let filter = JobFilter {
        app: Some(record.spec.name.clone()),
        state: Some(JobState::Succeeded),
        limit: 1,
        ..JobFilter::default()
    };
    let job = service.store.jobs(&filter).await?.pop();
    let report = service.store.drift_report(record.id).await?;
    let ended = job.as_ref().and_then(|job| job.finished_at);
    Ok(match report {
        Some(report) if ended.is_none_or(|ended| report.checked_at >= ended) => report.warnings,
        _ => job
            .and_then(|job| job.result)
            .map(|result| result.warnings)
            .unwrap_or_default(),
    })
}
