//! `GET /console/jobs/{id}/live`: the changing part of a job's page, as server-sent events.
//!
//! Every message is the whole part, which replaces the one before. So a message that is lost is lost without harm.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template as _;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse as _, Response, Sse};
use futures::stream::{Stream, unfold};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, sleep_until};
use ulid::Ulid;

use crate::api::auth::Viewer;
use crate::api::job_watch::poll_delay;
use crate::api::limits::{Limits, RequestPermit};
use crate::api::path::JobPath;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::console::pages::job::JobView;

/// The shortest time between two messages: people do not read faster.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a stream lasts. The browser connects again, which checks anew whether its session is valid.
const MAX_DURATION: Duration = Duration::from_secs(300);

struct Follower {
    service: Arc<Service>,
    limits: Arc<Limits>,
    _waiting: OwnedSemaphorePermit,
    progress: watch::Receiver<()>,
    job: Ulid,
    ends_at: Instant,
    is_first: bool,
    has_ended: bool,
}

pub async fn get_live(
    State(service): State<Arc<Service>>,
    _: Viewer,
    permit: RequestPermit,
    JobPath(job): JobPath,
) -> Result<Response, ApiError> {
    let follower = Follower {
        progress: permit.limits.watch.subscribe(job),
        _waiting: permit.exchange_for_waiting(Duration::ZERO)?,
        limits: permit.limits,
        service,
        job,
        ends_at: Instant::now() + MAX_DURATION,
        is_first: true,
        has_ended: false,
    };
    Ok(Sse::new(stream(follower))
        .keep_alive(KeepAlive::default())
        .into_response())
}

fn stream(follower: Follower) -> impl Stream<Item = Result<Event, Infallible>> {
    unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    })
}

impl Follower {
    /// The next message: the part as it is now, and `done` after the job has ended. `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        if self.has_ended {
            return None;
        }
        if !self.is_first {
            self.progressed().await?;
        }
        self.is_first = false;
        let view = {
            let _reading = self.limits.reader_permit().await;
            JobView::of(&self.service, self.job).await.ok()?
        };
        if !view.job.state.is_in_progress() {
            self.has_ended = true;
            return Some(Event::default().event("done").data("done"));
        }
        // A carriage return would end a line of the message.
        let text = view.render().ok()?.replace('\r', "");
        Some(Event::default().data(text))
    }

    /// Waits for progress. `None` when the stream has lasted its time or the service stops.
    async fn progressed(&mut self) -> Option<()> {
        sleep(PAUSE).await;
        tokio::select! {
            _ = self.progress.changed() => Some(()),
            () = sleep(poll_delay()) => Some(()),
            () = sleep_until(self.ends_at) => None,
            () = self.service.tasks.stopping() => None,
        }
    }
}
