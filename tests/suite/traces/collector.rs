//! A collector on loopback, which keeps what it is sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as wire;
use prost::Message as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::fake_server::serve;

/// Longer than anything here takes that goes well.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Shared {
    bodies: Mutex<Vec<Bytes>>,
    headers: Mutex<Vec<HeaderMap>>,
}

pub struct Collector {
    pub url: String,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

/// A span, as the collector has it.
#[derive(Debug, Clone)]
pub struct Span {
    pub name: String,
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub kind: wire::span::SpanKind,
    pub attributes: BTreeMap<String, String>,
    /// The attributes of its process.
    pub resource: BTreeMap<String, String>,
    /// Trace and span of each link.
    pub links: Vec<(String, String)>,
    pub events: Vec<String>,
    pub is_error: bool,
}

impl Collector {
    pub async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let app = Router::new()
            .route("/v1/traces", post(receive))
            .with_state(shared.clone());
        let (url, _tasks) = serve(app).await;
        Self {
            url,
            shared,
            _tasks,
        }
    }

    pub fn bodies(&self) -> Vec<Bytes> {
        self.shared.bodies.lock().unwrap().clone()
    }

    pub fn headers(&self) -> Vec<HeaderMap> {
        self.shared.headers.lock().unwrap().clone()
    }

    pub fn spans(&self) -> Vec<Span> {
        self.bodies().iter().flat_map(spans).collect()
    }

    /// The spans, once one of them is as wanted.
    pub async fn wait_for(&self, wanted: impl Fn(&Span) -> bool) -> Vec<Span> {
        let until = Instant::now() + PATIENCE;
        loop {
            let spans = self.spans();
            if spans.iter().any(&wanted) {
                return spans;
            }
            assert!(Instant::now() < until, "no such span in {spans:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    shared.bodies.lock().unwrap().push(body);
    shared.headers.lock().unwrap().push(headers);
    StatusCode::OK
}

fn spans(body: &Bytes) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
    let of_resource = |resource: wire::ResourceSpans| {
        let of_process = attributes(&resource.resource.unwrap_or_default().attributes);
        let spans = resource.scope_spans.into_iter().flat_map(|it| it.spans);
        spans
            .map(|span| read(span, &of_process))
            .collect::<Vec<_>>()
    };
    request
        .resource_spans
        .into_iter()
        .flat_map(of_resource)
        .collect()
}

fn read(span: wire::Span, resource: &BTreeMap<String, String>) -> Span {
    Span {
        kind: span.kind(),
        trace: hex::encode(&span.trace_id),
        id: hex::encode(&span.span_id),
        parent: hex::encode(&span.parent_span_id),
        attributes: attributes(&span.attributes),
        resource: resource.clone(),
        links: span
            .links
            .iter()
            .map(|link| (hex::encode(&link.trace_id), hex::encode(&link.span_id)))
            .collect(),
        events: span.events.iter().map(|event| event.name.clone()).collect(),
        is_error: span
            .status
            .is_some_and(|status| status.code() == wire::status::StatusCode::Error),
        name: span.name,
    }
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| {
        let value = attribute.value.as_ref().and_then(|it| it.value.as_ref());
        match value {
            Some(any_value::Value::StringValue(text)) => text.clone(),
            Some(any_value::Value::IntValue(number)) => number.to_string(),
            other => format!("{other:?}"),
        }
    };
    list.iter().map(|it| (it.key.clone(), text(it))).collect()
}
