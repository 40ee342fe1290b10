//! The versions of a policy: at most five, of which one is the default version.
//!
//! Invariants:
//! - A version is created with one attempt, after a version was deleted if there was no room.
//! - The default version is never deleted.

use aws_config::retry::RetryConfig;

use super::change::PolicyChange;
use super::state::{Policy, SeenPolicy};
use crate::aws::{AwsError, ErrorKind, Service};
use crate::domain::iam_policy::PolicyDocument;
use crate::domain::job::{JobError, JobErrorCode};
use crate::provision::change::Applied;
use crate::provision::context::ReconcileContext;
use crate::provision::fault::Fault;
use crate::provision::resource::Resource as _;

/// The maximum number of versions of a managed policy (IAM quotas).
const MAX_VERSIONS: usize = 5;

impl Policy {
    pub(super) async fn delete_version(
        &self,
        cx: &ReconcileContext,
        arn: &str,
        version: &str,
    ) -> Result<Applied, Fault> {
        let call = cx
            .account
            .iam()
            .delete_policy_version()
            .policy_arn(arn)
            .version_id(version)
            .send();
        match cx.call(Service::Iam, "DeletePolicyVersion", call).await {
            // Lists of versions may be older than this for a while.
            Ok(_) => cx.note_unsettled(self.id()),
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Applied::Done)
    }

    pub(super) async fn create_version(
        &self,
        cx: &ReconcileContext,
        arn: &str,
        document: &PolicyDocument,
    ) -> Result<Applied, Fault> {
        // A second attempt after a lost answer would make a second version, or find no room for one.
        let once = aws_sdk_iam::config::Config::builder().retry_config(RetryConfig::disabled());
        let call = cx
            .account
            .iam()
            .create_policy_version()
            .policy_arn(arn)
            .policy_document(document.to_document())
            .set_as_default(true);
        let call = call.customize().config_override(once).send();
        let answer = cx.call(Service::Iam, "CreatePolicyVersion", call).await;
        answer.map_err(|error| self.not_rewritten(cx, error))?;
        Ok(Applied::Done)
    }

    /// What follows from a version that was not made, or may have been: the plan has seen room for it, so a list that is older than
    /// the last change of ours was wrong about that.
    fn not_rewritten(&self, cx: &ReconcileContext, error: AwsError) -> Fault {
        if error.kind == ErrorKind::Quota && cx.is_unsettled(&self.id()) {
            return Fault::Wait {
                why: error.to_string(),
                after: cx.timing.poll_delay,
            };
        }
        if !error.had_no_effect() {
            cx.note_unsettled(self.id());
        }
        error.into()
    }
}

impl SeenPolicy {
    /// Makes room for one more version.
    pub(super) fn prune(&self) -> Result<Option<PolicyChange>, Fault> {
        if self.old_versions.len() + 1 < MAX_VERSIONS {
            return Ok(None);
        }
        let Some(version) = self.old_versions.first() else {
            return Err(Fault::Blocked(JobError::new(
                JobErrorCode::QuotaExceeded,
                format!("Policy {} has no version that can be deleted.", self.arn),
                "Delete a version that is not the default version, then retry the job.",
            )));
        };
        Ok(Some(PolicyChange::Prune {
            arn: self.arn.clone(),
            version: version.clone(),
        }))
    }
}

pub(super) async fn old_versions(cx: &ReconcileContext, arn: &str) -> Result<Vec<String>, Fault> {
    let call = cx
        .account
        .iam()
        .list_policy_versions()
        .policy_arn(arn)
        .send();
    let answer = cx.call(Service::Iam, "ListPolicyVersions", call).await?;
    let mut old: Vec<_> = answer
        .versions()
        .iter()
        .filter(|version| !version.is_default_version())
        .collect();
    old.sort_by_key(|version| version.create_date().map(aws_smithy_types::DateTime::secs));
    Ok(old
        .into_iter()
        .filter_map(|version| version.version_id.clone())
        .collect())
}
