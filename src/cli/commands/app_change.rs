//! Creates, changes, removes and repairs an app, each from its plan to the end of its job.

use serde_json::json;

use super::app_spec::SpecArgs;
use super::plans::{ChangeArgs, app_path, dry_run, is_present, views};
use super::review::{ReviewArgs, submit, submit_confirmed};
use crate::cli::client::{Api, ClientError, Request};
use crate::cli::display::{Format, note};
use crate::cli::exit::Exit;

pub async fn create(
    api: &Api,
    format: Format,
    name: &str,
    args: &SpecArgs,
    accept_expiry: bool,
    review: &ReviewArgs,
) -> Result<Exit, ClientError> {
    let request = Request::post("/v1/apps")
        .flag("accept_expiry", accept_expiry)
        .json(args.spec(name, None)?);
    let plan = dry_run(api, &request).await?;
    review.review(&views(&[plan])?, &format!("Create {name}?"))?;
    submit(api, format, review, request).await
}

pub async fn change(
    api: &Api,
    format: Format,
    name: &str,
    args: &SpecArgs,
    options: &ChangeArgs,
    review: &ReviewArgs,
) -> Result<Exit, ClientError> {
    if args.is_empty() {
        return Err(ClientError::Usage(
            "there is nothing to change. Name what to change, such as `--media-access scoped`, or a file with the spec by `--file`".into(),
        ));
    }
    let reply = api.send(&Request::get(app_path(name))).await?;
    let app = reply.value()?;
    let request = options
        .on(Request::put(app_path(name)))
        .json(args.spec(name, app.get("spec"))?);
    let plan = dry_run(api, &request).await?;
    let shown = views(std::slice::from_ref(&plan))?;
    if is_present(&app, &plan, &shown) {
        note(&format!("Nothing to change: {name} is as the spec says."));
        return Ok(Exit::Done);
    }
    review.review(&shown, &format!("Change {name}?"))?;
    let request = match reply.etag() {
        Some(etag) => request.header("if-match", etag),
        None => request,
    };
    submit_confirmed(api, format, review, name, request).await
}

pub async fn remove(
    api: &Api,
    format: Format,
    name: &str,
    request: Request,
    review: &ReviewArgs,
) -> Result<Exit, ClientError> {
    let plan = dry_run(api, &request).await?;
    review.review(&views(&[plan])?, &format!("Remove {name}?"))?;
    submit_confirmed(api, format, review, name, request).await
}

pub async fn repair(
    api: &Api,
    format: Format,
    name: &str,
    remove: &[String],
    accept_expiry: bool,
    review: &ReviewArgs,
) -> Result<Exit, ClientError> {
    let plan =
        Request::post(format!("{}/plan", app_path(name))).flag("accept_expiry", accept_expiry);
    let plan = api.send(&plan.harmless()).await?;
    for resource in remove {
        note(&format!("  - remove {resource}"));
    }
    review.review(&views(&[plan.value()?])?, &format!("Repair {name}?"))?;
    let request =
        Request::post(format!("{}/repair", app_path(name))).flag("accept_expiry", accept_expiry);
    let request = if remove.is_empty() {
        request
    } else {
        request.json(json!({"remove": remove}))
    };
    submit(api, format, review, request).await
}
