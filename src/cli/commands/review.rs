//! A change from its plan to the end of its job.

use clap::Args;

use crate::cli::client::{Api, ClientError, IdempotencyArgs, Request};
use crate::cli::display::{
    Counts, Format, Paint, PlanView, ask, ask_for_name, note, observed, plan_text, print_job,
};
use crate::cli::exit::Exit;
use crate::domain::plan::PlannedChange;

/// How a change is carried out.
#[derive(Debug, Clone, Default, Args)]
pub struct ReviewArgs {
    /// Do not ask. Required without a terminal.
    #[arg(long, short)]
    yes: bool,
    /// Do not wait for the job to end.
    #[arg(long)]
    pub no_wait: bool,
    #[command(flatten)]
    pub idempotency: IdempotencyArgs,
}

impl ReviewArgs {
    /// Asks a question without a plan.
    pub fn ask(&self, question: &str) -> Result<(), ClientError> {
        ask(question, self.yes)
    }

    /// Shows plans, and asks whether to go on. What is blocked is not asked about.
    pub fn review(&self, plans: &[PlanView], question: &str) -> Result<(), ClientError> {
        for plan in plans {
            note(&plan_text(plan, false, Paint::stderr()));
        }
        check_blocked(plans.iter().flat_map(|plan| &plan.changes))?;
        self.ask(question)
    }
}

/// Fails if a change of a plan is blocked: its job would stop there.
fn check_blocked<'a>(
    changes: impl IntoIterator<Item = &'a PlannedChange>,
) -> Result<(), ClientError> {
    match Counts::of(changes).blocked {
        0 => Ok(()),
        _ => Err(ClientError::Attention(
            "the plan is blocked. Do first what the lines with ! say".into(),
        )),
    }
}

/// Sends a request for a job, and follows the job.
pub async fn submit(
    api: &Api,
    format: Format,
    args: &ReviewArgs,
    request: Request,
) -> Result<Exit, ClientError> {
    let request = request.idempotent(&args.idempotency.key());
    let job = api.send(&request).await?.value()?;
    conclude(api, format, args.no_wait, job).await
}

/// The same for a request that may delete data: where the service wants the app's name for that, asks for it.
pub async fn submit_confirmed(
    api: &Api,
    format: Format,
    args: &ReviewArgs,
    app: &str,
    request: Request,
) -> Result<Exit, ClientError> {
    match submit(api, format, args, request.clone()).await {
        Err(error) if error.code() == Some("confirmation_required") => {
            note(&format!("{error}"));
            match ask_for_name(app)? {
                Some(name) => submit(api, format, args, request.query("confirm", Some(name))).await,
                None => Err(error),
            }
        }
        ended => ended,
    }
}

/// Follows a job that was accepted, and prints how it ended.
pub async fn conclude(
    api: &Api,
    format: Format,
    no_wait: bool,
    job: serde_json::Value,
) -> Result<Exit, ClientError> {
    let job = match job["id"].as_str() {
        Some(id) if !no_wait => observed(api, id).await?,
        _ => job,
    };
    let exit = print_job(format, &job)?;
    // Without the wait, that the job is accepted is all that was asked for.
    Ok(if no_wait { Exit::Done } else { exit })
}
