//! Onboarding, dry runs and plans.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::{as_bearer, ask, get, id, idle, light, post, post_empty, strings, working};
use crate::support::unique;

#[tokio::test(flavor = "multi_thread")]
async fn onboarding_answers_a_queued_job_and_where_to_find_it() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    let answer = post(&server, "/v1/apps", &json!({"name": name})).await;
    let job = answer.expect(202);
    assert_eq!(answer.header("location"), format!("/v1/jobs/{}", id(&job)));
    assert!(answer.header("retry-after").parse::<u32>().is_ok());
    assert_eq!(
        json!([
            job["kind"],
            job["app"],
            job["account"],
            job["state"],
            job["attempt"],
            job["requested_by"]
        ]),
        json!(["onboard", name, "default", "queued", 0, "admin"])
    );
    for absent in [
        "reason",
        "next_attempt_at",
        "result",
        "error",
        "started_at",
        "finished_at",
    ] {
        assert_eq!(job[absent], Value::Null, "{absent}");
    }
    let account = &setup.place.account;
    let ids = [
        "iam:group/Apps".to_owned(),
        format!("iam:user/{name}"),
        format!("iam:membership/Apps/{name}"),
        "iam:policy/MediaManagement".to_owned(),
        format!("iam:attachment/MediaManagement/{name}"),
        format!("iam:access-key/{name}"),
        format!("s3:bucket/{name}-media-{account}"),
        format!("ecr:repository/us-west-2/{name}"),
        format!("ecr:lifecycle/us-west-2/{name}"),
    ];
    assert_eq!(strings(&job["steps"], "resource"), ids);
    assert!(
        strings(&job["steps"], "state")
            .iter()
            .all(|state| state == "pending")
    );
    let created: jiff::Timestamp = job["created_at"].as_str().unwrap().parse().unwrap();
    assert!(job["created_at"].as_str().unwrap().ends_with('Z') && created.as_millisecond() > 0);
    assert_eq!(
        get(&server, answer.header("location")).await.expect(200),
        job
    );
    let app = get(&server, &format!("/v1/apps/{name}")).await.expect(200);
    assert_eq!(
        json!([app["state"], app["active_job"], app["last_job"]]),
        json!(["pending", job["id"], job["id"]])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_answers_the_plan_and_writes_nothing() {
    let setup = working();
    let server = setup.start().await;
    let name = unique("acme");
    setup.proxy.take_log();
    let plan = post(&server, "/v1/apps?dry_run=true", &json!({"name": name}))
        .await
        .expect(200);
    let account = &setup.place.account;
    assert_eq!(
        plan["spec"],
        json!({
            "name": name, "account": "default", "region": "us-west-2", "media_access": "shared", "access_key": true,
            "buckets": [{"name": format!("{name}-media-{account}"), "region": "us-west-2", "upload_origins": [format!("https://{name}.herokuapp.com")]}],
            "repositories": [{"name": name, "region": "us-west-2", "lifecycle": "guide"}], "on_existing": "fail", "tags": {},
            "protected": false, "drift": "report",
        })
    );
    let changes = plan["changes"].as_array().unwrap();
    assert!(!changes.is_empty());
    for change in changes {
        assert!(
            ["create", "update"].contains(&change["action"].as_str().unwrap()),
            "{change}"
        );
        assert!(
            change["aws_cli"].as_str().unwrap().starts_with("aws "),
            "{change}"
        );
        assert!(!change["detail"].as_str().unwrap().is_empty());
    }
    assert_eq!(plan["calls"], changes.len());
    let warnings = plan["warnings"].to_string();
    assert!(
        warnings.contains("scoped"),
        "the mode that does not open every bucket is named: {warnings}"
    );

    let calls = setup.proxy.take_log();
    assert!(!calls.is_empty());
    assert_eq!(
        calls
            .iter()
            .filter(|call| call.mutates())
            .map(|call| call.name())
            .collect::<Vec<_>>(),
        Vec::<String>::new()
    );
    assert_eq!(
        get(&server, "/v1/apps").await.expect(200)["items"],
        json!([])
    );
    assert_eq!(
        get(&server, "/v1/jobs").await.expect(200)["items"],
        json!([])
    );

    let viewer = server.token("viewer").await;
    let as_viewer = |path: &str| {
        ask(as_bearer(&server, &viewer, Method::POST, path).json(&json!({"name": name})))
    };
    as_viewer("/v1/apps?dry_run=true").await.expect(200);
    as_viewer("/v1/apps?dry_run=false")
        .await
        .problem(403, "forbidden");
    for unclear in ["dry_run=yes", "dry_run=", "dry_run=true&dry_run=false"] {
        post(
            &server,
            &format!("/v1/apps?{unclear}"),
            &json!({"name": name}),
        )
        .await
        .problem(400, "invalid_parameters");
    }
    assert_eq!(
        get(&server, "/v1/apps").await.expect(200)["items"],
        json!([])
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_of_an_app_is_of_its_spec_or_of_the_one_that_is_sent() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    post(&server, "/v1/apps", &light(&name)).await.expect(202);
    let path = format!("/v1/apps/{name}/plan");
    let planned = |plan: Value| {
        strings(&plan["changes"], "resource")
            .into_iter()
            .collect::<BTreeSet<_>>()
    };
    let present = planned(post_empty(&server, &path).await.expect(200));
    assert!(
        !present.contains(&format!("s3:bucket/{name}")),
        "{present:?}"
    );
    let mut body = light(&name);
    body["buckets"] = json!([{"name": name}]);
    let asked = planned(post(&server, &path, &body).await.expect(200));
    assert!(
        asked.is_superset(&present) && asked.contains(&format!("s3:bucket/{name}")),
        "{asked:?}"
    );
    body["name"] = json!(unique("other"));
    let problem = post(&server, &path, &body)
        .await
        .problem(422, "invalid_fields");
    assert_eq!(strings(&problem["errors"], "pointer"), ["/name"]);
    post(&server, &path, &json!({"name": name, "x": 1}))
        .await
        .problem(422, "invalid_fields");
    assert_eq!(
        get(&server, &format!("/v1/apps/{name}")).await.expect(200)["version"],
        1,
        "a plan changes nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_there_is_409_also_in_other_letters() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    post(&server, "/v1/apps", &light(&name)).await.expect(202);
    for again in [name.clone(), name.to_uppercase()] {
        for path in ["/v1/apps", "/v1/apps?dry_run=true"] {
            let answer = post(&server, path, &light(&again)).await;
            let problem = answer.problem(409, "app_exists");
            assert_eq!(
                problem["url"].as_str().unwrap().to_lowercase(),
                format!("/v1/apps/{name}")
            );
            assert_eq!(answer.header("location"), problem["url"]);
            assert!(problem["remedy"].is_string());
            assert_eq!(
                get(&server, answer.header("location")).await.expect(200)["name"],
                name
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_was_never_finished_can_be_asked_for_anew() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    let first = post(&server, "/v1/apps", &light(&name)).await.expect(202);
    post_empty(&server, &format!("/v1/jobs/{}/cancel", id(&first)))
        .await
        .expect(202);
    let mut body = light(&name);
    body["tags"] = json!({"team": "shop"});
    post(&server, "/v1/apps", &light(&name.to_uppercase()))
        .await
        .problem(409, "app_exists");
    post(&server, "/v1/apps?dry_run=true", &body)
        .await
        .expect(200);
    let second = post(&server, "/v1/apps", &body).await.expect(202);
    assert_ne!(first["id"], second["id"]);
    let app = get(&server, &format!("/v1/apps/{name}")).await.expect(200);
    assert_eq!(
        json!([app["spec"]["tags"]["team"], app["state"], app["active_job"]]),
        json!(["shop", "pending", second["id"]])
    );
    post(&server, "/v1/apps", &body)
        .await
        .problem(409, "app_exists");
    assert_eq!(
        get(&server, "/v1/apps").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
