//! The routes, and the middleware around them.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware;
use axum::response::Redirect;
use axum::routing::get;
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
use crate::api::openapi::Api;
use crate::api::v1;
use crate::app::service::Service;
use crate::provision::kinds::{VARIABLES, list_holds_data, spec_lists};

/// The maximum size of a request body, in bytes.
pub const BODY_LIMIT: usize = 64 * 1024;

/// Every documented endpoint.
fn endpoints() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(
            v1::onboard_app::onboard_app,
            v1::list_apps::list_apps
        ))
        .routes(routes!(
            v1::get_app::get_app,
            v1::update_app::update_app,
            v1::remove_app::remove_app
        ))
        .routes(routes!(v1::plan_app::plan_app))
        .routes(routes!(v1::repair_app::repair_app))
        .routes(routes!(v1::restore_app::restore_app))
        .routes(routes!(v1::export_app::export_app))
        .routes(routes!(
            v1::get_drift::get_drift,
            v1::check_drift::check_drift
        ))
        .routes(routes!(v1::get_app_history::get_app_history))
        .routes(routes!(v1::list_audit::list_audit))
        .routes(routes!(v1::list_credentials::list_credentials))
        .routes(routes!(v1::rotate_credential::rotate_credential))
        .routes(routes!(v1::rollback_rotation::rollback_rotation))
        .routes(routes!(v1::claim_secret::claim_secret))
        .routes(routes!(v1::activate_key::activate_key))
        .routes(routes!(v1::deactivate_key::deactivate_key))
        .routes(routes!(v1::delete_key::delete_key))
        .routes(routes!(v1::list_jobs::list_jobs))
        .routes(routes!(v1::get_job::get_job))
        .routes(routes!(v1::stream_job_events::stream_job_events))
        .routes(routes!(v1::cancel_job::cancel_job))
        .routes(routes!(v1::retry_job::retry_job))
        .routes(routes!(v1::list_approvals::list_approvals))
        .routes(routes!(v1::get_approval::get_approval))
        .routes(routes!(v1::approve_job::approve_job))
        .routes(routes!(v1::reject_job::reject_job))
        .routes(routes!(v1::simulate_lifecycle::simulate_lifecycle))
        .routes(routes!(
            v1::list_tokens::list_tokens,
            v1::create_token::create_token
        ))
        .routes(routes!(v1::revoke_token::revoke_token))
        .routes(routes!(v1::exchange_token::exchange_token))
        .routes(routes!(v1::authorize_device::authorize_device))
        .routes(routes!(v1::list_sessions::list_sessions))
        .routes(routes!(v1::revoke_session::revoke_session))
        .routes(routes!(
            v1::list_trust_rules::list_trust_rules,
            v1::create_trust_rule::create_trust_rule
        ))
        .routes(routes!(
            v1::get_trust_rule::get_trust_rule,
            v1::delete_trust_rule::delete_trust_rule
        ))
        .routes(routes!(
            v1::list_webhooks::list_webhooks,
            v1::create_webhook::create_webhook
        ))
        .routes(routes!(
            v1::get_webhook::get_webhook,
            v1::update_webhook::update_webhook,
            v1::delete_webhook::delete_webhook
        ))
        .routes(routes!(
            v1::list_webhook_deliveries::list_webhook_deliveries
        ))
        .routes(routes!(v1::test_webhook::test_webhook))
        .routes(routes!(v1::replay_webhook::replay_webhook))
        .routes(routes!(v1::rotate_webhook_secret::rotate_webhook_secret))
        .routes(routes!(
            v1::list_accounts::list_accounts,
            v1::register_account::register_account
        ))
        .routes(routes!(
            v1::get_account::get_account,
            v1::update_account::update_account,
            v1::delete_account::delete_account
        ))
        .routes(routes!(v1::get_bootstrap::get_bootstrap))
        .routes(routes!(v1::verify_account::verify_account))
        .routes(routes!(
            v1::get_setup::get_setup,
            v1::setup_account::setup_account
        ))
        .routes(routes!(
            v1::get_setup_drift::get_setup_drift,
            v1::check_setup_drift::check_setup_drift
        ))
        .routes(routes!(v1::repair_setup::repair_setup))
        .routes(routes!(v1::export_setup::export_setup))
        .routes(routes!(v1::get_setup_history::get_setup_history))
        .routes(routes!(v1::claim_password::claim_password))
        .routes(routes!(v1::get_identity::get_identity))
        .routes(routes!(v1::list_background_tasks::list_background_tasks))
        .routes(routes!(crate::api::openapi::get_openapi))
}

/// The router of all endpoints. Built once for a process, since the documentation takes long to generate.
static ENDPOINTS: LazyLock<Router<Arc<Service>>> = LazyLock::new(|| {
    Router::from(endpoints())
        .route("/", get(home))
        .route("/problems", get(crate::api::openapi::problems))
        .merge(crate::api::openapi::pages(json))
        .merge(crate::api::sign_in::routes())
        .merge(crate::api::chat::routes())
        .merge(crate::api::hooks::routes())
});

/// Leads people to the console if they can sign in, and else to the documentation of the API.
async fn home(State(service): State<Arc<Service>>) -> Redirect {
    match service.sign_in {
        Some(_) => Redirect::temporary("/console"),
        None => Redirect::temporary("/docs"),
    }
}

/// The endpoints for operators, which respond also while the service is overloaded.
fn operations() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(crate::api::health::get_health))
        .routes(routes!(crate::api::health::get_readiness))
        .routes(routes!(crate::api::metrics::get_metrics))
}

/// The OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut api = endpoints().merge(operations()).into_openapi();
    for list in spec_lists() {
        crate::api::spec_lists::add(&mut api, list, list_holds_data(list.field));
    }
    for variables in VARIABLES.iter().flatten() {
        crate::api::spec_lists::add_variables(&mut api, *variables);
    }
    crate::api::openapi::add_common_responses(&mut api);
    crate::api::openapi::reference_page_items(&mut api);
    crate::api::openapi::merge_all_of_into_one_of(&mut api);
    crate::api::links::add(&mut api);
    crate::api::examples::add(&mut api);
    api
}

/// The OpenAPI document as JSON, made when it is first asked for.
fn json() -> Bytes {
    static JSON: LazyLock<Bytes> =
        LazyLock::new(|| serde_json::to_vec(&openapi()).unwrap_or_default().into());
    JSON.clone()
}

/// The OpenAPI document as YAML.
///
/// # Errors
/// When it cannot be written as YAML, which a test rules out.
pub fn yaml() -> Result<String, serde_json::Error> {
    openapi().to_yaml().map_err(serde::ser::Error::custom)
}

/// The API of a service, for callers in the same process.
pub fn in_process(service: Arc<Service>) -> Router {
    let limits = Limits::new(&service);
    router(service, &limits, Router::new())
}

/// The API of a service and other pages, within its limits.
pub(crate) fn router(
    service: Arc<Service>,
    limits: &Arc<Limits>,
    pages: Router<Arc<Service>>,
) -> Router {
    let operations = crate::api::limits::apply_to_operations(Router::from(operations()))
        .layer(Extension(limits.clone()));
    let router =
        crate::api::limits::apply(ENDPOINTS.clone().merge(pages), limits).merge(operations);
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
        .layer(middleware::from_fn_with_state(
            service.clone(),
            crate::api::csrf::protect,
        ))
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
        named("traceresponse"),
        named("idempotent-replayed"),
    ];
    let conditions = [header::IF_MATCH, header::IF_NONE_MATCH];
    let sent = [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        named("idempotency-key"),
        named("last-event-id"),
        named("x-request-id"),
        named("traceparent"),
        named("tracestate"),
    ];
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers(sent.into_iter().chain(conditions).collect::<Vec<_>>())
        .expose_headers(exposed)
        .max_age(Duration::from_secs(600))
}
