//! The read-only context in which plans, exports and drift checks query AWS.

use std::collections::BTreeMap;
use std::sync::Arc;

use ulid::Ulid;

use crate::app::service::Service;
use crate::aws::{Account, MAX_THROTTLE_WAIT};
use crate::domain::access_key::KeyRecords;
use crate::domain::app::{App, Recorded};
use crate::domain::spec::AppSpec;
use crate::domain::task::Task;
use crate::provision::access_key_store::AccessKeys;
use crate::provision::context::{ReconcileContext, Request};
use crate::provision::timing::Timing;
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
        Some(app) => {
            let mut records = service.key_records(app.id).await?;
            if spec.setup.is_some() {
                records.passwords = service.store.password_records(app.id).await?;
            }
            (records, service.store.recorded(app.id).await?)
        }
        None => (KeyRecords::default(), Recorded::default()),
    };
    // A plan looks afresh: what is remembered of shared things could be wrong by now.
    account.clear_cache();
    let request = Request {
        app: spec.name.clone(),
        job: Ulid::nil(),
        installation: service.store.installation().clone(),
        accepted_at: service.clock.now(),
        on_existing: spec.on_existing,
        accept_expiry: task.accepts_expiry(),
        create_first: false,
        remove_adopted: app
            .and_then(|app| app.removal.as_ref())
            .is_some_and(|removal| removal.adopted),
        force: task.forces(),
        data: task.data(),
        dropped_tags: task.dropped_tags(),
        interrupted: BTreeMap::new(),
    };
    let timing = Timing {
        turn: MAX_THROTTLE_WAIT,
        ..service.timing
    };
    Ok(ReconcileContext::new(
        account,
        request,
        recorded,
        Arc::default(),
        AccessKeys::ReadOnly(records),
        service.clock.clone(),
        timing,
    ))
}
