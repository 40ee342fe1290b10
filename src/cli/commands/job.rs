//! `slipway job`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::plans::views;
use super::review::{ReviewArgs, conclude};
use crate::cli::client::{Api, ClientError, ConnectionArgs, PageArgs, Request, list, segment};
use crate::cli::display::{
    Column, Format, details, note, observed, out, print_job, print_list, print_steps, print_value,
    text_at,
};
use crate::cli::exit::Exit;

/// `slipway job`
#[derive(Debug, Args)]
pub struct JobArgs {
    #[command(subcommand)]
    command: JobCommand,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
enum JobCommand {
    /// List jobs, the newest first.
    List {
        /// Only jobs of this app.
        #[arg(long)]
        app: Option<String>,
        /// Only jobs in this state, such as needs_attention or awaiting_approval.
        #[arg(long)]
        state: Option<String>,
        /// Only jobs of this kind, such as onboard.
        #[arg(long)]
        kind: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show a job with its steps.
    Show {
        /// The ID of the job.
        id: String,
    },
    /// Follow a job until it ends or awaits approval. Ctrl-C leaves the job running.
    Watch {
        /// The ID of the job.
        id: String,
    },
    /// Cancel a job after its current change. What it has made stays.
    Cancel {
        /// The ID of the job.
        id: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Retry a job that ended without success, or that waits.
    Retry {
        /// The ID of the job.
        id: String,
        /// Allow the lifecycle policy to expire images with protected tags.
        #[arg(long)]
        accept_expiry: bool,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Approve a job: show its plan, ask, and follow it.
    Approve {
        /// The ID of the job.
        id: String,
        /// What to say with it.
        #[arg(long)]
        comment: Option<String>,
        /// Approve this plan only. Default: the plan that is shown.
        #[arg(long, value_name = "DIGEST")]
        plan_digest: Option<String>,
        /// Approve without a second person, as an admin in an emergency. Requires a comment.
        #[arg(long, requires = "comment")]
        break_glass: bool,
        #[command(flatten)]
        review: ReviewArgs,
    },
    /// Reject a job. It is canceled.
    Reject {
        /// The ID of the job.
        id: String,
        /// What to say with it.
        #[arg(long)]
        comment: Option<String>,
    },
}

/// Whether to wait.
#[derive(Debug, Clone, Args)]
struct WaitArgs {
    /// Do not wait for the job to end.
    #[arg(long)]
    no_wait: bool,
}

const JOBS: [Column; 7] = [
    ("ID", "/id"),
    ("KIND", "/kind"),
    ("APP", "/app"),
    ("STATE", "/state"),
    ("REQUESTED BY", "/requested_by"),
    ("CREATED", "/created_at"),
    ("REASON", "/reason"),
];

const JOB: [Column; 13] = [
    ("ID", "/id"),
    ("Kind", "/kind"),
    ("App", "/app"),
    ("Account", "/account"),
    ("State", "/state"),
    ("Reason", "/reason"),
    ("Attempt", "/attempt"),
    ("Next attempt", "/next_attempt_at"),
    ("Error", "/error/detail"),
    ("What to do", "/error/remedy"),
    ("Requested by", "/requested_by"),
    ("Created", "/created_at"),
    ("Finished", "/finished_at"),
];

impl JobArgs {
    pub async fn run(self) -> Result<Exit, ClientError> {
        let (api, format) = (self.connection.api()?, self.connection.output);
        match self.command {
            JobCommand::List {
                app,
                state,
                kind,
                page,
            } => {
                let request = Request::get("/v1/jobs")
                    .query("app", app)
                    .query("state", state)
                    .query("kind", kind);
                print_list(format, list(&api, &request, &page).await?, &JOBS)?;
                Ok(Exit::Done)
            }
            JobCommand::Show { id } => {
                let job = api.send(&Request::get(path(&id, ""))).await?.value()?;
                if !print_value(format, &job)? {
                    out(&details(&job, &JOB));
                    print_steps(&job);
                }
                Ok(Exit::Done)
            }
            JobCommand::Watch { id } => print_job(format, &observed(&api, &id).await?),
            JobCommand::Cancel { id, wait } => cancel(&api, format, &id, &wait).await,
            JobCommand::Retry {
                id,
                accept_expiry,
                wait,
            } => {
                let request =
                    Request::post(path(&id, "/retry")).flag("accept_expiry", accept_expiry);
                let job = api.send(&request).await?.value()?;
                conclude(&api, format, wait.no_wait, job).await
            }
            JobCommand::Approve {
                id,
                comment,
                plan_digest,
                break_glass,
                review,
            } => {
                let mut body = json!({"break_glass": break_glass, "plan_digest": plan_digest});
                set_comment(&mut body, comment);
                approve(&api, format, &id, body, &review).await
            }
            JobCommand::Reject { id, comment } => {
                let mut body = json!({});
                set_comment(&mut body, comment);
                let request = Request::post(path(&id, "/reject")).json(body);
                let job = api.send(&request).await?.value()?;
                print_value(format, &job)?;
                note(&format!("Rejected: job {id}."));
                Ok(Exit::Done)
            }
        }
    }
}

fn path(id: &str, rest: &str) -> String {
    format!("/v1/jobs/{}{rest}", segment(id))
}

fn set_comment(body: &mut Value, comment: Option<String>) {
    if let Some(comment) = comment {
        body["comment"] = comment.into();
    }
}

async fn cancel(api: &Api, format: Format, id: &str, wait: &WaitArgs) -> Result<Exit, ClientError> {
    let job = api
        .send(&Request::post(path(id, "/cancel")))
        .await?
        .value()?;
    let job = if wait.no_wait {
        job
    } else {
        observed(api, id).await?
    };
    let exit = print_job(format, &job)?;
    // That it is canceled is what was asked for.
    Ok(if job["state"] == "canceled" || wait.no_wait {
        Exit::Done
    } else {
        exit
    })
}

async fn approve(
    api: &Api,
    format: Format,
    id: &str,
    mut body: Value,
    review: &ReviewArgs,
) -> Result<Exit, ClientError> {
    let approval = api
        .send(&Request::get(path(id, "/approval")))
        .await?
        .value()?;
    note(&format!(
        "{} of {}, requested by {}",
        text_at(&approval, "/kind"),
        text_at(&approval, "/app"),
        text_at(&approval, "/requested_by")
    ));
    review.review(
        &views(std::slice::from_ref(&approval))?,
        "Approve this plan?",
    )?;
    if body["plan_digest"].is_null() {
        body["plan_digest"] = approval["plan_digest"].clone();
    }
    let request = Request::post(path(id, "/approve")).json(body);
    let job = api.send(&request).await?.value()?;
    conclude(api, format, review.no_wait, job).await
}
