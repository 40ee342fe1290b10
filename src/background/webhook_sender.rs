//! Sends what waits for one webhook, in order, as long as its receiver accepts it.
//!
//! Invariants:
//! - A request is made only under the webhook's lease, so replicas never send to one webhook at the same time.
//! - What a lost sender has sent and not recorded is sent again, with the same id.

use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, USER_AGENT};
use secrecy::SecretString;
use tokio::time::Instant;

use crate::app::service::Service;
use crate::app::webhook_payload::WebhookPayload;
use crate::background::lease_renewal::work_deadline;
use crate::background::webhook_verdict::{Verdict, judge};
use crate::clock::Timestamp;
use crate::domain::webhook::{WebhookEvent, host_of};
use crate::domain::webhook_signature::{seconds, signatures};
use crate::outbound::{HttpClient, PostError, Reply, post};
use crate::store::{
    AttemptOutcome, DeliveryAttempt, PassEnd, PendingDelivery, Sender, StoreError, WebhookLease,
};

/// The longest that a receiver may take to respond.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Deliveries that are read at once.
const BATCH: u32 = 64;
/// Deliveries that were made are recorded together, at the latest after this time.
const RECORD_INTERVAL: Duration = Duration::from_millis(250);
/// How long a request may go on when the service stops.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// The wait until a signing secret that cannot be opened is tried again.
const UNOPENED_DELAY: Duration = Duration::from_secs(60);
const AGENT: &str = concat!("slipway/", env!("CARGO_PKG_VERSION"));

/// Sends until nothing waits, the receiver does not accept, the lease is lost, or the service stops.
pub async fn send_pending(
    service: Arc<Service>,
    client: Option<HttpClient>,
    lease: WebhookLease,
    claimed: Instant,
) {
    let stopped = async {
        service.tasks.stopping().await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    let sent = tokio::select! {
        sent = send(&service, client.as_ref(), lease) => sent,
        () = renew_until_lost(&service, lease, claimed) => Err(StoreError::LostLease),
        () = stopped => Err(StoreError::LostLease),
    };
    match sent {
        Ok(()) => {}
        // Deleted or disabled meanwhile, or another replica sends.
        Err(StoreError::LostLease) => {
            tracing::debug!(webhook = %lease.webhook, "the webhook's lease is lost")
        }
        Err(error) => {
            tracing::warn!(webhook = %lease.webhook, %error, "deliveries cannot be recorded; they are made again")
        }
    }
    // Without effect where another sender has it. What cannot be released now runs out.
    let _ = service.store.release_webhook(lease).await;
    service.store.note_outbox();
}

async fn renew_until_lost(service: &Service, lease: WebhookLease, claimed: Instant) {
    let span = service.settings.lease_duration;
    let mut ends = work_deadline(claimed, span);
    loop {
        let renewal = async {
            tokio::time::sleep(span / 3).await;
            // The lease counts at least from here: the write reads the clock later.
            let asked = Instant::now();
            (asked, service.store.renew_webhook_lease(lease, span).await)
        };
        let (asked, answer) = tokio::select! {
            answer = renewal => answer,
            () = tokio::time::sleep_until(ends) => return,
        };
        match answer {
            Ok(()) => ends = work_deadline(asked, span),
            Err(StoreError::LostLease) => return,
            Err(_) => {}
        }
    }
}

/// Whether the sender goes on.
enum Batch {
    GoOn,
    Ended,
}

async fn send(
    service: &Service,
    client: Option<&HttpClient>,
    lease: WebhookLease,
) -> Result<(), StoreError> {
    loop {
        let (sender, pending) = service.store.pending_deliveries(lease, BATCH).await?;
        if pending.is_empty() {
            return leave(service, lease, PassEnd::Released).await;
        }
        let Some(receiver) = Receiver::open(service, client, &sender) else {
            tracing::error!(webhook = %lease.webhook, "the webhook's signing secret cannot be opened; add its encryption key to SLIPWAY_PREVIOUS_ENCRYPTION_KEYS");
            let later = service.clock.now().after(UNOPENED_DELAY);
            return leave(service, lease, PassEnd::Failing(later)).await;
        };
        match send_batch(service, &receiver, lease, sender.failing_since, pending).await? {
            Batch::GoOn => {}
            Batch::Ended => return Ok(()),
        }
    }
}

async fn leave(service: &Service, lease: WebhookLease, end: PassEnd) -> Result<(), StoreError> {
    service
        .store
        .record_deliveries(lease, Vec::new(), end)
        .await
}

async fn send_batch(
    service: &Service,
    receiver: &Receiver<'_>,
    lease: WebhookLease,
    mut failing_since: Option<Timestamp>,
    pending: Vec<PendingDelivery>,
) -> Result<Batch, StoreError> {
    let (mut made, began) = (Vec::new(), Instant::now());
    for delivery in pending {
        let (attempt, end) = attempt(service, receiver, &delivery, failing_since).await;
        made.push(attempt);
        if let Some(end) = end {
            service.store.record_deliveries(lease, made, end).await?;
            return Ok(Batch::Ended);
        }
        failing_since = None;
        if service.tasks.is_stopping() {
            let end = PassEnd::Released;
            service.store.record_deliveries(lease, made, end).await?;
            return Ok(Batch::Ended);
        }
        if began.elapsed() >= RECORD_INTERVAL {
            break;
        }
    }
    // The webhook is read again after each record: it may have another URL or secret by then.
    let end = PassEnd::Continue;
    service.store.record_deliveries(lease, made, end).await?;
    Ok(Batch::GoOn)
}

/// Makes one attempt. Returns it, and unless the receiver has accepted, how to leave the webhook.
async fn attempt(
    service: &Service,
    receiver: &Receiver<'_>,
    delivery: &PendingDelivery,
    failing_since: Option<Timestamp>,
) -> (DeliveryAttempt, Option<PassEnd>) {
    let (at, began) = (service.clock.now(), Instant::now());
    let reply = receiver.post(&delivery.event, at).await;
    let duration = began.elapsed();
    let status = reply.as_ref().ok().map(|reply| reply.status);
    let now = service.clock.now();
    let Verdict { outcome, end } = judge(reply, delivery.attempts + 1, failing_since, now);
    let label = match (&outcome, &end) {
        (AttemptOutcome::Delivered, _) => "delivered",
        (_, Some(PassEnd::Disabled(_))) => "disabled",
        (AttemptOutcome::Failed(_), _) => "failed",
        (AttemptOutcome::GivenUp(_), _) => "given_up",
    };
    metrics::counter!("slipway_webhook_deliveries_total", "outcome" => label).increment(1);
    metrics::histogram!("slipway_webhook_delivery_seconds").record(duration.as_secs_f64());
    if let AttemptOutcome::Failed(error) | AttemptOutcome::GivenUp(error) = &outcome {
        let (event, attempt) = (delivery.event.id, delivery.attempts + 1);
        tracing::warn!(host = receiver.host, %event, attempt, outcome = label, error, "webhook not delivered");
    }
    let attempt = DeliveryAttempt {
        seq: delivery.seq,
        at,
        duration,
        status,
        outcome,
    };
    (attempt, end)
}

/// Where to post to, and what to sign with.
struct Receiver<'c> {
    client: Option<&'c HttpClient>,
    url: Option<Uri>,
    host: String,
    secrets: Vec<SecretString>,
}

impl<'c> Receiver<'c> {
    /// `None` if no secret can be opened.
    fn open(service: &Service, client: Option<&'c HttpClient>, sender: &Sender) -> Option<Self> {
        let open = sender
            .secrets
            .iter()
            .map(|secret| secret.open(&service.vault));
        let secrets: Vec<SecretString> = open.filter_map(Result::ok).collect();
        (!secrets.is_empty()).then(|| Self {
            client,
            url: sender.url.parse().ok(),
            host: host_of(&sender.url),
            secrets,
        })
    }

    async fn post(&self, event: &WebhookEvent, at: Timestamp) -> Result<Reply, PostError> {
        let failed = |why: &str| PostError::Request(why.to_owned());
        let client = self
            .client
            .ok_or_else(|| failed("this machine has no certificates of authorities"))?;
        let url = self
            .url
            .as_ref()
            .ok_or_else(|| failed("the URL is invalid"))?;
        let body = serde_json::to_vec(&WebhookPayload::of(event))
            .map_err(|error| PostError::Request(error.to_string()))?;
        let id = event.id.to_string();
        let signature = signatures(&self.secrets, &id, at, &body);
        let named = HeaderName::from_static;
        let headers = [
            (CONTENT_TYPE, "application/json".to_owned()),
            (USER_AGENT, AGENT.to_owned()),
            (named("webhook-id"), id),
            (named("webhook-timestamp"), seconds(at).to_string()),
            (named("webhook-signature"), signature),
        ];
        post(client, url, headers, Bytes::from(body), REQUEST_TIMEOUT).await
    }
}
