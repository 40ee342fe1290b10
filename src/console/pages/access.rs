//! `/console/access`: API tokens and trust rules.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde_json::{Map, Value, json};

use crate::api::auth::Admin;
use crate::api::path::IdPath;
use crate::api::problem::ApiError;
use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::app::tokens::{create_token_for, list_tokens, revoke_token};
use crate::app::trust_rules::{create_trust_rule, delete_trust_rule, list_trust_rules};
use crate::console::form::PageForm;
use crate::console::page::{Notice, Page, PageParams, Section, html};
use crate::console::view::Ago as _;
use crate::domain::caller::Caller;
use crate::domain::role::Role;
use crate::domain::trust_rule::TrustRule;
use crate::domain::validation::FieldError;
use crate::store::TokenRow;

const PATH: &str = "/console/access";
const ROLES: [Role; 4] = [Role::Viewer, Role::Operator, Role::Approver, Role::Admin];

#[derive(Template)]
#[template(path = "console/access.html")]
struct AccessPage {
    page: Page,
    tokens: Vec<TokenRow>,
    rules: Vec<TrustRule>,
    roles: [Role; 4],
    token_errors: Vec<FieldError>,
    rule_errors: Vec<FieldError>,
}

#[derive(Template)]
#[template(path = "console/token_created.html")]
struct TokenCreatedPage {
    page: Page,
    name: String,
    token: String,
}

#[derive(Default)]
struct Errors {
    token: Vec<FieldError>,
    rule: Vec<FieldError>,
}

async fn access_page(
    service: &Service,
    caller: &Caller,
    notice: Option<Notice>,
    errors: Errors,
) -> Result<Response, ApiError> {
    html(&AccessPage {
        page: Page::new(service, caller, Section::Access, "Access").with(notice),
        tokens: list_tokens(service, caller).await?,
        rules: list_trust_rules(service, caller).await?,
        roles: ROLES,
        token_errors: errors.token,
        rule_errors: errors.rule,
    })
}

pub async fn get_access(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    PageParams { params, notice }: PageParams,
) -> Result<Response, ApiError> {
    params.finish()?;
    access_page(&service, &caller, notice, Errors::default()).await
}

/// The scope that a form describes; `None` for everything.
pub fn scope_of(form: &PageForm) -> Option<Value> {
    let mut scope = Map::new();
    for (field, name) in [("scope_apps", "apps"), ("scope_accounts", "accounts")] {
        let items = form.items(field);
        if !items.is_empty() {
            scope.insert(name.to_owned(), json!(items));
        }
    }
    (!scope.is_empty()).then_some(Value::Object(scope))
}

pub async fn post_token(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    form: PageForm,
) -> Result<Response, ApiError> {
    let mut body = form.object(&["name", "role", "expires_in"]);
    body.extend(scope_of(&form).map(|scope| ("scope".to_owned(), scope)));
    match create_token_for(&service, &caller, &Value::Object(body)).await {
        // Shown in the answer, not on a page of its own: nobody else has the token.
        Ok(created) => html(&TokenCreatedPage {
            page: Page::new(&service, &caller, Section::Access, "New token"),
            name: created.row.name,
            token: created.token,
        }),
        Err(UseCaseError::Fields(errors)) => {
            let errors = Errors {
                token: errors,
                ..Errors::default()
            };
            let page = access_page(&service, &caller, None, errors).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

pub async fn post_revoke_token(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
) -> Result<Response, ApiError> {
    revoke_token(&service, &caller, id).await?;
    Ok(Redirect::to(&Notice::Revoked.on(PATH)).into_response())
}

pub async fn post_rule(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    form: PageForm,
) -> Result<Response, ApiError> {
    let mut body = form.object(&["name", "issuer", "audience", "role"]);
    body.extend(scope_of(&form).map(|scope| ("scope".to_owned(), scope)));
    let claims = form.items("claims").into_iter().map(|claim| {
        let (name, value) = claim.split_once('=').unwrap_or((&claim, ""));
        (name.trim().to_owned(), json!(value.trim()))
    });
    body.insert("claims".into(), Value::Object(claims.collect()));
    if form.has("allow_pull_requests") {
        body.insert("allow_pull_requests".into(), json!(true));
    }
    match create_trust_rule(&service, &caller, &Value::Object(body)).await {
        Ok(_) => Ok(Redirect::to(&Notice::Created.on(PATH)).into_response()),
        Err(UseCaseError::Fields(errors)) => {
            let errors = Errors {
                rule: errors,
                ..Errors::default()
            };
            let page = access_page(&service, &caller, None, errors).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

pub async fn post_delete_rule(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    IdPath(id): IdPath,
) -> Result<Response, ApiError> {
    delete_trust_rule(&service, &caller, id).await?;
    Ok(Redirect::to(&Notice::Deleted.on(PATH)).into_response())
}
