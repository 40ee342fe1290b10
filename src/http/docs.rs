//! The API's document and its pages, served offline.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::SwaggerUi;

use super::body::{Id, IdempotencyText};
use crate::domain::names::AccessKeyId;

/// The head of the API's document; routes add themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Slipway",
        description = "Gives an app its place in an AWS account in one call: user, access key, media bucket, image repository.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/", description = "This server")),
    security(("token" = [])),
    modifiers(&Bearer),
    // Only parameters are of these, and parameters do not bring theirs along.
    components(schemas(Id, IdempotencyText, AccessKeyId)),
    tags(
        (name = "apps", description = "Apps and what they should have in AWS"),
        (name = "jobs", description = "Asked-for changes, as they go on"),
        (name = "credentials", description = "Access keys, and their secrets once"),
        (name = "tokens", description = "Who may call the API"),
        (name = "service", description = "The service itself"),
    ),
)]
pub struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, api: &mut Document) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A token of POST /v1/tokens")).build();
        api.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The document, as YAML.
///
/// # Errors
/// When it cannot be written as YAML, which a test rules out.
pub fn yaml() -> Result<String, serde_json::Error> {
    super::openapi().to_yaml().map_err(serde::ser::Error::custom)
}

/// The API's document.
#[utoipa::path(get, path = "/openapi.yaml", tag = "service", operation_id = "openapi", security(()), responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/yaml")))]
pub async fn openapi_yaml() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/yaml")], yaml().unwrap_or_default())
}

/// What each kind of problem means, and what to do about it.
pub async fn problems() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], include_str!("../../docs/http-status-codes.md"))
}

/// The pages that show the document.
pub fn pages<S: Clone + Send + Sync + 'static>(api: Document) -> Router<S> {
    Router::from(SwaggerUi::new("/docs").url("/openapi.json", api))
}
