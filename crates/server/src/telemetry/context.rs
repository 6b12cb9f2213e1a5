//! W3C trace context: what a request says about the trace that it is part of.

use axum::http::HeaderMap;
use std::fmt;

/// The header.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// A trace's id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceId(pub(crate) [u8; 16]);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whose child a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) trace: TraceId,
    pub(crate) span: [u8; 8],
    /// Whoever asked records it.
    pub(crate) sampled: bool,
}

impl Parent {
    /// What the headers say; what is not well formed says nothing.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let first = headers.get(TRACEPARENT)?;
        if headers.get_all(TRACEPARENT).iter().nth(1).is_some() {
            return None;
        }
        Self::read(first.as_bytes())
    }

    /// `version-trace-span-flags`. Later versions may have more behind that.
    fn read(text: &[u8]) -> Option<Self> {
        let (version, text) = (text.get(..2)?, text.get(2..)?);
        let [version] = digits(version)?;
        let is_known = version == 0;
        if version == 0xff || (is_known && text.len() != 53) || text.get(53).is_some_and(|byte| *byte != b'-') {
            return None;
        }
        let parts = [text.first()?, text.get(33)?, text.get(50)?];
        if parts.into_iter().any(|byte| *byte != b'-') {
            return None;
        }
        let (trace, span) = (digits(text.get(1..33)?)?, digits(text.get(34..50)?)?);
        let [flags] = digits(text.get(51..53)?)?;
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace: TraceId(trace), span, sampled: flags & 1 == 1 })
    }
}

/// Bytes of lower-case hexadecimal digits.
fn digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn only_what_is_well_formed_is_taken() {
        let parent = Parent::read(GOOD.as_bytes()).expect("the specification's example");
        assert_eq!((parent.trace.to_string().as_str(), parent.sampled), ("0af7651916cd43dd8448eb211c80319c", true));
        assert_eq!(parent.span, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
        let later = format!("cc{}-what-comes-later", &GOOD[2..]);
        assert_eq!(Parent::read(later.as_bytes()), Some(parent));
        assert_eq!(Parent::read(GOOD.replace("-01", "-02").as_bytes()).map(|parent| parent.sampled), Some(false));
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-more"),
            &format!("{GOOD}0"),
            &format!("cc{}x", &GOOD[2..]),
            &GOOD.to_uppercase(),
            &GOOD.replace("00-0af", "ff-0af"),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            &GOOD.replace("b7ad", "b7ag"),
            &GOOD.replace('-', "_"),
        ] {
            assert_eq!(Parent::read(bad.as_bytes()), None, "{bad:?}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(Parent::of(&headers), None);
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(Parent::of(&headers), Some(parent));
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(Parent::of(&headers), None, "which of the two?");
    }
}
