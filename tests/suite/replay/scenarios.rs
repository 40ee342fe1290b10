//! The jobs that are replayed. A kind of job that is new needs one entry here.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use slipway::domain::job_kind::JobKind;

use super::setups;
use crate::removal::hang_things_on;
use crate::support::api::Api;
use crate::support::aws::{AccountAdmin, Emulator};
use crate::support::wire::Fault;

/// A job, what is there before it, and what goes wrong in every run of it.
pub struct Scenario {
    pub title: &'static str,
    pub emulator: Emulator,
    pub region: &'static str,
    /// What the app is onboarded with.
    pub body: fn(&str) -> Value,
    /// What is there before the app.
    pub before: fn(&dyn AccountAdmin, &str),
    /// The job, where it is another than the onboarding.
    pub later: Option<Later>,
    pub always: &'static [(&'static str, usize, Fault)],
    pub leaves: Leaves,
}

/// What of the app there is after the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// All of it, with so many keys of ours, each of which works.
    App { keys: usize },
    /// All of it, with its keys switched off.
    Asleep,
    /// Nothing but what is retained, and what was adopted.
    Gone,
    /// The set-up of the account, with first passwords that are known.
    Setup,
}

/// A job of an app that was onboarded.
pub struct Later {
    pub kind: JobKind,
    /// A job that comes before it.
    pub first: Option<fn(&Api, &str) -> RequestBuilder>,
    /// What is done to the app's place by hand before the job.
    pub damage: fn(&dyn AccountAdmin, &str),
    pub request: fn(&Api, &Asked) -> RequestBuilder,
}

/// What a request is made of.
pub struct Asked<'a> {
    pub name: &'a str,
    /// The id of the app's access key.
    pub key: &'a str,
}

impl Scenario {
    pub fn kind(&self) -> JobKind {
        match &self.later {
            Some(later) => later.kind,
            None if self.is_of_setup() => JobKind::SetupAccount,
            None => JobKind::Onboard,
        }
    }

    /// Whether it is about the set-up of an account and no app.
    pub fn is_of_setup(&self) -> bool {
        self.leaves == Leaves::Setup
    }

    /// The request for what its job starts from, or for its job where that is the first.
    pub fn first_request(&self, api: &Api, name: &str) -> RequestBuilder {
        let request = match self.is_of_setup() {
            true => api.request(Method::PUT, setups::PATH),
            false => api.request(Method::POST, "/v1/apps"),
        };
        request.json(&(self.body)(name))
    }

    /// The request for its job.
    pub fn request(&self, api: &Api, asked: &Asked) -> RequestBuilder {
        match &self.later {
            None => self.first_request(api, asked.name),
            Some(later) => (later.request)(api, asked),
        }
    }
}

fn nothing(_: &dyn AccountAdmin, _: &str) {}

pub static SCENARIOS: [Scenario; 14] = [
    Scenario {
        title: "the set-up of an account",
        ..setups::BASE
    },
    Scenario {
        title: "a new app with shared access",
        emulator: Emulator::Moto,
        region: "us-west-2",
        body: |name| json!({"name": name}),
        before: nothing,
        later: None,
        always: &[],
        leaves: Leaves::App { keys: 1 },
    },
    Scenario {
        title: "a new app with scoped access in us-east-1",
        emulator: Emulator::Ministack,
        region: "us-east-1",
        body: |name| json!({"name": name, "media_access": "scoped", "tags": {"team": "shop"}}),
        before: nothing,
        later: None,
        always: &[],
        leaves: Leaves::App { keys: 1 },
    },
    Scenario {
        title: "adoption of what is there",
        emulator: Emulator::Ministack,
        region: "us-west-2",
        body: |name| json!({"name": name, "on_existing": "adopt", "buckets": [{"name": format!("{name}-media")}]}),
        before: things_made_by_hand,
        later: None,
        always: &[],
        leaves: Leaves::App { keys: 1 },
    },
    Scenario {
        title: "repair of what was changed by hand",
        emulator: Emulator::Moto,
        region: "us-west-2",
        body: |name| json!({"name": name, "media_access": "scoped", "buckets": [{"name": format!("{name}-media")}]}),
        before: nothing,
        later: Some(Later {
            kind: JobKind::Repair,
            first: None,
            damage: undo_most,
            request: |api, asked| {
                api.request(Method::POST, &format!("/v1/apps/{}/repair", asked.name))
            },
        }),
        always: &[],
        leaves: Leaves::App { keys: 1 },
    },
    Scenario {
        title: "recovery of an access key whose answer was lost",
        emulator: Emulator::Moto,
        region: "us-west-2",
        body: |name| json!({"name": name, "buckets": [], "repositories": []}),
        before: nothing,
        later: None,
        always: &[("iam:CreateAccessKey", 0, Fault::ResetAfter)],
        leaves: Leaves::App { keys: 1 },
    },
    Scenario {
        title: "recovery of a bucket whose answer was lost where tags do not come with it",
        emulator: Emulator::Moto,
        region: "us-west-2",
        body: |name| json!({"name": name, "access_key": false, "repositories": []}),
        before: nothing,
        later: None,
        always: &[("s3:CreateBucket", 0, Fault::ResetAfter)],
        leaves: Leaves::App { keys: 0 },
    },
    Scenario {
        title: "a change of everything, with what is dropped removed",
        emulator: Emulator::Moto,
        region: "us-west-2",
        body: |name| {
            let repositories = json!([{"name": name}, {"name": format!("{name}-old")}]);
            json!({"name": name, "buckets": [{"name": format!("{name}-media")}, {"name": format!("{name}-old")}],
                "repositories": repositories, "media_access": "scoped", "tags": {"team": "shop", "cost": "1"}})
        },
        before: nothing,
        later: Some(Later {
            kind: JobKind::Update,
            first: None,
            damage: fill,
            request: |api, asked| {
                let name = asked.name;
                let buckets = json!([{"name": format!("{name}-media"), "upload_origins": ["https://new.example"]}, {"name": format!("{name}-new")}]);
                let body = json!({"name": name, "buckets": buckets, "repositories": [{"name": name, "lifecycle": "protected"}],
                    "tags": {"team": "web"}});
                api.request(
                    Method::PUT,
                    &format!("/v1/apps/{name}?remove=true&confirm={name}"),
                )
                .json(&body)
            },
        }),
        always: &[],
        leaves: Leaves::App { keys: 1 },
    },
    Scenario {
        title: "rotation of the access key",
        emulator: Emulator::Moto,
        region: "us-west-2",
        body: |name| json!({"name": name, "buckets": [], "repositories": []}),
        before: nothing,
        later: Some(Later {
            kind: JobKind::Rotate,
            first: None,
            damage: nothing,
            request: |api, asked| {
                api.request(
                    Method::POST,
                    &format!("/v1/apps/{}/credentials/rotate", asked.name),
                )
            },
        }),
        always: &[],
        leaves: Leaves::App { keys: 2 },
    },
    Scenario {
        title: "an access key switched off",
        emulator: Emulator::Ministack,
        region: "us-west-2",
        body: |name| json!({"name": name, "buckets": [], "repositories": []}),
        before: nothing,
        later: Some(Later {
            kind: JobKind::SetKeyStatus,
            first: None,
            damage: nothing,
            request: |api, asked| {
                api.request(
                    Method::POST,
                    &format!(
                        "/v1/apps/{}/credentials/{}/deactivate",
                        asked.name, asked.key
                    ),
                )
            },
        }),
        always: &[],
        leaves: Leaves::Asleep,
    },
    Scenario {
        title: "the begin of a removal",
        emulator: Emulator::Ministack,
        region: "us-west-2",
        body: |name| json!({"name": name, "buckets": [], "repositories": []}),
        before: nothing,
        later: Some(Later {
            kind: JobKind::Offboard,
            first: None,
            damage: nothing,
            request: |api, asked| api.request(Method::DELETE, &format!("/v1/apps/{}", asked.name)),
        }),
        always: &[],
        leaves: Leaves::Asleep,
    },
    Scenario {
        title: "the end of a quarantine",
        emulator: Emulator::Ministack,
        region: "us-west-2",
        body: |name| json!({"name": name, "buckets": [], "repositories": []}),
        before: nothing,
        later: Some(Later {
            kind: JobKind::Restore,
            first: Some(|api, name| api.request(Method::DELETE, &format!("/v1/apps/{name}"))),
            damage: nothing,
            request: |api, asked| {
                api.request(Method::POST, &format!("/v1/apps/{}/restore", asked.name))
            },
        }),
        always: &[],
        leaves: Leaves::App { keys: 1 },
    },
    Scenario {
        title: "a removal with data, of a user on which much hangs",
        emulator: Emulator::Moto,
        region: "us-west-2",
        body: |name| json!({"name": name, "media_access": "scoped", "access_key": false, "buckets": [{"name": format!("{name}-media")}, {"name": format!("{name}-old")}]}),
        before: nothing,
        later: Some(Later {
            kind: JobKind::Remove,
            first: None,
            damage: |admin, name| {
                fill(admin, name);
                hang_things_on(admin, name);
            },
            request: |api, asked| {
                let name = asked.name;
                api.request(
                    Method::DELETE,
                    &format!(
                        "/v1/apps/{name}?buckets={name}-old&repositories={name}&confirm={name}"
                    ),
                )
            },
        }),
        always: &[],
        leaves: Leaves::Gone,
    },
    Scenario {
        title: "a removal that gives back what was adopted",
        emulator: Emulator::Ministack,
        region: "us-west-2",
        body: |name| {
            json!({"name": name, "on_existing": "adopt", "media_access": "scoped", "repositories": [],
                "buckets": [{"name": format!("{name}-media")}]})
        },
        before: |admin, name| {
            admin.make("iam", "create_user", json!({"UserName": name}));
            let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]});
            let policy = json!({"PolicyName": format!("MediaManagement-{name}"), "PolicyDocument": document.to_string()});
            admin.make("iam", "create_policy", policy);
        },
        later: Some(Later {
            kind: JobKind::Remove,
            first: None,
            damage: nothing,
            request: |api, asked| api.request(Method::DELETE, &format!("/v1/apps/{}", asked.name)),
        }),
        always: &[],
        leaves: Leaves::Gone,
    },
];

/// Puts something into what is to be deleted: objects in versions, an upload that was not finished, an image.
fn fill(admin: &dyn AccountAdmin, name: &str) {
    let bucket = format!("{name}-old");
    admin.make(
        "s3",
        "put_bucket_versioning",
        json!({"Bucket": bucket, "VersioningConfiguration": {"Status": "Enabled"}}),
    );
    for _ in 0..2 {
        admin.make(
            "s3",
            "put_object",
            json!({"Bucket": bucket, "Key": "left.txt", "Body": {"base64": "aGk="}}),
        );
    }
    admin.make(
        "s3",
        "create_multipart_upload",
        json!({"Bucket": bucket, "Key": "half.txt"}),
    );
}

fn things_made_by_hand(admin: &dyn AccountAdmin, name: &str) {
    let bucket = format!("{name}-media");
    admin.make(
        "iam",
        "create_user",
        json!({"UserName": name, "Tags": [{"Key": "own", "Value": "1"}]}),
    );
    admin.make("iam", "create_access_key", json!({"UserName": name}));
    let constraint = json!({"LocationConstraint": admin.region()});
    let args = json!({"Bucket": bucket, "CreateBucketConfiguration": constraint, "ObjectOwnership": "BucketOwnerPreferred"});
    admin.make("s3", "create_bucket", args);
    let rule = json!({"AllowedMethods": ["HEAD"], "AllowedOrigins": ["https://own.example"]});
    admin.make(
        "s3",
        "put_bucket_cors",
        json!({"Bucket": bucket, "CORSConfiguration": {"CORSRules": [rule]}}),
    );
    let tags = json!([{"Key": "own", "Value": "1"}]);
    admin.make(
        "s3",
        "put_bucket_tagging",
        json!({"Bucket": bucket, "Tagging": {"TagSet": tags}}),
    );
    admin.make("ecr", "create_repository", json!({"repositoryName": name}));
}

fn undo_most(admin: &dyn AccountAdmin, name: &str) {
    let bucket = format!("{name}-media");
    let policy = format!(
        "arn:aws:iam::{}:policy/MediaManagement-{name}",
        admin.account()
    );
    admin.make(
        "iam",
        "remove_user_from_group",
        json!({"UserName": name, "GroupName": "Apps"}),
    );
    admin.make(
        "iam",
        "detach_user_policy",
        json!({"UserName": name, "PolicyArn": policy}),
    );
    let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]});
    for _ in 0..4 {
        let args = json!({"PolicyArn": policy, "PolicyDocument": document.to_string(), "SetAsDefault": true});
        admin.make("iam", "create_policy_version", args);
    }
    admin.make(
        "iam",
        "untag_policy",
        json!({"PolicyArn": policy, "TagKeys": ["slipway:app"]}),
    );
    admin.make("s3", "delete_bucket_cors", json!({"Bucket": bucket}));
    admin.make(
        "s3",
        "delete_public_access_block",
        json!({"Bucket": bucket}),
    );
    admin.make("s3", "delete_bucket_tagging", json!({"Bucket": bucket}));
    admin.make(
        "ecr",
        "delete_repository",
        json!({"repositoryName": name, "force": true}),
    );
}
