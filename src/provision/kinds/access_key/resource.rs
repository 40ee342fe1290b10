//! Observes, plans and applies access keys.

use super::change::{AccessKeyChange, SwitchTo, status};
use super::faults::listed_but_not_found;
use super::lost_answer::{forget, wait_for_the_list};
use super::state::{AccessKey, KeyGoal, SeenKeys};
use crate::aws::Service;
use crate::domain::access_key::KeyRecords;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::{AppSpec, OnExisting};
use crate::domain::task::KeyStatus;
use crate::provision::change::{Applied, Changes, Observation, Want};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::iam_user;
use crate::provision::ids;
use crate::provision::permission::{Condition, Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;
use crate::provision::user_keys::ListedKey;

impl Resource for AccessKey {
    type Observed = SeenKeys;
    type Change = AccessKeyChange;

    const KIND: &'static str = ids::ACCESS_KEY;
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(
            Service::Iam,
            "ListAccessKeys",
            &["iam:ListAccessKeys"],
            Scope::AnyUser,
        ),
        Permission::change(
            Service::Iam,
            "CreateAccessKey",
            &["iam:CreateAccessKey"],
            Scope::Users,
        ),
        Permission::change(
            Service::Iam,
            "UpdateAccessKey",
            &["iam:UpdateAccessKey"],
            Scope::Users,
        )
        .only(Condition::OnOurs),
        Permission::change(
            Service::Iam,
            "DeleteAccessKey",
            &["iam:DeleteAccessKey"],
            Scope::Users,
        )
        .only(Condition::OnOurs),
        Permission::read(
            Service::Iam,
            "GetAccessKeyLastUsed",
            &["iam:GetAccessKeyLastUsed"],
            Scope::AnyUser,
        ),
    ];

    fn wanted(spec: &AppSpec, _conventions: &Conventions) -> Vec<Self> {
        spec.access_key
            .then(|| Self::of(spec, KeyGoal::One))
            .into_iter()
            .collect()
    }

    fn is_retained(_id: &ResourceId, _spec: &AppSpec, _c: &Conventions) -> bool {
        // Keys are recorded one by one.
        false
    }

    fn id(&self) -> ResourceId {
        match &self.goal {
            KeyGoal::Single(access_key_id) => ids::one_access_key(&self.user, access_key_id),
            _ => ids::access_key(&self.user),
        }
    }

    fn needs(&self) -> Vec<ResourceId> {
        vec![ids::user(&self.user)]
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<SeenKeys>, Fault> {
        let records = cx.keys.records().await?;
        let whose = if self.goes_alone(cx) {
            Some(iam_user::look(cx, &self.user).await?)
        } else {
            None
        };
        if let Some(Observation::Foreign { owner, .. }) = &whose
            && (owner.is_some()
                || cx.request.on_existing == OnExisting::Fail
                || cx.want == Want::Absent)
        {
            // A removal leaves this user alone, and continues with the app's resources.
            if matches!(self.goal, KeyGoal::Off { .. }) {
                return Ok(Observation::Absent);
            }
            if cx.want == Want::Present {
                return Err(Fault::conflict(&ids::user(&self.user), owner.as_deref()));
            }
            // Nothing is observed on a user that is not changed.
            return Ok(Observation::Foreign {
                owner: owner.clone(),
                seen: SeenKeys::default(),
            });
        }
        let open = records.open.as_ref().filter(|_| self.settles_intents(cx));
        if let Some(intent) = open {
            wait_for_the_list(cx, intent)?;
        }
        let no_user = whose == Some(Observation::Absent);
        // A user that this attempt created has only keys of this attempt.
        let new_user = cx.has_created(&ids::user(&self.user)) && records == KeyRecords::default();
        let mut listed = if no_user || new_user {
            Vec::new()
        } else {
            self.list_recorded(cx, &records).await?
        };
        let lost = match open {
            Some(intent) if !no_user => {
                Some(self.look_for_lost(cx, intent, &records, &listed).await?)
            }
            _ => None,
        };
        self.look_at_use(cx, &mut listed).await?;
        let (now, idle_period) = (cx.clock.now(), cx.timing.idle_period);
        let in_use = listed
            .iter()
            .filter(|key| key.is_in_use(now, idle_period))
            .map(|key| key.id.clone())
            .collect();
        let made_user = cx.is_created_by_app(&ids::user(&self.user));
        let unknown = if made_user && self.may_make_one(cx) {
            self.look_for_unknown(cx, &records, &listed).await?
        } else {
            Vec::new()
        };
        let is_listed = |id: &String| listed.iter().any(|key| key.id == *id);
        let (ours, gone) = records
            .keys
            .into_iter()
            .map(|(id, _)| id)
            .partition(is_listed);
        let seen = SeenKeys {
            in_use,
            ours,
            gone,
            listed,
            unknown,
            lost,
            no_user,
            made_user,
        };
        Ok(match whose {
            Some(Observation::Foreign { owner, .. }) => Observation::Foreign { owner, seen },
            _ if seen
                == (SeenKeys {
                    made_user: seen.made_user,
                    ..SeenKeys::default()
                }) =>
            {
                Observation::Absent
            }
            _ => Observation::Ours(seen),
        })
    }

    fn plan(&self, seen: Option<&SeenKeys>) -> Result<Changes<AccessKeyChange>, Fault> {
        let none = SeenKeys::default();
        let seen = seen.unwrap_or(&none);
        match &self.goal {
            KeyGoal::One | KeyGoal::Single(_) => self.plan_one(seen, Vec::new()),
            KeyGoal::Another {
                known_keys,
                replace,
                force,
            } => self.plan_another(seen, known_keys, replace.as_deref(), *force),
            KeyGoal::Switched {
                access_key_id,
                to: KeyStatus::Deleted,
                rotating: true,
                ..
            } => self.plan_deleted_if_off(seen, access_key_id),
            KeyGoal::Switched {
                access_key_id,
                to,
                force,
                ..
            } => self.plan_switched(seen, access_key_id, *to, *force),
            KeyGoal::Off { adopted } => Ok(self.plan_off(seen, *adopted)),
            KeyGoal::Restored { switched_off, one } => self.plan_restored(seen, switched_off, *one),
        }
    }

    /// Deletes the app's keys. Other keys are deleted only with their user.
    fn plan_absent(
        &self,
        cx: &ReconcileContext,
        seen: &SeenKeys,
    ) -> Result<Changes<AccessKeyChange>, Fault> {
        let (mut changes, keys) = self.settle_lost(seen)?;
        let goes = |key: &&ListedKey| match &self.goal {
            KeyGoal::Single(id) => *id == key.id,
            _ => true,
        };
        let ours: Vec<&ListedKey> = keys
            .into_iter()
            .filter(|key| seen.ours.contains(&key.id))
            .filter(goes)
            .collect();
        for key in &ours {
            seen.spare_one_in_use(key, cx.request.force)?;
        }
        changes.extend(ours.into_iter().map(|key| AccessKeyChange::Delete {
            user: self.user.clone(),
            key: key.clone(),
        }));
        changes.extend(forget(seen));
        Ok(Changes::of(changes))
    }

    async fn apply(
        &self,
        cx: &ReconcileContext,
        change: &AccessKeyChange,
    ) -> Result<Applied, Fault> {
        match change {
            AccessKeyChange::Close { intent } => cx.keys.store()?.close(*intent).await?,
            AccessKeyChange::DeleteLost {
                access_key_id,
                intent,
                ..
            } => {
                self.delete(cx, access_key_id).await?;
                cx.keys
                    .store()?
                    .close_deleted(*intent, access_key_id.clone())
                    .await?;
            }
            AccessKeyChange::Delete { key, .. } => {
                self.delete(cx, &key.id).await?;
                cx.keys.store()?.gone(vec![key.id.clone()]).await?;
            }
            AccessKeyChange::Forget { gone } => cx.keys.store()?.gone(gone.clone()).await?,
            AccessKeyChange::Switch {
                access_key_id, to, ..
            } => {
                if *to == SwitchTo::InactiveForRemoval {
                    cx.keys
                        .store()?
                        .deactivating(vec![access_key_id.clone()])
                        .await?;
                }
                let call = cx
                    .account
                    .iam()
                    .update_access_key()
                    .user_name(self.user.as_str())
                    .access_key_id(access_key_id);
                let answer = cx
                    .call(
                        Service::Iam,
                        "UpdateAccessKey",
                        call.status(status(to.is_active())).send(),
                    )
                    .await;
                answer.map_err(|error| listed_but_not_found(cx, error))?;
            }
            AccessKeyChange::Create {
                known_keys, gone, ..
            } => {
                self.create(cx, known_keys.clone()).await?;
                if !gone.is_empty() {
                    cx.keys.store()?.gone(gone.clone()).await?;
                }
            }
        }
        Ok(Applied::Done)
    }

    fn terraform(&self, seen: &SeenKeys, _labels: &Labels) -> Vec<terraform::Piece> {
        vec![terraform::Piece::Note(self.told_of(seen))]
    }

    fn cloudformation(&self, seen: &SeenKeys, _labels: &Labels) -> Vec<cloudformation::Entry> {
        vec![cloudformation::Entry::Note(self.told_of(seen))]
    }
}

impl AccessKey {
    /// Keys are not exported: without the secret, no other tool can manage them.
    fn told_of(&self, seen: &SeenKeys) -> String {
        let ids: Vec<&str> = seen.listed.iter().map(|key| key.id.as_str()).collect();
        let ids = if ids.is_empty() {
            "none".to_owned()
        } else {
            ids.join(", ")
        };
        format!(
            "Access keys are not exported, because an export contains no secrets. Access keys of user {}: {ids}.",
            self.user
        )
    }
}
