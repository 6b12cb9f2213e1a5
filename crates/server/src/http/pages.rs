//! Pages for people. Nothing in them comes from another host.

use crate::http::params::Segment;
use crate::problem::{NOT_FOUND, Problem};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Redirect, Response};
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};
use utoipa_swagger_ui::Config;

const INDEX: &str = include_str!("pages/index.html");

/// The page needs its own style and nothing else.
const INDEX_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Swagger UI styles elements from its script and draws icons from `data:`.
const DOCS_POLICY: &str =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'";

/// Swagger UI's settings. Its default asks a validator on the net whether the document is well formed.
static DOCS: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::new(["/openapi.json"]).validator_url("none").try_it_out_enabled(true)));

/// What runs here.
pub(crate) async fn index() -> Response {
    (html(INDEX_POLICY), [(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))], INDEX).into_response()
}

/// The API to read and to try.
pub(crate) async fn docs() -> Response {
    Redirect::permanent("/docs/").into_response()
}

/// The first page of it.
pub(crate) async fn docs_index() -> Result<Response, Problem> {
    docs_page("index.html")
}

/// A file of it.
pub(crate) async fn docs_file(Segment(path): Segment) -> Result<Response, Problem> {
    docs_page(&path)
}

fn docs_page(path: &str) -> Result<Response, Problem> {
    let Ok(Some(file)) = utoipa_swagger_ui::serve(path, DOCS.clone()) else { return Err(Problem::new(&NOT_FOUND)) };
    let content_type = HeaderValue::from_str(&file.content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let bytes: Cow<'_, [u8]> = file.bytes;
    Ok((html(DOCS_POLICY), [(CONTENT_TYPE, content_type)], bytes.into_owned()).into_response())
}

/// Headers of every page.
fn html(policy: &'static str) -> [(HeaderName, HeaderValue); 4] {
    [
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_name_no_other_host() {
        assert!(!INDEX.contains("http://") && !INDEX.contains("https://"));
        let file = utoipa_swagger_ui::serve("swagger-initializer.js", DOCS.clone()).ok().flatten().expect("the file is vendored");
        let text = String::from_utf8(file.bytes.into_owned()).expect("UTF-8");
        assert!(text.contains("/openapi.json") && text.contains("\"validatorUrl\": \"none\"") && !text.contains("petstore"), "{text}");
    }
}
