//! Form-encoded request bodies, which OAuth 2.0 prescribes (RFC 6749, appendix B).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::header;
use mime::Mime;

use crate::api::body::read;
use crate::api::params::decoded;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::domain::validation::FieldError;

/// The fields of a form. Unknown ones are ignored, as RFC 6749 asks.
pub struct Form {
    fields: BTreeMap<String, String>,
}

impl Form {
    /// A field, if it is given and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A field that has to be given.
    pub fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| invalid(name, "is required"))
    }
}

/// An error in a field of a form.
pub fn invalid(name: &str, why: &str) -> ApiError {
    ApiError::Parameters(vec![FieldError::new(name, why)])
}

impl FromRequest<Arc<Service>> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, ApiError> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|value| value.to_str().ok()?.parse::<Mime>().ok());
        let is_form = kind.is_some_and(|kind| {
            kind.essence_str() == mime::APPLICATION_WWW_FORM_URLENCODED.as_ref()
        });
        if !is_form {
            return Err(ApiError::NotAForm);
        }
        let bytes = read(request, service).await?;
        let text = std::str::from_utf8(&bytes).map_err(|_| ApiError::UnreadableBody)?;
        Self::parse(text)
    }
}

impl Form {
    /// Parses fields, in a body or a query.
    ///
    /// # Errors
    /// When they are not properly encoded, or one is given twice.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let mut fields = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                return Err(ApiError::UnreadableBody);
            };
            if fields.contains_key(&name) {
                return Err(invalid(&name, "must not be given more than once"));
            }
            fields.insert(name, value);
        }
        Ok(Self { fields })
    }
}
