//! `GET /v1/jobs/{id}`

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use tokio::time::Instant;

use crate::api::auth::Viewer;
use crate::api::job::JobResponse;
use crate::api::job_watch::poll_delay;
use crate::api::limits::RequestPermit;
use crate::api::params::Params;
use crate::api::path::{Id, JobPath};
use crate::api::problem::ApiError;
use crate::app::service::Service;

const MAX_WAIT: Duration = Duration::from_secs(60);

/// Get a job.
///
/// With `wait`, the response is sent when the job ends or awaits approval, or the time is up.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "getJob",
    params(
        ("id" = Id, Path, description = "The id of the job."),
        ("wait" = Option<String>, Query, description = "Wait at most this long for the job to end: a duration up to 60s, such as `500ms` or `30s`.", example = "30s", pattern = "^([1-5]?[0-9]s|60s|[1-5]?[0-9]{1,4}ms|60000ms|[01]m)$"),
    ),
    responses(
        (status = 200, description = "The job.", body = JobResponse),
        (status = 404, description = "No such job."),
    )
)]
pub async fn get_job(
    State(service): State<Arc<Service>>,
    _: Viewer,
    permit: RequestPermit,
    JobPath(id): JobPath,
    mut params: Params,
) -> Result<Json<JobResponse>, ApiError> {
    let wait = params.take("wait", parse_wait).unwrap_or_default();
    params.finish()?;
    let until = Instant::now() + wait;
    let mut progress = permit.limits.watch.subscribe(id);
    let read = async || service.store.job(id).await?.ok_or(ApiError::NoSuch("job"));
    let mut job = read().await?;
    if !job.state.is_in_progress() || wait.is_zero() {
        return Ok(Json(job.into()));
    }
    let _waiting = permit.exchange_for_waiting(wait)?;
    while job.state.is_in_progress() && Instant::now() < until {
        tokio::select! {
            _ = progress.changed() => {}
            () = tokio::time::sleep(poll_delay()) => {}
            () = tokio::time::sleep_until(until) => {}
            () = service.tasks.stopping() => return Ok(Json(job.into())),
        }
        let _reading = permit.limits.reader_permit().await;
        job = read().await?;
    }
    Ok(Json(job.into()))
}

fn parse_wait(text: &str) -> Result<Duration, &'static str> {
    // `humantime` also accepts forms such as `0` and `1day 2h`, which the API does not document.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_duration_of_at_most_a_minute() {
        assert_eq!(parse_wait("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_wait("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_wait("1m"), Ok(MAX_WAIT));
        for text in ["", "0", "30", "1day 2h", "61s", "-1s", "soon"] {
            assert!(parse_wait(text).is_err(), "{text}");
        }
    }
}
