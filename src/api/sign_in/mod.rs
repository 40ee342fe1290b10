//! Pages by which people sign in and out. They are for browsers, and no part of the OpenAPI document.
//!
//! Invariants:
//! - No response is stored by a browser or a proxy, and none tells another site where it was.
//! - Nothing that another site leads a browser to signs anybody out.

mod callback;
pub mod cookies;
mod login;
mod logout;
mod page;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::routing::{get, post};
use tower::ServiceBuilder;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::app::service::Service;
use crate::app::sign_in::{CALLBACK_PATH, SIGNED_OUT_PATH};

/// The routes.
pub fn routes() -> Router<Arc<Service>> {
    let always = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
    };
    Router::new()
        .route("/auth/login", get(login::login))
        .route(CALLBACK_PATH, get(callback::callback))
        .route("/auth/logout", post(logout::logout))
        .route(SIGNED_OUT_PATH, get(logout::signed_out))
        .layer(
            ServiceBuilder::new()
                .layer(always(header::CACHE_CONTROL, "no-store"))
                .layer(always(header::REFERRER_POLICY, "no-referrer"))
                .layer(always(
                    header::CONTENT_SECURITY_POLICY,
                    "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
                )),
        )
}
