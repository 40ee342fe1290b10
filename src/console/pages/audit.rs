//! `/console/audit`: who did what, with filters.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;
use strum::IntoEnumIterator as _;

use crate::api::auth::Viewer;
use crate::api::page::Cursor;
use crate::api::params::Params;
use crate::api::path::parse_id;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::setup::find::setup;
use crate::clock::Timestamp;
use crate::console::page::{Page, PageParams, Section, html};
use crate::console::pages::jobs::capitalized;
use crate::console::respond::query;
use crate::console::view::{Ago as _, Pretty as _};
use crate::domain::audit::{Action, AuditEntry, AuditEvent};
use crate::domain::caller::Caller;
use crate::domain::event::AwsCall;
use crate::domain::names::{AccountName, AppName};
use crate::domain::role::Role;
use crate::domain::scope::Scope;
use crate::store::{AuditCursor, AuditFilter};

/// The fields of the filter.
const FIELDS: [&str; 9] = [
    "app",
    "setup",
    "actor",
    "action",
    "job",
    "resource",
    "operation",
    "since",
    "until",
];

#[derive(Template)]
#[template(path = "console/audit.html")]
struct AuditPage {
    page: Page,
    entries: Vec<AuditEntry>,
    entered: Vec<(&'static str, String)>,
    next: Option<String>,
}

impl AuditPage {
    fn value(&self, name: &str) -> &str {
        let found = self.entered.iter().find(|(field, _)| *field == name);
        found.map_or("", |(_, value)| value)
    }

    fn actions(&self) -> Vec<(String, String, bool)> {
        let option = |action: Action| {
            let value = action.to_string();
            let is_selected = self.value("action") == value;
            (value.clone(), capitalized(&value), is_selected)
        };
        Action::iter().map(option).collect()
    }

    fn action(&self, entry: &AuditEntry) -> String {
        capitalized(&entry.event.action().to_string())
    }

    fn calls<'e>(&self, entry: &'e AuditEntry) -> &'e [AwsCall] {
        match &entry.event {
            AuditEvent::ChangeApplied { calls, .. } => calls,
            _ => &[],
        }
    }

    /// What there is to say beyond the action, the resource and the calls.
    fn details(&self, entry: &AuditEntry) -> Vec<(String, String)> {
        let Ok(Value::Object(event)) = serde_json::to_value(&entry.event) else {
            return Vec::new();
        };
        event
            .into_iter()
            .filter(|(name, value)| {
                !matches!(name.as_str(), "action" | "resource" | "calls") && !value.is_null()
            })
            .map(|(name, value)| (capitalized(&name), value.pretty()))
            .collect()
    }
}

/// Parses what a browser's field for a time has, as UTC.
///
/// # Errors
/// When it is no time.
pub fn parse_time(text: &str) -> Result<Timestamp, &'static str> {
    // The field knows no zone, and may leave out the seconds.
    let candidates = [text.to_owned(), format!("{text}Z"), format!("{text}:00Z")];
    let parsed = candidates.iter().find_map(|text| text.parse().ok());
    parsed.ok_or("must be a time such as 2026-01-31T00:00")
}

/// A filter that is given and not empty, parsed; its text goes back into the form.
fn filter<T, E: std::fmt::Display>(
    params: &mut Params,
    entered: &mut Vec<(&'static str, String)>,
    name: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    params
        .take(name, |text| {
            let text = text.trim();
            entered.push((name, text.to_owned()));
            match text {
                "" => Ok(None),
                text => parse(text).map(Some),
            }
        })
        .flatten()
}

fn parse_text(text: &str) -> Result<String, &'static str> {
    if text.len() <= 512 {
        Ok(text.to_owned())
    } else {
        Err("must be at most 512 characters")
    }
}

/// The history of a set-up is for whoever may see its account, as in the API. Returns the name of its record.
async fn setup_of(
    service: &Service,
    caller: &Caller,
    account: &AccountName,
) -> Result<AppName, ApiError> {
    if !caller.scope.allows_account(account) {
        return Err(ApiError::NoSuch("account"));
    }
    Ok(setup(service, account).await?.record.spec.name)
}

/// The history of an app is for whoever may see the app, and the whole audit for admins, as in the API.
async fn require_access(
    service: &Service,
    caller: &Caller,
    app: Option<&AppName>,
) -> Result<(), ApiError> {
    let (has, needed) = (caller.role, Role::Admin);
    match app {
        _ if has >= needed => Ok(()),
        None => Err(ApiError::Forbidden { needed, has }),
        Some(app) if service.store.is_app_within(app, &caller.scope).await? => Ok(()),
        Some(_) => Err(ApiError::NoSuch("app")),
    }
}

/// What is asked for.
struct AuditQuery {
    filter: AuditFilter,
    /// The account whose set-up it is about.
    setup: Option<AccountName>,
    /// The texts of the filter, for its form.
    entered: Vec<(&'static str, String)>,
}

impl AuditQuery {
    fn of(params: &mut Params, scope: &Scope) -> Self {
        let mut entered = Vec::new();
        let (given, fields) = (params, &mut entered);
        let setup = filter(given, fields, "setup", AccountName::parse);
        let filter = AuditFilter {
            scope: scope.clone(),
            app: filter(given, fields, "app", AppName::parse),
            actor: filter(given, fields, "actor", parse_text),
            action: filter(given, fields, "action", |text| {
                text.parse::<Action>().map_err(|_| "is not an audit action")
            }),
            job: filter(given, fields, "job", |text| {
                parse_id(text).ok_or("is not a job id")
            }),
            resource: filter(given, fields, "resource", parse_text),
            operation: filter(given, fields, "operation", parse_text),
            since: filter(given, fields, "since", parse_time),
            until: filter(given, fields, "until", parse_time),
            ..AuditFilter::default()
        };
        debug_assert!(entered.iter().all(|(name, _)| FIELDS.contains(name)));
        Self {
            filter,
            setup,
            entered,
        }
    }

    /// The path of the page that begins after the cursor.
    fn path(&self, cursor: &str) -> String {
        let given = self.entered.iter();
        let given = given.map(|(name, value)| (*name, value.as_str()));
        let parameters: Vec<(&str, &str)> = given.chain([("cursor", cursor)]).collect();
        query("/console/audit", &parameters)
    }
}

pub async fn get_audit(
    State(service): State<Arc<Service>>,
    Viewer(caller): Viewer,
    PageParams { mut params, notice }: PageParams,
) -> Result<Response, ApiError> {
    let cursor: Cursor<AuditCursor> = Cursor::parsed(&mut params, |text| text.parse().ok());
    let mut asked = AuditQuery::of(&mut params, &caller.scope);
    params.finish()?;
    let filter = &mut asked.filter;
    (filter.before, filter.limit) = (cursor.from, cursor.probe());
    match &asked.setup {
        Some(account) => {
            filter.app = Some(setup_of(&service, &caller, account).await?);
            // The scope allows the account, and patterns of apps match no set-up.
            filter.scope = Scope::default();
        }
        None => require_access(&service, &caller, filter.app.as_ref()).await?,
    }
    let found = service.store.audit(filter).await?;
    let found = cursor.page(found, AuditCursor::of, |entry| entry);
    let next = found.next_cursor.as_deref();
    html(&AuditPage {
        page: Page::new(&service, &caller, Section::Audit, "Audit").with(notice),
        entries: found.items,
        next: next.map(|cursor| asked.path(cursor)),
        entered: asked.entered,
    })
}
