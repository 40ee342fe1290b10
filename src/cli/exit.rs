//! The exit codes of the client commands (docs/command-line.md, docs/decisions/0032-command-line.md).

use std::process::ExitCode;

use crate::domain::job::JobState;

/// How a client command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NeedsAttention = 3,
    NotAllowed = 4,
    /// With `--exit-code`: there are differences.
    Changes = 5,
    /// What a shell says of a process that Ctrl-C has ended.
    Interrupted = 130,
}

impl Exit {
    /// The exit code of a command that has followed a job to this state.
    pub fn of_job(state: JobState) -> Self {
        match state {
            JobState::Succeeded => Self::Done,
            JobState::AwaitingApproval | JobState::NeedsAttention => Self::NeedsAttention,
            JobState::Failed | JobState::Canceled => Self::Failed,
            JobState::Queued | JobState::Running | JobState::Waiting => Self::Done,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
