//! A redis-server of a test's own: its own port and folder, stopped by its process id, also when the test panics.

#[path = "../cluster/ports.rs"]
mod ports;

use redis::aio::MultiplexedConnection;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to start.
const START_WITHIN: Duration = Duration::from_secs(10);

/// How long it may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

pub struct RedisServer {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl RedisServer {
    pub fn start() -> Self {
        let port = ports::free();
        let folder = tempfile::tempdir().expect("a folder");
        let process = Command::new(std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".into()))
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server 7 is installed");
        let mut server = Self { process, port, _folder: folder };
        let give_up = Instant::now() + START_WITHIN;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(server.process.try_wait().expect("its state").is_none(), "redis-server ended at once");
            assert!(Instant::now() < give_up, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }

    pub async fn connect(&self) -> MultiplexedConnection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.port)).expect("an address");
        // A busy machine may let it wait.
        let patience =
            redis::AsyncConnectionConfig::new().set_connection_timeout(Some(ANSWER_WITHIN)).set_response_timeout(Some(ANSWER_WITHIN));
        client.get_multiplexed_async_connection_with_config(&patience).await.expect("a connection")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Nothing is left to do where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
