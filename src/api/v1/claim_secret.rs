//! `POST /v1/apps/{app}/credentials/{access_key_id}/claim`

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::api::accept::preferred;
use crate::api::auth::Operator;
use crate::api::idempotency::{Idempotency, IdempotencyText};
use crate::api::params::Params;
use crate::api::path::KeyPath;
use crate::api::problem::ApiError;
use crate::app::claim::{ClaimedSecret, claim};
use crate::app::service::Service;
use crate::domain::access_key::Readiness;
use crate::domain::job::RepositoryResult;
use crate::domain::names::{AccessKeyId, AppName};
use crate::provision::render::dotenv::Variables;

/// A claimed secret. The fields in capitals are the names of the app's environment variables.
#[derive(Serialize, ToSchema)]
pub struct Claim {
    /// The id of the access key.
    #[serde(rename = "AWS_ACCESS_KEY_ID")]
    #[schema(example = "AKIAIOSFODNN7EXAMPLE")]
    access_key_id: String,
    /// The secret access key.
    #[serde(rename = "AWS_SECRET_ACCESS_KEY", serialize_with = "exposed")]
    #[schema(value_type = String, example = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")]
    secret: SecretString,
    /// The app's region.
    #[serde(rename = "AWS_REGION")]
    #[schema(example = "us-west-2")]
    region: String,
    /// The app's first bucket.
    #[serde(rename = "S3_BUCKET")]
    #[schema(example = "acme-shop-media")]
    bucket: Option<String>,
    /// All of the app's buckets.
    #[serde(rename = "S3_BUCKETS")]
    buckets: Vec<String>,
    /// The URI of the app's first image repository.
    #[serde(rename = "ECR_REPOSITORY")]
    #[schema(example = "123456789012.dkr.ecr.us-west-2.amazonaws.com/acme-shop")]
    repository: Option<String>,
    /// All of the app's image repositories.
    #[serde(rename = "ECR_REPOSITORIES")]
    repositories: Vec<RepositoryResult>,
    /// Whether AWS has been seen to accept the key. A key that is not `ready` can take some seconds to work.
    status: Readiness,
    /// The variables of resources of other kinds.
    #[serde(flatten)]
    #[schema(ignore)]
    others: BTreeMap<&'static str, Value>,
}

/// The variables that are fields of [`Claim`].
pub const FIELDS: [&str; 2] = ["S3_BUCKET", "ECR_REPOSITORY"];

fn others(resources: Vec<(Variables, Vec<String>)>) -> BTreeMap<&'static str, Value> {
    let others = resources
        .into_iter()
        .filter(|(variables, _)| !FIELDS.contains(&variables.first));
    others
        .flat_map(|(Variables { first, all }, values)| {
            [(first, json!(values.first())), (all, json!(values))]
        })
        .collect()
}

fn exposed<S: serde::Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

impl From<ClaimedSecret> for Claim {
    fn from(claimed: ClaimedSecret) -> Self {
        Self {
            access_key_id: claimed.access_key_id,
            secret: claimed.secret,
            region: claimed.region,
            bucket: claimed.buckets.first().cloned(),
            buckets: claimed.buckets,
            repository: claimed
                .repositories
                .first()
                .map(|repository| repository.uri.clone()),
            repositories: claimed.repositories,
            status: claimed.readiness,
            others: others(claimed.resources),
        }
    }
}

/// Claim the secret of an access key.
///
/// Returns the secret once, as JSON or, for `Accept: text/plain`, in dotenv format. With an Idempotency-Key, the same
/// caller can repeat the request for ten minutes, in case the response is lost.
#[utoipa::path(
    post, path = "/v1/apps/{app}/credentials/{access_key_id}/claim", tag = "credentials", operation_id = "claimSecret",
    params(
        ("app" = AppName, Path, description = "The name of the app."),
        ("access_key_id" = AccessKeyId, Path, description = "The id of the access key."),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "The same caller can repeat the request with this key for ten minutes."),
    ),
    responses(
        (status = 200, description = "The secret.", content((Claim = "application/json"), (String = "text/plain"))),
        (status = 403, description = "The role `operator` is required, or you signed in more than five minutes ago."),
        (status = 404, description = "No such app or access key."),
        (status = 410, description = "The secret was already claimed, was not claimed within seven days, or its access key was deleted."),
        (status = 500, description = "The secret cannot be decrypted."),
    )
)]
pub async fn claim_secret(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    KeyPath(name, access_key): KeyPath,
    params: Params,
    idempotency: Idempotency,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    params.finish()?;
    let repeat_key = idempotency.text.as_deref();
    let claimed = claim(&service, &caller, &name, &access_key, repeat_key).await?;
    let mut response = match preferred(&headers, &["application/json", "text/plain"]) {
        "text/plain" => claimed.dotenv().into_response(),
        _ => Json(Claim::from(claimed)).into_response(),
    };
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
