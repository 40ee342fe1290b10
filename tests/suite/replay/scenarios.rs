//! The jobs that are replayed. A kind of job that is new needs one entry here.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use slipway::domain::job::JobKind;

use crate::support::api::Api;
use crate::support::aws::{Emulator, Place};
use crate::support::eyes;
use crate::support::wire::Fault;

/// A job, what is there before it, and what goes wrong in every run of it.
pub struct Scenario {
    pub title: &'static str,
    pub emulator: Emulator,
    pub region: &'static str,
    /// What the app is onboarded with.
    pub body: fn(&str) -> Value,
    /// What is there before the app.
    pub before: fn(&Place, &str),
    /// The job, where it is another than the onboarding.
    pub later: Option<Later>,
    pub always: &'static [(&'static str, usize, Fault)],
}

/// A job of an app that was onboarded.
pub struct Later {
    pub kind: JobKind,
    /// What is done to the app's place by hand before the job.
    pub damage: fn(&Place, &str),
    pub request: fn(&Api, &str) -> RequestBuilder,
}

impl Scenario {
    pub fn kind(&self) -> JobKind {
        self.later.as_ref().map_or(JobKind::Onboard, |later| later.kind)
    }

    /// The request for its job.
    pub fn request(&self, api: &Api, name: &str) -> RequestBuilder {
        match &self.later {
            None => api.request(Method::POST, "/v1/apps").json(&(self.body)(name)),
            Some(later) => (later.request)(api, name),
        }
    }
}

fn nothing(_: &Place, _: &str) {}

pub static SCENARIOS: [Scenario; 6] = [
    Scenario {
        title: "a new app with shared access",
        emulator: Emulator::Moto,
        region: "us-west-2",
        body: |name| json!({"name": name}),
        before: nothing,
        later: None,
        always: &[],
    },
    Scenario {
        title: "a new app with scoped access in us-east-1",
        emulator: Emulator::Ministack,
        region: "us-east-1",
        body: |name| json!({"name": name, "media_access": "scoped", "tags": {"team": "shop"}}),
        before: nothing,
        later: None,
        always: &[],
    },
    Scenario {
        title: "adoption of what is there",
        emulator: Emulator::Ministack,
        region: "us-west-2",
        body: |name| json!({"name": name, "on_existing": "adopt", "buckets": [{"name": format!("{name}-media")}]}),
        before: things_made_by_hand,
        later: None,
        always: &[],
    },
    Scenario {
        title: "repair of what was changed by hand",
        emulator: Emulator::Moto,
        region: "us-west-2",
        body: |name| json!({"name": name, "media_access": "scoped", "buckets": [{"name": format!("{name}-media")}]}),
        before: nothing,
        later: Some(Later {
            kind: JobKind::Repair,
            damage: undo_most,
            request: |api, name| api.request(Method::POST, &format!("/v1/apps/{name}/repair")),
        }),
        always: &[],
    },
    Scenario {
        title: "recovery of an access key whose answer was lost",
        emulator: Emulator::Moto,
        region: "us-west-2",
        body: |name| json!({"name": name, "buckets": [], "repositories": []}),
        before: nothing,
        later: None,
        always: &[("iam:CreateAccessKey", 0, Fault::ResetAfter)],
    },
    Scenario {
        title: "recovery of a bucket whose answer was lost where tags do not come with it",
        emulator: Emulator::Moto,
        region: "us-west-2",
        body: |name| json!({"name": name, "access_key": false, "repositories": []}),
        before: nothing,
        later: None,
        always: &[("s3:CreateBucket", 0, Fault::ResetAfter)],
    },
];

pub fn made(place: &Place, service: &str, method: &str, args: Value) -> Value {
    eyes::call(place, service, method, args).unwrap_or_else(|error| panic!("{service} {method}: {error}"))
}

fn things_made_by_hand(place: &Place, name: &str) {
    let bucket = format!("{name}-media");
    made(place, "iam", "create_user", json!({"UserName": name, "Tags": [{"Key": "own", "Value": "1"}]}));
    made(place, "iam", "create_access_key", json!({"UserName": name}));
    let constraint = json!({"LocationConstraint": place.region});
    let args = json!({"Bucket": bucket, "CreateBucketConfiguration": constraint, "ObjectOwnership": "BucketOwnerPreferred"});
    made(place, "s3", "create_bucket", args);
    let rule = json!({"AllowedMethods": ["HEAD"], "AllowedOrigins": ["https://own.example"]});
    made(place, "s3", "put_bucket_cors", json!({"Bucket": bucket, "CORSConfiguration": {"CORSRules": [rule]}}));
    let tags = json!([{"Key": "own", "Value": "1"}]);
    made(place, "s3", "put_bucket_tagging", json!({"Bucket": bucket, "Tagging": {"TagSet": tags}}));
    made(place, "ecr", "create_repository", json!({"repositoryName": name}));
}

fn undo_most(place: &Place, name: &str) {
    let bucket = format!("{name}-media");
    let policy = format!("arn:aws:iam::{}:policy/MediaManagement-{name}", place.account);
    made(place, "iam", "remove_user_from_group", json!({"UserName": name, "GroupName": "Apps"}));
    made(place, "iam", "detach_user_policy", json!({"UserName": name, "PolicyArn": policy}));
    let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]});
    for _ in 0..4 {
        let args = json!({"PolicyArn": policy, "PolicyDocument": document.to_string(), "SetAsDefault": true});
        made(place, "iam", "create_policy_version", args);
    }
    made(place, "iam", "untag_policy", json!({"PolicyArn": policy, "TagKeys": ["slipway:app"]}));
    made(place, "s3", "delete_bucket_cors", json!({"Bucket": bucket}));
    made(place, "s3", "delete_public_access_block", json!({"Bucket": bucket}));
    made(place, "s3", "delete_bucket_tagging", json!({"Bucket": bucket}));
    made(place, "ecr", "delete_repository", json!({"repositoryName": name, "force": true}));
}
