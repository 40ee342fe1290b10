//! Names and ids in the path.
//!
//! Invariant: [`AppPath`], [`KeyPath`], [`JobPath`] and [`AccountPath`] are 404 for whatever is outside the caller's scope, as
//! if it did not exist.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use ulid::Ulid;
use utoipa::ToSchema;

use crate::api::auth::caller;
use crate::api::problem::ApiError;
use crate::app::scope::require_all_apps;
use crate::app::service::Service;
use crate::domain::names::{AccessKeyId, AccountName, AppName};
use crate::domain::scope::Scope;

/// The id of a job or a token, a ULID.
#[derive(ToSchema)]
#[schema(value_type = String, example = "01M7ZZKNCN0FX83X9J2XV56WYP", pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
#[expect(dead_code, reason = "describes the text for the API's document")]
pub struct Id(String);

/// Parses an id. Only the canonical form is accepted, so that each resource has one URL.
pub fn parse_id(text: &str) -> Option<Ulid> {
    Ulid::from_string(text)
        .ok()
        .filter(|id| id.to_string() == text)
}

/// The app's name in the path. A text that is not a valid name is 404.
pub struct AppPath(pub AppName);

impl FromRequestParts<Arc<Service>> for AppPath {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<Service>,
    ) -> Result<Self, ApiError> {
        let Path(segments) = Path::<BTreeMap<String, String>>::from_request_parts(parts, service)
            .await
            .map_err(|_| ApiError::NoSuch("app"))?;
        let name = segments.get("app").ok_or(ApiError::NoSuch("app"))?;
        let name = AppName::parse(name).map_err(|_| ApiError::NoSuch("app"))?;
        let scope = caller(parts, service).await?.scope;
        if scope.is_all() || service.store.is_app_within(&name, &scope).await? {
            Ok(Self(name))
        } else {
            Err(ApiError::NoSuch("app"))
        }
    }
}

/// The app's name and an access key's id in the path. A text that is not valid is 404.
pub struct KeyPath(pub AppName, pub AccessKeyId);

impl FromRequestParts<Arc<Service>> for KeyPath {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<Service>,
    ) -> Result<Self, ApiError> {
        let AppPath(app) = AppPath::from_request_parts(parts, service).await?;
        let none = || ApiError::NoSuch("access key");
        let Path(segments) = Path::<BTreeMap<String, String>>::from_request_parts(parts, service)
            .await
            .map_err(|_| none())?;
        let key = segments.get("access_key_id").ok_or_else(none)?;
        AccessKeyId::parse(key)
            .map(|key| Self(app, key))
            .map_err(|_| none())
    }
}

/// The id of a job in the path. A text that is not an id is 404.
///
/// A job of an account's set-up is a change of the account, see [`AccountPath`].
pub struct JobPath(pub Ulid);

impl FromRequestParts<Arc<Service>> for JobPath {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<Service>,
    ) -> Result<Self, ApiError> {
        let IdPath(id) = IdPath::from_request_parts(parts, service).await?;
        let scope = caller(parts, service).await?.scope;
        if parts.method.is_safe() {
            require_job_to_see(service, &scope, id).await?;
        } else {
            require_job_to_change(service, &scope, id).await?;
        }
        Ok(Self(id))
    }
}

async fn require_job_to_see(service: &Service, scope: &Scope, id: Ulid) -> Result<(), ApiError> {
    if scope.is_all() || service.store.is_job_within(id, scope).await? {
        Ok(())
    } else {
        Err(ApiError::NoSuch("job"))
    }
}

/// Fails if the scope does not reach a job, or not to change it.
///
/// # Errors
/// When it does not.
pub async fn require_job_to_change(
    service: &Service,
    scope: &Scope,
    id: Ulid,
) -> Result<(), ApiError> {
    require_job_to_see(service, scope, id).await?;
    if scope.is_all_apps() {
        return Ok(());
    }
    let job = service.store.job(id).await?;
    if job.is_some_and(|job| job.app.is_of_setup()) {
        require_all_apps(scope)?;
    }
    Ok(())
}

/// The account's name in the path. A text that is not a valid name is 404.
///
/// A change of an account is one of all its apps, so a caller who may see some of them only may read it, not change it.
pub struct AccountPath(pub AccountName);

impl FromRequestParts<Arc<Service>> for AccountPath {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<Service>,
    ) -> Result<Self, ApiError> {
        let none = || ApiError::NoSuch("account");
        let Path(segments) = Path::<BTreeMap<String, String>>::from_request_parts(parts, service)
            .await
            .map_err(|_| none())?;
        let name = segments.get("account").ok_or_else(none)?;
        let name = AccountName::parse(name).map_err(|_| none())?;
        let scope = caller(parts, service).await?.scope;
        if !scope.allows_account(&name) {
            return Err(none());
        }
        if !parts.method.is_safe() {
            require_all_apps(&scope)?;
        }
        Ok(Self(name))
    }
}

/// The account's name and a person's e-mail address in the path. A text that is not valid is 404.
pub struct PersonPath(pub AccountName, pub AppName);

impl FromRequestParts<Arc<Service>> for PersonPath {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<Service>,
    ) -> Result<Self, ApiError> {
        let AccountPath(account) = AccountPath::from_request_parts(parts, service).await?;
        let none = || ApiError::NoSuch("person");
        let Path(segments) = Path::<BTreeMap<String, String>>::from_request_parts(parts, service)
            .await
            .map_err(|_| none())?;
        let person = segments.get("email").ok_or_else(none)?;
        AppName::parse(person)
            .map(|person| Self(account, person))
            .map_err(|_| none())
    }
}

/// The id in the path. A text that is not a ULID is 404.
pub struct IdPath(pub Ulid);

impl FromRequestParts<Arc<Service>> for IdPath {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<Service>,
    ) -> Result<Self, ApiError> {
        let Path(segments) = Path::<BTreeMap<String, String>>::from_request_parts(parts, service)
            .await
            .map_err(|_| ApiError::NotFound)?;
        let id = segments.get("id").ok_or(ApiError::NotFound)?;
        parse_id(id).map(Self).ok_or(ApiError::NoSuch("id"))
    }
}
