//! Plans of apps: of what does not exist yet, of a change, and of a repair.

use clap::Args;
use serde_json::Value;

use super::app_spec::SpecArgs;
use crate::cli::client::{Api, ClientError, Reply, Request, segment};
use crate::cli::display::{
    Counts, Format, Paint, PlanView, out, plan_markdown, plan_text, print_value,
};
use crate::cli::exit::Exit;

/// What a change may do.
#[derive(Debug, Clone, Default, Args)]
pub struct ChangeArgs {
    /// Delete from AWS what the new spec does not name.
    #[arg(long)]
    pub remove: bool,
    /// The name of the app again. Required to delete data.
    #[arg(long, value_name = "APP")]
    pub confirm: Option<String>,
    /// Delete an access key even if it is in use.
    #[arg(long)]
    pub force: bool,
    /// Allow the lifecycle policy to expire images with protected tags.
    #[arg(long)]
    pub accept_expiry: bool,
}

/// How a plan is shown.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// `text` for people, `markdown` for a comment on a pull request.
    #[arg(long, value_parser = ["text", "markdown"], default_value = "text")]
    format: String,
    /// Show each change as an AWS CLI command, too.
    #[arg(long)]
    commands: bool,
    /// Exit with 5 if there are changes, and with 3 if a change is blocked.
    #[arg(long)]
    exit_code: bool,
}

impl ChangeArgs {
    pub fn on(&self, request: Request) -> Request {
        request
            .flag("remove", self.remove)
            .query("confirm", self.confirm.as_deref())
            .flag("force", self.force)
            .flag("accept_expiry", self.accept_expiry)
    }
}

/// The path of an app.
pub fn app_path(name: &str) -> String {
    format!("/v1/apps/{}", segment(name))
}

/// What a request would do.
pub async fn dry_run(api: &Api, request: &Request) -> Result<Value, ClientError> {
    api.send(&request.clone().dry_run()).await?.value()
}

/// The app, unless there is none, or only the record of one.
pub async fn find_app(api: &Api, name: &str) -> Result<Option<(Value, Reply)>, ClientError> {
    match api.send(&Request::get(app_path(name))).await {
        Ok(reply) => {
            let app = reply.value()?;
            Ok((app["state"] != "removed").then_some((app, reply)))
        }
        Err(error) if error.code() == Some("not_found") => Ok(None),
        Err(error) => Err(error),
    }
}

/// The plan of what is asked for: of the creation, a change, or without arguments of a repair.
pub async fn plan_app(
    api: &Api,
    name: &str,
    args: &SpecArgs,
    change: &ChangeArgs,
) -> Result<Value, ClientError> {
    let request = match find_app(api, name).await? {
        None => Request::post("/v1/apps")
            .flag("dry_run", true)
            .flag("accept_expiry", change.accept_expiry)
            .json(args.spec(name, None)?),
        Some((app, _)) => {
            let request = change.on(Request::post(format!("{}/plan", app_path(name))));
            if args.is_empty() {
                request
            } else {
                request.json(args.spec(name, app.get("spec"))?)
            }
        }
    };
    api.send(&request.harmless()).await?.value()
}

/// Prints plans as the arguments say. With `--exit-code`, the exit code tells whether there are changes.
pub fn print_plans(
    format: Format,
    args: &PlanArgs,
    plans: &[Value],
    one: bool,
) -> Result<Exit, ClientError> {
    let views = views(plans)?;
    let value = match plans {
        [plan] if one => plan.clone(),
        plans => Value::from(plans.to_vec()),
    };
    if args.format == "markdown" {
        let texts: Vec<String> = views.iter().map(plan_markdown).collect();
        out(&texts.join("\n"));
    } else if !print_value(format, &value)? {
        for view in &views {
            out(&plan_text(view, args.commands, Paint::stdout()));
        }
    }
    let counts = Counts::of(views.iter().flat_map(|view| &view.changes));
    Ok(match counts {
        _ if !args.exit_code => Exit::Done,
        counts if counts.blocked > 0 => Exit::NeedsAttention,
        counts if counts.changes() > 0 => Exit::Changes,
        _ => Exit::Done,
    })
}

/// Plans as they are shown.
pub fn views(plans: &[Value]) -> Result<Vec<PlanView>, ClientError> {
    plans
        .iter()
        .map(|plan| {
            serde_json::from_value(plan.clone())
                .map_err(|error| ClientError::Failed(format!("the plan cannot be read: {error}")))
        })
        .collect()
}

/// Whether an app or a set-up is ready and a plan changes neither its spec nor AWS.
pub fn is_present(found: &Value, plan: &Value, shown: &[PlanView]) -> bool {
    let counts = Counts::of(shown.iter().flat_map(|view| &view.changes));
    found["state"] == "ready" && found["spec"] == plan["spec"] && counts == Counts::default()
}
