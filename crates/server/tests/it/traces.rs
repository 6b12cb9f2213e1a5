//! Spans of the real binary: to a collector that takes them, one that hangs, one that refuses and one that is not there.

use crate::harness::{nobody, until};
use crate::logged::{Logged, SOON};
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::{Router, routing::post};
use prost::Message;
use reqwest::Method;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

// What opentelemetry-proto 1.x says of these messages, read by a decoder that is not ours.
#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 3")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

fn find<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|pair| pair.key == key)?.value.as_ref()?.value.as_ref()
}

type Received = Arc<Mutex<Vec<Export>>>;

/// A collector, which takes spans or answers with this status.
async fn collector(status: StatusCode) -> (String, Received) {
    let received = Received::default();
    let take = received.clone();
    let app = Router::new().route(
        "/v1/traces",
        post(async move |headers: HeaderMap, body: Bytes| {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            take.lock().unwrap().push(Export::decode(body).expect("it is protobuf"));
            status
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, received)
}

fn settings(endpoint: &str, ratio: &str) -> String {
    format!("[trace]\notlp_endpoint = {endpoint:?}\nsample_ratio = {ratio}\n")
}

fn spans(received: &Received) -> Vec<Span> {
    let exports = received.lock().unwrap().clone();
    exports.into_iter().flat_map(|export| export.resource_spans).flat_map(|of| of.scope_spans).flat_map(|scope| scope.spans).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_what_its_caller_records_and_a_part_of_the_rest() {
    let (endpoint, received) = collector(StatusCode::OK).await;
    let server = Logged::start(&settings(&endpoint, "0.0"), &[]).await;
    let ask = async |path: &str, parent: &str| {
        let request = server.request(Method::GET, path).header("x-request-id", "call-1").header("x-bunho-user", "user-kim");
        request.header("traceparent", parent).send().await.unwrap();
    };
    // Nobody fills the collector by saying that it records; who may say so is a setting.
    ask("/v1/offers/a-strangers", "00-2af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").await;
    server.configure(&format!("[auth]\ntrusted_proxies = [\"127.0.0.1\"]\n{}", settings(&endpoint, "0.0")));
    server.reread("the configuration was read again").await;
    ask("/v1/offers/somebodys-offer", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").await;
    ask("/v1/offers/another", "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").await;
    until("the span is there", SOON, async || !spans(&received).is_empty()).await;
    let all = spans(&received);
    assert_eq!(all.len(), 1, "who records nothing gets nothing recorded: {all:?}");
    let span = &all[0];
    assert_eq!((&*span.name, span.kind), ("GET /v1/offers/{id}", 2));
    assert_eq!(span.trace_id, [0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c]);
    assert_eq!(span.parent_span_id, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
    assert!(span.span_id.len() == 8 && span.span_id != span.parent_span_id && span.start < span.end, "{span:?}");
    assert_eq!(find(&span.attributes, "http.response.status_code"), Some(&Value::Number(404)));
    assert_eq!(find(&span.attributes, "error.type"), Some(&Value::Text("unknown_offer".into())));
    assert_eq!(find(&span.attributes, "bunho.request_id"), Some(&Value::Text("call-1".into())));
    let resource = received.lock().unwrap()[0].resource_spans[0].resource.clone().unwrap();
    assert_eq!(find(&resource.attributes, "service.name"), Some(&Value::Text("bunho".into())));
    let bytes: Vec<u8> = received.lock().unwrap().iter().flat_map(Message::encode_to_vec).collect();
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains("user-kim") && !text.contains("somebodys"), "nothing of people is in it: {text}");

    // All of it, without a restart.
    server.configure(&settings(&endpoint, "1.0"));
    server.reread("the configuration was read again").await;
    let before = spans(&received).len();
    for _ in 0..50 {
        server.request(Method::GET, "/healthz").send().await.unwrap();
    }
    until("every one is there", SOON, async || spans(&received).len() >= before + 50).await;
    // What gathered last is sent before the end.
    server.request(Method::GET, "/zones/last/status").send().await.unwrap();
    let mut server = server;
    assert_eq!(server.stop().await, 0);
    assert!(spans(&received).iter().any(|span| span.name == "GET /zones/{zone}/status"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_fails_costs_spans_and_nothing_else() {
    // One that takes connections and never answers, one that refuses, and one that is not there.
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = format!("http://{}/v1/traces", hangs.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = hangs.accept().await {
            open.push(stream);
        }
    });
    let (refusing, _) = collector(StatusCode::SERVICE_UNAVAILABLE).await;
    let (_held, nobody) = nobody();
    let gone = format!("http://{nobody}/v1/traces");
    for endpoint in [hanging, refusing, gone] {
        let mut server = Logged::start(&settings(&endpoint, "1.0"), &[]).await;
        let began = Instant::now();
        for _ in 0..300 {
            assert!(server.request(Method::GET, "/healthz").send().await.unwrap().status().is_success());
        }
        println!("300 answers in {:?} while {endpoint} fails", began.elapsed());
        until("spans are counted as dropped", Duration::from_secs(30), async || {
            server.metric("bunho_trace_spans_dropped_total").await.is_some_and(|count| count > 0.0)
        })
        .await;
        until("it is said", SOON, async || server.log().contains("the collector does not take spans")).await;
        assert_eq!(server.stop().await, 0);
    }
}
