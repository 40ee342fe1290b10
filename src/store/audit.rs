//! The audit log: entries are written in the commit of what they describe, and read newest first.
//!
//! Invariants:
//! - An entry is never changed, and only its age removes it.
//! - Pages are in the order of time and, within a millisecond, of number: no two entries share a position.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::audit::{Action, AuditEntry, AuditEvent};
use crate::domain::names::{AccountName, AppName};
use crate::domain::scope::Scope;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::{RowReader, to_json};
use crate::store::scope::restrict;
use crate::store::sql::Sql;

/// The position of an entry: its time and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditCursor {
    at: i64,
    seq: i64,
}

impl AuditCursor {
    /// The position of this entry.
    pub fn of(entry: &AuditEntry) -> Self {
        Self {
            at: entry.at.millis(),
            seq: entry.seq,
        }
    }
}

impl fmt::Display for AuditCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at, self.seq)
    }
}

impl FromStr for AuditCursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0);
        let parsed = text.split_once('-').and_then(|(at, seq)| {
            Some(Self {
                at: number(at)?,
                seq: number(seq)?,
            })
        });
        parsed
            .filter(|cursor| cursor.to_string() == text)
            .ok_or("must be a next_cursor of an earlier page")
    }
}

/// Which entries to list.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Within the scope of the caller.
    pub scope: Scope,
    /// Of this app.
    pub app: Option<AppName>,
    /// By this token's name.
    pub actor: Option<String>,
    /// Of this action.
    pub action: Option<Action>,
    /// Of this job.
    pub job: Option<Ulid>,
    /// Of resources whose ids begin with this.
    pub resource: Option<String>,
    /// Of calls to this AWS service.
    pub service: Option<String>,
    /// Of calls of this AWS operation.
    pub operation: Option<String>,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Before this.
    pub until: Option<Timestamp>,
    /// Before this entry: the newest come first.
    pub before: Option<AuditCursor>,
    /// At most this many.
    pub limit: u32,
}

/// The subject of an entry.
#[derive(Clone, Copy)]
pub(super) enum Subject<'n> {
    /// A job, and so its app.
    Job(Ulid),
    /// An app.
    App(Ulid),
    /// A registered account.
    Account(&'n AccountName),
    /// None of these.
    Service,
}

#[derive(Serialize)]
struct EntryRow<'d> {
    at: i64,
    action: Action,
    resource: Option<&'d str>,
    service: Option<&'d str>,
    operation: Option<&'d str>,
    detail: String,
}

impl<'d> EntryRow<'d> {
    fn of((at, event): &'d (Timestamp, AuditEvent)) -> Result<Self, StoreError> {
        let (service, operation) = event.operation().unzip();
        Ok(Self {
            at: at.millis(),
            action: event.action(),
            resource: event.resource(),
            service,
            operation,
            detail: to_json(event)?,
        })
    }
}

/// Adds the statement that records events. The actor is `by`, or else the requester of the job.
pub(super) fn record(
    db: &AnyConnection,
    sql: &mut Sql,
    of: Subject<'_>,
    by: Option<&str>,
    events: &[(Timestamp, AuditEvent)],
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let (job, app, account) = match of {
        Subject::Job(job) => (Some(job.to_string()), None, None),
        Subject::App(app) => (None, Some(app.to_string()), None),
        Subject::Account(name) => (None, None, Some(name.to_string())),
        Subject::Service => (None, None, None),
    };
    sql.then(
        db,
        "INSERT INTO audit (at, actor, action, app_id, app, account, job_id, resource, service, operation, detail) \
         SELECT CAST(item.value ->> 'at' AS BIGINT), COALESCE(CAST(",
    );
    sql.bind(by)?.push(
        " AS TEXT), j.requested_by, a.created_by), item.value ->> 'action', a.id, a.name, COALESCE(a.account, CAST(",
    );
    sql.bind(account)?.push(
        " AS TEXT)), j.id, \
         item.value ->> 'resource', item.value ->> 'service', item.value ->> 'operation', item.value ->> 'detail' FROM ",
    );
    sql.rows(
        db,
        &events
            .iter()
            .map(EntryRow::of)
            .collect::<Result<Vec<_>, _>>()?,
    )?
    .push(" LEFT JOIN jobs j ON j.id = ")
    .bind(job)?;
    sql.push(" LEFT JOIN apps a ON a.id = COALESCE(j.app_id, CAST(")
        .bind(app)?
        .push(" AS TEXT)) ORDER BY item.key");
    Ok(())
}

impl Store {
    /// Lists audit entries, newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        let rows = select(filter)?
            .query()
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        rows.iter().map(read).collect()
    }
}

fn select(filter: &AuditFilter) -> Result<Sql, StoreError> {
    // Which entries these are is found in an index alone; only their rows are read.
    let mut sql = Sql::new(
        "SELECT CAST(e.seq AS TEXT) AS row, e.seq, e.at, e.actor, e.app, e.account, e.job_id, e.detail, b.identity FROM audit e \
         LEFT JOIN actors b ON b.name = e.actor WHERE e.seq IN (SELECT seq FROM audit WHERE 1 = 1",
    );
    let mut conditions = Conditions {
        sql: &mut sql,
        indexed: false,
    };
    conditions.equal("job_id", filter.job.map(|job| job.to_string()))?;
    if let Some(app) = &filter.app {
        conditions.equal_to("app_id", |sql| {
            Ok(sql
                .push("(SELECT id FROM apps WHERE name_key = ")
                .bind(app.key())?
                .push(")"))
        })?;
    }
    conditions.begins("resource", filter.resource.as_deref())?;
    conditions.equal("operation", filter.operation.clone())?;
    conditions.equal("actor", filter.actor.clone())?;
    conditions.equal("action", filter.action.map(|action| action.to_string()))?;
    conditions.indexed = true;
    conditions.equal("service", filter.service.clone())?;
    restrict(&mut sql, &filter.scope, "lower(app)", "account")?;
    if let Some(since) = filter.since {
        sql.push(" AND at >= ").bind(since.millis())?;
    }
    if let Some(until) = filter.until {
        sql.push(" AND at < ").bind(until.millis())?;
    }
    if let Some(AuditCursor { at, seq }) = filter.before {
        sql.push(" AND (at, seq) < (")
            .bind(at)?
            .push(", ")
            .bind(seq)?
            .push(")");
    }
    sql.push(" ORDER BY at DESC, seq DESC LIMIT ")
        .bind(i64::from(filter.limit))?;
    sql.push(") ORDER BY e.at DESC, e.seq DESC");
    Ok(sql)
}

/// Conditions, the most selective first. Only the first may use its index: without statistics SQLite rates all indexes
/// alike, and would read all entries of one busy actor.
struct Conditions<'s> {
    sql: &'s mut Sql,
    indexed: bool,
}

impl Conditions<'_> {
    fn column(&mut self, column: &str) {
        let indexed = std::mem::replace(&mut self.indexed, true);
        let column = if indexed {
            format!("COALESCE({column}, '')")
        } else {
            column.to_owned()
        };
        self.sql.push(" AND ").push(&column);
    }

    fn equal_to(
        &mut self,
        column: &str,
        value: impl FnOnce(&mut Sql) -> Result<&mut Sql, StoreError>,
    ) -> Result<(), StoreError> {
        self.column(column);
        value(self.sql.push(" = ")).map(drop)
    }

    fn equal(&mut self, column: &str, value: Option<String>) -> Result<(), StoreError> {
        value.map_or(Ok(()), |value| self.equal_to(column, |sql| sql.bind(value)))
    }

    /// A prefix as a range, which an index supports: from the text to the text followed by the last character.
    fn begins(&mut self, column: &str, with: Option<&str>) -> Result<(), StoreError> {
        let Some(with) = with else { return Ok(()) };
        let indexed = self.indexed;
        self.column(column);
        self.sql.push(" >= ").bind(with)?;
        self.indexed = indexed;
        self.column(column);
        self.sql.push(" < ").bind(format!("{with}{}", char::MAX))?;
        Ok(())
    }
}

/// The set-up of an account is no app.
fn is_of_setup(name: &str) -> bool {
    AppName::stored(name).is_ok_and(|name| name.is_of_setup())
}

fn read(row: &AnyRow) -> Result<AuditEntry, StoreError> {
    let row = RowReader::new(row, "audit", "row");
    let job = row
        .plain::<Option<String>>("job_id")?
        .map(|_| row.id("job_id"))
        .transpose()?;
    Ok(AuditEntry {
        seq: row.plain("seq")?,
        at: row.moment("at")?,
        actor: row.plain("actor")?,
        identity: row.in_table("actors").json_or_null("identity")?,
        app: row
            .plain::<Option<String>>("app")?
            .filter(|name| !is_of_setup(name)),
        account: row.plain("account")?,
        job,
        event: row.json("detail")?,
    })
}
