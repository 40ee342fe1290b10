//! The API's document and its pages, served offline.

use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use axum::{Extension, Router};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Object, OpenApi as Document, Ref, RefOr, Response};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::SwaggerUi;

use crate::api::body::{Id, IdempotencyText};
use crate::domain::audit::Action;
use crate::domain::names::AccessKeyId;
use crate::provision::export::Format;

/// The head of the API's document; routes add themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Slipway",
        description = "Give an app its place in an AWS account in one call: an IAM user with an access key, an S3 bucket for media and an ECR repository for images. Requests that change AWS return a job; wait for it, follow its events, and claim the credentials it creates.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/", description = "This server")),
    security(("token" = [])),
    modifiers(&Bearer),
    // Only parameters are of these, and parameters do not bring theirs along.
    components(schemas(Id, IdempotencyText, AccessKeyId, Format, Action)),
    tags(
        (name = "apps", description = "Onboard, change, repair, export and remove apps. An app is a name and a spec: what it should have in AWS."),
        (name = "jobs", description = "Wait for, follow, cancel and retry jobs. A job is one requested change of an app."),
        (name = "history", description = "See who requested what, and what was changed in AWS for it."),
        (name = "credentials", description = "List, claim and rotate access keys. A secret is shown once."),
        (name = "ecr", description = "Simulate which images a lifecycle policy of a repository expires."),
        (name = "tokens", description = "Create and revoke the tokens by which callers authenticate."),
        (name = "service", description = "Check the service: its health, metrics, identity in AWS and API document."),
    ),
)]
pub struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, api: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of POST /v1/tokens"))
            .build();
        api.components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// Adds what any call can be answered by because of the limits.
pub fn add_common_answers(api: &mut Document) {
    for (path, item) in &mut api.paths.paths {
        for call in [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.delete,
        ]
        .into_iter()
        .flatten()
        {
            let takes_body = call.request_body.is_some();
            let mut add = |status: &str, description: &str| {
                let answer = call
                    .responses
                    .responses
                    .entry(status.into())
                    .or_insert_with(|| Response::new("").into());
                if let RefOr::T(answer) = answer {
                    refuse(answer, description);
                }
            };
            add("503", "The service is at a limit");
            if !["/healthz", "/readyz", "/metrics"].contains(&path.as_str()) {
                add("429", "Too many requests from this caller");
            }
            if takes_body {
                add("408", "The request body did not arrive in time");
            }
        }
    }
}

/// Makes an answer also a refusal with a problem document and the time to come back.
fn refuse(answer: &mut Response, description: &str) {
    let before = std::mem::take(&mut answer.description);
    answer.description = if before.is_empty() {
        description.into()
    } else {
        format!("{before}; or: {description}")
    };
    let seconds = HeaderBuilder::new()
        .schema(Some(Object::with_type(Type::Integer)))
        .description(Some("Seconds"))
        .build();
    answer.headers.insert("Retry-After".into(), seconds.into());
    let problem = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    answer
        .content
        .entry("application/problem+json".into())
        .or_insert(problem.into());
}

/// Get the API's document
#[utoipa::path(get, path = "/openapi.yaml", tag = "service", operation_id = "openapi", security(()), responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/yaml")))]
pub async fn openapi_yaml(Extension(Yaml(text)): Extension<Yaml>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/yaml")], text)
}

/// The document as YAML. The router provides it, since only the router knows every route.
#[derive(Clone)]
pub struct Yaml(pub Bytes);

/// What each kind of problem means, and what to do about it.
pub async fn problems() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/markdown; charset=utf-8")],
        include_str!("../../docs/http-status-codes.md"),
    )
}

/// The pages that show the document.
pub fn pages<S: Clone + Send + Sync + 'static>(api: Document) -> Router<S> {
    Router::from(SwaggerUi::new("/docs").url("/openapi.json", api))
}
