//! Lists a user's access keys and their last use, and creates and deletes keys.

use aws_config::retry::RetryConfig;

use super::faults::listed_but_not_found;
use super::state::{AccessKey, KeyGoal, MAX_SKEW, SLOTS};
use crate::aws::{ErrorKind, Service};
use crate::clock::Timestamp;
use crate::domain::access_key::KeyRecords;
use crate::domain::task::KeyStatus;
use crate::provision::change::Want;
use crate::provision::context::ReconcileContext;
use crate::provision::fault::Fault;
use crate::provision::ids;
use crate::provision::user_keys::{self, LastUse, ListedKey};

impl AccessKey {
    /// Observes when keys were last used, for the keys whose plan depends on it.
    pub(super) async fn look_at_use(
        &self,
        cx: &ReconcileContext,
        listed: &mut [ListedKey],
    ) -> Result<(), Fault> {
        let asked = |key: &ListedKey, keys: usize| match &self.goal {
            KeyGoal::Another { .. } => keys >= SLOTS,
            KeyGoal::Switched {
                access_key_id,
                to,
                force,
                ..
            } => *access_key_id == key.id && *to != KeyStatus::Active && !force && key.active,
            KeyGoal::One | KeyGoal::Single(_) | KeyGoal::Off { .. } | KeyGoal::Restored { .. } => {
                false
            }
        };
        let keys = listed.len();
        let is_asked = |key: &ListedKey| match cx.want {
            Want::Present => asked(key, keys),
            Want::Absent | Want::Released => key.active && !cx.request.force,
        };
        for key in listed.iter_mut().filter(|key| is_asked(key)) {
            key.used = self.last_use(cx, &key.id).await?;
        }
        Ok(())
    }

    pub(super) async fn delete(
        &self,
        cx: &ReconcileContext,
        access_key_id: &str,
    ) -> Result<(), Fault> {
        let call = cx
            .account
            .iam()
            .delete_access_key()
            .user_name(self.user.as_str())
            .access_key_id(access_key_id)
            .send();
        cx.call(Service::Iam, "DeleteAccessKey", call)
            .await
            .map(drop)
            .map_err(|error| listed_but_not_found(cx, error))
    }

    pub(super) async fn create(
        &self,
        cx: &ReconcileContext,
        known_keys: Vec<String>,
    ) -> Result<(), Fault> {
        // Wait for the rate limiter before the intent is recorded: after that, only the call itself takes time.
        cx.account
            .acquire(Service::Iam, "CreateAccessKey", cx.timing.turn)
            .await?;
        let intent = cx.keys.store()?.intend(known_keys).await?;
        if intent.met.elapsed() > cx.timing.key_list {
            // The call could last longer than a later attempt waits for a lost response.
            cx.keys.store()?.close(intent.id).await?;
            return Err(Fault::Wait {
                why: "The database responds slowly.".into(),
                after: cx.timing.poll_delay,
            });
        }
        // A second attempt after a lost response would create a second key.
        let once = aws_sdk_iam::config::Config::builder().retry_config(RetryConfig::disabled());
        let call = cx
            .account
            .iam()
            .create_access_key()
            .user_name(self.user.as_str())
            .customize()
            .config_override(once)
            .send();
        let key = match cx.call_at_once(Service::Iam, "CreateAccessKey", call).await {
            // A created key has an ID and a secret. A response without them counts as lost.
            Ok(answer) => answer
                .access_key
                .filter(|key| !key.access_key_id.is_empty() && !key.secret_access_key.is_empty()),
            Err(error) if error.had_no_effect() => {
                cx.keys.store()?.close(intent.id).await?;
                if error.kind == ErrorKind::Quota && matches!(self.goal, KeyGoal::Another { .. }) {
                    // The list showed a free slot, so AWS may not have propagated the deletion of a key yet.
                    return Err(Fault::Wait {
                        why: error.to_string(),
                        after: cx.timing.poll_delay,
                    });
                }
                return Err(cx.missing_after_create(&ids::user(&self.user), error));
            }
            Err(error) => return Err(error.into()),
        };
        let key = key.ok_or_else(|| Fault::unreadable(Service::Iam, "CreateAccessKey"))?;
        cx.keys
            .store()?
            .seal(intent.id, key.access_key_id, key.secret_access_key.into())
            .await
    }

    /// The user's keys. If a recorded key is missing, they are listed again: the list is eventually consistent, so a new
    /// key counts as deleted only after the propagation time.
    pub(super) async fn list_recorded(
        &self,
        cx: &ReconcileContext,
        records: &KeyRecords,
    ) -> Result<Vec<ListedKey>, Fault> {
        let listed = self.list(cx).await?;
        let is_young = |at: Timestamp| {
            let now = cx.clock.now();
            // AWS does not delete a user that still has a key, so a removal need not wait for a clock that stepped back.
            let is_before_a_step = cx.want == Want::Absent && at.since(now) > MAX_SKEW;
            now.since(at) < cx.timing.propagation && !is_before_a_step
        };
        // A key to delete that is not listed is deleted, unless it is too new to be listed.
        let goes = |id: &str| matches!(&self.goal, KeyGoal::Switched { access_key_id, to: KeyStatus::Deleted, .. } if access_key_id == id);
        let missing = |listed: &[ListedKey]| {
            let unlisted = |id: &str, at: Timestamp| {
                (is_young(at) || !goes(id)) && !listed.iter().any(|key| key.id == id)
            };
            records
                .keys
                .iter()
                .filter(|(id, at)| unlisted(id, *at))
                .cloned()
                .collect::<Vec<_>>()
        };
        if missing(&listed).is_empty() {
            return Ok(listed);
        }
        tokio::time::sleep(cx.timing.poll_delay).await;
        let listed = self.list(cx).await?;
        match missing(&listed).iter().find(|(_, at)| is_young(*at)) {
            Some((id, _)) => {
                let why = format!(
                    "AWS does not list access key {id}. It was deleted, or it is too new to be listed."
                );
                Err(Fault::Wait {
                    why,
                    after: cx.timing.poll_delay,
                })
            }
            None => Ok(listed),
        }
    }

    pub(super) async fn list(&self, cx: &ReconcileContext) -> Result<Vec<ListedKey>, Fault> {
        match user_keys::list(cx, &self.user).await {
            Err(error)
                if error.kind == ErrorKind::NotFound
                    && !cx.is_unsettled(&ids::user(&self.user)) =>
            {
                Ok(Vec::new())
            }
            answer => {
                answer.map_err(|error| cx.missing_after_create(&ids::user(&self.user), error))
            }
        }
    }

    pub(super) async fn last_use(
        &self,
        cx: &ReconcileContext,
        access_key_id: &str,
    ) -> Result<Option<LastUse>, Fault> {
        let call = cx
            .account
            .iam()
            .get_access_key_last_used()
            .access_key_id(access_key_id)
            .send();
        let answer = cx.call(Service::Iam, "GetAccessKeyLastUsed", call).await?;
        Ok(user_keys::last_use(answer))
    }
}
