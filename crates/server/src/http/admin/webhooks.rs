//! Webhooks: who is told of what happens. A secret is shown once, when it is made.

use super::{check_id, if_match, now, to_the_end, trail, with_etag};
use crate::app::App;
use crate::auth::{Admin, Administrator, Operator, Viewer};
use crate::http::json::{JsonBody, answer, no_content, ok};
use crate::http::params::{Segment, nullable};
use crate::http::time::Rfc3339;
use crate::problem::{Answered, FieldError, NOT_FOUND, Problem, REVISION_CONFLICT, TOO_MANY};
use crate::webhooks::new_secret;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use bunho_domain::ids::{AppId, OfferId};
use bunho_domain::limits::NAME_CHARS_MAX;
use bunho_domain::time::Millis;
use bunho_ledger::{ALL_EVENTS, WEBHOOK_EVENTS, WebhookRow, WebhookState};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Instant;
use utoipa::ToSchema;

/// How long a secret that was replaced still signs, if the operator does not say: a day, and a month at most.
const PREVIOUS_SECONDS: u32 = 24 * 3_600;
const PREVIOUS_SECONDS_MAX: u32 = 30 * 24 * 3_600;
/// Bytes of an id, as of a key's.
const ID_BYTES: usize = 6;

/// A webhook to be made or changed. A field that is absent stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookBody {
    /// If sent, the id in the path.
    id: Option<String>,
    /// What it is for.
    name: Option<String>,
    /// Where messages go: an https address.
    url: Option<String>,
    /// Which events; `["*"]`, all, if absent when it is made.
    events: Option<Vec<String>>,
    /// Only of this offer; null: of all.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    offer: Option<Option<String>>,
    /// Only of offers of this app; null: of all.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    app: Option<Option<String>>,
    /// False: nothing is queued for it, and nothing sent.
    enabled: Option<bool>,
}

/// A new secret instead of the one before.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretBody {
    /// How long the one before still signs, beside the new one: up to 30 days; a day if absent.
    previous_seconds: Option<u32>,
}

/// A webhook, without its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookView<'a> {
    id: &'a str,
    name: &'a str,
    url: &'a str,
    events: Vec<&'a str>,
    offer: Option<&'a str>,
    app: Option<&'a str>,
    enabled: bool,
    /// Why it was turned off by itself: `gone` (the receiver answered 410), `backlog_full` (too much waited for it) or `restored` (the data are of a backup).
    disabled_reason: Option<&'a str>,
    /// Until when the secret before the last signs too.
    #[schema(value_type = Option<String>, format = DateTime)]
    previous_secret_until: Option<Rfc3339>,
    revision: u32,
    #[schema(value_type = String, format = DateTime)]
    created_at: Rfc3339,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Rfc3339,
    /// Messages that wait; a few seconds old.
    pending: u64,
    /// Messages that were given up; a few seconds old.
    dead: u64,
    /// Messages that were taken.
    delivered: i64,
    /// Attempts in a row that failed.
    failures: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_success_at: Option<Rfc3339>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_attempt_at: Option<Rfc3339>,
    last_status: Option<u32>,
    last_error: Option<&'a str>,
}

/// A webhook with the secret that was just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeWebhook<'a> {
    #[serde(flatten)]
    webhook: WebhookView<'a>,
    /// What signs its messages, shown this once.
    secret: &'a str,
}

/// Every webhook.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookList<'a> {
    webhooks: Vec<WebhookView<'a>>,
    /// Events that there are.
    known_events: &'static [&'static str],
}

/// What came of a test.
#[derive(Serialize, ToSchema)]
pub(crate) struct TestView {
    /// Whether it was taken.
    delivered: bool,
    /// What was answered, if anything.
    status: Option<u16>,
    /// What was wrong.
    error: Option<String>,
    /// How long it took.
    milliseconds: u64,
}

/// Every webhook.
#[utoipa::path(get, path = "/admin/api/webhooks", tag = "admin", responses((status = 200, body = WebhookList)))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Viewer) -> Answered {
    let rows = app.ledger.webhooks().await?;
    let states = app.ledger.webhook_states().await?;
    let rows: Vec<_> = rows.iter().filter(|row| !row.deleted).map(|row| (row, of(&states, &row.id))).collect();
    let webhooks = rows.iter().map(|(row, state)| view(&app, row, state)).collect();
    Ok(ok(&WebhookList { webhooks, known_events: &WEBHOOK_EVENTS }))
}

/// One webhook.
#[utoipa::path(get, path = "/admin/api/webhooks/{id}", tag = "admin", params(("id" = String, Path)), responses((status = 200, body = WebhookView)))]
pub(crate) async fn read(State(app): State<Arc<App>>, _: Viewer, Segment(id): Segment) -> Answered {
    shown(&app, &id).await
}

/// Makes a webhook.
#[utoipa::path(post, path = "/admin/api/webhooks", tag = "admin", request_body = WebhookBody, responses((status = 201, body = MadeWebhook)))]
pub(crate) async fn make(State(app): State<Arc<App>>, Admin(admin): Admin, body: JsonBody) -> Answered {
    let wanted: WebhookBody = body.parse()?;
    let at = now();
    let id = new_id().map_err(|error| Problem::internal(&error))?;
    let secret = new_secret().map_err(|error| Problem::internal(&error))?;
    let blank = WebhookRow {
        id,
        name: String::new(),
        url: String::new(),
        events: ALL_EVENTS.into(),
        offer: None,
        app: None,
        secret,
        previous_secret: None,
        previous_until: None,
        enabled: true,
        disabled_reason: None,
        revision: 1,
        deleted: false,
        created_at: at,
        updated_at: at,
    };
    let row = changed(&app, blank, wanted, at).await?;
    let audit = admin.audit("webhook.new", &*row.id, trail(Some(body.value()), Value::Null, audited(&row)));
    to_the_end(async move {
        let most = app.config.webhooks.webhooks_max;
        if !app.ledger.insert_webhook(&row, most, &audit).await.map_err(|error| Problem::unwritten(&error))? {
            return Err(Problem::new(&TOO_MANY).detail(format!("There are {most} webhooks (webhooks.webhooks_max)")));
        }
        app.webhooks.look();
        let state = WebhookState::default();
        let made = MadeWebhook { webhook: view(&app, &row, &state), secret: &row.secret };
        Ok(with_etag(answer(StatusCode::CREATED, &made), row.revision))
    })
    .await
}

/// Changes a webhook. Turning one on again sends what has waited.
#[utoipa::path(put, path = "/admin/api/webhooks/{id}", tag = "admin", request_body = WebhookBody,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)), responses((status = 200, body = WebhookView)))]
pub(crate) async fn put(State(app): State<Arc<App>>, Admin(admin): Admin, Segment(id): Segment, body: JsonBody) -> Answered {
    let wanted: WebhookBody = body.parse()?;
    check_id(&id, wanted.id.as_deref())?;
    let expected = if_match(body.headers())?;
    let before = known(&app, &id).await?;
    if expected.is_some_and(|expected| expected != before.revision) {
        return Err(Problem::new(&REVISION_CONFLICT).with("revision", before.revision));
    }
    let after = changed(&app, before.clone(), wanted, now()).await?;
    let audit = admin.audit("webhook.put", &*id, trail(Some(body.value()), audited(&before), audited(&after)));
    to_the_end(async move {
        write(&app, &after, &audit).await?;
        shown(&app, &id).await
    })
    .await
}

/// Takes a webhook away, with everything that waits for it.
#[utoipa::path(delete, path = "/admin/api/webhooks/{id}", tag = "admin", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn delete(State(app): State<Arc<App>>, Admin(admin): Admin, Segment(id): Segment) -> Answered {
    let before = known(&app, &id).await?;
    let audit = admin.audit("webhook.delete", &*id, trail(None, audited(&before), Value::Null));
    to_the_end(async move {
        let gone = app.ledger.delete_webhook(&id, now(), &audit).await.map_err(|error| Problem::unwritten(&error))?;
        app.webhooks.look();
        if gone { Ok(no_content()) } else { Err(Problem::new(&NOT_FOUND)) }
    })
    .await
}

/// Makes a new secret. The one before signs beside it for a while, so that a receiver can change over.
#[utoipa::path(post, path = "/admin/api/webhooks/{id}/secret", tag = "admin", request_body = SecretBody, params(("id" = String, Path)),
    responses((status = 200, body = MadeWebhook)))]
pub(crate) async fn rotate(State(app): State<Arc<App>>, Admin(admin): Admin, Segment(id): Segment, body: JsonBody) -> Answered {
    let SecretBody { previous_seconds } = body.parse()?;
    let seconds = previous_seconds.unwrap_or(PREVIOUS_SECONDS);
    if seconds > PREVIOUS_SECONDS_MAX {
        return Err(Problem::field("previous_seconds", format!("must be 0 to {PREVIOUS_SECONDS_MAX}")));
    }
    let before = known(&app, &id).await?;
    let at = now();
    let after = WebhookRow {
        previous_secret: (seconds > 0).then(|| before.secret.clone()),
        previous_until: (seconds > 0).then(|| at.plus_seconds(seconds)),
        secret: new_secret().map_err(|error| Problem::internal(&error))?,
        updated_at: at,
        ..before.clone()
    };
    let audit = admin.audit("webhook.secret", &*id, trail(Some(body.value()), audited(&before), audited(&after)));
    to_the_end(async move {
        write(&app, &after, &audit).await?;
        let state = of(&app.ledger.webhook_states().await?, &id);
        let row = WebhookRow { revision: after.revision + 1, ..after };
        let made = MadeWebhook { webhook: view(&app, &row, &state), secret: &row.secret };
        Ok(with_etag(ok(&made), row.revision))
    })
    .await
}

/// Sends a message of type `io.bunho.test` at once, and says what came of it. Also to a webhook that is turned off.
#[utoipa::path(post, path = "/admin/api/webhooks/{id}/test", tag = "admin", params(("id" = String, Path)), responses((status = 200, body = TestView)))]
pub(crate) async fn test(State(app): State<Arc<App>>, Operator(admin): Operator, Segment(id): Segment) -> Answered {
    let row = known(&app, &id).await?;
    super::note(&app, &admin.audit("webhook.test", &*id, None)).await?;
    let began = Instant::now();
    let answer = app.webhooks.test(&row, RandomState::new().hash_one(&id)).await;
    if answer.error.is_none() {
        app.webhooks.hurry(&id);
    }
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(ok(&TestView { delivered: answer.error.is_none(), status: answer.status, error: answer.error, milliseconds }))
}

/// A webhook that is there.
pub(super) async fn known(app: &App, id: &str) -> Result<WebhookRow, Problem> {
    let rows = app.ledger.webhooks().await?;
    rows.into_iter().find(|row| row.id == id && !row.deleted).ok_or_else(|| Problem::new(&NOT_FOUND))
}

async fn write(app: &App, row: &WebhookRow, audit: &bunho_journal::Audit) -> Result<(), Problem> {
    if !app.ledger.change_webhook(row, audit).await.map_err(|error| Problem::unwritten(&error))? {
        let current = known(app, &row.id).await?.revision;
        return Err(Problem::new(&REVISION_CONFLICT).with("revision", current));
    }
    app.webhooks.look();
    Ok(())
}

async fn shown(app: &App, id: &str) -> Answered<Response> {
    let row = known(app, id).await?;
    let states = app.ledger.webhook_states().await?;
    Ok(with_etag(ok(&view(app, &row, &of(&states, id))), row.revision))
}

fn of(states: &[WebhookState], id: &str) -> WebhookState {
    states.iter().find(|state| state.webhook == id).cloned().unwrap_or_default()
}

/// `row` as it is wanted; everything that is wrong with it at once.
async fn changed(app: &App, mut row: WebhookRow, wanted: WebhookBody, at: Millis) -> Result<WebhookRow, Problem> {
    let mut errors: Vec<FieldError> = Vec::new();
    let mut wrong = |field: &'static str, reason: String| errors.push(FieldError { field: field.into(), reason: reason.into() });
    let is_new_address = wanted.url.as_ref().is_some_and(|url| *url != row.url) || (wanted.enabled == Some(true) && !row.enabled);
    row.name = wanted.name.unwrap_or(row.name);
    row.url = wanted.url.unwrap_or(row.url);
    row.offer = wanted.offer.unwrap_or(row.offer);
    row.app = wanted.app.unwrap_or(row.app);
    if let Some(enabled) = wanted.enabled {
        row.enabled = enabled;
        row.disabled_reason = None;
    }
    if !(1..=NAME_CHARS_MAX).contains(&row.name.chars().count()) || row.name.chars().any(char::is_control) {
        wrong("name", format!("must be 1 to {NAME_CHARS_MAX} characters without control characters"));
    }
    if let Some(events) = wanted.events {
        match events_text(&events) {
            Ok(text) => row.events = text,
            Err(reason) => wrong("events", reason),
        }
    }
    if let Some(Err(error)) = row.offer.as_deref().map(OfferId::parse) {
        wrong("offer", error.to_string());
    }
    if let Some(Err(error)) = row.app.as_deref().map(AppId::parse) {
        wrong("app", error.to_string());
    }
    // A name is only asked for where something is to be sent to it.
    let checked = if row.enabled && is_new_address { app.webhooks.check(&row.url).await } else { app.webhooks.check_form(&row.url) };
    if let Err(reason) = checked {
        wrong("url", reason);
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    row.updated_at = at;
    Ok(row)
}

fn events_text(events: &[String]) -> Result<String, String> {
    let unknown = events.iter().find(|event| *event != ALL_EVENTS && !WEBHOOK_EVENTS.contains(&event.as_str()));
    if events.is_empty() || unknown.is_some() {
        return Err(format!("must be {ALL_EVENTS}, or some of {}", WEBHOOK_EVENTS.join(", ")));
    }
    if events.iter().any(|event| event == ALL_EVENTS) {
        return Ok(ALL_EVENTS.into());
    }
    let known = WEBHOOK_EVENTS.into_iter().filter(|known| events.iter().any(|event| event == known));
    Ok(known.collect::<Vec<_>>().join(","))
}

fn new_id() -> Result<String, getrandom::Error> {
    let mut bytes = [0; ID_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(format!("wh-{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

/// What of a webhook stands in the audit log.
fn audited(row: &WebhookRow) -> Value {
    json!({
        "id": row.id, "name": row.name, "url": row.url, "events": row.events.split(',').collect::<Vec<_>>(), "offer": row.offer, "app": row.app,
        "enabled": row.enabled, "previous_secret_until": row.previous_until.map(Rfc3339),
    })
}

fn view<'a>(app: &App, row: &'a WebhookRow, state: &'a WebhookState) -> WebhookView<'a> {
    let counts = app.webhooks.counts(&row.id);
    WebhookView {
        id: &row.id,
        name: &row.name,
        url: &row.url,
        events: row.events.split(',').collect(),
        offer: row.offer.as_deref(),
        app: row.app.as_deref(),
        enabled: row.enabled,
        disabled_reason: row.disabled_reason.as_deref(),
        previous_secret_until: row.previous_until.filter(|until| *until > now()).map(Rfc3339),
        revision: row.revision,
        created_at: Rfc3339(row.created_at),
        updated_at: Rfc3339(row.updated_at),
        pending: counts.pending,
        dead: counts.dead,
        delivered: state.delivered,
        failures: state.failures,
        last_success_at: state.last_success_at.map(Rfc3339),
        last_attempt_at: state.last_attempt_at.map(Rfc3339),
        last_status: state.last_status,
        last_error: state.last_error.as_deref(),
    }
}

/// Who asked for something that `deliveries` does.
pub(super) fn asked(admin: &Administrator, action: &str, id: &str, body: Value) -> bunho_journal::Audit {
    admin.audit(action, id, trail(Some(body), Value::Null, Value::Null))
}
