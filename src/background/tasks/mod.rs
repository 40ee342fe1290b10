//! The background tasks, one file each.

mod advance_rotations;
mod answer_chat;
mod check_accounts;
mod check_drift;
mod checkpoint;
mod deliver_webhooks;
mod expire_approvals;
mod expire_secrets;
mod expire_sessions;
mod expire_tokens;
mod handle_hooks;
mod prune_chat_requests;
mod prune_history;
mod prune_hook_deliveries;
mod prune_idempotency;
pub mod reencrypt;
mod report_keys;
mod start_due_removals;
mod start_due_rotations;
mod verify_keys;

use std::sync::Arc;

use strum::IntoEnumIterator as _;

use crate::app::service::Service;
use crate::background::driver::start;
use crate::domain::chat::Platform;

/// Starts every task.
pub fn start_all(service: &Arc<Service>) {
    start(service, expire_secrets::ExpireSecrets);
    start(service, expire_tokens::ExpireTokens);
    if service.sign_in.is_some() {
        start(service, expire_sessions::ExpireSessions);
    }
    start(service, expire_approvals::ExpireApprovals);
    start(service, prune_idempotency::PruneIdempotency);
    start(service, reencrypt::Reencrypt::default());
    start(service, verify_keys::VerifyKeys::default());
    start(service, checkpoint::Checkpoint);
    start(service, prune_history::PruneHistory);
    start(service, start_due_removals::StartDueRemovals::new(service));
    start(service, advance_rotations::AdvanceRotations::new(service));
    start(service, start_due_rotations::StartDueRotations::default());
    start(service, deliver_webhooks::DeliverWebhooks::default());
    start(service, report_keys::ReportKeys);
    if Platform::iter().any(|platform| service.settings.has_chat(platform)) {
        start(service, answer_chat::AnswerChat::default());
        start(service, prune_chat_requests::PruneChatRequests);
    }
    if service.settings.hooks.is_configured() {
        start(service, handle_hooks::HandleHooks);
        start(service, prune_hook_deliveries::PruneHookDeliveries);
    }
    if !service.settings.drift_interval.is_zero() {
        start(service, check_drift::CheckDrift::new(service));
    }
    if !service.settings.account_check_interval.is_zero() {
        start(service, check_accounts::CheckAccounts::new(service));
    }
}
