//! ETag and If-None-Match.

use std::time::Duration;

use reqwest::Method;

use super::{ask, get, id, idle, light, post, post_empty, working};
use crate::support::unique;
use crate::support::wire::Fault;

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_sent_again_only_when_it_changed() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    let job = post(&server, "/v1/apps", &light(&name)).await.expect(202);
    let path = format!("/v1/apps/{name}");
    let first = get(&server, &path).await;
    first.expect(200);
    let tag = first.header("etag").to_owned();
    assert!(
        tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2,
        "{tag}"
    );
    let if_none_match = |tag: String| {
        ask(server
            .request(Method::GET, &path)
            .header("if-none-match", tag))
    };
    let unchanged = if_none_match(tag.clone()).await;
    assert_eq!(
        (
            unchanged.status,
            unchanged.body.len(),
            unchanged.header("etag")
        ),
        (304, 0, tag.as_str())
    );
    if_none_match("\"other\"".to_owned()).await.expect(200);
    post_empty(&server, &format!("/v1/jobs/{}/cancel", id(&job)))
        .await
        .expect(202);
    let changed = if_none_match(tag.clone()).await;
    assert_eq!(changed.expect(200)["state"], "canceled");
    assert_ne!(changed.header("etag"), tag);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_sent_again_when_its_job_has_got_further() {
    let mut setup = working();
    setup.timing.answer = Duration::from_secs(2);
    let server = setup.start().await;
    let name = unique("acme");
    setup.proxy.break_calls([
        ("iam:CreateUser", 0, Fault::LostBefore),
        ("iam:AttachUserPolicy", 0, Fault::LostBefore),
    ]);
    let job = post(&server, "/v1/apps", &light(&name)).await.expect(202);
    let path = format!("/v1/apps/{name}");
    setup.proxy.lost().await;
    let early = get(&server, &path).await;
    setup.proxy.lost().await;
    let later = ask(server
        .request(Method::GET, &path)
        .header("if-none-match", early.header("etag")))
    .await;
    assert_eq!(
        early.expect(200)["active_job"],
        later.expect(200)["active_job"],
        "the same job is at work"
    );
    assert_ne!(early.json()["resources"], later.json()["resources"]);
    assert_ne!(early.header("etag"), later.header("etag"));
    assert_eq!(server.wait(id(&job)).await["state"], "succeeded");
    server.stop().await;
}
