//! `POST /v1/accounts/{account}/setup/repair`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use crate::api::auth::Admin;
use crate::api::body::JsonBody;
use crate::api::idempotency::{Idempotency, IdempotencyText};
use crate::api::params::Params;
use crate::api::path::AccountPath;
use crate::api::problem::ApiError;
use crate::api::response;
use crate::app::repair::repair;
use crate::app::service::Service;
use crate::app::setup::find::setup;
use crate::domain::names::AccountName;
use crate::domain::retained::RepairRequest;

/// Repair the set-up of an account.
///
/// Brings AWS back to the set-up. Also deletes the retained resources that the body names.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/setup/repair", tag = "accounts", operation_id = "repairSetup",
    params(
        ("account" = AccountName, Path, description = "The name of the account."),
        ("Idempotency-Key" = Option<IdempotencyText>, Header, description = "Requests with the same key and body get the first response for 24 hours."),
    ),
    request_body(content = Option<RepairRequest>, description = "The resources to delete. If absent, none."),
    responses(
        (status = 202, description = "The repair job."),
        (status = 403, description = "The role `admin` is required."),
        (status = 404, description = "No account is registered by this name, or it has no set-up."),
        (status = 409, description = "A job of the set-up is running."),
        (status = 422, description = "Fields are invalid, or the Idempotency-Key was used with a different request."),
    )
)]
pub async fn repair_setup(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    AccountPath(account): AccountPath,
    params: Params,
    idempotency: Idempotency,
    body: JsonBody,
) -> Result<Response, ApiError> {
    params.finish()?;
    let key = idempotency.key(&caller, &body.bytes);
    let name = setup(&service, &account).await?.record.spec.name;
    let remove = body.value.as_ref();
    Ok(response::accepted(
        repair(&service, caller, &name, remove, false, key).await?,
    ))
}
