//! Sessions of people who are signed in. Invariant: only the hash of what a browser's cookie holds is stored.

use std::time::Duration;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::audit::{AuditEvent, SessionEnd};
use crate::domain::caller::{Caller, CallerIdentity, CallerSession, Person};
use crate::domain::session::Session;
use crate::store::actors;
use crate::store::audit;
use crate::store::audit::Subject;
use crate::store::chat_links;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::RowReader;
use crate::store::scope;
use crate::store::sql::Sql;

const COLUMNS: &str = "SELECT id, issuer, subject, name, display_name, role, scope, created_at, authenticated_at, used_at, expires_at FROM sessions";

/// How exactly it is known when a session was last used: each request would be a write otherwise.
const USE_PRECISION: Duration = Duration::from_secs(30);

/// A session to record.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// The hash of what the cookie holds.
    pub hash: String,
    /// The session, as it begins.
    pub session: Session,
    /// The hash of the session that the browser had before, which ends.
    pub replaces: Option<String>,
}

impl Store {
    /// Begins a session.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn start_session(&self, new: NewSession) -> Result<(), StoreError> {
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let session = new.session;
                    if let Some(hash) = new.replaces {
                        let mut sql = Sql::new("DELETE FROM sessions WHERE hash = ");
                        sql.bind(hash)?;
                        let by = session.name.clone();
                        end(db, sql, &by, session.created_at, SessionEnd::Replaced).await?;
                    }
                    let mut sql = Sql::default();
                    insert(&mut sql, &session, new.hash)?;
                    chat_links::renew(db, &mut sql, &session)?;
                    let (name, at) = (&session.name, session.created_at);
                    actors::record(db, &mut sql, name, &session.identity, at)?;
                    let event = AuditEvent::SessionStarted {
                        session_id: session.id,
                        role: session.role,
                        scope: session.scope,
                    };
                    let events = [(session.created_at, event)];
                    audit::record(db, &mut sql, Subject::Service, Some(&session.name), &events)?;
                    sql.run(db).await.map(drop)
                })
            })
            .await
    }

    /// The caller whose session has this hash and is of this issuer, unless it has ended or was unused for `idle`. Counts
    /// as a use.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn caller_by_session_hash(
        &self,
        hash: &str,
        issuer: &str,
        idle: Duration,
    ) -> Result<Option<Caller>, StoreError> {
        let session = self.session_by_hash(hash, idle).await?;
        let Some(session) = session.filter(|session| session.identity.issuer == issuer) else {
            return Ok(None);
        };
        let now = self.clock.now();
        if now.since(session.used_at) >= USE_PRECISION {
            self.note_use(hash, now).await?;
        }
        Ok(Some(caller(session)))
    }

    /// Whether there is a session with this hash that has not ended. Does not count as a use.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn has_session(&self, hash: &str, idle: Duration) -> Result<bool, StoreError> {
        let session = self.session_by_hash(hash, idle).await?;
        Ok(session.is_some())
    }

    async fn session_by_hash(
        &self,
        hash: &str,
        idle: Duration,
    ) -> Result<Option<Session>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(" WHERE hash = ").bind(hash.to_owned())?;
        let row = sql
            .query()
            .fetch_optional(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let session = row.as_ref().map(read).transpose()?;
        let now = self.clock.now();
        Ok(session.filter(|session| is_alive(session, now, idle)))
    }

    async fn note_use(&self, hash: &str, now: Timestamp) -> Result<(), StoreError> {
        let update =
            sqlx::query("UPDATE sessions SET used_at = $1 WHERE hash = $2 AND used_at < $1")
                .bind(now.millis())
                .bind(hash.to_owned());
        self.writer
            .write(move |db| Box::pin(async move { Ok(update.execute(db).await.map(drop)?) }))
            .await
    }

    /// The sessions that have not ended, the newest first: all, or those of one person.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sessions(
        &self,
        of: Option<&Person>,
        idle: Duration,
    ) -> Result<Vec<Session>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        if let Some(person) = of {
            sql.push(" WHERE issuer = ").bind(person.issuer.clone())?;
            sql.push(" AND subject = ").bind(person.subject.clone())?;
        }
        sql.push(" ORDER BY id DESC");
        let rows = sql
            .query()
            .fetch_all(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        let now = self.clock.now();
        let mut sessions = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        sessions.retain(|session| is_alive(session, now, idle));
        Ok(sessions)
    }

    /// Ends a session; `false` if there is none by this id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn end_session(
        &self,
        id: Ulid,
        by: &str,
        cause: SessionEnd,
    ) -> Result<bool, StoreError> {
        let (now, by) = (self.clock.now(), by.to_owned());
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let mut sql = Sql::new("DELETE FROM sessions WHERE id = ");
                    sql.bind(id.to_string())?;
                    end(db, sql, &by, now, cause).await
                })
            })
            .await
    }

    /// Removes sessions that have ended, or were unused for `idle`. Returns how many.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn expire_sessions(&self, idle: Duration) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let delete = sqlx::query("DELETE FROM sessions WHERE expires_at <= $1 OR used_at <= $2")
            .bind(now.millis())
            .bind(now.before(idle).millis());
        self.writer
            .write(move |db| Box::pin(async move { Ok(delete.execute(db).await?.rows_affected()) }))
            .await
    }
}

/// Runs a statement that deletes a session, and records its end; `false` if there was none.
async fn end(
    db: &mut AnyConnection,
    mut delete: Sql,
    by: &str,
    now: Timestamp,
    cause: SessionEnd,
) -> Result<bool, StoreError> {
    delete.push(" RETURNING id, name");
    let rows = delete.run(&mut *db).await?;
    let Some(row) = rows.first() else {
        return Ok(false);
    };
    let row = RowReader::new(row, "sessions", "id");
    let event = AuditEvent::SessionEnded {
        session_id: row.id("id")?,
        name: row.plain("name")?,
        cause,
    };
    let mut sql = Sql::default();
    audit::record(db, &mut sql, Subject::Service, Some(by), &[(now, event)])?;
    sql.run(db).await.map(|_| true)
}

fn is_alive(session: &Session, now: Timestamp, idle: Duration) -> bool {
    now < session.expires_at && now < session.used_at.after(idle)
}

fn insert(sql: &mut Sql, session: &Session, hash: String) -> Result<(), StoreError> {
    let scope = scope::column(&session.scope)?;
    sql.push("INSERT INTO sessions (id, hash, issuer, subject, name, role, display_name, scope, created_at, authenticated_at, used_at, expires_at) VALUES (");
    sql.list([
        session.id.to_string(),
        hash,
        session.identity.issuer.clone(),
        session.identity.subject.clone(),
        session.name.clone(),
        session.role.to_string(),
    ])?;
    sql.push(", ").bind(session.identity.name.clone())?;
    sql.push(", ").bind(scope)?;
    sql.push(", ").bind(session.created_at.millis())?;
    sql.push(", ")
        .bind(session.authenticated_at.map(Timestamp::millis))?;
    sql.push(", ").bind(session.used_at.millis())?;
    sql.push(", ").bind(session.expires_at.millis())?;
    sql.push(")");
    Ok(())
}

fn read(row: &AnyRow) -> Result<Session, StoreError> {
    let row = RowReader::new(row, "sessions", "id");
    Ok(Session {
        id: row.id("id")?,
        name: row.plain("name")?,
        identity: CallerIdentity {
            issuer: row.plain("issuer")?,
            subject: row.plain("subject")?,
            name: row.plain("display_name")?,
            run_url: None,
        },
        role: row.parsed("role")?,
        scope: row.json_or_null("scope")?.unwrap_or_default(),
        created_at: row.moment("created_at")?,
        authenticated_at: row.moment_or_null("authenticated_at")?,
        used_at: row.moment("used_at")?,
        expires_at: row.moment("expires_at")?,
    })
}

fn caller(session: Session) -> Caller {
    let person = session.person();
    Caller {
        id: session.id.to_string(),
        name: session.name,
        role: session.role,
        scope: session.scope,
        identity: Some(session.identity),
        person: Some(person),
        expires_at: None,
        session: Some(CallerSession {
            id: session.id,
            authenticated_at: session.authenticated_at,
        }),
        proposes: false,
    }
}
