//! Keeps callers within their scope where the request's body names the app or the account.

use serde_json::Value;

use crate::app::error::UseCaseError;
use crate::domain::names::{AccountName, AppName};
use crate::domain::scope::Scope;
use crate::domain::spec::default_account;

/// Fails if the scope leaves out apps by their name: who may see some apps of an account only may not change it.
///
/// # Errors
/// When it does.
pub fn require_all_apps(scope: &Scope) -> Result<(), UseCaseError> {
    if scope.is_all_apps() {
        return Ok(());
    }
    Err(UseCaseError::OutOfScope(format!(
        "A change of an account affects all its apps. Your scope is {scope}."
    )))
}

/// Fails if the account that a request names, or the default one, is outside the scope. Whether it exists is not told.
///
/// # Errors
/// When it is outside. A malformed name is left to the parser.
pub fn require_account(scope: &Scope, name: Option<&Value>) -> Result<(), UseCaseError> {
    let account = match name.and_then(Value::as_str).map(AccountName::parse) {
        Some(Ok(account)) => account,
        Some(Err(_)) => return Ok(()),
        None => default_account(),
    };
    if scope.allows_account(&account) {
        Ok(())
    } else {
        Err(outside(&format!("The account {account}"), scope))
    }
}

/// Fails if apps by this name are outside the scope.
///
/// # Errors
/// When they are.
pub fn require_app_name(scope: &Scope, name: &AppName) -> Result<(), UseCaseError> {
    if scope.allows_name(name) {
        Ok(())
    } else {
        Err(outside(&format!("The app name {name}"), scope))
    }
}

fn outside(what: &str, scope: &Scope) -> UseCaseError {
    UseCaseError::OutOfScope(format!("{what} is outside your scope, which is {scope}."))
}
