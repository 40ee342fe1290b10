//! `GET /metrics`. It needs no token.
//!
//! Gauges of the database, the rate limiters and the process are measured when they are asked for. Each replica tells the
//! totals of the whole database, so queries take their maximum, not their sum.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use strum::IntoEnumIterator as _;
use tokio::time::timeout;

use crate::api::health::readiness;
use crate::api::limits::Limits;
use crate::app::service::Service;
use crate::clock::Timestamp;
use crate::domain::account::AccountState;
use crate::domain::app::AppState;
use crate::domain::job::JobState;
use crate::store::{JobTotal, KEY_AGES, KeyTotals, StoreError};
use crate::telemetry;

/// What takes longer is left as it was measured last.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(3);

/// The states of jobs that have not ended.
const ACTIVE: [JobState; 4] = [
    JobState::AwaitingApproval,
    JobState::Queued,
    JobState::Running,
    JobState::Waiting,
];

/// Get metrics.
///
/// Returns metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "service", operation_id = "getMetrics", security(()), responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain")))]
pub async fn get_metrics(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Arc<Limits>>,
) -> impl IntoResponse {
    limits.measure();
    measure_limiters(&service);
    let totals = timeout(MEASURE_TIMEOUT, measure_database(&service));
    let (ready, totals) = tokio::join!(readiness(&service), totals);
    if let Ok(Err(error)) = totals {
        tracing::warn!(%error, "cannot measure the database");
    }
    let components = [
        ("database", ready.database.ready),
        ("aws", ready.aws.ready),
        ("workers", ready.workers.ready),
    ];
    for (component, is_ready) in components {
        metrics::gauge!("slipway_ready", "component" => component).set(f64::from(is_ready));
    }
    metrics::gauge!("slipway_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let text = telemetry::metrics()
        .map(metrics_exporter_prometheus::PrometheusHandle::render)
        .unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

fn measure_limiters(service: &Service) {
    for account in service.used_accounts() {
        for (aws_service, limiter) in account.limiters() {
            let labels = [
                ("account", account.name().to_owned()),
                ("service", aws_service.to_string()),
            ];
            metrics::gauge!("slipway_aws_rate_limit_calls_per_second", &labels)
                .set(limiter.rate.unwrap_or(f64::INFINITY));
            metrics::gauge!("slipway_aws_calls_waiting", &labels).set(limiter.waiting);
            metrics::counter!("slipway_aws_throttles_total", &labels).absolute(limiter.throttles);
        }
    }
}

async fn measure_database(service: &Service) -> Result<(), StoreError> {
    let now = service.clock.now();
    measure_jobs(&service.store.active_jobs().await?, now);
    measure_keys(&service.store.key_totals().await?, now);
    let apps = service.store.app_totals().await?;
    for state in AppState::iter() {
        let count = total(&apps, state);
        metrics::gauge!("slipway_apps", "state" => state.to_string()).set(count);
    }
    let accounts = service.store.account_totals().await?;
    for state in AccountState::iter() {
        let count = total(&accounts, state);
        metrics::gauge!("slipway_accounts", "state" => state.to_string()).set(count);
    }
    Ok(())
}

/// A state that nothing is in is 0, not absent.
fn total<S: PartialEq + Copy>(totals: &[(S, u32)], state: S) -> u32 {
    let found = totals.iter().find(|(at, _)| *at == state);
    found.map_or(0, |(_, count)| *count)
}

fn measure_jobs(totals: &[JobTotal], now: Timestamp) {
    for state in ACTIVE {
        let found = totals.iter().find(|total| total.state == state);
        let age = found.map_or(0.0, |total| now.since(total.oldest).as_secs_f64());
        metrics::gauge!("slipway_active_jobs", "state" => state.to_string())
            .set(found.map_or(0, |total| total.count));
        metrics::gauge!("slipway_oldest_active_job_age_seconds", "state" => state.to_string())
            .set(age);
    }
}

fn measure_keys(keys: &KeyTotals, now: Timestamp) {
    let age = keys.oldest.map_or(0.0, |at| now.since(at).as_secs_f64());
    metrics::gauge!("slipway_access_keys").set(keys.all);
    metrics::gauge!("slipway_oldest_access_key_age_seconds").set(age);
    metrics::gauge!("slipway_unclaimed_secrets").set(keys.unclaimed);
    for (days, count) in KEY_AGES.into_iter().zip(keys.older) {
        metrics::gauge!("slipway_access_keys_older", "days" => days.to_string()).set(count);
    }
}
