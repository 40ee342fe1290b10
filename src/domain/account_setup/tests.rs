use serde_json::json;

use super::*;

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
    insta::assert_snapshot!(told.join("\n"));
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
    let spec = |name: Option<&str>| {
        parse(&json!({"billing": {"iam_access_attested_by": name}})).unwrap()
    };
    let at = Timestamp::from_millis;
    let first = AccountSetup::new(spec(Some("Ana")), None, "ops", at(1));
    let again = AccountSetup::new(spec(Some("Ana")), Some(&first), "other", at(2));
    assert_eq!(again.attestation, first.attestation);
    let other = AccountSetup::new(spec(Some("Bo")), Some(&first), "other", at(2));
    assert_eq!(other.attestation.unwrap().recorded_at, at(2));
    let none = AccountSetup::new(spec(None), Some(&first), "other", at(2));
    assert_eq!(none.attestation, None);
}
