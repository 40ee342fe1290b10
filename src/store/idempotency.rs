//! Idempotency records: the same request twice is one job.
//!
//! Invariant: a record is written in the commit of the work that it answers for.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use sqlx::AnyConnection;

use crate::clock::Timestamp;
use crate::store::connection::InTime as _;
use crate::store::rows::Reader;
use crate::store::sql::{Sql, is_postgres};
use crate::store::{Refusal, Store, StoreError};

/// How long a record lives.
pub const IDEMPOTENCY_AGE: Duration = Duration::from_secs(24 * 3600);

/// A request that carries an `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The token's id.
    pub caller: String,
    /// Method and path.
    pub route: String,
    /// The header's value.
    pub key: String,
    /// A hash of the query and the body.
    pub fingerprint: String,
}

/// An answer that can be given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The `Location` header.
    pub location: Option<String>,
    /// The JSON body.
    pub body: String,
}

/// What an earlier request with the same key left.
pub(super) enum Earlier {
    None,
    Same(Answer),
    Other,
}

/// A hash of parts, each with its length.
pub fn fingerprint(parts: &[&[u8]]) -> String {
    let bytes: Vec<u8> = parts
        .iter()
        .flat_map(|part| {
            part.len()
                .to_be_bytes()
                .into_iter()
                .chain(part.iter().copied())
        })
        .collect();
    hex::encode(digest(&SHA256, &bytes))
}

pub(super) async fn earlier(
    db: &mut AnyConnection,
    key: &IdempotencyKey,
    now: Timestamp,
) -> Result<Earlier, StoreError> {
    if is_postgres(db) {
        // Of two requests with one key the second waits here for the first one's commit.
        let lock = fingerprint(&[
            key.caller.as_bytes(),
            key.route.as_bytes(),
            key.key.as_bytes(),
        ]);
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(lock)
            .execute(&mut *db)
            .await?;
    }
    let row = sqlx::query(
        "SELECT fingerprint, status, location, body, key FROM idempotency WHERE caller = $1 AND route = $2 AND key = $3 AND created_at > $4",
    )
    .bind(&key.caller)
    .bind(&key.route)
    .bind(&key.key)
    .bind(now.before(IDEMPOTENCY_AGE).millis())
    .fetch_optional(db)
    .await?;
    let Some(row) = row else {
        return Ok(Earlier::None);
    };
    let row = Reader {
        row: &row,
        table: "idempotency",
        key: "key",
    };
    if row.plain::<String>("fingerprint")? != key.fingerprint {
        return Ok(Earlier::Other);
    }
    Ok(Earlier::Same(Answer {
        status: row.count("status")?,
        location: row.plain("location")?,
        body: row.plain("body")?,
    }))
}

/// Goes on with the statement that keeps an answer for its key.
pub(super) fn record(
    db: &AnyConnection,
    sql: &mut Sql,
    key: &IdempotencyKey,
    answer: &Answer,
    now: Timestamp,
) -> Result<(), StoreError> {
    sql.then(db, "INSERT INTO idempotency (caller, route, key, fingerprint, body, location, status, created_at) VALUES (");
    sql.list([
        &key.caller,
        &key.route,
        &key.key,
        &key.fingerprint,
        &answer.body,
    ])?
    .push(", ")
    .bind(answer.location.clone())?;
    sql.push(", ").bind(i64::from(answer.status))?.push(", ").bind(now.millis())?.push(
        ") ON CONFLICT (caller, route, key) DO UPDATE SET fingerprint = excluded.fingerprint, status = excluded.status, \
         location = excluded.location, body = excluded.body, created_at = excluded.created_at",
    );
    Ok(())
}

impl Store {
    /// What an earlier request with the same key, query and body was answered; refused where it was another request.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn replay(
        &self,
        key: Option<&IdempotencyKey>,
    ) -> Result<Result<Option<Answer>, Refusal>, StoreError> {
        let Some(key) = key else { return Ok(Ok(None)) };
        Ok(
            match earlier(&mut *self.reader().await?, key, self.clock.now())
                .in_time()
                .await?
            {
                Earlier::None => Ok(None),
                Earlier::Same(answer) => Ok(Some(answer)),
                Earlier::Other => Err(Refusal::KeyReused),
            },
        )
    }

    /// Keeps an answer for its key, where nothing had to be done for it; what an earlier request with the same key was
    /// answered, if there was one; refused where that was another request.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(super) async fn keep_answer(
        &self,
        key: IdempotencyKey,
        answer: Answer,
    ) -> Result<Result<Option<Answer>, Refusal>, StoreError> {
        let now = self.clock.now();
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    match earlier(db, &key, now).await? {
                        Earlier::None => {}
                        Earlier::Same(answer) => return Ok(Ok(Some(answer))),
                        Earlier::Other => return Ok(Err(Refusal::KeyReused)),
                    }
                    let mut sql = Sql::default();
                    record(db, &mut sql, &key, &answer, now)?;
                    sql.run(db).await?;
                    Ok(Ok(None))
                })
            })
            .await
    }

    /// Removes records that are too old to be asked for.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn prune_idempotency(&self) -> Result<u64, StoreError> {
        let oldest = self.clock.now().before(IDEMPOTENCY_AGE).millis();
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    let done = sqlx::query("DELETE FROM idempotency WHERE created_at <= $1")
                        .bind(oldest)
                        .execute(db)
                        .await?;
                    Ok(done.rows_affected())
                })
            })
            .await
    }
}
