//! Registered accounts: three AWS accounts with authorization on, each reached by its own role.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use slipway::domain::names::RoleArn;
use slipway::domain::spec::Defaults;
use slipway::provision::conventions::Conventions;
use slipway::provision::permissions;

use super::{Fixture, pause, simulate};
use crate::aws::{Consistency, Options};
use crate::support::simulated::Host;
use crate::support::wire::Call;

pub(super) const OWN: &str = "123456789012";
pub(super) const NORTH: &str = "222222222222";
const SOUTH: &str = "333333333333";

fn role_arn(account: &str) -> String {
    format!("arn:aws:iam::{account}:role/teams/SlipwayAccess")
}

/// A service whose own role may do what its policy says, and assume the roles of two customers.
async fn service() -> Fixture {
    service_with(Consistency::immediate()).await
}

async fn service_with(consistency: Consistency) -> Fixture {
    service_set(consistency, |_| {}).await
}

pub(super) async fn service_set(consistency: Consistency, set: impl FnOnce(&mut Host)) -> Fixture {
    let conventions = Conventions::new(&Defaults::default(), "aws", OWN);
    let roles = [NORTH, SOUTH].map(|account| RoleArn::parse(&role_arn(account)).unwrap());
    let policy = permissions::own_role_policy(&conventions, None, &roles);
    let options = Options {
        authorization: true,
        consistency,
        ..Options::default()
    };
    Fixture::with(options, |host| {
        host.role_policy = Some(policy);
        set(host);
    })
    .await
}

impl Fixture {
    pub(super) async fn register(&self, name: &str, account: &str) -> Value {
        let body = json!({"name": name, "account_id": account, "role_arn": role_arn(account)});
        let (status, answer) = self.ask("POST", "/v1/accounts", Some(&body)).await;
        assert_eq!(status, 201, "{answer:#}");
        answer
    }

    /// Does what the bootstrap document says, as the owner of the account.
    async fn bootstrap(&self, name: &str, account: &str) {
        self.bootstrap_as(name, account, |role| role).await;
    }

    async fn bootstrap_as(&self, name: &str, account: &str, change: impl Fn(Value) -> Value) {
        let path = format!("/v1/accounts/{name}/bootstrap?format=cloudformation");
        let template = self.json(&path).await;
        let role = change(template["Resources"]["SlipwayRole"]["Properties"].clone());
        let owner = self.host.aws.owner(account);
        let trust = role["AssumeRolePolicyDocument"].to_string();
        let made = owner.call(
            "iam",
            "CreateRole",
            json!({"RoleName": role["RoleName"], "Path": role["Path"], "AssumeRolePolicyDocument": trust}),
        );
        made.unwrap();
        for policy in role["Policies"].as_array().unwrap() {
            let document = policy["PolicyDocument"].to_string();
            let put = json!({"RoleName": role["RoleName"], "PolicyName": policy["PolicyName"], "PolicyDocument": document});
            owner.call("iam", "PutRolePolicy", put).unwrap();
        }
    }

    pub(super) async fn verify(&self, name: &str) -> Value {
        let path = format!("/v1/accounts/{name}/verify");
        let (status, report) = self.ask("POST", &path, None).await;
        assert_eq!(status, 200, "{report:#}");
        report
    }

    /// Registers an account and makes it ready.
    pub(super) async fn ready(&self, name: &str, account: &str) {
        self.register(name, account).await;
        self.bootstrap(name, account).await;
        let report = self.verify(name).await;
        assert_eq!(report["state"], "ready", "{report:#}");
    }

    pub(super) async fn account_state(&self, name: &str) -> Value {
        self.json(&format!("/v1/accounts/{name}")).await
    }

    fn users_of(&self, account: &str) -> BTreeSet<String> {
        let snapshot = self.host.aws.snapshot(account);
        let users = snapshot["users"].as_object().cloned().unwrap_or_default();
        users.keys().cloned().collect()
    }

    /// The trust policy of a customer's role as it should be.
    pub(super) async fn trust_of(&self, name: &str) -> Value {
        let path = format!("/v1/accounts/{name}/bootstrap?format=cloudformation");
        let mut template = self.json(&path).await;
        template["Resources"]["SlipwayRole"]["Properties"]["AssumeRolePolicyDocument"].take()
    }

    pub(super) fn set_trust(&self, account: &str, trust: &Value) {
        let owner = self.host.aws.owner(account);
        let update = json!({"RoleName": "SlipwayAccess", "PolicyDocument": trust.to_string()});
        owner.call("iam", "UpdateAssumeRolePolicy", update).unwrap();
    }
}

/// A service, and what it finds of an account whose owner has made another role than the bootstrap document describes.
async fn verified_with(change: impl Fn(&mut Value)) -> (Fixture, Value) {
    let fixture = service().await;
    fixture.register("north", NORTH).await;
    fixture
        .bootstrap_as("north", NORTH, |mut role| {
            change(&mut role);
            role
        })
        .await;
    let report = fixture.verify("north").await;
    (fixture, report)
}

fn outcomes(report: &Value) -> Vec<(String, String)> {
    let checks = report["checks"].as_array().unwrap().iter();
    checks
        .map(|check| {
            (
                check["check"].as_str().unwrap().to_owned(),
                check["outcome"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

fn assumed(log: &[Call]) -> Vec<&Call> {
    log.iter()
        .filter(|call| call.name() == "sts:AssumeRole")
        .collect()
}

fn in_account(name: &str, account: &str) -> Value {
    json!({"name": name, "account": account})
}

#[test]
fn apps_live_in_three_accounts_each_reached_by_its_own_role() {
    for consistency in [Consistency::immediate(), Consistency::as_aws_documents()] {
        simulate(async {
            let fixture = service_with(consistency).await;
            let owner = fixture.host.aws.owner(NORTH);
            owner
                .call(
                    "iam",
                    "CreateAccountAlias",
                    json!({"AccountAlias": "north-inc"}),
                )
                .unwrap();
            fixture.ready("north", NORTH).await;
            fixture.ready("south", SOUTH).await;
            fixture.host.aws.take_log();
            for (name, account, id) in [
                ("one", "default", OWN),
                ("two", "north", NORTH),
                ("three", "south", SOUTH),
            ] {
                let (key, _) = fixture.onboard(&in_account(name, account)).await;
                assert!(fixture.users_of(id).contains(name), "{name}");
                let app = fixture.app(name).await;
                assert_eq!(app["spec"]["account"], account);
                assert_eq!(
                    app["spec"]["buckets"][0]["name"],
                    format!("{name}-media-{id}"),
                    "the default name is filled with the account's ID"
                );
                let export = fixture.process().request(
                    Method::GET,
                    &format!("/v1/apps/{name}/export?format=dotenv"),
                );
                let export = fixture.process().send(export).await.text().await.unwrap();
                assert!(export.contains(&key), "{export}");
                assert!(export.contains(&format!("{id}.dkr.ecr.")), "{export}");
            }
            let log = fixture.host.aws.take_log();
            let sessions = assumed(&log);
            assert_eq!(sessions.len(), 2, "one session for each account");
            for session in sessions {
                let body = &session.body;
                assert!(body.contains("RoleSessionName=slipway-01"), "{body}");
                assert!(body.contains("SourceIdentity=admin"), "{body}");
                assert!(body.contains("slipway%3Aapp"), "{body}");
                assert!(body.contains("slipway%3Ajob"), "{body}");
                assert!(body.contains("DurationSeconds=3600"), "{body}");
            }
            let north = fixture.account_state("north").await;
            assert_eq!(
                (&north["state"], &north["apps"], &north["alias"]),
                (&json!("ready"), &json!(1), &json!("north-inc")),
                "{north:#}"
            );
            let (status, problem) = fixture.ask("DELETE", "/v1/accounts/north", None).await;
            assert_eq!((status, &problem["code"]), (409, &json!("account_in_use")));
            life_goes_on(&fixture).await;
            fixture.end().await;
        });
    }
}

/// Rotation, drift, repair and removal in a customer's account.
async fn life_goes_on(fixture: &Fixture) {
    let job = fixture
        .done("POST", "/v1/apps/two/credentials/rotate?force=true", None)
        .await;
    let key = job["result"]["access_key_id"].as_str().unwrap().to_owned();
    fixture.claim("two", &key).await;
    let owner = fixture.host.aws.owner(NORTH);
    let detach = json!({"UserName": "two", "PolicyArn": format!("arn:aws:iam::{NORTH}:policy/MediaManagement")});
    owner.call("iam", "DetachUserPolicy", detach).unwrap();
    pause(60).await;
    let (status, drift) = fixture.ask("POST", "/v1/apps/two/drift", None).await;
    assert_eq!(
        (status, &drift["drifted"]),
        (200, &json!(true)),
        "{drift:#}"
    );
    fixture.done("POST", "/v1/apps/two/repair", None).await;
    fixture.until_stage("two", &["done"]).await;
    fixture.done("DELETE", "/v1/apps/two", None).await;
    fixture.settled("two").await;
    assert!(!fixture.users_of(NORTH).contains("two"));
    let (status, _) = fixture.ask("DELETE", "/v1/accounts/north", None).await;
    assert_eq!(status, 204);
    let actions: BTreeSet<String> = fixture.json("/v1/audit?limit=200").await["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["account"] == "north")
        .map(|entry| entry["action"].as_str().unwrap().to_owned())
        .collect();
    for action in ["account_registered", "account_verified", "account_deleted"] {
        assert!(actions.contains(action), "{actions:?}");
    }
}

#[test]
fn no_app_is_onboarded_in_an_account_that_is_not_verified() {
    simulate(async {
        let fixture = service().await;
        let account = fixture.register("north", NORTH).await;
        assert_eq!(account["state"], "pending");
        let refused = fixture
            .ask("POST", "/v1/apps", Some(&in_account("acme", "north")))
            .await;
        assert_eq!(
            (refused.0, &refused.1["code"]),
            (409, &json!("account_not_ready")),
            "{:#}",
            refused.1
        );
        let report = fixture.verify("north").await;
        assert_eq!(report["state"], "unreachable", "the role is not there");
        let told = report["checks"][0]["remedy"].as_str().unwrap();
        assert!(
            told.contains(account["external_id"].as_str().unwrap())
                && told.contains(&format!("arn:aws:iam::{OWN}:role/slipway")),
            "{told}"
        );
        fixture.bootstrap("north", NORTH).await;
        assert_eq!(fixture.verify("north").await["state"], "ready");
        fixture.onboard(&in_account("acme", "north")).await;
        fixture.end().await;
    });
}

#[test]
fn a_role_that_can_be_assumed_without_its_external_id_is_blocked() {
    type Conditions = fn(&Value) -> Value;
    let open: [(Conditions, [&str; 2]); 2] = [
        (|_| json!({}), ["failed", "failed"]),
        (
            |_| json!({"StringLike": {"sts:ExternalId": "slipway-*"}}),
            ["passed", "failed"],
        ),
    ];
    for (condition, found) in open {
        simulate(async {
            let (fixture, report) = verified_with(|role| {
                let statement = &mut role["AssumeRolePolicyDocument"]["Statement"][0];
                statement["Condition"] = condition(&statement["Condition"]);
            })
            .await;
            assert_eq!(report["state"], "blocked", "{report:#}");
            let outcomes = outcomes(&report);
            let of = |check: &str| {
                let found = outcomes.iter().find(|(name, _)| name == check);
                found.map(|(_, outcome)| outcome.as_str()).unwrap()
            };
            assert_eq!(
                [of("without_external_id"), of("wrong_external_id")],
                found,
                "{report:#}"
            );
            let refused = fixture
                .ask("POST", "/v1/apps", Some(&in_account("acme", "north")))
                .await;
            assert_eq!(
                (refused.0, &refused.1["code"]),
                (409, &json!("account_not_ready"))
            );
            pause(2 * 3600).await;
            let account = fixture.account_state("north").await;
            assert_eq!(
                account["state"], "blocked",
                "no check by itself unblocks it"
            );
            fixture.end().await;
        });
    }
}

#[test]
fn a_check_by_the_service_itself_makes_no_open_role_ready() {
    simulate(async {
        let fixture = service().await;
        fixture.ready("north", NORTH).await;
        fixture.onboard(&in_account("two", "north")).await;
        let trust = fixture.trust_of("north").await;
        let mut open = trust.clone();
        open["Statement"][0]["Condition"] = json!({});
        let nobody = json!({"Version": "2012-10-17", "Statement": []});
        fixture.set_trust(NORTH, &nobody);
        pause(2 * 3600).await;
        assert_eq!(fixture.account_state("north").await["state"], "unreachable");
        fixture.set_trust(NORTH, &open);
        pause(2 * 3600).await;
        assert_eq!(fixture.account_state("north").await["state"], "blocked");
        let repaired = fixture.ended("POST", "/v1/apps/two/repair", None).await;
        assert_eq!(repaired["state"], "succeeded", "its apps are looked after");
        fixture.set_trust(NORTH, &nobody);
        pause(2 * 3600).await;
        let parked = fixture.ended("POST", "/v1/apps/two/repair", None).await;
        assert_eq!(parked["state"], "needs_attention", "{parked:#}");
        fixture.set_trust(NORTH, &open);
        pause(2 * 3600).await;
        assert_eq!(fixture.account_state("north").await["state"], "blocked");
        fixture.set_trust(NORTH, &trust);
        assert_eq!(fixture.verify("north").await["state"], "ready");
        fixture.end().await;
    });
}

#[test]
fn a_role_that_takes_no_session_tags_is_found_before_a_job_fails_for_it() {
    simulate(async {
        let (fixture, report) = verified_with(|role| {
            let statement = &mut role["AssumeRolePolicyDocument"]["Statement"][0];
            statement["Action"] = json!(["sts:AssumeRole", "sts:SetSourceIdentity"]);
        })
        .await;
        assert_eq!(
            (&report["state"], &report["checks"][0]["check"]),
            (&json!("unreachable"), &json!("assume_role")),
            "{report:#}"
        );
        let remedy = report["checks"][0]["remedy"].as_str().unwrap();
        assert!(remedy.contains("sts:TagSession"), "{remedy}");
        fixture.end().await;
    });
}

#[test]
fn a_condition_on_source_identities_alone_does_not_close_a_role() {
    simulate(async {
        let (fixture, report) = verified_with(|role| {
            let statements = role["AssumeRolePolicyDocument"]["Statement"]
                .as_array_mut()
                .unwrap();
            let mut others = statements[0].clone();
            others["Action"] = json!(["sts:TagSession", "sts:SetSourceIdentity"]);
            statements[0]["Action"] = json!("sts:AssumeRole");
            statements[0]["Condition"] = json!({});
            statements.push(others);
        })
        .await;
        assert_eq!(report["state"], "blocked", "{report:#}");
        fixture.end().await;
    });
}

#[test]
fn an_account_that_refuses_the_service_parks_its_own_jobs_and_nobody_elses() {
    simulate(async {
        let fixture = service().await;
        fixture.ready("north", NORTH).await;
        fixture.ready("south", SOUTH).await;
        fixture.onboard(&in_account("two", "north")).await;
        let nobody = json!({"Version": "2012-10-17", "Statement": []});
        let trust = fixture.trust_of("north").await;
        fixture.set_trust(NORTH, &nobody);
        // The session that the service has lasts an hour.
        pause(3600).await;
        let parked = fixture.ended("POST", "/v1/apps/two/repair", None).await;
        assert_eq!(
            (&parked["state"], &parked["error"]["code"]),
            (&json!("needs_attention"), &json!("access_denied")),
            "{parked:#}"
        );
        let error = parked["error"].to_string();
        assert!(
            error.contains("/v1/accounts/{account}/verify") && error.contains(&role_arn(NORTH)),
            "{error}"
        );
        pause(1).await;
        let account = fixture.account_state("north").await;
        assert_eq!(account["state"], "unreachable", "{account:#}");
        assert!(account["reason"].as_str().unwrap().contains("AccessDenied"));
        for (name, account) in [("one", "default"), ("three", "south")] {
            fixture.onboard(&in_account(name, account)).await;
        }
        let (status, ready) = fixture.ask("GET", "/readyz", None).await;
        assert_eq!(status, 200, "{ready:#}");
        fixture.set_trust(NORTH, &trust);
        let retry = format!("/v1/jobs/{}/retry", parked["id"].as_str().unwrap());
        fixture.done("POST", &retry, None).await;
        pause(2 * 3600).await;
        assert_eq!(fixture.account_state("north").await["state"], "ready");
        fixture.end().await;
    });
}

#[test]
fn readiness_names_what_the_policy_of_the_own_role_lacks_before_a_job_fails_for_it() {
    simulate(async {
        let conventions = Conventions::new(&Defaults::default(), "aws", OWN);
        let without_a_call = |mut policy: Value| {
            for statement in policy["Statement"].as_array_mut().unwrap() {
                let actions = statement["Action"].as_array_mut().unwrap();
                actions.retain(|action| action != "ecr:PutLifecyclePolicy");
            }
            policy
        };
        let policy = without_a_call(permissions::own_role_policy(&conventions, None, &[]));
        let without_simulation = without_a_call(permissions::role_policy(&conventions));

        let fixture = service_set(Consistency::immediate(), |host| {
            host.role_policy = Some(policy);
        })
        .await;
        let (status, first) = fixture.ask("GET", "/readyz", None).await;
        assert_eq!(status, 200, "{first:#}");
        assert_eq!(first["permissions"]["missing_actions"], Value::Null);
        pause(30).await;
        let (status, ready) = fixture.ask("GET", "/readyz", None).await;
        assert_eq!((status, &ready["ready"]), (200, &json!(true)), "{ready:#}");
        let permissions = &ready["permissions"];
        assert_eq!(
            permissions["missing_actions"],
            json!(["ecr:PutLifecyclePolicy"]),
            "{ready:#}"
        );
        assert!(permissions["checked_at"].is_string(), "{ready:#}");
        fixture.end().await;

        let fixture = service_set(Consistency::immediate(), |host| {
            host.role_policy = Some(without_simulation);
        })
        .await;
        fixture.ask("GET", "/readyz", None).await;
        pause(30).await;
        let (status, ready) = fixture.ask("GET", "/readyz", None).await;
        let permissions = &ready["permissions"];
        assert_eq!(
            (status, &permissions["missing_actions"]),
            (200, &Value::Null)
        );
        let reason = permissions["reason"].as_str().unwrap();
        assert!(reason.contains("iam:SimulatePrincipalPolicy"), "{reason}");
        fixture.end().await;
    });
}

#[test]
fn a_process_that_is_lost_while_it_assumes_a_role_or_right_after_a_change_doubles_nothing() {
    for call in ["sts:AssumeRole", "iam:CreateUser", "iam:CreateAccessKey"] {
        simulate(async {
            let mut fixture = service().await;
            fixture.ready("north", NORTH).await;
            fixture.host.aws.take_log();
            let body = in_account("two", "north");
            let id = fixture.begin("POST", "/v1/apps", Some(&body)).await;
            fixture.killed_at(call, 0).await;
            let job = fixture.process().wait(&id).await;
            assert_eq!(job["state"], "succeeded", "killed at {call}: {job:#}");
            pause(300).await;
            let user = fixture.host.aws.snapshot(NORTH)["users"]["two"].take();
            let keys = user["keys"].as_array().unwrap();
            assert_eq!(keys.len(), 1, "killed at {call}: {user:#}");
            assert_eq!(keys[0]["id"], job["result"]["access_key_id"]);
            fixture.end().await;
        });
    }
}

#[test]
fn a_job_that_an_account_refuses_makes_it_unreachable_before_the_next_check() {
    simulate(async {
        let fixture = service_set(Consistency::immediate(), |host| {
            host.settings.account_check_interval = Duration::ZERO;
        })
        .await;
        fixture.ready("north", NORTH).await;
        fixture.onboard(&in_account("two", "north")).await;
        fixture.set_trust(NORTH, &json!({"Version": "2012-10-17", "Statement": []}));
        pause(3600).await;
        assert_eq!(fixture.account_state("north").await["state"], "ready");
        let parked = fixture.ended("POST", "/v1/apps/two/repair", None).await;
        assert_eq!(parked["state"], "needs_attention", "{parked:#}");
        pause(1).await;
        assert_eq!(fixture.account_state("north").await["state"], "unreachable");
        fixture.end().await;
    });
}

#[test]
fn each_action_that_the_policy_of_a_role_lacks_is_named() {
    simulate(async {
        let lacking = ["iam:CreateUser", "s3:PutBucketCORS", "ecr:TagResource"];
        let (fixture, report) = verified_with(|role| {
            let statements = role["Policies"][0]["PolicyDocument"]["Statement"]
                .as_array_mut()
                .unwrap();
            for statement in statements {
                let actions = statement["Action"].as_array_mut().unwrap();
                actions.retain(|action| !lacking.contains(&action.as_str().unwrap()));
            }
        })
        .await;
        assert_eq!(report["state"], "ready", "it can be assumed");
        let mut missing: Vec<&str> = report["missing_actions"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        missing.sort_unstable();
        let mut lacking = lacking.to_vec();
        lacking.sort_unstable();
        assert_eq!(missing, lacking, "{report:#}");
        fixture.end().await;
    });
}

#[test]
fn an_account_is_registered_once_and_what_is_wrong_is_told() {
    simulate(async {
        let fixture = service().await;
        fixture.register("north", NORTH).await;
        let body = |name: &str, account: &str| json!({"name": name, "account_id": account, "role_arn": role_arn(account)});
        for (again, known) in [
            (body("north", SOUTH), "north"),
            (body("another-name", NORTH), "north"),
        ] {
            let (status, problem) = fixture.ask("POST", "/v1/accounts", Some(&again)).await;
            assert_eq!((status, &problem["code"]), (409, &json!("account_exists")));
            assert_eq!(problem["url"], format!("/v1/accounts/{known}"));
        }
        for (method, path) in [
            ("PUT", "/v1/accounts/default"),
            ("DELETE", "/v1/accounts/default"),
            ("POST", "/v1/accounts/default/verify"),
            ("GET", "/v1/accounts/default/bootstrap?format=terraform"),
            ("GET", "/v1/accounts/nobody"),
            ("DELETE", "/v1/accounts/NORTH"),
        ] {
            let body = (method == "PUT").then(|| json!({"role_arn": role_arn(OWN)}));
            let (status, problem) = fixture.ask(method, path, body.as_ref()).await;
            assert_eq!(status, 404, "{method} {path}: {problem:#}");
        }
        let (status, problem) = fixture
            .ask("POST", "/v1/apps", Some(&in_account("acme", "nobody")))
            .await;
        assert_eq!(
            (status, &problem["errors"][0]["pointer"]),
            (422, &json!("/account"))
        );
        let moved = json!({"role_arn": "arn:aws:iam::222222222222:role/Other", "defaults": {"group": "Guests"}});
        fixture.bootstrap("north", NORTH).await;
        fixture.verify("north").await;
        let (status, account) = fixture.ask("PUT", "/v1/accounts/north", Some(&moved)).await;
        assert_eq!(
            (status, &account["state"]),
            (200, &json!("pending")),
            "{account:#}"
        );
        assert_eq!(account["defaults"], json!({"group": "Guests"}));
        let names: Vec<Value> = fixture.json("/v1/accounts").await["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|account| account["name"].clone())
            .collect();
        assert_eq!(names, ["default", "north"]);
        fixture.end().await;
    });
}

#[test]
fn the_defaults_of_an_account_name_what_its_apps_have() {
    simulate(async {
        let fixture = service().await;
        let body = json!({
            "name": "north", "account_id": NORTH, "role_arn": role_arn(NORTH), "region": "eu-central-1",
            "defaults": {"group": "Guests", "policy": "Media", "bucket": "{app}-files-{region}"},
        });
        let (status, answer) = fixture.ask("POST", "/v1/accounts", Some(&body)).await;
        assert_eq!(status, 201, "{answer:#}");
        fixture.bootstrap("north", NORTH).await;
        let report = fixture.verify("north").await;
        assert_eq!(report["state"], "ready", "{report:#}");
        assert_eq!(report["missing_actions"], json!([]), "{report:#}");
        fixture.onboard(&in_account("acme", "north")).await;
        let snapshot = fixture.host.aws.snapshot(NORTH);
        assert_eq!(
            snapshot["users"]["acme"]["groups"],
            json!(["Guests"]),
            "{snapshot:#}"
        );
        let app = fixture.app("acme").await;
        assert_eq!(app["spec"]["buckets"][0]["name"], "acme-files-eu-central-1");
        assert_eq!(app["spec"]["region"], "eu-central-1");
        pause(60).await;
        let (_, drift) = fixture.ask("POST", "/v1/apps/acme/drift", None).await;
        assert_eq!(drift["drifted"], false, "{drift:#}");
        fixture.end().await;
    });
}
