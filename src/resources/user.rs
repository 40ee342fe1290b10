//! The app's IAM user.
//!
//! Invariant: a user by the app's name that does not carry the app's tag is foreign: no key is made
//! on it and nothing is attached to it, unless it is adopted.

use std::fmt;

use aws_sdk_iam::types::Tag;
use serde_json::{Value, json};

use super::{
    Applied, Change, Changes, Conventions, Cx, Fault, Observation, Permission, Resource, ResourceId, Scope, Tags, aws_cli, ownership,
};
use crate::aws::{Meaning, Service};
use crate::domain::job::{Trouble, TroubleCode};
use crate::domain::names::{AppName, IamPath};
use crate::domain::plan::Action;
use crate::domain::spec::AppSpec;
use crate::export::{Labels, cloudformation, terraform};

/// The app's IAM user.
#[derive(Debug, Clone)]
pub struct User {
    name: AppName,
    path: IamPath,
    tags: Tags,
}

/// A user as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenUser {
    /// Its name, with the case that it was made with.
    pub name: String,
    /// Its path.
    pub path: String,
    /// Its tags.
    pub tags: Tags,
    /// Whether a job of this app has made it.
    pub made_by_us: bool,
}

/// What changes a user.
#[derive(Debug, Clone, PartialEq)]
pub enum UserChange {
    /// `CreateUser`.
    Create {
        /// Its name.
        name: AppName,
        /// Its path.
        path: IamPath,
        /// Its tags, but for the job's.
        tags: Tags,
    },
    /// `TagUser`.
    Tag {
        /// Its name.
        name: AppName,
        /// The tags to set.
        tags: Tags,
        /// The tags that are there.
        before: Tags,
    },
}

impl fmt::Display for UserChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { name, .. } => write!(f, "create user {name}"),
            Self::Tag { name, tags, .. } => write!(f, "tag user {name} with {}", tags.keys().cloned().collect::<Vec<_>>().join(", ")),
        }
    }
}

impl Change for UserChange {
    fn action(&self) -> Action {
        match self {
            Self::Create { .. } => Action::Create,
            Self::Tag { .. } => Action::Update,
        }
    }

    fn before(&self) -> Option<Value> {
        match self {
            Self::Create { .. } => None,
            Self::Tag { before, .. } => Some(json!({"tags": before})),
        }
    }

    fn after(&self) -> Option<Value> {
        match self {
            Self::Create { name, path, tags } => Some(json!({"name": name, "path": path, "tags": tags})),
            Self::Tag { tags, before, .. } => {
                let mut after = before.clone();
                after.extend(tags.clone());
                Some(json!({"tags": after}))
            }
        }
    }

    fn aws_cli(&self) -> String {
        match self {
            Self::Create { name, path, tags } => format!(
                "aws iam create-user --user-name {} --path {} --tags {}",
                aws_cli::word(name.as_str()),
                aws_cli::word(path.as_str()),
                ownership::shorthand(tags)
            ),
            Self::Tag { name, tags, .. } => {
                format!("aws iam tag-user --user-name {} --tags {}", aws_cli::word(name.as_str()), ownership::shorthand(tags))
            }
        }
    }
}

/// The id of an app's user.
pub fn id(name: &AppName) -> ResourceId {
    format!("{}/{name}", User::KIND)
}

impl Resource for User {
    type Observed = SeenUser;
    type Change = UserChange;

    const KIND: &'static str = "iam:user";
    const PERMISSIONS: &'static [Permission] = &[
        Permission::new(Service::Iam, "GetUser", &["iam:GetUser"], Scope::AnyUser),
        Permission::new(Service::Iam, "CreateUser", &["iam:CreateUser", "iam:TagUser"], Scope::Users),
        Permission::new(Service::Iam, "TagUser", &["iam:TagUser"], Scope::Users),
    ];

    fn wanted(spec: &AppSpec, conventions: &Conventions) -> Vec<Self> {
        let tags = ownership::wanted(&spec.name, &spec.tags);
        vec![Self { name: spec.name.clone(), path: conventions.iam_path.clone(), tags }]
    }

    fn id(&self) -> ResourceId {
        id(&self.name)
    }

    fn create_first(&self, cx: &Cx) -> bool {
        cx.untouched
    }

    async fn observe(&self, cx: &Cx) -> Result<Observation<SeenUser>, Fault> {
        let call = cx.account.iam().get_user().user_name(self.name.as_str()).send();
        let user = match cx.call(Service::Iam, "GetUser", call).await {
            Ok(answer) => answer.user,
            Err(error) if error.meaning == Meaning::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let Some(user) = user else { return Ok(Observation::Absent) };
        let tags: Tags = user.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect();
        cx.note_arn(self.id(), user.arn());
        let made_by_us = ownership::is_made_by_us(cx, &self.id(), &tags);
        let (name, path) = (user.user_name().to_owned(), user.path().to_owned());
        let seen = SeenUser { name, path, tags: tags.clone(), made_by_us };
        Ok(ownership::sort(cx, &self.id(), &tags, seen))
    }

    fn plan(&self, seen: Option<&SeenUser>) -> Result<Changes<UserChange>, Fault> {
        let Some(seen) = seen else {
            let (name, path, tags) = (self.name.clone(), self.path.clone(), self.tags.clone());
            return Ok(Changes::of(vec![UserChange::Create { name, path, tags }]));
        };
        if seen.name != self.name.as_str() {
            return Err(collides_by_case(&self.name, &seen.name));
        }
        let tags = ownership::missing(&self.tags, &seen.tags, seen.made_by_us);
        if tags.is_empty() {
            return Ok(Changes::of(Vec::new()));
        }
        Ok(Changes::of(vec![UserChange::Tag { name: self.name.clone(), tags, before: seen.tags.clone() }]))
    }

    async fn apply(&self, cx: &Cx, change: &UserChange) -> Result<Applied, Fault> {
        match change {
            UserChange::Create { name, path, tags } => {
                let tags = sdk_tags(&ownership::on_creation(cx, tags))?;
                let call = cx.account.iam().create_user().user_name(name.as_str()).path(path.as_str()).set_tags(Some(tags)).send();
                match cx.call(Service::Iam, "CreateUser", call).await {
                    Ok(_) => {
                        cx.note_made(self.id());
                        Ok(Applied::Done)
                    }
                    Err(error) if error.meaning == Meaning::AlreadyExists => Ok(Applied::MetExisting),
                    Err(error) => Err(error.into()),
                }
            }
            UserChange::Tag { name, tags, .. } => {
                let call = cx.account.iam().tag_user().user_name(name.as_str()).set_tags(Some(sdk_tags(tags)?)).send();
                cx.call(Service::Iam, "TagUser", call).await?;
                Ok(Applied::Done)
            }
        }
    }

    fn arn(&self, c: &Conventions) -> Option<String> {
        Some(format!("arn:{}:iam::{}:user{}{}", c.partition, c.account_id, self.path, self.name))
    }

    fn terraform(&self, seen: &SeenUser, _labels: &Labels) -> Vec<terraform::Piece> {
        let user = terraform::Thing::new("aws_iam_user", &seen.name).set("name", seen.name.as_str()).set("path", seen.path.as_str());
        vec![user.tags(&seen.tags).leaving(&["permissions_boundary"]).into()]
    }

    fn cloudformation(&self, seen: &SeenUser, _labels: &Labels) -> Vec<cloudformation::Entry> {
        let user = cloudformation::Thing::new("AWS::IAM::User", "UserName", &seen.name);
        let user = user.set("UserName", seen.name.as_str()).set("Path", seen.path.as_str()).tags(&seen.tags);
        vec![cloudformation::Entry::Thing(user)]
    }
}

/// Tags in the SDK's form.
pub(super) fn sdk_tags(tags: &Tags) -> Result<Vec<Tag>, Fault> {
    let build = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
    tags.iter().map(build).collect::<Result<_, _>>().map_err(Fault::of_sdk)
}

fn collides_by_case(wanted: &AppName, seen: &str) -> Fault {
    Fault::Rejected(Trouble {
        code: TroubleCode::Conflict,
        detail: format!("a user {seen} is there, and IAM takes {wanted} for the same name"),
        remedy: Some("Choose a name that differs by more than case.".into()),
        retryable: false,
        aws: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> User {
        let name = AppName::parse("acme").unwrap();
        let tags = ownership::wanted(&name, &Tags::from([("team".to_owned(), "shop".to_owned())]));
        User { name, path: IamPath::parse("/apps/").unwrap(), tags }
    }

    #[test]
    fn a_name_that_differs_by_case_is_a_conflict() {
        let seen = SeenUser { name: "ACME".into(), path: "/apps/".into(), tags: user().tags, made_by_us: true };
        let fault = user().plan(Some(&seen)).unwrap_err();
        assert_eq!(fault.trouble().unwrap().code, TroubleCode::Conflict);
    }

    #[test]
    fn tags_made_by_hand_are_kept_and_lost_ones_set_again() {
        let tags = Tags::from([("slipway:app".into(), "acme".into()), ("own".into(), "1".into())]);
        let seen = SeenUser { name: "acme".into(), path: "/apps/".into(), tags, made_by_us: true };
        let changes = user().plan(Some(&seen)).unwrap().changes;
        assert_eq!(changes[0].to_string(), "tag user acme with team");
        assert_eq!(changes[0].after().unwrap()["tags"], json!({"own": "1", "slipway:app": "acme", "team": "shop"}));
    }
}
