//! Times on the wire: RFC 3339 UTC with milliseconds out, any RFC 3339 in.

use bunho_domain::time::Millis;
use bunho_ledger::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// An instant as `2026-01-01T00:00:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rfc3339(pub(crate) Millis);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Timestamp::new(self.0).as_str())
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Timestamp::new(self.0).as_str())
    }
}

impl<'de> Deserialize<'de> for Rfc3339 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        parse(&text).map(Self).ok_or_else(|| de::Error::custom("must be an RFC 3339 time, as 2026-01-01T00:00:00.000Z"))
    }
}

impl utoipa::PartialSchema for Rfc3339 {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
        ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).into()
    }
}

impl utoipa::ToSchema for Rfc3339 {
    fn name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }
}

/// 0000-01-01T00:00:00Z. Earlier years have no form in RFC 3339; later ones than 9999 jiff refuses.
const YEAR_ZERO: Millis = Millis(-62_167_219_200_000);

/// Reads an RFC 3339 time.
pub(crate) fn parse(text: &str) -> Option<Millis> {
    text.parse::<jiff::Timestamp>().ok().map(|at| Millis(at.as_millisecond())).filter(|at| *at >= YEAR_ZERO)
}

/// The system's time in whole seconds: what sessions and the tokens of others are checked against.
pub(crate) fn unix_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_always_three() {
        for (ms, text) in
            [(0, "1970-01-01T00:00:00.000Z"), (1_767_226_200_050, "2026-01-01T00:10:00.050Z"), (-1, "1969-12-31T23:59:59.999Z")]
        {
            assert_eq!(serde_json::json!(Rfc3339(Millis(ms))), text);
            assert_eq!(parse(text), Some(Millis(ms)));
        }
        assert_eq!(parse("2026-01-01T09:00:00+09:00"), parse("2026-01-01T00:00:00Z"));
        assert_eq!(parse("0000-01-01T00:00:00Z"), Some(YEAR_ZERO));
        for text in ["", "2026-01-01", "tomorrow", "2026-13-01T00:00:00Z", "9999999-01-01T00:00:00Z", "-000001-12-31T23:59:59Z"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        for (ms, text) in [(i64::MAX, "9999-12-31T23:59:59.999Z"), (i64::MIN, "0000-01-01T00:00:00.000Z")] {
            assert_eq!(serde_json::json!(Rfc3339(Millis(ms))), text);
        }
        assert_eq!(parse("9999-12-30T22:00:00.999Z").map(|at| serde_json::json!(Rfc3339(at))), Some("9999-12-30T22:00:00.999Z".into()));
    }
}
