//! Finds the key that a `CreateAccessKey` call created whose response was lost.
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
    /// The key to delete, if the intent created one. In any doubt, a person has to decide.
    fn outcome(&self, user: &AppName) -> Result<Option<&ListedKey>, Fault> {
        let key = match self.candidates.as_slice() {
            [] => return Ok(None),
            [key] => key,
            several => return Err(in_doubt(user, several, "there is more than one candidate")),
        };
        // AWS reports whole seconds, so a key of the same second may seem older than the intent.
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

/// The change that records which keys no longer exist.
pub(super) fn forget(seen: &SeenKeys) -> Option<AccessKeyChange> {
    (!seen.gone.is_empty()).then(|| AccessKeyChange::Forget {
        gone: seen.gone.clone(),
    })
}

/// When the call of an intent has certainly ended and AWS has had time to list the key that it created.
fn settled_at(cx: &ReconcileContext, intent: &Intent) -> Timestamp {
    intent.at.after(cx.timing.answer).after(cx.timing.key_list)
}

/// Waits until AWS, whose list of keys is eventually consistent, shows what an interrupted attempt created.
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
    /// The changes that resolve an interrupted attempt, and the keys that exist after them.
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

    /// Active keys without a record. They are listed twice, because AWS may list a deleted key for a while.
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

    /// Observes what an intent with a lost response may have created.
    pub(super) async fn look_for_lost(
        &self,
        cx: &ReconcileContext,
        intent: &Intent,
        records: &KeyRecords,
        listed: &[ListedKey],
    ) -> Result<Lost, Fault> {
        // The list is eventually consistent: a key that either of two lists shows exists.
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
