//! The main job on both emulators, seen by an independent client.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::aws::{Emulator, Place, required};
use crate::support::server::Setup;
use crate::support::{aws_inspector, unique};

const BOTH: [Emulator; 2] = [Emulator::Moto, Emulator::Ministack];

#[tokio::test(flavor = "multi_thread")]
async fn the_least_body_gives_an_app_its_whole_place() {
    for emulator in BOTH {
        let setup = Setup::new(Place::new(emulator));
        let server = setup.start().await;
        let name = unique("acme");
        let job = server.onboard(&json!({"name": name})).await;
        let app = server.json(&format!("/v1/apps/{name}")).await;
        let seen = aws_inspector::look(&setup.place, &app["spec"]);
        assert_place(&setup.place, &seen, &name);
        assert_eq!(job["result"]["user_arn"], seen["user"]["arn"]);
        assert_eq!(job["result"]["access_key_id"], seen["access_keys"][0]["id"]);
        assert_eq!(
            job["result"]["repositories"][0]["uri"],
            seen["repositories"][&name]["uri"]
        );
        assert_eq!(app["state"], "ready");
        assert!(
            app["resources"]
                .as_array()
                .unwrap()
                .iter()
                .all(|r| r["state"] == "done"),
            "{app:#}"
        );

        setup.proxy.take_log();
        let again = server.run(&format!("/v1/apps/{name}/repair"), None).await;
        assert_eq!(again["state"], "succeeded");
        let mutating: Vec<String> = setup
            .proxy
            .take_log()
            .iter()
            .filter(|call| call.mutates())
            .map(|call| call.name())
            .collect();
        assert_eq!(
            mutating,
            Vec::<String>::new(),
            "a converged app's job changes nothing"
        );
        server.stop().await;
    }
}

/// All eleven rows of the guide.
fn assert_place(place: &Place, seen: &Value, name: &str) {
    let account = &place.account;
    assert_eq!(seen["user"]["path"], "/apps/");
    assert_eq!(seen["user"]["tags"]["slipway:app"], name);
    assert_eq!(seen["groups"], json!(["Apps"]));
    assert_eq!(
        seen["attached"],
        json!([format!("arn:aws:iam::{account}:policy/MediaManagement")])
    );
    assert_eq!(seen["access_keys"].as_array().unwrap().len(), 1);
    assert_eq!(seen["access_keys"][0]["status"], "Active");
    let statement = &seen["policy_document"]["Statement"][0];
    assert_eq!(statement["Action"].as_array().unwrap().len(), 20);
    assert_eq!(
        statement["Resource"],
        json!(["arn:aws:s3:::*", "arn:aws:s3:::*/*"])
    );
    let bucket = &seen["buckets"][format!("{name}-media-{account}")];
    assert_eq!(bucket["region"], "us-west-2");
    assert_eq!(bucket["ownership"], "BucketOwnerEnforced");
    assert_eq!(bucket["tags"]["slipway:app"], name);
    assert_eq!(
        bucket["public_access_block"],
        json!({"BlockPublicAcls": true, "IgnorePublicAcls": true, "BlockPublicPolicy": true, "RestrictPublicBuckets": true})
    );
    assert_eq!(
        bucket["cors"],
        json!([
            {"AllowedHeaders": ["Authorization"], "AllowedMethods": ["GET"], "AllowedOrigins": ["*"], "MaxAgeSeconds": 3000},
            {"AllowedHeaders": ["*"], "AllowedMethods": ["PUT", "POST", "DELETE"], "AllowedOrigins": [format!("https://{name}.herokuapp.com")],
             "ExposeHeaders": ["x-amz-server-side-encryption", "ETag"], "MaxAgeSeconds": 3000},
        ])
    );
    let repository = &seen["repositories"][name];
    assert_eq!(repository["tags"]["slipway:app"], name);
    let rules = repository["lifecycle"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 19);
    assert_eq!(rules[0]["selection"]["tagStatus"], "untagged");
    assert_eq!(rules[1]["selection"]["tagPrefixList"], json!(["testing"]));
    assert_eq!(rules[18]["selection"]["tagPrefixList"], json!(["f"]));
    assert!(
        rules[1..]
            .iter()
            .all(|rule| rule["selection"]["countNumber"] == 3
                && rule["selection"]["countUnit"] == "days")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn scoped_access_opens_the_apps_own_buckets_alone() {
    for emulator in BOTH {
        let setup = Setup::new(Place::new(emulator));
        let server = setup.start().await;
        let name = unique("acme");
        server
            .onboard(&json!({"name": name, "media_access": "scoped"}))
            .await;
        let app = server.json(&format!("/v1/apps/{name}")).await;
        let seen = aws_inspector::look(&setup.place, &app["spec"]);
        let account = &setup.place.account;
        assert_eq!(
            seen["attached"],
            json!([format!(
                "arn:aws:iam::{account}:policy/MediaManagement-{name}"
            )])
        );
        assert_eq!(
            seen["policy_document"],
            Value::Null,
            "no shared policy is made for it"
        );
        let document = seen["scoped_policy_document"].to_string();
        assert!(document.contains(&format!("arn:aws:s3:::{name}-media-{account}")));
        for (action, granted) in [
            ("s3:PutObject\"", true),
            ("s3:AbortMultipartUpload", true),
            ("s3:PutBucketAcl", false),
            ("s3:PutObjectAcl", false),
            ("arn:aws:s3:::*", false),
        ] {
            assert_eq!(document.contains(action), granted, "{action} in {document}");
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_buckets_and_repositories_in_several_regions() {
    for emulator in BOTH {
        let setup = Setup::new(Place::new(emulator));
        let server = setup.start().await;
        let name = unique("acme");
        let rule = json!({"rulePriority": 1, "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 50}, "action": {"type": "expire"}});
        let custom = json!({"rules": [rule]});
        let body = json!({
            "name": name,
            "region": "eu-west-1",
            "tags": {"team": "shop"},
            "buckets": [
                {"name": format!("{name}-a"), "upload_origins": ["https://a.example", "https://*.b.example"]},
                {"name": format!("{name}-b"), "region": "us-east-1", "upload_origins": []},
            ],
            "repositories": [
                {"name": format!("{name}/guide")},
                {"name": format!("{name}/kept"), "region": "us-west-2", "lifecycle": "protected"},
                {"name": format!("{name}/own"), "lifecycle": custom},
            ],
        });
        let job = server.onboard(&body).await;
        assert_eq!(
            job["result"]["repositories"][1]["uri"],
            format!(
                "{}.dkr.ecr.us-west-2.amazonaws.com/{name}/kept",
                setup.place.account
            )
        );
        let app = server.json(&format!("/v1/apps/{name}")).await;
        let seen = aws_inspector::look(&setup.place, &app["spec"]);
        let (a, b) = (
            &seen["buckets"][format!("{name}-a")],
            &seen["buckets"][format!("{name}-b")],
        );
        assert_eq!(
            (&a["region"], &b["region"]),
            (&json!("eu-west-1"), &json!("us-east-1"))
        );
        assert_eq!(
            a["cors"][1]["AllowedOrigins"],
            json!(["https://a.example", "https://*.b.example"])
        );
        assert_eq!(b["cors"].as_array().unwrap().len(), 1, "nobody uploads");
        let rules = |repository: &str| {
            seen["repositories"][format!("{name}/{repository}")]["lifecycle"]["rules"]
                .as_array()
                .unwrap()
                .len()
        };
        assert_eq!((rules("guide"), rules("kept"), rules("own")), (19, 27, 1));
        for thing in [
            &seen["user"],
            a,
            &seen["repositories"][format!("{name}/own")],
        ] {
            assert_eq!(
                (&thing["tags"]["team"], &thing["tags"]["slipway:app"]),
                (&json!("shop"), &json!(name))
            );
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_foreign_is_left_alone_unless_it_is_to_be_adopted() {
    for emulator in BOTH {
        let setup = Setup::new(Place::new(emulator));
        let server = setup.start().await;
        let name = unique("acme");
        let bucket = format!("{name}-own");
        aws_inspector::call(
            &setup.place,
            "iam",
            "create_user",
            json!({"UserName": name}),
        )
        .unwrap();
        let constraint = json!({"LocationConstraint": "us-west-2"});
        aws_inspector::call(
            &setup.place,
            "s3",
            "create_bucket",
            json!({"Bucket": bucket, "CreateBucketConfiguration": constraint}),
        )
        .unwrap();
        let spec = json!({"name": name, "buckets": [{"name": bucket}], "repositories": []});
        let before = aws_inspector::look(&setup.place, &spec);

        let plan: Value = server
            .post("/v1/apps?dry_run=true", &spec)
            .await
            .json()
            .await
            .unwrap();
        let conflicts: Vec<&Value> = plan["changes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|change| change["action"] == "conflict")
            .collect();
        assert_eq!(conflicts.len(), 2, "{plan:#}");
        assert!(
            conflicts[0]["error"]["remedy"]
                .as_str()
                .unwrap()
                .contains("adopt")
        );

        let job = server.run("/v1/apps", Some(&spec)).await;
        assert_eq!(
            (&job["state"], &job["error"]["code"]),
            (&json!("failed"), &json!("conflict"))
        );
        let after = aws_inspector::look(&setup.place, &spec);
        for untouched in ["user", "groups", "attached", "access_keys", "buckets"] {
            assert_eq!(after[untouched], before[untouched], "{untouched}");
        }
        let skipped = job["steps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|step| step["state"] == "skipped")
            .count();
        assert_eq!(skipped, 3, "membership, attachment and key need the user");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_apps_things_are_never_adopted() {
    let setup = Setup::new(Place::new(Emulator::Moto));
    let server = setup.start().await;
    let (owner, thief) = (unique("owner"), unique("thief"));
    let bucket = json!([{"name": format!("{owner}-media")}]);
    server
        .onboard(&json!({"name": owner, "buckets": bucket, "repositories": []}))
        .await;
    let job = server.run("/v1/apps", Some(&json!({"name": thief, "buckets": bucket, "repositories": [], "on_existing": "adopt"}))).await;
    assert_eq!(
        (&job["state"], &job["error"]["code"]),
        (&json!("failed"), &json!("conflict"))
    );
    assert!(
        job["error"]["detail"].as_str().unwrap().contains(&owner),
        "{job:#}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_on_a_repository_with_images_says_which_would_expire() {
    let setup = Setup::new(Place::new(Emulator::Moto));
    let server = setup.start().await;
    let name = unique("acme");
    aws_inspector::call(
        &setup.place,
        "ecr",
        "create_repository",
        json!({"repositoryName": name}),
    )
    .unwrap();
    for (tag, digest) in [("v1", "a"), ("old", "b")] {
        let layers = json!([{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": 1, "digest": format!("sha256:{}", digest.repeat(64))}]);
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 1, "digest": format!("sha256:{}", digest.repeat(64))}, "layers": layers});
        aws_inspector::call(
            &setup.place,
            "ecr",
            "put_image",
            json!({"repositoryName": name, "imageManifest": manifest.to_string(), "imageTag": tag}),
        )
        .unwrap();
    }
    let rule = json!({"rulePriority": 1, "selection": {"tagStatus": "tagged", "tagPatternList": ["o*"], "countType": "imageCountMoreThan", "countNumber": 1}, "action": {"type": "expire"}});
    let another = json!({"rulePriority": 2, "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1}, "action": {"type": "expire"}});
    let spec = json!({"name": name, "buckets": [], "on_existing": "adopt", "repositories": [{"name": name, "lifecycle": {"rules": [rule, another]}}]});
    let plan: Value = server
        .post("/v1/apps?dry_run=true", &spec)
        .await
        .json()
        .await
        .unwrap();
    let warnings = plan["warnings"].to_string();
    assert!(
        warnings.contains("expires 1 of the 2 images") && warnings.contains("v1"),
        "{warnings}"
    );
    server.stop().await;
}

/// The plan explains itself to people who know the guide, and can be run.
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_a_plan_do_what_the_job_would_do() {
    let setup = Setup::new(Place::new(Emulator::Ministack));
    let server = setup.start().await;
    let name = unique("acme");
    let body = json!({"name": name, "media_access": "scoped", "access_key": false, "tags": {"team": "shop and more"}});
    let plan: Value = server
        .post("/v1/apps?dry_run=true", &body)
        .await
        .json()
        .await
        .unwrap();
    let commands: Vec<&str> = plan["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            change["aws_cli"]
                .as_str()
                .unwrap_or_else(|| panic!("{change:#}"))
        })
        .collect();
    assert_eq!(commands.len(), 10);
    for command in &commands {
        run_by_hand(&setup.place, command);
    }
    let job = server.onboard(&body).await;
    let changes: Vec<&Value> = job["steps"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|step| step["changes"].as_array().unwrap())
        .collect();
    // What is idempotent is tried before it is looked at, so only what was looked at counts here.
    assert_eq!(
        changes,
        Vec::<&Value>::new(),
        "the commands have left nothing to do"
    );
    server.stop().await;
}

fn run_by_hand(place: &Place, command: &str) {
    let folder = std::path::PathBuf::from(required("SLIPWAY_TEST_PYTHON"));
    let path = format!(
        "{}:{}",
        folder.parent().unwrap().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new("sh")
        .args(["-c", command])
        .env("PATH", path)
        .env("AWS_ENDPOINT_URL", &place.endpoint)
        .env("AWS_REGION", place.region)
        .env("AWS_DEFAULT_REGION", place.region)
        .env("AWS_ACCESS_KEY_ID", place.credentials.access_key_id())
        .env(
            "AWS_SECRET_ACCESS_KEY",
            place.credentials.secret_access_key(),
        )
        .env(
            "AWS_SESSION_TOKEN",
            place.credentials.session_token().unwrap_or_default(),
        )
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{command}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
