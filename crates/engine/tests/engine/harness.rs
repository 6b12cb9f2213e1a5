//! An engine on a folder of its own, with a clock that the test moves.

use bunho_domain::ids::{AppId, OfferId};
use bunho_domain::offer::settings::{Kind, OfferSettings};
use bunho_domain::ticket::TicketKeys;
use bunho_domain::time::Millis;
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
        embedded(&engine).close();
        drop(engine);
        let (engine, projected) = open(dir.path(), &clock);
        Self { dir, clock, engine, _projected: projected }
    }
}

/// An engine whose system clock and timer are moved apart, with its ticker played by hand.
pub struct Apart {
    dir: TempDir,
    system: Arc<AtomicI64>,
    timer: Arc<AtomicI64>,
    pub engine: Engine,
    _projected: watch::Sender<u64>,
}

impl Apart {
    pub fn new() -> Self {
        let clocks = (Arc::new(AtomicI64::new(START_MS)), Arc::new(AtomicI64::new(1)));
        Self::open(TempDir::new().unwrap(), clocks, false)
    }

    fn open(dir: TempDir, (system, timer): (Arc<AtomicI64>, Arc<AtomicI64>), disbelieving: bool) -> Self {
        let source = TimeSource::Apart { system: system.clone(), timer: timer.clone() };
        let journal = Journal::open(dir.path()).unwrap();
        let recovery = replayed(&journal);
        if disbelieving {
            journal.disbelieve(recovery.latest(), source.system()).unwrap();
        }
        let (engine, projected) = started(recovery, journal, source);
        Self { dir, system, timer, engine, _projected: projected }
    }

    pub fn now(&self) -> Millis {
        self.engine.now()
    }

    /// The system's clock is set.
    pub fn step(&self, ms: i64) {
        self.system.fetch_add(ms, Ordering::Relaxed);
        self.embedded().follow_time();
    }

    /// Time passes; the engine looks at its clock meanwhile.
    pub fn pass(&self, ms: i64) {
        for tenth in 0..10 {
            let ms = ms * (tenth + 1) / 10 - ms * tenth / 10;
            self.system.fetch_add(ms, Ordering::Relaxed);
            self.timer.fetch_add(ms, Ordering::Relaxed);
            self.embedded().follow_time();
        }
    }

    fn embedded(&self) -> &bunho_engine::Embedded {
        embedded(&self.engine)
    }

    /// Stops and starts again; the system's clock is set meanwhile.
    pub fn restart(self, step_ms: i64) -> Self {
        self.again(step_ms, false)
    }

    /// And an operator says that the clock is right, though records are from a later time.
    pub fn restart_disbelieving(self, step_ms: i64) -> Self {
        self.again(step_ms, true)
    }

    fn again(self, step_ms: i64, disbelieving: bool) -> Self {
        let Self { dir, system, timer, engine, _projected } = self;
        embedded(&engine).close();
        drop(engine);
        system.fetch_add(step_ms, Ordering::Relaxed);
        Self::open(dir, (system, timer), disbelieving)
    }
}

fn embedded(engine: &Engine) -> &bunho_engine::Embedded {
    match engine {
        Engine::Embedded(embedded) => embedded,
        Engine::Cluster(_) => unreachable!("these tests are of the embedded shape"),
    }
}

fn open(dir: &std::path::Path, clock: &Arc<AtomicI64>) -> (Engine, watch::Sender<u64>) {
    let journal = Journal::open(dir).unwrap();
    let recovery = replayed(&journal);
    started(recovery, journal, TimeSource::Manual(clock.clone()))
}

fn replayed(journal: &Journal) -> Recovery {
    let mut recovery = Recovery::default();
    recovery.replay(journal, 0).unwrap();
    assert_eq!(recovery.orphans(), 0);
    recovery
}

fn started(recovery: Recovery, journal: Journal, time: TimeSource) -> (Engine, watch::Sender<u64>) {
    let (sender, receiver) = watch::channel(0);
    let options = Options {
        ack: Ack::Journal,
        in_flight_max: 10_000,
        journal_backlog_bytes_max: 64 << 20,
        ticket_keys: TicketKeys::one(&[7; 32]),
        time,
    };
    (Engine::Embedded(recovery.start(journal, receiver, options)), sender)
}

pub fn audit() -> Audit {
    Audit { actor: "test".into(), action: "test".into(), target: "test".into(), detail: None, request_id: None }
}

pub fn offer_settings(id: &str, kind: Kind, quantity: u32) -> OfferSettings {
    OfferSettings::new(OfferId::parse(id).unwrap(), AppId::parse("default").unwrap(), kind, quantity)
}
