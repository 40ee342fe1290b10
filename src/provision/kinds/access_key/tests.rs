use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use ulid::Ulid;

use super::*;
use crate::clock::Timestamp;
use crate::domain::access_key::Intent;
use crate::domain::job::JobErrorCode;
use crate::domain::names::AppName;
use crate::domain::task::KeyStatus;
use crate::provision::change::Change;
use crate::provision::fault::Fault;
use crate::provision::resource::Resource;
use crate::provision::user_keys::{LastUse, ListedKey};

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
