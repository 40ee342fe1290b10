//! Trust rules: created, listed and deleted within the scope of the caller.

use serde_json::Value;
use ulid::Ulid;

use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::app::token_exchange::name_prefix;
use crate::app::tokens::require_within;
use crate::domain::caller::Caller;
use crate::domain::trust_rule::{TrustRule, TrustRuleSpec};
use crate::domain::validation::FieldError;

/// Creates the trust rule that `body` describes.
///
/// # Errors
/// When the body has invalid fields, there is a rule by the name, or the rule would grant more than the caller may.
pub async fn create_trust_rule(
    service: &Service,
    caller: &Caller,
    body: &Value,
) -> Result<TrustRule, UseCaseError> {
    let allow_http = service.settings.oidc_allow_http;
    let spec = TrustRuleSpec::parse(body, allow_http).map_err(UseCaseError::Fields)?;
    require_within(caller, spec.role, &spec.scope)?;
    if let Some(end) = caller.expires_at {
        return Err(UseCaseError::OutOfScope(format!(
            "Your token expires at {end}. A trust rule that it creates would outlive it."
        )));
    }
    let created = service.store.create_trust_rule(spec, &caller.name).await?;
    created.ok_or_else(|| {
        let taken = FieldError::new("/name", "There is a trust rule by this name.");
        UseCaseError::Fields(vec![taken])
    })
}

/// The trust rules that the caller could have created.
///
/// # Errors
/// When the database is not available.
pub async fn list_trust_rules(
    service: &Service,
    caller: &Caller,
) -> Result<Vec<TrustRule>, UseCaseError> {
    let mut rules = service.store.trust_rules().await?;
    rules.retain(|rule| is_visible(caller, rule));
    Ok(rules)
}

/// The trust rule by this id, if the caller could have created it.
///
/// # Errors
/// When there is none.
pub async fn get_trust_rule(
    service: &Service,
    caller: &Caller,
    id: Ulid,
) -> Result<TrustRule, UseCaseError> {
    let rule = service.store.trust_rule(id).await?;
    rule.filter(|rule| is_visible(caller, rule))
        .ok_or(UseCaseError::NoSuch("trust rule"))
}

/// Deletes a trust rule, and revokes the tokens that were exchanged by it.
///
/// # Errors
/// When there is none.
pub async fn delete_trust_rule(
    service: &Service,
    caller: &Caller,
    id: Ulid,
) -> Result<(), UseCaseError> {
    let rule = get_trust_rule(service, caller, id).await?;
    let prefix = name_prefix(&rule);
    if service
        .store
        .delete_trust_rule(&rule, prefix, &caller.name)
        .await?
    {
        Ok(())
    } else {
        Err(UseCaseError::NoSuch("trust rule"))
    }
}

fn is_visible(caller: &Caller, rule: &TrustRule) -> bool {
    require_within(caller, rule.spec.role, &rule.spec.scope).is_ok()
}
