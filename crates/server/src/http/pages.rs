//! Pages for people. Nothing in them comes from another host.

use crate::assets;
use crate::http::params::Segment;
use crate::problem::{NOT_FOUND, Problem};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Redirect, Response};
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};
use utoipa_swagger_ui::Config;

/// What a page shows where the binary was built without pages.
const UNBUILT: &str = include_str!("pages/unbuilt.html");

/// Own scripts, own styles, own calls. `data:` is for logos that somebody has just chosen.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-src 'self'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// Swagger UI styles elements from its script and draws icons from `data:`.
const DOCS_POLICY: &str =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'";

/// Swagger UI's settings. Its default asks a validator on the net whether the document is well formed.
static DOCS: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::new(["/openapi.json"]).validator_url("none").try_it_out_enabled(true)));

/// The console.
pub(crate) async fn index() -> Response {
    shell("console", "Bunho 번호")
}

/// The demo.
pub(crate) async fn demo() -> Response {
    shell("demo", "Bunho demo · 데모")
}

/// A script or a style of a page.
pub(crate) async fn asset(Segment(name): Segment, headers: HeaderMap) -> Result<Response, Problem> {
    assets::serve(&name, &headers).ok_or_else(|| Problem::new(&NOT_FOUND))
}

/// A page that its script fills. It changes with the binary, so browsers ask each time.
fn shell(page: &str, title: &str) -> Response {
    let body = match assets::entry(page) {
        Some(entry) => {
            let styles: String = entry.styles.iter().map(|name| format!("<link rel=\"stylesheet\" href=\"/assets/{name}\">")).collect();
            format!(
                "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
                 <title>{title}</title>{styles}<script type=\"module\" src=\"/assets/{}\"></script></head>\
                 <body><div id=\"app\"></div><noscript>Bunho needs JavaScript here. 이 화면에는 자바스크립트가 필요합니다.</noscript></body></html>",
                entry.script
            )
        }
        None => UNBUILT.into(),
    };
    let plain =
        [(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")), (CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    (html(PAGE_POLICY), plain, body).into_response()
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
        assert!(!UNBUILT.contains("http://") && !UNBUILT.contains("https://"));
        let file = utoipa_swagger_ui::serve("swagger-initializer.js", DOCS.clone()).ok().flatten().expect("the file is vendored");
        let text = String::from_utf8(file.bytes.into_owned()).expect("UTF-8");
        assert!(text.contains("/openapi.json") && text.contains("\"validatorUrl\": \"none\"") && !text.contains("petstore"), "{text}");
    }
}
