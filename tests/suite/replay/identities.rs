//! The jobs of apps with keyless identities. They run on the AWS in memory alone: neither emulator adds an audience to an
//! OIDC provider (facts: moto 5.2.5, ministack 1.5.33).

use reqwest::Method;
use serde_json::{Value, json};
use slipway::domain::job_kind::JobKind;

use super::scenarios::{Later, Leaves, Scenario};
use crate::support::aws::{AccountAdmin, Emulator};

pub static SCENARIOS: [Scenario; 7] = [
    Scenario {
        title: "a new app with identities of every kind instead of a key",
        body: with_every_kind,
        before: provider_made_by_hand,
        ..BASE
    },
    Scenario {
        title: "adoption of a role and an instance profile",
        body: |name| {
            let identities = json!([{"kind": "ec2", "name": format!("{name}-role")}]);
            json!({
                "name": name, "access_key": false, "on_existing": "adopt", "buckets": [], "identities": identities,
            })
        },
        before: role_made_by_hand,
        ..BASE
    },
    Scenario {
        title: "repair of identities that were changed by hand",
        body: with_instances_and_workflows,
        later: Some(Later {
            kind: JobKind::Repair,
            first: None,
            damage: change_identities,
            request: |api, asked| {
                api.request(Method::POST, &format!("/v1/apps/{}/repair", asked.name))
            },
        }),
        ..BASE
    },
    Scenario {
        title: "a change of the tags of identities",
        body: with_instances_and_workflows,
        later: Some(Later {
            kind: JobKind::Update,
            first: None,
            damage: nothing,
            request: |api, asked| {
                let mut spec = with_instances_and_workflows(asked.name);
                spec["tags"] = json!({"cost": "1"});
                api.request(Method::PUT, &format!("/v1/apps/{}?remove=true", asked.name))
                    .json(&spec)
            },
        }),
        ..BASE
    },
    Scenario {
        title: "identities take the place of a key",
        body: |name| json!({"name": name, "repositories": [], "media_access": "scoped"}),
        later: Some(Later {
            kind: JobKind::Update,
            first: None,
            damage: nothing,
            request: |api, asked| {
                let path = format!("/v1/apps/{0}?remove=true&confirm={0}", asked.name);
                let spec = with_instances_and_workflows(asked.name);
                api.request(Method::PUT, &path).json(&spec)
            },
        }),
        ..BASE
    },
    Scenario {
        title: "a key takes the place of identities",
        body: with_instances_and_workflows,
        later: Some(Later {
            kind: JobKind::Update,
            first: None,
            damage: attach_policy,
            request: |api, asked| {
                let path = format!("/v1/apps/{0}?remove=true&confirm={0}", asked.name);
                let spec = json!({"name": asked.name, "repositories": []});
                api.request(Method::PUT, &path).json(&spec)
            },
        }),
        leaves: Leaves::App { keys: 1 },
        ..BASE
    },
    Scenario {
        title: "removal of an app with identities beside a key",
        body: |name| json!({"name": name, "buckets": [], "identities": [{"kind": "ec2"}]}),
        later: Some(Later {
            kind: JobKind::Remove,
            first: None,
            damage: attach_policy,
            request: |api, asked| api.request(Method::DELETE, &format!("/v1/apps/{}", asked.name)),
        }),
        leaves: Leaves::Gone,
        ..BASE
    },
];

const BASE: Scenario = Scenario {
    title: "",
    emulator: Emulator::Moto,
    region: "us-west-2",
    body: with_every_kind,
    before: nothing,
    later: None,
    always: &[],
    leaves: Leaves::App { keys: 0 },
};

fn nothing(_: &dyn AccountAdmin, _: &str) {}

/// An identity of each kind, by its settings.
pub fn of_every_kind(name: &str) -> Value {
    json!([
        {"kind": "ec2", "permissions": ["media", "ecr-pull", "ecr-push"]},
        {"kind": "ecs"},
        {
            "kind": "github", "repository": "acme/shop", "repository_id": "123", "owner_id": "45",
            "environment": "production",
        },
        {"kind": "gitlab", "project": "acme/shop", "project_id": "278964", "ref": "main"},
        {
            "kind": "irsa", "oidc_provider": format!("https://oidc.eks.us-west-2.amazonaws.com/id/{name}"),
            "namespace": "shop", "service_account": "web",
        },
        {"kind": "pod", "cluster": "shop", "namespace": "shop", "service_account": "web"},
    ])
}

fn with_every_kind(name: &str) -> Value {
    json!({"name": name, "access_key": false, "identities": of_every_kind(name), "tags": {"team": "shop"}})
}

fn with_instances_and_workflows(name: &str) -> Value {
    let identities = json!([
        {"kind": "ec2"},
        {"kind": "github", "repository": "acme/shop", "repository_id": "123", "owner_id": "45", "ref": "main"},
    ]);
    json!({
        "name": name, "access_key": false, "repositories": [], "identities": identities,
        "tags": {"team": "shop"},
    })
}

fn provider_made_by_hand(admin: &dyn AccountAdmin, _: &str) {
    admin.make(
        "iam",
        "create_open_id_connect_provider",
        json!({"Url": "https://gitlab.com", "ClientIDList": ["somebody"]}),
    );
}

fn trust(service: &str) -> String {
    let statement =
        json!({"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"});
    json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}

fn role_made_by_hand(admin: &dyn AccountAdmin, name: &str) {
    let (role, other) = (format!("{name}-role"), format!("{name}-other"));
    for (role, service) in [
        (&role, "lambda.amazonaws.com"),
        (&other, "ec2.amazonaws.com"),
    ] {
        admin.make(
            "iam",
            "create_role",
            json!({"RoleName": role, "Path": "/apps/", "AssumeRolePolicyDocument": trust(service)}),
        );
    }
    let profile = json!({"InstanceProfileName": role, "Path": "/apps/"});
    admin.make("iam", "create_instance_profile", profile);
    let added = json!({"InstanceProfileName": role, "RoleName": other});
    admin.make("iam", "add_role_to_instance_profile", added);
}

fn attach_policy(admin: &dyn AccountAdmin, name: &str) {
    let arn = "arn:aws:iam::aws:policy/ReadOnlyAccess";
    let attached = json!({"RoleName": format!("{name}-ec2"), "PolicyArn": arn});
    admin.make("iam", "attach_role_policy", attached);
}

fn change_identities(admin: &dyn AccountAdmin, name: &str) {
    attach_policy(admin, name);
    let (ec2, github) = (format!("{name}-ec2"), format!("{name}-github"));
    for (method, args) in [
        (
            "update_assume_role_policy",
            json!({"RoleName": github, "PolicyDocument": trust("ec2.amazonaws.com")}),
        ),
        (
            "untag_role",
            json!({"RoleName": github, "TagKeys": ["team"]}),
        ),
        (
            "delete_role_policy",
            json!({"RoleName": ec2, "PolicyName": "slipway"}),
        ),
        (
            "remove_role_from_instance_profile",
            json!({"InstanceProfileName": ec2, "RoleName": ec2}),
        ),
        (
            "untag_instance_profile",
            json!({"InstanceProfileName": ec2, "TagKeys": ["team"]}),
        ),
    ] {
        admin.make("iam", method, args);
    }
}
