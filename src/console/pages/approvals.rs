//! `/console/approvals`: the jobs that wait for an approval. Their own pages approve and reject them.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::api::auth::Viewer;
use crate::api::page::Cursor;
use crate::api::problem::ApiError;
use crate::app::approvals::list_approvals;
use crate::app::service::Service;
use crate::console::page::{Page, PageParams, Section, html};
use crate::console::pages::jobs::options;
use crate::console::respond::query;
use crate::console::view::{Ago as _, Named as _, OfSubject as _, Shown as _};
use crate::domain::approval::{Approval, ApprovalState};
use crate::domain::plan::Action;
use crate::store::ApprovalFilter;

#[derive(Template)]
#[template(path = "console/approvals.html")]
struct ApprovalsPage {
    page: Page,
    approvals: Vec<Approval>,
    state: ApprovalState,
    this: String,
    next: Option<String>,
}

impl ApprovalsPage {
    fn states(&self) -> Vec<(String, String, bool)> {
        let states = [
            ApprovalState::Pending,
            ApprovalState::Approved,
            ApprovalState::Rejected,
            ApprovalState::Expired,
            ApprovalState::Canceled,
        ];
        options(states, Some(self.state))
    }

    fn effects(&self, approval: &Approval) -> usize {
        let changes = approval.changes.iter();
        changes
            .filter(|change| change.action != Action::None)
            .count()
    }
}

pub async fn get_approvals(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    PageParams { mut params, notice }: PageParams,
) -> Result<Response, ApiError> {
    let cursor = Cursor::of(&mut params);
    let state = params.take("state", |text| {
        text.parse::<ApprovalState>()
            .map_err(|_| "is not an approval state")
    });
    params.finish()?;
    let state = state.unwrap_or(ApprovalState::Pending);
    let filter = ApprovalFilter {
        state: Some(state),
        app: None,
        scope: caller.scope.clone(),
        before: cursor.from,
        limit: cursor.probe(),
    };
    let found = list_approvals(&service, &filter).await?;
    let found = cursor.page(found, |approval| approval.job, |it| it);
    let path = |cursor: &str| {
        let parameters = [("state", state.to_string()), ("cursor", cursor.to_owned())];
        let parameters = parameters
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        query("/console/approvals", &parameters)
    };
    html(&ApprovalsPage {
        page: Page::new(&service, &caller, Section::Approvals, "Approvals").with(notice),
        approvals: found.items,
        state,
        this: path(&cursor.from.map(|id| id.to_string()).unwrap_or_default()),
        next: found.next_cursor.as_deref().map(path),
    })
}
