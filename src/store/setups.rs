//! The set-ups of accounts, as subjects of jobs: rows of `apps` that are no apps.

use sqlx::AnyConnection;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::names::{AccountName, AppName};
use crate::domain::spec::AppSpec;
use crate::store::apps;
use crate::store::error::StoreError;
use crate::store::rows::to_json;

/// Inserts the row of an account's set-up, unless there is one. One of an account that was deleted starts anew.
pub(super) async fn insert(
    db: &mut AnyConnection,
    spec: &AppSpec,
    id: Ulid,
    by: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let insert = "INSERT INTO apps (id, name, name_key, account, spec, state, version, created_by, created_at, updated_at, retained, subject) \
         VALUES ($1, $2, $3, $4, $5, 'pending', 1, $6, $7, $7, '{}', 'account') ON CONFLICT (name_key) DO NOTHING";
    let insert = sqlx::query(insert)
        .bind(id.to_string())
        .bind(spec.name.as_str())
        .bind(spec.name.key())
        .bind(spec.account.as_str())
        .bind(to_json(spec)?)
        .bind(by)
        .bind(now.millis());
    if insert.execute(&mut *db).await?.rows_affected() == 0 {
        start_anew(db, &spec.name, by, now).await?;
    }
    Ok(())
}

async fn start_anew(
    db: &mut AnyConnection,
    name: &AppName,
    by: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(id) = apps::lock(db, name).await? else {
        return Ok(());
    };
    let update = "UPDATE apps SET state = 'pending', created_by = $1, created_at = $2 WHERE id = $3 AND state = 'removed'";
    let update = sqlx::query(update).bind(by).bind(now.millis());
    let update = update.bind(id.to_string()).execute(&mut *db).await?;
    if update.rows_affected() == 0 {
        return Ok(());
    }
    for delete in [
        "DELETE FROM drift_reports WHERE app_id = $1",
        "DELETE FROM resources WHERE app_id = $1",
    ] {
        let delete = sqlx::query(delete).bind(id.to_string());
        delete.execute(&mut *db).await?;
    }
    Ok(())
}

/// Marks the set-up of an account as removed, whose registration is deleted. What it has in AWS stays there, and its
/// unclaimed passwords are destroyed. `false` if a job is active.
pub(super) async fn forget(
    db: &mut AnyConnection,
    account: &AccountName,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Some(id) = apps::lock(db, &AppName::of_setup(account)).await? else {
        return Ok(true);
    };
    if apps::app_by_id(db, id).await?.summary.active_job.is_some() {
        return Ok(false);
    }
    let update =
        "UPDATE apps SET state = 'removed', version = version + 1, updated_at = $1 WHERE id = $2";
    let update = sqlx::query(update).bind(now.millis()).bind(id.to_string());
    update.execute(&mut *db).await?;
    let destroy = "UPDATE credentials SET gone_at = $1, sealed = NULL, \
        secret = CASE secret WHEN 'unclaimed' THEN 'expired' ELSE secret END WHERE app_id = $2 AND gone_at IS NULL";
    let destroy = sqlx::query(destroy).bind(now.millis()).bind(id.to_string());
    destroy.execute(db).await?;
    Ok(true)
}
