//! The last result of the check of the service's own permissions.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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

/// The last result of the check.
#[derive(Debug, Default)]
pub struct PermissionCheck {
    state: Mutex<State>,
}

/// What is known, and whether a check runs.
#[derive(Debug, Default)]
pub struct State {
    pub is_running: bool,
    pub last: Option<PermissionReport>,
}

impl PermissionCheck {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
