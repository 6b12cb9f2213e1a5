//! Keys of services and operators. A key is shown once, when it is made.

use super::{now, to_the_end, trail};
use crate::app::App;
use crate::auth::Admin;
use crate::auth::keys::{Role, key_hash};
use crate::http::json::{JsonBody, answer, no_content, ok};
use crate::http::params::Segment;
use crate::http::time::Rfc3339;
use crate::problem::{Answered, FieldError, LAST_ADMIN_KEY, NOT_FOUND, Problem};
use crate::secrets::new_key;
use crate::tls::Required;
use axum::extract::State;
use axum::http::StatusCode;
use bunho_domain::limits::NAME_CHARS_MAX;
use bunho_journal::crash_point;
use bunho_ledger::{Changed, NewKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::ToSchema;

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyBody {
    /// `service`, `viewer`, `operator` or `admin`.
    role: String,
    /// What it is for.
    name: String,
    /// Until when it counts; null: until it is revoked.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Rfc3339>,
    /// Which client certificate must come with it, of a service: `sha256:` and its digits, or a name of it as `dns:shop.internal`, `uri:…` or
    /// `email:…`.
    #[serde(default)]
    certificate: Option<String>,
}

/// A key that was just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeKey<'a> {
    id: &'a str,
    role: &'static str,
    name: &'a str,
    /// The key itself, shown this once.
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<&'a str>,
}

/// A key, without the key.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyView<'a> {
    id: &'a str,
    role: &'a str,
    name: &'a str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Rfc3339,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Rfc3339>,
    certificate: Option<&'a str>,
}

/// Every key.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyList<'a> {
    keys: Vec<KeyView<'a>>,
}

/// Every key that is not revoked.
#[utoipa::path(get, path = "/admin/api/keys", tag = "admin", responses((status = 200, body = KeyList)))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Admin) -> Answered {
    let rows = app.ledger.keys().await?;
    let view = rows.iter().map(|row| KeyView {
        id: &row.id,
        role: &row.role,
        name: &row.name,
        created_at: Rfc3339(row.created_at),
        expires_at: row.expires_at.map(Rfc3339),
        certificate: row.certificate.as_deref(),
    });
    Ok(ok(&KeyList { keys: view.collect() }))
}

/// Makes a key.
#[utoipa::path(post, path = "/admin/api/keys", tag = "admin", request_body = KeyBody, responses((status = 201, body = MadeKey)))]
pub(crate) async fn make(State(app): State<Arc<App>>, Admin(admin): Admin, body: JsonBody) -> Answered {
    let wanted: KeyBody = body.parse()?;
    let mut errors = Vec::new();
    let role = Role::parse(&wanted.role);
    if role.is_none() {
        errors.push(FieldError { field: "role".into(), reason: "must be service, viewer, operator or admin".into() });
    }
    if !(1..=NAME_CHARS_MAX).contains(&wanted.name.chars().count()) || wanted.name.chars().any(char::is_control) {
        errors.push(FieldError {
            field: "name".into(),
            reason: format!("must be 1 to {NAME_CHARS_MAX} characters without control characters").into(),
        });
    }
    if wanted.expires_at.is_some_and(|at| at.0 <= now()) {
        errors.push(FieldError { field: "expires_at".into(), reason: "must be later than now".into() });
    }
    let certificate = wanted.certificate.as_deref().map(Required::parse);
    if certificate == Some(None) {
        errors.push(FieldError {
            field: "certificate".into(),
            reason: "must be sha256: and 64 digits, or a name as dns:, uri: or email:".into(),
        });
    }
    if certificate.is_some() && role.is_some_and(|role| role != Role::Service) {
        errors.push(FieldError { field: "certificate".into(), reason: "is for keys of services".into() });
    }
    let certificate = certificate.flatten();
    let Some(role) = role.filter(|_| errors.is_empty()) else { return Err(Problem::invalid(errors)) };
    let key = new_key().map_err(|failure| Problem::failure(&failure))?;
    let hash = key_hash(&key);
    // Public, and as good as unique: the first bytes of a hash of random bits.
    let id = format!("key-{}", &hash[..12]);
    let audit = admin.audit("key.new", &*id, trail(None, Value::Null, json!({
            "id": id, "role": role.word(), "name": wanted.name, "expires_at": wanted.expires_at, "certificate": certificate.as_ref().map(Required::as_str)
        })));
    to_the_end(async move {
        let _changing = app.keys.changing.lock().await;
        let (expires_at, certificate) = (wanted.expires_at, certificate.as_ref().map(Required::as_str));
        let (role, name) = (role.word(), &*wanted.name);
        let new = NewKey { id: &id, role, name, key_hash: &hash, expires_at: expires_at.map(|at| at.0), certificate };
        app.ledger.insert_key(&new, now(), &audit).await.map_err(|error| Problem::unwritten(&error))?;
        crash_point!("admin::key_made");
        app.keys.reload(&app.ledger).await?;
        Ok(answer(StatusCode::CREATED, &MadeKey { id: &id, role, name, key: &key, expires_at, certificate }))
    })
    .await
}

/// Revokes a key, and with it its sessions. The last administrator stays.
#[utoipa::path(delete, path = "/admin/api/keys/{id}", tag = "admin", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn revoke(State(app): State<Arc<App>>, Admin(admin): Admin, Segment(id): Segment) -> Answered {
    to_the_end(async move {
        let _changing = app.keys.changing.lock().await;
        let rows = app.ledger.keys().await?;
        let Some(row) = rows.iter().find(|row| row.id == id) else { return Err(Problem::new(&NOT_FOUND)) };
        let before = json!({"id": row.id, "role": row.role, "name": row.name});
        let audit = admin.audit("key.revoke", &*id, trail(None, before, Value::Null));
        let revoked = app.ledger.revoke_key(&id, now(), &audit).await.map_err(|error| Problem::unwritten(&error))?;
        crash_point!("admin::key_revoked");
        app.keys.reload(&app.ledger).await?;
        app.sessions.reload(&app.ledger).await?;
        match revoked {
            Changed::Done => Ok(no_content()),
            Changed::Unknown => Err(Problem::new(&NOT_FOUND)),
            Changed::LastAdmin => Err(Problem::new(&LAST_ADMIN_KEY)),
        }
    })
    .await
}
