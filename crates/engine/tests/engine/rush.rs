//! What a rush leaves behind: a great many holds that fall due in one moment.

use crate::harness::{Node, audit, offer_settings};
use bunho_domain::claim::Status;
use bunho_domain::ids::{IdempotencyKey, OfferId, UserId};
use bunho_domain::offer::settings::Kind;
use bunho_domain::offer::{ClaimRequest, Pass, StandbyRequest};

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
    let (claims, _) = node.engine.claims_from(1, 0, HOLDS);
    assert!(claims.iter().all(|claim| claim.status == Status::Expired && claim.version == 2));
}
