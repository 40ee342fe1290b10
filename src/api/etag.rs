//! The entity tag of an app, and the conditional headers that refer to it.

use axum::http::HeaderMap;
use headers::{ETag, Header, HeaderMapExt as _};

use crate::api::problem::ApiError;
use crate::domain::app::App;
use crate::domain::validation::FieldError;
use crate::store::fingerprint;

/// The entity tag of an app. It changes with everything that the app's representation shows.
///
/// # Errors
/// When the app cannot be serialized.
pub fn etag(app: &App) -> Result<ETag, ApiError> {
    // Resources change while a job runs, without a new version of the record.
    let shown = serde_json::to_vec(app).map_err(|_| ApiError::Defect)?;
    format!("\"{}-{:.16}\"", app.version, fingerprint(&[&shown]))
        .parse()
        .map_err(|_| ApiError::Defect)
}

/// The value of a header such as If-Match, if it is given.
///
/// # Errors
/// When the value is malformed: to ignore a condition would be worse than to refuse the request.
pub fn typed<H: Header>(headers: &HeaderMap) -> Result<Option<H>, ApiError> {
    headers.typed_try_get().map_err(|_| {
        ApiError::Parameters(vec![FieldError::new(
            H::name().as_str(),
            "must be a list of entity tags, or *",
        )])
    })
}
