//! Follows a job until it ends.
//!
//! Invariants:
//! - An event is shown once, in order, however often the connection breaks: the stream is resumed after the last one.
//! - Where no stream can be had, the job is polled with `?wait=`.

use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::api::Api;
use super::error::ClientError;
use super::event_stream::{EventParser, JobProgress};
use super::request::{Request, segment};
use crate::api::page::Page;
use crate::domain::job::JobState;

/// The service sends a comment every 15 s.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(50);
/// How long a service that does not answer is waited for.
const ABSENCE_TIMEOUT: Duration = Duration::from_secs(600);
const OVERLOAD_DELAY: Duration = Duration::from_secs(1);
const FIRST_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(5);

/// Who is told what happens.
pub trait Interest {
    fn event(&mut self, event: &JobProgress);
    /// The service is away, or back.
    fn connection(&mut self, text: &str);
}

/// Follows a job until it has ended or waits for a person. The job as it then is.
pub async fn follow(
    api: &Api,
    job: &str,
    interest: &mut impl Interest,
) -> Result<Value, ClientError> {
    let path = format!("/v1/jobs/{}", segment(job));
    let mut following = Following {
        api,
        path,
        after: 0,
        interest,
        away_since: None,
    };
    tokio::select! {
        ended = following.run() => ended,
        _ = tokio::signal::ctrl_c() => Err(ClientError::Interrupted(job.to_owned())),
    }
}

struct Following<'a, I> {
    api: &'a Api,
    path: String,
    after: i64,
    interest: &'a mut I,
    away_since: Option<Instant>,
}

impl<I: Interest> Following<'_, I> {
    async fn run(&mut self) -> Result<Value, ClientError> {
        let mut delay = FIRST_DELAY;
        loop {
            let before = self.after;
            let outcome = match self.stream().await {
                Ok(None) => self.poll().await,
                Err(error) if !is_final(&error) => self.poll().await,
                ended => ended,
            };
            match outcome {
                Ok(Some(job)) => return Ok(job),
                Ok(None) => self.is_back(),
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => self.is_away(error)?,
            }
            if self.after > before {
                delay = FIRST_DELAY;
            }
            sleep(delay).await;
            delay = (delay * 2).min(MAX_DELAY);
        }
    }

    /// Tells once that the service does not answer, and gives up in the end.
    fn is_away(&mut self, error: ClientError) -> Result<(), ClientError> {
        match self.away_since {
            None => {
                let text = format!("{error}; the job goes on, trying again");
                self.interest.connection(&text);
                self.away_since = Some(Instant::now());
                Ok(())
            }
            Some(since) if since.elapsed() < ABSENCE_TIMEOUT => Ok(()),
            Some(_) => Err(error),
        }
    }

    fn is_back(&mut self) {
        if self.away_since.take().is_some() {
            self.interest.connection("the service is back");
        }
    }

    /// Reads the stream to its end. The job, if it has ended.
    async fn stream(&mut self) -> Result<Option<Value>, ClientError> {
        let mut request = Request::get(format!("{}/events", self.path)).accept("text/event-stream");
        if self.after > 0 {
            request = request.header("last-event-id", self.after.to_string());
        }
        let mut body = self.api.open_once(&request).await?.into_body();
        self.is_back();
        let mut parser = EventParser::default();
        // A stream that breaks off, is silent, or ends is followed by a poll.
        while let Ok(Some(Ok(frame))) = timeout(SILENCE_TIMEOUT, body.frame()).await {
            for data in frame
                .data_ref()
                .map(|bytes| parser.push(bytes))
                .unwrap_or_default()
            {
                let Ok(event) = serde_json::from_str::<JobProgress>(&data) else {
                    continue;
                };
                self.show(&event);
                if event.may_be_last() {
                    let job = self.job("").await?;
                    if !is_in_progress(&job) {
                        return self.rest(job).await.map(Some);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Waits for the job without a stream. The job, if it has ended.
    async fn poll(&mut self) -> Result<Option<Value>, ClientError> {
        let job = match self.job("?wait=2s").await {
            // As many wait as the service allows: look at the job from time to time.
            Err(error) if error.code() == Some("overloaded") => {
                sleep(OVERLOAD_DELAY).await;
                self.job("").await?
            }
            answered => answered?,
        };
        let is_over = !is_in_progress(&job);
        let job = self.rest(job).await?;
        Ok(is_over.then_some(job))
    }

    /// Shows the events that are recorded and not yet shown.
    async fn rest(&mut self, job: Value) -> Result<Value, ClientError> {
        loop {
            let request =
                Request::get(format!("{}/events", self.path)).query("cursor", Some(self.after));
            let page: Page<JobProgress> = self.api.send(&request).await?.read()?;
            for event in &page.items {
                self.show(event);
            }
            if page.next_cursor.is_none() {
                return Ok(job);
            }
        }
    }

    fn show(&mut self, event: &JobProgress) {
        if event.seq > self.after {
            self.after = event.seq;
            self.interest.event(event);
        }
    }

    async fn job(&self, query: &str) -> Result<Value, ClientError> {
        let request = Request::get(format!("{}{query}", self.path));
        let response = self.api.open_once(&request).await?;
        let body = response.into_body().collect().await;
        let body = body.map_err(|error| ClientError::Unreachable {
            url: self.api.url().to_owned(),
            why: error.to_string(),
        })?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| ClientError::Unexpected {
            url: self.api.url().to_owned(),
            why: error.to_string(),
        })
    }
}

/// Whether trying again is of no use.
fn is_final(error: &ClientError) -> bool {
    match error {
        ClientError::Problem(problem) => !problem.retryable,
        ClientError::Unreachable { .. } => false,
        _ => true,
    }
}

fn is_in_progress(job: &Value) -> bool {
    let state = job["state"].as_str().and_then(|state| state.parse().ok());
    state.is_some_and(JobState::is_in_progress)
}
