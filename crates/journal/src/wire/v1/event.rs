//! Events, flat: one variant for each thing that can happen.

use super::offer::{ClaimV1, OfferSettingsV1, StandbyV1};
use super::zone::{DoorV1, MinuteV1, ZoneSettingsV1};
use crate::wire::WireError;
use bunho_domain::event::{Event, OfferChange, OfferEvent, TicketNumber, ZoneChange, ZoneEvent};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::settings::OfferSettings;
use bunho_domain::time::Millis;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(super) enum EventV1<'a> {
    OfferDefined {
        offer: u32,
        version: u64,
        #[serde(borrow)]
        settings: OfferSettingsV1<'a>,
    },
    Claim {
        offer: u32,
        version: u64,
        claim: ClaimV1<'a>,
    },
    Standby {
        offer: u32,
        version: u64,
        standby: StandbyV1<'a>,
    },
    OfferDeleted {
        offer: u32,
        version: u64,
    },
    ZoneDefined {
        zone: u32,
        settings: ZoneSettingsV1<'a>,
    },
    Reserved {
        zone: u32,
        epoch: u32,
        upto: u32,
    },
    Admitted {
        zone: u32,
        epoch: u32,
        seq: u32,
        at: i64,
    },
    Left {
        zone: u32,
        epoch: u32,
        seq: u32,
        at: i64,
    },
    Minute {
        zone: u32,
        minute: MinuteV1<'a>,
    },
    ZoneDeleted {
        zone: u32,
    },
    Front {
        zone: u32,
        epoch: u32,
        seq: u32,
    },
    /// As [`Self::ZoneDefined`], which is still written for a zone whose door stands open.
    ZoneGuarded {
        zone: u32,
        #[serde(borrow)]
        settings: ZoneSettingsV1<'a>,
        door: DoorV1,
    },
    /// As [`Self::OfferDefined`], which is still written for an offer that does not ask which pass it is.
    OfferOfPasses {
        offer: u32,
        version: u64,
        #[serde(borrow)]
        settings: OfferSettingsV1<'a>,
    },
}

impl<'a> From<&'a Event> for EventV1<'a> {
    fn from(event: &'a Event) -> Self {
        match event {
            Event::Offer(event) => event.into(),
            Event::Zone(event) => event.into(),
        }
    }
}

impl<'a> From<&'a OfferEvent> for EventV1<'a> {
    fn from(event: &'a OfferEvent) -> Self {
        let &OfferEvent { offer, version, ref change } = event;
        match change {
            OfferChange::Defined(settings) if settings.pass_once => Self::OfferOfPasses { offer, version, settings: (&**settings).into() },
            OfferChange::Defined(settings) => Self::OfferDefined { offer, version, settings: (&**settings).into() },
            OfferChange::Claim(claim) => Self::Claim { offer, version, claim: (&**claim).into() },
            OfferChange::Standby(standby) => Self::Standby { offer, version, standby: (&**standby).into() },
            OfferChange::Deleted => Self::OfferDeleted { offer, version },
        }
    }
}

impl<'a> From<&'a ZoneEvent> for EventV1<'a> {
    fn from(event: &'a ZoneEvent) -> Self {
        let &ZoneEvent { zone, ref change } = event;
        match *change {
            ZoneChange::Defined(ref settings) if !settings.door.is_open() => {
                Self::ZoneGuarded { zone, settings: (&**settings).into(), door: settings.door.into() }
            }
            ZoneChange::Defined(ref settings) => Self::ZoneDefined { zone, settings: (&**settings).into() },
            ZoneChange::Reserved { epoch, upto } => Self::Reserved { zone, epoch, upto },
            ZoneChange::Admitted { ticket: TicketNumber { epoch, seq }, at: Millis(at) } => Self::Admitted { zone, epoch, seq, at },
            ZoneChange::Left { ticket: TicketNumber { epoch, seq }, at: Millis(at) } => Self::Left { zone, epoch, seq, at },
            ZoneChange::Minute(ref minute) => Self::Minute { zone, minute: minute.into() },
            ZoneChange::Deleted => Self::ZoneDeleted { zone },
            ZoneChange::Front { epoch, seq } => Self::Front { zone, epoch, seq },
        }
    }
}

impl TryFrom<EventV1<'_>> for Event {
    type Error = WireError;

    fn try_from(event: EventV1<'_>) -> Result<Self, WireError> {
        let of_offer = |offer, version, change| Self::Offer(OfferEvent { offer, version, change });
        let of_zone = |zone, change| Self::Zone(ZoneEvent { zone, change });
        Ok(match event {
            EventV1::OfferDefined { offer, version, settings } => {
                of_offer(offer, version, OfferChange::Defined(Box::new(settings.try_into()?)))
            }
            EventV1::OfferOfPasses { offer, version, settings } => {
                let settings = OfferSettings { pass_once: true, ..settings.try_into()? };
                of_offer(offer, version, OfferChange::Defined(Box::new(settings)))
            }
            EventV1::Claim { offer, version, claim } => of_offer(offer, version, OfferChange::Claim(Box::new(claim.try_into()?))),
            EventV1::Standby { offer, version, standby } => of_offer(offer, version, OfferChange::Standby(Box::new(standby.try_into()?))),
            EventV1::OfferDeleted { offer, version } => of_offer(offer, version, OfferChange::Deleted),
            EventV1::ZoneDefined { zone, settings } => of_zone(zone, ZoneChange::Defined(Box::new(settings.try_into()?))),
            EventV1::ZoneGuarded { zone, settings, door } => {
                let settings = ZoneSettings { door: door.into(), ..settings.try_into()? };
                of_zone(zone, ZoneChange::Defined(Box::new(settings)))
            }
            EventV1::Reserved { zone, epoch, upto } => of_zone(zone, ZoneChange::Reserved { epoch, upto }),
            EventV1::Admitted { zone, epoch, seq, at } => {
                of_zone(zone, ZoneChange::Admitted { ticket: TicketNumber { epoch, seq }, at: Millis(at) })
            }
            EventV1::Left { zone, epoch, seq, at } => {
                of_zone(zone, ZoneChange::Left { ticket: TicketNumber { epoch, seq }, at: Millis(at) })
            }
            EventV1::Minute { zone, minute } => of_zone(zone, ZoneChange::Minute(minute.try_into()?)),
            EventV1::ZoneDeleted { zone } => of_zone(zone, ZoneChange::Deleted),
            EventV1::Front { zone, epoch, seq } => of_zone(zone, ZoneChange::Front { epoch, seq }),
        })
    }
}
