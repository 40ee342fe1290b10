//! The set-up of the account, beside the apps in it: what is done with it, and what must hold of it.

use fastrand::Rng;
use serde_json::{Value, json};

use super::invariants::{second_repair, untrue_reason};
use super::world::World;
use crate::support::aws::AccountAdmin;

const PATH: &str = "/v1/accounts/default/setup";
const PEOPLE: [&str; 2] = ["ana@example.com", "bo@example.com"];
const GROUPS: [&str; 2] = ["Leads", "Developers"];

fn spec(rng: &mut Rng) -> Value {
    let mut groups = Vec::new();
    for (group, policy) in GROUPS.iter().zip(["AdministratorAccess", "ReadOnlyAccess"]) {
        if rng.u32(..4) > 0 {
            let policies = [vec![policy], vec![policy, "job-function/Billing"], vec![]];
            let policies = &policies[rng.usize(..3)];
            groups.push(json!({"name": group, "policies": policies}));
        }
    }
    let mut people = Vec::new();
    for person in PEOPLE {
        if rng.u32(..4) > 0 {
            let of_person: Vec<&Value> = groups
                .iter()
                .filter(|_| rng.bool())
                .map(|group| &group["name"])
                .collect();
            let console = rng.u32(..4) > 0;
            people.push(json!({"email": person, "groups": of_person, "console": console}));
        }
    }
    let mut spec = json!({"groups": groups, "people": people});
    if rng.bool() {
        let aliases = ["customer-one", "customer-two"];
        spec["alias"] = json!(aliases[rng.usize(..2)]);
    }
    if rng.bool() {
        let length = [10, 14][rng.usize(..2)];
        spec["password_policy"] = json!({"minimum_length": length});
    }
    if rng.u32(..4) == 0 {
        spec["on_existing"] = json!("adopt");
    }
    spec
}

impl World {
    /// Does something with the set-up.
    pub async fn act_on_setup(&mut self, rng: &mut Rng) {
        match rng.u32(..100) {
            0..=29 => drop(self.ask("PUT", PATH, Some(&spec(rng))).await),
            30..=44 => {
                let path = format!("{PATH}?remove=true");
                self.ask("PUT", &path, Some(&spec(rng))).await;
            }
            45..=54 => drop(self.ask("POST", &format!("{PATH}/repair"), None).await),
            55..=69 => {
                let wrong = self.claim_passwords().await;
                self.known.wrong_answers.extend(wrong);
            }
            70..=79 => {
                let setup = self.json(PATH).await.unwrap_or_default();
                if let Some(job) = setup["last_job"].as_str() {
                    let verb = ["cancel", "retry"][rng.usize(..2)];
                    self.ask("POST", &format!("/v1/jobs/{job}/{verb}"), None)
                        .await;
                }
            }
            80..=84 => drop(self.ask("POST", &format!("{PATH}/drift"), None).await),
            _ => self.change_setup_by_hand(rng),
        }
    }

    fn change_setup_by_hand(&mut self, rng: &mut Rng) {
        let (person, group) = (PEOPLE[rng.usize(..2)], GROUPS[rng.usize(..2)]);
        let arn = |policy: &str| format!("arn:aws:iam::aws:policy/{policy}");
        let (method, args) = match rng.u32(..6) {
            0 => ("delete_login_profile", json!({"UserName": person})),
            1 => (
                "remove_user_from_group",
                json!({"UserName": person, "GroupName": group}),
            ),
            2 => (
                "attach_group_policy",
                json!({"GroupName": group, "PolicyArn": arn("SecurityAudit")}),
            ),
            3 => (
                "detach_user_policy",
                json!({"UserName": person, "PolicyArn": arn("IAMUserChangePassword")}),
            ),
            4 => (
                "update_account_password_policy",
                json!({"MinimumPasswordLength": 8}),
            ),
            _ => ("create_access_key", json!({"UserName": person})),
        };
        // Where nothing is there to change, nothing is changed.
        let made = self.host.call("iam", method, args);
        let key = made.ok().and_then(|made| {
            let key = made["AccessKey"]["AccessKeyId"].as_str()?;
            Some(key.to_owned())
        });
        self.known.hand_keys.extend(key);
    }

    /// Claims every first password that is unclaimed. Answers where a known one is not the one that AWS has.
    pub async fn claim_passwords(&mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        let setup = self.json(PATH).await.unwrap_or_default();
        for shown in setup["passwords"].as_array().into_iter().flatten() {
            let (person, created) = (shown["person"].to_string(), shown["created_at"].to_string());
            if let Some(claim) = shown["claim"].as_str() {
                let (status, claimed) = self.ask("POST", claim, None).await;
                if let (200, Some(password)) = (status, claimed["password"].as_str()) {
                    let known = (created.clone(), password.to_owned());
                    self.known.passwords.insert(person.clone(), known);
                }
            }
            let user = shown["person"].as_str().unwrap_or_default();
            let in_aws = self.host.aws.console_password(self.host.account(), user);
            let known = self.known.passwords.get(&person);
            let known = known.filter(|(of, _)| *of == created);
            if let (Some((_, known)), Some((password, _))) = (known, in_aws)
                && *known != password
            {
                wrong.push(format!("the claimed password of {user} is not that of AWS"));
            }
        }
        wrong
    }
}

/// What is broken of the promises.
pub async fn broken(world: &mut World) -> Vec<String> {
    let mut broken = world.claim_passwords().await;
    let setup = world.json(PATH).await.unwrap_or_default();
    if setup["state"] != "ready" {
        return broken;
    }
    let path = format!("{PATH}/repair");
    let Some(first) = world.run(&path).await else {
        return broken;
    };
    if first["state"] != "succeeded" {
        broken.extend(untrue_reason(world, "a repair", &first));
        return broken;
    }
    broken.extend(passwords_are_known(world).await);
    broken.extend(second_repair(world, "the set-up", &path).await);
    broken
}

/// Each console password of a person is known, or somebody else has set it.
async fn passwords_are_known(world: &mut World) -> Vec<String> {
    let setup = world.json(PATH).await.unwrap_or_default();
    let people = setup["spec"]["people"].as_array().cloned();
    let of_console = people
        .into_iter()
        .flatten()
        .filter(|person| person["console"] == true);
    let shown = setup["passwords"].as_array().cloned().unwrap_or_default();
    of_console
        .filter(|person| !shown.iter().any(|it| it["person"] == person["email"]))
        .map(|person| format!("nobody knows the console password of {}", person["email"]))
        .collect()
}

/// The set-up as it is shown, which explains what carries its tags.
pub async fn shown(world: &mut World) -> String {
    world.json(PATH).await.unwrap_or_default().to_string()
}
