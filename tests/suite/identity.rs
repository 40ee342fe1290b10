//! Who the binary works as, and what it says when it cannot start.

use std::process::Stdio;

use aws_credential_types::Credentials;
use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::get;
use serde_json::{Value, json};
use slipway::shutdown::Tasks;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::support::aws::{Emulator, Place, required};
use crate::support::process::{Launch, enforced_place};
use crate::support::server::Setup;
use crate::support::{aws_inspector, unique};

/// Keys of nobody in particular: an emulator decides whose they are.
fn test_keys() -> Credentials {
    Credentials::new("test", "test", None, None, "test")
}

/// The service does not start, exits with 1, and says all of this.
async fn assert_refused(launch: &Launch, says: &[&str]) {
    let (code, told) = launch.refusal().await;
    assert_eq!(code, Some(1), "{told}");
    let (_, last) = told
        .rsplit_once("slipway: ")
        .expect("the last word is for people");
    for words in says {
        assert!(last.contains(words), "{words:?} is not in: {last}");
    }
}

/// The identity of a service started like this.
async fn identity(launch: &Launch) -> Value {
    let server = launch.serve().await;
    let identity = server.get("/v1/identity").await;
    server.stop().await;
    identity
}

fn assert_session(identity: &Value, provider: &str, account: &str, role: &str) {
    assert_eq!(identity["provider"], provider);
    assert_eq!(
        (&identity["account"], &identity["partition"]),
        (&json!(account), &json!("aws"))
    );
    let arn = identity["arn"].as_str().unwrap();
    assert!(
        arn.starts_with(&format!("arn:aws:sts::{account}:assumed-role/{role}/")),
        "{arn}"
    );
    assert_eq!(identity["region"], "us-west-2");
}

#[tokio::test]
async fn the_root_user_is_refused_whatever_is_allowed() {
    let root = Launch::at(&required("SLIPWAY_TEST_MINISTACK")).with_credentials(&test_keys());
    let says = [
        ":root",
        "root user",
        "Delete the root user's access keys",
        "role",
    ];
    assert_refused(&root, &says).await;
    assert_refused(&root.with("SLIPWAY_ALLOW_USER_CREDENTIALS", "true"), &says).await;
}

#[tokio::test]
async fn a_user_is_refused_unless_it_is_allowed() {
    let user = Launch::at(&required("SLIPWAY_TEST_MOTO")).with_credentials(&test_keys());
    assert_refused(
        &user,
        &[
            "user/moto",
            "not an assumed role",
            "SLIPWAY_ALLOW_USER_CREDENTIALS=true",
        ],
    )
    .await;
    assert_refused(
        &user.clone().with("SLIPWAY_ALLOW_USER_CREDENTIALS", "false"),
        &["not an assumed role"],
    )
    .await;
    let identity = identity(&user.with("SLIPWAY_ALLOW_USER_CREDENTIALS", "true")).await;
    assert!(
        identity["arn"].as_str().unwrap().ends_with(":user/moto"),
        "{identity}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_as_a_roles_session_from_the_environment() {
    for place in [
        Place::new(Emulator::Moto),
        Place::new(Emulator::Ministack),
        enforced_place(),
    ] {
        assert_session(
            &identity(&Launch::new(&place)).await,
            "environment",
            &place.account,
            "slipway",
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_as_a_roles_session_from_a_profile() {
    let place = Place::new(Emulator::Ministack);
    let launch = Launch::at(&place.endpoint).with("AWS_PROFILE", "deploy");
    let keys = &place.credentials;
    let profile = format!(
        "[deploy]\naws_access_key_id = {}\naws_secret_access_key = {}\naws_session_token = {}\n",
        keys.access_key_id(),
        keys.secret_access_key(),
        keys.session_token().unwrap()
    );
    std::fs::create_dir(launch.file(".aws")).unwrap();
    std::fs::write(launch.file(".aws/credentials"), profile).unwrap();
    assert_session(
        &identity(&launch).await,
        "profile",
        &place.account,
        "slipway",
    );
}

/// Serves credentials as ECS and EKS do, to whoever brings the token; answers where.
async fn container_endpoint(
    credentials: &Credentials,
    token: &'static str,
    tasks: &Tasks,
) -> String {
    let answer = json!({
        "AccessKeyId": credentials.access_key_id(), "SecretAccessKey": credentials.secret_access_key(),
        "Token": credentials.session_token(), "Expiration": "2999-01-01T00:00:00Z",
    });
    let serve = async move |headers: HeaderMap| {
        let known = headers
            .get("authorization")
            .is_some_and(|value| value == token);
        if known {
            Json(answer).into_response()
        } else {
            StatusCode::FORBIDDEN.into_response()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/credentials", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/credentials", get(serve));
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_as_a_roles_session_from_a_containers_endpoint() {
    let place = Place::new(Emulator::Ministack);
    let url = container_endpoint(
        &place.credentials,
        "the token of the task",
        &Tasks::default(),
    )
    .await;
    let launch = Launch::at(&place.endpoint).with("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url);
    let with_token = launch
        .clone()
        .with("AWS_CONTAINER_AUTHORIZATION_TOKEN", "the token of the task");
    assert_session(
        &identity(&with_token).await,
        "container",
        &place.account,
        "slipway",
    );
    assert_refused(&launch, &["no AWS credentials found", "task role"]).await;
}

const SERVE_METADATA: &str = "
import sys
import instance_metadata
instance_metadata.ROLE = sys.argv[2]
with instance_metadata.instance_metadata(sys.argv[1]) as url:
    print(url, flush=True)
    sys.stdin.read()
";

/// The metadata service of an EC2 machine with this role; it ends when this is dropped.
async fn instance_metadata(endpoint: &str, role: &str) -> (Child, String) {
    let mut python = Command::new(required("SLIPWAY_TEST_PYTHON"));
    python
        .args(["-c", SERVE_METADATA, endpoint, role])
        .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests"));
    python
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut process = python.spawn().unwrap();
    let mut url = String::new();
    BufReader::new(process.stdout.take().unwrap())
        .read_line(&mut url)
        .await
        .unwrap();
    (process, url.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_as_the_role_of_its_machine_with_no_key_anywhere() {
    let endpoint = required("SLIPWAY_TEST_MINISTACK_AUTH");
    let role = unique("machine");
    let (_metadata, url) = instance_metadata(&endpoint, &role).await;
    let without_token = reqwest::get(format!("{url}/latest/meta-data/iam/security-credentials/"))
        .await
        .unwrap();
    assert_eq!(
        without_token.status(),
        401,
        "version 1 of the metadata service is off"
    );
    let launch = Launch::at(&endpoint)
        .without("AWS_EC2_METADATA_DISABLED")
        .with("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url);
    let keys: Vec<&String> = launch
        .environment()
        .keys()
        .filter(|name| name.contains("KEY") && name.starts_with("AWS"))
        .collect();
    assert!(keys.is_empty() && !launch.file(".aws").exists(), "{keys:?}");
    assert_session(&identity(&launch).await, "imds", "000000000000", &role);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_region_is_its_machines_where_no_other_is_set() {
    let endpoint = required("SLIPWAY_TEST_MINISTACK_AUTH");
    let (_metadata, url) = instance_metadata(&endpoint, &unique("machine")).await;
    let launch = Launch::at(&endpoint)
        .without("AWS_EC2_METADATA_DISABLED")
        .without("AWS_REGION");
    assert_eq!(
        identity(&launch.with("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)).await["region"],
        "us-west-2"
    );
}

#[tokio::test]
async fn without_credentials_it_says_where_they_come_from() {
    let launch = Launch::at(&required("SLIPWAY_TEST_MINISTACK"));
    assert_refused(
        &launch,
        &[
            "no AWS credentials found",
            "instance profile",
            "hop limit of 2",
            "task role",
        ],
    )
    .await;
}

#[tokio::test]
async fn credentials_that_aws_does_not_take_are_told_from_none() {
    let launch = Launch::at(&required("SLIPWAY_TEST_MINISTACK_AUTH"))
        .with_credentials(&Credentials::new("AKIANOBODY", "x", None, None, "test"));
    assert_refused(&launch, &["GetCallerIdentity", "Check the role"]).await;
    let unreachable = Launch::at("http://127.0.0.1:9").with_credentials(&test_keys());
    assert_refused(
        &unreachable,
        &["GetCallerIdentity", "the network route to STS"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_wrong_encryption_key_is_refused() {
    let launch = Launch::new(&Place::new(Emulator::Ministack));
    let says = [
        "SLIPWAY_ENCRYPTION_KEY must be 32 bytes in base64",
        "slipway generate-key",
    ];
    assert_refused(&launch.clone().without("SLIPWAY_ENCRYPTION_KEY"), &says).await;
    for wrong in ["not base64", "c2hvcnQ=", &"A".repeat(64)] {
        assert_refused(&launch.clone().with("SLIPWAY_ENCRYPTION_KEY", wrong), &says).await;
    }
    let (_, told) = launch
        .with("SLIPWAY_ENCRYPTION_KEY", "bm90IGEga2V5IG9mIG1pbmU=")
        .refusal()
        .await;
    assert!(
        !told.contains("bm90IGEga2V5"),
        "what might be a key is not shown: {told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_url_that_it_does_not_know_is_refused() {
    let launch = Launch::new(&Place::new(Emulator::Ministack));
    let unknown = launch
        .clone()
        .with("SLIPWAY_DATABASE_URL", "mysql://ann:passw0rd@host/db");
    assert_refused(
        &unknown,
        &["SLIPWAY_DATABASE_URL", "mysql", "sqlite://PATH"],
    )
    .await;
    assert!(!unknown.refusal().await.1.contains("passw0rd"));
    assert_refused(
        &launch.with(
            "SLIPWAY_DATABASE_URL",
            "sqlite:///no/such/folder/slipway.db",
        ),
        &["the database did not answer"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_database_is_refused() {
    let launch = Launch::new(&Place::new(Emulator::Ministack));
    let server = launch.serve().await;
    assert_refused(&launch, &["slipway.db", "stop the other one first"]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_is_refused() {
    let launch = Launch::new(&Place::new(Emulator::Ministack));
    let server = launch.serve().await;
    let address = server.address.to_string();
    let second = Launch::new(&Place::new(Emulator::Ministack));
    let output = second.run(&["serve", "--listen", &address]).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.contains(&address) && told.contains("Set SLIPWAY_LISTEN to a free address"),
        "{told}"
    );
    server.stop().await;
}

#[tokio::test]
async fn settings_that_do_not_parse_are_named() {
    for (name, value, says) in [
        ("SLIPWAY_LEASE_DURATION", "soon", "lease"),
        ("SLIPWAY_WORKERS", "0", "SLIPWAY_WORKERS must be at least 1"),
        ("SLIPWAY_LOG", "info,=loud", "SLIPWAY_LOG"),
        ("SLIPWAY_CONFIG", "nowhere.toml", "nowhere.toml"),
    ] {
        assert_refused(
            &Launch::at("http://127.0.0.1:9")
                .with_credentials(&test_keys())
                .with(name, value),
            &[says],
        )
        .await;
    }
    let launch = Launch::at("http://127.0.0.1:9").with_credentials(&test_keys());
    assert_refused(&launch.with("SLIPWAY_LISTEN", "nowhere"), &[]).await;
}

/// Another Slipway in the account, or one whose database was lost, takes nothing for its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_installation_has_tagged_is_never_taken() {
    for emulator in [Emulator::Moto, Emulator::Ministack] {
        let setup = Setup::new(Place::new(emulator));
        let (server, name) = (setup.start().await, unique("acme"));
        let installation = server.json("/v1/identity").await["installation"]
            .as_str()
            .unwrap()
            .to_owned();
        let body = json!({"name": name, "media_access": "scoped"});
        server.onboard(&body).await;
        let app = server.json(&format!("/v1/apps/{name}")).await;
        let before = aws_inspector::look(&setup.place, &app["spec"]);
        for thing in [
            &before["user"],
            &before["buckets"][app["spec"]["buckets"][0]["name"].as_str().unwrap()],
            &before["repositories"][&name],
        ] {
            assert_eq!(
                (
                    &thing["tags"]["slipway:app"],
                    &thing["tags"]["slipway:installation"]
                ),
                (&json!(name), &json!(installation))
            );
        }
        server.stop().await;

        let server = setup.start().await;
        assert_eq!(
            server.json("/v1/identity").await["installation"],
            json!(installation),
            "it outlives the process"
        );
        server.stop().await;

        let other = Setup {
            place: setup.place.clone(),
            ..Setup::new(setup.place.clone())
        };
        let server = other.start().await;
        assert_ne!(
            server.json("/v1/identity").await["installation"],
            json!(installation)
        );
        for on_existing in ["fail", "adopt"] {
            let body = json!({"name": name, "media_access": "scoped", "on_existing": on_existing});
            let job = server.run("/v1/apps", Some(&body)).await;
            assert_eq!(
                (&job["state"], &job["error"]["code"]),
                (&json!("failed"), &json!("conflict")),
                "{job:#}"
            );
            let errors: Vec<&str> = job["steps"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|step| step["error"]["detail"].as_str())
                .collect();
            assert!(
                errors.len() >= 4
                    && errors
                        .iter()
                        .all(|error| error.contains("another Slipway installation")),
                "{errors:?}"
            );
        }
        let asked: Value = server
            .request(reqwest::Method::DELETE, &format!("/v1/apps/{name}"))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        server.wait(asked["id"].as_str().unwrap()).await;
        assert_eq!(
            aws_inspector::look(&setup.place, &app["spec"]),
            before,
            "nothing of it is touched"
        );
        server.stop().await;
    }
}

/// What was tagged before installations had ids is the app's by the record, and is tagged by the next job.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_tagged_before_there_were_installations_is_tagged_by_the_next_job() {
    let setup = Setup::new(Place::new(Emulator::Moto));
    let (server, name) = (setup.start().await, unique("acme"));
    let body = json!({"name": name, "media_access": "scoped"});
    server.onboard(&body).await;
    let app = server.json(&format!("/v1/apps/{name}")).await;
    let bucket = app["spec"]["buckets"][0]["name"].as_str().unwrap();
    let before = aws_inspector::look(&setup.place, &app["spec"]);
    let key = "slipway:installation";
    let untag = |service: &str, method: &str, args: Value| {
        aws_inspector::call(&setup.place, service, method, args).unwrap()
    };
    untag(
        "iam",
        "untag_user",
        json!({"UserName": name, "TagKeys": [key]}),
    );
    let account = &setup.place.account;
    let policy = format!("arn:aws:iam::{account}:policy/MediaManagement-{name}");
    untag(
        "iam",
        "untag_policy",
        json!({"PolicyArn": policy, "TagKeys": [key]}),
    );
    untag(
        "ecr",
        "untag_resource",
        json!({"resourceArn": format!("arn:aws:ecr:us-west-2:{account}:repository/{name}"), "tagKeys": [key]}),
    );
    let tags = json!({"TagSet": [{"Key": "slipway:app", "Value": name}]});
    untag(
        "s3",
        "put_bucket_tagging",
        json!({"Bucket": bucket, "Tagging": tags}),
    );
    let job = server.run(&format!("/v1/apps/{name}/repair"), None).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let after = aws_inspector::look(&setup.place, &app["spec"]);
    for place in [
        "/user/tags".to_owned(),
        format!("/buckets/{bucket}/tags"),
        format!("/repositories/{name}/tags"),
    ] {
        let tags = |seen: &Value| seen.pointer(&place).unwrap()[key].clone();
        assert_eq!(tags(&after), tags(&before), "{place}");
        assert_eq!(
            after.pointer(&place).unwrap()["slipway:adopted"],
            Value::Null
        );
    }
    server.stop().await;
}
