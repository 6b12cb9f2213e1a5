//! Who waits for the ledger says so, so that nothing is let gather meanwhile.

use crate::harness::{START_MS, audit, offer_settings};
use bunho_domain::offer::settings::Kind;
use bunho_domain::ticket::TicketKeys;
use bunho_engine::{Ack, Engine, Options, Recovery, TimeSource};
use bunho_journal::Journal;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;
use tokio::sync::watch;

#[tokio::test]
async fn a_wait_for_the_ledger_names_the_offset() {
    let dir = tempfile::TempDir::new().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let options = Options {
        ack: Ack::Journal,
        in_flight_max: 10_000,
        journal_backlog_bytes_max: 64 << 20,
        ticket_keys: TicketKeys::one(&[7; 32]),
        time: TimeSource::Manual(Arc::new(AtomicI64::new(START_MS))),
    };
    let (projected, wanted) = (watch::Sender::new(0), watch::Sender::new(0));
    let embedded = Recovery::default().wanting(wanted.clone()).start(journal.clone(), projected.subscribe(), options);
    let engine = Engine::Embedded(embedded);
    assert!(engine.put_offer(offer_settings("summer", Kind::Goods, 3), None, audit()).await.unwrap().unwrap());
    let last = journal.last();
    assert_eq!((*wanted.borrow(), last > 0), (0, true), "nobody waits for it yet");
    let mut heard = wanted.subscribe();
    // The ledger does what it is asked to; otherwise the wait ends in a failure.
    let ledger = async {
        let wanted = *heard.wait_for(|&wanted| wanted > 0).await.unwrap();
        projected.send_replace(wanted);
        wanted
    };
    let both = async { tokio::join!(engine.ledger_caught_up(), ledger) };
    let (caught_up, named) = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    assert!(caught_up.is_ok());
    assert_eq!(named, last);
}
