//! The API: one file an endpoint group.
//!
//! Invariants:
//! - Every `/v1` call carries a token; who may do what is said by the handler's extractor.
//! - Every answer that is not a success is a problem document (RFC 9457), also those of the framework.
//! - What is taken in at once is bounded, and who is refused for that is told when to come back.
//! - A handler parses into domain types and asks the store; it touches AWS only through the engine.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware;
use axum::response::Redirect;
use axum::{Extension, Router};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate as _};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::limits::Limits;
use crate::api::openapi::Yaml;
use crate::app::service::Service;

/// The largest body that is read, in bytes.
pub const BODY_LIMIT: usize = 64 * 1024;

/// Every call with its documentation.
fn calls() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::with_openapi(crate::api::openapi::Api::openapi())
        .routes(routes!(
            crate::api::v1::apps::onboard,
            crate::api::v1::apps::list
        ))
        .routes(routes!(
            crate::api::v1::apps::get,
            crate::api::v1::update_app::change,
            crate::api::v1::remove_app::remove
        ))
        .routes(routes!(crate::api::v1::apps::plan))
        .routes(routes!(crate::api::v1::apps::repair))
        .routes(routes!(
            crate::api::v1::drift::get,
            crate::api::v1::drift::look
        ))
        .routes(routes!(crate::api::v1::audit::of_app))
        .routes(routes!(crate::api::v1::audit::audit))
        .routes(routes!(crate::api::v1::remove_app::restore))
        .routes(routes!(crate::api::v1::export_app::export))
        .routes(routes!(crate::api::v1::credentials::list))
        .routes(routes!(crate::api::v1::credentials::rotate))
        .routes(routes!(crate::api::v1::credentials::rollback))
        .routes(routes!(crate::api::v1::credentials::claim))
        .routes(routes!(crate::api::v1::credentials::activate))
        .routes(routes!(crate::api::v1::credentials::deactivate))
        .routes(routes!(crate::api::v1::credentials::delete))
        .routes(routes!(crate::api::v1::jobs::list))
        .routes(routes!(crate::api::v1::jobs::get))
        .routes(routes!(crate::api::v1::jobs::events))
        .routes(routes!(crate::api::v1::jobs::cancel))
        .routes(routes!(crate::api::v1::jobs::retry))
        .routes(routes!(crate::api::v1::lifecycle_simulation::simulate))
        .routes(routes!(
            crate::api::v1::tokens::list,
            crate::api::v1::tokens::create
        ))
        .routes(routes!(crate::api::v1::tokens::delete))
        .routes(routes!(crate::api::v1::identity::get))
        .routes(routes!(crate::api::v1::list_background_tasks::list))
        .routes(routes!(crate::api::openapi::openapi_yaml))
}

/// The calls without their documentation, which takes longer to put together than a simulated service lives.
static CALLS: LazyLock<Router<Arc<Service>>> = LazyLock::new(|| {
    Router::from(calls())
        .route(
            "/",
            axum::routing::get(|| async { Redirect::temporary("/docs") }),
        )
        .route(
            "/problems",
            axum::routing::get(crate::api::openapi::problems),
        )
        .merge(crate::api::openapi::pages(openapi()))
        .layer(Extension(Yaml(yaml().unwrap_or_default().into())))
});

/// What operators look at, which is answered also when there is too much else.
fn operations() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(crate::api::health::healthz))
        .routes(routes!(crate::api::health::readyz))
        .routes(routes!(crate::api::health::metrics))
}

/// The API's document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut api = calls().merge(operations()).into_openapi();
    crate::api::openapi::add_common_answers(&mut api);
    crate::api::links::add(&mut api);
    crate::api::examples::add(&mut api);
    api
}

/// The document, as YAML.
///
/// # Errors
/// When it cannot be written as YAML, which a test rules out.
pub fn yaml() -> Result<String, serde_json::Error> {
    openapi().to_yaml().map_err(serde::ser::Error::custom)
}

/// The whole API of a service, for callers in its own process.
pub fn in_process(service: Arc<Service>) -> Router {
    let limits = Limits::new(&service);
    router(service, &limits)
}

/// The whole API of a service, within its limits.
pub(crate) fn router(service: Arc<Service>, limits: &Arc<Limits>) -> Router {
    let operations = crate::api::limits::apply_to_operations(Router::from(operations()))
        .layer(Extension(limits.clone()));
    let router = crate::api::limits::apply(CALLS.clone(), limits).merge(operations);
    let no_events = DefaultPredicate::new().and(NotForContentType::new("text/event-stream"));
    let layers = ServiceBuilder::new()
        .layer(middleware::from_fn(crate::api::request_id::carry))
        .layer(cors(&service))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .layer(CompressionLayer::new().gzip(true).compress_when(no_events))
        .layer(middleware::from_fn(crate::api::problem::complete))
        .layer(CatchPanicLayer::custom(crate::api::problem::of_panic))
        .layer(DefaultBodyLimit::max(BODY_LIMIT));
    router
        .fallback(crate::api::problem::not_found)
        .method_not_allowed_fallback(crate::api::problem::method_not_allowed)
        .layer(layers)
        .with_state(service)
}

fn cors(service: &Service) -> CorsLayer {
    let origins = match service.settings.cors_origins().as_slice() {
        ["*"] => AllowOrigin::any(),
        origins => AllowOrigin::list(origins.iter().filter_map(|origin| origin.parse().ok())),
    };
    let named = HeaderName::from_static;
    let exposed = [
        header::LOCATION,
        header::ETAG,
        header::RETRY_AFTER,
        header::LINK,
        header::CONTENT_DISPOSITION,
        named("x-request-id"),
        named("idempotent-replayed"),
    ];
    let conditions = [header::IF_MATCH, header::IF_NONE_MATCH];
    let sent = [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        named("idempotency-key"),
        named("last-event-id"),
        named("x-request-id"),
    ];
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers(sent.into_iter().chain(conditions).collect::<Vec<_>>())
        .expose_headers(exposed)
        .max_age(Duration::from_secs(600))
}
