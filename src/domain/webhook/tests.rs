use serde_json::json;
use strum::IntoEnumIterator as _;

use super::*;

#[test]
fn the_types_of_events_are_those_of_the_contract() {
    let names: Vec<String> = EventType::iter().map(|kind| kind.to_string()).collect();
    assert_eq!(
        names,
        [
            "job.succeeded",
            "job.failed",
            "job.needs_attention",
            "job.awaiting_approval",
            "app.onboarded",
            "app.changed",
            "app.removed",
            "drift.detected",
            "key.created",
            "key.rotated",
            "key.unused",
            "key.expiring",
            "account.unreachable",
            "webhook.test",
        ]
    );
    for kind in EventType::iter() {
        assert_eq!(serde_json::to_value(kind).unwrap(), json!(kind.to_string()));
    }
}

#[test]
fn only_an_https_url_with_a_host_is_accepted() {
    for url in [
        "https://hooks.example.com",
        "https://hooks.example.com:8443/a/b?c=d",
        "https://8.8.8.8/x",
        "https://[2606:4700::1111]:443/",
    ] {
        assert_eq!(parse_url(url, false).unwrap(), url);
    }
    for url in [
        "",
        "hooks.example.com",
        "/relative",
        "http://hooks.example.com",
        "ftp://hooks.example.com",
        "file:///etc/passwd",
        "gopher://hooks.example.com/",
        "https://",
        "https:///path",
        "https://user@hooks.example.com",
        "https://user:secret@hooks.example.com",
        "https://hooks.example.com@169.254.169.254/",
        "https://hooks.example.com/#fragment",
        "https://hooks.example.com/a b",
        "https://hooks.example.com/\r\nHost: x",
        "https://hooks.example.com:",
        "https://hooks.example.com:99999",
        "https://hooks.example.com:0",
        "https://hooks.example.com:443x/",
        "https://höoks.example.com",
    ] {
        assert!(parse_url(url, false).is_err(), "{url}");
    }
    assert!(parse_url("http://127.0.0.1:1/", true).is_ok());
    assert!(parse_url(&format!("https://a/{}", "x".repeat(MAX_URL)), false).is_err());
}

#[test]
fn a_change_leaves_what_it_does_not_name_and_null_is_the_default() {
    let spec = WebhookSpec::parse(
        &json!({
            "url": "https://a.example", "description": "x", "events": ["job.failed"],
            "scope": {"apps": ["acme-*"]},
        }),
        false,
    )
    .unwrap();
    let change = |body: Value| WebhookChange::parse(&body, false);
    assert_eq!(change(json!({})).unwrap().apply(&spec), spec);
    let all = change(json!({"description": null, "events": null, "scope": null})).unwrap();
    let bare = WebhookSpec::parse(&json!({"url": "https://a.example"}), false).unwrap();
    assert_eq!(all.apply(&spec), bare);
    let moved = change(json!({"url": "https://b.example", "state": "active"})).unwrap();
    assert_eq!(moved.apply(&spec).url, "https://b.example");
    for (body, pointer) in [
        (json!({"url": null}), "/url"),
        (json!({"url": "http://a.example"}), "/url"),
        (json!({"state": "asleep"}), "/state"),
        (json!({"events": []}), "/events"),
        (json!({"events": ["job.done"]}), "/events/0"),
        (json!({"secret": "x"}), "/secret"),
        (json!([]), ""),
    ] {
        assert_eq!(
            change(body.clone()).unwrap_err()[0].pointer,
            pointer,
            "{body}"
        );
    }
}

#[test]
fn an_event_goes_to_a_webhook_whose_scope_covers_it() {
    let scope = |value: Value| Scope::parse(&value, "").unwrap();
    let event = |kind, app: Option<&str>, account: &str| WebhookEvent {
        id: Ulid::nil(),
        kind,
        at: Timestamp::from_millis(0),
        app: app.map(|app| AppName::parse(app).unwrap()),
        account: Some(AccountName::parse(account).unwrap()),
        job: None,
        access_key_id: None,
        webhook: None,
    };
    let (of_app, of_account) = (
        event(EventType::JobFailed, Some("acme-shop"), "prod"),
        event(EventType::AccountUnreachable, None, "prod"),
    );
    for (value, app, account) in [
        (json!({}), true, true),
        (json!({"apps": ["ACME-*"]}), true, true),
        (json!({"apps": ["other"]}), false, true),
        (json!({"accounts": ["prod"]}), true, true),
        (json!({"accounts": ["lab"]}), false, false),
        (
            json!({"apps": ["acme-*"], "accounts": ["lab"]}),
            false,
            false,
        ),
    ] {
        let goes = |event: &WebhookEvent| event.is_for(Ulid::nil(), None, &scope(value.clone()));
        assert_eq!(
            (goes(&of_app), goes(&of_account)),
            (app, account),
            "{value}"
        );
    }
    let others = BTreeSet::from([EventType::JobSucceeded]);
    assert!(!of_app.is_for(Ulid::nil(), Some(&others), &Scope::default()));
    let test = WebhookEvent {
        webhook: Some(Ulid::from_parts(1, 1)),
        ..event(EventType::WebhookTest, None, "prod")
    };
    assert!(test.is_for(
        Ulid::from_parts(1, 1),
        Some(&others),
        &scope(json!({"apps": ["x"]}))
    ));
    assert!(!test.is_for(Ulid::from_parts(1, 2), None, &Scope::default()));
}

#[test]
fn a_delivery_is_tried_ten_times_within_four_days() {
    let delays: Vec<Duration> = (1..=10).map_while(retry_delay).collect();
    assert_eq!(delays, RETRY_SCHEDULE);
    assert_eq!((retry_delay(0), retry_delay(10)), (None, None));
    assert!(delays.iter().sum::<Duration>() < MAX_FAILING);
}
