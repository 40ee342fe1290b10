//! `POST /auth/logout` and `GET /auth/signed-out`

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Redirect, Response};

use crate::api::credential::Credential;
use crate::api::problem::ApiError;
use crate::api::sign_in::cookies::Cookies;
use crate::api::sign_in::page;
use crate::app::service::Service;
use crate::app::sessions::{idle_timeout, sign_out};
use crate::app::sign_in::{SIGNED_OUT_PATH, end_session_url};

/// Ends the session of the browser.
pub async fn logout(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let cookies = Cookies::of(&service).ok_or(ApiError::NoSignIn)?;
    if let Some(Credential::Session(hash)) = Credential::of(&headers, &service) {
        sign_out(&service, &hash).await?;
    }
    let mut response = Redirect::to(SIGNED_OUT_PATH).into_response();
    if let Some(cookie) = cookies.clear_session() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Says that the browser is signed out, and how to sign out of the identity provider as well.
pub async fn signed_out(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Cookies::of(&service).ok_or(ApiError::NoSignIn)?;
    if let Some(Credential::Session(hash)) = Credential::of(&headers, &service)
        && service
            .store
            .has_session(&hash, idle_timeout(&service))
            .await?
    {
        return Ok(Redirect::to("/").into_response());
    }
    Ok(page::signed_out(end_session_url(&service).await.as_deref()))
}
