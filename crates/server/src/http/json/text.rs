//! JSON written by hand, for the answer that is sent more often than all others together: how a ticket stands.
//!
//! Names and punctuation are whole literals here, where a serializer writes and escapes them piece by piece: half the
//! work of composing that answer. Everything else is serialized by serde.

use crate::http::time::Rfc3339;
use bunho_ledger::Timestamp;

/// JSON that grows piece by piece.
pub(crate) struct JsonText(Vec<u8>);

impl JsonText {
    /// An empty text with room for so many bytes.
    pub(crate) fn with_room(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Adds text that is JSON already.
    pub(crate) fn raw(&mut self, json: &str) -> &mut Self {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    /// Adds a string.
    pub(crate) fn string(&mut self, text: &str) -> &mut Self {
        // Ids, tickets, passes and most messages need no escaping; only what does is looked at a second time.
        if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
            self.0.push(b'"');
            self.0.extend_from_slice(text.as_bytes());
            self.0.push(b'"');
        } else {
            // Writing a string into memory cannot fail.
            serde_json::to_writer(&mut self.0, text).ok();
        }
        self
    }

    /// Adds a number.
    pub(crate) fn number(&mut self, number: u32) -> &mut Self {
        // Ten digits hold 2^32 - 1.
        let mut digits = [0; 10];
        let mut rest = number;
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.0.extend_from_slice(&digits[first..]);
        self
    }

    /// Adds a time.
    pub(crate) fn time(&mut self, at: Rfc3339) -> &mut Self {
        self.raw("\"").raw(Timestamp::new(at.0).as_str()).raw("\"")
    }

    /// Adds a value, or null.
    pub(crate) fn or_null<T>(&mut self, value: Option<T>, add: impl FnOnce(&mut Self, T) -> &mut Self) -> &mut Self {
        match value {
            Some(value) => add(self, value),
            None => self.raw("null"),
        }
    }

    /// The text.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bunho_domain::time::Millis;
    use proptest::prelude::*;
    use serde_json::json;

    proptest! {
        #[test]
        fn what_is_written_is_what_serde_writes(text: String, number: u32, ms in 0..4_000_000_000_000_i64, some: bool) {
            let time = some.then_some(Rfc3339(Millis(ms)));
            let mut written = JsonText::with_room(0);
            written.raw("{\"number\":").number(number).raw(",\"text\":").string(&text).raw(",\"time\":").or_null(time, JsonText::time).raw("}");
            let expected = json!({"number": number, "text": text, "time": time});
            prop_assert_eq!(String::from_utf8(written.into_bytes()).expect("UTF-8"), expected.to_string());
        }
    }
}
