//! The HTTP contract, over real HTTP. Every answer is held against the API's document.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use slipway::domain::role::Role;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};

use crate::openapi;
use crate::support::aws::{Emulator, Place};
use crate::support::server::{Server, Setup};
use crate::support::wire::{Answer as Scripted, Fault, refusal_body};
use crate::support::{aws_inspector, unique};

const NO_SUCH_ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
/// What `/problems` says.
const PROBLEMS: &str = include_str!("../../docs/http-status-codes.md");
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// An answer that fits the API's document.
pub struct Answer {
    path: String,
    pub status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Sends a request; whatever comes back has to be documented.
pub async fn ask(request: RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.expect("a request");
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = client.execute(request).await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.expect("a body").to_vec();
    let answer = Answer {
        path,
        status,
        headers,
        body,
    };
    let kind = answer
        .header("content-type")
        .split(';')
        .next()
        .unwrap_or_default();
    let body = if answer.header("content-encoding").is_empty() {
        answer.body.as_slice()
    } else {
        &[]
    };
    let misfits = openapi::misfits_of_answer(method.as_str(), &answer.path, status, kind, body);
    assert!(
        misfits.is_empty(),
        "{method} {}: {misfits:#?} in {}",
        answer.path,
        answer.text()
    );
    answer
}

impl Answer {
    /// A header's text, empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.path, self.text()))
    }

    /// The JSON of an answer of this status.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.path, self.text());
        self.json()
    }

    /// Whether it was given before.
    pub fn is_replay(&self) -> bool {
        self.header("idempotent-replayed") == "true"
    }

    /// The problem document, which has every member.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{problem}"
        );
        assert!(!self.header("x-request-id").is_empty());
        for member in ["type", "title", "detail"] {
            assert!(
                problem[member]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{member}: {problem}"
            );
        }
        assert!(problem["retryable"].is_boolean(), "{problem}");
        assert_eq!(
            json!([problem["status"], problem["code"], problem["instance"]]),
            json!([status, code, self.path]),
            "{problem}"
        );
        assert_eq!(problem["type"], format!("/problems#{code}"));
        assert!(
            PROBLEMS.contains(&format!("`{code}`")),
            "/problems does not say what {code} means"
        );
        problem
    }
}

/// A service whose jobs run.
fn working() -> Setup {
    Setup::new(Place::new(Emulator::Moto))
}

/// A service whose jobs stay queued, for nobody takes them.
pub fn idle() -> Setup {
    let mut setup = working();
    setup.settings.workers = 0;
    setup
}

/// A body that asks for as little as there can be.
pub fn light(name: &str) -> Value {
    json!({"name": name, "buckets": [], "repositories": [], "access_key": false})
}

/// A path with its placeholders filled with names of nothing.
pub fn filled(path: &str) -> String {
    path.replace("{app}", "nobody")
        .replace("{id}", NO_SUCH_ID)
        .replace("{access_key_id}", "AKIANOBODY0123456789")
}

async fn get(server: &Server, path: &str) -> Answer {
    ask(server.request(Method::GET, path)).await
}

async fn post(server: &Server, path: &str, body: &Value) -> Answer {
    ask(server.request(Method::POST, path).json(body)).await
}

async fn post_empty(server: &Server, path: &str) -> Answer {
    ask(server.request(Method::POST, path)).await
}

async fn keyed(server: &Server, path: &str, key: &str, body: &Value) -> Answer {
    ask(server
        .request(Method::POST, path)
        .header("idempotency-key", key)
        .json(body))
    .await
}

fn as_bearer(server: &Server, token: &str, method: Method, path: &str) -> RequestBuilder {
    server.anonymous(method, path).bearer_auth(token)
}

fn strings(values: &Value, member: &str) -> Vec<String> {
    let text = |value: &Value| {
        value[member]
            .as_str()
            .unwrap_or_else(|| panic!("{member} of {value}"))
            .to_owned()
    };
    values
        .as_array()
        .expect("a list")
        .iter()
        .map(text)
        .collect()
}

fn id(job: &Value) -> &str {
    job["id"].as_str().expect("an id")
}

async fn wait_for_state(server: &Server, job: &str, state: &str) -> Value {
    for _ in 0..400 {
        let found = server.json(&format!("/v1/jobs/{job}")).await;
        if found["state"] == state {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!(
        "{job} is not {state}: {}",
        server.json(&format!("/v1/jobs/{job}")).await
    );
}

// ---- roles

/// Every route with the role that it takes; `None` takes no token.
const ROUTES: [(&str, &str, Option<Role>); 39] = [
    ("get", "/healthz", None),
    ("get", "/readyz", None),
    ("get", "/metrics", None),
    ("get", "/openapi.yaml", None),
    ("get", "/v1/apps", Some(Role::Viewer)),
    ("post", "/v1/apps", Some(Role::Operator)),
    ("get", "/v1/apps/{app}", Some(Role::Viewer)),
    ("post", "/v1/apps/{app}/plan", Some(Role::Viewer)),
    ("post", "/v1/apps/{app}/repair", Some(Role::Operator)),
    ("get", "/v1/apps/{app}/export", Some(Role::Viewer)),
    ("put", "/v1/apps/{app}", Some(Role::Operator)),
    ("delete", "/v1/apps/{app}", Some(Role::Operator)),
    ("post", "/v1/apps/{app}/restore", Some(Role::Operator)),
    ("get", "/v1/apps/{app}/drift", Some(Role::Viewer)),
    ("post", "/v1/apps/{app}/drift", Some(Role::Operator)),
    ("get", "/v1/apps/{app}/history", Some(Role::Viewer)),
    ("get", "/v1/audit", Some(Role::Admin)),
    (
        "post",
        "/v1/apps/{app}/credentials/rotate",
        Some(Role::Operator),
    ),
    (
        "post",
        "/v1/apps/{app}/credentials/rollback",
        Some(Role::Operator),
    ),
    (
        "post",
        "/v1/apps/{app}/credentials/{access_key_id}/activate",
        Some(Role::Operator),
    ),
    (
        "post",
        "/v1/apps/{app}/credentials/{access_key_id}/deactivate",
        Some(Role::Operator),
    ),
    (
        "post",
        "/v1/apps/{app}/credentials/{access_key_id}/delete",
        Some(Role::Operator),
    ),
    ("get", "/v1/apps/{app}/credentials", Some(Role::Viewer)),
    (
        "post",
        "/v1/apps/{app}/credentials/{access_key_id}/claim",
        Some(Role::Operator),
    ),
    ("get", "/v1/jobs", Some(Role::Viewer)),
    ("get", "/v1/jobs/{id}", Some(Role::Viewer)),
    ("get", "/v1/jobs/{id}/events", Some(Role::Viewer)),
    ("post", "/v1/jobs/{id}/cancel", Some(Role::Operator)),
    ("post", "/v1/jobs/{id}/retry", Some(Role::Operator)),
    ("post", "/v1/ecr/lifecycle/simulate", Some(Role::Viewer)),
    ("get", "/v1/tokens", Some(Role::Admin)),
    ("post", "/v1/tokens", Some(Role::Admin)),
    ("delete", "/v1/tokens/{id}", Some(Role::Admin)),
    ("get", "/v1/identity", Some(Role::Viewer)),
    ("get", "/", None),
    ("get", "/v1/background", Some(Role::Viewer)),
    ("get", "/docs", None),
    ("get", "/openapi.json", None),
    ("get", "/problems", None),
];

#[test]
fn the_table_of_roles_has_every_route_and_says_what_the_document_says() {
    let table: BTreeSet<(&str, &str)> = ROUTES
        .iter()
        .map(|(method, path, _)| (*method, *path))
        .collect();
    let routes: BTreeSet<(&str, &str)> = openapi::operations()
        .iter()
        .map(|it| (it.method, it.path))
        .collect();
    let pages = BTreeSet::from([
        ("get", "/"),
        ("get", "/docs"),
        ("get", "/openapi.json"),
        ("get", "/problems"),
    ]);
    assert_eq!(table, routes.union(&pages).copied().collect());
    for it in openapi::operations() {
        let (.., role) = ROUTES
            .iter()
            .find(|(method, path, _)| (*method, *path) == (it.method, it.path))
            .unwrap();
        let documented = |status: &str| it.described["responses"].get(status).is_some();
        assert_eq!(
            it.described.get("security").is_some(),
            role.is_none(),
            "{} {}",
            it.method,
            it.path
        );
        assert_eq!(
            documented("401"),
            role.is_some(),
            "{} {}",
            it.method,
            it.path
        );
        assert_eq!(
            documented("403"),
            role.is_some_and(|role| role > Role::Viewer),
            "{} {}",
            it.method,
            it.path
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_takes_its_role_and_no_lower_one() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    post(&server, "/v1/apps", &light(&name)).await.expect(202);
    let mut bearers = vec![(None, None), (None, Some("not-a-token".to_owned()))];
    for role in [Role::Viewer, Role::Operator, Role::Admin] {
        bearers.push((Some(role), Some(server.token(&role.to_string()).await)));
    }
    for (method, path, needed) in ROUTES {
        for (role, token) in &bearers {
            let mut request =
                server.anonymous(method.to_uppercase().parse().unwrap(), &filled(path));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            // The body of an app that there is: whoever may ask is told so, and nothing is made.
            if (method, path) == ("post", "/v1/apps") {
                request = request.json(&light(&name));
            }
            let answer = ask(request).await;
            match (needed, role) {
                (Some(_), None) => {
                    answer.problem(401, "unauthorized");
                    assert_eq!(answer.header("www-authenticate"), "Bearer");
                }
                (Some(needed), Some(role)) if *role < needed => {
                    let problem = answer.problem(403, "forbidden");
                    assert!(
                        problem["detail"]
                            .as_str()
                            .unwrap()
                            .contains(&needed.to_string()),
                        "{problem}"
                    );
                }
                _ => {
                    assert!(
                        ![401, 403, 405].contains(&answer.status) && answer.status < 500,
                        "{method} {path}: {}",
                        answer.text()
                    );
                    assert!(
                        !answer.text().contains("nothing at this address"),
                        "{method} {path}"
                    );
                }
            }
        }
    }
    assert_eq!(
        get(&server, "/v1/apps").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_bearer_token_is_taken() {
    let setup = idle();
    let server = setup.start().await;
    let token = crate::support::server::ADMIN_TOKEN;
    let with = |value: String| {
        ask(server
            .anonymous(Method::GET, "/v1/apps")
            .header("authorization", value))
    };
    for scheme in ["Bearer", "bearer", "BEARER"] {
        with(format!("{scheme} {token}")).await.expect(200);
    }
    for wrong in [
        token.to_owned(),
        format!("Basic {token}"),
        "Bearer".to_owned(),
        "Bearer  ".to_owned(),
        format!("Bearer {token}x"),
    ] {
        with(wrong).await.problem(401, "unauthorized");
    }
}

// ---- problems

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_404() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    post(&server, "/v1/apps", &light(&name)).await.expect(202);
    let key_of_nothing = format!("/v1/apps/{name}/credentials/AKIANOBODY/claim");
    let not_ascii = "/v1/apps/%FF";
    for (method, path) in [
        (Method::GET, "/nowhere"),
        (Method::GET, "/v1/nowhere"),
        (Method::GET, "/v1/apps/"),
        (Method::GET, "/docs/nowhere"),
        (Method::GET, "/v1/apps/nobody"),
        (Method::GET, "/v1/apps/no%20name"),
        (Method::GET, "/v1/apps/..%2F..%2Fapps"),
        (Method::GET, not_ascii),
        (Method::GET, "/v1/apps/nobody/credentials"),
        (Method::POST, "/v1/apps/nobody/plan"),
        (Method::POST, "/v1/apps/nobody/repair"),
        (Method::POST, key_of_nothing.as_str()),
        (Method::POST, "/v1/apps/nobody/credentials/%FF/claim"),
        (Method::GET, "/v1/jobs/malformed"),
        (Method::GET, "/v1/jobs/malformed/events"),
        (Method::POST, "/v1/jobs/malformed/cancel"),
        (Method::POST, "/v1/jobs/malformed/retry"),
        (Method::DELETE, "/v1/tokens/malformed"),
    ] {
        ask(server.request(method, path))
            .await
            .problem(404, "not_found");
    }
    for (method, path) in [
        ("GET", ""),
        ("GET", "/events"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
    ] {
        let path = format!("/v1/jobs/{NO_SUCH_ID}{path}");
        ask(server.request(method.parse().unwrap(), &path))
            .await
            .problem(404, "not_found");
    }
    ask(server.request(Method::DELETE, &format!("/v1/tokens/{NO_SUCH_ID}")))
        .await
        .problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_an_address_does_not_take_is_405_and_the_others_are_named() {
    let setup = idle();
    let server = setup.start().await;
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/apps", "GET,HEAD,POST"),
        (Method::POST, "/v1/jobs", "GET,HEAD"),
        (Method::GET, "/v1/apps/nobody/repair", "POST"),
        (Method::PATCH, "/v1/tokens/x", "DELETE"),
        (Method::POST, "/healthz", "GET,HEAD"),
    ] {
        let answer = ask(server.request(method, path)).await;
        answer.problem(405, "method_not_allowed");
        let methods = |text: &str| {
            text.split(',')
                .map(|method| method.trim().to_owned())
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(methods(answer.header("allow")), methods(allowed), "{path}");
    }
}

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
            .replace("{access_key_id}", "AKIANOBODY0123456789");
        let needed = if path.ends_with("/export") {
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
async fn a_body_that_is_no_json_is_400_and_one_of_another_type_415() {
    let setup = idle();
    let server = setup.start().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let send = |path: &str, kind: &str, body: Vec<u8>| {
        ask(server
            .request(Method::POST, path)
            .header("content-type", kind)
            .body(body))
    };
    for path in ["/v1/apps", "/v1/tokens"] {
        for body in [
            &b""[..],
            b"{",
            b"{\"name\": \"acme\"} x",
            b"{\"name\": \"acme\",}",
            b"name=acme",
            b"{\"name\": 1e999}",
            b"{\"name\": \"\xff\xfe\"}",
            b"{\"name\": \"\\ud800\"}",
            b"{\"name\": \"a\nb\"}",
            deep.as_bytes(),
        ] {
            send(path, "application/json", body.to_vec())
                .await
                .problem(400, "invalid_json");
        }
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonp",
            "",
        ] {
            send(path, kind, b"{\"name\": \"acme\"}".to_vec())
                .await
                .problem(415, "unsupported_media_type");
        }
        for kind in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/merge-patch+json",
        ] {
            send(path, kind, b"{}".to_vec())
                .await
                .problem(422, "invalid_fields");
        }
    }
    assert_eq!(
        get(&server, "/v1/jobs").await.expect(200)["items"],
        json!([])
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

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_64_kib_is_read_and_one_byte_more_is_413() {
    let setup = idle();
    let server = setup.start().await;
    let padded = |length: usize| format!("{{}}{}", " ".repeat(length - 2));
    for path in ["/v1/apps", "/v1/tokens"] {
        let send = |body: reqwest::Body| {
            ask(server
                .request(Method::POST, path)
                .header("content-type", "application/json")
                .body(body))
        };
        send(padded(64 * 1024).into())
            .await
            .problem(422, "invalid_fields");
        send(padded(64 * 1024 + 1).into())
            .await
            .problem(413, "too_large");
        let chunks = [padded(64 * 1024), " ".to_owned()].map(Ok::<_, std::io::Error>);
        send(reqwest::Body::wrap_stream(futures::stream::iter(chunks)))
            .await
            .problem(413, "too_large");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_echoed_or_made() {
    let setup = idle();
    let server = setup.start().await;
    let with = |id: String| {
        ask(server
            .request(Method::GET, "/v1/apps")
            .header("x-request-id", id))
    };
    assert_eq!(
        with("trace-1234".to_owned()).await.header("x-request-id"),
        "trace-1234"
    );
    for unfit in [String::new(), "two words".to_owned(), "x".repeat(129)] {
        let made = with(unfit.clone()).await.header("x-request-id").to_owned();
        assert!(!made.is_empty() && made != unfit);
    }
    let ids = [
        get(&server, "/healthz").await,
        get(&server, "/healthz").await,
    ]
    .map(|answer| answer.header("x-request-id").to_owned());
    assert!(!ids[0].is_empty() && ids[0] != ids[1], "{ids:?}");
    let problem = ask(server
        .anonymous(Method::GET, "/nowhere")
        .header("x-request-id", "mine"))
    .await;
    assert_eq!(problem.header("x-request-id"), "mine");
}

/// Another process that holds the database's write lock for longer than the service waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_is_503_and_accepts_nothing() {
    let setup = idle();
    let server = setup.start().await;
    let body = light(&unique("acme"));
    let mut other: SqliteConnection = SqliteConnectOptions::new()
        .filename(setup.database())
        .connect()
        .await
        .unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    let readiness = ask(server.anonymous(Method::GET, "/readyz"));
    let (readiness, refused) = tokio::join!(readiness, post(&server, "/v1/apps", &body));
    let readiness = readiness.expect(503);
    assert_eq!(
        json!([
            readiness["ready"],
            readiness["database"]["ready"],
            readiness["aws"]["ready"]
        ]),
        json!([false, false, true])
    );
    assert!(readiness["database"]["reason"].is_string(), "{readiness}");
    let problem = refused.problem(503, "database_unavailable");
    assert_eq!(problem["retryable"], true);
    assert!(!refused.header("retry-after").is_empty());
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(
        get(&server, "/v1/apps").await.expect(200)["items"],
        json!([])
    );
    post(&server, "/v1/apps", &body).await.expect(202);
    assert_eq!(
        ask(server.anonymous(Method::GET, "/readyz"))
            .await
            .expect(200)["ready"],
        true
    );
}

/// A table that is gone stands for every statement that fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_database_is_503_for_reads_too() {
    let setup = idle();
    let server = setup.start().await;
    let mut other: SqliteConnection = SqliteConnectOptions::new()
        .filename(setup.database())
        .connect()
        .await
        .unwrap();
    for table in ["apps", "jobs", "tokens"] {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "ALTER TABLE {table} RENAME TO {table}_gone"
        )))
        .execute(&mut other)
        .await
        .unwrap();
    }
    for path in [
        "/v1/apps",
        "/v1/apps/nobody",
        "/v1/apps/nobody/credentials",
        "/v1/jobs",
        &format!("/v1/jobs/{NO_SUCH_ID}"),
        "/v1/tokens",
    ] {
        let answer = get(&server, path).await;
        let problem = answer.problem(503, "database_unavailable");
        assert!(!answer.text().contains("no such table"), "{problem}");
    }
    ask(as_bearer(
        &server,
        "some-other-token",
        Method::GET,
        "/v1/identity",
    ))
    .await
    .problem(503, "database_unavailable");
}

// ---- onboarding

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

// ---- the same request twice

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_and_body_replay_the_first_answer() {
    let setup = idle();
    let server = setup.start().await;
    let body = light(&unique("acme"));
    let first = keyed(&server, "/v1/apps", "key 1", &body).await;
    let job = first.expect(202);
    assert_eq!(first.header("idempotent-replayed"), "");
    keyed(&server, "/v1/apps", "key 2", &body)
        .await
        .problem(409, "app_exists");
    post_empty(&server, &format!("/v1/jobs/{}/cancel", id(&job)))
        .await
        .expect(202);
    let again = keyed(&server, "/v1/apps", "key 1", &body).await;
    assert_eq!(
        again.expect(202),
        job,
        "the first answer, whatever came of the job since"
    );
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.header("content-type"), "application/json");

    let other = keyed(&server, "/v1/apps", "key 1", &light(&unique("other"))).await;
    assert!(other.problem(422, "idempotency_key_reused")["remedy"].is_string());
    let operator = server.token("operator").await;
    let theirs = light(&unique("theirs"));
    let independent = ask(as_bearer(&server, &operator, Method::POST, "/v1/apps")
        .header("idempotency-key", "key 1")
        .json(&theirs))
    .await;
    assert_ne!(
        independent.expect(202)["id"],
        job["id"],
        "another caller's key is another key"
    );

    setup.clock.advance(DAY);
    let a_day_later = keyed(&server, "/v1/apps", "key 1", &body).await;
    assert_ne!(a_day_later.expect(202)["id"], job["id"]);
    assert_eq!(a_day_later.header("idempotent-replayed"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_route() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    let onboarding = keyed(&server, "/v1/apps", "k", &light(&name))
        .await
        .expect(202);
    post_empty(&server, &format!("/v1/jobs/{}/cancel", id(&onboarding)))
        .await
        .expect(202);
    let path = format!("/v1/apps/{name}/repair");
    let repair = |key: &'static str| {
        ask(server
            .request(Method::POST, &path)
            .header("idempotency-key", key))
    };
    let first = repair("k").await.expect(202);
    assert_eq!(
        json!([first["kind"], first["id"] == onboarding["id"]]),
        json!(["repair", false])
    );
    let again = repair("k").await;
    assert_eq!(again.expect(202), first);
    assert_eq!(again.header("idempotent-replayed"), "true");
    repair("other").await.problem(409, "job_active");
}

/// A key that comes back with another query must neither answer for it nor be taken for a new request.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_another_query_is_another_request() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    let (path, body) = (format!("/v1/apps/{name}"), light(&name));
    let send = async |method: Method, key: &str, path: &str| {
        ask(server
            .request(method, path)
            .header("idempotency-key", key)
            .json(&body))
        .await
    };
    let onboard =
        async |query: &str| send(Method::POST, "onboard", &format!("/v1/apps{query}")).await;
    let job = onboard("").await.expect(202);
    for query in ["?dry_run=true", "?accept_expiry=true"] {
        onboard(query).await.problem(422, "idempotency_key_reused");
    }
    assert_eq!(onboard("").await.expect(202), job);
    post_empty(&server, &format!("/v1/jobs/{}/cancel", id(&job)))
        .await
        .expect(202);

    let change = async |query: &str| send(Method::PUT, "change", &format!("{path}{query}")).await;
    let job = change("?remove=true&accept_expiry=true").await.expect(202);
    for query in [
        "",
        "?dry_run=true",
        "?remove=true",
        &format!("?remove=true&accept_expiry=true&confirm={name}"),
    ] {
        change(query).await.problem(422, "idempotency_key_reused");
    }
    assert_eq!(
        change("?accept_expiry=true&remove=true").await.expect(202),
        job,
        "the order of parameters says nothing"
    );
    post_empty(&server, &format!("/v1/jobs/{}/cancel", id(&job)))
        .await
        .expect(202);

    let remove = async |query: &str| {
        ask(server
            .request(Method::DELETE, &format!("{path}{query}"))
            .header("idempotency-key", "remove"))
        .await
    };
    remove("?dry_run=true").await.expect(200);
    let job = remove("").await.expect(202);
    for query in ["?dry_run=true", "?adopted=true"] {
        remove(query).await.problem(422, "idempotency_key_reused");
    }
    assert_eq!(remove("").await.expect(202), job);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_requests_at_once_with_one_key_are_one_job() {
    let setup = idle();
    let server = setup.start().await;
    let body = light(&unique("acme"));
    let answers = join_all((0..20).map(|_| keyed(&server, "/v1/apps", "k", &body))).await;
    let ids: BTreeSet<String> = answers
        .iter()
        .map(|answer| id(&answer.expect(202)).to_owned())
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer.header("idempotent-replayed") == "true")
            .count(),
        19
    );
    assert_eq!(
        get(&server, "/v1/jobs").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_requests_that_race_for_one_app_one_wins() {
    let setup = idle();
    let server = setup.start().await;
    let body = light(&unique("acme"));
    let (won, lost): (Vec<Answer>, Vec<Answer>) =
        join_all((0..10).map(|_| post(&server, "/v1/apps", &body)))
            .await
            .into_iter()
            .partition(|answer| answer.status == 202);
    assert_eq!((won.len(), lost.len()), (1, 9));
    for answer in lost {
        answer.problem(409, "app_exists");
    }
    assert_eq!(
        get(&server, "/v1/jobs").await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

// ---- lists

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_without_doubles_or_gaps() {
    let setup = idle();
    let server = setup.start().await;
    let names: Vec<String> = (0..5).map(|i| unique(&format!("acme{i}"))).collect();
    for name in &names {
        post(&server, "/v1/apps", &light(name)).await.expect(202);
        // Ids of one millisecond are in no order.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let newest_first: Vec<String> = names.iter().rev().cloned().collect();
    for limit in 1..=6 {
        assert_eq!(
            pages(&server, "/v1/apps", limit, "name").await,
            names,
            "oldest first, {limit} at a time"
        );
        assert_eq!(
            pages(&server, "/v1/jobs", limit, "app").await,
            newest_first,
            "newest first, {limit} at a time"
        );
    }
    let filtered = pages(&server, "/v1/apps?q=acme3", 1, "name").await;
    assert_eq!(filtered, [names[3].clone()], "a filter holds on every page");
}

/// One member of every item of all pages.
async fn pages(server: &Server, path: &str, limit: usize, member: &str) -> Vec<String> {
    let first = format!(
        "{path}{}limit={limit}",
        if path.contains('?') { '&' } else { '?' }
    );
    let (mut all, mut next) = (Vec::new(), first.clone());
    loop {
        let page = get(server, &next).await.expect(200);
        let items = strings(&page["items"], member);
        assert!(items.len() <= limit, "{page}");
        all.extend(items);
        match page["next_cursor"].as_str() {
            None => return all,
            Some(cursor) => next = format!("{first}&cursor={cursor}"),
        }
        assert!(all.len() < 100, "{path} does not end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_show_what_the_filters_ask_for() {
    let setup = idle();
    let server = setup.start().await;
    let (one, two) = (unique("Acme_One"), unique("acme-two"));
    let first = post(&server, "/v1/apps", &light(&one)).await.expect(202);
    let second = post(&server, "/v1/apps", &light(&two)).await.expect(202);
    post_empty(&server, &format!("/v1/jobs/{}/cancel", id(&first)))
        .await
        .expect(202);
    let third = post_empty(&server, &format!("/v1/apps/{one}/repair"))
        .await
        .expect(202);
    let both = [one.clone(), two.clone()];
    for (query, expected) in [
        ("", &both[..]),
        ("?account=default", &both),
        ("?account=other", &[]),
        ("?state=canceled", &both[..1]),
        ("?state=pending", &both[1..]),
        ("?state=ready", &[]),
        ("?q=ACME", &both),
        ("?q=acme_", &both[..1]),
        ("?q=%25", &[]),
        ("?q=two&state=canceled", &[]),
    ] {
        assert_eq!(
            strings(
                &get(&server, &format!("/v1/apps{query}")).await.expect(200)["items"],
                "name"
            ),
            expected,
            "{query}"
        );
    }
    let ids = [
        id(&first).to_owned(),
        id(&second).to_owned(),
        id(&third).to_owned(),
    ];
    for (query, expected) in [
        (String::new(), vec![&ids[2], &ids[1], &ids[0]]),
        (
            format!("?app={}", one.to_uppercase()),
            vec![&ids[2], &ids[0]],
        ),
        ("?app=nobody".to_owned(), vec![]),
        ("?state=canceled".to_owned(), vec![&ids[0]]),
        ("?state=queued".to_owned(), vec![&ids[2], &ids[1]]),
        ("?kind=repair".to_owned(), vec![&ids[2]]),
        (
            format!("?kind=onboard&state=queued&app={two}"),
            vec![&ids[1]],
        ),
        (format!("?app={one}&state=running"), vec![]),
    ] {
        let jobs = get(&server, &format!("/v1/jobs{query}")).await.expect(200);
        assert_eq!(
            strings(&jobs["items"], "id").iter().collect::<Vec<_>>(),
            expected,
            "{query}"
        );
        assert!(
            jobs["items"]
                .as_array()
                .unwrap()
                .iter()
                .all(|job| !job["steps"].as_array().unwrap().is_empty())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_sent_again_only_when_it_changed() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    let job = post(&server, "/v1/apps", &light(&name)).await.expect(202);
    let path = format!("/v1/apps/{name}");
    let first = get(&server, &path).await;
    first.expect(200);
    let tag = first.header("etag").to_owned();
    assert!(
        tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2,
        "{tag}"
    );
    let if_none_match = |tag: String| {
        ask(server
            .request(Method::GET, &path)
            .header("if-none-match", tag))
    };
    let unchanged = if_none_match(tag.clone()).await;
    assert_eq!(
        (
            unchanged.status,
            unchanged.body.len(),
            unchanged.header("etag")
        ),
        (304, 0, tag.as_str())
    );
    if_none_match("\"other\"".to_owned()).await.expect(200);
    post_empty(&server, &format!("/v1/jobs/{}/cancel", id(&job)))
        .await
        .expect(202);
    let changed = if_none_match(tag.clone()).await;
    assert_eq!(changed.expect(200)["state"], "canceled");
    assert_ne!(changed.header("etag"), tag);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_sent_again_when_its_job_has_got_further() {
    let mut setup = working();
    setup.timing.answer = Duration::from_secs(2);
    let server = setup.start().await;
    let name = unique("acme");
    setup.proxy.break_calls([
        ("iam:CreateUser", 0, Fault::LostBefore),
        ("iam:AttachUserPolicy", 0, Fault::LostBefore),
    ]);
    let job = post(&server, "/v1/apps", &light(&name)).await.expect(202);
    let path = format!("/v1/apps/{name}");
    setup.proxy.lost().await;
    let early = get(&server, &path).await;
    setup.proxy.lost().await;
    let later = ask(server
        .request(Method::GET, &path)
        .header("if-none-match", early.header("etag")))
    .await;
    assert_eq!(
        early.expect(200)["active_job"],
        later.expect(200)["active_job"],
        "the same job is at work"
    );
    assert_ne!(early.json()["resources"], later.json()["resources"]);
    assert_ne!(early.header("etag"), later.header("etag"));
    assert_eq!(server.wait(id(&job)).await["state"], "succeeded");
    server.stop().await;
}

// ---- jobs

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_held_until_the_job_ends_or_the_time_is_up() {
    let setup = idle();
    let server = setup.start().await;
    let job = post(&server, "/v1/apps", &light(&unique("acme")))
        .await
        .expect(202);
    let path = format!("/v1/jobs/{}", id(&job));
    let began = Instant::now();
    assert_eq!(
        get(&server, &format!("{path}?wait=700ms"))
            .await
            .expect(200)["state"],
        "queued"
    );
    assert!(began.elapsed() >= Duration::from_millis(700));
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        post_empty(&server, &format!("{path}/cancel"))
            .await
            .expect(202);
    };
    let held = format!("{path}?wait=60s");
    let (ended, ()) = tokio::join!(get(&server, &held), cancel);
    assert_eq!(ended.expect(200)["state"], "canceled");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_followed_to_the_jobs_end_and_resumed_from_any_of_them() {
    let setup = working();
    let server = setup.start().await;
    let mut body = light(&unique("acme"));
    body["access_key"] = json!(true);
    let job = post(&server, "/v1/apps", &body).await.expect(202);
    let path = format!("/v1/jobs/{}/events", id(&job));
    let followed = get(&server, &path).await;
    assert_eq!(followed.header("content-type"), "text/event-stream");
    let all = events_of(&followed.text());
    assert_eq!(
        get(&server, &format!("/v1/jobs/{}", id(&job)))
            .await
            .expect(200)["state"],
        "succeeded",
        "the stream ends with the job"
    );
    assert!(
        all.windows(2)
            .all(|pair| pair[0]["seq"].as_i64() < pair[1]["seq"].as_i64()),
        "{all:?}"
    );
    let names: Vec<&str> = all
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        (names[0], *names.last().unwrap()),
        ("job_queued", "job_succeeded")
    );
    let count = |name: &str| names.iter().filter(|it| **it == name).count();
    assert_eq!(count("job_started"), 1);
    let steps = job["steps"].as_array().unwrap().len();
    assert_eq!((count("step_started"), count("step_done")), (steps, steps));
    assert!(count("change_applied") > 0);

    for seen in [0, 1, all.len() / 2, all.len()] {
        let last = if seen == 0 {
            json!(0)
        } else {
            all[seen - 1]["seq"].clone()
        };
        let from = |accept: &str| {
            ask(server
                .request(Method::GET, &path)
                .header("last-event-id", last.to_string())
                .header("accept", accept))
        };
        assert_eq!(
            events_of(&from("text/event-stream").await.text()),
            all[seen..]
        );
        assert_eq!(
            from("application/json").await.expect(200)["items"]
                .as_array()
                .unwrap()[..],
            all[seen..]
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_what_happens_while_it_is_open() {
    let setup = idle();
    let server = setup.start().await;
    let job = post(&server, "/v1/apps", &light(&unique("acme")))
        .await
        .expect(202);
    let mut open: Response = server.get(&format!("/v1/jobs/{}/events", id(&job))).await;
    let begun = String::from_utf8(open.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert_eq!(
        events_of(&begun)
            .iter()
            .map(|event| event["event"].clone())
            .collect::<Vec<_>>(),
        ["job_queued"]
    );
    post_empty(&server, &format!("/v1/jobs/{}/cancel", id(&job)))
        .await
        .expect(202);
    let rest = events_of(&open.text().await.unwrap());
    assert_eq!(
        rest.iter()
            .map(|event| event["event"].clone())
            .collect::<Vec<_>>(),
        ["cancel_requested", "job_canceled"]
    );
    assert_eq!(rest[0]["by"], "admin");
}

/// The events of a stream; each one's id and name are those of its data.
fn events_of(stream: &str) -> Vec<Value> {
    let events = stream
        .split("\n\n")
        .filter(|block| !block.trim().is_empty() && !block.starts_with(':'));
    let event = |block: &str| {
        let fields: BTreeMap<&str, &str> = block
            .lines()
            .filter_map(|line| line.split_once(": "))
            .collect();
        let data: Value = serde_json::from_str(fields["data"]).expect("JSON");
        assert_eq!(fields["id"], data["seq"].to_string(), "{block}");
        assert_eq!(
            fields["event"],
            data["event"].as_str().expect("a name"),
            "{block}"
        );
        data
    };
    events.map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_at_work_stands_in_the_way_until_it_is_canceled_and_goes_on_when_retried() {
    let mut setup = working();
    setup.timing.answer = Duration::from_secs(2);
    let server = setup.start().await;
    let name = unique("acme");
    let repair = format!("/v1/apps/{name}/repair");
    setup
        .proxy
        .break_calls([("iam:CreateUser", 0, Fault::LostBefore)]);
    let job = post(&server, "/v1/apps", &light(&name)).await.expect(202);
    let path = format!("/v1/jobs/{}", id(&job));
    setup.proxy.lost().await;

    let answer = post_empty(&server, &repair).await;
    let problem = answer.problem(409, "job_active");
    assert_eq!(
        json!([problem["url"], problem["retryable"]]),
        json!([path, true])
    );
    assert_eq!(answer.header("location"), path);
    post_empty(&server, &format!("{path}/retry"))
        .await
        .problem(409, "job_state");
    let canceled = post_empty(&server, &format!("{path}/cancel")).await;
    assert_eq!(
        canceled.expect(202)["state"],
        "running",
        "it stops after its present change"
    );
    assert_eq!(canceled.header("location"), path);
    assert_eq!(server.wait(id(&job)).await["state"], "canceled");
    assert_eq!(
        get(&server, &format!("/v1/apps/{name}")).await.expect(200)["state"],
        "canceled"
    );
    post_empty(&server, &format!("{path}/cancel"))
        .await
        .problem(409, "job_state");

    let retried = post_empty(&server, &format!("{path}/retry")).await;
    assert_eq!(
        json!([retried.expect(202)["id"], retried.header("location")]),
        json!([job["id"], path])
    );
    let done = server.wait(id(&job)).await;
    assert_eq!(
        json!([done["state"], done["attempt"]]),
        json!(["succeeded", 2])
    );
    post_empty(&server, &format!("{path}/retry"))
        .await
        .problem(409, "job_state");
    post_empty(&server, &format!("{path}/cancel"))
        .await
        .problem(409, "job_state");
    assert_eq!(
        server.run(&repair, None).await["state"],
        "succeeded",
        "and nothing stands in the way of a repair any more"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_says_why_and_can_be_canceled_at_once() {
    let setup = working();
    let server = setup.start().await;
    setup.proxy.script(|call| {
        (call.name() == "iam:CreateUser")
            .then(|| Scripted::Now(409, refusal_body("iam", "ConcurrentModification")))
    });
    let name = unique("acme");
    let job = post(&server, "/v1/apps", &light(&name)).await.expect(202);
    let path = format!("/v1/jobs/{}", id(&job));
    let waiting = wait_for_state(&server, id(&job), "waiting").await;
    assert!(
        waiting["reason"]
            .as_str()
            .unwrap()
            .contains("ConcurrentModification"),
        "{waiting}"
    );
    assert!(waiting["next_attempt_at"].is_string());
    post_empty(&server, &format!("/v1/apps/{name}/repair"))
        .await
        .problem(409, "job_active");
    let canceled = post_empty(&server, &format!("{path}/cancel"))
        .await
        .expect(202);
    assert_eq!(
        json!([canceled["state"], canceled["next_attempt_at"]]),
        json!(["canceled", null])
    );
    setup.proxy.unscript();
    post_empty(&server, &format!("{path}/retry"))
        .await
        .expect(202);
    assert_eq!(server.wait(id(&job)).await["state"], "succeeded");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_may_not_names_the_action_and_goes_on_once_it_may() {
    let setup = working();
    let server = setup.start().await;
    setup.proxy.script(|call| {
        (call.name() == "s3:CreateBucket")
            .then(|| Scripted::Now(403, refusal_body("s3", "AccessDenied")))
    });
    let name = unique("acme");
    let mut body = light(&name);
    body["buckets"] = json!([{"name": name}]);
    let job = server.run("/v1/apps", Some(&body)).await;
    assert_parked(&job, &format!("s3:bucket/{name}"));
    assert_eq!(
        get(&server, &format!("/v1/apps/{name}")).await.expect(200)["state"],
        "needs_attention"
    );
    let retry = format!("/v1/jobs/{}/retry", id(&job));
    assert_parked(
        &server.run(&retry, None).await,
        &format!("s3:bucket/{name}"),
    );
    setup.proxy.unscript();
    let done = server.run(&retry, None).await;
    assert_eq!(
        json!([done["id"], done["state"], done["error"]]),
        json!([job["id"], "succeeded", null])
    );
    assert!(
        !aws_inspector::look(
            &setup.place,
            &server.json(&format!("/v1/apps/{name}")).await["spec"]
        )["buckets"][&name]
            .is_null()
    );
    server.stop().await;
}

fn assert_parked(job: &Value, resource: &str) {
    assert_eq!(job["state"], "needs_attention", "{job:#}");
    let error = &job["error"];
    assert_eq!(
        json!([error["code"], error["aws"]["operation"], error["retryable"]]),
        json!(["access_denied", "CreateBucket", false])
    );
    assert!(
        error["remedy"]
            .as_str()
            .expect("a remedy")
            .contains("s3:CreateBucket"),
        "{error}"
    );
    let step = job["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .find(|step| step["resource"] == resource)
        .expect("the step");
    assert_eq!(
        json!([step["state"], step["error"]["code"]]),
        json!(["failed", "access_denied"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_failed_on_a_foreign_thing_goes_on_when_that_is_gone() {
    let setup = working();
    let server = setup.start().await;
    let name = unique("acme");
    let bucket =
        json!({"Bucket": name, "CreateBucketConfiguration": {"LocationConstraint": "us-west-2"}});
    aws_inspector::call(&setup.place, "s3", "create_bucket", bucket).unwrap();
    let mut body = light(&name);
    body["buckets"] = json!([{"name": name}]);
    let plan = post(&server, "/v1/apps?dry_run=true", &body)
        .await
        .expect(200);
    let of_bucket = plan["changes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|change| change["resource"] == format!("s3:bucket/{name}"))
        .unwrap();
    assert_eq!(
        json!([of_bucket["action"], of_bucket["error"]["code"]]),
        json!(["conflict", "conflict"]),
        "the plan has foreseen it"
    );
    let job = server.run("/v1/apps", Some(&body)).await;
    assert_eq!(
        json!([job["state"], job["error"]["code"]]),
        json!(["failed", "conflict"])
    );
    assert!(
        job["error"]["remedy"].as_str().unwrap().contains("adopt"),
        "{job}"
    );
    aws_inspector::call(&setup.place, "s3", "delete_bucket", json!({"Bucket": name})).unwrap();
    let done = server
        .run(&format!("/v1/jobs/{}/retry", id(&job)), None)
        .await;
    assert_eq!(
        json!([done["id"], done["state"]]),
        json!([job["id"], "succeeded"])
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_not_retried_beside_another_one_of_its_app() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    let first = post(&server, "/v1/apps", &light(&name)).await.expect(202);
    let canceled = post_empty(&server, &format!("/v1/jobs/{}/cancel", id(&first)))
        .await
        .expect(202);
    assert_eq!(canceled["state"], "canceled");
    let repair = post_empty(&server, &format!("/v1/apps/{name}/repair"))
        .await
        .expect(202);
    let problem = post_empty(&server, &format!("/v1/jobs/{}/retry", id(&first)))
        .await
        .problem(409, "job_active");
    assert_eq!(problem["url"], format!("/v1/jobs/{}", id(&repair)));
}

// ---- credentials

/// An app with a key and nothing else; its name and the key's id.
async fn with_key(server: &Server) -> (String, String) {
    let name = unique("acme");
    let mut body = light(&name);
    body["access_key"] = json!(true);
    let job = server.onboard(&body).await;
    (
        name,
        job["result"]["access_key_id"]
            .as_str()
            .expect("a key")
            .to_owned(),
    )
}

async fn credential(server: &Server, app: &str, key: &str) -> Value {
    let list = get(server, &format!("/v1/apps/{app}/credentials"))
        .await
        .expect(200);
    let found = list["items"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|item| item["access_key_id"] == key);
    found
        .unwrap_or_else(|| panic!("no {key} in {list}"))
        .clone()
}

fn claim_of(app: &str, key: &str) -> String {
    format!("/v1/apps/{app}/credentials/{key}/claim")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_once_and_never_listed() {
    let setup = working();
    let server = setup.start().await;
    let name = unique("acme");
    let job = server.onboard(&json!({"name": name})).await;
    let key = job["result"]["access_key_id"].as_str().unwrap().to_owned();
    let path = job["result"]["claim"].as_str().unwrap();
    assert_eq!(path, claim_of(&name, &key));
    let before = credential(&server, &name, &key).await;
    assert_eq!(
        json!([
            before["user"],
            before["managed"],
            before["state"],
            before["secret"],
            before["claim"],
            before["claimed_by"],
            before["remedy"]
        ]),
        json!([name, true, "active", "unclaimed", path, null, null])
    );
    assert!(
        before["age_seconds"].as_i64().is_some_and(|age| age < 600),
        "{before}"
    );

    let answer = post_empty(&server, path).await;
    let claim = answer.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let secret = claim["AWS_SECRET_ACCESS_KEY"].as_str().unwrap();
    let (account, bucket) = (
        &setup.place.account,
        format!("{name}-media-{}", setup.place.account),
    );
    let uri = format!("{account}.dkr.ecr.us-west-2.amazonaws.com/{name}");
    assert_eq!(
        json!([
            claim["AWS_ACCESS_KEY_ID"],
            claim["AWS_REGION"],
            claim["S3_BUCKET"],
            claim["S3_BUCKETS"],
            claim["ECR_REPOSITORY"],
            claim["ECR_REPOSITORIES"]
        ]),
        json!([key, "us-west-2", bucket, [bucket], uri, [{"name": name, "uri": uri}]])
    );
    let credentials = json!({"access_key_id": key, "secret_access_key": secret});
    let caller = aws_inspector::call_as(
        &setup.place,
        &credentials,
        "sts",
        "get_caller_identity",
        json!({}),
    )
    .unwrap();
    assert_eq!(
        caller["Arn"], job["result"]["user_arn"],
        "the key is the app's"
    );

    post_empty(&server, path)
        .await
        .problem(410, "already_claimed");
    keyed(&server, path, "late", &json!(null))
        .await
        .problem(410, "already_claimed");
    let after = credential(&server, &name, &key).await;
    assert_eq!(
        json!([after["secret"], after["claim"], after["claimed_by"]]),
        json!(["claimed", null, "admin"])
    );
    assert!(after["claimed_at"].is_string());
    for path in [
        "/v1/apps".to_owned(),
        format!("/v1/apps/{name}"),
        format!("/v1/apps/{name}/credentials"),
        format!("/v1/jobs/{}", id(&job)),
        format!("/v1/jobs/{}/events", id(&job)),
    ] {
        assert!(!get(&server, &path).await.text().contains(secret), "{path}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_can_be_an_environment_file_and_be_repeated_for_ten_minutes() {
    let setup = working();
    let server = setup.start().await;
    let name = unique("acme");
    let body =
        json!({"name": name, "buckets": [{}, {"name": format!("{name}-b")}], "repositories": []});
    let key = server.onboard(&body).await["result"]["access_key_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (path, operator) = (claim_of(&name, &key), server.token("operator").await);
    let repeat = |key: &'static str, accept: &'static str| {
        ask(server
            .request(Method::POST, &path)
            .header("idempotency-key", key)
            .header("accept", accept))
    };
    let first = repeat("mine", "text/plain").await;
    assert_eq!(
        (first.status, first.header("cache-control")),
        (200, "no-store")
    );
    assert!(first.header("content-type").starts_with("text/plain"));
    let text = first.text();
    let lines: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let bucket = format!("{name}-media-{}", setup.place.account);
    let buckets = format!("{bucket},{name}-b");
    let names = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_REGION",
        "S3_BUCKET",
        "S3_BUCKETS",
    ];
    assert_eq!(
        lines.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        names
    );
    assert_eq!(
        (lines[0].1, lines[2].1, lines[3].1, lines[4].1),
        (key.as_str(), "us-west-2", bucket.as_str(), buckets.as_str())
    );

    setup.clock.advance(9 * MINUTE);
    assert_eq!(
        repeat("mine", "application/json").await.expect(200)["AWS_SECRET_ACCESS_KEY"],
        lines[1].1
    );
    repeat("other", "*/*").await.problem(410, "already_claimed");
    post_empty(&server, &path)
        .await
        .problem(410, "already_claimed");
    let of_another =
        as_bearer(&server, &operator, Method::POST, &path).header("idempotency-key", "mine");
    ask(of_another).await.problem(410, "already_claimed");
    assert_eq!(
        repeat("mine", "*/*").await.status,
        200,
        "what others try spends nothing"
    );
    setup.clock.advance(2 * MINUTE);
    repeat("mine", "*/*").await.problem(410, "already_claimed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_nobody_claims_for_seven_days_is_gone_and_the_list_says_what_to_do() {
    let setup = working();
    let server = setup.start().await;
    let (name, key) = with_key(&server).await;
    setup.clock.advance(7 * DAY - MINUTE);
    assert_eq!(
        credential(&server, &name, &key).await["secret"],
        "unclaimed"
    );
    setup.clock.advance(2 * MINUTE);
    let listed = credential(&server, &name, &key).await;
    assert_eq!(
        json!([listed["secret"], listed["claim"], listed["state"]]),
        json!(["expired", null, "active"])
    );
    assert!(
        listed["remedy"].as_str().unwrap().contains("rotate"),
        "{listed}"
    );
    assert!(
        listed["age_seconds"]
            .as_i64()
            .is_some_and(|age| age > 6 * 24 * 3600),
        "{listed}"
    );
    let problem = post_empty(&server, &claim_of(&name, &key))
        .await
        .problem(410, "claim_expired");
    assert!(problem["remedy"].is_string());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_becomes_ready_and_one_made_by_hand_is_listed_as_such() {
    let setup = working();
    let server = setup.start().await;
    let (name, key) = with_key(&server).await;
    let by_hand = aws_inspector::call(
        &setup.place,
        "iam",
        "create_access_key",
        json!({"UserName": name}),
    )
    .unwrap();
    let by_hand = by_hand["AccessKey"]["AccessKeyId"]
        .as_str()
        .unwrap()
        .to_owned();
    let listed = credential(&server, &name, &by_hand).await;
    assert_eq!(
        json!([
            listed["managed"],
            listed["secret"],
            listed["readiness"],
            listed["claim"],
            listed["state"]
        ]),
        json!([false, null, null, null, "active"])
    );
    assert!(listed["remedy"].is_string());
    post_empty(&server, &claim_of(&name, &by_hand))
        .await
        .problem(404, "not_found");
    let began = Instant::now();
    while credential(&server, &name, &key).await["readiness"] != "ready" {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "the key does not become ready"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(
        began.elapsed() > Duration::from_secs(1),
        "a key is ready after several successes, not after one"
    );
    aws_inspector::call(
        &setup.place,
        "iam",
        "delete_access_key",
        json!({"UserName": name, "AccessKeyId": key}),
    )
    .unwrap();
    // Until then it might be too new to be listed.
    setup.clock.advance(setup.timing.propagation);
    let gone = credential(&server, &name, &key).await;
    assert_eq!(
        json!([gone["state"], gone["claim"], gone["remedy"].is_string()]),
        json!(["deleted", null, true])
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_aws_refuses_is_502_and_names_the_call_and_the_action() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    post(&server, "/v1/apps", &light(&name)).await.expect(202);
    setup.proxy.script(|call| {
        (call.name() == "iam:ListAccessKeys")
            .then(|| Scripted::Now(403, refusal_body("iam", "AccessDenied")))
    });
    let path = format!("/v1/apps/{name}/credentials");
    let problem = get(&server, &path).await.problem(502, "aws_refused");
    assert_eq!(
        problem["aws"],
        json!({"service": "iam", "operation": "ListAccessKeys", "code": "AccessDenied", "request_id": "r"})
    );
    assert!(
        problem["remedy"]
            .as_str()
            .unwrap()
            .contains("iam:ListAccessKeys"),
        "{problem}"
    );
    assert_eq!(problem["retryable"], false);
    setup.proxy.script(|call| {
        (call.name() == "iam:ListAccessKeys")
            .then(|| Scripted::Now(500, refusal_body("iam", "ServiceFailure")))
    });
    let answer = get(&server, &path).await;
    assert_eq!(answer.problem(502, "aws_refused")["retryable"], true);
    assert!(!answer.header("retry-after").is_empty());
    setup.proxy.unscript();
    assert_eq!(
        get(&server, &path).await.expect(200)["items"],
        json!([]),
        "a user that is not there has no keys"
    );
}

/// A service with a key whose secret is sealed with another encryption key; the app's name and the claim's path.
async fn sealed_with_another_key(setup: &mut Setup) -> (Server, String) {
    let server = setup.start().await;
    let (name, key) = with_key(&server).await;
    server.stop().await;
    setup.settings.encryption_key = Some(slipway::vault::Vault::new_key().expect("a key"));
    (setup.start().await, claim_of(&name, &key))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_sealed_with_another_key_is_500_and_the_setting_is_named() {
    let mut setup = working();
    let (server, path) = sealed_with_another_key(&mut setup).await;
    let problem = post_empty(&server, &path).await.problem(500, "cannot_open");
    assert!(
        problem["remedy"]
            .as_str()
            .unwrap()
            .contains("SLIPWAY_ENCRYPTION_KEY"),
        "{problem}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_could_not_be_opened_is_not_spent() {
    let mut setup = working();
    let right = setup.settings.encryption_key.clone();
    let (server, path) = sealed_with_another_key(&mut setup).await;
    post_empty(&server, &path).await.problem(500, "cannot_open");
    server.stop().await;
    setup.settings.encryption_key = right;
    let server = setup.start().await;
    post_empty(&server, &path).await.expect(200);
    server.stop().await;
}

// ---- tokens

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_and_ends_when_it_is_revoked() {
    let setup = idle();
    let server = setup.start().await;
    let answer = post(
        &server,
        "/v1/tokens",
        &json!({"name": "deploy-bot", "role": "operator"}),
    )
    .await;
    let made = answer.expect(201);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(
        json!([made["name"], made["role"], made["created_by"]]),
        json!(["deploy-bot", "operator", "admin"])
    );
    let token = made["token"].as_str().unwrap();
    assert!(token.len() >= 40, "{token}");
    let job =
        ask(as_bearer(&server, token, Method::POST, "/v1/apps").json(&light(&unique("acme"))))
            .await
            .expect(202);
    assert_eq!(job["requested_by"], "deploy-bot");

    let list = get(&server, "/v1/tokens").await;
    assert!(!list.text().contains(token), "{}", list.text());
    let mut row = made.clone();
    row.as_object_mut().unwrap().remove("token");
    assert_eq!(list.expect(200)["items"], json!([row]));

    let path = format!("/v1/tokens/{}", id(&made));
    let revoked = ask(server.request(Method::DELETE, &path)).await;
    assert_eq!((revoked.status, revoked.body.len()), (204, 0));
    ask(as_bearer(&server, token, Method::GET, "/v1/apps"))
        .await
        .problem(401, "unauthorized");
    ask(server.request(Method::DELETE, &path))
        .await
        .problem(404, "not_found");
    assert_eq!(
        get(&server, "/v1/tokens").await.expect(200)["items"],
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_one_name_are_two_callers() {
    let setup = idle();
    let server = setup.start().await;
    let mut jobs = BTreeSet::new();
    for token in [
        server.token("operator").await,
        server.token("operator").await,
    ] {
        let request =
            as_bearer(&server, &token, Method::POST, "/v1/apps").header("idempotency-key", "k");
        jobs.insert(id(&ask(request.json(&light(&unique("acme")))).await.expect(202)).to_owned());
    }
    assert_eq!(jobs.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_takes_a_name_and_a_role_that_there_is() {
    let setup = idle();
    let server = setup.start().await;
    for (body, pointers) in [
        (json!({}), &["/name", "/role"][..]),
        (
            json!({"name": "", "role": "root", "x": 1}),
            &["/name", "/role", "/x"],
        ),
        (json!({"name": "  ", "role": "Viewer"}), &["/name", "/role"]),
        (json!({"name": "a\nb", "role": null}), &["/name", "/role"]),
        (
            json!({"name": "x".repeat(65), "role": "viewer"}),
            &["/name"],
        ),
        (json!([]), &[""]),
    ] {
        let problem = post(&server, "/v1/tokens", &body)
            .await
            .problem(422, "invalid_fields");
        assert_eq!(strings(&problem["errors"], "pointer"), pointers, "{body}");
    }
    assert_eq!(
        get(&server, "/v1/tokens").await.expect(200)["items"],
        json!([])
    );
}

// ---- the service itself

#[tokio::test(flavor = "multi_thread")]
async fn health_metrics_and_documentation_take_no_token() {
    let setup = idle();
    let server = setup.start().await;
    let open = |path: &'static str| ask(server.anonymous(Method::GET, path));
    assert_eq!(open("/healthz").await.text(), "ok\n");
    let ready = open("/readyz").await.expect(200);
    for part in ["database", "aws", "workers"] {
        assert_eq!(
            ready[part],
            json!({"ready": true, "reason": null}),
            "{part}"
        );
    }
    let metrics = open("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain"));
    assert!(
        metrics.text().contains("slipway_http_requests_total{"),
        "{}",
        metrics.text()
    );
    assert!(
        metrics
            .text()
            .contains("slipway_active_jobs{state=\"queued\"}")
    );
    let document = open("/openapi.yaml").await;
    assert_eq!(
        (document.header("content-type"), document.text()),
        ("application/yaml", slipway::api::router::yaml().unwrap())
    );
    assert_eq!(
        open("/openapi.json").await.expect(200),
        *openapi::document()
    );
    let problems = open("/problems").await;
    assert!(
        problems.header("content-type").starts_with("text/markdown")
            && problems.text().contains(PROBLEMS)
    );
    let start = open("/").await;
    assert!(
        start.status == 200 && start.text().contains("swagger"),
        "the start leads to the documentation"
    );
    let page = open("/docs").await;
    assert!(
        page.status == 200 && page.text().contains("swagger"),
        "{}",
        page.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_says_who_it_is_in_aws() {
    let setup = idle();
    let server = setup.start().await;
    let identity = get(&server, "/v1/identity").await.expect(200);
    assert_eq!(
        json!([identity["account"], identity["region"]]),
        json!([setup.place.account, "us-west-2"])
    );
    let arn = identity["arn"].as_str().unwrap();
    assert!(
        arn.contains(&setup.place.account) && arn.contains("assumed-role/slipway"),
        "{arn}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_origins_that_are_set_may_call_and_no_others() {
    let mut setup = idle();
    setup.settings.cors_origins = "https://dash.example, https://ops.example".into();
    let server = setup.start().await;
    let preflight = |origin: &'static str, method: &'static str| {
        let request = server
            .anonymous(Method::OPTIONS, "/v1/apps")
            .header("origin", origin)
            .header("access-control-request-method", method);
        ask(request.header("access-control-request-headers", "authorization"))
    };
    for origin in ["https://dash.example", "https://ops.example"] {
        let answer = preflight(origin, "POST").await;
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (200, origin)
        );
        assert!(
            answer
                .header("access-control-allow-methods")
                .contains("POST")
        );
        for header in [
            "authorization",
            "content-type",
            "idempotency-key",
            "x-request-id",
            "if-none-match",
            "last-event-id",
        ] {
            assert!(
                answer
                    .header("access-control-allow-headers")
                    .contains(header),
                "{header}"
            );
        }
        let answer = ask(server
            .request(Method::GET, "/v1/apps")
            .header("origin", origin))
        .await;
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        for header in [
            "location",
            "etag",
            "retry-after",
            "x-request-id",
            "idempotent-replayed",
        ] {
            assert!(
                answer
                    .header("access-control-expose-headers")
                    .contains(header),
                "{header}"
            );
        }
    }
    assert_eq!(
        preflight("https://elsewhere.example", "POST")
            .await
            .header("access-control-allow-origin"),
        ""
    );

    let closed = idle();
    let server = closed.start().await;
    let answer = ask(server
        .request(Method::GET, "/v1/apps")
        .header("origin", "https://dash.example"))
    .await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, "")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_for_those_who_can_read_it_but_streams_are_not() {
    let setup = idle();
    let server = setup.start().await;
    let job = post(&server, "/v1/apps", &light(&unique("acme")))
        .await
        .expect(202);
    let path = format!("/v1/jobs/{}", id(&job));
    let zipped = ask(server
        .request(Method::GET, &path)
        .header("accept-encoding", "gzip"))
    .await;
    assert_eq!(
        (zipped.header("content-encoding"), &zipped.body[..2]),
        ("gzip", &[0x1f, 0x8b][..])
    );
    assert_eq!(get(&server, &path).await.header("content-encoding"), "");
    post_empty(&server, &format!("{path}/cancel"))
        .await
        .expect(202);
    let stream = ask(server
        .request(Method::GET, &format!("{path}/events"))
        .header("accept-encoding", "gzip"))
    .await;
    assert_eq!(stream.header("content-encoding"), "");
    assert!(!events_of(&stream.text()).is_empty());
}
