//! Claims once they are taken: reading, listing, confirming, releasing.

use crate::app::App;
use crate::auth::Caller;
use crate::http::json::ok;
use crate::http::params::{Params, Segment, Text, page, read_cursor, read_status, read_user, write_cursor};
use crate::http::time::Rfc3339;
use crate::problem::{Answered, FORBIDDEN, OVERLOADED, Problem, UNKNOWN_CLAIM, status_word};
use axum::extract::State;
use bunho_domain::claim::{Claim, Status};
use bunho_domain::ids::{ClaimId, OfferId, UserId};
use bunho_domain::limits::ATTRIBUTES_BYTES_MAX;
use bunho_domain::offer::Actor;
use bunho_domain::offer::once::PASS_ATTRIBUTE;
use bunho_ledger::{ClaimPage, ClaimQuery};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Levels of nesting in a claim's attributes at most.
const ATTRIBUTES_LEVELS_MAX: usize = 16;

/// A claim.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClaimView<'a> {
    #[schema(value_type = String)]
    id: Text<ClaimId>,
    offer: &'a str,
    user: &'a str,
    quantity: u32,
    /// `held`, `confirmed`, `released`, `expired` or `returned`.
    status: &'static str,
    /// 1 when taken, one more with every change.
    version: u32,
    /// When the hold ends, while it is held.
    #[schema(value_type = Option<String>, format = DateTime)]
    hold_expires_at: Option<Rfc3339>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Rfc3339,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Rfc3339,
    /// What the client sent along; and where passes take one claim each, `bunho.pass`: which took this one.
    #[schema(value_type = Object)]
    attributes: Attributes<'a>,
    /// Claims that this one's confirmation gave.
    #[schema(value_type = Vec<String>)]
    granted: Granted,
}

/// A page of claims, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClaimList<'a> {
    claims: Vec<ClaimView<'a>>,
    /// Give it as `cursor` for the next page; null at the end.
    next_cursor: Option<String>,
}

/// Which claims.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Only of this offer.
    offer: Option<String>,
    /// Only those that stand so.
    status: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    limit: Option<u32>,
    /// Whose; for service and admin keys.
    user: Option<String>,
}

/// Stored attributes, which are JSON already.
struct Attributes<'a>(Option<&'a str>);

impl Serialize for Attributes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(text) = self.0 else { return serializer.collect_map(std::iter::empty::<((), ())>()) };
        let raw: &RawValue = serde_json::from_str(text).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'a> ClaimView<'a> {
    pub(crate) fn new(claim: &'a Claim, offer: &'a OfferId) -> Self {
        Self {
            id: Text(claim.id),
            offer: offer.as_str(),
            user: claim.user.as_str(),
            quantity: claim.quantity,
            status: status_word(claim.status),
            version: claim.version,
            hold_expires_at: claim.hold_expires_at.filter(|_| claim.status == Status::Held).map(Rfc3339),
            created_at: Rfc3339(claim.created_at),
            updated_at: Rfc3339(claim.updated_at),
            attributes: Attributes(claim.attributes.as_deref()),
            granted: Granted(claim.granted),
        }
    }
}

/// The claim that a confirmation gave, as a list.
struct Granted(Option<ClaimId>);

impl Serialize for Granted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|id| Text(*id)))
    }
}

/// One claim, of the caller or, for keys, of anybody.
#[utoipa::path(get, path = "/v1/claims/{id}", tag = "claims", params(("id" = String, Path)), responses((status = 200, body = ClaimView)))]
pub(crate) async fn read(State(app): State<Arc<App>>, Segment(id): Segment, caller: Caller) -> Answered {
    let claim = app.engine.read_claim(caller.actor()?, path_id(&id)?).await??;
    show(&app, &claim).await
}

/// Makes a hold final. Again: the same claim.
#[utoipa::path(post, path = "/v1/claims/{id}/confirm", tag = "claims", params(("id" = String, Path)), responses((status = 200, body = ClaimView)))]
pub(crate) async fn confirm(State(app): State<Arc<App>>, Segment(id): Segment, caller: Caller) -> Answered {
    let claim = app.engine.confirm(caller.actor()?, path_id(&id)?).await??;
    show(&app, &claim).await
}

/// Gives a hold back. Again: the same claim.
#[utoipa::path(post, path = "/v1/claims/{id}/release", tag = "claims", params(("id" = String, Path)), responses((status = 200, body = ClaimView)))]
pub(crate) async fn release(State(app): State<Arc<App>>, Segment(id): Segment, caller: Caller) -> Answered {
    let claim = app.engine.release(caller.actor()?, path_id(&id)?).await??;
    show(&app, &claim).await
}

/// A user's claims, newest first, read from the ledger once it holds everything that was decided before.
#[utoipa::path(get, path = "/v1/claims", tag = "claims", params(ListParams), responses((status = 200, body = ClaimList)))]
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller, Params(params): Params<ListParams>) -> Answered {
    let named = read_user(params.user.as_deref())?;
    let user = whose(&caller, named.as_ref())?;
    let offer =
        params.offer.as_deref().map(|text| OfferId::parse(text).map_err(|error| Problem::field("offer", error.to_string()))).transpose()?;
    let query = ClaimQuery {
        user,
        offer: offer.as_ref(),
        status: read_status(params.status.as_deref())?,
        cursor: read_cursor(params.cursor.as_deref())?,
        limit: page(params.limit)?,
    };
    caught_up(&app).await?;
    Ok(ok(&list_view(&app.ledger.claims_of_user(&query).await?)))
}

/// Whose claims are listed: the caller's own, or for keys those of the user they name in either place.
fn whose<'a>(caller: &'a Caller, named: Option<&'a UserId>) -> Result<&'a UserId, Problem> {
    match (caller.actor()?, named) {
        (Actor::User(own), Some(named)) if own != named => Err(Problem::new(&FORBIDDEN).detail("Only keys may list the claims of others")),
        (Actor::User(own), _) => Ok(own),
        (Actor::Service(Some(own)), Some(named)) if own != named => Err(Problem::field("user", "must be the user of X-Bunho-User")),
        (Actor::Service(_), Some(user)) | (Actor::Service(Some(user)), None) => Ok(user),
        (Actor::Service(None), None) => Err(Problem::field("user", "must name the user, here or in X-Bunho-User")),
    }
}

/// Waits until lists show what was decided before this request. Nothing is in doubt where that takes too long.
pub(crate) async fn caught_up(app: &App) -> Result<(), Problem> {
    app.engine.ledger_caught_up().await.map_err(|_| Problem::new(&OVERLOADED).detail("The ledger is behind; lists cannot be had now"))
}

pub(crate) fn list_view(page: &ClaimPage) -> ClaimList<'_> {
    ClaimList {
        claims: page.claims.iter().map(|row| ClaimView::new(&row.claim, &row.offer)).collect(),
        next_cursor: write_cursor(page.next),
    }
}

/// Answers with a claim.
pub(crate) async fn show(app: &App, claim: &Claim) -> Answered {
    // Between the decision and here the offer can only have been deleted, and then nobody has anything of it.
    let offer = app.engine.offer_id(claim.id.offer_number()).await.map_err(|_| Problem::new(&UNKNOWN_CLAIM))?;
    Ok(ok(&ClaimView::new(claim, &offer)))
}

/// A claim's id in a path: what cannot be one is not there.
pub(crate) fn path_id(text: &str) -> Result<ClaimId, Problem> {
    ClaimId::parse(text).map_err(|_| Problem::new(&UNKNOWN_CLAIM))
}

/// Attributes as they are kept: compact, with sorted keys, so that the same ones are the same text. Empty ones are none.
pub(crate) fn attributes_text(attributes: Option<Map<String, Value>>) -> Result<Option<String>, Problem> {
    let Some(attributes) = attributes.filter(|attributes| !attributes.is_empty()) else { return Ok(None) };
    if attributes.contains_key(PASS_ATTRIBUTE) {
        return Err(Problem::field("attributes", format!("must not have {PASS_ATTRIBUTE}: the server says by it which pass took a claim")));
    }
    let attributes = Value::Object(attributes);
    if levels(&attributes) > ATTRIBUTES_LEVELS_MAX {
        return Err(Problem::field("attributes", format!("must be at most {ATTRIBUTES_LEVELS_MAX} levels deep")));
    }
    let text = attributes.to_string();
    if text.len() > ATTRIBUTES_BYTES_MAX {
        return Err(Problem::field("attributes", format!("must be at most {ATTRIBUTES_BYTES_MAX} bytes as compact JSON")));
    }
    Ok(Some(text))
}

/// Levels of nesting. The parser's own limit bounds the recursion.
fn levels(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> Result<Option<String>, &'static str> {
        attributes_text(serde_json::from_str(text).expect("JSON")).map_err(|problem| problem.kind().code)
    }

    #[test]
    fn attributes_are_compact_sorted_and_bounded() {
        assert_eq!(kept(r#"{"b": 1, "a": {"d": null, "c": "x"}}"#), Ok(Some(r#"{"a":{"c":"x","d":null},"b":1}"#.into())));
        let shown = kept(r#"{"n":1234567892145678901234567890}"#).ok().flatten().expect("a number");
        assert_eq!(kept(&shown), Ok(Some(shown)), "what is shown is the same attempt");
        assert_eq!(kept("{}"), Ok(None));
        assert_eq!(kept("null"), Ok(None));
        assert_eq!(kept(r#"{"bunho.pass":null}"#), Err("invalid_request"));
        assert!(kept(r#"{"a":{"bunho.pass":"1-1-1"},"bunho.passes":1}"#).is_ok());
        let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        assert!(kept(&nested(16)).is_ok());
        assert_eq!(kept(&nested(17)), Err("invalid_request"));
        let sized = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
        assert_eq!(kept(&sized(4_096)).map(|text| text.map(|text| text.len())), Ok(Some(4_096)));
        assert_eq!(kept(&sized(4_097)), Err("invalid_request"));
    }
}
