//! The trait that each kind of AWS resource implements.
//!
//! Invariants:
//! - `observe` never changes anything. `plan` is pure, and an empty plan means that nothing is left to do. `apply`
//!   makes one change, and succeeds if the change is already made.
//! - A foreign resource (one that exists and is not this app's) is never changed unless the request says to adopt it,
//!   and never if another app of Slipway's owns it.
//! - A kind is one file and one line in the list `kinds!`. The kernel, plans, exports, the API, the role's policy, the
//!   documentation and the replay tests follow from its [`Resource`].

use std::future::Future;

use crate::domain::account_setup::AccountSetup;
use crate::domain::job::JobResult;
use crate::domain::resource_id::ResourceId;
use crate::domain::retained::Dropped;
use crate::domain::spec::{AppSpec, Lists, SpecList};
use crate::provision::change::{Applied, Change, Changes, Observation};
use crate::provision::context::ReconcileContext;
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::permission::Permission;
use crate::provision::render::dotenv::Variables;
use crate::provision::render::labels::Labels;
use crate::provision::render::{cloudformation, terraform};

/// A kind of AWS resource, and one resource with its target state.
pub trait Resource: Send + Sync + Clone + 'static {
    /// The observed state.
    type Observed: Send + Sync + Clone;
    /// One variant per AWS call that changes it.
    type Change: Change;

    /// The name of the kind, with which resource IDs begin.
    const KIND: &'static str;
    /// Every AWS operation of this kind, with the permissions that the service's role needs for it.
    const PERMISSIONS: &'static [Permission];

    /// Whether resources of this kind hold the app's data. A removal keeps them unless it names them.
    const HOLDS_DATA: bool = false;

    /// The list that the kind adds to the spec. The ID of the resource of an entry is the kind and `region/name`, or the
    /// kind and the name if the list is global.
    const SPEC_LIST: Option<SpecList> = None;

    /// The environment variables in which the app finds its resources of this kind.
    const VARIABLES: Option<Variables> = None;

    /// The resources of this kind that the spec of an app includes.
    fn wanted(_spec: &AppSpec, _conventions: &Conventions) -> Vec<Self> {
        Vec::new()
    }

    /// The resources of this kind that the set-up of an account includes.
    fn wanted_by_setup(
        _spec: &AppSpec,
        _setup: &AccountSetup,
        _conventions: &Conventions,
    ) -> Vec<Self> {
        Vec::new()
    }

    /// The resource of an account's set-up with this recorded id, to be removed.
    fn of_recorded(_id: &ResourceId, _spec: &AppSpec, _conventions: &Conventions) -> Option<Self> {
        None
    }

    /// The resources of this kind that an app with this spec must not have.
    fn unwanted(_spec: &AppSpec, _conventions: &Conventions) -> Vec<Self> {
        Vec::new()
    }

    fn id(&self) -> ResourceId;

    /// A description, such as `bucket acme-shop-media in us-west-2`.
    fn description(&self) -> String {
        self.id().to_string()
    }

    /// Whether a resource that a job created or adopted is reported as retained once the spec does not name it.
    fn is_retained(_id: &ResourceId, _spec: &AppSpec, _conventions: &Conventions) -> bool {
        true
    }

    /// Adds a resource that is only known by its recorded id to what earlier specs of the app named.
    fn recover(id: &ResourceId, spec: &AppSpec, dropped: &mut Dropped) {
        let Some(list) = Self::SPEC_LIST else {
            return;
        };
        let entry = id
            .name_of(Self::KIND)
            .and_then(|at| list.entry_at(at, &spec.region));
        if let Some(entry) = entry {
            let is_known = |lists: &Lists| lists.names(list.field, &entry);
            if !is_known(&spec.lists) && !is_known(&dropped.lists) {
                dropped.lists.push(list.field, entry);
            }
        }
    }

    /// Adds what the resource contributes to the result of a job that reconciled it.
    fn add_to_result(
        &self,
        _arn: Option<&str>,
        _conventions: &Conventions,
        _result: &mut JobResult,
    ) {
    }

    /// The value of the resource in the environment variables of its kind.
    fn variable(&self, _conventions: &Conventions) -> Option<String> {
        None
    }

    /// The resources that have to exist first.
    fn needs(&self) -> Vec<ResourceId> {
        Vec::new()
    }

    /// Whether to try the create before observing. Only for creates that report an existing resource and do not
    /// change it.
    fn create_first(&self, _cx: &ReconcileContext) -> bool {
        false
    }

    /// Observes the resource. Changes nothing.
    fn observe(
        &self,
        cx: &ReconcileContext,
    ) -> impl Future<Output = Result<Observation<Self::Observed>, Fault>> + Send;

    /// The changes from the observed state to the target.
    ///
    /// # Errors
    /// When a person has to decide, or the target can never be reached.
    fn plan(&self, seen: Option<&Self::Observed>) -> Result<Changes<Self::Change>, Fault>;

    /// What to change so that what is there is not there any more, in an order that works. A look for this
    /// knows what it is for by `cx.want`.
    ///
    /// # Errors
    /// When a person has to decide, or the deletion can never succeed.
    fn plan_absent(
        &self,
        cx: &ReconcileContext,
        seen: &Self::Observed,
    ) -> Result<Changes<Self::Change>, Fault>;

    /// The changes that release the resource without deleting it. Most kinds carry no tags of Slipway.
    fn plan_released(&self, _seen: &Self::Observed) -> Changes<Self::Change> {
        Changes::of(Vec::new())
    }

    /// Applies one change.
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

    /// The ARN, if the resource has one.
    fn arn(&self, _conventions: &Conventions) -> Option<String> {
        None
    }

    /// Whether the resource is shared by all apps in the account.
    fn is_shared(&self) -> bool {
        false
    }

    /// The Terraform configuration of the observed resource.
    fn terraform(&self, seen: &Self::Observed, labels: &Labels) -> Vec<terraform::Piece>;

    /// The CloudFormation template entries of the observed resource.
    fn cloudformation(&self, seen: &Self::Observed, labels: &Labels) -> Vec<cloudformation::Entry>;
}
