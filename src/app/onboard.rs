//! Onboards an app.

use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::domain::spec::AppSpec;
use crate::domain::validation::FieldError;

/// The spec that a body asks for, in an account that is registered.
pub fn parse_spec(service: &Service, body: &serde_json::Value) -> Result<AppSpec, UseCaseError> {
    let spec = AppSpec::parse(body, &service.settings.defaults, &service.place())
        .map_err(UseCaseError::Fields)?;
    if service.account(&spec.account).is_none() {
        return Err(UseCaseError::Fields(vec![FieldError::new(
            "/account",
            format!("no account is registered as {}", spec.account),
        )]));
    }
    Ok(spec)
}
