use super::*;
use axum::routing::{get, post};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn limits() -> Limits {
    Limits {
        body_bytes_max: 1_024,
        header_bytes_max: 8_192,
        header_timeout: Duration::from_millis(200),
        body_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(5),
        backlog: 128,
        connections_max: 1_000,
        in_flight_max: 100,
        in_flight_per_zone_max: 100,
        streams_max: 10,
        drain_delay: Duration::ZERO,
        drain: Duration::from_secs(5),
    }
}

struct Served {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    done: tokio::task::JoinHandle<()>,
}

fn serving(router: Router, limits: Limits) -> Served {
    serving_at("127.0.0.1:0", router, limits)
}

fn serving_at(address: &str, router: Router, limits: Limits) -> Served {
    let listener = bind(address.parse().expect("an address"), limits.backlog).expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = watch::channel(false);
    Served { address, stop, done: tokio::spawn(serve(listener, router, move || limits.clone(), None, stopped)) }
}

async fn send(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(text.as_bytes()).await.expect("it is open");
    stream
}

/// Everything until the server closes, or what came within ten seconds.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await.expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn half_a_head_is_cut_off_and_an_idle_connection_is_not() {
    let served = serving(Router::new().route("/", get(|| async { "hello" })), limits());
    let mut slow = send(served.address, "GET / HTTP/1.1\r\nhos").await;
    assert_eq!(rest(&mut slow).await, "");
    let mut silent = send(served.address, "").await;
    assert_eq!(rest(&mut silent).await, "");

    let mut idle = send(served.address, GET).await;
    let mut answer = [0; 512];
    let read = idle.read(&mut answer).await.expect("an answer");
    assert!(String::from_utf8_lossy(&answer[..read]).ends_with("hello"));
    // Longer than the limit on heads, several times.
    tokio::time::sleep(Duration::from_millis(700)).await;
    idle.write_all(GET.as_bytes()).await.expect("it is open");
    let read = idle.read(&mut answer).await.expect("an answer");
    assert!(String::from_utf8_lossy(&answer[..read]).ends_with("hello"), "the connection was kept");
}

#[tokio::test]
async fn a_stopping_server_finishes_what_it_began() {
    let begun = Arc::new(tokio::sync::Semaphore::new(0));
    let router = {
        let begun = begun.clone();
        Router::new().route("/", get(|| async { "hello" })).route(
            "/slow",
            post(move || async move {
                begun.add_permits(1);
                tokio::time::sleep(Duration::from_millis(300)).await;
                "done"
            }),
        )
    };
    // An address that no other test is at: one of those could take the port as soon as it is free. Linux has them without asking.
    let address = if cfg!(target_os = "linux") { "127.0.0.44:0" } else { "127.0.0.1:0" };
    let served = serving_at(address, router, Limits { drain: Duration::from_secs(60), ..limits() });
    let mut idle = send(served.address, GET).await;
    let mut answer = [0; 512];
    assert!(idle.read(&mut answer).await.expect("an answer") > 0);
    let mut slow = send(served.address, "POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await;
    drop(begun.acquire().await);
    let stopping = Instant::now();
    served.stop.send_replace(true);
    assert_eq!(rest(&mut idle).await, "", "a connection between requests is closed at once");
    assert!(rest(&mut slow).await.ends_with("done"), "a request under way is answered");
    served.done.await.expect("it ends");
    assert!(stopping.elapsed() < Duration::from_secs(50), "before the drain time");
    assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_when_the_drain_time_is_over() {
    let router = Router::new().route("/", get(|| async { std::future::pending::<String>().await }));
    let served = serving(router, Limits { drain: Duration::from_millis(200), ..limits() });
    let mut endless = send(served.address, GET).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    served.stop.send_replace(true);
    served.done.await.expect("it ends");
    assert_eq!(rest(&mut endless).await, "");
}

#[tokio::test]
async fn who_comes_when_all_are_busy_is_told_to_come_again() {
    let begun = Arc::new(tokio::sync::Semaphore::new(0));
    let router = {
        let begun = begun.clone();
        Router::new().route(
            "/",
            get(move || async move {
                begun.add_permits(1);
                std::future::pending::<String>().await
            }),
        )
    };
    let served = serving(router, Limits { connections_max: 1, drain: Duration::ZERO, ..limits() });
    let _busy = send(served.address, GET).await;
    drop(begun.acquire().await);
    let shed = connections_shed();
    let mut refused = TcpStream::connect(served.address).await.expect("the kernel accepts");
    let answer = rest(&mut refused).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("\"code\":\"overloaded\""), "{answer}");
    assert!(connections_shed() > shed);
}

#[tokio::test]
async fn who_comes_when_nobody_is_busy_gets_the_place_of_the_least_useful() {
    let router = Router::new().route("/", get(|| async { "hello" }));
    let served = serving(router, Limits { connections_max: 2, header_timeout: Duration::from_secs(10), ..limits() });
    let mut idle = send(served.address, GET).await;
    let mut answer = [0; 512];
    assert!(idle.read(&mut answer).await.expect("an answer") > 0);
    let mut half = send(served.address, "GET / HTTP/1.1\r\nhos").await;
    // Two looks, two seconds apart, tell half a head from one that is on its way; the fifth would end it.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let evicted = connections_evicted();
    let mut newcomer = send(served.address, GET).await;
    assert_eq!(rest(&mut half).await, "", "half a request goes before an idle connection");
    assert!(newcomer.read(&mut answer).await.expect("an answer") > 0);
    assert!(connections_evicted() > evicted);
    idle.write_all(GET.as_bytes()).await.expect("it is open");
    assert!(idle.read(&mut answer).await.expect("an answer") > 0, "the idle one was kept");
}

/// Reads until so many answers end in `hello`.
async fn hellos(stream: &mut TcpStream, count: usize) -> String {
    let (mut text, mut bytes) = (String::new(), [0; 4_096]);
    while text.matches("hello").count() < count {
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut bytes)).await.expect("an answer").expect("it is open");
        assert!(read > 0, "the server closed after {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    text
}

#[tokio::test]
async fn questions_in_one_breath_are_answered_whatever_lies_behind_them() {
    let stream = || async {
        let first = futures_util::stream::once(async { Ok::<_, Infallible>("hello") });
        Body::from_stream(futures_util::StreamExt::chain(first, futures_util::stream::pending()))
    };
    let large = || async { format!("{}hello", "x".repeat(3 * stream::HELD_BYTES_MAX)) };
    let never = || async { std::future::pending::<String>().await };
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/stream", get(stream))
        .route("/large", get(large))
        .route("/never", get(never));
    let served = serving(router, Limits { header_timeout: Duration::from_secs(30), ..limits() });
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");

    let mut many = send(served.address, &GET.repeat(100)).await;
    assert_eq!(hellos(&mut many, 100).await.matches("HTTP/1.1 200").count(), 100);
    let mut half = send(served.address, &format!("{GET}GET / HTTP/1.1\r\nhos")).await;
    hellos(&mut half, 1).await;
    half.write_all(b"t: x\r\n\r\n").await.expect("it is open");
    hellos(&mut half, 1).await;
    // A stream's pieces come while further questions wait for its end, and so does an answer before one that takes its time.
    let mut streamed = send(served.address, &format!("{}{GET}{GET}", ask("/stream"))).await;
    hellos(&mut streamed, 1).await;
    let mut before = send(served.address, &format!("{GET}{}{GET}", ask("/never"))).await;
    hellos(&mut before, 1).await;
    let mut mixed = send(served.address, &[GET, &ask("/large"), GET, &ask("/large"), GET].concat()).await;
    assert!(hellos(&mut mixed, 5).await.len() > 6 * stream::HELD_BYTES_MAX);
    let mut last = send(served.address, &format!("{GET}{GET}GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n{GET}")).await;
    assert_eq!(rest(&mut last).await.matches("hello").count(), 3, "nothing is answered after the last one");
    let mut broken = send(served.address, &format!("{GET}{GET}nonsense\r\n\r\n")).await;
    let text = rest(&mut broken).await;
    assert_eq!((text.matches("hello").count(), text.matches("HTTP/1.1 400").count()), (2, 1), "{text}");
}
