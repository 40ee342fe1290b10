//! What the AWS in memory has that emulators have not.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::server::{ACCOUNT, Setup, role_policy};
use super::{Aws, Consistency, Options, Rate, Rates};
use crate::support::wire::Fault;

fn clients(
    aws: &Aws,
    policy: Option<Value>,
) -> (
    aws_sdk_iam::Client,
    aws_sdk_s3::Client,
    aws_sdk_ecr::Client,
    aws_sdk_sts::Client,
) {
    let config = aws.sdk(&aws.role_session(ACCOUNT, "slipway", policy));
    // Each call once, so that a test sees each answer.
    let config = config
        .into_builder()
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .build();
    let s3 = aws_sdk_s3::config::Builder::from(&config)
        .force_path_style(true)
        .build();
    (
        aws_sdk_iam::Client::new(&config),
        aws_sdk_s3::Client::from_conf(s3),
        aws_sdk_ecr::Client::new(&config),
        aws_sdk_sts::Client::new(&config),
    )
}

macro_rules! code {
    ($call:expr) => {
        $call
            .send()
            .await
            .err()
            .map(|error| error.code().unwrap_or("none").to_owned())
    };
}

fn lagging(seed: u64) -> Options {
    Options {
        seed,
        consistency: Consistency::as_aws_documents(),
        ..Options::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_lags_flaps_and_settles() {
    let (mut missed, mut flapped) = (0, 0);
    for seed in 0..20 {
        let (iam, ..) = clients(&Aws::new(lagging(seed)), None);
        iam.create_user().user_name("acme").send().await.unwrap();
        assert_eq!(
            code!(iam.create_user().user_name("ACME")).as_deref(),
            Some("EntityAlreadyExists"),
            "at once, in any case"
        );
        let mut seen = Vec::new();
        for _ in 0..60 {
            seen.push(code!(iam.get_user().user_name("acme")).is_none());
            sleep(Duration::from_millis(250)).await;
        }
        missed += usize::from(!seen[0]);
        flapped += usize::from(seen.windows(2).any(|pair| pair == [true, false]));
        assert!(
            seen[45..].iter().all(|seen| *seen),
            "after the longest delay it is everywhere"
        );
    }
    assert!(
        missed > 10 && flapped > 5,
        "{missed} of 20 were missed at first, {flapped} flapped"
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_draws_the_same_whatever_comes_in_between() {
    let mut stories = BTreeSet::new();
    for others in [0, 3] {
        let (iam, ..) = clients(&Aws::new(lagging(7)), None);
        for other in 0..others {
            iam.create_user()
                .user_name(format!("other-{other}"))
                .send()
                .await
                .unwrap();
        }
        iam.create_user().user_name("acme").send().await.unwrap();
        let mut story = String::new();
        for _ in 0..40 {
            story.push(if code!(iam.get_user().user_name("acme")).is_none() {
                '+'
            } else {
                '-'
            });
            sleep(Duration::from_millis(250)).await;
        }
        stories.insert(story);
    }
    assert_eq!(stories.len(), 1, "{stories:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_unknown_to_sts_for_a_while() {
    let aws = Aws::new(lagging(1));
    let (iam, ..) = clients(&aws, None);
    aws.owner(ACCOUNT)
        .call("iam", "CreateUser", json!({"UserName": "acme"}))
        .unwrap();
    let key = iam
        .create_access_key()
        .user_name("acme")
        .send()
        .await
        .unwrap()
        .access_key
        .unwrap();
    let credentials = aws_credential_types::Credentials::new(
        &key.access_key_id,
        &key.secret_access_key,
        None,
        None,
        "test",
    );
    let sts = aws_sdk_sts::Client::new(&aws.sdk(&credentials));
    assert_eq!(
        code!(sts.get_caller_identity()).as_deref(),
        Some("InvalidClientTokenId")
    );
    let began = Instant::now();
    while code!(sts.get_caller_identity()).is_some() {
        sleep(Duration::from_millis(500)).await;
        assert!(began.elapsed() <= Duration::from_secs(16));
    }
    sleep(Duration::from_secs(15)).await;
    let told = sts.get_caller_identity().send().await.unwrap();
    assert_eq!(
        told.arn.as_deref(),
        Some("arn:aws:iam::123456789012:user/acme")
    );
    let used = aws
        .owner(ACCOUNT)
        .call(
            "iam",
            "GetAccessKeyLastUsed",
            json!({"AccessKeyId": key.access_key_id}),
        )
        .unwrap();
    assert_eq!(
        used["AccessKeyLastUsed"]["ServiceName"], "sts",
        "STS counts as use"
    );
    let wrong = aws_credential_types::Credentials::new(
        &key.access_key_id,
        "not-its-secret",
        None,
        None,
        "test",
    );
    let wrong = aws_sdk_sts::Client::new(&aws.sdk(&wrong));
    assert_eq!(
        code!(wrong.get_caller_identity()).as_deref(),
        Some("SignatureDoesNotMatch")
    );
    iam.update_access_key()
        .user_name("acme")
        .access_key_id(&key.access_key_id)
        .status("Inactive".into())
        .send()
        .await
        .unwrap();
    sleep(Duration::from_secs(16)).await;
    assert_eq!(
        code!(sts.get_caller_identity()).as_deref(),
        Some("InvalidClientTokenId")
    );
    assert!(
        !aws.snapshot(ACCOUNT)
            .to_string()
            .contains(&key.secret_access_key)
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_models_forbid_is_refused_and_noted() {
    let aws = Aws::new(Options::default());
    let (iam, _, ecr, _) = clients(&aws, None);
    assert_eq!(
        code!(iam.get_user().user_name("no/name")).as_deref(),
        Some("ValidationError")
    );
    let preview = ecr
        .get_lifecycle_policy_preview()
        .repository_name("acme")
        .max_results(1000);
    assert_eq!(code!(preview).as_deref(), Some("InvalidParameterException"));
    let noted = aws.take_violations();
    assert!(
        noted.len() == 2 && noted[1].contains("maxResults is 1000, not within 1 to 100"),
        "{noted:?}"
    );
    assert!(aws.take_violations().is_empty(), "each is told once");
}

#[tokio::test(start_paused = true)]
async fn aws_authorizes_before_it_looks() {
    let none = Duration::ZERO..=Duration::ZERO;
    let slow = Duration::from_secs(3)..=Duration::from_secs(3);
    let consistency = Consistency {
        authorization: slow,
        iam: none,
        ..Consistency::immediate()
    };
    let aws = Aws::new(Options {
        authorization: true,
        consistency,
        ..Options::default()
    });
    let (iam, _, ecr, sts) = clients(&aws, Some(role_policy(ACCOUNT)));
    let create = iam.create_user().user_name("acme").path("/apps/").tags(
        aws_sdk_iam::types::Tag::builder()
            .key("slipway:app")
            .value("acme")
            .build()
            .unwrap(),
    );
    create.send().await.unwrap();
    iam.get_user().user_name("acme").send().await.unwrap();
    let refused = iam
        .create_access_key()
        .user_name("acme")
        .send()
        .await
        .unwrap_err();
    assert_eq!(
        refused.code(),
        Some("AccessDenied"),
        "not NoSuchEntity: it has no path yet"
    );
    assert_eq!(
        refused.message(),
        Some(
            "User: arn:aws:sts::123456789012:assumed-role/slipway/i-0123456789abcdef0 is not authorized to perform: iam:CreateAccessKey \
             on resource: user acme because no identity-based policy allows the iam:CreateAccessKey action"
        )
    );
    sleep(Duration::from_secs(3)).await;
    iam.create_access_key()
        .user_name("acme")
        .send()
        .await
        .unwrap();
    // Gone, or never there: neither path nor tags.
    assert_eq!(
        code!(iam.delete_user().user_name("nobody")).as_deref(),
        Some("AccessDenied")
    );
    assert_eq!(
        code!(ecr.delete_repository().repository_name("nothing")).as_deref(),
        Some("AccessDeniedException")
    );
    assert_eq!(
        code!(iam.get_user().user_name("nobody")).as_deref(),
        Some("NoSuchEntity"),
        "allowed on any user"
    );
    assert_eq!(
        code!(iam.create_user().user_name("x").path("/other/")).as_deref(),
        Some("AccessDenied"),
        "the path of the request counts"
    );
    sts.get_caller_identity().send().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn conditions_on_tags_and_policies_are_evaluated() {
    let aws = Aws::new(Options {
        authorization: true,
        ..Options::default()
    });
    let (iam, s3, ecr, _) = clients(&aws, Some(role_policy(ACCOUNT)));
    let owner = aws.owner(ACCOUNT);
    owner
        .call(
            "iam",
            "CreateUser",
            json!({"UserName": "foreign", "Path": "/apps/"}),
        )
        .unwrap();
    assert_eq!(
        code!(iam.delete_user().user_name("foreign")).as_deref(),
        Some("AccessDenied"),
        "it carries no tag of ours"
    );
    owner
        .call(
            "iam",
            "TagUser",
            json!({"UserName": "foreign", "Tags": [{"Key": "slipway:app", "Value": "x"}]}),
        )
        .unwrap();
    let other = "arn:aws:iam::aws:policy/AdministratorAccess";
    assert_eq!(
        code!(
            iam.attach_user_policy()
                .user_name("foreign")
                .policy_arn(other)
        )
        .as_deref(),
        Some("AccessDenied")
    );
    iam.delete_user().user_name("foreign").send().await.unwrap();
    assert_eq!(
        code!(ecr.create_repository().repository_name("acme")).as_deref(),
        Some("AccessDeniedException"),
        "without our tag"
    );
    let tag = aws_sdk_ecr::types::Tag::builder()
        .key("slipway:app")
        .value("acme")
        .build()
        .unwrap();
    ecr.create_repository()
        .repository_name("acme")
        .tags(tag)
        .send()
        .await
        .unwrap();
    assert_eq!(
        code!(s3.head_bucket().bucket("nothing-here")).as_deref(),
        Some("NotFound")
    );

    let narrow = json!({"Statement": [{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}]});
    let (_, s3, ..) = clients(&aws, Some(narrow));
    let refused = s3
        .head_bucket()
        .bucket("nothing-here")
        .send()
        .await
        .unwrap_err();
    assert_eq!(
        refused.raw_response().unwrap().status().as_u16(),
        403,
        "absence is not told to who may not list"
    );
}

#[tokio::test(start_paused = true)]
async fn a_role_is_assumed_with_the_right_external_id_and_within_a_session_policy() {
    let aws = Aws::new(Options {
        authorization: true,
        ..Options::default()
    });
    let (_, _, _, sts) = clients(&aws, None);
    let trust = json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:role/slipway"},
        "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"sts:ExternalId": "secret"}}}]});
    let other = aws.owner("210987654321");
    other
        .call(
            "iam",
            "CreateRole",
            json!({"RoleName": "apps", "AssumeRolePolicyDocument": trust.to_string()}),
        )
        .unwrap();
    let all = json!({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
    other
        .call(
            "iam",
            "PutRolePolicy",
            json!({"RoleName": "apps", "PolicyName": "all", "PolicyDocument": all.to_string()}),
        )
        .unwrap();
    let ask = || {
        sts.assume_role()
            .role_arn("arn:aws:iam::210987654321:role/apps")
            .role_session_name("slipway")
    };
    assert_eq!(code!(ask()).as_deref(), Some("AccessDenied"));
    assert_eq!(
        code!(ask().external_id("wrong")).as_deref(),
        Some("AccessDenied")
    );
    let only = json!({"Statement": [{"Effect": "Allow", "Action": "iam:Get*", "Resource": "*"}]})
        .to_string();
    let session = ask()
        .external_id("secret")
        .policy(only)
        .send()
        .await
        .unwrap()
        .credentials
        .unwrap();
    let (id, secret, token) = (
        session.access_key_id,
        session.secret_access_key,
        session.session_token,
    );
    let credentials = aws_credential_types::Credentials::new(id, secret, Some(token), None, "test");
    let iam = aws_sdk_iam::Client::new(&aws.sdk(&credentials));
    assert_eq!(
        code!(iam.get_user().user_name("x")).as_deref(),
        Some("NoSuchEntity")
    );
    let refused = iam.create_user().user_name("x").send().await.unwrap_err();
    assert!(
        refused
            .message()
            .unwrap()
            .contains("because no session policy allows"),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn previews_run_and_finish_and_take_a_hundred_results() {
    let run = Duration::from_secs(4)..=Duration::from_secs(4);
    let aws = Aws::new(Options {
        preview: run,
        ..Options::default()
    });
    let (_, _, ecr, _) = clients(&aws, None);
    let owner = aws.owner(ACCOUNT);
    owner
        .call("ecr", "CreateRepository", json!({"repositoryName": "acme"}))
        .unwrap();
    for number in 0..5 {
        owner
            .call(
                "ecr",
                "PutImage",
                json!({"repositoryName": "acme", "imageManifest": number.to_string(), "imageTag": format!("v{number}"), "pushedAt": number}),
            )
            .unwrap();
    }
    let policy = json!({"rules": [{"rulePriority": 1, "description": "keep two", "selection":
        {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 2}, "action": {"type": "expire"}}]});
    ecr.start_lifecycle_policy_preview()
        .repository_name("acme")
        .lifecycle_policy_text(policy.to_string())
        .send()
        .await
        .unwrap();
    let look = || ecr.get_lifecycle_policy_preview().repository_name("acme");
    assert_eq!(
        code!(look().max_results(1000)).as_deref(),
        Some("InvalidParameterException")
    );
    assert_eq!(
        look().send().await.unwrap().status.unwrap().as_str(),
        "IN_PROGRESS"
    );
    assert_eq!(
        code!(
            ecr.start_lifecycle_policy_preview()
                .repository_name("acme")
                .lifecycle_policy_text(policy.to_string())
        )
        .as_deref(),
        Some("LifecyclePolicyPreviewInProgressException")
    );
    sleep(Duration::from_secs(4)).await;
    let page = look().max_results(2).send().await.unwrap();
    assert_eq!(
        (
            page.status.unwrap().as_str(),
            page.preview_results.unwrap().len()
        ),
        ("COMPLETE", 2)
    );
    let page = look()
        .max_results(2)
        .next_token(page.next_token.unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(page.preview_results.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn archived_images_are_hidden_and_hold_a_repository() {
    let aws = Aws::new(Options::default());
    let (_, _, ecr, _) = clients(&aws, None);
    let owner = aws.owner(ACCOUNT);
    owner
        .call("ecr", "CreateRepository", json!({"repositoryName": "acme"}))
        .unwrap();
    owner
        .call(
            "ecr",
            "PutImage",
            json!({"repositoryName": "acme", "imageManifest": "m", "imageTag": "v1"}),
        )
        .unwrap();
    let archive = json!({"repositoryName": "acme", "imageId": {"imageTag": "v1"}, "targetStorageClass": "ARCHIVE"});
    owner
        .call("ecr", "UpdateImageStorageClass", archive)
        .unwrap();
    assert!(
        ecr.list_images()
            .repository_name("acme")
            .send()
            .await
            .unwrap()
            .image_ids()
            .is_empty()
    );
    let any = aws_sdk_ecr::types::ListImagesFilter::builder()
        .image_status("ANY".into())
        .build();
    assert_eq!(
        ecr.list_images()
            .repository_name("acme")
            .filter(any)
            .send()
            .await
            .unwrap()
            .image_ids()
            .len(),
        1
    );
    assert_eq!(
        code!(ecr.delete_repository().repository_name("acme")).as_deref(),
        Some("RepositoryNotEmptyException")
    );
    ecr.delete_repository()
        .repository_name("acme")
        .force(true)
        .send()
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn buckets_are_where_and_whose_they_are() {
    let settles = Duration::from_secs(60)..=Duration::from_secs(60);
    let aws = Aws::new(Options {
        bucket_name_settles: settles,
        ..Options::default()
    });
    let (_, s3, ..) = clients(&aws, None);
    let here = || {
        aws_sdk_s3::types::CreateBucketConfiguration::builder()
            .location_constraint(aws_sdk_s3::types::BucketLocationConstraint::UsWest2)
            .build()
    };
    assert_eq!(
        code!(s3.create_bucket().bucket("b-1")).as_deref(),
        Some("IllegalLocationConstraintException")
    );
    s3.create_bucket()
        .bucket("b-1")
        .create_bucket_configuration(here())
        .send()
        .await
        .unwrap();
    assert_eq!(
        code!(
            s3.create_bucket()
                .bucket("b-1")
                .create_bucket_configuration(here())
        )
        .as_deref(),
        Some("BucketAlreadyOwnedByYou")
    );
    let abroad = aws.owner("210987654321").in_region("eu-west-1");
    abroad
        .call("s3", "CreateBucket", json!({"Bucket": "theirs", "CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}))
        .unwrap();
    assert_eq!(
        code!(
            s3.create_bucket()
                .bucket("theirs")
                .create_bucket_configuration(here())
        )
        .as_deref(),
        Some("BucketAlreadyExists")
    );
    let moved = s3.head_bucket().bucket("theirs").send().await.unwrap_err();
    let response = moved.raw_response().unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            response.headers().get("x-amz-bucket-region")
        ),
        (301, Some("eu-west-1"))
    );
    assert!(
        response.headers().get("x-amz-request-id").is_some()
            && response.body().bytes().is_some_and(<[u8]>::is_empty)
    );
    assert_eq!(
        code!(s3.get_bucket_tagging().bucket("theirs")).as_deref(),
        Some("PermanentRedirect")
    );
    assert_eq!(
        code!(
            s3.get_bucket_cors()
                .bucket("b-1")
                .expected_bucket_owner("210987654321")
        )
        .as_deref(),
        Some("AccessDenied")
    );
    let owner = aws.owner(ACCOUNT);
    owner
        .call(
            "s3",
            "PutBucketVersioning",
            json!({"Bucket": "b-1", "VersioningConfiguration": {"Status": "Enabled"}}),
        )
        .unwrap();
    owner
        .call(
            "s3",
            "PutObject",
            json!({"Bucket": "b-1", "Key": "k", "Body": "x"}),
        )
        .unwrap();
    owner
        .call("s3", "DeleteObject", json!({"Bucket": "b-1", "Key": "k"}))
        .unwrap();
    let versions = s3
        .list_object_versions()
        .bucket("b-1")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (versions.versions().len(), versions.delete_markers().len()),
        (1, 1)
    );
    assert_eq!(
        code!(s3.delete_bucket().bucket("b-1")).as_deref(),
        Some("BucketNotEmpty")
    );
    let objects = versions
        .versions()
        .iter()
        .map(|it| (it.key.clone(), it.version_id.clone()));
    let objects = objects.chain(
        versions
            .delete_markers()
            .iter()
            .map(|it| (it.key.clone(), it.version_id.clone())),
    );
    let object = |(key, id): (Option<String>, Option<String>)| {
        aws_sdk_s3::types::ObjectIdentifier::builder()
            .key(key.unwrap())
            .set_version_id(id)
            .build()
            .unwrap()
    };
    let all = aws_sdk_s3::types::Delete::builder()
        .set_objects(Some(objects.map(object).collect()))
        .build()
        .unwrap();
    assert_eq!(
        s3.delete_objects()
            .bucket("b-1")
            .delete(all)
            .send()
            .await
            .unwrap()
            .deleted()
            .len(),
        2
    );
    s3.delete_bucket().bucket("b-1").send().await.unwrap();
    assert_eq!(
        code!(
            s3.create_bucket()
                .bucket("b-1")
                .create_bucket_configuration(here())
        )
        .as_deref(),
        Some("OperationAborted")
    );
    sleep(Duration::from_secs(60)).await;
    s3.create_bucket()
        .bucket("b-1")
        .create_bucket_configuration(here())
        .send()
        .await
        .unwrap();

    let session = aws.role_session(ACCOUNT, "slipway", None);
    let virginia = aws.sdk_in("us-east-1", &session);
    let virginia = aws_sdk_s3::Client::from_conf(
        aws_sdk_s3::config::Builder::from(&virginia)
            .force_path_style(true)
            .build(),
    );
    for _ in 0..2 {
        virginia.create_bucket().bucket("b-2").send().await.unwrap();
    }
    assert_eq!(
        aws.snapshot(ACCOUNT)["buckets"]["b-2"]["acl_resets"],
        1,
        "200 is no proof of a creation"
    );
}

#[tokio::test(start_paused = true)]
async fn changes_of_a_bucket_that_overlap_are_refused() {
    let latency = Duration::from_millis(50)..=Duration::from_millis(50);
    let aws = Aws::new(Options {
        latency,
        ..Options::default()
    });
    let (_, s3, ..) = clients(&aws, None);
    let create =
        json!({"Bucket": "b-1", "CreateBucketConfiguration": {"LocationConstraint": "us-west-2"}});
    aws.owner(ACCOUNT)
        .call("s3", "CreateBucket", create)
        .unwrap();
    let block = aws_sdk_s3::types::PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .build();
    let put = || {
        s3.put_public_access_block()
            .bucket("b-1")
            .public_access_block_configuration(block.clone())
            .send()
    };
    let (first, second) = tokio::join!(put(), put());
    let codes = [first, second].map(|answer| {
        answer
            .err()
            .and_then(|error| error.code().map(str::to_owned))
    });
    assert_eq!(
        codes
            .iter()
            .filter(|code| code.as_deref() == Some("OperationAborted"))
            .count(),
        1,
        "{codes:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn quotas_and_what_hangs_on_things() {
    let aws = Aws::new(Options::default());
    let (iam, ..) = clients(&aws, None);
    iam.create_user().user_name("acme").send().await.unwrap();
    for _ in 0..2 {
        iam.create_access_key()
            .user_name("acme")
            .send()
            .await
            .unwrap();
    }
    assert_eq!(
        code!(iam.create_access_key().user_name("acme")).as_deref(),
        Some("LimitExceeded")
    );
    let document = |padding: usize| {
        let resource = format!("arn:aws:s3:::{}", "x".repeat(padding));
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": resource}]}).to_string()
    };
    assert_eq!(
        code!(
            iam.create_policy()
                .policy_name("big")
                .policy_document(document(6100))
        )
        .as_deref(),
        Some("LimitExceeded")
    );
    assert_eq!(
        code!(iam.create_policy().policy_name("bad").policy_document("{}")).as_deref(),
        Some("MalformedPolicyDocument")
    );
    let arn = iam
        .create_policy()
        .policy_name("p")
        .policy_document(document(1))
        .send()
        .await
        .unwrap()
        .policy
        .unwrap()
        .arn
        .unwrap();
    for _ in 0..4 {
        iam.create_policy_version()
            .policy_arn(&arn)
            .policy_document(document(2))
            .set_as_default(true)
            .send()
            .await
            .unwrap();
    }
    assert_eq!(
        code!(
            iam.create_policy_version()
                .policy_arn(&arn)
                .policy_document(document(3))
        )
        .as_deref(),
        Some("LimitExceeded")
    );
    assert_eq!(
        code!(iam.delete_policy().policy_arn(&arn)).as_deref(),
        Some("DeleteConflict")
    );
    iam.attach_user_policy()
        .user_name("acme")
        .policy_arn(&arn)
        .send()
        .await
        .unwrap();
    assert_eq!(
        code!(iam.delete_user().user_name("acme")).as_deref(),
        Some("DeleteConflict")
    );
    let version = iam
        .get_policy_version()
        .policy_arn(&arn)
        .version_id("v5")
        .send()
        .await
        .unwrap()
        .policy_version
        .unwrap();
    assert!(
        version.document.unwrap().starts_with("%7B%22"),
        "a document comes back URL-encoded"
    );
}

#[tokio::test(start_paused = true)]
async fn rates_throttle_as_each_service_does() {
    let rate = Some(Rate {
        per_second: 1.0,
        burst: 2.0,
    });
    let aws = Aws::new(Options {
        rates: Some(Rates {
            iam: rate,
            s3: rate,
            ecr: rate,
            sts: None,
        }),
        ..Options::default()
    });
    let (iam, s3, ecr, _) = clients(&aws, None);
    for nth in 0..3 {
        let throttled = nth == 2;
        assert_eq!(
            code!(iam.list_users()).as_deref() == Some("Throttling"),
            throttled
        );
        assert_eq!(
            code!(s3.list_buckets()).as_deref() == Some("SlowDown"),
            throttled
        );
        assert_eq!(
            code!(ecr.describe_repositories()).as_deref() == Some("ThrottlingException"),
            throttled
        );
    }
    sleep(Duration::from_secs(1)).await;
    iam.list_users().send().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn faults_act_before_after_late_or_not_at_all() {
    for (fault, acts_at_once, acts_later) in [
        (Fault::Throttled, false, false),
        (Fault::ServerError, false, false),
        (Fault::Denied, false, false),
        (Fault::Closed, false, false),
        (Fault::ResetBefore, false, false),
        (Fault::ResetAfter, true, true),
        (Fault::Late, true, true),
        (Fault::LostBefore, false, false),
        (Fault::LostAfter, true, true),
        (Fault::LostBetween(Duration::from_secs(5)), false, true),
        (Fault::TooLate(Duration::from_secs(5)), false, true),
        (Fault::CutShort, true, true),
    ] {
        let aws = Aws::new(Options::default());
        let config = aws
            .sdk(&aws.role_session(ACCOUNT, "slipway", None))
            .into_builder();
        let timeout = aws_config::timeout::TimeoutConfig::builder()
            .operation_attempt_timeout(Duration::from_secs(2))
            .build();
        let config = config
            .timeout_config(timeout)
            .retry_config(aws_config::retry::RetryConfig::disabled())
            .build();
        let iam = aws_sdk_iam::Client::new(&config);
        aws.on_call(move |call| (call.nth == 0).then_some(fault));
        let (call, lost) = (
            tokio::runtime::Handle::current().spawn(iam.create_user().user_name("acme").send()),
            aws.lost(),
        );
        if fault.loses_the_process() {
            lost.await;
        } else {
            // Half of an answer may parse: the SDK's XML decoder is lenient.
            assert!(
                call.await.unwrap().is_err() || fault == Fault::CutShort,
                "{fault:?}"
            );
        }
        let is_there = || aws.snapshot(ACCOUNT)["users"]["acme"].is_object();
        assert_eq!(is_there(), acts_at_once, "{fault:?}");
        sleep(Duration::from_secs(5)).await;
        assert_eq!(is_there(), acts_later, "{fault:?}");
        let log = aws.take_log();
        assert_eq!(
            (log.len(), log[0].name().as_str(), log[0].nth),
            (1, "iam:CreateUser", 0)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slipway_onboards_changes_and_removes_an_app_on_it() {
    let mut setup = Setup::new(Options::default());
    setup.settings.quarantine = Duration::ZERO;
    let server = setup.start().await;
    let before = setup.snapshot();
    server.onboard(&json!({"name": "acme"})).await;
    let made = setup.snapshot();
    assert_eq!(
        made["users"]["acme"]["keys"].as_array().unwrap().len(),
        1,
        "{made:#}"
    );
    assert_eq!(made["users"]["acme"]["groups"], json!(["Apps"]));
    assert_eq!(made["buckets"].as_object().unwrap().len(), 1);
    assert_eq!(made["repositories"].as_object().unwrap().len(), 1);

    setup.aws.take_log();
    server.run("/v1/apps/acme/repair", None).await;
    assert!(
        setup
            .aws
            .take_log()
            .iter()
            .all(|call| !call.mutates() || call.service == "sts"),
        "nothing is left to do"
    );

    let spec = json!({"name": "acme", "media_access": "scoped"});
    let job: Value = server
        .request(Method::PUT, "/v1/apps/acme")
        .json(&spec)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let job = server
        .wait(job["id"].as_str().unwrap_or_else(|| panic!("{job:#}")))
        .await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(
        setup.snapshot()["users"]["acme"]["attached"],
        json!(["arn:aws:iam::123456789012:policy/MediaManagement-acme"])
    );

    let bucket = made["buckets"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    setup
        .owner()
        .call(
            "s3",
            "PutObject",
            json!({"Bucket": bucket, "Key": "k", "Body": "x"}),
        )
        .unwrap();
    let path = format!("/v1/apps/acme?buckets={bucket}&repositories=acme&confirm=acme");
    let job: Value = server
        .request(Method::DELETE, &path)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let job = server
        .wait(job["id"].as_str().unwrap_or_else(|| panic!("{job:#}")))
        .await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let removal = loop {
        let jobs = server.json("/v1/jobs?app=acme&kind=remove").await;
        if let Some(job) = jobs["items"].as_array().unwrap().first() {
            break server.wait(job["id"].as_str().unwrap()).await;
        }
        sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(removal["state"], "succeeded", "{removal:#}");
    let after = setup.snapshot();
    for kind in ["users", "buckets", "repositories"] {
        assert_eq!(after[kind], before[kind], "{kind}");
    }
    server.stop().await;
}
