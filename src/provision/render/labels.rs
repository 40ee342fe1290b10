//! The names of an app's resources within a file.
//!
//! Invariant: two resources of one kind never have the same label, whatever their names have in common.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::resource_id::ResourceId;

/// The label of each resource in a file.
#[derive(Debug, Clone, Default)]
pub struct Labels(BTreeMap<ResourceId, String>);

impl Labels {
    /// Labels for resources, by the rules of a format. A number is appended to a label that is already used.
    pub fn of<'a>(
        ids: impl IntoIterator<Item = &'a ResourceId>,
        label: fn(&ResourceId) -> String,
    ) -> Self {
        let mut taken = BTreeSet::new();
        let mut labels = BTreeMap::new();
        for id in ids {
            let kind = id.kind();
            let plain = label(id);
            let numbered = (2_u32..).map(|n| format!("{plain}{n}"));
            let free = std::iter::once(plain.clone())
                .chain(numbered)
                .find(|label| taken.insert((kind, label.clone())));
            labels.insert(id.clone(), free.unwrap_or(plain));
        }
        Self(labels)
    }

    /// The label of a resource. `None` if the file does not have it.
    pub fn get(&self, id: &ResourceId) -> Option<&str> {
        self.0.get(id).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::render::{cloudformation, terraform};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn labels_are_words_and_differ(names in proptest::collection::btree_set("[a-zA-Z0-9_+=,.@/-]{1,12}", 0..8)) {
            let ids: Vec<ResourceId> = names.iter().map(|name| ResourceId::new("ecr:repository", name)).collect();
            let is_word = |text: &str| !text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            for (label, underscores) in [(terraform::label as fn(&ResourceId) -> String, true), (cloudformation::logical_id, false)] {
                let labels = Labels::of(&ids, label);
                let all: BTreeSet<&str> = ids.iter().map(|id| labels.get(id).unwrap()).collect();
                prop_assert_eq!(all.len(), ids.len());
                prop_assert!(all.iter().all(|label| !label.is_empty() && is_word(label) && (underscores || !label.contains('_'))));
            }
        }
    }

    #[test]
    fn a_label_reads_like_the_name() {
        assert_eq!(
            terraform::label(&ResourceId::parse("s3:bucket/acme-shop-media").unwrap()),
            "acme_shop_media"
        );
        assert_eq!(
            terraform::label(&ResourceId::parse("s3:bucket/1st").unwrap()),
            "_1st"
        );
        assert_eq!(
            cloudformation::logical_id(&ResourceId::parse("s3:bucket/acme-shop-media").unwrap()),
            "S3BucketAcmeShopMedia"
        );
    }
}
