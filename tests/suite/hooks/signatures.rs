//! Who is believed.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::*;

const ALL: &str =
    "[hooks.github]\n[hooks.gitlab]\n[hooks.standard.ci]\nsecret_file = \"ci-secret\"\n";

fn ping() -> Value {
    json!({"zen": "Keep it logically awesome.", "n": fastrand::u64(..)})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_libraries_of_the_forges_sign_is_accepted_and_nothing_else() {
    let host = Host::new(ALL);
    let server = host.launch.serve().await;
    let other_type = json!({"type": "other", "n": fastrand::u64(..)});
    for sent in [
        github("ping", "1", &ping()),
        standard("/hooks/gitlab", "2", 0, &ping()),
        standard("/hooks/standard/ci", "3", 0, &other_type),
    ] {
        let is_github = sent.path == "/hooks/github";
        let flipped = |name: &str| {
            let value = &sent.headers.iter().find(|(known, _)| known == name);
            let mut value = value.unwrap().1.clone();
            let last = value.pop().unwrap();
            value.push(if last == '0' { '1' } else { '0' });
            sent.clone().header(name, &value)
        };
        let mut refused = vec![
            sent.clone().body(&format!("{} ", sent.body)),
            sent.clone().body(""),
        ];
        if is_github {
            let signature = "x-hub-signature-256";
            refused.push(sent.clone().without(signature));
            refused.push(flipped(signature));
            refused.push(
                sent.clone()
                    .without(signature)
                    .header("x-hub-signature", "sha1=00"),
            );
        } else {
            for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
                refused.push(sent.clone().without(name));
                refused.push(flipped(name));
            }
            // The token of the settings is no secret token: with a signing token, a signature is needed.
            let bare = sent.clone().without("webhook-signature");
            refused.push(bare.header("x-gitlab-token", STANDARD_SECRET));
            for age in [301 + 30, -301 - 30] {
                refused.push(standard(&sent.path, "4", age, &ping()));
            }
        }
        for (number, wrong) in refused.iter().enumerate() {
            let (status, problem) = send(&server, wrong).await;
            assert_eq!(status, 401, "{} {number}: {problem}", sent.path);
            assert_eq!(problem["code"], "unauthorized", "{problem}");
        }
        assert!(!accept(&server, &sent).await, "nothing follows from it");
        assert!(!accept(&server, &sent).await, "nor when it comes again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gitlabs_secret_token_is_accepted_where_there_is_no_signing_token() {
    let mut host = Host::new("[hooks.gitlab]\n");
    host.launch = host
        .launch
        .clone()
        .without("SLIPWAY_GITLAB_SIGNING_TOKEN")
        .with("SLIPWAY_GITLAB_WEBHOOK_TOKEN", "secret token");
    let server = host.launch.serve().await;
    let sent = standard("/hooks/gitlab", "1", 0, &ping())
        .header("x-gitlab-token", "secret token")
        .header("idempotency-key", "1");
    assert!(!accept(&server, &sent).await);
    for token in ["secret toke", "secret token2", ""] {
        let wrong = sent.clone().header("x-gitlab-token", token);
        assert_eq!(send(&server, &wrong).await.0, 401, "{token}");
    }
    assert_eq!(
        send(&server, &sent.clone().without("x-gitlab-token"))
            .await
            .0,
        401
    );
    let nameless = sent.without("idempotency-key");
    assert_eq!(send(&server, &nameless).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_settings_there_is_no_endpoint() {
    let host = Host::new("");
    let server = host.launch.serve().await;
    for sent in [
        github("ping", "1", &ping()),
        standard("/hooks/gitlab", "2", 0, &ping()),
        standard("/hooks/standard/ci", "3", 0, &ping()),
    ] {
        let (status, problem) = send(&server, &sent).await;
        assert_eq!((status, &problem["code"]), (404, &json!("not_found")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_delivery_is_refused() {
    let host = Host::new(ALL);
    let server = host.launch.serve().await;
    let signed = |body: &str| {
        let headers = signed(&json!({"kind": "github", "secret": GITHUB_SECRET, "body": body}));
        let sent = Sent {
            path: "/hooks/github".into(),
            headers,
            body: body.to_owned(),
        };
        sent.header("content-type", "application/json")
            .header("x-github-event", "push")
            .header("x-github-delivery", "1")
    };
    let odd = repository_event("created", 1, "a\u{7}b").to_string();
    for (sent, status) in [
        (signed("{"), 400),
        (signed("[]"), 400),
        (signed(&odd).header("x-github-event", "repository"), 400),
        (
            signed("{}").header("content-type", "application/x-www-form-urlencoded"),
            415,
        ),
        (signed("{}").without("x-github-delivery"), 400),
        (
            signed("{}").header("x-github-delivery", &"x".repeat(257)),
            400,
        ),
        (
            signed(&format!("{{\"x\": \"{}\"}}", "x".repeat(1024 * 1024))),
            413,
        ),
        (
            signed(&format!("{{\"x\": \"{}\"}}", "x".repeat(1000 * 1024))),
            202,
        ),
    ] {
        let (answered, problem) = send(&server, &sent).await;
        assert_eq!(answered, status, "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_allow_too_much_or_lack_a_secret_are_refused() {
    let rule = |rule: &str| {
        format!("[hooks.github]\n[[hooks.github.rules]]\napps = [\"acme-*\"]\n{rule}\n")
    };
    for (hooks, says) in [
        (
            "[hooks.standard.ci]\nsecret_file = \"nowhere\"\n".into(),
            "cannot read nowhere",
        ),
        (
            "[hooks.standard.ci]\nsecret_file = \"slipway.toml\"\n".into(),
            "secret_file must hold a secret",
        ),
        (
            "[hooks.github]\napi_url = \"http://github.example.com\"\n".into(),
            "api_url must be an https URL",
        ),
        (
            rule("events = [\"pushed\"]"),
            "needs repository_ids or owner_id",
        ),
        (
            rule("events = [\"pushed\"]\nowner_id = \"9919\""),
            "owner_id is for the event created alone",
        ),
        (
            rule("events = [\"created\"]\nowner_id = \"9919\""),
            "the event created needs a template",
        ),
        (
            rule("events = [\"created\"]\nowner_id = \"9919\"\ntemplate = { account = \"prod\" }"),
            "neither name nor account",
        ),
        (
            rule("events = []\nrepository_ids = [\"1\"]"),
            "events must name at least one",
        ),
        (
            rule("events = [\"deleted\"]\nrepository_ids = [\"1\"]"),
            "deleted",
        ),
    ] {
        let host = Host::new(&hooks);
        let (code, text) = host.launch.refusal().await;
        assert!(code != Some(0) && text.contains(says), "{hooks}: {text}");
    }
    let host = Host::new("[hooks.github]\n");
    let launch = host.launch.clone().without("SLIPWAY_GITHUB_WEBHOOK_SECRET");
    let (_, text) = launch.refusal().await;
    assert!(
        text.contains("[hooks.github] needs SLIPWAY_GITHUB_WEBHOOK_SECRET"),
        "{text}"
    );
}

/// Those whose body is under way at once.
const MAX_UNVERIFIED: usize = 256;

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_whose_sender_is_not_known_are_bounded() {
    let host = Host::new(ALL);
    let server = host.launch.serve().await;
    // More, one after another, than there may be at once: a delivery that is answered counts no more.
    let delivery = github("ping", "one", &ping());
    for _ in 0..MAX_UNVERIFIED + 10 {
        assert!(!accept(&server, &delivery).await);
    }
    let head = "POST /hooks/github HTTP/1.1\r\nhost: slipway\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let mut slow = Vec::new();
    let refused = loop {
        let (status, problem) = send(&server, &delivery).await;
        if status != 202 || slow.len() > MAX_UNVERIFIED {
            break (status, problem["code"].clone());
        }
        for _ in 0..MAX_UNVERIFIED / 4 + 1 {
            let mut stream = tokio::net::TcpStream::connect(server.address)
                .await
                .unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            slow.push(stream);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(refused, (503, json!("overloaded")));
    assert!(slow.len() >= MAX_UNVERIFIED, "{}", slow.len());
    // Other requests are answered, and deliveries again when the slow ones are gone.
    server.get("/v1/apps").await;
    drop(slow);
    let until = Instant::now() + PATIENCE;
    while send(&server, &delivery).await.0 != 202 {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
