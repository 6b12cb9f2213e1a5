//! Offers and their stock, as anyone may see them, and taking units of one.

use crate::app::{App, Shown};
use crate::auth::Caller;
use crate::http::claims::{ClaimView, attributes_text};
use crate::http::json::{JsonBody, answer, ok};
use crate::http::params::{Quantity, Segment, header};
use crate::http::passes::{PASS_HEADER, client_key};
use crate::http::stream::{Sent, events, farewell, slot, stopped};
use crate::http::time::Rfc3339;
use crate::problem::{Answered, Problem, UNKNOWN_OFFER};
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::sse::Event;
use bunho_domain::ids::{IdempotencyKey, OfferId, UserId, ZoneId};
use bunho_domain::offer::refusal::Refusal;
use bunho_domain::offer::settings::{Kind, OfferSettings};
use bunho_domain::offer::{ClaimRequest, OfferState, Pass, Stock};
use bunho_engine::Decided;
use futures_util::stream::{self, StreamExt, unfold};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio::sync::watch;
use utoipa::ToSchema;

/// A client's name for one attempt.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// An offer with its numbers: `remaining + held + confirmed = quantity`.
#[derive(Serialize, ToSchema)]
pub(crate) struct OfferView<'a> {
    id: &'a str,
    app: &'a str,
    /// `coupon`, `goods` or `booking`.
    kind: &'static str,
    name: &'a str,
    /// `not_open`, `open`, `sold_out` or `closed`.
    state: &'static str,
    quantity: u32,
    remaining: u32,
    held: u32,
    confirmed: u32,
    /// Places waiting on standby.
    standby: u32,
    /// Raised by every change.
    version: u64,
    per_user_limit: Option<u32>,
    min_per_claim: u32,
    max_per_claim: u32,
    /// 0: a claim is confirmed at once.
    hold_seconds: u32,
    unit_price: u64,
    #[schema(value_type = Option<String>, format = DateTime)]
    opens_at: Option<Rfc3339>,
    #[schema(value_type = Option<String>, format = DateTime)]
    closes_at: Option<Rfc3339>,
    /// A pass of this zone is required.
    zone: Option<&'a str>,
    /// A coupon offer given to whoever's claim is confirmed.
    grants: Option<&'a str>,
}

/// Every offer.
#[derive(Serialize, ToSchema)]
pub(crate) struct OfferList {
    #[schema(value_type = Vec<OfferView>)]
    offers: Vec<Value>,
}

/// An offer's numbers.
#[derive(Serialize, ToSchema)]
pub(crate) struct StockView {
    pub(crate) remaining: u32,
    pub(crate) held: u32,
    pub(crate) confirmed: u32,
    pub(crate) standby: u32,
    pub(crate) version: u64,
    /// `not_open`, `open`, `sold_out` or `closed`.
    pub(crate) state: &'static str,
}

/// Units to take.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewClaim {
    /// How many.
    #[schema(value_type = u32)]
    quantity: Quantity,
    /// What goes with the claim: at most 4,096 bytes as compact JSON, 16 levels deep. No field may be called `bunho.pass`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    attributes: Option<Map<String, Value>>,
}

/// Every offer.
#[utoipa::path(get, path = "/v1/offers", tag = "offers", responses((status = 200, body = OfferList)))]
pub(crate) async fn list(State(app): State<Arc<App>>) -> Answered {
    let offers = every(&app, |settings, stock| serde_json::to_value(view(settings, stock))).await?;
    Ok(ok(&OfferList { offers }))
}

/// Offers that are read at once: on a cluster each is a round trip.
const READ_AT_ONCE: usize = 64;

/// Every offer as its audience is shown it.
pub(crate) async fn every(app: &App, show: impl Fn(&OfferSettings, &Stock) -> serde_json::Result<Value>) -> Result<Vec<Value>, Problem> {
    let ids = app.engine.offer_ids().await?;
    let mut reads = Vec::with_capacity(ids.len());
    for id in &ids {
        reads.push(app.engine.offer(id));
    }
    let mut read = stream::iter(reads).buffered(READ_AT_ONCE);
    let mut offers = Vec::new();
    while let Some(offer) = read.next().await {
        // One that was deleted meanwhile is not there, nor is one that a cluster is restoring.
        if let Ok((settings, stock)) = offer {
            offers.push(show(&settings, &stock).map_err(|error| Problem::internal(&error))?);
        }
    }
    Ok(offers)
}

/// One offer.
#[utoipa::path(get, path = "/v1/offers/{id}", tag = "offers", params(("id" = String, Path)), responses((status = 200, body = OfferView)))]
pub(crate) async fn read(State(app): State<Arc<App>>, Segment(id): Segment) -> Answered {
    let (settings, stock) = app.engine.offer(&path_id(&id)?).await?;
    Ok(ok(&view(&settings, &stock)))
}

/// An offer's numbers as they change: event `stock`, the first at once, then at most ten a second.
#[utoipa::path(get, path = "/v1/offers/{id}/stock", tag = "offers", params(("id" = String, Path)),
    responses((status = 200, content_type = "text/event-stream", body = StockView)))]
pub(crate) async fn stock(State(app): State<Arc<App>>, Segment(id): Segment) -> Answered {
    let id = path_id(&id)?;
    let slot = slot(&app)?;
    let changes = app.engine.watch_stock(&id).await?;
    let (_, now) = app.engine.offer(&id).await?;
    Ok(events(unfold(StockStream { app, changes, shown: None, next: Some(now), ended: false, _slot: slot }, StockStream::advance)))
}

struct StockStream {
    app: Arc<App>,
    changes: watch::Receiver<Option<Stock>>,
    shown: Option<Stock>,
    next: Option<Stock>,
    ended: bool,
    _slot: crate::app::StreamSlot,
}

impl StockStream {
    async fn advance(mut self) -> Option<(Sent, Self)> {
        loop {
            if let Some(stock) = self.next.take()
                && self.shown.is_none_or(|shown| shown != stock && shown.version <= stock.version)
            {
                self.shown = Some(stock);
                let data = serde_json::to_string(&stock_view(&stock)).unwrap_or_default();
                return Some((Ok(Event::default().event("stock").data(data)), self));
            }
            if self.ended {
                return None;
            }
            tokio::select! {
                changed = self.changes.changed() => {
                    // The offer was deleted.
                    changed.ok()?;
                    self.next = *self.changes.borrow_and_update();
                }
                () = stopped(&self.app) => {
                    self.ended = true;
                    return Some((Ok(farewell()), self));
                }
            }
        }
    }
}

/// Takes units of an offer. With an `Idempotency-Key` the same attempt gives the same claim and answer, however often.
#[utoipa::path(post, path = "/v1/offers/{id}/claims", tag = "claims", request_body = NewClaim,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("Bunho-Pass" = Option<String>, Header),
        ("Bunho-Client-Key" = Option<String>, Header)),
    responses((status = 201, body = ClaimView)))]
pub(crate) async fn claim(State(app): State<Arc<App>>, Segment(id): Segment, caller: Caller, body: JsonBody) -> Answered {
    let outcome = take(&app, &id, &caller, &body).await;
    app.metrics.claims().count(match &outcome {
        Ok(response) if response.headers().contains_key(&REPLAYED) => "replayed",
        Ok(_) => "taken",
        Err(problem) => problem.kind().code,
    });
    outcome
}

async fn take(app: &App, id: &str, caller: &Caller, body: &JsonBody) -> Answered {
    let headers = body.headers();
    let user = caller.user()?;
    let offer = path_id(id)?;
    let key = header(headers, &IDEMPOTENCY_KEY, "Idempotency-Key")?
        .map(|text| IdempotencyKey::parse(text).map_err(|error| Problem::field("Idempotency-Key", error.to_string())))
        .transpose()?;
    let wanted: NewClaim = body.parse()?;
    let attributes = attributes_text(wanted.attributes)?;
    let (key, attributes, nonce) = (key.as_ref(), attributes.as_deref(), app.engine.nonce());
    let ask = |pass| app.engine.claim(&offer, ClaimRequest { user, quantity: wanted.quantity.0, key, attributes, pass, nonce });
    let taken = with_pass(app, &offer, user, headers, ask).await?;
    let mut response = answer(StatusCode::CREATED, &ClaimView::new(&taken.claim, &offer));
    let location = HeaderValue::from_str(&format!("/v1/claims/{}", taken.claim.id)).unwrap_or(HeaderValue::from_static("/v1/claims"));
    response.headers_mut().insert(LOCATION, location);
    if taken.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Whether the request shows a good pass of the offer's zone. An offer without one does not look.
async fn shown_pass(app: &App, zone: Option<&ZoneId>, user: &UserId, headers: &HeaderMap) -> Result<Pass, Problem> {
    let Some(zone) = zone else { return Ok(Pass::Missing) };
    let Some(pass) = header(headers, &PASS_HEADER, "Bunho-Pass")? else { return Ok(Pass::Missing) };
    let shown = Shown { vouched: Some(user.as_str()), key: client_key(headers) };
    Ok(app.check_pass(pass, zone, shown).await?.map_or(Pass::Invalid, |holder| Pass::Valid(holder.pass)))
}

/// Asks with the pass that the request shows. On a cluster another node may have given the offer another zone in the last second: who is
/// refused for a pass is looked at once more, by the zone that the offer has now.
pub(crate) async fn with_pass<T, F>(
    app: &App,
    offer: &OfferId,
    user: &UserId,
    headers: &HeaderMap,
    ask: impl Fn(Pass) -> F,
) -> Result<T, Problem>
where
    F: Future<Output = Decided<T>>,
{
    let zone = app.engine.zone_of(offer).await?;
    let refusal = match ask(shown_pass(app, zone.as_ref(), user, headers).await?).await? {
        Err(refusal @ (Refusal::PassRequired | Refusal::PassInvalid)) => refusal,
        decided => return Ok(decided?),
    };
    let now = app.engine.offer(offer).await?.0.zone;
    if now == zone {
        return Err(refusal.into());
    }
    Ok(ask(shown_pass(app, now.as_ref(), user, headers).await?).await??)
}

/// An offer's id in a path: what cannot be one is not there.
pub(crate) fn path_id(text: &str) -> Result<OfferId, Problem> {
    OfferId::parse(text).map_err(|_| Problem::new(&UNKNOWN_OFFER))
}

fn view<'a>(settings: &'a OfferSettings, stock: &Stock) -> OfferView<'a> {
    OfferView {
        id: settings.id.as_str(),
        app: settings.app.as_str(),
        kind: kind_word(settings.kind),
        name: &settings.name,
        state: state_word(stock.state),
        quantity: stock.quantity,
        remaining: stock.remaining,
        held: stock.held,
        confirmed: stock.confirmed,
        standby: stock.standby,
        version: stock.version,
        per_user_limit: settings.per_user_limit,
        min_per_claim: settings.min_per_claim,
        max_per_claim: settings.max_per_claim,
        hold_seconds: settings.hold_seconds,
        unit_price: settings.unit_price,
        opens_at: settings.opens_at.map(Rfc3339),
        closes_at: settings.closes_at.map(Rfc3339),
        zone: settings.zone.as_ref().map(bunho_domain::ids::ZoneId::as_str),
        grants: settings.grants.as_ref().map(OfferId::as_str),
    }
}

/// An offer's numbers, here and in administration.
pub(crate) const fn stock_view(stock: &Stock) -> StockView {
    StockView {
        remaining: stock.remaining,
        held: stock.held,
        confirmed: stock.confirmed,
        standby: stock.standby,
        version: stock.version,
        state: state_word(stock.state),
    }
}

/// The word for an offer's kind.
pub(crate) const fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Coupon => "coupon",
        Kind::Goods => "goods",
        Kind::Booking => "booking",
    }
}

const fn state_word(state: OfferState) -> &'static str {
    match state {
        OfferState::NotOpen => "not_open",
        OfferState::Open => "open",
        OfferState::SoldOut => "sold_out",
        OfferState::Closed => "closed",
    }
}
