//! Connections: accepted within a bound, watched for silence, ended in order.
//!
//! HTTP/1.1 only: what talks to this port is a reverse proxy, a service or a load generator, and telling HTTP/2 apart
//! would mean waiting for the first bytes without any bound on time.

mod pulse;

use crate::auth::Peer;
use crate::config::Limits;
use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use pulse::{Pulse, Pulsed, Verdict, Watch};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{Id, JoinSet};
use tower::ServiceExt;

/// Connections that the kernel completes before we accept them. It caps this at `net.core.somaxconn` (4,096 by default); a
/// crowd that comes in one instant then waits here and is not reset.
const BACKLOG: i32 = 4_096;
/// hyper refuses a head larger than its buffer without a body. With twice the room, most heads that are too large reach us,
/// and are told so.
const HEAD_ROOM: usize = 2;
/// hyper's own minimum.
const HEAD_BYTES_MIN: usize = 8_192;
/// Pause after the process has run out of file descriptors: accepting again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Open connections of the whole process, on all addresses.
static OPEN: AtomicUsize = AtomicUsize::new(0);
/// Connections closed unserved.
static SHED: AtomicU64 = AtomicU64::new(0);

/// Open connections.
pub(crate) fn connections_open() -> usize {
    OPEN.load(Ordering::Relaxed)
}

/// Connections closed unserved because too many were open.
pub(crate) fn connections_shed() -> u64 {
    SHED.load(Ordering::Relaxed)
}

/// Binds an address.
///
/// # Errors
/// What the system says.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server takes its port back while old connections are still winding down.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves until `shutdown` turns true: then accepts nothing more, lets requests finish, and ends what is left after the
/// drain time.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: watch::Receiver<bool>) {
    let mut connections = Connections::default();
    let mut stop = shutdown;
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            () = connections.reap(), if !connections.tasks.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if let Some(place) = Place::take(limits.connections_max) {
                        connections.add(stream, peer, router.clone(), limits.clone(), place);
                    }
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "connections cannot be accepted for the moment");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // Whoever connects from now on is refused at once and can try another node.
    drop(listener);
    connections.stop.clear();
    let drained = async { while connections.tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain, drained).await.is_err() {
        tracing::warn!(connections = connections.tasks.len(), "connections were cut off because the drain time was over");
        connections.tasks.shutdown().await;
    }
}

/// Completes when the server is to stop, also because whoever would say so is gone.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Open connections of one address, each with what tells it to stop: dropping that. One channel for all of them would be
/// one lock that every request of every connection takes.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    stop: HashMap<Id, oneshot::Sender<()>>,
}

impl Connections {
    fn add(&mut self, stream: TcpStream, peer: SocketAddr, router: Router, limits: Limits, place: Place) {
        let (stop, stopped) = oneshot::channel();
        let task = self.tasks.spawn(connection(stream, peer, router, limits, stopped, place));
        self.stop.insert(task.id(), stop);
    }

    /// Forgets a connection that has ended.
    async fn reap(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => return,
        };
        self.stop.remove(&id);
    }
}

/// The peer went away between connecting and being accepted.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused)
}

/// A place among the open connections.
struct Place;

impl Place {
    fn take(most: usize) -> Option<Self> {
        let place = Self;
        if OPEN.fetch_add(1, Ordering::Relaxed) < most {
            return Some(place);
        }
        SHED.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, limits: Limits, mut stop: oneshot::Receiver<()>, _: Place) {
    // Answers are small and whole; holding one back to fill a packet only delays it.
    let _ = stream.set_nodelay(true);
    let pulse = Arc::new(Pulse::default());
    let service = {
        let pulse = pulse.clone();
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let (router, call) = (router.clone(), pulse.begin());
            async move {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(Peer(peer));
                let answer: Result<_, Infallible> = router.oneshot(request).await;
                drop(call);
                answer
            }
        })
    };
    let mut builder = http1::Builder::new();
    builder.max_buf_size((limits.header_bytes_max * HEAD_ROOM).max(HEAD_BYTES_MIN));
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(Pulsed::new(stream, pulse.clone())), service));
    let mut watch = Watch::new(&pulse, limits.header_timeout);
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
