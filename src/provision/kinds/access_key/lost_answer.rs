//! A `CreateAccessKey` whose answer was lost: which key it made.
//!
//! Invariant: a key is deleted only where nobody can know its secret.

use super::change::AccessKeyChange;
use super::faults::in_doubt;
use super::state::{AccessKey, Lost, SeenKeys};
use crate::clock::Timestamp;
use crate::domain::access_key::{Intent, KeyRecords};
use crate::domain::names::AppName;
use crate::provision::context::ReconcileContext;
use crate::provision::fault::Fault;
use crate::provision::ids;
use crate::provision::user_keys::ListedKey;

impl Lost {
    /// The key to delete, if the intent made one; a person's matter where that is not beyond doubt.
    pub(super) fn outcome(&self, user: &AppName) -> Result<Option<&ListedKey>, Fault> {
        let key = match self.candidates.as_slice() {
            [] => return Ok(None),
            [key] => key,
            several => return Err(in_doubt(user, several, "there is more than one candidate")),
        };
        // AWS tells whole seconds, so a key of the intent's own second may seem older.
        let second = Timestamp::from_millis(
            self.intent
                .at
                .millis()
                .div_euclid(1000)
                .saturating_mul(1000),
        );
        let reason = match key.created_at {
            None => "AWS does not report when it was created",
            Some(at) if at < second => "it was created before the interrupted attempt",
            Some(at) if at > self.latest => "it was created after the interrupted attempt",
            Some(_) if self.used => "it has been used",
            Some(_) if !self.made_user => "Slipway did not create its user",
            Some(_) => return Ok(Some(key)),
        };
        Err(in_doubt(user, &self.candidates, reason))
    }
}

/// Recorded keys that are not there any more are told to the record.
pub(super) fn forget(seen: &SeenKeys) -> Option<AccessKeyChange> {
    (!seen.gone.is_empty()).then(|| AccessKeyChange::Forget {
        gone: seen.gone.clone(),
    })
}

/// When the call of an intent is surely over and AWS's list has had time to show what it made.
pub(super) fn settled_at(cx: &ReconcileContext, intent: &Intent) -> Timestamp {
    intent.at.after(cx.timing.answer).after(cx.timing.key_list)
}

/// AWS's list of keys is eventually consistent: it gets time to show what an interrupted attempt made.
pub(super) fn wait_for_the_list(cx: &ReconcileContext, intent: &Intent) -> Result<(), Fault> {
    let after = cx
        .timing
        .answer
        .saturating_add(cx.timing.key_list)
        .saturating_sub(intent.met.elapsed());
    if after.is_zero() {
        return Ok(());
    }
    Err(Fault::Wait {
        why: "The response to CreateAccessKey was lost. Waiting until AWS lists any access key that the call created."
            .into(),
        after,
    })
}

impl AccessKey {
    /// What settles an interrupted attempt, and the keys that are there then.
    pub(super) fn settle_lost<'s>(
        &self,
        seen: &'s SeenKeys,
    ) -> Result<(Vec<AccessKeyChange>, Vec<&'s ListedKey>), Fault> {
        let mut keys: Vec<&ListedKey> = seen.listed.iter().collect();
        let Some(lost) = &seen.lost else {
            return Ok((Vec::new(), keys));
        };
        let intent = lost.intent.id;
        let change = match lost.outcome(&self.user)? {
            None => AccessKeyChange::Close { intent },
            Some(key) => {
                keys.retain(|other| other.id != key.id);
                AccessKeyChange::DeleteLost {
                    user: self.user.clone(),
                    access_key_id: key.id.clone(),
                    intent,
                }
            }
        };
        Ok((vec![change], keys))
    }

    /// Live keys that no record tells of. A key that is in doubt is looked for again: AWS may list for a while what is
    /// deleted.
    pub(super) async fn look_for_unknown(
        &self,
        cx: &ReconcileContext,
        records: &KeyRecords,
        listed: &[ListedKey],
    ) -> Result<Vec<String>, Fault> {
        let unknown = |listed: &[ListedKey]| -> Vec<String> {
            listed
                .iter()
                .filter(|key| key.active && !records.contains(&key.id))
                .map(|key| key.id.clone())
                .collect()
        };
        let first = unknown(listed);
        if first.is_empty() {
            return Ok(first);
        }
        tokio::time::sleep(cx.timing.poll_delay).await;
        let again = unknown(&self.list(cx).await?);
        Ok(first.into_iter().filter(|id| again.contains(id)).collect())
    }

    /// What an intent with a lost answer left.
    pub(super) async fn look_for_lost(
        &self,
        cx: &ReconcileContext,
        intent: &Intent,
        records: &KeyRecords,
        listed: &[ListedKey],
    ) -> Result<Lost, Fault> {
        // The list is eventually consistent: what either of two looks shows is there.
        tokio::time::sleep(cx.timing.poll_delay).await;
        let again = self.list(cx).await?;
        let unseen = again
            .iter()
            .filter(|key| !listed.iter().any(|first| first.id == key.id));
        let known = |id: &str| {
            intent.known_keys.iter().any(|key| key == id)
                || records.keys.iter().any(|(key, _)| key == id)
        };
        let candidates: Vec<ListedKey> = listed
            .iter()
            .chain(unseen)
            .filter(|key| !known(&key.id))
            .cloned()
            .collect();
        let mut used = false;
        for key in &candidates {
            used |= self.last_use(cx, &key.id).await?.is_some();
        }
        let made_user = cx.is_created_by_app(&ids::user(&self.user));
        Ok(Lost {
            latest: settled_at(cx, intent),
            intent: intent.clone(),
            candidates,
            used,
            made_user,
        })
    }
}
