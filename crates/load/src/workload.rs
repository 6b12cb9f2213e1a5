//! What users do: small state machines that write the next request and read its answer.
//!
//! A user is an index. All that is kept of it stands in the vectors of its workload, so that hundreds of thousands of them are a
//! few arrays. The driver asks [`Crowd::request`] when a call is sent and [`Crowd::answered`] when it was answered; what comes
//! next is a [`Next`].

pub mod line;
pub mod mixed;
pub mod polls;
pub mod shop;

use crate::driver::response::Answer;
use crate::meter::{Meter, Outcome};
use crate::record::Call;
use line::Line;
use mixed::Mixed;
use polls::Polls;
use serde::Deserialize;
use shop::Shop;
use std::borrow::Cow;

/// What a user does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A call, due then.
    At(u64),
    /// Nothing more: it is done.
    Done,
}

/// How an answer is counted, and what follows from it.
#[derive(Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// For the counts.
    pub outcome: Outcome<'a>,
    /// For the user.
    pub next: Next,
}

/// When a call was sent and when this is, microseconds since the run began.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// When it was sent.
    pub sent_us: u64,
    /// Now.
    pub now_us: u64,
}

impl Moment {
    /// When it was sent, milliseconds.
    #[must_use]
    pub fn sent_ms(self) -> u32 {
        milliseconds(self.sent_us)
    }

    /// Now, milliseconds.
    #[must_use]
    pub fn now_ms(self) -> u32 {
        milliseconds(self.now_us)
    }
}

fn milliseconds(us: u64) -> u32 {
    u32::try_from(us / 1_000).unwrap_or(u32::MAX)
}

/// Everybody, by what they do.
pub enum Crowd {
    /// Wait in a line.
    Line(Line),
    /// Claim, and perhaps pay.
    Shop(Shop),
    /// Wait, then claim with the pass.
    Mixed(Box<Mixed>),
    /// Tickets without people, for benchmarks.
    Polls(Polls),
    /// Ask for nothing: `GET /healthz`, what HTTP itself costs.
    Null {
        /// The request, which is always the same.
        request: Vec<u8>,
    },
}

impl Crowd {
    /// A crowd that asks for nothing.
    #[must_use]
    pub fn null(host: &str) -> Self {
        Self::Null { request: format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes() }
    }

    /// A user begins, or begins again as somebody new. When its first call is due.
    pub fn begin(&mut self, user: u32, now_us: u64) -> u64 {
        match self {
            Self::Line(line) => line.begin(user, now_us),
            Self::Shop(shop) => shop.begin(user, now_us),
            Self::Mixed(mixed) => mixed.begin(user, now_us),
            Self::Polls(_) | Self::Null { .. } => now_us,
        }
    }

    /// Writes a user's next request at the end of `out`.
    pub fn request(&mut self, user: u32, out: &mut Vec<u8>) -> Call {
        match self {
            Self::Line(line) => line.request(user, out),
            Self::Shop(shop) => shop.request(user, None, out),
            Self::Mixed(mixed) => mixed.request(user, out),
            Self::Polls(polls) => polls.request(out),
            Self::Null { request } => {
                out.extend_from_slice(request);
                Call::Null
            }
        }
    }

    /// A user's call was answered.
    pub fn answered<'a>(&mut self, user: u32, moment: Moment, answer: &Answer<'a>, meter: &mut Meter) -> Step<'a> {
        match self {
            Self::Line(line) => line.answered(user, moment, answer, meter).0,
            Self::Shop(shop) => shop.answered(user, moment, answer, meter),
            Self::Mixed(mixed) => mixed.answered(user, moment, answer, meter),
            Self::Polls(polls) => polls.answered(answer),
            Self::Null { .. } if answer.status == 200 => Step { outcome: Outcome::Good, next: Next::Done },
            Self::Null { .. } => Step { outcome: Outcome::Failed(problem_code(answer)), next: Next::Done },
        }
    }

    /// A user's call will not be answered: the connection broke, or time is up.
    pub fn unanswered(&mut self, user: u32, now_us: u64, meter: &mut Meter) -> Next {
        match self {
            Self::Line(line) => line.unanswered(user, now_us),
            Self::Shop(shop) => shop.unanswered(user, now_us, meter),
            Self::Mixed(mixed) => mixed.unanswered(user, now_us, meter),
            Self::Polls(_) | Self::Null { .. } => Next::Done,
        }
    }

    /// A user is not wanted any more: it stops where it is.
    pub fn stop(&mut self, user: u32, meter: &mut Meter) {
        match self {
            Self::Line(line) => line.stop(user, meter),
            Self::Mixed(mixed) => mixed.stop(user, meter),
            Self::Shop(_) | Self::Polls(_) | Self::Null { .. } => {}
        }
    }
}

/// The `code` of a problem.
#[derive(Deserialize)]
struct Problem<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
}

/// The code of a refusal; `unreadable` for what is no problem document.
#[must_use]
pub fn problem_code<'a>(answer: &Answer<'a>) -> &'a str {
    match serde_json::from_slice::<Problem<'a>>(answer.body) {
        Ok(Problem { code: Cow::Borrowed(code) }) => code,
        _ if answer.status < 300 => "unreadable",
        _ if answer.status >= 500 => "error_5xx",
        _ => "error_other",
    }
}

/// Microseconds to wait before the same is asked again.
fn retry_us(answer: &Answer<'_>) -> u64 {
    // Without a word of the server's: a second, as it usually says.
    u64::from(answer.retry_after_s.unwrap_or(1)) * 1_000_000
}

/// After a call without an answer, a client tries again after this.
const UNANSWERED_RETRY_US: u64 = 500_000;

/// Writes a POST with a JSON body.
fn post(out: &mut Vec<u8>, head: &[u8], extra: &[(&str, &[u8])], body: &[&[u8]]) {
    out.extend_from_slice(head);
    for (name, value) in extra {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"content-length: ");
    write_number(out, body.iter().map(|part| part.len() as u64).sum());
    out.extend_from_slice(b"\r\n\r\n");
    for part in body {
        out.extend_from_slice(part);
    }
}

/// Writes a number in decimal.
fn write_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let (mut at, mut left) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_written_as_http_reads_them() {
        let mut out = Vec::new();
        post(&mut out, b"POST /x HTTP/1.1\r\nhost: h\r\n", &[("a", b"1"), ("b", b"22")], &[b"{\"n\":", b"17", b"}"]);
        assert_eq!(String::from_utf8_lossy(&out), "POST /x HTTP/1.1\r\nhost: h\r\na: 1\r\nb: 22\r\ncontent-length: 8\r\n\r\n{\"n\":17}");
        for number in [0, 9, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            assert_eq!(String::from_utf8_lossy(&out), number.to_string());
        }
    }

    #[test]
    fn codes_of_problems() {
        let answer = |status, body| Answer { status, retry_after_s: None, replayed: false, close: false, body };
        assert_eq!(problem_code(&answer(409, br#"{"status":409,"code":"sold_out","held":3}"#)), "sold_out");
        assert_eq!(problem_code(&answer(502, b"<html>")), "error_5xx");
        assert_eq!(problem_code(&answer(404, b"")), "error_other");
        assert_eq!(problem_code(&answer(200, b"hello")), "unreadable");
    }
}
