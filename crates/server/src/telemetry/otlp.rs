//! Spans of requests to an OpenTelemetry collector: OTLP over HTTP, protobuf; off unless `trace.otlp_endpoint` names one.
//!
//! A span is made when its answer is ready and put into a bounded queue; a thread of its own sends what has gathered. A collector that
//! hangs, refuses or is not there costs spans, which are counted, and nothing else. Which requests are recorded: those whose caller records
//! them (`traceparent`) where it is one of our proxies, and of all others the part that `trace.sample_ratio` says, or anybody could fill the queue. A span carries the route, never the path: ids of
//! people are in paths.

use super::context::{Parent, TraceId};
use super::protobuf::Message;
use crate::config::{TraceConfig, WHOLE};
use crate::exit::chain;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Spans that may wait: at 1 % of 100,000 requests a second, two seconds of them.
const SPANS_MAX: usize = 2_048;
/// Spans in one message, some 200 bytes each.
const BATCH_MAX: usize = 512;
/// How long spans gather.
const GATHER: Duration = Duration::from_secs(1);
/// How long a collector may take.
const SEND_MAX: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the last spans.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// Makes spans and sends them.
pub(crate) struct Tracer {
    queue: SyncSender<Errand>,
    millionths: AtomicU32,
    random: RandomState,
    count: AtomicU64,
    dropped: Arc<AtomicU64>,
}

/// A request that is recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    pub(crate) trace: TraceId,
    span: [u8; 8],
    parent: Option<[u8; 8]>,
}

/// What is told of a request.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) method: &'static str,
    pub(crate) route: &'static str,
    pub(crate) status: u16,
    pub(crate) request_id: String,
    /// The problem's code, where it was one of ours.
    pub(crate) failed_with: Option<&'static str>,
    pub(crate) began: Instant,
}

struct Span {
    recorded: Recorded,
    answered: Answered,
    began_ns: u64,
    ended_ns: u64,
}

enum Errand {
    Send(Box<Span>),
    /// The last; whoever waits is told when it is done.
    End(SyncSender<()>),
}

impl Tracer {
    /// Sends to a collector from here on, in the name of a node.
    pub(crate) fn start(config: &TraceConfig, node: &str) -> Arc<Self> {
        let (queue, errands) = sync_channel(SPANS_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let sender = Sender {
            agent: ureq::Agent::config_builder().timeout_global(Some(SEND_MAX)).build().into(),
            endpoint: config.endpoint.clone(),
            resource: resource(node),
            dropped: dropped.clone(),
            is_well: true,
        };
        std::thread::spawn(move || sender.run(&errands));
        let millionths = AtomicU32::new(config.millionths);
        Arc::new(Self { queue, millionths, random: RandomState::new(), count: AtomicU64::new(0), dropped })
    }

    /// Records another part of those requests that nobody else traces.
    pub(crate) fn set_ratio(&self, millionths: u32) {
        self.millionths.store(millionths, Ordering::Relaxed);
    }

    /// Spans that did not reach the collector.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whether a request is recorded, and as what. `parent_decides`: it comes from whoever may say so.
    pub(crate) fn begin(&self, parent: Option<Parent>, parent_decides: bool) -> Option<Recorded> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let drawn = |what: u8| self.random.hash_one((number, what));
        let is_recorded = match parent {
            Some(parent) if parent_decides => parent.sampled,
            _ => drawn(1) % u64::from(WHOLE) < u64::from(self.millionths.load(Ordering::Relaxed)),
        };
        is_recorded.then(|| {
            let trace = parent
                .map_or_else(|| TraceId((u128::from(drawn(2)) << 64 | u128::from(drawn(3) | 1)).to_be_bytes()), |parent| parent.trace);
            Recorded { trace, span: id(drawn(0)), parent: parent.map(|parent| parent.span) }
        })
    }

    /// The request is answered.
    pub(crate) fn end(&self, recorded: Recorded, answered: Answered) {
        let ended_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let began_ns = ended_ns.saturating_sub(answered.began.elapsed().as_nanos() as u64);
        if self.queue.try_send(Errand::Send(Box::new(Span { recorded, answered, began_ns, ended_ns }))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends what has gathered, if the collector takes it soon. Blocks.
    pub(crate) fn close(&self) {
        let (done, is_done) = sync_channel(1);
        if self.queue.try_send(Errand::End(done)).is_ok() {
            let _ = is_done.recv_timeout(CLOSE_MAX);
        }
    }
}

/// Zero is no id.
fn id(drawn: u64) -> [u8; 8] {
    (drawn | 1).to_be_bytes()
}

struct Sender {
    agent: ureq::Agent,
    endpoint: String,
    resource: Vec<u8>,
    dropped: Arc<AtomicU64>,
    is_well: bool,
}

impl Sender {
    fn run(mut self, errands: &Receiver<Errand>) {
        loop {
            let mut spans = Vec::new();
            let until = Instant::now() + GATHER;
            let ends = loop {
                match errands.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(Errand::Send(span)) => spans.push(span),
                    Ok(Errand::End(done)) => break Some(Some(done)),
                    Err(RecvTimeoutError::Timeout) => break None,
                    Err(RecvTimeoutError::Disconnected) => break Some(None),
                }
                if spans.len() >= BATCH_MAX {
                    break None;
                }
            };
            if !spans.is_empty() {
                self.send(&spans);
            }
            if let Some(done) = ends {
                if let Some(done) = done {
                    let _ = done.send(());
                }
                return;
            }
        }
    }

    fn send(&mut self, spans: &[Box<Span>]) {
        let body = export(&self.resource, spans);
        match self.agent.post(&self.endpoint).header("content-type", "application/x-protobuf").send(&body[..]) {
            Ok(_) if !self.is_well => {
                self.is_well = true;
                tracing::info!("the collector of spans takes them again");
            }
            Ok(_) => {}
            Err(error) => {
                self.dropped.fetch_add(spans.len() as u64, Ordering::Relaxed);
                if std::mem::replace(&mut self.is_well, false) {
                    tracing::warn!(error = chain(&error), "the collector does not take spans; they are dropped until it does");
                }
            }
        }
    }
}

const SERVER: u64 = 2;
const STATUS_ERROR: u64 = 2;

fn text(key: &str, value: &str) -> Message {
    Message::default().bytes(1, key).message(2, Message::default().bytes(1, value))
}

fn resource(node: &str) -> Vec<u8> {
    let own = [("service.name", "bunho"), ("service.version", env!("CARGO_PKG_VERSION")), ("service.instance.id", node)];
    own.into_iter().fold(Message::default(), |resource, (key, value)| resource.message(1, text(key, value))).into_bytes()
}

/// An `ExportTraceServiceRequest`.
fn export(resource: &[u8], spans: &[Box<Span>]) -> Vec<u8> {
    let scope = Message::default().message(1, Message::default().bytes(1, "bunho"));
    let scope = spans.iter().fold(scope, |scope, span| scope.message(2, span.message()));
    let of_resource = Message::default().bytes(1, resource).message(2, scope);
    Message::default().message(1, of_resource).into_bytes()
}

impl Span {
    fn message(&self) -> Message {
        let Self { recorded, answered, .. } = self;
        let mut span = Message::default().bytes(1, recorded.trace.0).bytes(2, recorded.span);
        if let Some(parent) = recorded.parent {
            span = span.bytes(4, parent);
        }
        let status =
            Message::default().bytes(1, "http.response.status_code").message(2, Message::default().number(3, answered.status.into()));
        span = span
            .bytes(5, format!("{} {}", answered.method, answered.route))
            .number(6, SERVER)
            .fixed(7, self.began_ns)
            .fixed(8, self.ended_ns)
            .message(9, text("http.request.method", answered.method))
            .message(9, text("http.route", answered.route))
            .message(9, status)
            .message(9, text("bunho.request_id", &answered.request_id));
        if let Some(code) = answered.failed_with {
            span = span.message(9, text("error.type", code));
        }
        if answered.status >= 500 {
            span = span.message(15, Message::default().number(3, STATUS_ERROR));
        }
        span
    }
}
