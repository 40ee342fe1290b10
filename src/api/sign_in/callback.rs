//! `GET /auth/callback`: where the identity provider sends browsers back to.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Redirect, Response};

use crate::api::credential::Credential;
use crate::api::form::Form;
use crate::api::limits::RequestPermit;
use crate::api::problem::ApiError;
use crate::api::sign_in::cookies::Cookies;
use crate::api::sign_in::page::failed;
use crate::app::service::Service;
use crate::app::sign_in::{Callback, SignInError, complete, session_hash};
use crate::domain::sign_in::ReturnTo;

/// Starts a session, and sends the browser on to where it wanted to go. Other parameters than those read here are the
/// provider's own.
pub async fn callback(
    State(service): State<Arc<Service>>,
    permit: RequestPermit,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let cookies = Cookies::of(&service).ok_or(ApiError::NoSignIn)?;
    let query = Form::parse(&query.unwrap_or_default())?;
    let callback = Callback {
        code: query.get("code"),
        state: query.get("state"),
        issuer: query.get("iss"),
        error: query.get("error"),
    };
    let under_way = cookies.sign_in(&headers);
    let earlier = match Credential::of(&headers, &service) {
        Some(Credential::Session(hash)) => Some(hash),
        _ => None,
    };
    let completed = complete(&service, callback, under_way.as_deref(), earlier).await;
    let mut response = match &completed {
        Ok(signed_in) => {
            permit
                .limits
                .note_valid_token(&session_hash(&signed_in.key));
            Redirect::to(signed_in.return_to.as_str()).into_response()
        }
        Err(error) => failed(error, &ReturnTo::default()),
    };
    // An answer to another sign-in, which anybody can send here, does not end the one under way.
    let ends = !matches!(
        completed,
        Err(SignInError::NotUnderWay | SignInError::State)
    );
    let set = completed
        .ok()
        .and_then(|signed_in| cookies.set_session(&signed_in.key));
    let cleared = ends.then(|| cookies.clear_sign_in()).flatten();
    for cookie in [set, cleared].into_iter().flatten() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
