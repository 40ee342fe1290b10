//! `GET /v1/jobs/{id}/events`

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::Stream;
use futures::stream::unfold;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use ulid::Ulid;
use utoipa::ToSchema;

use crate::api::accept::preferred;
use crate::api::auth::{Token, Viewer};
use crate::api::job_watch::poll_delay;
use crate::api::limits::{Limits, RequestPermit};
use crate::api::page::Page;
use crate::api::params::Params;
use crate::api::path::{Id, JobPath};
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::domain::event::Event;
use crate::domain::validation::FieldError;

/// Events in one read of the database, and on one page.
const BATCH_SIZE: u32 = 500;

/// A server-sent event.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the stream in the OpenAPI document")]
pub struct StreamedEvent {
    /// The number of the event. Send it as `Last-Event-ID` to resume the stream after it.
    #[schema(example = "62")]
    id: String,
    /// The type of the event.
    #[schema(example = "change_applied")]
    event: String,
    /// The event as JSON.
    data: String,
}

/// Stream the events of a job.
///
/// Sends server-sent events until the job ends or the token is revoked. With `Last-Event-ID`, the stream resumes
/// after that event. With `Accept: application/json`, returns a page of the events so far.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/events", tag = "jobs", operation_id = "streamJobEvents",
    params(
        ("id" = Id, Path, description = "The id of the job."),
        ("Last-Event-ID" = Option<i64>, Header, description = "Return events after this one.", minimum = 0, nullable = false),
        ("cursor" = Option<i64>, Query, description = "The `next_cursor` of the previous page, for JSON.", minimum = 0),
    ),
    responses(
        (status = 200, description = "The events.", content((StreamedEvent = "text/event-stream"), (Page<Event> = "application/json"))),
        (status = 404, description = "No such job."),
    )
)]
pub async fn stream_job_events(
    State(service): State<Arc<Service>>,
    _: Viewer,
    token: Token,
    permit: RequestPermit,
    JobPath(id): JobPath,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let cursor = params.take("cursor", |text| {
        parse_seq(text).ok_or("must be the next_cursor of an earlier page")
    });
    params.finish()?;
    let last = last_event_id(&headers)?;
    let after = cursor.unwrap_or(last);
    service
        .store
        .job(id)
        .await?
        .ok_or(ApiError::NoSuch("job"))?;
    if preferred(&headers, &["text/event-stream", "application/json"]) == "application/json" {
        let items = service.store.events(id, after, BATCH_SIZE).await?;
        let next_cursor = items
            .last()
            .filter(|_| items.len() == BATCH_SIZE as usize)
            .map(|event| event.seq.to_string());
        return Ok(Json(Page { items, next_cursor }).into_response());
    }
    let subscription = Subscription {
        progress: permit.limits.watch.subscribe(id),
        ready: Vec::new().into_iter(),
        poll_at: Instant::now() + poll_delay(),
        _waiting: permit.exchange_for_waiting(Duration::ZERO)?,
        limits: permit.limits,
        service,
        token,
        job: id,
        after,
    };
    Ok(Sse::new(stream(subscription))
        .keep_alive(KeepAlive::default())
        .into_response())
}

fn parse_seq(text: &str) -> Option<i64> {
    text.parse().ok().filter(|seq| *seq >= 0)
}

fn last_event_id(headers: &HeaderMap) -> Result<i64, ApiError> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(0);
    };
    value.to_str().ok().and_then(parse_seq).ok_or_else(|| {
        ApiError::Parameters(vec![FieldError::new(
            "Last-Event-ID",
            "must be the id of an event",
        )])
    })
}

/// An open stream: its position, and the events that it has read and not sent.
struct Subscription {
    service: Arc<Service>,
    limits: Arc<Limits>,
    _waiting: OwnedSemaphorePermit,
    token: Token,
    progress: watch::Receiver<()>,
    job: Ulid,
    after: i64,
    ready: std::vec::IntoIter<Event>,
    poll_at: Instant,
}

fn stream(subscription: Subscription) -> impl Stream<Item = Result<SseEvent, serde_json::Error>> {
    unfold(subscription, |mut subscription| async move {
        let event = subscription.next().await?;
        let sse = SseEvent::default()
            .id(event.seq.to_string())
            .event(event.payload.name())
            .json_data(&event);
        Some((
            sse.map_err(|_| serde::ser::Error::custom("an event does not serialize")),
            subscription,
        ))
    })
}

impl Subscription {
    /// The next event. `None` when the job has ended, the token is revoked, the service stops, or the database is
    /// not available; in the last case the client reconnects with its Last-Event-ID.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.next() {
                self.after = event.seq;
                return Some(event);
            }
            let (active, batch) = self.read().await?;
            if !batch.is_empty() {
                self.ready = batch.into_iter();
                continue;
            }
            if !active {
                return None;
            }
            tokio::select! {
                _ = self.progress.changed() => {}
                () = tokio::time::sleep_until(self.poll_at) => {
                    self.poll_at = Instant::now() + poll_delay();
                    if self.token.is_revoked(&self.service).await {
                        return None;
                    }
                }
                () = self.service.tasks.stopping() => return None,
            }
        }
    }

    /// Whether the job is active, and the events since the last one.
    async fn read(&self) -> Option<(bool, Vec<Event>)> {
        let _reading = self.limits.reader_permit().await;
        // Read the job first: its last event is committed together with its end.
        let job = self.service.store.job(self.job).await.ok()??;
        let batch = self
            .service
            .store
            .events(self.job, self.after, BATCH_SIZE)
            .await
            .ok()?;
        Some((job.state.is_active(), batch))
    }
}
