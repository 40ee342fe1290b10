//! The API's document: valid, checked in, and true of every answer that the other tests get.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use crate::api;
use crate::api::light;
use crate::support::unique;

/// The document that the code gives.
pub fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::to_value(slipway::api::router::openapi()).expect("JSON"))
}

/// An operation of the document.
#[derive(Clone, Copy)]
pub struct Operation {
    pub method: &'static str,
    pub path: &'static str,
    pub described: &'static Value,
}

/// All operations.
pub fn operations() -> Vec<Operation> {
    let of = |(path, methods): (&'static String, &'static Value)| {
        let methods = members(methods)
            .iter()
            .filter(|(name, _)| *name != "parameters");
        methods.map(move |(method, described)| Operation {
            method,
            path,
            described,
        })
    };
    members(&document()["paths"]).iter().flat_map(of).collect()
}

/// What is wrong, by the document, with an answer; nothing where the document does not know the route.
pub fn misfits_of_answer(
    method: &str,
    path: &str,
    status: u16,
    kind: &str,
    body: &[u8],
) -> Vec<String> {
    let Some(operation) = operations()
        .into_iter()
        .find(|it| it.method.eq_ignore_ascii_case(method) && matches(it.path, path))
    else {
        return Vec::new();
    };
    let Some(response) = operation.described["responses"].get(status.to_string()) else {
        return vec![format!("the status {status} is not documented")];
    };
    if body.is_empty() {
        return Vec::new();
    }
    let Some(content) = response["content"].get(kind) else {
        return vec![format!("{kind} is not documented for {status}")];
    };
    if kind != "application/json" && kind != "application/problem+json" {
        return Vec::new();
    }
    misfits(
        &serde_json::from_slice(body).expect("JSON"),
        &content["schema"],
        "",
    )
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<&str>, Vec<&str>) =
        (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template
            .iter()
            .zip(&path)
            .all(|(a, b)| a.starts_with('{') || a == b)
}

fn members(value: &'static Value) -> &'static Map<String, Value> {
    value.as_object().expect("an object")
}

/// Where a value does not fit a schema. Knows as much of JSON Schema as the document uses.
fn misfits(value: &Value, schema: &'static Value, at: &str) -> Vec<String> {
    let mut wrong = misshapen(value, schema, at);
    let known = properties_of(schema);
    let unknown = value
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .filter(|key| !known.contains_key(key.as_str()));
    if !known.is_empty() {
        wrong.extend(unknown.map(|key| format!("{at}/{key} is not documented")));
    }
    wrong
}

fn misshapen(value: &Value, schema: &'static Value, at: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some(reference) = schema["$ref"].as_str() {
        wrong.extend(misshapen(value, resolved(reference), at));
    }
    for part in list(&schema["allOf"]) {
        wrong.extend(misshapen(value, part, at));
    }
    let choices = list(&schema["oneOf"]);
    let fitting = choices
        .iter()
        .filter(|choice| misshapen(value, choice, at).is_empty())
        .count();
    if !choices.is_empty() && fitting != 1 {
        wrong.push(format!("{at} fits {fitting} of its choices: {value}"));
    }
    let types: Vec<&str> = schema["type"]
        .as_str()
        .into_iter()
        .chain(list(&schema["type"]).iter().filter_map(Value::as_str))
        .collect();
    let fits = types.contains(&type_of(value)) || (types.contains(&"number") && value.is_number());
    if !types.is_empty() && !fits {
        wrong.push(format!("{at} is no {}: {value}", types.join(" or ")));
    }
    let allowed = list(&schema["enum"]);
    if !allowed.is_empty() && !allowed.contains(value) {
        wrong.push(format!("{at} is none of {}: {value}", schema["enum"]));
    }
    let missing = |name: &&str| value.is_object() && value.get(*name).is_none();
    wrong.extend(
        list(&schema["required"])
            .iter()
            .filter_map(Value::as_str)
            .filter(missing)
            .map(|name| format!("{at}/{name} is missing")),
    );
    let inside = |name: &str| value.get(name).map(|child| (child, format!("{at}/{name}")));
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        wrong.extend(
            inside(name)
                .into_iter()
                .flat_map(|(child, at)| misfits(child, property, &at)),
        );
    }
    for (i, item) in value
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
        .filter(|_| !schema["items"].is_null())
    {
        wrong.extend(misfits(item, &schema["items"], &format!("{at}/{i}")));
    }
    wrong
}

fn properties_of(schema: &'static Value) -> BTreeMap<&'static str, &'static Value> {
    let own = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, property)| (name.as_str(), property));
    let referred = schema["$ref"].as_str().map(resolved).into_iter();
    let parts = list(&schema["allOf"])
        .iter()
        .chain(list(&schema["oneOf"]))
        .chain(referred);
    own.chain(parts.flat_map(properties_of)).collect()
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn list(value: &'static Value) -> &'static [Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn resolved(reference: &str) -> &'static Value {
    let pointer = reference
        .strip_prefix('#')
        .unwrap_or_else(|| panic!("{reference} is not of this document"));
    document()
        .pointer(pointer)
        .unwrap_or_else(|| panic!("{reference} does not resolve"))
}

fn placeholders(path: &str) -> BTreeSet<&str> {
    path.split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .collect()
}

/// Requests and responses without an example, or with one that does not fit its schema.
fn wrong_examples(operation: &Operation) -> Vec<String> {
    let place = format!("{} {}", operation.method, operation.path);
    let body = operation.described["requestBody"]["content"].as_object();
    let requests = body
        .into_iter()
        .flatten()
        .map(|(kind, content)| (format!("{place}, request of {kind}"), content));
    let responses = members(&operation.described["responses"])
        .iter()
        .flat_map(|(status, response)| {
            let contents = response["content"].as_object().into_iter().flatten();
            contents.map(move |(kind, content)| (format!("{status} {kind}"), content))
        })
        .map(|(response, content)| (format!("{place}, {response}"), content));
    requests
        .chain(responses)
        .flat_map(|(place, content)| match &content["example"] {
            Value::Null => vec![format!("{place}: no example")],
            Value::String(_) => Vec::new(),
            example => misfits(example, &content["schema"], &place),
        })
        .collect()
}

#[test]
fn every_request_and_response_has_an_example_that_fits() {
    let wrong: Vec<String> = operations().iter().flat_map(wrong_examples).collect();
    assert!(
        wrong.is_empty(),
        "run tests/examples.py > docs/api/examples.json: {wrong:#?}"
    );
}

#[test]
fn summaries_are_imperative_and_tags_described() {
    for operation in operations() {
        let summary = operation.described["summary"].as_str().unwrap();
        let first = summary.split(' ').next().unwrap();
        assert!(
            !first.ends_with('s') && summary.ends_with('.'),
            "{}: {summary}",
            operation.path
        );
    }
    let tags = list(&document()["tags"]);
    assert!(
        tags.iter().all(|tag| tag["description"]
            .as_str()
            .is_some_and(|text| text.ends_with('.'))),
        "{tags:?}"
    );
}

#[test]
fn the_checked_in_document_is_that_of_the_code() {
    let checked_in = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.yaml"))
        .unwrap_or_default();
    let drifted = checked_in != slipway::api::router::yaml().unwrap();
    assert!(
        !drifted,
        "openapi.yaml is not what the code says. Write it anew: cargo run -- openapi > openapi.yaml"
    );
}

#[test]
fn the_document_is_openapi_3_1() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    for member in ["title", "version"] {
        assert!(
            document["info"][member]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "info.{member}"
        );
    }
    let tags: Vec<&Value> = list(&document["tags"])
        .iter()
        .map(|tag| &tag["name"])
        .collect();
    let schemes: BTreeSet<&String> = members(&document["components"]["securitySchemes"])
        .keys()
        .collect();
    for security in list(&document["security"]) {
        assert!(
            security
                .as_object()
                .unwrap()
                .keys()
                .all(|name| schemes.contains(name)),
            "{security}"
        );
    }
    for Operation {
        method,
        path,
        described,
    } in operations()
    {
        assert!(
            ["get", "post", "put", "patch", "delete"].contains(&method),
            "{method} {path}"
        );
        assert!(
            described["summary"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{method} {path} has no summary"
        );
        let own = list(&described["tags"]);
        assert!(
            !own.is_empty() && own.iter().all(|tag| tags.contains(&tag)),
            "{method} {path}: {own:?}"
        );
    }
}

#[test]
fn operation_ids_are_unique() {
    let ids: Vec<&str> = operations()
        .iter()
        .map(|it| it.described["operationId"].as_str().expect("an id"))
        .collect();
    assert!(!ids.is_empty());
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>().len(),
        ids.len(),
        "{ids:?}"
    );
}

/// So a reader finds an endpoint by its operation id.
#[test]
fn every_endpoint_has_a_file_named_after_its_operation() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/v1");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| Some(name.strip_suffix(".rs")?.to_owned()))
        .filter(|name| name != "mod")
        .collect();
    let operations: BTreeSet<String> = operations()
        .iter()
        .filter(|it| it.path.starts_with("/v1/"))
        .map(|it| snake_case(it.described["operationId"].as_str().unwrap()))
        .collect();
    assert_eq!(files, operations);
}

fn snake_case(text: &str) -> String {
    let letter = |c: char| match c.is_ascii_uppercase() {
        true => format!("_{}", c.to_ascii_lowercase()),
        false => c.to_string(),
    };
    text.chars().map(letter).collect()
}

#[test]
fn every_response_has_a_description_and_every_problem_is_one() {
    for Operation {
        method,
        path,
        described,
    } in operations()
    {
        let responses = members(&described["responses"]);
        assert!(
            responses.keys().any(|status| status.starts_with('2')),
            "{method} {path} never succeeds"
        );
        for (status, response) in responses {
            let number: u16 = status.parse().unwrap();
            assert!(
                response["description"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{method} {path} {status}"
            );
            let is_readiness = path == "/readyz";
            if number >= 400 && !is_readiness {
                let content = members(&response["content"]);
                assert!(
                    content.len() == 1,
                    "{method} {path} {status} has one media type"
                );
                let schema = &content["application/problem+json"]["schema"];
                assert_eq!(
                    schema["$ref"], "#/components/schemas/Problem",
                    "{method} {path} {status}"
                );
            }
        }
    }
}

#[test]
fn every_reference_resolves() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        let reference = value.get("$ref").and_then(Value::as_str);
        found.extend(reference);
        value
            .as_array()
            .into_iter()
            .flatten()
            .for_each(|item| references(item, found));
        value
            .as_object()
            .into_iter()
            .flat_map(Map::values)
            .for_each(|member| references(member, found));
    }
    let mut found = BTreeSet::new();
    references(document(), &mut found);
    assert!(!found.is_empty());
    for reference in &found {
        resolved(reference);
    }
}

#[test]
fn every_required_property_is_a_property() {
    for (name, schema) in members(&document()["components"]["schemas"]) {
        for part in std::iter::once(schema)
            .chain(list(&schema["allOf"]))
            .chain(list(&schema["oneOf"]))
        {
            for required in list(&part["required"]) {
                let required = required.as_str().unwrap();
                assert!(
                    part["properties"].get(required).is_some(),
                    "{name}.{required}"
                );
            }
        }
    }
}

#[test]
fn every_path_parameter_is_declared() {
    for Operation {
        method,
        path,
        described,
    } in operations()
    {
        let in_path = |parameter: &&Value| parameter["in"] == "path";
        let declared = list(&described["parameters"]).iter().filter(in_path);
        assert!(
            declared
                .clone()
                .all(|parameter| parameter["required"] == true),
            "{method} {path}"
        );
        let declared: BTreeSet<&str> = declared
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        assert_eq!(declared, placeholders(path), "{method} {path}");
    }
}

#[test]
fn every_link_leads_from_an_answer_to_an_operation_by_its_parameters() {
    let parameters = |id: &str| -> BTreeSet<&str> {
        let target = operations()
            .into_iter()
            .find(|it| it.described["operationId"] == id)
            .unwrap_or_else(|| panic!("no operation {id}"));
        list(&target.described["parameters"])
            .iter()
            .filter_map(|parameter| parameter["name"].as_str())
            .collect()
    };
    let mut linked = BTreeSet::new();
    for Operation {
        method,
        path,
        described,
    } in operations()
    {
        for (status, response) in members(&described["responses"]) {
            for (name, link) in response["links"].as_object().into_iter().flatten() {
                let (target, given) = (
                    link["operationId"].as_str().unwrap(),
                    members(&link["parameters"]),
                );
                assert!(
                    given
                        .keys()
                        .all(|name| parameters(target).contains(name.as_str())),
                    "{method} {path} {status}: {name}"
                );
                linked.insert(target);
            }
        }
    }
    // What has an id in its path is what somebody has to be led to.
    let addressed = operations()
        .into_iter()
        .filter(|it| !placeholders(it.path).is_empty());
    assert_eq!(
        linked,
        addressed
            .map(|it| it.described["operationId"].as_str().unwrap())
            .chain(["listApps", "listAudit", "listJobs"])
            .collect()
    );
}

#[test]
fn every_link_in_the_table_is_in_the_document() {
    let from = |path: &str, method: &str, status: &str| {
        document()["paths"][path][method]["responses"][status]["links"].clone()
    };
    for (path, method, status) in [
        ("/v1/apps", "post", "202"),
        ("/v1/apps/{app}/repair", "post", "202"),
        ("/v1/jobs/{id}/cancel", "post", "202"),
        ("/v1/jobs/{id}/retry", "post", "202"),
        ("/v1/jobs/{id}", "get", "200"),
    ] {
        for target in [
            "getJob",
            "streamJobEvents",
            "cancelJob",
            "retryJob",
            "getApp",
        ] {
            assert_eq!(
                from(path, method, status)[target]["operationId"],
                target,
                "{method} {path}"
            );
        }
    }
    assert_eq!(
        from("/v1/tokens", "post", "201")["revokeToken"]["parameters"],
        json!({"id": "$response.body#/id"})
    );
}

/// A request that carries no token reaches every route and gets no further.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers() {
    let setup = api::idle();
    let server = setup.start().await;
    for Operation { method, path, .. } in operations() {
        let answer =
            api::ask(server.anonymous(method.to_uppercase().parse().unwrap(), &api::filled(path)))
                .await;
        let expected = match path {
            // Takes no token but the one in its form.
            "/v1/oauth/token" => 415,
            // Nobody signs in to this service.
            "/v1/oauth/device_authorization" => 404,
            path if path.starts_with("/v1/") => 401,
            _ => 200,
        };
        assert_eq!(
            answer.status,
            expected,
            "{method} {path}: {}",
            answer.text()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_schemas_name_the_fields_that_are_read() {
    let setup = api::idle();
    let server = setup.start().await;
    let app =
        json!({"name": unique("acme"), "x": 1, "buckets": [{"x": 1}], "repositories": [{"x": 1}]});
    let token = json!({"name": "bot", "role": "viewer", "x": 1});
    let simulation = json!({"x": 1, "images": [{"x": 1}], "repository": {"x": 1}});
    for (path, body, pointer, schema) in [
        (
            "/v1/ecr/lifecycle/simulate",
            &simulation,
            "/x",
            "SimulateRequest",
        ),
        (
            "/v1/ecr/lifecycle/simulate",
            &simulation,
            "/images/0/x",
            "ImageRequest",
        ),
        (
            "/v1/ecr/lifecycle/simulate",
            &simulation,
            "/repository/x",
            "RepositoryToSimulate",
        ),
        ("/v1/apps", &app, "/x", "AppRequest"),
        ("/v1/apps", &app, "/buckets/0/x", "BucketRequest"),
        ("/v1/apps", &app, "/repositories/0/x", "RepositoryRequest"),
        ("/v1/tokens", &token, "/x", "TokenRequest"),
    ] {
        let problem = api::ask(server.request(reqwest::Method::POST, path).json(body))
            .await
            .problem(422, "invalid_fields");
        let errors = problem["errors"].as_array().unwrap();
        let error = errors
            .iter()
            .find(|error| error["pointer"] == pointer)
            .unwrap_or_else(|| panic!("{pointer}: {problem}"));
        let known = error["message"]
            .as_str()
            .unwrap()
            .split_once("Known fields: ")
            .and_then(|(_, known)| known.split_once('.'))
            .unwrap()
            .0;
        let documented = members(&document()["components"]["schemas"][schema]["properties"])
            .keys()
            .map(String::as_str);
        assert_eq!(
            known.split(", ").collect::<BTreeSet<_>>(),
            documented.collect(),
            "{schema}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_that_a_schema_lists_is_taken_and_no_other() {
    let setup = api::idle();
    let server = setup.start().await;
    for (field, schema) in [
        ("media_access", "MediaAccess"),
        ("on_existing", "OnExisting"),
    ] {
        for value in list(&document()["components"]["schemas"][schema]["enum"]) {
            let mut body = light(&unique("acme"));
            body[field] = value.clone();
            assert_eq!(
                api::ask(
                    server
                        .request(reqwest::Method::POST, "/v1/apps")
                        .json(&body)
                )
                .await
                .status,
                202,
                "{field} {value}"
            );
            body[field] = json!(value.as_str().unwrap().to_uppercase());
            let problem = api::ask(
                server
                    .request(reqwest::Method::POST, "/v1/apps")
                    .json(&body),
            )
            .await
            .problem(422, "invalid_fields");
            assert_eq!(problem["errors"][0]["pointer"], format!("/{field}"));
        }
    }
    for (path, parameter, schema) in [
        ("/v1/apps", "state", "AppState"),
        ("/v1/jobs", "state", "JobState"),
        ("/v1/jobs", "kind", "JobKind"),
    ] {
        for value in list(&document()["components"]["schemas"][schema]["enum"]) {
            let answer = api::ask(server.request(
                reqwest::Method::GET,
                &format!("{path}?{parameter}={}", value.as_str().unwrap()),
            ))
            .await;
            assert_eq!(answer.status, 200, "{parameter} {value}");
        }
    }
}
