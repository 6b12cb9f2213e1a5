//! A system clock that steps under a running engine, and between two: holds and windows keep their length.

use crate::harness::{Apart, audit, offer_settings};
use bunho_domain::claim::{Claim, Status};
use bunho_domain::ids::{AppId, OfferId, UserId, ZoneId};
use bunho_domain::line::Answer;
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::settings::Kind;
use bunho_domain::offer::{Actor, ClaimRequest, Pass};
use bunho_engine::Entry;

const HOUR_MS: i64 = 3_600_000;
const STEPS_MS: [i64; 6] = [-HOUR_MS, -5_000, -1, 1, 5_000, HOUR_MS];

async fn hold(node: &Apart, user: &UserId) -> Claim {
    let request = ClaimRequest { user, quantity: 1, key: None, attributes: None, pass: Pass::Missing, nonce: 1 };
    node.engine.claim(&OfferId::parse("o").unwrap(), request).await.unwrap().unwrap().claim
}

async fn status(node: &Apart, user: &UserId, claim: &Claim) -> Status {
    node.engine.read_claim(Actor::User(user), claim.id).await.unwrap().unwrap().status
}

async fn join(node: &Apart) -> Entry {
    node.engine.join(&ZoneId::parse("z").unwrap(), None).await.unwrap()
}

async fn with_offer_and_zone() -> Apart {
    let node = Apart::new();
    let mut offer = offer_settings("o", Kind::Goods, 100);
    offer.hold_seconds = 600;
    offer.per_user_limit = None;
    node.engine.put_offer(offer, None, audit()).await.unwrap().unwrap();
    let zone = ZoneSettings::new(ZoneId::parse("z").unwrap(), AppId::parse("default").unwrap(), Some(3));
    node.engine.put_zone(zone, None, audit()).await.unwrap();
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_changes_no_deadline() {
    let user = UserId::parse("u").unwrap();
    for step in STEPS_MS {
        let node = with_offer_and_zone().await;
        let claim = hold(&node, &user).await;
        node.step(step);
        node.pass(599_000 - 400);
        assert_eq!(status(&node, &user, &claim).await, Status::Held, "after a step of {step} ms");
        node.pass(1_000 + 400);
        // Where the clock was set back, server time may run slower by a twentieth until they agree.
        if step < 0 {
            node.pass(32_000);
        }
        assert_eq!(status(&node, &user, &claim).await, Status::Expired, "after a step of {step} ms");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_opens_no_window_a_second_time() {
    for step in STEPS_MS {
        let node = with_offer_and_zone().await;
        for _ in 0..3 {
            assert!(matches!(join(&node).await.answer, Answer::Admitted(_)));
        }
        node.step(step);
        node.pass(59_900);
        assert!(matches!(join(&node).await.answer, Answer::Waiting(_)), "after a step of {step} ms");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_an_earlier_clock_is_not_before_what_was_told() {
    let node = with_offer_and_zone().await;
    let user = UserId::parse("u").unwrap();
    let claim = hold(&node, &user).await;
    // Nothing is recorded while nothing happens; the time is noted all the same.
    node.pass(300_000);
    let told = node.now();
    let node = node.restart(-120_000);
    assert!(node.now() >= told && node.now().since_ms(told) <= 1_000, "{:?} after {told:?}", node.now());
    node.pass(290_000);
    assert_eq!(status(&node, &user, &claim).await, Status::Held);
    node.pass(30_000);
    assert_eq!(status(&node, &user, &claim).await, Status::Expired);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_does_not_stop_a_line_for_ever() {
    let node = with_offer_and_zone().await;
    let node = node.restart(1_000 * HOUR_MS);
    node.pass(30_000);
    for _ in 0..3 {
        assert!(matches!(join(&node).await.answer, Answer::Admitted(_)));
    }
    let user = UserId::parse("u").unwrap();
    let claim = hold(&node, &user).await;
    let node = node.restart_disbelieving(-1_000 * HOUR_MS);
    assert_eq!(status(&node, &user, &claim).await, Status::Held);
    assert!(matches!(join(&node).await.answer, Answer::Waiting(_)), "the window is full, as of now");
    node.pass(70_000);
    assert!(matches!(join(&node).await.answer, Answer::Admitted(_)));
    // Without being told again.
    let node = node.restart(0);
    node.pass(70_000);
    assert!(matches!(join(&node).await.answer, Answer::Admitted(_)));
}
