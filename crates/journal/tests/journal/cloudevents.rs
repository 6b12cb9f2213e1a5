//! Any event comes back from its message, the messages are what they were, and any bytes are either a message or an error.

use crate::golden;
use crate::wire::{audit, event, millis};
use bunho_domain::event::{Event, OfferChange, OfferEvent, TicketNumber, ZoneChange, ZoneEvent};
use bunho_domain::time::Millis;
use bunho_journal::Audit;
use bunho_journal::kafka::{Content, Kind, Message, Unreadable};
use proptest::option::of;
use proptest::prelude::*;
use std::path::PathBuf;

proptest! {
    #[test]
    fn a_message_comes_back(at in millis(), epoch in any::<u32>(), event in event(), audit in of(audit())) {
        let message = Message { at, epoch, content: Content::Event(event), audit };
        prop_assert_eq!(Message::decode(&message.encode()).unwrap(), message);
    }

    #[test]
    fn a_fence_comes_back(at in millis(), epoch in any::<u32>(), of_offer in any::<bool>(), number in any::<u32>()) {
        let of = if of_offer { Kind::Offer } else { Kind::Zone };
        let message = Message { at, epoch, content: Content::Fence { of, number }, audit: None };
        prop_assert_eq!(message.about(), (of, number));
        prop_assert_eq!(Message::decode(&message.encode()).unwrap(), message);
    }

    #[test]
    fn arbitrary_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Message::decode(&bytes).is_err());
    }

    #[test]
    fn a_changed_message_is_a_message_or_an_error(
        at in millis(),
        event in event(),
        place in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let mut bytes = Message { at, epoch: 1, content: Content::Event(event), audit: None }.encode();
        let place = place.index(bytes.len());
        prop_assert!(Message::decode(&bytes[..place]).is_err(), "a message cut short is none");
        bytes[place] = to;
        // Reading may go well; then the message must be one that can be written again.
        if let Ok(read) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&read.encode()).unwrap(), read);
        }
    }
}

/// Version 1 has been written to topics that are never cut: where this fails, the layout was changed by accident. Never change the files; make a v2.
#[test]
fn version_1_is_what_it_was() {
    let ticket = TicketNumber { epoch: 2, seq: 300 };
    let offer = |change| Event::Offer(OfferEvent { offer: 7, version: 200, change });
    let zone = |change| Event::Zone(ZoneEvent { zone: 9, change });
    check("claim", offer(OfferChange::Claim(Box::new(golden::full_claim()))));
    check("claim_plain", offer(OfferChange::Claim(Box::new(golden::plain_claim(bunho_domain::claim::Status::Held)))));
    let served = Some(bunho_domain::ids::ClaimId::new(1, 2, 3));
    check("standby", offer(OfferChange::Standby(Box::new(golden::standby(bunho_domain::claim::StandbyStatus::Served, served)))));
    check("offer", offer(OfferChange::Defined(Box::new(golden::full_offer()))));
    check("offer_of_passes", offer(OfferChange::Defined(Box::new(golden::offer_of_passes()))));
    check("offer_deleted", offer(OfferChange::Deleted));
    check("zone", zone(ZoneChange::Defined(Box::new(golden::full_zone()))));
    check("zone_guarded", zone(ZoneChange::Defined(Box::new(golden::guarded_zone()))));
    check("zone_reserved", zone(ZoneChange::Reserved { epoch: 2, upto: 4_096 }));
    check("zone_admitted", zone(ZoneChange::Admitted { ticket, at: Millis(5) }));
    check("zone_left", zone(ZoneChange::Left { ticket, at: Millis(-5) }));
    check("zone_minute", zone(ZoneChange::Minute(golden::minute())));
    check("zone_front", zone(ZoneChange::Front { epoch: 2, seq: 300 }));
    check("zone_deleted", zone(ZoneChange::Deleted));
    check_message("fence_offer", Content::Fence { of: Kind::Offer, number: 7 }, None);
    check_message("fence_zone", Content::Fence { of: Kind::Zone, number: 9 }, None);
}

/// Both ways: these bytes are written, and are read as the message. Offers' messages carry an audit, zones' none.
fn check(name: &str, event: Event) {
    let audit = matches!(event, Event::Offer(_)).then(golden::audit);
    check_message(name, Content::Event(event), audit);
}

fn check_message(name: &str, content: Content, audit: Option<Audit>) {
    let message = Message { at: Millis(1_767_323_045_678), epoch: 3, content, audit };
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cloudevents").join(format!("{name}.json"));
    let golden = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; it would be\n{}", path.display(), String::from_utf8(message.encode()).unwrap()));
    assert_eq!(String::from_utf8(message.encode()).unwrap(), golden.trim_end(), "{name}");
    assert_eq!(Message::decode(golden.as_bytes()).unwrap(), message, "{name}");
}

#[test]
fn what_is_no_message_says_why() {
    let deleted = r#"{"at":1,"offer":7,"offer_version":3,"state":{}}"#;
    let of = |spec: &str, kind: &str, data: &str| format!(r#"{{"type":"{kind}","specversion":"{spec}","epoch":1,"data":{data}}}"#);
    let read = |text: &str| Message::decode(text.as_bytes());

    assert!(read(&of("1.0", "bunho.offer.deleted.v1", deleted)).is_ok(), "what a reader does not need may be missing");
    assert!(matches!(read(""), Err(Unreadable::Envelope(_))));
    assert!(matches!(read("[]"), Err(Unreadable::Envelope(_))));
    assert!(matches!(read(r#"{"specversion":"1.0","type":"bunho.claim.v1","epoch":1}"#), Err(Unreadable::Envelope(_))));
    // Without its epoch nobody knows whether it counts.
    let timeless = format!(r#"{{"type":"bunho.offer.deleted.v1","specversion":"1.0","data":{deleted}}}"#);
    assert!(matches!(read(&timeless), Err(Unreadable::Envelope(_))));
    assert!(matches!(read(&of("1.0", "bunho.fence.v1", r#"{"at":1,"kind":"queue","number":7}"#)), Err(Unreadable::Data { .. })));
    assert!(matches!(read(&of("0.3", "bunho.offer.deleted.v1", deleted)), Err(Unreadable::SpecVersion { found }) if found == "0.3"));
    assert!(matches!(read(&of("1.0", "bunho.offer.deleted.v2", deleted)), Err(Unreadable::Type { found }) if found.ends_with("v2")));
    assert!(matches!(read(&of("1.0", "bunho.claim.v1", deleted)), Err(Unreadable::Data { of: "bunho.claim.v1", .. })));
    assert!(matches!(read(&of("1.0", "bunho.offer.deleted.v1", "7")), Err(Unreadable::Data { .. })));
    let minute = r#"{"at":1,"zone":7,"state":{"zone":"a b","minute":0,"entered":0,"waiting":0,"dropped":0}}"#;
    assert!(matches!(read(&of("1.0", "bunho.zone.minute.v1", minute)), Err(Unreadable::Field { field: "zone id", .. })));
    // As deep as somebody likes to nest it: what is not known is walked over without a stack, and what is known is never deep.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(read(&of("1.0", "bunho.offer.deleted.v1", &deep)), Err(Unreadable::Data { .. })));
    assert!(read(&format!(r#"{{"x":{deep},"type":"bunho.offer.deleted.v1","specversion":"1.0","epoch":1,"data":{deleted}}}"#)).is_ok());
}

#[test]
fn what_a_later_release_adds_is_ignored() {
    let text = r#"{"specversion":"1.0","id":"x","traceparent":"00-1","epoch":7,"type":"bunho.zone.admitted.v1","dataschema":{"a":[1]},
        "data":{"at":1,"zone":9,"colour":"red","state":{"epoch":2,"seq":300,"at":5,"of":{"new":true}}}}"#;
    let ticket = TicketNumber { epoch: 2, seq: 300 };
    let event = Event::Zone(ZoneEvent { zone: 9, change: ZoneChange::Admitted { ticket, at: Millis(5) } });
    assert_eq!(Message::decode(text.as_bytes()).unwrap(), Message { at: Millis(1), epoch: 7, content: Content::Event(event), audit: None });
}
