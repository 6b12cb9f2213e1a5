//! One attempt: connect where it is allowed, send, and read as much of the answer as tells whether it was taken.
//!
//! No proxy of the environment, no redirect, no cookie, no more than the head and a little of the body: an answer is for the operator to see a
//! status of, never its text, or whoever may register a webhook could read what only this machine can reach.

use super::address::{Target, refusal, refused};
use crate::config::WebhookConfig;
use crate::exit::Failure;
use axum::body::Bytes;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use bunho_domain::time::Millis;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

/// To each of a name's addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of a name's addresses so many are tried.
const ADDRESSES_MAX: usize = 4;
/// What an answer's body may have, for its connection to be used again.
const ANSWER_BYTES_MAX: usize = 64 * 1_024;
/// How long is waited for that body. Its head is the answer; this only decides whether the connection is used again.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);
/// What an answer's head may have.
const HEAD_BYTES_MAX: usize = 32 * 1_024;
/// A connection that was idle for longer is not used again: many servers close theirs after a minute.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// An answer may ask for a pause of up to so long.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// A message, signed.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) timestamp: i64,
    pub(crate) signatures: String,
    pub(crate) body: Bytes,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// What was answered, if anything.
    pub(crate) status: Option<u16>,
    /// What was wrong; none: it was taken.
    pub(crate) error: Option<String>,
    /// How long whoever answered wants not to be asked.
    pub(crate) retry_after: Option<Duration>,
}

impl Answer {
    fn none(error: impl Into<String>) -> Self {
        Self { status: None, error: Some(error.into()), retry_after: None }
    }
}

/// Sends messages; one for the program.
pub(crate) struct Sender {
    tls: TlsConnector,
    config: WebhookConfig,
}

/// Connections to one webhook that are not in use.
#[derive(Default)]
pub(crate) struct Lines(Mutex<Vec<Line>>);

/// What came of an attempt, and the connection with what is still to be read from it.
type Attempt = (Answer, Option<(Line, Response<Incoming>)>);

/// A connection.
struct Line {
    target: Target,
    requests: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    last_used: Instant,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Lines {
    fn take(&self, target: &Target) -> Option<Line> {
        let mut lines = self.0.lock();
        lines.retain(|line| line.target == *target && line.last_used.elapsed() < IDLE_MAX && !line.requests.is_closed());
        lines.pop()
    }

    fn give_back(&self, mut line: Line) {
        line.last_used = Instant::now();
        self.0.lock().push(line);
    }
}

impl Sender {
    /// # Errors
    /// `[webhooks] ca_file` cannot be used.
    pub(crate) fn new(config: &WebhookConfig) -> Result<Self, Failure> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = &config.ca_file {
            add_certificates(&mut roots, path)?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Failure::internal)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(tls)), config: config.clone() })
    }

    /// One attempt, bounded in time.
    pub(crate) async fn send(&self, url: &str, message: &Message, lines: &Lines) -> Answer {
        let target = match Target::parse(url, &self.config) {
            Ok(target) => target,
            // The settings have changed since it was registered.
            Err(reason) => return Answer::none(format!("the address {reason}")),
        };
        let Ok((answer, rest)) = tokio::time::timeout(self.config.timeout, self.attempt(&target, message, lines)).await else {
            return Answer::none(format!("no answer within {} ms", self.config.timeout.as_millis()));
        };
        if let Some((line, response)) = rest {
            let is_read = tokio::time::timeout(BODY_TIMEOUT, drained(response)).await;
            if is_read == Ok(true) && !line.requests.is_closed() {
                lines.give_back(line);
            }
        }
        answer
    }

    /// Whether a name leads to where messages may go, as far as it can be told now.
    ///
    /// # Errors
    /// What it must be.
    pub(crate) async fn check(&self, url: &str) -> Result<(), String> {
        let target = Target::parse(url, &self.config)?;
        match tokio::time::timeout(CONNECT_TIMEOUT, self.resolve(&target)).await {
            Ok(found) => found.map(drop),
            Err(_) => Err(format!("must name a host that resolves: there was no answer about {}", target.host)),
        }
    }

    async fn attempt(&self, target: &Target, message: &Message, lines: &Lines) -> Attempt {
        if let Some(line) = lines.take(target)
            && let Ok(attempt) = exchange(line, target, message).await
        {
            return attempt;
        }
        // Anew, also where a connection had been closed meanwhile.
        let line = match self.connect(target).await {
            Ok(line) => line,
            Err(error) => return (Answer::none(error), None),
        };
        exchange(line, target, message).await.unwrap_or_else(|error| (Answer::none(format!("no answer: {error}")), None))
    }

    /// The addresses of a host that messages may go to.
    async fn resolve(&self, target: &Target) -> Result<Vec<SocketAddr>, String> {
        let found = lookup_host((target.host.as_str(), target.port)).await;
        let found: Vec<SocketAddr> = found.map_err(|_| format!("must name a host that resolves, and {} does not", target.host))?.collect();
        let mut why = None;
        let allowed = found.iter().copied().filter(|address| match refused(address.ip(), &self.config.allow_private) {
            Some(kind) => {
                why.get_or_insert_with(|| refusal(&format!("{}, which is {}", target.host, address.ip()), kind));
                false
            }
            None => true,
        });
        let allowed: Vec<SocketAddr> = allowed.take(ADDRESSES_MAX).collect();
        if allowed.is_empty() {
            return Err(why.unwrap_or_else(|| format!("must name a host that resolves, and {} does not", target.host)));
        }
        Ok(allowed)
    }

    /// Resolves, judges and connects in one step: what was judged is what is connected to.
    async fn connect(&self, target: &Target) -> Result<Line, String> {
        let addresses = self.resolve(target).await.map_err(|reason| format!("the address {reason}"))?;
        let mut error = String::new();
        for address in addresses {
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Messages are small and whole.
                    let _ = stream.set_nodelay(true);
                    return self.open(target, stream).await;
                }
                Ok(Err(failed)) => error = format!("no connection to {address}: {failed}"),
                Err(_) => error = format!("no connection to {address} within {} s", CONNECT_TIMEOUT.as_secs()),
            }
        }
        Err(error)
    }

    async fn open(&self, target: &Target, stream: TcpStream) -> Result<Line, String> {
        if !target.tls {
            return handshake(target, stream).await;
        }
        let name = ServerName::try_from(target.host.clone()).map_err(|error| format!("no TLS: {error}"))?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| format!("no TLS: {error}"))?;
        handshake(target, stream).await
    }
}

async fn handshake(target: &Target, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Line, String> {
    let made = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await;
    let (requests, connection) = made.map_err(|error| format!("no HTTP: {error}"))?;
    let driver = tokio::spawn(async move {
        // How it ends is told to whoever has a request on it.
        let _ = connection.await;
    });
    Ok(Line { target: target.clone(), requests, driver, last_used: Instant::now() })
}

async fn exchange(mut line: Line, target: &Target, message: &Message) -> Result<Attempt, hyper::Error> {
    line.requests.ready().await?;
    let response = line.requests.send_request(request(target, message)).await?;
    Ok((judge(&response), Some((line, response))))
}

fn request(target: &Target, message: &Message) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(message.body.clone()));
    *request.method_mut() = axum::http::Method::POST;
    // What the parser of addresses lets through is a path.
    *request.uri_mut() = target.path.parse().unwrap_or_default();
    let headers = request.headers_mut();
    for (name, text) in [
        (HOST, target.authority.as_str()),
        (CONTENT_TYPE, "application/cloudevents+json; charset=utf-8"),
        (USER_AGENT, concat!("bunho/", env!("CARGO_PKG_VERSION"))),
        (WEBHOOK_ID, &message.id),
        (WEBHOOK_SIGNATURE, &message.signatures),
    ] {
        headers.extend(HeaderValue::from_str(text).ok().map(|value| (name, value)));
    }
    headers.insert(WEBHOOK_TIMESTAMP, message.timestamp.into());
    headers.insert(CONTENT_LENGTH, message.body.len().into());
    request
}

fn judge(response: &Response<Incoming>) -> Answer {
    let status = response.status();
    let error = match status {
        _ if status.is_success() => None,
        _ if status.is_redirection() => Some(format!("answered {}; redirects are not followed", status.as_u16())),
        _ => Some(format!("answered {}", status.as_u16())),
    };
    let asks = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let retry_after = if asks { retry_after(response.headers()) } else { None };
    Answer { status: Some(status.as_u16()), error, retry_after }
}

/// `Retry-After`, in seconds or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
            Duration::from_millis(u64::try_from(at - now().0).unwrap_or(0))
        }
    };
    Some(asked.min(RETRY_AFTER_MAX))
}

/// Reads an answer's body and drops it. False: it was too long, or broke off.
async fn drained(response: Response<Incoming>) -> bool {
    let mut body = response.into_body();
    let mut left = ANSWER_BYTES_MAX;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let length = frame.data_ref().map_or(0, Bytes::len);
        if length > left {
            return false;
        }
        left -= length;
    }
    true
}

fn add_certificates(roots: &mut RootCertStore, path: &Path) -> Result<(), Failure> {
    let refused = |why: &dyn std::fmt::Display| {
        Failure::configuration(format_args!(
            "setting `webhooks.ca_file` refused: {}: {why}\n  mend: name a PEM file of certificates",
            path.display()
        ))
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| refused(&error))?;
    let mut added = 0;
    for certificate in certificates {
        roots.add(certificate.map_err(|error| refused(&error))?).map_err(|error| refused(&error))?;
        added += 1;
    }
    if added == 0 { Err(refused(&"has no certificate")) } else { Ok(()) }
}

/// The system's time.
pub(crate) fn now() -> Millis {
    Millis(jiff::Timestamp::now().as_millisecond())
}
