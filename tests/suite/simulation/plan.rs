//! What a world is like, and what is done in it: all drawn from its seed.

use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::aws::{Consistency, Options, Rates};
use crate::support::wire::{Call, Fault, mutates};

/// What a world is like.
pub struct Plan {
    pub apps: usize,
    pub steps: usize,
    pub replicas: usize,
    pub authorization: bool,
    /// How many of a thousand calls meet a fault.
    pub faults: u64,
    /// How many of a hundred steps lose a process, freeze one, or step a clock.
    pub kills: u32,
    pub freezes: u32,
    pub clock_steps: u32,
    pub options: Options,
}

impl Plan {
    pub fn of(seed: u64, rng: &mut Rng) -> Self {
        let consistency = if rng.bool() {
            Consistency::immediate()
        } else {
            Consistency::as_aws_documents()
        };
        let rates = (rng.u32(..8) == 0).then(Rates::default);
        let authorization = rng.bool();
        Self {
            apps: rng.usize(1..=3),
            steps: rng.usize(3..=10),
            replicas: if rng.u32(..4) == 0 { 2 } else { 1 },
            authorization,
            faults: [0, 0, 10, 30, 100, 250][rng.usize(..6)],
            kills: [0, 0, 10, 30][rng.usize(..4)],
            freezes: [0, 0, 0, 15][rng.usize(..4)],
            clock_steps: [0, 0, 0, 15][rng.usize(..4)],
            options: Options {
                seed,
                consistency,
                authorization,
                rates,
                latency: Duration::from_millis(5)
                    ..=Duration::from_millis([10, 80, 400][rng.usize(..3)]),
                preview: Duration::ZERO..=Duration::from_secs(5),
                ..Options::default()
            },
        }
    }
}

/// The faults that a call can meet here: losing the process is drawn by itself.
const FAULTS: [Fault; 9] = [
    Fault::Delayed,
    Fault::Throttled,
    Fault::ServerError,
    Fault::Closed,
    Fault::ResetBefore,
    Fault::ResetAfter,
    Fault::Late,
    Fault::Denied,
    Fault::CutShort,
];

/// What a call meets in a world: always the same for the nth call of an operation on a thing.
pub fn fault_of(seed: u64, per_thousand: u64, call: &Call) -> Option<Fault> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (seed, call.name(), call.things(), call.nth).hash(&mut hasher);
    let mut rng = Rng::with_seed(hasher.finish());
    if call.service == "sts" || rng.u64(..1000) >= per_thousand {
        return None;
    }
    let fault = FAULTS[rng.usize(..FAULTS.len())];
    match fault {
        // A denial is for a person, so a world with many would be one of waiting for people.
        Fault::Denied if rng.u32(..4) != 0 => None,
        Fault::Late if mutates(&call.name()) && rng.bool() => {
            Some(Fault::TooLate(Duration::from_secs(20)))
        }
        fault => Some(fault),
    }
}

/// Something that is done in a world.
#[derive(Debug, Clone)]
pub enum Act {
    Request {
        method: &'static str,
        path: String,
        body: Option<Value>,
    },
    Claim,
    /// Cancel or retry the app's latest job.
    OfLatestJob(&'static str),
    /// Activate, deactivate or delete one of the app's keys.
    OfKey(&'static str),
    /// Somebody changes something in AWS by hand.
    ByHand(Hand),
}

/// What somebody does by hand.
#[derive(Debug, Clone, Copy)]
pub enum Hand {
    DetachPolicies,
    AddKey,
    DeleteKey,
    DeleteCors,
    UntagUser,
    PutObject,
    LeaveGroup,
    DeleteRepository,
}

pub const BUCKET_OF_ANOTHER_ACCOUNT: &str = "somebody-elses-bucket";

fn spec(rng: &mut Rng, name: &str) -> Value {
    let mut spec =
        json!({"name": name, "media_access": if rng.bool() { "shared" } else { "scoped" }});
    let buckets = match rng.u32(..12) {
        0..=3 => None,
        4..=6 => Some(json!([])),
        7..=8 => Some(json!([{"name": format!("{name}-one")}])),
        9 => Some(json!([{"name": format!("{name}-one")}, {"name": format!("{name}-two")}])),
        10 => Some(json!([{"name": format!("{name}-hand")}])),
        _ => Some(json!([{"name": BUCKET_OF_ANOTHER_ACCOUNT}])),
    };
    let repositories = match rng.u32(..4) {
        0 | 1 => None,
        2 => Some(json!([])),
        _ => {
            Some(json!([{"name": name, "lifecycle": "protected"}, {"name": format!("{name}/web")}]))
        }
    };
    for (field, value) in [("buckets", buckets), ("repositories", repositories)] {
        if let Some(value) = value {
            spec[field] = value;
        }
    }
    if rng.u32(..5) == 0 {
        spec["access_key"] = json!(false);
    }
    if rng.u32(..4) == 0 {
        spec["tags"] = json!({"team": format!("team-{}", rng.u32(..3))});
    }
    if rng.u32(..4) == 0 {
        spec["on_existing"] = json!("adopt");
    }
    // Drawn aside, so that a seed goes on as it did without.
    let mut aside = rng.clone();
    if aside.u32(..4) == 0 {
        let kinds = [
            json!([{"kind": "ec2"}]),
            json!([{"kind": "ecs"}, {"kind": "github", "repository": "acme/shop", "repository_id": "1", "owner_id": "2", "ref": "main"}]),
        ];
        spec["identities"] = kinds[aside.usize(..2)].clone();
    }
    spec
}

impl Act {
    /// The next act on an app that is there, or not yet.
    pub fn draw(rng: &mut Rng, name: &str, exists: bool) -> Self {
        let app = format!("/v1/apps/{name}");
        let request = |method, path, body| Self::Request { method, path, body };
        if !exists {
            return request("POST", "/v1/apps".into(), Some(spec(rng, name)));
        }
        match rng.u32(..100) {
            0..=9 => request("POST", "/v1/apps".into(), Some(spec(rng, name))),
            10..=24 => {
                let query = [
                    "",
                    "",
                    "?remove=true",
                    &format!("?remove=true&confirm={name}"),
                ][rng.usize(..4)]
                .to_owned();
                request("PUT", format!("{app}{query}"), Some(spec(rng, name)))
            }
            25..=32 => request("POST", format!("{app}/repair"), None),
            33..=40 => {
                let query = ["", "", "?force=true"][rng.usize(..3)];
                request("POST", format!("{app}/credentials/rotate{query}"), None)
            }
            41..=43 => request("POST", format!("{app}/credentials/rollback"), None),
            44..=55 => Self::Claim,
            56..=62 => Self::OfKey(["activate", "deactivate", "delete"][rng.usize(..3)]),
            63..=70 => {
                let query = [
                    String::new(),
                    "?adopted=true".into(),
                    format!("?buckets={name}-one&confirm={name}"),
                    format!("?repositories={name}&confirm={name}"),
                ];
                request("DELETE", format!("{app}{}", query[rng.usize(..4)]), None)
            }
            71..=76 => request("POST", format!("{app}/restore"), None),
            77..=83 => Self::OfLatestJob("cancel"),
            84..=88 => Self::OfLatestJob("retry"),
            89..=90 => request("POST", format!("{app}/drift"), None),
            _ => Self::ByHand(
                [
                    Hand::DetachPolicies,
                    Hand::AddKey,
                    Hand::DeleteKey,
                    Hand::DeleteCors,
                    Hand::UntagUser,
                    Hand::PutObject,
                    Hand::LeaveGroup,
                    Hand::DeleteRepository,
                ][rng.usize(..8)],
            ),
        }
    }
}
