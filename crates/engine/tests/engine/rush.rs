//! What a rush leaves behind: a great many holds that fall due in one moment.

use crate::harness::{Node, START_MS, audit, offer_settings};
use bunho_domain::claim::Status;
use bunho_domain::event::TicketNumber;
use bunho_domain::ids::{AppId, IdempotencyKey, OfferId, UserId, ZoneId};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::once::PassId;
use bunho_domain::offer::refusal::Refusal;
use bunho_domain::offer::settings::Kind;
use bunho_domain::offer::{Actor, ClaimRequest, Offer, Pass, StandbyRequest, Step};
use bunho_domain::time::Millis;
use bunho_engine::Engine;

const HOLDS: u32 = 5_000;

/// Together their events are larger than the largest record a journal takes (16 MiB), so they must not be one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_large_holds_expire_together_and_standby_gets_them() {
    let node = Node::new();
    let mut settings = offer_settings("drop", Kind::Goods, HOLDS);
    settings.hold_seconds = 60;
    settings.standby = true;
    node.engine.put_offer(settings, None, audit()).await.unwrap().unwrap();
    let offer = OfferId::parse("drop").unwrap();
    let attributes = format!("{{\"address\":\"{}\"}}", "x".repeat(4_000));
    let claims = (0..HOLDS).map(|n| {
        let (engine, offer, attributes) = (node.engine.clone(), offer.clone(), attributes.clone());
        tokio::spawn(async move {
            let user = UserId::parse(&format!("user-{n}")).unwrap();
            let key = IdempotencyKey::parse("k").unwrap();
            let nonce = engine.nonce();
            let request =
                ClaimRequest { user: &user, quantity: 1, key: Some(&key), attributes: Some(&attributes), pass: Pass::Missing, nonce };
            engine.claim(&offer, request).await.unwrap().unwrap();
        })
    });
    for claim in claims.collect::<Vec<_>>() {
        claim.await.unwrap();
    }
    for n in 0..1_000 {
        let user = UserId::parse(&format!("standby-{n}")).unwrap();
        let request = StandbyRequest { user: &user, quantity: 1, pass: Pass::Missing, nonce: node.engine.nonce() };
        let view = node.engine.join_standby(&offer, request).await.unwrap().unwrap();
        assert_eq!(view.position, n + 1);
    }
    node.advance(60_000);
    let (_, stock) = node.engine.offer(&offer).await.unwrap();
    assert_eq!((stock.held, stock.remaining, stock.standby), (1_000, HOLDS - 1_000, 0));
    let node = node.restart();
    let (_, stock) = node.engine.offer(&offer).await.unwrap();
    assert_eq!((stock.held, stock.remaining), (1_000, HOLDS - 1_000));
    let (claims, _) = node.engine.claims_from(1, 0, HOLDS).await.unwrap();
    assert!(claims.iter().all(|claim| claim.status == Status::Expired && claim.version == 2));
}

/// 400 users show one pass at once, each twice with the same key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_pass_takes_one_claim_whoever_shows_it() {
    let node = Node::new();
    let zone = ZoneId::parse("GATE").unwrap();
    let gate = ZoneSettings::new(zone.clone(), AppId::parse("default").unwrap(), None);
    node.engine.put_zone(gate, None, audit()).await.unwrap();
    let mut settings = offer_settings("drop", Kind::Goods, 1_000);
    (settings.zone, settings.pass_once) = (Some(zone), true);
    node.engine.put_offer(settings, None, audit()).await.unwrap().unwrap();
    let show = |engine: &Engine, user: u32, seq: u32| {
        let engine = engine.clone();
        async move {
            let (user, key) = (UserId::parse(&format!("u{user}")).unwrap(), IdempotencyKey::parse("k").unwrap());
            let pass = Pass::Valid(PassId { zone_number: 1, ticket: TicketNumber { epoch: 1, seq } });
            let request = ClaimRequest { user: &user, quantity: 1, key: Some(&key), attributes: None, pass, nonce: engine.nonce() };
            engine.claim(&OfferId::parse("drop").unwrap(), request).await.unwrap()
        }
    };
    let calls: Vec<_> = (0..800).map(|call| tokio::spawn(show(&node.engine, call % 400, 1))).collect();
    let mut taken = Vec::new();
    for call in calls {
        match call.await.unwrap() {
            Ok(won) => taken.push(won.claim),
            Err(refusal) => assert_eq!(refusal, Refusal::PassUsed),
        }
    }
    assert_eq!((taken.len(), taken[0].id), (2, taken[1].id), "one claim, and both calls of one user have it");
    node.engine.release(Actor::Service(None), taken[0].id).await.unwrap().unwrap();
    let node = node.restart();
    assert_eq!(show(&node.engine, 1_000, 1).await.unwrap_err(), Refusal::PassUsed, "also when it was given back, and after a restart");
    show(&node.engine, 1_000, 2).await.unwrap();
}

/// The ticker looks at an offer when it has told that something falls due. Somebody on standby of an offer that opens later must
/// not hide a hold that falls due before.
#[test]
fn a_hold_that_ends_before_the_opening_is_not_hidden_by_standby() {
    let mut settings = offer_settings("drop", Kind::Goods, 2);
    (settings.hold_seconds, settings.standby) = (60, true);
    let mut offer = Offer::new(1, settings.clone());
    let mut events = Vec::new();
    let mut step = Step { now: Millis(START_MS), grants: None, events: &mut events };
    let users = ["a", "b", "c"].map(|name| UserId::parse(name).unwrap());
    let claims: Vec<_> = (0..2)
        .map(|n| {
            let request = ClaimRequest { user: &users[n], quantity: 1, key: None, attributes: None, pass: Pass::Missing, nonce: 1 };
            offer.claim(request, &mut step).unwrap().claim.id
        })
        .collect();
    offer.join_standby(StandbyRequest { user: &users[2], quantity: 1, pass: Pass::Missing, nonce: 1 }, &mut step).unwrap();
    settings.opens_at = Some(Millis(START_MS + 3_600_000));
    offer.define(settings, &mut step).unwrap();
    assert_eq!(offer.next_deadline(), Some(Millis(START_MS + 60_000)));
    // Now a unit is there for who waits, at the opening; the other hold still ends first.
    offer.release(Actor::Service(None), claims[0], &mut step).unwrap();
    assert_eq!(offer.next_deadline(), Some(Millis(START_MS + 60_000)));
    step.now = Millis(START_MS + 60_000);
    while offer.settle(1, &mut step) {}
    assert_eq!(offer.next_deadline(), Some(Millis(START_MS + 3_600_000)));
}
