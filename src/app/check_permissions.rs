//! Checks whether the policy of the service's own role allows what jobs need, before a job fails for it.
//!
//! Invariants:
//! - At most one check runs at a time. Who asks gets the result of the last one, and does not wait.
//! - A missing permission does not make the service unready: jobs that do not need it succeed.

use std::sync::Arc;
use std::time::Duration;

use crate::app::permission_check::PermissionReport;
use crate::app::service::Service;
use crate::clock::Timestamp;
use crate::provision::preflight::missing_actions;

/// How soon a check that failed is repeated.
const RETRY_DELAY: Duration = Duration::from_secs(300);

/// The last report. Starts a check if the last one is older than the interval for accounts.
pub fn permissions(service: &Arc<Service>) -> PermissionReport {
    let interval = service.settings.account_check_interval;
    if interval.is_zero() {
        return unknown(
            "SLIPWAY_ACCOUNT_CHECK_INTERVAL is 0s, so the service does not check its permissions",
        );
    }
    let mut state = service.permission_check.lock();
    if !state.is_running && is_due(state.last.as_ref(), interval, service.clock.now()) {
        state.is_running = true;
        let worker = service.clone();
        service.tasks.spawn(async move { check(&worker).await });
    }
    state
        .last
        .clone()
        .unwrap_or_else(|| unknown("the service has not checked its permissions yet"))
}

fn unknown(reason: &str) -> PermissionReport {
    PermissionReport {
        reason: Some(reason.to_owned()),
        ..PermissionReport::default()
    }
}

fn is_due(last: Option<&PermissionReport>, interval: Duration, now: Timestamp) -> bool {
    let Some(report) = last else {
        return true;
    };
    let valid = match report.missing_actions {
        Some(_) => interval,
        None => interval.min(RETRY_DELAY),
    };
    report
        .checked_at
        .is_none_or(|checked| now.since(checked) >= valid)
}

async fn check(service: &Arc<Service>) {
    let account = service.own_account();
    let result =
        missing_actions(account, &service.principal(), &service.conventions(account)).await;
    let mut report = PermissionReport {
        checked_at: Some(service.clock.now()),
        ..PermissionReport::default()
    };
    match result {
        Ok(missing) => {
            if !missing.is_empty() {
                tracing::warn!(
                    missing = missing.join(", "),
                    "the policy of the service's role does not allow what jobs need; `slipway role-policy` prints one that does"
                );
            }
            report.missing_actions = Some(missing);
        }
        Err(error) => {
            report.reason = Some(format!(
                "IAM did not simulate the policy of {}: {error}",
                service.principal()
            ));
        }
    }
    let mut state = service.permission_check.lock();
    state.is_running = false;
    state.last = Some(report);
}
