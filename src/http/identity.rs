//! The service's AWS identity.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::auth::Viewer;
use super::body::Params;
use super::problem::{ApiError, Problem};
use crate::aws::Identity;
use crate::service::Service;

/// Shows who the service is in AWS, and where its credentials come from.
#[utoipa::path(
    get, path = "/v1/identity", tag = "service", operation_id = "getIdentity",
    responses(
        (status = 200, description = "The identity", body = Identity),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(State(service): State<Arc<Service>>, _: Viewer, params: Params) -> Result<Json<Identity>, ApiError> {
    params.finish()?;
    Ok(Json(service.identity().clone()))
}
