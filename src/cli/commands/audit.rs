//! `slipway audit`

use clap::Args;

use crate::cli::client::{ClientError, ConnectionArgs, PageArgs, Request, list};
use crate::cli::display::{Column, print_list};
use crate::cli::exit::Exit;

/// `slipway audit`
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Only entries about this app.
    #[arg(long)]
    app: Option<String>,
    /// Only what this token did.
    #[arg(long)]
    actor: Option<String>,
    /// Only this action, such as secret_claimed.
    #[arg(long)]
    action: Option<String>,
    /// Only entries of this job.
    #[arg(long)]
    job: Option<String>,
    /// Only resources whose IDs begin with this, such as iam:user/.
    #[arg(long)]
    resource: Option<String>,
    /// Only AWS calls of this service, such as iam.
    #[arg(long)]
    service: Option<String>,
    /// Only AWS calls of this operation, such as CreateAccessKey.
    #[arg(long)]
    operation: Option<String>,
    /// Only entries from this time on, in RFC 3339.
    #[arg(long)]
    since: Option<String>,
    /// Only entries before this time, in RFC 3339.
    #[arg(long)]
    until: Option<String>,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// The columns of audit entries.
pub const COLUMNS: [Column; 7] = [
    ("AT", "/at"),
    ("ACTOR", "/actor"),
    ("ACTION", "/action"),
    ("APP", "/app"),
    ("RESOURCE", "/resource"),
    ("CHANGE", "/change"),
    ("JOB", "/job"),
];

impl AuditArgs {
    pub async fn run(self) -> Result<Exit, ClientError> {
        let request = Request::get("/v1/audit")
            .query("app", self.app)
            .query("actor", self.actor)
            .query("action", self.action)
            .query("job", self.job)
            .query("resource", self.resource)
            .query("service", self.service)
            .query("operation", self.operation)
            .query("since", self.since)
            .query("until", self.until);
        let found = list(&self.connection.api()?, &request, &self.page).await?;
        print_list(self.connection.output, found, &COLUMNS)?;
        Ok(Exit::Done)
    }
}
