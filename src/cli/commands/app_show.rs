//! Shows an app, its drift and its exports.

use std::path::PathBuf;

use super::plans::{app_path, views};
use crate::cli::client::{Api, ClientError, Request};
use crate::cli::display::{
    Column, Format, Paint, PlanView, details, note, out, plan_text, print_value, table, text_at,
};
use crate::cli::exit::Exit;

const APP: [Column; 12] = [
    ("Name", "/name"),
    ("Account", "/account"),
    ("State", "/state"),
    ("Region", "/spec/region"),
    ("Media access", "/spec/media_access"),
    ("Protected", "/spec/protected"),
    ("Drifted", "/drift/drifted"),
    ("Active job", "/active_job"),
    ("Last job", "/last_job"),
    ("Removal at", "/removal/remove_at"),
    ("Created", "/created_at"),
    ("Updated", "/updated_at"),
];

pub async fn show(api: &Api, format: Format, name: &str) -> Result<Exit, ClientError> {
    let app = api.send(&Request::get(app_path(name))).await?.value()?;
    if !print_value(format, &app)? {
        out(&details(&app, &APP));
        let resources = app["resources"].as_array().into_iter().flatten();
        let rows: Vec<Vec<String>> = resources
            .map(|resource| {
                ["/state", "/resource", "/arn", "/error/detail"]
                    .map(|pointer| text_at(resource, pointer))
                    .to_vec()
            })
            .collect();
        if !rows.is_empty() {
            out(&format!(
                "\n{}",
                table(&["STATE", "RESOURCE", "ARN", "ERROR"], rows)
            ));
        }
        for retained in app["retained"]["resources"]
            .as_array()
            .into_iter()
            .flatten()
        {
            out(&format!("\nRetained: {}", text_at(retained, "/detail")));
        }
    }
    Ok(Exit::Done)
}

pub async fn drift(
    api: &Api,
    format: Format,
    name: &str,
    check: bool,
    exit_code: bool,
) -> Result<Exit, ClientError> {
    let path = format!("{}/drift", app_path(name));
    let request = if check {
        Request::post(path).harmless()
    } else {
        Request::get(path)
    };
    let report = api.send(&request).await?.value()?;
    if !print_value(format, &report)? {
        let view: PlanView = views(std::slice::from_ref(&report))?.remove(0);
        out(&plan_text(&view, false, Paint::stdout()));
        for unexpected in report["unexpected"].as_array().into_iter().flatten() {
            let (detail, resource) = (
                text_at(unexpected, "/detail"),
                text_at(unexpected, "/resource"),
            );
            out(&format!(
                "  ? {detail} To remove it: slipway app repair {name} --remove {resource}"
            ));
        }
        for retained in report["retained"].as_array().into_iter().flatten() {
            out(&format!("  Retained: {}", text_at(retained, "/detail")));
        }
        let error = text_at(&report, "/error/detail");
        if !error.is_empty() {
            out(&format!("The comparison is incomplete: {error}"));
        }
        out(&format!("Checked {}.", text_at(&report, "/checked_at")));
    }
    let drifted = report["drifted"] == true;
    Ok(if exit_code && drifted {
        Exit::Changes
    } else {
        Exit::Done
    })
}

pub async fn export(
    api: &Api,
    name: &str,
    kind: &str,
    region: Option<String>,
    to: Option<PathBuf>,
) -> Result<Exit, ClientError> {
    let request = Request::get(format!("{}/export", app_path(name)))
        .accept("*/*")
        .query("format", Some(kind))
        .query("region", region);
    let text = api.send(&request).await?.text();
    match to {
        Some(path) => {
            std::fs::write(&path, text).map_err(ClientError::file(&path))?;
            note(&format!("Written to {}.", path.display()));
        }
        None => out(&text),
    }
    Ok(Exit::Done)
}
