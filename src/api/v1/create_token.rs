//! `POST /v1/tokens`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::auth::Admin;
use crate::api::body::JsonBody;
use crate::api::limits::RequestPermit;
use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::app::service::{Service, token_hash};
use crate::app::tokens::{self, NewToken};
use crate::domain::role::Role;
use crate::domain::scope::Scope;

/// A token to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body in the OpenAPI document")]
pub struct TokenRequest {
    /// The person or program that uses the token.
    #[schema(
        example = "deploy-bot",
        min_length = 1,
        max_length = 64,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
    /// The token's role. `viewer` reads, `operator` also requests jobs and claims secrets, `approver` also approves, `admin`
    /// also manages tokens, trust rules and accounts.
    role: Role,
    /// The apps and accounts that the token is for. Absent for all that you may see.
    #[schema(nullable = false)]
    scope: Option<Scope>,
    /// How long the token is valid. Absent if it does not expire.
    #[schema(value_type = Option<String>, nullable = false, example = "90d", pattern = "^[1-9][0-9]*[hdw]$")]
    expires_in: Option<String>,
}

/// Create a token.
///
/// Returns the token once. Slipway stores only its hash. Nobody can create a token that may do more than he may, or that
/// outlives his own.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "tokens", operation_id = "createToken",
    request_body(content = TokenRequest, example = json!({"name": "deploy-bot", "role": "operator"})),
    responses(
        (status = 201, description = "The token.", body = NewToken),
        (status = 403, description = "The role `admin` is required, or the token would allow more than yours."),
        (status = 422, description = "Fields are invalid."),
    )
)]
pub async fn create_token(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    permit: RequestPermit,
    params: Params,
    body: JsonBody,
) -> Result<Response, ApiError> {
    params.finish()?;
    let new = tokens::create_token_for(&service, &caller, body.required()?).await?;
    permit.limits.note_valid_token(&token_hash(&new.token));
    let mut response = (StatusCode::CREATED, Json(new)).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
