//! Whole lives of apps on the AWS in memory, with a role that may do what a policy says.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use slipway::domain::names::IamPath;
use slipway::domain::spec::Defaults;
use slipway::provision::conventions::Conventions;
use slipway::provision::permissions;
use strum::EnumIter;

use crate::aws::Options;
use crate::removal::hang_things_on;
use crate::replay::of_every_kind;
use crate::support::aws::AccountAdmin;
use crate::support::simulated::{Host, Process, runtime};
use crate::support::wire::{Fault, mutates};

/// The app whose life it is.
const APP: &str = "acme";
/// The person of an account's set-up.
const ANA: &str = "ana@example.com";

/// The longest life, in simulated time.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What happens to an app, from its begin to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter)]
pub enum Life {
    /// It is onboarded with shared access, what is foreign on its user is taken away, and a plan previews a lifecycle.
    Shared,
    /// It is scoped, loses things with their data, becomes shared and scoped again.
    Changed,
    /// Its bucket is made where tags do not come with it, and the answer is lost.
    BucketInDoubt,
    /// Its key is rotated, until the old one is gone.
    Rotated,
    /// Its key is switched off, on and off, and deleted.
    Switched,
    /// What is there is adopted, damaged, repaired and given back.
    Adopted,
    /// A user under another path is adopted, and removed.
    AdoptedElsewhere,
    /// It is removed, restored and removed with its data; much hangs on its user.
    Removed,
    /// It has identities instead of a key, which are changed by hand, repaired, changed and removed.
    Identities,
    /// The account is set up with people, changed by hand, repaired, and left without them.
    AccountSetup,
}

/// What came of a life.
pub struct Lived {
    /// The errors of jobs, and the answers to requests that were refused.
    pub errors: Vec<Value>,
    /// The IAM actions that were used.
    pub used: BTreeSet<String>,
}

impl Life {
    /// The role's policy, as `slipway role-policy` prints it.
    pub fn policy(self, account: &str) -> Value {
        let mut conventions = Conventions::new(&Defaults::default(), "aws", account);
        if self == Self::AdoptedElsewhere {
            conventions.iam_path = IamPath::root();
        }
        permissions::role_policy(&conventions)
    }

    /// Lives it in a new account. Where answers are lost, that is the first one of each change of each thing.
    pub fn live(
        self,
        options: Options,
        policy: impl FnOnce(Value) -> Value,
        lose_answers: bool,
    ) -> Lived {
        let runtime = runtime();
        let lived = runtime.block_on(async {
            let options = Options {
                authorization: true,
                tags_with_bucket: self != Self::BucketInDoubt,
                ..options
            };
            let mut stage = Stage::new(options, |account| policy(self.policy(account))).await;
            if lose_answers {
                stage.lose_answers(self);
            }
            tokio::time::timeout(LONGEST, Box::pin(self.happen(&mut stage)))
                .await
                .expect("the life ends");
            stage.end().await
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
        lived
    }

    async fn happen(self, stage: &mut Stage) {
        match self {
            Self::Shared => shared(stage).await,
            Self::Changed => changed(stage).await,
            Self::BucketInDoubt => bucket_in_doubt(stage).await,
            Self::Rotated => rotated(stage).await,
            Self::Switched => switched(stage).await,
            Self::Adopted => adopted(stage).await,
            Self::AdoptedElsewhere => adopted_elsewhere(stage).await,
            Self::Removed => removed(stage).await,
            Self::Identities => identities(stage).await,
            Self::AccountSetup => account_setup(stage).await,
        }
    }
}

/// Where a life happens.
struct Stage {
    host: Host,
    process: Process,
    errors: Vec<Value>,
}

impl Stage {
    async fn new(options: Options, policy: impl FnOnce(&str) -> Value) -> Self {
        let mut host = Host::new(options);
        host.role_policy = Some(policy(host.account()));
        host.settings.quarantine = Duration::from_secs(60);
        host.settings.rotation_idle_period = Duration::from_secs(90);
        host.settings.rotation_delete_delay = Duration::from_secs(90);
        host.timing.idle_period = Duration::from_secs(300);
        host.settings.approvals.administrator_access = false;
        let process = host.start().await;
        Self {
            host,
            process,
            errors: Vec::new(),
        }
    }

    fn lose_answers(&self, life: Life) {
        let mut lost = HashSet::new();
        self.host.break_by(move |call| {
            let name = call.name();
            // A key on a user that was there before is never deleted: that is for a person.
            let is_for_a_person = name == "iam:CreateAccessKey"
                && matches!(life, Life::Adopted | Life::AdoptedElsewhere);
            let is_lost = mutates(&name) && !is_for_a_person && lost.insert((name, call.things()));
            is_lost.then_some(Fault::ResetAfter)
        });
    }

    /// Does something by hand; where the app is not whole, some of it cannot be done.
    fn by_hand(&self, service: &str, method: &str, args: Value) {
        drop(self.host.call(service, method, args));
    }

    /// The answer to a request; one that is refused is kept.
    async fn answer(&mut self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let request = self.process.api.request(method, path);
        let response = self
            .process
            .api
            .send(
                body.iter()
                    .fold(request, |request, body| request.json(body)),
            )
            .await;
        let (status, answer) = (
            response.status(),
            response.json::<Value>().await.unwrap_or_default(),
        );
        if !status.is_success() {
            self.errors.push(answer.clone());
        }
        answer
    }

    /// Asks for a job and waits for its end.
    async fn job(&mut self, method: Method, path: &str, body: Option<&Value>) {
        let job = self.answer(method, path, body).await;
        if let Some(id) = job["id"].as_str() {
            self.end_of(id).await;
        }
    }

    async fn end_of(&self, id: &str) {
        while let Some("queued" | "running" | "waiting") =
            self.process.json(&format!("/v1/jobs/{id}?wait=60s")).await["state"].as_str()
        {}
    }

    async fn onboard(&mut self, body: Value) {
        self.job(Method::POST, "/v1/apps", Some(&body)).await;
    }

    /// The ids of its keys that we have made; each secret is claimed.
    async fn keys(&mut self) -> Vec<String> {
        let listed = self.answer(Method::GET, &path("/credentials"), None).await;
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        for item in items.iter().filter(|item| item["claim"].is_string()) {
            self.answer(
                Method::POST,
                item["claim"].as_str().expect("an address"),
                None,
            )
            .await;
        }
        let ours = items
            .iter()
            .filter(|item| item["managed"] == true && !item["secret"].is_null());
        ours.filter_map(|item| item["access_key_id"].as_str())
            .map(str::to_owned)
            .collect()
    }

    /// Removes the app, and waits until it is gone.
    async fn remove(&mut self, query: &str) {
        self.job(Method::DELETE, &path(query), None).await;
        while self.process.json(&path("")).await["state"] == "quarantined" {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        let jobs = self
            .process
            .json(&format!("/v1/jobs?app={APP}&kind=remove"))
            .await;
        if let Some(id) = jobs["items"][0]["id"].as_str() {
            self.end_of(id).await;
        }
    }

    async fn end(mut self) -> Lived {
        let jobs = self.process.json("/v1/jobs?limit=100").await;
        for job in jobs["items"].as_array().expect("jobs") {
            let job = self
                .process
                .json(&format!("/v1/jobs/{}", job["id"].as_str().expect("an id")))
                .await;
            let steps = job["steps"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|step| &step["error"]);
            self.errors.extend(
                std::iter::once(&job["error"])
                    .chain(steps)
                    .filter(|error| !error.is_null())
                    .cloned(),
            );
        }
        self.process.kill().await;
        Lived {
            errors: self.errors,
            used: self.host.aws.used_actions(),
        }
    }
}

fn path(rest: &str) -> String {
    format!("/v1/apps/{APP}{rest}")
}

fn document() -> String {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}).to_string()
}

async fn shared(stage: &mut Stage) {
    stage.onboard(json!({"name": APP})).await;
    stage.keys().await;
    stage.by_hand("iam", "create_group", json!({"GroupName": "unmanaged"}));
    stage.by_hand(
        "iam",
        "add_user_to_group",
        json!({"GroupName": "unmanaged", "UserName": APP}),
    );
    stage.by_hand(
        "iam",
        "put_user_policy",
        json!({"UserName": APP, "PolicyName": "unmanaged", "PolicyDocument": document()}),
    );
    // Until AWS shows it everywhere.
    tokio::time::sleep(Duration::from_secs(30)).await;
    let look = stage.answer(Method::POST, &path("/drift"), None).await;
    stage
        .errors
        .extend(Some(look["error"].clone()).filter(|error| !error.is_null()));
    let unmanaged =
        ["membership/unmanaged", "inline-policy/unmanaged"].map(|it| format!("iam:{it}/{APP}"));
    stage
        .job(
            Method::POST,
            &path("/repair"),
            Some(&json!({"remove": unmanaged})),
        )
        .await;
    for manifest in ["1", "2", "3"] {
        stage.by_hand(
            "ecr",
            "put_image",
            json!({"repositoryName": APP, "imageManifest": manifest}),
        );
    }
    let selection =
        json!({"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 2});
    let rule = json!({"rulePriority": 1, "selection": selection, "action": {"type": "expire"}});
    let plan = json!({"name": APP, "repositories": [{"lifecycle": {"rules": [rule]}}]});
    let plan = stage
        .answer(Method::POST, &path("/plan"), Some(&plan))
        .await;
    let changes = plan["changes"].as_array().cloned().unwrap_or_default();
    stage.errors.extend(
        changes
            .iter()
            .map(|change| change["error"].clone())
            .filter(|error| !error.is_null()),
    );
}

async fn changed(stage: &mut Stage) {
    let (old, kept) = (format!("{APP}-old"), format!("{APP}-kept"));
    let both = json!([{"name": old}, {"name": kept}]);
    let spec = json!({"name": APP, "media_access": "scoped", "buckets": both, "repositories": both, "tags": {"team": "shop", "cost": "1"}});
    stage.onboard(spec).await;
    fill(stage, &old);
    let kept = json!([{"name": kept}]);
    let mut spec = json!({"name": APP, "media_access": "scoped", "buckets": kept, "repositories": kept, "tags": {"team": "web"}});
    stage
        .job(
            Method::PUT,
            &path(&format!("?remove=true&confirm={APP}")),
            Some(&spec),
        )
        .await;
    for access in ["shared", "scoped"] {
        spec["media_access"] = json!(access);
        stage
            .job(Method::PUT, &path("?remove=true"), Some(&spec))
            .await;
    }
}

async fn identities(stage: &mut Stage) {
    let provider = json!({"Url": "https://gitlab.com", "ClientIDList": ["somebody"]});
    stage.by_hand("iam", "create_open_id_connect_provider", provider);
    let mut spec = json!({
        "name": APP, "access_key": false, "identities": of_every_kind(APP), "tags": {"team": "shop", "cost": "1"},
    });
    stage.onboard(spec.clone()).await;
    let (ec2, ecs) = (format!("{APP}-ec2"), format!("{APP}-ecs"));
    let attached = json!({"RoleName": ecs, "PolicyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"});
    stage.by_hand("iam", "attach_role_policy", attached.clone());
    let trust = json!({"Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    let trust = json!({"RoleName": ecs, "PolicyDocument": trust.to_string()});
    stage.by_hand("iam", "update_assume_role_policy", trust);
    let out = json!({"InstanceProfileName": ec2, "RoleName": ec2});
    stage.by_hand("iam", "remove_role_from_instance_profile", out);
    // Until AWS shows it everywhere.
    tokio::time::sleep(Duration::from_secs(30)).await;
    let look = stage.answer(Method::POST, &path("/drift"), None).await;
    let error = Some(look["error"].clone()).filter(|error| !error.is_null());
    stage.errors.extend(error);
    let remove = json!({"remove": [format!("iam:role-attachment/{ecs}/aws/ReadOnlyAccess")]});
    stage
        .job(Method::POST, &path("/repair"), Some(&remove))
        .await;
    spec["tags"] = json!({"team": "web"});
    stage
        .job(Method::PUT, &path("?remove=true"), Some(&spec))
        .await;
    stage.by_hand("iam", "attach_role_policy", attached);
    stage.remove("").await;
}

async fn account_setup(stage: &mut Stage) {
    const SETUP: &str = "/v1/accounts/default/setup";
    // The same password is set once more.
    stage
        .host
        .break_calls(&[("iam:CreateLoginProfile", 0, Fault::ResetAfter)]);
    let spec = json!({
        "alias": "the-customer",
        "groups": [{"name": "Leads", "policies": ["AdministratorAccess"]}],
        "people": [{"email": ANA, "groups": ["Leads"]}],
        "password_policy": {"minimum_length": 14},
    });
    stage.job(Method::PUT, SETUP, Some(&spec)).await;
    let claim = format!("{SETUP}/people/{ANA}/claim");
    stage.answer(Method::POST, &claim, None).await;
    let other =
        json!({"GroupName": "Leads", "PolicyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"});
    stage.by_hand("iam", "attach_group_policy", other);
    // Until AWS shows it everywhere.
    tokio::time::sleep(Duration::from_secs(150)).await;
    let drift = format!("{SETUP}/drift");
    let look = stage.answer(Method::POST, &drift, None).await;
    let error = Some(look["error"].clone()).filter(|error| !error.is_null());
    stage.errors.extend(error);
    let repair = format!("{SETUP}/repair");
    stage.job(Method::POST, &repair, None).await;
    let mut without_console = spec;
    without_console["people"][0]["console"] = json!(false);
    stage.job(Method::PUT, SETUP, Some(&without_console)).await;
    let nobody = json!({});
    let path = format!("{SETUP}?remove=true");
    stage.job(Method::PUT, &path, Some(&nobody)).await;
}

async fn bucket_in_doubt(stage: &mut Stage) {
    stage
        .host
        .break_calls(&[("s3:CreateBucket", 0, Fault::ResetAfter)]);
    stage
        .onboard(json!({"name": APP, "access_key": false, "repositories": []}))
        .await;
}

async fn rotated(stage: &mut Stage) {
    stage
        .onboard(json!({"name": APP, "buckets": [], "repositories": []}))
        .await;
    stage.keys().await;
    stage
        .job(Method::POST, &path("/credentials/rotate"), None)
        .await;
    for _ in 0..200 {
        stage.keys().await;
        let rotation = stage.process.json(&path("/credentials")).await["rotation"].clone();
        if rotation["ended_at"].is_string() || !rotation["error"].is_null() {
            assert!(
                rotation["stage"] == "done" || !rotation["error"].is_null(),
                "{rotation:#}"
            );
            return;
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    assert!(!stage.errors.is_empty(), "the rotation does not end");
}

async fn switched(stage: &mut Stage) {
    stage
        .onboard(json!({"name": APP, "buckets": [], "repositories": []}))
        .await;
    for key in stage.keys().await {
        for to in ["deactivate", "activate", "deactivate", "delete"] {
            stage
                .job(
                    Method::POST,
                    &path(&format!("/credentials/{key}/{to}")),
                    None,
                )
                .await;
        }
    }
}

async fn adopted(stage: &mut Stage) {
    let bucket = format!("{APP}-media");
    stage.by_hand(
        "iam",
        "create_user",
        json!({"UserName": APP, "Path": "/apps/"}),
    );
    let constraint = json!({"LocationConstraint": "us-west-2"});
    let args = json!({"Bucket": bucket, "CreateBucketConfiguration": constraint, "ObjectOwnership": "BucketOwnerPreferred"});
    stage.by_hand("s3", "create_bucket", args);
    stage.by_hand("ecr", "create_repository", json!({"repositoryName": APP}));
    let policy = format!("MediaManagement-{APP}");
    stage.by_hand(
        "iam",
        "create_policy",
        json!({"PolicyName": policy, "PolicyDocument": document()}),
    );
    let spec = json!({"name": APP, "on_existing": "adopt", "buckets": [{"name": bucket}], "media_access": "scoped"});
    stage.onboard(spec).await;
    let arn = format!("arn:aws:iam::{}:policy/{policy}", stage.host.account());
    for _ in 0..4 {
        let version = json!({"PolicyArn": arn, "PolicyDocument": document(), "SetAsDefault": true});
        stage.by_hand("iam", "create_policy_version", version);
    }
    stage.by_hand(
        "iam",
        "untag_policy",
        json!({"PolicyArn": arn, "TagKeys": ["slipway:app"]}),
    );
    stage.by_hand(
        "iam",
        "untag_user",
        json!({"UserName": APP, "TagKeys": ["slipway:app"]}),
    );
    stage.by_hand(
        "s3",
        "delete_public_access_block",
        json!({"Bucket": bucket}),
    );
    tokio::time::sleep(Duration::from_secs(30)).await;
    stage.job(Method::POST, &path("/repair"), None).await;
    stage.remove("").await;
}

async fn adopted_elsewhere(stage: &mut Stage) {
    stage.by_hand(
        "iam",
        "create_user",
        json!({"UserName": APP, "Path": "/by-hand/"}),
    );
    stage.by_hand("iam", "create_access_key", json!({"UserName": APP}));
    stage
        .onboard(json!({"name": APP, "on_existing": "adopt", "buckets": [], "repositories": []}))
        .await;
    stage.remove("?adopted=true").await;
}

async fn removed(stage: &mut Stage) {
    let bucket = format!("{APP}-old");
    let spec = json!({"name": APP, "media_access": "scoped", "buckets": [{"name": bucket}], "repositories": [{"name": bucket}]});
    stage.onboard(spec).await;
    if stage
        .host
        .call("iam", "get_user", json!({"UserName": APP}))
        .is_ok()
    {
        hang_things_on(&stage.host, APP);
    }
    let of_user = |more: Value| {
        let mut args = json!({"UserName": APP});
        args.as_object_mut()
            .expect("members")
            .extend(more.as_object().expect("members").clone());
        args
    };
    stage.by_hand(
        "iam",
        "upload_signing_certificate",
        of_user(json!({"CertificateBody": "x"})),
    );
    stage.by_hand(
        "iam",
        "upload_ssh_public_key",
        of_user(json!({"SSHPublicKeyBody": "x"})),
    );
    stage.by_hand(
        "iam",
        "create_service_specific_credential",
        of_user(json!({"ServiceName": "codecommit.amazonaws.com"})),
    );
    fill(stage, &bucket);
    stage.job(Method::DELETE, &path(""), None).await;
    stage.job(Method::POST, &path("/restore"), None).await;
    stage
        .remove(&format!(
            "?buckets={bucket}&repositories={bucket}&confirm={APP}"
        ))
        .await;
}

/// Puts something into what is to be deleted: an object from before there were versions, versions, an upload that was not
/// finished, an image.
fn fill(stage: &Stage, name: &str) {
    let object = |key: &str| json!({"Bucket": name, "Key": key, "Body": {"base64": "aGk="}});
    stage.by_hand("s3", "put_object", object("plain.txt"));
    stage.by_hand(
        "s3",
        "put_bucket_versioning",
        json!({"Bucket": name, "VersioningConfiguration": {"Status": "Enabled"}}),
    );
    for _ in 0..2 {
        stage.by_hand("s3", "put_object", object("left.txt"));
    }
    stage.by_hand(
        "s3",
        "create_multipart_upload",
        json!({"Bucket": name, "Key": "half.txt"}),
    );
    stage.by_hand(
        "ecr",
        "put_image",
        json!({"repositoryName": name, "imageManifest": "{}", "imageTag": "v1"}),
    );
}
