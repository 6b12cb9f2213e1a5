//! One kept-alive connection: what is being sent, what came, and whose calls are under way on it.

use super::response::{Answer, Parsed, parse};
use crate::record::Call;
use mio::net::TcpStream;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

/// A call that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Flight {
    /// Whose.
    pub user: u32,
    /// What.
    pub call: Call,
    /// When it should have been sent.
    pub due_us: u64,
    /// When it was.
    pub sent_us: u64,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Not there, and not to be tried again before this.
    Closed {
        /// Microseconds since the run began.
        retry_us: u64,
    },
    /// On its way.
    Connecting,
    /// There.
    Open,
}

/// One of the shared connections.
pub struct Connection {
    /// The socket, unless closed.
    pub stream: Option<TcpStream>,
    /// How far it is.
    pub life: Life,
    /// Calls under way, in the order of their requests.
    pub flights: VecDeque<Flight>,
    /// When its last answer came, microseconds.
    pub used_us: u64,
    /// It is in the driver's list of those that can take a call.
    pub listed: bool,
    out: Vec<u8>,
    written: usize,
    /// The beginning of an answer that has not come whole.
    input: Vec<u8>,
}

/// What came of reading.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Everything that was there was read; the connection lives.
    Drained,
    /// The other side closed it, or it broke; in words where there is more to say.
    Ended(Option<&'static str>),
}

impl Connection {
    /// One that is open and can take a call.
    #[must_use]
    pub fn open(stream: TcpStream) -> Self {
        Self { life: Life::Open, stream: Some(stream), listed: true, ..Self::closed() }
    }

    /// One that is not.
    #[must_use]
    pub fn closed() -> Self {
        Self {
            stream: None,
            life: Life::Closed { retry_us: 0 },
            flights: VecDeque::new(),
            used_us: 0,
            listed: false,
            out: Vec::new(),
            written: 0,
            input: Vec::new(),
        }
    }

    /// Drops the socket; the calls that were under way.
    pub fn close(&mut self, retry_us: u64) -> VecDeque<Flight> {
        self.stream = None;
        self.life = Life::Closed { retry_us };
        self.out.clear();
        self.written = 0;
        self.input.clear();
        std::mem::take(&mut self.flights)
    }

    /// Where the next request is written.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Sends as much of what was written as the socket takes.
    ///
    /// # Errors
    /// The connection broke.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while self.written < self.out.len() {
            match stream.write(&self.out[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads what is there into `scratch` and hands out every whole answer with its flight.
    pub fn receive(&mut self, scratch: &mut [u8], mut answered: impl FnMut(Flight, &Answer<'_>)) -> Received {
        loop {
            let Some(stream) = &mut self.stream else { return Received::Drained };
            let read = match stream.read(scratch) {
                Ok(0) => return Received::Ended(None),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Received::Drained,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Received::Ended(None),
            };
            let end = if self.input.is_empty() {
                // The usual case: an answer comes whole, and is read where it came to.
                let (used, end) = take(&scratch[..read], &mut self.flights, &mut answered);
                self.input.extend_from_slice(&scratch[used..read]);
                end
            } else {
                self.input.extend_from_slice(&scratch[..read]);
                let (used, end) = take(&self.input, &mut self.flights, &mut answered);
                self.input.drain(..used);
                end
            };
            if let Some(why) = end {
                return Received::Ended(why);
            }
            // Less than there was room for: the socket is empty, and epoll will tell when that changes.
            if read < scratch.len() {
                return Received::Drained;
            }
        }
    }
}

/// Hands out whole answers; how many bytes they had, and why the connection must end, if it must.
fn take(
    bytes: &[u8],
    flights: &mut VecDeque<Flight>,
    answered: &mut impl FnMut(Flight, &Answer<'_>),
) -> (usize, Option<Option<&'static str>>) {
    let mut used = 0;
    while used < bytes.len() {
        match parse(&bytes[used..]) {
            Parsed::Whole(answer, length) => {
                used += length;
                match flights.pop_front() {
                    Some(flight) => answered(flight, &answer),
                    None => return (used, Some(Some("an answer came that nobody had asked for"))),
                }
                if answer.close {
                    return (used, Some(None));
                }
            }
            Parsed::Partial => break,
            Parsed::Broken(why) => return (used, Some(Some(why))),
        }
    }
    (used, None)
}
