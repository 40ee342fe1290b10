//! Answers that are not whole: a 200 whose body is cut short is no answer.

use std::collections::HashMap;
use std::sync::Mutex;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::aws::{Emulator, Place};
use crate::support::server::{Server, Setup};
use crate::support::wire::{Answer, Call, mutates};
use crate::support::{aws_inspector, unique};

async fn ministack() -> (Setup, Server, String) {
    let mut setup = Setup::new(Place::new(Emulator::Ministack));
    setup.settings.quarantine = std::time::Duration::ZERO;
    let server = setup.start().await;
    (setup, server, unique("acme"))
}

/// What CreateAccessKey answers, from the whole of it down.
fn parts_of_a_key(id: &str, user: &str) -> Vec<String> {
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let members = format!(
        "<AccessKey><UserName>{user}</UserName><AccessKeyId>{id}</AccessKeyId><Status>Active</Status>\
         <SecretAccessKey>{secret}</SecretAccessKey></AccessKey>"
    );
    let of = |members: &str| {
        format!(
            "<CreateAccessKeyResponse><CreateAccessKeyResult>{members}</CreateAccessKeyResult></CreateAccessKeyResponse>"
        )
    };
    let whole = of(&members);
    let cut = |at: &str| whole.split_once(at).unwrap().0.to_owned();
    vec![
        cut("</CreateAccessKeyResponse>"),
        cut("</SecretAccessKey>"),
        cut("<SecretAccessKey>"),
        cut("<AccessKeyId>"),
        of(&members.replace(secret, "")),
        of(&members.replace(id, "")),
        of(""),
        String::new(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_answer_is_cut_short_is_a_lost_one() {
    let (setup, server, _) = ministack().await;
    for nth in 0..parts_of_a_key("AKIA", "u").len() {
        let name = unique("acme");
        let (place, user) = (setup.place.clone(), name.clone());
        setup.proxy.break_calls([]);
        setup.proxy.script(move |call| {
            if call.operation != "CreateAccessKey" || call.nth > 0 {
                return None;
            }
            let made = aws_inspector::call(
                &place,
                "iam",
                "create_access_key",
                json!({"UserName": user}),
            )
            .unwrap();
            let id = made["AccessKey"]["AccessKeyId"].as_str().unwrap();
            Some(Answer::Now(200, parts_of_a_key(id, &user).swap_remove(nth)))
        });
        let job = server
            .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
            .await;
        let listed = aws_inspector::call(
            &setup.place,
            "iam",
            "list_access_keys",
            json!({"UserName": name}),
        )
        .unwrap();
        let listed: Vec<&Value> = listed["AccessKeyMetadata"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| &key["AccessKeyId"])
            .collect();
        assert_eq!(
            listed,
            [&job["result"]["access_key_id"]],
            "{nth}: one key, and it is the recorded one"
        );
        let claimed: Value = server
            .post_empty(job["result"]["claim"].as_str().unwrap())
            .await
            .json()
            .await
            .unwrap();
        assert!(
            claimed["AWS_SECRET_ACCESS_KEY"].as_str().unwrap().len() >= 20,
            "{nth}: {claimed:#}"
        );
    }
    server.stop().await;
}

/// Answers each call of an operation with the beginning of a document, as often as the SDK asks, and then not any more.
fn cut_each_answer_short(setup: &Setup) {
    let cut: Mutex<HashMap<String, usize>> = Mutex::default();
    setup.proxy.break_calls([]);
    setup.proxy.script(move |call| {
        if call.service == "sts" || has_no_document(call) {
            return None;
        }
        let mut cut = cut.lock().unwrap();
        let times = cut.entry(call.name()).or_default();
        *times += 1;
        let body = if call.service == "ecr" {
            "{\"repositories\": ["
        } else {
            "<Answer><Result>"
        };
        (*times <= 3).then(|| Answer::Now(200, body.into()))
    });
}

/// S3 answers a change, and a HEAD, by its status alone.
fn has_no_document(call: &Call) -> bool {
    call.service == "s3"
        && (mutates(&call.name()) || call.operation.starts_with("Head"))
        && call.operation != "DeleteObjects"
}

/// The id of a job. The request itself looks at AWS, and may be sent again.
async fn accepted(server: &Server, method: Method, path: &str) -> String {
    for _ in 0..10 {
        let response = server.request(method.clone(), path).send().await.unwrap();
        let (status, answer): (_, Value) = (response.status(), response.json().await.unwrap());
        if status == 202 {
            return answer["id"].as_str().unwrap().to_owned();
        }
        assert_eq!(answer["retryable"], json!(true), "{answer:#}");
    }
    panic!("{method} {path} was not accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_that_is_cut_short_is_asked_for_again() {
    let (setup, server, name) = ministack().await;
    let body = json!({"name": name, "media_access": "scoped", "buckets": [{"name": format!("{name}-media")}], "repositories": [{"name": name}]});
    cut_each_answer_short(&setup);
    let job = server.onboard(&body).await;
    assert_eq!(job["error"], Value::Null);
    for path in ["repair", "credentials/rotate"] {
        cut_each_answer_short(&setup);
        let id = accepted(&server, Method::POST, &format!("/v1/apps/{name}/{path}")).await;
        let job = server.wait(&id).await;
        assert_eq!(job["state"], "succeeded", "{path}: {job:#}");
    }
    cut_each_answer_short(&setup);
    let query = format!("?buckets={name}-media&repositories={name}&confirm={name}");
    let id = accepted(&server, Method::DELETE, &format!("/v1/apps/{name}{query}")).await;
    assert_eq!(server.wait(&id).await["state"], "succeeded");
    let removal = loop {
        let jobs = server
            .json(&format!("/v1/jobs?app={name}&kind=remove"))
            .await;
        match jobs["items"][0]["id"].as_str() {
            Some(id) => break id.to_owned(),
            None => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    };
    let job = server.wait(&removal).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    server.stop().await;
}
