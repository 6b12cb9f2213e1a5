//! The bytes of one record of each kind. Version 1 has been written to disks: where this test fails, the layout was
//! changed by accident. Never change the bytes here; make a version 2.

use crate::wire::encoded;
use bunho_domain::claim::{Claim, Standby, StandbyStatus, Status};
use bunho_domain::event::{Event, OfferChange, OfferEvent, TicketNumber, ZoneChange, ZoneEvent, ZoneMinute};
use bunho_domain::ids::{AppId, ClaimId, IdempotencyKey, OfferId, StandbyId, UserId, ZoneId};
use bunho_domain::line::door::{Door, Enqueue};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::settings::{ConfirmBy, Kind, OfferSettings};
use bunho_domain::time::Millis;
use bunho_journal::{Audit, Record};
use std::fmt::Write;

#[test]
fn version_1_is_what_it_was() {
    check(record(vec![], None), "01 02 00 00");
    check(record(vec![], Some(audit())), "01 02 00 01 04 72 6f 6f 74 04 65 64 69 74 01 6f 01 02 7b 7d 01 01 72");

    check(
        offer(OfferChange::Defined(Box::new(full_offer()))),
        "01 02 01 00 07 c8 01 01 6f 01 61 06 ec 9d b4 eb a6 84 02 01 01 02 03 04 05 06 01 0e 01 10 01 01 7a 01 01 67 01 00 09 01 0a 00",
    );
    check(
        offer(OfferChange::Defined(Box::new(offer_of_passes()))),
        "01 02 01 0c 07 c8 01 01 6f 01 61 06 ec 9d b4 eb a6 84 02 01 01 02 03 04 05 06 01 0e 01 10 01 01 7a 01 01 67 01 00 09 01 0a 00",
    );
    check(
        offer(OfferChange::Defined(Box::new(plain_offer(Kind::Coupon)))),
        "01 02 01 00 07 c8 01 01 6f 01 61 01 6f 00 0a 01 01 01 01 00 00 00 00 00 00 00 00 00 00 01 00",
    );
    check(
        offer(OfferChange::Defined(Box::new(plain_offer(Kind::Goods)))),
        "01 02 01 00 07 c8 01 01 6f 01 61 01 6f 01 0a 00 01 64 ac 02 00 00 00 00 00 00 00 ac 02 00 01 00",
    );
    check(
        offer(OfferChange::Claim(Box::new(full_claim()))),
        "01 02 01 01 07 c8 01 00 00 00 01 00 00 80 00 88 00 00 00 00 00 00 03 01 75 04 04 05 01 01 6b 01 02 7b 7d 0c 0e 01 10 01 09 01 00 00 00 0a 00 00 80 00 ac 00 00 00 00 00 00 0c 00",
    );
    check(
        offer(OfferChange::Claim(Box::new(plain_claim(Status::Held)))),
        "01 02 01 01 07 c8 01 00 00 00 01 00 00 80 00 88 00 00 00 00 00 00 03 01 75 04 00 05 00 00 0c 0e 00 00 00 00",
    );
    check(
        offer(OfferChange::Claim(Box::new(plain_claim(Status::Confirmed)))),
        "01 02 01 01 07 c8 01 00 00 00 01 00 00 80 00 88 00 00 00 00 00 00 03 01 75 04 01 05 00 00 0c 0e 00 00 00 00",
    );
    check(
        offer(OfferChange::Claim(Box::new(plain_claim(Status::Released)))),
        "01 02 01 01 07 c8 01 00 00 00 01 00 00 80 00 88 00 00 00 00 00 00 03 01 75 04 02 05 00 00 0c 0e 00 00 00 00",
    );
    check(
        offer(OfferChange::Claim(Box::new(plain_claim(Status::Expired)))),
        "01 02 01 01 07 c8 01 00 00 00 01 00 00 80 00 88 00 00 00 00 00 00 03 01 75 04 03 05 00 00 0c 0e 00 00 00 00",
    );
    check(
        offer(OfferChange::Standby(Box::new(standby(StandbyStatus::Waiting, None)))),
        "01 02 01 02 07 c8 01 00 00 00 01 00 00 80 00 88 00 00 00 00 00 00 03 01 75 04 00 05 0c 0e 00 00",
    );
    check(
        offer(OfferChange::Standby(Box::new(standby(StandbyStatus::Served, Some(ClaimId::new(1, 2, 3)))))),
        "01 02 01 02 07 c8 01 00 00 00 01 00 00 80 00 88 00 00 00 00 00 00 03 01 75 04 01 05 0c 0e 01 00 00 00 01 00 00 80 00 88 00 00 00 00 00 00 03 00",
    );
    check(
        offer(OfferChange::Standby(Box::new(standby(StandbyStatus::Left, None)))),
        "01 02 01 02 07 c8 01 00 00 00 01 00 00 80 00 88 00 00 00 00 00 00 03 01 75 04 02 05 0c 0e 00 00",
    );
    check(
        offer(OfferChange::Standby(Box::new(standby(StandbyStatus::Passed, None)))),
        "01 02 01 02 07 c8 01 00 00 00 01 00 00 80 00 88 00 00 00 00 00 00 03 01 75 04 03 05 0c 0e 00 00",
    );
    check(offer(OfferChange::Deleted), "01 02 01 03 07 c8 01 00");

    let ticket = TicketNumber { epoch: 2, seq: 300 };
    check(
        zone(ZoneChange::Defined(Box::new(full_zone()))),
        "01 02 01 04 09 01 7a 01 61 01 6e 01 01 02 03 04 05 06 07 01 10 00 01 01 09 0a 0b 01 01 6f 01 01 6d 0c 0d 00",
    );
    check(
        zone(ZoneChange::Defined(Box::new(guarded_zone()))),
        "01 02 01 0b 09 01 7a 01 61 01 6e 01 01 02 03 04 05 06 07 01 10 00 01 01 09 0a 0b 01 01 6f 01 01 6d 0c 0d 12 01 01 00",
    );
    check(zone(ZoneChange::Reserved { epoch: 2, upto: 4096 }), "01 02 01 05 09 02 80 20 00");
    check(zone(ZoneChange::Admitted { ticket, at: Millis(5) }), "01 02 01 06 09 02 ac 02 0a 00");
    check(zone(ZoneChange::Left { ticket, at: Millis(-5) }), "01 02 01 07 09 02 ac 02 09 00");
    check(zone(ZoneChange::Minute(minute())), "01 02 01 08 09 01 7a c0 a9 07 01 02 03 01 04 00");
    check(zone(ZoneChange::Deleted), "01 02 01 09 09 00");
    check(zone(ZoneChange::Front { epoch: 2, seq: 300 }), "01 02 01 0a 09 02 ac 02 00");
}

/// Both ways: these bytes are written, and are read as the record.
fn check(record: Record, golden: &str) {
    let written = encoded(&record).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x} ").unwrap();
        text
    });
    assert_eq!(written.trim(), golden, "{record:?}");
    let bytes: Vec<u8> = golden.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    assert_eq!(Record::decode(&bytes).unwrap(), record);
}

fn record(events: Vec<Event>, audit: Option<Audit>) -> Record {
    Record { at: Millis(1), events, audit }
}

fn offer(change: OfferChange) -> Record {
    record(vec![Event::Offer(OfferEvent { offer: 7, version: 200, change })], None)
}

fn zone(change: ZoneChange) -> Record {
    record(vec![Event::Zone(ZoneEvent { zone: 9, change })], None)
}

pub(crate) fn audit() -> Audit {
    let (detail, request_id) = (Some("{}".into()), Some("r".into()));
    Audit { actor: "root".into(), action: "edit".into(), target: "o".into(), detail, request_id }
}

fn plain_offer(kind: Kind) -> OfferSettings {
    OfferSettings::new(OfferId::parse("o").unwrap(), AppId::parse("a").unwrap(), kind, 10)
}

pub(crate) fn full_offer() -> OfferSettings {
    OfferSettings {
        id: OfferId::parse("o").unwrap(),
        app: AppId::parse("a").unwrap(),
        name: "이름".into(),
        kind: Kind::Booking,
        quantity: 1,
        per_user_limit: Some(2),
        min_per_claim: 3,
        max_per_claim: 4,
        hold_seconds: 5,
        unit_price: 6,
        opens_at: Some(Millis(7)),
        closes_at: Some(Millis(8)),
        zone: Some(ZoneId::parse("z").unwrap()),
        pass_once: false,
        grants: Some(OfferId::parse("g").unwrap()),
        grant_only: true,
        standby: false,
        standby_hold_seconds: 9,
        confirm_by: ConfirmBy::User,
        revision: 10,
    }
}

pub(crate) fn offer_of_passes() -> OfferSettings {
    OfferSettings { pass_once: true, ..full_offer() }
}

pub(crate) fn plain_claim(status: Status) -> Claim {
    Claim {
        id: ClaimId::new(1, 2, 3),
        user: UserId::parse("u").unwrap(),
        quantity: 4,
        status,
        version: 5,
        key: None,
        attributes: None,
        created_at: Millis(6),
        updated_at: Millis(7),
        hold_expires_at: None,
        ordinal: None,
        granted: None,
    }
}

pub(crate) fn full_claim() -> Claim {
    Claim {
        key: Some(IdempotencyKey::parse("k").unwrap()),
        attributes: Some("{}".into()),
        hold_expires_at: Some(Millis(8)),
        ordinal: Some(9),
        granted: Some(ClaimId::new(10, 11, 12)),
        ..plain_claim(Status::Returned)
    }
}

pub(crate) fn standby(status: StandbyStatus, claim: Option<ClaimId>) -> Standby {
    Standby {
        id: StandbyId::new(1, 2, 3),
        user: UserId::parse("u").unwrap(),
        quantity: 4,
        status,
        version: 5,
        created_at: Millis(6),
        updated_at: Millis(7),
        claim,
    }
}

pub(crate) fn full_zone() -> ZoneSettings {
    ZoneSettings {
        id: ZoneId::parse("z").unwrap(),
        app: AppId::parse("a").unwrap(),
        name: "n".into(),
        entry_limit_per_minute: Some(1),
        window_seconds: 2,
        slot_seconds: 3,
        abandon_after_seconds: 4,
        resume_grace_seconds: 5,
        poll_interval_ms: 6,
        poll_interval_max_ms: 7,
        opens_at: Some(Millis(8)),
        closes_at: None,
        paused: true,
        active_limit: Some(9),
        session_seconds: 10,
        pass_ttl_seconds: 11,
        offer: Some(OfferId::parse("o").unwrap()),
        message: Some("m".into()),
        door: Door::default(),
        revision: 12,
        epoch: 13,
    }
}

pub(crate) fn guarded_zone() -> ZoneSettings {
    ZoneSettings { door: Door { challenge_bits: 18, enqueue: Enqueue::Token, pass_bound: true }, ..full_zone() }
}

pub(crate) fn minute() -> ZoneMinute {
    ZoneMinute { zone: ZoneId::parse("z").unwrap(), minute: Millis(60_000), entered: 1, waiting: 2, dropped: 3, entry_limit: Some(4) }
}
