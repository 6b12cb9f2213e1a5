//! What outlives a process: the journal's disk, the ledger's file and the clock; and the process that is started on them.

use bunho_domain::ids::ClaimId;
use bunho_domain::ticket::TicketKeys;
use bunho_engine::{Ack, Embedded, Engine, Options, Recovery, TimeSource};
use bunho_journal::Journal;
use bunho_journal::simulated::{Committer, Crash, Disk};
use bunho_ledger::{Ledger, Stepped};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// What was found to be wrong, or could not be done.
pub type Finding = String;

/// A computer.
pub struct Machine {
    /// The journal's.
    pub disk: Disk,
    dir: TempDir,
    /// What the engine takes for the system's clock.
    pub clock: Arc<AtomicI64>,
    /// Runs the projector and SQLite: each call to its end, so that nothing happens at the same time.
    pub runtime: Runtime,
    /// Holds the engine's timers. Its time stands still unless it is told to pass.
    pub timers: Runtime,
    journal_options: bunho_journal::Options,
    ack: Ack,
}

/// A process.
pub struct Node {
    /// Decides.
    pub engine: Engine,
    /// The same, for its ticker.
    pub embedded: Arc<Embedded>,
    /// The journal.
    pub journal: Journal,
    /// Its committer.
    pub committer: Committer,
    /// SQL.
    pub ledger: Ledger,
    /// What carries one into the other.
    pub projector: Stepped,
}

/// Memory where the system has a file system there: a simulated crash needs no disk, since SQLite's own crashes are not simulated.
const FAST_FOLDER: &str = "/dev/shm";

/// Opens in a pool have to be cheap: SQLite is opened anew at each of thousands of restarts.
impl Machine {
    /// A machine with empty disks.
    ///
    /// # Errors
    /// There is no room for the ledger's file.
    pub fn new(now_ms: i64, journal_options: bunho_journal::Options, ack: Ack) -> Result<Self, Finding> {
        let fast = PathBuf::from(FAST_FOLDER);
        let dir = if fast.is_dir() { TempDir::new_in(fast) } else { TempDir::new() };
        let runtime = |paused| tokio::runtime::Builder::new_current_thread().enable_time().start_paused(paused).build();
        Ok(Self {
            disk: Disk::default(),
            dir: dir.map_err(said("make a folder"))?,
            clock: Arc::new(AtomicI64::new(now_ms)),
            runtime: runtime(false).map_err(said("make a runtime"))?,
            timers: runtime(true).map_err(said("make a runtime"))?,
            journal_options,
            ack,
        })
    }

    /// The system's clock.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// The ledger's file.
    #[must_use]
    pub fn ledger_path(&self) -> PathBuf {
        self.dir.path().join("ledger.db")
    }

    /// Starts a process, in the order in which the server does it.
    ///
    /// # Errors
    /// What the server would have refused to start for.
    pub fn start(&self, seed: u64) -> Result<Node, Finding> {
        let (journal, committer) = Journal::simulated(&self.disk, self.journal_options).map_err(said("open the journal"))?;
        let mut recovery = Recovery::seeded(seed);
        let (ledger, offset) = self.runtime.block_on(async {
            let ledger = Ledger::open(&self.ledger_path()).await.map_err(said("open the ledger"))?;
            let offset = ledger.load(&mut |event| recovery.apply(&event)).await.map_err(said("load the ledger"))?;
            let (offer, zone) = ledger.highest_numbers().await.map_err(said("load the ledger"))?;
            recovery.numbers_used(offer, zone);
            Ok::<_, Finding>((ledger, offset))
        })?;
        if offset > journal.last() {
            return Err(format!("the ledger is at record {offset} and the journal ends at {}", journal.last()));
        }
        recovery.replay(&journal, offset).map_err(said("replay the journal"))?;
        if recovery.orphans() > 0 {
            return Err(format!("{} events are about what nobody defined", recovery.orphans()));
        }
        let options = Options {
            ack: self.ack,
            in_flight_max: 10_000,
            journal_backlog_bytes_max: 64 << 20,
            ticket_keys: TicketKeys::one(&[7; 32]),
            time: TimeSource::Manual(self.clock.clone()),
        };
        let embedded = recovery.start(journal.clone(), ledger.projected(), options);
        let projector = Stepped::new(ledger.clone(), journal.clone());
        Ok(Node { engine: Engine::Embedded(embedded.clone()), embedded, journal, committer, ledger, projector })
    }

    /// Ends a process, whose requests have been dropped.
    pub fn end(&self, node: Node, crash: Crash) {
        let Node { ledger, .. } = node;
        // Nothing more is written: what was not committed is rolled back, as SQLite's own recovery would.
        self.runtime.block_on(ledger.close());
        self.disk.crash(crash);
    }
}

impl Node {
    /// Every claim of an offer as the engine has it.
    pub async fn claims_after(&self, number: u32, after: Option<ClaimId>, most: usize) -> Vec<bunho_domain::claim::Claim> {
        let mut claims = Vec::new();
        let mut from = after.map_or(Some(0), |id| id.seq().checked_add(1));
        while let Some(seq) = from
            && claims.len() < most
        {
            let room = u32::try_from(most - claims.len()).unwrap_or(u32::MAX);
            // The embedded engine has them at hand and cannot fail.
            let (page, next) = self.engine.claims_from(number, seq, room).await.unwrap_or_default();
            claims.extend(page);
            from = next;
        }
        claims
    }
}

/// An error with its sources, in one line.
pub fn said<E: std::error::Error>(doing: &str) -> impl FnOnce(E) -> Finding {
    let doing = doing.to_owned();
    move |error| {
        let mut text = format!("could not {doing}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        text
    }
}
