//! How the waiting page of a zone looks and what it says.

use super::{if_match, now, to_the_end, trail, with_etag};
use crate::app::App;
use crate::auth::{Operator, Viewer};
use crate::http::json::{JsonBody, ok};
use crate::http::params::Segment;
use crate::http::wait::known::Found;
use crate::http::wait::settings::{Page, PageBody, PageView};
use crate::problem::{Answered, Problem, REVISION_CONFLICT};
use axum::extract::State;
use axum::http::HeaderMap;
use std::sync::Arc;

/// A zone's page; what nobody has set is null or empty, under revision 0.
#[utoipa::path(get, path = "/admin/api/zones/{id}/page", tag = "admin", params(("id" = String, Path)), responses((status = 200, body = PageView)))]
pub(crate) async fn read(State(app): State<Arc<App>>, _: Viewer, Segment(id): Segment) -> Answered {
    let Found { page, .. } = Found::look(&app, &id).await?;
    Ok(show(&page))
}

/// Replaces it. What is absent or null is as it comes.
#[utoipa::path(put, path = "/admin/api/zones/{id}/page", tag = "admin", request_body = PageBody,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)), responses((status = 200, body = PageView)))]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Operator(operator): Operator,
    Segment(id): Segment,
    headers: HeaderMap,
    body: JsonBody,
) -> Answered {
    let Found { id, number, page: before, .. } = Found::look(&app, &id).await?;
    let expected = if_match(&headers)?;
    let page = Page::check(body.parse::<PageBody>()?, 0)?;
    let after = page.body.noted();
    let audit = operator.audit("zone.page.put", id.as_str(), trail(Some(after.clone()), before.body.noted(), after));
    to_the_end(async move {
        let json = serde_json::to_string(&page.body).map_err(|error| Problem::internal(&error))?;
        let kept = app.ledger.put_page((number, &id), &json, expected, now(), &audit).await;
        match kept.map_err(|error| Problem::unwritten(&error))? {
            Ok(revision) => {
                app.pages.follow(&app.ledger).await?;
                Ok(show(&Page { revision, ..page }))
            }
            Err(conflict) => Err(Problem::new(&REVISION_CONFLICT).with("revision", conflict.current)),
        }
    })
    .await
}

fn show(page: &Page) -> axum::response::Response {
    with_etag(ok(&page.body.shown(page.revision)), page.revision)
}
