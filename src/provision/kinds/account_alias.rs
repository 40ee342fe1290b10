//! The alias of an account, which names its sign-in page.
//!
//! Invariants:
//! - An account has one alias, and a create replaces it (IAM API Reference, `CreateAccountAlias`): an alias that no job
//!   of the set-up has created is never replaced.
//! - Aliases are unique over all accounts of AWS.

use std::fmt;

use serde_json::{Value, json};

use crate::aws::{ErrorKind, Service};
use crate::domain::account_setup::AccountSetup;
use crate::domain::job::{JobError, JobErrorCode};
use crate::domain::names::AccountAlias;
use crate::domain::plan::Action;
use crate::domain::resource_id::ResourceId;
use crate::domain::spec::AppSpec;
use crate::provision::change::{Applied, Change, Changes, Observation};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::ids;
use crate::provision::permission::{Permission, Scope};
use crate::provision::render::labels::Labels;
use crate::provision::render::{cloudformation, terraform};
use crate::provision::resource::Resource;

#[derive(Debug, Clone)]
pub struct Alias {
    alias: AccountAlias,
}

/// The alias that the account has.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenAlias {
    alias: String,
    /// Whether a job of the set-up created it.
    is_ours: bool,
}

/// What changes the alias.
#[derive(Debug, Clone, PartialEq)]
pub enum AliasChange {
    /// `CreateAccountAlias`.
    Create {
        alias: AccountAlias,
        /// The alias that it replaces.
        replaces: Option<String>,
    },
    /// `DeleteAccountAlias`.
    Delete(AccountAlias),
}

impl fmt::Display for AliasChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create {
                alias,
                replaces: Some(before),
            } => write!(f, "replace account alias {before} by {alias}"),
            Self::Create { alias, .. } => write!(f, "create account alias {alias}"),
            Self::Delete(alias) => write!(f, "delete account alias {alias}"),
        }
    }
}

impl Change for AliasChange {
    fn action(&self) -> Action {
        match self {
            Self::Create { replaces: None, .. } => Action::Create,
            Self::Create { .. } => Action::Update,
            Self::Delete(_) => Action::Delete,
        }
    }

    fn before(&self) -> Option<Value> {
        match self {
            Self::Create { replaces, .. } => replaces.as_ref().map(|alias| json!({"alias": alias})),
            Self::Delete(alias) => Some(json!({"alias": alias})),
        }
    }

    fn after(&self) -> Option<Value> {
        match self {
            Self::Create { alias, .. } => Some(json!({"alias": alias})),
            Self::Delete(_) => None,
        }
    }

    fn aws_cli(&self) -> String {
        match self {
            Self::Create { alias, .. } => {
                format!("aws iam create-account-alias --account-alias {alias}")
            }
            Self::Delete(alias) => format!("aws iam delete-account-alias --account-alias {alias}"),
        }
    }
}

impl Resource for Alias {
    type Observed = SeenAlias;
    type Change = AliasChange;

    const KIND: &'static str = ids::ACCOUNT_ALIAS;
    const PERMISSIONS: &'static [Permission] = &[
        Permission::read(
            Service::Iam,
            "ListAccountAliases",
            &["iam:ListAccountAliases"],
            Scope::Everything,
        ),
        Permission::change(
            Service::Iam,
            "CreateAccountAlias",
            &["iam:CreateAccountAlias"],
            Scope::Everything,
        ),
        Permission::change(
            Service::Iam,
            "DeleteAccountAlias",
            &["iam:DeleteAccountAlias"],
            Scope::Everything,
        ),
    ];

    fn wanted_by_setup(_: &AppSpec, setup: &AccountSetup, _: &Conventions) -> Vec<Self> {
        let alias = setup.spec.alias.clone();
        alias.map(|alias| Self { alias }).into_iter().collect()
    }

    fn of_recorded(id: &ResourceId, _: &AppSpec, _: &Conventions) -> Option<Self> {
        let alias = AccountAlias::parse(id.name()).ok()?;
        Some(Self { alias })
    }

    fn id(&self) -> ResourceId {
        ResourceId::new(Self::KIND, &self.alias)
    }

    async fn observe(&self, cx: &ReconcileContext) -> Result<Observation<SeenAlias>, Fault> {
        let call = cx.account.iam().list_account_aliases().send();
        let answer = cx.call(Service::Iam, "ListAccountAliases", call).await?;
        let Some(alias) = answer.account_aliases.into_iter().next() else {
            return Ok(Observation::Absent);
        };
        if alias == self.alias.as_str() && cx.maybe_created_within(&self.id()).is_some() {
            // A create of this alias was interrupted. It took effect, or the alias was there: both are as wanted.
            cx.note_found(&self.id());
        }
        let is_ours = cx.is_created_by_app(&ResourceId::new(Self::KIND, &alias));
        Ok(Observation::Ours(SeenAlias { alias, is_ours }))
    }

    fn plan(&self, seen: Option<&SeenAlias>) -> Result<Changes<AliasChange>, Fault> {
        let create = |replaces: Option<String>| {
            let alias = self.alias.clone();
            Changes::of(vec![AliasChange::Create { alias, replaces }])
        };
        match seen {
            None => Ok(create(None)),
            Some(seen) if seen.alias == self.alias.as_str() => Ok(Changes::of(Vec::new())),
            Some(seen) if seen.is_ours => Ok(create(Some(seen.alias.clone()))),
            Some(seen) => Err(has_another(&self.alias, &seen.alias)),
        }
    }

    fn plan_absent(
        &self,
        cx: &ReconcileContext,
        seen: &SeenAlias,
    ) -> Result<Changes<AliasChange>, Fault> {
        let is_its = seen.alias == self.alias.as_str() && cx.is_created_by_app(&self.id());
        let delete = is_its.then(|| AliasChange::Delete(self.alias.clone()));
        Ok(Changes::of(delete.into_iter().collect()))
    }

    async fn apply(&self, cx: &ReconcileContext, change: &AliasChange) -> Result<Applied, Fault> {
        match change {
            AliasChange::Create { alias, .. } => {
                let call = cx.account.iam().create_account_alias();
                let call = call.account_alias(alias.as_str()).send();
                match cx.call(Service::Iam, "CreateAccountAlias", call).await {
                    Ok(_) => {
                        cx.note_created(self.id());
                        Ok(Applied::Done)
                    }
                    Err(error) if error.kind == ErrorKind::AlreadyExists => {
                        match self.is_there(cx).await? {
                            true => Ok(Applied::MetExisting),
                            false => Err(taken(alias)),
                        }
                    }
                    Err(error) => {
                        if !error.had_no_effect() {
                            cx.note_maybe_created(self.id());
                        }
                        Err(error.into())
                    }
                }
            }
            AliasChange::Delete(alias) => {
                let call = cx.account.iam().delete_account_alias();
                let call = call.account_alias(alias.as_str()).send();
                Applied::gone(cx.call(Service::Iam, "DeleteAccountAlias", call).await)
            }
        }
    }

    fn terraform(&self, seen: &SeenAlias, _: &Labels) -> Vec<terraform::Piece> {
        let alias = terraform::Thing::new("aws_iam_account_alias", &seen.alias);
        vec![alias.set("account_alias", seen.alias.as_str()).into()]
    }

    fn cloudformation(&self, seen: &SeenAlias, _: &Labels) -> Vec<cloudformation::Entry> {
        vec![cloudformation::Entry::Note(format!(
            "CloudFormation has no resource for the account alias {}.",
            seen.alias
        ))]
    }
}

impl Alias {
    /// Whether this account has the alias by now.
    async fn is_there(&self, cx: &ReconcileContext) -> Result<bool, Fault> {
        let call = cx.account.iam().list_account_aliases().send();
        let answer = cx.call(Service::Iam, "ListAccountAliases", call).await?;
        Ok(answer
            .account_aliases()
            .iter()
            .any(|it| it == self.alias.as_str()))
    }
}

fn has_another(wanted: &AccountAlias, seen: &str) -> Fault {
    Fault::Rejected(JobError::new(
        JobErrorCode::Conflict,
        format!(
            "The account has the alias {seen}. An account has one alias, so creating {wanted} would replace it, and the sign-in page at {seen} would stop working."
        ),
        format!(
            "To keep it, set \"alias\" to {seen}, or leave \"alias\" out. To replace it, delete it first (aws iam delete-account-alias --account-alias {seen})."
        ),
    ))
}

fn taken(alias: &AccountAlias) -> Fault {
    Fault::Rejected(JobError::new(
        JobErrorCode::Conflict,
        format!(
            "Another AWS account has the alias {alias}. Aliases are unique over all accounts of AWS."
        ),
        "Choose another alias.",
    ))
}
