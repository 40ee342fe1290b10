//! The access keys on an app's user, as AWS lists them.

use std::time::Duration;

use aws_sdk_iam::operation::get_access_key_last_used::GetAccessKeyLastUsedOutput;
use aws_sdk_iam::operation::list_access_keys::ListAccessKeysOutput;
use aws_sdk_iam::types::StatusType;
use futures::future::try_join_all;

use crate::aws::{Account, AwsError, ErrorKind, Service};
use crate::clock::Timestamp;
use crate::domain::access_key::is_recent_use;
use crate::domain::names::AppName;
use crate::provision::context::ReconcileContext;

/// A key on the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    pub id: String,
    pub active: bool,
    /// To the second.
    pub created_at: Option<Timestamp>,
    /// Where that was asked.
    pub used: Option<LastUse>,
}

/// When and for what a key was last used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUse {
    pub at: Timestamp,
    /// As AWS names it.
    pub service: String,
    pub region: String,
}

impl ListedKey {
    /// Whether the key works and was used within the idle period.
    pub fn is_in_use(&self, now: Timestamp, idle_period: Duration) -> bool {
        let recent = |used: &LastUse| {
            is_recent_use(used.at, &used.service, self.created_at, now, idle_period)
        };
        self.active && self.used.as_ref().is_some_and(recent)
    }
}

/// The last use of a key, if AWS has seen one.
pub fn last_use(answer: GetAccessKeyLastUsedOutput) -> Option<LastUse> {
    let used = answer.access_key_last_used?;
    Some(LastUse {
        at: moment(used.last_used_date)?,
        service: used.service_name,
        region: used.region,
    })
}

/// The keys on an app's user, as a job lists them: without their last use.
///
/// # Errors
/// What AWS refused, also because the user is not there.
pub async fn list(cx: &ReconcileContext, user: &AppName) -> Result<Vec<ListedKey>, AwsError> {
    let call = cx
        .account
        .iam()
        .list_access_keys()
        .user_name(user.as_str())
        .send();
    let answer = cx.call(Service::Iam, "ListAccessKeys", call).await?;
    listed(answer)
}

/// The keys on an app's user and their last use, outside a job. A user that is not there has none.
///
/// # Errors
/// What AWS refused.
pub async fn look(account: &Account, user: &AppName) -> Result<Vec<ListedKey>, AwsError> {
    let call = account
        .iam()
        .list_access_keys()
        .user_name(user.as_str())
        .send();
    let answer = match account.call(Service::Iam, "ListAccessKeys", call).await {
        Ok(answer) => answer,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let keys = listed(answer)?.into_iter();
    let seen = try_join_all(keys.map(|key| with_use(account, key))).await?;
    Ok(seen.into_iter().flatten().collect())
}

/// Recorded keys that AWS may not list everywhere yet (IAM is eventually consistent), and does not.
pub fn unlisted_yet(
    listed: &[ListedKey],
    recorded: Vec<(String, Timestamp)>,
    now: Timestamp,
    propagation: Duration,
) -> Vec<(String, Timestamp)> {
    let is_listed = |id: &str| listed.iter().any(|key| key.id == id);
    recorded
        .into_iter()
        .filter(|(id, at)| now.since(*at) < propagation && !is_listed(id))
        .collect()
}

/// The listed keys and those that AWS does not list yet: these are on, as they were made.
pub fn with_young(
    mut listed: Vec<ListedKey>,
    recorded: Vec<(String, Timestamp)>,
    now: Timestamp,
    propagation: Duration,
) -> Vec<ListedKey> {
    let young = unlisted_yet(&listed, recorded, now, propagation).into_iter();
    listed.extend(young.map(|(id, at)| ListedKey {
        id,
        active: true,
        created_at: Some(at),
        used: None,
    }));
    listed
}

fn listed(list: ListAccessKeysOutput) -> Result<Vec<ListedKey>, AwsError> {
    // A user has two keys at most (IAM quotas), so there is one page.
    let keys = list.access_key_metadata.into_iter().map(|key| {
        Some(ListedKey {
            id: key.access_key_id?,
            active: key.status? == StatusType::Active,
            created_at: moment(key.create_date),
            used: None,
        })
    });
    let unreadable = || AwsError::unreadable(Service::Iam, "ListAccessKeys");
    keys.collect::<Option<_>>().ok_or_else(unreadable)
}

/// The key with its last use, unless it is gone meanwhile.
async fn with_use(account: &Account, key: ListedKey) -> Result<Option<ListedKey>, AwsError> {
    let call = account
        .iam()
        .get_access_key_last_used()
        .access_key_id(&key.id)
        .send();
    match account
        .call(Service::Iam, "GetAccessKeyLastUsed", call)
        .await
    {
        Ok(answer) => Ok(Some(ListedKey {
            used: last_use(answer),
            ..key
        })),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn moment(at: Option<aws_smithy_types::DateTime>) -> Option<Timestamp> {
    at.and_then(|at| at.to_millis().ok())
        .map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_made_just_now_is_not_gone_for_not_being_listed() {
        let (now, propagation) = (Timestamp::from_millis(1_000_000), Duration::from_secs(120));
        let listed = ListedKey {
            id: "LISTED".into(),
            active: false,
            created_at: None,
            used: None,
        };
        let made = |id: &str, seconds| (id.to_owned(), now.before(Duration::from_secs(seconds)));
        let seen = with_young(
            vec![listed],
            vec![made("LISTED", 5), made("YOUNG", 5), made("GONE", 120)],
            now,
            propagation,
        );
        let seen: Vec<_> = seen
            .iter()
            .map(|key| (key.id.as_str(), key.active))
            .collect();
        assert_eq!(seen, [("LISTED", false), ("YOUNG", true)]);
    }
}
