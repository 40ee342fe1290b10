//! The set-up of an account: its jobs, and what must hold after them.
//!
//! Most run on the AWS in memory alone, which knows the policies of AWS and who may use which alias.

use reqwest::Method;
use serde_json::{Value, json};
use slipway::domain::job_kind::JobKind;

use super::ground::Ground;
use super::scenarios::{Later, Leaves, Scenario};
use crate::removal::hang_things_on;
use crate::support::api::Api;
use crate::support::aws::{AccountAdmin, Emulator};
use crate::support::wire::Fault;

/// Where the set-up of the account of the service is.
pub const PATH: &str = "/v1/accounts/default/setup";

pub static SCENARIOS: [Scenario; 3] = [
    Scenario {
        title: "adoption of people and groups, where the answer to a first password is lost",
        body: |name| {
            let mut spec = with_everything(name);
            spec["on_existing"] = json!("adopt");
            spec
        },
        before: people_made_by_hand,
        always: &[("iam:CreateLoginProfile", 0, Fault::ResetAfter)],
        ..BASE
    },
    Scenario {
        title: "repair of a set-up that was changed by hand",
        body: with_leads,
        later: Some(Later {
            kind: JobKind::Repair,
            first: None,
            damage: change_setup,
            request: |api, _| api.request(Method::POST, &format!("{PATH}/repair")),
        }),
        ..BASE
    },
    Scenario {
        title: "a set-up with less, and what is dropped removed",
        body: with_everything,
        later: Some(Later {
            kind: JobKind::SetupAccount,
            first: None,
            damage: |admin, name| hang_things_on(admin, &bo(name)),
            request: |api, asked| {
                let mut spec = with_leads(asked.name);
                spec["people"][0]["console"] = json!(false);
                for dropped in ["alias", "password_policy"] {
                    spec.as_object_mut().unwrap().remove(dropped);
                }
                let path = format!("{PATH}?remove=true");
                api.request(Method::PUT, &path).json(&spec)
            },
        }),
        ..BASE
    },
];

pub const BASE: Scenario = Scenario {
    title: "",
    emulator: Emulator::Ministack,
    region: "us-west-2",
    body: with_everything,
    before: |_, _| {},
    later: None,
    always: &[],
    leaves: Leaves::Setup,
};

pub fn ana(name: &str) -> String {
    format!("ana-{name}@example.com")
}

fn bo(name: &str) -> String {
    format!("bo-{name}@example.com")
}

pub fn with_everything(name: &str) -> Value {
    json!({
        "alias": name,
        "groups": [
            {"name": format!("{name}-leads"), "policies": ["ReadOnlyAccess", "job-function/Billing"]},
            {"name": format!("{name}-team"), "policies": ["ReadOnlyAccess"]},
        ],
        "people": [
            {"email": ana(name), "groups": [format!("{name}-leads")]},
            {"email": bo(name), "groups": [format!("{name}-team")], "console": false},
        ],
        "password_policy": {"minimum_length": 14},
    })
}

/// A set-up of one lead.
fn with_leads(name: &str) -> Value {
    json!({
        "alias": name,
        "groups": [{"name": format!("{name}-leads"), "policies": ["AdministratorAccess"]}],
        "people": [{"email": ana(name), "groups": [format!("{name}-leads")]}],
        "password_policy": {"minimum_length": 14},
    })
}

fn people_made_by_hand(admin: &dyn AccountAdmin, name: &str) {
    let leads = format!("{name}-leads");
    let arn = "arn:aws:iam::aws:policy/AdministratorAccess";
    for (method, args) in [
        (
            "create_user",
            json!({"UserName": ana(name), "Path": "/apps/"}),
        ),
        (
            "create_group",
            json!({"GroupName": leads, "Path": "/apps/"}),
        ),
        (
            "attach_group_policy",
            json!({"GroupName": leads, "PolicyArn": arn}),
        ),
        (
            "update_account_password_policy",
            json!({"MinimumPasswordLength": 8, "RequireSymbols": true}),
        ),
    ] {
        admin.make("iam", method, args);
    }
}

fn change_setup(admin: &dyn AccountAdmin, name: &str) {
    let (leads, user) = (format!("{name}-leads"), ana(name));
    let arn = |policy: &str| format!("arn:aws:iam::aws:policy/{policy}");
    for (method, args) in [
        ("delete_account_alias", json!({"AccountAlias": name})),
        (
            "update_account_password_policy",
            json!({"MinimumPasswordLength": 8, "RequireSymbols": true}),
        ),
        (
            "attach_group_policy",
            json!({"GroupName": leads, "PolicyArn": arn("ReadOnlyAccess")}),
        ),
        (
            "detach_group_policy",
            json!({"GroupName": leads, "PolicyArn": arn("AdministratorAccess")}),
        ),
        (
            "remove_user_from_group",
            json!({"GroupName": leads, "UserName": user}),
        ),
        (
            "untag_user",
            json!({"UserName": user, "TagKeys": ["slipway:app"]}),
        ),
        (
            "detach_user_policy",
            json!({"UserName": user, "PolicyArn": arn("IAMUserChangePassword")}),
        ),
    ] {
        admin.make("iam", method, args);
    }
}

/// Each first password can be claimed, and is the one that AWS has.
pub async fn assert_passwords_are_known(api: &Api, ground: &impl Ground) {
    let setup = api.json(PATH).await;
    let people = setup["spec"]["people"].as_array().unwrap().iter();
    let with_console = people.filter(|person| person["console"] == true).count();
    let passwords = setup["passwords"].as_array().unwrap();
    assert_eq!(passwords.len(), with_console, "{setup:#}");
    for password in passwords {
        let claim = password["claim"].as_str().expect("nobody has claimed it");
        let claimed: Value = api.post_empty(claim).await.json().await.unwrap();
        let text = claimed["password"].as_str().expect("a password");
        let person = password["person"].as_str().unwrap();
        if let Some(known) = ground.console_password(person) {
            assert_eq!(known, (text.to_owned(), true), "{person}");
        }
    }
}
