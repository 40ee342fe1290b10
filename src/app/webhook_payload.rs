//! What is sent to webhooks: what happened, and where to read more. The same event always makes the same text.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::webhook::{EventType, WebhookEvent};

/// The body of a request to a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookPayload {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// When it happened.
    pub timestamp: Timestamp,
    /// What the event is about.
    pub data: WebhookData,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookData {
    /// The ID of the job, the name of the app or account, the ID of the access key or of the webhook.
    #[schema(example = "acme-shop")]
    pub id: String,
    /// The app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "acme-shop")]
    pub app: Option<String>,
    /// The account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "default")]
    pub account: Option<String>,
    /// The job that made the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub job: Option<String>,
    /// Where to read more, on the server of the webhook.
    #[schema(example = "/v1/apps/acme-shop")]
    pub url: String,
}

impl WebhookPayload {
    /// The payload of an event.
    pub fn of(event: &WebhookEvent) -> Self {
        let app = event.app.as_ref().map(ToString::to_string);
        let account = event.account.as_ref().map(ToString::to_string);
        let job = event.job.map(|job| job.to_string());
        let (id, url) = subject(event);
        Self {
            kind: event.kind,
            timestamp: event.at,
            data: WebhookData {
                id,
                app,
                account,
                job,
                url,
            },
        }
    }
}

/// What the event is about, and its path.
fn subject(event: &WebhookEvent) -> (String, String) {
    let app = event
        .app
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    match event.kind {
        EventType::JobSucceeded
        | EventType::JobFailed
        | EventType::JobNeedsAttention
        | EventType::JobAwaitingApproval => {
            let job = event.job.map(|job| job.to_string()).unwrap_or_default();
            (job.clone(), format!("/v1/jobs/{job}"))
        }
        EventType::AppOnboarded | EventType::AppChanged | EventType::AppRemoved => {
            (app.clone(), format!("/v1/apps/{app}"))
        }
        EventType::DriftDetected => (app.clone(), format!("/v1/apps/{app}/drift")),
        EventType::KeyCreated
        | EventType::KeyRotated
        | EventType::KeyUnused
        | EventType::KeyExpiring => {
            let key = event.access_key_id.clone().unwrap_or_default();
            (key, format!("/v1/apps/{app}/credentials"))
        }
        EventType::AccountUnreachable => {
            let account = event.account.as_ref().map(ToString::to_string);
            let account = account.unwrap_or_default();
            (account.clone(), format!("/v1/accounts/{account}"))
        }
        EventType::WebhookTest => {
            let webhook = event.webhook.map(|id| id.to_string()).unwrap_or_default();
            (webhook.clone(), format!("/v1/webhooks/{webhook}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use strum::IntoEnumIterator as _;
    use ulid::Ulid;

    use super::*;
    use crate::domain::names::{AccountName, AppName};

    #[test]
    fn a_payload_names_its_subject_and_where_to_read_more() {
        let event = |kind| WebhookEvent {
            id: Ulid::nil(),
            kind,
            at: Timestamp::from_millis(1_700_000_000_123),
            app: Some(AppName::parse("acme-shop").unwrap()),
            account: Some(AccountName::parse("prod").unwrap()),
            job: Some(Ulid::nil()),
            access_key_id: Some("AKIAIOSFODNN7EXAMPLE".into()),
            webhook: Some(Ulid::nil()),
        };
        let job = Ulid::nil().to_string();
        for kind in EventType::iter() {
            let payload = serde_json::to_value(WebhookPayload::of(&event(kind))).unwrap();
            let (id, url) = match kind.to_string().split('.').next().unwrap() {
                "job" => (job.as_str(), format!("/v1/jobs/{job}")),
                "app" => ("acme-shop", "/v1/apps/acme-shop".into()),
                "drift" => ("acme-shop", "/v1/apps/acme-shop/drift".into()),
                "key" => (
                    "AKIAIOSFODNN7EXAMPLE",
                    "/v1/apps/acme-shop/credentials".into(),
                ),
                "account" => ("prod", "/v1/accounts/prod".into()),
                _ => (job.as_str(), format!("/v1/webhooks/{job}")),
            };
            assert_eq!(
                payload,
                json!({
                    "type": kind.to_string(), "timestamp": "2023-11-14T22:13:20.123Z",
                    "data": {"id": id, "app": "acme-shop", "account": "prod", "job": job, "url": url},
                })
            );
        }
    }
}
