//! Plans the changes of an app's access keys, by goal.

use super::change::{AccessKeyChange, SwitchTo};
use super::faults::{both_taken, gone_for_good, no_slot, no_user, not_recorded, on_again};
use super::lost_answer::forget;
use super::state::{AccessKey, KeyGoal, SLOTS, SeenKeys};
use crate::domain::task::KeyStatus;
use crate::provision::change::{Changes, Want};
use crate::provision::context::ReconcileContext;
use crate::provision::fault::Fault;
use crate::provision::user_keys::ListedKey;

impl AccessKey {
    /// Whether the job's graph has no user before the key, so that the key has to check who owns the user.
    pub(super) fn goes_alone(&self, cx: &ReconcileContext) -> bool {
        cx.want == Want::Absent
            || matches!(
                self.goal,
                KeyGoal::Another { .. } | KeyGoal::Switched { .. } | KeyGoal::Off { .. }
            )
    }

    pub(super) fn may_make_one(&self, cx: &ReconcileContext) -> bool {
        cx.want == Want::Present
            && matches!(
                self.goal,
                KeyGoal::One | KeyGoal::Another { .. } | KeyGoal::Restored { one: true, .. }
            )
    }

    /// Whether an interrupted attempt is resolved first. A deactivation does not wait for that.
    pub(super) fn settles_intents(&self, cx: &ReconcileContext) -> bool {
        cx.want == Want::Absent
            || !matches!(self.goal, KeyGoal::Switched { .. } | KeyGoal::Off { .. })
    }

    /// Plans one active key of the app. The keys in `on` are activated before.
    pub(super) fn plan_one(
        &self,
        seen: &SeenKeys,
        on: Vec<String>,
    ) -> Result<Changes<AccessKeyChange>, Fault> {
        let (mut changes, keys) = self.settle_lost(seen)?;
        let unknown = keys.iter().filter(|key| !seen.ours.contains(&key.id));
        let mut warnings: Vec<String> = unknown
            .map(|key| {
                format!(
                    "Slipway did not create access key {} of user {}. Find out who uses it.",
                    key.id, self.user
                )
            })
            .collect();
        let mut ours = keys.iter().filter(|key| seen.ours.contains(&key.id));
        if seen.ours.is_empty() {
            self.refuse_beside_unknown(seen, &keys)?;
            let known_keys: Vec<String> = keys.iter().map(|key| key.id.clone()).collect();
            if known_keys.len() >= SLOTS {
                return Err(no_slot(&self.user, &known_keys));
            }
            changes.push(AccessKeyChange::Create {
                user: self.user.clone(),
                known_keys,
                gone: seen.gone.clone(),
            });
            return Ok(Changes { changes, warnings });
        }
        if let Some(key) = ours.find(|key| !key.active && !on.contains(&key.id)) {
            warnings.push(format!(
                "Access key {} of user {} is inactive.",
                key.id, self.user
            ));
        }
        changes.extend(forget(seen));
        Ok(Changes { changes, warnings })
    }

    /// Plans a key of the app that is not in `known`. The key in `replace` is deleted to make room for it.
    pub(super) fn plan_another(
        &self,
        seen: &SeenKeys,
        known: &[String],
        replace: Option<&str>,
        force: bool,
    ) -> Result<Changes<AccessKeyChange>, Fault> {
        if seen.no_user {
            return Err(no_user(&self.user));
        }
        let (mut changes, keys) = self.settle_lost(seen)?;
        if seen.ours.iter().any(|id| !known.contains(id)) {
            changes.extend(forget(seen));
            return Ok(Changes::of(changes));
        }
        if !force {
            let stay: Vec<&ListedKey> = keys
                .iter()
                .copied()
                .filter(|key| replace != Some(key.id.as_str()))
                .collect();
            self.refuse_beside_unknown(seen, &stay)?;
        }
        // The deleted key stays in the known keys: AWS may list it for a while.
        let known_keys: Vec<String> = keys.iter().map(|key| key.id.clone()).collect();
        if keys.len() >= SLOTS {
            let named = keys.iter().find(|key| replace == Some(key.id.as_str()));
            let key = named.ok_or_else(|| both_taken(&self.user, &keys))?;
            seen.spare_one_in_use(key, force)?;
            changes.push(AccessKeyChange::Delete {
                user: self.user.clone(),
                key: (*key).clone(),
            });
        }
        changes.push(AccessKeyChange::Create {
            user: self.user.clone(),
            known_keys,
            gone: seen.gone.clone(),
        });
        Ok(Changes::of(changes))
    }

    /// Fails if an active key without a record exists: it may be the app's own, created after the backup that this database
    /// was restored from.
    fn refuse_beside_unknown(&self, seen: &SeenKeys, keys: &[&ListedKey]) -> Result<(), Fault> {
        let unknown: Vec<&str> = keys
            .iter()
            .map(|key| key.id.as_str())
            .filter(|id| seen.unknown.iter().any(|key| key == id))
            .collect();
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(not_recorded(&self.user, &unknown.join(", ")))
        }
    }

    pub(super) fn plan_switched(
        &self,
        seen: &SeenKeys,
        id: &str,
        to: KeyStatus,
        force: bool,
    ) -> Result<Changes<AccessKeyChange>, Fault> {
        let Some(key) = seen.listed.iter().find(|key| key.id == id) else {
            return self.plan_gone(seen, id, to);
        };
        // Even if the list shows the target already: the list can be older than the last change of the status.
        let change = match to {
            KeyStatus::Active => self.switch(id, SwitchTo::Active),
            KeyStatus::Inactive => {
                seen.spare_one_in_use(key, force)?;
                self.switch(id, SwitchTo::Inactive)
            }
            KeyStatus::Deleted => {
                seen.spare_one_in_use(key, force)?;
                AccessKeyChange::Delete {
                    user: self.user.clone(),
                    key: key.clone(),
                }
            }
        };
        Ok(Changes::of(vec![change]))
    }

    /// Plans the end of a rotation. A key that a person activated again is retained.
    pub(super) fn plan_deleted_if_off(
        &self,
        seen: &SeenKeys,
        id: &str,
    ) -> Result<Changes<AccessKeyChange>, Fault> {
        match seen.listed.iter().find(|key| key.id == id) {
            Some(key) if key.active => Err(on_again(key)),
            _ => self.plan_switched(seen, id, KeyStatus::Deleted, false),
        }
    }

    /// Plans for a key that no longer exists: nothing is left to do, unless the key is to be active.
    fn plan_gone(
        &self,
        seen: &SeenKeys,
        id: &str,
        to: KeyStatus,
    ) -> Result<Changes<AccessKeyChange>, Fault> {
        if to == KeyStatus::Active {
            return Err(gone_for_good(&self.user, id));
        }
        let recorded = seen.gone.iter().any(|gone| gone == id);
        let changes = if recorded {
            vec![AccessKeyChange::Forget {
                gone: vec![id.to_owned()],
            }]
        } else {
            Vec::new()
        };
        Ok(Changes {
            changes,
            warnings: vec![format!(
                "Access key {id} of user {} no longer exists.",
                self.user
            )],
        })
    }

    /// Plans the deactivation of the app's keys, and of all other keys if the user is removed with the app. The list can be
    /// older than the last change of a status, so a key that it shows as inactive is deactivated too.
    pub(super) fn plan_off(&self, seen: &SeenKeys, adopted: bool) -> Changes<AccessKeyChange> {
        let user_goes = seen.made_user || adopted;
        let (goes, stays): (Vec<_>, Vec<_>) = seen
            .listed
            .iter()
            .partition(|key| user_goes || seen.ours.contains(&key.id));
        // A restore activates the keys that were active.
        let off = |key: &ListedKey| {
            let to = match key.active {
                true => SwitchTo::InactiveForRemoval,
                false => SwitchTo::Inactive,
            };
            self.switch(&key.id, to)
        };
        let changes = goes.into_iter().map(off).collect();
        let stays = stays.into_iter().filter(|key| key.active).map(|key| {
            format!(
                "Access key {} of user {} remains active, because Slipway created neither the key nor the user.",
                key.id, self.user
            )
        });
        Changes {
            changes,
            warnings: stays.collect(),
        }
    }

    /// Plans the activation of the keys that a removal deactivated, even if the list still shows them as active.
    pub(super) fn plan_restored(
        &self,
        seen: &SeenKeys,
        switched_off: &[String],
        one: bool,
    ) -> Result<Changes<AccessKeyChange>, Fault> {
        let off = seen
            .listed
            .iter()
            .filter(|key| switched_off.contains(&key.id));
        let on: Vec<String> = off.map(|key| key.id.clone()).collect();
        let mut changes: Vec<AccessKeyChange> = on
            .iter()
            .map(|id| self.switch(id, SwitchTo::Active))
            .collect();
        if !one {
            return Ok(Changes::of(changes));
        }
        let then = self.plan_one(seen, on)?;
        changes.extend(then.changes);
        Ok(Changes {
            changes,
            warnings: then.warnings,
        })
    }

    fn switch(&self, id: &str, to: SwitchTo) -> AccessKeyChange {
        AccessKeyChange::Switch {
            user: self.user.clone(),
            access_key_id: id.to_owned(),
            to,
        }
    }
}
