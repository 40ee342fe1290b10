//! Tells webhooks of access keys that reach the age at which they are rotated, and of those that nobody uses.
//!
//! Invariant: each is told once. A key that is used again and then falls idle is told again.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::app::accounts::is_ready;
use crate::app::service::Service;
use crate::background::driver::{BackgroundTask, NextRun, Timer};
use crate::domain::app::App;
use crate::provision::user_keys::{ListedKey, look};
use crate::store::{KeyToCheck, StoreError};

const PERIOD: Duration = Duration::from_secs(3600);
/// How long before its rotation a key is told of.
const NOTICE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Between two batches, so that jobs have AWS to themselves.
const BATCH_PAUSE: Duration = Duration::from_secs(1);

pub struct ReportKeys;

impl BackgroundTask for ReportKeys {
    fn name(&self) -> &'static str {
        "report_keys"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            service.store.announce_expiring_keys(NOTICE).await?;
            let unused_after = service.settings.key_unused_after;
            if unused_after.is_zero() {
                return Ok(NextRun::AfterPeriod);
            }
            let keys = service.store.keys_to_check(unused_after).await?;
            let is_done = keys.is_empty();
            for key in keys {
                check(service, &key, unused_after).await?;
            }
            Ok(match is_done {
                true => NextRun::AfterPeriod,
                false => NextRun::After(BATCH_PAUSE),
            })
        }
        .boxed()
    }

    fn timer(&self) -> Timer {
        Timer::ServiceClock
    }
}

/// Asks AWS when the key was last used.
async fn check(
    service: &Service,
    key: &KeyToCheck,
    unused_after: Duration,
) -> Result<(), StoreError> {
    let Some(listed) = listed(service, &key.app, &key.access_key_id).await? else {
        return Ok(());
    };
    // Activated again, it counts from its creation all the same: nobody has used it since.
    let last = listed.used.as_ref().map_or(key.created_at, |used| used.at);
    let is_unused = listed.active && service.clock.now().since(last) >= unused_after;
    service.store.record_key_use(key, is_unused).await
}

async fn listed(
    service: &Service,
    app: &App,
    access_key_id: &str,
) -> Result<Option<ListedKey>, StoreError> {
    // An account that cannot be reached delays no other.
    if !is_ready(service, &app.spec.account).await? {
        return Ok(None);
    }
    let Some(account) = service.account(&app.spec.account).await? else {
        return Ok(None);
    };
    match look(&account, &app.spec.name).await {
        Ok(keys) => Ok(keys.into_iter().find(|key| key.id == access_key_id)),
        Err(error) => {
            tracing::warn!(app = %app.spec.name, %error, "cannot list the app's access keys; they are checked again in a day");
            Ok(None)
        }
    }
}
