//! Removal: keys off, quarantine, the user taken apart, what stays and what goes.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::aws::{AccountAdmin, Emulator, Place};
use crate::support::server::{Server, Setup};
use crate::support::wire::{Answer, Fault, refusal_body};
use crate::support::{aws_inspector, unique};

/// A service with this quarantine.
async fn start(emulator: Emulator, quarantine: Duration) -> (Setup, Server, String) {
    let mut setup = Setup::new(Place::new(emulator));
    setup.settings.quarantine = quarantine;
    let server = setup.start().await;
    (setup, server, unique("acme"))
}

async fn delete(server: &Server, name: &str, query: &str) -> reqwest::Response {
    server
        .request(Method::DELETE, &format!("/v1/apps/{name}{query}"))
        .send()
        .await
        .unwrap()
}

/// Asks for the removal, and waits until the keys are off.
async fn offboard(server: &Server, name: &str, query: &str) -> Value {
    let response = delete(server, name, query).await;
    let (status, job): (_, Value) = (response.status(), response.json().await.unwrap());
    assert_eq!(status, 202, "{job:#}");
    let job = server.wait(job["id"].as_str().unwrap()).await;
    assert_eq!(
        (&job["kind"], &job["state"]),
        (&json!("offboard"), &json!("succeeded")),
        "{job:#}"
    );
    job
}

/// Waits for the end of the job that takes the app apart.
async fn taken_apart(server: &Server, name: &str) -> Value {
    loop {
        let jobs = server
            .json(&format!("/v1/jobs?app={name}&kind=remove"))
            .await;
        if let Some(job) = jobs["items"].as_array().unwrap().first() {
            return server.wait(job["id"].as_str().unwrap()).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn keys(setup: &Setup, name: &str) -> Vec<String> {
    let listed = aws_inspector::call(
        &setup.place,
        "iam",
        "list_access_keys",
        json!({"UserName": name}),
    )
    .unwrap();
    listed["AccessKeyMetadata"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["Status"].as_str().unwrap().to_owned())
        .collect()
}

fn is_there(setup: &Setup, service: &str, method: &str, args: Value) -> bool {
    aws_inspector::call(&setup.place, service, method, args).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn during_its_quarantine_an_app_can_be_restored_by_one_call() {
    for emulator in [Emulator::Moto, Emulator::Ministack] {
        let (setup, server, name) = start(emulator, Duration::from_secs(3600)).await;
        server.onboard(&json!({"name": name})).await;
        offboard(&server, &name, "").await;
        assert_eq!(keys(&setup, &name), ["Inactive"]);
        let app = server.json(&format!("/v1/apps/{name}")).await;
        assert_eq!(app["state"], "quarantined");
        assert!(app["removal"]["remove_at"].is_string(), "{app:#}");
        for (method, path) in [
            (Method::POST, "/repair"),
            (Method::POST, "/credentials/rotate"),
        ] {
            let refused: Value = server
                .request(method, &format!("/v1/apps/{name}{path}"))
                .send()
                .await
                .unwrap()
                .json()
                .await
                .unwrap_or_default();
            if path == "/repair" {
                assert_eq!(refused["code"], "being_removed", "{refused:#}");
            }
        }
        let job = server.run(&format!("/v1/apps/{name}/restore"), None).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        assert_eq!(keys(&setup, &name), ["Active"]);
        let app = server.json(&format!("/v1/apps/{name}")).await;
        assert_eq!(
            (&app["state"], &app["removal"]),
            (&json!("ready"), &Value::Null)
        );
        let refused = server.post_empty(&format!("/v1/apps/{name}/restore")).await;
        assert_eq!(refused.status(), 409);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_it_the_user_is_taken_apart_and_data_stays() {
    for emulator in [Emulator::Moto, Emulator::Ministack] {
        let (setup, server, name) = start(emulator, Duration::ZERO).await;
        let bucket = format!("{name}-media");
        server
            .onboard(
                &json!({"name": name, "media_access": "scoped", "buckets": [{"name": bucket}]}),
            )
            .await;
        hang_things_on(&setup.place, &name);
        offboard(&server, &name, "").await;
        let job = taken_apart(&server, &name).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        assert!(
            job["result"]["warnings"].to_string().contains(&bucket),
            "what stays is said: {job:#}"
        );
        assert!(!is_there(
            &setup,
            "iam",
            "get_user",
            json!({"UserName": name})
        ));
        let policy = format!(
            "arn:aws:iam::{}:policy/MediaManagement-{name}",
            setup.place.account
        );
        assert!(
            !is_there(&setup, "iam", "get_policy", json!({"PolicyArn": policy})),
            "{job:#}"
        );
        assert!(
            is_there(&setup, "iam", "get_group", json!({"GroupName": "Apps"})),
            "the group is the account's"
        );
        assert!(is_there(
            &setup,
            "s3",
            "head_bucket",
            json!({"Bucket": bucket})
        ));
        assert!(is_there(
            &setup,
            "ecr",
            "describe_repositories",
            json!({"repositoryNames": [name]})
        ));
        let app = server.json(&format!("/v1/apps/{name}")).await;
        assert_eq!(
            (&app["state"], &app["retained"]["buckets"][0]["name"]),
            (&json!("removed"), &json!(bucket))
        );
        for (method, path) in [
            (Method::DELETE, ""),
            (Method::POST, "/restore"),
            (Method::POST, "/repair"),
            (Method::GET, "/drift"),
        ] {
            let refused = server
                .request(method, &format!("/v1/apps/{name}{path}"))
                .send()
                .await
                .unwrap();
            let refused: Value = refused.json().await.unwrap();
            assert_eq!(
                json!([refused["status"], refused["code"]]),
                json!([404, "app_removed"]),
                "{path}: {refused:#}"
            );
            assert!(
                refused["detail"]
                    .as_str()
                    .unwrap()
                    .contains(app["updated_at"].as_str().unwrap()),
                "it says when: {refused:#}"
            );
        }
        assert_eq!(
            server.json(&format!("/v1/apps?q={name}")).await["items"],
            json!([])
        );
        assert_eq!(
            server
                .json(&format!("/v1/apps?q={name}&state=removed"))
                .await["items"][0]["name"],
            json!(name)
        );

        server
            .onboard(&json!({"name": name, "on_existing": "adopt", "buckets": [{"name": bucket}]}))
            .await;
        assert_eq!(
            server.json(&format!("/v1/apps/{name}")).await["retained"]["buckets"],
            json!([]),
            "the bucket is the new app's"
        );
        server.stop().await;
    }
}

/// What hangs on a user and has to go before it.
pub fn hang_things_on(admin: &dyn AccountAdmin, name: &str) {
    let made = |service: &str, method: &str, args: Value| admin.make(service, method, args);
    made("iam", "create_access_key", json!({"UserName": name}));
    made(
        "iam",
        "create_login_profile",
        json!({"UserName": name, "Password": "a-Long-1-password"}),
    );
    let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]});
    made(
        "iam",
        "put_user_policy",
        json!({"UserName": name, "PolicyName": format!("{name}-hand"), "PolicyDocument": document.to_string()}),
    );
    made(
        "iam",
        "create_group",
        json!({"GroupName": format!("{name}-hand")}),
    );
    made(
        "iam",
        "add_user_to_group",
        json!({"UserName": name, "GroupName": format!("{name}-hand")}),
    );
    let policy = made(
        "iam",
        "create_policy",
        json!({"PolicyName": format!("{name}-hand"), "PolicyDocument": document.to_string()}),
    );
    made(
        "iam",
        "attach_user_policy",
        json!({"UserName": name, "PolicyArn": policy["Policy"]["Arn"]}),
    );
    let device = made(
        "iam",
        "create_virtual_mfa_device",
        json!({"VirtualMFADeviceName": name}),
    );
    let serial = device["VirtualMFADevice"]["SerialNumber"].clone();
    let codes = json!({"UserName": name, "SerialNumber": serial, "AuthenticationCode1": "123456", "AuthenticationCode2": "654321"});
    made("iam", "enable_mfa_device", codes);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_goes_by_name_and_confirmed_and_its_amount_is_said_first() {
    for emulator in [Emulator::Moto, Emulator::Ministack] {
        let (setup, server, name) = start(emulator, Duration::ZERO).await;
        let (bucket, kept) = (format!("{name}-media"), format!("{name}-kept"));
        server
            .onboard(&json!({"name": name, "buckets": [{"name": bucket}, {"name": kept}]}))
            .await;
        let versioned = json!({"Bucket": bucket, "VersioningConfiguration": {"Status": "Enabled"}});
        aws_inspector::call(&setup.place, "s3", "put_bucket_versioning", versioned).unwrap();
        for key in ["a", "a", "b"] {
            aws_inspector::call(
                &setup.place,
                "s3",
                "put_object",
                json!({"Bucket": bucket, "Key": key, "Body": {"base64": "aGk="}}),
            )
            .unwrap();
        }
        aws_inspector::call(
            &setup.place,
            "s3",
            "delete_object",
            json!({"Bucket": bucket, "Key": "b"}),
        )
        .unwrap();
        let image =
            json!({"repositoryName": name, "imageTag": "latest", "imageManifest": manifest()});
        aws_inspector::call(&setup.place, "ecr", "put_image", image).unwrap();

        let unknown = delete(&server, &name, "?buckets=nobodys&repositories=none").await;
        assert_eq!(
            (
                unknown.status().as_u16(),
                unknown.json::<Value>().await.unwrap()["errors"]
                    .as_array()
                    .unwrap()
                    .len()
            ),
            (400, 2)
        );
        let query = format!("?buckets={bucket}&repositories={name}");
        let refused: Value = delete(&server, &name, &query).await.json().await.unwrap();
        assert_eq!(refused["code"], "confirmation_required", "{refused:#}");
        let told = refused["detail"].as_str().unwrap();
        assert!(
            told.contains("4 object versions") && told.contains("1 image"),
            "{told}"
        );
        let changed = json!({"name": name, "buckets": [{"name": kept}], "repositories": []});
        let change = server
            .request(Method::PUT, &format!("/v1/apps/{name}?remove=true"))
            .json(&changed)
            .send()
            .await
            .unwrap();
        assert_eq!(
            change.json::<Value>().await.unwrap()["detail"],
            refused["detail"],
            "one wording for one refusal"
        );
        assert_eq!(
            server.json(&format!("/v1/apps/{name}")).await["state"],
            "ready",
            "nothing is done"
        );
        assert_eq!(
            delete(&server, &name, &format!("{query}&confirm=yes"))
                .await
                .status(),
            400
        );

        offboard(&server, &name, &format!("{query}&confirm={name}")).await;
        let job = taken_apart(&server, &name).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        assert!(!is_there(
            &setup,
            "s3",
            "head_bucket",
            json!({"Bucket": bucket})
        ));
        assert!(!is_there(
            &setup,
            "ecr",
            "describe_repositories",
            json!({"repositoryNames": [name]})
        ));
        assert!(is_there(
            &setup,
            "s3",
            "head_bucket",
            json!({"Bucket": kept})
        ));
        server.stop().await;
    }
}

/// ECR lists only active images unless it is asked for all; one that is archived is data too.
#[tokio::test(flavor = "multi_thread")]
async fn archived_images_count_before_a_repository_goes() {
    let (setup, server, name) = start(Emulator::Ministack, Duration::ZERO).await;
    server
        .onboard(&json!({"name": name, "buckets": [], "repositories": [{"name": name}]}))
        .await;
    setup.proxy.script(|call| {
        let archived = || {
            let all = call.body.contains("\"imageStatus\":\"ANY\"");
            let images = if all {
                json!([{"imageDigest": "sha256:1"}])
            } else {
                json!([])
            };
            Answer::Now(200, json!({"imageIds": images}).to_string())
        };
        (call.operation == "ListImages").then(archived)
    });
    let body = json!({"name": name, "buckets": [], "repositories": []});
    let refused = server
        .request(Method::PUT, &format!("/v1/apps/{name}?remove=true"))
        .json(&body)
        .send()
        .await
        .unwrap();
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["code"], "confirmation_required", "{refused:#}");
    assert!(
        refused["detail"].as_str().unwrap().contains("1 image"),
        "{refused:#}"
    );
    server.stop().await;
}

/// An image that is pushed after the images were counted is not deleted with its repository, unless that was confirmed.
#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_not_empty_after_all_stays_unless_confirmed() {
    let (setup, server, name) = start(Emulator::Ministack, Duration::ZERO).await;
    server
        .onboard(&json!({"name": name, "buckets": [], "repositories": [{"name": name}]}))
        .await;
    let image = json!({"repositoryName": name, "imageTag": "latest", "imageManifest": manifest()});
    aws_inspector::call(&setup.place, "ecr", "put_image", image).unwrap();
    setup.proxy.script(|call| match call.operation.as_str() {
        "ListImages" => Some(Answer::Now(200, json!({"imageIds": []}).to_string())),
        "DeleteRepository" if !call.body.contains("\"force\":true") => Some(Answer::Now(
            400,
            refusal_body("ecr", "RepositoryNotEmptyException"),
        )),
        _ => None,
    });
    let body = json!({"name": name, "buckets": [], "repositories": []});
    let put = async |query: &str| {
        let asked = server
            .request(Method::PUT, &format!("/v1/apps/{name}?remove=true{query}"))
            .json(&body)
            .send()
            .await
            .unwrap();
        let (status, job): (_, Value) = (asked.status(), asked.json().await.unwrap());
        assert_eq!(status, 202, "{job:#}");
        server.wait(job["id"].as_str().unwrap()).await
    };
    let job = put("").await;
    assert_eq!(
        (&job["state"], &job["error"]["code"]),
        (&json!("needs_attention"), &json!("would_delete_data")),
        "{job:#}"
    );
    assert!(is_there(
        &setup,
        "ecr",
        "describe_repositories",
        json!({"repositoryNames": [name]})
    ));
    assert_eq!(put(&format!("&confirm={name}")).await["state"], "succeeded");
    assert!(!is_there(
        &setup,
        "ecr",
        "describe_repositories",
        json!({"repositoryNames": [name]})
    ));
    server.stop().await;
}

/// A manifest such as Docker pushes.
fn manifest() -> String {
    let digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let blob = json!({"mediaType": "application/vnd.docker.container.image.v1+json", "size": 2, "digest": digest});
    json!({"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "config": blob, "layers": []})
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_emptied_part_by_part_and_says_how_far_it_is() {
    let (setup, server, name) = start(Emulator::Moto, Duration::ZERO).await;
    let bucket = format!("{name}-media");
    server
        .onboard(&json!({"name": name, "buckets": [{"name": bucket}], "repositories": []}))
        .await;
    for n in 0..1100 {
        aws_inspector::call(
            &setup.place,
            "s3",
            "put_object",
            json!({"Bucket": bucket, "Key": format!("{n}"), "Body": {"base64": "aGk="}}),
        )
        .unwrap();
    }
    offboard(&server, &name, &format!("?buckets={bucket}&confirm={name}")).await;
    let job = taken_apart(&server, &name).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let path = format!("/v1/jobs/{}/events", job["id"].as_str().unwrap());
    let events: Value = server
        .request(Method::GET, &path)
        .header("accept", "application/json")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let progress = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|event| event["event"] == "step_progress")
        .expect("progress is told");
    assert!(
        progress["message"]
            .as_str()
            .unwrap()
            .contains("1000 object versions"),
        "{progress:#}"
    );
    assert!(!is_there(
        &setup,
        "s3",
        "head_bucket",
        json!({"Bucket": bucket})
    ));
    server.stop().await;
}

/// However late the keys go off, there is time to restore the app.
#[tokio::test(flavor = "multi_thread")]
async fn the_quarantine_begins_when_the_keys_are_off() {
    let (setup, server, name) = start(Emulator::Moto, Duration::from_secs(2)).await;
    server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    // A denial on a user that was made just now would be waited out.
    setup.clock.advance(Duration::from_secs(180));
    setup.proxy.take_log();
    setup
        .proxy
        .break_calls([("iam:UpdateAccessKey", 0, Fault::Denied)]);
    let job: Value = delete(&server, &name, "").await.json().await.unwrap();
    let id = job["id"].as_str().unwrap();
    assert_eq!(server.wait(id).await["state"], "needs_attention");
    let asked_at = server.json(&format!("/v1/apps/{name}")).await["removal"]["remove_at"].clone();
    tokio::time::sleep(Duration::from_millis(2100)).await;
    setup.proxy.mend();
    server.post_empty(&format!("/v1/jobs/{id}/retry")).await;
    assert_eq!(server.wait(id).await["state"], "succeeded");
    let app = server.json(&format!("/v1/apps/{name}")).await;
    let at = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(at(&app["removal"]["remove_at"]) > at(&asked_at), "{app:#}");
    assert_eq!(taken_apart(&server, &name).await["state"], "succeeded");
    server.stop().await;
}

fn removal_of(app: &Value) -> Value {
    assert_eq!(app["state"], "quarantined", "{app:#}");
    app["removal"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_is_asked_for_again_goes_on_as_it_is() {
    let (_setup, server, name) = start(Emulator::Moto, Duration::from_secs(3600)).await;
    let (bucket, path) = (format!("{name}-media"), format!("/v1/apps/{name}"));
    server
        .onboard(&json!({"name": name, "buckets": [{"name": bucket}], "repositories": []}))
        .await;
    let first = offboard(&server, &name, "").await;
    let removal = removal_of(&server.json(&path).await);
    tokio::time::sleep(Duration::from_millis(20)).await;

    let again = delete(&server, &name, "").await;
    assert_eq!(
        (
            again.status().as_u16(),
            again.headers()["location"].to_str().unwrap()
        ),
        (
            202,
            format!("/v1/jobs/{}", first["id"].as_str().unwrap()).as_str()
        )
    );
    assert_eq!(again.json::<Value>().await.unwrap(), first, "the same job");
    assert_eq!(removal_of(&server.json(&path).await), removal);
    let plan: Value = delete(&server, &name, "?dry_run=true")
        .await
        .json()
        .await
        .unwrap();
    assert!(
        plan["warnings"][0]
            .as_str()
            .unwrap()
            .contains(removal["remove_at"].as_str().unwrap()),
        "{plan:#}"
    );

    // More is asked for: that changes what goes, and not when.
    let at = |removal: &Value| {
        removal["remove_at"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    let with_data = format!("?buckets={bucket}&confirm={name}");
    assert_ne!(
        offboard(&server, &name, &with_data).await["id"],
        first["id"]
    );
    let more = removal_of(&server.json(&path).await);
    assert_eq!(more["buckets"], json!([bucket]));
    let later = at(&more).duration_since(at(&removal));
    assert!(
        later.as_secs() < 30 && !later.is_negative(),
        "{removal:#} {more:#}"
    );
    assert_eq!(delete(&server, &name, "").await.status(), 202);
    assert_eq!(
        removal_of(&server.json(&path).await),
        more,
        "what was asked for stays asked for"
    );

    // Another quarantine is asked for.
    offboard(&server, &name, &format!("{with_data}&quarantine=3d")).await;
    let longer = at(&removal_of(&server.json(&path).await)).duration_since(at(&more));
    assert!(longer.as_hours() > 48, "{longer:?}");
    assert_eq!(
        delete(&server, &name, "?quarantine=soon").await.status(),
        400
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_comes_too_late_says_that_the_removal_has_begun_or_ended() {
    let (setup, server, name) = start(Emulator::Moto, Duration::ZERO).await;
    server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    setup
        .proxy
        .break_calls([("iam:DeleteUser", 0, Fault::Late)]);
    offboard(&server, &name, "").await;
    let job = loop {
        let jobs = server
            .json(&format!("/v1/jobs?app={name}&kind=remove"))
            .await;
        if let Some(job) = jobs["items"].as_array().unwrap().first() {
            break job.clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let restore = async || -> Value {
        server
            .post_empty(&format!("/v1/apps/{name}/restore"))
            .await
            .json()
            .await
            .unwrap()
    };
    let refused = restore().await;
    let url = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    assert_eq!(
        json!([refused["status"], refused["code"], refused["url"]]),
        json!([409, "removal_begun", url]),
        "{refused:#}"
    );
    let again: Value = delete(&server, &name, "").await.json().await.unwrap();
    assert_eq!(again["id"], job["id"], "a removal is under way: {again:#}");
    setup.proxy.mend();
    assert_eq!(taken_apart(&server, &name).await["state"], "succeeded");
    assert_eq!(restore().await["code"], "app_removed");
    server.stop().await;
}

/// The user goes with the app, and so does what opens doors with it: at once, not when the quarantine is over.
#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_user_that_is_to_go_has_its_own_key_switched_off_at_once_and_on_again_by_a_restore()
 {
    let (setup, server, name) = start(Emulator::Ministack, Duration::from_secs(3600)).await;
    aws_inspector::call(
        &setup.place,
        "iam",
        "create_user",
        json!({"UserName": name}),
    )
    .unwrap();
    aws_inspector::call(
        &setup.place,
        "iam",
        "create_access_key",
        json!({"UserName": name}),
    )
    .unwrap();
    server
        .onboard(&json!({"name": name, "on_existing": "adopt", "buckets": [], "repositories": []}))
        .await;
    offboard(&server, &name, "?adopted=true").await;
    assert_eq!(keys(&setup, &name), ["Inactive", "Inactive"]);
    let job = server.run(&format!("/v1/apps/{name}/restore"), None).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(keys(&setup, &name), ["Active", "Active"]);
    server.stop().await;
}

/// Somebody else's user stands in nobody's way, and is not touched.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_whose_user_is_somebody_elses_can_be_removed() {
    let (setup, server, name) = start(Emulator::Moto, Duration::ZERO).await;
    aws_inspector::call(
        &setup.place,
        "iam",
        "create_user",
        json!({"UserName": name}),
    )
    .unwrap();
    aws_inspector::call(
        &setup.place,
        "iam",
        "create_access_key",
        json!({"UserName": name}),
    )
    .unwrap();
    let bucket = format!("{name}-media");
    let job = server
        .run(
            "/v1/apps",
            Some(&json!({"name": name, "buckets": [{"name": bucket}], "repositories": []})),
        )
        .await;
    assert_eq!(job["error"]["code"], "conflict", "{job:#}");
    offboard(&server, &name, &format!("?buckets={bucket}&confirm={name}")).await;
    assert_eq!(taken_apart(&server, &name).await["state"], "succeeded");
    assert!(!is_there(
        &setup,
        "s3",
        "head_bucket",
        json!({"Bucket": bucket})
    ));
    assert_eq!(keys(&setup, &name), ["Active"], "the user is as it was");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_app_is_not_removed() {
    let (_setup, server, name) = start(Emulator::Moto, Duration::ZERO).await;
    let body = json!({"name": name, "buckets": [], "repositories": [], "protected": true});
    server.onboard(&body).await;
    let refused: Value = delete(&server, &name, "").await.json().await.unwrap();
    assert_eq!(
        (&refused["status"], &refused["code"]),
        (&json!(409), &json!("protected"))
    );
    let plan: Value = delete(&server, &name, "?dry_run=true")
        .await
        .json()
        .await
        .unwrap();
    assert!(
        plan["warnings"].to_string().contains("protected"),
        "{plan:#}"
    );
    let actions: Vec<&str> = plan["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["action"].as_str().unwrap())
        .collect();
    assert!(
        actions.contains(&"delete") && !actions.contains(&"create"),
        "{plan:#}"
    );
    assert_eq!(
        server.json(&format!("/v1/apps/{name}")).await["state"],
        "ready"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_adopted_is_left_unless_told() {
    for adopted in [false, true] {
        let (setup, server, name) = start(Emulator::Ministack, Duration::ZERO).await;
        aws_inspector::call(
            &setup.place,
            "iam",
            "create_user",
            json!({"UserName": name}),
        )
        .unwrap();
        let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]});
        let policy =
            json!({"PolicyName": "MediaManagement", "PolicyDocument": document.to_string()});
        let policy = aws_inspector::call(&setup.place, "iam", "create_policy", policy).unwrap();
        aws_inspector::call(
            &setup.place,
            "iam",
            "attach_user_policy",
            json!({"UserName": name, "PolicyArn": policy["Policy"]["Arn"]}),
        )
        .unwrap();
        let hand = aws_inspector::call(
            &setup.place,
            "iam",
            "create_access_key",
            json!({"UserName": name}),
        )
        .unwrap();
        let hand = hand["AccessKey"]["AccessKeyId"].clone();
        server
            .onboard(
                &json!({"name": name, "on_existing": "adopt", "buckets": [], "repositories": []}),
            )
            .await;
        offboard(&server, &name, if adopted { "?adopted=true" } else { "" }).await;
        assert_eq!(taken_apart(&server, &name).await["state"], "succeeded");
        let user = aws_inspector::call(&setup.place, "iam", "get_user", json!({"UserName": name}));
        assert_eq!(user.is_ok(), !adopted);
        if !adopted {
            let tags = aws_inspector::call(
                &setup.place,
                "iam",
                "list_user_tags",
                json!({"UserName": name}),
            )
            .unwrap();
            assert_eq!(tags["Tags"], json!([]), "it is nobody's again");
            let listed = aws_inspector::call(
                &setup.place,
                "iam",
                "list_access_keys",
                json!({"UserName": name}),
            )
            .unwrap();
            let left = listed["AccessKeyMetadata"].as_array().unwrap();
            assert_eq!(
                (left.len(), &left[0]["AccessKeyId"], &left[0]["Status"]),
                (1, &hand, &json!("Active")),
                "its own key is untouched"
            );
            let attached = aws_inspector::call(
                &setup.place,
                "iam",
                "list_attached_user_policies",
                json!({"UserName": name}),
            )
            .unwrap();
            assert_eq!(
                attached["AttachedPolicies"].as_array().unwrap().len(),
                1,
                "and it may do what it could before"
            );
            let groups = aws_inspector::call(
                &setup.place,
                "iam",
                "list_groups_for_user",
                json!({"UserName": name}),
            )
            .unwrap();
            assert_eq!(groups["Groups"], json!([]), "what we have added goes");
        }
        server.stop().await;
    }
}

/// What hardly any user has is looked for once AWS has refused; the emulators know none of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_rare_is_found_when_aws_does_not_delete_the_user() {
    let (setup, server, name) = start(Emulator::Moto, Duration::ZERO).await;
    server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    offboard_scripted(&setup);
    offboard(&server, &name, "").await;
    let job = taken_apart(&server, &name).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let called: Vec<String> = setup
        .proxy
        .take_log()
        .iter()
        .map(|call| call.operation.clone())
        .collect();
    for operation in [
        "DeleteSigningCertificate",
        "DeleteSSHPublicKey",
        "DeleteServiceSpecificCredential",
    ] {
        assert!(
            called.iter().any(|it| it == operation),
            "{operation}: {called:?}"
        );
    }
    assert_eq!(called.iter().filter(|it| *it == "DeleteUser").count(), 2);
    assert!(!is_there(
        &setup,
        "iam",
        "get_user",
        json!({"UserName": name})
    ));
    server.stop().await;
}

/// AWS refuses the first DeleteUser, and shows a certificate, an SSH key and a service's credential.
fn offboard_scripted(setup: &Setup) {
    let refused = std::sync::atomic::AtomicBool::new(false);
    setup.proxy.script(move |call| {
        let answer = |result: &str| Answer::Now(200, format!("<{0}Response><{0}Result>{result}</{0}Result></{0}Response>", call.operation));
        let when = "2026-01-01T00:00:00Z";
        Some(match call.operation.as_str() {
            "DeleteUser" if !refused.swap(true, std::sync::atomic::Ordering::SeqCst) => {
                Answer::Now(409, refusal_body("iam", "DeleteConflict"))
            }
            "ListSigningCertificates" => answer(&format!(
                "<Certificates><member><UserName>u</UserName><CertificateId>CERTIFICATE0123456789ABCDEF</CertificateId><CertificateBody>x</CertificateBody>\
                 <Status>Active</Status><UploadDate>{when}</UploadDate></member></Certificates><IsTruncated>false</IsTruncated>"
            )),
            "ListSSHPublicKeys" => answer(&format!(
                "<SSHPublicKeys><member><UserName>u</UserName><SSHPublicKeyId>SSHKEY0123456789ABCDEF</SSHPublicKeyId><Status>Active</Status>\
                 <UploadDate>{when}</UploadDate></member></SSHPublicKeys><IsTruncated>false</IsTruncated>"
            )),
            "ListServiceSpecificCredentials" => answer(&format!(
                "<ServiceSpecificCredentials><member><UserName>u</UserName><Status>Active</Status><ServiceUserName>u</ServiceUserName>\
                 <CreateDate>{when}</CreateDate><ServiceSpecificCredentialId>CREDENTIAL0123456789</ServiceSpecificCredentialId>\
                 <ServiceName>codecommit.amazonaws.com</ServiceName></member></ServiceSpecificCredentials>"
            )),
            "DeleteSigningCertificate" | "DeleteSSHPublicKey" | "DeleteServiceSpecificCredential" => answer(""),
            _ => return None,
        })
    });
}

fn tags_of(setup: &Setup, bucket: &str) -> String {
    let tags = aws_inspector::call(
        &setup.place,
        "s3",
        "get_bucket_tagging",
        json!({"Bucket": bucket}),
    );
    tags.map(|tags| tags["TagSet"].to_string())
        .unwrap_or_default()
}

/// What stays in AWS is nobody's once its app is removed, so another app can adopt it.
#[tokio::test(flavor = "multi_thread")]
async fn what_stays_can_be_adopted_by_another_app() {
    for emulator in [Emulator::Moto, Emulator::Ministack] {
        let (setup, server, name) = start(emulator, Duration::ZERO).await;
        let [adopted, dropped, made] =
            ["adopted", "dropped", "made"].map(|kind| format!("{name}-{kind}"));
        let constraint = json!({"LocationConstraint": "us-west-2"});
        aws_inspector::call(
            &setup.place,
            "s3",
            "create_bucket",
            json!({"Bucket": adopted, "CreateBucketConfiguration": constraint}),
        )
        .unwrap();
        let team = json!({"TagSet": [{"Key": "team", "Value": "own"}]});
        aws_inspector::call(
            &setup.place,
            "s3",
            "put_bucket_tagging",
            json!({"Bucket": adopted, "Tagging": team}),
        )
        .unwrap();
        let buckets = [&adopted, &dropped, &made].map(|bucket| json!({"name": bucket}));
        server
            .onboard(&json!({"name": name, "on_existing": "adopt", "buckets": buckets}))
            .await;
        let without = json!({"name": name, "on_existing": "adopt", "buckets": [{"name": adopted}, {"name": made}]});
        let path = format!("/v1/apps/{name}");
        let job: Value = server
            .request(Method::PUT, &path)
            .json(&without)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(
            server.wait(job["id"].as_str().unwrap()).await["state"],
            "succeeded"
        );
        assert!(
            tags_of(&setup, &dropped).contains("slipway:app"),
            "what is retained is the app's still"
        );

        let plan: Value = delete(&server, &name, "?dry_run=true")
            .await
            .json()
            .await
            .unwrap();
        let told = plan["warnings"].to_string();
        assert!(
            told.contains(&format!(
                "The bucket {adopted} in us-west-2 existed before the app"
            )),
            "{told}"
        );
        assert!(
            told.contains(&format!(
                "The bucket {made} in us-west-2 is retained in AWS with its contents"
            )),
            "{told}"
        );
        offboard(&server, &name, "").await;
        let job = taken_apart(&server, &name).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        assert!(
            job["result"]["warnings"]
                .to_string()
                .contains("Slipway no longer manages it"),
            "{job:#}"
        );
        for bucket in [&adopted, &dropped, &made] {
            assert!(is_there(
                &setup,
                "s3",
                "head_bucket",
                json!({"Bucket": bucket})
            ));
            assert!(
                !tags_of(&setup, bucket).contains("slipway:"),
                "{}",
                tags_of(&setup, bucket)
            );
        }
        assert!(
            tags_of(&setup, &adopted).contains("team"),
            "its own tags are left"
        );
        let arn = format!(
            "arn:aws:ecr:us-west-2:{}:repository/{name}",
            setup.place.account
        );
        let tags = aws_inspector::call(
            &setup.place,
            "ecr",
            "list_tags_for_resource",
            json!({"resourceArn": arn}),
        )
        .unwrap();
        assert!(!tags.to_string().contains("slipway:"), "{tags}");

        let other = unique("other");
        let body = json!({"name": other, "on_existing": "adopt", "buckets": buckets, "repositories": [{"name": name}]});
        server.onboard(&body).await;
        for bucket in [&adopted, &dropped, &made] {
            let tags = tags_of(&setup, bucket);
            assert!(
                tags.contains(&other) && tags.contains("slipway:adopted"),
                "{tags}"
            );
        }
        server.stop().await;
    }
}
