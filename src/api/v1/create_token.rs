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
use crate::app::tokens::{self, NewToken, parse_token_name};
use crate::domain::role::Role;
use crate::domain::validation::Fields;

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
    /// The token's role. `viewer` reads, `operator` also requests jobs and claims secrets, `admin` also manages tokens.
    role: Role,
}

/// Create a token.
///
/// Returns the token once. Slipway stores only its hash.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "tokens", operation_id = "createToken",
    request_body(content = TokenRequest, example = json!({"name": "deploy-bot", "role": "operator"})),
    responses(
        (status = 201, description = "The token.", body = NewToken),
        (status = 403, description = "The role `admin` is required."),
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
    let mut fields = Fields::of(body.required()?, "");
    let name = fields.required("name", parse_token_name);
    let role = fields.required("role", |text| {
        text.parse::<Role>()
            .map_err(|_| "must be viewer, operator or admin")
    });
    let errors = fields.finish();
    let (Some(name), Some(role), true) = (name, role, errors.is_empty()) else {
        return Err(ApiError::Fields(errors));
    };
    let new = tokens::create_token(&service.store, &name, role, &caller.name).await?;
    permit.limits.note_valid_token(&token_hash(&new.token));
    let mut response = (StatusCode::CREATED, Json(new)).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
