//! Webhooks, and the deliveries of incoming ones, by forms alone.

use std::time::Duration;

use serde_json::json;
use slipway::domain::hooks::event::{EventKind, Repository, RepositoryEvent};
use slipway::domain::hooks::rule::ForgeSettings;
use slipway::domain::scope::Scope;
use slipway::store::NewHookDelivery;

use super::pages::require_page;
use super::{Console, submit};
use crate::support::sign_in::{Browser, Page};
use crate::webhooks::receiver::{Receiver, Reply};

const HOSTILE: &str = "<script>alert(1)</script>";

/// A service that may send to receivers on this machine, with an administrator whose scope is that of one prefix.
async fn console() -> Console {
    Console::with(|setup| {
        setup.settings.webhook_allow_http = true;
        setup.settings.webhook_allowed_cidrs = "127.0.0.0/8".to_owned().try_into().unwrap();
        setup.settings.hooks.github = Some(ForgeSettings::default());
        let sign_in = setup.settings.sign_in.as_mut().unwrap();
        let mut of_acme = sign_in.groups[0].clone();
        of_acme.group = "acme-admins".into();
        of_acme.scope = Scope::parse(&json!({"apps": ["acme-*"]}), "").unwrap();
        sign_in.groups.push(of_acme);
    })
    .await
}

/// The secret on a page that shows it.
fn secret(page: &Page) -> String {
    assert_eq!(page.status, 200, "{}", page.text);
    assert_eq!(page.headers["cache-control"], "no-store");
    let found = page.text.split("whsec_").nth(1).expect("a secret");
    format!("whsec_{}", found.split('<').next().unwrap())
}

/// The path of the page of the webhook that a page with its secret is about.
fn path_of(page: &Page) -> String {
    let id = page.text.split("/console/webhooks/").nth(1).unwrap();
    format!("/console/webhooks/{}", id.split('"').next().unwrap())
}

/// Waits until a page says something.
async fn says(browser: &Browser, path: &str, text: &str) -> Page {
    let mut page = browser.get(path).await;
    for _ in 0..400 {
        if page.text.contains(text) {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
        page = browser.get(path).await;
    }
    panic!("{path} does not say {text}: {}", page.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_creates_tests_replays_rotates_and_deletes_a_webhook() {
    let console = console().await;
    let receiver = Receiver::start([]).await;
    let admin = console.signed_in("admins").await;
    let list = "/console/webhooks";
    let invalid = submit(
        &admin,
        list,
        &[
            ("url", "ftp://x"),
            ("description", HOSTILE),
            ("events", "job.failed"),
        ],
    )
    .await;
    assert_eq!(invalid.status, 422);
    for says in [
        "<code>/url</code>",
        "value=\"ftp://x\"",
        "value=\"job.failed\" checked",
        "&#60;script&#62;",
    ] {
        assert!(invalid.text.contains(says), "{says}: {}", invalid.text);
    }
    assert!(!invalid.text.contains(HOSTILE));
    let form = [("url", receiver.url.as_str()), ("description", HOSTILE)];
    let created = submit(&admin, list, &form).await;
    let (first, path) = (secret(&created), path_of(&created));
    let api = path.replace("/console", "/v1");
    let page = admin.get(list).await;
    assert!(
        page.text.contains(&path) && page.text.contains("none yet"),
        "{}",
        page.text
    );

    let to = |action: &str| format!("{path}/{action}");
    let tested = submit(&admin, &to("test"), &[]).await;
    assert_eq!(tested.location, format!("{path}?notice=test-sent"));
    let received = receiver.wait_for(1).await;
    let page = says(&admin, &path, "Delivered</span>").await;
    let id = received[0].id().to_owned();
    for says in [&*id, "webhook.test", ", status 200"] {
        assert!(page.text.contains(says), "{says}: {}", page.text);
    }
    let page = admin.get(list).await;
    assert!(page.text.contains("Delivered"), "{}", page.text);
    for (filter, count) in [
        ("state=failed", 0),
        ("state=delivered&type=webhook.test", 1),
    ] {
        let page = admin.get(&format!("{path}?{filter}")).await;
        assert_eq!(
            page.text.matches("id=\"delivery-").count(),
            count,
            "{filter}"
        );
    }
    let replayed = submit(&admin, &to("replay"), &[("delivery", &id)]).await;
    assert_eq!(replayed.location, format!("{path}?notice=replayed"));
    assert_eq!(receiver.wait_for(2).await[1].id(), id);
    says(&admin, &path, "Delivered</span>").await;
    let long_ago = [("since", "2001-01-01T00:00"), ("until", "2001-01-02T00:00")];
    let nothing = submit(&admin, &to("replay"), &long_ago).await;
    assert_eq!(nothing.location, format!("{path}?notice=nothing-to-replay"));
    let since = submit(&admin, &to("replay"), &[("since", "2001-01-01T00:00")]).await;
    assert_eq!(since.location, format!("{path}?notice=replayed"));
    receiver.wait_for(3).await;
    assert_eq!(submit(&admin, &to("replay"), &[]).await.status, 422);

    let wrong = submit(&admin, &to("rotate"), &[("overlap", "soon")]).await;
    assert_eq!(wrong.status, 400, "{}", wrong.text);
    let rotated = submit(&admin, &to("rotate"), &[("overlap", "2d")]).await;
    // The same form again, as by a reload of its answer.
    let again = submit(&admin, &to("rotate"), &[("overlap", "2d")]).await;
    assert_eq!(again.status, 400);
    assert!(again.text.contains("rotated meanwhile"), "{}", again.text);
    let second = secret(&rotated);
    assert_ne!(first, second);
    assert!(rotated.text.contains("previous secret"), "{}", rotated.text);
    for path in [list, &path, "/console", "/console/audit"] {
        let page = admin.get(path).await;
        for secret in [&first, &second] {
            assert!(!page.text.contains(secret.as_str()), "{path}");
        }
        assert!(!page.text.contains("<script>"), "{path}: {}", page.text);
    }

    assert_eq!(submit(&admin, &to("delete"), &[]).await.status, 400);
    let deleted = submit(&admin, &to("delete"), &[("confirm", "true")]).await;
    assert_eq!(deleted.location, "/console/webhooks?notice=deleted");
    assert_eq!(admin.get(&path).await.status, 404);
    let gone = console.server.get(&api).await;
    assert_eq!(gone.status(), 404);
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_edited_disabled_and_enabled() {
    let console = console().await;
    let receiver = Receiver::start([]).await;
    let admin = console.signed_in("admins").await;
    let form = [
        ("url", receiver.url.as_str()),
        ("description", "Dashboard"),
        ("events", "job.failed"),
        ("events", "drift.detected"),
        ("scope_apps", "acme-*, beta"),
    ];
    let created = submit(&admin, "/console/webhooks", &form).await;
    let path = path_of(&created);
    let api = path.replace("/console", "/v1");
    let webhook = console.server.json(&api).await;
    assert_eq!(webhook["events"], json!(["job.failed", "drift.detected"]));
    assert_eq!(webhook["scope"], json!({"apps": ["acme-*", "beta"]}));
    let page = admin.get(&path).await;
    for says in [
        "value=\"Dashboard\"",
        "value=\"acme-*, beta\"",
        "value=\"drift.detected\" checked",
    ] {
        assert!(page.text.contains(says), "{says}: {}", page.text);
    }
    let wrong = submit(
        &admin,
        &path,
        &[("url", "nowhere"), ("events", "job.failed")],
    )
    .await;
    assert_eq!(wrong.status, 422);
    assert!(
        wrong.text.contains("value=\"nowhere\"") && wrong.text.contains("<code>/url</code>"),
        "{}",
        wrong.text
    );
    // What is empty is the default.
    let saved = submit(&admin, &path, &[("url", receiver.url.as_str())]).await;
    assert_eq!(saved.location, format!("{path}?notice=saved"));
    let webhook = console.server.json(&api).await;
    for field in ["description", "events", "scope"] {
        assert!(webhook[field].is_null(), "{webhook:#}");
    }

    let state = format!("{path}/state");
    let disabled = submit(&admin, &state, &[("to", "disabled")]).await;
    assert_eq!(disabled.location, format!("{path}?notice=disabled"));
    let page = admin.get(&path).await;
    assert!(
        page.text.contains("Disabled by request.") && !page.text.contains("/test\""),
        "{}",
        page.text
    );
    let refused = submit(&admin, &format!("{path}/test"), &[]).await;
    assert_eq!(refused.status, 409);
    let overview = admin.get("/console").await;
    assert!(
        !overview.text.contains(&path),
        "what somebody has disabled needs nobody"
    );
    let enabled = submit(&admin, &state, &[("to", "active")]).await;
    assert_eq!(enabled.location, format!("{path}?notice=enabled"));
    assert_eq!(console.server.json(&api).await["state"], "active");
    assert_eq!(
        submit(&admin, &state, &[("to", "asleep")]).await.status,
        400
    );

    for _ in 0..3 {
        submit(&admin, &format!("{path}/test"), &[]).await;
    }
    receiver.wait_for(3).await;
    let mut next = format!("{path}?limit=2");
    let mut seen = 0;
    for count in [2, 1] {
        let page = admin.get(&next).await;
        assert_eq!(page.text.matches("id=\"delivery-").count(), count);
        seen += count;
        if let Some(link) = page.text.split("rel=\"next\" href=\"").nth(1) {
            next = link.split('"').next().unwrap().replace("&#38;", "&");
        }
    }
    assert_eq!(seen, 3);
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_tells_of_webhooks_that_fail_for_long_or_were_disabled() {
    let console = console().await;
    let failing = Receiver::start(std::iter::repeat_n(Reply::Status(500), 100)).await;
    let gone = Receiver::start([Reply::Status(410)]).await;
    let admin = console.signed_in("admins").await;
    let mut paths = Vec::new();
    for receiver in [&failing, &gone] {
        let form = [("url", receiver.url.as_str())];
        let path = path_of(&submit(&admin, "/console/webhooks", &form).await);
        submit(&admin, &format!("{path}/test"), &[]).await;
        receiver.wait_for(1).await;
        paths.push(path);
    }
    says(&admin, &paths[0], "Failing</span>").await;
    says(&admin, &paths[1], "Disabled</span>").await;
    console.setup.clock.advance(Duration::from_secs(50 * 60));
    let admin = console.signed_in("admins").await;
    let overview = admin.get("/console").await;
    assert!(
        !overview.text.contains(&paths[0]),
        "it has not failed for long"
    );
    assert!(
        overview.text.contains(&paths[1]) && overview.text.contains("410 Gone"),
        "{}",
        overview.text
    );
    console.setup.clock.advance(Duration::from_secs(70 * 60));
    let admin = console.signed_in("admins").await;
    let overview = admin.get("/console").await;
    assert!(
        overview.text.contains(&paths[0]) && overview.text.contains("2 hours ago"),
        "{}",
        overview.text
    );
    let list = admin.get("/console/webhooks").await;
    assert!(list.text.contains("2 hours ago"), "{}", list.text);
    let approver = console.signed_in("approvers").await;
    let overview = approver.get("/console").await;
    assert!(!overview.text.contains("/console/webhooks"));
    console.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_for_admins_within_their_scope() {
    let console = console().await;
    let admin = console.signed_in("admins").await;
    let form = [("url", "https://hooks.example.com")];
    let path = path_of(&submit(&admin, "/console/webhooks", &form).await);
    for path in ["/console/webhooks", &path, "/console/hooks"] {
        require_page(path, &admin.get(path).await);
    }
    let actions = ["state", "test", "replay", "rotate", "delete"];
    let fields = [("to", "disabled"), ("confirm", "true")];
    for group in ["viewers", "operators", "approvers"] {
        let browser = console.signed_in(group).await;
        let home = browser.get("/console").await;
        assert!(!home.text.contains("/console/webhooks"), "{group}");
        for path in ["/console/webhooks", &path, "/console/hooks"] {
            assert_eq!(browser.get(path).await.status, 403, "{group} {path}");
        }
        for path in ["/console/webhooks", &path] {
            assert_eq!(submit(&browser, path, &form).await.status, 403, "{group}");
        }
        for action in actions {
            let refused = submit(&browser, &format!("{path}/{action}"), &fields).await;
            assert_eq!(refused.status, 403, "{group} {action}");
        }
    }

    let of_acme = console.signed_in("acme-admins").await;
    let list = of_acme.get("/console/webhooks").await;
    assert_eq!(list.status, 200);
    for hidden in [&path, "/console/hooks"] {
        assert!(!list.text.contains(hidden), "{}", list.text);
    }
    assert_eq!(of_acme.get(&path).await.status, 404);
    assert_eq!(submit(&of_acme, &path, &form).await.status, 404);
    for action in actions {
        let hidden = submit(&of_acme, &format!("{path}/{action}"), &fields).await;
        assert_eq!(hidden.status, 404, "{action}");
    }
    assert_eq!(of_acme.get("/console/hooks").await.status, 403);
    let wider = submit(&of_acme, "/console/webhooks", &form).await;
    assert_eq!(wider.status, 403, "{}", wider.text);
    let own = [form[0], ("scope_apps", "acme-*")];
    let own = path_of(&submit(&of_acme, "/console/webhooks", &own).await);
    assert!(of_acme.get("/console/webhooks").await.text.contains(&own));
    let state = console.server.json(&path.replace("/console", "/v1")).await;
    assert_eq!(state["state"], "active", "nothing was changed");
    console.stop().await;
}

/// A delivery of GitHub: a push to a repository, or what nothing follows from.
pub fn delivery(id: &str, repository: Option<&str>) -> NewHookDelivery {
    let event = |name: &str| RepositoryEvent {
        kind: EventKind::Pushed,
        repository: Repository {
            id: "7".into(),
            owner_id: None,
            full_name: name.into(),
        },
        commit: None,
    };
    NewHookDelivery {
        source: "github".into(),
        delivery_id: id.into(),
        body_digest: format!("the-digest-of-{id}"),
        event: repository.map(event),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_incoming_webhooks_are_listed_for_admins() {
    let console = console().await;
    let admin = console.signed_in("admins").await;
    let page = admin.get("/console/hooks").await;
    assert!(
        page.text.contains("No webhook was received"),
        "{}",
        page.text
    );
    let store = &console.server.service.store;
    for new in [
        delivery("first", None),
        delivery("second", Some(&format!("acme/{HOSTILE}"))),
    ] {
        store.receive_hook_delivery(new).await.unwrap();
    }
    // No rule is for the event any more, so it is refused.
    let page = says(&admin, "/console/hooks", "Failed</span>").await;
    for says in [
        "acme/&#60;script&#62;",
        "no rule for it any more",
        "Ignored</span>",
        ">first<",
        ">second<",
        "<option>github</option>",
    ] {
        assert!(page.text.contains(says), "{says}: {}", page.text);
    }
    assert!(!page.text.contains(HOSTILE) && !page.text.contains("the-digest-of"));
    let found = async |query: &str| {
        let page = admin.get(&format!("/console/hooks?{query}")).await;
        assert_eq!(page.status, 200, "{query}: {}", page.text);
        (
            page.text.contains(">first<"),
            page.text.contains(">second<"),
        )
    };
    assert_eq!(found("state=failed&source=github").await, (false, true));
    assert_eq!(found("state=ignored&source=").await, (true, false));
    assert_eq!(found("source=gitlab").await, (false, false));
    let page = admin.get("/console/hooks?limit=1").await;
    assert!(page.text.contains(">second<") && !page.text.contains(">first<"));
    let next = page.text.split("rel=\"next\" href=\"").nth(1).unwrap();
    let next = next.split('"').next().unwrap();
    let page = admin.get(next).await;
    assert!(page.text.contains(">first<") && !page.text.contains(">second<"));
    assert_eq!(admin.get("/console/hooks?state=lost").await.status, 400);

    let overview = admin.get("/console").await;
    assert!(
        overview.text.contains("Failed delivery") && !overview.text.contains(HOSTILE),
        "{}",
        overview.text
    );
    for group in ["approvers", "acme-admins"] {
        let overview = console.signed_in(group).await.get("/console").await;
        assert!(!overview.text.contains("Failed delivery"), "{group}");
    }
    console.setup.clock.advance(Duration::from_secs(25 * 3600));
    let admin = console.signed_in("admins").await;
    let overview = admin.get("/console").await;
    assert!(!overview.text.contains("Failed delivery"));
    console.stop().await;
}
