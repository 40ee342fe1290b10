//! What people do, by forms alone.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use slipway::domain::job_kind::JobKind;

use super::{Console, ended, submit};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_onboards_claims_rotates_and_removes_an_app_without_javascript() {
    let console = Console::start().await;
    let browser = console.signed_in("operators").await;
    let form = [
        ("idempotency_key", "once"),
        ("name", "acme-shop"),
        ("upload_origins", "https://shop.example.com"),
        ("media_access", "scoped"),
        ("tags", "team=media\ncost=42"),
        ("more", r#"{"drift": "repair"}"#),
    ];
    let planned = submit(&browser, "/console/onboard/plan", &form).await;
    assert_eq!(planned.status, 200);
    for says in [
        "to create",
        "aws iam create-user",
        "value=\"acme-shop\"",
        "value=\"once\"",
    ] {
        assert!(planned.text.contains(says), "{says}: {}", planned.text);
    }
    let invalid = submit(
        &browser,
        "/console/onboard",
        &[("name", "no spaces"), ("rotate_after", "soon")],
    )
    .await;
    assert_eq!(invalid.status, 422);
    assert_eq!(
        invalid.text.matches("class=\"field-error\"").count(),
        2,
        "{}",
        invalid.text
    );

    let first = submit(&browser, "/console/onboard", &form).await;
    let again = submit(&browser, "/console/onboard", &form).await;
    assert_eq!(
        first.location, again.location,
        "a form that is sent twice acts once"
    );
    let job = ended(&console, &first).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let spec = console.server.json("/v1/apps/acme-shop").await["spec"].clone();
    assert_eq!(spec["tags"], json!({"team": "media", "cost": "42"}));
    assert_eq!(spec["drift"], "repair");
    assert_eq!(
        spec["buckets"][0]["upload_origins"],
        json!(["https://shop.example.com"])
    );
    let page = browser.get(&first.location).await;
    for says in [
        "Succeeded",
        "iam:user/acme-shop",
        "iam:CreateUser",
        "Claim the secret",
    ] {
        assert!(page.text.contains(says), "{says}: {}", page.text);
    }

    // The secret is in the answer to the POST, and nowhere else.
    let key = job["result"]["access_key_id"].as_str().unwrap();
    let claim = format!("/console/apps/acme-shop/keys/{key}/claim");
    let asked = browser.get(&claim).await;
    assert!(!asked.text.contains("AWS_SECRET_ACCESS_KEY"));
    let claimed = submit(&browser, &claim, &[("idempotency_key", "claim-1")]).await;
    assert_eq!(claimed.headers["cache-control"], "no-store");
    let secret = claimed
        .text
        .split("AWS_SECRET_ACCESS_KEY=")
        .nth(1)
        .expect("the secret");
    let secret = secret.lines().next().unwrap().replace("&#39;", "");
    assert!(secret.len() > 20, "{secret}");
    let repeated = submit(&browser, &claim, &[("idempotency_key", "claim-1")]).await;
    assert_eq!(
        repeated.status, 200,
        "an answer that was lost can be asked for again"
    );
    let late = submit(&browser, &claim, &[("idempotency_key", "claim-2")]).await;
    assert_eq!(late.status, 410);
    let admin = console.signed_in("admins").await;
    let places = [
        "/console",
        "/console/apps/acme-shop",
        "/console/apps/acme-shop/keys",
        "/console/audit",
        &first.location,
        &claim,
    ];
    for path in places {
        assert!(!admin.get(path).await.text.contains(&secret), "{path}");
    }

    let job = ended(
        &console,
        &submit(&browser, "/console/apps/acme-shop/rotate", &[]).await,
    )
    .await;
    assert_eq!(
        (&job["kind"], &job["state"]),
        (&json!("rotate"), &json!("succeeded"))
    );
    let page = browser.get("/console/apps/acme-shop/keys").await;
    assert!(
        page.text.contains("Awaiting the claim") && page.text.contains("Roll back to"),
        "{}",
        page.text
    );
    ended(
        &console,
        &submit(&browser, "/console/apps/acme-shop/rollback", &[]).await,
    )
    .await;

    let checked = submit(&browser, "/console/apps/acme-shop/drift", &[]).await;
    assert_eq!(
        checked.location,
        "/console/apps/acme-shop?notice=checked#drift"
    );
    assert!(
        browser
            .get("/console/apps/acme-shop?notice=checked")
            .await
            .text
            .contains("AWS matches the spec")
    );
    ended(
        &console,
        &submit(&browser, "/console/apps/acme-shop/repair", &[]).await,
    )
    .await;

    let app = console.server.json("/v1/apps/acme-shop").await;
    let mut changed = app["spec"].clone();
    changed["protected"] = json!(false);
    changed["tags"] = json!({"team": "shop"});
    let (spec, version) = (changed.to_string(), app["version"].to_string());
    let form = [("spec", spec.as_str()), ("version", version.as_str())];
    let planned = submit(&browser, "/console/apps/acme-shop/change", &form).await;
    assert!(planned.text.contains("to change"), "{}", planned.text);
    let form = [
        ("spec", spec.as_str()),
        ("version", version.as_str()),
        ("do", "change"),
    ];
    ended(
        &console,
        &submit(&browser, "/console/apps/acme-shop/change", &form).await,
    )
    .await;
    let stale = submit(&browser, "/console/apps/acme-shop/change", &form).await;
    assert_eq!(stale.status, 412, "{}", stale.text);

    let page = browser.get("/console/apps/acme-shop/remove").await;
    assert!(
        page.text.contains("acme-shop-media") && page.text.contains("quarantine"),
        "{}",
        page.text
    );
    let unconfirmed = submit(
        &browser,
        "/console/apps/acme-shop/remove",
        &[("do", "remove"), ("confirm", "acme")],
    )
    .await;
    assert_eq!(unconfirmed.status, 400);
    let form = [
        ("do", "remove"),
        ("confirm", "acme-shop"),
        ("quarantine", "2d"),
    ];
    let job = ended(
        &console,
        &submit(&browser, "/console/apps/acme-shop/remove", &form).await,
    )
    .await;
    assert_eq!(job["state"], "succeeded");
    assert!(
        browser
            .get("/console/apps/acme-shop")
            .await
            .text
            .contains("The app is being removed")
    );
    let job = ended(
        &console,
        &submit(&browser, "/console/apps/acme-shop/restore", &[]).await,
    )
    .await;
    assert_eq!(job["state"], "succeeded");
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_only_to_who_has_just_signed_in() {
    let console = Console::start().await;
    let job = console.onboard("acme").await;
    let browser = console.signed_in("operators").await;
    console.setup.clock.advance(Duration::from_secs(600));
    let key = job["result"]["access_key_id"].as_str().unwrap();
    let claim = format!("/console/apps/acme/keys/{key}/claim");
    for page in [
        browser.get(&claim).await,
        submit(&browser, &claim, &[]).await,
    ] {
        assert!(
            page.text
                .contains("/auth/login?return_to=/console/apps/acme/keys/"),
            "{}",
            page.text
        );
        assert!(page.text.contains("fresh=true") && !page.text.contains("AWS_SECRET"));
    }
    let keys = console.server.json("/v1/apps/acme/credentials").await;
    assert_eq!(keys["items"][0]["secret"], "unclaimed");
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_person_approves_the_plan_that_the_page_shows() {
    let console =
        Console::with(|setup| setup.settings.approvals.job_kinds = vec![JobKind::Onboard]).await;
    let requester = console.signed_in_as("ana", "approvers").await;
    let asked = submit(&requester, "/console/onboard", &[("name", "acme")]).await;
    let page = requester.get(&asked.location).await;
    assert!(
        page.text.contains("Plan to approve") && page.text.contains("create user acme"),
        "{}",
        page.text
    );
    let digest = page
        .text
        .split("name=\"plan_digest\" value=\"")
        .nth(1)
        .unwrap();
    let digest = digest.split('"').next().unwrap().to_owned();
    let approve = format!("{}/approve", asked.location);
    let own = submit(&requester, &approve, &[("plan_digest", &digest)]).await;
    assert_eq!(own.status, 403);
    let operator = console.signed_in("operators").await;
    assert!(
        operator
            .get(&asked.location)
            .await
            .text
            .contains("you need the role approver")
    );
    assert_eq!(
        submit(&operator, &approve, &[("plan_digest", &digest)])
            .await
            .status,
        403
    );
    let other = console.signed_in_as("ben", "approvers").await;
    assert!(
        other
            .get("/console/approvals")
            .await
            .text
            .contains(&asked.location)
    );
    assert!(
        other
            .get("/console")
            .await
            .text
            .contains("awaits an approval")
    );
    let stale = submit(&other, &approve, &[("plan_digest", &"0".repeat(64))]).await;
    assert_eq!(stale.status, 409);
    let fields = [
        ("plan_digest", digest.as_str()),
        ("comment", "Agreed <b>now</b>"),
    ];
    let approved = submit(&other, &approve, &fields).await;
    assert_eq!(ended(&console, &approved).await["state"], "succeeded");
    let page = other.get(&asked.location).await;
    assert!(page.text.contains("Agreed &#60;b&#62;now"), "{}", page.text);

    let asked = submit(&requester, "/console/onboard", &[("name", "acme-two")]).await;
    let rejected = submit(
        &other,
        &format!("{}/reject", asked.location),
        &[("comment", "No")],
    )
    .await;
    assert_eq!(ended(&console, &rejected).await["state"], "canceled");
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_manage_access_and_accounts() {
    let console = Console::start().await;
    let admin = console.signed_in("admins").await;
    let fields = [
        ("name", "bot"),
        ("role", "operator"),
        ("scope_apps", "acme-*, beta"),
        ("expires_in", "90d"),
    ];
    let created = submit(&admin, "/console/access/tokens", &fields).await;
    assert!(
        created.status == 200 && created.text.contains("slipway_"),
        "{}",
        created.text
    );
    let tokens = console.server.json("/v1/tokens").await;
    let token = &tokens["items"][0];
    assert_eq!(token["scope"], json!({"apps": ["acme-*", "beta"]}));
    assert!(
        !admin.get("/console/access").await.text.contains("slipway_"),
        "a token is shown once"
    );
    let invalid = submit(
        &admin,
        "/console/access/tokens",
        &[("name", "bot"), ("role", "king")],
    )
    .await;
    assert!(
        invalid.status == 422 && invalid.text.contains("must be viewer"),
        "{}",
        invalid.text
    );
    let revoke = format!(
        "/console/access/tokens/{}/revoke",
        token["id"].as_str().unwrap()
    );
    assert_eq!(
        submit(&admin, &revoke, &[]).await.location,
        "/console/access?notice=revoked"
    );

    let rule = [
        ("name", "shop"),
        ("issuer", "https://token.actions.githubusercontent.com"),
        ("audience", "slipway"),
        ("role", "operator"),
        (
            "claims",
            "repository_id=77\nrepository_owner_id=7\nenvironment=production",
        ),
    ];
    let created = submit(&admin, "/console/access/rules", &rule).await;
    assert_eq!(
        created.location, "/console/access?notice=created",
        "{}",
        created.text
    );
    let rules = console.server.json("/v1/trust-rules").await;
    let delete = format!(
        "/console/access/rules/{}/delete",
        rules["items"][0]["id"].as_str().unwrap()
    );
    assert_eq!(
        submit(&admin, &delete, &[]).await.location,
        "/console/access?notice=deleted"
    );

    let account = [
        ("name", "acme"),
        ("account_id", "222222222222"),
        ("role_arn", "arn:aws:iam::222222222222:role/SlipwayAccess"),
    ];
    let registered = submit(&admin, "/console/accounts", &account).await;
    assert_eq!(
        registered.location, "/console/accounts/acme?notice=registered",
        "{}",
        registered.text
    );
    let page = admin.get("/console/accounts/acme").await;
    assert!(
        page.text.contains("aws iam create-role") && page.text.contains("slipway-"),
        "{}",
        page.text
    );
    let verified = submit(&admin, "/console/accounts/acme/verify", &[]).await;
    assert!(
        verified.text.contains("assume_role") && verified.text.contains("Unreachable"),
        "{}",
        verified.text
    );
    assert!(
        admin
            .get("/console")
            .await
            .text
            .contains("/console/accounts/acme"),
        "an unreachable account needs a person"
    );
    let deleted = submit(
        &admin,
        "/console/accounts/acme/delete",
        &[("confirm", "acme")],
    )
    .await;
    assert_eq!(deleted.location, "/console/accounts?notice=deleted");

    let sessions = admin.get("/console/sessions").await;
    assert!(sessions.text.contains("this browser"), "{}", sessions.text);
    let id = sessions.text.split("/console/sessions/").nth(1).unwrap();
    let path = format!("/console/sessions/{}", id.split('"').next().unwrap());
    assert_eq!(submit(&admin, &path, &[]).await.status, 303);
    assert_eq!(admin.get("/console").await.status, 303, "is signed out");
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_change_nothing() {
    let console = Console::start().await;
    console.onboard("acme").await;
    let browser = console.signed_in("admins").await;
    for headers in [
        [
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://evil.example"),
        ],
        [("sec-fetch-site", "same-site"), ("origin", "null")],
    ] {
        let mut request = browser
            .request(Method::POST, "/console/apps/acme/rotate")
            .header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        assert_eq!(browser.send(request).await.status, 403);
    }
    let jobs = console.server.json("/v1/jobs?app=acme").await;
    assert_eq!(
        jobs["items"].as_array().unwrap().len(),
        1,
        "the onboarding alone"
    );
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_jobs_are_retried_and_canceled_at_once() {
    let console =
        Console::with(|setup| setup.settings.approvals.job_kinds = vec![JobKind::Onboard]).await;
    let browser = console.signed_in("operators").await;
    let mut ids = Vec::new();
    for name in ["acme-1", "acme-2"] {
        let asked = submit(&browser, "/console/onboard", &[("name", name)]).await;
        ids.push(
            asked
                .location
                .strip_prefix("/console/jobs/")
                .unwrap()
                .to_owned(),
        );
    }
    let bulk = |action: &'static str| {
        [
            ("do".to_owned(), action.to_owned()),
            ("job".to_owned(), ids[0].clone()),
            ("job".to_owned(), ids[1].clone()),
        ]
    };
    let fields = bulk("cancel");
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let canceled = submit(&browser, "/console/jobs/bulk", &fields).await;
    assert_eq!(canceled.location, "/console/jobs?notice=bulk-done");
    for id in &ids {
        assert_eq!(
            console.server.json(&format!("/v1/jobs/{id}")).await["state"],
            "canceled"
        );
    }
    // What was not approved cannot be retried.
    let fields = bulk("retry");
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let retried = submit(&browser, "/console/jobs/bulk", &fields).await;
    assert_eq!(retried.location, "/console/jobs?notice=bulk-partly");
    let viewer = console.signed_in("viewers").await;
    assert_eq!(
        submit(&viewer, "/console/jobs/bulk", &fields).await.status,
        403
    );
    console.stop().await;
}
