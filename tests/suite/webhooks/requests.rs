//! Who may create webhooks, for what, and what is refused.

use reqwest::Method;
use serde_json::{Value, json};

use super::receiver::Receiver;
use super::{change, create, path, setup, test};
use crate::api::{Answer, as_bearer, ask, get, post};
use crate::support::server::Server;

async fn token(server: &Server, body: &Value) -> String {
    let made = post(server, "/v1/tokens", body).await.expect(201);
    made["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_a_webhook_for_more_than_he_may_see() {
    let setup = setup();
    let server = setup.start().await;
    let url = "https://hooks.example.com/x";
    let all = create(&server, &json!({"url": url})).await;
    let scope = json!({"apps": ["acme-*"]});
    let limited = json!({"name": "team", "role": "admin", "scope": scope});
    let team = token(&server, &limited).await;
    let as_team = async |method: Method, path: &str, body: Option<Value>| -> Answer {
        let request = as_bearer(&server, &team, method, path);
        ask(match &body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    };
    for beyond in [
        json!({}),
        json!({"apps": ["other-*"]}),
        json!({"accounts": ["lab"]}),
    ] {
        let body = json!({"url": url, "scope": beyond});
        as_team(Method::POST, "/v1/webhooks", Some(body))
            .await
            .problem(403, "out_of_scope");
    }
    let own = json!({"url": url, "scope": {"apps": ["acme-shop"]}});
    let own = as_team(Method::POST, "/v1/webhooks", Some(own))
        .await
        .expect(201);
    let wider = json!({"scope": null});
    as_team(Method::PATCH, &path(&own), Some(wider))
        .await
        .problem(403, "out_of_scope");

    // What is beyond his scope is not there for him.
    let listed = as_team(Method::GET, "/v1/webhooks", None).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    let replay = json!({"since": "2020-01-01T00:00:00Z"});
    for (method, rest, body) in [
        (Method::GET, "", None),
        (Method::PATCH, "", Some(json!({"state": "disabled"}))),
        (Method::DELETE, "", None),
        (Method::GET, "/deliveries", None),
        (Method::POST, "/test", None),
        (Method::POST, "/replay", Some(replay)),
        (Method::POST, "/rotate-secret", None),
    ] {
        let path = format!("{}{rest}", path(&all));
        as_team(method, &path, body).await.problem(404, "not_found");
    }
    let listed = get(&server, "/v1/webhooks").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert!(!listed.to_string().contains("whsec_"));

    let ending = json!({"name": "guest", "role": "admin", "expires_in": "2h"});
    let guest = token(&server, &ending).await;
    let request = as_bearer(&server, &guest, Method::POST, "/v1/webhooks");
    ask(request.json(&json!({"url": url})))
        .await
        .problem(403, "out_of_scope");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_invalid_field_is_named() {
    let setup = setup();
    let server = setup.start().await;
    let made = create(&server, &json!({"url": "https://hooks.example.com"})).await;
    for (body, pointer) in [
        (json!({}), "/url"),
        (json!({"url": 1}), "/url"),
        (
            json!({"url": "https://a.example", "events": ["job.done"]}),
            "/events/0",
        ),
        (json!({"url": "https://a.example", "events": []}), "/events"),
        (
            json!({"url": "https://a.example", "events": "all"}),
            "/events",
        ),
        (
            json!({"url": "https://a.example", "scope": {"apps": []}}),
            "/scope/apps",
        ),
        (
            json!({"url": "https://a.example", "description": ""}),
            "/description",
        ),
        (
            json!({"url": "https://a.example", "secret": "whsec_x"}),
            "/secret",
        ),
    ] {
        let problem = post(&server, "/v1/webhooks", &body).await;
        let problem = problem.problem(422, "invalid_fields");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
    change(&server, &made, &json!({"state": "asleep"}))
        .await
        .problem(422, "invalid_fields");
    let wrong = format!("{}/deliveries?state=lost", path(&made));
    get(&server, &wrong)
        .await
        .problem(400, "invalid_parameters");
    server.stop().await;
}

/// The store has the signing secret sealed only, and the log nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_signing_secret_is_nowhere_in_clear() {
    let (setup, receiver) = (setup(), Receiver::start([]).await);
    let server = setup.start().await;
    let made = create(&server, &json!({"url": receiver.url})).await;
    test(&server, &made).await;
    receiver.wait_for(1).await;
    let secret = made["secret"].as_str().unwrap().to_owned();
    let bare = secret.strip_prefix("whsec_").unwrap().to_owned();
    server.stop().await;
    for entry in std::fs::read_dir(setup.folder.path()).unwrap() {
        // SQLite removes its log when the last connection is closed.
        let Ok(bytes) = std::fs::read(entry.unwrap().path()) else {
            continue;
        };
        let has = |text: &str| bytes.windows(text.len()).any(|it| it == text.as_bytes());
        assert!(!has(&bare));
    }
}
