//! Set-ups of accounts that make somebody an administrator, and who sees and changes a set-up.

use serde_json::{Value, json};

use super::approvals::Team;
use super::{Fixture, id_of, items, pause, simulate};
use crate::aws::Options;
use crate::support::aws::AccountAdmin as _;
use crate::support::wire::Fault;

const PATH: &str = "/v1/accounts/default/setup";

/// A set-up in which these people are in the group that has `AdministratorAccess`, and the others in another.
fn with_leads(leads: &[&str], others: &[&str]) -> Value {
    let of_group = |group: &'static str| move |name: &&str| json!({"email": format!("{name}@example.com"), "groups": [group]});
    let people = leads.iter().map(of_group("Leads"));
    let people = people.chain(others.iter().map(of_group("Developers")));
    json!({
        "groups": [
            {"name": "Leads", "policies": ["arn:aws:iam::aws:policy/AdministratorAccess"]},
            {"name": "Developers", "policies": ["ReadOnlyAccess"]},
        ],
        "people": people.collect::<Vec<_>>(),
    })
}

impl Team {
    /// Dan, who is an admin, requests a set-up.
    async fn put(&self, spec: &Value) -> Value {
        let (status, job) = self.ask("dan", "PUT", PATH, Some(spec.clone())).await;
        assert_eq!(status, 202, "{job:#}");
        job
    }

    /// A set-up of dan's that awaits approval for what it gives: its id and its approval.
    async fn awaiting(&self, spec: &Value) -> (String, Value) {
        let job = self.put(spec).await;
        assert_eq!(job["state"], "awaiting_approval", "{job:#}");
        let id = id_of(&job);
        let approval = self.approval(&id).await;
        assert_eq!(approval["reasons"], json!(["administrator_access"]));
        (id, approval)
    }

    /// A set-up of dan's that needs no approval, and succeeds.
    async fn applied(&self, spec: &Value) {
        let job = self.put(spec).await;
        assert_eq!(job["needs_approval"], false, "{job:#}");
        let job = self.fixture.process().wait(&id_of(&job)).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
    }
}

async fn team() -> Team {
    Team::with(Options::default(), |_| {}).await
}

#[test]
fn nobody_becomes_administrator_without_a_second_person() {
    simulate(async {
        let team = team().await;
        let (id, approval) = team.awaiting(&with_leads(&["ana"], &["bo"])).await;
        let subject = (&approval["app"], &approval["account"], &approval["kind"]);
        let expected = (json!(null), json!("default"), json!("setup_account"));
        assert_eq!(subject, (&expected.0, &expected.1, &expected.2));
        let changes = approval["changes"].to_string();
        assert!(
            changes.contains("AdministratorAccess to group Leads"),
            "{changes}"
        );
        let waiting = items(&team.fixture.json("/v1/approvals").await);
        assert_eq!(waiting.len(), 1, "{waiting:#?}");
        pause(1200).await;
        assert_eq!(team.changes_in_aws(), Vec::<String>::new());
        let (status, problem) = team.approve("dan", &id, &approval["plan_digest"]).await;
        assert_eq!((status, &problem["code"]), (403, &json!("self_approval")));
        team.agreed(&id).await;

        // What is there already and less need none.
        team.applied(&with_leads(&["ana"], &["bo"])).await;
        team.applied(&with_leads(&["ana"], &["bo", "cy"])).await;
        let (status, job) = team
            .ask("dan", "POST", &format!("{PATH}/repair"), None)
            .await;
        assert_eq!((status, &job["needs_approval"]), (202, &json!(false)));
        team.fixture.process().wait(&id_of(&job)).await;

        let (id, approval) = team.awaiting(&with_leads(&["ana", "bo"], &[])).await;
        let added = approval["changes"].to_string();
        assert!(
            added.contains("add user bo@example.com to group Leads"),
            "{added}"
        );
        let (status, job) = team.reject("bob", &id).await;
        assert_eq!((status, &job["state"]), (202, &json!("canceled")));
        let setup = team.fixture.json(PATH).await;
        assert_eq!(setup["spec"]["people"][0]["email"], "ana@example.com");
        assert_eq!(setup["spec"]["people"][1]["groups"], json!(["Developers"]));
        let account = team.fixture.host.account().to_owned();
        let aws = team.fixture.host.aws.snapshot(&account);
        assert_eq!(
            aws["users"]["bo@example.com"]["groups"],
            json!(["Developers"])
        );
        team.applied(&with_leads(&[], &["bo"])).await;
        team.fixture.end().await;
    });
}

/// A rejected set-up is no base on which the same could be asked for without an approval.
#[test]
fn what_was_rejected_needs_an_approval_again() {
    simulate(async {
        let team = team().await;
        let spec = with_leads(&["ana"], &[]);
        let (id, _) = team.awaiting(&spec).await;
        assert_eq!(team.reject("bob", &id).await.0, 202);
        let (id, _) = team.awaiting(&spec).await;
        assert_eq!(team.reject("bob", &id).await.0, 202);
        let (status, job) = team
            .ask("dan", "POST", &format!("{PATH}/repair"), None)
            .await;
        assert_eq!((status, &job["state"]), (202, &json!("awaiting_approval")));
        assert_eq!(team.reject("bob", &id_of(&job)).await.0, 202);
        assert_eq!(team.changes_in_aws(), Vec::<String>::new());
        let (id, _) = team.awaiting(&spec).await;
        team.agreed(&id).await;
        team.fixture.end().await;
    });
}

/// An attempt that is interrupted goes on within the approved plan.
#[test]
fn a_lost_answer_needs_no_other_approval() {
    for call in [
        "iam:CreateGroup",
        "iam:CreateUser",
        "iam:CreateLoginProfile",
    ] {
        for fault in [Fault::ResetBefore, Fault::ResetAfter] {
            simulate(async {
                let team = team().await;
                let (id, approval) = team.awaiting(&with_leads(&["ana"], &[])).await;
                team.fixture.host.break_calls(&[(call, 0, fault)]);
                let (status, _) = team.approve("bob", &id, &approval["plan_digest"]).await;
                assert_eq!(status, 202);
                let job = team.fixture.process().wait(&id).await;
                assert_eq!(job["state"], "succeeded", "{call} {fault:?}: {job:#}");
                team.fixture.end().await;
            });
        }
    }
}

#[test]
fn the_settings_say_whether_administrators_need_an_approval() {
    simulate(async {
        let team = Team::with(Options::default(), |host| {
            host.settings.approvals.administrator_access = false;
        })
        .await;
        team.applied(&with_leads(&["ana"], &[])).await;
        team.fixture.end().await;
    });
}

impl Fixture {
    /// What a new token with this scope gets: the status, and the answer.
    async fn scoped(
        &self,
        scope: &Value,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let token = json!({"name": "scoped", "role": "admin", "scope": scope});
        let (status, token) = self.ask("POST", "/v1/tokens", Some(&token)).await;
        assert_eq!(status, 201, "{token:#}");
        let process = self.process();
        let request = process.anonymous(method.parse().unwrap(), path);
        let request = request.bearer_auth(token["token"].as_str().unwrap());
        let request = body
            .iter()
            .fold(request, |request, body| request.json(body));
        let response = process.send(request).await;
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_default())
    }
}

/// Who has the account in scope sees its set-up and the jobs of it. Who may see some apps only does not change it.
#[test]
fn a_set_up_is_in_the_scope_of_its_account() {
    simulate(async {
        let team = team().await;
        let (id, _) = team.awaiting(&with_leads(&["ana"], &[])).await;
        let fixture = &team.fixture;
        let elsewhere = json!({"accounts": ["elsewhere"]});
        let some_apps = json!({"apps": ["acme-*"]});
        let whole = json!({"accounts": ["default"]});
        let job = format!("/v1/jobs/{id}");
        for path in [PATH, job.as_str(), &format!("{job}/approval")] {
            assert_eq!(fixture.scoped(&elsewhere, "GET", path, None).await.0, 404);
            for scope in [&some_apps, &whole] {
                let (status, answer) = fixture.scoped(scope, "GET", path, None).await;
                assert_eq!(status, 200, "{path}: {answer:#}");
            }
        }
        for (path, seen) in [("/v1/jobs", 1), ("/v1/approvals", 1), ("/v1/apps", 0)] {
            let count =
                async |scope| items(&fixture.scoped(scope, "GET", path, None).await.1).len();
            assert_eq!(count(&elsewhere).await, 0, "{path}");
            assert_eq!(count(&some_apps).await, seen, "{path}");
            assert_eq!(count(&whole).await, seen, "{path}");
        }
        let spec = with_leads(&[], &["ana"]);
        for (method, path, body) in [
            ("PUT", PATH.to_owned(), Some(&spec)),
            ("POST", format!("{job}/cancel"), None),
            ("POST", format!("{job}/reject"), None),
            ("POST", format!("{PATH}/repair"), None),
            ("POST", format!("{PATH}/people/ana@example.com/claim"), None),
        ] {
            let (status, problem) = fixture.scoped(&some_apps, method, &path, body).await;
            let refused = (status, &problem["code"]);
            assert_eq!(
                refused,
                (403, &json!("out_of_scope")),
                "{method} {path}: {problem:#}"
            );
            assert_eq!(
                fixture.scoped(&elsewhere, method, &path, body).await.0,
                404,
                "{path}"
            );
        }
        let cancel = format!("{job}/cancel");
        assert_eq!(fixture.scoped(&whole, "POST", &cancel, None).await.0, 202);
        team.fixture.end().await;
    });
}
