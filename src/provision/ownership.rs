//! Whose a thing is, by its tags and by our own record.
//!
//! Invariants:
//! - A thing tagged as another app's, or as another installation's, is theirs, whatever our record says.
//! - A thing without our tag is ours only if our record says that a job of this app made it.
//! - A thing with the app's tag and none of an installation is from before there was one: it is ours by our record, or by
//!   the tag of the very job that looks, whose id no other installation has.

use aws_sdk_iam::types::Tag;
use aws_smithy_types::DateTime;

use crate::domain::names::AppName;
use crate::domain::resource_id::ResourceId;
use crate::provision::change::Observation;
use crate::provision::context::ReconcileContext;
use crate::provision::tags::{Tags, app_key, installation_key, is_adopted, job_key};

/// The tags of a new resource, which include the job that creates it.
pub fn on_creation(cx: &ReconcileContext, wanted: &Tags) -> Tags {
    let mut all = wanted.clone();
    all.insert(job_key(), cx.request.job.to_string());
    all
}

/// The tags to remove: those that the spec no longer includes.
pub fn dropped(cx: &ReconcileContext, seen: &Tags) -> Vec<String> {
    seen.keys()
        .filter(|key| cx.request.dropped_tags.contains(*key))
        .cloned()
        .collect()
}

/// Whether a resource to be removed is released instead, because it was adopted.
pub fn is_left(cx: &ReconcileContext, made_by_us: bool) -> bool {
    !made_by_us && !cx.request.remove_adopted
}

/// The warning about an adopted resource with data that is released.
pub fn told_given_back(what: &str) -> String {
    format!(
        "The {what} existed before the app. It is retained in AWS with its contents, and Slipway no longer manages it."
    )
}

/// Whether a job of this app created the resource, by the tags that only a create sets or by the database.
pub fn is_created_by_app(cx: &ReconcileContext, id: &ResourceId, tags: &Tags) -> bool {
    if was_made_by(
        &cx.request.app,
        &cx.request.installation,
        &cx.request.job.to_string(),
        tags,
    ) {
        cx.note_created_by_app(id);
    }
    cx.is_created_by_app(id)
}

/// Whether a create of the app set these tags. Creates before the introduction of installations set no installation,
/// but their job.
fn was_made_by(app: &AppName, installation: &str, job: &str, tags: &Tags) -> bool {
    let has = |key: &str, value: &str| tags.get(key).is_some_and(|it| it == value);
    let is_of_job = || !tags.contains_key(&installation_key()) && has(&job_key(), job);
    has(&app_key(), app.as_str())
        && (has(&installation_key(), installation) || is_of_job())
        && !is_adopted(tags)
}

/// What the tags of an IAM resource tell of its owner.
pub struct Provenance {
    pub tags: Tags,
    /// Whether a job of this app created it.
    pub made_by_us: bool,
    /// Tags that the spec no longer includes.
    pub dropped: Vec<String>,
}

/// Reads the tags of an observed IAM resource, and notes its ARN and, if a job of this app created it, its age.
pub fn of_iam(
    cx: &ReconcileContext,
    id: &ResourceId,
    arn: &str,
    created: &DateTime,
    tags: &[Tag],
) -> Provenance {
    let tags: Tags = tags
        .iter()
        .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
        .collect();
    cx.note_arn(id.clone(), arn);
    let made_by_us = is_created_by_app(cx, id, &tags);
    if made_by_us {
        cx.note_created_at(id.clone(), Some(created));
    }
    Provenance {
        made_by_us,
        dropped: dropped(cx, &tags),
        tags,
    }
}

/// Whether `what` may be removed from a resource of the app: from an adopted one only if a job of this app created it,
/// unless adopted resources are removed too.
pub fn may_take(cx: &ReconcileContext, made_by_us: bool, what: &ResourceId) -> bool {
    !is_left(cx, made_by_us) || cx.is_created_by_app(what)
}

/// Classifies an observed resource by its owner.
pub fn sort<T>(cx: &ReconcileContext, id: &ResourceId, tags: &Tags, seen: T) -> Observation<T> {
    match foreign_owner(cx, id, tags) {
        None => Observation::Ours(seen),
        Some(owner) => Observation::Foreign { owner, seen },
    }
}

/// The owner of a resource that does not belong to this app, if known. `None` if it belongs to this app.
fn foreign_owner(cx: &ReconcileContext, id: &ResourceId, tags: &Tags) -> Option<Option<String>> {
    match (tags.get(&app_key()), tags.get(&installation_key())) {
        (app, Some(other)) if **other != *cx.request.installation => {
            let app = app.map(|app| format!("app {app} of ")).unwrap_or_default();
            Some(Some(format!("{app}another Slipway installation ({other})")))
        }
        (Some(owner), _) if *owner != cx.request.app.as_str() => Some(Some(format!("app {owner}"))),
        (Some(_), Some(_)) => None,
        (Some(owner), None) => {
            (!cx.owns(id)).then(|| Some(format!("app {owner} of another Slipway installation")))
        }
        (None, _) => (!cx.is_created_by_app(id)).then_some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::TAG_PREFIX;

    #[test]
    fn a_create_is_told_by_its_installation_or_before_there_was_one_by_its_job() {
        let made = |tags: &[(&str, &str)]| {
            let tags = tags
                .iter()
                .map(|(key, value)| (format!("{TAG_PREFIX}{key}"), (*value).to_owned()))
                .collect();
            was_made_by(&AppName::parse("acme").unwrap(), "one", "J1", &tags)
        };
        assert!(made(&[
            ("app", "acme"),
            ("installation", "one"),
            ("job", "J0")
        ]));
        assert!(made(&[("app", "acme"), ("job", "J1")]));
        assert!(
            !made(&[("app", "acme"), ("job", "J0")]),
            "another job's, of who knows whose"
        );
        assert!(
            !made(&[("app", "acme"), ("installation", "two"), ("job", "J1")]),
            "another installation's"
        );
        assert!(!made(&[("app", "other"), ("job", "J1")]));
        assert!(
            !made(&[("app", "acme"), ("job", "J1"), ("adopted", "true")]),
            "it was there before"
        );
    }
}
