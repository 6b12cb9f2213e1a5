//! A redis-server of a test's own: its own port and folder, stopped by its process id, also when the test panics.

#[path = "../cluster/ports.rs"]
mod ports;

use redis::aio::MultiplexedConnection;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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
        let mut process = Command::new(std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".into()))
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server 7 is installed");
        // What it says later nobody reads: it goes on without.
        let says = BufReader::new(process.stdout.take().expect("its output"));
        let server = Self { process, port, _folder: folder };
        let is_ready = |line: std::io::Result<String>| line.is_ok_and(|line| line.contains("Ready to accept connections"));
        assert!(says.lines().any(is_ready), "redis-server ended at once");
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
