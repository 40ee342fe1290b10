//! Every page: for whom it is there, what it holds, and what it never holds.

use std::time::Duration;

use regex::Regex;
use reqwest::Method;
use serde_json::json;

use super::{Console, submit};
use crate::support::sign_in::Page;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// A page for people: never stored, and without a script or a style of its own.
pub fn require_page(path: &str, page: &Page) {
    let header = |name: &str| page.headers[name].to_str().unwrap();
    assert_eq!(header("content-type"), "text/html; charset=utf-8", "{path}");
    assert_eq!(header("cache-control"), "no-store", "{path}");
    assert_eq!(header("content-security-policy"), POLICY, "{path}");
    assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
    let inline = Regex::new(r#"(?i)<script>|<style|<[^>]* style=|<[^>]* on[a-z]+="#).unwrap();
    let found = inline.find(&page.text).map(|found| found.as_str());
    assert_eq!(found, None, "{path}");
    assert!(
        !page.text.contains("http://") && !page.text.contains("src=\"https"),
        "{path}: {}",
        page.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_opens_the_pages_that_are_for_it() {
    let console = Console::start().await;
    let job = console.onboard("acme-shop").await;
    let (id, key) = (
        job["id"].as_str().unwrap(),
        job["result"]["access_key_id"].as_str().unwrap(),
    );
    let job_page = format!("/console/jobs/{id}");
    let claim = format!("/console/apps/acme-shop/keys/{key}/claim");
    // Each with the roles that cannot open it.
    let pages: [(&str, &[&str]); 19] = [
        ("/console", &[]),
        ("/console/apps", &[]),
        ("/console/apps?q=acme&state=ready&drifted=false", &[]),
        ("/console/apps/acme-shop", &[]),
        ("/console/apps/acme-shop/keys", &[]),
        ("/console/onboard", &["viewers"]),
        ("/console/apps/acme-shop/change", &["viewers"]),
        ("/console/apps/acme-shop/remove", &["viewers"]),
        (&claim, &["viewers"]),
        ("/console/jobs", &[]),
        (
            "/console/jobs?state=succeeded&kind=onboard&app=acme-shop",
            &[],
        ),
        (&job_page, &[]),
        ("/console/approvals", &[]),
        ("/console/accounts", &[]),
        ("/console/accounts/default", &[]),
        ("/console/access", &["viewers", "operators", "approvers"]),
        ("/console/webhooks", &["viewers", "operators", "approvers"]),
        ("/console/hooks", &["viewers", "operators", "approvers"]),
        ("/console/audit", &["viewers", "operators", "approvers"]),
    ];
    for group in ["viewers", "operators", "approvers", "admins"] {
        let browser = console.signed_in(group).await;
        for (path, refused) in pages {
            let page = browser.get(path).await;
            let expected = if refused.contains(&group) { 403 } else { 200 };
            assert_eq!(page.status, expected, "{group} {path}: {}", page.text);
            require_page(path, &page);
        }
        for path in ["/console/audit?app=acme-shop", "/console/sessions"] {
            assert_eq!(browser.get(path).await.status, 200, "{group} {path}");
        }
        let export = browser
            .get("/console/apps/acme-shop/export?format=dotenv")
            .await;
        assert!(
            export.headers["content-disposition"]
                .to_str()
                .unwrap()
                .contains(".env")
        );
        let missing = browser.get("/console/apps/nobody").await;
        assert_eq!(missing.status, 404);
        require_page("404", &missing);
    }
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_signed_in_is_sent_to_the_sign_in_and_back() {
    let console = Console::start().await;
    let stranger = crate::support::sign_in::Browser::new(&console.server.url);
    let page = stranger.get("/console/apps?q=a%20b").await;
    assert_eq!(page.status, 303);
    assert_eq!(
        page.location,
        "/auth/login?return_to=%2Fconsole%2Fapps%3Fq%3Da%2520b".replace("%2F", "/")
    );
    let page = stranger.get("/").await;
    assert_eq!((page.status, page.location.as_str()), (307, "/console"));
    let page = submit(&stranger, "/console/onboard", &[("name", "acme")]).await;
    assert_eq!(page.status, 401);
    assert!(page.text.contains("Your session has ended"));
    require_page("401", &page);
    // The page's script loads the page again, which leads to the sign-in.
    let request = stranger
        .request(Method::GET, "/console")
        .header("hx-request", "true");
    let page = stranger.send(request).await;
    assert_eq!(
        (page.status, page.headers["hx-refresh"].to_str().unwrap()),
        (401, "true")
    );
    console.stop().await;

    let console = Console::with(|setup| setup.settings.sign_in = None).await;
    let stranger = crate::support::sign_in::Browser::new(&console.server.url);
    let page = stranger.get("/console").await;
    assert_eq!(page.status, 503);
    assert!(
        page.text.contains("Sign-in is not configured") && page.text.contains("/auth/callback")
    );
    require_page("503", &page);
    assert_eq!(stranger.get("/").await.location, "/docs");
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_holds_on_every_page() {
    let console = Console::start().await;
    console.onboard("acme-shop").await;
    let job = console.onboard("other-shop").await;
    let id = job["id"].as_str().unwrap();
    let browser = console.signed_in("acme").await;
    for path in [
        "/console",
        "/console/apps",
        "/console/jobs",
        "/console/approvals",
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, 200);
        assert!(!page.text.contains("other-shop"), "{path}: {}", page.text);
    }
    let job_page = format!("/console/jobs/{id}");
    let live = format!("/console/jobs/{id}/live");
    let hidden = [
        "/console/apps/other-shop",
        "/console/apps/other-shop/keys",
        "/console/apps/other-shop/change",
        "/console/apps/other-shop/remove",
        "/console/apps/other-shop/export?format=dotenv",
        "/console/audit?app=other-shop",
        &job_page,
        &live,
    ];
    for path in hidden {
        assert_eq!(browser.get(path).await.status, 404, "{path}");
    }
    for action in [
        "repair", "drift", "restore", "rotate", "rollback", "remove", "change",
    ] {
        let page = submit(&browser, &format!("/console/apps/other-shop/{action}"), &[]).await;
        assert_eq!(page.status, 404, "{action}");
    }
    let bulk = submit(
        &browser,
        "/console/jobs/bulk",
        &[("do", "cancel"), ("job", id)],
    )
    .await;
    assert_eq!(bulk.status, 404);
    let page = submit(&browser, "/console/onboard", &[("name", "other-two")]).await;
    assert_eq!(page.status, 403, "{}", page.text);
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_written_is_text_and_nothing_else() {
    let console = Console::start().await;
    let hostile = r#"<img src=x onerror=alert(1)>"'"#;
    let body = json!({"name": hostile, "role": "admin"});
    let created = console.server.post("/v1/tokens", &body).await;
    let created: serde_json::Value = created.json().await.unwrap();
    let token = created["token"].as_str().unwrap();
    let request = console
        .server
        .anonymous(Method::POST, "/v1/apps")
        .bearer_auth(token);
    let job: serde_json::Value = request
        .json(&json!({"name": "acme"}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let id = job["id"].as_str().unwrap_or_else(|| panic!("{job}"));
    console.server.wait(id).await;
    let browser = console.signed_in("admins").await;
    let job_page = format!("/console/jobs/{id}");
    let pages = [
        "/console/apps/acme",
        "/console/audit",
        "/console/access",
        "/console/jobs",
        &job_page,
        "/console/apps?q=%3Cimg%20src%3Dx%20onerror%3D1%3E%22%27",
        "/console/audit?actor=%3Cimg%20src%3Dx%20onerror%3D1%3E%22%27",
        "/console/jobs?app=%3Cimg%20src%3Dx%20onerror%3D1%3E",
        "/console/apps?unknown=%3Cimg%20src%3Dx%20onerror%3D1%3E",
        "/console/apps/%3Cimg%20src%3Dx%20onerror%3D1%3E",
    ];
    for path in pages {
        let page = browser.get(path).await;
        assert!(!page.text.contains("<img"), "{path}: {}", page.text);
    }
    let fields = [
        ("name", hostile),
        ("buckets", "</textarea><img src=x>"),
        ("more", "<img>"),
    ];
    for path in ["/console/onboard", "/console/onboard/plan"] {
        let page = submit(&browser, path, &fields).await;
        assert!(!page.text.contains("<img"), "{}", page.text);
        assert!(page.text.contains("&#60;img") || page.text.contains("&lt;img"));
    }
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_fifty_apps_is_small() {
    let console = Console::start().await;
    for n in 0..51 {
        let body = json!({"name": format!("app-{n:02}-with-a-name-of-usual-length"), "buckets": [], "repositories": [], "access_key": false});
        let response = console.server.post("/v1/apps", &body).await;
        assert_eq!(response.status(), 202);
    }
    let browser = console.signed_in("viewers").await;
    let page = browser.get("/console/apps").await;
    assert_eq!(
        page.text.matches("<tr>").count(),
        51,
        "the head and fifty apps"
    );
    assert!(page.text.len() <= 50_000, "{} bytes", page.text.len());
    let next = page
        .text
        .split("rel=\"next\" href=\"")
        .nth(1)
        .expect("another page");
    let next = next.split('"').next().unwrap().replace("&#38;", "&");
    let page = browser.get(&next).await;
    assert_eq!(page.text.matches("<tr>").count(), 2);
    for n in 0..51 {
        let app = format!("app-{n:02}-with-a-name-of-usual-length");
        let jobs = console.server.json(&format!("/v1/jobs?app={app}")).await;
        console
            .server
            .wait(jobs["items"][0]["id"].as_str().unwrap())
            .await;
    }
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_kept_for_good_under_names_with_a_hash() {
    let console = Console::start().await;
    let browser = console.signed_in("viewers").await;
    let page = browser.get("/console").await;
    let files = Regex::new(r#"/console/assets/[^"]+"#).unwrap();
    let files: Vec<&str> = files
        .find_iter(&page.text)
        .map(|found| found.as_str())
        .collect();
    assert_eq!(files.len(), 5, "{files:?}");
    for path in files {
        let file = browser.get(path).await;
        assert_eq!(file.status, 200, "{path}");
        assert!(
            file.headers["cache-control"]
                .to_str()
                .unwrap()
                .contains("immutable")
        );
    }
    assert_eq!(
        browser
            .get("/console/assets/console-000000000000.css")
            .await
            .status,
        404
    );
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_a_job_brings_its_present_state_and_its_end() {
    let console = Console::start().await;
    let job = console.onboard("acme").await;
    let browser = console.signed_in("viewers").await;
    let path = format!("/console/jobs/{}/live", job["id"].as_str().unwrap());
    let stream = tokio::time::timeout(Duration::from_secs(10), browser.get(&path)).await;
    let stream = stream.expect("a stream that ends");
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    assert!(stream.text.contains("event: done"), "{}", stream.text);
    console.stop().await;
}
