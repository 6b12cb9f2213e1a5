//! Bytes on a socket: whatever comes, the connection ends in order and the next client is served.

use crate::node::{app, config};
use bunho_server::{listen, router};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// A server on loopback for the whole process.
static ADDRESS: LazyLock<SocketAddr> = LazyLock::new(|| {
    let (say, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let data = tempfile::tempdir().expect("a folder");
        // With the limits on time as they are: a client that says it is done need not wait for one.
        let config = config(&data);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let limits = config.limits.clone();
            let (_node, app, stop) = app(config).await;
            let listener = listen::bind("127.0.0.1:0".parse().expect("an address"), limits.backlog).expect("a port");
            say.send(listener.local_addr().expect("an address")).expect("somebody waits");
            let stopped: watch::Receiver<bool> = stop.subscribe();
            listen::serve(listener, router::public(app, None), move || limits.clone(), None, stopped).await;
        });
    });
    told.recv().expect("it serves")
});

/// Whatever is sent before the client says it is done, the server answers with whole responses, or nothing, and closes.
pub fn socket(bytes: &[u8]) {
    let mut stream = connect();
    // The server may have closed already, because of how it began.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        // What is sent after a refusal that closes resets the connection.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the server does not close: {error}"),
    }
    check_first(&answer);
    let mut next = connect();
    next.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("the next client can write");
    let mut alive = Vec::new();
    next.read_to_end(&mut alive).expect("and is answered");
    assert!(alive.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&alive));
}

fn check_first(answer: &[u8]) {
    if answer.is_empty() {
        return;
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(answer).expect("an answer is HTTP");
    assert!(parsed.is_complete(), "{}", String::from_utf8_lossy(answer));
    let status = response.code.expect("a status");
    assert!(status == 100 || (200..300).contains(&status) || status == 308 || (400..=431).contains(&status) || status == 503, "{status}");
}

/// From an address of its own, or the ports of one would run out: each stays taken for a minute.
fn connect() -> TcpStream {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let source = Ipv4Addr::new(127, 1 + (next >> 16 & 0x3f) as u8, (next >> 8) as u8, next as u8 | 1);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddrV4::new(source, 0).into()).expect("every address of 127/8 is ours");
    socket.connect(&(*ADDRESS).into()).expect("the server listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream
}
