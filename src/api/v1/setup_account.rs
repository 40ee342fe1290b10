//! `PUT /v1/accounts/{account}/setup`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};

use crate::api::auth::Viewer;
use crate::api::body::JsonBody;
use crate::api::etag::{Condition, ETag};
use crate::api::idempotency::{Idempotency, IdempotencyText};
use crate::api::params::Params;
use crate::api::path::AccountPath;
use crate::api::problem::ApiError;
use crate::api::response;
use crate::app::service::Service;
use crate::app::setup::apply::{SetupRequest, apply, plan};
use crate::app::setup::view::SetupPlan;
use crate::app::update::Precondition;
use crate::domain::account_setup::SetupRequestBody;
use crate::domain::app::App;
use crate::domain::names::AccountName;

/// Set up an account.
///
/// Gives the account its alias, groups, people and password policy. What an earlier set-up named and the new one does
/// not stays in AWS and is listed in `retained`, unless you set `remove=true`: a person's user is then deleted with the
/// access keys, MFA devices and everything else on it. With `dry_run=true`, returns the plan and changes nothing.
#[utoipa::path(
    put, path = "/v1/accounts/{account}/setup", tag = "accounts", operation_id = "setupAccount",
    params(
        ("account" = AccountName, Path, description = "The name of the account."),
        ("remove" = Option<bool>, Query, description = "Delete from AWS the people, groups and settings that the new set-up does not name."),
        ("dry_run" = Option<bool>, Query, description = "Return the plan and change nothing."),
        ("If-Match" = Option<String>, Header, description = "Apply the set-up only if the present one still has this ETag.", nullable = false),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "Requests with the same key and body get the first response for 24 hours."),
    ),
    request_body = SetupRequestBody,
    responses(
        (status = 200, description = "The plan of a dry run.", body = SetupPlan),
        (status = 202, description = "The job."),
        (status = 403, description = "The role `admin` is required. A dry run needs none."),
        (status = 404, description = "No account is registered by this name."),
        (status = 409, description = "A job of the set-up is running, or the account is not verified."),
        (status = 412, description = "The set-up has changed since the ETag in If-Match."),
        (status = 422, description = "Fields are invalid, or the Idempotency-Key was used with a different request."),
    )
)]
pub async fn setup_account(
    State(service): State<Arc<Service>>,
    viewer: Viewer,
    AccountPath(account): AccountPath,
    mut params: Params,
    idempotency: Idempotency,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let remove = params.flag("remove");
    let dry_run = params.flag("dry_run");
    params.finish()?;
    let condition = Condition::if_match(&headers)?;
    let key = idempotency.key(&viewer.0, &body.bytes);
    let caller = match dry_run {
        true => viewer.0,
        false => viewer.admin()?,
    };
    let request = SetupRequest {
        account: &account,
        caller: &caller,
        body: body.required()?,
        remove,
    };
    if dry_run {
        return Ok(Json(plan(&service, request, key.as_ref()).await?).into_response());
    }
    let holds = condition
        .map(|condition| move |app: &App| ETag::of(app).is_ok_and(|etag| condition.matches(&etag)));
    let precondition = holds.as_ref().map(|holds| holds as Precondition<'_>);
    Ok(response::accepted(
        apply(&service, request, precondition, key).await?,
    ))
}
