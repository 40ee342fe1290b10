//! The `Idempotency-Key` header: a repeated request gets the first response.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use utoipa::ToSchema;

use crate::api::problem::ApiError;
use crate::domain::caller::Caller;
use crate::domain::validation::FieldError;
use crate::store::{IdempotencyKey, fingerprint};

const MAX_KEY_LENGTH: usize = 255;

/// A key that the client chooses to make a request repeatable.
#[derive(ToSchema)]
#[schema(value_type = String, example = "onboard-acme-shop-1", min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$")]
#[expect(dead_code, reason = "describes the header in the OpenAPI document")]
pub struct IdempotencyText(String);

/// The Idempotency-Key of a request, with what tells the request apart from others.
pub struct Idempotency {
    /// The header's value.
    pub text: Option<String>,
    route: String,
    query: String,
}

impl<S: Sync> FromRequestParts<S> for Idempotency {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
        // The order of parameters has no meaning.
        pairs.sort_unstable();
        Ok(Self {
            text: header_text(parts)?,
            route: format!("{} {}", parts.method, parts.uri.path()),
            query: pairs.join("&"),
        })
    }
}

impl Idempotency {
    /// The record of this request. Another query or another body makes it another request.
    pub fn key(self, caller: &Caller, body: &[u8]) -> Option<IdempotencyKey> {
        Some(IdempotencyKey {
            caller: caller.id.clone(),
            key: self.text?,
            fingerprint: fingerprint(&[self.query.as_bytes(), body]),
            route: self.route,
        })
    }
}

fn header_text(parts: &Parts) -> Result<Option<String>, ApiError> {
    let invalid = |why: String| {
        Err(ApiError::Parameters(vec![FieldError::new(
            "Idempotency-Key",
            why,
        )]))
    };
    let mut given = parts.headers.get_all("idempotency-key").iter();
    let Some(value) = given.next() else {
        return Ok(None);
    };
    if given.next().is_some() {
        return invalid("must not be given more than once".into());
    }
    let key = value.to_str().unwrap_or_default();
    let fits = !key.is_empty()
        && key.len() <= MAX_KEY_LENGTH
        && key.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    if fits {
        return Ok(Some(key.to_owned()));
    }
    invalid(format!(
        "must be 1 to {MAX_KEY_LENGTH} visible ASCII characters"
    ))
}
