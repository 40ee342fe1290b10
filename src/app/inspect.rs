//! The read-only context in which plans, exports and drift checks query AWS.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use secrecy::SecretString;
use ulid::Ulid;

use crate::app::service::Service;
use crate::aws::Account;
use crate::aws::account::PATIENCE;
use crate::domain::app::{App, Recorded};
use crate::domain::spec::AppSpec;
use crate::domain::task::Task;
use crate::provision::context::{ReconcileContext, Timing};
use crate::provision::fault::Fault;
use crate::provision::kinds::access_key::{AccessKeyStore, Intent, KeyRecords};
use crate::provision::resource::Want;
use crate::store::StoreError;

/// The context for plans and drift checks. They write nothing, so they need no lease.
///
/// # Errors
/// When the database does not answer.
pub async fn read_only_context(
    service: &Service,
    account: Arc<Account>,
    task: &Task,
    spec: &AppSpec,
    app: Option<&App>,
) -> Result<ReconcileContext, StoreError> {
    let (records, recorded) = match app {
        Some(app) => (
            service.key_records(app.id).await?,
            service.store.recorded(app.id).await?,
        ),
        None => (KeyRecords::default(), Recorded::default()),
    };
    // A plan looks afresh: what is remembered of shared things could be wrong by now.
    account.forget();
    Ok(ReconcileContext {
        account,
        app: spec.name.clone(),
        job: Ulid::nil(),
        accepted_at: service.clock.now(),
        on_existing: spec.on_existing,
        accept_expiry: task.accepts_expiry(),
        untouched: false,
        interrupted: Arc::default(),
        recorded: Arc::new(recorded),
        installation: service.store.installation().clone(),
        keys: Arc::new(ReadOnlyKeyStore(records)),
        clock: service.clock.clone(),
        timing: Timing {
            turn: PATIENCE,
            ..service.timing
        },
        made: Arc::default(),
        want: Want::Present,
        remove_adopted: app
            .and_then(|app| app.removal.as_ref())
            .is_some_and(|removal| removal.adopted),
        dropped_tags: Arc::new(task.dropped_tags()),
        force: task.forces(),
        data: task.data(),
        calls: Arc::default(),
    })
}

/// The recorded keys of an app. Every write fails.
struct ReadOnlyKeyStore(KeyRecords);

impl AccessKeyStore for ReadOnlyKeyStore {
    fn records(&self) -> BoxFuture<'_, Result<KeyRecords, Fault>> {
        async { Ok(self.0.clone()) }.boxed()
    }

    fn intend(&self, _known_keys: Vec<String>) -> BoxFuture<'_, Result<Intent, Fault>> {
        async { Err(Fault::LostLease) }.boxed()
    }

    fn close(&self, _intent: Ulid) -> BoxFuture<'_, Result<(), Fault>> {
        async { Err(Fault::LostLease) }.boxed()
    }

    fn close_deleted(
        &self,
        _intent: Ulid,
        _access_key_id: String,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        async { Err(Fault::LostLease) }.boxed()
    }

    fn seal(
        &self,
        _intent: Ulid,
        _access_key_id: String,
        _secret: SecretString,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        async { Err(Fault::LostLease) }.boxed()
    }

    fn gone(&self, _access_key_ids: Vec<String>) -> BoxFuture<'_, Result<(), Fault>> {
        async { Err(Fault::LostLease) }.boxed()
    }

    fn switching_off(&self, _access_key_ids: Vec<String>) -> BoxFuture<'_, Result<(), Fault>> {
        async { Err(Fault::LostLease) }.boxed()
    }
}
