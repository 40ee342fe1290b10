//! The tags of an app's resources.

use std::collections::BTreeMap;

use aws_sdk_iam::types::Tag;

use crate::domain::spec::{AppSpec, TAG_PREFIX};
use crate::provision::conventions::Conventions;
use crate::provision::fault::Fault;
use crate::provision::render::shell_words;

pub type Tags = BTreeMap<String, String>;

/// The app that a resource belongs to.
pub fn app_key() -> String {
    format!("{TAG_PREFIX}app")
}

/// The installation of Slipway that a resource belongs to. Two installations in one account, or one whose database was
/// lost, can have apps of the same name.
pub fn installation_key() -> String {
    format!("{TAG_PREFIX}installation")
}

/// The job that created a resource.
pub fn job_key() -> String {
    format!("{TAG_PREFIX}job")
}

/// Marks a resource that existed before its app. A removal keeps it.
pub fn adopted_key() -> String {
    format!("{TAG_PREFIX}adopted")
}

/// The tags that a resource of an app keeps: those of the caller and those of Slipway.
pub fn wanted(spec: &AppSpec, conventions: &Conventions) -> Tags {
    let mut all = spec.tags.clone();
    all.insert(app_key(), spec.name.to_string());
    all.insert(installation_key(), conventions.installation.clone());
    all
}

/// The tags that identify the owner of a resource.
pub fn marks(wanted: &Tags) -> Tags {
    [app_key(), installation_key()]
        .iter()
        .filter_map(|key| wanted.get_key_value(key))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// The tags to set on an existing resource: those that are missing or different, and the adoption mark on an adopted
/// resource.
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

/// The tags that exist after `tags` are set.
pub fn over(before: &Tags, tags: &Tags) -> Tags {
    let mut all = before.clone();
    all.extend(tags.clone());
    all
}

/// The tags of Slipway on a resource, which are removed when it is released.
pub fn ours(seen: &Tags) -> Vec<String> {
    seen.keys()
        .filter(|key| key.starts_with(TAG_PREFIX))
        .cloned()
        .collect()
}

/// Whether a change of tags releases a resource.
pub fn gives_back(before: &Tags, after: &Tags) -> bool {
    before.contains_key(&app_key()) && !after.contains_key(&app_key())
}

/// Whether a resource with these tags was adopted or is about to be.
pub fn is_adopted(seen: &Tags) -> bool {
    seen.contains_key(&adopted_key()) || !seen.contains_key(&app_key())
}

/// Tags as `key=value` words of a command line in the CLI's shorthand form.
pub fn shorthand(tags: &Tags) -> String {
    let words: Vec<String> = tags
        .iter()
        .map(|(key, value)| shell_words::word(&format!("Key={key},Value={value}")))
        .collect();
    words.join(" ")
}

/// Tags in the form of IAM's SDK.
///
/// # Errors
/// When a tag is not valid, which would be a bug.
pub fn iam_tags(tags: &Tags) -> Result<Vec<Tag>, Fault> {
    let build = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
    tags.iter()
        .map(build)
        .collect::<Result<_, _>>()
        .map_err(Fault::of_sdk)
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
