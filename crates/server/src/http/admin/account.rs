//! One's own account: another password, and whether a code is asked for. Only for those who signed in with a name.

use super::accounts::{audited, check_password, known, settle};
use super::session::too_fast;
use super::{now, to_the_end, trail};
use crate::app::App;
use crate::auth::keys::Who;
use crate::auth::{Administrator, Viewer, totp};
use crate::http::json::{JsonBody, no_content, ok};
use crate::http::time::unix_seconds;
use crate::problem::{Answered, FORBIDDEN, IN_USE, NOT_FOUND, Problem};
use axum::extract::State;
use bunho_ledger::{AccountChange, AccountRow, Totp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;
use utoipa::ToSchema;

/// Another password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordBody {
    /// The one that it has.
    old: String,
    /// 10 to 256 characters.
    new: String,
}

/// A code of one's authenticator.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CodeBody {
    code: String,
}

/// What an authenticator is told, this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct TotpView<'a> {
    /// In base32.
    secret: &'a str,
    /// The same as `otpauth:`, for a picture.
    uri: String,
}

/// Changes one's own password, and ends one's other sessions.
#[utoipa::path(post, path = "/admin/api/account/password", tag = "admin", request_body = PasswordBody, responses((status = 204)))]
pub(crate) async fn password(State(app): State<Arc<App>>, Viewer(own): Viewer, body: JsonBody) -> Answered {
    let PasswordBody { old, new } = body.parse()?;
    let account = account(&app, &own).await?;
    let mut errors = Vec::new();
    check_password(&mut errors, "new", &new);
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    attempt(&app, &account)?;
    if !app.passwords.is(old, Some(account.password_hash.clone())).await? {
        // No 401: the session is a good one.
        return Err(Problem::field("old", "is not the account's password"));
    }
    was_right(&app, &account);
    let password_hash = app.passwords.hash(new).await?;
    let view = audited(&account);
    let audit = own.audit("account.password", &*account.name, trail(None, view.clone(), view));
    to_the_end(async move {
        let change = AccountChange {
            password_hash: Some(&password_hash),
            keep_session: own.session.as_ref().map(|session| &*session.id),
            ..AccountChange::default()
        };
        let changed = app.ledger.change_account(&account.name, change, now(), &audit).await.map_err(|error| Problem::unwritten(&error))?;
        settle(&app, changed).await?;
        Ok(no_content())
    })
    .await
}

/// Offers a secret for an authenticator. It counts once a first code was given; asking again offers another one.
#[utoipa::path(post, path = "/admin/api/account/totp", tag = "admin", responses((status = 200, body = TotpView)))]
pub(crate) async fn offer_totp(State(app): State<Arc<App>>, Viewer(own): Viewer) -> Answered {
    let account = account(&app, &own).await?;
    let secret = totp::new_secret().map_err(|error| Problem::internal(&error))?;
    let offered = app.ledger.set_totp(&account.name, Totp::Offered(&secret), now(), None).await;
    if offered.map_err(|error| Problem::unwritten(&error))? {
        let uri = totp::uri(&account.name, &secret);
        Ok(ok(&TotpView { secret: &secret, uri }))
    } else {
        Err(Problem::new(&IN_USE).detail("Codes are asked for already; turn them off first"))
    }
}

/// Asks for codes from now on.
#[utoipa::path(put, path = "/admin/api/account/totp", tag = "admin", request_body = CodeBody, responses((status = 204)))]
pub(crate) async fn turn_totp_on(State(app): State<Arc<App>>, Viewer(own): Viewer, body: JsonBody) -> Answered {
    let CodeBody { code } = body.parse()?;
    let account = account(&app, &own).await?;
    let secret = account.totp_pending.clone().ok_or_else(|| Problem::new(&NOT_FOUND).detail("No secret was offered"))?;
    attempt(&app, &account)?;
    let step = totp::step(&secret, &code, unix_seconds()).ok_or_else(wrong_code)?;
    was_right(&app, &account);
    set(app, own, account, Some((secret, step))).await
}

/// Asks for no codes any more.
#[utoipa::path(delete, path = "/admin/api/account/totp", tag = "admin", request_body = CodeBody, responses((status = 204)))]
pub(crate) async fn turn_totp_off(State(app): State<Arc<App>>, Viewer(own): Viewer, body: JsonBody) -> Answered {
    let CodeBody { code } = body.parse()?;
    let account = account(&app, &own).await?;
    let secret = account.totp_secret.clone().ok_or_else(|| Problem::new(&NOT_FOUND).detail("No codes are asked for"))?;
    attempt(&app, &account)?;
    let step = totp::step(&secret, &code, unix_seconds()).ok_or_else(wrong_code)?;
    if !app.ledger.take_totp_step(&account.name, step).await.map_err(|error| Problem::unwritten(&error))? {
        return Err(wrong_code());
    }
    was_right(&app, &account);
    set(app, own, account, None).await
}

/// On, with the secret and the step of its first code; or off.
async fn set(app: Arc<App>, own: Administrator, account: AccountRow, on: Option<(String, i64)>) -> Answered {
    let before = audited(&account);
    let mut after = before.clone();
    after["totp"] = json!(on.is_some());
    let action = if on.is_some() { "account.totp_on" } else { "account.totp_off" };
    let audit = own.audit(action, &*account.name, trail(None, before, after));
    to_the_end(async move {
        let totp = on.as_ref().map_or(Totp::Off, |(secret, step)| Totp::On(secret, *step));
        let set = app.ledger.set_totp(&account.name, totp, now(), Some(&audit)).await.map_err(|error| Problem::unwritten(&error))?;
        app.accounts.reload(&app.ledger).await?;
        if set { Ok(no_content()) } else { Err(Problem::new(&NOT_FOUND)) }
    })
    .await
}

async fn account(app: &App, own: &Administrator) -> Result<AccountRow, Problem> {
    match own.identity.who {
        Who::Account { .. } => known(app, &own.identity.name).await,
        Who::Key => Err(Problem::new(&FORBIDDEN).detail("A key has no password and no codes")),
    }
}

fn wrong_code() -> Problem {
    Problem::field("code", "is not the authenticator's, or was used before")
}

/// Whoever has a session may not guess at the password or the code behind it either. The name is what counts here.
fn attempt(app: &App, account: &AccountRow) -> Result<(), Problem> {
    app.throttle.attempt(Some(&account.name), None, Instant::now()).map_err(too_fast)
}

fn was_right(app: &App, account: &AccountRow) {
    app.throttle.was_right(Some(&account.name), None);
}
