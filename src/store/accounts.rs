//! Registered accounts.
//!
//! Invariants:
//! - A name, an AWS account ID and an external ID are each registered once: the database refuses a second.
//! - An app is never in an account that is not registered: both lock the account's row.
//! - The result of a check is kept only if the account has not changed since the check began.

use serde_json::{Map, Value};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::clock::Timestamp;
use crate::domain::account::{AccountSettings, AccountState, RegisteredAccount};
use crate::domain::audit::AuditEvent;
use crate::domain::names::{AccountId, AccountName, Region, RoleArn};
use crate::domain::spec::default_account;
use crate::domain::webhook::EventType;
use crate::store::audit::{self, Subject};
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::outbox::{Announcement, announce};
use crate::store::refusal::Refusal;
use crate::store::rows::{RowReader, readable, to_json};
use crate::store::setups;
use crate::store::signals::Signal;
use crate::store::sql::{Sql, for_update};

/// What a check of an account found.
#[derive(Debug, Clone)]
pub struct AccountCheckResult {
    /// The state of the account.
    pub state: AccountState,
    /// Why it is blocked or unreachable.
    pub reason: Option<String>,
    /// The account alias, if it could be read.
    pub alias: Option<String>,
}

const COLUMNS: &str = "name, account_id, role_arn, region, defaults, external_id, state, reason, alias, checked_at, created_by, created_at, version";

impl Store {
    /// Registers an account.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn register_account(
        &self,
        account: RegisteredAccount,
    ) -> Result<Result<RegisteredAccount, Refusal>, StoreError> {
        self.writer
            .write(move |db| Box::pin(async move { register(db, account).await }))
            .await
    }

    /// The account registered by this name.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn registered_account(
        &self,
        name: &AccountName,
    ) -> Result<Option<RegisteredAccount>, StoreError> {
        let mut sql = Sql::new(&format!("SELECT {COLUMNS} FROM accounts WHERE name = "));
        sql.bind(name.as_str())?;
        let row = sql
            .query()
            .fetch_optional(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        row.map(|row| read(&row)).transpose()
    }

    /// All registered accounts, by name.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn registered_accounts(&self) -> Result<Vec<RegisteredAccount>, StoreError> {
        let rows = Sql::new(&format!("SELECT {COLUMNS} FROM accounts ORDER BY name"))
            .query()
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let read = rows.iter().map(|row| readable(read(row)));
        Ok(read
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect())
    }

    /// The number of apps in each account that has any, without those that were removed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn apps_by_account(&self) -> Result<Vec<(AccountName, i64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT account, COUNT(*) AS apps FROM apps WHERE subject = 'app' AND state <> 'removed' GROUP BY account",
        )
        .fetch_all(&mut *self.reader().await?)
        .with_timeout()
        .await?;
        let read = |row: &AnyRow| {
            let row = RowReader::new(row, "apps", "account");
            Ok((account_name(&row, "account")?, row.plain("apps")?))
        };
        rows.iter().map(read).collect()
    }

    /// The number of apps in an account, without those that were removed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn apps_in_account(&self, name: &AccountName) -> Result<i64, StoreError> {
        count_apps(&mut *self.reader().await?, name)
            .with_timeout()
            .await
    }

    /// Changes what can be changed in a registered account. With another role it has to be verified again.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn update_account(
        &self,
        name: AccountName,
        settings: AccountSettings,
        by: String,
    ) -> Result<Result<RegisteredAccount, Refusal>, StoreError> {
        let now = self.clock.now();
        self.writer
            .write(move |db| Box::pin(async move { update(db, &name, settings, &by, now).await }))
            .await
    }

    /// Deletes the registration of an account that has no apps.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn delete_account(
        &self,
        name: AccountName,
        by: String,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let now = self.clock.now();
        self.writer
            .write(move |db| Box::pin(async move { delete(db, &name, &by, now).await }))
            .await
    }

    /// Records what a verification that somebody requested found. `false` if the account has changed since it began.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn record_verification(
        &self,
        checked: &RegisteredAccount,
        result: AccountCheckResult,
        by: String,
    ) -> Result<bool, StoreError> {
        self.write_check(checked, result, Some(by)).await
    }

    /// Records what a check by the service itself found. It changes nothing of an account that has to be verified.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn record_account_check(
        &self,
        checked: &RegisteredAccount,
        result: AccountCheckResult,
    ) -> Result<bool, StoreError> {
        self.write_check(checked, result, None).await
    }

    async fn write_check(
        &self,
        checked: &RegisteredAccount,
        result: AccountCheckResult,
        by: Option<String>,
    ) -> Result<bool, StoreError> {
        let (now, name) = (self.clock.now(), checked.name.clone());
        let (version, state) = (checked.version, checked.state);
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let mut sql = Sql::new("UPDATE accounts SET state = ");
                    sql.bind(result.state.to_string())?.push(", reason = ");
                    sql.bind(result.reason)?.push(", alias = COALESCE(CAST(");
                    sql.bind(result.alias)?
                        .push(" AS TEXT), alias), checked_at = ");
                    sql.bind(now.millis())?.push(" WHERE name = ");
                    sql.bind(name.to_string())?.push(" AND version = ");
                    sql.bind(version)?;
                    if by.is_none() {
                        // Another check may have found something else meanwhile.
                        sql.push(" AND state IN ('ready', 'unreachable') AND state = ");
                        sql.bind(state.to_string())?;
                    }
                    sql.push(" RETURNING name");
                    let is_recorded = sql.query().fetch_optional(&mut *db).await?.is_some();
                    let is_lost =
                        result.state == AccountState::Unreachable && state != result.state;
                    if is_recorded && is_lost {
                        let subject = Subject::Account(&name);
                        let event = Announcement::new(EventType::AccountUnreachable, subject, now);
                        let mut sql = Sql::default();
                        announce(db, &mut sql, event)?;
                        sql.run(&mut *db).await?;
                    }
                    if let (true, Some(by)) = (is_recorded, by) {
                        let event = AuditEvent::AccountVerified {
                            state: result.state,
                        };
                        note(db, &name, &by, now, event).await?;
                    }
                    Ok(is_recorded)
                })
            })
            .await
            .inspect(|_| self.signal_here(Signal::Outbox))
    }
}

/// Locks the account's row until the commit, so that the account is not deleted meanwhile.
pub(super) async fn lock_for_app(
    db: &mut AnyConnection,
    name: &AccountName,
) -> Result<Result<(), Refusal>, StoreError> {
    if *name == default_account() {
        return Ok(Ok(()));
    }
    Ok(match lock(db, name).await? {
        None => Err(Refusal::NoAccount),
        Some(account) if !account.state.takes_apps() => {
            Err(Refusal::AccountNotReady(account.name, account.state))
        }
        Some(_) => Ok(()),
    })
}

async fn lock(
    db: &mut AnyConnection,
    name: &AccountName,
) -> Result<Option<RegisteredAccount>, StoreError> {
    let mut sql = Sql::new(&format!("SELECT {COLUMNS} FROM accounts WHERE name = "));
    sql.bind(name.as_str())?.push(for_update(db));
    let row = sql.query().fetch_optional(db).await?;
    row.map(|row| read(&row)).transpose()
}

async fn register(
    db: &mut AnyConnection,
    account: RegisteredAccount,
) -> Result<Result<RegisteredAccount, Refusal>, StoreError> {
    let mut sql = Sql::new(
        "INSERT INTO accounts (name, account_id, role_arn, region, defaults, external_id, state, created_by, created_at, version) VALUES (",
    );
    sql.list([
        account.name.to_string(),
        account.account_id.to_string(),
        account.settings.role_arn.to_string(),
        account.settings.region.to_string(),
        to_json(&account.settings.defaults)?,
        account.external_id.clone(),
        account.state.to_string(),
        account.created_by.clone(),
    ])?;
    sql.push(", ").bind(account.created_at.millis())?;
    sql.push(", 1) ON CONFLICT DO NOTHING RETURNING name");
    let event = AuditEvent::AccountRegistered {
        account_id: account.account_id.clone(),
        role_arn: account.settings.role_arn.clone(),
    };
    if sql.query().fetch_optional(&mut *db).await?.is_none() {
        return Ok(Err(Refusal::AccountExists(other_name(db, &account).await?)));
    }
    let (name, by) = (account.name.clone(), account.created_by.clone());
    note(db, &name, &by, account.created_at, event).await?;
    Ok(Ok(account))
}

/// The name under which the name or the AWS account is registered already.
async fn other_name(
    db: &mut AnyConnection,
    account: &RegisteredAccount,
) -> Result<AccountName, StoreError> {
    let mut sql = Sql::new("SELECT name FROM accounts WHERE account_id = ");
    sql.bind(account.account_id.to_string())?;
    let row = sql.query().fetch_optional(db).await?;
    row.map_or_else(
        || Ok(account.name.clone()),
        |row| account_name(&RowReader::new(&row, "accounts", "name"), "name"),
    )
}

async fn update(
    db: &mut AnyConnection,
    name: &AccountName,
    settings: AccountSettings,
    by: &str,
    now: Timestamp,
) -> Result<Result<RegisteredAccount, Refusal>, StoreError> {
    let Some(before) = lock(db, name).await? else {
        return Ok(Err(Refusal::NoAccount));
    };
    // The name may have been registered anew since the request was checked.
    if settings.role_arn.account_id() != before.account_id.as_str() {
        return Ok(Err(Refusal::NoAccount));
    }
    let is_same_role = before.settings.role_arn == settings.role_arn;
    let mut after = RegisteredAccount {
        settings,
        version: before.version + 1,
        ..before
    };
    if !is_same_role {
        after.state = AccountState::Pending;
        after.reason = None;
        after.checked_at = None;
    }
    let event = AuditEvent::AccountUpdated {
        role_arn: after.settings.role_arn.clone(),
    };
    let mut sql = Sql::new("UPDATE accounts SET role_arn = ");
    sql.bind(after.settings.role_arn.to_string())?
        .push(", region = ");
    sql.bind(after.settings.region.to_string())?
        .push(", defaults = ");
    sql.bind(to_json(&after.settings.defaults)?)?
        .push(", state = ");
    sql.bind(after.state.to_string())?.push(", reason = ");
    sql.bind(after.reason.clone())?.push(", checked_at = ");
    sql.bind(after.checked_at.map(Timestamp::millis))?
        .push(", version = ");
    sql.bind(after.version)?.push(" WHERE name = ");
    sql.bind(name.to_string())?;
    audit::record(
        db,
        &mut sql,
        Subject::Account(name),
        Some(by),
        &[(now, event)],
    )?;
    sql.run(db).await?;
    Ok(Ok(after))
}

async fn delete(
    db: &mut AnyConnection,
    name: &AccountName,
    by: &str,
    now: Timestamp,
) -> Result<Result<(), Refusal>, StoreError> {
    let Some(account) = lock(db, name).await? else {
        return Ok(Err(Refusal::NoAccount));
    };
    if count_apps(db, name).await? > 0 || !setups::forget(db, name, now).await? {
        return Ok(Err(Refusal::AccountInUse(account.name)));
    }
    let mut sql = Sql::new("DELETE FROM accounts WHERE name = ");
    sql.bind(name.to_string())?;
    sql.run(&mut *db).await?;
    let event = AuditEvent::AccountDeleted {
        account_id: account.account_id,
    };
    note(db, name, by, now, event).await.map(Ok)
}

async fn count_apps(db: &mut AnyConnection, name: &AccountName) -> Result<i64, StoreError> {
    let mut apps = Sql::new(
        "SELECT COUNT(*) FROM apps WHERE subject = 'app' AND state <> 'removed' AND account = ",
    );
    apps.bind(name.to_string())?;
    Ok(apps.scalars().fetch_one(db).await?)
}

async fn note(
    db: &mut AnyConnection,
    name: &AccountName,
    by: &str,
    at: Timestamp,
    event: AuditEvent,
) -> Result<(), StoreError> {
    let mut sql = Sql::default();
    audit::record(
        db,
        &mut sql,
        Subject::Account(name),
        Some(by),
        &[(at, event)],
    )?;
    sql.run(db).await.map(drop)
}

fn account_name(row: &RowReader<'_>, column: &'static str) -> Result<AccountName, StoreError> {
    row.named(column, AccountName::parse)
}

fn read(row: &AnyRow) -> Result<RegisteredAccount, StoreError> {
    let row = RowReader::new(row, "accounts", "name");
    Ok(RegisteredAccount {
        name: account_name(&row, "name")?,
        account_id: row.named("account_id", AccountId::parse)?,
        settings: AccountSettings {
            role_arn: row.named("role_arn", RoleArn::parse)?,
            region: row.named("region", Region::parse)?,
            defaults: row.json::<Map<String, Value>>("defaults")?,
        },
        external_id: row.plain("external_id")?,
        state: row.parsed("state")?,
        reason: row.plain("reason")?,
        alias: row.plain("alias")?,
        checked_at: row.moment_or_null("checked_at")?,
        created_by: row.plain("created_by")?,
        created_at: row.moment("created_at")?,
        version: row.plain("version")?,
    })
}
