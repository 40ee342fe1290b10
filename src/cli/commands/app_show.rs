//! Shows an app.

use super::plans::app_path;
use crate::cli::client::{Api, ClientError, Request};
use crate::cli::display::{Column, Format, details, out, print_value, table, text_at};
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
