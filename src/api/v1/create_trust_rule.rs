//! `POST /v1/trust-rules`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::api::auth::Admin;
use crate::api::body::JsonBody;
use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::app::service::Service;
use crate::app::trust_rules;
use crate::domain::trust_rule::{TrustRule, TrustRuleSpec};

/// Create a trust rule.
///
/// A pipeline whose ID token has this issuer, audience and these claims can exchange it for an API token with the role and
/// the scope of the rule. Claims are compared as they are: there are no wildcards. A rule for GitHub or GitLab has to name
/// the repository or project by its id, and an environment or a ref.
#[utoipa::path(
    post, path = "/v1/trust-rules", tag = "tokens", operation_id = "createTrustRule",
    request_body = TrustRuleSpec,
    responses(
        (status = 201, description = "The trust rule.", body = TrustRule),
        (status = 403, description = "The role `admin` is required, or the rule would allow more than your role and scope."),
        (status = 422, description = "Fields are invalid, or there is a rule by the name."),
    )
)]
pub async fn create_trust_rule(
    State(service): State<Arc<Service>>,
    Admin(caller): Admin,
    params: Params,
    body: JsonBody,
) -> Result<(StatusCode, Json<TrustRule>), ApiError> {
    params.finish()?;
    let rule = trust_rules::create_trust_rule(&service, &caller, body.required()?).await?;
    Ok((StatusCode::CREATED, Json(rule)))
}
