//! Looking back: who asked what, and what it changed in AWS.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::aws::{Emulator, Place};
use crate::support::server::{Server, Setup};
use crate::support::wire::{Answer, Call, Fault, refusal_body};
use crate::support::{aws_inspector, unique};

const BOTH: [Emulator; 2] = [Emulator::Moto, Emulator::Ministack];

/// All entries of a list, page by page.
async fn all(api: &Api, path: &str, limit: usize) -> Vec<Value> {
    let (mut entries, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.json(&format!("{path}limit={limit}{cursor}")).await;
        let items = page["items"].as_array().unwrap();
        entries.extend(items.iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else {
            return entries;
        };
        assert_eq!(items.len(), limit);
        let places: BTreeSet<i64> = entries
            .iter()
            .map(|entry| entry["seq"].as_i64().unwrap())
            .collect();
        assert_eq!(places.len(), entries.len(), "an entry came twice");
        cursor = format!("&cursor={next}");
    }
}

fn actions(entries: &[Value]) -> Vec<&str> {
    entries
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect()
}

fn of<'e>(entries: &'e [Value], action: &str) -> Vec<&'e Value> {
    entries
        .iter()
        .filter(|entry| entry["action"] == action)
        .collect()
}

/// The calls that entries tell of, by name and request id.
fn told(entries: &[Value]) -> BTreeSet<(String, String)> {
    let calls = entries
        .iter()
        .flat_map(|entry| entry["calls"].as_array().into_iter().flatten());
    let text = |call: &Value, field: &str| {
        call[field]
            .as_str()
            .unwrap_or_else(|| panic!("{call} has no {field}"))
            .to_owned()
    };
    calls
        .map(|call| {
            (
                format!("{}:{}", text(call, "service"), text(call, "operation")),
                text(call, "request_id"),
            )
        })
        .collect()
}

/// The calls that the wire saw succeed, of those that change something.
fn seen(log: &[Call]) -> BTreeSet<(String, String)> {
    let changed = log.iter().filter(|call| {
        call.service != "sts" && call.mutates() && call.status.is_some_and(|status| status < 300)
    });
    changed
        .map(|call| {
            (
                call.name(),
                call.request_id
                    .clone()
                    .unwrap_or_else(|| panic!("{} has no request id", call.name())),
            )
        })
        .collect()
}

async fn named(server: &Server, name: &str, role: &str) -> Api {
    let response = server
        .post("/v1/tokens", &json!({"name": name, "role": role}))
        .await;
    let token: Value = response.json().await.unwrap();
    Api::new(server.url.clone(), token["token"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_tells_who_asked_what_and_the_very_calls_that_changed_something() {
    for emulator in BOTH {
        let setup = Setup::new(Place::new(emulator));
        let server = setup.start().await;
        let (ann, bob) = (
            named(&server, "ann", "operator").await,
            named(&server, "bob", "operator").await,
        );
        let name = unique("acme");
        let path = format!("/v1/apps/{name}/history?");

        let onboarded = ann.onboard(&json!({"name": name})).await;
        let history = all(&ann, &path, 200).await;
        let first = seen(&setup.proxy.take_log());
        assert!(first.len() >= 9, "{first:?}");
        assert_eq!(told(&history), first);
        let services: BTreeSet<&str> = first
            .iter()
            .map(|(name, _)| name.split(':').next().unwrap())
            .collect();
        assert_eq!(services, BTreeSet::from(["ecr", "iam", "s3"]));
        let asked = of(&history, "job_requested");
        assert_eq!(asked.len(), 1);
        assert_eq!(
            (
                &asked[0]["actor"],
                &asked[0]["task"]["kind"],
                &asked[0]["job"]
            ),
            (&json!("ann"), &json!("onboard"), &onboarded["id"])
        );
        assert_eq!(
            (&history[0]["action"], &history[0]["state"]),
            (&json!("job_ended"), &json!("succeeded"))
        );
        let user = history
            .iter()
            .find(|entry| entry["resource"] == format!("iam:user/{name}"))
            .unwrap();
        assert_eq!(
            (&user["actor"], &user["job"], &user["app"]),
            (&json!("ann"), &onboarded["id"], &json!(name))
        );
        assert!(
            user["change"].as_str().unwrap().contains("create user"),
            "{user}"
        );

        let claimed = bob
            .post_empty(onboarded["result"]["claim"].as_str().unwrap())
            .await;
        let secret: Value = claimed.json().await.unwrap();
        let secret = secret["AWS_SECRET_ACCESS_KEY"]
            .as_str()
            .expect("the secret")
            .to_owned();

        let policy = format!(
            "arn:aws:iam::{}:policy/MediaManagement",
            setup.place.account
        );
        aws_inspector::call(
            &setup.place,
            "iam",
            "detach_user_policy",
            json!({"UserName": name, "PolicyArn": policy}),
        )
        .unwrap();
        setup.proxy.take_log();
        let repaired = bob.run(&format!("/v1/apps/{name}/repair"), None).await;
        let repair = all(
            &bob,
            &format!("{path}job={}&", repaired["id"].as_str().unwrap()),
            200,
        )
        .await;
        assert_eq!(
            actions(&repair),
            ["job_ended", "change_applied", "job_requested"]
        );
        assert_eq!(told(&repair), seen(&setup.proxy.take_log()));
        assert!(
            repair.iter().all(|entry| entry["actor"] == "bob"),
            "{repair:#?}"
        );
        assert_eq!(repair[1]["calls"][0]["operation"], "AttachUserPolicy");

        let whole = all(&bob, &path, 200).await;
        assert_eq!(all(&bob, &path, 3).await, whole, "pages are whole");
        let claims = of(&whole, "secret_claimed");
        assert_eq!(claims.len(), 1);
        assert_eq!(
            (&claims[0]["actor"], &claims[0]["access_key_id"]),
            (&json!("bob"), &onboarded["result"]["access_key_id"])
        );
        assert!(!json!(whole).to_string().contains(&secret));
        let changes = all(&bob, &format!("{path}action=change_applied&"), 200).await;
        assert_eq!(
            changes.iter().collect::<Vec<_>>(),
            of(&whole, "change_applied")
        );
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_a_cancel_and_a_retry_are_in_it() {
    let setup = Setup::new(Place::new(Emulator::Moto));
    let server = setup.start().await;
    let ann = named(&server, "ann", "operator").await;
    let name = unique("acme");
    setup.proxy.script(|call| {
        (call.name() == "iam:CreateUser")
            .then(|| Answer::Now(403, refusal_body("iam", "AccessDenied")))
    });
    let job = ann
        .run(
            "/v1/apps",
            Some(&json!({"name": name, "buckets": [], "repositories": []})),
        )
        .await;
    assert_eq!(job["state"], "needs_attention");
    let id = job["id"].as_str().unwrap();
    assert_eq!(
        server
            .post_empty(&format!("/v1/jobs/{id}/cancel"))
            .await
            .status(),
        202
    );
    setup.proxy.unscript();
    assert_eq!(
        server.run(&format!("/v1/jobs/{id}/retry"), None).await["state"],
        "succeeded"
    );

    let history = all(&ann, &format!("/v1/apps/{name}/history?"), 200).await;
    let job_itself: Vec<(&str, &str, &str)> = history
        .iter()
        .rev()
        .filter(|entry| {
            !["change_applied", "step_failed"].contains(&entry["action"].as_str().unwrap())
        })
        .map(|entry| {
            (
                entry["action"].as_str().unwrap(),
                entry["actor"].as_str().unwrap(),
                entry["state"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    let expected = [
        ("job_requested", "ann", ""),
        ("job_ended", "ann", "needs_attention"),
        ("cancel_requested", "admin", ""),
        ("job_ended", "ann", "canceled"),
        ("retry_requested", "admin", ""),
        ("job_ended", "ann", "succeeded"),
    ];
    assert_eq!(job_itself, expected);
    let refused = json!({"service": "iam", "operation": "CreateUser", "code": "AccessDenied", "request_id": "r"});
    assert_eq!(of(&history, "job_ended")[2]["refused"], refused);
    assert!(
        of(&history, "step_failed")
            .iter()
            .any(|entry| entry["refused"] == refused),
        "{history:#?}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_secret_could_not_be_kept_is_told_of() {
    let setup = Setup::new(Place::new(Emulator::Moto));
    let server = setup.start().await;
    let name = unique("acme");
    setup
        .proxy
        .break_calls([("iam:CreateAccessKey", 0, Fault::ResetAfter)]);
    let job = server
        .run(
            "/v1/apps",
            Some(&json!({"name": name, "buckets": [], "repositories": []})),
        )
        .await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let log = setup.proxy.take_log();
    let history = all(&server, &format!("/v1/apps/{name}/history?"), 200).await;
    assert_eq!(
        told(&history),
        seen(&log),
        "but for the call whose answer nobody got"
    );
    let names: Vec<String> = told(&history).into_iter().map(|(name, _)| name).collect();
    assert!(
        names.contains(&"iam:DeleteAccessKey".to_owned()),
        "the lost key's deletion: {names:?}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_found_by_each_filter_and_is_the_admins() {
    let setup = Setup::new(Place::new(Emulator::Moto));
    let server = setup.start().await;
    let (ann, eve) = (
        named(&server, "ann", "operator").await,
        named(&server, "eve", "viewer").await,
    );
    let (one, two) = (unique("one"), unique("two"));
    let small = |name: &str| json!({"name": name, "buckets": [], "repositories": []});
    let job = ann.onboard(&small(&one)).await;
    server.onboard(&small(&two)).await;
    let tokens = server.json("/v1/tokens").await;
    let eves = tokens["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|token| token["name"] == "eve")
        .unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();

    for api in [&ann, &eve] {
        assert_eq!(api.get("/v1/audit").await.status(), StatusCode::FORBIDDEN);
        assert_eq!(
            api.get(&format!("/v1/apps/{one}/history")).await.status(),
            StatusCode::OK
        );
    }
    assert_eq!(
        server
            .anonymous(Method::GET, "/v1/audit")
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        server
            .request(Method::DELETE, &format!("/v1/tokens/{eves}"))
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::NO_CONTENT
    );

    let whole = all(&server, "/v1/audit?", 200).await;
    assert_eq!(
        all(&server, "/v1/audit?", 7).await,
        whole,
        "pages are whole"
    );
    let by_time = whole.windows(2).all(|two| {
        (two[0]["at"].as_str(), two[0]["seq"].as_i64())
            > (two[1]["at"].as_str(), two[1]["seq"].as_i64())
    });
    assert!(by_time, "the newest first: {whole:#?}");
    assert_eq!(of(&whole, "token_created").len(), 2);
    let revoked = of(&whole, "token_revoked");
    assert_eq!(
        (
            &revoked[0]["name"],
            &revoked[0]["token_id"],
            &revoked[0]["actor"]
        ),
        (&json!("eve"), &json!(eves), &json!("admin"))
    );

    let holds = |filter: &str, fits: &dyn Fn(&Value) -> bool| {
        let (filter, expected) = (
            filter.to_owned(),
            whole
                .iter()
                .filter(|entry| fits(entry))
                .cloned()
                .collect::<Vec<_>>(),
        );
        let server = &server;
        async move {
            assert!(
                !expected.is_empty() && expected.len() < all(server, "/v1/audit?", 200).await.len(),
                "{filter} tells nothing"
            );
            assert_eq!(
                all(server, &format!("/v1/audit?{filter}&"), 200).await,
                expected,
                "{filter}"
            );
        }
    };
    let begins = |entry: &Value, with: &str| {
        entry["resource"]
            .as_str()
            .is_some_and(|resource| resource.starts_with(with))
    };
    let called = |entry: &Value, field: &str, value: &str| entry["calls"][0][field] == value;
    holds(&format!("app={one}"), &|entry| entry["app"] == one).await;
    holds("actor=ann", &|entry| entry["actor"] == "ann").await;
    holds("action=token_created", &|entry| {
        entry["action"] == "token_created"
    })
    .await;
    holds(&format!("job={}", job["id"].as_str().unwrap()), &|entry| {
        entry["job"] == job["id"]
    })
    .await;
    holds("resource=iam:user/", &|entry| begins(entry, "iam:user/")).await;
    holds(&format!("resource=iam:user/{two}"), &|entry| {
        begins(entry, &format!("iam:user/{two}"))
    })
    .await;
    holds("service=iam", &|entry| called(entry, "service", "iam")).await;
    holds("operation=CreateUser", &|entry| {
        called(entry, "operation", "CreateUser")
    })
    .await;
    holds(
        &format!("app={one}&operation=CreateUser&actor=ann"),
        &|entry| called(entry, "operation", "CreateUser") && entry["app"] == one,
    )
    .await;
    let middle = whole[whole.len() / 2]["at"].as_str().unwrap();
    holds(&format!("since={middle}"), &|entry| {
        entry["at"].as_str().unwrap() >= middle
    })
    .await;
    holds(&format!("until={middle}"), &|entry| {
        entry["at"].as_str().unwrap() < middle
    })
    .await;
    assert_eq!(
        all(&server, "/v1/audit?app=nobody-has-this&", 200).await,
        Vec::<Value>::new()
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lines_come_a_page_at_a_time_with_the_way_to_the_next() {
    let setup = Setup::new(Place::new(Emulator::Moto));
    let server = setup.start().await;
    let name = unique("acme");
    server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    for (path, kind) in [
        ("/v1/audit", "application/x-ndjson"),
        (&format!("/v1/apps/{name}/history"), "application/jsonl"),
    ] {
        let (mut entries, mut next) = (
            Vec::new(),
            Some(format!("{path}?limit=4&action=change_applied")),
        );
        while let Some(page) = next {
            let response = server
                .request(Method::GET, &page)
                .header("accept", kind)
                .send()
                .await
                .unwrap();
            assert_eq!(
                (
                    response.status(),
                    response.headers()["content-type"].to_str().unwrap()
                ),
                (StatusCode::OK, kind)
            );
            let link = response
                .headers()
                .get("link")
                .map(|link| link.to_str().unwrap().to_owned());
            next = link.map(|link| {
                link.strip_prefix('<')
                    .unwrap()
                    .strip_suffix(">; rel=\"next\"")
                    .unwrap()
                    .to_owned()
            });
            let body = response.text().await.unwrap();
            assert!(body.is_empty() || body.ends_with('\n'));
            let lines: Vec<Value> = body
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            assert!(next.is_none() || lines.len() == 4);
            entries.extend(lines);
        }
        assert!(entries.len() > 4, "more than a page");
        assert_eq!(
            entries,
            all(&server, &format!("{path}?action=change_applied&"), 200).await
        );
    }
    let empty = server
        .request(Method::GET, "/v1/audit?actor=nobody")
        .header("accept", "application/x-ndjson")
        .send()
        .await
        .unwrap();
    assert!(empty.headers().get("link").is_none());
    assert_eq!(empty.text().await.unwrap(), "");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_parameter_is_named() {
    let setup = Setup::new(Place::new(Emulator::Moto));
    let server = setup.start().await;
    let wrong = "app=-&actor=&action=stole&job=7&resource=&service=ec2&operation=a-b&since=monday&until=2025-13-01T00:00:00Z&limit=0&cursor=1&who=me";
    let response = server.get(&format!("/v1/audit?{wrong}")).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let problem: Value = response.json().await.unwrap();
    let mut named: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    named.sort_unstable();
    assert_eq!(
        named,
        [
            "action",
            "actor",
            "app",
            "cursor",
            "job",
            "limit",
            "operation",
            "resource",
            "service",
            "since",
            "until",
            "who"
        ],
        "{problem:#}"
    );
    for cursor in [
        "1-",
        "-1",
        "1--1",
        "01-1",
        "1-1-1",
        "9223372036854775808-1",
        "%2B1-1",
    ] {
        assert_eq!(
            server
                .get(&format!("/v1/audit?cursor={cursor}"))
                .await
                .status(),
            StatusCode::BAD_REQUEST,
            "{cursor}"
        );
    }
    assert_eq!(
        server
            .get("/v1/audit?since=2025-01-01T00:00:00%2B01:00")
            .await
            .status(),
        StatusCode::OK
    );
    assert_eq!(
        server
            .get("/v1/apps/nobody-has-this/history")
            .await
            .status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        server
            .get(&format!("/v1/apps/{}/history?actor=ann", unique("acme")))
            .await
            .status(),
        StatusCode::BAD_REQUEST
    );
    server.stop().await;
}
