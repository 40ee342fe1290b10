//! The kinds of AWS thing that Slipway keeps as wanted, one file a kind.
//!
//! Invariants:
//! - `observe` never changes anything; `plan` is pure, and its empty answer means converged; `apply`
//!   makes one change, and "already so" is success.
//! - A foreign thing (there, and not this app's) is never changed unless the request says to adopt it,
//!   and never when another app of ours has it.
//! - A kind is one file and one line in the list `kinds!`; the engine, plans, the role's policy, the docs and
//!   the replay tests follow from its [`Resource`].

use std::fmt::Display;
use std::future::Future;

use serde_json::Value;

use crate::aws::{AwsError, ErrorKind};
use crate::domain::names::{GroupName, IamPath, PolicyName};
use crate::domain::plan::Action;
use crate::domain::spec::{AppSpec, Defaults};
use crate::provision::context::ReconcileContext;
use crate::provision::fault::Fault;
use crate::provision::permissions::Permission;
use crate::provision::render::labels::Labels;
use crate::provision::render::{cloudformation, terraform};

/// A resource's id, such as `s3:bucket/acme-shop-media`: its kind, then its name.
pub type ResourceId = String;

/// What is there.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation<T> {
    /// Nothing.
    Absent,
    /// This app's, or something that all apps share.
    Ours(T),
    /// Somebody else's.
    Foreign {
        /// Whose, where that can be told; nobody takes over what has an owner.
        owner: Option<String>,
        /// What adopting it would start from.
        seen: T,
    },
}

/// What is wanted of a thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Want {
    /// That it is there, as the spec says.
    #[default]
    Present,
    /// That it is not there any more; what was adopted is given back.
    Absent,
    /// That it stays in AWS and is nobody's: our tags come off.
    Released,
}

/// The changes that would bring what is there to what is wanted, and what a person should know.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes<C> {
    /// In an order that works.
    pub changes: Vec<C>,
    /// In people's words.
    pub warnings: Vec<String>,
}

impl<C> Changes<C> {
    /// Changes without a warning.
    pub fn of(changes: Vec<C>) -> Self {
        Self {
            changes,
            warnings: Vec::new(),
        }
    }
}

/// What a change met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is made.
    Done,
    /// A create met a thing by that name: look again, it may be our own.
    MetExisting,
    /// One part of a long change is made: look again for what is left of it.
    More,
}

impl Applied {
    /// What an answer to a deletion means: not found is success.
    ///
    /// # Errors
    /// Any other refusal.
    pub fn gone<T>(answer: Result<T, AwsError>) -> Result<Self, Fault> {
        match answer {
            Err(error) if error.kind != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(Self::Done),
        }
    }
}

/// One AWS call that changes something. Its text says what it does, as plans and events show it.
pub trait Change: Display + Clone + Send + Sync {
    /// What kind of change.
    fn action(&self) -> Action;
    /// What is there before, in people's terms.
    fn before(&self) -> Option<Value> {
        None
    }
    /// What is there after.
    fn after(&self) -> Option<Value> {
        None
    }
    /// The command a person would type for it, as the guide does it.
    fn aws_cli(&self) -> String;
    /// Whether the command's answer shows a secret, so that no script should run it.
    fn shows_secret(&self) -> bool {
        false
    }
}

/// The organisation's names that resources are built from.
#[derive(Debug, Clone)]
pub struct Conventions {
    /// The group that marks app users.
    pub group: GroupName,
    /// The path of app users.
    pub iam_path: IamPath,
    /// The shared media policy, and the prefix of scoped ones.
    pub policy: PolicyName,
    /// The ARN partition.
    pub partition: String,
    /// The account's 12 digits.
    pub account_id: String,
    /// The id of this installation of Slipway.
    pub installation: String,
}

impl Conventions {
    /// The conventions of the settings, in an account.
    pub fn new(
        defaults: &Defaults,
        partition: impl Into<String>,
        account_id: impl Into<String>,
    ) -> Self {
        Self {
            group: defaults.group.clone(),
            iam_path: defaults.iam_path.clone(),
            policy: defaults.policy.clone(),
            partition: partition.into(),
            account_id: account_id.into(),
            installation: String::new(),
        }
    }

    /// The same, for an installation of Slipway.
    #[must_use]
    pub fn of_installation(self, id: &str) -> Self {
        Self {
            installation: id.to_owned(),
            ..self
        }
    }
}

/// A kind of AWS thing, and one such thing as it is wanted.
pub trait Resource: Send + Sync + Clone + 'static {
    /// What a look at it shows.
    type Observed: Send + Sync + Clone;
    /// One variant per AWS call that changes it.
    type Change: Change;

    /// The kind's name, with which its ids begin.
    const KIND: &'static str;
    /// Every AWS operation of this kind, with what the service's role needs for it.
    const PERMISSIONS: &'static [Permission];

    /// The things of this kind that an app's spec asks for.
    fn wanted(spec: &AppSpec, conventions: &Conventions) -> Vec<Self>;

    /// This thing's id.
    fn id(&self) -> ResourceId;

    /// The things that have to be there first.
    fn needs(&self) -> Vec<ResourceId> {
        Vec::new()
    }

    /// Whether to try its create before looking: only where meeting an existing thing is told, and harms nothing.
    fn create_first(&self, _cx: &ReconcileContext) -> bool {
        false
    }

    /// What is there. Changes nothing.
    fn observe(
        &self,
        cx: &ReconcileContext,
    ) -> impl Future<Output = Result<Observation<Self::Observed>, Fault>> + Send;

    /// What to change, given what is there.
    ///
    /// # Errors
    /// When a person has to decide, or it can never work.
    fn plan(&self, seen: Option<&Self::Observed>) -> Result<Changes<Self::Change>, Fault>;

    /// What to change so that what is there is not there any more, in an order that works. A look for this
    /// knows what it is for by `cx.want`.
    ///
    /// # Errors
    /// When a person has to decide, or it can never work.
    fn plan_absent(
        &self,
        cx: &ReconcileContext,
        seen: &Self::Observed,
    ) -> Result<Changes<Self::Change>, Fault>;

    /// What to change so that what is there is nobody's and stays. Most things carry no mark of ours.
    fn plan_released(&self, _seen: &Self::Observed) -> Changes<Self::Change> {
        Changes::of(Vec::new())
    }

    /// Makes one change.
    fn apply(
        &self,
        cx: &ReconcileContext,
        change: &Self::Change,
    ) -> impl Future<Output = Result<Applied, Fault>> + Send;

    /// What a person should know before anything is changed, from a closer look at what was seen. Only for
    /// plans, also for those that something stands in the way of.
    fn preflight_warnings(
        &self,
        _cx: &ReconcileContext,
        _seen: Option<&Self::Observed>,
    ) -> impl Future<Output = Result<Vec<String>, Fault>> + Send {
        async { Ok(Vec::new()) }
    }

    /// Its ARN, where AWS gives it one.
    fn arn(&self, _conventions: &Conventions) -> Option<String> {
        None
    }

    /// Whether it is the account's, for all apps.
    fn is_shared(&self) -> bool {
        false
    }

    /// What Terraform would have for it, given what is there.
    fn terraform(&self, seen: &Self::Observed, labels: &Labels) -> Vec<terraform::Piece>;

    /// What a CloudFormation template would have for it, given what is there.
    fn cloudformation(&self, seen: &Self::Observed, labels: &Labels) -> Vec<cloudformation::Entry>;
}
