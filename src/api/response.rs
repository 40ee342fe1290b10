//! Responses to requests that enqueue a job.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::job::JobResponse;
use crate::domain::job::Job;
use crate::store::Accepted;

/// 202 with the job, or with the job of the first request to a repeated one.
pub fn accepted(accepted: Accepted) -> Response {
    match accepted {
        Accepted::Fresh(job) => with_job(*job),
        Accepted::Replay(job) => {
            let mut response = with_job(*job);
            response
                .headers_mut()
                .insert("idempotent-replayed", HeaderValue::from_static("true"));
            response
        }
    }
}

/// 202 with the job, its URL and when to poll it.
pub fn with_job(job: Job) -> Response {
    let id = job.id;
    let mut response = (StatusCode::ACCEPTED, Json(JobResponse::from(job))).into_response();
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/jobs/{id}")) {
        headers.insert(header::LOCATION, location);
    }
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
