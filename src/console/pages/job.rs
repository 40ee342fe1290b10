//! `/console/jobs/{id}`: the steps of a job, what it did, and the approval that it needs.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde_json::{Value, json};
use ulid::Ulid;

use crate::api::auth::{Approver, Operator, Viewer};
use crate::api::path::JobPath;
use crate::api::problem::ApiError;
use crate::app::approvals;
use crate::app::job_graph::job_graph;
use crate::app::service::Service;
use crate::clock::Timestamp;
use crate::console::form::PageForm;
use crate::console::page::{Page, PageParams, Section, html};
use crate::console::view::{
    Ago as _, Named as _, OfSubject as _, Pretty as _, Shown as _, Signed as _, Took as _,
};
use crate::domain::account_setup::Person;
use crate::domain::approval::{Approval, ApprovalState};
use crate::domain::console_password::newest;
use crate::domain::event::{AwsCall, Event, EventPayload};
use crate::domain::job::{Job, JobError, JobState, Step};
use crate::domain::task::ImageExpiry;

/// Events on the page: the newest of a job's.
const EVENTS: usize = 200;
/// Events in one read of the database.
const BATCH: u32 = 500;

/// What changes on the page while the job goes on.
#[derive(Template)]
#[template(path = "console/_job.html")]
pub struct JobView {
    pub job: Job,
    pub levels: Vec<Vec<Step>>,
    pub events: Vec<EventLine>,
    /// The people of a set-up whose first passwords wait to be claimed.
    pub people_to_claim_for: Vec<String>,
    pub now: Timestamp,
}

impl JobView {
    /// The present state of a job.
    pub async fn of(service: &Service, id: Ulid) -> Result<Self, ApiError> {
        let job = service.store.job(id).await?;
        let job = job.ok_or(ApiError::NoSuch("job"))?;
        let mut events = Vec::new();
        let mut after = 0;
        loop {
            let batch = service.store.events(id, after, BATCH).await?;
            let is_last = batch.len() < BATCH as usize;
            after = batch.last().map_or(after, |event| event.seq);
            events.extend(batch);
            if is_last {
                break;
            }
        }
        let lines = events.iter().rev().filter_map(EventLine::of).take(EVENTS);
        Ok(Self {
            levels: job_graph(service, &job).await?,
            events: lines.collect(),
            people_to_claim_for: people_to_claim_for(service, &job).await?,
            now: service.clock.now(),
            job,
        })
    }

    /// The key whose secret waits to be claimed.
    fn claimable(&self) -> Option<&str> {
        let result = self.job.result.as_ref().filter(|result| result.claimable)?;
        result.access_key_id.as_deref()
    }
}

/// The people whose first passwords the job created and nobody has claimed yet.
async fn people_to_claim_for(service: &Service, job: &Job) -> Result<Vec<String>, ApiError> {
    let result = job.result.as_ref();
    let created = result.and_then(|result| result.lists.get("people"));
    let Some(created) = created.filter(|created| !created.is_empty()) else {
        return Ok(Vec::new());
    };
    let Some(setup) = service.app(&job.app).await? else {
        return Ok(Vec::new());
    };
    let passwords = service.store.password_records(setup.id).await?;
    let is_created = |email: &str| {
        created
            .iter()
            .any(|it| it.get("email").is_some_and(|it| it == email))
    };
    let waits = |person: &&Person| {
        let password = newest(&passwords, &person.email);
        password.is_some_and(|password| password.is_unclaimed)
    };
    let people = setup.spec.setup.iter().flat_map(|it| &it.spec.people);
    let emails = people.filter(waits).map(|it| it.email.to_string());
    Ok(emails.filter(|email| is_created(email)).collect())
}

/// A line of a job's log.
pub struct EventLine {
    pub at: Timestamp,
    pub text: String,
    pub resource: Option<String>,
    pub calls: Vec<AwsCall>,
    pub error: Option<JobError>,
}

impl EventLine {
    /// The line of an event; `None` for one that only repeats what the steps show.
    fn of(event: &Event) -> Option<Self> {
        let (text, calls, error) = text_of(&event.payload)?;
        Some(Self {
            at: event.at,
            text,
            resource: event.payload.resource().map(ToString::to_string),
            calls,
            error,
        })
    }
}

type Line = (String, Vec<AwsCall>, Option<JobError>);

fn text_of(payload: &EventPayload) -> Option<Line> {
    use EventPayload as E;
    let said = |comment: &Option<String>| {
        let comment = comment.as_deref();
        comment.map_or(String::new(), |comment| format!(" “{comment}”"))
    };
    let text = match payload {
        E::JobQueued { requested_by, .. } => format!("Requested by {requested_by}"),
        E::JobAwaitingApproval { .. } => "Awaits an approval of its plan".into(),
        E::JobApproved { by, comment } => format!("Approved by {by}.{}", said(comment)),
        E::JobRejected { by, comment } => format!("Rejected by {by}.{}", said(comment)),
        E::JobStarted { attempt } => format!("Attempt {attempt} started"),
        E::ChangeApplied { change, calls, .. } => {
            return Some((change.clone(), calls.clone(), None));
        }
        E::StepProgress { message, calls, .. } => {
            return Some((message.clone(), calls.clone(), None));
        }
        E::StepWaiting {
            reason, after_ms, ..
        } => format!("Waits {} because {reason}", after_ms.took()),
        E::StepFailed { error, .. } => {
            return Some(("Failed".into(), Vec::new(), Some(error.clone())));
        }
        E::StepSkipped { because, .. } => format!("Skipped, because {because} failed"),
        E::Warning { message, .. } => format!("Warning: {message}"),
        E::JobWaiting { reason, .. } => format!("The job waits: {reason}"),
        E::JobSucceeded => "The job succeeded".into(),
        E::JobFailed { error } => {
            return Some(("The job failed".into(), Vec::new(), Some(error.clone())));
        }
        E::JobNeedsAttention { error } => {
            return Some((
                "The job stopped until a person acts".into(),
                Vec::new(),
                Some(error.clone()),
            ));
        }
        E::CancelRequested { by } => format!("{by} asked to cancel the job"),
        E::JobCanceled => "The job was canceled".into(),
        E::RetryRequested { by } => format!("{by} asked to retry the job"),
        E::JobReleased { reason } => format!("Another worker continues: {reason}"),
        E::StepStarted { .. } | E::StepGone { .. } | E::StepDone { .. } => return None,
    };
    Some((text, Vec::new(), None))
}

#[derive(Template)]
#[template(path = "console/job.html")]
struct JobPage {
    page: Page,
    view: JobView,
    approval: Option<Approval>,
}

impl JobPage {
    /// Whether the page follows the job.
    fn is_live(&self) -> bool {
        self.view.job.state.is_in_progress()
    }

    fn pending_approval(&self) -> Option<&Approval> {
        let approval = self.approval.as_ref();
        approval.filter(|approval| approval.state == ApprovalState::Pending)
    }

    fn can_retry(&self) -> bool {
        matches!(
            self.view.job.state,
            JobState::Failed | JobState::NeedsAttention | JobState::Canceled | JobState::Waiting
        )
    }

    fn can_cancel(&self) -> bool {
        self.view.job.state.is_active() || self.view.job.state == JobState::NeedsAttention
    }
}

pub async fn get_job(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    JobPath(id): JobPath,
    PageParams { params, notice }: PageParams,
) -> Result<Response, ApiError> {
    params.finish()?;
    let view = JobView::of(&service, id).await?;
    let title = format!("{} {}", view.job.kind.label(), view.job.subject());
    html(&JobPage {
        page: Page::new(&service, &caller, Section::Jobs, title).with(notice),
        approval: service.store.approval(id).await?,
        view,
    })
}

fn to_page(id: Ulid) -> Response {
    Redirect::to(&format!("/console/jobs/{id}")).into_response()
}

pub async fn post_retry(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    JobPath(id): JobPath,
    form: PageForm,
) -> Result<Response, ApiError> {
    let expiry = match form.has("accept_expiry") {
        true => ImageExpiry::Accept,
        false => ImageExpiry::Refuse,
    };
    service.store.retry(id, caller.name, expiry).await??;
    Ok(to_page(id))
}

pub async fn post_cancel(
    State(service): State<Arc<Service>>,
    Operator(caller): Operator,
    JobPath(id): JobPath,
) -> Result<Response, ApiError> {
    service.store.cancel(id, caller.name).await??;
    Ok(to_page(id))
}

pub async fn post_approve(
    State(service): State<Arc<Service>>,
    Approver(caller): Approver,
    JobPath(id): JobPath,
    form: PageForm,
) -> Result<Response, ApiError> {
    let mut body = form.object(&["plan_digest", "comment"]);
    if form.has("break_glass") {
        body.insert("break_glass".into(), json!(true));
    }
    approvals::approve(&service, &caller, id, &Value::Object(body)).await?;
    Ok(to_page(id))
}

pub async fn post_reject(
    State(service): State<Arc<Service>>,
    Approver(caller): Approver,
    JobPath(id): JobPath,
    form: PageForm,
) -> Result<Response, ApiError> {
    let body = Value::Object(form.object(&["comment"]));
    approvals::reject(&service, &caller, id, Some(&body)).await?;
    Ok(to_page(id))
}
