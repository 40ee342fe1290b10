//! Idempotency records, by which a repeated request is one job.
//!
//! Invariant: a record is committed together with the job that it refers to.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use sqlx::AnyConnection;

use crate::clock::Timestamp;
use crate::domain::job::Job;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::refusal::Refusal;
use crate::store::rows::{RowReader, to_json};
use crate::store::sql::{Sql, is_postgres};

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

/// An earlier request with the same key.
pub(super) enum Earlier {
    None,
    Same(Box<Job>),
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
        "SELECT fingerprint, job, key FROM idempotency WHERE caller = $1 AND route = $2 AND key = $3 AND created_at > $4",
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
    let row = RowReader::new(&row, "idempotency", "key");
    if row.plain::<String>("fingerprint")? != key.fingerprint {
        return Ok(Earlier::Other);
    }
    Ok(Earlier::Same(Box::new(row.json("job")?)))
}

/// Adds the statement that records the job that a request with a key was answered with.
pub(super) fn record(
    db: &AnyConnection,
    sql: &mut Sql,
    key: &IdempotencyKey,
    job: &Job,
    now: Timestamp,
) -> Result<(), StoreError> {
    sql.then(
        db,
        "INSERT INTO idempotency (caller, route, key, fingerprint, job, created_at) VALUES (",
    );
    sql.list([
        &key.caller,
        &key.route,
        &key.key,
        &key.fingerprint,
        &to_json(job)?,
    ])?;
    sql.push(", ").bind(now.millis())?.push(
        ") ON CONFLICT (caller, route, key) DO UPDATE SET fingerprint = excluded.fingerprint, \
         job = excluded.job, created_at = excluded.created_at",
    );
    Ok(())
}

impl Store {
    /// The job that an earlier request with the same key was answered with. Refused if that had another query or body.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn replay(
        &self,
        key: Option<&IdempotencyKey>,
    ) -> Result<Result<Option<Box<Job>>, Refusal>, StoreError> {
        let Some(key) = key else { return Ok(Ok(None)) };
        Ok(
            match earlier(&mut *self.reader().await?, key, self.clock.now())
                .with_timeout()
                .await?
            {
                Earlier::None => Ok(None),
                Earlier::Same(job) => Ok(Some(job)),
                Earlier::Other => Err(Refusal::KeyReused),
            },
        )
    }

    /// Records the existing job that answers a request. Returns the job that an earlier request with the same key was
    /// answered with, if there was one. Refused if that had another query or body.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(super) async fn keep_answer(
        &self,
        key: IdempotencyKey,
        job: Job,
    ) -> Result<Result<Option<Box<Job>>, Refusal>, StoreError> {
        let now = self.clock.now();
        self.writer
            .write(move |db| {
                Box::pin(async move {
                    match earlier(db, &key, now).await? {
                        Earlier::None => {}
                        Earlier::Same(earlier) => return Ok(Ok(Some(earlier))),
                        Earlier::Other => return Ok(Err(Refusal::KeyReused)),
                    }
                    let mut sql = Sql::default();
                    record(db, &mut sql, &key, &job, now)?;
                    sql.run(db).await?;
                    Ok(Ok(None))
                })
            })
            .await
    }

    /// Removes records that are too old to be replayed.
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
