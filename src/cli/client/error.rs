//! Why a client command fails, in words, and the exit code that says so.

use std::io;
use std::path::PathBuf;

use crate::api::problem::Problem;
use crate::cli::exit::Exit;
use crate::domain::validation::FieldError;

/// Why a client command fails.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The command cannot be carried out as it was typed.
    #[error("{0}")]
    Usage(String),
    /// The person answered no.
    #[error("Nothing was changed.")]
    Declined,
    /// A person or another command has to act first.
    #[error("{0}")]
    Attention(String),
    #[error("cannot reach the service at {url}: {why}")]
    Unreachable { url: String, why: String },
    #[error("{}", title_and_detail(.0))]
    Problem(Box<Problem>),
    /// The answer is none of a Slipway service.
    #[error(
        "the service at {url} sent an unexpected response ({why}). Is this the URL of Slipway?"
    )]
    Unexpected { url: String, why: String },
    #[error("{path}: {source}", path = .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Failed(String),
    /// Ctrl-C while a job goes on.
    #[error("the job goes on without you. Follow it: slipway job watch {0}")]
    Interrupted(String),
}

impl ClientError {
    /// An error of a file.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Attention(_) => Exit::NeedsAttention,
            Self::Problem(problem) => match (problem.status, problem.code.as_str()) {
                (401 | 403, _) => Exit::NotAllowed,
                (400 | 413 | 422, _) | (_, "confirmation_required") => Exit::Usage,
                _ => Exit::Failed,
            },
            Self::Interrupted(_) => Exit::Interrupted,
            Self::Declined
            | Self::Unreachable { .. }
            | Self::Unexpected { .. }
            | Self::File { .. }
            | Self::Failed(_) => Exit::Failed,
        }
    }

    /// The code of the problem document, if the service sent one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// What to show below the message: each field error, the AWS call that failed, and what to do next.
    pub fn lines(&self) -> Vec<String> {
        let Self::Problem(problem) = self else {
            return Vec::new();
        };
        let fields = problem.errors.iter().map(field_line);
        let aws = problem.aws.iter().map(|aws| {
            let id = aws.request_id.as_deref().unwrap_or("none");
            format!(
                "AWS call: {}:{} answered {} (request id {id})",
                aws.service, aws.operation, aws.code
            )
        });
        let next = next_step(problem).map(|text| format!("What to do: {text}"));
        fields.chain(aws).chain(next).collect()
    }
}

fn title_and_detail(problem: &Problem) -> String {
    if problem.detail.is_empty() {
        problem.title.clone()
    } else {
        format!("{}: {}", problem.title, problem.detail)
    }
}

fn field_line(error: &FieldError) -> String {
    format!("{}: {}", error.pointer, error.message)
}

/// What to do next, in commands where there is one, else in the words of the service.
fn next_step(problem: &Problem) -> Option<String> {
    let last = problem
        .url
        .as_deref()
        .and_then(|url| url.rsplit('/').next())
        .unwrap_or("NAME");
    let app = problem
        .instance
        .strip_prefix("/v1/apps/")
        .and_then(|path| path.split('/').next())
        .unwrap_or("NAME");
    let command = match problem.code.as_str() {
        "unauthorized" => {
            "log in with `slipway login`, or set SLIPWAY_TOKEN or --token-file.".to_owned()
        }
        "app_exists" => format!(
            "look at it with `slipway app show {last}`, change it with `slipway app change {last}`, or choose another name."
        ),
        "job_active" => format!(
            "wait for the job with `slipway job watch {last}`, or cancel it with `slipway job cancel {last}`."
        ),
        "job_superseded" => format!("retry the later job: `slipway job retry {last}`."),
        "being_removed" => {
            format!("to keep the app, restore it with `slipway app restore {app}`.")
        }
        "protected" => format!("first lift it with `slipway app change {app} --protected false`."),
        "confirmation_required" => {
            format!("to proceed, repeat the command with `--confirm {app}`.")
        }
        "no_report" => format!("check it now with `slipway app drift {app} --check`."),
        "already_claimed" | "claim_expired" => {
            format!("for a new access key, rotate it with `slipway key rotate {app}`.")
        }
        "rotation_active" => format!(
            "see where it stands with `slipway key list {app}`. Wait, or undo it with `slipway key rollback {app}`."
        ),
        "account_not_ready" => "verify the account with `slipway account verify`.".to_owned(),
        _ => return problem.remedy.clone(),
    };
    Some(command)
}
