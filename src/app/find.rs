//! Finds apps by name.

use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::domain::app::{App, AppState};
use crate::domain::names::AppName;
use crate::store::Refusal;

/// The app by this name, unless it was removed.
pub async fn live_app(service: &Service, name: &AppName) -> Result<App, UseCaseError> {
    let app = service
        .app(name)
        .await?
        .ok_or(UseCaseError::NoSuch("such app"))?;
    match app.summary.state {
        AppState::Removed => Err(Refusal::Removed(app.spec.name, app.summary.updated_at).into()),
        _ => Ok(app),
    }
}
