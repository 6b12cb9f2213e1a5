//! Accounts of people: made, changed and taken away by whoever may do everything. A password that nobody chose is shown once.

use super::{now, to_the_end, trail};
use crate::app::App;
use crate::auth::Admin;
use crate::auth::accounts::{NAME_CHARS_MAX, is_name, role};
use crate::auth::passwords::{PASSWORD_CHARS, new_password};
use crate::http::json::{JsonBody, answer, no_content, ok};
use crate::http::params::Segment;
use crate::http::time::Rfc3339;
use crate::problem::{Answered, FieldError, LAST_ADMIN_KEY, NAME_TAKEN, NOT_FOUND, Problem};
use axum::extract::State;
use axum::http::StatusCode;
use bunho_journal::crash_point;
use bunho_ledger::{AccountChange, AccountRow, Changed};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::ToSchema;

/// An account to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountBody {
    name: String,
    /// `viewer`, `operator` or `admin`.
    role: String,
    /// 10 to 256 characters. Absent: one is made, and shown once.
    password: Option<String>,
}

/// What is to be another; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountEdit {
    role: Option<String>,
    disabled: Option<bool>,
    /// Ends the account's sessions.
    password: Option<String>,
    /// False: asks for no codes any more. Only its owner can turn them on.
    totp: Option<bool>,
}

/// An account, without what lets somebody in.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountView<'a> {
    name: &'a str,
    role: &'a str,
    /// Whether it asks for codes.
    totp: bool,
    disabled: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Rfc3339,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_signed_in_at: Option<Rfc3339>,
}

/// An account that was just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeAccount<'a> {
    #[serde(flatten)]
    account: AccountView<'a>,
    /// The password that was made, shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

/// Every account, by name.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountList<'a> {
    accounts: Vec<AccountView<'a>>,
}

/// Every account.
#[utoipa::path(get, path = "/admin/api/accounts", tag = "admin", responses((status = 200, body = AccountList)))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Admin) -> Answered {
    let rows = app.ledger.accounts().await?;
    Ok(ok(&AccountList { accounts: rows.iter().map(view).collect() }))
}

/// Makes an account.
#[utoipa::path(post, path = "/admin/api/accounts", tag = "admin", request_body = AccountBody, responses((status = 201, body = MadeAccount)))]
pub(crate) async fn make(State(app): State<Arc<App>>, Admin(admin): Admin, body: JsonBody) -> Answered {
    let AccountBody { name, role, password } = body.parse()?;
    let mut errors = Vec::new();
    if !is_name(&name) {
        errors.push(FieldError {
            field: "name".into(),
            reason: format!("must be 1 to {NAME_CHARS_MAX} letters, digits or any of . _ @ + -, all of them ASCII").into(),
        });
    }
    check(&mut errors, Some(&role), password.as_deref());
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let made = if password.is_none() { Some(new_password().map_err(|error| Problem::internal(&error))?) } else { None };
    let password_hash = app.passwords.hash(password.or_else(|| made.clone()).unwrap_or_default()).await?;
    let created_at = now();
    let row = AccountRow {
        name,
        role,
        password_hash,
        totp_secret: None,
        totp_pending: None,
        totp_step: 0,
        disabled: false,
        created_at,
        last_signed_in_at: None,
    };
    let audit = admin.audit("account.new", &*row.name, trail(None, Value::Null, audited(&row)));
    to_the_end(async move {
        let kept = app.ledger.insert_account(&row, created_at, &audit).await.map_err(|error| Problem::unwritten(&error))?;
        crash_point!("admin::account_made");
        app.accounts.reload(&app.ledger).await?;
        if !kept {
            return Err(Problem::new(&NAME_TAKEN));
        }
        Ok(answer(StatusCode::CREATED, &MadeAccount { account: view(&row), password: made.as_deref() }))
    })
    .await
}

/// Changes an account. The last administrator stays one.
#[utoipa::path(put, path = "/admin/api/accounts/{name}", tag = "admin", request_body = AccountEdit, params(("name" = String, Path)),
    responses((status = 200, body = AccountView)))]
pub(crate) async fn put(State(app): State<Arc<App>>, Admin(admin): Admin, Segment(name): Segment, body: JsonBody) -> Answered {
    let AccountEdit { role, disabled, password, totp } = body.parse()?;
    let mut errors = Vec::new();
    check(&mut errors, role.as_deref(), password.as_deref());
    if totp == Some(true) {
        errors.push(FieldError { field: "totp".into(), reason: "can only be turned on by the account's owner".into() });
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let before = known(&app, &name).await?;
    let password_hash = match password {
        Some(password) => Some(app.passwords.hash(password).await?),
        None => None,
    };
    let after = AccountRow {
        role: role.clone().unwrap_or_else(|| before.role.clone()),
        disabled: disabled.unwrap_or(before.disabled),
        totp_secret: before.totp_secret.clone().filter(|_| totp.is_none()),
        ..before.clone()
    };
    let body = json!({"password": password_hash.is_some()});
    let audit = admin.audit("account.put", &*name, trail(Some(body), audited(&before), audited(&after)));
    to_the_end(async move {
        let change = AccountChange {
            role: role.as_deref(),
            disabled,
            password_hash: password_hash.as_deref(),
            drops_totp: totp == Some(false),
            // One's own session goes on: an admin who changes the own account here knows of it.
            keep_session: admin.session.as_ref().map(|session| &*session.id),
        };
        let changed = app.ledger.change_account(&name, change, now(), &audit).await.map_err(|error| Problem::unwritten(&error))?;
        settle(&app, changed).await?;
        Ok(ok(&view(&known(&app, &name).await?)))
    })
    .await
}

/// Takes an account away, and with it its sessions. The last administrator stays.
#[utoipa::path(delete, path = "/admin/api/accounts/{name}", tag = "admin", params(("name" = String, Path)), responses((status = 204)))]
pub(crate) async fn delete(State(app): State<Arc<App>>, Admin(admin): Admin, Segment(name): Segment) -> Answered {
    let before = known(&app, &name).await?;
    let audit = admin.audit("account.delete", &*name, trail(None, audited(&before), Value::Null));
    to_the_end(async move {
        let changed = app.ledger.remove_account(&name, now(), &audit).await.map_err(|error| Problem::unwritten(&error))?;
        crash_point!("admin::account_removed");
        settle(&app, changed).await?;
        Ok(no_content())
    })
    .await
}

/// Puts in memory what has changed in the ledger.
pub(super) async fn settle(app: &App, changed: Changed) -> Result<(), Problem> {
    app.accounts.reload(&app.ledger).await?;
    app.sessions.reload(&app.ledger).await?;
    match changed {
        Changed::Done => Ok(()),
        Changed::Unknown => Err(Problem::new(&NOT_FOUND)),
        Changed::LastAdmin => Err(Problem::new(&LAST_ADMIN_KEY)),
    }
}

pub(super) async fn known(app: &App, name: &str) -> Result<AccountRow, Problem> {
    let found = if is_name(name) { app.ledger.account(name).await? } else { None };
    found.ok_or_else(|| Problem::new(&NOT_FOUND))
}

/// What of an account stands in the audit log.
pub(super) fn audited(row: &AccountRow) -> Value {
    json!({"name": row.name, "role": row.role, "disabled": row.disabled, "totp": row.totp_secret.is_some()})
}

pub(super) fn check_password(errors: &mut Vec<FieldError>, field: &'static str, password: &str) {
    if !PASSWORD_CHARS.contains(&password.chars().count()) {
        let reason = format!("must be {} to {} characters", PASSWORD_CHARS.start(), PASSWORD_CHARS.end());
        errors.push(FieldError { field: field.into(), reason: reason.into() });
    }
}

fn check(errors: &mut Vec<FieldError>, wanted: Option<&str>, password: Option<&str>) {
    if wanted.is_some_and(|wanted| role(wanted).is_none()) {
        errors.push(FieldError { field: "role".into(), reason: "must be viewer, operator or admin".into() });
    }
    if let Some(password) = password {
        check_password(errors, "password", password);
    }
}

fn view(row: &AccountRow) -> AccountView<'_> {
    AccountView {
        name: &row.name,
        role: &row.role,
        totp: row.totp_secret.is_some(),
        disabled: row.disabled,
        created_at: Rfc3339(row.created_at),
        last_signed_in_at: row.last_signed_in_at.map(Rfc3339),
    }
}
