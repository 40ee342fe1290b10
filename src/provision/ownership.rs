//! Whose a thing is, by its tags and by our own record.
//!
//! Invariants:
//! - A thing tagged as another app's, or as another installation's, is theirs, whatever our record says.
//! - A thing without our tag is ours only if our record says that a job of this app made it.
//! - A thing with the app's tag and none of an installation is from before there was one: it is ours by our record, or by
//!   the tag of the very job that looks, whose id no other installation has.

use std::collections::BTreeMap;

use crate::domain::names::AppName;
use crate::domain::spec::{AppSpec, TAG_PREFIX};
use crate::provision::context::ReconcileContext;
use crate::provision::resource::{Conventions, Observation};

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// The app that a thing belongs to.
pub fn app_key() -> String {
    format!("{TAG_PREFIX}app")
}

/// The installation of Slipway that a thing belongs to: two in one account, or one whose database was lost, can have
/// apps of the same name.
pub fn installation_key() -> String {
    format!("{TAG_PREFIX}installation")
}

/// The job that made a thing.
pub fn job_key() -> String {
    format!("{TAG_PREFIX}job")
}

/// Marks a thing that was there before its app: removal leaves it.
pub fn adopted_key() -> String {
    format!("{TAG_PREFIX}adopted")
}

/// The tags that a thing of an app keeps: the caller's and ours.
pub fn wanted(spec: &AppSpec, conventions: &Conventions) -> Tags {
    let mut all = spec.tags.clone();
    all.insert(app_key(), spec.name.to_string());
    all.insert(installation_key(), conventions.installation.clone());
    all
}

/// The tags that say whose a thing is.
pub fn marks(wanted: &Tags) -> Tags {
    [app_key(), installation_key()]
        .iter()
        .filter_map(|key| wanted.get_key_value(key))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// The tags that a new thing gets: also the job that makes it.
pub fn on_creation(cx: &ReconcileContext, wanted: &Tags) -> Tags {
    let mut all = wanted.clone();
    all.insert(job_key(), cx.job.to_string());
    all
}

/// The tags to set on what is there: what is missing or different, and the adoption mark on what we have not made.
pub fn missing(wanted: &Tags, seen: &Tags, made_by_us: bool) -> Tags {
    let mut missing: Tags = wanted
        .iter()
        .filter(|(key, value)| seen.get(*key) != Some(value))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    if missing.contains_key(&app_key()) && !made_by_us {
        missing.insert(adopted_key(), "true".into());
    }
    missing
}

/// The tags that are there once `tags` are set over them.
pub fn over(before: &Tags, tags: &Tags) -> Tags {
    let mut all = before.clone();
    all.extend(tags.clone());
    all
}

/// The tags to take off what is there: those that the spec does not name any more.
pub fn dropped(cx: &ReconcileContext, seen: &Tags) -> Vec<String> {
    seen.keys()
        .filter(|key| cx.dropped_tags.contains(*key))
        .cloned()
        .collect()
}

/// Our own tags on a thing, to be taken off when it is given back.
pub fn ours(seen: &Tags) -> Vec<String> {
    seen.keys()
        .filter(|key| key.starts_with(TAG_PREFIX))
        .cloned()
        .collect()
}

/// Whether a thing that is wanted absent is left to whoever had it before its app: it was adopted.
pub fn is_left(cx: &ReconcileContext, made_by_us: bool) -> bool {
    !made_by_us && !cx.remove_adopted
}

/// Whether a change of tags gives a thing back.
pub fn gives_back(before: &Tags, after: &Tags) -> bool {
    before.contains_key(&app_key()) && !after.contains_key(&app_key())
}

/// What people are told of data that was adopted and is given back.
pub fn told_given_back(what: &str) -> String {
    format!(
        "The {what} was there before the app: it is given back, and stays in AWS with all that is in it."
    )
}

/// Whether a thing with these tags was there before its app, or is about to be adopted.
pub fn is_adopted(seen: &Tags) -> bool {
    seen.contains_key(&adopted_key()) || !seen.contains_key(&app_key())
}

/// Whether a job of this app has made a thing: by the tags that only a create sets, or by our record.
pub fn is_made_by_us(cx: &ReconcileContext, id: &str, tags: &Tags) -> bool {
    if was_made_by(&cx.app, &cx.installation, &cx.job.to_string(), tags) {
        cx.note_made_by_us(id);
    }
    cx.is_made_by_us(id)
}

/// Whether a create of the app has set these tags. One before there were installations has not named its own, but its job.
fn was_made_by(app: &AppName, installation: &str, job: &str, tags: &Tags) -> bool {
    let has = |key: &str, value: &str| tags.get(key).is_some_and(|it| it == value);
    let is_of_job = || !tags.contains_key(&installation_key()) && has(&job_key(), job);
    has(&app_key(), app.as_str())
        && (has(&installation_key(), installation) || is_of_job())
        && !is_adopted(tags)
}

/// Sorts what was seen by whose it is.
pub fn sort<T>(cx: &ReconcileContext, id: &str, tags: &Tags, seen: T) -> Observation<T> {
    match foreign_owner(cx, id, tags) {
        None => Observation::Ours(seen),
        Some(owner) => Observation::Foreign { owner, seen },
    }
}

/// Whose a thing is that is not this app's, where that can be told; `None` if it is this app's.
fn foreign_owner(cx: &ReconcileContext, id: &str, tags: &Tags) -> Option<Option<String>> {
    match (tags.get(&app_key()), tags.get(&installation_key())) {
        (app, Some(other)) if **other != *cx.installation => {
            let app = app
                .map(|app| format!("the app {app} of "))
                .unwrap_or_default();
            Some(Some(format!("{app}another Slipway installation ({other})")))
        }
        (Some(owner), _) if *owner != cx.app.as_str() => Some(Some(format!("the app {owner}"))),
        (Some(_), Some(_)) => None,
        (Some(owner), None) => {
            (!cx.owns(id)).then(|| Some(format!("the app {owner} of another Slipway installation")))
        }
        (None, _) => (!cx.is_made_by_us(id)).then_some(None),
    }
}

/// Tags as `key=value` words of a command line in the CLI's shorthand form.
pub fn shorthand(tags: &Tags) -> String {
    let words: Vec<String> = tags
        .iter()
        .map(|(key, value)| {
            crate::provision::render::shell_words::word(&format!("Key={key},Value={value}"))
        })
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn setting_what_is_missing_leaves_nothing_missing(
            tags in proptest::collection::btree_map("[a-z]{1,4}", "[a-z]{0,4}", 0..6),
            seen in proptest::collection::btree_map("[a-z]{1,4}", "[a-z]{0,4}", 0..6),
        ) {
            let mut wanted = tags.clone();
            wanted.extend([(app_key(), "acme".to_owned()), (installation_key(), "one".to_owned())]);
            for made_by_us in [false, true] {
                let mut after = seen.clone();
                after.extend(missing(&wanted, &seen, made_by_us));
                prop_assert!(missing(&wanted, &after, made_by_us).is_empty());
                prop_assert!(seen.keys().all(|key| after.contains_key(key)), "tags that are there are kept");
                prop_assert_eq!(is_adopted(&after), !made_by_us, "what we have not made is marked as adopted");
            }
        }
    }
}
