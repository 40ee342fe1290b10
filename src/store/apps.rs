//! Apps and their resources.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::app::{App, AppResource, AppState, AppSummary, Recorded, RecordedKey};
use crate::domain::drift::DriftSummary;
use crate::domain::names::{AccountName, AppName};
use crate::domain::removal::Removal;
use crate::domain::resource_id::ResourceId;
use crate::domain::retained::Owned;
use crate::domain::retained::{Dropped, Retained};
use crate::domain::scope::Scope;
use crate::domain::spec::AppSpec;
use crate::domain::task::Task;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::lease::{Lease, hold};
use crate::store::rows::{RowReader, readable, to_json};
use crate::store::scope::restrict;
use crate::store::sql::{Sql, for_update};

const COLUMNS: &str = "SELECT a.id, a.name, a.account, a.spec, a.state, a.version, a.created_at, a.updated_at, a.retained, a.removal, \
    (SELECT j.id FROM jobs j WHERE j.app_id = a.id AND j.state IN ('awaiting_approval', 'queued', 'running', 'waiting')) AS active_job, \
    (SELECT j.id FROM jobs j WHERE j.app_id = a.id ORDER BY j.seq DESC LIMIT 1) AS last_job, r.checked_at, r.drifted FROM apps a \
    LEFT JOIN drift_reports r ON r.app_id = a.id";

/// Which apps to list.
#[derive(Debug, Clone, Default)]
pub struct AppFilter {
    /// Within the scope of the caller.
    pub scope: Scope,
    /// In this account.
    pub account: Option<String>,
    /// In this state; in any but `removed` when absent.
    pub state: Option<AppState>,
    /// Whether they had drifted at their last check.
    pub drifted: Option<bool>,
    /// With this text in the name.
    pub query: Option<String>,
    /// After the one by this id.
    pub after: Option<Ulid>,
    /// At most this many.
    pub limit: u32,
}

impl Store {
    /// The app by this name, without regard to case.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn app(&self, name: &AppName) -> Result<Option<App>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(" WHERE a.name_key = ").bind(name.key())?;
        let Some(row) = sql
            .query()
            .fetch_optional(&mut *self.reader().await?)
            .with_timeout()
            .await?
        else {
            return Ok(None);
        };
        self.with_record(read_app(&row)?).await.map(Some)
    }

    /// Whether an app within the scope has this resource, in this account.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn has_resource(
        &self,
        scope: &Scope,
        account: &AccountName,
        resource: &ResourceId,
    ) -> Result<bool, StoreError> {
        let mut sql = Sql::new(
            "SELECT r.resource FROM resources r JOIN apps a ON a.id = r.app_id WHERE r.resource = ",
        );
        sql.bind(resource.to_string())?
            .push(" AND a.account = ")
            .bind(account.to_string())?;
        self.is_within(sql, scope).await
    }

    /// Whether there is an app by this name, without regard to case, within the scope.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn is_app_within(&self, name: &AppName, scope: &Scope) -> Result<bool, StoreError> {
        let mut sql = Sql::new("SELECT a.id FROM apps a WHERE a.name_key = ");
        sql.bind(name.key())?;
        self.is_within(sql, scope).await
    }

    /// Lists apps in the order of their creation.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn apps(&self, filter: &AppFilter) -> Result<Vec<App>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(" WHERE 1 = 1");
        if let Some(after) = filter.after {
            sql.push(" AND a.seq > COALESCE((SELECT seq FROM apps WHERE id = ")
                .bind(after.to_string())?;
            sql.push("), (SELECT MAX(seq) FROM apps WHERE id < ")
                .bind(after.to_string())?
                .push("), 0)");
        }
        if let Some(account) = &filter.account {
            sql.push(" AND a.account = ").bind(account.clone())?;
        }
        restrict(&mut sql, &filter.scope, "a.name_key", "a.account")?;
        match filter.state {
            Some(state) => sql.push(" AND a.state = ").bind(state.to_string())?,
            None => sql.push(" AND a.state <> 'removed'"),
        };
        if let Some(drifted) = filter.drifted {
            sql.push(" AND r.drifted = ").bind(i64::from(drifted))?;
        }
        if let Some(text) = &filter.query {
            let pattern = text
                .to_ascii_lowercase()
                .replace('\\', "\\\\")
                .replace('%', "\\%")
                .replace('_', "\\_");
            sql.push(" AND a.name_key LIKE ")
                .bind(format!("%{pattern}%"))?
                .push(" ESCAPE '\\'");
        }
        sql.push(" ORDER BY a.seq LIMIT ")
            .bind(i64::from(filter.limit))?;
        let rows = sql
            .query()
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        rows.iter().map(read_app).collect()
    }

    /// The records of the app's resources.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn recorded(&self, app: Ulid) -> Result<Recorded, StoreError> {
        Ok(Recorded::of(&self.resources(app).await?))
    }

    /// The app with the records of its resources and keys.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn with_record(&self, mut app: App) -> Result<App, StoreError> {
        app.resources = self.resources(app.id).await?;
        if !app.spec.access_key {
            let keys = self.key_records(app.id).await?.keys.into_iter();
            app.keys = keys
                .map(|(access_key_id, created_at)| RecordedKey {
                    access_key_id,
                    created_at,
                })
                .collect();
        }
        Ok(app)
    }

    /// When a job last changed each resource of the app by one of these operations, within `span` before now.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn changed_within(
        &self,
        app: Ulid,
        span: Duration,
        operations: &'static [&'static str],
    ) -> Result<BTreeMap<ResourceId, Timestamp>, StoreError> {
        let since = self.clock.now().before(span);
        let mut sql = Sql::new("SELECT resource, MAX(at) AS at FROM audit WHERE app_id = ");
        sql.bind(app.to_string())?
            .push(" AND at >= ")
            .bind(since.millis())?;
        sql.push(" AND action = 'change_applied' AND operation IN (")
            .list(operations.iter().copied())?
            .push(") GROUP BY resource");
        let rows = sql
            .query()
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let read = |row| {
            let row = RowReader::new(row, "audit", "resource");
            Ok((row.parsed("resource")?, row.moment("at")?))
        };
        rows.iter().map(read).collect()
    }

    /// Whether a caller whose name begins with `prefix` has onboarded an app.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn has_onboarded(&self, prefix: &str) -> Result<bool, StoreError> {
        let mut sql =
            Sql::new("SELECT id FROM apps WHERE state NOT IN ('pending', 'failed', 'canceled')");
        sql.push(&format!(" AND substr(created_by, 1, {}) = ", prefix.len()))
            .bind(prefix.to_owned())?
            .push(" LIMIT 1");
        let row = sql
            .query()
            .fetch_optional(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        Ok(row.is_some())
    }

    /// Records keys that are about to be deactivated because the app is removed. A restore activates them again.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when another worker has the job.
    pub async fn note_switched_off(
        &self,
        lease: Lease,
        access_key_ids: BTreeSet<String>,
    ) -> Result<(), StoreError> {
        self.write_with_lease(lease, move |db| {
            Box::pin(async move {
                let app = hold(db, lease).await?;
                let Some(mut removal) = app_by_id(db, app).await?.removal else {
                    return Ok(());
                };
                removal.switched_off.extend(access_key_ids);
                set_removal(db, app, Some(&removal)).await
            })
        })
        .await
    }

    /// Apps whose quarantine is over, except those whose record cannot be read.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn due_removals(&self) -> Result<Vec<App>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(" WHERE a.state = 'quarantined' AND a.remove_at <= ")
            .bind(self.clock.now().millis())?;
        sql.push(" ORDER BY a.remove_at LIMIT 100");
        let rows = sql
            .query()
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let is_due = |app: &App| {
            app.removal
                .as_ref()
                .is_none_or(|removal| !removal.restoring)
        };
        let apps = rows
            .iter()
            .filter_map(|row| readable(read_app(row)).transpose());
        apps.filter(|app| app.as_ref().map_or(true, is_due))
            .collect()
    }

    async fn resources(&self, app: Ulid) -> Result<Vec<AppResource>, StoreError> {
        let rows = sqlx::query(RESOURCES)
            .bind(app.to_string())
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        rows.iter().map(read_resource).collect()
    }
}

const RESOURCES: &str = "SELECT resource, arn, state, error, made, adopted, made_at, job_id, updated_at FROM resources WHERE app_id = $1 ORDER BY resource";

fn read_resource(row: &AnyRow) -> Result<AppResource, StoreError> {
    let row = RowReader::new(row, "resources", "resource");
    Ok(AppResource {
        resource: row.parsed("resource")?,
        arn: row.plain("arn")?,
        state: row.parsed("state")?,
        error: row.json_or_null("error")?,
        owned: match (row.plain::<i64>("made")?, row.plain::<i64>("adopted")?) {
            (1, _) => Some(Owned::Made),
            (_, 1) => Some(Owned::Adopted),
            _ => None,
        },
        made_at: row.moment_or_null("made_at")?,
        job: row.id("job_id")?,
        updated_at: row.moment("updated_at")?,
    })
}

/// The app by its id, within a transaction.
pub(super) async fn app_by_id(db: &mut AnyConnection, id: Ulid) -> Result<App, StoreError> {
    let mut sql = Sql::new(COLUMNS);
    sql.push(" WHERE a.id = ").bind(id.to_string())?;
    read_app(&sql.query().fetch_one(db).await?)
}

/// The rows of apps by their ids, within a transaction, for [`read_app`].
pub(super) async fn rows_by_id(
    db: &mut AnyConnection,
    ids: impl Iterator<Item = Ulid>,
) -> Result<Vec<AnyRow>, StoreError> {
    let mut sql = Sql::new(COLUMNS);
    sql.push(" WHERE a.id IN (")
        .list(ids.map(|id| id.to_string()))?
        .push(")");
    sql.run(db).await
}

/// Locks the app by this name until the commit and returns its id. Nobody else can enqueue a job of it meanwhile.
pub(super) async fn lock(
    db: &mut AnyConnection,
    name: &AppName,
) -> Result<Option<Ulid>, StoreError> {
    let mut sql = Sql::new("SELECT id FROM apps WHERE name_key = ");
    sql.bind(name.key())?.push(for_update(db));
    let row = sql.query().fetch_optional(db).await?;
    row.map(|row| RowReader::new(&row, "apps", "id").id("id"))
        .transpose()
}

/// Sets another spec, and what the specs before it named and it does not.
pub(super) async fn set_spec(
    db: &mut AnyConnection,
    app: Ulid,
    spec: &AppSpec,
    dropped: &Dropped,
    now: Timestamp,
) -> Result<(), StoreError> {
    let update = sqlx::query(
        "UPDATE apps SET spec = $1, retained = $2, rotate_after = $3, version = version + 1, updated_at = $4 WHERE id = $5",
    );
    update
        .bind(to_json(spec)?)
        .bind(to_json(dropped)?)
        .bind(rotate_after(spec))
        .bind(now.millis())
        .bind(app.to_string())
        .execute(db)
        .await?;
    Ok(())
}

/// The spec's `rotate_after` in milliseconds, by which apps with old keys are found.
pub(super) fn rotate_after(spec: &AppSpec) -> Option<i64> {
    spec.rotate_after
        .map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
}

async fn set_dropped(
    db: &mut AnyConnection,
    app: Ulid,
    dropped: &Dropped,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE apps SET retained = $1 WHERE id = $2")
        .bind(to_json(dropped)?)
        .bind(app.to_string())
        .execute(db)
        .await?;
    Ok(())
}

/// Sets or ends the app's removal.
pub(super) async fn set_removal(
    db: &mut AnyConnection,
    app: Ulid,
    removal: Option<&Removal>,
) -> Result<(), StoreError> {
    let update = sqlx::query("UPDATE apps SET removal = $1, remove_at = $2 WHERE id = $3");
    let update = update
        .bind(removal.map(to_json).transpose()?)
        .bind(removal.map(|removal| removal.remove_at.millis()));
    update.bind(app.to_string()).execute(db).await?;
    Ok(())
}

/// Applies a job that succeeded to the app's record.
pub(super) async fn apply_success(
    db: &mut AnyConnection,
    app: Ulid,
    job: Ulid,
    task: &Task,
    now: Timestamp,
) -> Result<(), StoreError> {
    match task {
        Task::Onboard { .. } | Task::Repair { .. } => {
            forget_what_was_named_in_vain(db, app, job).await
        }
        Task::Update { remove, .. } => {
            // One whose restore did not succeed is restored by it.
            set_removal(db, app, None).await?;
            if *remove {
                set_dropped(db, app, &Dropped::default()).await?;
            }
            forget_what_was_named_in_vain(db, app, job).await
        }
        Task::Offboard => {
            // The quarantine is what is left after the keys are off, however long that took.
            let Some(mut removal) = app_by_id(db, app).await?.removal else {
                return Ok(());
            };
            removal.remove_at = now.after(removal.remove_at.since(removal.requested_at));
            set_removal(db, app, Some(&removal)).await
        }
        Task::Restore { .. } => {
            set_removal(db, app, None).await?;
            forget_what_was_named_in_vain(db, app, job).await
        }
        Task::Remove => {
            let removed = app_by_id(db, app).await?;
            let left = removed
                .removal
                .as_ref()
                .map(|removal| removal.leaves(&removed.spec, &removed.dropped));
            set_dropped(db, app, &left.unwrap_or_default()).await?;
            // What was adopted is given back.
            sqlx::query("DELETE FROM resources WHERE app_id = $1 AND made = 0")
                .bind(app.to_string())
                .execute(&mut *db)
                .await?;
            set_removal(db, app, None).await
        }
        Task::Rotate { .. } | Task::SetKeyStatus { .. } => Ok(()),
    }
}

/// Forgets resources of earlier specs that no job has created or adopted, once a job has applied the present spec. What an
/// interrupted job may have created stays known.
async fn forget_what_was_named_in_vain(
    db: &mut AnyConnection,
    app: Ulid,
    job: Ulid,
) -> Result<(), StoreError> {
    let rows = sqlx::query(RESOURCES)
        .bind(app.to_string())
        .fetch_all(&mut *db)
        .await?;
    for row in &rows {
        let it = read_resource(row)?;
        if it.owned.is_some() || it.job == job || it.may_exist() {
            continue;
        }
        sqlx::query("DELETE FROM resources WHERE app_id = $1 AND resource = $2")
            .bind(app.to_string())
            .bind(it.resource.to_string())
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

pub(super) fn read_app(row: &AnyRow) -> Result<App, StoreError> {
    let row = RowReader::new(row, "apps", "id");
    let spec: AppSpec = row.json("spec")?;
    let id_or_null = |column| -> Result<Option<Ulid>, StoreError> {
        let text: Option<String> = row.plain(column)?;
        text.map(|_| row.id(column)).transpose()
    };
    let drifted: Option<i64> = row.plain("drifted")?;
    let drift = row
        .moment_or_null("checked_at")?
        .map(|checked_at| DriftSummary {
            checked_at,
            drifted: drifted == Some(1),
        });
    Ok(App {
        summary: AppSummary {
            name: row.plain("name")?,
            account: row.plain("account")?,
            state: row.parsed("state")?,
            drift,
            active_job: id_or_null("active_job")?,
            created_at: row.moment("created_at")?,
            updated_at: row.moment("updated_at")?,
        },
        id: row.id("id")?,
        version: row.plain("version")?,
        spec,
        resources: Vec::new(),
        retained: Retained::default(),
        dropped: row.json("retained")?,
        keys: Vec::new(),
        removal: row.json_or_null("removal")?,
        last_job: id_or_null("last_job")?,
    })
}
