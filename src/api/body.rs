//! Reads bodies, query parameters, path segments and the Idempotency-Key.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Display;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri, header};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::time::timeout;
use ulid::Ulid;
use utoipa::ToSchema;

use crate::api::limits::{RequestPermit, count_refusal};
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::domain::names::{AccessKeyId, AppName};
use crate::domain::role::Caller;
use crate::domain::validation::FieldError;
use crate::store::{IdempotencyKey, fingerprint};

/// The longest Idempotency-Key.
const MAX_KEY_LENGTH: usize = 255;

/// A JSON body, as it came and as it was read. An empty body is `None`.
pub struct JsonBody {
    /// The body's bytes.
    pub bytes: Bytes,
    /// What it says.
    pub value: Option<Value>,
}

impl JsonBody {
    /// What the body says, where there has to be one.
    pub fn required(&self) -> Result<&Value, ApiError> {
        self.value
            .as_ref()
            .ok_or_else(|| ApiError::InvalidJson("it is empty".into()))
    }
}

impl FromRequest<Arc<Service>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, ApiError> {
        let kind = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let essence = kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let is_json = essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"));
        let bytes = read(request, service).await?;
        if bytes.is_empty() {
            return Ok(Self { bytes, value: None });
        }
        if !is_json {
            return Err(ApiError::UnsupportedMediaType);
        }
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| ApiError::InvalidJson(error.to_string()))?;
        Ok(Self {
            bytes,
            value: Some(value),
        })
    }
}

/// The whole body. One that is there already is taken as it is; one that is on its way has its time, and is
/// waited for without a permit of work.
async fn read(request: Request, service: &Arc<Service>) -> Result<Bytes, ApiError> {
    let permit = request
        .extensions()
        .get::<RequestPermit>()
        .cloned()
        .ok_or(ApiError::Defect)?;
    let mut reading = pin!(Bytes::from_request(request, service));
    let came = match futures::poll!(&mut reading) {
        Poll::Ready(came) => came,
        Poll::Pending => {
            let patience = permit.limits.body_timeout();
            permit
                .aside(patience, timeout(patience, reading))
                .await?
                .map_err(|_| {
                    count_refusal("body");
                    ApiError::BodyTooSlow
                })?
        }
    };
    came.map_err(|rejection| {
        let response = axum::response::IntoResponse::into_response(rejection);
        if response.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
            ApiError::TooLarge
        } else {
            ApiError::UnreadableBody
        }
    })
}

/// Query parameters, each taken once by name; what nobody takes is an error, for a misspelt
/// `dry_run` must not onboard an app.
pub struct Params {
    given: BTreeMap<String, String>,
    errors: Vec<FieldError>,
}

impl FromRequestParts<Arc<Service>> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Service>) -> Result<Self, ApiError> {
        let mut params = Self {
            given: BTreeMap::new(),
            errors: Vec::new(),
        };
        let pairs = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty());
        for (name, value) in pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            match (decoded(name), decoded(value)) {
                (Some(name), Some(value)) => params.give(name, value),
                (name, _) => params.errors.push(FieldError::new(
                    name.unwrap_or("query".into()),
                    "must be UTF-8 without NUL, percent-encoded",
                )),
            }
        }
        Ok(params)
    }
}

/// A name or value of a query; `None` for what no database takes as text.
fn decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8().ok()?;
    (!decoded.contains('\0')).then(|| decoded.into_owned())
}

impl Params {
    fn give(&mut self, name: String, value: String) {
        match self.given.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
            Entry::Occupied(entry) => self
                .errors
                .push(FieldError::new(entry.key(), "is given twice")),
        }
    }

    /// The parameter parsed into `T`, if it is there.
    pub fn take<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.given.remove(name)?;
        parse(&text)
            .map_err(|why| self.errors.push(FieldError::new(name, why)))
            .ok()
    }

    /// The parameter parsed into `T`; one that is absent is an error, in the words of an empty one.
    pub fn required<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.given.entry(name.into()).or_default();
        self.take(name, parse)
    }

    /// A yes or no; no when it is absent.
    pub fn flag(&mut self, name: &str) -> bool {
        self.take(name, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false"),
        })
        .unwrap_or(false)
    }

    /// Fails with every error met and every parameter that nobody took.
    pub fn finish(mut self) -> Result<(), ApiError> {
        self.errors.extend(
            self.given
                .keys()
                .map(|name| FieldError::new(name, "is not a parameter here")),
        );
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(ApiError::Parameters(self.errors))
        }
    }
}

/// An app's name in the path. A text that is no name names no app.
pub struct AppPath(pub AppName);

impl FromRequestParts<Arc<Service>> for AppPath {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<Service>,
    ) -> Result<Self, ApiError> {
        let Path(segments) = Path::<BTreeMap<String, String>>::from_request_parts(parts, service)
            .await
            .map_err(|_| ApiError::NoSuch("such app"))?;
        let name = segments.get("app").ok_or(ApiError::NoSuch("such app"))?;
        AppName::parse(name)
            .map(Self)
            .map_err(|_| ApiError::NoSuch("such app"))
    }
}

/// An app's name and the id of one of its access keys in the path. A text that is none names nothing.
pub struct KeyPath(pub AppName, pub AccessKeyId);

impl FromRequestParts<Arc<Service>> for KeyPath {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<Service>,
    ) -> Result<Self, ApiError> {
        let AppPath(app) = AppPath::from_request_parts(parts, service).await?;
        let none = || ApiError::NoSuch("such key");
        let Path(segments) = Path::<BTreeMap<String, String>>::from_request_parts(parts, service)
            .await
            .map_err(|_| none())?;
        let key = segments.get("access_key_id").ok_or_else(none)?;
        AccessKeyId::parse(key)
            .map(|key| Self(app, key))
            .map_err(|_| none())
    }
}

/// The id of a job or a token: a ULID, as the service wrote it.
#[derive(ToSchema)]
#[schema(value_type = String, example = "01M7ZZKNCN0FX83X9J2XV56WYP", pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
#[expect(dead_code, reason = "describes the text for the API's document")]
pub struct Id(String);

/// A ULID written in its one canonical way: one thing has one address.
pub fn parse_id(text: &str) -> Option<Ulid> {
    Ulid::from_string(text)
        .ok()
        .filter(|id| id.to_string() == text)
}

/// A ULID in the path. A text that is none names nothing.
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
        parse_id(id).map(Self).ok_or(ApiError::NoSuch("such id"))
    }
}

/// A caller's text for a request, which makes the request repeatable.
#[derive(ToSchema)]
#[schema(value_type = String, example = "acme-shop-1", min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$")]
#[expect(dead_code, reason = "describes the header for the API's document")]
pub struct IdempotencyText(String);

/// The text of the Idempotency-Key header, if there is one.
pub fn idempotency_header(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let wrong = |why: String| {
        Err(ApiError::Parameters(vec![FieldError::new(
            "Idempotency-Key",
            why,
        )]))
    };
    let mut given = headers.get_all("idempotency-key").iter();
    let Some(value) = given.next() else {
        return Ok(None);
    };
    if given.next().is_some() {
        return wrong("is given twice".into());
    }
    let key = value.to_str().unwrap_or_default();
    let fits = !key.is_empty()
        && key.len() <= MAX_KEY_LENGTH
        && key.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    if fits {
        return Ok(Some(key.to_owned()));
    }
    wrong(format!(
        "must be 1 to {MAX_KEY_LENGTH} visible ASCII characters"
    ))
}

/// The record that this request's Idempotency-Key asks for. Another query or another body is another request.
pub fn idempotency_key(
    headers: &HeaderMap,
    caller: &Caller,
    method: &Method,
    uri: &Uri,
    body: &[u8],
) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(key) = idempotency_header(headers)? else {
        return Ok(None);
    };
    let mut query: Vec<&str> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .collect();
    // The order of parameters says nothing.
    query.sort_unstable();
    let fingerprint = fingerprint(&[query.join("&").as_bytes(), body]);
    Ok(Some(IdempotencyKey {
        caller: caller.id.clone(),
        route: format!("{method} {}", uri.path()),
        key,
        fingerprint,
    }))
}
