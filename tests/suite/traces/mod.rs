//! Traces: from a request through its job to each call of AWS, as a collector gets them.

mod collector;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use reqwest::Method;
use serde_json::{Value, json};

use crate::aws::listen::{Listening, on_loopback};
use crate::aws::{Aws, Options};
use crate::support::aws::required;
use crate::support::process::{Launch, Running};
use crate::support::proxy::Proxy;
use crate::support::script;
use crate::support::wire::Answer;
use collector::{Collector, Span};

const ACCOUNT: &str = "123456789012";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// An AWS, and how a service is started on it.
struct Host {
    proxy: Proxy,
    launch: Launch,
    _listening: Listening,
}

impl Host {
    fn new(collector: &str) -> Self {
        let aws = Aws::new(Options::default());
        let listening = on_loopback(&aws);
        let session = aws.role_session(ACCOUNT, "slipway", None);
        let proxy = Proxy::before(&listening.endpoint);
        let launch = Launch::at(&proxy.endpoint)
            .with_credentials(&session)
            .with_short_waits()
            .with("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
            .with("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=slipway-test")
            .with("OTEL_BSP_SCHEDULE_DELAY", "50");
        Self {
            proxy,
            launch,
            _listening: listening,
        }
    }
}

fn traceparent() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

/// Requests an app in the caller's trace. Returns the job and the trace that the response names.
async fn ask(server: &Running, app: &str) -> (Value, String) {
    let request = server
        .request(Method::POST, "/v1/apps")
        .header("traceparent", traceparent())
        .json(&json!({"name": app}));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 202);
    let trace = response.headers()["traceresponse"].to_str().unwrap();
    let trace = trace.to_owned();
    (response.json().await.unwrap(), trace)
}

fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    let [span] = found.as_slice() else {
        panic!("{} spans {name} in {spans:#?}", found.len());
    };
    span
}

fn is_call(span: &Span) -> bool {
    span.attributes.contains_key("rpc.method")
}

/// What PyPI's package reads in the same bytes.
fn read_again(collector: &Collector) -> Vec<[String; 4]> {
    let bodies: Vec<String> = collector.bodies().iter().map(hex::encode).collect();
    let python = required("SLIPWAY_TEST_PYTHON");
    let spans = script::answer(&python, "otlp_spans.py", &json!(bodies));
    serde_json::from_value(spans).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_leads_from_the_callers_request_to_each_call_of_aws() {
    let collector = Collector::start().await;
    let host = Host::new(&collector.url);
    let server = host.launch.serve().await;
    host.proxy.take_log();
    let (job, response) = ask(&server, "acme-shop").await;
    let ended = server.ended(&job).await;
    let calls = host.proxy.log();
    let claim = ended["result"]["claim"].as_str().unwrap();
    let claim = server.request(Method::POST, claim);
    let claim: Value = claim.send().await.unwrap().json().await.unwrap();
    server.stop().await;

    let spans = collector.spans();
    let request = named(&spans, "POST /v1/apps");
    assert_eq!(request.parent, CALLER);
    assert_eq!(request.kind, SpanKind::Server);
    assert_eq!(response, format!("00-{TRACE}-{}-01", request.id));
    assert_eq!(request.attributes["http.route"], "/v1/apps");
    assert_eq!(request.attributes["http.response.status_code"], "202");
    assert_eq!(request.resource["service.name"], "slipway");
    let attempt = named(&spans, "job onboard");
    assert_eq!(
        (&attempt.trace, &attempt.parent),
        (&request.trace, &request.id)
    );
    assert_eq!(attempt.kind, SpanKind::Consumer);
    for (name, value) in [
        ("slipway.app", "acme-shop"),
        ("slipway.account", "default"),
        ("slipway.job.id", job["id"].as_str().unwrap()),
        ("slipway.job.kind", "onboard"),
        ("slipway.job.attempt", "1"),
        ("slipway.job.outcome", "succeeded"),
    ] {
        assert_eq!(attempt.attributes[name], value, "{name}");
    }

    // Each call that AWS saw for the job is a span below a step of it, with the id that AWS gave it.
    let steps: BTreeSet<&String> = spans
        .iter()
        .filter(|span| span.parent == attempt.id && span.name.starts_with("step "))
        .map(|span| &span.id)
        .collect();
    let traced: BTreeMap<&str, &Span> = spans
        .iter()
        .filter(|span| is_call(span) && span.trace == TRACE)
        .map(|span| (span.attributes["aws.request_id"].as_str(), span))
        .collect();
    let of_the_job: Vec<_> = calls.iter().filter(|call| call.service != "sts").collect();
    assert!(of_the_job.len() > 8, "{of_the_job:?}");
    for call in of_the_job {
        let span = traced[call.request_id.as_deref().unwrap()];
        let name = format!("{}.{}", call.service.to_uppercase(), call.operation);
        assert_eq!((&span.name, span.kind), (&name, SpanKind::Client));
        assert!(steps.contains(&span.parent), "{span:#?}");
        assert_eq!(span.attributes["rpc.system.name"], "aws-api");
        assert_eq!(
            span.attributes["http.response.status_code"],
            call.status.unwrap().to_string()
        );
        assert!(span.attributes.contains_key("cloud.region"), "{span:#?}");
        assert!(!span.is_error, "{span:#?}");
    }

    // The logs name the trace, and the other reader reads the same.
    let log = host.launch.log();
    let started = log.lines().find(|line| line.contains("job started"));
    let started: Value = serde_json::from_str(started.unwrap()).unwrap();
    assert_eq!(started["span"]["trace_id"], TRACE);
    let again: BTreeSet<_> = read_again(&collector).into_iter().collect();
    let ours = spans.iter().map(|span| {
        let Span {
            trace,
            id,
            parent,
            name,
            ..
        } = span.clone();
        [trace, id, parent, name]
    });
    assert_eq!(again, ours.collect());
    assert!(
        collector
            .headers()
            .iter()
            .all(|headers| headers["x-tenant"] == "slipway-test")
    );
    holds_no_secret(&host, &collector, &claim);
}

fn holds_no_secret(host: &Host, collector: &Collector, claim: &Value) {
    let secret = claim["AWS_SECRET_ACCESS_KEY"].as_str().unwrap();
    let session = host.launch.environment();
    for secret in [
        secret,
        &host.launch.admin_token,
        &host.launch.encryption_key,
        &session["AWS_SECRET_ACCESS_KEY"],
        &session["AWS_SESSION_TOKEN"],
    ] {
        let is_in = |body: &[u8]| {
            body.windows(secret.len())
                .any(|part| part == secret.as_bytes())
        };
        assert!(!collector.bodies().iter().any(|body| is_in(body)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn later_attempts_are_linked_also_in_another_process() {
    let collector = Collector::start().await;
    let host = Host::new(&collector.url);
    let server = host.launch.serve().await;
    host.proxy.script(|call| {
        let fails = call.operation == "CreateUser";
        fails.then(|| Answer::Now(500, "<Error><Code>InternalError</Code></Error>".into()))
    });
    let (job, _) = ask(&server, "acme-shop").await;
    let waits = |span: &Span| {
        span.attributes
            .get("slipway.job.outcome")
            .is_some_and(|outcome| outcome == "waiting")
    };
    let spans = collector.wait_for(waits).await;
    let request = named(&spans, "POST /v1/apps").clone();
    let failed = spans.iter().find(|span| span.name == "IAM.CreateUser");
    let failed = failed.unwrap();
    assert!(failed.is_error, "{failed:#?}");
    assert!(failed.events.len() > 1, "each HTTP attempt: {failed:#?}");
    server.kill().await;
    host.proxy.unscript();
    let server = host.launch.serve().await;
    server.ended(&job).await;
    server.stop().await;

    let spans = collector.spans();
    let attempts = spans.iter().filter(|span| span.name == "job onboard");
    let (first, later): (Vec<&Span>, Vec<&Span>) =
        attempts.partition(|span| span.attributes["slipway.job.attempt"] == "1");
    assert_eq!(first.len(), 1, "{first:#?}");
    assert_eq!(
        (first[0].trace.as_str(), &first[0].parent),
        (TRACE, &request.id)
    );
    assert!(!later.is_empty());
    for attempt in &later {
        assert!(attempt.parent.is_empty() && attempt.trace != TRACE);
        assert_eq!(attempt.links, [(TRACE.to_owned(), request.id.clone())]);
    }
    let done = |span: &&&Span| span.attributes["slipway.job.outcome"] == "succeeded";
    let done = later.iter().find(done).unwrap();
    let is_of_it = |span: &&Span| span.trace == done.trace && is_call(span);
    assert!(spans.iter().filter(is_of_it).count() > 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_delays_nothing_and_is_counted() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let host = Host::new(&nobody);
    let server = host.launch.serve().await;
    let (job, _) = ask(&server, "acme-shop").await;
    let job = server.ended(&job).await;
    assert_eq!(job["state"], "succeeded");
    let failed = async || {
        let request = server.request(Method::GET, "/metrics");
        let metrics = server.text(request).await;
        let number = |name: &str| {
            let line = metrics.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        };
        let failed = number("slipway_span_exports_total{outcome=\"failed\"}")?;
        (number("slipway_spans_ended_total")? >= failed).then_some(failed)
    };
    for _ in 0..600 {
        if failed().await.is_some_and(|failed| failed > 10.0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(failed().await.unwrap() > 10.0);
    server.stop().await;
    let complaint = "traces cannot be exported";
    assert_eq!(host.launch.log().matches(complaint).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_responses_and_problems_still_name_the_trace() {
    let host = Host::new("");
    let server = host.launch.serve().await;
    let problem = |traceparent: Option<String>| {
        let mut request = server.request(Method::GET, "/v1/apps/nobody");
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        async {
            let response = request.send().await.unwrap();
            let trace = response.headers()["traceresponse"].to_str().unwrap();
            let trace = trace.split('-').nth(1).unwrap().to_owned();
            let problem: Value = response.json().await.unwrap();
            assert_eq!(problem["trace_id"], trace, "{problem:#}");
            trace
        }
    };
    assert_eq!(problem(Some(traceparent())).await, TRACE);
    let invalid = format!("00-{TRACE}-{}-01", "0".repeat(16));
    let (first, second) = (problem(None).await, problem(Some(invalid)).await);
    assert!(first != second && first != TRACE && second != TRACE);
    let metrics = server.text(server.request(Method::GET, "/metrics")).await;
    assert!(!metrics.contains("slipway_span_exports_total"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_a_collector_that_is_none_stops_the_start() {
    let (code, text) = Host::new("not an address").launch.refusal().await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("OTEL_EXPORTER_OTLP_"), "{text}");
}
