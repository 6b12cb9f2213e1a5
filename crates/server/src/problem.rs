//! Every error of every layer as one answer: (status, stable code, safe message, extra fields).
//!
//! This file is the whole map. What a client may rely on is the status, the `code` and the extra fields; `title` and
//! `detail` are for people. Nothing of an error's source chain reaches a client: 5xx are logged with their chain,
//! once, where the answer leaves.
//!
//! A [`Problem`] on its way out is an empty response that carries itself as an extension: the edge, which knows the
//! request's id, writes the body ([`Problem::render`]).

mod lines;

use crate::exit::{Failure, chain};
use crate::http::time::Rfc3339;
use crate::telemetry::context::TraceId;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bunho_domain::claim::Status;
use bunho_domain::offer::refusal::Refusal;
use bunho_domain::offer::settings::SettingError;
use bunho_engine::EngineError;
use bunho_ledger::{LedgerError, Outage};
use lines::Lines;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

/// Seconds after which a client may ask again when nothing better is known.
const RETRY_SECONDS: u32 = 1;
/// Seconds after which a node whose journal failed has been restarted, at the earliest.
const RESTART_SECONDS: u32 = 5;

/// A kind of problem: what stays the same whenever it occurs.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// HTTP status.
    pub status: u16,
    /// Stable code.
    pub code: &'static str,
    /// What it means, in a few words.
    pub title: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $status:literal $code:literal $title:literal;)*) => {
        $(#[doc = $title] pub const $name: Kind = Kind { status: $status, code: $code, title: $title };)*
        /// Every kind there is, for the documents and the tests.
        pub const KINDS: &[&Kind] = &[$(&$name),*];
    };
}

kinds! {
    INVALID_REQUEST = 400 "invalid_request" "The request is not well formed";
    QUANTITY_INVALID = 400 "quantity_invalid" "The quantity is outside what one claim may take";
    UNAUTHENTICATED = 401 "unauthenticated" "Credentials are missing or not valid";
    TOTP_REQUIRED = 401 "totp_required" "The account asks for a code of its authenticator";
    TICKET_INVALID = 401 "ticket_invalid" "The ticket was not given out for this zone";
    CHALLENGE_REQUIRED = 403 "challenge_required" "This line wants work to be shown first";
    ENQUEUE_TOKEN_REQUIRED = 403 "enqueue_token_required" "This line is joined from the organiser's own site only";
    ENQUEUE_TOKEN_INVALID = 403 "enqueue_token_invalid" "The site's token is forged, expired or another zone's";
    FORBIDDEN = 403 "forbidden" "The caller may not do this";
    CERTIFICATE_REQUIRED = 403 "certificate_required" "The key counts only together with its client certificate";
    ADDRESS_REFUSED = 403 "address_refused" "Administration is not allowed from this address";
    PASS_REQUIRED = 403 "pass_required" "A pass of the zone is wanted here";
    PASS_INVALID = 403 "pass_invalid" "The pass is forged, expired or another zone's";
    PASS_USED = 403 "pass_used" "The pass has taken its one claim of this offer";
    UNKNOWN_OFFER = 404 "unknown_offer" "There is no such offer";
    UNKNOWN_CLAIM = 404 "unknown_claim" "There is no such claim for this caller";
    UNKNOWN_STANDBY = 404 "unknown_standby" "There is no such place on standby for this caller";
    UNKNOWN_ZONE = 404 "unknown_zone" "There is no such zone";
    NOT_FOUND = 404 "not_found" "There is nothing here";
    METHOD_NOT_ALLOWED = 405 "method_not_allowed" "The method is not allowed here";
    NOT_ACCEPTABLE = 406 "not_acceptable" "The answer cannot be had in an accepted form";
    REQUEST_TIMEOUT = 408 "request_timeout" "The body did not arrive in time";
    NOT_OPEN = 409 "not_open" "The offer opens later";
    CLOSED = 409 "closed" "The offer is over";
    SOLD_OUT = 409 "sold_out" "Too few units are left";
    LIMIT_REACHED = 409 "limit_reached" "The user has all they may have";
    NOT_HELD = 409 "not_held" "The claim is not in the state that this needs";
    DEADLINE_PASSED = 409 "deadline_passed" "The hold's deadline has passed";
    NO_STANDBY = 409 "no_standby" "The offer keeps no standby";
    QUANTITY_TAKEN = 409 "quantity_taken" "The quantity would fall below what is taken";
    IN_USE = 409 "in_use" "It is still in use";
    LAST_ADMIN_KEY = 409 "last_admin_key" "The last administrator, key or account, cannot be taken away";
    NAME_TAKEN = 409 "name_taken" "There is one of this name";
    TOO_MANY = 409 "too_many" "There are as many as there may be";
    TICKET_GONE = 410 "ticket_gone" "The ticket's place is gone";
    REVISION_CONFLICT = 412 "revision_conflict" "It was changed since it was read";
    BODY_TOO_LARGE = 413 "body_too_large" "The body is too large";
    UNSUPPORTED_MEDIA_TYPE = 415 "unsupported_media_type" "The body must be application/json";
    KEY_REUSED = 422 "key_reused" "The Idempotency-Key was used with another body";
    TOO_FAST = 429 "too_fast" "Asked again too soon";
    HEADERS_TOO_LARGE = 431 "headers_too_large" "The request's head is too large";
    INTERNAL = 500 "internal" "Something failed here";
    OVERLOADED = 503 "overloaded" "Too much is under way; nothing happened";
    SUSPENDED = 503 "suspended" "Claims are suspended; nothing happened";
    RECOVERING = 503 "recovering" "Recovering; nothing happened";
    INDETERMINATE = 503 "indeterminate" "The result is unknown; retry with the same key";
}

/// One answer that is not what was asked for.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: &'static Kind,
    /// The kind's, but for the few places where it differs.
    status: u16,
    detail: Cow<'static, str>,
    extra: Map<String, Value>,
    retry_after_seconds: Option<u32>,
    /// The connection cannot be used on, because the rest of a body is still under way.
    close: bool,
    /// What failed, for the log alone.
    failed: Option<String>,
    /// The log has it.
    told: AtomicBool,
}

/// A field of a request and what is wrong with it.
#[derive(Clone, Debug, Serialize, PartialEq, Eq, utoipa::ToSchema)]
pub struct FieldError {
    /// Name of the field, as sent; a path for nested ones.
    pub field: Cow<'static, str>,
    /// What it must be.
    pub reason: Cow<'static, str>,
}

/// A result whose error is an answer.
pub type Answered<T = Response> = Result<T, Problem>;

impl Problem {
    /// A problem of a kind, with the kind's title as its detail.
    #[must_use]
    pub fn new(kind: &'static Kind) -> Self {
        let retry_after_seconds = (kind.status == 503).then_some(RETRY_SECONDS);
        let detail = Cow::Borrowed(kind.title);
        Self(Box::new(Parts {
            kind,
            status: kind.status,
            detail,
            extra: Map::new(),
            retry_after_seconds,
            close: false,
            failed: None,
            told: AtomicBool::new(false),
        }))
    }

    /// Says more.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.extra.insert(name.into(), value.into());
        self
    }

    /// Answers with another status than the kind's.
    #[must_use]
    pub fn status_instead(mut self, status: u16) -> Self {
        self.0.status = status;
        self
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_seconds = Some(seconds);
        self
    }

    /// Ends the connection with this answer.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.0.close = true;
        self
    }

    /// Fields of the request that are wrong.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let errors = serde_json::to_value(&errors).unwrap_or_default();
        Self::new(&INVALID_REQUEST).with("errors", errors)
    }

    /// One field of the request that is wrong.
    #[must_use]
    pub fn field(field: impl Into<Cow<'static, str>>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::invalid(vec![FieldError { field: field.into(), reason: reason.into() }])
    }

    /// Settings out of their range.
    #[must_use]
    pub fn settings(errors: Vec<SettingError>) -> Self {
        Self::invalid(errors.into_iter().map(|e| FieldError { field: e.field.into(), reason: e.reason.into() }).collect())
    }

    /// A failure that the caller cannot mend; its chain goes to the log and nowhere else.
    #[must_use]
    pub fn internal(error: &dyn Error) -> Self {
        Self::logged(&INTERNAL, error)
    }

    /// As [`Self::internal`], for failures of the program's own parts.
    #[must_use]
    pub fn failure(failure: &Failure) -> Self {
        Self::because(&INTERNAL, failure.to_string())
    }

    /// A 5xx: its chain goes to the log, once.
    fn logged(kind: &'static Kind, error: &dyn Error) -> Self {
        Self::because(kind, chain(error))
    }

    fn because(kind: &'static Kind, failed: String) -> Self {
        let mut problem = Self::new(kind);
        problem.0.failed = Some(failed);
        problem
    }

    /// Says in the log what failed, if anything did and it was not said before. The edge, which knows whose request it was, does so; a problem
    /// that never gets there does so when it is dropped.
    pub(crate) fn tell(&self, request_id: Option<&str>, trace: Option<TraceId>) {
        self.0.tell(request_id, trace);
    }

    /// A change in the ledger that failed: it may have been made where the database fell silent in the middle.
    pub(crate) fn unwritten(error: &LedgerError) -> Self {
        match error.outage() {
            Some(Outage::Before) => Self::new(&RECOVERING),
            Some(Outage::During) => Self::logged(&INDETERMINATE, error),
            None => Self::internal(error),
        }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &'static Kind {
        self.0.kind
    }

    /// When to come back, where that was said.
    pub(crate) fn retry_after_seconds(&self) -> Option<u32> {
        self.0.retry_after_seconds
    }

    /// HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The body, with the id of the request it answers.
    #[must_use]
    pub fn render(&self, request_id: &str) -> Vec<u8> {
        self.render_traced(request_id, None)
    }

    /// As [`Self::render`], for a request that is part of a trace.
    pub(crate) fn render_traced(&self, request_id: &str, trace: Option<TraceId>) -> Vec<u8> {
        let Parts { kind, status, detail, extra, .. } = &*self.0;
        let mut body = extra.clone();
        if let Some(trace) = trace {
            body.insert("trace_id".into(), json!(trace.to_string()));
        }
        for (name, value) in [
            ("type", json!(format!("urn:bunho:problem:{}", kind.code))),
            ("title", json!(kind.title)),
            ("status", json!(status)),
            ("detail", json!(detail)),
            ("code", json!(kind.code)),
            ("request_id", json!(request_id)),
        ] {
            body.insert(name.into(), value);
        }
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl Parts {
    fn tell(&self, request_id: Option<&str>, trace: Option<TraceId>) {
        static LINES: Lines = Lines::new();
        let Some(error) = &self.failed else { return };
        if self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(left_out) = LINES.take() {
            let trace_id = trace.map(tracing::field::display);
            tracing::error!(code = self.kind.code, error, request_id, trace_id, left_out, "a request failed");
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.tell(None, None);
    }
}

/// Found by the edge in a response's extensions.
#[derive(Clone)]
pub(crate) struct Carried(pub(crate) std::sync::Arc<Problem>);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.0.retry_after_seconds {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.0.status == 401 {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"bunho\""));
        }
        if self.0.close {
            headers.insert(axum::http::header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(Carried(std::sync::Arc::new(self)));
        response
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::UnknownOffer => Self::new(&UNKNOWN_OFFER),
            EngineError::UnknownZone => Self::new(&UNKNOWN_ZONE),
            EngineError::TicketInvalid => Self::new(&TICKET_INVALID),
            EngineError::TicketGone => Self::new(&TICKET_GONE),
            EngineError::TooFast { retry_ms } => Self::new(&TOO_FAST).retry_after(seconds_up(retry_ms)),
            EngineError::Overloaded => Self::new(&OVERLOADED),
            EngineError::Poisoned => Self::logged(&SUSPENDED, &error).retry_after(RESTART_SECONDS),
            EngineError::Suspended => Self::new(&SUSPENDED),
            // The engine has said so once; a crowd that meets it is not logged one by one.
            EngineError::Unavailable(_) => Self::new(&RECOVERING),
            EngineError::Indeterminate(_) => Self::logged(&INDETERMINATE, &error),
            // With `ack = "ledger"` the claim is in the journal and stands; its answer may be had again with the same key.
            EngineError::LedgerBehind => Self::logged(&INDETERMINATE, &error),
            EngineError::Conflict { current } => Self::new(&REVISION_CONFLICT).with("revision", current),
            EngineError::Reference { field, reason } => Self::field(field, reason),
            EngineError::InUse(why) => Self::new(&IN_USE).detail(format!("It cannot be deleted: {why}")),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotOpen { opens_at } => Self::new(&NOT_OPEN).with("opens_at", json!(Rfc3339(opens_at))),
            Refusal::Closed => Self::new(&CLOSED),
            Refusal::PassRequired => Self::new(&PASS_REQUIRED),
            Refusal::PassInvalid => Self::new(&PASS_INVALID),
            Refusal::PassUsed => Self::new(&PASS_USED),
            Refusal::Forbidden => Self::new(&FORBIDDEN),
            Refusal::LimitReached { claims } => {
                Self::new(&LIMIT_REACHED).with("claims", claims.iter().map(ToString::to_string).collect::<Vec<_>>())
            }
            Refusal::QuantityInvalid { min, max } => {
                Self::new(&QUANTITY_INVALID).detail(format!("quantity must be {min} to {max}")).with("min", min).with("max", max)
            }
            Refusal::SoldOut { standby_possible, held, remaining } => {
                Self::new(&SOLD_OUT).with("standby_possible", standby_possible).with("held", held).with("remaining", remaining)
            }
            Refusal::KeyReused => Self::new(&KEY_REUSED),
            // `status` is the HTTP status in RFC 9457, so the claim's own goes by another name.
            Refusal::NotHeld { status } => {
                Self::new(&NOT_HELD).detail(format!("The claim is {}", status_word(status))).with("claim_status", status_word(status))
            }
            Refusal::DeadlinePassed => Self::new(&DEADLINE_PASSED),
            Refusal::UnknownClaim => Self::new(&UNKNOWN_CLAIM),
            Refusal::UnknownStandby => Self::new(&UNKNOWN_STANDBY),
            Refusal::NoStandby => Self::new(&NO_STANDBY),
            Refusal::QuantityTaken { taken } => {
                Self::new(&QUANTITY_TAKEN).detail(format!("{taken} units are held or confirmed")).with("taken", taken)
            }
            Refusal::InUse => Self::new(&IN_USE).detail("It has live claims or people on standby"),
        }
    }
}

/// Of reads; see `Problem::unwritten` for the rest.
impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error.outage() {
            // The projector has said so once.
            Some(_) => Self::new(&RECOVERING),
            None => Self::internal(&error),
        }
    }
}

/// The word for a claim's status, here and in every body.
pub(crate) const fn status_word(status: Status) -> &'static str {
    match status {
        Status::Held => "held",
        Status::Confirmed => "confirmed",
        Status::Released => "released",
        Status::Expired => "expired",
        Status::Returned => "returned",
    }
}

/// Milliseconds as the whole seconds of a `Retry-After`, rounded up.
pub(crate) const fn seconds_up(ms: u32) -> u32 {
    ms.div_ceil(1_000)
}

#[cfg(test)]
#[path = "problem/tests.rs"]
mod tests;
