//! Tickets without people: for benchmarks that fill a line and then poll it round and round.

use super::line::tickets::Tickets;
use super::{Next, Step, post, problem_code};
use crate::driver::response::Answer;
use crate::meter::Outcome;
use crate::record::Call;
use serde::Deserialize;

/// Joins, each giving a ticket, or polls with them in turns.
pub struct Polls {
    join: Vec<u8>,
    poll_head: Vec<u8>,
    ticket_head: Vec<u8>,
    tickets: Tickets,
    filled: u32,
    next: u32,
    /// Whether calls are polls.
    polling: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Joined<'a> {
    can_enter: bool,
    token: &'a str,
}

impl Polls {
    /// An empty line, to be filled.
    #[must_use]
    pub fn new(host: &str, zone: &str) -> Self {
        let head = |path: &str| format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n").into_bytes();
        let mut join = Vec::new();
        let body = format!("{{\"zoneId\":\"{zone}\",\"clientIp\":\"127.0.0.1\",\"clientAgent\":\"WEB\"}}");
        post(&mut join, &head("/traffic/wait"), &[], &[body.as_bytes()]);
        Self {
            join,
            poll_head: head("/traffic/entry"),
            ticket_head: format!("{{\"zoneId\":\"{zone}\",\"token\":\"").into_bytes(),
            tickets: Tickets::default(),
            filled: 0,
            next: 0,
            polling: false,
        }
    }

    /// From now on calls are polls.
    pub fn poll(&mut self) {
        self.polling = true;
    }

    /// Tickets there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.filled
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// See [`super::Crowd::request`].
    pub fn request(&mut self, out: &mut Vec<u8>) -> Call {
        if !self.polling {
            out.extend_from_slice(&self.join);
            return Call::Wait;
        }
        let ticket = self.tickets.get(self.next);
        post(out, &self.poll_head, &[], &[&self.ticket_head, ticket, b"\"}"]);
        self.next = (self.next + 1) % self.filled.max(1);
        Call::Entry
    }

    /// See [`super::Crowd::answered`].
    pub fn answered<'a>(&mut self, answer: &Answer<'a>) -> Step<'a> {
        if answer.status != 200 {
            return Step { outcome: Outcome::Failed(problem_code(answer)), next: Next::Done };
        }
        // What a poll says is of no interest here, and reading it would be charged to the server.
        if !self.polling {
            match serde_json::from_slice::<Joined<'a>>(answer.body) {
                Ok(joined) if !joined.can_enter => {
                    self.tickets.set(self.filled, joined.token.as_bytes());
                    self.filled += 1;
                }
                Ok(_) => {}
                Err(_) => return Step { outcome: Outcome::Failed("unreadable"), next: Next::Done },
            }
        }
        Step { outcome: Outcome::Good, next: Next::Done }
    }
}
