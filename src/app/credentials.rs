//! Lists the access keys of an app's user: what AWS and the records say of each.

use std::collections::BTreeMap;

use crate::app::claim::claim_path;
use crate::app::error::UseCaseError;
use crate::app::find::{account, any_app};
use crate::app::service::Service;
use crate::clock::Timestamp;
use crate::domain::access_key::{CLAIM_DEADLINE, Credential, KeyState, SecretState};
use crate::domain::app::App;
use crate::domain::names::AppName;
use crate::domain::rotation::Rotation;
use crate::provision::user_keys::{ListedKey, look, with_young};
use crate::store::CredentialRow;

/// The access keys of an app and its last rotation.
pub struct Credentials {
    /// The keys, also those that are deleted.
    pub items: Vec<Credential>,
    /// The last rotation, also one that has ended.
    pub rotation: Option<Rotation>,
}

/// Lists the access keys of an app. Never returns a secret.
///
/// # Errors
/// When there is no such app, or AWS does not list the user's keys.
pub async fn list(service: &Service, name: &AppName) -> Result<Credentials, UseCaseError> {
    let app = any_app(service, name).await?;
    let rows = service.store.credentials(app.id).await?;
    let mut listed: BTreeMap<String, ListedKey> = listed_keys(service, &app)
        .await?
        .into_iter()
        .map(|key| (key.id.clone(), key))
        .collect();
    let now = service.clock.now();
    let mut items: Vec<Credential> = Vec::new();
    for row in rows {
        let key = listed.remove(&row.access_key_id);
        items.push(credential(&app, Some(&row), key.as_ref(), now));
    }
    items.extend(
        listed
            .values()
            .map(|key| credential(&app, None, Some(key), now)),
    );
    let rotation = service.store.rotation(app.id).await?;
    Ok(Credentials { items, rotation })
}

/// The keys on the app's user as AWS lists them, and those that are recorded but too young to be listed.
///
/// # Errors
/// When AWS does not list the user's keys.
pub async fn listed_keys(service: &Service, app: &App) -> Result<Vec<ListedKey>, UseCaseError> {
    let account = account(service, &app.spec.account).await?;
    let listed = look(&account, &app.spec.name).await?;
    let recorded = service.store.key_records(app.id).await?.keys;
    Ok(with_young(
        listed,
        recorded,
        service.clock.now(),
        service.timing.propagation,
    ))
}

/// The ids of the app's keys that Slipway created.
///
/// # Errors
/// When the database is not available.
pub async fn recorded_keys(service: &Service, app: &App) -> Result<Vec<String>, UseCaseError> {
    let recorded = service.store.key_records(app.id).await?.keys;
    Ok(recorded.into_iter().map(|(id, _)| id).collect())
}

fn credential(
    app: &App,
    row: Option<&CredentialRow>,
    key: Option<&ListedKey>,
    now: Timestamp,
) -> Credential {
    let access_key_id = row
        .map(|row| row.access_key_id.clone())
        .or_else(|| key.map(|key| key.id.clone()))
        .unwrap_or_default();
    let created_at = key
        .and_then(|key| key.created_at)
        .or_else(|| row.map(|row| row.created_at));
    let last_used = key.and_then(|key| key.used.clone());
    let secret = row.map(|row| row.secret).map(|secret| match secret {
        SecretState::Unclaimed
            if row.is_some_and(|row| now.since(row.created_at) >= CLAIM_DEADLINE) =>
        {
            SecretState::Expired
        }
        secret => secret,
    });
    let state = match key {
        None => KeyState::Deleted,
        Some(key) if key.active => KeyState::Active,
        Some(_) => KeyState::Inactive,
    };
    let claimable = secret == Some(SecretState::Unclaimed) && state != KeyState::Deleted;
    Credential {
        user: app.spec.name.to_string(),
        managed: row.is_some(),
        state,
        secret,
        readiness: row.map(|row| row.readiness),
        remedy: remedy(row.is_some(), state, secret),
        claim: claimable.then(|| claim_path(&app.spec.name, &access_key_id)),
        access_key_id,
        created_at,
        age_seconds: created_at
            .map(|at| i64::try_from(now.since(at).as_secs()).unwrap_or(i64::MAX)),
        last_used_at: last_used.as_ref().map(|used| used.at),
        last_used_service: last_used.as_ref().map(|used| used.service.clone()),
        last_used_region: last_used.map(|used| used.region),
        claimed_at: row.and_then(|row| row.claimed_at),
        claimed_by: row.and_then(|row| row.claimed_by.clone()),
    }
}

fn remedy(managed: bool, state: KeyState, secret: Option<SecretState>) -> Option<String> {
    let text = match (managed, state, secret) {
        (false, ..) => "Slipway did not create this access key. Find out who uses it.",
        (_, KeyState::Deleted, _) => {
            "The access key was deleted in AWS. To create a new one, repair the app."
        }
        (_, _, Some(SecretState::Expired)) => {
            "The secret was not claimed in time. To create a new access key, rotate the app's credentials."
        }
        (_, KeyState::Inactive, _) => "The access key is inactive. To use it again, activate it.",
        _ => return None,
    };
    Some(text.into())
}
