//! `slipway app`

use clap::{Args, Subcommand};

use super::app_change::{change, create, remove, repair};
use super::app_open::open;
use super::app_show::show;
use super::app_spec::SpecArgs;
use super::audit::COLUMNS as HISTORY;
use super::plans::{ChangeArgs, PlanArgs, app_path, plan_app, print_plans};
use super::report::{DriftArgs, ExportArgs, print_drift, print_export};
use super::review::{ReviewArgs, submit};
use crate::cli::client::{ClientError, ConnectionArgs, PageArgs, Request, list};
use crate::cli::display::{Column, print_list};
use crate::cli::exit::Exit;

/// `slipway app`
#[derive(Debug, Args)]
pub struct AppArgs {
    #[command(subcommand)]
    command: AppCommand,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
enum AppCommand {
    /// Onboard an app: show the plan, ask, and follow the job.
    Create {
        /// The name of the app.
        name: String,
        #[command(flatten)]
        spec: SpecArgs,
        /// Allow the lifecycle policy to expire images with protected tags.
        #[arg(long)]
        accept_expiry: bool,
        #[command(flatten)]
        review: ReviewArgs,
    },
    /// Show what creating, changing or repairing an app would do. Changes nothing.
    Plan {
        /// The name of the app.
        name: String,
        #[command(flatten)]
        spec: SpecArgs,
        #[command(flatten)]
        change: ChangeArgs,
        #[command(flatten)]
        plan: PlanArgs,
    },
    /// List apps.
    List {
        /// Only apps in this account.
        #[arg(long)]
        account: Option<String>,
        /// Only apps in this state.
        #[arg(long)]
        state: Option<String>,
        /// Only apps that had drifted at their last check.
        #[arg(long)]
        drifted: bool,
        /// Only apps with this text in their names.
        #[arg(long, short)]
        query: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show an app with its resources.
    Show {
        /// The name of the app.
        name: String,
    },
    /// Change an app's spec: the given flags, or the whole spec by a file.
    Change {
        /// The name of the app.
        name: String,
        #[command(flatten)]
        spec: SpecArgs,
        #[command(flatten)]
        change: ChangeArgs,
        #[command(flatten)]
        review: ReviewArgs,
    },
    /// Remove an app. Until its quarantine ends, you can restore it.
    Remove {
        /// The name of the app.
        name: String,
        /// Also delete this bucket with all its objects. Repeat it for several.
        #[arg(long, value_name = "NAME")]
        delete_bucket: Vec<String>,
        /// Also delete this repository with all its images. Repeat it for several.
        #[arg(long, value_name = "NAME")]
        delete_repository: Vec<String>,
        /// Also delete a user and a policy that existed before the app.
        #[arg(long)]
        adopted: bool,
        /// How long the app can be restored, such as 7d.
        #[arg(long, value_name = "TIME")]
        quarantine: Option<String>,
        /// The name of the app again. Required to delete data.
        #[arg(long, value_name = "APP")]
        confirm: Option<String>,
        #[command(flatten)]
        review: ReviewArgs,
    },
    /// Restore an app that is being removed.
    Restore {
        /// The name of the app.
        name: String,
        /// Allow the lifecycle policy to expire images with protected tags.
        #[arg(long)]
        accept_expiry: bool,
        #[command(flatten)]
        review: ReviewArgs,
    },
    /// Bring AWS back to the app's spec.
    Repair {
        /// The name of the app.
        name: String,
        /// Also remove this resource, which a drift report lists as unexpected or retained. Repeat it for several.
        #[arg(long, value_name = "RESOURCE")]
        remove: Vec<String>,
        /// Allow the lifecycle policy to expire images with protected tags.
        #[arg(long)]
        accept_expiry: bool,
        #[command(flatten)]
        review: ReviewArgs,
    },
    /// Show how AWS differs from the app's spec.
    Drift {
        /// The name of the app.
        name: String,
        #[command(flatten)]
        drift: DriftArgs,
    },
    /// Export an app for another tool. Contains no secret.
    Export {
        /// The name of the app.
        name: String,
        #[command(flatten)]
        export: ExportArgs,
    },
    /// Open an app in the console.
    Open {
        /// The name of the app.
        name: String,
        /// Print the URL, and open nothing.
        #[arg(long)]
        print: bool,
    },
    /// Show who did what to an app.
    History {
        /// The name of the app.
        name: String,
        /// Only entries of this job.
        #[arg(long)]
        job: Option<String>,
        /// Only this action.
        #[arg(long)]
        action: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
}

impl AppArgs {
    pub async fn run(self) -> Result<Exit, ClientError> {
        let (api, format) = (self.connection.api()?, self.connection.output);
        match self.command {
            AppCommand::Create {
                name,
                spec,
                accept_expiry,
                review,
            } => create(&api, format, &name, &spec, accept_expiry, &review).await,
            AppCommand::Plan {
                name,
                spec,
                change,
                plan,
            } => print_plans(
                format,
                &plan,
                &[plan_app(&api, &name, &spec, &change).await?],
                true,
            ),
            AppCommand::List {
                account,
                state,
                drifted,
                query,
                page,
            } => {
                let request = Request::get("/v1/apps")
                    .query("account", account)
                    .query("state", state)
                    .flag("drifted", drifted)
                    .query("q", query);
                print_list(format, list(&api, &request, &page).await?, &APPS)?;
                Ok(Exit::Done)
            }
            AppCommand::Show { name } => show(&api, format, &name).await,
            AppCommand::Change {
                name,
                spec,
                change: options,
                review,
            } => change(&api, format, &name, &spec, &options, &review).await,
            AppCommand::Remove {
                name,
                delete_bucket,
                delete_repository,
                adopted,
                quarantine,
                confirm,
                review,
            } => {
                let joined = |names: &[String]| (!names.is_empty()).then(|| names.join(","));
                let request = Request::delete(app_path(&name))
                    .query("buckets", joined(&delete_bucket))
                    .query("repositories", joined(&delete_repository))
                    .flag("adopted", adopted)
                    .query("quarantine", quarantine)
                    .query("confirm", confirm);
                remove(&api, format, &name, request, &review).await
            }
            AppCommand::Restore {
                name,
                accept_expiry,
                review,
            } => {
                review.ask(&format!("Restore {name}?"))?;
                let request = Request::post(format!("{}/restore", app_path(&name)));
                submit(
                    &api,
                    format,
                    &review,
                    request.flag("accept_expiry", accept_expiry),
                )
                .await
            }
            AppCommand::Repair {
                name,
                remove,
                accept_expiry,
                review,
            } => repair(&api, format, &name, &remove, accept_expiry, &review).await,
            AppCommand::Drift { name, drift } => {
                let path = format!("{}/drift", app_path(&name));
                let report = drift.report(&api, &path).await?;
                print_drift(
                    format,
                    &drift,
                    &report,
                    &format!("slipway app repair {name}"),
                )
            }
            AppCommand::Export { name, export } => {
                print_export(&api, &format!("{}/export", app_path(&name)), &export).await
            }
            AppCommand::Open { name, print } => open(&api, &name, print).await,
            AppCommand::History {
                name,
                job,
                action,
                page,
            } => {
                let request = Request::get(format!("{}/history", app_path(&name)))
                    .query("job", job)
                    .query("action", action);
                print_list(format, list(&api, &request, &page).await?, &HISTORY)?;
                Ok(Exit::Done)
            }
        }
    }
}

const APPS: [Column; 6] = [
    ("NAME", "/name"),
    ("ACCOUNT", "/account"),
    ("STATE", "/state"),
    ("DRIFTED", "/drift/drifted"),
    ("ACTIVE JOB", "/active_job"),
    ("UPDATED", "/updated_at"),
];
