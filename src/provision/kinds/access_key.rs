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
//! 5. in any doubt a person is asked, with the key's ids. A key that may be in use is never deleted; and none is made
//!    beside a live one on a user of ours that no record tells of: the record may be an older copy of the database.
//!
//! Invariants:
//! - When a step that may make a key is done, the app has the key of ours that was wanted, and its secret is sealed.
//! - Keys that were on a user before it was adopted are touched only where a person names them, or has the app
//!   removed with what was adopted.
//! - A key is written down before it is switched off for a removal, so that a restore knows it.

use std::fmt;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_sdk_iam::types::StatusType;
use serde_json::{Value, json};
use ulid::Ulid;

use crate::aws::{AwsError, ErrorKind, Service};
use crate::clock::Timestamp;
use crate::domain::access_key::{Intent, KeyRecords};
use crate::domain::job::{JobError, JobErrorCode};
use crate::domain::names::AppName;
use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::{AppSpec, OnExisting};
use crate::domain::task::KeyStatus;
use crate::provision::change::{Applied, Change, Changes, Observation, Want};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::iam_user;
use crate::provision::ids;
use crate::provision::permission::Condition;
use crate::provision::permission::{Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::shell_words;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;
use crate::provision::user_keys::{self, LastUse, ListedKey};

/// Keys that a user can have (IAM quotas); inactive ones count.
const SLOTS: usize = 2;

/// How far the clocks of replicas are apart at most: a record of a later time was written before the clock stepped back.
const MAX_SKEW: Duration = Duration::from_secs(10 * 60);

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
        to: KeyStatus,
        /// Whether that is done even if the key is in use.
        force: bool,
        /// Whether a rotation asks for it, which deletes what is switched off and nothing else.
        rotating: bool,
    },
    /// Just this key of ours, which is to go.
    Single(String),
    /// No key that works, for the app is removed.
    Off {
        /// Whether a user that was there before the app goes too, and so do its keys.
        adopted: bool,
    },
    /// Those that were switched off for a removal work again.
    Restored {
        /// The keys.
        switched_off: Vec<String>,
        /// Whether there is to be a live key of ours at last.
        one: bool,
    },
}

/// What is known of the app's keys, from AWS and from our records.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SeenKeys {
    /// Every key on the user.
    pub listed: Vec<ListedKey>,
    /// Keys that work and were used within the idle period, of those whose last use was asked for.
    pub in_use: Vec<String>,
    /// Keys that we know the secret of, and that are there.
    pub ours: Vec<String>,
    /// Recorded keys that are not there any more.
    pub gone: Vec<String>,
    /// Live keys on a user that we made that no record of ours tells of.
    pub unknown: Vec<String>,
    /// What an intent with a lost answer left.
    pub lost: Option<Lost>,
    /// Whether a job of this app made the user.
    pub made_user: bool,
    /// Whether the user was looked for and is not there.
    pub no_user: bool,
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
    /// `UpdateAccessKey`.
    Switch {
        /// The user.
        user: AppName,
        /// The key.
        access_key_id: String,
        /// Whether it is switched on.
        on: bool,
        /// Whether it is switched off because the app is removed: then it is written down first.
        for_removal: bool,
    },
    /// `DeleteAccessKey`.
    Delete {
        /// The user.
        user: AppName,
        /// The key, as it is.
        key: ListedKey,
    },
    /// Takes note that recorded keys are not there any more. Calls nothing.
    Forget {
        /// The keys.
        gone: Vec<String>,
    },
}

impl fmt::Display for AccessKeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Close { .. } => {
                f.write_str("record that the interrupted attempt created no access key")
            }
            Self::DeleteLost {
                access_key_id,
                user,
                ..
            } => {
                write!(
                    f,
                    "delete access key {access_key_id} of user {user}, whose secret was lost with the response from AWS"
                )
            }
            Self::Create { user, .. } => write!(f, "create access key for user {user}"),
            Self::Switch {
                user,
                access_key_id,
                on,
                ..
            } => {
                write!(
                    f,
                    "{} access key {access_key_id} of user {user}",
                    if *on { "activate" } else { "deactivate" }
                )
            }
            Self::Delete { user, key } => write!(f, "delete access key {} of user {user}", key.id),
            Self::Forget { gone } => write!(
                f,
                "record that access key {} no longer exists",
                gone.join(", ")
            ),
        }
    }
}

impl Change for AccessKeyChange {
    fn action(&self) -> Action {
        match self {
            Self::Close { .. } | Self::Forget { .. } => Action::None,
            Self::DeleteLost { .. } | Self::Delete { .. } => Action::Delete,
            Self::Create { .. } => Action::Create,
            Self::Switch { .. } => Action::Update,
        }
    }

    fn before(&self) -> Option<Value> {
        match self {
            Self::Switch {
                access_key_id, on, ..
            } => Some(json!({"access_key_id": access_key_id, "status": status(!*on).as_str()})),
            Self::Delete { key, .. } => Some(
                json!({"access_key_id": key.id, "status": status(key.active).as_str(), "created_at": key.created_at}),
            ),
            _ => None,
        }
    }

    fn after(&self) -> Option<Value> {
        match self {
            Self::Switch {
                access_key_id, on, ..
            } => Some(json!({"access_key_id": access_key_id, "status": status(*on).as_str()})),
            _ => None,
        }
    }

    fn aws_cli(&self) -> String {
        let of = |command: &str, user: &AppName, id: &str| {
            format!(
                "aws iam {command}-access-key --user-name {} --access-key-id {}",
                shell_words::word(user.as_str()),
                shell_words::word(id)
            )
        };
        match self {
            Self::Close { .. } | Self::Forget { .. } => String::new(),
            Self::DeleteLost {
                user,
                access_key_id,
                ..
            } => of("delete", user, access_key_id),
            Self::Delete { user, key } => of("delete", user, &key.id),
            Self::Switch {
                user,
                access_key_id,
                on,
                ..
            } => {
                format!(
                    "{} --status {}",
                    of("update", user, access_key_id),
                    status(*on).as_str()
                )
            }
            Self::Create { user, .. } => format!(
                "aws iam create-access-key --user-name {}",
                shell_words::word(user.as_str())
            ),
        }
    }

    fn shows_secret(&self) -> bool {
        matches!(self, Self::Create { .. })
    }
}

fn status(active: bool) -> StatusType {
    if active {
        StatusType::Active
    } else {
        StatusType::Inactive
    }
}

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
            // A removal leaves it alone, and goes on with what is the app's.
            if matches!(self.goal, KeyGoal::Off { .. }) {
                return Ok(Observation::Absent);
            }
            if cx.want == Want::Present {
                return Err(Fault::conflict(&ids::user(&self.user), owner.as_deref()));
            }
            // Nothing is looked for on a user that nothing is done to.
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
        // A user that this attempt has made has no key but those of this attempt.
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

    /// Our keys go; others on the user go with it, if it goes.
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
                access_key_id,
                on,
                for_removal,
                ..
            } => {
                if *for_removal {
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
                        call.status(status(*on)).send(),
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
    /// The keys of an app's user, with what is wanted of them.
    pub fn of(spec: &AppSpec, goal: KeyGoal) -> Self {
        Self {
            user: spec.name.clone(),
            goal,
        }
    }

    /// Whether no user stands before it in the job's graph, so that it has to see by itself whose the user is.
    fn goes_alone(&self, cx: &ReconcileContext) -> bool {
        cx.want == Want::Absent
            || matches!(
                self.goal,
                KeyGoal::Another { .. } | KeyGoal::Switched { .. } | KeyGoal::Off { .. }
            )
    }

    fn may_make_one(&self, cx: &ReconcileContext) -> bool {
        cx.want == Want::Present
            && matches!(
                self.goal,
                KeyGoal::One | KeyGoal::Another { .. } | KeyGoal::Restored { one: true, .. }
            )
    }

    /// Whether what an interrupted attempt left is found out first: a key that is to be switched off does not
    /// wait for that.
    fn settles_intents(&self, cx: &ReconcileContext) -> bool {
        cx.want == Want::Absent
            || !matches!(self.goal, KeyGoal::Switched { .. } | KeyGoal::Off { .. })
    }

    /// What settles an interrupted attempt, and the keys that are there then.
    fn settle_lost<'s>(
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

    /// A live key of ours; keys in `on` are switched on by then.
    fn plan_one(
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

    /// A key of ours that is none of `known`; `replace` makes room for it.
    fn plan_another(
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
        // The one that makes room stays among the known ones: AWS may list it for a while.
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

    /// No key is made beside a live one that may be the app's own: made after the copy of the database that this is.
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

    fn plan_switched(
        &self,
        seen: &SeenKeys,
        id: &str,
        to: KeyStatus,
        force: bool,
    ) -> Result<Changes<AccessKeyChange>, Fault> {
        let Some(key) = seen.listed.iter().find(|key| key.id == id) else {
            return self.plan_gone(seen, id, to);
        };
        // Also where the list shows it so already: a list can be older than the last switch, which may have been the other way.
        let change = match to {
            KeyStatus::Active => self.switch_on(id),
            KeyStatus::Inactive => {
                seen.spare_one_in_use(key, force)?;
                self.switch_off(id)
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

    /// The end of a rotation: a key that somebody has switched on again stays, however the rotation was asked for.
    fn plan_deleted_if_off(
        &self,
        seen: &SeenKeys,
        id: &str,
    ) -> Result<Changes<AccessKeyChange>, Fault> {
        match seen.listed.iter().find(|key| key.id == id) {
            Some(key) if key.active => Err(on_again(key)),
            _ => self.plan_switched(seen, id, KeyStatus::Deleted, false),
        }
    }

    /// A key that is not there any more works for nobody, which is what is wanted, unless it is to work.
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

    /// Every key of ours, and every other one on a user that goes with the app. A list can be older than the last switch, so
    /// one that it shows as off is switched off too.
    fn plan_off(&self, seen: &SeenKeys, adopted: bool) -> Changes<AccessKeyChange> {
        let user_goes = seen.made_user || adopted;
        let (goes, stays): (Vec<_>, Vec<_>) = seen
            .listed
            .iter()
            .partition(|key| user_goes || seen.ours.contains(&key.id));
        // A restore switches on what was on.
        let off = |key: &ListedKey| AccessKeyChange::Switch {
            user: self.user.clone(),
            access_key_id: key.id.clone(),
            on: false,
            for_removal: key.active,
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

    /// Those that were switched off are switched on, also where the list shows them as on still.
    fn plan_restored(
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
        let mut changes: Vec<AccessKeyChange> = on.iter().map(|id| self.switch_on(id)).collect();
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

    fn switch_on(&self, id: &str) -> AccessKeyChange {
        AccessKeyChange::Switch {
            user: self.user.clone(),
            access_key_id: id.to_owned(),
            on: true,
            for_removal: false,
        }
    }

    fn switch_off(&self, id: &str) -> AccessKeyChange {
        AccessKeyChange::Switch {
            user: self.user.clone(),
            access_key_id: id.to_owned(),
            on: false,
            for_removal: false,
        }
    }

    /// Looks when keys were last used, where the plan asks for it.
    async fn look_at_use(
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

    async fn delete(&self, cx: &ReconcileContext, access_key_id: &str) -> Result<(), Fault> {
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

    async fn create(&self, cx: &ReconcileContext, known_keys: Vec<String>) -> Result<(), Fault> {
        // The turn comes first: from the intent on, only the call itself takes time.
        cx.account
            .acquire(Service::Iam, "CreateAccessKey", cx.timing.turn)
            .await?;
        let intent = cx.keys.store()?.intend(known_keys).await?;
        if intent.met.elapsed() > cx.timing.key_list {
            // Later the call could outlast the time that a lost answer is waited for.
            cx.keys.store()?.close(intent.id).await?;
            return Err(Fault::Wait {
                why: "The database responds slowly.".into(),
                after: cx.timing.poll_delay,
            });
        }
        // A second attempt after a lost answer would make a second key.
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
            // What AWS makes has an id and a secret: an answer without is a lost one.
            Ok(answer) => answer
                .access_key
                .filter(|key| !key.access_key_id.is_empty() && !key.secret_access_key.is_empty()),
            Err(error) if error.had_no_effect() => {
                cx.keys.store()?.close(intent.id).await?;
                if error.kind == ErrorKind::Quota && matches!(self.goal, KeyGoal::Another { .. }) {
                    // The list has shown a free slot: AWS may not have settled yet that a key is deleted.
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

    /// The user's keys, looked at again where a recorded one is missing: the list is eventually consistent,
    /// and a young key gets time to be shown before it counts as gone.
    async fn list_recorded(
        &self,
        cx: &ReconcileContext,
        records: &KeyRecords,
    ) -> Result<Vec<ListedKey>, Fault> {
        let listed = self.list(cx).await?;
        let is_young = |at: Timestamp| {
            let now = cx.clock.now();
            // AWS does not delete a user that has a key after all, so a removal need not wait until the clock has caught up.
            let is_before_a_step = cx.want == Want::Absent && at.since(now) > MAX_SKEW;
            now.since(at) < cx.timing.propagation && !is_before_a_step
        };
        // One that is to be deleted, and is not listed, is as it is to be, unless it is too new to be listed.
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

    async fn list(&self, cx: &ReconcileContext) -> Result<Vec<ListedKey>, Fault> {
        let call = cx
            .account
            .iam()
            .list_access_keys()
            .user_name(self.user.as_str())
            .send();
        let answer = match cx.call(Service::Iam, "ListAccessKeys", call).await {
            Ok(answer) => answer,
            Err(error)
                if error.kind == ErrorKind::NotFound
                    && !cx.is_unsettled(&ids::user(&self.user)) =>
            {
                return Ok(Vec::new());
            }
            Err(error) => return Err(cx.missing_after_create(&ids::user(&self.user), error)),
        };
        user_keys::listed(answer).ok_or_else(|| Fault::unreadable(Service::Iam, "ListAccessKeys"))
    }

    /// Live keys that no record tells of. A key that is in doubt is looked for again: AWS may list for a while what is
    /// deleted.
    async fn look_for_unknown(
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
    async fn look_for_lost(
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

    async fn last_use(
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

impl Lost {
    /// The key to delete, if the intent made one; a person's matter where that is not beyond doubt.
    fn outcome(&self, user: &AppName) -> Result<Option<&ListedKey>, Fault> {
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
fn forget(seen: &SeenKeys) -> Option<AccessKeyChange> {
    (!seen.gone.is_empty()).then(|| AccessKeyChange::Forget {
        gone: seen.gone.clone(),
    })
}

/// When the call of an intent is surely over and AWS's list has had time to show what it made.
fn settled_at(cx: &ReconcileContext, intent: &Intent) -> Timestamp {
    intent.at.after(cx.timing.answer).after(cx.timing.key_list)
}

/// AWS's list of keys is eventually consistent: it gets time to show what an interrupted attempt made.
fn wait_for_the_list(cx: &ReconcileContext, intent: &Intent) -> Result<(), Fault> {
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

fn in_doubt(user: &AppName, keys: &[ListedKey], reason: &str) -> Fault {
    let ids = keys
        .iter()
        .map(|key| key.id.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    Fault::Blocked(JobError {
        code: JobErrorCode::CredentialInDoubt,
        detail: format!(
            "The response to CreateAccessKey for user {user} was lost. Access key {ids} may be the new key, but {reason}."
        ),
        remedy: Some(format!(
            "Find out whether {ids} is in use. If it is not, delete it (aws iam delete-access-key), then retry the job."
        )),
        retryable: false,
        aws: None,
    })
}

fn not_recorded(user: &AppName, ids: &str) -> Fault {
    Fault::Blocked(JobError {
        code: JobErrorCode::CredentialInDoubt,
        detail: format!(
            "User {user} has active access key {ids}, of which Slipway has no record. It was created outside Slipway, or by Slipway after the database backup that was restored."
        ),
        remedy: Some(format!(
            "Find out whether {ids} is in use. If it is not, delete it (aws iam delete-access-key), then retry the job. If it is, rotate the app's credentials with force=true to create a second key, and delete {ids} when it is no longer used."
        )),
        retryable: false,
        aws: None,
    })
}

fn no_slot(user: &AppName, keys: &[String]) -> Fault {
    Fault::Blocked(JobError {
        code: JobErrorCode::QuotaExceeded,
        detail: format!(
            "User {user} has two access keys whose secrets Slipway does not have: {}.",
            keys.join(", ")
        ),
        remedy: Some(
            "Delete an unused access key (inactive keys count towards the limit), then retry the job.".into(),
        ),
        retryable: false,
        aws: None,
    })
}

impl SeenKeys {
    /// A key that is in use is not switched off, unless that is forced. One that is switched off already is not in use.
    fn spare_one_in_use(&self, key: &ListedKey, force: bool) -> Result<(), Fault> {
        if force || !self.in_use.contains(&key.id) {
            return Ok(());
        }
        Err(Fault::Blocked(JobError {
            code: JobErrorCode::KeyInUse,
            detail: format!("Access key {key} is in use."),
            remedy: Some(
                "Switch its users to another access key, then retry the job when the key has been unused for a while. To skip this check, repeat the request with force=true.".into(),
            ),
            retryable: false,
            aws: None,
        }))
    }
}

fn on_again(key: &ListedKey) -> Fault {
    Fault::Blocked(JobError {
        code: JobErrorCode::KeyInUse,
        detail: format!("Access key {key} was activated again, so it is retained."),
        remedy: Some(
            "Rotate the credentials again, or delete the access key if it is no longer needed."
                .into(),
        ),
        retryable: false,
        aws: None,
    })
}

fn both_taken(user: &AppName, keys: &[&ListedKey]) -> Fault {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    Fault::Blocked(JobError {
        code: JobErrorCode::QuotaExceeded,
        detail: format!(
            "User {user} has two access keys, the maximum that AWS allows: {}.",
            keys.join("; ")
        ),
        remedy: Some("Delete an unused access key, or rotate with replace=<access key ID>.".into()),
        retryable: false,
        aws: None,
    })
}

fn gone_for_good(user: &AppName, id: &str) -> Fault {
    Fault::Rejected(JobError {
        code: JobErrorCode::Rejected,
        detail: format!(
            "Access key {id} of user {user} no longer exists. AWS cannot restore a deleted access key."
        ),
        remedy: Some("To create a new access key, rotate the app's credentials.".into()),
        retryable: false,
        aws: None,
    })
}

fn no_user(user: &AppName) -> Fault {
    Fault::Blocked(JobError {
        code: JobErrorCode::Rejected,
        detail: format!("User {user} does not exist."),
        remedy: Some("To create the user and an access key, repair the app.".into()),
        retryable: false,
        aws: None,
    })
}

/// What the list showed and a change does not find: only later lists tell whether it is gone.
fn listed_but_not_found(cx: &ReconcileContext, error: AwsError) -> Fault {
    match error.kind {
        ErrorKind::NotFound => Fault::Wait {
            why: error.to_string(),
            after: cx.timing.poll_delay,
        },
        _ => error.into(),
    }
}

impl fmt::Display for ListedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}",
            self.id,
            if self.active { "active" } else { "inactive" }
        )?;
        if let Some(at) = self.created_at {
            write!(f, ", created {at}")?;
        }
        match &self.used {
            Some(LastUse {
                at,
                service,
                region,
            }) => write!(f, ", last used {at} with {service} in {region})"),
            None => f.write_str(", never used)"),
        }
    }
}

impl AccessKey {
    /// A key is not exported: without its secret there is nothing that another tool could manage.
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    const OFF: KeyGoal = KeyGoal::Off { adopted: false };
    const DAY: Duration = Duration::from_secs(86_400);
    const NOW: Timestamp = Timestamp::from_millis(86_400_000);

    fn key(id: &str, created_ms: i64) -> ListedKey {
        ListedKey {
            id: id.into(),
            active: true,
            created_at: Some(Timestamp::from_millis(created_ms)),
            used: None,
        }
    }

    fn lost(candidates: Vec<ListedKey>) -> Lost {
        let intent = Intent {
            id: Ulid::nil(),
            known_keys: vec!["OLD".into()],
            at: Timestamp::from_millis(5_400),
            met: Instant::now(),
        };
        Lost {
            intent,
            candidates,
            used: false,
            made_user: true,
            latest: Timestamp::from_millis(30_000),
        }
    }

    fn plan(seen: &SeenKeys) -> Result<Vec<AccessKeyChange>, Fault> {
        plan_to(KeyGoal::One, seen)
    }

    fn plan_to(goal: KeyGoal, seen: &SeenKeys) -> Result<Vec<AccessKeyChange>, Fault> {
        AccessKey {
            user: AppName::parse("acme").unwrap(),
            goal,
        }
        .plan(Some(seen))
        .map(|planned| planned.changes)
    }

    fn inactive(id: &str) -> ListedKey {
        ListedKey {
            active: false,
            ..key(id, 0)
        }
    }

    fn in_use(id: &str, recent: bool) -> ListedKey {
        let at = Timestamp::from_millis(if recent { 86_400_000 } else { 0 });
        ListedKey {
            used: Some(LastUse {
                at,
                service: "s3".into(),
                region: "us-west-2".into(),
            }),
            ..key(id, 0)
        }
    }

    fn keys(ours: &[&str], listed: Vec<ListedKey>) -> SeenKeys {
        SeenKeys {
            ours: ours.iter().map(|id| (*id).to_owned()).collect(),
            in_use: listed
                .iter()
                .filter(|key| key.is_in_use(NOW, DAY))
                .map(|key| key.id.clone())
                .collect(),
            listed,
            ..SeenKeys::default()
        }
    }

    fn another(replace: Option<&str>, force: bool) -> KeyGoal {
        KeyGoal::Another {
            known_keys: vec!["OLD".into(), "HAND".into()],
            replace: replace.map(str::to_owned),
            force,
        }
    }

    fn switched(to: KeyStatus, force: bool) -> KeyGoal {
        KeyGoal::Switched {
            access_key_id: "A".into(),
            to,
            force,
            rotating: false,
        }
    }

    /// What is planned, in words; or the code of what stands in the way.
    fn told(goal: KeyGoal, seen: &SeenKeys) -> String {
        match plan_to(goal, seen) {
            Ok(changes) => changes
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
                .replace(" of user acme", ""),
            Err(fault) => format!("{}", fault.job_error().unwrap().code),
        }
    }

    #[test]
    fn every_goal_from_everything_that_can_be_there() {
        use KeyStatus::{Active, Deleted, Inactive};
        let rotated_out = || KeyGoal::Switched {
            access_key_id: "A".into(),
            to: Deleted,
            force: true,
            rotating: true,
        };
        let restored = |one| KeyGoal::Restored {
            switched_off: vec!["A".into(), "GONE".into()],
            one,
        };
        let full = || keys(&["OLD"], vec![key("OLD", 0), key("HAND", 0)]);
        let busy = || keys(&["OLD"], vec![in_use("OLD", true), in_use("HAND", false)]);
        let lost_new = || SeenKeys {
            lost: Some(lost(vec![key("NEW", 6_000)])),
            ..keys(&["OLD"], vec![key("OLD", 0), key("NEW", 6_000)])
        };
        let made = |seen| SeenKeys {
            made_user: true,
            ..seen
        };
        let gone = |ids: &[&str]| SeenKeys {
            gone: ids.iter().map(|id| (*id).to_owned()).collect(),
            ..SeenKeys::default()
        };
        let create = "create access key for user acme";
        let lost_then_create = "delete access key NEW, whose secret was lost with the response from AWS; create access key for user acme";
        let unknown = |ours: &[&str], ids: &[&str]| SeenKeys {
            unknown: ids.iter().map(|id| (*id).to_owned()).collect(),
            made_user: true,
            ..keys(ours, ours.iter().chain(ids).map(|id| key(id, 0)).collect())
        };
        let cases = [
            (
                another(None, false),
                keys(&["OLD"], vec![key("OLD", 0)]),
                create,
            ),
            (
                another(None, false),
                keys(&["OLD", "NEW"], vec![key("OLD", 0), key("NEW", 0)]),
                "",
            ),
            (another(None, false), full(), "quota_exceeded"),
            (another(Some("ELSE"), true), full(), "quota_exceeded"),
            (
                another(Some("HAND"), false),
                full(),
                "delete access key HAND; create access key for user acme",
            ),
            (
                another(Some("HAND"), false),
                busy(),
                "delete access key HAND; create access key for user acme",
            ),
            (another(Some("OLD"), false), busy(), "key_in_use"),
            (
                another(Some("OLD"), true),
                busy(),
                "delete access key OLD; create access key for user acme",
            ),
            (
                another(Some("OLD"), false),
                keys(&["OLD"], vec![in_use("OLD", true)]),
                create,
            ),
            (another(Some("OLD"), true), lost_new(), lost_then_create),
            (
                another(None, false),
                SeenKeys {
                    no_user: true,
                    ..SeenKeys::default()
                },
                "rejected",
            ),
            (
                another(None, false),
                unknown(&[], &["LATE"]),
                "credential_in_doubt",
            ),
            (another(None, true), unknown(&[], &["LATE"]), create),
            (
                another(Some("LATE"), false),
                unknown(&["OLD"], &["LATE"]),
                "delete access key LATE; create access key for user acme",
            ),
            (KeyGoal::One, unknown(&[], &["LATE"]), "credential_in_doubt"),
            (
                KeyGoal::One,
                SeenKeys {
                    lost: Some(lost(vec![key("NEW", 6_000)])),
                    ..unknown(&[], &["NEW"])
                },
                lost_then_create,
            ),
            (KeyGoal::One, unknown(&["OLD"], &["LATE"]), ""),
            (
                restored(true),
                unknown(&[], &["LATE"]),
                "credential_in_doubt",
            ),
            (
                switched(Deleted, false),
                unknown(&[], &["A"]),
                "delete access key A",
            ),
            (
                switched(Active, false),
                keys(&[], vec![inactive("A")]),
                "activate access key A",
            ),
            (
                switched(Active, false),
                keys(&[], vec![key("A", 0)]),
                "activate access key A",
            ),
            (switched(Active, true), gone(&["A"]), "rejected"),
            (
                switched(Inactive, false),
                keys(&["A"], vec![in_use("A", true)]),
                "key_in_use",
            ),
            (
                switched(Inactive, true),
                keys(&["A"], vec![in_use("A", true)]),
                "deactivate access key A",
            ),
            (
                switched(Inactive, false),
                keys(&["A"], vec![in_use("A", false)]),
                "deactivate access key A",
            ),
            (
                switched(Inactive, false),
                keys(&["A"], vec![inactive("A")]),
                "deactivate access key A",
            ),
            (
                switched(Inactive, false),
                gone(&["A", "B"]),
                "record that access key A no longer exists",
            ),
            (
                switched(Deleted, false),
                keys(&["A"], vec![in_use("A", true), key("B", 0)]),
                "key_in_use",
            ),
            (
                switched(Deleted, false),
                keys(
                    &["A"],
                    vec![ListedKey {
                        active: false,
                        ..in_use("A", true)
                    }],
                ),
                "delete access key A",
            ),
            (
                switched(Deleted, true),
                keys(&["A"], vec![in_use("A", true)]),
                "delete access key A",
            ),
            (switched(Deleted, false), gone(&[]), ""),
            (rotated_out(), keys(&["A"], vec![key("A", 0)]), "key_in_use"),
            (
                rotated_out(),
                keys(&["A"], vec![inactive("A")]),
                "delete access key A",
            ),
            (
                rotated_out(),
                gone(&["A"]),
                "record that access key A no longer exists",
            ),
            (
                OFF,
                keys(&["A"], vec![key("A", 0), key("HAND", 0)]),
                "deactivate access key A",
            ),
            (
                OFF,
                made(keys(&["A"], vec![key("A", 0), key("HAND", 0)])),
                "deactivate access key A; deactivate access key HAND",
            ),
            (
                OFF,
                made(keys(&["A"], vec![inactive("A")])),
                "deactivate access key A",
            ),
            (
                KeyGoal::Off { adopted: true },
                keys(&["A"], vec![key("A", 0), key("HAND", 0)]),
                "deactivate access key A; deactivate access key HAND",
            ),
            (
                OFF,
                SeenKeys {
                    no_user: true,
                    ..gone(&["A"])
                },
                "",
            ),
            (
                restored(true),
                keys(&["A"], vec![inactive("A"), inactive("HAND")]),
                "activate access key A",
            ),
            (
                restored(true),
                keys(&["A"], vec![key("A", 0)]),
                "activate access key A",
            ),
            (restored(true), gone(&["A"]), create),
            (restored(false), gone(&["A"]), ""),
            (
                restored(true),
                keys(&[], vec![inactive("A")]),
                "activate access key A; create access key for user acme",
            ),
        ];
        for (goal, seen, expected) in cases {
            assert_eq!(told(goal.clone(), &seen), expected, "{goal:?} {seen:?}");
        }
    }

    #[test]
    fn who_has_both_slots_taken_learns_by_what() {
        let fault = plan_to(
            another(None, false),
            &keys(&["OLD"], vec![in_use("OLD", true), inactive("HAND")]),
        )
        .unwrap_err();
        let job_error = fault.job_error().unwrap();
        let told = "OLD (active, created 1970-01-01T00:00:00.000Z, last used 1970-01-02T00:00:00.000Z with s3 in us-west-2)";
        assert!(
            job_error.detail.contains(told) && job_error.detail.contains("HAND (inactive, created"),
            "{}",
            job_error.detail
        );
        assert!(job_error.remedy.as_ref().unwrap().contains("replace="));
    }

    #[test]
    fn a_key_that_makes_room_is_known_to_the_intent() {
        let changes = plan_to(
            another(Some("HAND"), false),
            &keys(&["OLD"], vec![key("OLD", 0), key("HAND", 0)]),
        )
        .unwrap();
        assert!(
            matches!(&changes[1], AccessKeyChange::Create { known_keys, .. } if *known_keys == ["OLD", "HAND"])
        );
    }

    #[test]
    fn a_change_shows_what_was_and_what_is_and_can_be_typed() {
        let off = plan_to(OFF, &keys(&["A"], vec![key("A", 0)]))
            .unwrap()
            .remove(0);
        assert_eq!(
            (
                off.before().unwrap()["status"].clone(),
                off.after().unwrap()["status"].clone()
            ),
            (json!("Active"), json!("Inactive"))
        );
        assert_eq!(
            off.aws_cli(),
            "aws iam update-access-key --user-name acme --access-key-id A --status Inactive"
        );
        let gone = plan_to(
            switched(KeyStatus::Deleted, true),
            &keys(&["A"], vec![key("A", 0)]),
        )
        .unwrap()
        .remove(0);
        assert_eq!(
            (
                gone.before().unwrap()["access_key_id"].clone(),
                gone.after()
            ),
            (json!("A"), None)
        );
        assert_eq!(
            gone.aws_cli(),
            "aws iam delete-access-key --user-name acme --access-key-id A"
        );
    }

    #[test]
    fn a_lost_key_is_deleted_and_another_made() {
        let seen = SeenKeys {
            listed: vec![key("OLD", 0), key("NEW", 5_000)],
            lost: Some(lost(vec![key("NEW", 5_000)])),
            ..SeenKeys::default()
        };
        let changes = plan(&seen).unwrap();
        assert!(
            matches!(&changes[0], AccessKeyChange::DeleteLost { access_key_id, .. } if access_key_id == "NEW")
        );
        assert!(
            matches!(&changes[1], AccessKeyChange::Create { known_keys, .. } if *known_keys == ["OLD"])
        );
    }

    #[test]
    fn any_doubt_asks_a_person_and_deletes_nothing() {
        let cases = [
            lost(vec![key("A", 5_000), key("B", 5_000)]),
            lost(vec![key("A", 4_999)]),
            lost(vec![key("A", 30_001)]),
            lost(vec![ListedKey {
                created_at: None,
                ..key("A", 0)
            }]),
            Lost {
                used: true,
                ..lost(vec![key("A", 6_000)])
            },
            Lost {
                made_user: false,
                ..lost(vec![key("A", 6_000)])
            },
        ];
        for case in cases {
            let fault = plan(&SeenKeys {
                lost: Some(case),
                ..SeenKeys::default()
            })
            .unwrap_err();
            let job_error = fault.job_error().unwrap();
            assert_eq!(job_error.code, JobErrorCode::CredentialInDoubt);
            assert!(
                job_error.detail.contains('A')
                    && job_error
                        .remedy
                        .as_ref()
                        .unwrap()
                        .contains("delete-access-key")
            );
        }
    }

    #[test]
    fn nothing_lost_closes_the_intent() {
        let changes = plan(&SeenKeys {
            lost: Some(lost(Vec::new())),
            ..SeenKeys::default()
        })
        .unwrap();
        assert!(matches!(
            changes[..],
            [
                AccessKeyChange::Close { .. },
                AccessKeyChange::Create { .. }
            ]
        ));
    }

    #[test]
    fn a_known_key_is_enough_and_two_unknown_ones_are_too_many() {
        assert_eq!(
            plan(&SeenKeys {
                ours: vec!["A".into()],
                listed: vec![key("A", 0)],
                ..SeenKeys::default()
            })
            .unwrap(),
            []
        );
        assert_eq!(
            plan(&SeenKeys {
                listed: vec![key("A", 0)],
                ..SeenKeys::default()
            })
            .unwrap()
            .len(),
            1
        );
        let full = SeenKeys {
            listed: vec![key("A", 0), key("B", 0)],
            ..SeenKeys::default()
        };
        assert_eq!(
            plan(&full).unwrap_err().job_error().unwrap().code,
            JobErrorCode::QuotaExceeded
        );
    }
}
