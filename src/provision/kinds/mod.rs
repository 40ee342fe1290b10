//! The kinds of AWS resource, one file each. A new kind is its file and its line in the list below.

use crate::domain::resource_id::ResourceId;
use crate::domain::retained::Dropped;
use crate::domain::spec::AppSpec;
use crate::provision::change::Want;
use crate::provision::conventions::Conventions;
use crate::provision::node::{Node, Typed};
use crate::provision::permission::Permission;
use crate::provision::resource::Resource;

pub mod access_key;
pub mod attachment;
pub mod bucket;
pub mod group;
pub mod lifecycle_policy;
pub mod membership;
pub mod policy;
pub mod repository;
pub mod user;

/// Enumerates the kinds: what follows calls the given macro once with all of them.
macro_rules! kinds {
    ($($kind:ty),+ $(,)?) => {
        /// The names of all kinds.
        pub const KINDS: &[&str] = &[$(<$kind as Resource>::KIND),+];

        /// The permissions of each kind.
        pub const PERMISSIONS: &[&[Permission]] = &[$(<$kind as Resource>::PERMISSIONS),+];

        /// Everything that an app's spec asks for, each as a node of the graph, wanted there or not there any more.
        pub fn graph(spec: &AppSpec, conventions: &Conventions, want: Want) -> Vec<Box<dyn Node>> {
            let mut nodes: Vec<Box<dyn Node>> = Vec::new();
            $(for resource in <$kind as Resource>::wanted(spec, conventions) {
                nodes.push(Box::new(Typed { resource, want }));
            })+
            nodes
        }

        /// What an app with this spec must not have.
        pub fn unwanted(spec: &AppSpec, conventions: &Conventions) -> Vec<Box<dyn Node>> {
            let mut nodes: Vec<Box<dyn Node>> = Vec::new();
            $(for resource in <$kind as Resource>::unwanted(spec, conventions) {
                nodes.push(Box::new(Typed { resource, want: Want::Absent }));
            })+
            nodes
        }

        /// Whether a resource that a job created or adopted is reported as retained once the spec does not name it.
        pub fn is_retained(id: &ResourceId, spec: &AppSpec, conventions: &Conventions) -> bool {
            match id.kind() {
                $(<$kind as Resource>::KIND => <$kind as Resource>::is_retained(id, spec, conventions),)+
                _ => true,
            }
        }

        /// Adds a resource that is only known by its recorded id to what earlier specs of the app named.
        pub fn recover(id: &ResourceId, spec: &AppSpec, dropped: &mut Dropped) {
            match id.kind() {
                $(<$kind as Resource>::KIND => <$kind as Resource>::recover(id, spec, dropped),)+
                _ => {}
            }
        }
    };
}

kinds! {
    crate::provision::kinds::group::Group,
    crate::provision::kinds::user::User,
    crate::provision::kinds::membership::Membership,
    crate::provision::kinds::policy::Policy,
    crate::provision::kinds::attachment::Attachment,
    crate::provision::kinds::access_key::AccessKey,
    crate::provision::kinds::bucket::Bucket,
    crate::provision::kinds::repository::Repository,
    crate::provision::kinds::lifecycle_policy::RepositoryLifecycle,
}
