//! `POST /v1/accounts/{account}/setup/people/{email}/claim`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::auth::Admin;
use crate::api::idempotency::{Idempotency, IdempotencyText};
use crate::api::params::Params;
use crate::api::path::PersonPath;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::setup::claim::claim;
use crate::domain::names::{AccountName, AppName};

/// The first console password of a person.
#[derive(Serialize, ToSchema)]
pub struct PasswordClaim {
    /// The name of the IAM user.
    #[schema(example = "ana@example.com")]
    user: String,
    /// The password. The person has to change it at the first sign-in.
    #[serde(serialize_with = "exposed")]
    #[schema(value_type = String, example = "nU4*dR7(kPz9!mWc2@eYb5+tHqX8_jLs")]
    password: SecretString,
    /// The sign-in page of the account.
    #[schema(example = "https://the-customer.signin.aws.amazon.com/console")]
    sign_in_url: String,
}

fn exposed<S: serde::Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

/// Claim the first console password of a person.
///
/// Returns the password once. The person has to change it at the first sign-in. With an Idempotency-Key, the same caller
/// can repeat the request for ten minutes, in case the response is lost.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/setup/people/{email}/claim", tag = "accounts", operation_id = "claimPassword",
    params(
        ("account" = AccountName, Path, description = "The name of the account."),
        ("email" = AppName, Path, description = "The e-mail address of the person."),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "The same caller can repeat the request with this key for ten minutes."),
    ),
    responses(
        (status = 200, description = "The password.", body = PasswordClaim),
        (status = 403, description = "The role `admin` is required: the person may be an administrator of the account."),
        (status = 404, description = "No such account, set-up or person, or AWS has not set the password yet."),
        (status = 410, description = "The password was already claimed, or was not claimed within seven days."),
        (status = 500, description = "The password cannot be decrypted."),
    )
)]
pub async fn claim_password(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    PersonPath(account, person): PersonPath,
    params: Params,
    idempotency: Idempotency,
) -> Result<Response, ApiError> {
    params.finish()?;
    let repeat_key = idempotency.text.as_deref();
    let claimed = claim(&service, &caller, &account, &person, repeat_key).await?;
    let mut response = Json(PasswordClaim {
        user: claimed.user,
        password: claimed.password,
        sign_in_url: claimed.sign_in_url,
    })
    .into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
