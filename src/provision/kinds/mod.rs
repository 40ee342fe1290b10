//! The kinds of AWS resource, one file each. A new kind is its file and its line in the list below.

use std::sync::LazyLock;

use crate::domain::resource_id::ResourceId;
use crate::domain::retained::Dropped;
use crate::domain::spec::{AppSpec, ListEntry, SpecList};
use crate::provision::change::Want;
use crate::provision::conventions::Conventions;
use crate::provision::node::{Node, Typed};
use crate::provision::permission::Permission;
use crate::provision::render::dotenv::Variables;
use crate::provision::resource::Resource;

pub mod access_key;
pub mod account_alias;
pub mod account_checks;
pub mod account_group;
pub mod attachment;
pub mod bucket;
pub mod group;
pub mod identity;
pub mod lifecycle_policy;
pub mod login_profile;
#[cfg(test)]
pub mod made_up;
pub mod membership;
pub mod password_policy;
pub mod policy;
pub mod repository;
pub mod user;

/// Enumerates the kinds: what follows calls the given macro once with all of them.
macro_rules! kinds {
    ($($(#[$attribute:meta])* $kind:ty),+ $(,)?) => {
        /// The names of all kinds.
        pub const KINDS: &[&str] = &[$($(#[$attribute])* <$kind as Resource>::KIND),+];

        /// The permissions of each kind.
        pub const PERMISSIONS: &[&[Permission]] = &[$($(#[$attribute])* <$kind as Resource>::PERMISSIONS),+];

        /// The environment variables of each kind that has some.
        pub const VARIABLES: &[Option<Variables>] = &[$($(#[$attribute])* <$kind as Resource>::VARIABLES),+];

        /// The lists that kinds add to the spec, each with the name of its kind and whether that holds data.
        const LISTS: &[(Option<SpecList>, &str, bool)] = &[$($(#[$attribute])* (
            <$kind as Resource>::SPEC_LIST,
            <$kind as Resource>::KIND,
            <$kind as Resource>::HOLDS_DATA,
        )),+];

        /// Everything that the spec of an app or of an account's set-up asks for, each as a node of the graph, wanted
        /// there or not there any more.
        pub fn graph(spec: &AppSpec, conventions: &Conventions, want: Want) -> Vec<Box<dyn Node>> {
            let mut nodes: Vec<Box<dyn Node>> = Vec::new();
            $($(#[$attribute])* for resource in wanted::<$kind>(spec, conventions) {
                nodes.push(Box::new(Typed { resource, want }));
            })+
            nodes
        }

        /// The node that takes away a resource of an account's set-up that is only known by its recorded id.
        pub fn recorded(id: &ResourceId, spec: &AppSpec, conventions: &Conventions) -> Option<Box<dyn Node>> {
            match id.kind() {
                $($(#[$attribute])* <$kind as Resource>::KIND => {
                    let resource = <$kind as Resource>::of_recorded(id, spec, conventions)?;
                    Some(Box::new(Typed { resource, want: Want::Absent }))
                })+
                _ => None,
            }
        }

        /// What an app with this spec must not have.
        pub fn unwanted(spec: &AppSpec, conventions: &Conventions) -> Vec<Box<dyn Node>> {
            let mut nodes: Vec<Box<dyn Node>> = Vec::new();
            if spec.setup.is_some() {
                return nodes;
            }
            $($(#[$attribute])* for resource in <$kind as Resource>::unwanted(spec, conventions) {
                nodes.push(Box::new(Typed { resource, want: Want::Absent }));
            })+
            nodes
        }

        /// Whether a resource that a job created or adopted is reported as retained once the spec does not name it.
        pub fn is_retained(id: &ResourceId, spec: &AppSpec, conventions: &Conventions) -> bool {
            match id.kind() {
                $($(#[$attribute])* <$kind as Resource>::KIND => <$kind as Resource>::is_retained(id, spec, conventions),)+
                _ => true,
            }
        }

        /// Adds a resource that is only known by its recorded id to what earlier specs of the app named.
        pub fn recover(id: &ResourceId, spec: &AppSpec, dropped: &mut Dropped) {
            match id.kind() {
                $($(#[$attribute])* <$kind as Resource>::KIND => <$kind as Resource>::recover(id, spec, dropped),)+
                _ => {}
            }
        }
    };
}

fn wanted<R: Resource>(spec: &AppSpec, conventions: &Conventions) -> Vec<R> {
    match &spec.setup {
        Some(setup) => R::wanted_by_setup(spec, setup, conventions),
        None => R::wanted(spec, conventions),
    }
}

/// The lists that kinds add to the spec.
pub fn spec_lists() -> &'static [SpecList] {
    static ALL: LazyLock<Vec<SpecList>> =
        LazyLock::new(|| LISTS.iter().filter_map(|(list, ..)| *list).collect());
    &ALL
}

/// The lists whose resources hold data of the app.
pub fn data_lists() -> impl Iterator<Item = &'static SpecList> {
    spec_lists()
        .iter()
        .filter(|list| list_holds_data(list.field))
}

fn list_of(field: &str) -> Option<(&'static str, bool)> {
    let of_field = |list: &Option<SpecList>| list.is_some_and(|list| list.field == field);
    let found = LISTS.iter().find(|(list, ..)| of_field(list));
    found.map(|(_, kind, holds_data)| (*kind, *holds_data))
}

/// Whether the resources of a list hold data of the app.
pub fn list_holds_data(field: &str) -> bool {
    list_of(field).is_some_and(|(_, holds_data)| holds_data)
}

/// The ID of the resource of an entry.
pub fn id_of_entry(field: &str, entry: &ListEntry) -> Option<ResourceId> {
    let is_global = spec_lists()
        .iter()
        .any(|list| list.field == field && list.is_global);
    list_of(field).map(|(kind, _)| match is_global {
        true => ResourceId::new(kind, &entry.name),
        false => ResourceId::new(kind, entry.place()),
    })
}

kinds! {
    crate::provision::kinds::group::Group,
    crate::provision::kinds::account_alias::Alias,
    crate::provision::kinds::password_policy::AccountPasswordPolicy,
    crate::provision::kinds::account_group::AccountGroup,
    crate::provision::kinds::user::User,
    crate::provision::kinds::membership::Membership,
    crate::provision::kinds::login_profile::LoginProfile,
    crate::provision::kinds::policy::Policy,
    crate::provision::kinds::attachment::Attachment,
    crate::provision::kinds::access_key::AccessKey,
    crate::provision::kinds::bucket::Bucket,
    crate::provision::kinds::repository::Repository,
    crate::provision::kinds::lifecycle_policy::RepositoryLifecycle,
    crate::provision::kinds::identity::oidc_provider::OidcProvider,
    crate::provision::kinds::identity::role::Role,
    crate::provision::kinds::identity::role_policy::RolePolicy,
    crate::provision::kinds::identity::instance_profile::InstanceProfile,
    crate::provision::kinds::account_checks::AccountChecks,
    #[cfg(test)]
    crate::provision::kinds::made_up::MadeUp<true>,
    #[cfg(test)]
    crate::provision::kinds::made_up::MadeUp<false>,
}
