//! The set-up of an account, by forms alone.

use std::time::Duration;

use serde_json::{Value, json};
use slipway::domain::scope::Scope;

use super::pages::require_page;
use super::{Console, ended, submit};
use crate::aws::server::ACCOUNT;
use crate::support::sign_in::{Browser, Page};

const PATH: &str = "/console/accounts/default";
const CLAIM: &str = "/console/accounts/default/setup/people/ana@example.com/claim";

/// A service where set-ups need no approval.
async fn console() -> Console {
    Console::with(|setup| setup.settings.approvals.administrator_access = false).await
}

fn spec() -> Value {
    json!({
        "alias": "the-customer",
        "groups": [{"name": "Leads", "policies": ["AdministratorAccess"]}],
        "people": [
            {"email": "ana@example.com", "groups": ["Leads"]},
            {"email": "build@example.com", "groups": ["Leads"], "console": false},
        ],
        "password_policy": {"minimum_length": 14, "require_symbols": true},
        "billing": {"iam_access_attested_by": "Ana <script>alert(1)</script>"},
    })
}

fn at(rest: &str) -> String {
    format!("{PATH}/setup/{rest}")
}

/// Sends the form of the set-up.
async fn change(browser: &Browser, spec: &Value, more: &[(&str, &str)]) -> Page {
    let spec = spec.to_string();
    let fields = [&[("spec", spec.as_str())], more].concat();
    submit(browser, &at("change"), &fields).await
}

/// Sets the account up by the API.
async fn set_up(console: &Console) {
    let request = console
        .server
        .request(reqwest::Method::PUT, "/v1/accounts/default/setup");
    let job: Value = request
        .json(&spec())
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let job = console.server.wait(job["id"].as_str().unwrap()).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
}

/// The value of a hidden field of a page.
fn hidden<'p>(page: &'p Page, name: &str) -> &'p str {
    let mark = format!("name=\"{name}\" value=\"");
    let found = page.text.split(&mark).nth(1);
    let found = found.unwrap_or_else(|| panic!("no {name}: {}", page.text));
    found.split('"').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_set_up_and_a_first_password_claimed() {
    let console = console().await;
    let admin = console.signed_in("admins").await;
    let page = admin.get(PATH).await;
    assert!(page.text.contains("not set up for people"), "{}", page.text);
    let form = admin.get(&at("change")).await;
    assert!(form.text.contains("&#34;people&#34;: []"), "{}", form.text);
    assert!(!form.text.contains("name=\"version\""));

    let planned = change(&admin, &spec(), &[("idempotency_key", "once")]).await;
    assert_eq!(planned.status, 200);
    for says in ["create group Leads", "Nothing is changed", "value=\"once\""] {
        assert!(planned.text.contains(says), "{says}: {}", planned.text);
    }
    assert!(!planned.text.contains("<script>"), "{}", planned.text);
    let broken = submit(&admin, &at("change"), &[("spec", "{"), ("do", "apply")]).await;
    assert_eq!(broken.status, 422);
    assert!(broken.text.contains("is not valid JSON"), "{}", broken.text);
    let wrong = change(&admin, &json!({"alias": "-"}), &[("do", "apply")]).await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.text.contains("<code>/alias</code>"), "{}", wrong.text);

    let apply = [("do", "apply"), ("idempotency_key", "once")];
    let first = change(&admin, &spec(), &apply).await;
    let again = change(&admin, &spec(), &apply).await;
    assert_eq!(
        first.location, again.location,
        "a form that is sent twice acts once"
    );
    let job = ended(&console, &first).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let job_page = admin.get(&first.location).await;
    assert!(job_page.text.contains(CLAIM), "{}", job_page.text);
    let page = admin.get(PATH).await;
    for says in [
        "the-customer",
        "Minimum length: 14",
        "Require symbols: yes",
        "AdministratorAccess",
        "no access to the console",
        "Ana &#60;script&#62;",
        "The root user of the account has no MFA device",
        "Not claimed",
        CLAIM,
    ] {
        assert!(page.text.contains(says), "{says}: {}", page.text);
    }
    assert!(!page.text.contains("<script>alert"));

    // The password is in the answer to the POST, and nowhere else.
    let aws = &console.setup.aws;
    let (password, _) = aws.console_password(ACCOUNT, "ana@example.com").unwrap();
    let shown = password.replace('&', "&#38;");
    assert!(!admin.get(CLAIM).await.text.contains(&shown));
    let claimed = submit(&admin, CLAIM, &[("idempotency_key", "claim-1")]).await;
    assert_eq!(claimed.headers["cache-control"], "no-store");
    assert!(claimed.text.contains(&shown), "{}", claimed.text);
    assert!(
        claimed
            .text
            .contains("https://the-customer.signin.aws.amazon.com/console")
    );
    let repeated = submit(&admin, CLAIM, &[("idempotency_key", "claim-1")]).await;
    assert_eq!(repeated.status, 200, "a lost answer can be asked for again");
    let late = submit(&admin, CLAIM, &[("idempotency_key", "claim-2")]).await;
    assert_eq!(late.status, 410);
    let history = "/console/audit?setup=default";
    for path in [
        "/console",
        PATH,
        history,
        "/console/audit",
        &first.location,
        CLAIM,
    ] {
        assert!(!admin.get(path).await.text.contains(&shown), "{path}");
    }
    let page = admin.get(PATH).await;
    assert!(
        page.text.contains("Claimed</span>") && !page.text.contains(CLAIM),
        "{}",
        page.text
    );
    let job_page = admin.get(&first.location).await;
    assert!(!job_page.text.contains(CLAIM), "{}", job_page.text);
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_is_checked_repaired_and_changed() {
    let console = console().await;
    set_up(&console).await;
    let admin = console.signed_in("admins").await;
    let operator = console.signed_in("operators").await;
    let checked = submit(&operator, &at("drift"), &[]).await;
    assert_eq!(checked.location, format!("{PATH}?notice=checked#drift"));
    let page = operator.get(PATH).await;
    assert!(
        page.text.contains("AWS matches the set-up"),
        "{}",
        page.text
    );

    let owner = console.setup.aws.owner(ACCOUNT);
    let alias = json!({"AccountAlias": "the-customer"});
    owner.call("iam", "DeleteAccountAlias", alias).unwrap();
    let asked = submit(&admin, &at("repair"), &[("do", "check")]).await;
    assert_eq!((asked.status, &asked.location), (303, &at("repair")));
    let page = admin.get(&asked.location).await;
    assert!(
        page.text.contains("AWS differs from the set-up")
            && page.text.contains("create account alias the-customer"),
        "{}",
        page.text
    );
    let repaired = submit(&admin, &at("repair"), &[("do", "repair")]).await;
    let job = ended(&console, &repaired).await;
    assert_eq!(
        (&job["kind"], &job["state"]),
        (&json!("repair"), &json!("succeeded")),
        "{job:#}"
    );

    let form = admin.get(&at("change")).await;
    let version = hidden(&form, "version").to_owned();
    let mut less = spec();
    less["people"].as_array_mut().unwrap().pop();
    let apply = [("do", "apply"), ("version", version.as_str())];
    let kept = ended(&console, &change(&admin, &less, &apply).await).await;
    assert_eq!(kept["state"], "succeeded", "{kept:#}");
    let page = admin.get(PATH).await;
    assert!(
        page.text.contains("Kept in AWS") && page.text.contains("iam:user/build@example.com"),
        "{}",
        page.text
    );
    let kept = [("do", "repair"), ("remove", "iam:user/build@example.com")];
    for confirm in [None, Some(("confirm", "another"))] {
        let fields: Vec<_> = kept.into_iter().chain(confirm).collect();
        let refused = submit(&admin, &at("repair"), &fields).await;
        assert_eq!(refused.status, 400, "{}", refused.text);
        assert!(
            refused.text.contains("the account&#39;s name"),
            "{}",
            refused.text
        );
    }
    for other in [&apply[..], &[("do", "apply")]] {
        let stale = change(&admin, &less, other).await;
        assert_eq!(stale.status, 412, "{}", stale.text);
    }

    let form = admin.get(&at("change")).await;
    let version = hidden(&form, "version").to_owned();
    let remove = [
        ("do", "apply"),
        ("version", version.as_str()),
        ("remove", "true"),
    ];
    let unconfirmed = change(&admin, &less, &remove).await;
    assert_eq!(unconfirmed.status, 422);
    assert!(
        unconfirmed.text.contains("must be default"),
        "{}",
        unconfirmed.text
    );
    let confirmed = [&remove[..], &[("confirm", "default")]].concat();
    let job = ended(&console, &change(&admin, &less, &confirmed).await).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let aws = console.setup.aws.snapshot(ACCOUNT);
    assert!(aws["users"]["build@example.com"].is_null(), "{aws:#}");
    assert!(aws["users"]["ana@example.com"].is_object(), "{aws:#}");

    // A repair removes what is selected, once the account's name is entered.
    let form = admin.get(&at("change")).await;
    let version = hidden(&form, "version").to_owned();
    less["people"].as_array_mut().unwrap().pop();
    let apply = [("do", "apply"), ("version", version.as_str())];
    ended(&console, &change(&admin, &less, &apply).await).await;
    submit(&admin, &at("repair"), &[("do", "check")]).await;
    let removal = [("do", "repair"), ("remove", "iam:user/ana@example.com")];
    let confirmed = [&removal[..], &[("confirm", "default")]].concat();
    let job = ended(&console, &submit(&admin, &at("repair"), &confirmed).await).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let aws = console.setup.aws.snapshot(ACCOUNT);
    assert!(aws["users"]["ana@example.com"].is_null(), "{aws:#}");
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_is_for_those_whose_role_and_scope_allow_it() {
    let console = Console::with(|setup| {
        setup.settings.approvals.administrator_access = false;
        let sign_in = setup.settings.sign_in.as_mut().unwrap();
        let mut of_north = sign_in.groups[0].clone();
        of_north.group = "north".into();
        of_north.scope = Scope::parse(&json!({"accounts": ["north"]}), "").unwrap();
        sign_in.groups.push(of_north);
    })
    .await;
    let admin = console.signed_in("admins").await;
    let none = admin.get("/console/audit?setup=default").await;
    assert_eq!(none.status, 404, "there is no set-up: {}", none.text);
    set_up(&console).await;
    let text = spec().to_string();
    let plan = [("spec", text.as_str())];
    let apply = [("spec", text.as_str()), ("do", "apply")];
    let (export, history) = (
        at("export?format=terraform"),
        "/console/audit?setup=default",
    );
    for group in ["viewers", "operators", "approvers"] {
        let browser = console.signed_in(group).await;
        for path in [PATH, history, &export] {
            let page = browser.get(path).await;
            assert_eq!(page.status, 200, "{group} {path}: {}", page.text);
        }
        let page = browser.get(PATH).await;
        for hidden in [&*at("change"), &at("repair"), CLAIM] {
            assert!(!page.text.contains(hidden), "{group} {hidden}");
        }
        let can_check = group != "viewers";
        assert_eq!(page.text.contains(&at("drift")), can_check, "{group}");
        for path in [&*at("change"), &at("repair"), CLAIM] {
            assert_eq!(browser.get(path).await.status, 403, "{group} {path}");
        }
        let planned = submit(&browser, &at("change"), &plan).await;
        assert_eq!(planned.status, 200, "{group}: {}", planned.text);
        for (path, fields) in [
            (&*at("change"), &apply[..]),
            (&at("repair"), &[]),
            (CLAIM, &[]),
        ] {
            let refused = submit(&browser, path, fields).await;
            assert_eq!(refused.status, 403, "{group} {path}: {}", refused.text);
        }
        let checked = submit(&browser, &at("drift"), &[]).await;
        assert_eq!(checked.status, if can_check { 303 } else { 403 }, "{group}");
    }
    for path in [PATH, history, &at("change"), &at("repair"), CLAIM] {
        let page = admin.get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text);
        require_page(path, &page);
    }
    let page = admin.get(history).await;
    assert!(
        page.text
            .contains("History of the set-up of account default")
            && page.text.contains("CreateGroup"),
        "{}",
        page.text
    );
    let some_apps = console.signed_in("acme").await;
    assert_eq!(some_apps.get(PATH).await.status, 200);
    for path in [at("drift"), at("change"), at("repair")] {
        let refused = submit(&some_apps, &path, &plan).await;
        assert_eq!(refused.status, 403, "{path}: {}", refused.text);
    }
    let elsewhere = console.signed_in("north").await;
    for path in [PATH, history, &export, &at("change"), &at("repair"), CLAIM] {
        assert_eq!(elsewhere.get(path).await.status, 404, "{path}");
    }
    for path in [&*at("drift"), &at("change"), &at("repair"), CLAIM] {
        assert_eq!(submit(&elsewhere, path, &apply).await.status, 404, "{path}");
    }
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_password_is_shown_only_to_who_has_just_signed_in() {
    let console = console().await;
    set_up(&console).await;
    let admin = console.signed_in("admins").await;
    console.setup.clock.advance(Duration::from_secs(600));
    let aws = &console.setup.aws;
    let (password, _) = aws.console_password(ACCOUNT, "ana@example.com").unwrap();
    let shown = password.replace('&', "&#38;");
    for page in [admin.get(CLAIM).await, submit(&admin, CLAIM, &[]).await] {
        assert!(
            page.text.contains("fresh=true")
                && page
                    .text
                    .contains("/auth/login?return_to=/console/accounts/default/setup/people/"),
            "{}",
            page.text
        );
        assert!(!page.text.contains(&shown));
    }
    let setup = console.server.json("/v1/accounts/default/setup").await;
    let claim = &setup["passwords"][0]["claim"];
    assert!(claim.is_string(), "it can still be claimed: {setup:#}");
    console.stop().await;
}
