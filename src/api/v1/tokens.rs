//! API tokens: make, list, revoke. A token is shown once and stored as a hash.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::auth::Admin;
use crate::api::body::{Id, IdPath, JsonBody, Params};
use crate::api::limits::RequestPermit;
use crate::api::page::Page;
use crate::api::problem::{ApiError, Problem};
use crate::app::service::{Service, token_hash};
use crate::domain::role::Role;
use crate::domain::validation::Fields;
use crate::store::{Store, StoreError, TokenRow};

/// A token to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the body for the API's document")]
pub struct TokenRequest {
    /// Who or what will carry it.
    #[schema(
        example = "deploy-bot",
        min_length = 1,
        max_length = 64,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
    /// What it allows.
    role: Role,
}

/// A new token: the only time that it is shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewToken {
    /// What is recorded of it.
    #[serde(flatten)]
    pub row: TokenRow,
    /// The token.
    #[schema(example = "slipway_…")]
    pub token: String,
}

/// Makes a token and records its hash.
///
/// # Errors
/// When the database does not answer, or the system has no randomness.
pub async fn make(store: &Store, name: &str, role: Role, by: &str) -> Result<NewToken, StoreError> {
    let mut random = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| StoreError::Unavailable("the system has no randomness".into()))?;
    let token = format!("slipway_{}", hex::encode(random));
    let row = store
        .create_token(name, role, token_hash(&token), by)
        .await?;
    Ok(NewToken { row, token })
}

/// List tokens
///
/// The tokens themselves are not shown.
#[utoipa::path(
    get, path = "/v1/tokens", tag = "tokens", operation_id = "listTokens",
    responses(
        (status = 200, description = "The tokens", body = Page<TokenRow>),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role admin", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(service): State<Arc<Service>>,
    _: Admin,
    params: Params,
) -> Result<Json<Page<TokenRow>>, ApiError> {
    params.finish()?;
    Ok(Json(Page {
        items: service.store.tokens().await?,
        next_cursor: None,
    }))
}

/// Create a token
///
/// The token is shown in this response and never again.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "tokens", operation_id = "createToken",
    request_body(content = TokenRequest),
    responses(
        (status = 201, description = "The token", body = NewToken),
        (status = 400, description = "Not JSON, or wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role admin", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "More than 64 KiB", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Fields that will not do", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    permit: RequestPermit,
    params: Params,
    body: JsonBody,
) -> Result<Response, ApiError> {
    params.finish()?;
    let mut fields = Fields::of(body.required()?, "");
    let name = fields.required("name", parse_name);
    let role = fields.required("role", |text| {
        text.parse::<Role>()
            .map_err(|_| "must be viewer, operator or admin")
    });
    let errors = fields.finish();
    let (Some(name), Some(role), true) = (name, role, errors.is_empty()) else {
        return Err(ApiError::Fields(errors));
    };
    let new = make(&service.store, &name, role, &caller.name).await?;
    permit.limits.know(&token_hash(&new.token), true);
    let mut response = (StatusCode::CREATED, Json(new)).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Revoke a token
///
/// Takes effect at once.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", tag = "tokens", operation_id = "revokeToken",
    params(("id" = Id, Path, description = "The token's id")),
    responses(
        (status = 204, description = "Revoked"),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role admin", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such token", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
    params: Params,
) -> Result<StatusCode, ApiError> {
    params.finish()?;
    if service.store.delete_token(id, &caller.name).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::NoSuch("such token"))
    }
}

/// A token's name.
///
/// # Errors
/// When it is empty, too long or not visible.
pub fn parse_name(text: &str) -> Result<String, &'static str> {
    let fits = (1..=64).contains(&text.chars().count())
        && !text.chars().any(char::is_control)
        && !text.trim().is_empty();
    if fits {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 64 visible characters")
    }
}
