//! Single stories on the AWS in memory, in simulated time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::aws::Options;
use crate::support::aws::AccountAdmin as _;
use crate::support::simulated::{Host, Process, runtime};
use crate::support::wire::{Answer, Fault, refusal_body};

/// The app that the stories are about.
const APP: &str = "acme";

/// Runs a story on a host in a new account.
fn story(options: Options, story: impl AsyncFnOnce(Host)) {
    let runtime = runtime();
    runtime.block_on(story(Host::new(options)));
    runtime.shutdown_timeout(Duration::from_secs(5));
}

/// Asks for something that is accepted; the job.
async fn accepted(process: &Process, method: Method, path: &str, body: Option<&Value>) -> Value {
    let request = process.request(method, path);
    let response = process
        .send(
            body.iter()
                .fold(request, |request, body| request.json(body)),
        )
        .await;
    let (status, job) = (response.status(), response.json::<Value>().await.unwrap());
    assert_eq!(status, 202, "{job:#}");
    job
}

/// Asks for a job and waits for its end.
async fn run(process: &Process, method: Method, path: &str, body: Option<&Value>) -> Value {
    let job = accepted(process, method, path, body).await;
    process.wait(job["id"].as_str().unwrap()).await
}

/// Removes the app and waits until it is taken apart.
async fn remove(process: &Process) {
    let job = run(
        process,
        Method::DELETE,
        &format!("/v1/apps/{APP}?quarantine=1h"),
        None,
    )
    .await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    for _ in 0..100 {
        if process.json(&format!("/v1/apps/{APP}")).await["state"] == "removed" {
            return;
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    panic!(
        "it is not removed: {:#}",
        process
            .json(&format!("/v1/jobs?app={APP}&kind=remove"))
            .await
    );
}

/// The first `times` calls by this name are refused with `code`.
fn refuse(
    host: &Host,
    name: &'static str,
    times: usize,
    status: u16,
    code: &'static str,
) -> Arc<AtomicUsize> {
    let met = Arc::new(AtomicUsize::new(0));
    let counter = met.clone();
    host.aws.answer(move |call| {
        let refused = call.name() == name && counter.fetch_add(1, Ordering::SeqCst) < times;
        refused.then(|| Answer::Now(status, refusal_body(call.service, code)))
    });
    met
}

#[test]
fn what_a_removal_left_is_foreign_to_the_next_app_of_that_name_unless_it_adopts() {
    story(Options::default(), async |host| {
        let process = host.start().await;
        let bucket = format!("{APP}-media");
        let mut spec = json!({"name": APP, "buckets": [{"name": bucket}], "repositories": []});
        process.onboard(&spec).await;
        remove(&process).await;
        let left = host.aws.snapshot(host.account())["buckets"][&bucket].clone();
        assert_eq!(left["tags"], json!({}), "{left:#}");

        let job = run(&process, Method::POST, "/v1/apps", Some(&spec)).await;
        assert_eq!(
            (&job["state"], &job["error"]["code"]),
            (&json!("failed"), &json!("conflict")),
            "{job:#}"
        );
        assert_eq!(
            host.aws.snapshot(host.account())["buckets"][&bucket],
            left,
            "nothing foreign is touched"
        );
        spec["on_existing"] = json!("adopt");
        process.onboard(&spec).await;
        let app = process.json(&format!("/v1/apps/{APP}")).await;
        let owned = |id: &str| {
            app["resources"]
                .as_array()
                .unwrap()
                .iter()
                .find(|it| it["resource"] == id)
                .unwrap()["owned"]
                .clone()
        };
        assert_eq!(owned(&format!("s3:bucket/{bucket}")), "adopted");
        process.stop().await;
    });
}

/// A list of policies has no tags, so it cannot say whose a policy is.
#[test]
fn a_policy_that_is_listed_before_it_is_shown_is_waited_for() {
    story(Options::default(), async |host| {
        let process = host.start().await;
        let met = refuse(&host, "iam:GetPolicy", 5, 404, "NoSuchEntity");
        host.break_calls(&[("iam:CreatePolicy", 0, Fault::ResetAfter)]);
        let spec = json!({"name": APP, "media_access": "scoped", "repositories": []});
        process.onboard(&spec).await;
        assert!(host.all_met() && met.load(Ordering::SeqCst) > 5);
        let tags = host.aws.snapshot(host.account())["policies"].to_string();
        assert!(
            tags.contains("slipway:job") && !tags.contains("slipway:adopted"),
            "{tags}"
        );
        process.stop().await;
    });
}

#[test]
fn a_removal_that_is_asked_for_again_keeps_its_answer_for_its_key() {
    story(Options::default(), async |host| {
        let process = host.start().await;
        process.onboard(&json!({"name": APP, "buckets": [{"name": format!("{APP}-media")}], "repositories": []})).await;
        let path = format!("/v1/apps/{APP}");
        run(&process, Method::DELETE, &path, None).await;
        let again = async |query: &str| {
            let request = process
                .request(Method::DELETE, &format!("{path}{query}"))
                .header("idempotency-key", "again");
            let response = process.send(request).await;
            let replayed = response.headers().contains_key("idempotent-replayed");
            (
                response.status().as_u16(),
                replayed,
                response.json::<Value>().await.unwrap(),
            )
        };
        let (status, replayed, first) = again("").await;
        assert_eq!(
            (status, replayed, &first["kind"]),
            (202, false, &json!("offboard")),
            "{first:#}"
        );
        let (status, replayed, second) = again("").await;
        assert_eq!((status, replayed), (202, true), "{second:#}");
        assert_eq!(second, first);
        let (status, _, refused) = again("?quarantine=1h").await;
        assert_eq!(
            (status, &refused["code"]),
            (422, &json!("idempotency_key_reused")),
            "{refused:#}"
        );
        process.stop().await;
    });
}

/// An update of the service can come between a create whose answer is lost and the attempt that goes on: what the older one
/// made names its job and no installation.
#[test]
fn what_an_older_version_made_last_is_the_jobs_that_goes_on() {
    story(Options::default(), async |host| {
        let older = host.start().await;
        host.break_calls(&[("iam:CreateUser", 0, Fault::LostAfter)]);
        let job = accepted(
            &older,
            Method::POST,
            "/v1/apps",
            Some(&json!({"name": APP, "buckets": [], "repositories": []})),
        )
        .await;
        host.aws.lost().await;
        older.kill().await;
        host.make(
            "iam",
            "untag_user",
            json!({"UserName": APP, "TagKeys": ["slipway:installation"]}),
        );

        let process = host.start().await;
        let job = process.wait(job["id"].as_str().unwrap()).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        let tags = host.aws.snapshot(host.account())["users"][APP]["tags"].clone();
        assert!(
            tags["slipway:installation"].is_string() && tags["slipway:adopted"].is_null(),
            "{tags}"
        );
        process.stop().await;
    });
}

/// A step of the clock is no time that AWS has had, neither for the process that made the call nor for the next one.
#[test]
fn a_step_of_the_clock_makes_the_wait_for_a_lost_key_no_shorter() {
    for restarted in [false, true] {
        story(Options::default(), async |mut host| {
            host.settings.job_deadline = Duration::from_secs(10_000);
            let mut process = host.start().await;
            // It takes effect when its caller has given up waiting, and a look right after that would miss it.
            let late = host.timing.answer + host.timing.key_list / 2;
            host.break_calls(&[("iam:CreateAccessKey", 0, Fault::TooLate(late))]);
            let job = accepted(
                &process,
                Method::POST,
                "/v1/apps",
                Some(&json!({"name": APP, "buckets": [], "repositories": []})),
            )
            .await;
            while !host.all_met() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            if restarted {
                process.kill().await;
                host.clock.advance(Duration::from_secs(3600));
                process = host.start().await;
            } else {
                host.clock.advance(Duration::from_secs(3600));
            }
            let job = process.wait(job["id"].as_str().unwrap()).await;
            assert_eq!(job["state"], "succeeded", "{job:#}");
            tokio::time::sleep(late).await;
            let keys = host.aws.snapshot(host.account())["users"][APP]["keys"].clone();
            let ids: Vec<&Value> = keys
                .as_array()
                .unwrap()
                .iter()
                .map(|key| &key["id"])
                .collect();
            assert_eq!(
                ids,
                [&job["result"]["access_key_id"]],
                "restarted: {restarted}"
            );
            process.stop().await;
        });
    }
}

#[test]
fn an_intent_whose_key_was_lost_and_deleted_is_forgotten() {
    story(Options::default(), async |host| {
        let process = host.start().await;
        host.break_calls(&[("iam:CreateAccessKey", 0, Fault::ResetAfter)]);
        let watched = process.service.clone();
        process
            .onboard(&json!({"name": APP, "buckets": [], "repositories": []}))
            .await;
        assert!(host.all_met());
        assert_eq!(watched.open_intents(), 0);
        drop(watched);
        process.stop().await;
    });
}

#[test]
fn the_secret_of_a_deleted_key_is_refused_because_the_key_is_gone() {
    story(Options::default(), async |host| {
        let process = host.start().await;
        let job = process
            .onboard(&json!({"name": APP, "buckets": [], "repositories": []}))
            .await;
        let key = job["result"]["access_key_id"].as_str().unwrap().to_owned();
        let path = format!("/v1/apps/{APP}/credentials/{key}");
        assert_eq!(
            run(&process, Method::POST, &format!("{path}/delete"), None).await["state"],
            "succeeded"
        );
        let response = process.post_empty(&format!("{path}/claim")).await;
        let (status, problem) = (response.status(), response.json::<Value>().await.unwrap());
        assert_eq!(
            (status.as_u16(), &problem["code"]),
            (410, &json!("key_gone")),
            "{problem:#}"
        );
        assert!(
            problem["detail"].as_str().unwrap().contains("deleted"),
            "{problem:#}"
        );
        process.stop().await;
    });
}

#[test]
fn a_rotation_on_a_user_of_somebody_else_names_the_user() {
    story(Options::default(), async |host| {
        let process = host.start().await;
        process
            .onboard(&json!({"name": APP, "buckets": [], "repositories": []}))
            .await;
        let tags = json!([{"Key": "slipway:app", "Value": "blog"}]);
        host.make("iam", "tag_user", json!({"UserName": APP, "Tags": tags}));
        let job = run(
            &process,
            Method::POST,
            &format!("/v1/apps/{APP}/credentials/rotate"),
            None,
        )
        .await;
        assert_eq!(job["error"]["code"], "conflict", "{job:#}");
        assert_eq!(
            job["error"]["detail"],
            format!("iam:user/{APP} already exists and belongs to app blog.")
        );
        process.stop().await;
    });
}

/// A job's result names the newest key that is there.
#[test]
fn a_result_never_names_a_key_that_is_deleted() {
    story(Options::default(), async |host| {
        let process = host.start().await;
        let first = process
            .onboard(&json!({"name": APP, "buckets": [], "repositories": []}))
            .await;
        let rotated = run(
            &process,
            Method::POST,
            &format!("/v1/apps/{APP}/credentials/rotate"),
            None,
        )
        .await;
        let [old, new] = [&first, &rotated]
            .map(|job| job["result"]["access_key_id"].as_str().unwrap().to_owned());
        assert_ne!(old, new);
        let deleted = run(
            &process,
            Method::POST,
            &format!("/v1/apps/{APP}/credentials/{new}/delete"),
            None,
        )
        .await;
        assert_eq!(deleted["state"], "succeeded", "{deleted:#}");
        let job = run(
            &process,
            Method::POST,
            &format!("/v1/apps/{APP}/repair"),
            None,
        )
        .await;
        assert_eq!(
            (&job["state"], &job["result"]["access_key_id"]),
            (&json!("succeeded"), &json!(old)),
            "{job:#}"
        );
        process.stop().await;
    });
}

/// S3 says of a bucket that it does not let the service look at just 403, without a reason: a call whose answer has one tells.
#[test]
fn why_a_bucket_cannot_be_looked_at_is_found_out() {
    for (tagging, state, code) in [
        // Of another account, or of a bucket policy.
        (Some((403, "AccessDenied")), "failed", "conflict"),
        // The account's own: the role lacks s3:ListBucket.
        (None, "needs_attention", "access_denied"),
        // The service's credentials.
        (
            Some((403, "InvalidAccessKeyId")),
            "needs_attention",
            "access_denied",
        ),
    ] {
        story(Options::default(), async |host| {
            let process = host.start().await;
            let bucket = format!("{APP}-media");
            process
                .onboard(&json!({"name": APP, "buckets": [{"name": bucket}], "repositories": []}))
                .await;
            host.aws
                .answer(move |call| match (call.name().as_str(), tagging) {
                    ("s3:HeadBucket", _) => Some(Answer::Now(403, String::new())),
                    ("s3:GetBucketTagging", Some((status, code))) => {
                        Some(Answer::Now(status, refusal_body("s3", code)))
                    }
                    _ => None,
                });
            let job = run(
                &process,
                Method::POST,
                &format!("/v1/apps/{APP}/repair"),
                None,
            )
            .await;
            assert_eq!(
                (&job["state"], &job["error"]["code"]),
                (&json!(state), &json!(code)),
                "{job:#}"
            );
            let told = job["error"].to_string();
            assert_eq!(
                told.contains("s3:ListBucket"),
                tagging.is_none_or(|(_, code)| code == "AccessDenied"),
                "{told}"
            );
            assert_eq!(
                told.contains("rejects the service's credentials"),
                told.contains("InvalidAccessKeyId"),
                "{told}"
            );
            host.aws.unscript();
            process.stop().await;
        });
    }
}

#[test]
fn credentials_that_have_run_out_say_nothing_of_a_bucket() {
    story(Options::default(), async |host| {
        let process = host.start().await;
        process.onboard(&json!({"name": APP, "buckets": [{"name": format!("{APP}-media")}], "repositories": []})).await;
        let counter = AtomicUsize::new(0);
        host.aws.answer(move |call| match call.name().as_str() {
            "s3:HeadBucket" if counter.fetch_add(1, Ordering::SeqCst) < 1 => {
                Some(Answer::Now(403, String::new()))
            }
            "s3:GetBucketTagging" if counter.load(Ordering::SeqCst) < 2 => {
                Some(Answer::Now(400, refusal_body("s3", "ExpiredToken")))
            }
            _ => None,
        });
        let job = run(
            &process,
            Method::POST,
            &format!("/v1/apps/{APP}/repair"),
            None,
        )
        .await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        process.stop().await;
    });
}

/// What an app gives back can have become somebody else's meanwhile: that is no reason not to be removed.
#[test]
fn a_retained_bucket_that_became_somebody_elses_does_not_hold_up_a_removal() {
    story(Options::default(), async |host| {
        let process = host.start().await;
        process.onboard(&json!({"name": APP, "buckets": [{"name": format!("{APP}-media")}], "repositories": []})).await;
        host.aws.answer(|call| match call.name().as_str() {
            "s3:HeadBucket" => Some(Answer::Now(403, String::new())),
            "s3:GetBucketTagging" => Some(Answer::Now(403, refusal_body("s3", "AccessDenied"))),
            _ => None,
        });
        remove(&process).await;
        host.aws.unscript();
        assert!(host.aws.snapshot(host.account())["users"][APP].is_null());
        process.stop().await;
    });
}
