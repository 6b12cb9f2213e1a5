//! Answers, as far as this client needs them: a head, and a body whose length the head tells.

use httparse::{EMPTY_HEADER, Header, Response, Status};

/// Headers that are taken without a second look; Bunho sends ten.
const HEADERS_USUAL: usize = 24;
const HEADERS_MAX: usize = 128;
/// A body longer than this is not from a Bunho.
pub const BODY_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// `Retry-After` in seconds.
    pub retry_after_s: Option<u32>,
    /// `Idempotency-Replayed: true`.
    pub replayed: bool,
    /// No further answer comes on this connection.
    pub close: bool,
    /// The body.
    pub body: &'a [u8],
}

/// What the bytes that came so far are.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// An answer, and how many bytes it had.
    Whole(Answer<'a>, usize),
    /// The beginning of one.
    Partial,
    /// Not an answer that can be read.
    Broken(&'static str),
}

/// Reads the answer at the beginning of `bytes`.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    match parse_with::<HEADERS_USUAL>(bytes) {
        Err(httparse::Error::TooManyHeaders) => parse_with::<HEADERS_MAX>(bytes).unwrap_or(Parsed::Broken("it has too many headers")),
        Err(_) => Parsed::Broken("it is not HTTP/1.1"),
        Ok(parsed) => parsed,
    }
}

fn parse_with<const HEADERS: usize>(bytes: &[u8]) -> Result<Parsed<'_>, httparse::Error> {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut response = Response::new(&mut headers);
    let Status::Complete(head_bytes) = response.parse(bytes)? else { return Ok(Parsed::Partial) };
    let status = response.code.unwrap_or(0);
    Ok(read(status, response.headers, head_bytes, bytes))
}

fn read<'a>(status: u16, headers: &[Header<'_>], head_bytes: usize, bytes: &'a [u8]) -> Parsed<'a> {
    let mut answer = Answer { status, retry_after_s: None, replayed: false, close: false, body: &[] };
    let mut length = None;
    for header in headers {
        // Names are told apart by their length first: most headers cost one comparison.
        match header.name.len() {
            14 if header.name.eq_ignore_ascii_case("content-length") => length = number(header.value),
            11 if header.name.eq_ignore_ascii_case("retry-after") => answer.retry_after_s = number(header.value).map(|s| s as u32),
            10 if header.name.eq_ignore_ascii_case("connection") => answer.close = header.value.eq_ignore_ascii_case(b"close"),
            20 if header.name.eq_ignore_ascii_case("idempotency-replayed") => answer.replayed = header.value == b"true",
            17 if header.name.eq_ignore_ascii_case("transfer-encoding") => return Parsed::Broken("its body comes in chunks"),
            _ => {}
        }
    }
    let length = match (status, length) {
        (100..=199, _) => return Parsed::Broken("it is an interim one"),
        (204 | 304, _) => 0,
        (_, Some(length)) if length <= BODY_BYTES_MAX => length,
        (_, Some(_)) => return Parsed::Broken("it is too long"),
        (_, None) => return Parsed::Broken("it does not tell its length"),
    };
    match bytes.get(head_bytes..head_bytes + length) {
        Some(body) => {
            answer.body = body;
            Parsed::Whole(answer, head_bytes + length)
        }
        None => Parsed::Partial,
    }
}

fn number(value: &[u8]) -> Option<usize> {
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\ncontent-length: 7\r\nIdempotency-Replayed: true\r\n\
        Retry-After: 3\r\n\r\n{\"a\":1}HTTP/1.1 204 No Content\r\nconnection: Close\r\n\r\n";

    #[test]
    fn an_answer_cut_anywhere_is_partial_and_then_whole() {
        let Parsed::Whole(first, used) = parse(TWO) else { panic!("whole") };
        assert_eq!(first, Answer { status: 201, retry_after_s: Some(3), replayed: true, close: false, body: b"{\"a\":1}" });
        for cut in 0..used {
            assert_eq!(parse(&TWO[..cut]), Parsed::Partial, "cut at {cut}");
        }
        for cut in used..TWO.len() {
            assert_eq!(parse(&TWO[..cut]), Parsed::Whole(first, used), "the next one begun, cut at {cut}");
            assert_eq!(parse(&TWO[used..cut]), Parsed::Partial, "cut at {cut}");
        }
        let Parsed::Whole(second, rest) = parse(&TWO[used..]) else { panic!("whole") };
        assert_eq!((second.status, second.close, second.body, used + rest), (204, true, &b""[..], TWO.len()));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (bytes, why) in [
            (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "not HTTP"),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "chunks"),
            (b"HTTP/1.1 200 OK\r\n\r\n", "length"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", "too long"),
            (b"HTTP/1.1 100 Continue\r\n\r\n", "interim"),
        ] {
            assert!(matches!(parse(bytes), Parsed::Broken(said) if said.contains(why)), "{why}: {:?}", parse(bytes));
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}content-length: 2\r\n\r\nok", "x-filler: 1\r\n".repeat(100));
        assert!(matches!(parse(many.as_bytes()), Parsed::Whole(answer, _) if answer.body == b"ok"));
        let more = format!("HTTP/1.1 200 OK\r\n{}content-length: 2\r\n\r\nok", "x-filler: 1\r\n".repeat(200));
        assert_eq!(parse(more.as_bytes()), Parsed::Broken("it has too many headers"));
    }
}
