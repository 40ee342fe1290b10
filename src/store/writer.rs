//! The way to the database's writers: what is asked is done in a transaction, and answered when it is on disk.
//!
//! Invariants:
//! - Whoever gets `Ok` has been committed to disk.
//! - One request's failure undoes that request alone.
//! - Requests about one job are committed in the order they came in, but for those that nobody waits for: they are
//!   held back for a moment, to go together.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::AnyConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::store::error::StoreError;

/// Tells one requester how the commit went.
pub type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// One request: whether it worked, and whom to tell.
pub type Request =
    Box<dyn for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, (bool, Reply)> + Send>;

/// How long a request that nobody waits for is held back. The changes that one answer of AWS's leads to come within.
const WRITE_BEHIND_DELAY: Duration = Duration::from_millis(10);

/// The way to the writers. Requests about one job go to one writer, which keeps the order of those that are waited for.
#[derive(Clone)]
pub struct Writer {
    lanes: Arc<[mpsc::UnboundedSender<Queued>]>,
}

/// A request on its way.
struct Queued {
    request: Request,
    when: When,
}

/// When a request is run.
enum When {
    /// At once.
    Now,
    /// Within [`WRITE_BEHIND_DELAY`], if it is wanted still.
    Soon(Weak<()>),
    /// At once, after all that is held back.
    AfterAll,
}

/// What waits for one writer.
pub struct Waiting {
    queue: mpsc::UnboundedReceiver<Queued>,
    held: Vec<(Request, Weak<()>)>,
    due: Option<Instant>,
}

impl Waiting {
    /// Waits for requests and takes those that are due: up to `most`, and what was held back. It is empty when no more come.
    pub async fn take(&mut self, most: usize) -> Vec<Request> {
        let (mut arrived, mut taken) = (Vec::new(), Vec::new());
        while taken.is_empty() {
            let due = self.due;
            tokio::select! {
                received = self.queue.recv_many(&mut arrived, most) => if received == 0 {
                    self.let_go(&mut taken);
                    break;
                },
                () = passed(due) => {}
            }
            arrived
                .drain(..)
                .for_each(|queued| self.sort(queued, &mut taken));
            if self.due.is_some_and(|due| due <= Instant::now()) {
                self.let_go(&mut taken);
            }
        }
        taken
    }

    /// Drops all that waits, which tells its requesters; how many requests that was.
    pub fn refuse_all(&mut self) -> usize {
        let mut refused = self.held.len();
        self.held.clear();
        self.due = None;
        while self.queue.try_recv().is_ok() {
            refused += 1;
        }
        refused
    }

    fn sort(&mut self, Queued { request, when }: Queued, taken: &mut Vec<Request>) {
        match when {
            When::Now => taken.push(request),
            When::Soon(wanted) => {
                self.due
                    .get_or_insert_with(|| Instant::now() + WRITE_BEHIND_DELAY);
                self.held.push((request, wanted));
            }
            When::AfterAll => {
                self.let_go(taken);
                taken.push(request);
            }
        }
    }

    fn let_go(&mut self, taken: &mut Vec<Request>) {
        self.due = None;
        taken.extend(
            self.held
                .drain(..)
                .filter(|(_, wanted)| wanted.strong_count() > 0)
                .map(|(request, _)| request),
        );
    }
}

async fn passed(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

impl Writer {
    /// Ways to this many writers, and what each of them receives from.
    pub fn to(writers: usize) -> (Self, Vec<Waiting>) {
        let (lanes, queues): (Vec<_>, Vec<_>) =
            (0..writers).map(|_| mpsc::unbounded_channel()).unzip();
        let waiting = queues.into_iter().map(|queue| Waiting {
            queue,
            held: Vec::new(),
            due: None,
        });
        (
            Self {
                lanes: lanes.into(),
            },
            waiting.collect(),
        )
    }

    /// Runs `work` in a transaction and answers when it is on disk.
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>>
            + Send
            + 'static,
    {
        send(self.lane(fastrand::usize(..)), When::Now, work).await
    }

    /// The same, after what was asked about the job before.
    pub async fn write_of<T, F>(&self, job: Ulid, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>>
            + Send
            + 'static,
    {
        send(self.lane(lane_of(job)), When::Now, work).await
    }

    /// Queues `work` about a job without waiting for it. It is dropped unless it is `wanted` still when it is its turn.
    pub fn write_behind<T, F>(
        &self,
        job: Ulid,
        wanted: Weak<()>,
        work: F,
        then: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>>
            + Send
            + 'static,
    {
        // The writers outlive everybody who writes; a request that one drops tells so by itself.
        let _ = self.lane(lane_of(job)).send(Queued {
            request: request(work, then),
            when: When::Soon(wanted),
        });
    }

    /// Writes the time, by every writer, and before it what is held back: an empty transaction would succeed on a full disk.
    pub async fn check(&self, now: Timestamp) -> Result<(), StoreError> {
        let each = (0_i64..).zip(self.lanes.iter()).map(|(writer, lane)| {
            let pulse = "INSERT INTO pulse (writer, at) VALUES ($1, $2) ON CONFLICT (writer) DO UPDATE SET at = excluded.at";
            let pulse = sqlx::query(pulse).bind(writer).bind(now.millis());
            send(lane, When::AfterAll, move |db| Box::pin(async move { Ok(pulse.execute(db).await.map(drop)?) }))
        });
        futures::future::try_join_all(each).await.map(drop)
    }

    fn lane(&self, lane: usize) -> &mpsc::UnboundedSender<Queued> {
        &self.lanes[lane % self.lanes.len()]
    }
}

async fn send<T, F>(
    lane: &mpsc::UnboundedSender<Queued>,
    when: When,
    work: F,
) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>>
        + Send
        + 'static,
{
    let (tell, told) = oneshot::channel();
    let request = request(work, move |result| drop(tell.send(result)));
    lane.send(Queued { request, when })
        .map_err(|_| StoreError::Unavailable("the writer has stopped".into()))?;
    told.await.map_err(|_| {
        StoreError::Unavailable("it cannot be reached, or did not commit in time".into())
    })?
}

/// The end of a ULID is random.
fn lane_of(job: Ulid) -> usize {
    usize::from(job.to_bytes()[15])
}

fn request<T, F>(work: F, tell: impl FnOnce(Result<T, StoreError>) + Send + 'static) -> Request
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>>
        + Send
        + 'static,
{
    Box::new(move |connection| {
        Box::pin(async move {
            let result = work(connection).await;
            let worked = result.is_ok();
            let reply: Reply = Box::new(move |committed| {
                tell(match (committed, result) {
                    // Its own error is why the commit failed; any other answer rests on what is undone.
                    (Err(_), Err(own @ StoreError::Unavailable(_))) => Err(own),
                    (committed, result) => committed.and(result),
                });
            });
            (worked, reply)
        })
    })
}
