//! Finds the set-up of an account.

use std::sync::Arc;

use crate::app::error::UseCaseError;
use crate::app::find::account;
use crate::app::service::Service;
use crate::aws::Account;
use crate::domain::account_setup::AccountSetup;
use crate::domain::app::{App, AppState};
use crate::domain::names::{AccountName, AppName};

/// The set-up of an account.
pub struct FoundSetup {
    pub account: Arc<Account>,
    /// Its record, with its retained resources.
    pub record: App,
}

impl FoundSetup {
    /// What it is.
    pub fn setup(&self) -> Option<&AccountSetup> {
        self.record.spec.setup.as_deref()
    }
}

/// The record of an account's set-up, if there is one.
///
/// # Errors
/// When no account is registered under the name.
pub async fn find(
    service: &Service,
    name: &AccountName,
) -> Result<(Arc<Account>, Option<App>), UseCaseError> {
    let account = account(service, name).await?;
    let record = service.app(&AppName::of_setup(name)).await?;
    let record = record.filter(|record| record.summary.state != AppState::Removed);
    Ok((account, record))
}

/// The set-up of an account.
///
/// # Errors
/// When no account is registered under the name, or the account has no set-up.
pub async fn setup(service: &Service, name: &AccountName) -> Result<FoundSetup, UseCaseError> {
    let (account, record) = find(service, name).await?;
    let record = record.ok_or(UseCaseError::NoSuch("set-up"))?;
    Ok(FoundSetup { account, record })
}
