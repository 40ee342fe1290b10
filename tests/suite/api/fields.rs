//! Invalid parameters and fields: all are reported at once, each by its name or pointer.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::roles::ROUTES;
use super::{NO_SUCH_ID, as_bearer, ask, get, id, idle, light, post, post_empty, strings};
use crate::support::unique;

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_will_not_do_are_named() {
    let setup = idle();
    let server = setup.start().await;
    let job = post(&server, "/v1/apps", &light(&unique("acme")))
        .await
        .expect(202);
    let job = format!("/v1/jobs/{}", id(&job));
    for (path, pointers) in [
        ("/v1/apps?limit=0", &["limit"][..]),
        ("/v1/apps?limit=201", &["limit"]),
        (
            "/v1/apps?limit=-1&cursor=x&state=gone&account=No&q=x&p=y",
            &["account", "cursor", "limit", "p", "state"],
        ),
        (&format!("/v1/apps?q={}", "x".repeat(65)), &["q"]),
        (
            "/v1/jobs?app=no%20name&state=ready&kind=abandon&limit=many&cursor=1",
            &["app", "cursor", "kind", "limit", "state"],
        ),
        (&format!("{job}?wait=61s"), &["wait"]),
        (&format!("{job}?wait=soon"), &["wait"]),
        (&format!("{job}?wait=-1s"), &["wait"]),
        (&format!("{job}?wait=0"), &["wait"]),
        (&format!("{job}/events?cursor=-1"), &["cursor"]),
        // No database keeps a NUL in a text, nor compares with one.
        ("/v1/apps?q=a%00b", &["q"]),
        ("/v1/apps?q=%C3%28", &["q"]),
        ("/v1/apps?%00=1", &["query"]),
        ("/v1/jobs?app=%00&cursor=%00", &["app", "cursor"]),
        ("/v1/jobs?limit=99999999999999999999", &["limit"]),
        // One thing has one address: ids are written as the service writes them.
        (
            &format!("/v1/jobs?cursor={}", NO_SUCH_ID.to_lowercase()),
            &["cursor"],
        ),
        ("/v1/jobs?cursor=8ZZZZZZZZZZZZZZZZZZZZZZZZZ", &["cursor"]),
        ("/v1/apps?limit=%FF", &["limit"]),
        ("/v1/apps?limit=1&limit=2", &["limit"]),
    ] {
        let problem = get(&server, path).await.problem(400, "invalid_parameters");
        let told: BTreeSet<String> = strings(&problem["errors"], "pointer").into_iter().collect();
        assert_eq!(
            told,
            pointers.iter().map(|&pointer| pointer.to_owned()).collect(),
            "{path}"
        );
    }
    for (header, path) in [
        ("last-event-id", format!("{job}/events?cursor=0")),
        ("idempotency-key", "/v1/apps".to_owned()),
    ] {
        let method = if header == "idempotency-key" {
            Method::POST
        } else {
            Method::GET
        };
        for value in ["", "ü", &"x".repeat(256)] {
            let request = server
                .request(method.clone(), &path)
                .header(header, value.as_bytes())
                .json(&light(&unique("acme")));
            let problem = ask(request).await.problem(400, "invalid_parameters");
            assert_eq!(
                strings(&problem["errors"], "pointer")[0].to_lowercase(),
                header,
                "{value}"
            );
        }
    }
    let twice = server
        .request(Method::POST, "/v1/apps")
        .header("idempotency-key", "a")
        .header("idempotency-key", "b");
    ask(twice.json(&light(&unique("acme"))))
        .await
        .problem(400, "invalid_parameters");
    assert_eq!(
        get(&server, "/v1/jobs").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1,
        "nothing was accepted"
    );
}

/// A misspelt parameter would otherwise do something else than what was meant.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_parameter_is_refused_by_every_route_that_takes_a_token() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    let app = post(&server, "/v1/apps", &light(&name)).await.expect(202);
    let token = post(
        &server,
        "/v1/tokens",
        &json!({"name": "bot", "role": "viewer"}),
    )
    .await
    .expect(201);
    for (method, path, role) in ROUTES {
        if role.is_none() {
            continue;
        }
        let id = if path.contains("tokens") {
            id(&token)
        } else {
            id(&app)
        };
        let path = path
            .replace("{app}", &name)
            .replace("{id}", id)
            .replace("{account}", "nobody")
            .replace("{email}", "ana@example.com")
            .replace("{access_key_id}", "AKIANOBODY0123456789");
        let needed = if path.ends_with("/export") || path.ends_with("/bootstrap") {
            "&format=terraform"
        } else {
            ""
        };
        let mut request = server.request(
            method.to_uppercase().parse().unwrap(),
            &format!("{path}?dryrun=true{needed}"),
        );
        match path.as_str() {
            "/v1/apps" if method == "post" => request = request.json(&light(&unique("acme"))),
            "/v1/tokens" if method == "post" => {
                request = request.json(&json!({"name": "other", "role": "viewer"}))
            }
            _ => {}
        }
        let problem = ask(request).await.problem(400, "invalid_parameters");
        assert_eq!(
            strings(&problem["errors"], "pointer"),
            ["dryrun"],
            "{method} {path}"
        );
    }
    assert_eq!(
        get(&server, "/v1/apps").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        get(&server, "/v1/tokens").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        get(&server, &format!("/v1/jobs/{}", id(&app)))
            .await
            .expect(200)["state"],
        "queued"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_that_will_not_do_is_told_at_once_with_its_pointer() {
    let setup = idle();
    let server = setup.start().await;
    let body = json!({
        "name": "no spaces", "account": "Nobody", "region": "moon", "media_access": null, "access_key": "yes", "on_existing": 1,
        "buckets": [{"name": "A"}, {"name": "one-bucket", "upload_origins": [1, "x", null], "size": 3}, "bucket", {"region": []}],
        "repositories": [{"name": "x", "lifecycle": "whatever"}, null, {"name": "two/repositories", "lifecycle": {"rules": "none"}}],
        "tags": {"aws:x": "y", "ok": 5, "a/b~c!": "", "Team": "a", "team": "b", "long": "x".repeat(257)},
        "media/access~": 1,
    });
    let problem = post(&server, "/v1/apps", &body)
        .await
        .problem(422, "invalid_fields");
    let pointers: BTreeSet<String> = strings(&problem["errors"], "pointer").into_iter().collect();
    let expected = [
        "/name",
        "/account",
        "/region",
        "/media_access",
        "/access_key",
        "/on_existing",
        "/buckets/0/name",
        "/buckets/1/upload_origins/0",
        "/buckets/1/upload_origins/1",
        "/buckets/1/upload_origins/2",
        "/buckets/1/size",
        "/buckets/2",
        "/buckets/3/region",
        "/repositories/0/name",
        "/repositories/0/lifecycle",
        "/repositories/1",
        "/repositories/2/lifecycle",
        "/repositories/2/lifecycle/rules",
        "/tags/aws:x",
        "/tags/ok",
        "/tags/a~1b~0c!",
        "/tags/team",
        "/tags/long",
        "/media~1access~0",
    ];
    assert_eq!(
        pointers,
        expected.iter().map(|&pointer| pointer.to_owned()).collect()
    );
    assert!(
        strings(&problem["errors"], "message")
            .iter()
            .all(|message| !message.is_empty())
    );
    assert_eq!(
        get(&server, "/v1/apps").await.expect(200)["items"],
        json!([])
    );
}

/// A text with a NUL would be a server error where the database is PostgreSQL.
/// Each region has clients of its own, so one that does not exist must not get as far as them.
#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_the_partition_does_not_have_is_refused_with_the_nearest_one() {
    let mut setup = idle();
    setup.settings.regions = slipway::config::Regions::try_from("xx-lab-1".to_owned()).unwrap();
    let server = setup.start().await;
    let viewer = server.token("viewer").await;
    let dry_run = async |body: &Value| {
        ask(as_bearer(&server, &viewer, Method::POST, "/v1/apps?dry_run=true").json(body)).await
    };
    let name = unique("acme");
    let bucket =
        |n: usize| json!({"name": format!("{name}-{n}"), "region": format!("us-west-{}", 3 + n)});
    let repository =
        |n: usize| json!({"name": format!("{name}-{n}"), "region": format!("eu-wst-{n}")});
    let invented = json!({
        "name": name, "region": "us-moon-1", "access_key": false,
        "buckets": (0..25).map(bucket).collect::<Vec<_>>(), "repositories": (0..25).map(repository).collect::<Vec<_>>(),
    });
    let problem = dry_run(&invented).await.problem(422, "invalid_fields");
    assert_eq!(
        problem["errors"].as_array().unwrap().len(),
        51,
        "{problem:#}"
    );
    let message = |pointer: &str| {
        problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .find(|error| error["pointer"] == pointer)
            .unwrap()["message"]
            .clone()
    };
    assert!(
        message("/buckets/3/region")
            .as_str()
            .unwrap()
            .contains("is not a region of the partition aws. Did you mean us-west-"),
        "{problem:#}"
    );
    assert!(
        message("/repositories/0/region")
            .as_str()
            .unwrap()
            .contains("Did you mean eu-west-"),
        "{problem:#}"
    );
    let simulated =
        json!({"policy": "guide", "repository": {"name": "acme", "region": "us-moon-1"}});
    post(&server, "/v1/ecr/lifecycle/simulate", &simulated)
        .await
        .problem(422, "invalid_fields");
    dry_run(&json!({"name": name, "region": "xx-lab-1", "access_key": false, "buckets": [], "repositories": []})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nul_is_refused_wherever_it_could_reach_the_database() {
    let setup = idle();
    let server = setup.start().await;
    let rule = json!({"rulePriority": 1, "description": "\0", "action": {"type": "expire"},
        "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1}});
    let mut body = light(&unique("acme"));
    body["tags"] = json!({"team": "\0", "\0": "x"});
    body["repositories"] = json!([{"name": "acme", "lifecycle": {"rules": [rule]}}]);
    let problem = post(&server, "/v1/apps", &body)
        .await
        .problem(422, "invalid_fields");
    let told: BTreeSet<String> = strings(&problem["errors"], "pointer").into_iter().collect();
    assert_eq!(
        told,
        BTreeSet::from(
            [
                "/tags/team",
                "/tags/\0",
                "/repositories/0/lifecycle/rules/0/description"
            ]
            .map(str::to_owned)
        )
    );
    post(
        &server,
        "/v1/tokens",
        &json!({"name": "a\0", "role": "viewer"}),
    )
    .await
    .problem(422, "invalid_fields");
    let app = unique("acme");
    post(&server, "/v1/apps", &light(&app)).await.expect(202);
    for path in [
        "/v1/apps/%00/repair",
        &format!("/v1/apps/{app}/credentials/%00/claim"),
        "/v1/jobs/%00/cancel",
    ] {
        post_empty(&server, path).await.problem(404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_the_wrong_kind_is_422_whatever_the_kind() {
    let setup = idle();
    let server = setup.start().await;
    let huge: Value = serde_json::from_str("123456789012345678901234567890").unwrap();
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    for body in [json!(null), json!([]), json!("acme"), json!(1), json!(true)] {
        let problem = post(&server, "/v1/apps", &body)
            .await
            .problem(422, "invalid_fields");
        assert_eq!(strings(&problem["errors"], "pointer"), [""], "{body}");
    }
    let fields = [
        "name",
        "account",
        "region",
        "media_access",
        "buckets",
        "repositories",
        "access_key",
        "on_existing",
        "tags",
    ];
    for field in fields {
        let mut kinds = vec![json!(null), json!(-1.5), huge.clone(), deep.clone()];
        kinds.extend(if field == "access_key" {
            vec![json!("true"), json!(0)]
        } else {
            vec![json!(true)]
        });
        kinds.extend((field != "tags").then(|| json!({"a": "b"})));
        for kind in kinds {
            let mut body = light(&unique("acme"));
            body[field] = kind.clone();
            let problem = post(&server, "/v1/apps", &body)
                .await
                .problem(422, "invalid_fields");
            let inside = |pointer: &String| {
                *pointer == format!("/{field}") || pointer.starts_with(&format!("/{field}/"))
            };
            assert!(
                strings(&problem["errors"], "pointer").iter().all(inside),
                "{field}: {kind}: {problem}"
            );
        }
    }
    let body = json!({"name": unique("acme"), "account": "another"});
    let problem = post(&server, "/v1/apps", &body)
        .await
        .problem(422, "invalid_fields");
    assert_eq!(
        strings(&problem["errors"], "pointer"),
        ["/account"],
        "an account that nobody registered"
    );
    assert_eq!(
        get(&server, "/v1/apps").await.expect(200)["items"],
        json!([])
    );
}
