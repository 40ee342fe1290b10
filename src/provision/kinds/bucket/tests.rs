use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::names::Origin;
use crate::domain::names::{BucketName, Region};
use crate::domain::spec::BucketSpec;
use crate::provision::change::Change;
use crate::provision::resource::Resource;

fn bucket(origins: &[&str]) -> Bucket {
    Bucket {
        spec: BucketSpec {
            name: BucketName::parse("acme-media").unwrap(),
            region: Region::parse("us-west-2").unwrap(),
            upload_origins: origins.iter().map(|o| Origin::parse(o).unwrap()).collect(),
        },
        tags: [("slipway:app", "acme"), ("slipway:installation", "one")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        account_id: "123456789012".into(),
        partition: "aws".into(),
    }
}

/// What S3 would hold after the changes.
fn after(seen: Option<&SeenBucket>, changes: &[BucketChange]) -> SeenBucket {
    let mut bucket = seen.cloned().unwrap_or_default();
    for change in changes {
        match change {
            BucketChange::Create(_, _, tags) => {
                bucket.tags = tags.clone();
                bucket.made_by_us = true;
                bucket.owner_enforced = true;
            }
            BucketChange::EnforceOwnership(..) => bucket.owner_enforced = true,
            BucketChange::BlockPublicAccess(..) => bucket.blocked = true,
            BucketChange::Tag { after, .. } => bucket.tags = after.clone(),
            BucketChange::SetCors { after, .. } => bucket.cors = after.clone(),
            BucketChange::DeleteObjects { .. }
            | BucketChange::AbortUpload { .. }
            | BucketChange::Delete(_) => {
                panic!("{change}: nothing is removed on the way to what is wanted")
            }
        }
    }
    bucket
}

fn a_rule() -> impl Strategy<Value = Cors> {
    let words = || proptest::collection::vec("[a-c]", 1..3);
    (
        words(),
        words(),
        words(),
        words(),
        proptest::option::of(0..3),
    )
        .prop_map(|(origins, headers, methods, exposed, max_age)| Cors {
            origins,
            headers,
            methods,
            exposed,
            max_age,
            id: None,
        })
}

fn seen() -> impl Strategy<Value = Option<SeenBucket>> {
    let tags = proptest::collection::btree_map("[a-c]", "[a-c]", 0..3);
    let seen = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        tags,
        proptest::collection::vec(a_rule(), 0..3),
    );
    proptest::option::of(
        seen.prop_map(|(ours, blocked, owner_enforced, mut tags, cors)| {
            if ours {
                tags.insert("slipway:app".into(), "acme".into());
            }
            SeenBucket {
                tags,
                made_by_us: ours,
                blocked,
                owner_enforced,
                cors,
                ..SeenBucket::default()
            }
        }),
    )
}

proptest! {
    #[test]
    fn nothing_is_left_to_plan_after_a_plan(seen in seen()) {
        let bucket = bucket(&["https://acme.example"]);
        let changes = bucket.plan(seen.as_ref()).unwrap().changes;
        let after = after(seen.as_ref(), &changes);
        prop_assert!(bucket.plan(Some(&after)).unwrap().changes.is_empty());
    }

    #[test]
    fn adoption_keeps_every_rule_and_tag(seen in seen()) {
        let Some(seen) = seen else { return Ok(()) };
        prop_assume!(!seen.tags.contains_key("slipway:app"));
        let bucket = bucket(&["https://acme.example"]);
        let after = after(Some(&seen), &bucket.plan(Some(&seen)).unwrap().changes);
        prop_assert!(seen.cors.iter().all(|rule| after.cors.iter().any(|kept| kept.same(rule))));
        prop_assert!(seen.tags.iter().all(|(key, value)| after.tags.get(key) == Some(value)));
    }

    #[test]
    fn the_public_is_locked_out_before_anything_opens(seen in seen()) {
        let changes = bucket(&["https://acme.example"]).plan(seen.as_ref()).unwrap().changes;
        let at = |wanted: fn(&BucketChange) -> bool| changes.iter().position(wanted);
        if let (Some(block), Some(cors)) = (at(|c| matches!(c, BucketChange::BlockPublicAccess(..))), at(|c| matches!(c, BucketChange::SetCors { .. }))) {
            prop_assert!(block < cors);
        }
    }
}

#[test]
fn the_guides_two_rules() {
    let changes = bucket(&["https://acme-shop.herokuapp.com"])
        .plan(None)
        .unwrap()
        .changes;
    assert_eq!(changes.len(), 3);
    assert_eq!(
        changes[2].after().unwrap(),
        json!({"CORSRules": [
            {"AllowedOrigins": ["*"], "AllowedHeaders": ["Authorization"], "AllowedMethods": ["GET"], "MaxAgeSeconds": 3000},
            {"AllowedOrigins": ["https://acme-shop.herokuapp.com"], "AllowedHeaders": ["*"],
             "AllowedMethods": ["PUT", "POST", "DELETE"], "ExposeHeaders": ["x-amz-server-side-encryption", "ETag"],
             "MaxAgeSeconds": 3000},
        ]})
    );
    assert_eq!(bucket(&[]).wanted_cors().len(), 1, "nobody uploads");
}
