//! Scopes: what a token may see and change.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, as_bearer, ask, get, id, idle, light, post};
use crate::openapi;
use crate::support::server::Server;
use crate::support::unique;

/// Operations that tell nothing about apps or accounts, and take no scope.
const WITHOUT_SCOPE: [&str; 4] = [
    "getOpenapi",
    "getIdentity",
    "listBackgroundTasks",
    "createToken",
];

async fn token_with(server: &Server, role: &str, scope: &Value) -> String {
    let body = json!({"name": unique("scoped"), "role": role, "scope": scope});
    let made = post(server, "/v1/tokens", &body).await.expect(201);
    assert_eq!(made["scope"], *scope);
    made["token"].as_str().unwrap().to_owned()
}

async fn with(
    server: &Server,
    token: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Answer {
    let request = as_bearer(server, token, method, path);
    ask(match body {
        Some(body) => request.json(body),
        None => request,
    })
    .await
}

/// An app with a job, and its places in every path.
struct World {
    app: String,
    job: String,
    token: String,
}

impl World {
    async fn new(server: &Server) -> Self {
        let app = unique("acme");
        let job = post(server, "/v1/apps", &light(&app)).await.expect(202);
        let token = json!({"name": "bot", "role": "viewer"});
        let token = post(server, "/v1/tokens", &token).await.expect(201);
        Self {
            app,
            job: id(&job).to_owned(),
            token: id(&token).to_owned(),
        }
    }

    fn path(&self, path: &str) -> String {
        let id = if path.starts_with("/v1/tokens") {
            &self.token
        } else {
            &self.job
        };
        path.replace("{app}", &self.app)
            .replace("{id}", id)
            .replace("{account}", "default")
            .replace("{access_key_id}", "AKIANOBODY0123456789")
            .replace("{email}", "ana@example.com")
    }

    fn body(&self, path: &str) -> Option<Value> {
        match path {
            "/v1/apps" | "/v1/apps/{app}" | "/v1/apps/{app}/plan" => Some(light(&self.app)),
            "/v1/ecr/lifecycle/simulate" => {
                Some(json!({"policy": "guide", "repository": {"name": self.app}}))
            }
            "/v1/trust-rules" => Some(json!({
                "name": "wide", "issuer": "https://ci.example.com", "audience": "slipway", "role": "viewer",
                "claims": {"sub": "job"},
            })),
            "/v1/webhooks" => Some(json!({"url": "https://hooks.example.com"})),
            "/v1/webhooks/{id}" | "/v1/webhooks/{id}/replay" => Some(json!({})),
            "/v1/accounts" => Some(json!({
                "name": "theirs",
                "account_id": "222222222222",
                "role_arn": "arn:aws:iam::222222222222:role/Slipway",
            })),
            _ => None,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_operation_reaches_what_is_out_of_scope() {
    let setup = idle();
    let server = setup.start().await;
    let world = World::new(&server).await;
    let inside = token_with(
        &server,
        "admin",
        &json!({"apps": ["acme-*"], "accounts": ["default"]}),
    )
    .await;
    for scope in [
        json!({"apps": ["other-*"]}),
        json!({"accounts": ["elsewhere"]}),
        json!({"apps": ["acme-*"], "accounts": ["elsewhere"]}),
        json!({"apps": ["other"], "accounts": ["default"]}),
    ] {
        let outside = token_with(&server, "admin", &scope).await;
        let may_see_account =
            scope["accounts"] == json!(["default"]) || scope["accounts"].is_null();
        for it in openapi::operations() {
            let name = it.described["operationId"].as_str().unwrap();
            if it.described.get("security").is_some() || WITHOUT_SCOPE.contains(&name) {
                continue;
            }
            let method: Method = it.method.to_uppercase().parse().unwrap();
            let is_read = method == Method::GET;
            let answer = with(
                &server,
                &outside,
                method,
                &world.path(it.path),
                world.body(it.path).as_ref(),
            )
            .await;
            let about = format!("{name} with {scope}: {} {}", answer.status, answer.text());
            assert!(
                ![200, 404].contains(&answer.status)
                    || !answer
                        .text()
                        .replace(&world.path(it.path), "")
                        .contains(&world.app),
                "{about}"
            );
            match answer.status {
                404 => assert!(!answer.text().contains("removed"), "{about}"),
                403 => assert_eq!(
                    answer.problem(403, "out_of_scope")["code"],
                    "out_of_scope",
                    "{about}"
                ),
                200 | 400 if may_see_account && is_read && it.path.starts_with("/v1/accounts") => {}
                200 => assert_eq!(
                    answer.expect(200)["items"].as_array().map(Vec::len),
                    Some(usize::from(name == "listTokens")),
                    "{about}"
                ),
                _ => panic!("{about}"),
            }
        }
    }
    // And within its scope the same caller reaches what the others did not.
    for path in [
        "/v1/apps/{app}",
        "/v1/jobs/{id}",
        "/v1/apps/{app}/history",
        "/v1/accounts/{account}",
    ] {
        with(&server, &inside, Method::GET, &world.path(path), None)
            .await
            .expect(200);
    }
    for (path, count) in [
        ("/v1/apps", 1),
        ("/v1/jobs", 1),
        ("/v1/accounts", 1),
        ("/v1/audit", 1),
    ] {
        let items = with(&server, &inside, Method::GET, path, None)
            .await
            .expect(200)["items"]
            .clone();
        assert_eq!(
            items.as_array().map(Vec::len),
            Some(count),
            "{path}: {items}"
        );
    }
    let onboarded = with(
        &server,
        &inside,
        Method::POST,
        "/v1/apps",
        Some(&light(&unique("acme"))),
    )
    .await;
    onboarded.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_play_no_tricks_on_a_scope() {
    let setup = idle();
    let server = setup.start().await;
    let (shop, other) = (unique("shop"), unique("other"));
    for name in [&shop, &other] {
        post(&server, "/v1/apps", &light(name)).await.expect(202);
    }
    let exact = token_with(&server, "operator", &json!({"apps": [shop]})).await;
    // The same app in another case is the same app, and no other is reached by any spelling.
    with(
        &server,
        &exact,
        Method::GET,
        &format!("/v1/apps/{}", shop.to_uppercase()),
        None,
    )
    .await
    .expect(200);
    let spellings = [
        other.clone(),
        other.to_uppercase(),
        other.replacen('o', "%6F", 1),
        format!("{shop}/../{other}"),
        format!("{shop}%2F..%2F{other}"),
        format!("{other}%00"),
        other.replacen('o', "%D0%BE", 1),
        other.replacen('o', "%EF%BD%8F", 1),
    ];
    for spelling in spellings {
        with(
            &server,
            &exact,
            Method::GET,
            &format!("/v1/apps/{spelling}"),
            None,
        )
        .await
        .problem(404, "not_found");
    }
    for name in [
        format!("{shop}x"),
        format!("x{shop}"),
        shop[..shop.len() - 1].to_owned(),
    ] {
        let refused = with(
            &server,
            &exact,
            Method::POST,
            "/v1/apps",
            Some(&light(&name)),
        )
        .await;
        let problem = refused.problem(403, "out_of_scope");
        assert!(
            problem["detail"].as_str().unwrap().contains(&shop),
            "{problem}"
        );
    }
    // Also not by a parameter, a body that names another app, or the name of an account.
    let jobs = with(
        &server,
        &exact,
        Method::GET,
        &format!("/v1/jobs?app={other}"),
        None,
    )
    .await;
    assert_eq!(jobs.expect(200)["items"], json!([]));
    let renamed = with(
        &server,
        &exact,
        Method::PUT,
        &format!("/v1/apps/{shop}"),
        Some(&light(&other)),
    )
    .await;
    renamed.problem(422, "invalid_fields");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_full_and_end_where_the_scope_ends() {
    let setup = idle();
    let server = setup.start().await;
    for n in 0..7 {
        for name in ["in", "out"] {
            post(&server, "/v1/apps", &light(&format!("{name}-{n}")))
                .await
                .expect(202);
        }
    }
    let token = token_with(&server, "admin", &json!({"apps": ["in-*"]})).await;
    for (list, member) in [
        ("/v1/apps", "name"),
        ("/v1/jobs", "app"),
        ("/v1/audit", "app"),
    ] {
        let (mut seen, mut sizes, mut cursor) = (Vec::new(), Vec::new(), String::new());
        loop {
            let page = with(
                &server,
                &token,
                Method::GET,
                &format!("{list}?limit=3{cursor}"),
                None,
            )
            .await
            .expect(200);
            let items = page["items"].as_array().unwrap();
            sizes.push(items.len());
            seen.extend(
                items
                    .iter()
                    .map(|item| item[member].as_str().unwrap().to_owned()),
            );
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(sizes, [3, 3, 1], "{list}");
        assert!(
            seen.iter().all(|name| name.starts_with("in-")),
            "{list}: {seen:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_creates_a_token_that_may_do_more_than_he_may() {
    let setup = idle();
    let server = setup.start().await;
    let scope = json!({"apps": ["acme-*"], "accounts": ["default"]});
    let admin = token_with(&server, "admin", &scope).await;
    let create = async |token: &str, body: Value| {
        with(&server, token, Method::POST, "/v1/tokens", Some(&body)).await
    };
    for wider in [
        Value::Null,
        json!({}),
        json!({"apps": ["acme-*"]}),
        json!({"apps": ["acm*"], "accounts": ["default"]}),
        json!({"apps": ["acme-a", "b"], "accounts": ["default"]}),
        json!({"apps": ["acme-*"], "accounts": ["default", "b"]}),
    ] {
        let mut body = json!({"name": "x", "role": "viewer"});
        if !wider.is_null() {
            body["scope"] = wider;
        }
        create(&admin, body).await.problem(403, "out_of_scope");
    }
    let narrower = json!({"name": "x", "role": "admin", "scope": {"apps": ["ACME-shop"], "accounts": ["default"]}});
    let made = create(&admin, narrower).await.expect(201);
    assert_eq!(made["scope"]["apps"], json!(["acme-shop"]));
    // It sees and revokes only what it could have created.
    let all = post(
        &server,
        "/v1/tokens",
        &json!({"name": "all", "role": "viewer"}),
    )
    .await
    .expect(201);
    let list = with(&server, &admin, Method::GET, "/v1/tokens", None)
        .await
        .expect(200);
    assert_eq!(
        list["items"].as_array().unwrap().len(),
        2,
        "itself and the one it made: {list}"
    );
    with(
        &server,
        &admin,
        Method::DELETE,
        &format!("/v1/tokens/{}", id(&all)),
        None,
    )
    .await
    .problem(404, "not_found");
    assert_eq!(
        with(
            &server,
            &admin,
            Method::DELETE,
            &format!("/v1/tokens/{}", id(&made)),
            None
        )
        .await
        .status,
        204
    );

    let short = json!({"name": "short", "role": "admin", "expires_in": "1h"});
    let short = post(&server, "/v1/tokens", &short).await.expect(201);
    let token = short["token"].as_str().unwrap();
    for span in [Value::Null, json!("2h")] {
        let mut body = json!({"name": "x", "role": "viewer"});
        if !span.is_null() {
            body["expires_in"] = span;
        }
        create(token, body).await.problem(403, "out_of_scope");
    }
    for (field, value) in [
        ("name", json!("oidc:x")),
        ("role", json!("root")),
        ("scope", json!({"apps": ["*"]})),
        ("expires_in", json!("1s")),
    ] {
        let mut body = json!({"name": "x", "role": "viewer"});
        body[field] = value;
        let problem = post(&server, "/v1/tokens", &body)
            .await
            .problem(422, "invalid_fields");
        let pointer = problem["errors"][0]["pointer"].as_str().unwrap();
        assert!(pointer.starts_with(&format!("/{field}")), "{problem}");
    }
    let listed = get(&server, "/v1/tokens").await.expect(200);
    assert!(
        listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|token| token["expires_at"].is_string()),
        "{listed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn some_apps_of_an_account_do_not_allow_to_change_it() {
    let setup = idle();
    let server = setup.start().await;
    let account = json!({
        "name": "theirs", "account_id": "222222222222", "role_arn": "arn:aws:iam::222222222222:role/Slipway",
    });
    let apps = token_with(&server, "admin", &json!({"apps": ["acme-*"]})).await;
    with(&server, &apps, Method::POST, "/v1/accounts", Some(&account))
        .await
        .problem(403, "out_of_scope");
    let elsewhere = token_with(&server, "admin", &json!({"accounts": ["elsewhere"]})).await;
    with(
        &server,
        &elsewhere,
        Method::POST,
        "/v1/accounts",
        Some(&account),
    )
    .await
    .problem(403, "out_of_scope");
    let theirs = token_with(&server, "admin", &json!({"accounts": ["theirs"]})).await;
    let registered = with(
        &server,
        &theirs,
        Method::POST,
        "/v1/accounts",
        Some(&account),
    )
    .await;
    registered.expect(201);
    with(&server, &apps, Method::GET, "/v1/accounts/theirs", None)
        .await
        .expect(200);
    for (method, path) in [
        (Method::PUT, "/v1/accounts/theirs"),
        (Method::DELETE, "/v1/accounts/theirs"),
        (Method::POST, "/v1/accounts/theirs/verify"),
    ] {
        with(&server, &apps, method, path, Some(&account))
            .await
            .problem(403, "out_of_scope");
    }
    assert_eq!(
        with(
            &server,
            &theirs,
            Method::DELETE,
            "/v1/accounts/theirs",
            None
        )
        .await
        .status,
        204
    );
}
