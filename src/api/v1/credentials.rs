//! Credentials: list them, claim a secret once, rotate them, and switch single keys on and off.
//!
//! Invariant: a request that AWS would let do harm is refused before it becomes a job; the job looks again.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::auth::{Operator, Viewer};
use crate::api::body::{
    AppPath, IdempotencyText, KeyPath, Params, idempotency_header, idempotency_key,
};
use crate::api::problem::{ApiError, Problem};
use crate::api::response;
use crate::app::credentials::keys_of;
use crate::app::find::live_app;
use crate::app::rotate::{first_job, key_job, set_old_key_status};
use crate::app::service::Service;
use crate::clock::Timestamp;
use crate::domain::access_key::{CLAIM_DEADLINE, Credential, KeyState, Readiness, SecretState};
use crate::domain::app::App;
use crate::domain::job::{Job, RepositoryResult};
use crate::domain::names::{AccessKeyId, AppName};
use crate::domain::role::Caller;
use crate::domain::rotation::{Rotation, RotationEvent};
use crate::domain::task::{KeyStatus, Task};
use crate::provision::render::dotenv::{Environment, Secret};
use crate::provision::rotation_rules::{NoStart, is_in_use, start, told};
use crate::provision::user_keys::SeenKey;
use crate::store::{
    Accepted, AppChange, ClaimAnswer, CredentialRow, IdempotencyKey, JobRequest, Refusal,
    RotationChange, fingerprint,
};

/// The keys on an app's user, and where the rotation of its key stands.
#[derive(Serialize, ToSchema)]
pub struct CredentialPage {
    /// The keys: a user has two at most, and those that are gone are listed too.
    items: Vec<Credential>,
    /// Always absent: there is one page.
    next_cursor: Option<String>,
    /// The last rotation, also one that has ended.
    rotation: Option<Rotation>,
}

/// What a claim shows, once. The names in capitals are those of the app's environment.
#[derive(Serialize, ToSchema)]
pub struct Claim {
    /// The access key's id.
    #[serde(rename = "AWS_ACCESS_KEY_ID")]
    #[schema(example = "AKIAIOSFODNN7EXAMPLE")]
    access_key_id: String,
    /// Its secret.
    #[serde(rename = "AWS_SECRET_ACCESS_KEY", serialize_with = "shown")]
    #[schema(value_type = String)]
    secret: SecretString,
    /// The app's region.
    #[serde(rename = "AWS_REGION")]
    #[schema(example = "us-west-2")]
    region: String,
    /// The app's first bucket.
    #[serde(rename = "S3_BUCKET")]
    bucket: Option<String>,
    /// All of the app's buckets.
    #[serde(rename = "S3_BUCKETS")]
    buckets: Vec<String>,
    /// What to push the app's images to: its first repository.
    #[serde(rename = "ECR_REPOSITORY")]
    repository: Option<String>,
    /// All of the app's repositories.
    #[serde(rename = "ECR_REPOSITORIES")]
    repositories: Vec<RepositoryResult>,
    /// Whether AWS has been seen to accept the key; an unverified one may take some seconds to work.
    status: Readiness,
}

fn shown<S: serde::Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

/// List the access keys of an app
///
/// Shows the state, age and last use of each key on the app's user, and the rotation. Contains no secret.
#[utoipa::path(
    get, path = "/v1/apps/{app}/credentials", tag = "credentials", operation_id = "listCredentials",
    params(("app" = AppName, Path, description = "The app's name")),
    responses(
        (status = 200, description = "The keys", body = CredentialPage),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such app", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "AWS does not show the user's keys", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer, or AWS throttles the account", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(service): State<Arc<Service>>,
    _: Viewer,
    AppPath(name): AppPath,
    params: Params,
) -> Result<Json<CredentialPage>, ApiError> {
    params.finish()?;
    let app = service
        .store
        .app(&name)
        .await?
        .ok_or(ApiError::NoSuch("such app"))?;
    let rows = service.store.credentials(app.id).await?;
    let mut seen: BTreeMap<String, SeenKey> = keys_of(&service, &app)
        .await?
        .into_iter()
        .map(|key| (key.access_key_id.clone(), key))
        .collect();
    let now = service.clock.now();
    let mut items: Vec<Credential> = Vec::new();
    for row in rows {
        let key = seen.remove(&row.access_key_id);
        items.push(shown_credential(&app, Some(&row), key.as_ref(), now));
    }
    items.extend(
        seen.values()
            .map(|key| shown_credential(&app, None, Some(key), now)),
    );
    let rotation = service.store.rotation(app.id).await?;
    Ok(Json(CredentialPage {
        items,
        next_cursor: None,
        rotation,
    }))
}

/// Claim the secret of an access key
///
/// The secret is shown once: as JSON, or as an environment file with `Accept: text/plain`. With an `Idempotency-Key`, the
/// same caller can repeat the same claim for ten minutes, in case the response was lost.
#[utoipa::path(
    post, path = "/v1/apps/{app}/credentials/{access_key_id}/claim", tag = "credentials", operation_id = "claimCredential",
    params(
        ("app" = AppName, Path, description = "The app's name"),
        ("access_key_id" = AccessKeyId, Path, description = "The key's id"),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "Makes the claim repeatable for ten minutes"),
    ),
    responses(
        (status = 200, description = "The secret", content((Claim = "application/json"), (String = "text/plain"))),
        (status = 400, description = "A wrong Idempotency-Key, or wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role operator", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such app or key", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "Claimed before, or not in time", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "Sealed with another key", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn claim(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    KeyPath(name, key): KeyPath,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    params.finish()?;
    let app = service
        .store
        .app(&name)
        .await?
        .ok_or(ApiError::NoSuch("such app"))?;
    let repeat = idempotency_header(&headers)?
        .map(|text| fingerprint(&[caller.id.as_bytes(), text.as_bytes()]));
    // First without a trace: a secret that this key does not open must not be spent.
    let (row, sealed) = sealed(
        service
            .store
            .sealed_secret(app.id, key.as_str(), &caller, repeat.clone())
            .await?,
    )?;
    let secret = row.open(&service.vault, &sealed)?;
    let (row, _) = self::sealed(
        service
            .store
            .claim_secret(app.id, key.as_str(), &caller, repeat)
            .await?,
    )?;
    tracing::info!(app = %app.spec.name, access_key_id = row.access_key_id, by = caller.name, "secret claimed");
    let claim = claim_of(&service, &app, &row, secret);
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut response = if accept.starts_with("text/plain") {
        claim.dotenv().into_response()
    } else {
        Json(claim).into_response()
    };
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Rotate the access key of an app
///
/// Creates a new key. Once you have claimed it and the old key is no longer used, the old key is deactivated, and later
/// deleted. A key that is in use is kept unless `force=true`. The list of access keys shows where the rotation stands.
/// Until the old key is deleted, you can roll back.
#[utoipa::path(
    post, path = "/v1/apps/{app}/credentials/rotate", tag = "credentials", operation_id = "rotateCredentials",
    params(
        ("app" = AppName, Path, description = "The app's name"),
        ("replace" = Option<AccessKeyId>, Query, description = "The key that is deleted to make room, where the user has two"),
        ("force" = Option<bool>, Query, description = "Switch the old key off, and delete the one named by replace, even if it is in use"),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "The same key gives the same answer for 24 hours"),
    ),
    responses(
        (status = 202, description = "The job", body = Job, headers(("Location" = String, description = "The job's address"), ("Retry-After" = u32, description = "Seconds"))),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role operator", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such app", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "A rotation is under way, both of the user's keys are taken, the one named by replace is in use, or a job is at work", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A reused Idempotency-Key", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "AWS does not show the user's keys", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer, or AWS throttles the account", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn rotate(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    AppPath(name): AppPath,
    mut params: Params,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let replace = params.take("replace", AccessKeyId::parse);
    let force = params.flag("force");
    params.finish()?;
    let app = live_app(&service, &name).await?;
    let key = idempotency_key(&headers, &caller, &Method::POST, &uri, &[])?;
    if let Some(answer) = service.store.replay(key.as_ref()).await?? {
        return response::accepted(Accepted::Replay(answer));
    }
    refuse_what_is_under_way(&service, &app).await?;
    let keys = keys_of(&service, &app).await?;
    let ours: Vec<String> = service
        .store
        .key_records(app.id)
        .await?
        .keys
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    let replace = replace.as_ref().map(AccessKeyId::as_str);
    let begun = start(
        &keys,
        &ours,
        replace,
        force,
        service.clock.now(),
        service.timing.idle_period,
    )
    .map_err(|no_start| match no_start {
        NoStart::NoSlot(keys) => ApiError::NoKeySlot(keys),
        NoStart::InUse(key) => ApiError::KeyInUse(key),
    })?;
    response::accepted(
        service
            .store
            .enqueue(first_job(&service, &app, begun, force, caller.name), key)
            .await??,
    )
}

/// Roll back a rotation
///
/// Activates the old key again and ends the rotation. The new key stays.
#[utoipa::path(
    post, path = "/v1/apps/{app}/credentials/rollback", tag = "credentials", operation_id = "rollbackRotation",
    params(
        ("app" = AppName, Path, description = "The app's name"),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "The same key gives the same answer for 24 hours"),
    ),
    responses(
        (status = 202, description = "The job", body = Job, headers(("Location" = String, description = "The job's address"), ("Retry-After" = u32, description = "Seconds"))),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role operator", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such app", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There is no rotation, it has no old key any more, or a job is at work", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A reused Idempotency-Key", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn rollback(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    AppPath(name): AppPath,
    params: Params,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    params.finish()?;
    let app = live_app(&service, &name).await?;
    let key = idempotency_key(&headers, &caller, &Method::POST, &uri, &[])?;
    let rotation = service
        .store
        .rotation(app.id)
        .await?
        .ok_or(Refusal::NoRotation)?;
    let task = set_old_key_status(
        rotation.id,
        rotation.old_key.as_ref(),
        KeyStatus::Active,
        false,
    )
    .ok_or(Refusal::NoRotation)?;
    let change = AppChange::Rotation(RotationChange::Move(
        rotation.id,
        RotationEvent::RollbackAsked,
    ));
    response::accepted(
        service
            .store
            .enqueue(
                JobRequest {
                    change: Some(change),
                    ..key_job(&app, task, caller.name)
                },
                key,
            )
            .await??,
    )
}

/// Activate an access key
#[utoipa::path(
    post, path = "/v1/apps/{app}/credentials/{access_key_id}/activate", tag = "credentials", operation_id = "activateCredential",
    params(
        ("app" = AppName, Path, description = "The app's name"),
        ("access_key_id" = AccessKeyId, Path, description = "The key's id"),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "The same key gives the same answer for 24 hours"),
    ),
    responses(
        (status = 202, description = "The job", body = Job, headers(("Location" = String, description = "The job's address"), ("Retry-After" = u32, description = "Seconds"))),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role operator", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such app, or no such key on its user", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "A job is at work, or the app is being removed", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A reused Idempotency-Key", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "AWS does not show the user's keys", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer, or AWS throttles the account", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn activate(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    KeyPath(name, key): KeyPath,
    params: Params,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    params.finish()?;
    let repeat = idempotency_key(&headers, &caller, &Method::POST, &uri, &[])?;
    switch(
        &service,
        caller,
        &name,
        key.as_str(),
        KeyStatus::Active,
        true,
        repeat,
    )
    .await
}

/// Deactivate an access key
///
/// Takes effect at once, even if the key is in use: a key that has leaked must not wait. `activate` undoes it.
#[utoipa::path(
    post, path = "/v1/apps/{app}/credentials/{access_key_id}/deactivate", tag = "credentials", operation_id = "deactivateCredential",
    params(
        ("app" = AppName, Path, description = "The app's name"),
        ("access_key_id" = AccessKeyId, Path, description = "The key's id"),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "The same key gives the same answer for 24 hours"),
    ),
    responses(
        (status = 202, description = "The job", body = Job, headers(("Location" = String, description = "The job's address"), ("Retry-After" = u32, description = "Seconds"))),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role operator", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such app, or no such key on its user", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "A job is at work, or the app is being removed", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A reused Idempotency-Key", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "AWS does not show the user's keys", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer, or AWS throttles the account", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn deactivate(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    KeyPath(name, key): KeyPath,
    params: Params,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    params.finish()?;
    let repeat = idempotency_key(&headers, &caller, &Method::POST, &uri, &[])?;
    switch(
        &service,
        caller,
        &name,
        key.as_str(),
        KeyStatus::Inactive,
        true,
        repeat,
    )
    .await
}

/// Delete an access key
///
/// A key that is in use is deleted only with `force=true`.
#[utoipa::path(
    post, path = "/v1/apps/{app}/credentials/{access_key_id}/delete", tag = "credentials", operation_id = "deleteCredential",
    params(
        ("app" = AppName, Path, description = "The app's name"),
        ("access_key_id" = AccessKeyId, Path, description = "The key's id"),
        ("force" = Option<bool>, Query, description = "Delete it even if it is in use"),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "The same key gives the same answer for 24 hours"),
    ),
    responses(
        (status = 202, description = "The job", body = Job, headers(("Location" = String, description = "The job's address"), ("Retry-After" = u32, description = "Seconds"))),
        (status = 400, description = "Wrong parameters", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Takes the role operator", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such app, or no such key on its user", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The key is in use, a job is at work, or the app is being removed", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A reused Idempotency-Key", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "AWS does not show the user's keys", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer, or AWS throttles the account", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    KeyPath(name, key): KeyPath,
    mut params: Params,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let force = params.flag("force");
    params.finish()?;
    let repeat = idempotency_key(&headers, &caller, &Method::POST, &uri, &[])?;
    switch(
        &service,
        caller,
        &name,
        key.as_str(),
        KeyStatus::Deleted,
        force,
        repeat,
    )
    .await
}

async fn switch(
    service: &Service,
    caller: Caller,
    app: &AppName,
    key: &str,
    to: KeyStatus,
    force: bool,
    repeat: Option<IdempotencyKey>,
) -> Result<Response, ApiError> {
    let app = live_app(service, app).await?;
    if let Some(answer) = service.store.replay(repeat.as_ref()).await?? {
        return response::accepted(Accepted::Replay(answer));
    }
    let keys = keys_of(service, &app).await?;
    let now = service.clock.now();
    let seen = keys
        .iter()
        .find(|seen| seen.access_key_id == key)
        .ok_or(ApiError::NoSuch("such key on the app's user"))?;
    if !force && is_in_use(seen, now, service.timing.idle_period) {
        return Err(ApiError::KeyInUse(told(seen, now)));
    }
    let task = Task::SetKeyStatus {
        access_key_id: key.to_owned(),
        to,
        force,
        rotation: None,
    };
    response::accepted(
        service
            .store
            .enqueue(key_job(&app, task, caller.name), repeat)
            .await??,
    )
}

/// What stands in the way whatever keys there are.
async fn refuse_what_is_under_way(service: &Service, app: &App) -> Result<(), ApiError> {
    if app.removal.is_some() {
        return Err(Refusal::BeingRemoved(app.spec.name.clone()).into());
    }
    if let Some(active) = service
        .store
        .rotation(app.id)
        .await?
        .filter(|rotation| !rotation.stage.has_ended())
    {
        return Err(Refusal::RotationActive(active.id).into());
    }
    match app.summary.active_job {
        Some(job) => Err(Refusal::Active(job).into()),
        None => Ok(()),
    }
}

fn sealed(answer: ClaimAnswer) -> Result<(CredentialRow, Vec<u8>), ApiError> {
    match answer {
        ClaimAnswer::Sealed(row, sealed) => Ok((*row, sealed)),
        ClaimAnswer::NoKey => Err(ApiError::NoSuch("such key")),
        ClaimAnswer::Claimed(_) => Err(ApiError::AlreadyClaimed),
        ClaimAnswer::Expired => Err(ApiError::ClaimExpired),
        ClaimAnswer::Gone => Err(ApiError::KeyGone),
    }
}

fn claim_of(service: &Service, app: &App, row: &CredentialRow, secret: SecretString) -> Claim {
    let identity = service.identity();
    let repositories: Vec<RepositoryResult> = app
        .spec
        .repositories
        .iter()
        .map(|repository| RepositoryResult {
            name: repository.name.to_string(),
            uri: identity.repository_uri(&repository.region, &repository.name),
        })
        .collect();
    let buckets: Vec<String> = app
        .spec
        .buckets
        .iter()
        .map(|bucket| bucket.name.to_string())
        .collect();
    Claim {
        access_key_id: row.access_key_id.clone(),
        secret,
        region: app.spec.region.to_string(),
        bucket: buckets.first().cloned(),
        buckets,
        repository: repositories
            .first()
            .map(|repository| repository.uri.clone()),
        repositories,
        status: row.readiness,
    }
}

impl Claim {
    /// The lines of an environment file.
    fn dotenv(&self) -> String {
        let repositories: Vec<String> = self
            .repositories
            .iter()
            .map(|repository| repository.uri.clone())
            .collect();
        let environment = Environment {
            access_key_id: Some(&self.access_key_id),
            secret: Secret::Shown(&self.secret),
            region: &self.region,
            buckets: &self.buckets,
            repositories: &repositories,
        };
        environment.dotenv()
    }
}

/// What our record and AWS say of a key, together.
fn shown_credential(
    app: &App,
    row: Option<&CredentialRow>,
    key: Option<&SeenKey>,
    now: Timestamp,
) -> Credential {
    let access_key_id = row
        .map(|row| row.access_key_id.clone())
        .or_else(|| key.map(|key| key.access_key_id.clone()))
        .unwrap_or_default();
    let created_at = key
        .and_then(|key| key.created_at)
        .or_else(|| row.map(|row| row.created_at));
    let last_used = key.and_then(|key| key.last_used.clone());
    let secret = row.map(|row| row.secret).map(|secret| match secret {
        SecretState::Unclaimed
            if row.is_some_and(|row| now.since(row.created_at) >= CLAIM_DEADLINE) =>
        {
            SecretState::Expired
        }
        secret => secret,
    });
    let state = key.map_or(KeyState::Deleted, |key| key.state);
    let claimable = secret == Some(SecretState::Unclaimed) && state != KeyState::Deleted;
    Credential {
        user: app.spec.name.to_string(),
        managed: row.is_some(),
        state,
        secret,
        readiness: row.map(|row| row.readiness),
        remedy: remedy(row.is_some(), state, secret),
        claim: claimable.then(|| {
            format!(
                "/v1/apps/{}/credentials/{access_key_id}/claim",
                app.spec.name
            )
        }),
        access_key_id,
        created_at,
        age_seconds: created_at
            .map(|at| i64::try_from(now.since(at).as_secs()).unwrap_or(i64::MAX)),
        last_used_at: last_used.as_ref().map(|(at, ..)| *at),
        last_used_service: last_used.as_ref().map(|(_, service, _)| service.clone()),
        last_used_region: last_used.map(|(.., region)| region),
        claimed_at: row.and_then(|row| row.claimed_at),
        claimed_by: row.and_then(|row| row.claimed_by.clone()),
    }
}

fn remedy(managed: bool, state: KeyState, secret: Option<SecretState>) -> Option<String> {
    let text = match (managed, state, secret) {
        (false, ..) => "This key was not made by Slipway: find out who uses it.",
        (_, KeyState::Deleted, _) => "The key is gone from AWS: a repair of the app makes another.",
        (_, _, Some(SecretState::Expired)) => {
            "Nobody claimed the secret in time: rotate the app's credentials."
        }
        (_, KeyState::Inactive, _) => "The key is switched off; activate brings it back.",
        _ => return None,
    };
    Some(text.into())
}
