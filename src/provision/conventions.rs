//! The names of the organisation that resources are built from.

use crate::domain::names::{GroupName, IamPath, PolicyName};
use crate::domain::spec::Defaults;

/// The names of the organisation that resources are built from.
#[derive(Debug, Clone)]
pub struct Conventions {
    pub group: GroupName,
    pub iam_path: IamPath,
    /// The name of the shared media policy, which is also the prefix of scoped ones.
    pub policy: PolicyName,
    pub partition: String,
    /// The account ID, 12 digits.
    pub account_id: String,
    /// The ID of this installation of Slipway.
    pub installation: String,
}

impl Conventions {
    /// The conventions of the settings, in an account.
    pub fn new(
        defaults: &Defaults,
        partition: impl Into<String>,
        account_id: impl Into<String>,
    ) -> Self {
        Self {
            group: defaults.group.clone(),
            iam_path: defaults.iam_path.clone(),
            policy: defaults.policy.clone(),
            partition: partition.into(),
            account_id: account_id.into(),
            installation: String::new(),
        }
    }

    /// The same, for an installation of Slipway.
    #[must_use]
    pub fn of_installation(self, id: &str) -> Self {
        Self {
            installation: id.to_owned(),
            ..self
        }
    }
}
