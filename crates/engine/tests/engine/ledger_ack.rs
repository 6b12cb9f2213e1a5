//! `ack = ledger` after a restart: what was replayed from the journal is not in the ledger yet.

use crate::harness::{START_MS, audit, offer_settings};
use bunho_domain::ids::{IdempotencyKey, UserId};
use bunho_domain::offer::settings::Kind;
use bunho_domain::offer::{ClaimRequest, Pass};
use bunho_domain::ticket::TicketKeys;
use bunho_engine::{Ack, Engine, Options, Recovery, TimeSource};
use bunho_journal::Journal;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::task::{Context, Poll, Waker};
use tokio::sync::watch;

fn open(dir: &Path, ack: Ack) -> (Engine, Journal, watch::Sender<u64>) {
    let journal = Journal::open(dir).unwrap();
    let mut recovery = Recovery::default();
    recovery.replay(&journal, 0).unwrap();
    let (sender, receiver) = watch::channel(0);
    let options = Options {
        ack,
        in_flight_max: 10,
        journal_backlog_bytes_max: 1 << 20,
        ticket_keys: TicketKeys::one(&[7; 32]),
        time: TimeSource::Manual(Arc::new(AtomicI64::new(START_MS))),
    };
    (Engine::Embedded(recovery.start(journal.clone(), receiver, options)), journal, sender)
}

#[tokio::test]
async fn a_retry_waits_for_the_ledger() {
    let dir = tempfile::TempDir::new().unwrap();
    let settings = offer_settings("summer", Kind::Coupon, 1);
    let offer = settings.id.clone();
    let (user, key) = (UserId::parse("u1").unwrap(), IdempotencyKey::parse("k1").unwrap());
    let request = ClaimRequest { user: &user, quantity: 1, key: Some(&key), attributes: None, pass: Pass::Missing, nonce: 1 };

    let (engine, journal, projected) = open(dir.path(), Ack::Journal);
    engine.put_offer(settings, None, audit()).await.unwrap().unwrap();
    engine.claim(&offer, request).await.unwrap().unwrap();
    journal.close();
    drop((engine, journal, projected));

    let (engine, journal, projected) = open(dir.path(), Ack::Ledger);
    let mut retry = pin!(engine.claim(&offer, request));
    let mut context = Context::from_waker(Waker::noop());
    assert!(retry.as_mut().poll(&mut context).is_pending(), "the ledger has nothing of it");
    projected.send_replace(journal.last());
    let Poll::Ready(answer) = retry.as_mut().poll(&mut context) else { panic!("the ledger has it") };
    assert!(answer.unwrap().unwrap().replayed);
}
