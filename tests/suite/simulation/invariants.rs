//! The promises (reliability.md), looked at once a world has settled. Each function answers what is broken.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::plan::BUCKET_OF_ANOTHER_ACCOUNT;
use super::world::World;
use crate::support::aws::AccountAdmin;
use crate::support::wire::Call;

/// How long IAM takes at most to show everywhere what has changed.
const PROPAGATION: std::time::Duration = std::time::Duration::from_secs(60);

/// Everything that is broken.
pub async fn broken(world: &mut World) -> Vec<String> {
    let mut broken = every_job_ended(world).await;
    broken.extend(keys_are_known(world).await);
    broken.extend(secrets_work(world).await);
    broken.extend(nothing_foreign_is_changed(world));
    broken.extend(attachments_are_of_the_spec(world).await);
    broken.extend(everything_is_explained(world).await);
    broken.extend(changes_are_audited(world).await);
    broken.extend(attempts_do_not_overlap(world));
    broken.extend(a_second_repair_changes_nothing(world).await);
    broken.extend(world.host.aws.take_violations());
    broken
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().cloned().unwrap_or_default()
}

/// 1 and 2: an accepted job is there and has ended; one that waits for a person says why, and that is true.
async fn every_job_ended(world: &mut World) -> Vec<String> {
    let mut broken = Vec::new();
    let ids: Vec<String> = world.known.accepted.keys().cloned().collect();
    for (id, job) in ids.iter().zip(world.jobs().await) {
        let asked = &world.known.accepted[id];
        let Some(job) = job else {
            broken.push(format!("the job {id} ({asked}) is lost"));
            continue;
        };
        match job["state"].as_str().unwrap_or_default() {
            "succeeded" | "canceled" => {}
            "failed" | "needs_attention" => broken.extend(untrue_reason(world, asked, &job)),
            state => broken.push(format!("the job {id} ({asked}) is {state}")),
        }
    }
    broken
}

/// Why a job that did not succeed says something that is not so.
fn untrue_reason(world: &World, asked: &str, job: &Value) -> Option<String> {
    let error = &job["error"];
    let says = |text: &str| error["detail"].as_str().unwrap_or_default().contains(text);
    let may_be = match error["code"].as_str().unwrap_or_default() {
        "access_denied" => world.known.denied,
        "conflict" => {
            // What a removal has left is nobody's.
            says("s3:bucket/") && world.known.has_removed()
                || says("ecr:repository/") && world.known.has_removed()
                || says(BUCKET_OF_ANOTHER_ACCOUNT)
                || says("BucketAlreadyExists")
                || says("-hand")
                || says("iam:user/")
                || says("NotEmpty")
                || says("DeleteConflict")
        }
        "credential_in_doubt" => {
            world.known.denied || world.known.kills > 0 || !world.known.hand_keys.is_empty()
        }
        "would_delete_data" | "key_in_use" | "would_expire" => true,
        "deadline_exceeded" | "unavailable" => world.plan.faults > 0 || world.plan.clock_steps > 0,
        "quota_exceeded" => !world.known.hand_keys.is_empty() || asked.contains("rotate"),
        "rejected" => says("does not exist") || says("no longer exists"),
        _ => false,
    };
    let tells = error["detail"]
        .as_str()
        .is_some_and(|text| !text.is_empty())
        && error["remedy"]
            .as_str()
            .is_some_and(|text| !text.is_empty());
    (!may_be || !tells).then(|| {
        format!(
            "the job {} ({asked}) is {} for a reason that is not so: {error}",
            job["id"], job["state"]
        )
    })
}

/// 3: every live key on an app's user was made by hand, or its credential is listed, or a job names it.
async fn keys_are_known(world: &mut World) -> Vec<String> {
    let mut broken = Vec::new();
    let snapshot = world.host.aws.snapshot(world.host.account());
    for name in world.apps.clone() {
        let listed = world
            .json(&format!("/v1/apps/{name}/credentials"))
            .await
            .unwrap_or_default();
        let managed: BTreeSet<String> = items(&listed)
            .iter()
            .filter(|item| item["managed"] == true && !item["secret"].is_null())
            .filter_map(|item| Some(item["access_key_id"].as_str()?.to_owned()))
            .collect();
        let jobs = world
            .json(&format!("/v1/jobs?app={name}&limit=100"))
            .await
            .unwrap_or_default()
            .to_string();
        // Where the deadline came before the key could be found, the park says that a retry finds it.
        let in_doubt = jobs.contains("credential_in_doubt");
        let keys = snapshot["users"][&name]["keys"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for key in keys {
            let id = key["id"].as_str().unwrap_or_default();
            if !world.known.hand_keys.contains(id)
                && !managed.contains(id)
                && !jobs.contains(id)
                && !in_doubt
            {
                broken.push(format!("{name} has the key {id}, which nobody knows; its jobs: {jobs}; listed: {listed}"));
            }
        }
    }
    broken
}

/// 3 and 5: whoever claimed a secret can use it while its key is active.
async fn secrets_work(world: &mut World) -> Vec<String> {
    let mut broken = Vec::new();
    for name in world.apps.clone() {
        world.claim_all(&name).await;
    }
    let active = active_keys(world);
    let claimed: Vec<_> = world.known.claimed.clone().into_iter().collect();
    for (key, secret) in claimed.iter().filter(|(key, _)| active.contains(key)) {
        if world.host.identity_of(key, secret).await.is_ok() {
            continue;
        }
        // A claim sets a rotation going, which may have deactivated the key meanwhile; and IAM may not have got around yet.
        tokio::time::sleep(PROPAGATION).await;
        if !active_keys(world).contains(key) {
            continue;
        }
        if let Err(error) = world.host.identity_of(key, secret).await {
            broken.push(format!(
                "the claimed secret of {key} does not work: {error}"
            ));
        }
    }
    broken
}

/// The keys that are active in AWS.
fn active_keys(world: &World) -> BTreeSet<String> {
    let snapshot = world.host.aws.snapshot(world.host.account());
    let users = snapshot["users"].as_object().into_iter().flatten();
    users
        .flat_map(|(_, user)| user["keys"].as_array().cloned().unwrap_or_default())
        .filter(|key| key["status"] == "Active")
        .filter_map(|key| key["id"].as_str().map(str::to_owned))
        .collect()
}

/// 8: what was there before any app, and nobody asked to adopt, is as it was.
fn nothing_foreign_is_changed(world: &World) -> Vec<String> {
    let now = world.host.aws.snapshot(world.host.account());
    let asked: String = world.known.accepted_bodies.join("\n");
    let mut broken = Vec::new();
    for kind in ["buckets", "repositories", "users", "policies", "groups"] {
        for (name, before) in world.before[kind].as_object().into_iter().flatten() {
            let by_hand = kind == "users" && world.known.hand_changed.contains(name);
            let adopted = by_hand
                || asked.contains("adopt") && (asked.contains(name.as_str()) || kind == "users");
            if !adopted && now[kind][name] != *before {
                broken.push(format!(
                    "{kind} {name}, which is not ours, was {before} and is {}",
                    now[kind][name]
                ));
            }
        }
    }
    broken
}

/// A ready app has the attachment of its media access and no other of ours.
async fn attachments_are_of_the_spec(world: &mut World) -> Vec<String> {
    let mut broken = Vec::new();
    let snapshot = world.host.aws.snapshot(world.host.account());
    for name in world.apps.clone() {
        let app = world
            .json(&format!("/v1/apps/{name}"))
            .await
            .unwrap_or_default();
        if app["state"] != "ready" || world.known.hand_changed.contains(&name) {
            continue;
        }
        if app["spec"]["access_key"] == false && app["spec"]["identities"].is_array() {
            // It has no user, or one that is retained as it is.
            continue;
        }
        if app["spec"]["media_access"] == "scoped"
            && app["spec"]["buckets"] == serde_json::json!([])
        {
            continue;
        }
        let scoped = format!(":policy/MediaManagement-{name}");
        let wanted = if app["spec"]["media_access"] == "scoped" {
            scoped.as_str()
        } else {
            ":policy/MediaManagement"
        };
        let attached: Vec<&str> = texts(&snapshot["users"][&name]["attached"])
            .filter(|arn| arn.contains(":policy/MediaManagement"))
            .collect();
        if attached.len() != 1 || !attached[0].ends_with(wanted) {
            broken.push(format!(
                "{name} is {} and has {attached:?}",
                app["spec"]["media_access"]
            ));
        }
    }
    broken
}

/// The database explains every resource that carries our tags.
async fn everything_is_explained(world: &mut World) -> Vec<String> {
    let mut explained = String::new();
    for name in world.apps.clone() {
        let app = world
            .json(&format!("/v1/apps/{name}"))
            .await
            .unwrap_or_default();
        explained.push_str(&app.to_string());
    }
    let snapshot = world.host.aws.snapshot(world.host.account());
    let mut broken = Vec::new();
    for (kind, prefix) in [
        ("users", "iam:user/"),
        ("buckets", "s3:bucket/"),
        ("policies", "iam:policy/"),
        ("roles", "iam:role/"),
        ("instance_profiles", "iam:instance-profile/"),
    ] {
        for (name, thing) in snapshot[kind].as_object().into_iter().flatten() {
            let name = name.rsplit('/').next().unwrap_or_default();
            let ours = thing["tags"]["slipway:app"].is_string();
            if ours
                && !explained.contains(&format!("{prefix}{name}\""))
                && !explained.contains(&format!("\"name\":\"{name}\""))
            {
                broken.push(format!(
                    "nothing explains {prefix}{name} with its tags {}",
                    thing["tags"]
                ));
            }
        }
    }
    broken
}

/// Every change whose answer the service got is in the audit, by AWS's request id.
async fn changes_are_audited(world: &mut World) -> Vec<String> {
    world.known.calls.extend(world.host.aws.take_log());
    // A process that is lost, or loses its lease by a step of the clock, tells nothing of the call that it was in.
    if world.known.kills > 0 || world.plan.freezes > 0 || world.plan.clock_steps > 0 {
        return Vec::new();
    }
    let mut audited = BTreeSet::new();
    let mut path = "/v1/audit?limit=100".to_owned();
    while let Some(page) = world.json(&path).await {
        for entry in items(&page) {
            collect_request_ids(&entry, &mut audited);
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/audit?limit=100&cursor={cursor}"),
            None => break,
        }
    }
    let changed = |call: &&Call| {
        call.mutates() && call.service != "sts" && call.status.is_some_and(|status| status < 300)
    };
    let told = |call: &Call| {
        call.request_id
            .as_ref()
            .is_some_and(|id| audited.contains(id))
    };
    let missing = world
        .known
        .calls
        .iter()
        .filter(changed)
        .filter(|call| !told(call));
    // A preview is begun by a plan, which changes nothing.
    let missing = missing
        .filter(|call| call.operation != "StartLifecyclePolicyPreview" && !world.met_fault(call));
    missing
        .map(|call| {
            format!(
                "the audit does not tell of {} {:?} {:?}",
                call.name(),
                call.things(),
                call.request_id
            )
        })
        .collect()
}

fn collect_request_ids(value: &Value, ids: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(id) = fields.get("request_id").and_then(Value::as_str) {
                ids.insert(id.to_owned());
            }
            fields
                .values()
                .for_each(|value| collect_request_ids(value, ids));
        }
        Value::Array(list) => list
            .iter()
            .for_each(|value| collect_request_ids(value, ids)),
        _ => {}
    }
}

/// Once another process has worked on an app, the one before makes no call for it in the same job.
fn attempts_do_not_overlap(world: &World) -> Vec<String> {
    let mut last: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut broken = Vec::new();
    for call in world
        .known
        .calls
        .iter()
        .filter(|call| call.mutates() && call.service != "sts")
    {
        let Some(session) = call.session() else {
            continue;
        };
        for thing in call
            .things()
            .into_iter()
            .filter(|thing| world.apps.contains(thing))
        {
            let sessions = last.entry(thing.clone()).or_default();
            if sessions.last() == Some(&session) {
                continue;
            }
            // Two processes may take turns, job by job; three changes of hands at one moment are an overlap.
            sessions.push(session);
        }
    }
    for (thing, sessions) in last {
        if sessions.len() > 2 * (world.known.accepted.len() + world.known.kills as usize + 2) {
            broken.push(format!(
                "processes took turns {} times on {thing}",
                sessions.len()
            ));
        }
    }
    broken
}

/// 7: a repair brings a ready app to its spec, and another changes nothing.
async fn a_second_repair_changes_nothing(world: &mut World) -> Vec<String> {
    let mut broken = Vec::new();
    for name in world.apps.clone() {
        let app = world
            .json(&format!("/v1/apps/{name}"))
            .await
            .unwrap_or_default();
        if app["state"] != "ready" {
            continue;
        }
        let path = format!("/v1/apps/{name}/repair");
        let Some(first) = world.run(&path).await else {
            continue;
        };
        if first["state"] != "succeeded" {
            broken.extend(untrue_reason(world, "a repair", &first));
            continue;
        }
        world.settle().await;
        world.known.calls.extend(world.host.aws.take_log());
        let Some(second) = world.run(&path).await else {
            continue;
        };
        let calls = world.host.aws.take_log();
        let changing: Vec<String> = calls
            .iter()
            .filter(|call| call.mutates() && call.service != "sts")
            .map(Call::name)
            .collect();
        if second["state"] != "succeeded" || !changing.is_empty() {
            broken.push(format!(
                "a second repair of {name} is {} and calls {changing:?}",
                second["state"]
            ));
        }
        world.known.calls.extend(calls);
    }
    broken
}
