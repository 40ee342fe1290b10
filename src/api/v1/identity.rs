//! The service's AWS identity.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::auth::Viewer;
use crate::api::body::Params;
use crate::api::problem::{ApiError, Problem};
use crate::app::service::Service;
use crate::aws::Identity;

/// Who the service is.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServiceIdentity {
    /// Who it is in AWS.
    #[serde(flatten)]
    aws: Identity,
    /// The id of this installation of Slipway, which its things carry in the tag `slipway:installation`.
    #[schema(example = "01JZ8Q4W5B3N7T9V2X6Y0C1D2E")]
    installation: String,
}

/// Get the service's identity
///
/// Shows who the service is in AWS, and where its credentials come from.
#[utoipa::path(
    get, path = "/v1/identity", tag = "service", operation_id = "getIdentity",
    responses(
        (status = 200, description = "The identity", body = ServiceIdentity),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    State(service): State<Arc<Service>>,
    _: Viewer,
    params: Params,
) -> Result<Json<ServiceIdentity>, ApiError> {
    params.finish()?;
    let (aws, installation) = (
        service.identity().clone(),
        service.store.installation().to_string(),
    );
    Ok(Json(ServiceIdentity { aws, installation }))
}
