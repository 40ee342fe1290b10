//! What a claim or the deletion of a key changes of a rotation, in the same commit.

use sqlx::AnyConnection;
use ulid::Ulid;

use super::row::active;
use super::transition::{With, step};
use crate::clock::Timestamp;
use crate::domain::rotation::{RotationEvent, Stage};
use crate::store::error::StoreError;

/// Advances the rotation whose new key was claimed.
pub(in crate::store) async fn claimed(
    db: &mut AnyConnection,
    app: Ulid,
    access_key_id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    match active(db, app).await? {
        Some(row)
            if row.rotation.stage == Stage::AwaitingClaim
                && row.rotation.new_key.as_deref() == Some(access_key_id) =>
        {
            step(db, &row, RotationEvent::Claimed, With::default(), now)
                .await
                .map(drop)
        }
        _ => Ok(()),
    }
}

/// Completes the rotation whose old key was deleted.
pub(in crate::store) async fn gone(
    db: &mut AnyConnection,
    app: Ulid,
    access_key_ids: &[String],
    now: Timestamp,
) -> Result<(), StoreError> {
    match active(db, app).await? {
        Some(row)
            if row
                .rotation
                .old_key
                .as_ref()
                .is_some_and(|old| access_key_ids.contains(old)) =>
        {
            step(db, &row, RotationEvent::Gone, With::default(), now)
                .await
                .map(drop)
        }
        _ => Ok(()),
    }
}
