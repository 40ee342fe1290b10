//! `slipway plan` and `slipway apply`, with the apps of a `slipway.yaml`.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::manifest::Manifest;
use super::plans::{ChangeArgs, PlanArgs, app_path, find_app, is_present, print_plans, views};
use super::review::ReviewArgs;
use crate::cli::client::{Api, ClientError, ConnectionArgs, Request};
use crate::cli::display::{Counts, Format, conclude_job, note, observed, print_job, print_value};
use crate::cli::exit::Exit;
use crate::domain::manifest::ManifestApp;

/// The file, and what its changes may do.
#[derive(Debug, Args)]
struct FileArgs {
    /// The file with the specs; `-` is standard input.
    #[arg(long, short = 'f', value_name = "FILE", default_value = "slipway.yaml")]
    file: PathBuf,
    /// Delete from AWS what the specs no longer name.
    #[arg(long)]
    remove: bool,
    /// The name of an app whose data may be deleted. Repeat it for several.
    #[arg(long, value_name = "APP")]
    confirm: Vec<String>,
    /// Delete access keys even if they are in use.
    #[arg(long)]
    force: bool,
    /// Allow lifecycle policies to expire images with protected tags.
    #[arg(long)]
    accept_expiry: bool,
}

/// `slipway plan`
#[derive(Debug, Args)]
pub struct PlanFileArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// `slipway apply`
#[derive(Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    review: ReviewArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// An app with its plan, and the request that carries the plan out.
struct Planned {
    plan: Value,
    request: Request,
    is_present: bool,
}

impl FileArgs {
    fn options(&self, app: &str) -> ChangeArgs {
        ChangeArgs {
            remove: self.remove,
            confirm: self.confirm.iter().find(|name| *name == app).cloned(),
            force: self.force,
            accept_expiry: self.accept_expiry,
        }
    }

    /// The plans of all apps of the file.
    async fn planned(&self, api: &Api) -> Result<Vec<Planned>, ClientError> {
        let manifest = Manifest::read(&self.file)?;
        let mut found = Vec::new();
        for app in &manifest.apps {
            let planned = planned(api, app, &self.options(&app.name)).await;
            found.push(planned.map_err(|error| manifest.locate(app, error))?);
        }
        Ok(found)
    }
}

async fn planned(
    api: &Api,
    app: &ManifestApp,
    options: &ChangeArgs,
) -> Result<Planned, ClientError> {
    let present = find_app(api, &app.name).await?;
    let request = match &present {
        None => Request::post("/v1/apps").flag("accept_expiry", options.accept_expiry),
        Some((_, reply)) => {
            let request = options.on(Request::put(app_path(&app.name)));
            match reply.etag() {
                Some(etag) => request.header("if-match", etag),
                None => request,
            }
        }
    };
    let request = request.json(app.spec.clone());
    let mut trial = request.clone().dry_run();
    // The plan is of the app as it is. Only the change itself needs the version that was read.
    trial.headers.clear();
    let plan = api.send(&trial).await?.value()?;
    let is_present = match &present {
        Some((found, _)) => is_present(found, &plan, &views(std::slice::from_ref(&plan))?),
        None => false,
    };
    Ok(Planned {
        plan,
        request,
        is_present,
    })
}

impl PlanFileArgs {
    pub async fn run(self) -> Result<Exit, ClientError> {
        let planned = self.file.planned(&self.connection.api()?).await?;
        let plans: Vec<Value> = planned.into_iter().map(|app| app.plan).collect();
        print_plans(self.connection.output, &self.plan, &plans, false)
    }
}

impl ApplyArgs {
    pub async fn run(self) -> Result<Exit, ClientError> {
        let (api, format) = (self.connection.api()?, self.connection.output);
        let mut planned = self.file.planned(&api).await?;
        planned.retain(|app| {
            if app.is_present {
                let name = app.plan["app"].as_str().unwrap_or_default();
                note(&format!("{name}: no changes"));
            }
            !app.is_present
        });
        if planned.is_empty() {
            print_value(format, &Value::Array(Vec::new()))?;
            return Ok(Exit::Done);
        }
        let plans: Vec<Value> = planned.iter().map(|app| app.plan.clone()).collect();
        let shown = views(&plans)?;
        let total = Counts::of(shown.iter().flat_map(|view| &view.changes));
        if shown.len() > 1 {
            note(&format!("{} apps.", shown.len()));
        }
        let question = format!("Apply {} changes to {} apps?", total.changes(), shown.len());
        self.review.review(&shown, &question)?;
        self.carry_out(&api, format, planned).await
    }

    /// Requests all jobs, then follows one after another.
    async fn carry_out(
        &self,
        api: &Api,
        format: Format,
        planned: Vec<Planned>,
    ) -> Result<Exit, ClientError> {
        let key = self.review.idempotency.key();
        let mut jobs = Vec::new();
        for app in planned {
            let name = app.plan["app"].as_str().unwrap_or_default();
            let request = app.request.idempotent(&format!("{key}-{name}"));
            jobs.push(api.send(&request).await?.value()?);
        }
        let (mut worst, mut ended) = (Exit::Done, Vec::new());
        for job in jobs {
            let (mut job, mut exit) = (job, Exit::Done);
            if let Some(id) = job["id"].as_str().filter(|_| !self.review.no_wait) {
                note(&format!("{}:", job["app"].as_str().unwrap_or_default()));
                job = observed(api, id).await?;
                exit = match format {
                    Format::Table => print_job(format, &job)?,
                    _ => conclude_job(&job)?,
                };
            }
            worst = worse(worst, exit);
            ended.push(job);
        }
        print_value(format, &ended.into())?;
        Ok(worst)
    }
}

/// The exit code of several jobs: a failure counts more than what waits for a person.
fn worse(one: Exit, other: Exit) -> Exit {
    match (one, other) {
        (Exit::Failed, _) | (_, Exit::Failed) => Exit::Failed,
        (Exit::Done, other) => other,
        (one, _) => one,
    }
}
