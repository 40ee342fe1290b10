//! People log in at a terminal with an identity provider (RFC 8628).

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::{Person, assert_has};
use crate::api::{ask, get, idle, light};
use crate::support::server::{ADMIN_TOKEN, Server, Setup};
use crate::support::sign_in::{NodeProvider, confirm_device, let_people_sign_in};
use crate::support::unique;

const DEVICE: &str = "/v1/oauth/device_authorization";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

async fn started(setup: &mut Setup) -> (Server, NodeProvider) {
    let accounts = json!({
        "ana": {"name": "Ana Example", "email": "ana@example.com", "email_verified": true, "groups": ["staff", "acme"]},
        "eve": {"name": "Eve Example", "groups": ["others"]},
    });
    let provider = NodeProvider::start(&accounts).await;
    let_people_sign_in(setup, &provider.url);
    (setup.start().await, provider)
}

async fn begin(server: &Server) -> Value {
    ask(server.anonymous(Method::POST, DEVICE))
        .await
        .expect(200)
}

async fn token(server: &Server, code: &str) -> crate::api::Answer {
    let request = server.anonymous(Method::POST, "/v1/oauth/token");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    ask(request.body(format!("grant_type={GRANT}&device_code={code}"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_at_a_terminal_and_works() {
    let mut setup = idle();
    let (server, provider) = started(&mut setup).await;
    let person = Person::new(&server.url, "").without("SLIPWAY_TOKEN");
    let mut child = person.start_at_terminal(&[], &["login"]);
    let mut shown = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    shown.read_line(&mut line).await.unwrap();
    let url = line.trim().strip_prefix("To log in, open ").expect(&line);
    confirm_device(&provider, url, "ana").await;
    let mut rest = String::new();
    shown.read_to_string(&mut rest).await.unwrap();
    let ended = child.wait().await.unwrap();
    assert!(ended.success(), "{line}{rest}");
    assert_has(&rest, &["Logged in to", "login.json"]);

    let person = person.without("SLIPWAY_URL");
    person.ok(&["app", "list"]).await;
    person.run(&["token", "list"]).await.exits(4);
    let audit = get(&server, "/v1/audit?action=token_created").await;
    let entry = &audit.expect(200)["items"][0];
    let actor = entry["actor"].as_str().unwrap();
    assert!(actor.starts_with("oidc:ana@example.com#"), "{entry}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_waits_for_the_person_is_theirs_and_is_given_once() {
    let mut setup = idle();
    let (server, provider) = started(&mut setup).await;
    let begun = begin(&server).await;
    let code = begun["device_code"].as_str().unwrap();
    let pending = token(&server, code).await;
    let pending = pending.problem(400, "authorization_pending");
    assert_eq!(pending["error"], "authorization_pending");
    let url = begun["verification_uri_complete"].as_str().unwrap();
    confirm_device(&provider, url, "ana").await;
    let granted = token(&server, code).await.expect(200);
    assert_eq!(granted["expires_in"], 12 * 3600);
    let bearer = granted["access_token"].as_str().unwrap();
    let onboard = |name: &str| {
        let request = server.anonymous(Method::POST, "/v1/apps");
        request.bearer_auth(bearer).json(&light(&unique(name)))
    };
    let job = ask(onboard("acme")).await.expect(202);
    let actor = job["requested_by"].as_str().unwrap();
    assert!(actor.starts_with("oidc:ana@example.com#"), "{job}");
    let other = ask(onboard("other")).await;
    other.problem(403, "out_of_scope");
    token(&server, code).await.problem(400, "expired_token");
    token(&server, "nobodys")
        .await
        .problem(400, "expired_token");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_in_no_group_gets_no_token_and_without_a_provider_a_token_is_asked_for() {
    let mut setup = idle();
    let (server, provider) = started(&mut setup).await;
    let begun = begin(&server).await;
    let url = begun["verification_uri_complete"].as_str().unwrap();
    confirm_device(&provider, url, "eve").await;
    let code = begun["device_code"].as_str().unwrap();
    token(&server, code).await.problem(400, "access_denied");

    let setup = idle();
    let server = setup.start().await;
    let none = ask(server.anonymous(Method::POST, DEVICE)).await;
    none.problem(404, "not_found");
    token(&server, "any").await.problem(404, "not_found");
    let person = Person::new(&server.url, "").without("SLIPWAY_TOKEN");
    let typed = format!("{}\n", ADMIN_TOKEN);
    let login = person
        .at_terminal(&[("Token for", &typed)], &["login"])
        .await;
    assert_has(&login.exits(0), &["Logged in to"]);
}

/// The chat users that are linked to people, with their roles, read and written behind the service's back.
async fn links(setup: &Setup, statement: Option<&str>) -> Vec<(String, String)> {
    sqlx::any::install_default_drivers();
    let url = format!("sqlite://{}", setup.database().display());
    let mut db = sqlx::AnyConnection::connect(&url).await.unwrap();
    if let Some(statement) = statement {
        sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()))
            .execute(&mut db)
            .await
            .unwrap();
    }
    let links = sqlx::query_as("SELECT chat_user, role FROM chat_links ORDER BY chat_user")
        .fetch_all(&mut db)
        .await
        .unwrap();
    db.close().await.unwrap();
    links
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_counts_for_the_chat_users_of_the_person_as_a_sign_in_does() {
    let mut setup = idle();
    let (server, provider) = started(&mut setup).await;
    for subject in ["ana", "eve"] {
        let link = format!(
            "INSERT INTO chat_links (id, platform, team, chat_user, issuer, subject, name, role, created_at, signed_in_at) \
             VALUES ('{}', 'slack', 'T1', '{subject}', '{}', '{subject}', '{subject}', 'viewer', 1, 1)",
            ulid::Ulid::generate(),
            provider.url
        );
        links(&setup, Some(&link)).await;
    }
    for (person, status) in [("ana", 200), ("eve", 400)] {
        let begun = begin(&server).await;
        let url = begun["verification_uri_complete"].as_str().unwrap();
        confirm_device(&provider, url, person).await;
        let code = begun["device_code"].as_str().unwrap();
        assert_eq!(token(&server, code).await.status, status, "{person}");
    }
    // Ana is an operator by her groups now, and Eve is nobody.
    let ana = ("ana".to_owned(), "operator".to_owned());
    assert_eq!(links(&setup, None).await, [ana]);
}
