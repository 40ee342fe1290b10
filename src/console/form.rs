//! The forms of pages.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use mime::Mime;
use serde_json::{Map, Value};

use crate::api::body::read;
use crate::api::params::decoded;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::domain::caller::Caller;
use crate::store::{IdempotencyKey, fingerprint};

/// The fields of a submitted form. A checkbox that is not checked, or a field that is empty, is absent.
pub struct PageForm {
    fields: Vec<(String, String)>,
    bytes: Bytes,
    route: String,
}

impl PageForm {
    /// A field.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let found = fields.find(|(field, _)| field == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Every value of a field that can be given more than once.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields
            .iter()
            .filter(move |(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a field is given.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The items of a field, which are separated by commas or line breaks.
    pub fn items(&self, name: &str) -> Vec<String> {
        let text = self.get(name).unwrap_or_default();
        let items = text.split([',', '\n']).map(str::trim);
        items
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// The fields by these names as a JSON object, without those that are absent.
    pub fn object(&self, names: &[&str]) -> Map<String, Value> {
        let given = names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), Value::from(self.get(name)?))));
        given.collect()
    }

    /// The Idempotency-Key of the hidden field, with what tells this request apart from others.
    pub fn idempotency_key(&self, caller: &Caller) -> Option<IdempotencyKey> {
        let key = self.get("idempotency_key").filter(|key| key.len() <= 64)?;
        Some(IdempotencyKey {
            caller: caller.id.clone(),
            key: key.to_owned(),
            fingerprint: fingerprint(&[&self.bytes]),
            route: self.route.clone(),
        })
    }
}

impl FromRequest<Arc<Service>> for PageForm {
    type Rejection = ApiError;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, ApiError> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|value| value.to_str().ok()?.parse::<Mime>().ok());
        if kind.is_some_and(|kind| {
            kind.essence_str() != mime::APPLICATION_WWW_FORM_URLENCODED.as_ref()
        }) {
            return Err(ApiError::NotAForm);
        }
        let route = format!("{} {}", request.method(), request.uri().path());
        let bytes = read(request, service).await?;
        let text = std::str::from_utf8(&bytes).map_err(|_| ApiError::UnreadableBody)?;
        let mut fields = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                return Err(ApiError::UnreadableBody);
            };
            let value = value.replace("\r\n", "\n").trim().to_owned();
            if !value.is_empty() {
                fields.push((name, value));
            }
        }
        Ok(Self {
            fields,
            bytes,
            route,
        })
    }
}
