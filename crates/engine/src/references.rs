//! What an offer may name, alike in both shapes.

use crate::error::EngineError;
use bunho_domain::offer::settings::{Kind, OfferSettings};

/// What is known of the things that an offer's settings name.
pub(crate) struct Named<'a> {
    /// Whether the zone exists, where one is named.
    pub(crate) zone_exists: bool,
    /// The offer that it grants, where one is named and exists.
    pub(crate) granted: Option<&'a OfferSettings>,
    /// Whether another offer grants this one.
    pub(crate) is_granted: bool,
}

/// What an offer names must exist and be of the right kind.
///
/// # Errors
/// [`EngineError::Reference`].
pub(crate) fn check_offer(settings: &OfferSettings, named: &Named<'_>) -> Result<(), EngineError> {
    let refused = |field, reason| Err(EngineError::Reference { field, reason });
    if settings.zone.is_some() && !named.zone_exists {
        return refused("zone", "must name a zone that exists");
    }
    if named.is_granted && settings.kind != Kind::Coupon {
        return refused("kind", "must be coupon, since another offer grants this one");
    }
    let Some(grants) = &settings.grants else { return Ok(()) };
    if *grants == settings.id {
        return refused("grants", "must be another offer");
    }
    let Some(granted) = named.granted else { return refused("grants", "must name an offer that exists") };
    if granted.kind != Kind::Coupon {
        return refused("grants", "must name an offer of kind coupon");
    }
    // One step deep: so two offers of a grant are always settled in the same order.
    if granted.grants.is_some() {
        return refused("grants", "must name an offer that grants nothing itself");
    }
    if named.is_granted {
        return refused("grants", "must be null, since this offer is itself granted by another");
    }
    Ok(())
}
