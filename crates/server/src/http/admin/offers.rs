//! Offers: settings in and out, restocking, closing, and the claims of one.

use super::{app_id, check_id, if_match, trail, with_etag};
use crate::app::App;
use crate::auth::{Operator, Viewer};
use crate::http::claims::{ClaimList, caught_up, list_view};
use crate::http::json::{JsonBody, answer, no_content, ok};
use crate::http::offers::every;
use crate::http::offers::{StockView, kind_word, path_id, stock_view};
use crate::http::params::{Number, Params, Segment, nullable, page, read_cursor, read_status};
use crate::http::time::Rfc3339;
use crate::problem::{Answered, Problem};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bunho_domain::ids::{OfferId, ZoneId};
use bunho_domain::offer::Stock;
use bunho_domain::offer::settings::{ConfirmBy, Kind, OfferSettings};
use bunho_engine::EngineError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// An offer's settings; only `kind` and `quantity` are required. Absent ones are the defaults of the kind.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfferBody {
    id: Option<String>,
    app: Option<String>,
    name: Option<String>,
    kind: KindBody,
    #[schema(value_type = u32)]
    quantity: Number<u32>,
    /// Null: no limit. Absent: 1 for coupons, else none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>)]
    per_user_limit: Option<Option<Number<u32>>>,
    #[schema(value_type = Option<u32>)]
    min_per_claim: Option<Number<u32>>,
    #[schema(value_type = Option<u32>)]
    max_per_claim: Option<Number<u32>>,
    /// 0: confirmed at once. Absent: 0 for coupons, else 300.
    #[schema(value_type = Option<u32>)]
    hold_seconds: Option<Number<u32>>,
    #[schema(value_type = Option<u64>)]
    unit_price: Option<Number<u64>>,
    #[schema(value_type = Option<String>, format = DateTime)]
    opens_at: Option<Rfc3339>,
    #[schema(value_type = Option<String>, format = DateTime)]
    closes_at: Option<Rfc3339>,
    zone: Option<String>,
    /// A pass of the zone takes one claim of this offer, ever, also where that is given back or expires. Wants `zone`, and no `standby`.
    pass_once: Option<bool>,
    grants: Option<String>,
    grant_only: Option<bool>,
    standby: Option<bool>,
    /// Absent: as `hold_seconds`.
    #[schema(value_type = Option<u32>)]
    standby_hold_seconds: Option<Number<u32>>,
    confirm_by: Option<ConfirmByBody>,
}

/// What is limited.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KindBody {
    Coupon,
    Goods,
    Booking,
}

/// Who may confirm a hold.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConfirmByBody {
    Service,
    User,
}

/// An offer's settings and numbers.
#[derive(Serialize, ToSchema)]
pub(crate) struct OfferSettingsView<'a> {
    id: &'a str,
    app: &'a str,
    name: &'a str,
    kind: &'static str,
    quantity: u32,
    per_user_limit: Option<u32>,
    min_per_claim: u32,
    max_per_claim: u32,
    hold_seconds: u32,
    unit_price: u64,
    #[schema(value_type = Option<String>, format = DateTime)]
    opens_at: Option<Rfc3339>,
    #[schema(value_type = Option<String>, format = DateTime)]
    closes_at: Option<Rfc3339>,
    zone: Option<&'a str>,
    pass_once: bool,
    grants: Option<&'a str>,
    grant_only: bool,
    standby: bool,
    standby_hold_seconds: u32,
    confirm_by: &'static str,
    /// Raised by every edit; also the `ETag`.
    revision: u32,
    /// `not_open`, `open`, `sold_out` or `closed`.
    state: &'static str,
    stock: StockView,
}

/// Every offer.
#[derive(Serialize, ToSchema)]
pub(crate) struct OfferSettingsList {
    #[schema(value_type = Vec<OfferSettingsView>)]
    offers: Vec<Value>,
}

/// Units to add, or to take away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Restock {
    /// Negative: fewer, but never fewer than are taken.
    delta: i64,
}

/// Which claims of an offer.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ClaimsParams {
    /// Only those that stand so.
    status: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    limit: Option<u32>,
}

/// Every offer.
#[utoipa::path(get, path = "/admin/api/offers", tag = "admin", responses((status = 200, body = OfferSettingsList)))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Viewer) -> Answered {
    let offers = every(&app, |settings, stock| serde_json::to_value(view(settings, stock))).await?;
    Ok(ok(&OfferSettingsList { offers }))
}

/// One offer.
#[utoipa::path(get, path = "/admin/api/offers/{id}", tag = "admin", params(("id" = String, Path)), responses((status = 200, body = OfferSettingsView)))]
pub(crate) async fn read(State(app): State<Arc<App>>, _: Viewer, Segment(id): Segment) -> Answered {
    show(&app, &path_id(&id)?, StatusCode::OK).await
}

/// Creates or replaces an offer.
#[utoipa::path(put, path = "/admin/api/offers/{id}", tag = "admin", request_body = OfferBody,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = OfferSettingsView), (status = 201, body = OfferSettingsView)))]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Operator(operator): Operator,
    Segment(id): Segment,
    headers: HeaderMap,
    body: JsonBody,
) -> Answered {
    let id = OfferId::parse(&id).map_err(|error| Problem::field("id", error.to_string()))?;
    let revision = if_match(&headers)?;
    let wanted: OfferBody = body.parse()?;
    check_id(id.as_str(), wanted.id.as_deref())?;
    let settings = wanted.settings(&id)?;
    settings.check().map_err(Problem::settings)?;
    let before = match app.engine.offer(&id).await {
        Ok((before, _)) => audited(&before),
        Err(EngineError::UnknownOffer) => Value::Null,
        Err(error) => return Err(error.into()),
    };
    let audit = operator.audit("offer.put", id.as_str(), trail(Some(body.value()), before, audited(&settings)));
    let created = app.engine.put_offer(settings, revision, audit).await??;
    show(&app, &id, if created { StatusCode::CREATED } else { StatusCode::OK }).await
}

/// Deletes an offer that nobody has anything of.
#[utoipa::path(delete, path = "/admin/api/offers/{id}", tag = "admin", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn delete(State(app): State<Arc<App>>, Operator(operator): Operator, Segment(id): Segment) -> Answered {
    let offer = path_id(&id)?;
    let (before, _) = app.engine.offer(&offer).await?;
    app.engine.delete_offer(&offer, operator.audit("offer.delete", id, trail(None, audited(&before), Value::Null))).await??;
    Ok(no_content())
}

/// Adds units, or takes away units that nobody has.
#[utoipa::path(post, path = "/admin/api/offers/{id}/restock", tag = "admin", request_body = Restock, params(("id" = String, Path)),
    responses((status = 200, body = OfferSettingsView)))]
pub(crate) async fn restock(State(app): State<Arc<App>>, Operator(operator): Operator, Segment(id): Segment, body: JsonBody) -> Answered {
    let id = path_id(&id)?;
    let Restock { delta } = body.parse()?;
    let (before, _) = app.engine.offer(&id).await?;
    let quantity = i64::from(before.quantity).saturating_add(delta);
    let detail = trail(Some(body.value()), json!({"quantity": before.quantity}), json!({"quantity": quantity}));
    app.engine.restock(&id, delta, operator.audit("offer.restock", id.as_str(), detail)).await??;
    show(&app, &id, StatusCode::OK).await
}

/// Ends an offer now.
#[utoipa::path(post, path = "/admin/api/offers/{id}/close", tag = "admin", params(("id" = String, Path)), responses((status = 200, body = OfferSettingsView)))]
pub(crate) async fn close(State(app): State<Arc<App>>, Operator(operator): Operator, Segment(id): Segment) -> Answered {
    let id = path_id(&id)?;
    let (before, _) = app.engine.offer(&id).await?;
    let closes_at = Rfc3339(app.engine.now());
    let detail = trail(None, json!({"closes_at": before.closes_at.map(Rfc3339)}), json!({"closes_at": closes_at}));
    app.engine.close_offer(&id, operator.audit("offer.close", id.as_str(), detail)).await??;
    show(&app, &id, StatusCode::OK).await
}

/// An offer's claims in the order of taking.
#[utoipa::path(get, path = "/admin/api/offers/{id}/claims", tag = "admin", params(("id" = String, Path), ClaimsParams),
    responses((status = 200, body = ClaimList)))]
pub(crate) async fn claims(State(app): State<Arc<App>>, _: Viewer, Segment(id): Segment, Params(params): Params<ClaimsParams>) -> Answered {
    let (status, cursor, limit) = (read_status(params.status.as_deref())?, read_cursor(params.cursor.as_deref())?, page(params.limit)?);
    let number = app.engine.offer_number(&path_id(&id)?).await?;
    caught_up(&app).await?;
    Ok(ok(&list_view(&app.ledger.claims_of_offer(number, status, cursor, limit).await?)))
}

async fn show(app: &App, id: &OfferId, status: StatusCode) -> Answered {
    let (settings, stock) = app.engine.offer(id).await?;
    Ok(with_etag(answer(status, &view(&settings, &stock)), settings.revision))
}

/// What of an offer stands in the audit log: what a PUT takes, so that the last change can be taken back by putting what was before.
fn audited(settings: &OfferSettings) -> Value {
    json!({
        "app": settings.app.as_str(),
        "name": &*settings.name,
        "kind": kind_word(settings.kind),
        "quantity": settings.quantity,
        "per_user_limit": settings.per_user_limit,
        "min_per_claim": settings.min_per_claim,
        "max_per_claim": settings.max_per_claim,
        "hold_seconds": settings.hold_seconds,
        "unit_price": settings.unit_price,
        "opens_at": settings.opens_at.map(Rfc3339),
        "closes_at": settings.closes_at.map(Rfc3339),
        "zone": settings.zone.as_ref().map(ZoneId::as_str),
        "pass_once": settings.pass_once,
        "grants": settings.grants.as_ref().map(OfferId::as_str),
        "grant_only": settings.grant_only,
        "standby": settings.standby,
        "standby_hold_seconds": settings.standby_hold_seconds,
        "confirm_by": confirm_word(settings.confirm_by),
    })
}

const fn confirm_word(by: ConfirmBy) -> &'static str {
    match by {
        ConfirmBy::Service => "service",
        ConfirmBy::User => "user",
    }
}

impl OfferBody {
    fn settings(self, id: &OfferId) -> Result<OfferSettings, Problem> {
        let kind = match self.kind {
            KindBody::Coupon => Kind::Coupon,
            KindBody::Goods => Kind::Goods,
            KindBody::Booking => Kind::Booking,
        };
        let defaults = OfferSettings::new(id.clone(), app_id(self.app.as_deref())?, kind, self.quantity.0);
        let or = |value: Option<Number<u32>>, default: u32| value.map_or(default, |value| value.0);
        let hold_seconds = or(self.hold_seconds, defaults.hold_seconds);
        let min_per_claim = or(self.min_per_claim, defaults.min_per_claim);
        Ok(OfferSettings {
            name: self.name.map_or_else(|| defaults.name.clone(), Into::into),
            per_user_limit: self.per_user_limit.map_or(defaults.per_user_limit, |limit| limit.map(|limit| limit.0)),
            min_per_claim,
            // The default must fit with a larger minimum.
            max_per_claim: or(self.max_per_claim, defaults.max_per_claim.max(min_per_claim)),
            hold_seconds,
            unit_price: self.unit_price.map_or(defaults.unit_price, |price| price.0),
            opens_at: self.opens_at.map(|at| at.0),
            closes_at: self.closes_at.map(|at| at.0),
            zone: self.zone.map(|text| ZoneId::parse(&text).map_err(|error| Problem::field("zone", error.to_string()))).transpose()?,
            pass_once: self.pass_once.unwrap_or(defaults.pass_once),
            grants: self
                .grants
                .map(|text| OfferId::parse(&text).map_err(|error| Problem::field("grants", error.to_string())))
                .transpose()?,
            grant_only: self.grant_only.unwrap_or(defaults.grant_only),
            standby: self.standby.unwrap_or(defaults.standby),
            standby_hold_seconds: or(self.standby_hold_seconds, hold_seconds),
            confirm_by: match self.confirm_by {
                Some(ConfirmByBody::User) => ConfirmBy::User,
                Some(ConfirmByBody::Service) => ConfirmBy::Service,
                None => defaults.confirm_by,
            },
            ..defaults
        })
    }
}

pub(super) fn view<'a>(settings: &'a OfferSettings, stock: &Stock) -> OfferSettingsView<'a> {
    let stock = stock_view(stock);
    OfferSettingsView {
        id: settings.id.as_str(),
        app: settings.app.as_str(),
        name: &settings.name,
        kind: kind_word(settings.kind),
        quantity: settings.quantity,
        per_user_limit: settings.per_user_limit,
        min_per_claim: settings.min_per_claim,
        max_per_claim: settings.max_per_claim,
        hold_seconds: settings.hold_seconds,
        unit_price: settings.unit_price,
        opens_at: settings.opens_at.map(Rfc3339),
        closes_at: settings.closes_at.map(Rfc3339),
        zone: settings.zone.as_ref().map(ZoneId::as_str),
        pass_once: settings.pass_once,
        grants: settings.grants.as_ref().map(OfferId::as_str),
        grant_only: settings.grant_only,
        standby: settings.standby,
        standby_hold_seconds: settings.standby_hold_seconds,
        confirm_by: confirm_word(settings.confirm_by),
        revision: settings.revision,
        state: stock.state,
        stock,
    }
}
