//! The set-up of an account: alias, groups, people, password policy and warnings, with authorization on, in the account
//! of the service by the printed role policy and in a registered one by the bootstrap role policy.

use std::time::Duration;

use serde_json::{Value, json};

use super::accounts::{NORTH, OWN, service_set};
use super::{Fixture, pause, simulate};
use crate::aws::Consistency;
use crate::support::wire::{Call, Fault};

const ANA: &str = "ana@example.com";
const BO: &str = "bo@example.com";

/// A service where set-ups need no approval.
async fn service() -> Fixture {
    service_with(Consistency::immediate()).await
}

async fn service_with(consistency: Consistency) -> Fixture {
    service_set(consistency, |host| {
        host.settings.approvals.administrator_access = false;
    })
    .await
}

pub(super) fn spec() -> Value {
    json!({
        "alias": "the-customer",
        "groups": [
            {"name": "Leads", "policies": ["AdministratorAccess", "job-function/Billing"]},
            {"name": "Developers", "policies": ["ReadOnlyAccess"]},
        ],
        "people": [
            {"email": ANA, "groups": ["Leads"]},
            {"email": BO, "groups": ["Developers"], "console": false},
        ],
        "password_policy": {"minimum_length": 14},
        "billing": {"iam_access_attested_by": null},
    })
}

/// A set-up of one person.
fn of_one(console: bool) -> Value {
    json!({
        "groups": [{"name": "Leads", "policies": ["ReadOnlyAccess"]}],
        "people": [{"email": ANA, "groups": ["Leads"], "console": console}],
    })
}

fn path(account: &str, rest: &str) -> String {
    format!("/v1/accounts/{account}/setup{rest}")
}

fn claim_path(account: &str) -> String {
    path(account, &format!("/people/{ANA}/claim"))
}

fn changing(log: &[Call]) -> Vec<String> {
    let changes = log.iter().filter(|call| call.mutates());
    let changes = changes.filter(|call| call.service != "sts");
    changes.map(Call::name).collect()
}

fn details(plan: &Value) -> Vec<&str> {
    let changes = plan["changes"].as_array().unwrap().iter();
    let changes = changes.filter(|change| change["action"] != "none");
    changes
        .map(|change| change["detail"].as_str().unwrap())
        .collect()
}

fn warns_of(document: &Value, text: &str) -> bool {
    let warnings = document["warnings"].as_array().unwrap().iter();
    warnings
        .filter_map(Value::as_str)
        .any(|warning| warning.contains(text))
}

impl Fixture {
    async fn set_up(&self, account: &str, spec: &Value) -> Value {
        self.done("PUT", &path(account, ""), Some(spec)).await
    }

    async fn setup_of(&self, account: &str) -> Value {
        self.json(&path(account, "")).await
    }

    async fn claim_password(&self, account: &str) -> (u16, Value) {
        self.ask("POST", &claim_path(account), None).await
    }

    async fn set_up_plan(&self, account: &str, spec: &Value, query: &str) -> Value {
        let at = path(account, &format!("?dry_run=true{query}"));
        let (status, plan) = self.ask("PUT", &at, Some(spec)).await;
        assert_eq!(status, 200, "{plan:#}");
        plan
    }

    /// The password that can be claimed is the one that AWS has, and it has to be changed.
    async fn password_works(&self, account: &str, id: &str) {
        let (status, claim) = self.claim_password(account).await;
        assert_eq!(status, 200, "{claim:#}");
        let password = claim["password"].as_str().unwrap().to_owned();
        let in_aws = self.host.aws.console_password(id, ANA);
        assert_eq!(in_aws, Some((password, true)), "{account}");
    }

    /// A job of the set-up changes nothing.
    async fn converged(&self, account: &str, spec: &Value) {
        // IAM shows everything by then.
        pause(150).await;
        self.host.aws.take_log();
        self.set_up(account, spec).await;
        let none: Vec<String> = Vec::new();
        assert_eq!(changing(&self.host.aws.take_log()), none);
    }
}

#[test]
fn an_account_is_set_up_by_one_job_and_again_by_none() {
    for consistency in [Consistency::immediate(), Consistency::as_aws_documents()] {
        simulate(async {
            let fixture = service_with(consistency).await;
            fixture.ready("north", NORTH).await;
            for (account, id) in [("default", OWN), ("north", NORTH)] {
                let alias = format!("customer-{account}");
                let mut spec = self::spec();
                spec["alias"] = json!(alias);
                let plan = fixture.set_up_plan(account, &spec, "").await;
                assert!(plan["calls"].as_u64().unwrap() >= 11, "{plan:#}");
                assert!(warns_of(&plan, "root user of the account has no MFA"));
                assert!(warns_of(&plan, "no API for it"), "billing: {plan:#}");
                assert!(warns_of(&plan, "Identity Center"));
                let job = fixture.set_up(account, &spec).await;
                assert_eq!(job["kind"], "setup_account");
                assert_eq!(
                    (&job["app"], &job["account"]),
                    (&json!(null), &json!(account))
                );
                let claim = &job["result"]["people"][0]["claim"];
                assert_eq!(*claim, claim_path(account), "{job:#}");
                let aws = fixture.host.aws.snapshot(id);
                assert_eq!(aws["alias"], alias);
                assert_eq!(aws["password_policy"]["MinimumPasswordLength"], 14);
                let leads = &aws["groups"]["Leads"]["attached"];
                assert_eq!(leads.as_array().unwrap().len(), 2, "{aws:#}");
                let ana = &aws["users"][ANA];
                assert_eq!(ana["groups"], json!(["Leads"]));
                assert_eq!(ana["tags"]["slipway:app"], format!("account:{account}"));
                let change = "arn:aws:iam::aws:policy/IAMUserChangePassword";
                assert_eq!(ana["attached"], json!([change]));
                assert_eq!(aws["users"][BO]["login_profile"], false);
                fixture.password_works(account, id).await;
                assert_eq!(fixture.claim_password(account).await.0, 410);
                fixture.converged(account, &spec).await;
                let plan = fixture.set_up_plan(account, &spec, "").await;
                assert_eq!(plan["calls"], 0, "{plan:#}");
            }
            let apps = fixture.json("/v1/apps").await;
            assert_eq!(apps["items"], json!([]), "a set-up is no app");
            let account = fixture.account_state("north").await;
            assert_eq!(account["apps"], 0);
            fixture.end().await;
        });
    }
}

#[test]
fn drift_is_found_and_repaired() {
    simulate(async {
        let fixture = service().await;
        fixture.set_up("default", &spec()).await;
        pause(150).await;
        let report = fixture
            .ask("POST", &path("default", "/drift"), None)
            .await
            .1;
        assert_eq!(report["drifted"], false, "{report:#}");
        let owner = fixture.host.aws.owner(OWN);
        let by_hand = |operation: &str, input: Value| owner.call("iam", operation, input).unwrap();
        by_hand(
            "AttachGroupPolicy",
            json!({"GroupName": "Developers", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}),
        );
        by_hand(
            "RemoveUserFromGroup",
            json!({"GroupName": "Leads", "UserName": ANA}),
        );
        by_hand(
            "UpdateAccountPasswordPolicy",
            json!({"MinimumPasswordLength": 8, "RequireSymbols": true}),
        );
        by_hand(
            "DeleteAccountAlias",
            json!({"AccountAlias": "the-customer"}),
        );
        let report = fixture
            .ask("POST", &path("default", "/drift"), None)
            .await
            .1;
        assert_eq!(report["drifted"], true);
        let told = details(&report).join("\n");
        for text in [
            "create account alias the-customer",
            "update the password policy of the account",
            "detach policy arn:aws:iam::aws:policy/AdministratorAccess from group Developers",
            "add user ana@example.com to group Leads",
        ] {
            assert!(told.contains(text), "{text}: {told}");
        }
        assert_eq!(report, fixture.json(&path("default", "/drift")).await);
        fixture
            .done("POST", &path("default", "/repair"), None)
            .await;
        pause(150).await;
        let report = fixture
            .ask("POST", &path("default", "/drift"), None)
            .await
            .1;
        assert_eq!(report["drifted"], false, "{report:#}");
        let policy = fixture.snapshot()["password_policy"].clone();
        let kept = (&policy["MinimumPasswordLength"], &policy["RequireSymbols"]);
        assert_eq!(
            kept,
            (&json!(14), &json!(true)),
            "what the spec does not name stays"
        );
        fixture.end().await;
    });
}

#[test]
fn a_person_who_is_not_named_any_more_is_kept_until_removal_is_requested() {
    simulate(async {
        let fixture = service().await;
        fixture.set_up("default", &spec()).await;
        let owner = fixture.host.aws.owner(OWN);
        let by_hand = |operation: &str, input: Value| owner.call("iam", operation, input).unwrap();
        by_hand("CreateAccessKey", json!({"UserName": ANA}));
        let device = by_hand(
            "CreateVirtualMFADevice",
            json!({"VirtualMFADeviceName": "ana"}),
        );
        let serial = &device["VirtualMFADevice"]["SerialNumber"];
        by_hand(
            "EnableMFADevice",
            json!({"UserName": ANA, "SerialNumber": serial, "AuthenticationCode1": "123456", "AuthenticationCode2": "654321"}),
        );
        let mut less = spec();
        less["people"].as_array_mut().unwrap().remove(0);
        fixture.set_up("default", &less).await;
        assert!(
            fixture.snapshot()["users"][ANA].is_object(),
            "she is retained"
        );
        let setup = fixture.setup_of("default").await;
        let retained = setup["retained"].to_string();
        assert!(retained.contains("iam:user/ana@example.com"), "{setup:#}");
        assert!(warns_of(&setup, "is retained"), "{setup:#}");
        let plan = fixture.set_up_plan("default", &less, "&remove=true").await;
        let told = details(&plan).join("\n");
        assert!(told.contains("delete user ana@example.com"), "{told}");
        assert!(told.contains("deactivate MFA device"), "{told}");
        pause(150).await;
        fixture
            .done("PUT", &path("default", "?remove=true"), Some(&less))
            .await;
        let aws = fixture.snapshot();
        assert!(aws["users"][ANA].is_null(), "{aws:#}");
        assert!(aws["users"][BO].is_object());
        assert_eq!(fixture.claim_password("default").await.0, 404);
        assert_eq!(fixture.setup_of("default").await["retained"], json!([]));
        // She comes back with another password.
        pause(150).await;
        fixture.set_up("default", &spec()).await;
        fixture.password_works("default", OWN).await;
        fixture.end().await;
    });
}

#[test]
fn what_a_named_person_has_is_exact() {
    simulate(async {
        let fixture = service().await;
        fixture.set_up("default", &spec()).await;
        let mut moved = spec();
        moved["people"][0] = json!({"email": ANA, "groups": ["Developers"], "console": false});
        moved["groups"][0]["policies"] = json!(["job-function/Billing"]);
        moved["alias"] = json!("the-client");
        pause(150).await;
        fixture.set_up("default", &moved).await;
        let aws = fixture.snapshot();
        assert_eq!(aws["users"][ANA]["groups"], json!(["Developers"]));
        assert_eq!(aws["users"][ANA]["login_profile"], false);
        assert_eq!(
            aws["alias"], "the-client",
            "an alias of the set-up's own is replaced"
        );
        let billing = "arn:aws:iam::aws:policy/job-function/Billing";
        assert_eq!(aws["groups"]["Leads"]["attached"], json!([billing]));
        fixture.converged("default", &moved).await;
        fixture.end().await;
    });
}

#[test]
fn an_alias_is_never_replaced_unasked_and_never_taken_from_another() {
    simulate(async {
        let fixture = service().await;
        let owner = |account: &str| fixture.host.aws.owner(account);
        let create = json!({"AccountAlias": "the-customer"});
        owner(NORTH)
            .call("iam", "CreateAccountAlias", create)
            .unwrap();
        let only = json!({"alias": "the-customer"});
        let job = fixture
            .ended("PUT", &path("default", ""), Some(&only))
            .await;
        assert_eq!(job["state"], "failed");
        assert_eq!(job["error"]["code"], "conflict", "{job:#}");
        let detail = job["error"]["detail"].as_str().unwrap();
        assert!(
            detail.contains("Another AWS account has the alias"),
            "{detail}"
        );
        let create = json!({"AccountAlias": "by-hand"});
        owner(OWN)
            .call("iam", "CreateAccountAlias", create)
            .unwrap();
        let other = json!({"alias": "another"});
        let plan = fixture.set_up_plan("default", &other, "").await;
        assert_eq!(plan["changes"][0]["action"], "conflict", "{plan:#}");
        let job = fixture
            .ended("PUT", &path("default", ""), Some(&other))
            .await;
        assert_eq!(job["error"]["code"], "conflict", "{job:#}");
        assert!(job["error"]["remedy"].as_str().unwrap().contains("by-hand"));
        assert_eq!(fixture.snapshot()["alias"], "by-hand");
        fixture.end().await;
    });
}

#[test]
fn a_user_or_group_of_somebody_else_is_left_alone_unless_adopted() {
    simulate(async {
        let fixture = service().await;
        let owner = fixture.host.aws.owner(OWN);
        let by_hand = |operation: &str, input: Value| owner.call("iam", operation, input).unwrap();
        by_hand("CreateUser", json!({"UserName": ANA, "Path": "/apps/"}));
        by_hand(
            "CreateGroup",
            json!({"GroupName": "Leads", "Path": "/apps/"}),
        );
        let before = fixture.snapshot();
        let mut spec = of_one(true);
        let job = fixture
            .ended("PUT", &path("default", ""), Some(&spec))
            .await;
        assert_eq!(job["error"]["code"], "conflict", "{job:#}");
        assert_eq!(fixture.snapshot(), before, "nothing of it is changed");
        spec["on_existing"] = json!("adopt");
        fixture.set_up("default", &spec).await;
        fixture.password_works("default", OWN).await;
        let nobody = json!({});
        fixture
            .done("PUT", &path("default", "?remove=true"), Some(&nobody))
            .await;
        let aws = fixture.snapshot();
        assert!(
            aws["users"][ANA].is_object(),
            "an adopted user is never deleted"
        );
        assert!(aws["groups"]["Leads"].is_object());
        assert_eq!(aws["users"][ANA]["tags"], json!({}), "it is given back");
        fixture.end().await;
    });
}

#[test]
fn a_lost_answer_to_a_create_leaves_one_thing_and_a_known_password() {
    let calls = [
        "iam:CreateAccountAlias",
        "iam:UpdateAccountPasswordPolicy",
        "iam:CreateGroup",
        "iam:AttachGroupPolicy",
        "iam:CreateUser",
        "iam:AddUserToGroup",
        "iam:AttachUserPolicy",
        "iam:CreateLoginProfile",
    ];
    for call in calls {
        for fault in [
            Fault::ResetAfter,
            Fault::ResetBefore,
            Fault::CutShort,
            Fault::Late,
        ] {
            simulate(async {
                let fixture = service().await;
                fixture.host.break_calls(&[(call, 0, fault)]);
                fixture.set_up("default", &spec()).await;
                fixture.host.mend();
                fixture.password_works("default", OWN).await;
                fixture.converged("default", &spec()).await;
                fixture.end().await;
            });
        }
    }
}

#[test]
fn a_process_that_is_lost_around_a_password_leaves_one_that_is_known() {
    for fault in [Fault::LostBefore, Fault::LostAfter] {
        for consistency in [Consistency::immediate(), Consistency::as_aws_documents()] {
            simulate(async {
                let mut fixture = service_with(consistency).await;
                let call = "iam:CreateLoginProfile";
                fixture.host.break_calls(&[(call, 0, fault)]);
                let lost = fixture.host.aws.lost();
                let spec = of_one(true);
                let id = fixture
                    .begin("PUT", &path("default", ""), Some(&spec))
                    .await;
                lost.await;
                fixture.again().await;
                let job = fixture.process().wait(&id).await;
                assert_eq!(job["state"], "succeeded", "{job:#}");
                fixture.password_works("default", OWN).await;
                fixture.converged("default", &spec).await;
                fixture.end().await;
            });
        }
    }
}

#[test]
fn a_password_that_was_claimed_is_never_set_again() {
    simulate(async {
        let fixture = service().await;
        fixture.set_up("default", &of_one(true)).await;
        fixture.password_works("default", OWN).await;
        let owner = fixture.host.aws.owner(OWN);
        let own = json!({"UserName": ANA, "Password": "Her-own-password-1", "PasswordResetRequired": false});
        owner.call("iam", "UpdateLoginProfile", own).unwrap();
        fixture.converged("default", &of_one(true)).await;
        fixture
            .done("POST", &path("default", "/repair"), None)
            .await;
        let known = fixture.host.aws.console_password(OWN, ANA);
        assert_eq!(known, Some(("Her-own-password-1".into(), false)));
        fixture.end().await;
    });
}

#[test]
fn a_password_is_claimed_once_and_expires() {
    simulate(async {
        let fixture = service().await;
        fixture.set_up("default", &of_one(true)).await;
        fixture
            .host
            .clock
            .advance(Duration::from_secs(8 * 24 * 3600));
        pause(3600).await;
        let (status, problem) = fixture.claim_password("default").await;
        assert_eq!(
            (status, &problem["code"]),
            (410, &json!("claim_expired")),
            "{problem:#}"
        );
        let setup = fixture.setup_of("default").await;
        assert_eq!(setup["passwords"][0]["claim"], json!(null), "{setup:#}");
        fixture.end().await;
    });
}

#[test]
fn a_password_that_somebody_else_has_set_is_left_alone() {
    simulate(async {
        let fixture = service().await;
        fixture.set_up("default", &of_one(false)).await;
        let owner = fixture.host.aws.owner(OWN);
        let by_hand = json!({"UserName": ANA, "Password": "Set-by-hand-123"});
        owner.call("iam", "CreateLoginProfile", by_hand).unwrap();
        pause(150).await;
        let job = fixture.set_up("default", &of_one(true)).await;
        assert!(warns_of(&job["result"], "Slipway did not set"), "{job:#}");
        let known = fixture.host.aws.console_password(OWN, ANA);
        assert_eq!(known, Some(("Set-by-hand-123".into(), false)));
        assert_eq!(fixture.claim_password("default").await.0, 404);
        fixture.end().await;
    });
}

#[test]
fn warnings_tell_of_the_root_user_and_of_leads_without_mfa() {
    simulate(async {
        let fixture = service().await;
        fixture.host.aws.set_root(OWN, true, true);
        let mut attested = spec();
        attested["billing"]["iam_access_attested_by"] = json!("Ana Silva");
        fixture.set_up("default", &attested).await;
        let setup = fixture.setup_of("default").await;
        assert!(
            warns_of(&setup, "root user of the account has access keys"),
            "{setup:#}"
        );
        assert!(!warns_of(&setup, "has no MFA device. Register"));
        assert!(!warns_of(&setup, "no API for it"));
        assert!(warns_of(
            &setup,
            "User ana@example.com has AdministratorAccess and no MFA"
        ));
        assert!(!warns_of(&setup, BO));
        let attestation = &setup["billing_attestation"];
        assert_eq!(attestation["attested_by"], "Ana Silva");
        assert!(attestation["recorded_at"].is_string() && attestation["recorded_by"].is_string());
        fixture.end().await;
    });
}

#[test]
fn the_password_is_in_no_answer_but_the_claim_and_nowhere_in_the_database() {
    simulate(async {
        let mut fixture = service().await;
        fixture.set_up("default", &spec()).await;
        let (password, _) = fixture.host.aws.console_password(OWN, ANA).unwrap();
        for at in [
            path("default", ""),
            path("default", "/history?limit=200"),
            "/v1/audit?limit=200".into(),
            "/v1/jobs?limit=100".into(),
        ] {
            let shown = fixture.json(&at).await.to_string();
            assert!(!shown.contains(&password), "{at}");
        }
        for format in ["terraform", "cloudformation", "aws-cli"] {
            let at = path("default", &format!("/export?format={format}"));
            let request = fixture.process().request(reqwest::Method::GET, &at);
            let response = fixture.process().send(request).await;
            assert_eq!(response.status(), 200, "{format}");
            let text = response.text().await.unwrap();
            assert!(
                !text.contains(&password) && text.contains("Leads"),
                "{text}"
            );
        }
        let history = fixture.json(&path("default", "/history")).await;
        assert_eq!(history["items"][0]["account"], "default");
        assert_eq!(history["items"][0]["app"], json!(null));
        let copy = fixture.copy().await;
        for file in std::fs::read_dir(copy).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            let found = bytes
                .windows(password.len())
                .any(|it| it == password.as_bytes());
            assert!(!found, "the password is in the database");
        }
        fixture.end().await;
    });
}

#[test]
fn a_policy_that_does_not_exist_and_one_too_short_are_told() {
    simulate(async {
        let fixture = service().await;
        let wrong = json!({"groups": [{"name": "Leads", "policies": ["Administrator"]}]});
        let job = fixture
            .ended("PUT", &path("default", ""), Some(&wrong))
            .await;
        assert_eq!(job["state"], "failed", "{job:#}");
        let detail = job["error"]["detail"].as_str().unwrap();
        assert!(detail.contains("There is no policy"), "{detail}");
        let owner = fixture.host.aws.owner(OWN);
        let long = json!({"MinimumPasswordLength": 64});
        owner
            .call("iam", "UpdateAccountPasswordPolicy", long)
            .unwrap();
        let job = fixture
            .ended("PUT", &path("default", ""), Some(&of_one(true)))
            .await;
        let remedy = job["error"]["remedy"].as_str().unwrap();
        assert!(remedy.contains("password_policy.minimum_length"), "{job:#}");
        let mut longer = of_one(true);
        longer["password_policy"] = json!({"minimum_length": 64});
        fixture.set_up("default", &longer).await;
        fixture.password_works("default", OWN).await;
        fixture.end().await;
    });
}

#[test]
fn a_request_is_checked_and_applied_once() {
    simulate(async {
        let fixture = service().await;
        let (status, problem) = fixture.ask("GET", &path("default", ""), None).await;
        assert_eq!(status, 404, "{problem:#}");
        let (status, _) = fixture
            .ask("PUT", &path("nowhere", ""), Some(&spec()))
            .await;
        assert_eq!(status, 404);
        let invalid = json!({"alias": "A", "people": [{"email": "ana", "groups": ["Nobody"]}]});
        let (status, problem) = fixture
            .ask("PUT", &path("default", ""), Some(&invalid))
            .await;
        assert_eq!(status, 422);
        assert_eq!(
            problem["errors"].as_array().unwrap().len(),
            3,
            "{problem:#}"
        );
        let put = |key: &'static str, tag: Option<String>| {
            let request = fixture
                .process()
                .request(reqwest::Method::PUT, &path("default", ""));
            let request = request.header("Idempotency-Key", key).json(&of_one(false));
            match tag {
                Some(tag) => request.header("If-Match", tag),
                None => request,
            }
        };
        let first = fixture.process().send(put("one", None)).await;
        let again = fixture.process().send(put("one", None)).await;
        assert_eq!(
            (first.status(), again.status()),
            (202.try_into().unwrap(), 202.try_into().unwrap())
        );
        assert!(again.headers().contains_key("idempotent-replayed"));
        let job: Value = first.json().await.unwrap();
        fixture.process().wait(job["id"].as_str().unwrap()).await;
        let request = fixture
            .process()
            .request(reqwest::Method::GET, &path("default", ""));
        let got = fixture.process().send(request).await;
        let tag = got.headers()["etag"].to_str().unwrap().to_owned();
        let stale = fixture
            .process()
            .send(put("two", Some("\"0-0000\"".into())))
            .await;
        assert_eq!(stale.status(), 412);
        let fresh = fixture.process().send(put("three", Some(tag))).await;
        assert_eq!(fresh.status(), 202);
        tokio::time::sleep(Duration::from_secs(30)).await;
        fixture.end().await;
    });
}

#[test]
fn the_set_up_of_an_account_that_is_deleted_is_forgotten() {
    simulate(async {
        let fixture = service().await;
        fixture.ready("north", NORTH).await;
        fixture.set_up("north", &of_one(true)).await;
        let (status, answer) = fixture.ask("DELETE", "/v1/accounts/north", None).await;
        assert_eq!(status, 204, "{answer:#}");
        // The role is there still, and its owner lets it require the new external ID.
        fixture.register("north", NORTH).await;
        let trust = fixture.trust_of("north").await;
        fixture.set_trust(NORTH, &trust);
        assert_eq!(fixture.verify("north").await["state"], "ready");
        assert_eq!(fixture.ask("GET", &path("north", ""), None).await.0, 404);
        fixture.end().await;
    });
}
