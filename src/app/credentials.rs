//! The access keys of an app's user.

use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::domain::app::App;
use crate::provision::user_keys::{SeenKey, look, with_young};

/// The keys on the app's user as AWS lists them, with those that are too young to be listed.
pub async fn keys_of(service: &Service, app: &App) -> Result<Vec<SeenKey>, UseCaseError> {
    let account = service
        .account(&app.spec.account)
        .ok_or(UseCaseError::NoSuch("such account"))?;
    let listed = look(&account, &app.spec.name).await?;
    let recorded = service.store.key_records(app.id).await?.keys;
    Ok(with_young(
        listed,
        recorded,
        service.clock.now(),
        service.timing.propagation,
    ))
}
