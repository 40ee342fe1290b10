//! The role's policy on ministack with `AUTH=true`, which evaluates actions and resources: somebody else's reading of AWS.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use slipway::domain::spec::Defaults;
use slipway::provision::conventions::Conventions;
use slipway::provision::permissions;

use crate::removal::hang_things_on;
use crate::support::aws::Place;
use crate::support::server::{Server, Setup};
use crate::support::wire::Fault;
use crate::support::{aws_inspector, unique};

/// How long a denial on what was made just now is waited out: the emulator knows at once what it made.
const SHORTLY: Duration = Duration::from_secs(1);

/// A new account in the emulator that enforces policies, and a session of a role with this policy.
fn place_with(policy: impl Fn(&str) -> Value) -> Place {
    let place = Place::owner_of_an_enforcing_account();
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]});
    aws_inspector::call(
        &place,
        "iam",
        "create_role",
        json!({"RoleName": "slipway", "AssumeRolePolicyDocument": trust.to_string()}),
    )
    .expect("a role");
    let document = policy(&place.account).to_string();
    aws_inspector::call(
        &place,
        "iam",
        "put_role_policy",
        json!({"RoleName": "slipway", "PolicyName": "slipway", "PolicyDocument": document}),
    )
    .expect("a policy");
    place
}

/// The policy, as far as the emulator can tell: it names users without their path, takes some calls for
/// calls on everything or on another resource, and knows none of the conditions. AWS does.
fn whole_policy(account: &str) -> Value {
    let mut policy =
        permissions::role_policy(&Conventions::new(&Defaults::default(), "aws", account));
    for statement in policy["Statement"].as_array_mut().unwrap() {
        let unseen = [
            "iam:CreatePolicy",
            "iam:AddUserToGroup",
            "iam:RemoveUserFromGroup",
            "iam:GetAccessKeyLastUsed",
            "ecr:DescribeRepositories",
            "ecr:TagResource",
            "ecr:UntagResource",
        ];
        if statement["Action"]
            .as_array()
            .unwrap()
            .iter()
            .any(|action| unseen.contains(&action.as_str().unwrap()))
        {
            statement["Resource"] = json!("*");
        }
        statement.as_object_mut().unwrap().remove("Condition");
        let resource = statement["Resource"]
            .to_string()
            .replace("user/apps/*", "user/*");
        statement["Resource"] = serde_json::from_str(&resource).unwrap();
    }
    policy
}

/// Everything that the service does, as one story; answers the troubles met, if any.
async fn everything(owner: &Place) -> Vec<Value> {
    let mut setup = Setup::new(owner.assume("slipway"));
    setup.timing.propagation = SHORTLY;
    let server = setup.start().await;
    let mut troubles = Vec::new();

    let shared = unique("shared");
    setup
        .proxy
        .break_calls([("iam:CreateAccessKey", 0, Fault::ResetAfter)]);
    troubles.extend(job(&server, "/v1/apps", Some(json!({"name": shared}))).await);
    troubles.extend(listing(&server, &shared).await);

    add_unmanaged(owner, &shared);
    let look: Value = server
        .post_empty(&format!("/v1/apps/{shared}/drift"))
        .await
        .json()
        .await
        .unwrap();
    troubles.extend(Some(look["error"].clone()).filter(|error| !error.is_null()));
    let named =
        ["membership/unmanaged", "inline-policy/unmanaged"].map(|it| format!("iam:{it}/{shared}"));
    let remove = json!({"remove": named});
    troubles.extend(job(&server, &format!("/v1/apps/{shared}/repair"), Some(remove)).await);

    let adopted = unique("adopted");
    things_made_by_hand(owner, &adopted);
    let bucket = json!([{"name": format!("{adopted}-media")}]);
    troubles.extend(
        job(&server, "/v1/apps", Some(json!({"name": adopted, "on_existing": "adopt", "buckets": bucket, "media_access": "scoped"}))).await,
    );
    damage(owner, &adopted);
    troubles.extend(job(&server, &format!("/v1/apps/{adopted}/repair"), None).await);

    let lost = unique("lost");
    setup
        .proxy
        .break_calls([("s3:CreateBucket", 0, Fault::ResetBefore)]);
    aws_inspector::call(
        owner,
        "s3",
        "create_bucket",
        json!({"Bucket": format!("{lost}-media"), "CreateBucketConfiguration": {"LocationConstraint": "us-west-2"}}),
    )
    .unwrap();
    troubles.extend(
        job(&server, "/v1/apps", Some(json!({"name": lost, "buckets": [{"name": format!("{lost}-media")}], "repositories": []}))).await,
    );

    let rule = json!({"rulePriority": 1, "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 5}, "action": {"type": "expire"}});
    let other = json!({"name": shared, "repositories": [{"lifecycle": {"rules": [rule]}}]});
    let plan: Value = server
        .post(&format!("/v1/apps/{shared}/plan"), &other)
        .await
        .json()
        .await
        .unwrap();
    troubles.extend(
        plan["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|change| change["error"].clone())
            .filter(|error| !error.is_null()),
    );
    server.tasks.stop();
    server.tasks.ended().await;
    troubles
}

/// The later days of an app, as one story: it is changed, its key is rotated and switched, and it is removed; another is
/// given back. Answers the troubles met, if any.
async fn later_days(owner: &Place) -> Vec<Value> {
    let mut setup = Setup::new(owner.assume("slipway"));
    setup.settings.quarantine = Duration::ZERO;
    setup.timing.propagation = SHORTLY;
    let server = setup.start().await;
    let name = unique("acme");
    let (old, kept) = (format!("{name}-old"), format!("{name}-kept"));
    let body = json!({"name": name, "media_access": "scoped", "buckets": [{"name": old}, {"name": kept}], "tags": {"team": "shop"},
        "repositories": [{"name": old}, {"name": kept}]});
    let mut troubles = job(&server, "/v1/apps", Some(body)).await;
    let constraint = json!({"Bucket": old, "Key": "left.txt"});
    let _ = aws_inspector::call(
        owner,
        "s3",
        "put_object",
        json!({"Bucket": old, "Key": "left.txt", "Body": {"base64": "aGk="}}),
    );
    let _ = aws_inspector::call(owner, "s3", "create_multipart_upload", constraint);
    let changed = json!({"name": name, "media_access": "scoped", "buckets": [{"name": kept}], "repositories": [{"name": kept}]});
    let app = format!("/v1/apps/{name}");
    troubles.extend(
        asked(
            &server,
            Method::PUT,
            &format!("{app}?remove=true&confirm={name}"),
            Some(&changed),
        )
        .await,
    );
    let credentials = server
        .get(&format!("{app}/credentials"))
        .await
        .json::<Value>()
        .await
        .unwrap();
    if let Some(key) = credentials["items"][0]["access_key_id"].as_str() {
        troubles.extend(
            asked(
                &server,
                Method::POST,
                &format!("{app}/credentials/{key}/deactivate"),
                None,
            )
            .await,
        );
        troubles.extend(
            asked(
                &server,
                Method::POST,
                &format!("{app}/credentials/{key}/delete"),
                None,
            )
            .await,
        );
    }
    hang_things_on(owner, &name);
    troubles.extend(removed(&server, &name).await);

    let adopted = unique("adopted");
    aws_inspector::call(
        owner,
        "iam",
        "create_user",
        json!({"UserName": adopted, "Path": "/apps/"}),
    )
    .unwrap();
    let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]});
    let policy = json!({"PolicyName": format!("MediaManagement-{adopted}"), "PolicyDocument": document.to_string()});
    aws_inspector::call(owner, "iam", "create_policy", policy).unwrap();
    let bucket = json!([{"name": format!("{adopted}-media")}]);
    let body = json!({"name": adopted, "on_existing": "adopt", "media_access": "scoped", "buckets": bucket, "repositories": []});
    troubles.extend(job(&server, "/v1/apps", Some(body)).await);
    troubles.extend(removed(&server, &adopted).await);
    server.tasks.stop();
    server.tasks.ended().await;
    troubles
}

/// The troubles of an app's removal, as far as it goes.
async fn removed(server: &Server, name: &str) -> Vec<Value> {
    let mut troubles = asked(server, Method::DELETE, &format!("/v1/apps/{name}"), None).await;
    while server.json(&format!("/v1/apps/{name}")).await["state"] == "quarantined" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let jobs = server
        .json(&format!("/v1/jobs?app={name}&kind=remove"))
        .await;
    if let Some(id) = jobs["items"][0]["id"].as_str() {
        troubles.extend(troubles_of(&server.wait(id).await));
    }
    troubles
}

/// The errors of a job that an earlier error may keep from being taken.
async fn asked(server: &Server, method: Method, path: &str, body: Option<&Value>) -> Vec<Value> {
    let request = server.request(method, path);
    let response = body
        .iter()
        .fold(request, |request, body| request.json(body))
        .send()
        .await
        .unwrap();
    let (accepted, answer): (bool, Value) =
        (response.status() == 202, response.json().await.unwrap());
    if accepted {
        troubles_of(&server.wait(answer["id"].as_str().unwrap()).await)
    } else {
        vec![answer]
    }
}

fn troubles_of(job: &Value) -> Vec<Value> {
    let errors = std::iter::once(&job["error"]).chain(
        job["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| &step["error"]),
    );
    errors.filter(|error| !error.is_null()).cloned().collect()
}

/// The troubles of a job, or nothing.
async fn job(server: &Server, path: &str, body: Option<Value>) -> Vec<Value> {
    troubles_of(&server.run(path, body.as_ref()).await)
}

async fn listing(server: &Server, name: &str) -> Option<Value> {
    let response = server.get(&format!("/v1/apps/{name}/credentials")).await;
    if response.status().is_success() {
        None
    } else {
        Some(response.json().await.unwrap())
    }
}

fn things_made_by_hand(owner: &Place, name: &str) {
    aws_inspector::call(
        owner,
        "iam",
        "create_user",
        json!({"UserName": name, "Path": "/apps/"}),
    )
    .unwrap();
    let constraint = json!({"LocationConstraint": "us-west-2"});
    let args = json!({"Bucket": format!("{name}-media"), "CreateBucketConfiguration": constraint, "ObjectOwnership": "BucketOwnerPreferred"});
    aws_inspector::call(owner, "s3", "create_bucket", args).unwrap();
    aws_inspector::call(
        owner,
        "ecr",
        "create_repository",
        json!({"repositoryName": name}),
    )
    .unwrap();
}

/// What nobody asked for; where the onboarding failed there is no user for it.
fn add_unmanaged(owner: &Place, name: &str) {
    let document =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}).to_string();
    let _ = aws_inspector::call(
        owner,
        "iam",
        "create_group",
        json!({"GroupName": "unmanaged"}),
    );
    let _ = aws_inspector::call(
        owner,
        "iam",
        "add_user_to_group",
        json!({"GroupName": "unmanaged", "UserName": name}),
    );
    let _ = aws_inspector::call(
        owner,
        "iam",
        "put_user_policy",
        json!({"UserName": name, "PolicyName": "unmanaged", "PolicyDocument": document}),
    );
}

fn damage(owner: &Place, name: &str) {
    let _ = aws_inspector::call(
        owner,
        "s3",
        "delete_public_access_block",
        json!({"Bucket": format!("{name}-media")}),
    );
    let policy = format!(
        "arn:aws:iam::{}:policy/MediaManagement-{name}",
        owner.account
    );
    let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]});
    for _ in 0..4 {
        // Where the onboarding failed there is nothing to damage.
        let _ = aws_inspector::call(
            owner,
            "iam",
            "create_policy_version",
            json!({"PolicyArn": policy, "PolicyDocument": document.to_string(), "SetAsDefault": true}),
        );
    }
    let _ = aws_inspector::call(
        owner,
        "iam",
        "untag_policy",
        json!({"PolicyArn": policy, "TagKeys": ["slipway:app"]}),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_is_enough_for_another_reading_of_aws() {
    let mut troubles = everything(&place_with(whole_policy)).await;
    troubles.extend(later_days(&place_with(whole_policy)).await);
    let denied: Vec<&Value> = troubles
        .iter()
        .filter(|job_error| job_error.to_string().contains("AccessDenied"))
        .collect();
    assert!(
        denied.is_empty(),
        "{}",
        denied
            .iter()
            .map(|job_error| job_error["detail"].to_string())
            .collect::<Vec<_>>()
            .join("\n")
    );
}
