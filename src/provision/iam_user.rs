//! The app's IAM user as AWS shows it, for all kinds whose resources belong to the user.

use crate::aws::Service;
use crate::domain::names::AppName;
use crate::domain::resource_id::ResourceId;
use crate::provision::change::Observation;
use crate::provision::context::ReconcileContext;
use crate::provision::fault::{Fault, found};
use crate::provision::ids;
use crate::provision::ownership::{self, Provenance};
use crate::provision::tags::Tags;
use crate::provision::user_dependencies::UserDependency;

/// A user as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenUser {
    /// Its name, with the case that it was made with.
    pub name: String,
    pub path: String,
    pub tags: Tags,
    /// Whether a job of this app has made it.
    pub made_by_us: bool,
    /// Tags that the spec does not name any more.
    pub dropped: Vec<String>,
    /// What has to be removed before the user can be deleted; observed only for a deletion.
    pub dependencies: Vec<UserDependency>,
}

/// Observes the app's user, whoever owns it.
///
/// # Errors
/// What AWS refused.
pub async fn look(cx: &ReconcileContext, name: &AppName) -> Result<Observation<SeenUser>, Fault> {
    let answer = found(
        cx.call(
            Service::Iam,
            "GetUser",
            cx.account.iam().get_user().user_name(name.as_str()).send(),
        )
        .await,
    )?;
    let Some(user) = answer.map(|answer| answer.user.filter(|user| !user.user_name().is_empty()))
    else {
        return Ok(Observation::Absent);
    };
    let user = user.ok_or_else(|| Fault::unreadable(Service::Iam, "GetUser"))?;
    let id = ids::user(name);
    let Provenance {
        tags,
        made_by_us,
        dropped,
    } = ownership::of_iam(cx, &id, user.arn(), user.create_date(), user.tags());
    let seen = SeenUser {
        name: user.user_name().to_owned(),
        path: user.path().to_owned(),
        tags: tags.clone(),
        made_by_us,
        dropped,
        dependencies: Vec::new(),
    };
    Ok(ownership::sort(cx, &id, &tags, seen))
}

/// Whether a resource may be removed from the app's user: never from a user of another owner, and from an adopted user
/// only what a job of this app created, unless adopted resources are removed too.
///
/// # Errors
/// What AWS refused.
pub async fn may_take_from(
    cx: &ReconcileContext,
    name: &AppName,
    what: &ResourceId,
) -> Result<bool, Fault> {
    Ok(match look(cx, name).await? {
        Observation::Ours(user) => ownership::may_take(cx, user.made_by_us, what),
        Observation::Absent | Observation::Foreign { .. } => false,
    })
}
