//! The OpenAPI document and its pages.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa::openapi::content::Content;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ArrayItems, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Object, OneOf, OpenApi as Document, Ref, RefOr, Response, Schema,
};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::api::idempotency::IdempotencyText;
use crate::api::path::Id;
use crate::api::problem::Problem;
use crate::domain::audit::Action;
use crate::domain::names::AccessKeyId;
use crate::domain::webhook::{DeliveryState, EventType};
use crate::provision::export::Format;
use crate::provision::render::bootstrap::BootstrapFormat;

/// Where the document is as JSON.
const DOCUMENT: &str = "/openapi.json";

type Schemas = BTreeMap<String, RefOr<Schema>>;

/// The head of the OpenAPI document. The router adds the endpoints.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Slipway",
        description = "Provisions what an app needs in AWS with one call: an IAM user with an access key and a media policy, S3 buckets and ECR repositories. Requests that change AWS return a job, which you can poll or follow.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/", description = "This server")),
    security(("token" = [])),
    modifiers(&Bearer),
    // The schemas of parameters and of common responses must be listed here.
    components(schemas(Id, IdempotencyText, AccessKeyId, Format, BootstrapFormat, Action, Problem, DeliveryState, EventType)),
    tags(
        (name = "apps", description = "Onboard, update, repair, remove and export apps. An app has a spec: what it should have in AWS."),
        (name = "drift", description = "Compare AWS with the spec of an app."),
        (name = "jobs", description = "Follow, cancel and retry jobs. A job makes one requested change of one app."),
        (name = "approvals", description = "Approve or reject the plans of jobs that need an approval."),
        (name = "history", description = "See who did what: requests and changes in AWS."),
        (name = "credentials", description = "List, rotate, deactivate and delete the access keys of an app, and claim their secrets once."),
        (name = "ecr", description = "Simulate lifecycle policies of ECR repositories."),
        (name = "tokens", description = "Create, list and revoke the API tokens."),
        (name = "webhooks", description = "Be told of events by HTTP requests, signed as Standard Webhooks describes."),
        (name = "accounts", description = "Register, verify and change the AWS accounts that apps live in."),
        (name = "service", description = "Check the service: its identity, health, readiness and metrics."),
    ),
)]
pub struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, api: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "A token from POST /v1/tokens or `slipway token create`.",
            ))
            .build();
        api.components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// Adds to each operation what all operations have in common, so that an endpoint documents only what is its own.
pub fn add_common_responses(api: &mut Document) {
    for (path, item) in &mut api.paths.paths {
        let operations = [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            complete(path, operation);
        }
    }
}

fn complete(path: &str, operation: &mut Operation) {
    let takes_body = operation.request_body.is_some();
    let responses = &mut operation.responses.responses;
    let mut add = |status: &str, description: &str| {
        responses
            .entry(status.into())
            .or_insert_with(|| Response::new(description).into());
    };
    if path.starts_with("/v1/") {
        let invalid = "Parameters are invalid.";
        add(
            "400",
            if takes_body {
                "The body is not valid JSON, or parameters are invalid."
            } else {
                invalid
            },
        );
        if operation.security.is_none() {
            add("401", "The token is missing or invalid.");
        }
        add(
            "503",
            "The database is not available, or the service is overloaded.",
        );
    }
    if takes_body {
        add("408", "The body did not arrive in time.");
        add("413", "The body is larger than 64 KiB.");
        add("415", "The body is of another media type.");
    }
    if !is_for_operators(path) {
        add("429", "The caller sends too many requests.");
    }
    add("503", "The service is overloaded.");
    for (status, response) in responses {
        let RefOr::T(response) = response else {
            continue;
        };
        match status.as_str() {
            "202" => describe_job(response),
            "408" | "429" | "503" => {
                describe_problem(response);
                let after = header(Type::Integer, "When to retry, in seconds.");
                response.headers.insert("Retry-After".into(), after.into());
            }
            status if status >= "400" => describe_problem(response),
            _ => {}
        }
    }
}

/// Has the page of a list refer to the schema of its items, which is otherwise in the document twice.
pub fn reference_page_items(api: &mut Document) {
    let Some(components) = &mut api.components else {
        return;
    };
    let names: BTreeSet<String> = components.schemas.keys().cloned().collect();
    for (name, page) in &mut components.schemas {
        let item = name.strip_prefix("Page_");
        let (Some(item), RefOr::T(Schema::Object(page))) = (item, page) else {
            continue;
        };
        if let Some(RefOr::T(Schema::Array(list))) = page.properties.get_mut("items")
            && names.contains(item)
        {
            let reference = RefOr::Ref(Ref::from_schema_name(item));
            list.items = ArrayItems::RefOrSchema(Box::new(reference));
        }
    }
}

/// Puts what a choice comes with into each of its alternatives: generators of clients do not read a schema that is one of
/// several and something else as well.
pub fn merge_all_of_into_one_of(api: &mut Document) {
    let Some(components) = &mut api.components else {
        return;
    };
    let schemas = &mut components.schemas;
    // A schema can build on another such one.
    while let Some((name, choice)) = schemas.iter().find_map(|(name, schema)| {
        let choice = distributed(schema, schemas)?;
        Some((name.clone(), choice))
    }) {
        schemas.insert(name, Schema::OneOf(choice).into());
    }
}

fn distributed(schema: &RefOr<Schema>, schemas: &Schemas) -> Option<OneOf> {
    let RefOr::T(Schema::AllOf(all)) = schema else {
        return None;
    };
    let (mut choice, mut common) = (None, Object::new());
    for item in &all.items {
        match resolved(item, schemas)? {
            Schema::OneOf(one) if choice.is_none() => choice = Some(one.clone()),
            Schema::Object(object) => add(&mut common, object),
            _ => return None,
        }
    }
    let mut choice = choice?;
    for alternative in &mut choice.items {
        let Schema::Object(object) = resolved(alternative, schemas)? else {
            return None;
        };
        let mut object = object.clone();
        add(&mut object, &common);
        *alternative = Schema::Object(object).into();
    }
    choice.description.clone_from(&all.description);
    Some(choice)
}

fn resolved<'a>(schema: &'a RefOr<Schema>, schemas: &'a Schemas) -> Option<&'a Schema> {
    match schema {
        RefOr::T(schema) => Some(schema),
        RefOr::Ref(reference) => {
            let name = reference.ref_location.rsplit('/').next()?;
            resolved(schemas.get(name)?, schemas)
        }
    }
}

fn add(object: &mut Object, other: &Object) {
    object.properties.extend(other.properties.clone());
    object.required.extend(other.required.iter().cloned());
}

fn is_for_operators(path: &str) -> bool {
    ["/healthz", "/readyz", "/metrics"].contains(&path)
}

/// A 202 has the job as its body, and its URL.
fn describe_job(response: &mut Response) {
    let location = header(Type::String, "The URL of the job.");
    response.headers.insert("Location".into(), location.into());
    let after = header(Type::Integer, "When to poll the job, in seconds.");
    response.headers.insert("Retry-After".into(), after.into());
    response
        .content
        .entry("application/json".into())
        .or_insert_with(|| content("Job").into());
}

/// An error response has a problem document as its body.
fn describe_problem(response: &mut Response) {
    response
        .content
        .entry("application/problem+json".into())
        .or_insert_with(|| content("Problem").into());
}

fn content(schema: &str) -> Content {
    ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(schema)))
        .build()
}

fn header(kind: Type, description: &str) -> Header {
    HeaderBuilder::new()
        .schema(Some(Object::with_type(kind)))
        .description(Some(description))
        .build()
}

/// Get the OpenAPI document.
#[utoipa::path(get, path = "/openapi.yaml", tag = "service", operation_id = "getOpenapi", security(()), responses((status = 200, description = "This document.", body = Object, content_type = "application/yaml")))]
pub async fn get_openapi() -> impl IntoResponse {
    // Made by `slipway openapi`. To make it again takes memory that is not given back; a test compares the two.
    let text = include_str!("../../openapi.yaml");
    ([(CONTENT_TYPE, "application/yaml")], text)
}

/// The description of every problem code.
pub async fn problems() -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/markdown; charset=utf-8")],
        include_str!("../../docs/http-status-codes.md"),
    )
}

/// The documentation pages, served offline. They read the document as JSON, from `json`.
pub fn pages<S: Clone + Send + Sync + 'static>(json: fn() -> Bytes) -> Router<S> {
    let document = move || async move { ([(CONTENT_TYPE, "application/json")], json()) };
    let pages = SwaggerUi::new("/docs").config(Config::from(DOCUMENT));
    Router::from(pages).route(DOCUMENT, get(document))
}
