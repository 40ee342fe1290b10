//! The AWS in memory and the emulators answer the same calls alike; each difference is named with its source.
//!
//! Invariant: a difference that is named is there. One that goes away with a new version of an emulator fails here.

use serde_json::{Map, Value, json};

use crate::aws::{Aws, Options, listen};
use crate::support::aws::{Emulator, Place};
use crate::support::{aws_inspector, unique};

/// Where moto and ministack differ from the AWS in memory: the step, which one, and what AWS does, with its source.
fn differences() -> Vec<(String, String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/conformance.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// One run of the script: each step's answer by its name.
struct Run {
    place: Place,
    answers: Vec<(&'static str, Value)>,
}

impl Run {
    /// Makes a call and notes its answer.
    fn call(&mut self, step: &'static str, service: &str, method: &str, args: Value) -> Value {
        let (noted, answer) = match aws_inspector::call(&self.place, service, method, args) {
            Ok(answer) => (json!({"ok": told(&answer)}), answer),
            Err(error) => (
                json!({"code": error["code"], "status": error["status"]}),
                Value::Null,
            ),
        };
        self.answers.push((step, noted));
        answer
    }
}

/// An answer without what is drawn or depends on the time: ids, dates, secrets, digests.
fn told(answer: &Value) -> Value {
    let is_drawn = |name: &str| {
        name.ends_with("Date")
            || name.ends_with("At")
            || [
                "UserId",
                "GroupId",
                "PolicyId",
                "AccessKeyId",
                "SecretAccessKey",
                "LastModified",
                "VersionId",
                "UploadId",
                "Initiated",
                "ResponseMetadata",
                "Owner",
                "ETag",
                "KeyMarker",
                "VersionIdMarker",
                "BucketArn",
                "Arn",
                "imageManifest",
                "Message",
            ]
            .contains(&name)
    };
    match answer {
        Value::Object(members) => {
            let told = members
                .iter()
                .filter(|(name, _)| !is_drawn(name))
                .map(|(name, value)| (name.clone(), told(value)));
            Value::Object(told.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(told).collect(),
        other => other.clone(),
    }
}

/// Whether two answers agree in all that both say.
fn agree(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) if a.contains_key("ok") == b.contains_key("ok") => a
            .iter()
            .all(|(name, value)| b.get(name).is_none_or(|other| agree(value, other))),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| agree(a, b))
        }
        // Documents are compared as JSON: how they are written is not AWS's either.
        (Value::String(a), Value::String(b)) => {
            a == b
                || matches!((serde_json::from_str::<Value>(a), serde_json::from_str::<Value>(b)), (Ok(a), Ok(b)) if a == b)
        }
        _ => a == b,
    }
}

fn document(action: &str) -> String {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "arn:aws:s3:::*"}]}).to_string()
}

fn users_and_groups(run: &mut Run) {
    let tags = json!([{"Key": "slipway:app", "Value": "acme"}]);
    run.call(
        "create a user",
        "iam",
        "create_user",
        json!({"UserName": "acme", "Path": "/apps/", "Tags": tags}),
    );
    run.call(
        "create it again",
        "iam",
        "create_user",
        json!({"UserName": "acme"}),
    );
    run.call(
        "create one by another case",
        "iam",
        "create_user",
        json!({"UserName": "ACME"}),
    );
    run.call(
        "get the user",
        "iam",
        "get_user",
        json!({"UserName": "acme"}),
    );
    run.call(
        "get a user that is not there",
        "iam",
        "get_user",
        json!({"UserName": "nobody"}),
    );
    run.call(
        "tag it",
        "iam",
        "tag_user",
        json!({"UserName": "acme", "Tags": [{"Key": "team", "Value": "shop"}]}),
    );
    run.call(
        "untag it",
        "iam",
        "untag_user",
        json!({"UserName": "acme", "TagKeys": ["team", "other"]}),
    );
    run.call(
        "list its tags",
        "iam",
        "list_user_tags",
        json!({"UserName": "acme"}),
    );
    run.call(
        "create a group",
        "iam",
        "create_group",
        json!({"GroupName": "Apps"}),
    );
    run.call(
        "create the group again",
        "iam",
        "create_group",
        json!({"GroupName": "Apps"}),
    );
    run.call(
        "put it into the group",
        "iam",
        "add_user_to_group",
        json!({"GroupName": "Apps", "UserName": "acme"}),
    );
    run.call(
        "put it there again",
        "iam",
        "add_user_to_group",
        json!({"GroupName": "Apps", "UserName": "acme"}),
    );
    run.call(
        "put nobody there",
        "iam",
        "add_user_to_group",
        json!({"GroupName": "Apps", "UserName": "nobody"}),
    );
    run.call(
        "put it into no group",
        "iam",
        "add_user_to_group",
        json!({"GroupName": "None", "UserName": "acme"}),
    );
    run.call(
        "list its groups",
        "iam",
        "list_groups_for_user",
        json!({"UserName": "acme"}),
    );
    run.call(
        "get the group",
        "iam",
        "get_group",
        json!({"GroupName": "Apps"}),
    );
    run.call(
        "delete a group with a user",
        "iam",
        "delete_group",
        json!({"GroupName": "Apps"}),
    );
}

fn keys(run: &mut Run) {
    let key = run.call(
        "create a key",
        "iam",
        "create_access_key",
        json!({"UserName": "acme"}),
    );
    let id = key["AccessKey"]["AccessKeyId"].clone();
    run.call(
        "create a second",
        "iam",
        "create_access_key",
        json!({"UserName": "acme"}),
    );
    run.call(
        "create a third",
        "iam",
        "create_access_key",
        json!({"UserName": "acme"}),
    );
    run.call(
        "create one for nobody",
        "iam",
        "create_access_key",
        json!({"UserName": "nobody"}),
    );
    run.call(
        "switch it off",
        "iam",
        "update_access_key",
        json!({"UserName": "acme", "AccessKeyId": id, "Status": "Inactive"}),
    );
    run.call(
        "ask for its use",
        "iam",
        "get_access_key_last_used",
        json!({"AccessKeyId": id}),
    );
    let listed = run.call(
        "list the keys",
        "iam",
        "list_access_keys",
        json!({"UserName": "acme"}),
    );
    run.call(
        "delete the key",
        "iam",
        "delete_access_key",
        json!({"UserName": "acme", "AccessKeyId": id}),
    );
    // As many as there are: an emulator takes a third.
    for key in listed["AccessKeyMetadata"].as_array().into_iter().flatten() {
        let _ = aws_inspector::call(
            &run.place,
            "iam",
            "delete_access_key",
            json!({"UserName": "acme", "AccessKeyId": key["AccessKeyId"]}),
        );
    }
    run.call(
        "delete it again",
        "iam",
        "delete_access_key",
        json!({"UserName": "acme", "AccessKeyId": id}),
    );
}

fn policies(run: &mut Run) {
    let create =
        json!({"PolicyName": "Media", "Path": "/own/", "PolicyDocument": document("s3:GetObject")});
    let policy = run.call("create a policy", "iam", "create_policy", create.clone());
    let arn = policy["Policy"]["Arn"].clone();
    run.call("create the policy again", "iam", "create_policy", create);
    run.call(
        "create one that is none",
        "iam",
        "create_policy",
        json!({"PolicyName": "None", "PolicyDocument": "{"}),
    );
    run.call(
        "get the policy",
        "iam",
        "get_policy",
        json!({"PolicyArn": arn}),
    );
    run.call(
        "get its version",
        "iam",
        "get_policy_version",
        json!({"PolicyArn": arn, "VersionId": "v1"}),
    );
    for step in [
        "version 2",
        "version 3",
        "version 4",
        "version 5",
        "version 6",
    ] {
        let version = json!({"PolicyArn": arn, "PolicyDocument": document("s3:PutObject"), "SetAsDefault": true});
        run.call(step, "iam", "create_policy_version", version);
    }
    run.call(
        "list its versions",
        "iam",
        "list_policy_versions",
        json!({"PolicyArn": arn}),
    );
    run.call(
        "delete the default",
        "iam",
        "delete_policy_version",
        json!({"PolicyArn": arn, "VersionId": "v5"}),
    );
    run.call(
        "delete the policy with versions",
        "iam",
        "delete_policy",
        json!({"PolicyArn": arn}),
    );
    for (step, id) in [
        ("prune 1", "v1"),
        ("prune 2", "v2"),
        ("prune 3", "v3"),
        ("prune 4", "v4"),
        ("prune none", "v4"),
    ] {
        run.call(
            step,
            "iam",
            "delete_policy_version",
            json!({"PolicyArn": arn, "VersionId": id}),
        );
    }
    run.call(
        "attach it",
        "iam",
        "attach_user_policy",
        json!({"UserName": "acme", "PolicyArn": arn}),
    );
    run.call(
        "attach it again",
        "iam",
        "attach_user_policy",
        json!({"UserName": "acme", "PolicyArn": arn}),
    );
    let other = json!(format!("arn:aws:iam::{}:policy/nothing", run.place.account));
    run.call(
        "attach nothing",
        "iam",
        "attach_user_policy",
        json!({"UserName": "acme", "PolicyArn": other}),
    );
    run.call(
        "list what is attached",
        "iam",
        "list_attached_user_policies",
        json!({"UserName": "acme"}),
    );
    run.call(
        "delete the policy while attached",
        "iam",
        "delete_policy",
        json!({"PolicyArn": arn}),
    );
    run.call(
        "delete the user with things",
        "iam",
        "delete_user",
        json!({"UserName": "acme"}),
    );
    run.call(
        "detach it",
        "iam",
        "detach_user_policy",
        json!({"UserName": "acme", "PolicyArn": arn}),
    );
    run.call(
        "detach it again",
        "iam",
        "detach_user_policy",
        json!({"UserName": "acme", "PolicyArn": arn}),
    );
    run.call(
        "list own policies",
        "iam",
        "list_policies",
        json!({"Scope": "Local"}),
    );
    run.call(
        "delete the policy",
        "iam",
        "delete_policy",
        json!({"PolicyArn": arn}),
    );
    run.call(
        "get what is deleted",
        "iam",
        "get_policy",
        json!({"PolicyArn": arn}),
    );
}

fn belongings(run: &mut Run) {
    run.call(
        "get no password",
        "iam",
        "get_login_profile",
        json!({"UserName": "acme"}),
    );
    run.call(
        "create a password",
        "iam",
        "create_login_profile",
        json!({"UserName": "acme", "Password": "a-Long-1-password"}),
    );
    run.call(
        "get the password",
        "iam",
        "get_login_profile",
        json!({"UserName": "acme"}),
    );
    run.call(
        "delete the password",
        "iam",
        "delete_login_profile",
        json!({"UserName": "acme"}),
    );
    let inline = json!({"UserName": "acme", "PolicyName": "hand", "PolicyDocument": document("s3:GetObject")});
    run.call("put an inline policy", "iam", "put_user_policy", inline);
    run.call(
        "list inline policies",
        "iam",
        "list_user_policies",
        json!({"UserName": "acme"}),
    );
    run.call(
        "get the inline policy",
        "iam",
        "get_user_policy",
        json!({"UserName": "acme", "PolicyName": "hand"}),
    );
    run.call(
        "delete the inline policy",
        "iam",
        "delete_user_policy",
        json!({"UserName": "acme", "PolicyName": "hand"}),
    );
    run.call(
        "delete it once more",
        "iam",
        "delete_user_policy",
        json!({"UserName": "acme", "PolicyName": "hand"}),
    );
    let device = run.call(
        "create an MFA device",
        "iam",
        "create_virtual_mfa_device",
        json!({"VirtualMFADeviceName": "acme"}),
    );
    let serial = device["VirtualMFADevice"]["SerialNumber"].clone();
    let codes = json!({"UserName": "acme", "SerialNumber": serial, "AuthenticationCode1": "123456", "AuthenticationCode2": "654321"});
    run.call("enable it", "iam", "enable_mfa_device", codes);
    run.call(
        "list MFA devices",
        "iam",
        "list_mfa_devices",
        json!({"UserName": "acme"}),
    );
    run.call(
        "deactivate it",
        "iam",
        "deactivate_mfa_device",
        json!({"UserName": "acme", "SerialNumber": serial}),
    );
    run.call(
        "take it from the group",
        "iam",
        "remove_user_from_group",
        json!({"GroupName": "Apps", "UserName": "acme"}),
    );
    run.call(
        "delete the user",
        "iam",
        "delete_user",
        json!({"UserName": "acme"}),
    );
    run.call(
        "delete the user again",
        "iam",
        "delete_user",
        json!({"UserName": "acme"}),
    );
    run.call(
        "delete the group",
        "iam",
        "delete_group",
        json!({"GroupName": "Apps"}),
    );
    run.call("who am I", "sts", "get_caller_identity", json!({}));
}

fn buckets(run: &mut Run, bucket: &str) {
    let named = |more: Value| {
        let mut args = json!({"Bucket": bucket});
        args.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        args
    };
    let here = named(
        json!({"CreateBucketConfiguration": {"LocationConstraint": "us-west-2"}, "ObjectOwnership": "BucketOwnerEnforced"}),
    );
    run.call("head no bucket", "s3", "head_bucket", named(json!({})));
    run.call(
        "create a bucket nowhere",
        "s3",
        "create_bucket",
        named(json!({})),
    );
    run.call("create a bucket", "s3", "create_bucket", here.clone());
    run.call("create the bucket again", "s3", "create_bucket", here);
    run.call("head the bucket", "s3", "head_bucket", named(json!({})));
    run.call("get no tags", "s3", "get_bucket_tagging", named(json!({})));
    let tags = json!({"Tagging": {"TagSet": [{"Key": "slipway:app", "Value": "acme & <co>"}]}});
    run.call("tag the bucket", "s3", "put_bucket_tagging", named(tags));
    run.call("get its tags", "s3", "get_bucket_tagging", named(json!({})));
    run.call("get no rules", "s3", "get_bucket_cors", named(json!({})));
    let rule = json!({"AllowedOrigins": ["*"], "AllowedMethods": ["GET"], "AllowedHeaders": ["Authorization"], "MaxAgeSeconds": 3000});
    run.call(
        "put rules",
        "s3",
        "put_bucket_cors",
        named(json!({"CORSConfiguration": {"CORSRules": [rule]}})),
    );
    run.call("get the rules", "s3", "get_bucket_cors", named(json!({})));
    run.call(
        "is the public blocked by itself",
        "s3",
        "get_public_access_block",
        named(json!({})),
    );
    let block = json!({"BlockPublicAcls": true, "IgnorePublicAcls": true, "BlockPublicPolicy": true, "RestrictPublicBuckets": true});
    run.call(
        "block the public",
        "s3",
        "put_public_access_block",
        named(json!({"PublicAccessBlockConfiguration": block})),
    );
    run.call(
        "is the public blocked",
        "s3",
        "get_public_access_block",
        named(json!({})),
    );
    run.call(
        "whose are objects",
        "s3",
        "get_bucket_ownership_controls",
        named(json!({})),
    );
    run.call(
        "a wrong owner",
        "s3",
        "get_bucket_cors",
        named(json!({"ExpectedBucketOwner": "000000000001"})),
    );
    run.call(
        "put an object",
        "s3",
        "put_object",
        named(json!({"Key": "k", "Body": {"base64": "aGk="}})),
    );
    run.call(
        "delete a full bucket",
        "s3",
        "delete_bucket",
        named(json!({})),
    );
    run.call(
        "switch versions on",
        "s3",
        "put_bucket_versioning",
        named(json!({"VersioningConfiguration": {"Status": "Enabled"}})),
    );
    run.call(
        "put it anew",
        "s3",
        "put_object",
        named(json!({"Key": "k", "Body": {"base64": "aGlo"}})),
    );
    run.call(
        "delete it",
        "s3",
        "delete_object",
        named(json!({"Key": "k"})),
    );
    let listed = run.call(
        "list versions",
        "s3",
        "list_object_versions",
        named(json!({})),
    );
    let all = [&listed["Versions"], &listed["DeleteMarkers"]]
        .into_iter()
        .flat_map(|list| list.as_array().into_iter().flatten());
    let all: Vec<Value> = all
        .map(|it| json!({"Key": it["Key"], "VersionId": it["VersionId"]}))
        .collect();
    run.call(
        "delete all versions",
        "s3",
        "delete_objects",
        named(json!({"Delete": {"Objects": all, "Quiet": true}})),
    );
    let upload = run.call(
        "begin an upload",
        "s3",
        "create_multipart_upload",
        named(json!({"Key": "large"})),
    );
    run.call(
        "list uploads",
        "s3",
        "list_multipart_uploads",
        named(json!({})),
    );
    run.call(
        "end the upload",
        "s3",
        "abort_multipart_upload",
        named(json!({"Key": "large", "UploadId": upload["UploadId"]})),
    );
    run.call("delete the bucket", "s3", "delete_bucket", named(json!({})));
    run.call(
        "delete the bucket again",
        "s3",
        "delete_bucket",
        named(json!({})),
    );
    run.call(
        "head what is deleted",
        "s3",
        "head_bucket",
        named(json!({})),
    );
}

fn repositories(run: &mut Run) {
    let named = json!({"repositoryName": "acme"});
    let tags = json!([{"Key": "slipway:app", "Value": "acme"}]);
    let made = run.call(
        "create a repository",
        "ecr",
        "create_repository",
        json!({"repositoryName": "acme", "tags": tags}),
    );
    let arn = made["repository"]["repositoryArn"].clone();
    run.call(
        "create the repository again",
        "ecr",
        "create_repository",
        named.clone(),
    );
    run.call(
        "describe it",
        "ecr",
        "describe_repositories",
        json!({"repositoryNames": ["acme"]}),
    );
    run.call(
        "describe none",
        "ecr",
        "describe_repositories",
        json!({"repositoryNames": ["none"]}),
    );
    run.call(
        "tag the repository",
        "ecr",
        "tag_resource",
        json!({"resourceArn": arn, "tags": [{"Key": "team", "Value": "shop"}]}),
    );
    run.call(
        "untag the repository",
        "ecr",
        "untag_resource",
        json!({"resourceArn": arn, "tagKeys": ["team"]}),
    );
    run.call(
        "list the repository's tags",
        "ecr",
        "list_tags_for_resource",
        json!({"resourceArn": arn}),
    );
    run.call(
        "get no lifecycle",
        "ecr",
        "get_lifecycle_policy",
        named.clone(),
    );
    let selection = json!({"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14});
    let policy = json!({"rules": [{"rulePriority": 1, "description": "old ones", "selection": selection, "action": {"type": "expire"}}]});
    let put = |policy: &Value| json!({"repositoryName": "acme", "lifecyclePolicyText": policy.to_string()});
    run.call(
        "put a lifecycle",
        "ecr",
        "put_lifecycle_policy",
        put(&policy),
    );
    run.call(
        "get the lifecycle",
        "ecr",
        "get_lifecycle_policy",
        named.clone(),
    );
    let mut wrong = policy.clone();
    wrong["rules"][0]["selection"]["countUnit"] = Value::Null;
    run.call(
        "put one with a null",
        "ecr",
        "put_lifecycle_policy",
        put(&wrong),
    );
    let mut wrong = policy;
    wrong["rules"][0]["selection"]["tagStatus"] = json!("tagged");
    run.call(
        "put one for tags without tags",
        "ecr",
        "put_lifecycle_policy",
        put(&wrong),
    );
    let digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let blob = json!({"mediaType": "application/vnd.docker.container.image.v1+json", "size": 2, "digest": digest});
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest =
        json!({"schemaVersion": 2, "mediaType": kind, "config": blob, "layers": []}).to_string();
    run.call(
        "push an image",
        "ecr",
        "put_image",
        json!({"repositoryName": "acme", "imageManifest": manifest, "imageTag": "v1"}),
    );
    run.call("count the images", "ecr", "list_images", named.clone());
    run.call(
        "delete a full repository",
        "ecr",
        "delete_repository",
        named.clone(),
    );
    run.call(
        "delete it by force",
        "ecr",
        "delete_repository",
        json!({"repositoryName": "acme", "force": true}),
    );
    run.call(
        "delete the repository again",
        "ecr",
        "delete_repository",
        named.clone(),
    );
    run.call("list images of none", "ecr", "list_images", named);
}

fn script(place: Place, bucket: &str) -> Vec<(&'static str, Value)> {
    let mut run = Run {
        place,
        answers: Vec::new(),
    };
    users_and_groups(&mut run);
    keys(&mut run);
    policies(&mut run);
    belongings(&mut run);
    buckets(&mut run, bucket);
    repositories(&mut run);
    run.answers
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aws_in_memory_answers_as_the_emulators_do_where_they_are_right() {
    let aws = Aws::new(Options::default());
    let server = listen::on_loopback(&aws);
    let (differences, mut wrong) = (differences(), Vec::new());
    for emulator in [Emulator::Moto, Emulator::Ministack] {
        let theirs = Place::new(emulator);
        let credentials = aws.role_session(&theirs.account, "slipway", None);
        let ours = Place {
            endpoint: server.endpoint.clone(),
            credentials,
            ..theirs.clone()
        };
        let bucket = unique("bucket");
        let (ours, theirs) =
            tokio::task::spawn_blocking(move || (script(ours, &bucket), script(theirs, &bucket)))
                .await
                .unwrap();
        assert_eq!(ours.len(), theirs.len(), "{emulator:?}");
        for ((step, ours), (_, theirs)) in ours.iter().zip(&theirs) {
            let is_named = differences
                .iter()
                .any(|(named, which, _)| named == step && *which == format!("{emulator:?}"));
            match (agree(ours, theirs) && agree(theirs, ours), is_named) {
                (true, false) | (false, true) => {}
                (true, true) => wrong.push(format!(
                    "{emulator:?}, {step}: the difference is gone, {theirs}"
                )),
                (false, false) => wrong.push(format!(
                    "{emulator:?}, {step}: {ours}\n      {emulator:?} says {theirs}"
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
