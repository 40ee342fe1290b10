//! Lists the deliveries of incoming webhooks.

use crate::app::error::UseCaseError;
use crate::app::service::Service;
use crate::domain::caller::Caller;
use crate::store::{ReceivedDelivery, ReceivedFilter};

/// Whether a caller may see deliveries. They can be about any app and account, and those that no rule is for are about
/// none, so they are for callers who may see everything.
pub fn may_list(caller: &Caller) -> bool {
    caller.scope.is_all()
}

/// Deliveries of incoming webhooks, those received last first.
///
/// # Errors
/// When the scope of the caller leaves something out.
pub async fn list_received(
    service: &Service,
    caller: &Caller,
    filter: &ReceivedFilter,
) -> Result<Vec<ReceivedDelivery>, UseCaseError> {
    if !may_list(caller) {
        return Err(UseCaseError::OutOfScope(format!(
            "Deliveries of incoming webhooks can be about every app and account. Your scope is {}.",
            caller.scope
        )));
    }
    Ok(service.store.received_deliveries(filter).await?)
}
