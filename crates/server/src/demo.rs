//! What `serve --demo` adds where it is missing: one of each thing the README talks about.

use crate::exit::{Failure, chain};
use bunho_domain::ids::{AppId, OfferId, ZoneId};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::settings::{Kind, OfferSettings};
use bunho_engine::{Engine, EngineError};
use bunho_journal::{Audit, crash_point};

/// Adds the sample zone and offers that do not exist yet.
///
/// # Errors
/// The journal failed.
pub async fn add(engine: &Engine) -> Result<(), Failure> {
    let failed = |error: EngineError| Failure::internal(chain(&error));
    let app = AppId::parse("demo").map_err(Failure::internal)?;
    let zone = ZoneId::parse("TEST_ZONE").map_err(Failure::internal)?;
    if matches!(engine.zone(&zone).await, Err(EngineError::UnknownZone)) {
        let mut settings = ZoneSettings::new(zone.clone(), app.clone(), Some(600));
        settings.name = "Demo waiting room · 데모 대기실".into();
        engine.put_zone(settings, None, audit("zone.put", zone.as_str())).await.map_err(failed)?;
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

/// A goods drop, a farm-stay with its thank-you coupon, and a coupon drop.
fn offers(app: &AppId) -> Result<Vec<OfferSettings>, bunho_domain::ids::IdError> {
    let new = |id: &str, kind, quantity, name: &str| -> Result<OfferSettings, bunho_domain::ids::IdError> {
        let mut settings = OfferSettings::new(OfferId::parse(id)?, app.clone(), kind, quantity);
        settings.name = name.into();
        Ok(settings)
    };
    let mut goods = new("sneaker-drop", Kind::Goods, 1_000, "Limited sneakers · 한정판 스니커즈")?;
    goods.unit_price = 129_000;
    goods.per_user_limit = Some(2);
    goods.max_per_claim = 2;
    goods.standby = true;
    let mut thanks = new("farm-thanks", Kind::Coupon, 10, "Thank-you coupon · 감사 쿠폰")?;
    thanks.grant_only = true;
    let mut stay = new("farm-stay", Kind::Booking, 10, "Farm-stay, ten guests · 농촌체험 정원 10명")?;
    stay.grants = Some(thanks.id.clone());
    stay.standby = true;
    let coupon = new("welcome-coupon", Kind::Coupon, 20_000, "Welcome coupon, one each · 1인 1매 쿠폰")?;
    Ok(vec![goods, thanks, stay, coupon])
}

fn audit(action: &str, target: &str) -> Audit {
    Audit { actor: "demo".into(), action: action.into(), target: target.into(), detail: None, request_id: None }
}
