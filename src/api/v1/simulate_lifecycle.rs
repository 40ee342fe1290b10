//! `POST /v1/ecr/lifecycle/simulate`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Viewer;
use crate::api::body::JsonBody;
use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::simulate_lifecycle::simulate;
use crate::domain::ecr_lifecycle::simulation::{SimulateRequest, Simulation};

/// Simulate a lifecycle policy.
///
/// Returns for each image whether the policy expires it, by which rule, and why no other rule does. The images are
/// those in the body or those of a repository. Changes nothing.
#[utoipa::path(
    post, path = "/v1/ecr/lifecycle/simulate", tag = "ecr", operation_id = "simulateLifecycle",
    request_body(content = SimulateRequest, example = json!({"policy": "guide", "images": [{"tags": ["1.2.3"], "age_days": 4}]})),
    responses(
        (status = 200, description = "The result for each image.", body = Simulation),
        (status = 404, description = "No such repository."),
        (status = 422, description = "Fields are invalid."),
        (status = 502, description = "AWS does not return the repository."),
        (status = 503, description = "The database is not available, or AWS is throttling the account."),
    )
)]
pub async fn simulate_lifecycle(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    params: Params,
    body: JsonBody,
) -> Result<Json<Simulation>, ApiError> {
    params.finish()?;
    Ok(Json(
        simulate(&service, &caller.scope, body.required()?).await?,
    ))
}
