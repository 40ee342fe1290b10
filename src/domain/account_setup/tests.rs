use serde_json::{Value, json};

use super::*;
use crate::clock::Timestamp;
use crate::domain::names::GroupName;
use crate::domain::validation::FieldError;

fn parse(body: &Value) -> Result<SetupSpec, Vec<FieldError>> {
    let place = SetupPlace {
        partition: "aws",
        account_id: "123456789012",
        app_group: &GroupName::parse("Apps").unwrap(),
    };
    SetupSpec::parse(body, &place)
}

fn errors(body: &Value) -> Vec<String> {
    let told = |error: FieldError| format!("{}: {}", error.pointer, error.message);
    parse(body).unwrap_err().into_iter().map(told).collect()
}

fn example() -> Value {
    json!({
        "alias": "the-customer",
        "groups": [
            {"name": "Leads", "policies": ["AdministratorAccess", "job-function/Billing"]},
            {"name": "Developers", "policies": ["arn:aws:iam::123456789012:policy/by/hand/Deploy"]},
        ],
        "people": [{"email": "ana+work@example.com", "groups": ["Leads"], "console": true}],
        "password_policy": {"minimum_length": 14},
        "billing": {"iam_access_attested_by": null},
    })
}

#[test]
fn a_set_up_written_out_parses_back_to_itself() {
    for body in [example(), json!({})] {
        let spec = parse(&body).unwrap();
        let written = serde_json::to_value(&spec).unwrap();
        assert_eq!(parse(&written).unwrap(), spec, "{written}");
    }
}

#[test]
fn every_error_is_told_at_once() {
    let told = errors(&json!({
        "alias": "The--Customer",
        "groups": [
            {"name": "Leads", "policies": ["Administrator Access", "arn:aws:iam::999999999999:policy/X"]},
            {"name": "leads"},
            {"name": "apps"},
            {"policies": 3},
        ],
        "people": [
            {"email": "ana@example.com", "groups": ["Leads", "Nobody"]},
            {"email": "Ana@Example.com", "console": "yes"},
            {"email": "not an address"},
        ],
        "password_policy": {"minimum_length": 5, "max_age_days": 2000, "reuse_prevention": 0, "minimum": 3},
        "billing": {"iam_access_attested_by": " "},
        "on_existing": "replace",
        "aliases": [],
    }));
    for pointer in [
        "/alias",
        "/groups",
        "/groups/0/policies/0",
        "/groups/0/policies/1",
        "/groups/2/name",
        "/groups/3/name",
        "/groups/3/policies",
        "/people",
        "/people/0/groups/1",
        "/people/1/console",
        "/people/2/email",
        "/password_policy/minimum_length",
        "/password_policy/max_age_days",
        "/password_policy/reuse_prevention",
        "/password_policy/minimum",
        "/billing/iam_access_attested_by",
        "/on_existing",
        "/aliases",
    ] {
        let is_told = |error: &String| error.starts_with(&format!("{pointer}: "));
        assert!(told.iter().any(is_told), "{pointer}: {told:#?}");
    }
}

#[test]
fn an_address_is_one_that_can_name_a_user() {
    let person = |email: &str| parse(&json!({"people": [{"email": email}]})).is_ok();
    assert!(person("ana@example.com") && person("ana.silva+aws@mail.example.co"));
    let long = format!("{}@example.com", "a".repeat(53));
    for email in [
        "",
        "ana",
        "@example.com",
        "ana@",
        "ana@example",
        "ana@@example.com",
        "ana@example..com",
        "ana@-example.com",
        "a na@example.com",
        "ana/x@example.com",
        "ána@example.com",
        "account:default@example.com",
        &long,
    ] {
        assert!(!person(email), "{email}");
    }
}

#[test]
fn an_attestation_counts_from_when_it_was_first_recorded() {
    let spec =
        |name: Option<&str>| parse(&json!({"billing": {"iam_access_attested_by": name}})).unwrap();
    let at = Timestamp::from_millis;
    let first = AccountSetup::new(spec(Some("Ana")), None, "ops", at(1));
    let again = AccountSetup::new(spec(Some("Ana")), Some(&first), "other", at(2));
    assert_eq!(again.attestation, first.attestation);
    let other = AccountSetup::new(spec(Some("Bo")), Some(&first), "other", at(2));
    assert_eq!(other.attestation.unwrap().recorded_at, at(2));
    let none = AccountSetup::new(spec(None), Some(&first), "other", at(2));
    assert_eq!(none.attestation, None);
}

#[test]
fn administrators_are_compared_with_those_before() {
    let setup = |people: &[&str], group: &str, policy: &str| {
        let people: Vec<Value> = people
            .iter()
            .map(|email| json!({"email": email, "groups": [group]}))
            .collect();
        let spec = json!({"groups": [{"name": group, "policies": [policy]}], "people": people});
        AccountSetup::new(
            parse(&spec).unwrap(),
            None,
            "ops",
            Timestamp::from_millis(1),
        )
    };
    let (ana, bo) = ("ana@example.com", "bo@example.com");
    let arn = "arn:aws:iam::aws:policy/AdministratorAccess";
    let before = setup(&[ana], "Leads", "AdministratorAccess");
    assert!(before.gives_administrator_access(None));
    for (after, gives) in [
        (setup(&[ana], "Leads", arn), false),
        (setup(&["Ana@example.com"], "Leads", arn), false),
        (setup(&[], "Leads", arn), false),
        (setup(&[ana, bo], "Leads", arn), true),
        (setup(&[bo], "Leads", arn), true),
        (setup(&[ana], "Others", arn), true),
        (setup(&[], "Others", arn), true),
        (setup(&[ana, bo], "Leads", "PowerUserAccess"), false),
    ] {
        let told = after.gives_administrator_access(Some(&before));
        assert_eq!(told, gives, "{:?}", after.spec);
    }
}
