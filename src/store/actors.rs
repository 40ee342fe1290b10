//! Who is behind the names of callers that an identity provider vouches for.

use sqlx::AnyConnection;

use crate::clock::Timestamp;
use crate::domain::caller::CallerIdentity;
use crate::store::error::StoreError;
use crate::store::rows::to_json;
use crate::store::sql::Sql;

/// Adds the statement that records who is behind a name from now on.
pub(super) fn record(
    db: &AnyConnection,
    sql: &mut Sql,
    name: &str,
    identity: &CallerIdentity,
    now: Timestamp,
) -> Result<(), StoreError> {
    sql.then(db, "INSERT INTO actors (name, identity, seen_at) VALUES (");
    sql.bind(name.to_owned())?.push(", ");
    sql.bind(to_json(identity)?)?.push(", ");
    sql.bind(now.millis())?.push(
        ") ON CONFLICT (name) DO UPDATE SET identity = excluded.identity, seen_at = excluded.seen_at",
    );
    Ok(())
}
