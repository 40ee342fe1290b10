//! `GET /auth/login?return_to=/path&fresh=true`

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Redirect, Response};

use crate::api::params::Params;
use crate::api::problem::ApiError;
use crate::api::sign_in::cookies::Cookies;
use crate::api::sign_in::page::failed;
use crate::app::service::Service;
use crate::app::sign_in::{SignInError, begin};
use crate::domain::sign_in::ReturnTo;

/// Sends the browser to the identity provider. `fresh` has the person prove anew who they are.
pub async fn login(
    State(service): State<Arc<Service>>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let return_to = params.take("return_to", ReturnTo::parse);
    let fresh = params.flag("fresh");
    params.finish()?;
    let return_to = return_to.unwrap_or_default();
    let begun = match begin(&service, &return_to, fresh).await {
        Ok(begun) => begun,
        Err(SignInError::NotConfigured) => return Err(ApiError::NoSignIn),
        Err(error) => return Ok(failed(&error, &return_to)),
    };
    let mut response = Redirect::to(&begun.url).into_response();
    if let Some(cookies) = Cookies::of(&service)
        && let Some(cookie) = cookies.set_sign_in(&begun.cookie)
    {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
