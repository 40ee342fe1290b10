//! Health, readiness and metrics. These endpoints need no token.

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
use crate::app::check_permissions::permissions;
use crate::app::permission_check::PermissionReport;
use crate::app::service::Service;
use crate::telemetry;

/// A component that takes longer is not ready.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Whether a component is ready.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// Whether the component is ready.
    pub ready: bool,
    /// Why the component is not ready.
    #[schema(example = "it did not respond within 3 seconds")]
    pub reason: Option<String>,
}

/// Whether the service is ready.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ServiceReadiness)]
pub struct Readiness {
    /// Whether all components are ready.
    pub ready: bool,
    /// The database accepts writes.
    pub database: Check,
    /// AWS accepts the service's credentials.
    pub aws: Check,
    /// The workers claim jobs.
    pub workers: Check,
    /// Whether the policy of the service's role allows what jobs need. The service is ready also if it does not: jobs that
    /// do not need the missing actions succeed.
    pub permissions: PermissionReport,
}

impl Check {
    fn of(answer: Result<(), String>) -> Self {
        Self {
            ready: answer.is_ok(),
            reason: answer.err(),
        }
    }
}

/// Check the health of the process.
#[utoipa::path(get, path = "/healthz", tag = "service", operation_id = "getHealth", security(()), responses((status = 200, description = "The process is running.", body = String, content_type = "text/plain")))]
pub async fn get_health() -> &'static str {
    "ok\n"
}

/// Check the readiness of the service.
///
/// The service is ready if it can accept and run jobs. The body says why a component is not ready.
#[utoipa::path(
    get, path = "/readyz", tag = "service", operation_id = "getReadiness", security(()),
    responses((status = 200, description = "The service is ready.", body = Readiness), (status = 503, description = "The service is not ready.", body = Readiness))
)]
pub async fn get_readiness(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let late = |_| "it did not respond within 3 seconds".to_owned();
    let database = async {
        timeout(CHECK_TIMEOUT, service.store.check())
            .await
            .map_err(late)?
            .map_err(|error| error.to_string())
    };
    let aws = async {
        timeout(CHECK_TIMEOUT, service.aws_check())
            .await
            .map_err(late)?
    };
    let (database, aws) = tokio::join!(database, aws);
    let workers = if service.tasks.is_stopping() {
        Err("the service is stopping".to_owned())
    } else if service.is_dispatching() {
        Ok(())
    } else {
        Err("no worker has polled for jobs for 30 seconds".to_owned())
    };
    let checks = Readiness {
        ready: database.is_ok() && aws.is_ok() && workers.is_ok(),
        database: Check::of(database),
        aws: Check::of(aws),
        workers: Check::of(workers),
        permissions: permissions(&service),
    };
    let status = if checks.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(checks))
}

/// Get metrics.
///
/// Returns metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "service", operation_id = "getMetrics", security(()), responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain")))]
pub async fn get_metrics(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Arc<Limits>>,
) -> impl IntoResponse {
    limits.measure();
    if let Ok(Ok(active)) = timeout(CHECK_TIMEOUT, service.store.active_jobs()).await {
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
