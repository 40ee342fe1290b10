//! The console in Chromium: everything works by keyboard, live, on a narrow screen, in the dark, for assistive technology and
//! without JavaScript, and no page complains.
//!
//! `SLIPWAY_TEST_SCREENSHOTS=docs/console` keeps pictures of the main pages.

use serde_json::json;
use slipway::domain::hooks::rule::ForgeSettings;

use super::webhooks::delivery as hook_delivery;
use super::{Console, submit};
use crate::aws::server::ACCOUNT;
use crate::support::browser::Chromium;
use crate::webhooks::receiver::Receiver;

const ENTER: &str = "\u{e007}";

async fn require_sound(browser: &Chromium, path: &str) {
    let complaints = browser.complaints().await;
    assert!(complaints.is_empty(), "{path}: {complaints:#?}");
    let findings = browser.axe().await;
    assert!(findings.is_empty(), "{path}: {findings:#?}");
}

/// Opens a page in both widths and both color schemes.
async fn look_at(browser: &Chromium, console: &Console, path: &str) {
    browser.resize(1200, 900).await;
    browser.dark(false).await;
    browser.open(&format!("{}{path}", console.server.url)).await;
    require_sound(browser, path).await;
    browser.dark(true).await;
    require_sound(browser, &format!("{path} in the dark")).await;
    browser.resize(375, 812).await;
    let wide = browser
        .script("return document.documentElement.scrollWidth > 375;")
        .await;
    let widest = browser
        .script("return [...document.querySelectorAll('main *')].filter(it => it.getBoundingClientRect().right > 376 && !it.closest('.panel, .graph, pre')).map(it => it.outerHTML.slice(0, 120));")
        .await;
    assert_eq!(
        wide,
        json!(false),
        "{path} is wider than the screen: {widest:#}"
    );
    browser.dark(false).await;
    browser.resize(1200, 900).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_work_in_a_browser() {
    let console = Console::with(|setup| {
        let kind = slipway::domain::job_kind::JobKind::Repair;
        setup.settings.approvals.job_kinds = vec![kind];
    })
    .await;
    console.onboard("billing").await;
    console.onboard("photos").await;
    let operator = console.signed_in("operators").await;
    let awaiting = submit(&operator, "/console/apps/photos/repair", &[])
        .await
        .location;
    let ana = json!({"sub": "ana", "name": "Ana Example", "email": "ana@example.com", "email_verified": true, "groups": ["admins"]});
    console.provider.person(ana);
    let browser = Chromium::start().await;
    let url = |path: &str| format!("{}{path}", console.server.url);

    browser.open(&url("/console/onboard")).await;
    browser.says("Enter a name to see the plan").await;
    // By keyboard alone: the plan appears, and Enter onboards.
    browser.keys("acme-shop").await;
    browser.says("to create").await;
    browser.picture("onboard").await;
    require_sound(&browser, "the plan").await;
    browser.keys(ENTER).await;
    browser.says("Onboard acme-shop").await;
    // Without a reload by hand.
    browser.says("Claim the secret").await;
    let job = browser
        .client
        .current_url()
        .await
        .unwrap()
        .path()
        .to_owned();
    browser.picture("job").await;
    require_sound(&browser, &job).await;

    let key = console.server.json("/v1/apps/acme-shop/credentials").await;
    let key = key["items"][0]["access_key_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let claim = format!("/console/apps/acme-shop/keys/{key}/claim");
    for path in [
        "/console",
        "/console/apps",
        "/console/apps/acme-shop",
        "/console/apps/acme-shop/change",
        "/console/apps/acme-shop/remove",
        "/console/onboard",
        "/console/jobs",
        &job,
        &awaiting,
        "/console/approvals",
        "/console/accounts",
        "/console/accounts/default",
        "/console/access",
        "/console/sessions",
        "/console/chat",
        "/console/audit",
        &claim,
    ] {
        look_at(&browser, &console, path).await;
    }
    for (path, name) in [
        ("/console", "overview"),
        ("/console/apps/acme-shop", "app"),
        (&awaiting, "approval"),
    ] {
        browser.open(&url(path)).await;
        browser.says("Slipway").await;
        browser.picture(name).await;
    }
    browser.dark(true).await;
    browser.open(&url("/console/apps")).await;
    browser.picture("apps-dark").await;
    browser.dark(false).await;

    // The keys come from AWS while the page is open.
    browser.open(&url("/console/apps/acme-shop")).await;
    browser.says("Active").await;
    // The secret is gone when one comes back to its page.
    browser.open(&url(&claim)).await;
    browser.click("main form button").await;
    browser.says("This page is shown once").await;
    let secret = browser
        .script("return document.getElementById('secret').value;")
        .await;
    assert!(secret.as_str().unwrap().contains("AWS_SECRET_ACCESS_KEY="));
    require_sound(&browser, "the secret").await;
    browser.open(&url("/console")).await;
    browser.client.back().await.unwrap();
    let shown = browser
        .script("return document.getElementById('secret')?.value ?? '';")
        .await;
    assert!(
        !shown.as_str().unwrap().contains("AWS_SECRET_ACCESS_KEY="),
        "{shown}"
    );
    browser.complaints().await;

    // Approve the job of another person.
    browser.open(&url(&awaiting)).await;
    browser.click("button.primary").await;
    browser.says("Succeeded").await;

    browser
        .devtools(
            "Emulation.setScriptExecutionDisabled",
            json!({"value": true}),
        )
        .await;
    browser.open(&url("/console/apps?q=bill")).await;
    browser.says("billing").await;
    browser.open(&url("/console/apps/billing")).await;
    browser.click("form[action$='/rotate'] button").await;
    browser.says("Rotate key billing").await;
    browser
        .devtools(
            "Emulation.setScriptExecutionDisabled",
            json!({"value": false}),
        )
        .await;
    let jobs = console.server.json("/v1/jobs?app=billing").await;
    console
        .server
        .wait(jobs["items"][0]["id"].as_str().unwrap())
        .await;

    browser.open(&url("/console")).await;
    browser.click(".who button").await;
    browser.says("signed out").await;
    browser.close().await;
    console.stop().await;
}

/// Shows a secret, and leaves its page: it is gone when one comes back.
async fn require_shown_once(browser: &Chromium, console: &Console, begins: &str) {
    browser.says("This page is shown once").await;
    let value = "return document.getElementById('secret')?.value ?? '';";
    let secret = browser.script(value).await;
    let secret = secret.as_str().unwrap().to_owned();
    assert!(secret.len() > 20 && secret.starts_with(begins), "{secret}");
    require_sound(browser, "the secret").await;
    browser
        .open(&format!("{}/console", console.server.url))
        .await;
    browser.client.back().await.unwrap();
    let shown = browser.script(value).await;
    assert_ne!(shown, json!(secret));
    browser.complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_set_up_an_account_and_webhooks_in_a_browser() {
    let console = Console::with(|setup| {
        setup.settings.webhook_allow_http = true;
        setup.settings.webhook_allowed_cidrs = "127.0.0.0/8".to_owned().try_into().unwrap();
        setup.settings.hooks.github = Some(ForgeSettings::default());
    })
    .await;
    let receiver = Receiver::start([]).await;
    let ana = json!({"sub": "ana", "name": "Ana Example", "email": "ana@example.com", "email_verified": true, "groups": ["admins"]});
    console.provider.person(ana);
    let browser = Chromium::start().await;
    let url = |path: &str| format!("{}{path}", console.server.url);

    let change = "/console/accounts/default/setup/change";
    browser.open(&url(change)).await;
    look_at(&browser, &console, change).await;
    // The plan appears as the text changes.
    let spec = json!({
        "alias": "the-customer",
        "groups": [
            {"name": "Leads", "policies": ["job-function/Billing", "ReadOnlyAccess"]},
            {"name": "Developers", "policies": ["ReadOnlyAccess"]},
        ],
        "people": [
            {"email": "ana@example.com", "groups": ["Leads", "Developers"]},
            {"email": "bo@example.com", "groups": ["Developers"]},
            {"email": "build@example.com", "groups": ["Developers"], "console": false},
        ],
        "password_policy": {"minimum_length": 14, "require_symbols": true},
        "billing": {"iam_access_attested_by": "Ana Silva"},
    });
    let text = json!(serde_json::to_string_pretty(&spec).unwrap());
    let enter = format!(
        "const it = document.getElementById('spec'); it.value = {text}; it.dispatchEvent(new Event('input', {{bubbles: true}}));"
    );
    browser.script(&enter).await;
    browser.says("create group Developers").await;
    require_sound(&browser, "the plan of a set-up").await;
    browser.click("button[value=apply]").await;
    // Without a reload by hand.
    browser.says("Claim the password").await;

    let account = "/console/accounts/default";
    let claim = "/console/accounts/default/setup/people/bo@example.com/claim";
    let created = console
        .server
        .post(
            "/v1/webhooks",
            &json!({"url": receiver.url, "description": "Dashboard of the shop team"}),
        )
        .await;
    let created: serde_json::Value = created.json().await.unwrap();
    let webhook = format!("/console/webhooks/{}", created["id"].as_str().unwrap());
    browser.open(&url(&webhook)).await;
    browser.click("form[action$='/test'] button").await;
    receiver.wait_for(1).await;
    // It comes while the page is open.
    browser.says("status 200").await;
    console.onboard("acme-shop").await;
    browser.says("app.onboarded acme-shop").await;
    for (path, name) in [(account, "set-up"), (&webhook, "webhook")] {
        browser.open(&url(path)).await;
        browser.says("Slipway").await;
        browser.picture(name).await;
    }
    // A set-up that has drifted, and deliveries of each kind.
    let alias = json!({"AccountAlias": "the-customer"});
    let owner = console.setup.aws.owner(ACCOUNT);
    owner.call("iam", "DeleteAccountAlias", alias).unwrap();
    let drift = "/v1/accounts/default/setup/drift";
    let checked = console.server.post(drift, &json!({})).await;
    assert_eq!(checked.status(), 200);
    let store = &console.server.service.store;
    for new in [
        hook_delivery("72d3162e-cc78-11e3-81ab-4c9367dc0958", None),
        hook_delivery("72d3162e-cc78-11e3-81ab-4c9367dc0959", Some("acme/shop")),
    ] {
        store.receive_hook_delivery(new).await.unwrap();
    }
    browser.open(&url("/console/hooks")).await;
    browser.says("no rule for it any more").await;
    browser.picture("incoming-webhooks").await;
    for path in [
        account,
        change,
        "/console/accounts/default/setup/repair",
        claim,
        "/console/audit?setup=default",
        "/console/webhooks",
        &webhook,
        "/console/hooks",
    ] {
        look_at(&browser, &console, path).await;
    }
    browser.open(&url(claim)).await;
    browser.click("main form button").await;
    require_shown_once(&browser, &console, "").await;
    browser.open(&url(&webhook)).await;
    browser
        .click("#manage ~ details:nth-of-type(2) summary")
        .await;
    browser.click("form[action$='/rotate'] button").await;
    require_shown_once(&browser, &console, "whsec_").await;

    browser
        .devtools(
            "Emulation.setScriptExecutionDisabled",
            json!({"value": true}),
        )
        .await;
    browser.open(&url(account)).await;
    browser.click("form[action$='/setup/repair'] button").await;
    browser.says("create account alias the-customer").await;
    browser.click("button[value=repair]").await;
    browser.says("Requested").await;
    let job = browser.client.current_url().await.unwrap();
    let job = job.path().strip_prefix("/console/jobs/").unwrap();
    console.server.wait(job).await;
    browser.open(&url(&webhook)).await;
    browser.click("form[action$='/state'] button").await;
    browser.says("Disabled by request").await;
    browser.close().await;
    console.stop().await;
}
