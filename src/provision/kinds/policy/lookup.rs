//! Finds a policy in the account, under whatever path it was made.
//!
//! Invariant: a policy that AWS lists but does not return is waited for, never taken for absent.

use aws_sdk_iam::types::PolicyScopeType;

use super::state::{Policy, SeenPolicy};
use super::versions::old_versions;
use crate::aws::Service;
use crate::domain::iam_policy::PolicyDocument;
use crate::provision::context::ReconcileContext;
use crate::provision::fault::{Fault, found};
use crate::provision::ownership;
use crate::provision::resource::Resource as _;

impl Policy {
    /// The policy at the ARN that it should have, or anywhere else in the account by its name.
    pub(super) async fn look(&self, cx: &ReconcileContext) -> Result<Option<SeenPolicy>, Fault> {
        let policy = match get(cx, &self.default_arn).await? {
            Some(policy) => policy,
            None => match self.find_listed(cx).await? {
                Some(policy) => policy,
                None => return Ok(None),
            },
        };
        let arn = policy.arn().unwrap_or(&self.default_arn).to_owned();
        let tags = policy
            .tags()
            .iter()
            .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
            .collect();
        let made_by_us = ownership::is_created_by_app(cx, &self.id(), &tags);
        if made_by_us {
            cx.note_created_at(self.id(), policy.create_date());
        }
        let document = self
            .document_of(cx, &arn, policy.default_version_id().unwrap_or("v1"))
            .await?;
        let old_versions = if self.tags.is_some() {
            old_versions(cx, &arn).await?
        } else {
            Vec::new()
        };
        let dropped = ownership::dropped(cx, &tags);
        let description = policy
            .description()
            .filter(|text| !text.is_empty())
            .map(ToOwned::to_owned);
        Ok(Some(SeenPolicy {
            arn,
            description,
            document,
            tags,
            made_by_us,
            old_versions,
            dropped,
        }))
    }

    /// A policy that the list shows by this name. The list has no tags, so that nobody can tell by it whose the policy is
    /// (IAM API Reference, ListPolicies); and IAM may list what it does not show otherwise yet, or any more.
    async fn find_listed(
        &self,
        cx: &ReconcileContext,
    ) -> Result<Option<aws_sdk_iam::types::Policy>, Fault> {
        let Some(arn) = self.listed_arn(cx).await? else {
            return Ok(None);
        };
        match get(cx, &arn).await? {
            Some(policy) => Ok(Some(policy)),
            None => Err(Fault::Wait {
                why: format!(
                    "AWS lists {arn}, but does not return it. Waiting for AWS to propagate it."
                ),
                after: cx.timing.poll_delay,
            }),
        }
    }

    async fn listed_arn(&self, cx: &ReconcileContext) -> Result<Option<String>, Fault> {
        let mut marker = None;
        loop {
            let call = cx
                .account
                .iam()
                .list_policies()
                .scope(PolicyScopeType::Local)
                .set_marker(marker)
                .send();
            let page = cx.call(Service::Iam, "ListPolicies", call).await?;
            let same_name = |p: &&aws_sdk_iam::types::Policy| {
                p.policy_name()
                    .is_some_and(|name| name.eq_ignore_ascii_case(&self.name))
            };
            if let Some(policy) = page.policies().iter().find(same_name) {
                return Ok(Some(policy.arn().unwrap_or(&self.default_arn).to_owned()));
            }
            marker = page.marker;
            if marker.is_none() {
                return Ok(None);
            }
        }
    }

    async fn document_of(
        &self,
        cx: &ReconcileContext,
        arn: &str,
        version: &str,
    ) -> Result<Option<PolicyDocument>, Fault> {
        let call = cx
            .account
            .iam()
            .get_policy_version()
            .policy_arn(arn)
            .version_id(version)
            .send();
        let answer = cx
            .call(Service::Iam, "GetPolicyVersion", call)
            .await
            .map_err(|error| cx.missing_after_create(&self.id(), error))?;
        let text = answer.policy_version.and_then(|version| version.document);
        let text = text.ok_or_else(|| Fault::unreadable(Service::Iam, "GetPolicyVersion"))?;
        Ok(PolicyDocument::parse(&text).ok())
    }
}

/// The policy by an ARN, if AWS shows it.
async fn get(
    cx: &ReconcileContext,
    arn: &str,
) -> Result<Option<aws_sdk_iam::types::Policy>, Fault> {
    let answer = found(
        cx.call(
            Service::Iam,
            "GetPolicy",
            cx.account.iam().get_policy().policy_arn(arn).send(),
        )
        .await,
    )?;
    answer
        .map(|answer| {
            answer
                .policy
                .ok_or_else(|| Fault::unreadable(Service::Iam, "GetPolicy"))
        })
        .transpose()
}
