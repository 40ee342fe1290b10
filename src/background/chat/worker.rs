//! Works on one request of a chat user, under its lease.
//!
//! Invariants:
//! - What was done is recorded before its reply is sent, so nothing is done again because a platform is slow.
//! - A message that was written and not recorded is written again: at least once.
//! - Role, scope and link of the chat user are those of the moment at which the request is worked on.

use std::sync::Arc;
use std::time::Duration;

use crate::api::problem::ApiError;
use crate::app::chat::commands::{Asked, Outcome, execute};
use crate::app::chat::job_message::{JobMessage, Pace, job_message, unwritable};
use crate::app::chat::links::{Standing, standing};
use crate::app::chat::replies;
use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::background::chat::platform::{ChatPlatform, SendError};
use crate::domain::chat::{ChatUser, Command};
use crate::domain::chat_text::ChatText;
use crate::outbound::HttpClient;
use crate::store::{ChatRequest, ChatRequestState, StoreError};

/// How long a worker has a request at most.
pub const LEASE: Duration = Duration::from_secs(150);
/// The longest that a command may take, so that its lease lasts.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(90);
/// How often a message is brought up to date while its job is worked on. Slack allows 50 updates a minute and more.
const WORKING_INTERVAL: Duration = Duration::from_secs(2);
/// And while its job waits.
const WAITING_INTERVAL: Duration = Duration::from_secs(15);
/// And after its job has stopped, in case that somebody retries it: for so long after the request.
const STOPPED_INTERVAL: Duration = Duration::from_secs(60);
const RETRY_WINDOW: Duration = Duration::from_secs(24 * 3600);
/// The first wait after a failure. It doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(5 * 60);
/// How long it is tried to send something that a platform does not take.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How long a platform takes replies.
const REPLY_LIFETIME: Duration = Duration::from_secs(30 * 60);
/// How long a request may go on when the service stops.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Brings a request one step on.
pub async fn work(service: Arc<Service>, client: Option<HttpClient>, mut request: ChatRequest) {
    let stopped = async {
        service.tasks.stopping().await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    let id = request.id;
    let worked = tokio::select! {
        worked = step(&service, client.as_ref(), &mut request) => Some(worked),
        () = stopped => None,
    };
    match worked {
        Some(Ok(())) => return,
        Some(Err(StoreError::LostLease)) => {
            tracing::debug!(request = %id, "the lease of the chat request is lost");
            return;
        }
        Some(Err(error)) => {
            tracing::warn!(request = %id, %error, "a chat request cannot be worked on; it is tried again");
            request.due_at = service.clock.now().after(FIRST_RETRY);
        }
        None => {}
    }
    // A lease that cannot be released now runs out.
    let _ = service.store.save_chat_request(&request, false).await;
}

async fn step(
    service: &Service,
    client: Option<&HttpClient>,
    request: &mut ChatRequest,
) -> Result<(), StoreError> {
    if request.state == ChatRequestState::Received {
        execute_command(service, request).await?;
        service.store.save_chat_request(request, true).await?;
    }
    let platform = client
        .and_then(|client| ChatPlatform::of(&service.settings, request.user.platform, client));
    let Some(platform) = platform else {
        // Without certificates of authorities, or after the platform was taken out of the settings.
        failed(service, request, "the platform is not configured");
        return service.store.save_chat_request(request, false).await;
    };
    match request.state {
        ChatRequestState::Replying => reply(service, &platform, request).await,
        ChatRequestState::Following => follow(service, &platform, request).await?,
        ChatRequestState::Received | ChatRequestState::Ended => {}
    }
    service.store.save_chat_request(request, false).await
}

/// Does what the request asks for.
async fn execute_command(service: &Service, request: &mut ChatRequest) -> Result<(), StoreError> {
    let executed = tokio::time::timeout(COMMAND_TIMEOUT, outcome(service, request)).await;
    let outcome = match executed {
        Ok(Err(UseCaseError::Store(error))) => return Err(error),
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::Reply(problem(&request.user, error.into())),
        Err(_) => Outcome::Reply(problem(&request.user, ApiError::TimedOut)),
    };
    match outcome {
        Outcome::Reply(reply) => {
            request.reply = Some(reply);
            request.state = ChatRequestState::Replying;
        }
        Outcome::Follow(job) => {
            request.job = Some(job);
            request.state = ChatRequestState::Following;
        }
        Outcome::Decided(job) => {
            service.store.wake_chat(job).await?;
            request.state = ChatRequestState::Ended;
        }
    }
    Ok(())
}

async fn outcome(service: &Service, request: &ChatRequest) -> Result<Outcome, UseCaseError> {
    let platform = request.user.platform;
    let command = match Command::parse(&request.command) {
        Ok(command) => command,
        Err(why) => return Ok(Outcome::Reply(replies::mistake(platform, &why))),
    };
    let caller = match standing(service, &request.user).await? {
        Standing::Linked(caller) => caller,
        Standing::Expired => return Ok(Outcome::Reply(replies::link_expired(service, platform))),
        Standing::Unlinked => return Ok(Outcome::Reply(replies::not_linked(platform))),
    };
    let asked = Asked {
        caller: &caller,
        platform,
        request: request.id,
    };
    execute(service, &asked, command).await
}

/// An error, as the API tells it.
fn problem(user: &ChatUser, error: ApiError) -> String {
    let problem = error.problem();
    let mut text = ChatText::new(user.platform);
    let line = format!(
        "{} {}",
        text.bold(&problem.title),
        text.plain(&problem.detail)
    );
    text.line(&line);
    for field in &problem.errors {
        let line = format!(
            "• {}",
            text.plain(&format!("{} {}", field.pointer, field.message))
        );
        text.line(&line);
    }
    text.finish()
}

async fn reply(service: &Service, platform: &ChatPlatform<'_>, request: &mut ChatRequest) {
    let now = service.clock.now();
    let is_late = now.since(request.created_at) >= REPLY_LIFETIME;
    let (Some(url), Some(text), false) = (&request.response_url, &request.reply, is_late) else {
        request.state = ChatRequestState::Ended;
        return;
    };
    match platform.reply(url, text).await {
        Ok(()) => request.state = ChatRequestState::Ended,
        Err(error) => not_sent(service, request, error),
    }
}

/// Brings the message of a job up to date.
async fn follow(
    service: &Service,
    platform: &ChatPlatform<'_>,
    request: &mut ChatRequest,
) -> Result<(), StoreError> {
    let job = match request.job {
        Some(job) => job_message(service, request.user.platform, job).await?,
        None => None,
    };
    let Some(message) = job else {
        request.state = ChatRequestState::Ended;
        return Ok(());
    };
    let fingerprint = message.fingerprint();
    if request.shown.as_ref() == Some(&fingerprint) {
        later(service, request, &message);
        return Ok(());
    }
    let sent = match &request.message {
        Some(name) => platform.update(name, &message).await.map(|()| None),
        None => platform.write(&request.channel, &message).await.map(Some),
    };
    match sent {
        Ok(name) => {
            request.message = name.or(request.message.take());
            request.shown = Some(fingerprint);
            (request.failures, request.failing_since) = (0, None);
            later(service, request, &message);
        }
        // Where no message can be written, the user is told instead.
        Err(SendError::Refused(why)) if request.message.is_none() => {
            tracing::warn!(request = %request.id, why, "no message can be written");
            let job = request.job.unwrap_or_default();
            let text = unwritable(service, request.user.platform, job, &why);
            request.reply = Some(text);
            request.state = ChatRequestState::Replying;
            request.due_at = service.clock.now();
        }
        Err(error) => not_sent(service, request, error),
    }
    Ok(())
}

/// When the message of a job is looked at next.
fn later(service: &Service, request: &mut ChatRequest, message: &JobMessage) {
    let now = service.clock.now();
    let interval = match message.pace {
        Pace::Working => WORKING_INTERVAL,
        Pace::Waiting => WAITING_INTERVAL,
        Pace::Stopped if now.since(request.created_at) < RETRY_WINDOW => STOPPED_INTERVAL,
        Pace::Stopped | Pace::Ended => {
            request.state = ChatRequestState::Ended;
            return;
        }
    };
    request.due_at = now.after(interval);
}

fn not_sent(service: &Service, request: &mut ChatRequest, error: SendError) {
    match error {
        SendError::Busy(pause) => {
            let pause = pause.clamp(Duration::from_secs(1), LONGEST_RETRY);
            metrics::counter!("slipway_chat_sends_total", "outcome" => "busy").increment(1);
            request.due_at = service.clock.now().after(pause);
        }
        SendError::Failed(why) => failed(service, request, &why),
        SendError::Refused(why) => {
            metrics::counter!("slipway_chat_sends_total", "outcome" => "refused").increment(1);
            tracing::warn!(request = %request.id, why, "a chat platform refuses a message");
            request.state = ChatRequestState::Ended;
        }
    }
}

fn failed(service: &Service, request: &mut ChatRequest, why: &str) {
    metrics::counter!("slipway_chat_sends_total", "outcome" => "failed").increment(1);
    let now = service.clock.now();
    let since = *request.failing_since.get_or_insert(now);
    if now.since(since) >= GIVE_UP_AFTER {
        tracing::error!(request = %request.id, why, "a chat message is given up");
        request.state = ChatRequestState::Ended;
        return;
    }
    tracing::warn!(request = %request.id, why, "a chat message was not sent; it is tried again");
    let doubled = FIRST_RETRY.saturating_mul(1_u32 << request.failures.min(10));
    request.failures = request.failures.saturating_add(1);
    request.due_at = now.after(doubled.min(LONGEST_RETRY));
}
