//! Exports, taken at their word by the tools that they are for.

use std::path::PathBuf;
use std::process::Output;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::api;
use crate::api::Answer;
use crate::support::aws::{Emulator, Place, required};
use crate::support::server::{Server, Setup};
use crate::support::wire::{Answer as Scripted, Call, refusal_body};
use crate::support::{aws_inspector, unique};

async fn get(server: &Server, path: &str) -> Answer {
    api::ask(server.request(Method::GET, path)).await
}

/// The file of a format, and what it is called.
async fn exported(server: &Server, app: &str, query: &str) -> (String, String) {
    let answer = get(server, &format!("/v1/apps/{app}/export?format={query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let name = answer
        .header("content-disposition")
        .strip_prefix("attachment; filename=")
        .unwrap();
    (answer.text(), name.trim_matches('"').to_owned())
}

/// An app with everything that the formats have to say differently: two regions, tags, no upload, a scoped policy.
fn wide(name: &str) -> Value {
    let rule = json!({"rulePriority": 1, "description": "keep ${few}", "action": {"type": "expire"},
        "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 50}});
    json!({
        "name": name, "media_access": "scoped", "tags": {"team": "shop and more"},
        "buckets": [
            {"name": format!("{name}-a"), "upload_origins": ["https://a.example", "https://*.b.example"]},
            {"name": format!("{name}-b"), "region": "us-east-1", "upload_origins": []},
        ],
        "repositories": [
            {"name": format!("{name}/one")},
            {"name": format!("{name}_one"), "lifecycle": {"rules": [rule]}},
            {"name": format!("{name}/one"), "region": "us-east-1", "lifecycle": "protected"},
        ],
    })
}

// ---- Terraform

/// Terraform in a folder of its own, with the provider from a folder of this machine.
struct Terraform {
    folder: tempfile::TempDir,
    place: Place,
}

impl Terraform {
    /// `None`, said aloud, where this machine has no Terraform or no folder with the AWS provider.
    fn new(place: &Place) -> Option<Self> {
        let Some(mirror) = mirror().filter(|_| found("terraform")) else {
            println!(
                "skipped: no terraform, or no folder with its AWS provider (SLIPWAY_TEST_TERRAFORM_PLUGINS), on this machine"
            );
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let settings = format!(
            "provider_installation {{\n  filesystem_mirror {{\n    path = {:?}\n  }}\n}}\n",
            mirror.display().to_string()
        );
        std::fs::write(folder.path().join("cli.rc"), settings).unwrap();
        Some(Self {
            folder,
            place: place.clone(),
        })
    }

    /// Writes a file as it was exported, and beside it what an emulator needs: its buckets have no names in the DNS.
    fn write(&self, configuration: &str) {
        std::fs::write(self.folder.path().join("main.tf"), configuration).unwrap();
        let aliases = configuration
            .lines()
            .filter(|line| line.trim_start().starts_with("alias "));
        let blocks: Vec<String> = std::iter::once("")
            .chain(aliases)
            .map(|alias| format!("provider \"aws\" {{\n{alias}\n  s3_use_path_style = true\n  skip_region_validation = true\n}}\n"))
            .collect();
        std::fs::write(
            self.folder.path().join("emulator_override.tf"),
            blocks.concat(),
        )
        .unwrap();
    }

    async fn ask(&self, words: &[&str]) -> Output {
        let (path, keys) = (
            std::env::var("PATH").unwrap_or_default(),
            &self.place.credentials,
        );
        let mut terraform = Command::new("terraform");
        terraform
            .args(words)
            .current_dir(&self.folder)
            .kill_on_drop(true)
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.folder.path());
        terraform
            .env("TF_CLI_CONFIG_FILE", self.folder.path().join("cli.rc"))
            .env("TF_IN_AUTOMATION", "1")
            .env("CHECKPOINT_DISABLE", "1");
        terraform
            .env("AWS_ENDPOINT_URL", &self.place.endpoint)
            .env("AWS_EC2_METADATA_DISABLED", "true");
        terraform
            .env("AWS_ACCESS_KEY_ID", keys.access_key_id())
            .env("AWS_SECRET_ACCESS_KEY", keys.secret_access_key());
        terraform.env(
            "AWS_SESSION_TOKEN",
            keys.session_token().unwrap_or_default(),
        );
        terraform.output().await.unwrap()
    }

    async fn run(&self, words: &[&str]) -> String {
        let output = self.ask(words).await;
        assert!(
            output.status.success(),
            "terraform {words:?}: {}",
            told(&output)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// The addresses that a plan would import; it may do nothing else.
    async fn imports(&self) -> Vec<String> {
        self.run(&["plan", "-input=false", "-no-color", "-out=plan"])
            .await;
        let plan: Value =
            serde_json::from_str(&self.run(&["show", "-json", "plan"]).await).unwrap();
        let changes = plan["resource_changes"].as_array().unwrap();
        let only_imports = |it: &&Value| {
            it["change"]["actions"] == json!(["no-op"])
                && it["change"]["importing"]["id"].is_string()
        };
        let others: Vec<&Value> = changes.iter().filter(|it| !only_imports(it)).collect();
        assert!(others.is_empty(), "{others:#?}");
        changes
            .iter()
            .map(|it| it["address"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn told(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn found(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}

/// A folder that has Terraform's AWS provider, of those where it usually is.
fn mirror() -> Option<PathBuf> {
    let home = std::env::var("HOME").unwrap_or_default();
    let named = std::env::var("SLIPWAY_TEST_TERRAFORM_PLUGINS").unwrap_or_default();
    let usual = [
        "/opt/tf-plugins",
        "/usr/local/share/terraform/plugins",
        "/usr/share/terraform/plugins",
    ];
    let folders = [named, format!("{home}/.terraform.d/plugins")]
        .into_iter()
        .chain(usual.map(ToOwned::to_owned));
    folders
        .map(PathBuf::from)
        .find(|folder| folder.join("registry.terraform.io/hashicorp/aws").is_dir())
}

/// Exports, plans, applies and plans again: nothing changes but whose it is. Answers the imported addresses.
async fn assert_terraform_takes_over(
    setup: &Setup,
    server: &Server,
    name: &str,
) -> Option<Vec<String>> {
    let terraform = Terraform::new(&setup.place)?;
    let app = server.json(&format!("/v1/apps/{name}")).await;
    let before = aws_inspector::look(&setup.place, &app["spec"]);
    let (file, called) = exported(server, name, "terraform").await;
    assert_eq!(called, "main.tf");
    terraform.write(&file);
    terraform.run(&["init", "-input=false", "-no-color"]).await;
    let imports = terraform.imports().await;
    terraform
        .run(&["apply", "-input=false", "-no-color", "plan"])
        .await;
    let again = terraform
        .ask(&["plan", "-input=false", "-no-color", "-detailed-exitcode"])
        .await;
    assert_eq!(again.status.code(), Some(0), "no changes: {}", told(&again));
    assert_eq!(aws_inspector::look(&setup.place, &app["spec"]), before);
    Some(imports)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long: make test-all"]
async fn terraform_takes_the_least_app_over_and_changes_nothing() {
    let setup = Setup::new(Place::new(Emulator::Moto));
    let server = setup.start().await;
    let name = unique("acme");
    server.onboard(&json!({"name": name})).await;
    let (label, account) = (name.replace('-', "_"), &setup.place.account);
    if let Some(imports) = assert_terraform_takes_over(&setup, &server, &name).await {
        let expected = [
            format!("aws_ecr_lifecycle_policy.us_west_2_{label}"),
            format!("aws_ecr_repository.us_west_2_{label}"),
            format!("aws_iam_user.{label}"),
            format!("aws_iam_user_group_membership.Apps_{label}"),
            format!("aws_iam_user_policy_attachment.MediaManagement_{label}"),
            format!("aws_s3_bucket.{label}_media_{account}"),
            format!("aws_s3_bucket_cors_configuration.{label}_media_{account}"),
            format!("aws_s3_bucket_ownership_controls.{label}_media_{account}"),
            format!("aws_s3_bucket_public_access_block.{label}_media_{account}"),
        ];
        assert_eq!(
            imports, expected,
            "neither the group, nor the shared policy, nor the key"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn terraform_takes_a_wide_app_over_and_changes_nothing() {
    let setup = Setup::new(Place::new(Emulator::Ministack));
    let server = setup.start().await;
    let name = unique("acme");
    server.onboard(&wide(&name)).await;
    let label = name.replace('-', "_");
    if let Some(imports) = assert_terraform_takes_over(&setup, &server, &name).await {
        let of = |kind: &str| {
            imports
                .iter()
                .filter_map(|it| it.strip_prefix(kind)?.strip_prefix('.'))
                .collect::<Vec<_>>()
        };
        let repositories = [
            format!("us_east_1_{label}_one"),
            format!("us_west_2_{label}_one"),
            format!("us_west_2_{label}_one2"),
        ];
        assert_eq!(of("aws_ecr_repository"), repositories);
        assert_eq!(of("aws_ecr_lifecycle_policy"), repositories);
        assert_eq!(
            of("aws_s3_bucket"),
            [format!("{label}_a"), format!("{label}_b")]
        );
        assert_eq!(of("aws_iam_policy"), [format!("MediaManagement_{label}")]);
        assert_eq!(imports.len(), 18, "{imports:#?}");
    }
    server.stop().await;
}

/// What was there before its app is the app's, but not as the spec would have made it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long: make test-all"]
async fn terraform_takes_adopted_things_over_as_they_are() {
    let setup = Setup::new(Place::new(Emulator::Ministack));
    let server = setup.start().await;
    let name = unique("acme");
    let bucket = format!("{name}-own");
    let made = |service: &str, method: &str, args: Value| {
        aws_inspector::call(&setup.place, service, method, args).unwrap()
    };
    made(
        "iam",
        "create_user",
        json!({"UserName": name, "Path": "/people/", "PermissionsBoundary": "arn:aws:iam::aws:policy/PowerUserAccess", "Tags": [{"Key": "own", "Value": "1"}]}),
    );
    made(
        "s3",
        "create_bucket",
        json!({"Bucket": bucket, "CreateBucketConfiguration": {"LocationConstraint": "us-west-2"}}),
    );
    let rule = json!({"AllowedOrigins": ["https://own.example"], "AllowedMethods": ["HEAD"], "ID": "own ${rule}"});
    made(
        "s3",
        "put_bucket_cors",
        json!({"Bucket": bucket, "CORSConfiguration": {"CORSRules": [rule]}}),
    );
    made(
        "s3",
        "put_bucket_tagging",
        json!({"Bucket": bucket, "Tagging": {"TagSet": [{"Key": "own", "Value": "1"}]}}),
    );
    made(
        "ecr",
        "create_repository",
        json!({"repositoryName": name, "imageTagMutability": "IMMUTABLE",
        "imageScanningConfiguration": {"scanOnPush": true}}),
    );
    server
        .onboard(&json!({"name": name, "on_existing": "adopt", "buckets": [{"name": bucket}]}))
        .await;
    let (file, _) = exported(&server, &name, "terraform").await;
    for own in [
        "/people/",
        "https://own.example",
        "own = \"1\"",
        "\"slipway:adopted\" = \"true\"",
    ] {
        assert!(file.contains(own), "{own} is not in {file}");
    }
    assert_terraform_takes_over(&setup, &server, &name).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_not_the_apps_is_left_out_and_said() {
    let setup = Setup::new(Place::new(Emulator::Moto));
    let server = setup.start().await;
    let name = unique("acme");
    let bucket = format!("{name}-own");
    aws_inspector::call(
        &setup.place,
        "s3",
        "create_bucket",
        json!({"Bucket": bucket, "CreateBucketConfiguration": {"LocationConstraint": "us-west-2"}}),
    )
    .unwrap();
    let job = server
        .run(
            "/v1/apps",
            Some(&json!({"name": name, "buckets": [{"name": bucket}]})),
        )
        .await;
    assert_eq!(job["state"], "failed", "{job:#}");
    aws_inspector::call(
        &setup.place,
        "ecr",
        "delete_repository",
        json!({"repositoryName": name}),
    )
    .unwrap();
    let (file, _) = exported(&server, &name, "terraform").await;
    assert!(
        file.contains(&format!(
            "# s3:bucket/{bucket} is not exported. It exists, but was not created for this app.\n"
        )),
        "{file}"
    );
    assert!(
        file.contains(&format!(
            "# ecr:repository/us-west-2/{name} is not exported because it does not exist."
        )),
        "{file}"
    );
    assert!(
        file.contains("resource \"aws_iam_user\"")
            && !file.contains("resource \"aws_s3")
            && !file.contains("resource \"aws_ecr"),
        "{file}"
    );
    let template: Value =
        serde_json::from_str(&exported(&server, &name, "cloudformation").await.0).unwrap();
    assert_eq!(template["Resources"].as_object().unwrap().len(), 1);
    assert!(
        template["Metadata"]["Slipway"]["Notes"]
            .to_string()
            .contains(&bucket)
    );
    server.stop().await;
}

// ---- CloudFormation

#[tokio::test(flavor = "multi_thread")]
async fn a_template_a_region_has_everything_with_what_imports_it() {
    let setup = Setup::new(Place::new(Emulator::Ministack));
    let server = setup.start().await;
    let name = unique("acme");
    server.onboard(&wide(&name)).await;
    let (text, called) = exported(&server, &name, "cloudformation").await;
    assert_eq!(called, "template.json");
    let template: Value = serde_json::from_str(&text).unwrap();
    let identifiers = |template: &Value| {
        let list = template["Metadata"]["Slipway"]["ResourcesToImport"]
            .as_array()
            .unwrap()
            .clone();
        let resources = template["Resources"].as_object().unwrap();
        assert_eq!(list.len(), resources.len());
        let mut all: Vec<(String, Value)> = Vec::new();
        for it in list {
            let resource = &resources[it["LogicalResourceId"].as_str().unwrap()];
            assert_eq!(resource["Type"], it["ResourceType"]);
            assert_eq!(
                (
                    &resource["DeletionPolicy"],
                    &resource["UpdateReplacePolicy"]
                ),
                (&json!("Retain"), &json!("Retain"))
            );
            all.push((
                it["ResourceType"].as_str().unwrap().to_owned(),
                it["ResourceIdentifier"].clone(),
            ));
        }
        all
    };
    let policy = format!(
        "arn:aws:iam::{}:policy/MediaManagement-{name}",
        setup.place.account
    );
    let expected = |list: &[(&str, &str, String)]| {
        list.iter()
            .map(|(kind, by, value)| ((*kind).to_owned(), json!({(*by): value})))
            .collect::<Vec<_>>()
    };
    let home = [
        ("AWS::IAM::User", "UserName", name.clone()),
        ("AWS::IAM::ManagedPolicy", "PolicyArn", policy),
        ("AWS::S3::Bucket", "BucketName", format!("{name}-a")),
        (
            "AWS::ECR::Repository",
            "RepositoryName",
            format!("{name}/one"),
        ),
        (
            "AWS::ECR::Repository",
            "RepositoryName",
            format!("{name}_one"),
        ),
    ];
    assert_eq!(identifiers(&template), expected(&home));
    let user = template["Resources"]
        .as_object()
        .unwrap()
        .values()
        .find(|it| it["Type"] == "AWS::IAM::User")
        .unwrap();
    assert_eq!(user["Properties"]["Groups"], json!(["Apps"]));
    let reference = user["Properties"]["ManagedPolicyArns"][0]["Ref"]
        .as_str()
        .unwrap();
    assert_eq!(
        template["Resources"][reference]["Type"],
        "AWS::IAM::ManagedPolicy"
    );
    assert_eq!(
        template["Metadata"]["Slipway"]["OtherRegions"],
        json!(["us-east-1"])
    );

    let other: Value = serde_json::from_str(
        &exported(&server, &name, "cloudformation&region=us-east-1")
            .await
            .0,
    )
    .unwrap();
    let there = [
        ("AWS::S3::Bucket", "BucketName", format!("{name}-b")),
        (
            "AWS::ECR::Repository",
            "RepositoryName",
            format!("{name}/one"),
        ),
    ];
    assert_eq!(identifiers(&other), expected(&there));
    for (template, region) in [(&template, "us-west-2"), (&other, "us-east-1")] {
        assert_lints(template, region).await;
    }
    let nowhere = get(
        &server,
        &format!("/v1/apps/{name}/export?format=cloudformation&region=eu-west-1"),
    )
    .await;
    assert!(
        nowhere.problem(400, "invalid_parameters")["errors"]
            .to_string()
            .contains("must be a region of the app: us-east-1, us-west-2")
    );
    server.stop().await;
}

/// cfn-lint knows the schemas of all resources.
async fn assert_lints(template: &Value, region: &str) {
    let lint = beside_python("cfn-lint");
    if !lint.is_file() {
        return println!("skipped: cfn-lint is not beside the tests' python");
    }
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    std::fs::write(file.path(), template.to_string()).unwrap();
    let output = Command::new(lint)
        .args(["--regions", region, "--non-zero-exit-code", "error"])
        .arg(file.path())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}\n{template:#}", told(&output));
}

fn beside_python(program: &str) -> PathBuf {
    PathBuf::from(required("SLIPWAY_TEST_PYTHON")).with_file_name(program)
}

// ---- the AWS CLI

async fn run_script(script: &str, place: &Place) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("setup.sh"), script).unwrap();
    let path = format!(
        "{}:{}",
        beside_python("").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut bash = Command::new("bash");
    bash.arg("setup.sh")
        .current_dir(&folder)
        .kill_on_drop(true)
        .env_clear()
        .env("PATH", path)
        .env("HOME", folder.path());
    bash.env("AWS_ENDPOINT_URL", &place.endpoint)
        .env("AWS_EC2_METADATA_DISABLED", "true");
    bash.env("AWS_ACCESS_KEY_ID", place.credentials.access_key_id())
        .env(
            "AWS_SECRET_ACCESS_KEY",
            place.credentials.secret_access_key(),
        );
    bash.env(
        "AWS_SESSION_TOKEN",
        place.credentials.session_token().unwrap_or_default(),
    );
    bash.output().await.unwrap()
}

/// What there is, without what differs from one making to the next.
fn without_marks(mut seen: Value) -> Value {
    fn forget(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("slipway:job");
                fields.values_mut().for_each(forget);
            }
            Value::Array(items) => items.iter_mut().for_each(forget),
            _ => {}
        }
    }
    seen["access_keys"] = Value::Null;
    forget(&mut seen);
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_makes_in_an_empty_account_what_the_service_makes() {
    if !found("aws") && !beside_python("aws").is_file() {
        return println!("skipped: no AWS CLI on this machine");
    }
    let setup = Setup::new(Place::new(Emulator::Ministack));
    let server = setup.start().await;
    let (name, shared) = (unique("acme"), unique("acme"));
    server.onboard(&wide(&name)).await;
    server
        .onboard(&json!({"name": shared, "buckets": [], "repositories": []}))
        .await;
    let app = server.json(&format!("/v1/apps/{name}")).await;
    let (script, called) = exported(&server, &name, "aws-cli").await;
    assert_eq!(called, "setup.sh");
    let made = without_marks(aws_inspector::look(&setup.place, &app["spec"]));

    let elsewhere = run_script(&script, &Place::new(Emulator::Ministack)).await;
    assert!(
        !elsewhere.status.success() && told(&elsewhere).contains(&setup.place.account),
        "{}",
        told(&elsewhere)
    );

    take_apart(&setup.place, &app["spec"]);
    let output = run_script(&script, &setup.place).await;
    assert!(output.status.success(), "{}\n{script}", told(&output));
    assert!(
        !told(&output).contains("SecretAccessKey")
            && script.contains("# aws iam create-access-key"),
        "{script}"
    );
    assert_eq!(
        aws_inspector::look(&setup.place, &app["spec"])["access_keys"],
        json!([])
    );
    assert_eq!(
        without_marks(aws_inspector::look(&setup.place, &app["spec"])),
        made
    );

    let again = run_script(&script, &setup.place).await;
    assert!(
        !again.status.success() && told(&again).contains("EntityAlreadyExists"),
        "the user is there: {}",
        told(&again)
    );
    server.stop().await;
}

/// Removes what the wide app has, but for the group.
fn take_apart(place: &Place, spec: &Value) {
    let name = &spec["name"];
    let policy = format!(
        "arn:aws:iam::{}:policy/MediaManagement-{}",
        place.account,
        name.as_str().unwrap()
    );
    let done = |service: &str, method: &str, args: Value| {
        aws_inspector::call(place, service, method, args).unwrap()
    };
    let keys = done("iam", "list_access_keys", json!({"UserName": name}));
    for key in keys["AccessKeyMetadata"].as_array().unwrap() {
        done(
            "iam",
            "delete_access_key",
            json!({"UserName": name, "AccessKeyId": key["AccessKeyId"]}),
        );
    }
    done(
        "iam",
        "detach_user_policy",
        json!({"UserName": name, "PolicyArn": policy}),
    );
    done(
        "iam",
        "remove_user_from_group",
        json!({"UserName": name, "GroupName": "Apps"}),
    );
    done("iam", "delete_policy", json!({"PolicyArn": policy}));
    done("iam", "delete_user", json!({"UserName": name}));
    for (list, service, method, argument) in [
        ("buckets", "s3", "delete_bucket", "Bucket"),
        ("repositories", "ecr", "delete_repository", "repositoryName"),
    ] {
        for it in spec[list].as_array().unwrap() {
            let region = if it["region"] == "us-east-1" {
                "us-east-1"
            } else {
                "us-west-2"
            };
            aws_inspector::call(
                &place.clone().in_region(region),
                service,
                method,
                json!({argument: it["name"]}),
            )
            .unwrap();
        }
    }
}

// ---- the environment

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_the_claims_without_the_secret() {
    let setup = Setup::new(Place::new(Emulator::Moto));
    let server = setup.start().await;
    let name = unique("acme");
    let job = server.onboard(&wide(&name)).await;
    let claim = job["result"]["claim"].as_str().unwrap();
    let (unclaimed, called) = exported(&server, &name, "dotenv").await;
    assert_eq!(called, ".env");
    assert!(
        unclaimed.contains(&format!(
            "# Claim the secret once with POST {claim}\n# AWS_SECRET_ACCESS_KEY=\n"
        )),
        "{unclaimed}"
    );
    let claimed = server
        .request(Method::POST, claim)
        .header("accept", "text/plain")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let (after, _) = exported(&server, &name, "dotenv").await;
    let shows = |line: &&str| !line.starts_with('#') && !line.starts_with("AWS_SECRET_ACCESS_KEY=");
    let lines = |text: &str| {
        text.lines()
            .filter(shows)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(&claimed).len(), 6, "{claimed}");
    assert_eq!(
        (lines(&unclaimed), lines(&after)),
        (lines(&claimed), lines(&claimed))
    );
    let secret = claimed
        .lines()
        .find_map(|line| line.strip_prefix("AWS_SECRET_ACCESS_KEY="))
        .unwrap();
    for format in ["terraform", "cloudformation", "aws-cli", "dotenv"] {
        assert!(
            !exported(&server, &name, format).await.0.contains(secret),
            "{format}"
        );
    }
    server.stop().await;
}

// ---- the call

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_format_is_told_which_there_are() {
    let setup = api::idle();
    let server = setup.start().await;
    let name = unique("acme");
    server.post("/v1/apps", &api::light(&name)).await;
    for query in ["", "?format=", "?format=pulumi"] {
        let problem = get(&server, &format!("/v1/apps/{name}/export{query}"))
            .await
            .problem(400, "invalid_parameters");
        assert_eq!(
            problem["errors"],
            json!([{"pointer": "format", "message": "must be one of terraform, cloudformation, aws-cli, dotenv"}])
        );
    }
    get(
        &server,
        &format!("/v1/apps/{name}/export?format=dotenv&region=us-west-2"),
    )
    .await
    .problem(400, "invalid_parameters");
    get(&server, "/v1/apps/nobody/export?format=dotenv")
        .await
        .problem(404, "not_found");
    let (file, _) = exported(&server, &name, "dotenv").await;
    assert_eq!(
        file,
        "# The app has no access key that Slipway created.\n# AWS_SECRET_ACCESS_KEY=\nAWS_REGION=us-west-2\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_aws_does_not_show_is_not_left_out_silently() {
    let setup = Setup::new(Place::new(Emulator::Moto));
    let server = setup.start().await;
    let name = unique("acme");
    server
        .onboard(&json!({"name": name, "buckets": [], "repositories": []}))
        .await;
    let denied = |call: &Call| call.operation == "ListGroupsForUser";
    setup.proxy.script(move |call| {
        denied(call).then(|| Scripted::Now(403, refusal_body("iam", "AccessDenied")))
    });
    for format in ["terraform", "cloudformation"] {
        let problem = get(&server, &format!("/v1/apps/{name}/export?format={format}"))
            .await
            .problem(502, "aws_refused");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .starts_with(&format!("Cannot read iam:membership/Apps/{name} from AWS")),
            "{problem}"
        );
        assert!(
            problem["remedy"]
                .as_str()
                .unwrap()
                .contains("iam:ListGroupsForUser"),
            "{problem}"
        );
    }
    exported(&server, &name, "aws-cli").await;
    server.stop().await;
}
