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
        self.send(fastrand::usize(..), work).await
    }

    /// The same, after what was asked about the job before.
    pub async fn write_of<T, F>(&self, job: Ulid, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        self.send(lane_of(job), work).await
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

    /// Writes nothing, by every writer.
    pub async fn check(&self) -> Result<(), StoreError> {
        let each = (0..self.lanes.len()).map(|lane| self.send(lane, |_| Box::pin(async { Ok(()) })));
        futures::future::try_join_all(each).await.map(drop)
    }

    async fn send<T, F>(&self, lane: usize, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let request = request(work, move |result| drop(tell.send(result)));
        let stopped = || StoreError::Unavailable("the writer has stopped".into());
        self.lane(lane).send(request).map_err(|_| stopped())?;
        told.await.map_err(|_| StoreError::Unavailable("the request was not committed".into()))?
    }

    fn lane(&self, lane: usize) -> &mpsc::UnboundedSender<Request> {
        &self.lanes[lane % self.lanes.len()]
    }
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
