//! `GET /v1/tokens`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::auth::Admin;
use crate::api::page::Page;
use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::tokens::list_tokens as list_tokens_of;
use crate::store::TokenRow;

/// List tokens.
///
/// Returns the record of each token, never the token itself.
#[utoipa::path(
    get, path = "/v1/tokens", tag = "tokens", operation_id = "listTokens",
    responses(
        (status = 200, description = "The tokens.", body = Page<TokenRow>),
        (status = 403, description = "The role `admin` is required."),
    )
)]
pub async fn list_tokens(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    params: Params,
) -> Result<Json<Page<TokenRow>>, ApiError> {
    params.finish()?;
    Ok(Json(Page {
        items: list_tokens_of(&service, &caller).await?,
        next_cursor: None,
    }))
}
