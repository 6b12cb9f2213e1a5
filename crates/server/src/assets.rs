//! The pages that are built in: scripts and styles below `/assets/`, with names that change when they do.
//!
//! Each is kept in three forms, as it is and compressed at build time, so that serving one costs a look-up and no work.

use axum::body::Bytes;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// A file, and the same compressed.
pub(crate) struct File {
    /// Its name below `/assets/`.
    pub(crate) name: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
    brotli: &'static [u8],
}

/// What one page needs.
pub(crate) struct Entry {
    pub(crate) page: &'static str,
    pub(crate) script: &'static str,
    pub(crate) styles: &'static [&'static str],
}

/// A name never has two contents.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// What a page needs; `None` in a binary that was built without pages.
pub(crate) fn entry(page: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.page == page)
}

/// A file in the smallest form that the client takes; `None`: there is no such file.
pub(crate) fn serve(name: &str, headers: &HeaderMap) -> Option<Response> {
    let file = FILES.iter().find(|file| file.name == name)?;
    let content_type = match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => "image/svg+xml",
    };
    let etag = HeaderValue::from_str(&format!("\"{name}\"")).ok()?;
    let common: [(HeaderName, HeaderValue); 4] = [
        (CACHE_CONTROL, FOR_EVER),
        (ETAG, etag.clone()),
        (VARY, HeaderValue::from_static("accept-encoding")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    if headers.get(IF_NONE_MATCH) == Some(&etag) {
        return Some((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let (encoding, bytes) = match best(headers) {
        Encoding::Brotli => (Some("br"), file.brotli),
        Encoding::Gzip => (Some("gzip"), file.gzip),
        Encoding::Identity => (None, file.plain),
    };
    let mut response = (common, [(CONTENT_TYPE, HeaderValue::from_static(content_type))], Bytes::from_static(bytes)).into_response();
    if let Some(encoding) = encoding {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    Some(response)
}

/// The forms in which a text is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Brotli,
    Gzip,
    Identity,
}

/// The smallest form that an `Accept-Encoding` allows.
pub(crate) fn best(headers: &HeaderMap) -> Encoding {
    let takes = |wanted: &str| {
        headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).any(|one| {
            let (name, weight) = one.split_once(';').unwrap_or((one, ""));
            let refused = weight.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).is_some_and(|q| q <= 0.0);
            name.trim().eq_ignore_ascii_case(wanted) && !refused
        })
    };
    if takes("br") {
        Encoding::Brotli
    } else if takes("gzip") {
        Encoding::Gzip
    } else {
        Encoding::Identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_form_that_is_taken() {
        for (accepts, expected) in [
            ("", Encoding::Identity),
            ("gzip, deflate, br, zstd", Encoding::Brotli),
            ("gzip;q=1.0, br;q=0", Encoding::Gzip),
            ("GZIP", Encoding::Gzip),
            ("identity, *;q=0", Encoding::Identity),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(accepts))]);
            assert_eq!(best(&headers), expected, "{accepts}");
        }
    }
}
