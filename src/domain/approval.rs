//! Approvals: jobs that wait until another person has agreed to their plan.
//!
//! Invariants:
//! - An approval is for one plan, named by its digest. Changes beyond that plan need another approval.
//! - Whether a job needs an approval follows from its request alone. What AWS shows at that moment decides nothing.
//! - Nobody approves a job that he or she has requested, except an admin who gives a reason.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::json;
use strum::{Display, EnumString};
use ulid::Ulid;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::app::{App, AppState};
use crate::domain::job_kind::JobKind;
use crate::domain::names::{AccountName, AppName, NameError};
use crate::domain::plan::{Action, Plan, PlannedChange};
use crate::domain::removal::Removal;
use crate::domain::spec::{AppSpec, OnExisting};
use crate::domain::task::{Data, Task};

/// The `[approvals]` section of the settings: which jobs need an approval.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApprovalRules {
    /// Every job in these accounts.
    pub accounts: BTreeSet<AccountName>,
    /// Jobs of these kinds.
    pub job_kinds: Vec<JobKind>,
    /// Jobs that may delete objects or images.
    pub data_deletion: bool,
    /// Jobs that may adopt resources.
    pub adoption: bool,
    /// The first app that a pipeline onboards.
    pub first_app_of_pipeline: bool,
    /// Set-ups that give `AdministratorAccess` to somebody who does not have it by the present set-up.
    pub administrator_access: bool,
    /// How long an approval can be given.
    #[serde(with = "humantime_serde")]
    pub expires_after: Duration,
}

impl Default for ApprovalRules {
    fn default() -> Self {
        Self {
            accounts: BTreeSet::new(),
            job_kinds: Vec::new(),
            data_deletion: false,
            adoption: false,
            first_app_of_pipeline: false,
            administrator_access: true,
            expires_after: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// Why a job needs an approval.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Display, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ApprovalReason {
    /// All jobs in the account of the app need an approval.
    Account,
    /// All jobs of this kind need an approval.
    JobKind,
    /// The job may delete objects or images.
    DataDeletion,
    /// The job may adopt resources that were not created for the app.
    Adoption,
    /// The pipeline that requests the job has not onboarded an app before.
    FirstAppOfPipeline,
    /// The set-up of the account gives `AdministratorAccess` to somebody who does not have it by the present set-up.
    AdministratorAccess,
    /// An event of a repository proposes the job.
    RepositoryEvent,
}

/// What is known of a request when it is decided whether it needs an approval.
pub struct Requested<'a> {
    /// The task of the job.
    pub task: &'a Task,
    /// The spec that the job brings about.
    pub spec: &'a AppSpec,
    /// The app as it is, if it exists.
    pub app: Option<&'a App>,
    /// The removal that the job starts.
    pub removal: Option<&'a Removal>,
}

impl ApprovalRules {
    /// Why a job needs an approval; empty if it needs none.
    pub fn reasons(&self, requested: &Requested<'_>) -> BTreeSet<ApprovalReason> {
        let Requested {
            task,
            spec,
            app,
            removal,
        } = requested;
        let reasons = [
            (
                ApprovalReason::Account,
                self.accounts.contains(&spec.account),
            ),
            (
                ApprovalReason::JobKind,
                kinds_of(task.kind(), *app)
                    .iter()
                    .any(|kind| self.job_kinds.contains(kind)),
            ),
            (
                ApprovalReason::DataDeletion,
                self.data_deletion
                    && (task.data() != Data::Kept || removal.is_some_and(Removal::deletes_data)),
            ),
            (
                ApprovalReason::Adoption,
                self.adoption && adopts(task.kind()) && spec.on_existing == OnExisting::Adopt,
            ),
            (
                ApprovalReason::AdministratorAccess,
                self.administrator_access && gives_administrator_access(spec, *app),
            ),
        ];
        let applies = reasons.into_iter().filter(|(_, applies)| *applies);
        applies.map(|(reason, _)| reason).collect()
    }
}

/// Whether a job amounts to an onboarding.
pub fn is_onboarding(kind: JobKind, app: Option<&App>) -> bool {
    kinds_of(kind, app).contains(&JobKind::Onboard)
}

/// The kinds of job that a job amounts to: what brings an app about that has never been onboarded is an onboarding, and
/// an offboarding leads to the removal.
fn kinds_of(kind: JobKind, app: Option<&App>) -> Vec<JobKind> {
    let never_onboarded = app.is_some_and(|app| app.summary.state.is_not_onboarded());
    match kind {
        JobKind::Repair if app.is_some_and(|app| app.spec.setup.is_some()) => {
            vec![kind, JobKind::SetupAccount]
        }
        JobKind::Update | JobKind::Repair if never_onboarded => vec![kind, JobKind::Onboard],
        JobKind::Offboard => vec![kind, JobKind::Remove],
        _ => vec![kind],
    }
}

/// Whether a set-up gives `AdministratorAccess` that the one before it does not give. One that no job has applied yet may
/// be one that nobody has approved, so it does not count.
fn gives_administrator_access(spec: &AppSpec, record: Option<&App>) -> bool {
    let was_applied =
        |app: &&App| !matches!(app.summary.state, AppState::Pending | AppState::Canceled);
    let earlier = record
        .filter(was_applied)
        .and_then(|app| app.spec.setup.as_deref());
    let setup = spec.setup.as_deref();
    setup.is_some_and(|setup| setup.gives_administrator_access(earlier))
}

/// Whether a job of this kind brings about a spec, and so may adopt what the spec names.
fn adopts(kind: JobKind) -> bool {
    matches!(
        kind,
        JobKind::Onboard
            | JobKind::Update
            | JobKind::Repair
            | JobKind::Restore
            | JobKind::SetupAccount
    )
}

/// The SHA-256 of a plan in hexadecimal: of the changes and the facts that they rest on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(
    value_type = String,
    example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    pattern = "^[0-9a-f]{64}$"
)]
pub struct PlanDigest(String);

impl PlanDigest {
    /// The digest of a task with its plan, and of the removal that it starts.
    pub fn of(task: &Task, plan: &Plan, removal: Option<&Removal>) -> Self {
        let mut changes: Vec<String> = effects(&plan.changes).map(canonical).collect();
        changes.sort_unstable();
        let canonical = json!({
            "app": plan.app,
            "task": task,
            "spec": plan.spec,
            "removal": removal,
            "changes": changes,
        });
        Self(hex::encode(digest(
            &SHA256,
            canonical.to_string().as_bytes(),
        )))
    }

    /// The digest that `text` is.
    ///
    /// # Errors
    /// When it is not a digest.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        if text.len() == 64 && text.chars().all(is_hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::new(
                "must be the plan_digest of the approval: 64 hexadecimal digits",
            ))
        }
    }

    /// The digest as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PlanDigest {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

/// The changes that change something.
fn effects(changes: &[PlannedChange]) -> impl Iterator<Item = &PlannedChange> {
    changes.iter().filter(|change| {
        matches!(
            change.action,
            Action::Create | Action::Update | Action::Delete
        )
    })
}

/// What makes a change the same as another.
fn canonical(change: &PlannedChange) -> String {
    json!([
        change.resource,
        change.action,
        change.detail,
        change.before,
        change.after
    ])
    .to_string()
}

/// How a plan differs from the one that was approved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanDifference {
    /// Changes that were not in the approved plan.
    pub added: Vec<PlannedChange>,
    /// Changes of the approved plan that are no longer needed.
    pub removed: Vec<PlannedChange>,
}

impl PlanDifference {
    /// The difference of a plan's changes `now` from the `approved` ones. A change counts as often as it occurs.
    pub fn between(approved: &[PlannedChange], now: &[PlannedChange]) -> Self {
        Self {
            added: without(now, approved),
            removed: without(approved, now),
        }
    }
}

fn without(changes: &[PlannedChange], others: &[PlannedChange]) -> Vec<PlannedChange> {
    let mut others: Vec<String> = effects(others).map(canonical).collect();
    let mut is_other = |change: &PlannedChange| {
        let change = canonical(change);
        let found = others.iter().position(|other| *other == change);
        found.map(|at| others.swap_remove(at)).is_some()
    };
    effects(changes)
        .filter(|change| !is_other(change))
        .cloned()
        .collect()
}

/// The state of an approval.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ApprovalState {
    /// The job waits for the approval.
    Pending,
    /// The plan was approved.
    Approved,
    /// The plan was rejected, and the job is canceled.
    Rejected,
    /// Nobody decided in time, and the job is canceled.
    Expired,
    /// The job was canceled before anybody decided.
    Canceled,
}

/// An approval that a job needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Approval {
    /// The ID of the job.
    #[schema(value_type = String, example = "01JD2Y0QZJ5Z3X8V6N7W4T9RKM")]
    pub job: Ulid,
    /// The kind of the job.
    pub kind: JobKind,
    /// The name of the app. Absent for a job of an account's set-up.
    #[schema(value_type = Option<String>, example = "acme-shop")]
    pub app: Option<AppName>,
    /// The account of the app, or of the set-up.
    #[schema(value_type = String, example = "default")]
    pub account: AccountName,
    /// The state of the approval.
    pub state: ApprovalState,
    /// Why the job needs an approval.
    pub reasons: BTreeSet<ApprovalReason>,
    /// The changes that the job would make.
    pub changes: Vec<PlannedChange>,
    /// Conditions to be aware of before you approve.
    pub warnings: Vec<String>,
    /// The digest of the plan. An approval names it.
    pub plan_digest: PlanDigest,
    /// How the plan differs from the one that was approved before. Absent if none was.
    pub difference: Option<PlanDifference>,
    /// The token that requested the job.
    pub requested_by: String,
    /// When the job was requested.
    pub requested_at: Timestamp,
    /// When the job is canceled if nobody decides.
    pub expires_at: Timestamp,
    /// Who approved or rejected the plan.
    pub decided_by: Option<String>,
    /// When the plan was approved or rejected.
    pub decided_at: Option<Timestamp>,
    /// What was said with the decision.
    pub comment: Option<String>,
    /// Whether an admin approved without a second person.
    pub break_glass: bool,
}
