//! Webhooks: who is told of which events, and how often a delivery is tried.
//!
//! Invariants:
//! - An event goes to a webhook whose scope covers what the event is about, and to no other.
//! - What is sent says what happened and where to read more. It carries no secret.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Uri;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::{Display, EnumIter, EnumString};
use ulid::Ulid;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::job_kind::JobKind;
use crate::domain::names::{AccountName, AppName};
use crate::domain::scope::Scope;
use crate::domain::validation::{FieldError, Fields, text};

const MAX_URL: usize = 2048;
const MAX_DESCRIPTION: usize = 256;
const MAX_EVENTS: usize = 32;

/// The wait after each failed attempt (Standard Webhooks 1.0, "Delivery attempts").
const RETRY_SCHEDULE: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(14 * 3600),
    Duration::from_secs(20 * 3600),
    Duration::from_secs(24 * 3600),
];
/// Why a webhook is disabled that somebody has disabled.
pub const DISABLED_BY_REQUEST: &str = "Disabled by request.";
/// An endpoint that has failed for this long is disabled.
pub const MAX_FAILING: Duration = Duration::from_secs(5 * 24 * 3600);

/// The wait after the attempt with this number, counted from 1, has failed; `None` if the delivery is given up.
pub fn retry_delay(attempt: u32) -> Option<Duration> {
    let position = usize::try_from(attempt).ok()?.checked_sub(1)?;
    RETRY_SCHEDULE.get(position).copied()
}

/// What happened.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    EnumIter,
    ToSchema,
)]
#[schema(as = WebhookEventType)]
pub enum EventType {
    /// A job succeeded.
    #[serde(rename = "job.succeeded")]
    #[strum(serialize = "job.succeeded")]
    JobSucceeded,
    /// A job failed.
    #[serde(rename = "job.failed")]
    #[strum(serialize = "job.failed")]
    JobFailed,
    /// A job needs a person.
    #[serde(rename = "job.needs_attention")]
    #[strum(serialize = "job.needs_attention")]
    JobNeedsAttention,
    /// The plan of a job waits for an approval.
    #[serde(rename = "job.awaiting_approval")]
    #[strum(serialize = "job.awaiting_approval")]
    JobAwaitingApproval,
    /// An app was onboarded.
    #[serde(rename = "app.onboarded")]
    #[strum(serialize = "app.onboarded")]
    AppOnboarded,
    /// A change of an app was applied: an update, the begin of its removal, or a restore.
    #[serde(rename = "app.changed")]
    #[strum(serialize = "app.changed")]
    AppChanged,
    /// An app was removed.
    #[serde(rename = "app.removed")]
    #[strum(serialize = "app.removed")]
    AppRemoved,
    /// An app has drifted that had not before.
    #[serde(rename = "drift.detected")]
    #[strum(serialize = "drift.detected")]
    DriftDetected,
    /// An access key was created. Its secret can be claimed.
    #[serde(rename = "key.created")]
    #[strum(serialize = "key.created")]
    KeyCreated,
    /// A rotation is complete: the old access key is deleted.
    #[serde(rename = "key.rotated")]
    #[strum(serialize = "key.rotated")]
    KeyRotated,
    /// An access key has not been used for `SLIPWAY_KEY_UNUSED_AFTER`.
    #[serde(rename = "key.unused")]
    #[strum(serialize = "key.unused")]
    KeyUnused,
    /// An access key reaches the age at which it is rotated within a week.
    #[serde(rename = "key.expiring")]
    #[strum(serialize = "key.expiring")]
    KeyExpiring,
    /// The role of a registered account cannot be assumed any more.
    #[serde(rename = "account.unreachable")]
    #[strum(serialize = "account.unreachable")]
    AccountUnreachable,
    /// Somebody tests the webhook.
    #[serde(rename = "webhook.test")]
    #[strum(serialize = "webhook.test")]
    WebhookTest,
}

impl EventType {
    /// What has become of an app when a job of this kind succeeds.
    pub fn of_success(kind: JobKind) -> Option<Self> {
        match kind {
            JobKind::Onboard => Some(Self::AppOnboarded),
            JobKind::Update | JobKind::Offboard | JobKind::Restore => Some(Self::AppChanged),
            JobKind::Remove => Some(Self::AppRemoved),
            JobKind::Repair | JobKind::Rotate | JobKind::SetKeyStatus | JobKind::SetupAccount => {
                None
            }
        }
    }
}

/// What a webhook is told of, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookSpec {
    /// Where events are posted to: an https URL with a public address.
    #[schema(
        example = "https://hooks.example.com/slipway",
        max_length = 2048,
        pattern = "^https?://[!-\"$-~]+$"
    )]
    pub url: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        example = "Dashboard of the shop team",
        nullable = false,
        min_length = 1,
        max_length = 256,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    )]
    pub description: Option<String>,
    /// The types of events. Absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, min_items = 1, max_items = 32)]
    pub events: Option<BTreeSet<EventType>>,
    /// The apps and accounts whose events it gets. Absent for all that you may see.
    #[serde(default, skip_serializing_if = "Scope::is_all")]
    #[schema(required = false)]
    pub scope: Scope,
}

/// Whether a webhook is sent anything.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[schema(as = WebhookState)]
pub enum WebhookState {
    /// It is sent events.
    Active,
    /// It is sent nothing. Events are not kept for it.
    Disabled,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    /// The ID of the webhook.
    #[schema(value_type = String)]
    pub id: Ulid,
    /// What it is told of, and where.
    #[serde(flatten)]
    pub spec: WebhookSpec,
    /// Whether it is sent anything.
    pub state: WebhookState,
    /// Why it is disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "The receiver replied 410 Gone.")]
    pub disabled_reason: Option<String>,
    /// Since when no delivery has succeeded. After five days the webhook is disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// When the next attempt is made, after one that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// Until when requests are signed with the previous secret, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_secret_expires_at: Option<Timestamp>,
    /// Who created it.
    pub created_by: String,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A change of a webhook: what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of a webhook")]
pub struct WebhookChange {
    pub url: Option<String>,
    pub description: Option<Option<String>>,
    pub events: Option<Option<BTreeSet<EventType>>>,
    pub scope: Option<Scope>,
    pub state: Option<WebhookState>,
}

/// An event, as it is recorded in the commit of what it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are named after what they hold")]
pub struct WebhookEvent {
    pub id: Ulid,
    pub kind: EventType,
    pub at: Timestamp,
    pub app: Option<AppName>,
    pub account: Option<AccountName>,
    pub job: Option<Ulid>,
    pub access_key_id: Option<String>,
    /// The only webhook that it is for.
    pub webhook: Option<Ulid>,
}

impl WebhookEvent {
    /// Whether a webhook with this id, these types of events and this scope gets the event.
    pub fn is_for(
        &self,
        webhook: Ulid,
        events: Option<&BTreeSet<EventType>>,
        scope: &Scope,
    ) -> bool {
        if let Some(only) = self.webhook {
            return only == webhook;
        }
        let is_wanted = events.is_none_or(|events| events.contains(&self.kind));
        is_wanted && self.is_within(scope)
    }

    /// Whoever may see an account, also for some of its apps, is told that it cannot be reached.
    fn is_within(&self, scope: &Scope) -> bool {
        let is_app_within = match &self.app {
            Some(app) => scope.allows_name(app),
            None => scope.is_all_apps() || self.kind == EventType::AccountUnreachable,
        };
        let is_account_within = match &self.account {
            Some(account) => scope.allows_account(account),
            None => scope.accounts().is_none(),
        };
        is_app_within && is_account_within
    }
}

/// What has become of a delivery.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    EnumIter,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[schema(as = WebhookDeliveryState)]
pub enum DeliveryState {
    /// It is still to be made.
    Pending,
    /// The receiver replied with a status from 200 to 299.
    Delivered,
    /// All attempts failed.
    Failed,
}

impl WebhookSpec {
    /// The host of its URL.
    pub fn host(&self) -> String {
        host_of(&self.url)
    }

    /// What people call it: its description, or else its host.
    pub fn title(&self) -> String {
        self.description.clone().unwrap_or_else(|| self.host())
    }

    /// Parses the body of a request.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn parse(body: &Value, allow_http: bool) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::of(body, "");
        let url = fields.required("url", |text| parse_url(text, allow_http));
        let description = fields.parsed("description", parse_description);
        let events = parse_events(&mut fields);
        let scope = Scope::of_field(&mut fields);
        let errors = fields.finish();
        match url {
            Some(url) if errors.is_empty() => Ok(Self {
                url,
                description,
                events,
                scope,
            }),
            _ => Err(errors),
        }
    }
}

impl WebhookChange {
    /// Parses the body of a request, a JSON merge patch (RFC 7396): `null` is the default.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn parse(body: &Value, allow_http: bool) -> Result<Self, Vec<FieldError>> {
        let mut given = body.clone();
        let mut is_reset = |name: &str| {
            let is_null = given.get(name).is_some_and(Value::is_null);
            if let (true, Some(object)) = (is_null, given.as_object_mut()) {
                object.remove(name);
            }
            is_null
        };
        let resets = ["description", "events", "scope"].map(&mut is_reset);
        let mut fields = Fields::of(&given, "");
        let url = fields.parsed("url", |text| parse_url(text, allow_http));
        let description = fields.parsed("description", parse_description).map(Some);
        let events = parse_events(&mut fields).map(Some);
        let has_scope = fields.get("scope").is_some();
        let scope = has_scope.then(|| Scope::of_field(&mut fields));
        let state = fields.parsed("state", |text| {
            text.parse::<WebhookState>()
                .map_err(|_| "must be active or disabled")
        });
        let errors = fields.finish();
        if !errors.is_empty() {
            return Err(errors);
        }
        let [no_description, no_events, no_scope] = resets;
        Ok(Self {
            url,
            description: description.or(no_description.then_some(None)),
            events: events.or(no_events.then_some(None)),
            scope: scope.or_else(|| no_scope.then(Scope::default)),
            state,
        })
    }

    /// The webhook's spec after the change.
    pub fn apply(&self, spec: &WebhookSpec) -> WebhookSpec {
        let spec = spec.clone();
        WebhookSpec {
            url: self.url.clone().unwrap_or(spec.url),
            description: self.description.clone().unwrap_or(spec.description),
            events: self.events.clone().unwrap_or(spec.events),
            scope: self.scope.clone().unwrap_or(spec.scope),
        }
    }
}

/// The host of a webhook's URL, with its port. The rest of a URL can be a secret.
pub fn host_of(url: &str) -> String {
    let url = url.parse::<Uri>().ok();
    let authority = url.as_ref().and_then(Uri::authority);
    authority.map_or_else(String::new, |authority| authority.as_str().to_owned())
}

fn parse_events(fields: &mut Fields<'_>) -> Option<BTreeSet<EventType>> {
    let read = |item: &Value, pointer: String, errors: &mut Vec<FieldError>| {
        let parsed = text(item, &pointer, errors)?.parse::<EventType>();
        parsed
            .map_err(|_| {
                let why = "is not a type of event. See docs/webhooks.md for all types";
                errors.push(FieldError::new(pointer, why));
            })
            .ok()
    };
    let events = fields.list("events", MAX_EVENTS, read)?;
    if fields
        .get("events")
        .and_then(Value::as_array)
        .is_some_and(Vec::is_empty)
    {
        fields.error(
            "events",
            "must name at least one type; omit the field to get all",
        );
    }
    let types: BTreeSet<EventType> = events.iter().copied().collect();
    if types.len() < events.len() {
        fields.error("events", "must not name a type twice");
    }
    Some(types)
}

fn parse_description(text: &str) -> Result<String, &'static str> {
    let fits = (1..=MAX_DESCRIPTION).contains(&text.chars().count())
        && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
        .ok_or("must be 1 to 256 visible characters")
}

/// Parses the URL of a receiver. Which address its host has is checked when a connection is made.
///
/// # Errors
/// When it is no https URL, or has a user, a password or a fragment.
pub fn parse_url(text: &str, allow_http: bool) -> Result<String, &'static str> {
    let wrong = "must be an https URL with a host, and without user, password and fragment, such as https://hooks.example.com/slipway";
    if text.len() > MAX_URL || !text.chars().all(|c| c.is_ascii_graphic()) || text.contains('#') {
        return Err(wrong);
    }
    let url: Uri = text.parse().map_err(|_| wrong)?;
    let is_allowed = match url.scheme_str() {
        Some("https") => true,
        Some("http") => allow_http,
        _ => false,
    };
    let authority = url.authority().map(|authority| authority.as_str());
    let has_host = url.host().is_some_and(|host| !host.is_empty());
    let has_user = authority.is_some_and(|authority| authority.contains('@'));
    // A port that is none would be taken for an absent one.
    let names_port = authority.map(str::len) > url.host().map(str::len);
    let is_port = url.port_u16().is_some_and(|port| port > 0);
    (is_allowed && has_host && !has_user && (is_port || !names_port))
        .then(|| text.to_owned())
        .ok_or(wrong)
}

#[cfg(test)]
mod tests;
