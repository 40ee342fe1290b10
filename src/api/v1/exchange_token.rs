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
use crate::app::device_sign_in;
use crate::app::error::{GrantError, UseCaseError};
use crate::app::service::{Service, token_hash};
use crate::app::token_exchange::{self, LIFETIME};
use crate::oidc::DEVICE_GRANT;

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN_TYPES: [&str; 2] = [
    "urn:ietf:params:oauth:token-type:id_token",
    "urn:ietf:params:oauth:token-type:jwt",
];

/// A token exchange (RFC 8693), or the request for a token after a sign-in at a terminal (RFC 8628).
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "describes the body in the OpenAPI document")]
pub struct TokenExchange {
    /// `urn:ietf:params:oauth:grant-type:token-exchange` or `urn:ietf:params:oauth:grant-type:device_code`.
    #[schema(example = "urn:ietf:params:oauth:grant-type:token-exchange")]
    grant_type: String,
    /// For an exchange: the ID token of the pipeline.
    #[schema(
        nullable = false,
        example = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0.eyJpc3MiOiJodHRwczovL2lzc3VlciJ9.c2ln"
    )]
    subject_token: Option<String>,
    /// For an exchange: `urn:ietf:params:oauth:token-type:id_token` or `urn:ietf:params:oauth:token-type:jwt`.
    #[schema(
        nullable = false,
        example = "urn:ietf:params:oauth:token-type:id_token"
    )]
    subject_token_type: Option<String>,
    /// For a sign-in at a terminal: the `device_code` of `POST /v1/oauth/device_authorization`.
    #[schema(
        nullable = false,
        example = "GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS"
    )]
    device_code: Option<String>,
}

/// An API token (RFC 6749, RFC 8693).
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

/// Get a token.
///
/// Exchanges the ID token of a pipeline for an API token that is valid for 30 minutes (RFC 8693), if a trust rule accepts it.
/// Each ID token is exchanged once. Or completes a sign-in at a terminal (RFC 8628): until the person has signed in, `error`
/// is `authorization_pending`. Needs no other token.
#[utoipa::path(
    post, path = "/v1/oauth/token", tag = "tokens", operation_id = "exchangeToken", security(()),
    request_body(content = TokenExchange, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The token.", body = ExchangedToken),
        (status = 400, description = "A field is missing or invalid, the ID token is not accepted, or the sign-in is not complete. `error` is that of RFC 6749 or RFC 8628."),
        (status = 404, description = "Nobody can sign in at a terminal: sign-in is not configured, or the identity provider has no device flow."),
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
    let (token, lifetime) = match form.required("grant_type")? {
        TOKEN_EXCHANGE => (exchanged(&service, &form).await?, LIFETIME),
        DEVICE_GRANT => {
            let (granted, lifetime) =
                device_sign_in::complete(&service, form.required("device_code")?).await?;
            (granted.token, lifetime)
        }
        _ => return Err(UseCaseError::from(GrantError::Type).into()),
    };
    permit.limits.note_valid_token(&token_hash(&token));
    let mut response = Json(ExchangedToken {
        access_token: token,
        issued_token_type: ACCESS_TOKEN,
        token_type: "Bearer",
        expires_in: lifetime.as_secs(),
    })
    .into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The token for the ID token of a pipeline.
async fn exchanged(service: &Service, form: &Form) -> Result<String, ApiError> {
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
    let granted = token_exchange::exchange_token(service, token).await?;
    Ok(granted.token)
}
