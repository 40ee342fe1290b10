//! The pages that people see when a sign-in fails, or after they have signed out.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};

use crate::app::sign_in::SignInError;
use crate::domain::sign_in::ReturnTo;
use crate::outbound::form;

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }} · Slipway</title>
</head>
<body>
<main>
<h1>{{ title }}</h1>
<p>{{ text }}</p>
{% for link in links %}<p><a href="{{ link.url }}">{{ link.label }}</a></p>
{% endfor %}</main>
</body>
</html>
"#
)]
struct Page<'a> {
    title: &'a str,
    text: &'a str,
    links: &'a [Link<'a>],
}

struct Link<'a> {
    label: &'a str,
    url: &'a str,
}

fn render(status: StatusCode, page: &Page<'_>) -> Response {
    let text = page.render().unwrap_or_else(|_| page.title.to_owned());
    (status, Html(text)).into_response()
}

/// The page of a sign-in that has failed. What is wrong in detail is logged.
pub fn failed(error: &SignInError, return_to: &ReturnTo) -> Response {
    tracing::warn!(%error, "sign-in failed");
    let (status, title, text) = explained(error);
    let again = format!("/auth/login?{}", form(&[("return_to", return_to.as_str())]));
    let links = [Link {
        label: "Sign in again",
        url: &again,
    }];
    let page = Page {
        title,
        text: &text,
        links: &links,
    };
    render(status, &page)
}

fn explained(error: &SignInError) -> (StatusCode, &'static str, String) {
    let (status, title, text) = match error {
        SignInError::NotUnderWay => (
            StatusCode::BAD_REQUEST,
            "The sign-in has expired",
            "It took longer than ten minutes, was completed before, or began in another browser.",
        ),
        SignInError::State => (
            StatusCode::BAD_REQUEST,
            "The sign-in was replaced by another one",
            "A later sign-in began in this browser, for example in another tab.",
        ),
        SignInError::Issuer => (
            StatusCode::BAD_REQUEST,
            "The sign-in was refused",
            "The answer is not one of the identity provider of this server.",
        ),
        SignInError::Denied(_) => (
            StatusCode::FORBIDDEN,
            "You are not signed in",
            "The identity provider has not signed you in.",
        ),
        SignInError::Code(_) | SignInError::Token(_) => (
            StatusCode::BAD_REQUEST,
            "The sign-in was refused",
            "The identity provider's answer is not valid, or was used before.",
        ),
        SignInError::NotRecent => (
            StatusCode::FORBIDDEN,
            "Sign in again to continue",
            "The identity provider did not ask you to prove who you are, or does not tell when it did (claim auth_time).",
        ),
        SignInError::NoGroup(person) => {
            let text = format!(
                "You are signed in to the identity provider as {person}, and in no group that may use this server. Ask an administrator to add you to one, then sign in again."
            );
            return (StatusCode::FORBIDDEN, "You have no access", text);
        }
        SignInError::NotConfigured
        | SignInError::Unavailable(_)
        | SignInError::Store(_)
        | SignInError::Vault(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Signing in is not possible now",
            "The identity provider or the database does not answer. Try again in a minute.",
        ),
    };
    (status, title, text.to_owned())
}

/// The page after a person has signed out.
pub fn signed_out(provider: Option<&str>) -> Response {
    let again = Link {
        label: "Sign in",
        url: "/auth/login",
    };
    let mut links = vec![again];
    links.extend(provider.map(|url| Link {
        label: "Sign out of the identity provider, too",
        url,
    }));
    let page = Page {
        title: "You are signed out",
        text: "Your session on this server has ended. Your identity provider may still know you.",
        links: &links,
    };
    render(StatusCode::OK, &page)
}
