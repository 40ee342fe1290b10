//! Checks whether the roles of registered accounts can be assumed.
//!
//! Invariant: an account that was never verified, or that is blocked, keeps its state until somebody verifies it.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::app::accounts::check_reachable;
use crate::app::service::Service;
use crate::background::driver::{BackgroundTask, NextRun};
use crate::domain::account::{AccountState, RegisteredAccount};
use crate::store::StoreError;

/// The longest time between two looks for an account that is due.
const MAX_PERIOD: Duration = Duration::from_secs(60);

/// Checks each account once in the configured interval.
pub struct CheckAccounts {
    interval: Duration,
}

impl CheckAccounts {
    pub fn new(service: &Service) -> Self {
        Self {
            interval: service.settings.account_check_interval,
        }
    }

    fn is_due(&self, service: &Service, account: &RegisteredAccount) -> bool {
        let is_checked = matches!(
            account.state,
            AccountState::Ready | AccountState::Unreachable
        );
        let now = service.clock.now();
        is_checked
            && account
                .checked_at
                .is_none_or(|checked| now.since(checked) >= self.interval)
    }
}

impl BackgroundTask for CheckAccounts {
    fn name(&self) -> &'static str {
        "check_accounts"
    }

    fn period(&self) -> Duration {
        MAX_PERIOD.min(self.interval / 4)
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            for account in service.store.registered_accounts().await? {
                if self.is_due(service, &account) {
                    check_reachable(service, &account).await?;
                }
            }
            Ok(NextRun::AfterPeriod)
        }
        .boxed()
    }
}
