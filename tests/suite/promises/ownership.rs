//! Nothing that is somebody else's is taken, changed or deleted: another app's, another installation's, another account's.

use serde_json::{Value, json};

use super::{Fixture, id_of, pause, simulate, slow, small, whole};
use crate::aws::Options;
use crate::support::aws::AccountAdmin;
use crate::support::wire::Fault;

fn adopting(mut body: Value) -> Value {
    body["on_existing"] = json!("adopt");
    body
}

/// What an installation has in the account, without what both share.
fn things(fixture: &Fixture, name: &str) -> Value {
    let seen = fixture.snapshot();
    let of = |kind: &str| -> Value {
        let all = seen[kind].as_object().unwrap();
        all.iter()
            .filter(|(thing, _)| thing.contains(name))
            .map(|(thing, it)| (thing.clone(), it.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    json!([
        of("users"),
        of("policies"),
        of("buckets"),
        of("repositories")
    ])
}

/// A second installation in the account asks for the same app in every way that there is: the first one's stays as it was.
#[test]
fn a_second_installation_takes_changes_and_removes_nothing_of_the_first() {
    for adopt in [false, true] {
        simulate(async {
            let first = Fixture::new(Options::default()).await;
            first.onboard(&whole("acme", "scoped")).await;
            let second = first.beside().await;
            let before = things(&first, "acme");
            let body = if adopt {
                adopting(whole("acme", "scoped"))
            } else {
                whole("acme", "scoped")
            };
            let job = second.ended("POST", "/v1/apps", Some(&body)).await;
            assert_eq!(
                (&job["state"], &job["error"]["code"]),
                (&json!("failed"), &json!("conflict")),
                "{job:#}"
            );
            assert_eq!(
                things(&first, "acme"),
                before,
                "the onboarding changed nothing"
            );
            for (method, path) in [
                ("POST", "repair"),
                ("POST", "credentials/rotate"),
                ("POST", "drift"),
                ("POST", "restore"),
            ] {
                let (status, answer) = second
                    .ask(method, &format!("/v1/apps/acme/{path}"), None)
                    .await;
                if status == 202 {
                    second.process().wait(&id_of(&answer)).await;
                }
                assert_eq!(things(&first, "acme"), before, "{path} changed nothing");
            }
            let other = json!({"name": "acme", "media_access": "shared", "buckets": [], "repositories": [{"name": "acme"}], "on_existing": "adopt"});
            let (status, answer) = second
                .ask(
                    "PUT",
                    "/v1/apps/acme?remove=true&confirm=acme&force=true",
                    Some(&other),
                )
                .await;
            if status == 202 {
                second.process().wait(&id_of(&answer)).await;
            }
            assert_eq!(things(&first, "acme"), before, "a PUT changed nothing");
            for query in [
                "",
                "?adopted=true",
                "?buckets=acme-media&repositories=acme&confirm=acme",
            ] {
                let (status, answer) = second
                    .ask("DELETE", &format!("/v1/apps/acme{query}"), None)
                    .await;
                if status == 202 {
                    second.process().wait(&id_of(&answer)).await;
                }
                pause(300).await;
                assert_eq!(
                    things(&first, "acme"),
                    before,
                    "DELETE {query} changed nothing: {answer:#}"
                );
            }
            first.sound("acme").await;
            first.end().await;
            second.end().await;
        });
    }
}

/// The same while each of the second's creates and deletes is lost, and its process with it.
#[test]
fn a_second_installation_whose_answers_are_lost_takes_nothing() {
    for seed in 0..3 {
        simulate(async {
            let first = Fixture::new(Options::default()).await;
            first.onboard(&whole("acme", "scoped")).await;
            let before = things(&first, "acme");
            let mut second = first.beside().await;
            let mut random = fastrand::Rng::with_seed(seed);
            second.host.break_by(move |call| {
                let lost = call.mutates() && call.service != "sts" && random.u32(..2) == 0;
                lost.then_some(
                    [
                        Fault::ResetAfter,
                        Fault::ResetBefore,
                        Fault::CutShort,
                        Fault::Late,
                    ][random.usize(..4)],
                )
            });
            let id = second
                .begin("POST", "/v1/apps", Some(&whole("acme", "scoped")))
                .await;
            pause(8).await;
            second.again().await;
            let job = second.process().wait(&id).await;
            assert_eq!(job["error"]["code"], "conflict", "{job:#}");
            second.begin("DELETE", "/v1/apps/acme", None).await;
            pause(300).await;
            assert_eq!(things(&first, "acme"), before);
            first.end().await;
            second.end().await;
        });
    }
}

/// An installation whose database is new has another id: what the old database had made is not its own.
#[test]
fn an_emptied_database_takes_nothing_for_its_own() {
    simulate(async {
        let mut fixture = Fixture::new(Options::default()).await;
        let empty = fixture.copy().await;
        fixture.onboard(&whole("acme", "scoped")).await;
        let before = things(&fixture, "acme");
        // A copy that was taken before the first app is the same installation: it takes up what it had made.
        fixture.restore_copy(&empty).await;
        let job = fixture
            .ended("POST", "/v1/apps", Some(&whole("acme", "scoped")))
            .await;
        assert_eq!(
            job["error"]["code"], "credential_in_doubt",
            "the key of before is live, and its secret is not known: {job:#}"
        );
        assert_eq!(
            things(&fixture, "acme")[0]["acme"]["keys"],
            before[0]["acme"]["keys"]
        );
        let fresh = fixture.beside().await;
        let before = things(&fixture, "acme");
        let job = fresh
            .ended("POST", "/v1/apps", Some(&adopting(whole("acme", "scoped"))))
            .await;
        assert_eq!(job["error"]["code"], "conflict", "{job:#}");
        assert_eq!(things(&fixture, "acme"), before);
        fixture.end().await;
        fresh.end().await;
    });
}

/// An adopted bucket goes from app to app: given back by a removal or a change, adopted by the next, by another
/// installation too; whoever had it before does nothing to it any more.
#[test]
fn a_bucket_that_was_given_back_belongs_to_whoever_adopts_it_next() {
    simulate(async {
        let first = Fixture::new(Options::default()).await;
        let second = first.beside().await;
        let constraint = json!({"LocationConstraint": "us-west-2"});
        first.host.make(
            "s3",
            "create_bucket",
            json!({"Bucket": "common-media", "CreateBucketConfiguration": constraint}),
        );
        first.host.make(
            "s3",
            "put_bucket_tagging",
            json!({"Bucket": "common-media", "Tagging": {"TagSet": [{"Key": "own", "Value": "1"}]}}),
        );
        let by_hand = first.snapshot()["buckets"]["common-media"]["tags"].clone();
        let with = |name: &str| {
            adopting(
                json!({"name": name, "buckets": [{"name": "common-media"}], "repositories": []}),
            )
        };
        let none = |name: &str| adopting(small(name));
        first.onboard(&with("acme")).await;
        for (owner, other) in [(&first, "beta"), (&second, "beta")] {
            let job = owner.ended("POST", "/v1/apps", Some(&with(other))).await;
            assert_eq!(job["error"]["code"], "conflict", "it is acme's: {job:#}");
            owner
                .done("DELETE", &format!("/v1/apps/{other}"), None)
                .await;
            owner.settled(other).await;
        }
        first
            .done("PUT", "/v1/apps/acme?remove=true", Some(&none("acme")))
            .await;
        assert_eq!(
            first.snapshot()["buckets"]["common-media"]["tags"],
            by_hand,
            "it is given back"
        );
        second.onboard(&with("beta")).await;
        let adopted = first.snapshot()["buckets"]["common-media"].clone();
        let (status, plan) = first
            .ask("POST", "/v1/apps/acme/plan", Some(&with("acme")))
            .await;
        assert!(
            status == 200 && plan.to_string().contains("conflict"),
            "{plan:#}"
        );
        let job = first
            .ended("PUT", "/v1/apps/acme", Some(&with("acme")))
            .await;
        assert_eq!(job["error"]["code"], "conflict", "{job:#}");
        first
            .done(
                "PUT",
                "/v1/apps/acme?remove=true&confirm=acme",
                Some(&none("acme")),
            )
            .await;
        assert_eq!(first.app("acme").await["retained"]["buckets"], json!([]));
        first.done("DELETE", "/v1/apps/acme", None).await;
        first.settled("acme").await;
        assert_eq!(
            first.snapshot()["buckets"]["common-media"],
            adopted,
            "acme's end is nothing to it"
        );
        second.sound("beta").await;
        second.done("DELETE", "/v1/apps/beta", None).await;
        second.settled("beta").await;
        assert_eq!(first.snapshot()["buckets"]["common-media"]["tags"], by_hand);
        first.onboard(&with("gamma")).await;
        first.sound("gamma").await;
        first.end().await;
        second.end().await;
    });
}

/// A bucket of the name is in another account, or in another region: told, nothing changed, and nothing retained that is
/// not ours, also after a retry and a removal.
#[test]
fn a_bucket_of_another_account_or_region_is_told_and_never_retained() {
    for adopt in [false, true] {
        simulate(async {
            let fixture = Fixture::new(Options::default()).await;
            let owner = fixture.host.aws.owner("999999999999");
            owner
                .call("s3", "CreateBucket", json!({"Bucket": "theirs", "CreateBucketConfiguration": {"LocationConstraint": "us-west-2"}}))
                .expect("a bucket");
            let own = fixture
                .host
                .aws
                .owner(fixture.host.account())
                .in_region("eu-central-1");
            own.call(
                "s3",
                "CreateBucket",
                json!({"Bucket": "far-away", "CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}}),
            )
            .expect("a bucket");
            let before = [
                fixture.host.aws.snapshot("999999999999"),
                fixture.snapshot()["buckets"]["far-away"].clone(),
            ];
            fixture.onboard(&whole("acme", "scoped")).await;
            for name in ["theirs", "far-away"] {
                let mut body = whole("acme", "scoped");
                body["buckets"] = json!([{"name": "acme-media"}, {"name": name}]);
                if adopt {
                    body["on_existing"] = json!("adopt");
                }
                let job = fixture.ended("PUT", "/v1/apps/acme", Some(&body)).await;
                assert_eq!(job["error"]["code"], "conflict", "{name}: {job:#}");
                assert!(job["error"]["detail"].to_string().contains(name), "{job:#}");
                fixture
                    .ended("POST", &format!("/v1/jobs/{}/retry", id_of(&job)), None)
                    .await;
                let job = fixture
                    .done(
                        "PUT",
                        "/v1/apps/acme?remove=true",
                        Some(&whole("acme", "scoped")),
                    )
                    .await;
                assert!(
                    !job["result"]["warnings"]
                        .to_string()
                        .contains(&format!("bucket {name} ")),
                    "{job:#}"
                );
                assert_eq!(fixture.app("acme").await["retained"]["buckets"], json!([]));
            }
            assert_eq!(
                [
                    fixture.host.aws.snapshot("999999999999"),
                    fixture.snapshot()["buckets"]["far-away"].clone()
                ],
                before
            );
            fixture.sound("acme").await;
            fixture.end().await;
        });
    }
}

/// What one app retains is not another's, until the first lets go of it.
#[test]
fn what_an_app_retains_is_not_taken_by_another() {
    simulate(async {
        let fixture = Fixture::new(Options::default()).await;
        fixture.onboard(&whole("acme", "scoped")).await;
        let mut without = whole("acme", "scoped");
        (without["buckets"], without["repositories"]) = (json!([]), json!([]));
        fixture.done("PUT", "/v1/apps/acme", Some(&without)).await;
        let before = things(&fixture, "acme-media");
        let wants = |adopt: bool| {
            let body = json!({"name": "beta", "media_access": "scoped", "buckets": [{"name": "acme-media"}], "repositories": [{"name": "acme"}]});
            if adopt { adopting(body) } else { body }
        };
        for adopt in [false, true] {
            let job = fixture.ended("POST", "/v1/apps", Some(&wants(adopt))).await;
            assert_eq!(job["error"]["code"], "conflict", "{job:#}");
        }
        assert_eq!(things(&fixture, "acme-media"), before);
        fixture.done("DELETE", "/v1/apps/acme", None).await;
        fixture.settled("acme").await;
        let app = fixture.app("acme").await;
        assert_eq!(app["state"], "removed", "{app:#}");
        fixture.done("POST", "/v1/apps", Some(&wants(true))).await;
        fixture.sound("beta").await;
        // A new app of the old name does not take for its own what the old one had.
        let theirs = things(&fixture, "acme-media");
        fixture.onboard(&small("acme")).await;
        fixture
            .done(
                "PUT",
                "/v1/apps/acme?remove=true&confirm=acme",
                Some(&small("acme")),
            )
            .await;
        assert_eq!(things(&fixture, "acme-media"), theirs, "it is beta's now");
        fixture.sound("beta").await;
        fixture.end().await;
    });
}

/// A user whose name differs in case alone, a policy by the app's name, a group of the account's own: theirs stay theirs.
#[test]
fn things_by_hand_whose_names_collide_stay_as_they_are() {
    simulate(async {
        let fixture = Fixture::new(Options::default()).await;
        fixture.host.make(
            "iam",
            "create_user",
            json!({"UserName": "Acme", "Path": "/people/"}),
        );
        let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]});
        fixture.host.make(
            "iam",
            "create_policy",
            json!({"PolicyName": "MediaManagement-beta", "PolicyDocument": document.to_string()}),
        );
        let before = fixture.snapshot();
        let job = fixture
            .ended("POST", "/v1/apps", Some(&small("acme")))
            .await;
        assert_eq!(job["error"]["code"], "conflict", "{job:#}");
        let job = fixture
            .ended("POST", "/v1/apps", Some(&whole("beta", "scoped")))
            .await;
        assert_eq!(job["error"]["code"], "conflict", "{job:#}");
        for name in ["acme", "beta"] {
            fixture
                .done("DELETE", &format!("/v1/apps/{name}"), None)
                .await;
            fixture.settled(name).await;
            assert_eq!(fixture.app(name).await["state"], "removed");
        }
        let after = fixture.snapshot();
        assert_eq!(
            after["users"], before["users"],
            "only what was there before"
        );
        for (arn, policy) in before["policies"].as_object().unwrap() {
            assert_eq!(&after["policies"][arn], policy);
        }
        fixture.end().await;
    });
}

/// Two apps ask for one bucket at the same time: one has it, the other is told.
#[test]
fn two_apps_that_ask_for_one_bucket_at_once_do_not_share_it() {
    simulate(async {
        let fixture = Fixture::new(slow()).await;
        let body = |name: &str| json!({"name": name, "media_access": "scoped", "buckets": [{"name": "wanted-media"}], "repositories": [{"name": "wanted"}]});
        let one = fixture.begin("POST", "/v1/apps", Some(&body("acme"))).await;
        let (status, answer) = fixture.ask("POST", "/v1/apps", Some(&body("beta"))).await;
        let one = fixture.process().wait(&one).await;
        let mut states = vec![one["state"].clone()];
        if status == 202 {
            states.push(fixture.process().wait(&id_of(&answer)).await["state"].clone());
        } else {
            assert_eq!(status, 409, "{answer:#}");
        }
        assert!(
            states.iter().filter(|state| **state == "succeeded").count() <= 1,
            "{states:?}"
        );
        let owner = fixture.snapshot()["buckets"]["wanted-media"]["tags"]["slipway:app"].clone();
        let repository =
            fixture.snapshot()["repositories"]["us-west-2/wanted"]["tags"]["slipway:app"].clone();
        let loser = if states[0] == "succeeded" {
            "beta"
        } else {
            "acme"
        };
        assert!(
            owner != loser || repository != loser,
            "{owner} {repository}"
        );
        fixture
            .done("DELETE", &format!("/v1/apps/{loser}"), None)
            .await;
        fixture.settled(loser).await;
        // What it had comes to the other one, by adoption: it may hold data.
        let winner = if loser == "beta" { "acme" } else { "beta" };
        fixture
            .done(
                "PUT",
                &format!("/v1/apps/{winner}"),
                Some(&adopting(body(winner))),
            )
            .await;
        fixture.sound(winner).await;
        fixture.end().await;
    });
}
