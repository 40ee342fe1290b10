use super::*;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;

fn parse(value: &Value) -> PolicyDocument {
    PolicyDocument::parse(&value.to_string()).unwrap()
}

fn allow(actions: &Value, resources: &Value) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": resources}]})
}

fn refused(value: &Value) -> String {
    PolicyDocument::parse(&value.to_string())
        .unwrap_err()
        .to_string()
}

#[test]
fn media_shared_is_the_guides() {
    let document = json!(PolicyDocument::media_shared("aws-cn"));
    assert_eq!(document["Version"], "2012-10-17");
    let statements = document["Statement"].as_array().unwrap();
    assert_eq!(statements.len(), 1);
    assert_eq!(statements[0]["Effect"], "Allow");
    assert_eq!(
        statements[0]["Resource"],
        json!(["arn:aws-cn:s3:::*", "arn:aws-cn:s3:::*/*"])
    );
    let actions: BTreeSet<&str> = statements[0]["Action"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(actions.len(), 20);
    assert!(actions.contains("s3:GetBucketCORS") && actions.contains("s3:PutObjectAcl"));
    assert_eq!(statements[0].as_object().unwrap().len(), 3);
}

#[test]
fn media_scoped_opens_its_buckets_alone() {
    let document = json!(PolicyDocument::media_scoped("aws", &["b", "a", "b"]).unwrap());
    let statement = &document["Statement"][0];
    assert_eq!(
        statement["Resource"],
        json!([
            "arn:aws:s3:::a",
            "arn:aws:s3:::a/*",
            "arn:aws:s3:::b",
            "arn:aws:s3:::b/*"
        ])
    );
    let actions: BTreeSet<&str> = statement["Action"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(actions.len(), 21);
    assert!(!actions.contains("s3:PutBucketAcl") && !actions.contains("s3:PutObjectAcl"));
    assert!(
        MULTIPART_ACTIONS
            .iter()
            .all(|action| actions.contains(format!("s3:{action}").as_str()))
    );
}

#[test]
fn media_scoped_never_grants_by_accident() {
    assert_eq!(PolicyDocument::media_scoped("aws", &[""; 0]), None);
    for name in ["", "*", "a*", "a?", "${aws:username}", "a/b"] {
        assert_eq!(
            PolicyDocument::media_scoped("aws", &["fine", name]),
            None,
            "{name}"
        );
    }
}

#[test]
fn sizes_do_not_count_white_space() {
    assert!(PolicyDocument::media_shared("aws").characters() < MAX_CHARACTERS);
    let spaced = parse(&allow(&json!("s3:*"), &json!("arn:aws:s3:::a b")));
    assert_eq!(spaced.characters() + 1, spaced.to_document().len());
}

#[test]
fn both_forms_of_text_are_read() {
    let policy = PolicyDocument::media_shared("aws");
    let encoded = utf8_percent_encode(&policy.to_document(), NON_ALPHANUMERIC).to_string();
    assert_eq!(PolicyDocument::parse(&encoded).unwrap(), policy);
    let with_percent = parse(&allow(&json!("s3:GetObject"), &json!("arn:aws:s3:::a/%2A")));
    assert_eq!(
        PolicyDocument::parse(&with_percent.to_document()).unwrap(),
        with_percent
    );
    assert!(matches!(
        PolicyDocument::parse("%7B%FF"),
        Err(PolicyError::Encoding(_))
    ));
}

#[test]
fn ways_of_writing_do_not_matter() {
    let one = parse(&json!({
        "Version": "2012-10-17", "Id": "x",
        "Statement": {
            "Sid": "One", "Effect": "Allow", "Action": "s3:getobject", "Resource": ["b", "a", "a"],
            "Condition": {"Bool": {"AWS:SecureTransport": true}, "StringEquals": {"aws:x": ["1", "2"]}},
        },
    }));
    let other = parse(&json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Action": ["S3:GetObject"], "Resource": ["a", "b"],
            "Condition": {"StringEquals": {"aws:x": [2, "1"]}, "Bool": {"aws:SecureTransport": "true"}},
        }],
    }));
    assert!(one.same_meaning(&other) && other.same_meaning(&one));
    assert_eq!(one.difference(&other), [""; 0]);
}

#[test]
fn an_absent_version_is_the_old_one() {
    let statement = json!({"Effect": "Deny", "NotAction": "iam:*", "NotResource": "*"});
    let absent = parse(&json!({"Statement": statement}));
    assert!(absent.same_meaning(&parse(
        &json!({"Version": "2008-10-17", "Statement": statement})
    )));
    let new = parse(&json!({"Version": "2012-10-17", "Statement": statement}));
    assert_eq!(
        new.difference(&absent),
        ["the policy language version is 2008-10-17, not 2012-10-17"]
    );
    assert!(!new.same_meaning(&absent));
}

#[test]
fn a_difference_is_told_in_words() {
    let wanted = PolicyDocument::media_shared("aws");
    let mut found = json!(wanted);
    found["Statement"][0]["Action"]
        .as_array_mut()
        .unwrap()
        .retain(|action| action != "s3:DeleteObject");
    found["Statement"][0]["Resource"][1] = json!("arn:aws:s3:::b/*");
    found["Statement"][0]["Condition"] = json!({"Bool": {"aws:SecureTransport": true}});
    found["Statement"]
        .as_array_mut()
        .unwrap()
        .push(json!({"Effect": "Deny", "NotAction": "iam:Get*", "Resource": "*"}));
    let expected = [
        "action s3:DeleteObject is missing",
        "resource arn:aws:s3:::*/* is missing",
        "resource arn:aws:s3:::b/* is added",
        "condition Bool aws:SecureTransport = true is added",
        "a statement with Deny of everything except iam:Get* on * is added",
    ];
    assert_eq!(wanted.difference(&parse(&found)), expected);
    let mut denied = json!(wanted);
    denied["Statement"][0]["Effect"] = json!("Deny");
    assert_eq!(
        wanted.difference(&parse(&denied)),
        ["effect is Deny, not Allow"]
    );
}

#[test]
fn action_and_not_action_are_opposites() {
    let document = |element: &str| {
        parse(&json!({"Statement": {"Effect": "Allow", element: "s3:*", "Resource": "*"}}))
    };
    let lines = document("Action").difference(&document("NotAction"));
    assert_eq!(
        lines,
        ["action s3:* is missing", "excluded action s3:* is added"]
    );
}

#[test]
fn what_iam_refuses_is_refused() {
    assert!(
        refused(&allow(&json!([]), &json!("*")))
            .contains("statement 1 must have either Action or NotAction")
    );
    assert!(
        refused(&allow(&json!("a"), &json!([])))
            .contains("statement 1 must have either Resource or NotResource")
    );
    let mut public = allow(&json!("s3:*"), &json!("*"));
    public["Statement"][0]["Principal"] = json!("*");
    assert!(refused(&public).contains("statement 1: unknown field `Principal`"));
    assert!(
        refused(&json!({"Statement": {"Effect": "Perhaps", "Action": "a", "Resource": "*"}}))
            .contains("unknown variant `Perhaps`")
    );
    assert!(refused(&json!({"Version": "2026-01-01", "Statement": []})).contains("2026-01-01"));
    assert!(refused(&allow(&json!({"a": 1}), &json!("*"))).contains("is not a string"));
    for strange in [json!(null), json!([]), json!({}), json!("text"), json!(1)] {
        refused(&strange);
    }
}

fn some_of(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop::sample::select(texts).prop_map(String::from), 1..5)
}

prop_compose! {
    fn any_statement()(
        effect in prop::sample::select(vec!["Allow", "Deny"]),
        actions in some_of(&["s3:GetObject", "s3:PutObject", "iam:*", "*"]),
        resources in some_of(&["*", "arn:aws:s3:::a", "arn:aws:s3:::A", "arn:aws:s3:::a/*"]),
        values in prop::option::of(some_of(&["x", "true", "é %"])),
        (not_action, not_resource) in any::<(bool, bool)>(),
    ) -> Value {
        let action = if not_action { "NotAction" } else { "Action" };
        let resource = if not_resource { "NotResource" } else { "Resource" };
        let mut statement = json!({"Effect": effect, action: actions, resource: resources});
        if let Some(values) = values {
            statement["Condition"] = json!({"StringLike": {"aws:PrincipalTag/Team": values}});
        }
        statement
    }
}

fn any_statements() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(any_statement(), 1..4)
}

fn document(statements: &[Value]) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// The same written otherwise: lists turned, repeated or made a string, actions in upper case.
fn rewritten(statement: &Value, turn: usize) -> Value {
    let mut statement = statement.clone();
    statement["Sid"] = json!(format!("Statement{turn}"));
    for element in ["Action", "NotAction", "Resource", "NotResource"] {
        let Some(Value::Array(list)) = statement.get(element).cloned() else {
            continue;
        };
        let mut list: Vec<String> = list
            .iter()
            .filter_map(Value::as_str)
            .map(String::from)
            .collect();
        if element.ends_with("Action") {
            list = list.iter().map(|action| action.to_uppercase()).collect();
        }
        let turns = turn % list.len();
        list.rotate_left(turns);
        list.dedup();
        statement[element] = match list.as_slice() {
            [one] => json!(one),
            [first, ..] => json!([list.as_slice(), std::slice::from_ref(first)].concat()),
            [] => continue,
        };
    }
    statement
}

proptest! {
    #[test]
    fn meaning_does_not_depend_on_the_writing(statements in any_statements(), turn in 0..9usize) {
        let one = parse(&document(&statements));
        let mut others: Vec<Value> = statements.iter().map(|statement| rewritten(statement, turn)).collect();
        others.push(others[0].clone());
        let turns = turn % others.len();
        others.rotate_left(turns);
        let encoded = utf8_percent_encode(&document(&others).to_string(), NON_ALPHANUMERIC).to_string();
        let other = PolicyDocument::parse(&encoded).unwrap();
        prop_assert!(one.same_meaning(&other) && other.same_meaning(&one));
        prop_assert!(one.difference(&other).is_empty());
    }

    #[test]
    fn a_policy_survives_its_document(statements in any_statements()) {
        let policy = parse(&document(&statements));
        prop_assert_eq!(PolicyDocument::parse(&policy.to_document()).unwrap(), policy);
    }

    #[test]
    fn a_difference_is_empty_exactly_for_the_same_meaning(one in any_statements(), other in any_statements()) {
        let (one, other) = (parse(&document(&one)), parse(&document(&other)));
        prop_assert_eq!(one.difference(&other).is_empty(), one.same_meaning(&other));
        prop_assert_eq!(one.same_meaning(&other), other.same_meaning(&one));
    }

    #[test]
    fn another_effect_or_resource_is_noticed(statement in any_statement(), effect in any::<bool>()) {
        let mut changed = statement.clone();
        if effect {
            changed["Effect"] = if statement["Effect"] == "Allow" { json!("Deny") } else { json!("Allow") };
        } else {
            let element = if statement.get("Resource").is_some() { "Resource" } else { "NotResource" };
            changed[element].as_array_mut().unwrap().push(json!("arn:aws:s3:::other"));
        }
        let (one, other) = (parse(&document(&[statement])), parse(&document(&[changed])));
        prop_assert!(!one.same_meaning(&other));
        prop_assert_eq!(one.difference(&other).len(), 1);
    }

    #[test]
    fn another_action_or_condition_is_noticed(statement in any_statement(), at in any::<prop::sample::Index>(), change in 0..5u8) {
        let mut changed = statement.clone();
        let element = if statement.get("Action").is_some() { "Action" } else { "NotAction" };
        let condition = &mut changed["Condition"];
        match change {
            0 => changed[element].as_array_mut().unwrap().push(json!("ec2:RunInstances")),
            1 => {
                let actions = changed[element].as_array_mut().unwrap();
                let at = at.index(actions.len());
                actions[at] = json!("ec2:RunInstances");
            }
            2 => {
                let actions = changed.as_object_mut().unwrap().remove(element).unwrap();
                changed[if element == "Action" { "NotAction" } else { "Action" }] = actions;
            }
            3 => condition["StringLike"]["aws:PrincipalTag/Team"] = json!("another"),
            _ => condition["StringNotLike"]["aws:PrincipalTag/Team"] = json!("x"),
        }
        // Looking at a condition that there is none of leaves a null behind.
        changed.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let (one, other) = (parse(&document(&[statement])), parse(&document(&[changed])));
        prop_assert!(!one.same_meaning(&other) && !other.same_meaning(&one));
        prop_assert!(!one.difference(&other).is_empty());
    }

    #[test]
    fn white_space_and_one_string_for_a_list_do_not_matter(statements in any_statements(), lone in any_statement()) {
        let one = parse(&document(&statements));
        let spaced = PolicyDocument::parse(&format!("\n {:#}\t", document(&statements))).unwrap();
        prop_assert!(one.same_meaning(&one) && one.same_meaning(&spaced));
        prop_assert_eq!(one.characters(), spaced.characters());
        let mut bare = lone.clone();
        for list in bare.as_object_mut().unwrap().values_mut() {
            if let Some([text]) = list.as_array().map(Vec::as_slice) {
                *list = text.clone();
            }
        }
        let bare = json!({"Version": "2012-10-17", "Statement": bare});
        prop_assert!(parse(&document(&[lone])).same_meaning(&parse(&bare)));
    }

    #[test]
    fn no_text_is_too_strange(text in any::<String>(), encoded in "(%[0-9A-F]{2}){0,20}") {
        let _ = PolicyDocument::parse(&text);
        let _ = PolicyDocument::parse(&encoded);
        let _ = PolicyDocument::parse(&utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string());
        let _ = PolicyDocument::parse(&json!({"Version": "2012-10-17", "Statement": text}).to_string());
    }
}
