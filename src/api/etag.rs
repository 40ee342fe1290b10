//! The entity tag of an app.

use crate::api::problem::ApiError;
use crate::domain::app::App;
use crate::store::fingerprint;

/// Changes with everything that is shown of the app.
pub fn etag(app: &App) -> Result<String, ApiError> {
    // Resources change while a job is at work, without a new version of the record.
    let seen = serde_json::to_vec(app).map_err(|_| ApiError::Defect)?;
    Ok(format!("\"{}-{:.16}\"", app.version, fingerprint(&[&seen])))
}
