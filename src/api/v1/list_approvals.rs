//! `GET /v1/approvals`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Viewer;
use crate::api::page::{Cursor, Page};
use crate::api::params::Params;
use crate::api::path::Id;
use crate::api::problem::ApiError;
use crate::app::approvals;
use crate::app::service::Service;
use crate::domain::approval::{Approval, ApprovalState};
use crate::domain::names::AppName;
use crate::store::ApprovalFilter;

/// List approvals.
///
/// Returns the approvals of jobs that wait for one, the newest first, each with the plan to approve. With `state`, returns
/// those in that state.
#[utoipa::path(
    get, path = "/v1/approvals", tag = "approvals", operation_id = "listApprovals",
    params(
        ("state" = Option<ApprovalState>, Query, description = "Return approvals in this state only. The default is `pending`."),
        ("app" = Option<AppName>, Query, description = "Return approvals for jobs of this app only."),
        ("limit" = Option<u32>, Query, description = "The maximum number of items.", minimum = 1, maximum = 200),
        ("cursor" = Option<Id>, Query, description = "The `next_cursor` of the previous page."),
    ),
    responses((status = 200, description = "A page of approvals.", body = Page<Approval>))
)]
pub async fn list_approvals(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    mut params: Params,
) -> Result<Json<Page<Approval>>, ApiError> {
    let cursor = Cursor::of(&mut params);
    let state = params.take("state", |text| {
        text.parse::<ApprovalState>()
            .map_err(|_| "is not an approval state")
    });
    let filter = ApprovalFilter {
        state: Some(state.unwrap_or(ApprovalState::Pending)),
        app: params.take("app", AppName::parse),
        scope: caller.scope,
        before: cursor.from,
        limit: cursor.probe(),
    };
    params.finish()?;
    let found = approvals::list_approvals(&service, &filter).await?;
    Ok(Json(cursor.page(found, |approval| approval.job, |it| it)))
}
