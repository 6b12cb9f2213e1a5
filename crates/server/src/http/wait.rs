//! The waiting page, `/wait/{zone}`: what a crowd looks at from 10:00:00 on.
//!
//! It is one answer, script and style included, rendered and compressed once ([`known`]) and then sent from memory: who loads it costs nothing that grows with
//! the line. The script joins and polls as any client does. Browsers without scripts are sent on to the same page filled by the server ([`plain`]).

pub(crate) mod colors;
pub(crate) mod document;
pub(crate) mod known;
mod plain;
pub(crate) mod return_to;
pub(crate) mod settings;
pub(crate) mod texts;

use crate::app::App;
use crate::assets::{self, Encoding};
use crate::auth::address::JoinAddress;
use crate::http::json::FormBody;
use crate::http::params::Segment;
use crate::problem::{NOT_FOUND, OVERLOADED, Problem};
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERER, REFERRER_POLICY,
    VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use document::{Content, Filled, Purpose, Rendered};
use known::{Found, Front};
use std::sync::Arc;
use url::form_urlencoded;

/// A crowd that presses "reload" asks its own browsers for so long. Operators' changes are seen as fast.
const KEPT_SECONDS: HeaderValue = HeaderValue::from_static("public, max-age=5");
/// A picture's address changes with its zone's page.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// Other sites learn nothing from the page's address; our own learns from it where somebody without scripts wants to go.
const REFERRERS: HeaderValue = HeaderValue::from_static("same-origin");

/// What a page's address asks for. Whatever else stands there is somebody else's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    language: Option<String>,
    return_to: Option<String>,
    /// What the operator's site says of who comes.
    enqueue: Option<String>,
    plain: bool,
    preview: bool,
}

impl Asked {
    /// Reads a query. It never fails: there is nobody to read what was wrong with it.
    fn read(query: Option<&str>) -> Self {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "lang" => asked.language = Some(value.into_owned()),
                "return_to" => asked.return_to = Some(value.into_owned()),
                "enqueue" => asked.enqueue = Some(value.into_owned()),
                "plain" => asked.plain = value == "1",
                "preview" => asked.preview = value == "1",
                _ => {}
            }
        }
        asked
    }

    fn language(&self, headers: &HeaderMap) -> &'static str {
        texts::choose(self.language.as_deref(), headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()))
    }
}

/// The page.
pub(crate) async fn page(
    State(app): State<Arc<App>>,
    JoinAddress(from): JoinAddress,
    Segment(zone): Segment,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let mut asked = Asked::read(uri.query());
    let language = asked.language(&headers);
    let found = match Found::look(&app, &zone).await {
        Ok(found) => found,
        Err(problem) => return instead(&problem, language),
    };
    if asked.preview {
        return scripted(&app, &found, language, Purpose::Preview, &headers).await;
    }
    if !asked.plain && assets::WAIT.is_some() {
        return scripted(&app, &found, language, Purpose::Waiting, &headers).await;
    }
    if let Some(before) = came_from(&headers, &found.front(language).path) {
        asked.return_to = asked.return_to.or(before.return_to);
        asked.enqueue = asked.enqueue.or(before.enqueue);
    }
    // The page for everyone is sent from memory, however much is under way. This one joins and polls, so it is bounded as these are.
    let Some(_slot) = app.in_flight.take() else { return instead(&Problem::new(&OVERLOADED), language) };
    let shown = plain::show(&app, &found, &asked, language, (&headers, from));
    let limit = app.live().limits.request_timeout;
    match tokio::time::timeout(limit, shown).await {
        Ok(response) => response,
        Err(_) => instead(&Problem::new(&OVERLOADED), language),
    }
}

/// What somebody without scripts does: leaves, or joins again.
pub(crate) async fn act(State(app): State<Arc<App>>, Segment(zone): Segment, uri: Uri, headers: HeaderMap, form: FormBody) -> Response {
    let asked = Asked::read(uri.query());
    let language = asked.language(&headers);
    match Found::look(&app, &zone).await {
        Ok(found) => plain::act(&app, &found, &asked, language, &headers, &form).await,
        Err(problem) => instead(&problem, language),
    }
}

/// A zone's logo.
pub(crate) async fn logo(State(app): State<Arc<App>>, Segment(zone): Segment) -> Result<Response, Problem> {
    let found = Found::look(&app, &zone).await?;
    let logo = found.page.logo.clone().ok_or_else(|| Problem::new(&NOT_FOUND))?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(logo.content_type)),
        (CACHE_CONTROL, FOR_EVER),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox")),
    ];
    Ok((headers, logo.bytes).into_response())
}

async fn scripted(app: &App, found: &Found, language: &'static str, purpose: Purpose, headers: &HeaderMap) -> Response {
    let kept = match found.kept(app, language, purpose).await {
        Ok(kept) => kept,
        Err(problem) => return instead(&problem, language),
    };
    let (name, ending) = match assets::best(headers) {
        Encoding::Brotli => (Some("br"), "-br"),
        Encoding::Gzip => (Some("gzip"), "-gz"),
        Encoding::Identity => (None, ""),
    };
    let etag = format!("\"{}{ending}\"", kept.etag);
    let fresh = headers.get_all(IF_NONE_MATCH).iter().any(|value| value.to_str().is_ok_and(|value| value.contains(&etag)));
    let body = match name {
        _ if fresh => Body::empty(),
        Some("br") => kept.brotli.clone().into(),
        Some(_) => kept.gzip.clone().into(),
        // So few take nothing compressed that it is not kept for them.
        None => found.rendered(app, language, purpose).html.into(),
    };
    let mut response = Response::new(body);
    if fresh {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let own = response.headers_mut();
    own.insert(CONTENT_TYPE, HTML);
    own.insert(CACHE_CONTROL, KEPT_SECONDS);
    own.insert(VARY, HeaderValue::from_static("accept-encoding, accept-language"));
    own.insert(CONTENT_SECURITY_POLICY, kept.policy.clone());
    own.insert(REFERRER_POLICY, REFERRERS);
    own.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        own.insert(ETAG, etag);
    }
    if let Some(name) = name.filter(|_| !fresh) {
        own.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    response
}

/// A page that is one person's.
fn own_page(rendered: Rendered, status: StatusCode) -> Response {
    let headers = [
        (CONTENT_TYPE, HTML),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (CONTENT_SECURITY_POLICY, rendered.policy),
        (REFERRER_POLICY, REFERRERS),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (status, headers, rendered.html).into_response()
}

/// What a person sees where a program sees a problem.
fn instead(problem: &Problem, language: &'static str) -> Response {
    let Ok(zone) = bunho_domain::ids::ZoneId::parse("-") else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let missing = problem.status() == StatusCode::NOT_FOUND;
    let state = if missing { "unknown" } else { "recovering" };
    let page = settings::Page::standard();
    let front = Front::unknown(&zone, &page, language);
    let mut response = own_page(Rendered::new(&front, &Content::Filled(&Filled { state, ..Filled::default() })), problem.status());
    if !missing {
        response.headers_mut().insert("refresh", HeaderValue::from_static("5"));
    }
    response
}

/// What the page that sent somebody here was asked for. Its address is the same for everyone who runs scripts, so what stands in it cannot stand in the
/// link of those who run none.
fn came_from(headers: &HeaderMap, path: &str) -> Option<Asked> {
    let referrer = url::Url::parse(headers.get(REFERER)?.to_str().ok()?).ok()?;
    (referrer.path() == path).then(|| Asked::read(referrer.query()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_far_as_it_can_be() {
        let asked = Asked::read(Some("lang=ko&return_to=%2Fa%3Fb%3D1&utm_source=x&plain=1&%ff=%ff&lang=en"));
        assert_eq!(
            (asked.language.as_deref(), asked.return_to.as_deref(), asked.plain, asked.preview),
            (Some("en"), Some("/a?b=1"), true, false)
        );
        assert!(!Asked::read(None).plain);
    }

    #[test]
    fn where_somebody_without_scripts_wants_to_go_is_in_the_page_they_came_from() {
        for (referrer, found) in [
            ("http://h/wait/Z?return_to=%2Fshop", Some("/shop")),
            ("http://h/wait/Z", None),
            ("http://h/wait/Y?return_to=%2Fshop", None),
            ("nonsense", None),
        ] {
            let headers = HeaderMap::from_iter([(REFERER, HeaderValue::from_static(referrer))]);
            assert_eq!(came_from(&headers, "/wait/Z").and_then(|asked| asked.return_to).as_deref(), found, "{referrer}");
        }
    }
}
