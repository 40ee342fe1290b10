//! Image repositories: what a lifecycle policy would do.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use crate::api::auth::Viewer;
use crate::api::body::{JsonBody, Params};
use crate::api::problem::{ApiError, Problem};
use crate::app::service::Service;
use crate::aws::account::PATIENCE;
use crate::domain::ecr_lifecycle::simulation::{
    MAX_IMAGES, SimulateRequest, Simulation, SimulationRequest,
};
use crate::domain::ecr_lifecycle::{Image, LifecyclePolicy};
use crate::domain::names::{AccountName, Region, RepositoryName};
use crate::domain::validation::FieldError;
use crate::provision::context::Timing;
use crate::provision::repository_contents::look;

/// Simulate an image lifecycle policy
///
/// Shows for each image whether it expires, by which rule, and why not by another. The images are those in the body, or
/// those of a repository. Changes nothing.
#[utoipa::path(
    post, path = "/v1/ecr/lifecycle/simulate", tag = "ecr", operation_id = "simulateLifecycle",
    request_body(content = SimulateRequest, example = json!({"policy": "guide", "images": [{"tags": ["1.2.3"], "age_days": 4}]})),
    responses(
        (status = 200, description = "What becomes of each image", body = Simulation),
        (status = 400, description = "Not JSON, or wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such repository", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "More than 64 KiB", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Fields that will not do", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "AWS does not show the repository", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer, or AWS throttles the account", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn simulate(
    State(service): State<Arc<Service>>,
    _: Viewer,
    params: Params,
    body: JsonBody,
) -> Result<Json<Simulation>, ApiError> {
    params.finish()?;
    let now = service.clock.now();
    let request = SimulationRequest::parse(body.required()?, &service.place(), now)
        .map_err(ApiError::Fields)?;
    let (policy, images) = match request {
        SimulationRequest::Images { policy, images } => (policy, images),
        SimulationRequest::Repository {
            policy,
            account,
            region,
            name,
        } => checked_at(&service, policy, &account, &region, &name).await?,
    };
    Ok(Json(Simulation::of(policy, images, now)))
}

/// The images of a repository, and its policy where none is given.
async fn checked_at(
    service: &Service,
    policy: Option<LifecyclePolicy>,
    account: &AccountName,
    region: &Region,
    name: &RepositoryName,
) -> Result<(LifecyclePolicy, Vec<Image>), ApiError> {
    let no_account = || {
        wrong(
            "/repository/account",
            format!("no account is registered as {account}"),
        )
    };
    let account = service.account(account).ok_or_else(no_account)?;
    let timing = Timing {
        turn: PATIENCE,
        ..service.timing
    };
    let seen = look(&account, region, name, MAX_IMAGES, timing)
        .await?
        .ok_or(ApiError::NoSuch("such repository"))?;
    if seen.images.len() > MAX_IMAGES {
        return Err(wrong(
            "/repository/name",
            format!("has more than the {MAX_IMAGES} images that are simulated at once"),
        ));
    }
    let policy = match policy {
        Some(policy) => policy,
        None => present(seen.policy.as_ref())?,
    };
    Ok((policy, seen.images))
}

/// The policy that a repository has.
fn present(document: Option<&Value>) -> Result<LifecyclePolicy, ApiError> {
    let document = document.ok_or_else(|| {
        wrong(
            "/policy",
            "is required: the repository has no lifecycle policy".into(),
        )
    })?;
    LifecyclePolicy::parse(document).map_err(|problems| {
        let first = problems
            .first()
            .map(|problem| format!(": {} {}", problem.pointer, problem.message))
            .unwrap_or_default();
        wrong(
            "/policy",
            format!("is required: the repository's own policy cannot be read{first}"),
        )
    })
}

fn wrong(pointer: &str, message: String) -> ApiError {
    ApiError::Fields(vec![FieldError::new(pointer, message)])
}
