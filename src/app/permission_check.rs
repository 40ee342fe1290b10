//! The last result of the check of the service's own permissions.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::in_progress::{Begun, InProgress};
use crate::clock::Timestamp;

/// Whether the policy of the service's role allows what jobs need.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PermissionCheck)]
pub struct PermissionReport {
    /// The IAM actions that the policy of the role does not allow and jobs need. Absent if that is not known.
    #[schema(example = json!(["ecr:PutLifecyclePolicy"]))]
    pub missing_actions: Option<Vec<String>>,
    /// When IAM last simulated the policy. Absent before the first check.
    pub checked_at: Option<Timestamp>,
    /// Why it is not known which actions are missing.
    #[schema(example = "the service has not checked its permissions yet")]
    pub reason: Option<String>,
}

/// The last result of the check, and whether one runs.
#[derive(Debug, Default)]
pub struct PermissionCheck {
    running: InProgress<()>,
    last: Mutex<Option<PermissionReport>>,
}

impl PermissionCheck {
    /// Begins a check, unless one runs.
    pub fn begin(&self) -> Option<Begun<()>> {
        self.running.begin(())
    }

    /// The result of the last check.
    pub fn last(&self) -> Option<PermissionReport> {
        self.lock().clone()
    }

    /// Records the result of a check.
    pub fn record(&self, report: PermissionReport) {
        *self.lock() = Some(report);
    }

    fn lock(&self) -> MutexGuard<'_, Option<PermissionReport>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
