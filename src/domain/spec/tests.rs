use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::ecr_lifecycle::Lifecycle;
use crate::domain::names::Region;
use crate::domain::validation::FieldError;

fn parse(body: Value) -> Result<AppSpec, Vec<FieldError>> {
    let region = Region::parse("us-west-2").unwrap();
    let place = Place {
        account_id: "123456789012",
        partition: "aws",
        region: Some(&region),
        regions: &[],
        lists: &[],
    };
    AppSpec::parse(&body, &Defaults::default(), &place)
}

fn pointers(body: Value) -> Vec<String> {
    parse(body)
        .unwrap_err()
        .into_iter()
        .map(|e| e.pointer)
        .collect()
}

#[test]
fn the_least_body_has_every_default() {
    let spec = parse(json!({"name": "acme-shop"})).unwrap();
    assert_eq!(
        serde_json::to_value(&spec).unwrap(),
        json!({
            "name": "acme-shop", "account": "default", "region": "us-west-2", "media_access": "shared",
            "buckets": [{"name": "acme-shop-media-123456789012", "region": "us-west-2",
                         "upload_origins": ["https://acme-shop.herokuapp.com"]}],
            "repositories": [{"name": "acme-shop", "region": "us-west-2", "lifecycle": "guide"}],
            "access_key": true, "on_existing": "fail", "tags": {}, "protected": false, "drift": "report"
        })
    );
}

#[test]
fn a_spec_written_out_parses_back() {
    let spec = parse(json!({"name": "a1", "media_access": "scoped", "tags": {"team": "shop"}, "access_key": false,
        "on_existing": "adopt", "protected": true, "drift": "repair", "rotate_after": "90d",
        "repositories": [{"region": "eu-west-1", "lifecycle": "protected"}],
        "buckets": [{"name": "one-bucket", "upload_origins": []}, {"name": "two-bucket", "region": "us-east-1"}]}))
    .unwrap();
    assert_eq!(parse(serde_json::to_value(&spec).unwrap()).unwrap(), spec);
}

#[test]
fn an_age_is_taken_as_documented_and_written_so() {
    let age = |text: &str| parse(json!({"name": "a1", "rotate_after": text}));
    for text in ["1h", "23h", "25h", "87599h", "1d", "90d", "3649d", "3650d"] {
        let spec = age(text).unwrap();
        let written = serde_json::to_value(&spec).unwrap();
        assert_eq!(written["rotate_after"], text);
        assert_eq!(serde_json::from_value::<AppSpec>(written).unwrap(), spec);
    }
    let same = [
        ("24h", "1d"),
        ("87600h", "3650d"),
        ("1w", "7d"),
        ("521w", "3647d"),
    ];
    assert!(
        same.into_iter()
            .all(|(one, other)| age(one).unwrap() == age(other).unwrap())
    );
    for text in [
        "",
        "h",
        "1",
        "0h",
        "01h",
        "+1h",
        "1 h",
        "1h 1h",
        "1H",
        "90m",
        "87601h",
        "3651d",
        "522w",
        "99999999999999999999w",
    ] {
        assert_eq!(
            pointers(json!({"name": "a1", "rotate_after": text})),
            ["/rotate_after"],
            "{text}"
        );
    }
}

#[test]
fn every_error_is_told_at_once() {
    let got = pointers(json!({
        "name": "no spaces", "region": "moon", "buckets": [{"name": "A"}, {"upload_origins": [1, "x"], "size": 3}],
        "repositories": [{"name": "x", "lifecycle": "whatever"}], "access_key": "yes", "media": 1,
        "tags": {"aws:x": "y", "ok": 5}, "on_existing": "replace", "media_access": null
    }));
    for pointer in [
        "/name",
        "/region",
        "/buckets/0/name",
        "/buckets/1/upload_origins/0",
        "/buckets/1/upload_origins/1",
        "/buckets/1/size",
        "/repositories/0/name",
        "/repositories/0/lifecycle",
        "/access_key",
        "/media",
        "/tags/aws:x",
        "/tags/ok",
        "/on_existing",
        "/media_access",
    ] {
        assert!(
            got.iter().any(|p| p == pointer),
            "{pointer} is missing from {got:?}"
        );
    }
}

#[test]
fn what_is_empty_is_none_and_what_is_absent_is_one() {
    let spec = parse(json!({"name": "a", "buckets": [], "repositories": []})).unwrap();
    assert!(spec.buckets.is_empty() && spec.repositories.is_empty());
}

#[test]
fn a_default_that_will_not_do_says_to_name_it() {
    let errors = parse(json!({"name": "Acme_Shop"})).unwrap_err();
    let at: Vec<&str> = errors.iter().map(|e| e.pointer.as_str()).collect();
    assert!(
        at.contains(&"/buckets") && at.contains(&"/repositories"),
        "{errors:?}"
    );
    assert!(parse(json!({"name": "Acme_Shop", "buckets": [], "repositories": []})).is_ok());
}

#[test]
fn doubles_and_foreign_partitions_are_refused() {
    let body =
        json!({"name": "a", "repositories": [], "buckets": [{"name": "abc"}, {"name": "abc"}]});
    assert_eq!(pointers(body), ["/buckets"]);
    assert_eq!(
        pointers(json!({"name": "acme", "region": "cn-north-1"})),
        ["/region"]
    );
}

#[test]
fn anything_but_an_object_is_one_error() {
    for body in [json!(null), json!([]), json!("x"), json!(1)] {
        assert_eq!(parse(body).unwrap_err()[0].pointer, "");
    }
}

/// The fields that there are, and names that need escaping in a pointer.
const KEYS: [&str; 17] = [
    "name",
    "account",
    "region",
    "media_access",
    "buckets",
    "repositories",
    "access_key",
    "on_existing",
    "tags",
    "upload_origins",
    "lifecycle",
    "rules",
    "selection",
    "a/b",
    "~1",
    "",
    "\0",
];

fn any_leaf() -> impl Strategy<Value = Value> {
    let words = [
        "acme-shop",
        "Acme_Shop",
        "us-west-2",
        "cn-north-1",
        "moon",
        "scoped",
        "adopt",
        "guide",
        "protected",
        "https://a.example",
        "*",
        "",
        "\0",
        "default",
        "aws:x",
        "é",
    ];
    prop_oneof![
        4 => prop::sample::select(words.to_vec()).prop_map(Value::from),
        1 => "\\PC{0,70}".prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    any_leaf().prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(KEYS.to_vec()), inner, 0..6).prop_map(
                |members| members
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect()
            ),
        ]
    })
}

prop_compose! {
    /// A body that parses.
    fn any_request()(
        name in "[a-z][a-z0-9]{2,9}(-[a-z0-9]{1,9})?",
        buckets in prop::option::of(prop::collection::btree_set("[a-z0-9]{3,20}", 0..3)),
        origins in prop::option::of(Just(json!(["*", "http://localhost:3000"]))),
        repositories in prop::option::of(prop::collection::btree_map("[a-z0-9]{2,9}(/[a-z0-9]{1,9})?", 0..3u8, 0..3)),
        region in prop::option::of(prop::sample::select(vec!["us-east-1", "eu-west-1"])),
        (scoped, access_key, adopt) in any::<(Option<bool>, Option<bool>, Option<bool>)>(),
        tags in prop::option::of(prop::collection::btree_map("[a-z]{1,4}", "[A-Za-z0-9 _.:/=+@-]{0,8}", 0..4)),
    ) -> Value {
        let mut body = json!({"name": name});
        let lifecycle = |profile: u8| match profile {
            0 => json!("guide"),
            1 => json!("protected"),
            _ => Lifecycle::Guide.policy().to_value(),
        };
        let buckets = buckets.map(|names| names.into_iter().map(|name| {
            let mut bucket = json!({"name": name});
            origins.iter().for_each(|origins| bucket["upload_origins"] = origins.clone());
            bucket
        }).collect());
        let repositories = repositories.map(|repositories| repositories.into_iter().map(|(name, profile)| json!({"name": name, "lifecycle": lifecycle(profile)})).collect());
        let fields = [
            ("buckets", buckets),
            ("repositories", repositories),
            ("region", region.map(Value::from)),
            ("media_access", scoped.map(|scoped| json!(if scoped { "scoped" } else { "shared" }))),
            ("access_key", access_key.map(Value::from)),
            ("on_existing", adopt.map(|adopt| json!(if adopt { "adopt" } else { "fail" }))),
            ("tags", tags.map(|tags| json!(tags))),
        ];
        for (field, value) in fields {
            value.into_iter().for_each(|value| body[field] = value);
        }
        body
    }
}

/// Every place in a document, by its pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    for (key, member) in value.as_object().into_iter().flatten() {
        places(
            member,
            &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
            found,
        );
    }
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        places(item, &format!("{at}/{i}"), found);
    }
}

/// A request with one thing put in the place of another, or in addition.
fn any_nearly_right() -> impl Strategy<Value = Value> {
    let change = (
        any::<prop::sample::Index>(),
        any_json(),
        prop::option::of(prop::sample::select(KEYS.to_vec())),
    );
    (any_request(), change).prop_map(|(mut body, (at, value, key))| {
        let mut found = Vec::new();
        places(&body, "", &mut found);
        let place = body
            .pointer_mut(found[at.index(found.len())].as_str())
            .unwrap();
        match (place, key) {
            (Value::Object(members), Some(key)) => drop(members.insert(key.to_owned(), value)),
            (place, _) => *place = value,
        }
        body
    })
}

/// Whether a pointer leads to something in the document, or to a member or item that it lacks.
fn leads_into(document: &Value, pointer: &str) -> bool {
    let parent = pointer.rsplit_once('/').map(|(parent, _)| parent);
    document.pointer(pointer).is_some()
        || parent.is_some_and(|parent| document.pointer(parent).is_some_and(Value::is_object))
}

/// Whether everything that was asked for is in the spec as it was asked for.
fn is_kept(asked: &Value, spec: &Value) -> bool {
    match (asked, spec) {
        (Value::Object(asked), Value::Object(spec)) => asked
            .iter()
            .all(|(key, value)| spec.get(key).is_some_and(|spec| is_kept(value, spec))),
        (Value::Array(asked), Value::Array(spec)) => {
            asked.len() == spec.len()
                && asked
                    .iter()
                    .zip(spec)
                    .all(|(asked, spec)| is_kept(asked, spec))
        }
        (asked, spec) => asked == spec,
    }
}

/// What has to hold of whatever comes in.
fn check(body: Value) -> Result<(), TestCaseError> {
    match parse(body.clone()) {
        Ok(spec) => prop_assert_eq!(
            parse(serde_json::to_value(&spec).unwrap()),
            Ok(spec),
            "of {}",
            body
        ),
        Err(errors) => {
            prop_assert!(!errors.is_empty());
            for error in errors {
                prop_assert!(
                    leads_into(&body, &error.pointer),
                    "{} leads nowhere in {}",
                    error.pointer,
                    body
                );
                prop_assert!(!error.message.is_empty());
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_json_is_a_spec_or_has_errors_in_their_places(body in any_json()) {
        check(body)?;
    }

    #[test]
    fn what_is_nearly_right_is_a_spec_or_has_errors_in_their_places(body in any_nearly_right()) {
        check(body)?;
    }

    #[test]
    fn what_is_right_parses_and_survives_its_json(body in any_request()) {
        let spec = parse(body.clone()).map_err(|errors| TestCaseError::fail(format!("{errors:?}")))?;
        let text = serde_json::to_string(&spec).unwrap();
        prop_assert!(is_kept(&body, &serde_json::from_str(&text).unwrap()), "{} became {}", body, text);
        prop_assert_eq!(&parse(serde_json::from_str(&text).unwrap()).unwrap(), &spec);
        prop_assert_eq!(serde_json::from_str::<AppSpec>(&text).unwrap(), spec, "as the database reads it");
    }

    #[test]
    fn an_unknown_field_is_told_wherever_it_is(body in any_request(), at in any::<prop::sample::Index>()) {
        let mut found = Vec::new();
        places(&body, "", &mut found);
        found.retain(|at| body.pointer(at).is_some_and(Value::is_object) && at != "/tags");
        let at = found[at.index(found.len())].as_str();
        let mut body = body.clone();
        body.pointer_mut(at).unwrap()["a/b~c"] = json!(1);
        let pointers = pointers(body);
        prop_assert!(pointers.contains(&format!("{at}/a~1b~0c")), "{pointers:?}");
    }
}
