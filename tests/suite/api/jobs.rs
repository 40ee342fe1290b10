//! Jobs: long polls, events, cancel, retry.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::{ask, get, id, idle, light, post, post_empty, wait_for_state, working};
use crate::support::wire::{Answer as Scripted, Fault, refusal_body};
use crate::support::{aws_inspector, unique};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_held_until_the_job_ends_or_the_time_is_up() {
    let setup = idle();
    let server = setup.start().await;
    let job = post(&server, "/v1/apps", &light(&unique("acme")))
        .await
        .expect(202);
    let path = format!("/v1/jobs/{}", id(&job));
    let began = Instant::now();
    assert_eq!(
        get(&server, &format!("{path}?wait=700ms"))
            .await
            .expect(200)["state"],
        "queued"
    );
    assert!(began.elapsed() >= Duration::from_millis(700));
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        post_empty(&server, &format!("{path}/cancel"))
            .await
            .expect(202);
    };
    let held = format!("{path}?wait=60s");
    let (ended, ()) = tokio::join!(get(&server, &held), cancel);
    assert_eq!(ended.expect(200)["state"], "canceled");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_followed_to_the_jobs_end_and_resumed_from_any_of_them() {
    let setup = working();
    let server = setup.start().await;
    let mut body = light(&unique("acme"));
    body["access_key"] = json!(true);
    let job = post(&server, "/v1/apps", &body).await.expect(202);
    let path = format!("/v1/jobs/{}/events", id(&job));
    let followed = get(&server, &path).await;
    assert_eq!(followed.header("content-type"), "text/event-stream");
    let all = events_of(&followed.text());
    assert_eq!(
        get(&server, &format!("/v1/jobs/{}", id(&job)))
            .await
            .expect(200)["state"],
        "succeeded",
        "the stream ends with the job"
    );
    assert!(
        all.windows(2)
            .all(|pair| pair[0]["seq"].as_i64() < pair[1]["seq"].as_i64()),
        "{all:?}"
    );
    let names: Vec<&str> = all
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        (names[0], *names.last().unwrap()),
        ("job_queued", "job_succeeded")
    );
    let count = |name: &str| names.iter().filter(|it| **it == name).count();
    assert_eq!(count("job_started"), 1);
    let steps = job["steps"].as_array().unwrap().len();
    assert_eq!((count("step_started"), count("step_done")), (steps, steps));
    assert!(count("change_applied") > 0);

    for seen in [0, 1, all.len() / 2, all.len()] {
        let last = if seen == 0 {
            json!(0)
        } else {
            all[seen - 1]["seq"].clone()
        };
        let from = |accept: &str| {
            ask(server
                .request(Method::GET, &path)
                .header("last-event-id", last.to_string())
                .header("accept", accept))
        };
        assert_eq!(
            events_of(&from("text/event-stream").await.text()),
            all[seen..]
        );
        assert_eq!(
            from("application/json").await.expect(200)["items"]
                .as_array()
                .unwrap()[..],
            all[seen..]
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_what_happens_while_it_is_open() {
    let setup = idle();
    let server = setup.start().await;
    let job = post(&server, "/v1/apps", &light(&unique("acme")))
        .await
        .expect(202);
    let mut open: Response = server.get(&format!("/v1/jobs/{}/events", id(&job))).await;
    let begun = String::from_utf8(open.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert_eq!(
        events_of(&begun)
            .iter()
            .map(|event| event["event"].clone())
            .collect::<Vec<_>>(),
        ["job_queued"]
    );
    post_empty(&server, &format!("/v1/jobs/{}/cancel", id(&job)))
        .await
        .expect(202);
    let rest = events_of(&open.text().await.unwrap());
    assert_eq!(
        rest.iter()
            .map(|event| event["event"].clone())
            .collect::<Vec<_>>(),
        ["cancel_requested", "job_canceled"]
    );
    assert_eq!(rest[0]["by"], "admin");
}

/// The events of a stream; each one's id and name are those of its data.
pub fn events_of(stream: &str) -> Vec<Value> {
    let events = stream
        .split("\n\n")
        .filter(|block| !block.trim().is_empty() && !block.starts_with(':'));
    let event = |block: &str| {
        let fields: BTreeMap<&str, &str> = block
            .lines()
            .filter_map(|line| line.split_once(": "))
            .collect();
        let data: Value = serde_json::from_str(fields["data"]).expect("JSON");
        assert_eq!(fields["id"], data["seq"].to_string(), "{block}");
        assert_eq!(
            fields["event"],
            data["event"].as_str().expect("a name"),
            "{block}"
        );
        data
    };
    events.map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_at_work_stands_in_the_way_until_it_is_canceled_and_goes_on_when_retried() {
    let mut setup = working();
    setup.timing.answer = Duration::from_secs(2);
    let server = setup.start().await;
    let name = unique("acme");
    let repair = format!("/v1/apps/{name}/repair");
    setup
        .proxy
        .break_calls([("iam:CreateUser", 0, Fault::LostBefore)]);
    let job = post(&server, "/v1/apps", &light(&name)).await.expect(202);
    let path = format!("/v1/jobs/{}", id(&job));
    setup.proxy.lost().await;

    let answer = post_empty(&server, &repair).await;
    let problem = answer.problem(409, "job_active");
    assert_eq!(
        json!([problem["url"], problem["retryable"]]),
        json!([path, true])
    );
    assert_eq!(answer.header("location"), path);
    post_empty(&server, &format!("{path}/retry"))
        .await
        .problem(409, "job_state");
    let canceled = post_empty(&server, &format!("{path}/cancel")).await;
    assert_eq!(
        canceled.expect(202)["state"],
        "running",
        "it stops after its present change"
    );
    assert_eq!(canceled.header("location"), path);
    assert_eq!(server.wait(id(&job)).await["state"], "canceled");
    assert_eq!(
        get(&server, &format!("/v1/apps/{name}")).await.expect(200)["state"],
        "canceled"
    );
    post_empty(&server, &format!("{path}/cancel"))
        .await
        .problem(409, "job_state");

    let retried = post_empty(&server, &format!("{path}/retry")).await;
    assert_eq!(
        json!([retried.expect(202)["id"], retried.header("location")]),
        json!([job["id"], path])
    );
    let done = server.wait(id(&job)).await;
    assert_eq!(
        json!([done["state"], done["attempt"]]),
        json!(["succeeded", 2])
    );
    post_empty(&server, &format!("{path}/retry"))
        .await
        .problem(409, "job_state");
    post_empty(&server, &format!("{path}/cancel"))
        .await
        .problem(409, "job_state");
    assert_eq!(
        server.run(&repair, None).await["state"],
        "succeeded",
        "and nothing stands in the way of a repair any more"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_says_why_and_can_be_canceled_at_once() {
    let setup = working();
    let server = setup.start().await;
    setup.proxy.script(|call| {
        (call.name() == "iam:CreateUser")
            .then(|| Scripted::Now(409, refusal_body("iam", "ConcurrentModification")))
    });
    let name = unique("acme");
    let job = post(&server, "/v1/apps", &light(&name)).await.expect(202);
    let path = format!("/v1/jobs/{}", id(&job));
    let waiting = wait_for_state(&server, id(&job), "waiting").await;
    assert!(
        waiting["reason"]
            .as_str()
            .unwrap()
            .contains("ConcurrentModification"),
        "{waiting}"
    );
    assert!(waiting["next_attempt_at"].is_string());
    post_empty(&server, &format!("/v1/apps/{name}/repair"))
        .await
        .problem(409, "job_active");
    let canceled = post_empty(&server, &format!("{path}/cancel"))
        .await
        .expect(202);
    assert_eq!(
        json!([canceled["state"], canceled["next_attempt_at"]]),
        json!(["canceled", null])
    );
    setup.proxy.unscript();
    post_empty(&server, &format!("{path}/retry"))
        .await
        .expect(202);
    assert_eq!(server.wait(id(&job)).await["state"], "succeeded");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_may_not_names_the_action_and_goes_on_once_it_may() {
    let setup = working();
    let server = setup.start().await;
    setup.proxy.script(|call| {
        (call.name() == "s3:CreateBucket")
            .then(|| Scripted::Now(403, refusal_body("s3", "AccessDenied")))
    });
    let name = unique("acme");
    let mut body = light(&name);
    body["buckets"] = json!([{"name": name}]);
    let job = server.run("/v1/apps", Some(&body)).await;
    assert_parked(&job, &format!("s3:bucket/{name}"));
    assert_eq!(
        get(&server, &format!("/v1/apps/{name}")).await.expect(200)["state"],
        "needs_attention"
    );
    let retry = format!("/v1/jobs/{}/retry", id(&job));
    assert_parked(
        &server.run(&retry, None).await,
        &format!("s3:bucket/{name}"),
    );
    setup.proxy.unscript();
    let done = server.run(&retry, None).await;
    assert_eq!(
        json!([done["id"], done["state"], done["error"]]),
        json!([job["id"], "succeeded", null])
    );
    assert!(
        !aws_inspector::look(
            &setup.place,
            &server.json(&format!("/v1/apps/{name}")).await["spec"]
        )["buckets"][&name]
            .is_null()
    );
    server.stop().await;
}

fn assert_parked(job: &Value, resource: &str) {
    assert_eq!(job["state"], "needs_attention", "{job:#}");
    let error = &job["error"];
    assert_eq!(
        json!([error["code"], error["aws"]["operation"], error["retryable"]]),
        json!(["access_denied", "CreateBucket", false])
    );
    assert!(
        error["remedy"]
            .as_str()
            .expect("a remedy")
            .contains("s3:CreateBucket"),
        "{error}"
    );
    let step = job["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .find(|step| step["resource"] == resource)
        .expect("the step");
    assert_eq!(
        json!([step["state"], step["error"]["code"]]),
        json!(["failed", "access_denied"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_failed_on_a_foreign_thing_goes_on_when_that_is_gone() {
    let setup = working();
    let server = setup.start().await;
    let name = unique("acme");
    let bucket =
        json!({"Bucket": name, "CreateBucketConfiguration": {"LocationConstraint": "us-west-2"}});
    aws_inspector::call(&setup.place, "s3", "create_bucket", bucket).unwrap();
    let mut body = light(&name);
    body["buckets"] = json!([{"name": name}]);
    let plan = post(&server, "/v1/apps?dry_run=true", &body)
        .await
        .expect(200);
    let of_bucket = plan["changes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|change| change["resource"] == format!("s3:bucket/{name}"))
        .unwrap();
    assert_eq!(
        json!([of_bucket["action"], of_bucket["error"]["code"]]),
        json!(["conflict", "conflict"]),
        "the plan has foreseen it"
    );
    let job = server.run("/v1/apps", Some(&body)).await;
    assert_eq!(
        json!([job["state"], job["error"]["code"]]),
        json!(["failed", "conflict"])
    );
    assert!(
        job["error"]["remedy"].as_str().unwrap().contains("adopt"),
        "{job}"
    );
    aws_inspector::call(&setup.place, "s3", "delete_bucket", json!({"Bucket": name})).unwrap();
    let done = server
        .run(&format!("/v1/jobs/{}/retry", id(&job)), None)
        .await;
    assert_eq!(
        json!([done["id"], done["state"]]),
        json!([job["id"], "succeeded"])
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_not_retried_beside_another_one_of_its_app() {
    let setup = idle();
    let server = setup.start().await;
    let name = unique("acme");
    let first = post(&server, "/v1/apps", &light(&name)).await.expect(202);
    let canceled = post_empty(&server, &format!("/v1/jobs/{}/cancel", id(&first)))
        .await
        .expect(202);
    assert_eq!(canceled["state"], "canceled");
    let repair = post_empty(&server, &format!("/v1/apps/{name}/repair"))
        .await
        .expect(202);
    let problem = post_empty(&server, &format!("/v1/jobs/{}/retry", id(&first)))
        .await
        .problem(409, "job_active");
    assert_eq!(problem["url"], format!("/v1/jobs/{}", id(&repair)));
}
