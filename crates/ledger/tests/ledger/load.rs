//! What a restarting engine gets back.

use crate::projecting::sale;
use crate::world::*;
use bunho_domain::claim::{Claim, Standby, StandbyStatus, Status};
use bunho_domain::event::{Event, OfferChange, OfferEvent, ZoneChange, ZoneEvent, ZoneMinute};
use bunho_domain::ids::ClaimId;
use bunho_ledger::Loaded;
use std::collections::BTreeMap;

async fn loaded(world: &World) -> (u64, Vec<Event>) {
    let mut events = Vec::new();
    let offset = world.ledger.load(&mut |event| events.push(event)).await.expect("loaded");
    (offset, events)
}

fn last_states(events: &[Event]) -> BTreeMap<ClaimId, Claim> {
    let mut claims = BTreeMap::new();
    for event in events {
        if let Event::Offer(OfferEvent { change: OfferChange::Claim(claim), .. }) = event {
            claims.insert(claim.id, (**claim).clone());
        }
    }
    claims
}

async fn every_claim_comes_back_as_it_was_last() {
    let world = World::new().await;
    let mut events = sale(3_000);
    let grant = held(1, 3_000, "grantee");
    let full = Claim {
        key: Some(key("~!")),
        attributes: Some(r#"{"note":"a \u001f b | ü"}"#.into()),
        ordinal: Some(64),
        granted: Some(grant.id),
        hold_expires_at: None,
        ..held(1, 3_001, "a 'user' \"with\" \\ and 김")
    };
    events.extend([defined(1, 50_000, goods("summer", 3_002)), now(50_001, &grant), now(50_002, &full)]);
    world.happened(events.clone()).await;
    world.projected().await;
    let (offset, back) = loaded(&world).await;
    assert_eq!(offset, world.journal.durable());
    assert_eq!(last_states(&back), last_states(&events));
    let order: Vec<ClaimId> = back
        .iter()
        .filter_map(|event| match event {
            Event::Offer(OfferEvent { change: OfferChange::Claim(claim), .. }) => Some(claim.id),
            _ => None,
        })
        .collect();
    assert!(order.is_sorted(), "claims come in the order of taking");
    for event in &back {
        if let Event::Offer(event) = event {
            assert_eq!(event.version, 50_002, "the offer's version");
        }
    }
}

async fn the_rest_comes_back_in_an_order_that_replays() {
    let world = World::new().await;
    let gate = zoned(1, ZoneChange::Defined(Box::new(zone("gate"))));
    let mut shut = zone("gate");
    (shut.revision, shut.paused, shut.message, shut.entry_limit_per_minute) = (2, true, Some("soon".into()), None);
    let shut = zoned(1, ZoneChange::Defined(Box::new(shut)));
    let waits = standby(2, 0, "u2");
    let admitted = |seq, ms| zoned(1, ZoneChange::Admitted { ticket: ticket(seq), at: START.plus_ms(ms) });
    let left = |seq, ms| zoned(1, ZoneChange::Left { ticket: ticket(seq), at: START.plus_ms(ms) });
    world
        .happened([
            gate,
            shut.clone(),
            zoned(1, ZoneChange::Reserved { epoch: 1, upto: 8_192 }),
            zoned(1, ZoneChange::Reserved { epoch: 1, upto: 4_096 }),
            zoned(1, ZoneChange::Front { epoch: 1, seq: 900 }),
            zoned(1, ZoneChange::Front { epoch: 2, seq: 3 }),
            zoned(1, ZoneChange::Front { epoch: 2, seq: 2 }),
            zoned(2, ZoneChange::Defined(Box::new(zone("gone")))),
            zoned(2, ZoneChange::Admitted { ticket: ticket(0), at: START }),
            zoned(2, ZoneChange::Deleted),
            defined(1, 1, goods("gone", 3)),
            now(2, &held(1, 0, "u1")),
            offer_deleted(1, 3),
            defined(2, 1, goods("summer", 3)),
            now(2, &held(2, 0, "u1")),
            standby_now(3, &waits),
            admitted(1, 5),
            admitted(0, 20),
            left(1, 10),
            left(7, 30),
        ])
        .await;
    world.projected().await;
    let (_, back) = loaded(&world).await;
    let version = |change| Event::Offer(OfferEvent { offer: 2, version: 3, change });
    let expected = [
        shut,
        Event::Zone(ZoneEvent { zone: 1, change: ZoneChange::Reserved { epoch: 1, upto: 8_192 } }),
        zoned(1, ZoneChange::Front { epoch: 2, seq: 3 }),
        version(OfferChange::Defined(Box::new(goods("summer", 3)))),
        version(OfferChange::Claim(Box::new(held(2, 0, "u1")))),
        version(OfferChange::Standby(Box::new(Standby { ..waits }))),
        admitted(1, 5),
        left(1, 10),
        admitted(0, 20),
        left(7, 30),
    ];
    assert_eq!(back, expected);
    // In batches of their own: what is lower, by epoch and then number, changes nothing.
    for (epoch, seq, kept) in [(1, 5_000, (2, 3)), (2, 1, (2, 3)), (2, 40, (2, 40)), (3, 1, (3, 1))] {
        world.happened([zoned(1, ZoneChange::Front { epoch, seq })]).await;
        world.projected().await;
        let front = zoned(1, ZoneChange::Front { epoch: kept.0, seq: kept.1 });
        assert!(loaded(&world).await.1.contains(&front), "{front:?} after {epoch}, {seq}");
    }
    assert_eq!(world.ledger.highest_numbers().await.expect("numbers"), (2, 2), "deleted ones count");
}

async fn a_new_ledger_is_empty_and_a_used_one_opens_again() {
    let world = World::new().await;
    assert_eq!(loaded(&world).await, (0, vec![]));
    world.happened([defined(1, 1, goods("summer", 3))]).await;
    world.projected().await;
    world.ledger.close().await;
    let again = bunho_ledger::Ledger::open(world.ledger.place()).await.expect("opened again");
    assert_eq!(*again.projected().borrow(), 1);
}

/// What was answered to somebody is not taken back by a guard and a restart.
async fn what_was_parked_comes_back_until_it_is_resolved() {
    let world = World::new().await;
    let units = |claim: Claim, quantity| Claim { quantity, key: Some(key("k")), attributes: Some("{}".into()), ..claim };
    let (fits, too_many) = (units(held(1, 0, "a"), 2), units(held(1, 1, "b"), 2));
    let mut fewer = goods("summer", 1);
    fewer.revision = 2;
    world
        .happened([
            defined(1, 1, goods("summer", 3)),
            now(2, &fits),
            now(3, &too_many),
            now(4, &then(&too_many, Status::Confirmed)),
            now(2, &held(9, 0, "of no offer")),
        ])
        .await;
    world.projected().await;
    world.happened([defined(1, 5, fewer.clone())]).await;
    assert_eq!(world.projected().await.parked(), 4);
    let (_, back) = loaded(&world).await;
    let version = |change| Event::Offer(OfferEvent { offer: 1, version: 5, change });
    let row = [version(OfferChange::Defined(Box::new(goods("summer", 3)))), version(OfferChange::Claim(Box::new(fits)))];
    let parked = [
        version(OfferChange::Claim(Box::new(too_many.clone()))),
        version(OfferChange::Claim(Box::new(then(&too_many, Status::Confirmed)))),
        version(OfferChange::Defined(Box::new(fewer))),
    ];
    assert_eq!(back, [&row[..], &parked[..]].concat());
    assert_eq!(world.ledger.highest_numbers().await.expect("numbers"), (9, 0));

    let mut shell = world.shell().await;
    shell.run("UPDATE parked_events SET resolved_at = 'now'").await;
    assert_eq!(loaded(&world).await.1, row);
}

/// In the order of [`Ledger::load`]; none: it was deleted, or never there.
async fn one(world: &World, is_offer: bool, number: u32) -> Option<Vec<Event>> {
    let ledger = &world.ledger;
    if !is_offer {
        let mut events = Vec::new();
        return ledger.load_zone(number, &mut |event| events.push(event)).await.expect("loaded").then_some(events);
    }
    let Loaded::Offer(offer) = ledger.load_offer(number).await.expect("loaded") else { return None };
    let event = |change| Event::Offer(OfferEvent { offer: number, version: offer.version, change });
    let mut events = vec![event(OfferChange::Defined(Box::new(offer.settings.clone())))];
    let claims = ledger.claims_between(number, None, None, usize::MAX).await.expect("read");
    events.extend(claims.into_iter().map(|claim| event(OfferChange::Claim(Box::new(claim)))));
    let is_parked = |event: &&OfferEvent| !matches!(event.change, OfferChange::Standby(_));
    assert_eq!(offer.events.iter().any(|event| is_parked(&event)), !offer.is_whole);
    events.extend(offer.events.into_iter().map(Event::Offer));
    Some(events)
}

/// What is loaded of one is what is loaded of all, without the others.
async fn one_offer_or_zone_comes_back_as_all_do() {
    let world = World::new().await;
    let mut served = standby(2, 0, "u9");
    (served.status, served.version) = (StandbyStatus::Left, 2);
    world.happened(sale(1_200)).await;
    world
        .happened([
            defined(2, 1, goods("winter", 2)),
            defined(256, 1, goods("spring", 5)),
            now(2, &held(2, 0, "u1")),
            now(3, &held(2, 1, "u2")),
            now(4, &held(2, 2, "too many")),
            now(2, &held(256, 0, "u1")),
            standby_now(5, &standby(2, 0, "u9")),
            standby_now(6, &served),
            standby_now(3, &standby(256, 0, "u8")),
            now(2, &held(9, 0, "of no offer")),
            zoned(2, ZoneChange::Defined(Box::new(zone("exit")))),
            zoned(2, ZoneChange::Reserved { epoch: 1, upto: 4_096 }),
            zoned(2, ZoneChange::Front { epoch: 1, seq: 1 }),
            zoned(2, ZoneChange::Admitted { ticket: ticket(0), at: START.plus_ms(5) }),
            zoned(2, ZoneChange::Admitted { ticket: ticket(1), at: START }),
            zoned(2, ZoneChange::Left { ticket: ticket(1), at: START.plus_ms(5) }),
        ])
        .await;
    for (minute, entered) in [(0, 5), (60, 6)] {
        let minute = START.plus_seconds(minute);
        let minute = ZoneMinute { zone: zone_id("exit"), minute, entered, waiting: 0, dropped: 0, entry_limit: None };
        world.happened([zoned(2, ZoneChange::Minute(minute))]).await;
    }
    assert_eq!(world.projected().await.parked(), 2);
    let (_, all) = loaded(&world).await;
    let of = |is_offer: bool, number: u32| {
        let is_its = |event: &&Event| match event {
            Event::Offer(event) => is_offer && event.offer == number,
            Event::Zone(event) => !is_offer && event.zone == number,
        };
        all.iter().filter(is_its).cloned().collect::<Vec<_>>()
    };
    for (is_offer, number, least) in [(true, 1, 1_000), (true, 2, 5), (true, 256, 3), (false, 1, 100), (false, 2, 7)] {
        let events = one(&world, is_offer, number).await.expect("there");
        assert!(events.len() >= least, "{is_offer} {number}: {}", events.len());
        assert_eq!(events, of(is_offer, number), "{is_offer} {number}");
    }
    for (is_offer, number) in [(true, 3), (true, 9), (false, 3)] {
        assert_eq!(one(&world, is_offer, number).await, None, "{is_offer} {number}");
    }
    world.happened([offer_deleted(2, 7), zoned(2, ZoneChange::Deleted)]).await;
    world.projected().await;
    for is_offer in [true, false] {
        assert_eq!(one(&world, is_offer, 2).await, None);
    }
}

crate::backend::on_each!(
    one_offer_or_zone_comes_back_as_all_do,
    every_claim_comes_back_as_it_was_last,
    the_rest_comes_back_in_an_order_that_replays,
    a_new_ledger_is_empty_and_a_used_one_opens_again,
    what_was_parked_comes_back_until_it_is_resolved,
);
