//! Where webhooks may not be sent to, whatever their URL or the answer of a name server is.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::http::Uri;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::json;
use slipway::outbound::{AddressPolicy, Connector, Resolver};
use tower::ServiceExt as _;

use super::receiver::{Receiver, Reply};
use super::{change, create, deliveries, delivery, setup, test};
use crate::api::{idle, post};

/// Gives one answer after another, and the last one again and again.
struct Answers {
    addresses: Mutex<Vec<Vec<SocketAddr>>>,
    asked: AtomicUsize,
}

impl Answers {
    fn new(addresses: &[&[&str]]) -> Arc<Self> {
        let parse = |list: &&[&str]| list.iter().map(|it| it.parse().unwrap()).collect();
        Arc::new(Self {
            addresses: Mutex::new(addresses.iter().rev().map(parse).collect()),
            asked: AtomicUsize::new(0),
        })
    }
}

impl Resolver for Answers {
    fn resolve(&self, _: String, _: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut addresses = self.addresses.lock().unwrap();
        let answer = match addresses.len() {
            1 => addresses[0].clone(),
            _ => addresses.pop().unwrap(),
        };
        async move { Ok(answer) }.boxed()
    }
}

async fn connect(connector: &Connector, url: &str) -> Result<SocketAddr, String> {
    let stream = connector
        .clone()
        .oneshot(url.parse::<Uri>().unwrap())
        .await
        .map_err(|error| error.to_string())?;
    Ok(stream.inner().peer_addr().unwrap())
}

#[tokio::test]
async fn a_url_with_an_address_that_is_not_public_is_refused() {
    let mut setup = idle();
    setup.settings.webhook_allow_http = true;
    let server = setup.start().await;
    let made = create(&server, &json!({"url": "https://hooks.example.com/x"})).await;
    for host in [
        "127.0.0.1",
        "127.1.2.3:8080",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fd00:ec2::254]",
        "[fe80::1]",
    ] {
        for scheme in ["http", "https"] {
            let body = json!({"url": format!("{scheme}://{host}/latest/meta-data/")});
            for answer in [
                post(&server, "/v1/webhooks", &body).await,
                change(&server, &made, &body).await,
            ] {
                let problem = answer.problem(422, "invalid_fields");
                assert_eq!(problem["errors"][0]["pointer"], "/url", "{host}");
            }
        }
    }
    for url in [
        "ftp://hooks.example.com",
        "https://a@hooks.example.com",
        "https://a.example/#x",
    ] {
        let body = json!({"url": url});
        change(&server, &made, &body)
            .await
            .problem(422, "invalid_fields");
    }
    server.stop().await;
}

#[tokio::test]
async fn http_is_refused_unless_it_is_allowed() {
    let setup = idle();
    let server = setup.start().await;
    let body = json!({"url": "http://hooks.example.com/x"});
    post(&server, "/v1/webhooks", &body)
        .await
        .problem(422, "invalid_fields");
    server.stop().await;
}

#[tokio::test]
async fn the_address_that_is_checked_is_the_one_that_is_connected_to() {
    let receiver = Receiver::start([]).await;
    let local = receiver.url.strip_prefix("http://").unwrap();
    let local = local.strip_suffix("/hook").unwrap();
    let only = |cidr: &str| AddressPolicy::public_and(vec![cidr.parse().unwrap()]);
    let url = "http://rebinding.example:1/";

    // Of several addresses only those that are allowed are tried.
    let answers = Answers::new(&[&["10.0.0.1:1", local, "169.254.169.254:80"]]);
    let connector = Connector::new(only("127.0.0.1"), Some(answers.clone()));
    assert_eq!(connect(&connector, url).await.unwrap().to_string(), local);
    assert_eq!(answers.asked.load(Ordering::Relaxed), 1, "resolved once");

    // A name that leads elsewhere at the next connection is checked again.
    let answers = Answers::new(&[&[local], &["169.254.169.254:80"]]);
    let connector = Connector::new(only("127.0.0.1"), Some(answers));
    connect(&connector, url).await.unwrap();
    let refused = connect(&connector, url).await.unwrap_err();
    assert_eq!(refused, "169.254.169.254 is not a public address");

    for address in [
        "127.0.0.1:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
        "[fd00:ec2::254]:80",
    ] {
        let answers = Answers::new(&[&[address]]);
        let connector = Connector::new(AddressPolicy::public_and(Vec::new()), Some(answers));
        let refused = connect(&connector, url).await.unwrap_err();
        assert!(refused.contains("is not a public address"), "{refused}");
    }
    // Ways to write loopback that the system's resolver understands, and names.
    let connector = Connector::new(AddressPolicy::public_and(Vec::new()), None);
    for host in [
        "localhost",
        "2130706433",
        "127.1",
        "0x7f000001",
        "017700000001",
        "127.0.0.1",
        "[::1]",
    ] {
        let refused = connect(&connector, &format!("http://{host}:1/")).await;
        assert!(refused.is_err(), "{host}");
        assert!(
            !refused.unwrap_err().contains("refused (os error"),
            "{host} was connected to"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_turns_to_the_metadata_address_gets_no_request() {
    let receiver = Receiver::start([Reply::Status(500)]).await;
    let local = receiver.url.strip_prefix("http://").unwrap();
    let local = local.strip_suffix("/hook").unwrap();
    let mut setup = setup();
    setup.resolver = Some(Answers::new(&[&["169.254.169.254:80"], &[local]]));
    let server = setup.start().await;
    let made = create(&server, &json!({"url": "http://hooks.example.com/hook"})).await;
    let event = test(&server, &made).await;
    let failed = delivery(&server, &made, &event, |it| it["attempts"] == 1).await;
    let error = failed["error"].as_str().unwrap();
    assert!(
        error.contains("169.254.169.254 is not a public address"),
        "{error}"
    );
    assert!(receiver.received().is_empty());
    assert_eq!(deliveries(&server, &made).await.len(), 1);
    server.stop().await;
}

/// A redirect to an address inside is the receiver's word, and is not followed.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let inside = Receiver::start([]).await;
    let redirect = Reply::With(307, "location", inside.url.clone());
    let receiver = Receiver::start([redirect]).await;
    let setup = setup();
    let server = setup.start().await;
    let made = create(&server, &json!({"url": receiver.url})).await;
    let event = test(&server, &made).await;
    let failed = delivery(&server, &made, &event, |it| it["attempts"] == 1).await;
    assert_eq!(failed["response_status"], 307);
    assert!(inside.received().is_empty());
    server.stop().await;
}
