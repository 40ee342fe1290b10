//! Keyless identities: an app gets, keeps, changes and loses its roles without a moment without access, and nobody else is
//! let in.

use serde_json::{Value, json};
use slipway::domain::spec::Defaults;
use slipway::provision::conventions::Conventions;
use slipway::provision::permissions;

use super::{Fixture, pause, simulate};
use crate::aws::{Consistency, Options};
use crate::support::aws::AccountAdmin as _;
use crate::support::wire::{Call, Fault, mutates};

/// A host in an account with IAM's lag, whose role may do what `slipway role-policy` prints.
async fn fixture(seed: u64) -> Fixture {
    let options = Options {
        seed,
        authorization: true,
        consistency: Consistency::as_aws_documents(),
        ..Options::default()
    };
    Fixture::with(options, |host| {
        let conventions = Conventions::new(&Defaults::default(), "aws", "123456789012");
        host.role_policy = Some(permissions::role_policy(&conventions));
    })
    .await
}

fn every_kind() -> Value {
    json!([
        {"kind": "ec2", "permissions": ["ecr-push", "media", "ecr-pull"]},
        {"kind": "ecs"},
        {
            "kind": "github", "repository": "acme/shop", "repository_id": "123", "owner_id": "45",
            "environment": "production",
        },
        {"kind": "gitlab", "project": "acme/shop", "project_id": "278964", "ref": "main"},
        {
            "kind": "irsa", "oidc_provider": "https://oidc.eks.us-west-2.amazonaws.com/id/ABC", "namespace": "shop",
            "service_account": "web",
        },
        {"kind": "pod", "cluster": "shop", "namespace": "shop", "service_account": "web"},
    ])
}

fn keyless() -> Value {
    json!({"name": "acme", "media_access": "scoped", "access_key": false, "identities": every_kind()})
}

fn changes_of(plan: &Value) -> Vec<String> {
    let changes = plan["changes"].as_array().expect("changes").iter();
    changes
        .filter(|change| change["action"] != "none")
        .map(|change| change["detail"].as_str().expect("a text").to_owned())
        .collect()
}

async fn plan(fixture: &Fixture, spec: &Value) -> Value {
    let (status, plan) = fixture.ask("POST", "/v1/apps/acme/plan", Some(spec)).await;
    assert_eq!(status, 200, "{plan:#}");
    plan
}

#[test]
fn an_app_lives_on_identities_alone() {
    simulate(async {
        let fixture = fixture(0).await;
        let account = fixture.host.account().to_owned();
        let (_, foreseen) = fixture
            .ask("POST", "/v1/apps?dry_run=true", Some(&keyless()))
            .await;
        let commands = foreseen.to_string();
        for command in [
            "aws iam create-open-id-connect-provider --url https://token.actions.githubusercontent.com --client-id-list sts.amazonaws.com",
            "aws iam create-role --role-name acme-github --path /apps/",
            "aws iam put-role-policy --role-name acme-ec2 --policy-name slipway",
            "aws iam create-instance-profile --instance-profile-name acme-ec2 --path /apps/",
            "aws iam add-role-to-instance-profile --instance-profile-name acme-ec2 --role-name acme-ec2",
            "AWS cannot check the ID 278964 of GitLab project acme/shop",
        ] {
            assert!(commands.contains(command), "{command}: {foreseen:#}");
        }
        assert!(!commands.contains("create-user"), "{foreseen:#}");

        let job = fixture.done("POST", "/v1/apps", Some(&keyless())).await;
        let seen = fixture.snapshot();
        assert_eq!(
            seen["users"],
            json!({}),
            "an app without a key needs no user"
        );
        let github = &seen["roles"]["acme-github"]["trust"]["Statement"][0];
        let issuer = "token.actions.githubusercontent.com";
        assert_eq!(
            github["Principal"]["Federated"],
            json!(format!("arn:aws:iam::{account}:oidc-provider/{issuer}"))
        );
        assert_eq!(
            github["Condition"],
            json!({"StringEquals": {
                format!("{issuer}:aud"): "sts.amazonaws.com",
                format!("{issuer}:sub"): [
                    "repo:acme/shop:environment:production",
                    "repo:acme@45/shop@123:environment:production",
                ],
                format!("{issuer}:repository_id"): "123",
            }})
        );
        let ecs = &seen["roles"]["acme-ecs"]["trust"]["Statement"][0];
        assert_eq!(ecs["Principal"]["Service"], "ecs-tasks.amazonaws.com");
        assert_eq!(
            ecs["Condition"]["StringEquals"]["aws:SourceAccount"],
            json!(account)
        );
        assert_eq!(
            seen["instance_profiles"]["acme-ec2"]["roles"],
            json!(["acme-ec2"])
        );
        let results = job["result"]["identities"].as_array().expect("identities");
        assert_eq!(results.len(), 6);
        let arn = |name: &str| format!("arn:aws:iam::{account}:role/apps/{name}");
        assert_eq!(results[0]["role_arn"], json!(arn("acme-ec2")));
        assert_eq!(results[0]["instance_profile"], "acme-ec2");
        for (at, part) in [
            (0, "--iam-instance-profile Name=acme-ec2".to_owned()),
            (1, format!("\"taskRoleArn\": \"{}\"", arn("acme-ecs"))),
            (2, format!("role-to-assume: {}", arn("acme-github"))),
            (3, format!("AWS_ROLE_ARN={}", arn("acme-gitlab"))),
            (
                4,
                format!("eks.amazonaws.com/role-arn={}", arn("acme-irsa")),
            ),
            (5, format!("--role-arn {}", arn("acme-pod"))),
        ] {
            let usage = results[at]["usage"].as_str().expect("a text");
            assert!(usage.contains(&part), "{usage}");
        }

        // Until AWS shows it everywhere.
        pause(60).await;
        assert_eq!(
            changes_of(&plan(&fixture, &keyless()).await),
            Vec::<String>::new()
        );
        fixture.host.aws.take_log();
        fixture.done("POST", "/v1/apps/acme/repair", None).await;
        let log = fixture.host.aws.take_log();
        assert!(
            log.iter().all(|call| !mutates(&call.name())),
            "nothing is left to change"
        );

        exports_name_it(&fixture, &account).await;
        is_found_and_removed_by_hand(&fixture).await;
        fixture.end().await;
    });
}

async fn exports_name_it(fixture: &Fixture, account: &str) {
    for (format, parts) in [
        (
            "terraform",
            vec![
                "resource \"aws_iam_role\" \"acme_github\"",
                "id = \"acme-github:slipway\"",
                "resource \"aws_iam_instance_profile\" \"acme_ec2\"",
                "OIDC provider gitlab.com is shared",
            ],
        ),
        (
            "cloudformation",
            vec![
                "\"AWS::IAM::Role\"",
                "\"AWS::IAM::InstanceProfile\"",
                "\"PolicyName\": \"slipway\"",
            ],
        ),
        (
            "aws-cli",
            vec!["aws iam create-role --role-name acme-pod --path /apps/"],
        ),
        ("dotenv", vec!["IAM_ROLE_ARNS="]),
    ] {
        let export = fixture
            .process()
            .get(&format!("/v1/apps/acme/export?format={format}"))
            .await;
        let export = export.text().await.expect("a text");
        for part in parts {
            assert!(export.contains(part), "{format}: {part}: {export}");
        }
        assert!(
            format != "dotenv"
                || export.contains(&format!("arn:aws:iam::{account}:role/apps/acme-ec2"))
        );
    }
}

/// Drift is found, what is not Slipway's is told, and the whole app is removed, but for what the account shares.
async fn is_found_and_removed_by_hand(fixture: &Fixture) {
    let owner = fixture.host.aws.owner(fixture.host.account());
    let everybody = json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]});
    let change = json!({"RoleName": "acme-ecs", "PolicyDocument": everybody.to_string()});
    owner
        .call("iam", "UpdateAssumeRolePolicy", change)
        .expect("a change");
    let arn = "arn:aws:iam::aws:policy/AdministratorAccess";
    let attach = json!({"RoleName": "acme-ecs", "PolicyArn": arn});
    owner
        .call("iam", "AttachRolePolicy", attach)
        .expect("a change");
    let (_, report) = fixture.ask("POST", "/v1/apps/acme/drift", None).await;
    assert_eq!(
        changes_of(&report),
        ["set the trust policy of role acme-ecs"],
        "{report:#}"
    );
    let unexpected = &report["unexpected"][0];
    assert_eq!(
        unexpected["resource"], "iam:role-attachment/acme-ecs/aws/AdministratorAccess",
        "{report:#}"
    );
    let remove = &unexpected["removal_request"];
    fixture
        .done("POST", "/v1/apps/acme/repair", Some(remove))
        .await;
    let role = &fixture.snapshot()["roles"]["acme-ecs"];
    assert_eq!(role["attached"], json!([]));
    assert!(role["trust"].to_string().contains("ecs-tasks"), "{role:#}");

    fixture.done("DELETE", "/v1/apps/acme", None).await;
    let policy = &fixture.snapshot()["roles"]["acme-ecs"]["inline"]["slipway"];
    assert_eq!(
        policy["Statement"][0]["Effect"], "Deny",
        "nothing is granted from now on"
    );
    fixture.settled("acme").await;
    let seen = fixture.snapshot();
    assert_eq!(seen["instance_profiles"], json!({}));
    let roles: Vec<&String> = seen["roles"].as_object().expect("roles").keys().collect();
    assert_eq!(roles, ["slipway"]);
    let providers = seen["oidc_providers"].as_object().expect("providers");
    assert_eq!(providers.len(), 3, "the account's stay");
}

fn with_key() -> Value {
    json!({"name": "acme", "media_access": "scoped"})
}

/// Positions of the first call by each name in the log.
fn first(log: &[Call], name: &str) -> Option<usize> {
    log.iter().position(|call| call.name() == name)
}

fn last(log: &[Call], name: &str) -> Option<usize> {
    log.iter().rposition(|call| call.name() == name)
}

const GRANTS: [&str; 4] = [
    "iam:CreateRole",
    "iam:PutRolePolicy",
    "iam:AddRoleToInstanceProfile",
    "iam:UpdateAssumeRolePolicy",
];

/// Whether every identity is complete.
fn is_complete(seen: &Value) -> bool {
    let kinds = ["ec2", "ecs", "github", "gitlab", "irsa", "pod"];
    kinds.iter().all(|kind| {
        let policy = &seen["roles"][format!("acme-{kind}")]["inline"]["slipway"];
        policy["Statement"][0]["Effect"] == "Allow"
    }) && seen["instance_profiles"]["acme-ec2"]["roles"] == json!(["acme-ec2"])
}

#[test]
fn a_key_gives_way_to_identities_and_back_without_a_moment_without_access() {
    for seed in 0..4 {
        simulate(async {
            let fixture = fixture(seed).await;
            fixture.done("POST", "/v1/apps", Some(&with_key())).await;

            let mut lost = std::collections::HashSet::new();
            fixture.host.break_by(move |call| {
                let is_lost = seed % 2 == 1
                    && mutates(&call.name())
                    && lost.insert((call.name(), call.things()));
                is_lost.then_some(Fault::ResetAfter)
            });
            let path = "/v1/apps/acme?remove=true&confirm=acme";
            fixture.done("PUT", path, Some(&keyless())).await;
            let log = fixture.host.aws.take_log();
            let deleted = first(&log, "iam:DeleteAccessKey").expect("the key is deleted");
            for grant in GRANTS.iter().filter_map(|name| last(&log, name)) {
                assert!(grant < deleted, "identities are complete first");
            }
            let seen = fixture.snapshot();
            assert!(is_complete(&seen), "{seen:#}");
            assert_eq!(seen["users"], json!({}));
            assert_eq!(
                fixture.app("acme").await["retained"]["resources"],
                json!([])
            );

            let job = fixture.done("PUT", path, Some(&with_key())).await;
            let log = fixture.host.aws.take_log();
            let created = last(&log, "iam:CreateAccessKey").expect("a key");
            for taken in [
                "iam:DeleteRolePolicy",
                "iam:RemoveRoleFromInstanceProfile",
                "iam:DeleteRole",
            ] {
                assert!(
                    created < first(&log, taken).expect("it is taken away"),
                    "{taken}"
                );
            }
            let key = job["result"]["access_key_id"]
                .as_str()
                .expect("a key")
                .to_owned();
            fixture.claim("acme", &key).await;
            let seen = fixture.snapshot();
            let roles: Vec<&String> = seen["roles"].as_object().expect("roles").keys().collect();
            assert_eq!(roles, ["slipway"], "{seen:#}");
            assert_eq!(seen["instance_profiles"], json!({}));
            pause(60).await;
            fixture.host.break_by(|_| None);
            assert_eq!(
                changes_of(&plan(&fixture, &with_key()).await),
                Vec::<String>::new()
            );
            fixture.end().await;
        });
    }
}

/// What cannot be completed takes nothing away.
#[test]
fn a_key_stays_while_an_identity_cannot_be_completed() {
    for broken in [
        "iam:PutRolePolicy",
        "iam:AddRoleToInstanceProfile",
        "iam:CreateOpenIDConnectProvider",
    ] {
        simulate(async {
            let fixture = fixture(0).await;
            let job = fixture.done("POST", "/v1/apps", Some(&with_key())).await;
            let key = job["result"]["access_key_id"]
                .as_str()
                .expect("a key")
                .to_owned();
            fixture
                .host
                .break_by(move |call| (call.name() == broken).then_some(Fault::Denied));
            let path = "/v1/apps/acme?remove=true&confirm=acme";
            let job = fixture.ended("PUT", path, Some(&keyless())).await;
            assert_eq!(job["state"], "needs_attention", "{broken}: {job:#}");
            assert_eq!(fixture.keys("acme"), [(key, true)].into(), "{broken}");
            fixture.host.break_by(|_| None);
            let id = job["id"].as_str().expect("an id");
            let retried = fixture
                .ended("POST", &format!("/v1/jobs/{id}/retry"), None)
                .await;
            assert_eq!(retried["state"], "succeeded", "{broken}: {retried:#}");
            let seen = fixture.snapshot();
            assert!(is_complete(&seen) && seen["users"] == json!({}), "{seen:#}");
            fixture.end().await;
        });
    }
}

/// Roles and profiles of others are left alone, and adopted only if that is asked for.
#[test]
fn a_foreign_role_is_a_conflict_until_it_is_adopted_and_is_given_back() {
    simulate(async {
        let fixture = fixture(0).await;
        let owner = fixture.host.aws.owner(fixture.host.account());
        let trust = json!({"Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
        let made = json!({"RoleName": "acme-ecs", "Path": "/apps/", "AssumeRolePolicyDocument": trust.to_string()});
        owner.call("iam", "CreateRole", made).expect("a role");
        let before = fixture.snapshot()["roles"]["acme-ecs"].clone();
        let mut spec =
            json!({"name": "acme", "access_key": false, "identities": [{"kind": "ecs"}]});
        let job = fixture.ended("POST", "/v1/apps", Some(&spec)).await;
        assert_eq!(
            (&job["state"], &job["error"]["code"]),
            (&json!("failed"), &json!("conflict")),
            "{job:#}"
        );
        assert_eq!(fixture.snapshot()["roles"]["acme-ecs"], before);

        spec["on_existing"] = json!("adopt");
        fixture.done("PUT", "/v1/apps/acme", Some(&spec)).await;
        let role = fixture.snapshot()["roles"]["acme-ecs"].clone();
        assert!(role["trust"].to_string().contains("ecs-tasks"), "{role:#}");
        fixture.done("DELETE", "/v1/apps/acme", None).await;
        fixture.settled("acme").await;
        let role = fixture.snapshot()["roles"]["acme-ecs"].clone();
        assert_eq!(
            (&role["tags"], &role["inline"]),
            (&json!({}), &json!({})),
            "the role is given back"
        );
        fixture.end().await;
    });
}

#[test]
fn every_wrong_setting_is_told_at_its_place() {
    simulate(async {
        let fixture = fixture(0).await;
        let spec = json!({"name": "acme", "identities": [
            {"kind": "github", "repository": "acme/*", "repository_id": "12a", "environment": "prod?", "ref": "main"},
            {"kind": "gitlab", "project": "acme", "ref": "*", "owner_id": "1"},
            {"kind": "irsa", "oidc_provider": "here", "namespace": "Shop", "service_account": "-"},
            {"kind": "pod", "permissions": ["media", "admin"]},
            {"kind": "lambda"},
            {"kind": "ec2", "permissions": []},
            {"kind": "ec2", "name": "acme-moon", "region": "moon"},
            {"kind": "github", "name": "other", "repository": "acme/shop", "repository_id": "1", "owner_id": "2"},
            7,
        ]});
        let (status, problem) = fixture.ask("POST", "/v1/apps", Some(&spec)).await;
        assert_eq!(status, 422, "{problem:#}");
        let errors = problem["errors"].as_array().expect("errors").iter();
        let at: std::collections::BTreeSet<&str> = errors
            .map(|error| error["pointer"].as_str().expect("a pointer"))
            .collect();
        let expected = [
            "0/environment",
            "0/owner_id",
            "0/ref",
            "0/repository",
            "0/repository_id",
            "1/owner_id",
            "1/project",
            "1/project_id",
            "1/ref",
            "2/namespace",
            "2/oidc_provider",
            "2/service_account",
            "3/cluster",
            "3/namespace",
            "3/permissions/1",
            "3/service_account",
            "4/kind",
            "5/permissions",
            "6/region",
            "7/environment",
            "8",
        ];
        let expected = expected.map(|at| format!("/identities/{at}"));
        assert_eq!(at, expected.iter().map(String::as_str).collect());
        assert!(problem.to_string().contains("wildcard"), "{problem:#}");
        let twice = json!({"name": "acme", "identities": [{"kind": "ecs"}, {"kind": "ec2", "name": "ACME-ecs"}]});
        let (status, problem) = fixture.ask("POST", "/v1/apps", Some(&twice)).await;
        assert_eq!(
            (status, &problem["errors"][0]["message"]),
            (422, &json!("contains acme-ecs more than once"))
        );
        fixture.end().await;
    });
}
