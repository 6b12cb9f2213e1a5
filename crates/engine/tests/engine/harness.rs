//! An engine on a folder of its own, with a clock that the test moves.

use bunho_domain::ids::{AppId, OfferId};
use bunho_domain::offer::settings::{Kind, OfferSettings};
use bunho_engine::{Ack, Engine, Options, Recovery, TimeSource};
use bunho_journal::{Audit, Journal};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;
use tokio::sync::watch;

pub struct Node {
    dir: TempDir,
    clock: Arc<AtomicI64>,
    pub engine: Engine,
    // An engine without a ledger: whatever is recorded counts as projected never; nothing here waits for it.
    _projected: watch::Sender<u64>,
}

/// 2026-01-01T00:00:00Z, any instant that is not special.
pub const START_MS: i64 = 1_767_225_600_000;

impl Node {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let clock = Arc::new(AtomicI64::new(START_MS));
        let (engine, projected) = open(dir.path(), &clock);
        Self { dir, clock, engine, _projected: projected }
    }

    pub fn now(&self) -> i64 {
        self.clock.load(Ordering::Relaxed)
    }

    pub fn advance(&self, ms: i64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    /// Stops and starts again from the journal alone.
    pub fn restart(self) -> Self {
        let Self { dir, clock, engine, _projected } = self;
        let Engine::Embedded(embedded) = &engine;
        embedded.close();
        drop(engine);
        let (engine, projected) = open(dir.path(), &clock);
        Self { dir, clock, engine, _projected: projected }
    }
}

fn open(dir: &std::path::Path, clock: &Arc<AtomicI64>) -> (Engine, watch::Sender<u64>) {
    let journal = Journal::open(dir).unwrap();
    let mut recovery = Recovery::default();
    recovery.replay(&journal, 0).unwrap();
    assert_eq!(recovery.orphans(), 0);
    let (sender, receiver) = watch::channel(0);
    let options = Options {
        ack: Ack::Journal,
        in_flight_max: 10_000,
        journal_backlog_bytes_max: 64 << 20,
        ticket_secret: [7; 32],
        time: TimeSource::Manual(clock.clone()),
    };
    (Engine::Embedded(recovery.start(journal, receiver, options)), sender)
}

pub fn audit() -> Audit {
    Audit { actor: "test".into(), action: "test".into(), target: "test".into(), detail: None, request_id: None }
}

pub fn offer_settings(id: &str, kind: Kind, quantity: u32) -> OfferSettings {
    OfferSettings::new(OfferId::parse(id).unwrap(), AppId::parse("default").unwrap(), kind, quantity)
}
