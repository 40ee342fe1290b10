//! The app's access key: the one create that cannot be repeated.
//!
//! `CreateAccessKey` takes only the user's name, answers the secret once, and a user has two keys at
//! most. So:
//!
//! 1. the ids of the user's keys are written down with the intent, in one commit;
//! 2. the call is made with one attempt;
//! 3. the secret is sealed and committed with the key's id;
//! 4. after a lost answer (the intent is still open) the keys are listed, and after a while listed
//!    again, because the list is eventually consistent; a key that is not in the written list, not in
//!    our records, made after the intent, never used, and on a user that we made, is deleted, for
//!    nobody knows its secret; one made later than the call can have taken effect is not its key;
//! 5. in any doubt a person is asked, with the key's ids. A key that may be in use is never deleted.
//!
//! Invariant: when the step is done the app has exactly one live key of ours, and its secret is sealed.

use std::fmt;

use aws_config::retry::RetryConfig;
use aws_sdk_iam::types::StatusType;
use futures::future::BoxFuture;
use secrecy::SecretString;
use ulid::Ulid;

use super::permission::Condition;
use super::{Applied, Change, Changes, Conventions, Cx, Fault, Observation, Permission, Resource, ResourceId, Scope, aws_cli, user};
use crate::aws::{Meaning, Service};
use crate::clock::Timestamp;
use crate::domain::job::{Trouble, TroubleCode};
use crate::domain::names::AppName;
use crate::domain::plan::Action;
use crate::domain::spec::AppSpec;
use crate::domain::task::KeyTarget;
use crate::export::{Labels, cloudformation, terraform};

/// An intent to create a key, whose outcome is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Its row's id.
    pub id: Ulid,
    /// The user's keys before it.
    pub known_keys: Vec<String>,
    /// When it was written.
    pub at: Timestamp,
}

/// What our records say of an app's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRecords {
    /// Keys that we hold or held the secret of, with the time of each record; not those known to be gone.
    pub keys: Vec<(String, Timestamp)>,
    /// The intent whose outcome is not known.
    pub open: Option<Intent>,
}

/// Where intents and sealed secrets are written: each method is one commit, guarded by the job's lease.
pub trait KeyLedger: Send + Sync {
    /// What is recorded.
    fn records(&self) -> BoxFuture<'_, Result<KeyRecords, Fault>>;
    /// Writes an intent with the ids of the keys that are there.
    fn intend(&self, known_keys: Vec<String>) -> BoxFuture<'_, Result<Intent, Fault>>;
    /// Closes an intent that has surely made no key, or whose key is deleted.
    fn close(&self, intent: Ulid) -> BoxFuture<'_, Result<(), Fault>>;
    /// Seals a secret and closes its intent.
    fn seal(&self, intent: Ulid, access_key_id: String, secret: SecretString) -> BoxFuture<'_, Result<(), Fault>>;
    /// Takes note that recorded keys are not on the user any more.
    fn gone(&self, access_key_ids: Vec<String>) -> BoxFuture<'_, Result<(), Fault>>;
}

/// The app's access key.
#[derive(Debug, Clone)]
pub struct AccessKey {
    user: AppName,
    goal: KeyGoal,
}

/// What is wanted of the app's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyGoal {
    /// One live key of ours.
    One,
    /// A key of ours that is none of those that were known.
    Another {
        /// The keys that were known.
        known_keys: Vec<String>,
        /// The key that makes room, where both of the user's are taken.
        replace: Option<String>,
        /// Whether that one goes even if it is in use.
        force: bool,
    },
    /// One key switched on or off, or gone.
    Switched {
        /// The key.
        access_key_id: String,
        /// What it is to be.
        to: KeyTarget,
        /// Whether that is done even if the key is in use.
        force: bool,
    },
    /// No key that works, for the app is removed.
    Off,
    /// Those that were switched off for a removal work again.
    Restored {
        /// The keys.
        switched_off: Vec<String>,
        /// Whether there is to be a live key of ours at last.
        one: bool,
    },
}

/// A key on the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// AWS's id of it.
    pub id: String,
    /// Whether it is switched on.
    pub active: bool,
    /// When it was made, to the second.
    pub created_at: Option<Timestamp>,
}

/// What is known of the app's keys, from AWS and from our records.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SeenKeys {
    /// Every key on the user.
    pub listed: Vec<ListedKey>,
    /// Keys that we know the secret of, and that are there or too young to be listed.
    pub ours: Vec<String>,
    /// Recorded keys that are not there any more.
    pub gone: Vec<String>,
    /// What an intent with a lost answer left.
    pub lost: Option<Lost>,
}

/// What an intent with a lost answer left.
#[derive(Debug, Clone, PartialEq)]
pub struct Lost {
    /// The intent.
    pub intent: Intent,
    /// Keys that may be its: neither written down with it nor recorded.
    pub candidates: Vec<ListedKey>,
    /// Whether the candidate has been used, or AWS could not say.
    pub used: bool,
    /// Whether a job of this app made the user.
    pub made_user: bool,
    /// The latest moment at which the interrupted call can have made a key.
    pub latest: Timestamp,
}

/// What changes the app's keys.
#[derive(Debug, Clone, PartialEq)]
pub enum AccessKeyChange {
    /// Closes an intent that made no key. Calls nothing.
    Close {
        /// The intent.
        intent: Ulid,
    },
    /// `DeleteAccessKey`, for a key whose secret was lost with the answer.
    DeleteLost {
        /// The user.
        user: AppName,
        /// The key.
        access_key_id: String,
        /// The intent that made it.
        intent: Ulid,
    },
    /// `CreateAccessKey`.
    Create {
        /// The user.
        user: AppName,
        /// The keys that are there.
        known_keys: Vec<String>,
        /// Recorded keys that are not there any more.
        gone: Vec<String>,
    },
}

impl fmt::Display for AccessKeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Close { .. } => f.write_str("note that the interrupted attempt made no access key"),
            Self::DeleteLost { access_key_id, user, .. } => {
                write!(f, "delete access key {access_key_id} of user {user}, whose secret was lost with AWS's answer")
            }
            Self::Create { user, .. } => write!(f, "create access key for user {user}"),
        }
    }
}

impl Change for AccessKeyChange {
    fn action(&self) -> Action {
        match self {
            Self::Close { .. } => Action::None,
            Self::DeleteLost { .. } => Action::Delete,
            Self::Create { .. } => Action::Create,
        }
    }

    fn aws_cli(&self) -> String {
        match self {
            Self::Close { .. } => String::new(),
            Self::DeleteLost { user, access_key_id, .. } => {
                format!(
                    "aws iam delete-access-key --user-name {} --access-key-id {}",
                    aws_cli::word(user.as_str()),
                    aws_cli::word(access_key_id)
                )
            }
            Self::Create { user, .. } => format!("aws iam create-access-key --user-name {}", aws_cli::word(user.as_str())),
        }
    }

    fn shows_secret(&self) -> bool {
        matches!(self, Self::Create { .. })
    }
}

/// The id of an app's access key.
pub fn id(user: &AppName) -> ResourceId {
    format!("{}/{user}", AccessKey::KIND)
}

impl Resource for AccessKey {
    type Observed = SeenKeys;
    type Change = AccessKeyChange;

    const KIND: &'static str = "iam:access-key";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::new(Service::Iam, "ListAccessKeys", &["iam:ListAccessKeys"], Scope::AnyUser),
        Permission::new(Service::Iam, "CreateAccessKey", &["iam:CreateAccessKey"], Scope::Users),
        Permission::new(Service::Iam, "DeleteAccessKey", &["iam:DeleteAccessKey"], Scope::Users).only(Condition::OnOurs),
        Permission::new(Service::Iam, "GetAccessKeyLastUsed", &["iam:GetAccessKeyLastUsed"], Scope::AnyUser),
    ];

    fn wanted(spec: &AppSpec, _conventions: &Conventions) -> Vec<Self> {
        spec.access_key.then(|| Self::of(spec, KeyGoal::One)).into_iter().collect()
    }

    fn id(&self) -> ResourceId {
        id(&self.user)
    }

    fn needs(&self) -> Vec<ResourceId> {
        vec![user::id(&self.user)]
    }

    async fn observe(&self, cx: &Cx) -> Result<Observation<SeenKeys>, Fault> {
        let records = cx.keys.records().await?;
        if let Some(intent) = &records.open {
            wait_for_the_list(cx, intent)?;
        }
        // A user that this attempt has made has no key but those of this attempt.
        let new_user = cx.has_made(&user::id(&self.user)) && records == KeyRecords::default();
        let listed = if new_user { Vec::new() } else { self.list_recorded(cx, &records).await? };
        let lost = match &records.open {
            Some(intent) => Some(self.look_for_lost(cx, intent, &records, &listed).await?),
            None => None,
        };
        let is_listed = |id: &String| listed.iter().any(|key| key.id == *id);
        let (ours, gone) = records.keys.into_iter().map(|(id, _)| id).partition(is_listed);
        let seen = SeenKeys { ours, gone, listed, lost };
        if seen == SeenKeys::default() { Ok(Observation::Absent) } else { Ok(Observation::Ours(seen)) }
    }

    fn plan(&self, seen: Option<&SeenKeys>) -> Result<Changes<AccessKeyChange>, Fault> {
        let none = SeenKeys::default();
        let seen = seen.unwrap_or(&none);
        let mut changes = Vec::new();
        let mut known_keys: Vec<String> = seen.listed.iter().map(|key| key.id.clone()).collect();
        if let Some(lost) = &seen.lost {
            match lost.verdict(&self.user)? {
                None => changes.push(AccessKeyChange::Close { intent: lost.intent.id }),
                Some(key) => {
                    known_keys.retain(|id| *id != key.id);
                    let (user, access_key_id) = (self.user.clone(), key.id.clone());
                    changes.push(AccessKeyChange::DeleteLost { user, access_key_id, intent: lost.intent.id });
                }
            }
        }
        let unknown = known_keys.iter().filter(|id| !seen.ours.contains(id));
        let mut warnings: Vec<String> =
            unknown.map(|id| format!("The access key {id} of user {} was not made by Slipway: find out who uses it.", self.user)).collect();
        if seen.ours.is_empty() {
            if known_keys.len() >= 2 {
                return Err(no_slot(&self.user, &known_keys));
            }
            changes.push(AccessKeyChange::Create { user: self.user.clone(), known_keys, gone: seen.gone.clone() });
        } else if let Some(key) = seen.listed.iter().find(|key| seen.ours.contains(&key.id) && !key.active) {
            warnings.push(format!("The access key {} of user {} is inactive.", key.id, self.user));
        }
        Ok(Changes { changes, warnings })
    }

    fn plan_absent(&self, _: &Cx, _: &SeenKeys) -> Result<Changes<AccessKeyChange>, Fault> {
        Ok(Changes::of(Vec::new()))
    }

    async fn apply(&self, cx: &Cx, change: &AccessKeyChange) -> Result<Applied, Fault> {
        match change {
            AccessKeyChange::Close { intent } => cx.keys.close(*intent).await?,
            AccessKeyChange::DeleteLost { user, access_key_id, intent } => {
                let call = cx.account.iam().delete_access_key().user_name(user.as_str()).access_key_id(access_key_id).send();
                match cx.call(Service::Iam, "DeleteAccessKey", call).await {
                    Ok(_) => cx.keys.close(*intent).await?,
                    // The list showed it: only later lists without it tell that it is gone.
                    Err(error) if error.meaning == Meaning::NotFound => {
                        return Err(Fault::Wait { why: error.to_string(), after: cx.timing.settle });
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            AccessKeyChange::Create { known_keys, gone, .. } => {
                self.create(cx, known_keys.clone()).await?;
                if !gone.is_empty() {
                    cx.keys.gone(gone.clone()).await?;
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
    /// The keys of an app's user, with what is wanted of them.
    pub fn of(spec: &AppSpec, goal: KeyGoal) -> Self {
        Self { user: spec.name.clone(), goal }
    }

    async fn create(&self, cx: &Cx, known_keys: Vec<String>) -> Result<(), Fault> {
        // The turn comes first: from the intent on, only the call itself takes time.
        cx.account.turn(Service::Iam, "CreateAccessKey", cx.timing.turn).await?;
        let intent = cx.keys.intend(known_keys).await?;
        if cx.clock.now().since(intent.at) > cx.timing.key_list {
            // Later the call could outlast the time that a lost answer is waited for.
            cx.keys.close(intent.id).await?;
            return Err(Fault::Wait { why: "the database is slow".into(), after: cx.timing.settle });
        }
        // A second attempt after a lost answer would make a second key.
        let once = aws_sdk_iam::config::Config::builder().retry_config(RetryConfig::disabled());
        let call = cx.account.iam().create_access_key().user_name(self.user.as_str()).customize().config_override(once).send();
        let key = match cx.call_at_once(Service::Iam, "CreateAccessKey", call).await {
            Ok(answer) => answer.access_key,
            Err(error) if error.had_no_effect() => {
                cx.keys.close(intent.id).await?;
                return Err(cx.missing_after_create(&user::id(&self.user), error));
            }
            Err(error) => return Err(error.into()),
        };
        let Some(key) = key else { return Err(unreadable_answer()) };
        cx.keys.seal(intent.id, key.access_key_id, key.secret_access_key.into()).await
    }

    /// The user's keys, looked at again where a recorded one is missing: the list is eventually consistent,
    /// and a young key gets time to be shown before it counts as gone.
    async fn list_recorded(&self, cx: &Cx, records: &KeyRecords) -> Result<Vec<ListedKey>, Fault> {
        let listed = self.list(cx).await?;
        let missing = |listed: &[ListedKey]| {
            records.keys.iter().filter(|(id, _)| !listed.iter().any(|key| key.id == *id)).cloned().collect::<Vec<_>>()
        };
        if missing(&listed).is_empty() {
            return Ok(listed);
        }
        tokio::time::sleep(cx.timing.settle).await;
        let listed = self.list(cx).await?;
        match missing(&listed).iter().find(|(_, at)| cx.clock.now().since(*at) < cx.timing.propagation) {
            Some((id, _)) => Err(Fault::Wait { why: format!("AWS does not list the new access key {id} yet"), after: cx.timing.settle }),
            None => Ok(listed),
        }
    }

    async fn list(&self, cx: &Cx) -> Result<Vec<ListedKey>, Fault> {
        // A user has two keys at most (IAM quotas), so there is one page.
        let call = cx.account.iam().list_access_keys().user_name(self.user.as_str()).send();
        let answer = match cx.call(Service::Iam, "ListAccessKeys", call).await {
            Ok(answer) => answer,
            Err(error) if error.meaning == Meaning::NotFound && !cx.has_made(&user::id(&self.user)) => return Ok(Vec::new()),
            Err(error) => return Err(cx.missing_after_create(&user::id(&self.user), error)),
        };
        let listed = answer.access_key_metadata.into_iter().map(|key| ListedKey {
            id: key.access_key_id.unwrap_or_default(),
            active: key.status == Some(StatusType::Active),
            created_at: key.create_date.and_then(|at| at.to_millis().ok()).map(Timestamp::from_millis),
        });
        Ok(listed.collect())
    }

    /// What an intent with a lost answer left.
    async fn look_for_lost(&self, cx: &Cx, intent: &Intent, records: &KeyRecords, listed: &[ListedKey]) -> Result<Lost, Fault> {
        // The list is eventually consistent: what either of two looks shows is there.
        tokio::time::sleep(cx.timing.settle).await;
        let again = self.list(cx).await?;
        let unseen = again.iter().filter(|key| !listed.iter().any(|first| first.id == key.id));
        let known = |id: &str| intent.known_keys.iter().any(|key| key == id) || records.keys.iter().any(|(key, _)| key == id);
        let candidates: Vec<ListedKey> = listed.iter().chain(unseen).filter(|key| !known(&key.id)).cloned().collect();
        let mut used = false;
        for key in &candidates {
            used |= self.was_used(cx, &key.id).await?;
        }
        let made_user = cx.is_made_by_us(&user::id(&self.user));
        Ok(Lost { latest: settled_at(cx, intent), intent: intent.clone(), candidates, used, made_user })
    }

    async fn was_used(&self, cx: &Cx, access_key_id: &str) -> Result<bool, Fault> {
        let call = cx.account.iam().get_access_key_last_used().access_key_id(access_key_id).send();
        let answer = cx.call(Service::Iam, "GetAccessKeyLastUsed", call).await?;
        Ok(answer.access_key_last_used.is_some_and(|used| used.last_used_date.is_some()))
    }
}

impl Lost {
    /// The key to delete, if the intent made one; a person's matter where that is not beyond doubt.
    fn verdict(&self, user: &AppName) -> Result<Option<&ListedKey>, Fault> {
        let key = match self.candidates.as_slice() {
            [] => return Ok(None),
            [key] => key,
            several => return Err(in_doubt(user, several, "there are several")),
        };
        // AWS tells whole seconds, so a key of the intent's own second may seem older.
        let second = Timestamp::from_millis(self.intent.at.millis().div_euclid(1000).saturating_mul(1000));
        let reason = match key.created_at {
            None => "AWS does not say when it was made",
            Some(at) if at < second => "it is older than the interrupted attempt",
            Some(at) if at > self.latest => "it was made after the interrupted attempt",
            Some(_) if self.used => "it has been used",
            Some(_) if !self.made_user => "its user was not made by Slipway",
            Some(_) => return Ok(Some(key)),
        };
        Err(in_doubt(user, &self.candidates, reason))
    }
}

/// When the call of an intent is surely over and AWS's list has had time to show what it made.
fn settled_at(cx: &Cx, intent: &Intent) -> Timestamp {
    intent.at.after(cx.timing.answer).after(cx.timing.key_list)
}

/// AWS's list of keys is eventually consistent: it gets time to show what an interrupted attempt made.
fn wait_for_the_list(cx: &Cx, intent: &Intent) -> Result<(), Fault> {
    let after = settled_at(cx, intent).since(cx.clock.now());
    if after.is_zero() {
        return Ok(());
    }
    Err(Fault::Wait { why: "an answer with a new access key was lost; AWS's list of keys needs time to show it".into(), after })
}

fn in_doubt(user: &AppName, keys: &[ListedKey], reason: &str) -> Fault {
    let ids = keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>().join(", ");
    Fault::Blocked(Trouble {
        code: TroubleCode::CredentialInDoubt,
        detail: format!("AWS's answer with a new access key of user {user} was lost, and {ids} may be that key, but {reason}"),
        remedy: Some(format!(
            "Find out whether anybody uses {ids}; delete it if nobody does (aws iam delete-access-key), then retry the job."
        )),
        retryable: false,
        aws: None,
    })
}

fn no_slot(user: &AppName, keys: &[String]) -> Fault {
    Fault::Blocked(Trouble {
        code: TroubleCode::QuotaExceeded,
        detail: format!("user {user} has two access keys that Slipway does not know the secret of: {}", keys.join(", ")),
        remedy: Some("Delete one that nobody uses (inactive ones count too), then retry the job.".into()),
        retryable: false,
        aws: None,
    })
}

/// An answer without a key is a lost answer.
fn unreadable_answer() -> Fault {
    Fault::Retry(Trouble {
        code: TroubleCode::Unavailable,
        detail: "AWS's answer to CreateAccessKey held no key".into(),
        remedy: None,
        retryable: true,
        aws: None,
    })
}

impl AccessKey {
    /// A key is not exported: without its secret there is nothing that another tool could manage.
    fn told_of(&self, seen: &SeenKeys) -> String {
        let ids: Vec<&str> = seen.listed.iter().map(|key| key.id.as_str()).collect();
        let ids = if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
        format!("Access keys are left out, since no secret is exported. The user {} has: {ids}.", self.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, created_ms: i64) -> ListedKey {
        ListedKey { id: id.into(), active: true, created_at: Some(Timestamp::from_millis(created_ms)) }
    }

    fn lost(candidates: Vec<ListedKey>) -> Lost {
        let intent = Intent { id: Ulid::nil(), known_keys: vec!["OLD".into()], at: Timestamp::from_millis(5_400) };
        Lost { intent, candidates, used: false, made_user: true, latest: Timestamp::from_millis(30_000) }
    }

    fn plan(seen: &SeenKeys) -> Result<Vec<AccessKeyChange>, Fault> {
        AccessKey { user: AppName::parse("acme").unwrap(), goal: KeyGoal::One }.plan(Some(seen)).map(|planned| planned.changes)
    }

    #[test]
    fn a_lost_key_is_deleted_and_another_made() {
        let seen =
            SeenKeys { listed: vec![key("OLD", 0), key("NEW", 5_000)], lost: Some(lost(vec![key("NEW", 5_000)])), ..SeenKeys::default() };
        let changes = plan(&seen).unwrap();
        assert!(matches!(&changes[0], AccessKeyChange::DeleteLost { access_key_id, .. } if access_key_id == "NEW"));
        assert!(matches!(&changes[1], AccessKeyChange::Create { known_keys, .. } if *known_keys == ["OLD"]));
    }

    #[test]
    fn any_doubt_asks_a_person_and_deletes_nothing() {
        let cases = [
            lost(vec![key("A", 5_000), key("B", 5_000)]),
            lost(vec![key("A", 4_999)]),
            lost(vec![key("A", 30_001)]),
            lost(vec![ListedKey { created_at: None, ..key("A", 0) }]),
            Lost { used: true, ..lost(vec![key("A", 6_000)]) },
            Lost { made_user: false, ..lost(vec![key("A", 6_000)]) },
        ];
        for case in cases {
            let fault = plan(&SeenKeys { lost: Some(case), ..SeenKeys::default() }).unwrap_err();
            let trouble = fault.trouble().unwrap();
            assert_eq!(trouble.code, TroubleCode::CredentialInDoubt);
            assert!(trouble.detail.contains('A') && trouble.remedy.as_ref().unwrap().contains("delete-access-key"));
        }
    }

    #[test]
    fn nothing_lost_closes_the_intent() {
        let changes = plan(&SeenKeys { lost: Some(lost(Vec::new())), ..SeenKeys::default() }).unwrap();
        assert!(matches!(changes[..], [AccessKeyChange::Close { .. }, AccessKeyChange::Create { .. }]));
    }

    #[test]
    fn a_known_key_is_enough_and_two_unknown_ones_are_too_many() {
        assert_eq!(plan(&SeenKeys { ours: vec!["A".into()], listed: vec![key("A", 0)], ..SeenKeys::default() }).unwrap(), []);
        assert_eq!(plan(&SeenKeys { listed: vec![key("A", 0)], ..SeenKeys::default() }).unwrap().len(), 1);
        let full = SeenKeys { listed: vec![key("A", 0), key("B", 0)], ..SeenKeys::default() };
        assert_eq!(plan(&full).unwrap_err().trouble().unwrap().code, TroubleCode::QuotaExceeded);
    }
}
