//! `POST /v1/oauth/token`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::form::{Form, invalid};
use crate::api::limits::RequestPermit;
use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::app::error::{GrantError, UseCaseError};
use crate::app::service::{Service, token_hash};
use crate::app::token_exchange::{self, LIFETIME};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN_TYPES: [&str; 2] = [
    "urn:ietf:params:oauth:token-type:id_token",
    "urn:ietf:params:oauth:token-type:jwt",
];

/// A token exchange (RFC 8693).
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "describes the body in the OpenAPI document")]
pub struct TokenExchange {
    /// `urn:ietf:params:oauth:grant-type:token-exchange`.
    #[schema(example = "urn:ietf:params:oauth:grant-type:token-exchange")]
    grant_type: String,
    /// The ID token of the pipeline.
    #[schema(
        example = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0.eyJpc3MiOiJodHRwczovL2lzc3VlciJ9.c2ln"
    )]
    subject_token: String,
    /// `urn:ietf:params:oauth:token-type:id_token` or `urn:ietf:params:oauth:token-type:jwt`.
    #[schema(example = "urn:ietf:params:oauth:token-type:id_token")]
    subject_token_type: String,
}

/// An API token (RFC 8693).
#[derive(Debug, Serialize, ToSchema)]
pub struct ExchangedToken {
    /// The token, for `Authorization: Bearer`.
    #[schema(example = "slipway_5f1c0d6f0b7e4b0f9b8a7d6c5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f")]
    access_token: String,
    /// `urn:ietf:params:oauth:token-type:access_token`.
    #[schema(example = "urn:ietf:params:oauth:token-type:access_token")]
    issued_token_type: &'static str,
    /// `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// The seconds for which the token is valid.
    #[schema(example = 1800)]
    expires_in: u64,
}

/// Exchange an ID token.
///
/// Exchanges the ID token of a pipeline for an API token that is valid for 30 minutes (RFC 8693), if a trust rule accepts it.
/// Needs no other token. Each ID token is exchanged once.
#[utoipa::path(
    post, path = "/v1/oauth/token", tag = "tokens", operation_id = "exchangeToken", security(()),
    request_body(content = TokenExchange, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The token.", body = ExchangedToken),
        (status = 400, description = "A field is missing or invalid, or the ID token is not accepted. `error` is that of RFC 6749."),
        (status = 503, description = "The issuer's keys cannot be fetched, the database is not available, or the service is overloaded."),
    )
)]
pub async fn exchange_token(
    State(service): State<Arc<Service>>,
    permit: RequestPermit,
    params: Params,
    form: Form,
) -> Result<Response, ApiError> {
    params.finish()?;
    if form.required("grant_type")? != GRANT_TYPE {
        return Err(UseCaseError::from(GrantError::Type).into());
    }
    let token = form.required("subject_token")?;
    if !ID_TOKEN_TYPES.contains(&form.required("subject_token_type")?) {
        let why = "must be urn:ietf:params:oauth:token-type:id_token or urn:ietf:params:oauth:token-type:jwt";
        return Err(invalid("subject_token_type", why));
    }
    if form
        .get("requested_token_type")
        .is_some_and(|kind| kind != ACCESS_TOKEN)
    {
        let why = "must be urn:ietf:params:oauth:token-type:access_token";
        return Err(invalid("requested_token_type", why));
    }
    let granted = token_exchange::exchange_token(&service, token).await?;
    permit.limits.note_valid_token(&token_hash(&granted.token));
    let mut response = Json(ExchangedToken {
        access_token: granted.token,
        issued_token_type: ACCESS_TOKEN,
        token_type: "Bearer",
        expires_in: LIFETIME.as_secs(),
    })
    .into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
