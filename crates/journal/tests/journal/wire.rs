//! Any record comes back as it was, and any bytes are either a record or an error.

use bunho_domain::claim::{Claim, Standby, StandbyStatus, Status};
use bunho_domain::event::{Event, OfferChange, OfferEvent, TicketNumber, ZoneChange, ZoneEvent, ZoneMinute};
use bunho_domain::ids::{AppId, ClaimId, IdempotencyKey, OfferId, StandbyId, UserId, ZoneId};
use bunho_domain::line::door::{Door, Enqueue};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::settings::{ConfirmBy, Kind, OfferSettings};
use bunho_domain::time::Millis;
use bunho_journal::{Audit, Record, RecordRef, WireError};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

pub(crate) fn encoded(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    RecordRef { at: record.at, events: &record.events, audit: record.audit.as_ref() }.encode(&mut bytes).unwrap();
    bytes
}

proptest! {
    #[test]
    fn a_record_comes_back(record in record()) {
        let bytes = encoded(&record);
        prop_assert_eq!(Record::decode(&bytes).unwrap(), record);
    }

    #[test]
    fn arbitrary_bytes_are_a_record_or_an_error(bytes in vec(any::<u8>(), 0..400)) {
        let mut bytes = bytes;
        Record::decode(&bytes).ok();
        if let Some(version) = bytes.first_mut() {
            *version = 1;
        }
        Record::decode(&bytes).ok();
    }

    #[test]
    fn a_changed_record_is_a_record_or_an_error(record in record(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = encoded(&record);
        let at = at.index(bytes.len());
        bytes[at] = to;
        Record::decode(&bytes).ok();
        prop_assert!(Record::decode(&bytes[..at]).is_err(), "a record cut short is none");
    }
}

#[test]
fn what_is_no_record_says_why() {
    assert!(matches!(Record::decode(&[]), Err(WireError::Empty)));
    assert!(matches!(Record::decode(&[2, 0, 0, 0]), Err(WireError::Version { found: 2 })));
    assert!(matches!(Record::decode(&[0]), Err(WireError::Version { found: 0 })));
    assert!(matches!(Record::decode(&[1, 0, 0]), Err(WireError::Layout(_))));
    assert!(matches!(Record::decode(&[1, 0, 0, 0, 9]), Err(WireError::Trailing(1))));
    // One event of the kind `Minute` (8), of zone 0, whose id is empty.
    assert!(matches!(Record::decode(&[1, 0, 1, 8, 0, 0, 0, 0, 0, 0, 0, 0]), Err(WireError::Field { field: "zone id", .. })));
    let message = Record::decode(&[7]).unwrap_err().to_string();
    assert!(message.contains("version 7") && message.contains("newer"), "{message}");
}

pub(crate) fn millis() -> impl Strategy<Value = Millis> {
    any::<i64>().prop_map(Millis)
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_.:-]{1,64}"
}

fn zone_id() -> impl Strategy<Value = ZoneId> {
    name().prop_map(|text| ZoneId::parse(&text).unwrap())
}

fn offer_id() -> impl Strategy<Value = OfferId> {
    name().prop_map(|text| OfferId::parse(&text).unwrap())
}

fn app_id() -> impl Strategy<Value = AppId> {
    name().prop_map(|text| AppId::parse(&text).unwrap())
}

fn user_id() -> impl Strategy<Value = UserId> {
    "[a-z가-힣 ]{1,30}".prop_map(|text| UserId::parse(&text).unwrap())
}

fn claim_id() -> impl Strategy<Value = ClaimId> {
    any::<(u32, u32, u64)>().prop_map(|(offer, seq, nonce)| ClaimId::new(offer, seq, nonce))
}

fn text() -> impl Strategy<Value = Box<str>> {
    ".{0,40}".prop_map(Into::into)
}

fn offer_settings() -> impl Strategy<Value = OfferSettings> {
    let names = (offer_id(), app_id(), text(), of(zone_id()), of(offer_id()));
    let kinds = (prop::sample::select(vec![Kind::Coupon, Kind::Goods, Kind::Booking]), any::<(bool, bool, bool, bool)>());
    (names, kinds, any::<([u32; 6], u64)>(), of(any::<u32>()), of(millis()), of(millis())).prop_map(
        |(
            (id, app, name, zone, grants),
            (kind, (grant_only, standby, by_user, pass_once)),
            (numbers, unit_price),
            limit,
            opens_at,
            closes_at,
        )| {
            let [quantity, min_per_claim, max_per_claim, hold_seconds, standby_hold_seconds, revision] = numbers;
            OfferSettings {
                id,
                app,
                name,
                kind,
                quantity,
                per_user_limit: limit,
                min_per_claim,
                max_per_claim,
                hold_seconds,
                unit_price,
                opens_at,
                closes_at,
                zone,
                pass_once,
                grants,
                grant_only,
                standby,
                standby_hold_seconds,
                confirm_by: if by_user { ConfirmBy::User } else { ConfirmBy::Service },
                revision,
            }
        },
    )
}

fn claim() -> impl Strategy<Value = Claim> {
    let status = prop::sample::select(vec![Status::Held, Status::Confirmed, Status::Released, Status::Expired, Status::Returned]);
    let key = "[!-~]{1,40}".prop_map(|text| IdempotencyKey::parse(&text).unwrap());
    let times = (millis(), millis(), of(millis()));
    (claim_id(), user_id(), status, any::<(u32, u32)>(), of(key), of(text()), times, of(any::<u32>()), of(claim_id())).prop_map(
        |(id, user, status, (quantity, version), key, attributes, (created_at, updated_at, hold_expires_at), ordinal, granted)| Claim {
            id,
            user,
            quantity,
            status,
            version,
            key,
            attributes,
            created_at,
            updated_at,
            hold_expires_at,
            ordinal,
            granted,
        },
    )
}

fn standby() -> impl Strategy<Value = Standby> {
    use StandbyStatus::{Left, Passed, Served, Waiting};
    let status = prop::sample::select(vec![Waiting, Served, Left, Passed]);
    (any::<(u32, u32, u64, u32, u32)>(), user_id(), status, millis(), millis(), of(claim_id())).prop_map(
        |((offer, seq, nonce, quantity, version), user, status, created_at, updated_at, claim)| Standby {
            id: StandbyId::new(offer, seq, nonce),
            user,
            quantity,
            status,
            version,
            created_at,
            updated_at,
            claim,
        },
    )
}

fn zone_settings() -> impl Strategy<Value = ZoneSettings> {
    let names = (zone_id(), app_id(), text(), of(offer_id()), of(text()));
    let bounds = (of(any::<u32>()), of(any::<u32>()), of(millis()), of(millis()), any::<bool>());
    let door = (any::<u32>(), any::<bool>(), any::<bool>()).prop_map(|(challenge_bits, by_token, pass_bound)| {
        let enqueue = if by_token { Enqueue::Token } else { Enqueue::Open };
        Door { challenge_bits, enqueue, pass_bound }
    });
    let door = prop_oneof![Just(Door::default()), door];
    (names, bounds, any::<[u32; 10]>(), door).prop_map(
        |((id, app, name, offer, message), (entry_limit_per_minute, active_limit, opens_at, closes_at, paused), numbers, door)| {
            let [window_seconds, slot_seconds, abandon_after_seconds, resume_grace_seconds, poll_interval_ms, ..] = numbers;
            let [.., poll_interval_max_ms, session_seconds, pass_ttl_seconds, revision, epoch] = numbers;
            ZoneSettings {
                id,
                app,
                name,
                entry_limit_per_minute,
                window_seconds,
                slot_seconds,
                abandon_after_seconds,
                resume_grace_seconds,
                poll_interval_ms,
                poll_interval_max_ms,
                opens_at,
                closes_at,
                paused,
                active_limit,
                session_seconds,
                pass_ttl_seconds,
                offer,
                message,
                door,
                revision,
                epoch,
            }
        },
    )
}

fn offer_change() -> impl Strategy<Value = OfferChange> {
    prop_oneof![
        offer_settings().prop_map(|settings| OfferChange::Defined(Box::new(settings))),
        claim().prop_map(|claim| OfferChange::Claim(Box::new(claim))),
        standby().prop_map(|standby| OfferChange::Standby(Box::new(standby))),
        Just(OfferChange::Deleted),
    ]
}

fn zone_change() -> impl Strategy<Value = ZoneChange> {
    let ticket = || any::<(u32, u32)>().prop_map(|(epoch, seq)| TicketNumber { epoch, seq });
    let minute =
        (zone_id(), millis(), any::<[u32; 3]>(), of(any::<u32>())).prop_map(|(zone, minute, [entered, waiting, dropped], entry_limit)| {
            ZoneMinute { zone, minute, entered, waiting, dropped, entry_limit }
        });
    prop_oneof![
        zone_settings().prop_map(|settings| ZoneChange::Defined(Box::new(settings))),
        any::<(u32, u32)>().prop_map(|(epoch, upto)| ZoneChange::Reserved { epoch, upto }),
        (ticket(), millis()).prop_map(|(ticket, at)| ZoneChange::Admitted { ticket, at }),
        (ticket(), millis()).prop_map(|(ticket, at)| ZoneChange::Left { ticket, at }),
        minute.prop_map(ZoneChange::Minute),
        Just(ZoneChange::Deleted),
        any::<(u32, u32)>().prop_map(|(epoch, seq)| ZoneChange::Front { epoch, seq }),
    ]
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (any::<(u32, u64)>(), offer_change()).prop_map(|((offer, version), change)| Event::Offer(OfferEvent { offer, version, change })),
        (any::<u32>(), zone_change()).prop_map(|(zone, change)| Event::Zone(ZoneEvent { zone, change })),
    ]
}

pub(crate) fn audit() -> impl Strategy<Value = Audit> {
    (".{0,20}", ".{0,20}", ".{0,20}", of(".{0,20}"), of(".{0,20}")).prop_map(|(actor, action, target, detail, request_id)| Audit {
        actor,
        action,
        target,
        detail,
        request_id,
    })
}

fn record() -> impl Strategy<Value = Record> {
    (millis(), vec(event(), 0..4), of(audit())).prop_map(|(at, events, audit)| Record { at, events, audit })
}
