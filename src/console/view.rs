//! How states, times and scopes are shown.

use std::fmt;
use std::time::Duration;

use askama::filters::HtmlSafe;

use crate::clock::Timestamp;
use crate::domain::access_key::{KeyState, SecretState};
use crate::domain::account::{AccountState, CheckOutcome};
use crate::domain::app::AppState;
use crate::domain::approval::{Approval, ApprovalReason, ApprovalState};
use crate::domain::hooks::delivery::HookDeliveryState;
use crate::domain::job::{Job, JobState, StepState};
use crate::domain::job_kind::JobKind;
use crate::domain::names::{AccountName, AppName};
use crate::domain::plan::Action;
use crate::domain::rotation::Stage;
use crate::domain::webhook::{DeliveryState, Webhook, WebhookState};

/// A state, told by a word and by a shape with a color.
pub struct Badge {
    word: &'static str,
    tone: &'static str,
}

impl HtmlSafe for Badge {}

impl fmt::Display for Badge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { word, tone } = self;
        write!(f, r#"<span class="state {tone}">{word}</span>"#)
    }
}

fn badge(word: &'static str, tone: &'static str) -> Badge {
    Badge { word, tone }
}

/// The tones, each with a shape of its own in the style sheet.
const OK: &str = "ok";
const BAD: &str = "bad";
const WARN: &str = "warn";
const BUSY: &str = "busy";
const WAIT: &str = "wait";
const OFF: &str = "off";

/// What has a badge.
pub trait Shown {
    /// The badge.
    fn badge(&self) -> Badge;
}

impl Shown for AppState {
    fn badge(&self) -> Badge {
        match self {
            Self::Pending => badge("Pending", WAIT),
            Self::Ready => badge("Ready", OK),
            Self::Failed => badge("Failed", BAD),
            Self::NeedsAttention => badge("Needs attention", WARN),
            Self::Canceled => badge("Canceled", OFF),
            Self::Quarantined => badge("Quarantined", WARN),
            Self::Removed => badge("Removed", OFF),
        }
    }
}

impl Shown for JobState {
    fn badge(&self) -> Badge {
        match self {
            Self::AwaitingApproval => badge("Awaiting approval", WARN),
            Self::Queued => badge("Queued", WAIT),
            Self::Running => badge("Running", BUSY),
            Self::Waiting => badge("Waiting", WAIT),
            Self::Succeeded => badge("Succeeded", OK),
            Self::Failed => badge("Failed", BAD),
            Self::NeedsAttention => badge("Needs attention", WARN),
            Self::Canceled => badge("Canceled", OFF),
        }
    }
}

impl Shown for StepState {
    fn badge(&self) -> Badge {
        match self {
            Self::Pending => badge("Pending", WAIT),
            Self::Running => badge("Running", BUSY),
            Self::Waiting => badge("Waiting", WAIT),
            Self::Done => badge("Done", OK),
            Self::Failed => badge("Failed", BAD),
            Self::Skipped => badge("Skipped", OFF),
        }
    }
}

impl Shown for ApprovalState {
    fn badge(&self) -> Badge {
        match self {
            Self::Pending => badge("Pending", WARN),
            Self::Approved => badge("Approved", OK),
            Self::Rejected => badge("Rejected", BAD),
            Self::Expired => badge("Expired", OFF),
            Self::Canceled => badge("Canceled", OFF),
        }
    }
}

impl Shown for AccountState {
    fn badge(&self) -> Badge {
        match self {
            Self::Pending => badge("Pending", WAIT),
            Self::Ready => badge("Ready", OK),
            Self::Blocked => badge("Blocked", BAD),
            Self::Unreachable => badge("Unreachable", BAD),
        }
    }
}

impl Shown for CheckOutcome {
    fn badge(&self) -> Badge {
        match self {
            Self::Passed => badge("Passed", OK),
            Self::Failed => badge("Failed", BAD),
            Self::Skipped => badge("Skipped", OFF),
        }
    }
}

impl Shown for KeyState {
    fn badge(&self) -> Badge {
        match self {
            Self::Active => badge("Active", OK),
            Self::Inactive => badge("Inactive", OFF),
            Self::Deleted => badge("Deleted", OFF),
            Self::Unknown => badge("Unknown", WAIT),
        }
    }
}

impl Shown for SecretState {
    fn badge(&self) -> Badge {
        match self {
            Self::Unclaimed => badge("Not claimed", WARN),
            Self::Claimed => badge("Claimed", OK),
            Self::Expired => badge("Destroyed", OFF),
        }
    }
}

impl Shown for Stage {
    fn badge(&self) -> Badge {
        match self {
            Self::Creating => badge("Creating the new key", BUSY),
            Self::AwaitingClaim => badge("Awaiting the claim", WARN),
            Self::Draining => badge("Waiting until the old key is unused", WAIT),
            Self::Deactivating => badge("Deactivating the old key", BUSY),
            Self::PendingDeletion => badge("Old key inactive, pending deletion", WAIT),
            Self::Deleting => badge("Deleting the old key", BUSY),
            Self::RollingBack => badge("Rolling back", BUSY),
            Self::Done => badge("Done", OK),
            Self::RolledBack => badge("Rolled back", OFF),
            Self::Stopped => badge("Stopped", OFF),
        }
    }
}

impl Shown for Webhook {
    fn badge(&self) -> Badge {
        match (self.state, self.failing_since) {
            (WebhookState::Disabled, _) => badge("Disabled", OFF),
            (WebhookState::Active, Some(_)) => badge("Failing", WARN),
            (WebhookState::Active, None) => badge("Active", OK),
        }
    }
}

impl Shown for DeliveryState {
    fn badge(&self) -> Badge {
        match self {
            Self::Pending => badge("Pending", WAIT),
            Self::Delivered => badge("Delivered", OK),
            Self::Failed => badge("Failed", BAD),
        }
    }
}

impl Shown for HookDeliveryState {
    fn badge(&self) -> Badge {
        match self {
            Self::Pending => badge("Pending", WAIT),
            Self::Done => badge("Done", OK),
            Self::Failed => badge("Failed", BAD),
            Self::Ignored => badge("Ignored", OFF),
        }
    }
}

/// Plain names of what has no state.
pub trait Named {
    /// The name, for a sentence or a cell.
    fn label(&self) -> &'static str;
}

impl Named for JobKind {
    fn label(&self) -> &'static str {
        match self {
            Self::Onboard => "Onboard",
            Self::Update => "Update",
            Self::Repair => "Repair",
            Self::Rotate => "Rotate key",
            Self::SetKeyStatus => "Change key",
            Self::Offboard => "Offboard",
            Self::Restore => "Restore",
            Self::Remove => "Remove",
            Self::SetupAccount => "Set up",
        }
    }
}

impl Named for ApprovalReason {
    fn label(&self) -> &'static str {
        match self {
            Self::Account => "Every job in this account needs an approval.",
            Self::JobKind => "Every job of this kind needs an approval.",
            Self::DataDeletion => "The job may delete objects or images.",
            Self::Adoption => "The job may adopt resources that were not created for the app.",
            Self::RepositoryEvent => "An event of a repository proposes the job.",
            Self::FirstAppOfPipeline => "The pipeline has not onboarded an app before.",
            Self::AdministratorAccess => {
                "The set-up gives AdministratorAccess to somebody who does not have it yet."
            }
        }
    }
}

/// What a job or an approval is about: an app, or the set-up of an account.
pub trait OfSubject {
    /// The path of the page of the app or account.
    fn subject_path(&self) -> String;
    /// What it is called.
    fn subject(&self) -> String;
}

impl OfSubject for Job {
    fn subject_path(&self) -> String {
        path_of(Some(&self.app), &self.account)
    }

    fn subject(&self) -> String {
        self.app.subject()
    }
}

impl OfSubject for Approval {
    fn subject_path(&self) -> String {
        path_of(self.app.as_ref(), &self.account)
    }

    fn subject(&self) -> String {
        match &self.app {
            Some(app) => app.to_string(),
            None => AppName::of_setup(&self.account).subject(),
        }
    }
}

fn path_of(app: Option<&AppName>, account: &AccountName) -> String {
    match app.filter(|app| !app.is_of_setup()) {
        Some(app) => format!("/console/apps/{app}"),
        None => format!("/console/accounts/{account}"),
    }
}

/// The sign of a planned change, as in a plan of Terraform.
pub struct Sign(Action);

impl HtmlSafe for Sign {}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (class, sign, word) = match self.0 {
            Action::Create => ("add", "+", "create"),
            Action::Update => ("change", "~", "change"),
            Action::Delete => ("delete", "−", "delete"),
            Action::None => ("none", "=", "no change"),
            Action::Conflict => ("delete", "!", "conflict"),
            Action::Blocked => ("delete", "!", "blocked"),
        };
        write!(
            f,
            r#"<span class="sign {class}"><span aria-hidden="true">{sign}</span> {word}</span>"#
        )
    }
}

/// What has a sign.
pub trait Signed {
    /// The sign.
    fn sign(&self) -> Sign;
}

impl Signed for Action {
    fn sign(&self) -> Sign {
        Sign(*self)
    }
}

/// A time as a distance from now, with the exact time beside it for pointers, programs and the page's script.
pub struct Moment {
    at: Timestamp,
    now: Timestamp,
}

impl HtmlSafe for Moment {}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = exact(self.at);
        let relative = relative(self.at, self.now);
        let at = self.at;
        write!(
            f,
            r#"<time datetime="{at}" title="{exact}">{relative}</time>"#
        )
    }
}

/// `2026-11-29 10:15:30 UTC`
pub fn exact(at: Timestamp) -> String {
    let text = at.to_string();
    let seconds = text.split('.').next().unwrap_or(&text);
    format!("{} UTC", seconds.replacen('T', " ", 1))
}

/// `3 minutes ago`, `in 2 days`
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let (span, is_past) = if at <= now {
        (now.since(at), true)
    } else {
        (at.since(now), false)
    };
    match (span_text(span), is_past) {
        (None, true) => "just now".into(),
        (None, false) => "now".into(),
        (Some(text), true) => format!("{text} ago"),
        (Some(text), false) => format!("in {text}"),
    }
}

/// A time span in its largest unit; `None` below ten seconds.
fn span_text(span: Duration) -> Option<String> {
    const UNITS: [(u64, &str); 5] = [
        (365 * 24 * 3600, "year"),
        (24 * 3600, "day"),
        (3600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let seconds = span.as_secs();
    if seconds < 10 {
        return None;
    }
    let (size, unit) = UNITS.into_iter().find(|(size, _)| seconds >= *size)?;
    let count = seconds / size;
    let plural = if count == 1 { "" } else { "s" };
    Some(format!("{count} {unit}{plural}"))
}

/// How times are shown.
pub trait Ago {
    /// The time as a distance from `now`.
    fn ago(&self, now: &Timestamp) -> Moment;
    /// The exact time.
    fn exact(&self) -> String;
    /// The age, without `ago`.
    fn age(&self, now: &Timestamp) -> String;
}

impl Ago for Timestamp {
    fn ago(&self, now: &Timestamp) -> Moment {
        Moment {
            at: *self,
            now: *now,
        }
    }

    fn exact(&self) -> String {
        exact(*self)
    }

    fn age(&self, now: &Timestamp) -> String {
        span_text(now.since(*self)).unwrap_or_else(|| "seconds".into())
    }
}

/// How milliseconds are shown.
pub trait Took {
    /// `0.4 s`
    fn took(&self) -> String;
}

impl Took for i64 {
    fn took(&self) -> String {
        let (seconds, tenths) = (self / 1000, self % 1000 / 100);
        format!("{seconds}.{tenths} s")
    }
}

/// How values of a difference are shown.
pub trait Pretty {
    /// A text as it is, and other values as JSON.
    fn pretty(&self) -> String;
}

impl Pretty for serde_json::Value {
    fn pretty(&self) -> String {
        match self {
            Self::String(text) => text.clone(),
            other => format!("{other:#}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_distances() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let at = |seconds: u64| relative(now.before(Duration::from_secs(seconds)), now);
        assert_eq!(at(3), "just now");
        assert_eq!(at(59), "59 seconds ago");
        assert_eq!(at(61), "1 minute ago");
        assert_eq!(at(3 * 24 * 3600 + 5), "3 days ago");
        assert_eq!(
            relative(now.after(Duration::from_secs(7200)), now),
            "in 2 hours"
        );
        assert_eq!(exact(now), "2027-01-15 08:00:00 UTC");
    }
}
