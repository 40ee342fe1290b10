//! Jobs: show, wait for, follow, cancel, retry.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use futures::stream::unfold;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use ulid::Ulid;
use utoipa::ToSchema;

use crate::api::auth::{Operator, Token, Viewer};
use crate::api::body::{Id, IdPath, Params};
use crate::api::limits::{Limits, RequestPermit};
use crate::api::page::{Cursor, Page};
use crate::api::problem::{ApiError, Problem};
use crate::api::response::with_job;
use crate::app::service::Service;
use crate::domain::event::Event;
use crate::domain::job::{Job, JobKind, JobState};
use crate::domain::names::AppName;
use crate::store::JobFilter;

/// The longest that an answer is held.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// About how often those who wait look by themselves; a stream of a revoked token ends then.
const LOOK: Duration = Duration::from_secs(10);
/// Events in one read.
const BATCH: u32 = 500;

/// List jobs
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs", operation_id = "listJobs",
    params(
        ("app" = Option<AppName>, Query, description = "Jobs of this app"),
        ("state" = Option<JobState>, Query, description = "Jobs in this state"),
        ("kind" = Option<JobKind>, Query, description = "Jobs of this kind"),
        ("limit" = Option<u32>, Query, description = "Items at most", minimum = 1, maximum = 200),
        ("cursor" = Option<Id>, Query, description = "The next_cursor of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = Page<Job>),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(service): State<Arc<Service>>,
    _: Viewer,
    mut params: Params,
) -> Result<Json<Page<Job>>, ApiError> {
    let cursor = Cursor::of(&mut params);
    let filter = JobFilter {
        app: params.take("app", AppName::parse),
        state: params.take("state", |text| {
            text.parse::<JobState>()
                .map_err(|_| "is not a state of a job")
        }),
        kind: params.take("kind", |text| {
            text.parse::<JobKind>().map_err(|_| "is not a kind of job")
        }),
        before: cursor.from,
        limit: cursor.probe(),
    };
    params.finish()?;
    let found = service.store.jobs(&filter).await?;
    Ok(Json(cursor.page(found, |job| job.id, |job| job)))
}

/// Get a job
///
/// With `wait`, the response is held until the job ends or the time is up.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "getJob",
    params(
        ("id" = Id, Path, description = "The job's id"),
        ("wait" = Option<String>, Query, description = "Hold the answer until the job ends, at most this long: `500ms`, `30s`, up to `60s`", example = "30s", pattern = "^([1-5]?[0-9]s|60s|[1-5]?[0-9]{1,4}ms|60000ms|[01]m)$"),
    ),
    responses(
        (status = 200, description = "The job", body = Job),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    State(service): State<Arc<Service>>,
    _: Viewer,
    permit: RequestPermit,
    IdPath(id): IdPath,
    mut params: Params,
) -> Result<Json<Job>, ApiError> {
    let wait = params.take("wait", parse_wait).unwrap_or_default();
    params.finish()?;
    let until = Instant::now() + wait;
    let mut progress = permit.limits.followers.follow(id);
    let mut job = service
        .store
        .job(id)
        .await?
        .ok_or(ApiError::NoSuch("such job"))?;
    if !job.state.is_active() || wait.is_zero() {
        return Ok(Json(job));
    }
    let _waiting = permit.leave(wait)?;
    while job.state.is_active() && Instant::now() < until {
        tokio::select! {
            _ = progress.changed() => {}
            () = tokio::time::sleep(look_again()) => {}
            () = tokio::time::sleep_until(until) => {}
            () = service.tasks.stopping() => return Ok(Json(job)),
        }
        let _reading = permit.limits.reading().await;
        job = service
            .store
            .job(id)
            .await?
            .ok_or(ApiError::NoSuch("such job"))?;
    }
    Ok(Json(job))
}

/// An event as it comes in a stream.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the stream for the API's document")]
pub struct StreamedEvent {
    /// Its number, for `Last-Event-ID`.
    #[schema(example = "62")]
    id: String,
    /// What happened.
    #[schema(example = "change_applied")]
    event: String,
    /// The event as JSON.
    data: String,
}

/// Stream the events of a job
///
/// Sends server-sent events until the job ends or the token is revoked, starting after the event of `Last-Event-ID`. With
/// `Accept: application/json`, returns the events as a list.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/events", tag = "jobs", operation_id = "streamJobEvents",
    params(
        ("id" = Id, Path, description = "The job's id"),
        ("Last-Event-ID" = Option<i64>, Header, description = "Go on after this event", minimum = 0, nullable = false),
        ("cursor" = Option<i64>, Query, description = "The next_cursor of the page before, for JSON", minimum = 0),
    ),
    responses(
        (status = 200, description = "The events", content((StreamedEvent = "text/event-stream"), (Page<Event> = "application/json"))),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn events(
    State(service): State<Arc<Service>>,
    _: Viewer,
    token: Token,
    permit: RequestPermit,
    IdPath(id): IdPath,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let cursor = params.take("cursor", |text| {
        text.parse()
            .ok()
            .filter(|seq| *seq >= 0)
            .ok_or("must be a next_cursor of an earlier page")
    });
    params.finish()?;
    let last = last_event_id(&headers)?;
    let after = cursor.unwrap_or(last);
    service
        .store
        .job(id)
        .await?
        .ok_or(ApiError::NoSuch("such job"))?;
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if accept.contains("application/json") && !accept.contains("text/event-stream") {
        let items = service.store.events(id, after, BATCH).await?;
        let next_cursor = items
            .last()
            .filter(|_| items.len() == BATCH as usize)
            .map(|event| event.seq.to_string());
        return Ok(Json(Page { items, next_cursor }).into_response());
    }
    let following = Following {
        progress: permit.limits.followers.follow(id),
        ready: Vec::new().into_iter(),
        look_at: Instant::now() + look_again(),
        _waiting: permit.leave(Duration::ZERO)?,
        limits: permit.limits,
        service,
        token,
        job: id,
        after,
    };
    Ok(Sse::new(stream(following))
        .keep_alive(KeepAlive::default())
        .into_response())
}

/// Cancel a job
///
/// A running job stops after its current change. What it has made stays.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", tag = "jobs", operation_id = "cancelJob",
    params(("id" = Id, Path, description = "The job's id")),
    responses(
        (status = 202, description = "The job", body = Job, headers(("Location" = String, description = "The job's address"), ("Retry-After" = u32, description = "Seconds"))),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role operator", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The job has ended", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn cancel(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    IdPath(id): IdPath,
    params: Params,
) -> Result<Response, ApiError> {
    params.finish()?;
    let job = service.store.cancel(id, caller.name).await??;
    Ok(with_job(StatusCode::ACCEPTED, &job))
}

/// Retry a job
///
/// Continues a job that ended without success, or that waits, from what is there.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/retry", tag = "jobs", operation_id = "retryJob",
    params(
        ("id" = Id, Path, description = "The job's id"),
        ("accept_expiry" = Option<bool>, Query, description = "Let images with protected tags expire by the lifecycle policy"),
    ),
    responses(
        (status = 202, description = "The job", body = Job, headers(("Location" = String, description = "The job's address"), ("Retry-After" = u32, description = "Seconds"))),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role operator", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The job is at work or has succeeded, or another is at work on its app", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn retry(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    IdPath(id): IdPath,
    mut params: Params,
) -> Result<Response, ApiError> {
    let accept_expiry = params.flag("accept_expiry");
    params.finish()?;
    let job = service
        .store
        .retry(id, caller.name, accept_expiry)
        .await??;
    Ok(with_job(StatusCode::ACCEPTED, &job))
}

fn parse_wait(text: &str) -> Result<Duration, &'static str> {
    // Humantime takes more, such as `0` and `1day 2h`, than can be told in a line.
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let wait = humantime::parse_duration(text)
        .ok()
        .filter(|_| matches!(unit, "ms" | "s" | "m"))
        .ok_or("must be a duration such as 30s")?;
    if wait > MAX_WAIT {
        Err("must be at most 60s")
    } else {
        Ok(wait)
    }
}

fn last_event_id(headers: &HeaderMap) -> Result<i64, ApiError> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(0);
    };
    let wrong = || {
        ApiError::Parameters(vec![crate::domain::validation::FieldError::new(
            "Last-Event-ID",
            "must be the id of an event",
        )])
    };
    value
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|id| *id >= 0)
        .ok_or_else(wrong)
}

/// When those who wait look by themselves, in case that a commit was not heard of: not all at once.
fn look_again() -> Duration {
    LOOK.mul_f64(0.5 + fastrand::f64())
}

/// What a stream still has to send, and where it stands.
struct Following {
    service: Arc<Service>,
    limits: Arc<Limits>,
    _waiting: OwnedSemaphorePermit,
    token: Token,
    progress: watch::Receiver<()>,
    job: Ulid,
    after: i64,
    ready: std::vec::IntoIter<Event>,
    /// When it looks without having heard of anything.
    look_at: Instant,
}

fn stream(following: Following) -> impl Stream<Item = Result<SseEvent, serde_json::Error>> {
    unfold(following, |mut following| async move {
        let event = following.next().await?;
        let sse = SseEvent::default()
            .id(event.seq.to_string())
            .event(event.payload.name())
            .json_data(&event);
        Some((
            sse.map_err(|_| serde::ser::Error::custom("an event does not serialize")),
            following,
        ))
    })
}

impl Following {
    /// The next event; `None` when the job has ended, the token is revoked, the service stops, or the
    /// database is in job_error (the client comes back with its last id).
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
                () = tokio::time::sleep_until(self.look_at) => {
                    self.look_at = Instant::now() + look_again();
                    if self.token.is_revoked(&self.service).await {
                        return None;
                    }
                }
                () = self.service.tasks.stopping() => return None,
            }
        }
    }

    /// Whether the job goes on, and what has happened since the last event.
    async fn read(&self) -> Option<(bool, Vec<Event>)> {
        let _reading = self.limits.reading().await;
        // The job first: its last event is committed with its end.
        let job = self.service.store.job(self.job).await.ok()??;
        let batch = self
            .service
            .store
            .events(self.job, self.after, BATCH)
            .await
            .ok()?;
        Some((job.state.is_active(), batch))
    }
}
