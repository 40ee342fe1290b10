//! What a rotation begins with, and what the look at an old key means for it.
//!
//! Invariant: these decide by what AWS shows and by our record alone, and change nothing.

use std::time::Duration;

use crate::clock::{Timestamp, duration_text};
use crate::domain::access_key::{InUse, KeyState};
use crate::domain::rotation::Rotation;
use crate::provision::user_keys::{LastUse, ListedKey};

/// Keys that a user can have (IAM quotas); inactive ones count.
const SLOTS: usize = 2;
/// The longest time between two looks at a key that is in use.
const LOOK: Duration = Duration::from_secs(3600);

/// What a rotation begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Every key on the user.
    pub known_keys: Vec<String>,
    /// The key of ours that the new one takes over from.
    pub old_key: Option<String>,
    /// The key that makes room, where both slots are taken.
    pub replace: Option<String>,
}

/// Why no rotation can begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoStart {
    /// Both of the user's slots are taken, by these.
    NoSlot(Vec<String>),
    /// The key that is to make room is in use.
    InUse(String),
}

/// How a rotation begins on a user with these keys, `ours` among them. `replace` counts only where there is no room.
///
/// # Errors
/// When there is no room for another key, or the key that is to make it is in use.
pub fn start(
    keys: &[ListedKey],
    ours: &[String],
    replace: Option<&str>,
    in_use: InUse,
    now: Timestamp,
    idle_period: Duration,
) -> Result<Start, NoStart> {
    let replaced = if keys.len() < SLOTS {
        None
    } else {
        let named = keys.iter().find(|key| replace == Some(key.id.as_str()));
        Some(
            named
                .ok_or_else(|| NoStart::NoSlot(keys.iter().map(|key| told(key, now)).collect()))?,
        )
    };
    if let Some(key) =
        replaced.filter(|key| in_use == InUse::Refuse && key.is_in_use(now, idle_period))
    {
        return Err(NoStart::InUse(told(key, now)));
    }
    let replace = replaced.map(|key| key.id.clone());
    let stays = |key: &&ListedKey| ours.contains(&key.id) && replace.as_ref() != Some(&key.id);
    Ok(Start {
        known_keys: keys.iter().map(|key| key.id.clone()).collect(),
        old_key: keys.iter().find(stays).map(|key| key.id.clone()),
        replace,
    })
}

/// What a look at the keys means for a rotation whose old key is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// There is no old key any more.
    Gone,
    /// It is off already.
    Off,
    /// It is unused, or the rotation was forced.
    Quiet,
    /// The new key is gone: the old one must stay.
    NewGone,
    /// It stays as it is until this moment, for this reason.
    Kept(Timestamp, String),
}

/// What the keys on the user mean for `rotation`: a key is unused if it was never used, or not for the time `quiet`.
pub fn watched(
    rotation: &Rotation,
    keys: &[ListedKey],
    now: Timestamp,
    idle_period: Duration,
) -> Watched {
    let on_user = |id: &Option<String>| keys.iter().find(|key| Some(&key.id) == id.as_ref());
    let Some(old) = on_user(&rotation.old_key) else {
        return Watched::Gone;
    };
    let Some(new) = on_user(&rotation.new_key) else {
        return Watched::NewGone;
    };
    if !old.active {
        return Watched::Off;
    }
    if !new.active {
        let reason = format!(
            "The new key {} is inactive, so the old key stays active.",
            new.id
        );
        return Watched::Kept(now.after(LOOK), reason);
    }
    if rotation.forced || !old.is_in_use(now, idle_period) {
        return Watched::Quiet;
    }
    let again = old
        .used
        .as_ref()
        .map_or(now, |used| used.at.after(idle_period))
        .min(now.after(LOOK));
    let rule = duration_text(idle_period);
    Watched::Kept(
        again,
        format!(
            "The old key is in use: {}. It is deactivated once it has not been used for {rule}.",
            told(old, now)
        ),
    )
}

/// What a look at the keys means for a rotation whose old key is off and is to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// The old key can go, or is gone.
    Over,
    /// It stays, and the rotation ends for this reason.
    Stopped(String),
    /// It is held until this moment, for this reason.
    Kept(Timestamp, String),
}

/// What the keys on the user mean for `rotation` once the old key has been off for its time; forced or not.
pub fn held(rotation: &Rotation, keys: &[ListedKey], now: Timestamp) -> Held {
    let on_user = |id: &Option<String>| keys.iter().find(|key| Some(&key.id) == id.as_ref());
    let Some(old) = on_user(&rotation.old_key) else {
        return Held::Over;
    };
    if old.active {
        return Held::Stopped(format!(
            "The old key {} was activated again, so it is retained.",
            old.id
        ));
    }
    let Some(new) = on_user(&rotation.new_key) else {
        return Held::Stopped(format!(
            "The new key no longer exists, so the old key {} is retained. It is inactive.",
            old.id
        ));
    };
    if !new.active {
        let reason = format!(
            "The new key {} is inactive, so the old key is not deleted.",
            new.id
        );
        return Held::Kept(now.after(LOOK), reason);
    }
    Held::Over
}

/// A key with its age and last use, for people.
pub fn told(key: &ListedKey, now: Timestamp) -> String {
    let days = |at: Timestamp| match now.since(at).as_secs() / 86_400 {
        0 => "less than a day ago".to_owned(),
        1 => "1 day ago".to_owned(),
        days => format!("{days} days ago"),
    };
    let made = key
        .created_at
        .map(|at| format!(", created {}", days(at)))
        .unwrap_or_default();
    let used = match &key.used {
        Some(LastUse {
            at,
            service,
            region,
        }) => {
            format!("last used {} ({at}) with {service} in {region}", days(*at))
        }
        None => "never used".to_owned(),
    };
    let state = if key.active {
        KeyState::Active
    } else {
        KeyState::Inactive
    };
    format!("{} ({state}{made}, {used})", key.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rotation::Stage;

    const NOW: Timestamp = Timestamp::from_millis(100 * 86_400_000);
    const QUIET: Duration = Duration::from_secs(3600);

    fn key(id: &str, used_hours_ago: Option<u64>) -> ListedKey {
        let used = used_hours_ago.map(|hours| LastUse {
            at: NOW.before(Duration::from_secs(3600 * hours)),
            service: "s3".into(),
            region: "us-west-2".into(),
        });
        ListedKey {
            id: id.into(),
            active: true,
            created_at: Some(Timestamp::from_millis(0)),
            used,
        }
    }

    fn off(id: &str) -> ListedKey {
        ListedKey {
            active: false,
            ..key(id, Some(0))
        }
    }

    #[test]
    fn what_a_rotation_begins_with() {
        let begin = |keys: &[ListedKey], replace, force| {
            start(
                keys,
                &["A".into(), "B".into()],
                replace,
                InUse::forced(force),
                NOW,
                QUIET,
            )
        };
        let started = |known: &[&str], old: Option<&str>, replace: Option<&str>| {
            let own = |text: &str| text.to_owned();
            Ok(Start {
                known_keys: known.iter().map(|id| own(id)).collect(),
                old_key: old.map(own),
                replace: replace.map(own),
            })
        };
        assert_eq!(begin(&[], None, false), started(&[], None, None));
        assert_eq!(
            begin(&[key("A", Some(0))], None, false),
            started(&["A"], Some("A"), None)
        );
        assert_eq!(
            begin(&[key("A", None)], Some("A"), false),
            started(&["A"], Some("A"), None),
            "there is room"
        );
        assert_eq!(
            begin(&[key("HAND", None)], None, false),
            started(&["HAND"], None, None),
            "what is not ours stays"
        );
        let both = [key("A", Some(0)), key("B", Some(50))];
        assert_eq!(
            begin(&both, Some("B"), false),
            started(&["A", "B"], Some("A"), Some("B"))
        );
        assert!(matches!(
            begin(&both, Some("A"), false),
            Err(NoStart::InUse(_))
        ));
        assert_eq!(
            begin(&both, Some("A"), true),
            started(&["A", "B"], Some("B"), Some("A"))
        );
        assert_eq!(
            begin(&[key("A", None), off("HAND")], Some("HAND"), false),
            started(&["A", "HAND"], Some("A"), Some("HAND"))
        );
        let Err(NoStart::NoSlot(told)) = begin(&both, Some("ELSE"), true) else {
            panic!("there is no room")
        };
        assert_eq!(
            told[0],
            "A (active, created 100 days ago, last used less than a day ago (1970-04-11T00:00:00.000Z) with s3 in us-west-2)"
        );
        assert!(
            told[1].starts_with("B (active, created 100 days ago, last used 2 days ago"),
            "{told:?}"
        );
    }

    fn rotation(forced: bool) -> Rotation {
        Rotation {
            id: ulid::Ulid::nil(),
            stage: Stage::Draining,
            new_key: Some("NEW".into()),
            old_key: Some("OLD".into()),
            forced,
            requested_by: "ops".into(),
            created_at: NOW,
            since: NOW,
            due_at: None,
            reason: None,
            error: None,
            job: None,
            ended_at: None,
        }
    }

    #[test]
    fn what_a_look_before_the_deletion_means() {
        for forced in [false, true] {
            let look = |keys: &[ListedKey]| held(&rotation(forced), keys, NOW);
            let new = key("NEW", Some(0));
            assert_eq!(look(&[new.clone(), off("OLD")]), Held::Over);
            assert_eq!(
                look(std::slice::from_ref(&new)),
                Held::Over,
                "that is what was wanted"
            );
            assert!(
                matches!(look(&[new, key("OLD", None)]), Held::Stopped(why) if why.contains("activated again"))
            );
            assert!(
                matches!(look(&[off("OLD")]), Held::Stopped(why) if why.contains("new key no longer exists"))
            );
            assert!(
                matches!(look(&[off("NEW"), off("OLD")]), Held::Kept(until, _) if until == NOW.after(LOOK))
            );
        }
    }

    #[test]
    fn what_a_look_means() {
        let new = key("NEW", Some(0));
        let look = |forced, keys: &[ListedKey]| watched(&rotation(forced), keys, NOW, QUIET);
        assert_eq!(
            look(false, &[new.clone(), key("OLD", None)]),
            Watched::Quiet
        );
        assert_eq!(
            look(false, &[new.clone(), key("OLD", Some(1))]),
            Watched::Quiet,
            "just long enough"
        );
        assert_eq!(
            look(true, &[new.clone(), key("OLD", Some(0))]),
            Watched::Quiet,
            "forced"
        );
        let checked = LastUse {
            at: NOW,
            service: "sts".into(),
            region: "us-west-2".into(),
        };
        let made = |before| ListedKey {
            used: Some(checked.clone()),
            created_at: Some(NOW.before(before)),
            ..key("OLD", None)
        };
        assert_eq!(
            look(false, &[new.clone(), made(Duration::from_secs(100))]),
            Watched::Quiet,
            "that was our own look at it"
        );
        assert!(matches!(
            look(false, &[new.clone(), made(QUIET)]),
            Watched::Kept(..)
        ));
        assert_eq!(look(false, &[new.clone(), off("OLD")]), Watched::Off);
        assert_eq!(look(false, std::slice::from_ref(&new)), Watched::Gone);
        assert_eq!(look(true, &[key("OLD", None)]), Watched::NewGone);
        assert_eq!(
            look(false, &[]),
            Watched::Gone,
            "there is no old key that could stay"
        );
        let Watched::Kept(until, reason) = look(false, &[new, key("OLD", Some(0))]) else {
            panic!("it is in use")
        };
        assert_eq!(until, NOW.after(QUIET));
        assert!(
            reason.contains("OLD (active") && reason.contains("1h"),
            "{reason}"
        );
        assert!(
            matches!(
                look(true, &[off("NEW"), key("OLD", None)]),
                Watched::Kept(..)
            ),
            "nobody could work"
        );
    }
}
