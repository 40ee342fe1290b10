//! Whose a thing is, by its tags and by our own record.
//!
//! Invariants:
//! - A thing tagged as another app's is that app's, whatever our record says.
//! - A thing without our tag is ours only if our record says that a job of this app made it.

use std::collections::BTreeMap;

use super::{Cx, Observation};
use crate::domain::names::AppName;
use crate::domain::spec::TAG_PREFIX;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// The app that a thing belongs to.
pub fn app_key() -> String {
    format!("{TAG_PREFIX}app")
}

/// The job that made a thing.
pub fn job_key() -> String {
    format!("{TAG_PREFIX}job")
}

/// Marks a thing that was there before its app: removal leaves it.
pub fn adopted_key() -> String {
    format!("{TAG_PREFIX}adopted")
}

/// The tags that a thing of this app keeps: the caller's and ours.
pub fn wanted(app: &AppName, tags: &Tags) -> Tags {
    let mut all = tags.clone();
    all.insert(app_key(), app.to_string());
    all
}

/// The tags that a new thing gets: also the job that makes it.
pub fn on_creation(cx: &Cx, wanted: &Tags) -> Tags {
    let mut all = wanted.clone();
    all.insert(job_key(), cx.job.to_string());
    all
}

/// The tags to set on what is there: what is missing or different, and the adoption mark on what we have not made.
pub fn missing(wanted: &Tags, seen: &Tags, made_by_us: bool) -> Tags {
    let mut missing: Tags =
        wanted.iter().filter(|(key, value)| seen.get(*key) != Some(value)).map(|(k, v)| (k.clone(), v.clone())).collect();
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
pub fn dropped(cx: &Cx, seen: &Tags) -> Vec<String> {
    seen.keys().filter(|key| cx.dropped_tags.contains(*key)).cloned().collect()
}

/// Our own tags on a thing, to be taken off when it is given back.
pub fn ours(seen: &Tags) -> Vec<String> {
    seen.keys().filter(|key| key.starts_with(TAG_PREFIX)).cloned().collect()
}

/// Whether a thing that is wanted absent is left to whoever had it before its app: it was adopted.
pub fn is_left(cx: &Cx, made_by_us: bool) -> bool {
    !made_by_us && !cx.remove_adopted
}

/// Whether a thing with these tags was there before its app, or is about to be adopted.
pub fn is_adopted(seen: &Tags) -> bool {
    seen.contains_key(&adopted_key()) || !seen.contains_key(&app_key())
}

/// Whether a job of this app has made a thing: by the tags that only a create sets, or by our record.
pub fn is_made_by_us(cx: &Cx, id: &str, tags: &Tags) -> bool {
    if tags.get(&app_key()).is_some_and(|owner| *owner == cx.app.as_str()) && !is_adopted(tags) {
        cx.note_made_by_us(id);
    }
    cx.is_made_by_us(id)
}

/// Sorts what was seen by whose it is.
pub fn sort<T>(cx: &Cx, id: &str, tags: &Tags, seen: T) -> Observation<T> {
    match tags.get(&app_key()) {
        Some(owner) if *owner == cx.app.as_str() => Observation::Ours(seen),
        Some(owner) => Observation::Foreign { owner: Some(format!("the app {owner}")), seen },
        None if cx.is_made_by_us(id) => Observation::Ours(seen),
        None => Observation::Foreign { owner: None, seen },
    }
}

/// Tags as `key=value` words of a command line in the CLI's shorthand form.
pub fn shorthand(tags: &Tags) -> String {
    let words: Vec<String> = tags.iter().map(|(key, value)| super::aws_cli::word(&format!("Key={key},Value={value}"))).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn setting_what_is_missing_leaves_nothing_missing(
            tags in proptest::collection::btree_map("[a-z]{1,4}", "[a-z]{0,4}", 0..6),
            seen in proptest::collection::btree_map("[a-z]{1,4}", "[a-z]{0,4}", 0..6),
        ) {
            let wanted = wanted(&AppName::parse("acme").unwrap(), &tags);
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
