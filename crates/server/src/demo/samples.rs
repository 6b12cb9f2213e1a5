//! What `serve --demo` adds where it is missing: one of each thing the README talks about, and what the demo's pages sell.

use super::audit;
use crate::exit::{Failure, chain};
use bunho_domain::ids::{AppId, IdError, OfferId, ZoneId};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::settings::{Kind, OfferSettings};
use bunho_engine::{Engine, EngineError};
use bunho_journal::crash_point;

/// The zone in front of the demo's shop.
pub(super) const SHOP_ZONE: &str = "demo-shop";
/// What the shop sells.
pub(super) const SHOP_OFFER: &str = "demo-sneakers";
/// Pairs on the shelf when a crowd comes.
pub(super) const SHELF: u32 = 80;
/// Weekends on the farm, ten guests each.
const STAYS: [&str; 3] = ["farm-stay", "farm-stay-2", "farm-stay-3"];
/// What a visitor of the demo may take units of.
pub(super) const SOLD: [&str; 5] = [SHOP_OFFER, STAYS[0], STAYS[1], STAYS[2], "welcome-coupon"];

/// Adds the sample zones and offers that do not exist yet.
///
/// # Errors
/// The journal failed.
pub async fn add(engine: &Engine) -> Result<(), Failure> {
    let failed = |error: EngineError| Failure::internal(chain(&error));
    let app = AppId::parse("demo").map_err(Failure::internal)?;
    for settings in zones(&app).map_err(Failure::internal)? {
        let id = settings.id.clone();
        if matches!(engine.zone(&id).await, Err(EngineError::UnknownZone)) {
            engine.put_zone(settings, None, audit("zone.put", id.as_str())).await.map_err(failed)?;
        }
    }
    let there = engine.offer_ids().await.map_err(failed)?;
    for settings in offers(&app).map_err(Failure::internal)? {
        let id = settings.id.clone();
        if !there.contains(&id) {
            let decided = engine.put_offer(settings, None, audit("offer.put", id.as_str())).await.map_err(failed)?;
            decided.map_err(|refusal| Failure::internal(format_args!("demo offer {id}: {refusal:?}")))?;
            crash_point!("demo::offer_added");
        }
    }
    Ok(())
}

/// The waiting room that the README joins, and the door of the demo's shop.
fn zones(app: &AppId) -> Result<Vec<ZoneSettings>, IdError> {
    let mut room = ZoneSettings::new(ZoneId::parse("TEST_ZONE")?, app.clone(), Some(600));
    room.name = "Demo waiting room · 데모 대기실".into();
    // Twenty-four fit into the shop, and each of a crowd stays for some eight seconds: so three enter a second, a hundred people form a line, and
    // nobody who tries it alone waits.
    let mut shop = ZoneSettings::new(ZoneId::parse(SHOP_ZONE)?, app.clone(), Some(300));
    shop.name = "Sneaker shop of the demo · 데모 스니커즈 매장".into();
    shop.active_limit = Some(24);
    shop.session_seconds = 60;
    shop.poll_interval_ms = 1_000;
    shop.poll_interval_max_ms = 5_000;
    // Whoever slips away is missed soon, so that the line is seen to close up.
    shop.abandon_after_seconds = 20;
    Ok(vec![room, shop])
}

/// A goods drop, a farm-stay with its thank-you coupon, and a coupon drop; then what the pages sell.
fn offers(app: &AppId) -> Result<Vec<OfferSettings>, IdError> {
    let new = |id: &str, kind, quantity, name: &str| -> Result<OfferSettings, IdError> {
        let mut settings = OfferSettings::new(OfferId::parse(id)?, app.clone(), kind, quantity);
        settings.name = name.into();
        Ok(settings)
    };
    let mut goods = new("sneaker-drop", Kind::Goods, 1_000, "Limited sneakers · 한정판 스니커즈")?;
    goods.unit_price = 129_000;
    goods.per_user_limit = Some(2);
    goods.max_per_claim = 2;
    goods.standby = true;
    let mut thanks = new("farm-thanks", Kind::Coupon, 1_000, "Thank-you coupon · 감사 쿠폰")?;
    thanks.grant_only = true;
    let stay = |id: &str| -> Result<OfferSettings, IdError> {
        let mut stay = new(id, Kind::Booking, 10, "Farm-stay, ten guests · 농촌체험 정원 10명")?;
        stay.grants = Some(thanks.id.clone());
        stay.unit_price = 45_000;
        stay.max_per_claim = 10;
        stay.standby = true;
        stay.hold_seconds = 120;
        stay.standby_hold_seconds = 120;
        Ok(stay)
    };
    let coupon = new("welcome-coupon", Kind::Coupon, 20_000, "Welcome coupon, one each · 1인 1매 쿠폰")?;
    let mut sneakers = new(SHOP_OFFER, Kind::Goods, SHELF, "Bunho One, limited sneakers · 번호 원 한정판 스니커즈")?;
    sneakers.zone = Some(ZoneId::parse(SHOP_ZONE)?);
    sneakers.unit_price = 129_000;
    sneakers.per_user_limit = Some(2);
    sneakers.max_per_claim = 2;
    sneakers.standby = true;
    // Short enough to watch it run out.
    sneakers.hold_seconds = 60;
    sneakers.standby_hold_seconds = 60;
    let (first, second, third) = (stay(STAYS[0])?, stay(STAYS[1])?, stay(STAYS[2])?);
    Ok(vec![goods, thanks, first, coupon, sneakers, second, third])
}
