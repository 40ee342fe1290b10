//! Chat: who asks for what, and the person that a chat user is linked to.
//!
//! Invariants:
//! - A chat user is known by the platform's ids. Display names and e-mail addresses decide nothing.
//! - A chat user acts as the person that signed in to link them, with the role and scope of the last sign-in, or not at all.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString};
use ulid::Ulid;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::domain::caller::{Caller, CallerIdentity, Person};
use crate::domain::names::{AccountName, AppName};
use crate::domain::role::Role;
use crate::domain::scope::Scope;

/// The fewest digits of a plan's digest that name it in a command.
pub const MIN_DIGEST: usize = 12;

/// A chat platform.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumIter,
    EnumString,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[schema(as = ChatPlatform)]
pub enum Platform {
    /// Slack.
    Slack,
    /// Mattermost.
    Mattermost,
}

impl Platform {
    /// Its name in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Slack => "Slack",
            Self::Mattermost => "Mattermost",
        }
    }
}

/// A user of a chat platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatUser {
    /// The platform.
    pub platform: Platform,
    /// The ID of the workspace or team.
    pub team: String,
    /// The ID of the user.
    pub user: String,
}

/// A chat user that is linked to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatLink {
    /// The ID of the link.
    pub id: Ulid,
    /// The chat user.
    pub user: ChatUser,
    /// The person, as the identity provider knows them.
    pub identity: CallerIdentity,
    /// The name of the caller.
    pub name: String,
    /// What the last sign-in allows.
    pub role: Role,
    /// Where.
    pub scope: Scope,
    /// When the chat user was linked.
    pub created_at: Timestamp,
    /// When the person last signed in.
    pub signed_in_at: Timestamp,
}

impl ChatLink {
    /// The person.
    pub fn person(&self) -> Person {
        Person {
            issuer: self.identity.issuer.clone(),
            subject: self.identity.subject.clone(),
        }
    }

    /// The caller that the chat user is until the link has to be renewed.
    pub fn caller(self, expires_at: Timestamp) -> Caller {
        let person = self.person();
        Caller {
            id: self.id.to_string(),
            name: self.name,
            role: self.role,
            scope: self.scope,
            identity: Some(self.identity),
            person: Some(person),
            expires_at: Some(expires_at),
            session: None,
            proposes: false,
        }
    }
}

/// What a chat user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// What the commands are.
    Help,
    /// To be linked to a person.
    Link,
    /// To be linked to nobody.
    Unlink,
    /// The state of an app, or the latest jobs.
    Status(Option<AppName>),
    /// What an onboarding or a repair would change.
    Plan(NewApp),
    /// To onboard an app.
    Onboard(NewApp),
    /// Another access key.
    Rotate(AppName),
    /// How AWS differs from the spec.
    Drift(AppName),
    /// To remove an app, or what that would do, unless it is confirmed.
    Remove(AppName, Removal),
    /// To end the removal of an app.
    Restore(AppName),
    /// The jobs that wait for an approval.
    Approvals,
    /// To approve a plan, by the beginning of its digest.
    Approve(Ulid, String),
    /// To reject a plan.
    Reject(Ulid),
}

/// Whether the removal of an app is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// The name is given twice.
    Confirmed,
    /// To be shown what it would do.
    Planned,
}

/// The app that a command names, as it is written: a use case says what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApp {
    /// The name of the app.
    pub name: String,
    /// The account, if it is not the service's own.
    pub account: Option<AccountName>,
}

impl Command {
    /// Parses the text after the name of the slash command.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (name, rest) = words.split_first().unwrap_or((&"help", &[]));
        match (name.to_ascii_lowercase().as_str(), rest) {
            ("help", []) => Ok(Self::Help),
            ("link", []) => Ok(Self::Link),
            ("unlink", []) => Ok(Self::Unlink),
            ("approvals", []) => Ok(Self::Approvals),
            ("status", []) => Ok(Self::Status(None)),
            ("status", [app]) => Ok(Self::Status(Some(app_name(app)?))),
            ("rotate", [app]) => Ok(Self::Rotate(app_name(app)?)),
            ("drift", [app]) => Ok(Self::Drift(app_name(app)?)),
            ("remove", [app]) => Ok(Self::Remove(app_name(app)?, Removal::Planned)),
            ("remove", [app, confirm]) if confirm.strip_prefix("confirm=") == Some(*app) => {
                Ok(Self::Remove(app_name(app)?, Removal::Confirmed))
            }
            ("restore", [app]) => Ok(Self::Restore(app_name(app)?)),
            ("plan", [app, options @ ..]) => Ok(Self::Plan(new_app(app, options)?)),
            ("onboard", [app, options @ ..]) => Ok(Self::Onboard(new_app(app, options)?)),
            ("approve", [job, digest]) => Ok(Self::Approve(job_id(job)?, plan_digest(digest)?)),
            ("reject", [job]) => Ok(Self::Reject(job_id(job)?)),
            (known, _) => Err(match usage(known) {
                Some(usage) => format!("The command is written {usage}."),
                None => "There is no such command. Write help for those that there are.".into(),
            }),
        }
    }
}

/// Every command: how it is written, and what it does.
pub const COMMANDS: [(&str, &str); 13] = [
    ("onboard NAME [account=ACCOUNT]", "onboards an app"),
    (
        "plan NAME [account=ACCOUNT]",
        "shows what an onboarding, or of an app that exists a repair, would change",
    ),
    (
        "status [NAME]",
        "shows the state of an app, or the latest jobs",
    ),
    ("rotate NAME", "creates a new access key"),
    ("drift NAME", "shows how AWS differs from the spec"),
    (
        "remove NAME confirm=NAME",
        "removes an app: deactivates its keys, and deletes its user after a quarantine",
    ),
    ("restore NAME", "ends the removal of an app"),
    ("approvals", "lists the plans that wait for an approval"),
    ("approve JOB DIGEST", "approves a plan"),
    ("reject JOB", "rejects a plan"),
    ("link", "links you to the person that you sign in as"),
    ("unlink", "ends that"),
    ("help", "shows this"),
];

fn usage(name: &str) -> Option<&'static str> {
    COMMANDS
        .iter()
        .map(|(usage, _)| *usage)
        .find(|usage| usage.split(' ').next() == Some(name))
}

fn app_name(text: &str) -> Result<AppName, String> {
    AppName::parse(text).map_err(|why| format!("The name of the app {why}."))
}

fn new_app(name: &str, options: &[&str]) -> Result<NewApp, String> {
    let account = match options {
        [] => None,
        [option] => match option.split_once('=') {
            Some(("account", account)) => Some(
                AccountName::parse(account)
                    .map_err(|why| format!("The name of the account {why}."))?,
            ),
            _ => return Err("The only option is account=ACCOUNT.".into()),
        },
        _ => return Err("The only option is account=ACCOUNT.".into()),
    };
    Ok(NewApp {
        name: name.to_owned(),
        account,
    })
}

fn job_id(text: &str) -> Result<Ulid, String> {
    Ulid::from_string(text)
        .map_err(|_| "The job is named by its ID, which the message shows.".to_owned())
}

fn plan_digest(text: &str) -> Result<String, String> {
    let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    if (MIN_DIGEST..=64).contains(&text.len()) && text.chars().all(is_hex) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "The plan is named by the first {MIN_DIGEST} digits of its digest or more, which the message shows."
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_and_mistakes_are_explained() {
        let job = Ulid::from_parts(1, 2);
        let digest = "0123456789ab";
        for (text, command) in [
            ("", Command::Help),
            ("  LINK ", Command::Link),
            ("status", Command::Status(None)),
            ("rotate acme", Command::Rotate(app_name("acme").unwrap())),
            (
                "onboard acme account=eu",
                Command::Onboard(NewApp {
                    name: "acme".into(),
                    account: Some(AccountName::parse("eu").unwrap()),
                }),
            ),
            (
                &format!("approve {job} {digest}"),
                Command::Approve(job, digest.into()),
            ),
            (&format!("reject {job}"), Command::Reject(job)),
        ] {
            assert_eq!(Command::parse(text).as_ref(), Ok(&command), "{text}");
        }
        for (text, says) in [
            ("dance", "no such command"),
            ("rotate", "rotate NAME"),
            ("rotate one two", "rotate NAME"),
            ("onboard acme size=9", "account=ACCOUNT"),
            ("remove acme confirm=other", "remove NAME confirm=NAME"),
            ("approve x 0123456789ab", "by its ID"),
            (&format!("approve {job} 0123"), "digits of its digest"),
        ] {
            let error = Command::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        for (usage, _) in COMMANDS {
            let words = usage
                .replace(" [account=ACCOUNT]", "")
                .replace(" [NAME]", "");
            let words = words
                .replace("JOB", &job.to_string())
                .replace("DIGEST", digest);
            Command::parse(&words).unwrap_or_else(|error| panic!("{usage}: {error}"));
        }
    }
}
