//! Connections: accepted within a bound, watched for silence, ended in order.
//!
//! HTTP/1.1 only: what talks to this port is a reverse proxy, a service or a load generator, and telling HTTP/2 apart
//! would mean waiting for the first bytes without any bound on time.
//!
//! When all places are taken, whoever comes next still gets one: of a few connections the least useful is closed for it, half
//! a request before an idle one. So ten thousand silent sockets cannot keep out those who have something to ask. Only where
//! every one of those few has a request under way is the newcomer told to come again.

mod pulse;
mod stream;

use crate::auth::Peer;
use crate::config::Limits;
use crate::metrics::kernel;
use crate::problem::{OVERLOADED, Problem};
use crate::tls::{ClientCertificate, Tls};
use axum::Router;
use axum::body::Body;
use axum::http::header::STRICT_TRANSPORT_SECURITY;
use axum::http::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use pulse::{Awaited, Pulse, Verdict, Watch};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use stream::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// hyper refuses a head larger than its buffer without a body. With twice the room, most heads that are too large reach us,
/// and are told so.
const HEAD_ROOM: usize = 2;
/// hyper's own minimum.
const HEAD_BYTES_MIN: usize = 8_192;
/// Pause after the process has run out of file descriptors: accepting again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections looked at to find one that can go. Enough that the best of them is among the better of all, few enough to look
/// at for every newcomer.
const LOOKED_AT: usize = 32;
/// Connections closed at once when the process has run out of file descriptors, which the ledger and the journal need too.
const ROOM_FOR_FILES: usize = 16;

/// Open connections of the whole process, on all addresses.
static OPEN: AtomicUsize = AtomicUsize::new(0);
/// Connections told to come again.
static SHED: AtomicU64 = AtomicU64::new(0);
/// Connections closed to make room.
static EVICTED: AtomicU64 = AtomicU64::new(0);

/// Open connections.
pub(crate) fn connections_open() -> usize {
    OPEN.load(Ordering::Relaxed)
}

/// Connections told to come again because all that were open were busy.
pub(crate) fn connections_shed() -> u64 {
    SHED.load(Ordering::Relaxed)
}

/// Connections without a request under way that were closed to make room.
pub(crate) fn connections_evicted() -> u64 {
    EVICTED.load(Ordering::Relaxed)
}

/// Binds an address. The kernel completes as many connections as `backlog` says, and `net.core.somaxconn` allows, before they are accepted: a crowd that
/// comes in one instant waits there and is not reset.
///
/// # Errors
/// What the system says.
pub fn bind(address: SocketAddr, backlog: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server takes its port back while old connections are still winding down.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog.into())?;
    TcpListener::from_std(socket.into())
}

/// Serves until `shutdown` turns true: then accepts nothing more, lets requests finish, and ends what is left after the
/// drain time.
///
/// Bounds are read anew for each connection. With `tls`, what comes is encrypted.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: impl Fn() -> Limits,
    tls: Option<Arc<Tls>>,
    shutdown: watch::Receiver<bool>,
) {
    let watched = kernel::watch(&listener, limits().backlog);
    let mut connections = Connections::default();
    let mut stop = shutdown;
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            () = connections.reap(), if !connections.tasks.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let limits = limits();
                    if connections.open.len() < limits.connections_max || connections.make_room() {
                        connections.add(Newcomer { stream, peer, router: router.clone(), limits, tls: tls.clone() });
                    } else {
                        refuse(&stream, tls.is_some());
                    }
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "connections cannot be accepted for the moment");
                    let closed = (0..ROOM_FOR_FILES).filter(|_| connections.make_room()).count();
                    tracing::info!(closed, "connections were closed for their file descriptors");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // Whoever connects from now on is refused at once and can try another node.
    drop((listener, watched));
    connections.stop();
    let drained = async { while connections.tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(limits().drain, drained).await.is_err() {
        tracing::warn!(connections = connections.tasks.len(), "connections were cut off because the drain time was over");
        connections.tasks.shutdown().await;
    }
}

/// Completes when the server is to stop, also because whoever would say so is gone.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Open connections of one address.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    open: Vec<Open>,
    /// Where each stands in `open`.
    places: HashMap<Id, usize>,
    /// Where the search for one that can go begins next.
    cursor: usize,
}

/// One open connection. Dropping `stop` tells it to stop: one channel for all of them would be one lock that every request of
/// every connection takes.
struct Open {
    id: Id,
    stop: Option<oneshot::Sender<()>>,
    task: AbortHandle,
    pulse: Arc<Pulse>,
}

impl Connections {
    fn add(&mut self, newcomer: Newcomer) {
        let (stop, stopped) = oneshot::channel();
        let pulse = Pulse::of_a_newcomer();
        let task = self.tasks.spawn(newcomer.serve(stopped, pulse.clone(), Place::take()));
        self.places.insert(task.id(), self.open.len());
        self.open.push(Open { id: task.id(), stop: Some(stop), task, pulse });
    }

    /// Closes the least useful of a few connections; false where all of them have a request under way. One that is closed just
    /// when its next request arrives has hung up on a client, which idle connections may do at any time.
    fn make_room(&mut self) -> bool {
        let looked_at = self.open.len().min(LOOKED_AT);
        let begin = self.cursor;
        self.cursor = begin.wrapping_add(looked_at);
        let few = (0..looked_at).map(|step| begin.wrapping_add(step) % self.open.len());
        let worst = few.filter_map(|at| Some((self.open[at].pulse.uselessness()?, at))).max();
        let Some((_, at)) = worst else { return false };
        let gone = &self.open[at];
        gone.pulse.closing();
        gone.task.abort();
        EVICTED.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Forgets a connection that has ended.
    async fn reap(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => return,
        };
        let Some(at) = self.places.remove(&id) else { return };
        self.open.swap_remove(at);
        if let Some(moved) = self.open.get(at) {
            self.places.insert(moved.id, at);
        }
    }

    /// Tells all of them to end after the request that is under way.
    fn stop(&mut self) {
        self.open.iter_mut().for_each(|open| drop(open.stop.take()));
    }
}

/// Tells a newcomer to come again. Nobody waits until it listens: what does not fit into the socket's buffer is lost. One that would first
/// have to agree on a secret finds the connection closed.
fn refuse(stream: &TcpStream, is_encrypted: bool) {
    static ANSWER: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let body = Problem::new(&OVERLOADED).detail("Too many connections are open").render("");
        let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\nconnection: close";
        [format!("{head}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes(), body].concat()
    });
    if !is_encrypted {
        let _ = SockRef::from(stream).send(&ANSWER);
    }
    SHED.fetch_add(1, Ordering::Relaxed);
}

/// The peer went away between connecting and being accepted.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused)
}

/// A place among the open connections of the process.
struct Place;

impl Place {
    fn take() -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says what the client of an encrypted connection spoke, where no proxy before us has said so.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A connection that has just been accepted.
struct Newcomer {
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    tls: Option<Arc<Tls>>,
}

/// What is known of a connection before its first request.
#[derive(Clone)]
struct Known {
    peer: SocketAddr,
    encrypted: Option<Encrypted>,
}

#[derive(Clone)]
struct Encrypted {
    client: Option<Arc<ClientCertificate>>,
    hsts: Option<HeaderValue>,
}

impl Newcomer {
    async fn serve(self, stop: oneshot::Receiver<()>, pulse: Arc<Pulse>, _: Place) {
        // Answers are small and whole; holding one back to fill a packet only delays it.
        let _ = self.stream.set_nodelay(true);
        match self.tls.clone() {
            // Boxed: what encryption remembers of a connection is large, and the others shall not have room for it.
            Some(tls) => Box::pin(self.serve_encrypted(&tls, stop, &pulse)).await,
            None => {
                let Self { stream, peer, router, limits, .. } = self;
                let mut watch = Watch::new(&pulse, limits.header_timeout);
                connection(stream, Known { peer, encrypted: None }, router, &limits, stop, &pulse, &mut watch).await;
            }
        }
    }

    async fn serve_encrypted(self, tls: &Tls, mut stop: oneshot::Receiver<()>, pulse: &Arc<Pulse>) {
        let Self { stream, peer, router, limits, .. } = self;
        let mut watch = Watch::new(pulse, limits.header_timeout);
        // Half a handshake is half a request: it has the time of a head, with that head, and goes first when places are short.
        let mut handshake = std::pin::pin!(TlsAcceptor::from(tls.server()).accept(stream));
        let agreed = loop {
            tokio::select! {
                biased;
                agreed = handshake.as_mut() => break agreed.ok(),
                _ = &mut stop => break None,
                verdict = watch.next() => if verdict == Verdict::Stuck {
                    break None;
                },
            }
        };
        let Some(stream) = agreed else { return tls.handshake_failed() };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let client = shown.map(|certificate| Arc::new(ClientCertificate::read(certificate)));
        let known = Known { peer, encrypted: Some(Encrypted { client, hsts: tls.hsts() }) };
        connection(stream, known, router, &limits, stop, pulse, &mut watch).await;
    }
}

impl Known {
    /// What handlers are to know of whose request this is.
    fn tell(&self, request: &mut hyper::Request<Body>) {
        request.extensions_mut().insert(Peer(self.peer));
        let Some(encrypted) = &self.encrypted else { return };
        request.headers_mut().entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("https"));
        if let Some(client) = &encrypted.client {
            request.extensions_mut().insert(client.clone());
        }
    }

    fn hsts(&self) -> Option<HeaderValue> {
        self.encrypted.as_ref()?.hsts.clone()
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: S,
    known: Known,
    router: Router,
    limits: &Limits,
    mut stop: oneshot::Receiver<()>,
    pulse: &Arc<Pulse>,
    watch: &mut Watch<'_>,
) {
    let service = {
        let pulse = pulse.clone();
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let (router, call, pulse) = (router.clone(), pulse.begin(), pulse.clone());
            let mut request = request.map(|body| Body::new(Awaited::new(body, pulse)));
            known.tell(&mut request);
            let hsts = known.hsts();
            async move {
                call.let_others_pass().await;
                let mut answer: Result<_, Infallible> = router.oneshot(request).await;
                if let (Ok(answer), Some(hsts)) = (&mut answer, hsts) {
                    answer.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts);
                }
                call.answered(answer.as_ref().map_or(None, |answer| http_body::Body::size_hint(answer.body()).exact()));
                answer
            }
        })
    };
    let mut builder = http1::Builder::new();
    builder.max_buf_size((limits.header_bytes_max * HEAD_ROOM).max(HEAD_BYTES_MIN));
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(Stream::new(stream, pulse.clone())), service));
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            // Errors here are clients that broke off or spoke no HTTP; there is nobody to tell.
            _ = connection.as_mut() => return,
            _ = &mut stop, if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            verdict = watch.next() => match verdict {
                Verdict::Fine => {}
                Verdict::Idle => connection.as_mut().graceful_shutdown(),
                Verdict::Stuck => return,
            },
        }
    }
}

#[cfg(test)]
#[path = "listen/tests.rs"]
mod tests;
