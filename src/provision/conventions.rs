//! The organisation's names that resources are built from.

use crate::domain::names::{GroupName, IamPath, PolicyName};
use crate::domain::spec::Defaults;

/// The organisation's names that resources are built from.
#[derive(Debug, Clone)]
pub struct Conventions {
    /// The group that marks app users.
    pub group: GroupName,
    /// The path of app users.
    pub iam_path: IamPath,
    /// The shared media policy, and the prefix of scoped ones.
    pub policy: PolicyName,
    /// The ARN partition.
    pub partition: String,
    /// The account's 12 digits.
    pub account_id: String,
    /// The id of this installation of Slipway.
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
