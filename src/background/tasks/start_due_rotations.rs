//! Starts rotations of access keys that are older than their app's `rotate_after`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ulid::Ulid;

use crate::app::accounts::is_ready;
use crate::app::rotate::first_job;
use crate::app::service::Service;
use crate::background::driver::{BackgroundTask, NextRun, Timer};
use crate::domain::access_key::InUse;
use crate::domain::app::App;
use crate::provision::rotation_rules::start;
use crate::provision::user_keys::look;
use crate::store::StoreError;

#[derive(Default)]
pub struct StartDueRotations {
    /// Apps that were reported as ones whose key cannot be rotated.
    reported: BTreeSet<Ulid>,
}

impl BackgroundTask for StartDueRotations {
    fn name(&self) -> &'static str {
        "start_due_rotations"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn activate<'a>(
        &'a mut self,
        service: &'a Arc<Service>,
    ) -> BoxFuture<'a, Result<NextRun, StoreError>> {
        async {
            for app in service.store.apps_to_rotate().await? {
                self.start_rotation(service, &app).await?;
            }
            Ok(NextRun::AfterPeriod)
        }
        .boxed()
    }

    fn timer(&self) -> Timer {
        Timer::ServiceClock
    }
}

impl StartDueRotations {
    async fn start_rotation(&mut self, service: &Service, app: &App) -> Result<(), StoreError> {
        // An account that cannot be reached delays no other.
        if !is_ready(service, &app.spec.account).await? {
            return Ok(());
        }
        let Some(account) = service.account(&app.spec.account).await? else {
            return Ok(());
        };
        let keys = match look(&account, &app.spec.name).await {
            Ok(keys) => keys,
            Err(error) => {
                tracing::warn!(app = %app.spec.name, %error, "cannot list the app's access keys; trying again");
                return Ok(());
            }
        };
        let records = service.store.key_records(app.id).await?;
        let ours: Vec<String> = records.keys.into_iter().map(|(id, _)| id).collect();
        let (now, idle_period) = (service.clock.now(), service.timing.idle_period);
        match start(&keys, &ours, None, InUse::Refuse, now, idle_period) {
            Ok(begun) => {
                let request = first_job(service, app, begun, InUse::Refuse, "schedule");
                let started = service.store.enqueue(request, None).await?.is_ok();
                self.reported.remove(&app.id);
                tracing::info!(app = %app.spec.name, started, "the app's access key is older than rotate_after");
            }
            Err(reason) => {
                if self.reported.insert(app.id) {
                    let remedy = "rotate the app's credentials with replace=<access key ID>";
                    tracing::warn!(app = %app.spec.name, ?reason, remedy, "the app's access key is older than rotate_after");
                }
            }
        }
        Ok(())
    }
}
