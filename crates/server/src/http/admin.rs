//! Administration: who may, see [`crate::auth`]; what was done and by whom goes with every change into the audit log.

pub(crate) mod account;
pub(crate) mod accounts;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod claims;
pub(crate) mod deliveries;
pub(crate) mod forget;
pub(crate) mod keys;
pub(crate) mod live;
pub(crate) mod offers;
pub(crate) mod overview;
pub(crate) mod pages;
pub(crate) mod pass_keys;
pub(crate) mod reconcile;
pub(crate) mod rehearsal;
pub(crate) mod sales;
pub(crate) mod session;
pub(crate) mod sessions;
pub(crate) mod standby;
pub(crate) mod system;
pub(crate) mod ticket_keys;
pub(crate) mod webhooks;
pub(crate) mod zones;

use crate::app::App;
use crate::http::params::header;
use crate::problem::Problem;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use bunho_domain::ids::AppId;
use bunho_domain::time::Millis;
use bunho_journal::Audit;
use serde_json::{Value, json};

/// The app of zones and offers that do not say.
const APP_DEFAULT: &str = "default";

/// The revision that an edit was made from.
fn if_match(headers: &HeaderMap) -> Result<Option<u32>, Problem> {
    let Some(text) = header(headers, &IF_MATCH, "If-Match")? else { return Ok(None) };
    let wrong = || Problem::field("If-Match", "must be the ETag of an earlier answer, as \"7\"");
    text.trim_matches('"').parse().map(Some).map_err(|_| wrong())
}

fn with_etag(mut response: Response, revision: u32) -> Response {
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

fn app_id(text: Option<&str>) -> Result<AppId, Problem> {
    AppId::parse(text.unwrap_or(APP_DEFAULT)).map_err(|error| Problem::field("app", error.to_string()))
}

/// The id of what is put: the path's, and the body's only if it is the same.
fn check_id(path: &str, body: Option<&str>) -> Result<(), Problem> {
    if body.is_none_or(|body| body == path) { Ok(()) } else { Err(Problem::field("id", "must be the id in the path, or absent")) }
}

/// Runs a change to its end, also when its client goes away or its time is over in the middle. Else a key could be revoked in
/// the ledger and live on in memory, and somebody who hangs up in time would not stand in the audit log.
async fn to_the_end<T: Send + 'static>(change: impl Future<Output = Result<T, Problem>> + Send + 'static) -> Result<T, Problem> {
    tokio::spawn(change).await.unwrap_or_else(|error| Err(Problem::internal(&error)))
}

/// What an audit entry carries beside its words: the request's body, and what was there before and after; null where there is none. Records
/// and messages carry it as they carry any detail.
fn trail(body: Option<Value>, before: Value, after: Value) -> Option<String> {
    Some(json!({"body": body, "before": before, "after": after}).to_string())
}

/// Notes an action that no journal record carries.
async fn note(app: &App, audit: &Audit) -> Result<(), Problem> {
    app.ledger.append_audit(now(), audit).await.map_err(|error| Problem::unwritten(&error))
}

fn now() -> Millis {
    Millis(jiff::Timestamp::now().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_change_ends_also_when_nobody_waits_for_it() {
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let change = async move {
            let _ = may_go_on.await;
            let _ = done.send(());
            Ok(())
        };
        tokio::select! {
            biased;
            _ = to_the_end(change) => panic!("it waits"),
            () = tokio::task::yield_now() => {}
        }
        go_on.send(()).expect("it goes on");
        is_done.await.expect("it ended");
    }
}
