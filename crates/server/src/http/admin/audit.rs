//! Who did what.

use crate::app::App;
use crate::auth::Viewer;
use crate::http::claims::caught_up;
use crate::http::json::ok;
use crate::http::params::{Params, page};
use crate::http::time::Rfc3339;
use crate::problem::{Answered, Problem};
use axum::extract::State;
use bunho_ledger::AuditRow;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Which entries.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditParams {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    limit: Option<u32>,
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
    caught_up(&app).await?;
    let rows = app.ledger.audit_log(cursor, limit).await?;
    let next_cursor = rows.last().filter(|row| rows.len() == limit && row.id > 1).map(|row| row.id.to_string());
    Ok(ok(&AuditList { entries: rows.into_iter().map(view).collect(), next_cursor }))
}

fn view(row: AuditRow) -> AuditView {
    let AuditRow { id, at, audit } = row;
    AuditView {
        id,
        at: Rfc3339(at),
        actor: audit.actor,
        action: audit.action,
        target: audit.target,
        detail: audit.detail.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text))),
        request_id: audit.request_id,
    }
}
