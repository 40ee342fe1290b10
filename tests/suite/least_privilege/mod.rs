//! The role's policy, as `slipway role-policy` prints it: it is enough for whole lives of apps, with its conditions
//! evaluated and IAM's lag on, and every action in it is needed.

mod emulated;
mod lives;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use serde_json::Value;
use slipway::domain::spec::Defaults;
use slipway::provision::conventions::Conventions;
use slipway::provision::permissions;
use strum::IntoEnumIterator as _;

use crate::aws::{Consistency, Options};
use crate::support::{alone, for_each_of};
use lives::{Life, Lived};

/// How many worlds each life is lived in, with answers lost and without.
const SEEDS: u64 = 6;

fn on_all_cores<T: Sync>(items: &[T], run: impl Fn(&T) + Sync) {
    let _turn = futures::executor::block_on(alone());
    for_each_of(
        items,
        std::thread::available_parallelism().map_or(2, usize::from),
        run,
    );
}

fn lagging(seed: u64) -> Options {
    Options {
        seed,
        consistency: Consistency::as_aws_documents(),
        ..Options::default()
    }
}

/// The actions that a policy grants.
fn granted(policy: &Value) -> BTreeSet<String> {
    let statements = policy["Statement"].as_array().expect("statements").iter();
    let actions = statements.flat_map(|statement| statement["Action"].as_array().expect("actions"));
    actions
        .map(|action| action.as_str().expect("a text").to_owned())
        .collect()
}

fn printed() -> Value {
    permissions::role_policy(&conventions())
}

fn conventions() -> Conventions {
    Conventions::new(&Defaults::default(), "aws", "123456789012")
}

fn without(action: &str, mut policy: Value) -> Value {
    let statements = policy["Statement"].as_array_mut().expect("statements");
    for statement in statements.iter_mut() {
        statement["Action"]
            .as_array_mut()
            .expect("actions")
            .retain(|other| other != action);
    }
    statements.retain(|statement| !statement["Action"].as_array().expect("actions").is_empty());
    policy
}

#[test]
fn the_policy_is_enough_for_whole_lives() {
    let lives: Vec<(Life, u64, bool)> = Life::iter()
        .flat_map(|life| (0..SEEDS).flat_map(move |seed| [(life, seed, false), (life, seed, true)]))
        .collect();
    let wrong = Mutex::new(Vec::new());
    on_all_cores(&lives, |(life, seed, lose_answers)| {
        let lived =
            std::panic::catch_unwind(|| life.live(lagging(*seed), |policy| policy, *lose_answers));
        let wrongs = match lived {
            Ok(Lived { errors, .. }) => errors.iter().map(Value::to_string).collect(),
            Err(panic) => vec![super::replay::words(panic.as_ref())],
        };
        if !wrongs.is_empty() {
            wrong.lock().unwrap().push(format!(
                "{life:?}, seed {seed}, answers lost: {lose_answers}: {}",
                wrongs.join("\n    ")
            ));
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        lives.len(),
        wrong.join("\n")
    );
}

/// The lives that use each action, without lag and faults.
fn lives_by_action() -> BTreeMap<String, Vec<Life>> {
    let by_action: Mutex<BTreeMap<String, Vec<Life>>> = Mutex::default();
    on_all_cores(&Life::iter().collect::<Vec<_>>(), |life| {
        let used = life.live(Options::default(), |policy| policy, false).used;
        let mut by_action = by_action.lock().unwrap();
        used.into_iter()
            .for_each(|action| by_action.entry(action).or_default().push(*life));
    });
    by_action.into_inner().unwrap()
}

/// Actions that no life uses, and why they are granted.
const NOT_USED: [(&str, &str); 1] = [(
    "s3:DeleteObject",
    "every deletion names a version, `null` too, which takes s3:DeleteObjectVersion alone (Amazon S3 API Reference, DeleteObjects); \
     ministack asks for this one",
)];

/// Actions whose absence no job and no answer tells, and why.
const NOT_MISSED: [(&str, &str); 2] = [
    (
        "ecr:GetLifecyclePolicyPreview",
        "plans do with our own evaluation where AWS does not preview",
    ),
    (
        "ecr:StartLifecyclePolicyPreview",
        "plans do with our own evaluation where AWS does not preview",
    ),
];

#[test]
#[ignore = "takes long: make test-all"]
fn every_action_is_used_and_each_taken_out_is_missed_and_named() {
    let (lives, mut granted) = (lives_by_action(), granted(&printed()));
    assert!(
        NOT_USED.iter().all(|(action, _)| granted.remove(*action)),
        "what is listed is granted"
    );
    assert_eq!(
        lives.keys().cloned().collect::<BTreeSet<_>>(),
        granted,
        "what is used is what is granted"
    );
    let unnoticed = Mutex::new(BTreeSet::new());
    on_all_cores(&granted.iter().collect::<Vec<_>>(), |action| {
        let is_named = |error: &Value| {
            error["remedy"]
                .as_str()
                .is_some_and(|remedy| remedy.contains(action.as_str()))
        };
        let tells = |life: &Life| {
            life.live(Options::default(), |policy| without(action, policy), false)
                .errors
                .iter()
                .any(is_named)
        };
        if !lives[*action].iter().any(tells) {
            unnoticed.lock().unwrap().insert(action.as_str());
        }
    });
    assert_eq!(
        unnoticed.into_inner().unwrap(),
        NOT_MISSED.iter().map(|(action, _)| *action).collect(),
        "of {}",
        granted.len()
    );
}

#[test]
fn the_documents_have_the_policy() {
    let shown: Value =
        serde_json::from_str(include_str!("../../../docs/role-policy.json")).unwrap();
    assert_eq!(
        shown,
        permissions::own_role_policy(&conventions(), None, &[]),
        "run `slipway role-policy > docs/role-policy.json`"
    );
}
