//! Roles: which token may send which request.

use std::collections::BTreeSet;

use reqwest::Method;
use slipway::domain::role::Role;

use super::{ask, filled, get, idle, light, post};
use crate::openapi;
use crate::support::unique;

/// Every route with the role that it takes; `None` takes no token.
pub const ROUTES: [(&str, &str, Option<Role>); 81] = [
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
    ("get", "/v1/approvals", Some(Role::Viewer)),
    ("get", "/v1/jobs/{id}/approval", Some(Role::Viewer)),
    ("post", "/v1/jobs/{id}/approve", Some(Role::Approver)),
    ("post", "/v1/jobs/{id}/reject", Some(Role::Approver)),
    ("post", "/v1/ecr/lifecycle/simulate", Some(Role::Viewer)),
    ("get", "/v1/tokens", Some(Role::Admin)),
    ("post", "/v1/tokens", Some(Role::Admin)),
    ("delete", "/v1/tokens/{id}", Some(Role::Admin)),
    ("post", "/v1/oauth/token", None),
    ("post", "/v1/oauth/device_authorization", None),
    ("get", "/v1/sessions", Some(Role::Viewer)),
    ("delete", "/v1/sessions/{id}", Some(Role::Viewer)),
    ("get", "/v1/trust-rules", Some(Role::Admin)),
    ("post", "/v1/trust-rules", Some(Role::Admin)),
    ("get", "/v1/trust-rules/{id}", Some(Role::Admin)),
    ("delete", "/v1/trust-rules/{id}", Some(Role::Admin)),
    ("get", "/v1/webhooks", Some(Role::Admin)),
    ("post", "/v1/webhooks", Some(Role::Admin)),
    ("get", "/v1/webhooks/{id}", Some(Role::Admin)),
    ("patch", "/v1/webhooks/{id}", Some(Role::Admin)),
    ("delete", "/v1/webhooks/{id}", Some(Role::Admin)),
    ("get", "/v1/webhooks/{id}/deliveries", Some(Role::Admin)),
    ("post", "/v1/webhooks/{id}/test", Some(Role::Admin)),
    ("post", "/v1/webhooks/{id}/replay", Some(Role::Admin)),
    ("post", "/v1/webhooks/{id}/rotate-secret", Some(Role::Admin)),
    ("get", "/v1/accounts", Some(Role::Viewer)),
    ("post", "/v1/accounts", Some(Role::Admin)),
    ("get", "/v1/accounts/{account}", Some(Role::Viewer)),
    ("put", "/v1/accounts/{account}", Some(Role::Admin)),
    ("delete", "/v1/accounts/{account}", Some(Role::Admin)),
    (
        "get",
        "/v1/accounts/{account}/bootstrap",
        Some(Role::Viewer),
    ),
    ("post", "/v1/accounts/{account}/verify", Some(Role::Admin)),
    ("get", "/v1/accounts/{account}/setup", Some(Role::Viewer)),
    ("put", "/v1/accounts/{account}/setup", Some(Role::Admin)),
    (
        "get",
        "/v1/accounts/{account}/setup/drift",
        Some(Role::Viewer),
    ),
    (
        "post",
        "/v1/accounts/{account}/setup/drift",
        Some(Role::Operator),
    ),
    (
        "post",
        "/v1/accounts/{account}/setup/repair",
        Some(Role::Admin),
    ),
    (
        "get",
        "/v1/accounts/{account}/setup/export",
        Some(Role::Viewer),
    ),
    (
        "get",
        "/v1/accounts/{account}/setup/history",
        Some(Role::Viewer),
    ),
    (
        "post",
        "/v1/accounts/{account}/setup/people/{email}/claim",
        Some(Role::Admin),
    ),
    ("get", "/v1/identity", Some(Role::Viewer)),
    ("get", "/v1/background", Some(Role::Viewer)),
    ("get", "/", None),
    ("get", "/docs", None),
    ("get", "/openapi.json", None),
    ("get", "/problems", None),
    ("get", "/auth/login", None),
    ("post", "/auth/logout", None),
    ("get", "/auth/signed-out", None),
    ("post", "/hooks/slack/commands", None),
    ("post", "/hooks/slack/interactions", None),
    ("post", "/hooks/mattermost/commands", None),
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
        ("get", "/auth/login"),
        ("post", "/auth/logout"),
        ("get", "/auth/signed-out"),
        // Platforms call these. They prove themselves otherwise than by a token (docs/decisions/0035-chat.md).
        ("post", "/hooks/slack/commands"),
        ("post", "/hooks/slack/interactions"),
        ("post", "/hooks/mattermost/commands"),
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
    for role in [Role::Viewer, Role::Operator, Role::Approver, Role::Admin] {
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
                        !answer.text().contains("No such endpoint"),
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
