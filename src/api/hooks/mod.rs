//! Incoming webhooks. What they look like is decided by those who send them, so they are no part of the OpenAPI document.
//!
//! Invariants:
//! - A signature is verified over the bytes that came, before anything else is done with them.
//! - A delivery is answered when it is remembered; what follows from it is done later.

mod github;
mod gitlab;
mod standard;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::body::read;
use crate::api::limits::refuse;
use crate::api::problem::{ApiError, Limit};
use crate::app::hooks::receive::receive;
use crate::app::service::Service;
use crate::domain::hooks::event::{RepositoryEvent, Source};
use crate::domain::hooks::signature::StandardHeaders;
use crate::domain::validation::FieldError;

/// A push has its commits with it.
const BODY_LIMIT: usize = 1024 * 1024;
/// Deliveries whose body is in memory and whose sender is not known yet.
const MAX_UNVERIFIED: usize = 256;
const MAX_ID: usize = 256;

/// The routes.
pub fn routes() -> Router<Arc<Service>> {
    let unverified = Unverified(Arc::new(Semaphore::new(MAX_UNVERIFIED)));
    Router::new()
        .route("/hooks/github", post(github::receive_github))
        .route("/hooks/gitlab", post(gitlab::receive_gitlab))
        .route("/hooks/standard/{source}", post(standard::receive_standard))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(Extension(unverified))
}

/// The permits of deliveries whose signature is not verified.
#[derive(Clone)]
struct Unverified(Arc<Semaphore>);

/// A delivery as it came.
struct Delivery {
    headers: HeaderMap,
    body: Bytes,
}

impl Delivery {
    /// Reads a delivery. The permit is held until its signature is verified.
    async fn read(
        request: Request,
        service: &Arc<Service>,
    ) -> Result<(Self, OwnedSemaphorePermit), ApiError> {
        let unverified = request.extensions().get::<Unverified>().cloned();
        let Unverified(unverified) = unverified.ok_or(ApiError::Defect)?;
        let unverified = unverified
            .try_acquire_owned()
            .map_err(|_| refuse(Limit::Deliveries))?;
        let headers = request.headers().clone();
        let body = read(request, service).await.map_err(|error| match error {
            ApiError::TooLarge => ApiError::DeliveryTooLarge,
            other => other,
        })?;
        Ok((Self { headers, body }, unverified))
    }

    /// A header, if it is given and a text.
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The headers of Standard Webhooks, if they are given.
    fn standard_headers(&self) -> Option<StandardHeaders<'_>> {
        Some(StandardHeaders {
            id: self.header("webhook-id")?,
            timestamp: self.header("webhook-timestamp")?,
            signature: self.header("webhook-signature")?,
        })
    }

    /// The body as JSON.
    fn json(&self) -> Result<Value, ApiError> {
        let kind = self.header(header::CONTENT_TYPE.as_str());
        let kind = kind.and_then(|kind| kind.split(';').next());
        if kind.map(str::trim) != Some("application/json") {
            return Err(ApiError::UnsupportedMediaType);
        }
        serde_json::from_slice(&self.body).map_err(|error| ApiError::InvalidJson(error.to_string()))
    }

    /// Remembers the delivery and answers it.
    async fn accept(
        &self,
        service: &Service,
        source: &Source,
        id: (&'static str, Option<&str>),
        event: Result<Option<RepositoryEvent>, serde_json::Error>,
    ) -> Result<Response, ApiError> {
        let event = event.map_err(|error| ApiError::InvalidJson(error.to_string()))?;
        if event.as_ref().is_some_and(|event| !event.is_plausible()) {
            return Err(ApiError::InvalidJson(
                "the repository has no id or name".into(),
            ));
        }
        let (header, id) = id;
        let id = id
            .filter(|id| (1..=MAX_ID).contains(&id.len()))
            .ok_or_else(|| {
                let error = FieldError::new(header, "is required, with at most 256 characters");
                ApiError::Parameters(vec![error])
            })?;
        let follows = receive(service, source, id, &self.body, event).await?;
        let answer = json!({"delivery_id": id, "accepted": follows});
        Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
    }
}
