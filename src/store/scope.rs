//! The scope of a caller as a condition in SQL: pages are full and their cursors right.

use crate::domain::names::SETUP_PREFIX;
use crate::domain::scope::Scope;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::to_json;
use crate::store::sql::Sql;

impl Store {
    /// Whether a query for one app, or for what is an app's, finds a row within the scope.
    pub(super) async fn is_within(&self, mut sql: Sql, scope: &Scope) -> Result<bool, StoreError> {
        restrict(&mut sql, scope, "a.name_key", "a.account")?;
        let row = sql
            .query()
            .fetch_optional(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        Ok(row.is_some())
    }
}

/// The scope as its column holds it: nothing for all.
pub(super) fn column(scope: &Scope) -> Result<Option<String>, StoreError> {
    (!scope.is_all()).then(|| to_json(scope)).transpose()
}

/// Adds that the app, by the expressions for its lower-case name and its account, is within the scope. A row without a
/// name or an account is not, unless the scope is silent about it. The set-up of an account is no app: its account decides.
pub(super) fn restrict(
    sql: &mut Sql,
    scope: &Scope,
    name_key: &str,
    account: &str,
) -> Result<(), StoreError> {
    if let Some(patterns) = scope.apps() {
        let length = SETUP_PREFIX.len();
        sql.push(&format!(" AND (substr({name_key}, 1, {length}) = "))
            .bind(SETUP_PREFIX.to_owned())?;
        for pattern in patterns {
            if pattern.is_prefix() {
                let length = pattern.text().len();
                sql.push(&format!(" OR substr({name_key}, 1, {length}) = "));
            } else {
                sql.push(&format!(" OR {name_key} = "));
            }
            sql.bind(pattern.text().to_owned())?;
        }
        sql.push(")");
    }
    if let Some(accounts) = scope.accounts() {
        sql.push(&format!(" AND {account} IN ("))
            .list(accounts.iter().map(ToString::to_string))?
            .push(")");
    }
    Ok(())
}
