//! `GET /v1/sessions`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Viewer;
use crate::api::page::Page;
use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::sessions;
use crate::domain::session::Session;

/// List sessions.
///
/// Returns the sessions of people who are signed in, the newest first: your own, and with the role `admin` also those of
/// others within your role and scope.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "tokens", operation_id = "listSessions",
    responses((status = 200, description = "The sessions.", body = Page<Session>))
)]
pub async fn list_sessions(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    params: Params,
) -> Result<Json<Page<Session>>, ApiError> {
    params.finish()?;
    Ok(Json(Page {
        items: sessions::list_sessions(&service, &caller).await?,
        next_cursor: None,
    }))
}
