//! A look at the keys on an app's user, for the list of its credentials.

use std::time::Duration;

use futures::future::try_join_all;

use crate::aws::{Account, AwsError, ErrorKind, Service};
use crate::clock::Timestamp;
use crate::domain::access_key::KeyState;
use crate::domain::names::AppName;

/// A key as AWS shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenKey {
    /// AWS's id of it.
    pub access_key_id: String,
    /// Whether it is switched on.
    pub state: KeyState,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it was last used, with what service, in what region.
    pub last_used: Option<(Timestamp, String, String)>,
}

/// The keys on an app's user. A user that is not there has none.
///
/// # Errors
/// What AWS refused.
pub async fn look(account: &Account, user: &AppName) -> Result<Vec<SeenKey>, AwsError> {
    let call = account
        .iam()
        .list_access_keys()
        .user_name(user.as_str())
        .send();
    let listed = match account.call(Service::Iam, "ListAccessKeys", call).await {
        Ok(answer) => answer.access_key_metadata,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let seen = try_join_all(listed.into_iter().map(|key| look_at(account, key))).await?;
    Ok(seen.into_iter().flatten().collect())
}

/// Recorded keys that AWS may not list everywhere yet (IAM is eventually consistent), and does not.
pub fn unlisted_yet(
    listed: &[SeenKey],
    recorded: Vec<(String, Timestamp)>,
    now: Timestamp,
    propagation: Duration,
) -> Vec<(String, Timestamp)> {
    let is_listed = |id: &str| listed.iter().any(|key| key.access_key_id == id);
    recorded
        .into_iter()
        .filter(|(id, at)| now.since(*at) < propagation && !is_listed(id))
        .collect()
}

/// The listed keys and those that AWS does not list yet: these are on, as they were made.
pub fn with_young(
    mut listed: Vec<SeenKey>,
    recorded: Vec<(String, Timestamp)>,
    now: Timestamp,
    propagation: Duration,
) -> Vec<SeenKey> {
    let young = unlisted_yet(&listed, recorded, now, propagation).into_iter();
    listed.extend(young.map(|(access_key_id, at)| SeenKey {
        access_key_id,
        state: KeyState::Active,
        created_at: Some(at),
        last_used: None,
    }));
    listed
}

/// A listed key, unless it is gone meanwhile.
async fn look_at(
    account: &Account,
    key: aws_sdk_iam::types::AccessKeyMetadata,
) -> Result<Option<SeenKey>, AwsError> {
    let access_key_id = key.access_key_id.unwrap_or_default();
    let call = account
        .iam()
        .get_access_key_last_used()
        .access_key_id(&access_key_id)
        .send();
    let used = match account
        .call(Service::Iam, "GetAccessKeyLastUsed", call)
        .await
    {
        Ok(answer) => answer.access_key_last_used,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let last_used =
        used.and_then(|used| Some((moment(used.last_used_date)?, used.service_name, used.region)));
    let active = key.status == Some(aws_sdk_iam::types::StatusType::Active);
    let state = if active {
        KeyState::Active
    } else {
        KeyState::Inactive
    };
    Ok(Some(SeenKey {
        access_key_id,
        state,
        created_at: moment(key.create_date),
        last_used,
    }))
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
        let listed = SeenKey {
            access_key_id: "LISTED".into(),
            state: KeyState::Inactive,
            created_at: None,
            last_used: None,
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
            .map(|key| (key.access_key_id.as_str(), key.state))
            .collect();
        assert_eq!(
            seen,
            [("LISTED", KeyState::Inactive), ("YOUNG", KeyState::Active)]
        );
    }
}
