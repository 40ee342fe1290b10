//! Clocks that step and differ: what is the latest, what is due, and what is kept is the database's to say.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Fixture, id_of, pause, simulate, small, whole};
use crate::aws::Options;
use crate::support::simulated::Process;

const HOUR: Duration = Duration::from_secs(3600);

/// Each job comes after a step back: the list, the app and the retries go by the order in which they were asked for.
#[test]
fn jobs_keep_their_order_while_the_clock_steps_back() {
    simulate(async {
        let mut fixture = Fixture::new(Options::default()).await;
        let mut asked = Vec::new();
        fixture.host.break_calls(&[]);
        asked.push(
            fixture
                .begin("POST", "/v1/apps", Some(&whole("acme", "shared")))
                .await,
        );
        fixture.process().wait(&asked[0]).await;
        for (number, media_access) in ["scoped", "shared", "scoped"].into_iter().enumerate() {
            fixture.host.clock.step_back(HOUR);
            if number == 1 {
                fixture.again().await;
            }
            let id = fixture
                .begin("PUT", "/v1/apps/acme", Some(&whole("acme", media_access)))
                .await;
            fixture.process().wait(&id).await;
            asked.push(id);
        }
        let listed: Vec<String> = fixture.jobs("acme").await.iter().map(id_of).collect();
        assert_eq!(listed, asked.iter().rev().cloned().collect::<Vec<_>>());
        let app = fixture.app("acme").await;
        assert_eq!(
            (&app["spec"]["media_access"], &app["last_job"]),
            (&json!("scoped"), &json!(asked[3])),
            "{app:#}"
        );
        assert_eq!(fixture.media_policies("acme"), ["MediaManagement-acme"]);
        // Page by page the same.
        let first = fixture.json("/v1/jobs?app=acme&limit=2").await;
        let next = fixture
            .json(&format!(
                "/v1/jobs?app=acme&limit=2&cursor={}",
                first["next_cursor"].as_str().unwrap()
            ))
            .await;
        let paged: Vec<String> = [&first, &next]
            .iter()
            .flat_map(|page| page["items"].as_array().unwrap().iter().map(id_of))
            .collect();
        assert_eq!(paged, listed);
        fixture.sound("acme").await;
        fixture.end().await;
    });
}

/// A job that failed cannot be retried once a newer one, which an older clock dates before it, has taken its place.
#[test]
fn a_superseded_job_stays_superseded_when_the_clock_steps_back() {
    simulate(async {
        let fixture = Fixture::new(Options::default()).await;
        fixture.onboard(&whole("acme", "shared")).await;
        let mut foreign = whole("acme", "shared");
        foreign["buckets"] = json!([{"name": "somebody-elses"}]);
        fixture
            .host
            .aws
            .owner("999999999999")
            .call(
                "s3",
                "CreateBucket",
                json!({"Bucket": "somebody-elses", "CreateBucketConfiguration": {"LocationConstraint": "us-west-2"}}),
            )
            .expect("a bucket");
        let failed = fixture.ended("PUT", "/v1/apps/acme", Some(&foreign)).await;
        assert_eq!(failed["state"], "failed", "{failed:#}");
        fixture.host.clock.step_back(HOUR);
        fixture
            .done(
                "PUT",
                "/v1/apps/acme?remove=true",
                Some(&whole("acme", "scoped")),
            )
            .await;
        let (status, answer) = fixture
            .ask("POST", &format!("/v1/jobs/{}/retry", id_of(&failed)), None)
            .await;
        assert_eq!(status, 409, "{answer:#}");
        assert_eq!(
            fixture.app("acme").await["spec"]["buckets"][0]["name"],
            "acme-media"
        );
        fixture.sound("acme").await;
        fixture.end().await;
    });
}

/// Two processes on one database, whose clock steps by ten minutes, take turns with an app's jobs; neither takes a job from
/// the other.
#[test]
fn two_processes_do_each_job_once_while_the_clock_steps() {
    const STEP: Duration = Duration::from_secs(600);
    simulate(async {
        let fixture = Fixture::new(super::slow()).await;
        let store = fixture.process().service.store.clone();
        let other: Process = fixture
            .host
            .start_with(Some(store))
            .await
            .expect("a process");
        let mut asked = Vec::new();
        for (number, media_access) in ["shared", "scoped", "shared", "scoped"]
            .into_iter()
            .enumerate()
        {
            let api = if number % 2 == 0 {
                &fixture.process().api
            } else {
                &other.api
            };
            let (method, path) = if number == 0 {
                ("POST", "/v1/apps")
            } else {
                ("PUT", "/v1/apps/acme?remove=true")
            };
            let request = api
                .request(method.parse().unwrap(), path)
                .json(&whole("acme", media_access));
            let job: Value = api.send(request).await.json().await.unwrap();
            // What the process that was asked has looked at first is no attempt's.
            fixture.host.aws.take_log();
            let id = id_of(&job);
            let job = api.wait(&id).await;
            assert_eq!(job["state"], "succeeded", "{job:#}");
            let calls = super::own_calls(&fixture);
            let sessions: Vec<&str> = calls.iter().filter_map(|call| call.session()).collect();
            let turns = sessions
                .windows(2)
                .filter(|pair| pair[0] != pair[1])
                .count() as u64;
            assert!(
                turns < job["attempt"].as_u64().unwrap(),
                "an attempt is one process's: {job:#}"
            );
            asked.push(id);
            if number % 2 == 0 {
                fixture.host.clock.step_back(STEP);
            } else {
                fixture.host.clock.advance(STEP * 2);
            }
        }
        let listed: Vec<String> = fixture.jobs("acme").await.iter().map(id_of).collect();
        assert_eq!(listed, asked.iter().rev().cloned().collect::<Vec<_>>());
        other.kill().await;
        fixture.sound("acme").await;
        fixture.end().await;
    });
}

/// An Idempotency-Key answers with the same job, also after a step back and in another process.
#[test]
fn the_same_request_is_one_job_also_when_the_clock_steps() {
    simulate(async {
        let mut fixture = Fixture::new(Options::default()).await;
        let ask = async |fixture: &Fixture| -> (u16, Value) {
            let api = fixture.process();
            let response = api
                .send(
                    api.request(reqwest::Method::POST, "/v1/apps")
                        .header("idempotency-key", "once")
                        .json(&small("acme")),
                )
                .await;
            (response.status().as_u16(), response.json().await.unwrap())
        };
        let (_, first) = ask(&fixture).await;
        fixture.host.clock.step_back(HOUR);
        fixture.again().await;
        assert_eq!(ask(&fixture).await, (202, first.clone()));
        fixture.process().wait(&id_of(&first)).await;
        fixture.host.clock.advance(HOUR * 2);
        fixture.again().await;
        assert_eq!(ask(&fixture).await, (202, first));
        assert_eq!(fixture.jobs("acme").await.len(), 1);
        fixture.end().await;
    });
}

/// A quarantine is as long as it was said to be, whatever steps the clock makes meanwhile, and the app can be restored in it.
#[test]
fn history_and_apps_outlive_a_clock_that_runs_ahead_and_comes_back() {
    simulate(async {
        let mut fixture = Fixture::with(Options::default(), |host| {
            host.settings.retention = Duration::from_secs(7 * 86400)
        })
        .await;
        let (key, _) = fixture.onboard(&small("acme")).await;
        let job = fixture.begin("POST", "/v1/apps/acme/repair", None).await;
        fixture.host.clock.advance(HOUR);
        fixture.process().wait(&job).await;
        fixture.host.clock.step_back(HOUR);
        fixture.again().await;
        pause(120).await;
        assert_eq!(fixture.jobs("acme").await.len(), 2);
        assert_eq!(fixture.app("acme").await["state"], "ready");
        assert!(fixture.keys("acme")[&key]);
        fixture.sound("acme").await;
        fixture.end().await;
    });
}
