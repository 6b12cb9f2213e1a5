//! What stands in a request's path, query and headers, and small parts of answers that several handlers share.

use crate::app::App;
use crate::problem::Problem;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bunho_domain::claim::Status;
use bunho_domain::ids::{ClaimId, StandbyId, UUID_CHARS, UserId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::sync::Arc;

/// Entries of a page when the client does not say.
const PAGE_DEFAULT: u32 = 50;
/// Entries of a page at most.
const PAGE_MAX: u32 = 200;

/// The one variable part of a path.
pub(crate) struct Segment(pub(crate) String);

impl FromRequestParts<Arc<App>> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        // Only a path that is not UTF-8 is refused here; nothing has such a name.
        Path::from_request_parts(parts, app).await.map(|Path(text)| Self(text)).map_err(|_| Problem::new(&crate::problem::NOT_FOUND))
    }
}

/// The query.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<App>> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri).map(|Query(params)| Self(params)).map_err(|error| {
            let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            let field = reason.split(['`', ':']).nth(if reason.contains('`') { 1 } else { 0 }).unwrap_or_default().to_owned();
            Problem::field(field, reason)
        })
    }
}

/// A header that may come once, as text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &HeaderName, shown: &'static str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::field(shown, "must be sent once"));
    }
    value.to_str().map(Some).map_err(|_| Problem::field(shown, "must be visible ASCII"))
}

/// The length of a page.
pub(crate) fn page(limit: Option<u32>) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(PAGE_DEFAULT);
    if (1..=PAGE_MAX).contains(&limit) { Ok(limit as usize) } else { Err(Problem::field("limit", format!("must be 1 to {PAGE_MAX}"))) }
}

/// Where a list of claims goes on: a claim's id, in a form that invites nobody to build one.
pub(crate) fn read_cursor(cursor: Option<&str>) -> Result<Option<ClaimId>, Problem> {
    cursor
        .map(|text| {
            let bytes = BASE64.decode(text).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
            bytes.map(ClaimId::from_bytes).ok_or_else(|| Problem::field("cursor", "must be a next_cursor from an earlier answer"))
        })
        .transpose()
}

/// The other way round.
pub(crate) fn write_cursor(next: Option<ClaimId>) -> Option<String> {
    next.map(|id| BASE64.encode(id.as_bytes()))
}

/// A claim's status in a query.
pub(crate) fn read_status(status: Option<&str>) -> Result<Option<Status>, Problem> {
    status
        .map(|text| match text {
            "held" => Ok(Status::Held),
            "confirmed" => Ok(Status::Confirmed),
            "released" => Ok(Status::Released),
            "expired" => Ok(Status::Expired),
            "returned" => Ok(Status::Returned),
            _ => Err(Problem::field("status", "must be held, confirmed, released, expired or returned")),
        })
        .transpose()
}

/// A user in a query.
pub(crate) fn read_user(user: Option<&str>) -> Result<Option<UserId>, Problem> {
    user.map(|text| UserId::parse(text).map_err(|error| Problem::field("user", error.to_string()))).transpose()
}

/// The id of a claim or of a place on standby, as a JSON string and without a `String` in between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<T>(pub(crate) T);

macro_rules! id_texts {
    ($($id:ty),*) => {$(
        impl Serialize for Text<$id> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0.encode(&mut [0; UUID_CHARS]))
            }
        }
    )*};
}
id_texts!(ClaimId, StandbyId);

/// A quantity that a client asks for. Whole numbers that no quantity can be become 0, which every offer refuses as
/// `quantity_invalid`; what is not a whole number is not a quantity at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantity(pub(crate) u32);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeNumber).map(|number| Self(number.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)))
    }
}

/// A setting that is a whole number. One outside of what fits becomes the largest, which no setting's range has, so
/// that the refusal names the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number<T>(pub(crate) T);

impl<'de> Deserialize<'de> for Number<u32> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeNumber).map(|number| Self(number.and_then(|n| u32::try_from(n).ok()).unwrap_or(u32::MAX)))
    }
}

impl<'de> Deserialize<'de> for Number<u64> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeNumber).map(|number| Self(number.and_then(|n| u64::try_from(n).ok()).unwrap_or(u64::MAX)))
    }
}

/// Reads a whole number of any size; none: beyond what 64 bits hold.
struct WholeNumber;

impl de::Visitor<'_> for WholeNumber {
    type Value = Option<i128>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number.into()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        if number.fract() != 0.0 {
            return Err(E::invalid_type(de::Unexpected::Float(number), &self));
        }
        // 2^53: beyond it a float no longer says which whole number it is.
        Ok((number.abs() <= 9_007_199_254_740_992.0).then_some(number as i128))
    }
}

/// Tells a field that is null from one that is absent: `Option<Option<T>>` with `#[serde(default)]`.
pub(crate) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_whole_numbers() {
        for (text, quantity) in [
            ("1", Some(1)),
            ("2.0", Some(2)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", Some(0)),
            ("1e300", Some(0)),
            ("-1", Some(0)),
            ("0", Some(0)),
            ("1.5", None),
            ("\"1\"", None),
            ("null", None),
            ("true", None),
            ("[1]", None),
        ] {
            assert_eq!(serde_json::from_str::<Quantity>(text).ok(), quantity.map(Quantity), "{text}");
        }
        assert_eq!(serde_json::from_str::<Number<u32>>("-1").ok(), Some(Number(u32::MAX)));
        assert_eq!(serde_json::from_str::<Number<u64>>("-1").ok(), Some(Number(u64::MAX)));
        assert_eq!(serde_json::from_str::<Number<u32>>("7").ok(), Some(Number(7)));
    }

    #[test]
    fn cursors_come_back() {
        let id = ClaimId::new(1, 2, 3);
        let text = write_cursor(Some(id));
        assert_eq!(read_cursor(text.as_deref()).ok(), Some(Some(id)));
        assert!(read_cursor(Some("x")).is_err());
        assert_eq!(read_cursor(None).ok(), Some(None));
    }

    #[test]
    fn pages_are_bounded() {
        for (limit, length) in [(None, Some(50)), (Some(1), Some(1)), (Some(200), Some(200)), (Some(0), None), (Some(201), None)] {
            assert_eq!(page(limit).ok(), length, "{limit:?}");
        }
    }
}
