//! Who did what.

use crate::app::App;
use crate::auth::Viewer;
use crate::http::claims::caught_up;
use crate::http::json::ok;
use crate::http::params::{Params, page};
use crate::http::time::Rfc3339;
use crate::problem::{Answered, Problem};
use axum::extract::State;
use bunho_ledger::{AuditFilter, AuditRow};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Longest text that is looked for: actors end with what people call their keys.
const FILTER_BYTES_MAX: usize = 1_000;

/// Which entries.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditParams {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    limit: Option<u32>,
    /// Only by this actor: all of the text, or its first word, as `key:key-0123456789ab`.
    actor: Option<String>,
    /// Only this action, as `zone.put`.
    action: Option<String>,
    /// Only about what has this id.
    target: Option<String>,
}

/// One entry.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditView {
    id: i64,
    #[schema(value_type = String, format = DateTime)]
    at: Rfc3339,
    actor: String,
    action: String,
    target: String,
    /// The request's body, where it had one.
    #[schema(value_type = Option<Object>)]
    detail: Option<Value>,
    /// What was there before; null: nothing, or it is not known.
    #[schema(value_type = Option<Object>)]
    before: Option<Value>,
    /// What was there after.
    #[schema(value_type = Option<Object>)]
    after: Option<Value>,
    request_id: Option<String>,
}

/// A page of the audit log, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditList {
    entries: Vec<AuditView>,
    /// Give it as `cursor` for the next page; null at the end.
    next_cursor: Option<String>,
}

/// The audit log, newest first.
#[utoipa::path(get, path = "/admin/api/audit", tag = "admin", params(AuditParams), responses((status = 200, body = AuditList)))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Viewer, Params(params): Params<AuditParams>) -> Answered {
    let limit = page(params.limit)?;
    let wrong = |_| Problem::field("cursor", "must be a next_cursor from an earlier answer");
    let cursor = params.cursor.as_deref().map(|text| text.parse::<i64>().map_err(wrong)).transpose()?;
    for (field, text) in [("actor", &params.actor), ("action", &params.action), ("target", &params.target)] {
        if text.as_ref().is_some_and(|text| text.len() > FILTER_BYTES_MAX || text.chars().any(char::is_control)) {
            return Err(Problem::field(field, format!("must be at most {FILTER_BYTES_MAX} bytes without control characters")));
        }
    }
    let filter = AuditFilter { actor: params.actor.as_deref(), action: params.action.as_deref(), target: params.target.as_deref() };
    caught_up(&app).await?;
    let rows = app.ledger.audit_log(cursor, filter, limit).await?;
    let next_cursor = rows.last().filter(|row| rows.len() == limit && row.id > 1).map(|row| row.id.to_string());
    Ok(ok(&AuditList { entries: rows.into_iter().map(view).collect(), next_cursor }))
}

fn view(row: AuditRow) -> AuditView {
    let AuditRow { id, at, audit } = row;
    let Trail { body: detail, before, after } = trail(audit.detail);
    AuditView {
        id,
        at: Rfc3339(at),
        actor: audit.actor,
        action: audit.action,
        target: audit.target,
        detail,
        before,
        after,
        request_id: audit.request_id,
    }
}

/// What [`super::trail`] wrote.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trail {
    #[serde(deserialize_with = "Option::deserialize")]
    body: Option<Value>,
    #[serde(deserialize_with = "Option::deserialize")]
    before: Option<Value>,
    #[serde(deserialize_with = "Option::deserialize")]
    after: Option<Value>,
}

fn trail(detail: Option<String>) -> Trail {
    let whole = |body| Trail { body, before: None, after: None };
    let Some(text) = detail else { return whole(None) };
    serde_json::from_str(&text).unwrap_or_else(|_| whole(Some(serde_json::from_str(&text).unwrap_or(Value::String(text)))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_trail_comes_back_and_other_details_stay_what_they_are() {
        let read = |text: Option<String>| {
            let Trail { body, before, after } = trail(text);
            json!([body, before, after])
        };
        assert_eq!(read(super::super::trail(Some(json!({"a": 1})), Value::Null, json!({"b": 2}))), json!([{"a": 1}, null, {"b": 2}]));
        assert_eq!(read(super::super::trail(None, json!({"b": 1}), Value::Null)), json!([null, {"b": 1}, null]));
        assert_eq!(read(None), json!([null, null, null]));
        assert_eq!(read(Some("plain".into())), json!(["plain", null, null]));
        assert_eq!(read(Some(r#"{"before": 1}"#.into())), json!([{"before": 1}, null, null]));
    }
}
