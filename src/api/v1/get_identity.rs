//! `GET /v1/identity`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::auth::Viewer;
use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::aws::Identity;

/// The identity of the service.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServiceIdentity {
    /// The AWS identity.
    #[serde(flatten)]
    aws: Identity,
    /// The id of this installation of Slipway. Its AWS resources have it in the tag `slipway:installation`.
    #[schema(example = "01JZ8Q4W5B3N7T9V2X6Y0C1D2E")]
    installation: String,
}

/// Get the identity of the service.
///
/// Returns the service's AWS identity and where its credentials come from.
#[utoipa::path(
    get, path = "/v1/identity", tag = "service", operation_id = "getIdentity",
    responses((status = 200, description = "The identity.", body = ServiceIdentity))
)]
pub async fn get_identity(
    State(service): State<Arc<Service>>,
    _: Viewer,
    params: Params,
) -> Result<Json<ServiceIdentity>, ApiError> {
    params.finish()?;
    Ok(Json(ServiceIdentity {
        aws: service.identity().clone(),
        installation: service.store.installation().to_string(),
    }))
}
