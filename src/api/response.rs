//! The answer to a request for a job.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::problem::ApiError;
use crate::domain::job::Job;
use crate::store::Accepted;

/// 202 with the job, where it is and when to look; or what was answered before.
pub fn accepted(accepted: Accepted) -> Result<Response, ApiError> {
    match accepted {
        Accepted::Fresh(job) => Ok(with_job(StatusCode::ACCEPTED, &job)),
        Accepted::Replay(job) => {
            let mut response = with_job(StatusCode::ACCEPTED, &job);
            response
                .headers_mut()
                .insert("idempotent-replayed", HeaderValue::from_static("true"));
            Ok(response)
        }
    }
}

/// A job with its address.
pub fn with_job(status: StatusCode, job: &Job) -> Response {
    let mut response = (status, Json(job)).into_response();
    point_to(&mut response, &format!("/v1/jobs/{}", job.id));
    response
}

fn point_to(response: &mut Response, location: &str) {
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
}
