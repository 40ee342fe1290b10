//! Access keys over their lives: rotated step by step, rolled back, switched on and off, deleted.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::aws::{Emulator, Place};
use crate::support::aws_inspector;
use crate::support::process::Launch;
use crate::support::server::{Server, Setup};
use crate::support::unique;
use crate::support::wire::{Fault, refusal};

const GRACE: Duration = Duration::from_secs(3600);
const HOLD: Duration = Duration::from_secs(2 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// A service with an app that has an access key.
struct Fixture {
    setup: Setup,
    server: Server,
    name: String,
    old: String,
}

impl Fixture {
    async fn new(emulator: Emulator) -> Self {
        Self::with(emulator, json!({})).await
    }

    async fn with(emulator: Emulator, more: Value) -> Self {
        let mut setup = Setup::new(Place::new(emulator));
        setup.settings.rotation_idle_period = GRACE;
        setup.settings.rotation_delete_delay = HOLD;
        let (server, name) = (setup.start().await, unique("acme"));
        let mut body = json!({"name": name, "buckets": [], "repositories": []});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let job = server.onboard(&body).await;
        let old = job["result"]["access_key_id"].as_str().unwrap().to_owned();
        Self {
            setup,
            server,
            name,
            old,
        }
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/apps/{}{rest}", self.name)
    }

    /// Asks, and expects a job that succeeds.
    async fn done(&self, rest: &str) -> Value {
        let job = self.server.run(&self.path(rest), None).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        job
    }

    /// Asks, and expects a refusal.
    async fn refused(&self, rest: &str) -> Value {
        let response = self.server.post_empty(&self.path(rest)).await;
        let (status, problem) = (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        );
        assert_eq!(problem["status"], status, "{problem:#}");
        problem
    }

    /// Rotates; the new key.
    async fn rotated(&self, query: &str) -> String {
        let job = self.done(&format!("/credentials/rotate{query}")).await;
        assert_eq!(job["kind"], "rotate");
        job["result"]["access_key_id"].as_str().unwrap().to_owned()
    }

    /// The credentials of a claimed key.
    async fn claimed(&self, key: &str) -> Value {
        let claim: Value = self
            .server
            .post_empty(&self.path(&format!("/credentials/{key}/claim")))
            .await
            .json()
            .await
            .unwrap();
        json!({"access_key_id": claim["AWS_ACCESS_KEY_ID"], "secret_access_key": claim["AWS_SECRET_ACCESS_KEY"]})
    }

    /// From then on nobody but its user uses the key: AWS tells of the last use alone.
    async fn until_verified(&self, key: &str) {
        let verified = |item: &Value| item["access_key_id"] == key && item["readiness"] == "ready";
        for _ in 0..300 {
            let listed = self.server.json(&self.path("/credentials")).await;
            if listed["items"].as_array().unwrap().iter().any(verified) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{key} is not verified");
    }

    fn use_key(&self, credentials: &Value) {
        aws_inspector::call_as(
            &self.setup.place,
            credentials,
            "s3",
            "list_buckets",
            json!({}),
        )
        .expect("the key works");
    }

    async fn until(&self, stage: &str) -> Value {
        until(&self.server, &self.name, |rotation| {
            rotation["stage"] == stage
        })
        .await
    }

    fn keys(&self) -> Vec<(String, bool)> {
        keys(&self.setup.place, &self.name)
    }

    fn by_hand(&self) -> String {
        let made = aws_inspector::call(
            &self.setup.place,
            "iam",
            "create_access_key",
            json!({"UserName": self.name}),
        )
        .unwrap();
        made["AccessKey"]["AccessKeyId"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

/// The app's rotation, once it is as wanted.
async fn until(api: &Api, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut page = Value::Null;
    for _ in 0..300 {
        page = api.json(&format!("/v1/apps/{name}/credentials")).await;
        if wanted(&page["rotation"]) {
            return page["rotation"].take();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the rotation does not get there: {page:#}");
}

/// The keys that AWS has, and whether they are active.
fn keys(place: &Place, name: &str) -> Vec<(String, bool)> {
    let listed =
        aws_inspector::call(place, "iam", "list_access_keys", json!({"UserName": name})).unwrap();
    let key = |key: &Value| {
        (
            key["AccessKeyId"].as_str().unwrap().to_owned(),
            key["Status"] == "Active",
        )
    };
    let mut keys: Vec<_> = listed["AccessKeyMetadata"]
        .as_array()
        .unwrap()
        .iter()
        .map(key)
        .collect();
    keys.sort();
    keys
}

fn sorted<const N: usize>(keys: [(&String, bool); N]) -> Vec<(String, bool)> {
    let mut keys: Vec<_> = keys
        .into_iter()
        .map(|(key, active)| (key.clone(), active))
        .collect();
    keys.sort();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_step_by_step() {
    for emulator in [Emulator::Moto, Emulator::Ministack] {
        let fixture = Fixture::new(emulator).await;
        if emulator == Emulator::Moto {
            fixture.until_verified(&fixture.old).await;
        }
        let old = fixture.claimed(&fixture.old).await;
        let new = fixture.rotated("").await;
        let rotation = fixture.until("awaiting_claim").await;
        assert_eq!(
            (&rotation["old_key"], &rotation["new_key"]),
            (&json!(fixture.old), &json!(new))
        );
        assert_eq!(fixture.keys(), sorted([(&fixture.old, true), (&new, true)]));
        assert_eq!(
            fixture.refused("/credentials/rotate").await["code"],
            "rotation_active"
        );

        if emulator == Emulator::Moto {
            fixture.use_key(&old);
        }
        fixture.claimed(&new).await;
        if emulator == Emulator::Moto {
            // Ministack never tells of a use.
            let told = |rotation: &Value| {
                rotation["reason"]
                    .as_str()
                    .is_some_and(|reason| reason.contains("in use"))
            };
            let rotation = until(&fixture.server, &fixture.name, told).await;
            assert_eq!(rotation["stage"], "draining", "{rotation:#}");
            assert!(
                rotation["due_at"].is_string()
                    && rotation["reason"].as_str().unwrap().contains(&fixture.old),
                "{rotation:#}"
            );
            assert_eq!(
                fixture.keys(),
                sorted([(&fixture.old, true), (&new, true)]),
                "what is in use is kept"
            );
            fixture.setup.clock.advance(GRACE * 2);
        }
        fixture.until("pending_deletion").await;
        assert_eq!(
            fixture.keys(),
            sorted([(&fixture.old, false), (&new, true)])
        );
        fixture.setup.clock.advance(HOLD);
        let rotation = fixture.until("done").await;
        assert!(
            rotation["ended_at"].is_string() && rotation["due_at"].is_null(),
            "{rotation:#}"
        );
        assert_eq!(fixture.keys(), sorted([(&new, true)]));
        let listed = fixture.server.json(&fixture.path("/credentials")).await;
        let state = |key: &str| {
            let items = listed["items"].as_array().unwrap();
            items
                .iter()
                .find(|item| item["access_key_id"] == key)
                .map(|item| item["state"].clone())
        };
        assert_eq!(
            (state(&fixture.old), state(&new)),
            (Some(json!("deleted")), Some(json!("active"))),
            "{listed:#}"
        );
        let jobs = fixture
            .server
            .json(&format!(
                "/v1/jobs?app={}&kind=set_key_status",
                fixture.name
            ))
            .await;
        let asked_by: Vec<&Value> = jobs["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|job| &job["requested_by"])
            .collect();
        assert_eq!(asked_by, ["rotation", "rotation"]);
        fixture.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_rotation_switches_off_what_is_in_use() {
    let fixture = Fixture::new(Emulator::Moto).await;
    let old = fixture.claimed(&fixture.old).await;
    let new = fixture.rotated("?force=true").await;
    fixture.use_key(&old);
    fixture.claimed(&new).await;
    fixture.until("pending_deletion").await;
    assert_eq!(
        fixture.keys(),
        sorted([(&fixture.old, false), (&new, true)])
    );
    fixture.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_key_that_is_switched_on_again_is_never_deleted() {
    let fixture = Fixture::new(Emulator::Moto).await;
    let new = fixture.rotated("?force=true").await;
    fixture.claimed(&new).await;
    fixture.until("pending_deletion").await;
    fixture
        .done(&format!("/credentials/{}/activate", fixture.old))
        .await;
    fixture.setup.clock.advance(HOLD);
    let ended = |rotation: &Value| rotation["ended_at"].is_string();
    let rotation = until(&fixture.server, &fixture.name, ended).await;
    assert_eq!(rotation["stage"], "stopped", "{rotation:#}");
    assert!(
        rotation["reason"]
            .as_str()
            .unwrap()
            .contains("activated again"),
        "{rotation:#}"
    );
    assert_eq!(fixture.keys(), sorted([(&fixture.old, true), (&new, true)]));
    fixture.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_key_is_not_deleted_while_the_new_one_is_off() {
    let fixture = Fixture::new(Emulator::Moto).await;
    let new = fixture.rotated("?force=true").await;
    fixture.claimed(&new).await;
    fixture.until("pending_deletion").await;
    fixture
        .done(&format!("/credentials/{new}/deactivate"))
        .await;
    fixture.setup.clock.advance(HOLD);
    let told =
        |rotation: &Value| rotation["reason"].is_string() || rotation["ended_at"].is_string();
    let rotation = until(&fixture.server, &fixture.name, told).await;
    assert_eq!(rotation["stage"], "pending_deletion", "{rotation:#}");
    fixture.done(&format!("/credentials/{new}/delete")).await;
    fixture.setup.clock.advance(HOLD);
    let rotation = fixture.until("stopped").await;
    assert!(
        rotation["reason"]
            .as_str()
            .unwrap()
            .contains("new key no longer exists"),
        "{rotation:#}"
    );
    assert_eq!(fixture.keys(), sorted([(&fixture.old, false)]));
    fixture.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_rolled_back_until_the_old_key_is_deleted() {
    let fixture = Fixture::new(Emulator::Moto).await;
    assert_eq!(
        fixture.refused("/credentials/rollback").await["code"],
        "no_rotation"
    );
    let new = fixture.rotated("?force=true").await;
    fixture.claimed(&new).await;
    fixture.until("pending_deletion").await;
    let job = fixture.done("/credentials/rollback").await;
    assert_eq!(
        (&job["kind"], &job["task"]["to"]),
        (&json!("set_key_status"), &json!("active"))
    );
    fixture.until("rolled_back").await;
    assert_eq!(fixture.keys(), sorted([(&fixture.old, true), (&new, true)]));
    assert_eq!(
        fixture.refused("/credentials/rollback").await["code"],
        "rotation_stage"
    );
    fixture.setup.clock.advance(HOLD * 2);
    let next = fixture.rotated(&format!("?replace={new}&force=true")).await;
    fixture.claimed(&next).await;
    fixture.until("pending_deletion").await;
    fixture.setup.clock.advance(HOLD);
    fixture.until("done").await;
    assert_eq!(fixture.keys(), sorted([(&next, true)]));
    assert_eq!(
        fixture.refused("/credentials/rollback").await["code"],
        "rotation_stage"
    );
    fixture.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_both_slots_are_taken_one_is_named() {
    let fixture = Fixture::new(Emulator::Moto).await;
    let by_hand = fixture.by_hand();
    let problem = fixture.refused("/credentials/rotate").await;
    assert_eq!(
        (&problem["code"], &problem["retryable"]),
        (&json!("no_key_slot"), &json!(false))
    );
    let told = problem["detail"].as_str().unwrap();
    assert!(
        [&fixture.old, &by_hand]
            .iter()
            .all(|key| told.contains(key.as_str()))
            && told.contains("never used"),
        "{told}"
    );
    assert!(problem["remedy"].as_str().unwrap().contains("replace="));
    assert_eq!(
        fixture
            .refused("/credentials/rotate?replace=AKIAXXXXXXXXXXXXXXXX")
            .await["code"],
        "no_key_slot"
    );
    assert_eq!(
        fixture.server.json(&fixture.path("/credentials")).await["rotation"],
        Value::Null,
        "nothing was begun"
    );

    let path = fixture.path(&format!("/credentials/rotate?replace={by_hand}"));
    let ask = || {
        fixture
            .server
            .request(Method::POST, &path)
            .header("idempotency-key", "once")
            .send()
    };
    let (first, again) = (ask().await.unwrap(), ask().await.unwrap());
    assert_eq!(
        (first.status().as_u16(), again.status().as_u16()),
        (202, 202)
    );
    let (first, again): (Value, Value) = (first.json().await.unwrap(), again.json().await.unwrap());
    assert_eq!(first["id"], again["id"]);
    let job = fixture.server.wait(first["id"].as_str().unwrap()).await;
    let new = job["result"]["access_key_id"].as_str().unwrap().to_owned();
    assert_eq!(fixture.keys(), sorted([(&fixture.old, true), (&new, true)]));
    assert_eq!(
        fixture.until("awaiting_claim").await["old_key"],
        json!(fixture.old)
    );
    fixture.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_too_old_is_rotated_by_the_schedule() {
    let fixture = Fixture::with(Emulator::Moto, json!({"rotate_after": "2h"})).await;
    fixture.setup.clock.advance(Duration::from_secs(3600));
    assert_eq!(
        fixture.server.json(&fixture.path("/credentials")).await["rotation"],
        Value::Null
    );
    fixture.setup.clock.advance(Duration::from_secs(2 * 3600));
    let rotation = fixture.until("awaiting_claim").await;
    assert_eq!(rotation["requested_by"], "schedule");
    fixture.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_that_nobody_claims_takes_over_only_if_that_is_forced() {
    let fixture = Fixture::new(Emulator::Moto).await;
    let new = fixture.rotated("").await;
    fixture.setup.clock.advance(WEEK);
    let ended = |rotation: &Value| {
        ["stopped", "pending_deletion"]
            .iter()
            .any(|stage| rotation["stage"] == *stage)
    };
    let rotation = until(&fixture.server, &fixture.name, ended).await;
    assert_eq!(rotation["stage"], "stopped", "{rotation:#}");
    assert!(
        rotation["reason"]
            .as_str()
            .unwrap()
            .contains("was not claimed"),
        "{rotation:#}"
    );
    assert_eq!(fixture.keys(), sorted([(&fixture.old, true), (&new, true)]));

    let next = fixture.rotated(&format!("?replace={new}&force=true")).await;
    fixture.setup.clock.advance(WEEK);
    fixture.until("pending_deletion").await;
    assert_eq!(
        fixture.keys(),
        sorted([(&fixture.old, false), (&next, true)])
    );
    fixture.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_whose_job_fails_says_why_and_is_tried_again() {
    let fixture = Fixture::new(Emulator::Moto).await;
    // A denial on a user that was made just now would be waited out.
    fixture.setup.clock.advance(Duration::from_secs(180));
    fixture.setup.proxy.script(|call| {
        (call.name() == "iam:UpdateAccessKey")
            .then(|| refusal("iam", Fault::Denied))
            .flatten()
    });
    let new = fixture.rotated("?force=true").await;
    fixture.claimed(&new).await;
    let failed = |rotation: &Value| rotation["error"]["code"] == "access_denied";
    let rotation = until(&fixture.server, &fixture.name, failed).await;
    assert_eq!(rotation["stage"], "deactivating");
    assert!(
        rotation["due_at"].is_string()
            && rotation["error"]["remedy"]
                .as_str()
                .unwrap()
                .contains("iam:UpdateAccessKey")
    );
    fixture.setup.proxy.unscript();
    fixture.setup.clock.advance(Duration::from_secs(60));
    let rotation = fixture.until("pending_deletion").await;
    assert_eq!(rotation["error"], Value::Null);
    assert_eq!(
        fixture.keys(),
        sorted([(&fixture.old, false), (&new, true)])
    );
    fixture.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_ends_a_rotation_and_switches_every_key_off() {
    let fixture = Fixture::new(Emulator::Moto).await;
    let (new, path) = (fixture.rotated("").await, fixture.path(""));
    let asked: Value = fixture
        .server
        .request(Method::DELETE, &path)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let job = fixture.server.wait(asked["id"].as_str().unwrap()).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let rotation = fixture.until("stopped").await;
    assert!(
        rotation["reason"]
            .as_str()
            .unwrap()
            .contains("being removed")
    );
    assert_eq!(
        fixture.keys(),
        sorted([(&fixture.old, false), (&new, false)])
    );
    assert_eq!(
        fixture.refused("/credentials/rotate").await["code"],
        "being_removed"
    );
    fixture.done("/restore").await;
    assert_eq!(fixture.keys(), sorted([(&fixture.old, true), (&new, true)]));
    fixture.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn single_keys_are_switched_on_and_off_and_deleted() {
    let fixture = Fixture::new(Emulator::Moto).await;
    let (old, by_hand) = (fixture.claimed(&fixture.old).await, fixture.by_hand());
    fixture.use_key(&old);
    assert_eq!(
        fixture
            .refused(&format!("/credentials/{}/delete", fixture.old))
            .await["code"],
        "key_in_use"
    );
    fixture
        .done(&format!("/credentials/{}/deactivate", fixture.old))
        .await;
    assert_eq!(
        fixture.keys(),
        sorted([(&fixture.old, false), (&by_hand, true)]),
        "a key in use goes off at once when a person asks"
    );
    fixture
        .done(&format!("/credentials/{}/activate", fixture.old))
        .await;
    assert_eq!(
        fixture.keys(),
        sorted([(&fixture.old, true), (&by_hand, true)])
    );
    fixture
        .done(&format!("/credentials/{by_hand}/delete"))
        .await;
    fixture
        .done(&format!("/credentials/{}/delete?force=true", fixture.old))
        .await;
    assert_eq!(fixture.keys(), []);
    for verb in ["activate", "deactivate", "delete"] {
        assert_eq!(
            fixture
                .refused(&format!("/credentials/{}/{verb}", fixture.old))
                .await["status"],
            404
        );
    }
    let job = fixture.done("/repair").await;
    assert_eq!(
        fixture.keys(),
        sorted([(
            &job["result"]["access_key_id"].as_str().unwrap().to_owned(),
            true
        )])
    );
    fixture.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_made_on_a_user_that_somebody_else_has_put_in_the_place_of_ours() {
    let fixture = Fixture::new(Emulator::Moto).await;
    let place = &fixture.setup.place;
    let by_name = json!({"UserName": fixture.name});
    aws_inspector::call(
        place,
        "iam",
        "delete_access_key",
        json!({"UserName": fixture.name, "AccessKeyId": fixture.old}),
    )
    .unwrap();
    aws_inspector::call(
        place,
        "iam",
        "untag_user",
        json!({"UserName": fixture.name, "TagKeys": ["slipway:app", "slipway:job"]}),
    )
    .unwrap();
    let owner = json!([{"Key": "slipway:app", "Value": "another"}]);
    aws_inspector::call(
        place,
        "iam",
        "tag_user",
        json!({"UserName": fixture.name, "Tags": owner}),
    )
    .unwrap();
    let job = fixture
        .server
        .run(&fixture.path("/credentials/rotate"), None)
        .await;
    assert_eq!(
        (&job["state"], &job["error"]["code"]),
        (&json!("failed"), &json!("conflict")),
        "{job:#}"
    );
    assert_eq!(
        aws_inspector::call(place, "iam", "list_access_keys", by_name).unwrap()["AccessKeyMetadata"],
        json!([])
    );
    fixture.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_outlives_the_process_at_every_stage() {
    let place = Place::new(Emulator::Moto);
    let launch = Launch::new(&place)
        .with("SLIPWAY_ROTATION_IDLE_PERIOD", "1s")
        .with("SLIPWAY_ROTATION_DELETE_DELAY", "3s");
    let name = unique("acme");
    let server = launch.serve().await;
    let job = server.ended(&server.ask(&name).await).await;
    let old = job["result"]["access_key_id"].as_str().unwrap().to_owned();
    let response = server
        .request(Method::POST, &format!("/v1/apps/{name}/credentials/rotate"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 202);
    server.kill().await;

    let server = launch.serve().await;
    let claiming = until(&server.api, &name, |rotation| {
        rotation["stage"] == "awaiting_claim"
    })
    .await;
    let new = claiming["new_key"].as_str().unwrap().to_owned();
    server.kill().await;

    let server = launch.serve().await;
    let claim: Value = server
        .api
        .post_empty(&format!("/v1/apps/{name}/credentials/{new}/claim"))
        .await
        .json()
        .await
        .unwrap();
    assert!(claim["AWS_SECRET_ACCESS_KEY"].is_string(), "{claim:#}");
    server.kill().await;

    let server = launch.serve().await;
    let off = |rotation: &Value| {
        ["pending_deletion", "deleting", "done"]
            .iter()
            .any(|stage| rotation["stage"] == *stage)
    };
    until(&server.api, &name, off).await;
    server.kill().await;

    let server = launch.serve().await;
    until(&server.api, &name, |rotation| rotation["stage"] == "done").await;
    assert_eq!(
        keys(&place, &name),
        sorted([(&new, true)]),
        "and {old} is gone"
    );
    server.stop().await;
}
