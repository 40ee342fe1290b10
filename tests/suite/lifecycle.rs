//! When images expire: the simulation, plans and jobs that would expire a release, and AWS's own preview.

use std::sync::Mutex;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::api;
use crate::api::Answer;
use crate::support::aws::{Emulator, Place};
use crate::support::server::{Server, Setup};
use crate::support::wire::{Answer as Scripted, Call, Fault, refusal_body};
use crate::support::{aws_inspector, unique};

const SIMULATE: &str = "/v1/ecr/lifecycle/simulate";
/// Older than the guide keeps an image.
const FOUR_DAYS: Duration = Duration::from_secs(4 * 24 * 3600);

fn made(setup: &Setup, method: &str, args: Value) -> Value {
    aws_inspector::call(&setup.place, "ecr", method, args)
        .unwrap_or_else(|error| panic!("{method}: {error}"))
}

/// A service for which the images that are pushed to its account are four days old.
async fn days_later(emulator: Emulator) -> (Setup, Server) {
    let setup = Setup::new(Place::new(emulator));
    let server = setup.start().await;
    setup.clock.advance(FOUR_DAYS);
    (setup, server)
}

/// A repository with an image for each of these lists of tags.
fn repository_with(setup: &Setup, name: &str, images: &[&[&str]]) {
    made(setup, "create_repository", json!({"repositoryName": name}));
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    for (n, tags) in images.iter().enumerate() {
        let config = json!({"mediaType": "application/vnd.docker.container.image.v1+json", "size": n, "digest": format!("sha256:{n:064}")});
        let manifest =
            json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": []})
                .to_string();
        for tag in *tags {
            let args = json!({"repositoryName": name, "imageManifest": manifest, "imageManifestMediaType": kind, "imageTag": tag});
            made(setup, "put_image", args);
        }
    }
}

async fn simulate(server: &Server, body: &Value) -> Answer {
    api::ask(server.request(Method::POST, SIMULATE).json(body)).await
}

/// What becomes of the images, by their tags, as `[tags, outcome, rule, protected]`.
fn fates(simulation: &Value) -> Vec<Value> {
    let mut fates: Vec<Value> = simulation["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| {
            json!([
                image["tags"].as_array().unwrap().len(),
                image["tags"][0],
                image["outcome"],
                image["rule_priority"],
                image["protected"]
            ])
        })
        .collect();
    fates.sort_by_key(ToString::to_string);
    fates
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_images_are_told_what_becomes_of_them_and_why() {
    let setup = api::idle();
    let server = setup.start().await;
    let images = json!([
        {"tags": ["0a1b2c3", "latest"], "age_days": 4},
        {"tags": ["1.2.3"], "age_days": 2.5},
        {"tags": ["develop"], "pushed_at": "2024-01-31T12:00:00+01:00", "digest": "sha256:1"},
        {"tags": ["ubuntu"], "age_days": 400},
        {"age_days": 1}, {"age_days": 2},
    ]);
    let guide = simulate(&server, &json!({"policy": "guide", "images": images}))
        .await
        .expect(200);
    assert_eq!((&guide["expiring"], &guide["kept"]), (&json!(3), &json!(3)));
    let told: Vec<Value> = guide["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| json!([image["outcome"], image["rule_priority"]]))
        .collect();
    let expected = [
        json!(["expires", 4]),
        json!(["kept", 5]),
        json!(["expires", 17]),
        json!(["unmatched", null]),
        json!(["kept", 1]),
        json!(["expires", 1]),
    ];
    assert_eq!(told, expected);
    let develop = &guide["images"][2];
    assert_eq!(
        (&develop["digest"], &develop["pushed_at"]),
        (&json!("sha256:1"), &json!("2024-01-31T11:00:00.000Z"))
    );
    assert_eq!(
        guide["images"][1]["findings"][4]["text"],
        "rule 5 applies to images older than 3 days; this image is 2 days old"
    );
    assert_eq!(guide["images"][5]["findings"][0]["text"], "rule 1 applies");
    assert_eq!(guide["policy"]["rules"].as_array().unwrap().len(), 19);

    let protected = simulate(&server, &json!({"policy": "protected", "images": images}))
        .await
        .expect(200);
    let latest = &protected["images"][0];
    assert_eq!(
        [&latest["expires"], &latest["outcome"], &latest["protected"]],
        [&json!(false), &json!("kept"), &json!(true)]
    );
    assert_eq!(
        latest["findings"][11]["text"],
        "rule 12 would apply, but rule 1 takes precedence"
    );

    let any = json!({"countType": "imageCountMoreThan", "countNumber": 2, "tagStatus": "any"});
    let own =
        json!({"rules": [{"rulePriority": 7, "selection": any, "action": {"type": "expire"}}]});
    let own = simulate(&server, &json!({"policy": own, "images": images}))
        .await
        .expect(200);
    assert_eq!(
        (
            &own["expiring"],
            &own["images"][4]["expires"],
            &own["images"][5]["expires"]
        ),
        (&json!(4), &json!(false), &json!(false))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_a_simulation_is_told_at_once() {
    let setup = api::idle();
    let server = setup.start().await;
    let wrong = async |body: Value| -> Vec<String> {
        let problem = simulate(&server, &body)
            .await
            .problem(422, "invalid_fields");
        problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["pointer"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(wrong(json!({})).await, ["/images"]);
    assert_eq!(
        wrong(json!({"policy": "guid", "images": [{"tags": ["a b"]}], "x": 1})).await,
        ["/policy", "/images/0/tags/0", "/images/0/pushed_at", "/x"]
    );
    assert_eq!(
        wrong(json!({"repository": {"name": "acme", "account": "elsewhere"}})).await,
        ["/repository/account"]
    );
    let many: Vec<Value> = (0..1001).map(|_| json!({})).collect();
    assert_eq!(
        wrong(json!({"policy": "guide", "images": many})).await,
        ["/images"]
    );
    let query = api::ask(
        server
            .request(Method::POST, &format!("{SIMULATE}?x=1"))
            .json(&json!({})),
    )
    .await;
    query.problem(400, "invalid_parameters");
    api::ask(server.request(Method::POST, SIMULATE))
        .await
        .problem(400, "invalid_json");
    let viewer = server.token("viewer").await;
    let asked = server
        .anonymous(Method::POST, SIMULATE)
        .bearer_auth(viewer)
        .json(&json!({"policy": "guide", "images": []}));
    assert_eq!(api::ask(asked).await.expect(200)["images"], json!([]));
    server.stop().await;
}

async fn a_repository_is_simulated(emulator: Emulator) {
    let (setup, server) = days_later(emulator).await;
    let name = unique("acme");
    let body = |policy: Option<&str>| match policy {
        Some(policy) => json!({"policy": policy, "repository": {"name": name}}),
        None => json!({"repository": {"name": name, "region": "us-west-2", "account": "default"}}),
    };
    let problem = simulate(&server, &body(Some("guide")))
        .await
        .problem(404, "not_found");
    assert_eq!(problem["detail"], "No such repository.");

    repository_with(
        &setup,
        &name,
        &[&["1.2.3"], &["latest", "0a1b2c3"], &["ubuntu"]],
    );
    let problem = simulate(&server, &body(None))
        .await
        .problem(422, "invalid_fields");
    assert_eq!(
        problem["errors"],
        json!([{"pointer": "/policy", "message": "is required: the repository has no lifecycle policy"}])
    );

    let guide = simulate(&server, &body(Some("guide"))).await.expect(200);
    assert_eq!((&guide["expiring"], &guide["kept"]), (&json!(2), &json!(1)));
    let by_tag = fates(&guide);
    assert_eq!(by_tag[0], json!([1, "1.2.3", "expires", 5, true]));
    assert_eq!(by_tag[1], json!([1, "ubuntu", "unmatched", null, false]));
    assert_eq!(
        (&by_tag[2][0], &by_tag[2][2], &by_tag[2][4]),
        (&json!(2), &json!("expires"), &json!(true))
    );
    let age = guide["images"][0]["age_days"].as_f64().unwrap();
    assert!((4.0..4.1).contains(&age), "{age}");

    let any = json!({"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1});
    let document =
        json!({"rules": [{"rulePriority": 3, "selection": any, "action": {"type": "expire"}}]});
    made(
        &setup,
        "put_lifecycle_policy",
        json!({"repositoryName": name, "lifecyclePolicyText": document.to_string()}),
    );
    let present = simulate(&server, &body(None)).await.expect(200);
    assert_eq!(
        (&present["policy"], &present["expiring"]),
        (&document, &json!(2))
    );
    let changing: Vec<String> = setup
        .proxy
        .take_log()
        .iter()
        .filter(|call| call.service == "ecr" && call.mutates())
        .map(Call::name)
        .collect();
    assert_eq!(changing, [""; 0]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_moto_is_simulated() {
    a_repository_is_simulated(Emulator::Moto).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_ministack_is_simulated() {
    a_repository_is_simulated(Emulator::Ministack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_aws_refuses_a_simulation_is_told() {
    let (setup, server) = days_later(Emulator::Moto).await;
    setup
        .proxy
        .break_calls([("ecr:DescribeImages", 0, Fault::Denied)]);
    let problem = simulate(
        &server,
        &json!({"policy": "guide", "repository": {"name": "acme"}}),
    )
    .await
    .problem(502, "aws_refused");
    assert!(
        problem["remedy"]
            .as_str()
            .unwrap()
            .contains("ecr:DescribeImages"),
        "{problem}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archived_images_and_further_pages_are_seen() {
    let (setup, server) = days_later(Emulator::Moto).await;
    let day = 24 * 3600;
    let now = setup.clock.now().millis() / 1000;
    let detail = |tag: &str, more: Value| {
        let mut detail = json!({"imageDigest": format!("sha256:{tag}"), "imageTags": [tag], "imagePushedAt": now - 200 * day});
        detail
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        detail
    };
    let first = json!({"nextToken": "2", "imageDetails": [detail("old", json!({})), detail("gone", json!({"imageStatus": "ARCHIVED", "lastArchivedAt": now - 91 * day}))]});
    let second = json!({"imageDetails": [
        detail("restored", json!({"lastActivatedAt": now - day, "lastArchivedAt": now - 100 * day, "imageStatus": "ACTIVE"})),
        detail("pulled", json!({"lastRecordedPullTime": now - day})),
    ]});
    setup
        .proxy
        .script(move |call| match call.operation.as_str() {
            "DescribeImages" => {
                let page = if call.body.contains("\"nextToken\":\"2\"") {
                    &second
                } else {
                    &first
                };
                Some(Scripted::Now(200, page.to_string()))
            }
            "GetLifecyclePolicy" => Some(Scripted::Now(
                400,
                refusal_body("ecr", "LifecyclePolicyNotFoundException"),
            )),
            _ => None,
        });
    let days = |kind: &str, days: u32| json!({"tagStatus": "any", "countType": kind, "countUnit": "days", "countNumber": days});
    let mut archived = days("sinceImageTransitioned", 90);
    archived["storageClass"] = json!("archive");
    let rules = json!([
        {"rulePriority": 1, "selection": days("sinceImagePulled", 30), "action": {"type": "transition", "targetStorageClass": "archive"}},
        {"rulePriority": 2, "selection": archived, "action": {"type": "expire"}},
    ]);
    let told = simulate(
        &server,
        &json!({"policy": {"rules": rules}, "repository": {"name": "acme"}}),
    )
    .await
    .expect(200);
    let outcomes: Vec<Value> = told["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| json!([image["tags"][0], image["outcome"]]))
        .collect();
    assert_eq!(
        json!(outcomes),
        json!([
            ["old", "transitions"],
            ["gone", "expires"],
            ["restored", "kept"],
            ["pulled", "kept"]
        ])
    );
    assert_eq!((&told["expiring"], &told["kept"]), (&json!(1), &json!(3)));
    let asked = setup
        .proxy
        .take_log()
        .into_iter()
        .find(|call| call.operation == "DescribeImages")
        .unwrap();
    assert!(
        asked.body.contains("\"imageStatus\":\"ANY\""),
        "without it AWS leaves out what is archived: {}",
        asked.body
    );
    server.stop().await;
}

fn adoption(name: &str) -> Value {
    json!({"name": name, "on_existing": "adopt", "buckets": [], "access_key": false})
}

/// The plan's entry for the lifecycle policy, and the warnings about it.
async fn plan(server: &Server, name: &str, query: &str) -> (Value, Vec<String>) {
    let plan = api::ask(
        server
            .request(Method::POST, &format!("/v1/apps?dry_run=true{query}"))
            .json(&adoption(name)),
    )
    .await
    .expect(200);
    let of_lifecycle = |change: &&Value| {
        change["resource"]
            .as_str()
            .unwrap()
            .starts_with("ecr:lifecycle/")
    };
    let change = plan["changes"]
        .as_array()
        .unwrap()
        .iter()
        .find(of_lifecycle)
        .unwrap()
        .clone();
    let warnings = plan["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning.as_str().unwrap().to_owned());
    (
        change,
        warnings
            .filter(|warning| warning.contains("24 hours"))
            .collect(),
    )
}

async fn a_release_blocks_a_plan(emulator: Emulator) {
    let (setup, server) = days_later(emulator).await;
    let name = unique("acme");
    repository_with(&setup, &name, &[&["1.2.3"], &["develop"], &["ubuntu"]]);
    let (change, warnings) = plan(&server, &name, "").await;
    assert_eq!(
        (&change["action"], &change["error"]["code"]),
        (&json!("blocked"), &json!("would_expire")),
        "{change:#}"
    );
    assert!(
        change["detail"].as_str().unwrap().ends_with(&format!(
            "1 image with protected tags in {name} in us-west-2: 1.2.3."
        )),
        "{change:#}"
    );
    assert!(
        change["error"]["remedy"]
            .as_str()
            .unwrap()
            .contains("accept_expiry=true"),
        "{change:#}"
    );
    let shown = |warnings: &[String]| {
        let [warning] = warnings else {
            panic!("{warnings:?}")
        };
        assert!(
            warning.contains("expires 2 of the 3 images") && warning.contains("develop"),
            "{warning}"
        );
        assert!(
            warning.contains(
                "according to Slipway's evaluation (ecr:StartLifecyclePolicyPreview failed"
            ),
            "{warning}"
        );
        assert!(
            warning.contains("1 of these images have protected tags"),
            "{warning}"
        );
    };
    shown(&warnings);
    let (change, warnings) = plan(&server, &name, "&accept_expiry=true").await;
    assert_eq!(
        (&change["action"], &change["error"]),
        (&json!("create"), &json!(null)),
        "{change:#}"
    );
    shown(&warnings);
    let asked = server
        .request(Method::POST, "/v1/apps?accept_expiry=maybe&dry_run=true")
        .json(&adoption(&name));
    api::ask(asked).await.problem(400, "invalid_parameters");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_blocks_a_plan_in_moto() {
    a_release_blocks_a_plan(Emulator::Moto).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_blocks_a_plan_in_ministack() {
    a_release_blocks_a_plan(Emulator::Ministack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_an_app_says_what_its_other_policy_would_expire() {
    let (setup, server) = days_later(Emulator::Moto).await;
    let name = unique("acme");
    server.onboard(&json!({"name": name, "buckets": [], "access_key": false, "repositories": [{"lifecycle": "protected"}]})).await;
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest =
        json!({"schemaVersion": 2, "mediaType": kind, "config": {}, "layers": []}).to_string();
    made(
        &setup,
        "put_image",
        json!({"repositoryName": name, "imageManifest": manifest, "imageTag": "1.2.3"}),
    );
    let path = format!("/v1/apps/{name}/plan");
    let lifecycle = async |query: &str, body: Option<Value>| {
        let request = server.request(Method::POST, &format!("{path}{query}"));
        let plan = api::ask(
            body.iter()
                .fold(request, |request, body| request.json(body)),
        )
        .await
        .expect(200);
        let of_lifecycle = |change: &&Value| {
            change["resource"]
                .as_str()
                .unwrap()
                .starts_with("ecr:lifecycle/")
        };
        plan["changes"]
            .as_array()
            .unwrap()
            .iter()
            .find(of_lifecycle)
            .unwrap()["action"]
            .clone()
    };
    let guide = json!({"name": name, "buckets": [], "access_key": false});
    assert_eq!(lifecycle("", None).await, "none");
    assert_eq!(lifecycle("", Some(guide.clone())).await, "blocked");
    assert_eq!(
        lifecycle("?accept_expiry=true", Some(guide)).await,
        "update"
    );
    server.stop().await;
}

/// Scripts AWS's preview: what each look at it says, the last again and again; every answer is of the policy
/// that was asked about, unless it says otherwise.
fn script_preview(setup: &Setup, looks: Vec<Value>) {
    let (asked, looks) = (Mutex::new(Value::Null), Mutex::new(looks.into_iter()));
    let last = Mutex::new(Value::Null);
    setup
        .proxy
        .script(move |call| match call.operation.as_str() {
            "StartLifecyclePolicyPreview" => {
                let body: Value = serde_json::from_str(&call.body).unwrap();
                *asked.lock().unwrap() = body["lifecyclePolicyText"].clone();
                Some(Scripted::Now(
                    200,
                    json!({"status": "IN_PROGRESS"}).to_string(),
                ))
            }
            "GetLifecyclePolicyPreview" => {
                let body: Value = serde_json::from_str(&call.body).unwrap();
                // Amazon ECR API Reference, GetLifecyclePolicyPreview.
                if !body["maxResults"]
                    .as_i64()
                    .is_none_or(|most| (1..=100).contains(&most))
                {
                    return Some(Scripted::Now(
                        400,
                        refusal_body("ecr", "InvalidParameterException"),
                    ));
                }
                let mut last = last.lock().unwrap();
                *last = looks.lock().unwrap().next().unwrap_or_else(|| last.clone());
                let mut answer = json!({"lifecyclePolicyText": *asked.lock().unwrap()});
                answer
                    .as_object_mut()
                    .unwrap()
                    .extend(last.as_object().unwrap().clone());
                Some(Scripted::Now(200, answer.to_string()))
            }
            _ => None,
        });
}

fn result(tag: &str, action: &str) -> Value {
    json!({"imageTags": [tag], "imageDigest": "sha256:1", "action": {"type": action}, "appliedRulePriority": 1})
}

#[tokio::test(flavor = "multi_thread")]
async fn where_aws_previews_the_policy_the_plan_shows_what_aws_says() {
    let (setup, server) = days_later(Emulator::Ministack).await;
    let name = unique("acme");
    repository_with(&setup, &name, &[&["develop"], &["ubuntu"]]);
    script_preview(
        &setup,
        vec![
            json!({"status": "IN_PROGRESS"}),
            json!({"status": "COMPLETE", "nextToken": "2", "previewResults": [result("one", "EXPIRE"), result("moved", "TRANSITION")]}),
            json!({"status": "COMPLETE", "previewResults": [result("two", "EXPIRE")]}),
        ],
    );
    setup.proxy.take_log();
    let (change, warnings) = plan(&server, &name, "").await;
    assert_eq!(change["action"], "create");
    let [warning] = warnings.as_slice() else {
        panic!("{warnings:?}")
    };
    assert!(
        warning.contains("expires 2 of the 2 images")
            && warning.contains("according to the AWS preview: one, two."),
        "{warning}"
    );
    let log = setup.proxy.take_log();
    let previews: Vec<&Call> = log
        .iter()
        .filter(|call| call.operation == "GetLifecyclePolicyPreview")
        .collect();
    assert_eq!(previews.len(), 3);
    assert!(
        previews[2].body.contains("\"nextToken\":\"2\""),
        "{}",
        previews[2].body
    );

    script_preview(
        &setup,
        vec![json!({"status": "COMPLETE", "previewResults": []})],
    );
    assert_eq!(
        plan(&server, &name, "").await.1,
        [""; 0],
        "AWS says that nothing expires"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_aws_does_not_preview_the_policy_our_evaluation_stands_in() {
    let (setup, server) = days_later(Emulator::Moto).await;
    let name = unique("acme");
    repository_with(&setup, &name, &[&["develop"]]);
    let other = json!({"rules": [{"rulePriority": 1, "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1}, "action": {"type": "expire"}}]});
    for (look, why) in [
        (
            json!({"status": "IN_PROGRESS"}),
            "the AWS preview did not complete in time",
        ),
        (
            json!({"status": "FAILED"}),
            "the AWS preview ended with status FAILED",
        ),
        (
            json!({"status": "EXPIRED"}),
            "the AWS preview ended with status EXPIRED",
        ),
        (
            json!({"status": "COMPLETE", "lifecyclePolicyText": other.to_string()}),
            "another preview replaced the AWS preview",
        ),
    ] {
        script_preview(&setup, vec![look]);
        let (_, warnings) = plan(&server, &name, "").await;
        let [warning] = warnings.as_slice() else {
            panic!("{warnings:?}")
        };
        assert!(
            warning.contains(&format!(
                "according to Slipway's evaluation ({why}): develop."
            )),
            "{warning}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_would_expire_a_release_waits_for_a_person() {
    let (setup, server) = days_later(Emulator::Ministack).await;
    let name = unique("acme");
    repository_with(&setup, &name, &[&["1.2.3"], &["develop"]]);
    let job = server.run("/v1/apps", Some(&adoption(&name))).await;
    assert_eq!(
        (&job["state"], &job["error"]["code"]),
        (&json!("needs_attention"), &json!("would_expire")),
        "{job:#}"
    );
    assert!(
        job["error"]["detail"].as_str().unwrap().contains("1.2.3"),
        "{job:#}"
    );
    let unset = aws_inspector::call(
        &setup.place,
        "ecr",
        "get_lifecycle_policy",
        json!({"repositoryName": name}),
    );
    assert!(
        unset
            .unwrap_err()
            .to_string()
            .contains("LifecyclePolicyNotFound"),
        "no policy was set"
    );
    let done = job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["state"] == "done")
        .count();
    assert_eq!(
        done,
        job["steps"].as_array().unwrap().len() - 1,
        "all else is made: {job:#}"
    );

    made(
        &setup,
        "batch_delete_image",
        json!({"repositoryName": name, "imageIds": [{"imageTag": "1.2.3"}]}),
    );
    let id = job["id"].as_str().unwrap();
    assert_eq!(
        server
            .post_empty(&format!("/v1/jobs/{id}/retry"))
            .await
            .status(),
        202
    );
    assert_eq!(server.wait(id).await["state"], "succeeded");
    made(
        &setup,
        "get_lifecycle_policy",
        json!({"repositoryName": name}),
    );
    let previewed = setup
        .proxy
        .take_log()
        .iter()
        .any(|call| call.operation.contains("Preview"));
    assert!(!previewed, "only plans ask for a preview");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_looked_at_only_where_the_policy_differs() {
    let setup = Setup::new(Place::new(Emulator::Moto));
    let server = setup.start().await;
    let name = unique("acme");
    server
        .onboard(&json!({"name": name, "buckets": [], "access_key": false}))
        .await;
    let looked = |setup: &Setup| {
        setup
            .proxy
            .take_log()
            .iter()
            .filter(|call| call.operation == "DescribeImages")
            .count()
    };
    assert_eq!(looked(&setup), 0, "a new repository has no images");
    let repair = format!("/v1/apps/{name}/repair");
    assert_eq!(server.run(&repair, None).await["state"], "succeeded");
    assert_eq!(looked(&setup), 0, "the policy is in force");
    made(
        &setup,
        "delete_lifecycle_policy",
        json!({"repositoryName": name}),
    );
    assert_eq!(server.run(&repair, None).await["state"], "succeeded");
    assert_eq!(looked(&setup), 1);
    made(
        &setup,
        "get_lifecycle_policy",
        json!({"repositoryName": name}),
    );
    server.stop().await;
}
