//! JSON request bodies.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use mime::Mime;
use serde_json::Value;
use tokio::time::timeout;

use crate::api::limits::{RequestPermit, count_refusal};
use crate::api::problem::ApiError;
use crate::app::service::Service;

/// A JSON body, raw and parsed.
pub struct JsonBody {
    /// The raw body.
    pub bytes: Bytes,
    /// The parsed body; `None` if it is empty.
    pub value: Option<Value>,
}

impl JsonBody {
    /// The parsed body, for endpoints that require one.
    pub fn required(&self) -> Result<&Value, ApiError> {
        self.value
            .as_ref()
            .ok_or_else(|| ApiError::InvalidJson("The body is empty".into()))
    }
}

impl FromRequest<Arc<Service>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, ApiError> {
        let is_json = is_json(&request);
        let bytes = read(request, service).await?;
        if bytes.is_empty() {
            return Ok(Self { bytes, value: None });
        }
        if !is_json {
            return Err(ApiError::UnsupportedMediaType);
        }
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| ApiError::InvalidJson(error.to_string()))?;
        Ok(Self {
            bytes,
            value: Some(value),
        })
    }
}

fn is_json(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|value| value.to_str().ok()?.parse::<Mime>().ok());
    kind.is_some_and(|kind| {
        kind.type_() == mime::APPLICATION
            && (kind.subtype() == mime::JSON || kind.suffix() == Some(mime::JSON))
    })
}

/// Reads the whole body. While the body is still arriving, the request gives up its permit.
pub async fn read(request: Request, service: &Arc<Service>) -> Result<Bytes, ApiError> {
    let permit = request
        .extensions()
        .get::<RequestPermit>()
        .cloned()
        .ok_or(ApiError::Defect)?;
    let mut reading = pin!(Bytes::from_request(request, service));
    let came = match futures::poll!(&mut reading) {
        Poll::Ready(came) => came,
        Poll::Pending => {
            let body_timeout = permit.limits.body_timeout();
            permit
                .wait_without_permit(body_timeout, timeout(body_timeout, reading))
                .await?
                .map_err(|_| {
                    count_refusal("body");
                    ApiError::BodyTooSlow
                })?
        }
    };
    came.map_err(|rejection| {
        let response = rejection.into_response();
        if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
            ApiError::TooLarge
        } else {
            ApiError::UnreadableBody
        }
    })
}
