//! The way to the database's writers: what is asked is done in a transaction, and answered when it is on disk.
//!
//! Invariants:
//! - Whoever gets `Ok` has been committed to disk.
//! - One request's failure undoes that request alone.
//! - Requests about one job are committed in the order they came in.

use std::sync::Arc;

use futures::future::BoxFuture;
use sqlx::AnyConnection;
use tokio::sync::{mpsc, oneshot};
use ulid::Ulid;

use super::StoreError;
use crate::clock::Timestamp;

/// Tells one requester how the commit went.
pub type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// One request: whether it worked, and whom to tell.
pub type Request = Box<dyn for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, (bool, Reply)> + Send>;

/// The way to the writers. Requests about one job go to one writer, which keeps their order.
#[derive(Clone)]
pub struct Writer {
    lanes: Arc<[mpsc::UnboundedSender<Request>]>,
}

impl Writer {
    /// Ways to this many writers, and what each of them receives from.
    pub fn to(writers: usize) -> (Self, Vec<mpsc::UnboundedReceiver<Request>>) {
        let (lanes, waiting): (Vec<_>, Vec<_>) = (0..writers).map(|_| mpsc::unbounded_channel()).unzip();
        (Self { lanes: lanes.into() }, waiting)
    }

    /// Runs `work` in a transaction and answers when it is on disk.
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        send(self.lane(fastrand::usize(..)), work).await
    }

    /// The same, after what was asked about the job before.
    pub async fn write_of<T, F>(&self, job: Ulid, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        send(self.lane(lane_of(job)), work).await
    }

    /// Queues `work` about a job without waiting for it.
    pub fn write_behind<T, F>(&self, job: Ulid, work: F, then: impl FnOnce(Result<T, StoreError>) + Send + 'static)
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        // The writers outlive everybody who writes; a request that one drops tells so by itself.
        let _ = self.lane(lane_of(job)).send(request(work, then));
    }

    /// Writes the time, by every writer: an empty transaction would succeed on a full disk.
    pub async fn check(&self, now: Timestamp) -> Result<(), StoreError> {
        let each = (0_i64..).zip(self.lanes.iter()).map(|(writer, lane)| {
            let pulse = "INSERT INTO pulse (writer, at) VALUES ($1, $2) ON CONFLICT (writer) DO UPDATE SET at = excluded.at";
            let pulse = sqlx::query(pulse).bind(writer).bind(now.millis());
            send(lane, move |db| Box::pin(async move { Ok(pulse.execute(db).await.map(drop)?) }))
        });
        futures::future::try_join_all(each).await.map(drop)
    }

    fn lane(&self, lane: usize) -> &mpsc::UnboundedSender<Request> {
        &self.lanes[lane % self.lanes.len()]
    }
}

async fn send<T, F>(lane: &mpsc::UnboundedSender<Request>, work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
{
    let (tell, told) = oneshot::channel();
    let request = request(work, move |result| drop(tell.send(result)));
    lane.send(request).map_err(|_| StoreError::Unavailable("the writer has stopped".into()))?;
    told.await.map_err(|_| StoreError::Unavailable("the request was not committed".into()))?
}

/// The end of a ULID is random.
fn lane_of(job: Ulid) -> usize {
    usize::from(job.to_bytes()[15])
}

fn request<T, F>(work: F, tell: impl FnOnce(Result<T, StoreError>) + Send + 'static) -> Request
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
{
    Box::new(move |connection| {
        Box::pin(async move {
            let result = work(connection).await;
            let worked = result.is_ok();
            let reply: Reply = Box::new(move |committed| tell(committed.and(result)));
            (worked, reply)
        })
    })
}
