//! Whether the process is up and ready, and its metrics. No token.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::api::limits::Limits;
use crate::app::service::Service;
use crate::telemetry;

/// A part that does not answer in this time is not ready.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether a part is ready, and if not, why.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// Whether it is ready.
    pub ready: bool,
    /// Why it is not.
    pub reason: Option<String>,
}

/// Whether the service is ready.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ServiceReadiness)]
pub struct Readiness {
    /// Whether every part is.
    pub ready: bool,
    /// The database takes writes.
    pub database: Check,
    /// AWS takes the service's credentials.
    pub aws: Check,
    /// Jobs are being taken.
    pub workers: Check,
}

impl Check {
    fn of(answer: Result<(), String>) -> Self {
        Self {
            ready: answer.is_ok(),
            reason: answer.err(),
        }
    }
}

/// Check that the process is up
#[utoipa::path(get, path = "/healthz", tag = "service", operation_id = "healthz", security(()), responses((status = 200, description = "Up", body = String, content_type = "text/plain")))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Check that the service is ready
///
/// Returns 200 if the service can accept and do work. Otherwise the body says what prevents it.
#[utoipa::path(
    get, path = "/readyz", tag = "service", operation_id = "readyz", security(()),
    responses((status = 200, description = "Ready", body = Readiness), (status = 503, description = "Not ready", body = Readiness))
)]
pub async fn readyz(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let late = |_| "it does not answer in time".to_owned();
    let database = async {
        timeout(PATIENCE, service.store.check())
            .await
            .map_err(late)?
            .map_err(|error| error.to_string())
    };
    let aws = async { timeout(PATIENCE, service.aws_check()).await.map_err(late)? };
    let (database, aws) = tokio::join!(database, aws);
    let workers = if service.tasks.is_stopping() {
        Err("the service stops".to_owned())
    } else if service.is_dispatching() {
        Ok(())
    } else {
        Err("no worker has looked for a job for 30 seconds".to_owned())
    };
    let checks = Readiness {
        ready: database.is_ok() && aws.is_ok() && workers.is_ok(),
        database: Check::of(database),
        aws: Check::of(aws),
        workers: Check::of(workers),
    };
    let status = if checks.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(checks))
}

/// Get metrics
///
/// In the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "service", operation_id = "metrics", security(()), responses((status = 200, description = "Metrics", body = String, content_type = "text/plain")))]
pub async fn metrics(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Arc<Limits>>,
) -> impl IntoResponse {
    limits.measure();
    if let Ok(Ok(active)) = timeout(PATIENCE, service.store.active_jobs()).await {
        for state in ["queued", "running", "waiting"] {
            let count = active
                .iter()
                .find(|(at, _)| at.to_string() == state)
                .map_or(0, |(_, count)| *count);
            metrics::gauge!("slipway_active_jobs", "state" => state)
                .set(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }
    let text = telemetry::metrics()
        .map(metrics_exporter_prometheus::PrometheusHandle::render)
        .unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
