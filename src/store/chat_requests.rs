//! Requests of chat users, the replies to them, and the messages that follow their jobs.
//!
//! Invariants:
//! - A request is recorded before it is acknowledged, once however often it is delivered.
//! - One worker at a time has the lease of a request. Its writes name the lease's token and change nothing once the lease
//!   is lost.

use std::time::Duration;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use strum::{Display, EnumString};
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::domain::chat::ChatUser;
use crate::store::connection::WithTimeout as _;
use crate::store::database::Store;
use crate::store::error::StoreError;
use crate::store::rows::RowReader;
use crate::store::signals::Signal;
use crate::store::sql::{Sql, skip_locked};

const COLUMNS: &str = "id, platform, team, chat_user, channel, command, response_url, state, reply, job_id, message, shown, failures, failing_since, due_at, created_at, lease_token";

/// A request as it is received.
#[derive(Debug, Clone)]
pub struct NewChatRequest {
    /// The same for every delivery of the request.
    pub key: String,
    /// Who asks.
    pub user: ChatUser,
    /// Where.
    pub channel: String,
    /// The text of the command.
    pub command: String,
    /// Where the platform takes replies for 30 minutes.
    pub response_url: Option<String>,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum ChatRequestState {
    /// Nothing was done yet.
    Received,
    /// The reply is to be sent.
    Replying,
    /// A message follows the job.
    Following,
    /// Nothing is left to do.
    Ended,
}

/// A request that a worker has the lease of.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    /// The id.
    pub id: Ulid,
    /// Who asks.
    pub user: ChatUser,
    /// Where.
    pub channel: String,
    /// The text of the command.
    pub command: String,
    /// Where the platform takes replies for 30 minutes.
    pub response_url: Option<String>,
    /// Where it stands.
    pub state: ChatRequestState,
    /// The reply to the user alone.
    pub reply: Option<String>,
    /// The job that the message follows.
    pub job: Option<Ulid>,
    /// The message, as the platform names it.
    pub message: Option<String>,
    /// The hash of what the message shows.
    pub shown: Option<String>,
    /// Attempts to send that failed one after another.
    pub failures: u32,
    /// Since when they fail.
    pub failing_since: Option<Timestamp>,
    /// When there is something to do.
    pub due_at: Timestamp,
    /// When it was received.
    pub created_at: Timestamp,
    token: i64,
}

impl Store {
    /// Records a request; `false` if it was recorded before.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn accept_chat_request(&self, new: NewChatRequest) -> Result<bool, StoreError> {
        let (now, id) = (self.clock.now(), self.clock.new_id());
        let is_new = self
            .writer
            .write(move |db| {
                Box::pin(async move {
                    let mut sql = Sql::new("INSERT INTO chat_requests (state, failures, lease_token, id, request_key, platform, team, chat_user, channel, command, response_url, due_at, created_at) VALUES ('received', 0, 0, ");
                    sql.list([
                        id.to_string(),
                        new.key,
                        new.user.platform.to_string(),
                        new.user.team,
                        new.user.user,
                        new.channel,
                        new.command,
                    ])?;
                    sql.push(", ").bind(new.response_url)?;
                    sql.push(", ").list([now.millis(), now.millis()])?;
                    sql.push(") ON CONFLICT (request_key) DO NOTHING RETURNING id");
                    Ok(!sql.run(db).await?.is_empty())
                })
            })
            .await?;
        self.signal_here(Signal::Chat);
        Ok(is_new)
    }

    /// Takes the leases of requests that are due.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn claim_chat_requests(
        &self,
        limit: usize,
        span: Duration,
    ) -> Result<Vec<ChatRequest>, StoreError> {
        let now = self.clock.now();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.writer
            .write(move |db| Box::pin(async move { claim(db, now, limit, span).await }))
            .await
    }

    /// When a request is due next that nobody works on.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn chat_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let due = "SELECT MIN(CASE WHEN COALESCE(lease_until, 0) > due_at THEN lease_until ELSE due_at END) FROM chat_requests WHERE state <> 'ended'";
        let due: Option<i64> = sqlx::query_scalar(due)
            .fetch_one(&mut *self.reader().await?)
            .with_timeout()
            .await?;
        Ok(due.map(Timestamp::from_millis))
    }

    /// Records what has become of a request, and releases its lease unless the worker goes on.
    ///
    /// # Errors
    /// [`StoreError::LostLease`] when another worker has it.
    pub async fn save_chat_request(
        &self,
        request: &ChatRequest,
        goes_on: bool,
    ) -> Result<(), StoreError> {
        let request = request.clone();
        self.writer
            .write(move |db| Box::pin(async move { save(db, request, goes_on).await }))
            .await
    }

    /// Has the messages that follow a job brought up to date at once.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn wake_chat(&self, job: Ulid) -> Result<(), StoreError> {
        let now = self.clock.now();
        let update = "UPDATE chat_requests SET due_at = $1 WHERE job_id = $2 AND state = 'following' AND due_at > $1";
        let update = sqlx::query(update).bind(now.millis()).bind(job.to_string());
        self.writer
            .write(move |db| Box::pin(async move { Ok(update.execute(db).await.map(drop)?) }))
            .await?;
        self.signal_here(Signal::Chat);
        Ok(())
    }

    /// Wakes what works on requests in this process.
    pub fn note_chat(&self) {
        self.signal_here(Signal::Chat);
    }

    /// Removes requests that have ended and were received before this.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn prune_chat_requests(&self, before: Timestamp) -> Result<u64, StoreError> {
        let delete = "DELETE FROM chat_requests WHERE state = 'ended' AND created_at <= $1";
        let delete = sqlx::query(delete).bind(before.millis());
        self.writer
            .write(move |db| Box::pin(async move { Ok(delete.execute(db).await?.rows_affected()) }))
            .await
    }
}

async fn claim(
    db: &mut AnyConnection,
    now: Timestamp,
    limit: i64,
    span: Duration,
) -> Result<Vec<ChatRequest>, StoreError> {
    // Materialized: a plan that looks into it again would take the next ones, too.
    let mut sql = Sql::new(
        "WITH due AS MATERIALIZED (SELECT id FROM chat_requests WHERE state <> 'ended' AND due_at <= ",
    );
    sql.bind(now.millis())?
        .push(" AND COALESCE(lease_until, 0) <= ")
        .bind(now.millis())?
        .push(" ORDER BY due_at LIMIT ")
        .bind(limit)?
        .push(skip_locked(db));
    sql.push(") UPDATE chat_requests SET lease_token = lease_token + 1, lease_until = ")
        .bind(now.after(span).millis())?;
    sql.push(&format!(
        " WHERE id IN (SELECT id FROM due) RETURNING {COLUMNS}"
    ));
    let rows = sql.query().fetch_all(db).await?;
    rows.iter().map(read).collect()
}

/// Releases every lease. Only for a process that has the database alone.
pub(super) async fn release_all(db: &mut AnyConnection) -> Result<(), StoreError> {
    sqlx::query("UPDATE chat_requests SET lease_until = NULL WHERE lease_until IS NOT NULL")
        .execute(db)
        .await?;
    Ok(())
}

async fn save(
    db: &mut AnyConnection,
    request: ChatRequest,
    goes_on: bool,
) -> Result<(), StoreError> {
    let has_ended = request.state == ChatRequestState::Ended;
    let mut sql = Sql::new("UPDATE chat_requests SET state = ");
    sql.bind(request.state.to_string())?;
    let texts = [
        // Nothing is kept that is of no more use.
        ("response_url", request.response_url.filter(|_| !has_ended)),
        ("reply", request.reply.filter(|_| !has_ended)),
        ("job_id", request.job.map(|job| job.to_string())),
        ("message", request.message),
        ("shown", request.shown),
    ];
    for (column, value) in texts {
        sql.push(&format!(", {column} = ")).bind(value)?;
    }
    sql.push(", failures = ")
        .bind(i64::from(request.failures))?;
    sql.push(", failing_since = ")
        .bind(request.failing_since.map(Timestamp::millis))?;
    sql.push(", due_at = ").bind(request.due_at.millis())?;
    if !goes_on {
        sql.push(", lease_until = NULL");
    }
    sql.push(" WHERE id = ").bind(request.id.to_string())?;
    sql.push(" AND lease_until IS NOT NULL AND lease_token = ")
        .bind(request.token)?;
    sql.push(" RETURNING id");
    let saved = sql.run(db).await?;
    saved.first().map(drop).ok_or(StoreError::LostLease)
}

fn read(row: &AnyRow) -> Result<ChatRequest, StoreError> {
    let row = RowReader::new(row, "chat_requests", "id");
    let job: Option<String> = row.plain("job_id")?;
    Ok(ChatRequest {
        id: row.id("id")?,
        user: ChatUser {
            platform: row.parsed("platform")?,
            team: row.plain("team")?,
            user: row.plain("chat_user")?,
        },
        channel: row.plain("channel")?,
        command: row.plain("command")?,
        response_url: row.plain("response_url")?,
        state: row.parsed("state")?,
        reply: row.plain("reply")?,
        job: job.map(|_| row.id("job_id")).transpose()?,
        message: row.plain("message")?,
        shown: row.plain("shown")?,
        failures: row.count("failures")?,
        failing_since: row.moment_or_null("failing_since")?,
        due_at: row.moment("due_at")?,
        created_at: row.moment("created_at")?,
        token: row.plain("lease_token")?,
    })
}
