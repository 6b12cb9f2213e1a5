//! One blocking connection for everything that is not load: checks before a run, settings, and a second look after it.

use crate::driver::response::{Parsed, parse};
use serde_json::Value;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A Bunho answers everything within ten seconds.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A client of one server.
pub struct Client {
    address: SocketAddr,
    host: String,
    stream: Option<TcpStream>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// `Idempotency-Replayed: true`.
    pub replayed: bool,
    /// Its body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// What a refusal says, in one line.
    #[must_use]
    pub fn refusal(&self) -> String {
        let json = self.json();
        let detail = json["detail"].as_str().or(json["title"].as_str()).unwrap_or_default();
        let errors = json.get("errors").map(|errors| format!(" {errors}")).unwrap_or_default();
        format!("{} {} {detail}{errors}", self.status, json["code"].as_str().unwrap_or_default()).trim_end().to_string()
    }
}

impl Client {
    /// A client that connects when it is first used.
    #[must_use]
    pub fn new(address: SocketAddr, host: &str) -> Self {
        Self { address, host: host.into(), stream: None }
    }

    /// `GET`.
    ///
    /// # Errors
    /// No answer, or none that can be read.
    pub fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> io::Result<Reply> {
        self.call("GET", path, headers, None)
    }

    /// One call. It is sent again, once, where the kept-alive connection had been closed: everything that is called here may be
    /// called twice.
    ///
    /// # Errors
    /// No answer, or none that can be read.
    pub fn call(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> io::Result<Reply> {
        let request = self.write(method, path, headers, body);
        if let Some(stream) = &mut self.stream
            && let Ok((reply, close)) = exchange(stream, &request)
        {
            if close {
                self.stream = None;
            }
            return Ok(reply);
        }
        let mut stream = TcpStream::connect_timeout(&self.address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let (reply, close) = exchange(&mut stream, &request)?;
        self.stream = (!close).then_some(stream);
        Ok(reply)
    }

    fn write(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Vec<u8> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.host);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            head.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
        }
        format!("{head}\r\n{body}").into_bytes()
    }
}

fn exchange(stream: &mut TcpStream, request: &[u8]) -> io::Result<(Reply, bool)> {
    stream.write_all(request)?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 * 1_024]);
    loop {
        match parse(&bytes) {
            Parsed::Whole(answer, _) => {
                return Ok((Reply { status: answer.status, replayed: answer.replayed, body: answer.body.to_vec() }, answer.close));
            }
            Parsed::Broken(why) => return Err(io::Error::new(ErrorKind::InvalidData, format!("its answer cannot be read: {why}"))),
            Parsed::Partial => {}
        }
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "it closed the connection without an answer"));
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}
