//! The message that follows a job: its plan while it waits for an approval, its progress, and what it has made.
//!
//! Invariant: the message shows what everybody in its channel may see, so it has no secret, and no link that shows one
//! without a sign-in.

use ulid::Ulid;

use crate::app::chat::links::page_url;
use crate::app::chat::replies::{approve_command, changes, job_link, page, warnings};
use crate::app::service::Service;
use crate::domain::approval::{Approval, ApprovalState};
use crate::domain::chat::Platform;
use crate::domain::chat_text::ChatText;
use crate::domain::job::{Job, JobResult, JobState, StepState};
use crate::store::{StoreError, fingerprint};

/// What a message shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobMessage {
    /// The text, in the markup of the platform.
    pub text: String,
    /// The plan to decide on.
    pub decision: Option<DecisionButtons>,
    /// How soon there may be more to show.
    pub pace: Pace,
}

/// How soon a job may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// It is worked on.
    Working,
    /// It waits for its next attempt, or for an approval.
    Waiting,
    /// It has stopped. Somebody may retry it.
    Stopped,
    /// It has succeeded, and nothing more is to come.
    Ended,
}

impl Pace {
    fn of(state: JobState) -> Self {
        match state {
            JobState::Queued | JobState::Running => Self::Working,
            JobState::Waiting | JobState::AwaitingApproval => Self::Waiting,
            JobState::Failed | JobState::NeedsAttention | JobState::Canceled => Self::Stopped,
            JobState::Succeeded => Self::Ended,
        }
    }
}

/// The buttons below a plan, with the commands that they stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionButtons {
    /// Approves the plan that is shown.
    pub approve: String,
    /// Rejects it.
    pub reject: String,
}

impl JobMessage {
    /// A hash of what it shows.
    pub fn fingerprint(&self) -> String {
        let approve = self.decision.as_ref().map(|it| it.approve.as_str());
        fingerprint(&[self.text.as_bytes(), approve.unwrap_or_default().as_bytes()])
    }
}

/// The message of a job now. `None` if the job was removed with old history.
///
/// # Errors
/// When the database is not available.
pub async fn job_message(
    service: &Service,
    platform: Platform,
    id: Ulid,
) -> Result<Option<JobMessage>, StoreError> {
    let Some(job) = service.store.job(id).await? else {
        return Ok(None);
    };
    let approval = match job.needs_approval {
        true => service.store.approval(id).await?,
        false => None,
    };
    Ok(Some(shown(service, platform, &job, approval.as_ref())))
}

fn shown(
    service: &Service,
    platform: Platform,
    job: &Job,
    approval: Option<&Approval>,
) -> JobMessage {
    let mut text = ChatText::new(platform);
    let link = job_link(service, &text, job);
    let state = text.bold(&job.state.to_string().replace('_', " "));
    let by = text.plain(&job.requested_by);
    text.line(&format!("{link}: {state}, requested by {by}"));
    let pending = approval.filter(|approval| {
        approval.state == ApprovalState::Pending && job.state == JobState::AwaitingApproval
    });
    match (pending, approval) {
        (Some(approval), _) => plan_to_approve(&mut text, approval),
        (None, Some(approval)) => decided(&mut text, approval),
        (None, None) => {}
    }
    if job.state.is_in_progress() {
        progress(&mut text, job);
    }
    if let Some(error) = &job.error {
        let remedy = error.remedy.as_deref().unwrap_or_default();
        let line = text.plain(&format!("{} {remedy}", error.detail));
        text.line(&line);
    }
    if let (JobState::Succeeded, Some(result)) = (job.state, &job.result) {
        made(service, &mut text, job, result);
    }
    // Nobody approves what the message does not show.
    let decision = pending.filter(|_| !text.is_cut()).map(buttons);
    JobMessage {
        text: text.finish(),
        decision,
        pace: Pace::of(job.state),
    }
}

fn buttons(approval: &Approval) -> DecisionButtons {
    let (job, digest) = (approval.job, approval.plan_digest.as_str());
    DecisionButtons {
        approve: format!("approve {job} {digest}"),
        reject: format!("reject {job}"),
    }
}

fn plan_to_approve(text: &mut ChatText, approval: &Approval) {
    let heading = text.plain("Another person has to approve this plan.");
    text.line(&heading);
    warnings(text, &approval.warnings);
    changes(text, &approval.changes);
    // Comes last: where the plan is cut, so is the command.
    let line = format!("To approve it: {}", text.code(&approve_command(approval)));
    text.line(&line);
}

fn decided(text: &mut ChatText, approval: &Approval) {
    let state = approval.state.to_string();
    let by = approval.decided_by.as_deref().map(|by| format!(" by {by}"));
    let line = format!("The plan is {state}{}.", by.unwrap_or_default());
    let line = text.plain(&line);
    text.line(&line);
}

fn progress(text: &mut ChatText, job: &Job) {
    let of = job.steps.len();
    let is = |state: StepState| job.steps.iter().filter(move |step| step.state == state);
    let done = is(StepState::Done).count();
    text.line(&format!("{done} of {of} steps are done."));
    let busy = is(StepState::Running).chain(is(StepState::Waiting));
    if let Some(step) = busy.into_iter().next() {
        let line = format!("Now: {}", text.code(step.resource.as_str()));
        text.line(&line);
    }
    if let (JobState::Waiting, Some(reason)) = (job.state, &job.reason) {
        let line = format!("It waits: {}", text.plain(reason));
        text.line(&line);
    }
}

fn made(service: &Service, text: &mut ChatText, job: &Job, result: &JobResult) {
    for bucket in &result.buckets {
        let line = format!("• bucket {}", text.code(bucket));
        text.line(&line);
    }
    for repository in &result.repositories {
        let line = format!("• repository {}", text.code(&repository.uri));
        text.line(&line);
    }
    if let Some(user) = &result.user_arn {
        let line = format!("• user {}", text.code(user));
        text.line(&line);
    }
    if let Some(key) = &result.access_key_id {
        let claim = match result.claimable {
            true => {
                let path = format!("/console/apps/{}/keys/{key}/claim", job.app);
                let link = page(service, text, &path, "Claim its secret");
                format!(": {link} (an operator, once, within seven days)")
            }
            false => String::new(),
        };
        let line = format!("• access key {}{claim}", text.code(key));
        text.line(&line);
    }
    warnings(text, &result.warnings);
}

/// Says that the platform lets no message be written, and where the job can be followed instead.
pub fn unwritable(service: &Service, platform: Platform, job: Ulid, why: &str) -> String {
    let mut text = ChatText::new(platform);
    let url = page_url(service, &format!("/console/jobs/{job}")).unwrap_or_default();
    let line = format!(
        "The job is accepted, but no message can be written here ({}). {}. Invite the app to this channel for messages.",
        text.plain(why),
        text.link(&url, "Follow the job in the console")
    );
    text.line(&line);
    text.finish()
}
