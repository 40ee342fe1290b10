//! The API: one file an endpoint group.
//!
//! Invariants:
//! - Every `/v1` call carries a token; who may do what is said by the handler's extractor.
//! - Every answer that is not a success is a problem document (RFC 9457), also those of the framework.
//! - What is taken in at once is bounded, and who is refused for that is told when to come back.
//! - A handler parses into domain types and asks the store; it touches AWS only through the engine.

mod answer;
mod apps;
mod auth;
mod body;
mod change;
mod credentials;
mod docs;
mod drift;
mod ecr;
mod export;
mod following;
mod health;
mod history;
mod identity;
mod jobs;
mod known_tokens;
mod limits;
mod links;
mod page;
pub mod problem;
mod removal;
mod request_id;
mod serve;
mod tokens;

pub use docs::yaml;
pub use serve::serve;
pub use tokens::{make as make_token, parse_name as parse_token_name};

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware;
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

use crate::service::Service;
use limits::Limits;

/// The largest body that is read, in bytes.
pub const BODY_LIMIT: usize = 64 * 1024;

/// Every call with its documentation.
fn calls() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::with_openapi(docs::Api::openapi())
        .routes(routes!(apps::onboard, apps::list))
        .routes(routes!(apps::get, change::change, removal::remove))
        .routes(routes!(apps::plan))
        .routes(routes!(apps::repair))
        .routes(routes!(drift::get, drift::look))
        .routes(routes!(history::of_app))
        .routes(routes!(history::audit))
        .routes(routes!(removal::restore))
        .routes(routes!(export::export))
        .routes(routes!(credentials::list))
        .routes(routes!(credentials::rotate))
        .routes(routes!(credentials::rollback))
        .routes(routes!(credentials::claim))
        .routes(routes!(credentials::activate))
        .routes(routes!(credentials::deactivate))
        .routes(routes!(credentials::delete))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::get))
        .routes(routes!(jobs::events))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::retry))
        .routes(routes!(ecr::simulate))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::delete))
        .routes(routes!(identity::get))
        .routes(routes!(docs::openapi_yaml))
}

/// The calls without their documentation, which takes longer to put together than a simulated service lives.
static CALLS: LazyLock<Router<Arc<Service>>> =
    LazyLock::new(|| Router::from(calls()).route("/problems", axum::routing::get(docs::problems)).merge(docs::pages(openapi())));

/// What operators look at, which is answered also when there is too much else.
fn operations() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(health::healthz)).routes(routes!(health::readyz)).routes(routes!(health::metrics))
}

/// The API's document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut api = calls().merge(operations()).into_openapi();
    docs::add_common_answers(&mut api);
    links::add(&mut api);
    api
}

/// The whole API of a service, for callers in its own process.
pub fn in_process(service: Arc<Service>) -> Router {
    let limits = Limits::new(&service);
    router(service, &limits)
}

/// The whole API of a service, within its limits.
fn router(service: Arc<Service>, limits: &Arc<Limits>) -> Router {
    let operations = limits::around_operations(Router::from(operations())).layer(Extension(limits.clone()));
    let router = limits::around(CALLS.clone(), limits).merge(operations);
    let no_events = DefaultPredicate::new().and(NotForContentType::new("text/event-stream"));
    let layers = ServiceBuilder::new()
        .layer(middleware::from_fn(request_id::carry))
        .layer(cors(&service))
        .layer(SetResponseHeaderLayer::if_not_present(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .layer(CompressionLayer::new().gzip(true).compress_when(no_events))
        .layer(middleware::from_fn(problem::complete))
        .layer(CatchPanicLayer::custom(problem::of_panic))
        .layer(DefaultBodyLimit::max(BODY_LIMIT));
    router.fallback(problem::not_found).method_not_allowed_fallback(problem::method_not_allowed).layer(layers).with_state(service)
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
    let sent = [header::AUTHORIZATION, header::CONTENT_TYPE, named("idempotency-key"), named("last-event-id"), named("x-request-id")];
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers(sent.into_iter().chain(conditions).collect::<Vec<_>>())
        .expose_headers(exposed)
        .max_age(Duration::from_secs(600))
}
