use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::image::DAY_MS;
use super::rule::{PROTECTED, pattern_matches};
use super::*;
use crate::domain::ecr_lifecycle::protected_tag::is_protected;

const NOW: i64 = 1_800_000_000_000;

fn image(digest: &str, tags: &[&str], days_old: i64) -> Image {
    let tags = tags.iter().map(ToString::to_string).collect();
    Image {
        digest: digest.to_owned(),
        tags,
        pushed_at_ms: NOW - days_old * DAY_MS,
        ..Image::default()
    }
}

fn tagged(priority: u32, list: &str, filters: &[&str], count: Value) -> Value {
    let mut selection = json!({"tagStatus": "tagged", list: filters});
    selection
        .as_object_mut()
        .unwrap()
        .extend(count.as_object().unwrap().clone());
    json!({"rulePriority": priority, "selection": selection, "action": {"type": "expire"}})
}

fn patterns(priority: u32, patterns: &[&str], count: Value) -> Value {
    tagged(priority, "tagPatternList", patterns, count)
}

fn status(priority: u32, status: &str, count: Value) -> Value {
    let mut rule = patterns(priority, &["x"], count);
    rule["selection"]["tagStatus"] = json!(status);
    rule["selection"]
        .as_object_mut()
        .unwrap()
        .remove("tagPatternList");
    rule
}

fn more_than(count: u32) -> Value {
    json!({"countType": "imageCountMoreThan", "countNumber": count})
}

fn pushed(days: u32) -> Value {
    json!({"countType": "sinceImagePushed", "countUnit": "days", "countNumber": days})
}

fn archived(days: u32) -> Value {
    json!({"countType": "sinceImageTransitioned", "storageClass": "archive", "countUnit": "days", "countNumber": days})
}

fn policy(rules: &[Value]) -> LifecyclePolicy {
    LifecyclePolicy::parse(&json!({"rules": rules})).unwrap()
}

fn errors(rules: &[Value]) -> Vec<String> {
    let mut pointers: Vec<String> = LifecyclePolicy::parse(&json!({"rules": rules}))
        .unwrap_err()
        .into_iter()
        .map(|e| e.pointer)
        .collect();
    pointers.sort();
    pointers
}

fn expired(policy: &LifecyclePolicy, images: &[Image]) -> Vec<String> {
    policy
        .expiring(images, NOW)
        .into_iter()
        .map(|image| image.digest.clone())
        .collect()
}

#[test]
fn the_guide_has_its_nineteen_rules() {
    let document = LifecyclePolicy::guide().to_value();
    let rules = document["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 19);
    assert!(
        rules
            .iter()
            .zip(1..)
            .all(|(rule, n)| rule["rulePriority"] == n
                && rule["action"] == json!({"type": "expire"}))
    );
    assert_eq!(
        rules[0]["selection"],
        json!({"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 1})
    );
    let prefixes = ["testing", "builder"]
        .into_iter()
        .map(String::from)
        .chain("0123456789abcdef".chars().map(String::from));
    for (rule, prefix) in rules[1..].iter().zip(prefixes) {
        let wanted = json!({
            "tagStatus": "tagged", "tagPrefixList": [prefix],
            "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 3,
        });
        assert_eq!(rule["selection"], wanted);
    }
}

#[test]
fn the_protected_profile_puts_release_tags_before_the_guide() {
    let document = LifecyclePolicy::protected().to_value();
    let rules = document["rules"].as_array().unwrap();
    let lists: Vec<&Value> = rules[..8]
        .iter()
        .map(|rule| &rule["selection"]["tagPatternList"])
        .collect();
    assert_eq!(
        lists,
        PROTECTED
            .map(|pattern| json!([pattern]))
            .iter()
            .collect::<Vec<_>>()
    );
    assert!(
        rules
            .iter()
            .zip(1..)
            .all(|(rule, n)| rule["rulePriority"] == n)
    );
    let guide = LifecyclePolicy::guide().to_value();
    let selections = |rules: &[Value]| {
        rules
            .iter()
            .map(|rule| rule["selection"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        selections(&rules[8..]),
        selections(guide["rules"].as_array().unwrap())
    );
}

#[test]
fn the_profiles_are_documents_that_ecr_takes() {
    for policy in [LifecyclePolicy::guide(), LifecyclePolicy::protected()] {
        assert_eq!(
            LifecyclePolicy::parse(&policy.to_value()),
            Ok(policy.clone())
        );
        assert!(!policy.to_document().contains("null"));
    }
}

#[test]
fn prefixes_of_the_guide_match_more_than_shas() {
    let names = [
        "1.2.3",
        "develop",
        "beta",
        "canary",
        "feature-x",
        "testing-1",
        "builder",
    ];
    for name in names {
        assert_eq!(
            expired(&LifecyclePolicy::guide(), &[image("i", &[name], 4)]),
            ["i"],
            "{name}"
        );
    }
    assert_eq!(
        expired(
            &LifecyclePolicy::guide(),
            &[image("i", &["v1.2.3"], 4), image("j", &["latest"], 4)]
        ),
        [""; 0]
    );
}

#[test]
fn an_image_with_a_release_tag_and_a_sha_lives_under_protected_only() {
    for release in [
        "latest",
        "main",
        "master",
        "v1",
        "release-7",
        "production",
        "stable",
        "1.2.3",
    ] {
        let images = [image("i", &[release, "0a1b2c3"], 30)];
        assert_eq!(
            expired(&LifecyclePolicy::guide(), &images),
            ["i"],
            "{release}"
        );
        assert_eq!(
            expired(&LifecyclePolicy::protected(), &images),
            [""; 0],
            "{release}"
        );
    }
    let outcome =
        &LifecyclePolicy::protected().evaluate(&[image("i", &["latest", "0a1b2c3"], 30)], NOW)[0];
    assert_eq!(outcome.outcome, Outcome::Kept { rule_priority: 1 });
    let claimed = Finding {
        rule_priority: 12,
        reason: Reason::Claimed { by: 1 },
    };
    assert!(outcome.findings.contains(&claimed));
    assert_eq!(
        claimed.to_string(),
        "rule 12 would apply, but rule 1 takes precedence"
    );
    assert_eq!(outcome.findings.len(), 27);
}

/// A rule, images by their tags and days, and which of them expire.
type Example = (
    Value,
    &'static [(&'static str, i64)],
    &'static [&'static str],
);

/// The single filters of "Examples of lifecycle policies" and the wildcards of "Lifecycle policy evaluation rules".
#[test]
fn aws_examples_on_single_filters() {
    let table: [Example; 6] = [
        (
            patterns(1, &["prod*"], pushed(14)),
            &[
                ("prod", 15),
                ("prod1", 14),
                ("production-team1", 30),
                ("dev", 30),
            ],
            &["0", "2"],
        ),
        (
            tagged(1, "tagPrefixList", &["prod"], pushed(14)),
            &[("prod", 15), ("repo-production", 15)],
            &["0"],
        ),
        (
            status(1, "untagged", more_than(1)),
            &[("", 3), ("", 2), ("", 1), ("v1", 9)],
            &["0", "1"],
        ),
        (
            patterns(1, &["*prod*"], more_than(1)),
            &[
                ("repo-production", 3),
                ("prod-team", 2),
                ("prod", 1),
                ("pro", 9),
            ],
            &["0", "1"],
        ),
        (
            patterns(1, &["*test*1*2*3"], pushed(1)),
            &[
                ("a-test-123", 2),
                ("test1x2y3", 2),
                ("test123z", 2),
                ("test321", 2),
            ],
            &["0", "1"],
        ),
        (
            status(1, "any", pushed(1)),
            &[("prod", 2), ("", 2), ("prod", 1)],
            &["0", "1"],
        ),
    ];
    for (rule, given, expected) in table {
        let tags = |tag: &'static str| {
            Some(tag)
                .filter(|tag| !tag.is_empty())
                .into_iter()
                .collect::<Vec<_>>()
        };
        let images: Vec<Image> = given
            .iter()
            .enumerate()
            .map(|(n, (tag, days))| image(&n.to_string(), &tags(tag), *days))
            .collect();
        assert_eq!(
            expired(&policy(std::slice::from_ref(&rule)), &images),
            expected,
            "{rule}"
        );
    }
}

#[test]
fn aws_examples_on_multiple_rules() {
    let images = [
        image("A", &["beta-1", "prod-1"], 10),
        image("B", &["beta-2", "prod-2"], 9),
        image("C", &["beta-3"], 8),
    ];
    let a = policy(&[
        patterns(1, &["prod*"], more_than(1)),
        patterns(2, &["beta*"], more_than(1)),
    ]);
    assert_eq!(expired(&a, &images), ["A"]);
    let b = policy(&[
        patterns(1, &["beta*"], more_than(1)),
        patterns(2, &["prod*"], more_than(1)),
    ]);
    assert_eq!(expired(&b, &images), ["A", "B"]);
}

#[test]
fn aws_examples_on_multiple_tags_in_one_rule() {
    let images = [
        image("A", &["alpha-1"], 12),
        image("B", &["beta-1"], 11),
        image("C", &["alpha-2", "beta-2"], 10),
        image("D", &["alpha-3"], 4),
        image("E", &["beta-3"], 3),
        image("F", &["alpha-4", "beta-4"], 2),
    ];
    assert_eq!(
        expired(
            &policy(&[patterns(1, &["alpha*", "beta*"], pushed(5))]),
            &images
        ),
        ["C"]
    );
    assert_eq!(
        expired(
            &policy(&[tagged(1, "tagPrefixList", &["alpha", "beta"], pushed(5))]),
            &images
        ),
        ["C"]
    );
    let images = [
        image("A", &["alpha-1", "beta-1", "gamma-1"], 10),
        image("B", &["alpha-2", "beta-2"], 9),
        image("C", &["alpha-3", "beta-3"], 8),
    ];
    assert_eq!(
        expired(
            &policy(&[patterns(1, &["alpha*", "beta*"], more_than(1))]),
            &images
        ),
        ["A", "B"]
    );
}

#[test]
fn aws_examples_on_all_images() {
    let images = [
        image("A", &["alpha-1"], 4),
        image("B", &["beta-1"], 3),
        image("C", &[], 2),
        image("D", &["alpha-2"], 1),
    ];
    assert_eq!(
        expired(&policy(&[status(1, "any", more_than(1))]), &images),
        ["A", "B", "C"]
    );
    let images = [
        image("A", &["alpha-1", "beta-1"], 4),
        image("B", &[], 3),
        image("C", &["alpha-2"], 2),
        image("D", &["git hash"], 1),
        image("E", &[], 1),
    ];
    let rules = [
        patterns(1, &["alpha*"], more_than(1)),
        status(2, "untagged", pushed(1)),
        status(3, "any", more_than(1)),
    ];
    // The example expires D, though it was pushed when E was: which of two is newer is ECR's secret.
    let mut later = images.clone();
    later[3].pushed_at_ms -= 1;
    assert_eq!(expired(&policy(&rules), &later), ["A", "B", "D"]);
}

#[test]
fn an_image_is_too_young_at_exactly_its_days() {
    let verdicts = policy(&[status(1, "any", pushed(3))]).evaluate(&[image("i", &[], 3)], NOW);
    assert_eq!(verdicts[0].outcome, Outcome::Kept { rule_priority: 1 });
    assert_eq!(
        verdicts[0].findings[0].reason,
        Reason::TooYoung {
            age_ms: 3 * DAY_MS,
            days: 3
        }
    );
    assert!(
        policy(&[status(1, "any", pushed(3))]).evaluate(&[image("i", &[], 3)], NOW + 1)[0]
            .expires()
    );
}

#[test]
fn archive_rules_look_at_archived_images_alone() {
    let mut to_archive = status(
        1,
        "any",
        json!({"countType": "sinceImagePulled", "countUnit": "days", "countNumber": 30}),
    );
    to_archive["action"] = json!({"type": "transition", "targetStorageClass": "archive"});
    let policy = policy(&[to_archive, status(2, "any", archived(365))]);
    let unpulled = image("unpulled", &[], 31);
    let pulled = Image {
        last_pulled_at_ms: Some(NOW),
        ..unpulled.clone()
    };
    let restored = Image {
        last_activated_at_ms: Some(NOW),
        ..unpulled.clone()
    };
    let in_archive = Image {
        archived_at_ms: Some(NOW - 366 * DAY_MS),
        ..image("archived", &[], 500)
    };
    let outcomes: Vec<Outcome> = policy
        .evaluate(&[unpulled, pulled, restored, in_archive], NOW)
        .iter()
        .map(|v| v.outcome)
        .collect();
    let kept = Outcome::Kept { rule_priority: 1 };
    assert_eq!(
        outcomes,
        [
            Outcome::Transitions { rule_priority: 1 },
            kept,
            kept,
            Outcome::Expires { rule_priority: 2 }
        ]
    );
}

#[test]
fn the_form_that_goes_to_ecr_is_its_own() {
    let rule = |mut rule: Value| {
        rule["description"] = json!("why");
        rule
    };
    let rules = [
        rule(patterns(1, &["a*", "b*"], more_than(2))),
        rule(status(2, "any", archived(90))),
    ];
    assert_eq!(policy(&rules).to_value(), json!({"rules": rules}));
    let mut explicit = rules.clone();
    explicit[0]["selection"]["storageClass"] = json!("standard");
    assert_eq!(policy(&explicit), policy(&rules));
}

#[test]
fn every_error_is_told_at_once() {
    let mut count = patterns(
        1,
        &["a*b*c*d*e*", "sp ace", ""],
        json!({"countType": "never", "countNumber": 0}),
    );
    count["action"] = json!({"type": "transition"});
    count["colour"] = json!("red");
    count["description"] = json!(null);
    let both = json!({
        "rulePriority": 1, "action": {"type": "expire", "targetStorageClass": "archive"},
        "selection": {"tagStatus": "tagged", "tagPrefixList": ["x*"], "tagPatternList": [], "countType": "sinceImagePushed", "countNumber": 1.5},
    });
    let expected = [
        "/rules/0/action/targetStorageClass",
        "/rules/0/colour",
        "/rules/0/description",
        "/rules/0/selection/countNumber",
        "/rules/0/selection/countType",
        "/rules/0/selection/tagPatternList/0",
        "/rules/0/selection/tagPatternList/1",
        "/rules/0/selection/tagPatternList/2",
        "/rules/1/action/targetStorageClass",
        "/rules/1/rulePriority",
        "/rules/1/selection/countNumber",
        "/rules/1/selection/countUnit",
        "/rules/1/selection/tagPatternList",
        "/rules/1/selection/tagPatternList",
        "/rules/1/selection/tagPrefixList/0",
    ];
    assert_eq!(errors(&[count, both]), expected);
}

#[test]
fn rules_must_agree_with_each_other() {
    let prefix = |priority| tagged(priority, "tagPrefixList", &["a", "b"], pushed(1));
    assert_eq!(
        errors(&[
            status(1, "any", pushed(1)),
            status(2, "untagged", pushed(1))
        ]),
        ["/rules/0/rulePriority"]
    );
    assert_eq!(
        errors(&[
            status(1, "untagged", pushed(1)),
            status(2, "untagged", more_than(1))
        ]),
        ["/rules/1/selection/tagStatus"]
    );
    assert_eq!(
        errors(&[prefix(1), prefix(2)]),
        ["/rules/1/selection/tagPrefixList"]
    );
    assert_eq!(
        errors(&[status(1, "untagged", archived(89))]),
        ["/rules/0/selection/countNumber"]
    );
    let mut pulled = status(
        1,
        "any",
        json!({"countType": "sinceImagePulled", "countUnit": "days", "countNumber": 1}),
    );
    pulled["selection"]["storageClass"] = json!("archive");
    assert_eq!(
        errors(&[pulled]),
        ["/rules/0/action/type", "/rules/0/selection/storageClass"]
    );
}

#[test]
fn a_document_has_its_bounds() {
    let rules = |n: u32| {
        (1..=n)
            .map(|i| patterns(i, &[&format!("p{i}")], more_than(1)))
            .collect::<Vec<_>>()
    };
    assert!(LifecyclePolicy::parse(&json!({"rules": rules(50)})).is_ok());
    assert_eq!(errors(&rules(51)), ["/rules"]);
    assert_eq!(errors(&[]), ["", "/rules"]);
    let mut long = rules(1);
    long[0]["description"] = json!("ü".repeat(30_720));
    assert_eq!(errors(&long), [""]);
    for not_a_policy in [
        json!(null),
        json!([]),
        json!(3),
        json!("guide"),
        json!({"rules": null}),
        json!({"rules": [1]}),
        json!({}),
    ] {
        assert!(
            !LifecyclePolicy::parse(&not_a_policy)
                .unwrap_err()
                .is_empty(),
            "{not_a_policy}"
        );
    }
}

#[test]
fn a_lifecycle_is_a_word_or_a_document() {
    let custom = Lifecycle::Custom(LifecyclePolicy::guide());
    for lifecycle in [Lifecycle::Guide, Lifecycle::Protected, custom.clone()] {
        let text = serde_json::to_string(&lifecycle).unwrap();
        assert_eq!(serde_json::from_str::<Lifecycle>(&text).unwrap(), lifecycle);
    }
    assert_eq!(
        serde_json::to_string(&Lifecycle::Guide).unwrap(),
        "\"guide\""
    );
    assert_eq!(custom.policy(), Lifecycle::Guide.policy());
    for neither in [json!("guid"), json!(null), json!(["guide"]), json!(1)] {
        let errors = Lifecycle::parse(&neither).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].pointer, "");
    }
    assert!(
        serde_json::from_str::<LifecyclePolicy>("{}")
            .unwrap_err()
            .to_string()
            .contains("/rules is required")
    );
}

#[test]
fn a_verdict_reads_well_as_json() {
    let outcome = &LifecyclePolicy::guide().evaluate(&[image("i", &["develop"], 1)], NOW)[0];
    let value = serde_json::to_value(outcome).unwrap();
    assert_eq!(value["outcome"], "kept");
    assert_eq!(
        value["findings"][16],
        json!({"rule_priority": 17, "reason": "too_young", "age_ms": DAY_MS, "days": 3})
    );
}

/// The definition of a pattern, one character at a time.
fn matches_slowly(pattern: &[u8], tag: &[u8]) -> bool {
    match (pattern.split_first(), tag.split_first()) {
        (Some((b'*', rest)), _) => {
            matches_slowly(rest, tag) || (!tag.is_empty() && matches_slowly(pattern, &tag[1..]))
        }
        (Some((p, pattern)), Some((t, tag))) => p == t && matches_slowly(pattern, tag),
        (pattern, tag) => pattern.is_none() && tag.is_none(),
    }
}

fn any_count() -> impl Strategy<Value = Value> {
    prop_oneof![(1..5u32).prop_map(more_than), (1..9u32).prop_map(pushed)]
}

/// A rule for standard storage with whatever priority; the policy gives it its own.
fn any_tagged_rule() -> impl Strategy<Value = Value> {
    let filters = prop::collection::btree_set("[ab*]{1,4}", 1..4);
    (filters, any_count(), any::<bool>()).prop_map(|(filters, count, prefixes)| {
        let filters: BTreeSet<String> = if prefixes {
            filters
                .into_iter()
                .map(|filter| filter.replace('*', "c"))
                .collect()
        } else {
            filters
        };
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        tagged(
            1,
            if prefixes {
                "tagPrefixList"
            } else {
                "tagPatternList"
            },
            &filters,
            count,
        )
    })
}

prop_compose! {
    fn any_rules()(
        mut rules in prop::collection::vec(any_tagged_rule(), 1..6),
        untagged in prop::option::of(any_count()),
        any in prop::option::of(any_count()),
        mut priorities in prop::collection::btree_set(1..1000u32, 8),
    ) -> Vec<Value> {
        let mut seen = BTreeSet::new();
        rules.retain(|rule| seen.insert(rule["selection"]["tagPrefixList"].to_string()) || rule["selection"]["tagPatternList"].is_array());
        rules.extend(untagged.map(|count| status(1, "untagged", count)));
        rules.extend(any.map(|count| status(1, "any", count)));
        for rule in &mut rules {
            rule["rulePriority"] = json!(priorities.pop_first());
        }
        rules
    }
}

fn any_images() -> impl Strategy<Value = Vec<Image>> {
    let tags_and_age = (prop::collection::btree_set("[abc]{1,4}", 0..3), 0..12i64);
    prop::collection::vec(tags_and_age, 0..12).prop_map(|images| {
        let images = images.into_iter().enumerate();
        images
            .map(|(n, (tags, days))| Image {
                tags: tags.into_iter().collect(),
                ..image(&format!("{n}"), &[], days)
            })
            .collect()
    })
}

/// Rules for both storage classes, images in both, at times of which some are the same.
fn any_archive_rules() -> impl Strategy<Value = Vec<Value>> {
    let pulled = (1..9u32).prop_map(|days| {
        let mut rule = patterns(
            1,
            &["*"],
            json!({"countType": "sinceImagePulled", "countUnit": "days", "countNumber": days}),
        );
        rule["action"] = json!({"type": "transition", "targetStorageClass": "archive"});
        rule
    });
    let archive = (90..95u32).prop_map(|days| status(1, "any", archived(days)));
    (
        any_rules(),
        prop::option::of(pulled),
        prop::option::of(archive),
    )
        .prop_map(|(mut rules, pulled, archive)| {
            rules.splice(0..0, pulled.into_iter().chain(archive));
            (1..)
                .zip(&mut rules)
                .for_each(|(priority, rule)| rule["rulePriority"] = json!(priority));
            rules
        })
}

fn any_stored_images() -> impl Strategy<Value = Vec<Image>> {
    let days = || prop::option::of(0..12i64);
    let times = (days(), days(), prop::option::weighted(0.3, 88..97i64));
    (any_images(), prop::collection::vec(times, 12)).prop_map(|(mut images, times)| {
        let ago = |days: i64| NOW - days * DAY_MS;
        for (image, (pulled, activated, archived)) in images.iter_mut().zip(times) {
            image.last_pulled_at_ms = pulled.map(ago);
            image.last_activated_at_ms = activated.map(ago);
            image.archived_at_ms = archived.map(ago);
        }
        images
    })
}

/// What ECR's guide says of one image, read from the document, one sentence after another: the first
/// rule by priority that is for the image's storage and tags decides. Says whether that rule acts.
fn modelled(rules: &[Value], images: &[Image], image: &Image) -> Option<(u64, bool)> {
    let priority = |rule: &Value| rule["rulePriority"].as_u64().unwrap();
    let mut deciding: Vec<&Value> = rules
        .iter()
        .filter(|rule| is_for(&rule["selection"], image))
        .collect();
    deciding.sort_by_key(|rule| priority(rule));
    let rule = deciding.first()?;
    let selection = &rule["selection"];
    let number = selection["countNumber"].as_i64().unwrap();
    let pushed = |image: &Image| image.last_activated_at_ms.unwrap_or(image.pushed_at_ms);
    let age = |since: i64| NOW - since > number * DAY_MS;
    let acts = match selection["countType"].as_str().unwrap() {
        "imageCountMoreThan" => {
            let newer = |other: &&Image| {
                (std::cmp::Reverse(pushed(other)), &other.digest)
                    < (std::cmp::Reverse(pushed(image)), &image.digest)
            };
            images
                .iter()
                .filter(|other| is_for(selection, other))
                .filter(newer)
                .count()
                >= usize::try_from(number).unwrap()
        }
        "sinceImagePushed" => age(pushed(image)),
        "sinceImagePulled" => {
            let pulled = image.last_pulled_at_ms.unwrap_or(image.pushed_at_ms);
            age(image
                .last_activated_at_ms
                .map_or(pulled, |restored| restored.max(pulled)))
        }
        _ => age(image.archived_at_ms.unwrap()),
    };
    Some((priority(rule), acts))
}

fn is_for(selection: &Value, image: &Image) -> bool {
    let each = |list: &str, fits: &dyn Fn(&str, &str) -> bool| {
        let mut filters = selection[list]
            .as_array()
            .into_iter()
            .flatten()
            .map(|filter| filter.as_str().unwrap());
        filters.all(|filter| image.tags.iter().any(|tag| fits(filter, tag)))
    };
    let tagged = || {
        each("tagPrefixList", &|prefix, tag| tag.starts_with(prefix))
            && each("tagPatternList", &|pattern, tag| {
                matches_slowly(pattern.as_bytes(), tag.as_bytes())
            })
    };
    (selection["storageClass"] == "archive") == image.archived_at_ms.is_some()
        && match selection["tagStatus"].as_str().unwrap() {
            "any" => true,
            "untagged" => image.tags.is_empty(),
            _ => tagged(),
        }
}

fn any_json() -> impl Strategy<Value = Value> {
    let keys = prop::sample::select(vec![
        "rules",
        "selection",
        "rulePriority",
        "tagStatus",
        "tagPrefixList",
        "action",
        "type",
        "countType",
    ]);
    let words = prop::sample::select(vec![
        "any",
        "tagged",
        "expire",
        "transition",
        "sinceImagePushed",
        "days",
        "*",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        words.prop_map(Value::from),
        any::<bool>().prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 60, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys.clone(), inner, 0..5).prop_map(|map| map
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

proptest! {
    #[test]
    fn patterns_match_as_defined(pattern in "[ab*]{0,7}", tag in "[ab]{0,8}") {
        prop_assert_eq!(pattern_matches(&pattern, &tag), matches_slowly(pattern.as_bytes(), tag.as_bytes()));
    }

    #[test]
    fn a_policy_survives_its_document(rules in any_rules()) {
        let policy = policy(&rules);
        prop_assert_eq!(policy.rules.len(), rules.len());
        prop_assert_eq!(LifecyclePolicy::parse(&policy.to_value()), Ok(policy.clone()));
        prop_assert_eq!(serde_json::from_str::<LifecyclePolicy>(&policy.to_document()).unwrap(), policy);
    }

    #[test]
    fn meaning_does_not_depend_on_order_or_description(rules in any_rules(), shuffle in any::<prop::sample::Index>(), text in "[a-z]{0,9}") {
        let one = policy(&rules);
        let mut other = rules.clone();
        other.rotate_left(shuffle.index(rules.len()));
        for rule in &mut other {
            rule["description"] = json!(text);
            for list in ["tagPrefixList", "tagPatternList"] {
                if let Some(items) = rule["selection"].get_mut(list).and_then(Value::as_array_mut) {
                    items.reverse();
                }
            }
        }
        let other = policy(&other);
        prop_assert!(one.same_meaning(&one) && one.same_meaning(&other) && other.same_meaning(&one));
    }

    #[test]
    fn another_count_is_another_meaning(rules in any_rules(), at in any::<prop::sample::Index>()) {
        let mut other = rules.clone();
        let count = &mut other[at.index(rules.len())]["selection"]["countNumber"];
        *count = json!(count.as_u64().unwrap() + 1);
        prop_assert!(!policy(&rules).same_meaning(&policy(&other)) && !policy(&other).same_meaning(&policy(&rules)));
    }

    #[test]
    fn the_first_rule_that_selects_an_image_alone_decides(rules in any_rules(), images in any_images()) {
        let policy = policy(&rules);
        let verdicts = policy.evaluate(&images, NOW);
        prop_assert_eq!(verdicts.len(), images.len());
        for (image, outcome) in images.iter().zip(&verdicts) {
            let first = policy.rules.iter().find(|rule| rule.selects(image)).map(|rule| rule.rule_priority);
            prop_assert_eq!(outcome.outcome.rule_priority(), first);
            let acting = outcome.findings.iter().filter(|finding| finding.reason == Reason::Applies);
            prop_assert_eq!(acting.map(|finding| finding.rule_priority).collect::<Vec<_>>(), first.filter(|_| outcome.expires()).into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn images_fare_as_the_model_says(rules in any_archive_rules(), images in any_stored_images()) {
        let verdicts = policy(&rules).evaluate(&images, NOW);
        for (image, outcome) in images.iter().zip(&verdicts) {
            let acts = matches!(outcome.outcome, Outcome::Expires { .. } | Outcome::Transitions { .. });
            let outcome = outcome.outcome.rule_priority().map(|priority| (u64::from(priority), acts));
            prop_assert_eq!(outcome, modelled(&rules, &images, image), "{:?} under {:#}", image, json!(rules));
        }
    }

    #[test]
    fn the_order_that_images_are_given_in_does_not_matter(rules in any_archive_rules(), images in any_stored_images(), turn in 0..12usize) {
        let policy = policy(&rules);
        let mut turned = images.clone();
        turned.reverse();
        let turns = turn.min(turned.len());
        turned.rotate_left(turns);
        let by_digest = |images: &[Image]| -> std::collections::BTreeMap<String, Evaluation> {
            images.iter().map(|image| image.digest.clone()).zip(policy.evaluate(images, NOW)).collect()
        };
        prop_assert_eq!(by_digest(&images), by_digest(&turned));
    }

    #[test]
    fn a_count_keeps_exactly_the_newest(count in 1..8u32, images in any_images()) {
        let kept = expired(&policy(&[status(1, "any", more_than(count))]), &images);
        prop_assert_eq!(kept.len(), images.len().saturating_sub(count as usize));
        let gone: Vec<&Image> = images.iter().filter(|image| kept.contains(&image.digest)).collect();
        let stays = images.iter().filter(|image| !kept.contains(&image.digest));
        prop_assert!(stays.clone().all(|stays| gone.iter().all(|gone| gone.pushed_at_ms <= stays.pushed_at_ms)));
    }

    #[test]
    fn a_rule_after_the_others_changes_nothing_that_they_decided(rules in any_archive_rules(), last in any_tagged_rule(), images in any_stored_images()) {
        let before: Vec<Value> = rules.iter().filter(|rule| rule["selection"]["tagStatus"] != "any").cloned().collect();
        prop_assume!(!before.is_empty());
        let mut after = before.clone();
        after.push(last);
        after.last_mut().unwrap()["rulePriority"] = json!(1000);
        let Ok(after) = LifecyclePolicy::parse(&json!({"rules": after})) else { return Err(TestCaseError::reject("the same prefixes twice")) };
        let verdicts = policy(&before).evaluate(&images, NOW);
        for (before, after) in verdicts.iter().zip(after.evaluate(&images, NOW)) {
            prop_assert!(before.outcome == Outcome::Unmatched || before.outcome == after.outcome);
        }
    }

    #[test]
    fn a_release_never_expires_under_protected(
        release in "(latest|main|master|(release|prod|stable|v[0-9]|[0-9]{1,4}[.][0-9]{1,2}[.][0-9])[a-z0-9._-]{0,9})",
        images in any_images(),
    ) {
        let mut images = images;
        prop_assert!(is_protected(&release));
        images.iter_mut().for_each(|image| image.tags.push(release.to_owned()));
        prop_assert_eq!(expired(&LifecyclePolicy::protected(), &images), [""; 0]);
    }

    #[test]
    fn what_is_protected_is_kept_by_the_profile(tag in "[a-z0-9.]{1,3}[a-z0-9._-]{0,12}") {
        let images = [image("i", &[&tag, "0a1b2c3"], 30)];
        prop_assert!(!images[0].is_protected() || expired(&LifecyclePolicy::protected(), &images).is_empty());
    }

    #[test]
    fn another_filter_in_a_list_never_selects_more(list in prop::collection::btree_set("[ab]{1,2}", 1..4), more in "[ab]{1,2}", images in any_images()) {
        let short: Vec<&str> = list.iter().map(String::as_str).collect();
        let long: Vec<&str> = short.iter().copied().chain([more.as_str()]).collect();
        let (wide, narrow) = (policy(&[tagged(1, "tagPrefixList", &short, pushed(1))]), policy(&[tagged(1, "tagPrefixList", &long, pushed(1))]));
        let wide = expired(&wide, &images);
        prop_assert!(expired(&narrow, &images).iter().all(|digest| wide.contains(digest)));
    }

    #[test]
    fn no_document_is_too_strange(value in any_json(), times in any::<(i64, i64)>()) {
        if let Err(errors) = Lifecycle::parse(&value) {
            prop_assert!(!errors.is_empty());
        }
        let image = Image { pushed_at_ms: times.0, last_pulled_at_ms: Some(times.1), ..Image::default() };
        prop_assert_eq!(LifecyclePolicy::protected().evaluate(&[image], times.1).len(), 1);
    }
}
