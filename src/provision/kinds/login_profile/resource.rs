//! The console password of a person, as a resource.

use super::change::{CHANGE_PASSWORD, ProfileChange};
use super::state::{Profile, SeenProfile, judge};
use crate::aws::Service;
use crate::clock::Timestamp;
use crate::domain::account_setup::AccountSetup;
use crate::domain::console_password::{PasswordRecord, of_person};
use crate::domain::names::AppName;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::provision::change::{Applied, Changes, Observation, Want};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::{Fault, found};
use crate::provision::iam_user;
use crate::provision::ids;
use crate::provision::permission::{Condition, Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;

/// Characters of a generated password, unless the account requires more.
const LENGTH: u32 = 32;

/// The console password of a person.
#[derive(Debug, Clone)]
pub struct LoginProfile {
    pub(super) user: AppName,
    /// Characters of a generated password.
    pub(super) length: u32,
    /// The ARN of the policy that lets a user change its own password.
    change_password: String,
}

impl Resource for LoginProfile {
    type Observed = SeenProfile;
    type Change = ProfileChange;

    const KIND: &'static str = ids::LOGIN_PROFILE;
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(
            Service::Iam,
            "GetLoginProfile",
            &["iam:GetLoginProfile"],
            Scope::AnyUser,
        ),
        Permission::change(
            Service::Iam,
            "CreateLoginProfile",
            &["iam:CreateLoginProfile"],
            Scope::Users,
        )
        .only(Condition::OnOurs),
        Permission::change(
            Service::Iam,
            "UpdateLoginProfile",
            &["iam:UpdateLoginProfile"],
            Scope::Users,
        )
        .only(Condition::OnOurs),
        Permission::change(
            Service::Iam,
            "AttachUserPolicy",
            &["iam:AttachUserPolicy"],
            Scope::Users,
        )
        .only(Condition::ChangePasswordOnly),
    ];

    fn wanted_by_setup(_: &AppSpec, setup: &AccountSetup, c: &Conventions) -> Vec<Self> {
        let policy = setup.spec.password_policy;
        let required = policy.and_then(|policy| policy.minimum_length);
        let people = setup.spec.people.iter().filter(|person| person.console);
        people
            .map(|person| Self::of(person.email.clone(), required, c))
            .collect()
    }

    fn of_recorded(id: &ResourceId, _: &AppSpec, c: &Conventions) -> Option<Self> {
        Some(Self::of(AppName::parse(id.name()).ok()?, None, c))
    }

    fn id(&self) -> ResourceId {
        self.id_of_it()
    }

    fn needs(&self) -> Vec<ResourceId> {
        vec![ids::user(&self.user)]
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<SeenProfile>, Fault> {
        if cx.want == Want::Absent && !iam_user::may_take_from(cx, &self.user, &self.id()).await? {
            return Ok(Observation::Absent);
        }
        let records = cx.keys.records().await?.passwords;
        let records: Vec<PasswordRecord> = of_person(&records, &self.user).cloned().collect();
        let created_at = self.created_at(cx).await?;
        let profile = match cx.want {
            Want::Present => judge(cx, created_at, &records)?,
            Want::Absent | Want::Released if created_at.is_none() => {
                Profile::Missing { recorded: None }
            }
            Want::Absent | Want::Released => Profile::Confirmed,
        };
        if let Profile::Confirmed = profile {
            cx.note_created_by_app(&self.id());
        }
        let live = records.iter().filter(|record| record.gone_at.is_none());
        let seen = SeenProfile {
            may_change: cx.want != Want::Present || self.may_change(cx).await?,
            live: live.map(|record| record.credential.clone()).collect(),
            profile,
        };
        Ok(Observation::Ours(seen))
    }

    fn plan(&self, seen: Option<&SeenProfile>) -> Result<Changes<ProfileChange>, Fault> {
        let allow = ProfileChange::AllowChange {
            user: self.user.clone(),
            arn: self.change_password.clone(),
        };
        let create = |recorded: &Option<PasswordRecord>, gone: Vec<String>| ProfileChange::Create {
            user: self.user.clone(),
            recorded: recorded.clone(),
            gone,
        };
        let Some(seen) = seen else {
            return Ok(Changes::of(vec![allow, create(&None, Vec::new())]));
        };
        let mut planned = Changes::of(match seen.may_change {
            true => Vec::new(),
            false => vec![allow],
        });
        let without = |recorded: &Option<PasswordRecord>| {
            let is_it = |name: &String| {
                let recorded = recorded.as_ref();
                recorded.is_some_and(|recorded| recorded.credential == *name)
            };
            seen.live
                .iter()
                .filter(|name| !is_it(name))
                .cloned()
                .collect()
        };
        match &seen.profile {
            Profile::Missing { recorded } => {
                planned.changes.push(create(recorded, without(recorded)))
            }
            Profile::InDoubt(recorded) => planned.changes.push(ProfileChange::SetAgain {
                user: self.user.clone(),
                recorded: recorded.clone(),
            }),
            Profile::Confirmed => {}
            Profile::NotOurs { recorded } => {
                if let Some(recorded) = recorded {
                    let gone = vec![recorded.credential.clone()];
                    planned.changes.push(ProfileChange::Forget { gone });
                }
                planned.warnings.push(self.told_not_ours());
            }
        }
        Ok(planned)
    }

    fn plan_absent(
        &self,
        _: &ReconcileContext,
        seen: &SeenProfile,
    ) -> Result<Changes<ProfileChange>, Fault> {
        let (user, gone) = (self.user.clone(), seen.live.clone());
        Ok(Changes::of(match (seen.exists(), gone.is_empty()) {
            (true, _) => vec![ProfileChange::Delete { user, gone }],
            (false, false) => vec![ProfileChange::Forget { gone }],
            (false, true) => Vec::new(),
        }))
    }

    async fn apply(&self, cx: &ReconcileContext, change: &ProfileChange) -> Result<Applied, Fault> {
        match change {
            ProfileChange::AllowChange { user, arn } => {
                let call = cx.account.iam().attach_user_policy();
                let call = call.user_name(user.as_str()).policy_arn(arn).send();
                let answer = cx.call(Service::Iam, "AttachUserPolicy", call).await;
                answer.map_err(|error| cx.missing_after_create(&ids::user(user), error))?;
                Ok(Applied::Done)
            }
            ProfileChange::Create { recorded, gone, .. } => {
                self.forget(cx, gone).await?;
                self.create(cx, recorded.as_ref()).await
            }
            ProfileChange::SetAgain { recorded, .. } => self.set_again(cx, recorded).await,
            ProfileChange::Delete { gone, .. } => self.delete(cx, gone).await,
            ProfileChange::Forget { gone } => {
                self.forget(cx, gone).await?;
                Ok(Applied::Done)
            }
        }
    }

    fn terraform(&self, seen: &SeenProfile, labels: &Labels) -> Vec<terraform::Piece> {
        if !seen.exists() {
            return Vec::new();
        }
        let user = terraform::reference(
            labels,
            &ids::user(&self.user),
            "aws_iam_user",
            "name",
            self.user.as_str(),
        );
        let import = format!("{}/{}", self.user, self.change_password);
        let attachment = terraform::Thing::new("aws_iam_user_policy_attachment", import)
            .set("user", user)
            .set("policy_arn", self.change_password.as_str());
        let note = self.told_no_password();
        match seen.may_change {
            true => vec![attachment.into(), terraform::Piece::Note(note)],
            false => vec![terraform::Piece::Note(note)],
        }
    }

    fn cloudformation(&self, seen: &SeenProfile, _: &Labels) -> Vec<cloudformation::Entry> {
        if !seen.exists() {
            return Vec::new();
        }
        let allowed = cloudformation::Entry::Extends {
            of: ids::user(&self.user),
            property: "ManagedPolicyArns",
            value: serde_json::json!([self.change_password]),
        };
        let note = cloudformation::Entry::Note(self.told_no_password());
        match seen.may_change {
            true => vec![allowed, note],
            false => vec![note],
        }
    }
}

impl LoginProfile {
    fn of(user: AppName, required: Option<u32>, c: &Conventions) -> Self {
        Self {
            user,
            length: required.unwrap_or(LENGTH).max(LENGTH),
            change_password: format!("arn:{}:iam::aws:policy/{CHANGE_PASSWORD}", c.partition),
        }
    }

    pub(super) fn id_of_it(&self) -> ResourceId {
        ids::login_profile(&self.user)
    }

    /// When the profile was created, if there is one.
    async fn created_at(&self, cx: &ReconcileContext) -> Result<Option<Timestamp>, Fault> {
        let call = cx.account.iam().get_login_profile();
        let call = call.user_name(self.user.as_str()).send();
        let answer = found(cx.call(Service::Iam, "GetLoginProfile", call).await)?;
        let profile = answer.and_then(|answer| answer.login_profile);
        let millis = profile.map(|profile| profile.create_date().to_millis());
        let unreadable = |_| Fault::unreadable(Service::Iam, "GetLoginProfile");
        let millis = millis.transpose().map_err(unreadable)?;
        Ok(millis.map(Timestamp::from_millis))
    }

    async fn may_change(&self, cx: &ReconcileContext) -> Result<bool, Fault> {
        let call = cx.account.iam().list_attached_user_policies();
        let call = call.user_name(self.user.as_str()).send();
        let answer = cx.call(Service::Iam, "ListAttachedUserPolicies", call);
        let attached = found(answer.await)?.and_then(|answer| answer.attached_policies);
        let is_it = |arn: Option<&str>| arn == Some(self.change_password.as_str());
        Ok(attached.is_some_and(|all| all.iter().any(|policy| is_it(policy.policy_arn()))))
    }

    fn told_not_ours(&self) -> String {
        format!(
            "User {} has a console password that Slipway did not set. Slipway leaves it alone, so there is none to claim.",
            self.user
        )
    }

    fn told_no_password(&self) -> String {
        format!(
            "The console password of user {} is not exported. It is shown once, to who claims it.",
            self.user
        )
    }
}
