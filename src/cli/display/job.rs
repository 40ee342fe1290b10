//! A job, and what it has made.

use serde_json::Value;

use super::format::{Format, print_value};
use super::paint::{Color, Paint, printable};
use super::streams::{note, notes, out, warn};
use super::table::{details, table, text_at};
use crate::cli::client::ClientError;
use crate::cli::exit::Exit;
use crate::domain::job::JobState;

/// Prints how a job stands, with what to do next. The exit code that says so.
pub fn print_job(format: Format, job: &Value) -> Result<Exit, ClientError> {
    if !print_value(format, job)? {
        out(details(
            job,
            &[
                ("User", "/result/user_arn"),
                ("Access key", "/result/access_key_id"),
                ("Buckets", "/result/buckets"),
            ],
        )
        .trim_end());
        for repository in job["result"]["repositories"]
            .as_array()
            .into_iter()
            .flatten()
        {
            out(&format!("Repository  {}", text_at(repository, "/uri")));
        }
    }
    conclude_job(job)
}

/// Says on standard error how a job stands, with what to do next. The exit code that says so.
pub fn conclude_job(job: &Value) -> Result<Exit, ClientError> {
    let state: Option<JobState> = job["state"].as_str().and_then(|state| state.parse().ok());
    let state = state.ok_or_else(|| ClientError::Failed("the job has no known state".into()))?;
    conclude(state, job);
    Ok(Exit::of_job(state))
}

fn conclude(state: JobState, job: &Value) {
    let paint = Paint::stderr();
    let (id, app) = (text_at(job, "/id"), text_at(job, "/app"));
    let what = format!(
        "{} of {}",
        text_at(job, "/kind").replace('_', " "),
        subject(job)
    );
    for warning in job["result"]["warnings"].as_array().into_iter().flatten() {
        warn(&printable(warning.as_str().unwrap_or_default()));
    }
    match state {
        JobState::Succeeded => {
            note(&paint.text(Color::Green, &format!("Done: {what}.")));
            if job["result"]["claim"].is_string() {
                let key = text_at(job, "/result/access_key_id");
                note(&format!(
                    "Claim the secret, once: slipway key claim {app} {key} --to FILE"
                ));
            }
            let account = text_at(job, "/account");
            for person in job["result"]["people"].as_array().into_iter().flatten() {
                let email = text_at(person, "/email");
                note(&format!(
                    "Claim the first password, once: slipway account setup claim {account} {email} --to FILE"
                ));
            }
        }
        JobState::AwaitingApproval => {
            note(&paint.text(Color::Yellow, &format!("The {what} awaits approval.")));
            note(&format!(
                "Another person approves it: slipway job approve {id}"
            ));
        }
        JobState::Failed | JobState::NeedsAttention => {
            let state = text_at(job, "/state").replace('_', " ");
            note(&paint.text(
                Color::Red,
                &format!("The {what} {state}: {}", text_at(job, "/error/detail")),
            ));
            notes(next(job, &id));
        }
        JobState::Canceled => {
            let reason = text_at(job, "/reason");
            note(format!("The {what} was canceled. {reason}").trim_end());
        }
        JobState::Queued | JobState::Running | JobState::Waiting => {
            note(&format!(
                "The {what} is {}. Follow it: slipway job watch {id}",
                text_at(job, "/state")
            ));
        }
    }
}

/// The app that a job is about, or the account.
fn subject(job: &Value) -> String {
    match job["app"].as_str() {
        Some(app) => printable(app),
        None => format!("account {}", text_at(job, "/account")),
    }
}

/// What to do about a job that did not succeed.
fn next(job: &Value, id: &str) -> Vec<String> {
    let remedy = text_at(job, "/error/remedy");
    let remedy = (!remedy.is_empty()).then(|| format!("What to do: {remedy}"));
    let retry = format!("Then retry it: slipway job retry {id}");
    remedy.into_iter().chain([retry]).collect()
}

/// The steps of a job as a table.
pub fn print_steps(job: &Value) {
    let steps = job["steps"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = steps
        .map(|step| {
            let changes = text_at(step, "/changes");
            let error = text_at(step, "/error/detail");
            vec![
                text_at(step, "/state"),
                text_at(step, "/resource"),
                if error.is_empty() { changes } else { error },
            ]
        })
        .collect();
    if !rows.is_empty() {
        out(&format!(
            "\n{}",
            table(&["STATE", "RESOURCE", "CHANGES"], rows)
        ));
    }
}
