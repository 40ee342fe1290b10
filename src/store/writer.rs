//! Queues requests for the database's writers. Each runs in a transaction and is answered when it is on disk.
//!
//! Invariants:
//! - `Ok` means committed to disk.
//! - A request that fails rolls back alone.
//! - Requests about one job commit in the order of their arrival, except those that nobody waits for: these are delayed
//!   for a moment and commit together.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::AnyConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::store::error::StoreError;

/// Reports the outcome of the commit to one requester.
pub type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// One request. Returns whether it succeeded, and its reply.
pub type Request =
    Box<dyn for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, (bool, Reply)> + Send>;

/// The delay of a request that nobody waits for. The changes that follow from one AWS response arrive within it.
const WRITE_BEHIND_DELAY: Duration = Duration::from_millis(10);

/// The queues of the writers. Requests about one job go to one writer, which keeps their order.
#[derive(Clone)]
pub struct Writer {
    lanes: Arc<[mpsc::UnboundedSender<Queued>]>,
}

struct Queued {
    request: Request,
    when: When,
}

enum When {
    Now,
    /// Within [`WRITE_BEHIND_DELAY`], if it is still wanted.
    Soon(Weak<()>),
    /// At once, after all delayed requests.
    AfterAll,
}

/// One writer's queue.
pub struct Waiting {
    queue: mpsc::UnboundedReceiver<Queued>,
    held: Vec<(Request, Weak<()>)>,
    due: Option<Instant>,
}

impl Waiting {
    /// Waits for requests and takes those that are due: up to `most`, and the delayed ones. Empty when the queue is closed.
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

    /// Drops all waiting requests, which fails them. Returns their number.
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

/// Measures a transaction that began at `began`.
pub fn record_commit(began: Instant, committed: bool) {
    let outcome = if committed { "success" } else { "error" };
    metrics::histogram!("slipway_database_commit_seconds", "outcome" => outcome)
        .record(began.elapsed().as_secs_f64());
}

async fn passed(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

impl Writer {
    /// Queues to this many writers, with the receiving end of each.
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

    /// Runs `work` in a transaction and returns when it is on disk.
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>>
            + Send
            + 'static,
    {
        send(self.lane(fastrand::usize(..)), When::Now, work).await
    }

    /// The same, after earlier requests about the job.
    pub async fn write_of<T, F>(&self, job: Ulid, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>>
            + Send
            + 'static,
    {
        send(self.lane(lane_of(job)), When::Now, work).await
    }

    /// Queues `work` about a job without waiting for it. It is dropped if it is no longer `wanted` when its turn comes.
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

    /// Writes the time with every writer, after its delayed requests. An empty transaction would succeed on a full disk.
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
