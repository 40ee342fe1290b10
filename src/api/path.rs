//! Names and ids in the path.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use ulid::Ulid;
use utoipa::ToSchema;

use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::domain::names::{AccessKeyId, AccountName, AppName};

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
        AppName::parse(name)
            .map(Self)
            .map_err(|_| ApiError::NoSuch("app"))
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

/// The account's name in the path. A text that is not a valid name is 404.
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
        AccountName::parse(name).map(Self).map_err(|_| none())
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
