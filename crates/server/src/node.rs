//! A data folder brought to life: ledger, journal, engine and projector, in the order in which they need each other.
//!
//! `serve`, `reconcile` and `rebuild` all start here, so that they agree on what a folder says.

use crate::config::Config;
use crate::exit::Failure;
use crate::secrets;
use bunho_engine::{Ack, Embedded, Options, Recovery, TimeSource};
use bunho_journal::Journal;
use bunho_ledger::{Ledger, Projector};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// One running node, without HTTP.
pub struct Node {
    /// Live state.
    pub engine: Arc<Embedded>,
    /// The record.
    pub journal: Journal,
    /// SQL.
    pub ledger: Ledger,
    /// What carries the one into the other.
    pub projector: Arc<Projector>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// The ledger's file in a data folder.
#[must_use]
pub fn ledger_path(data: &Path) -> PathBuf {
    data.join("ledger.db")
}

/// The journal's folder in a data folder.
#[must_use]
pub fn journal_path(data: &Path) -> PathBuf {
    data.join("journal")
}

/// Makes the data folder where it is missing; it holds keys, so it is its owner's alone.
///
/// # Errors
/// It cannot be made or written.
pub fn prepare(data: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let refused = |error: std::io::Error| {
        Failure::data(format_args!(
            "the data folder {} cannot be used: {error}\n  mend: choose another with --data, or make it writable",
            data.display()
        ))
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(data).map_err(refused)?;
    let probe = data.join(".write-probe");
    std::fs::write(&probe, b"ok").and_then(|()| std::fs::remove_file(&probe)).map_err(refused)
}

/// How long the projector may show no progress before waiting for it is given up. A batch takes well under a second.
const STALLED: Duration = Duration::from_secs(30);

impl Node {
    /// Opens a folder and replays it. The projector and the ticker run from here on.
    ///
    /// # Errors
    /// Something in the folder cannot be used; nothing has been changed then.
    pub async fn open(config: &Config) -> Result<Self, Failure> {
        let started = Instant::now();
        // The journal first: its lock keeps a second process away from everything else.
        let journal = open_journal(journal_path(&config.data)).await?;
        let ledger = Ledger::open(&ledger_path(&config.data)).await?;
        let mut recovery = Recovery::default();
        let offset = ledger.load(&mut |event| recovery.apply(&event)).await?;
        if offset > journal.last() {
            let last = journal.last();
            return Err(Failure::data(format_args!(
                "the ledger is at record {offset}, the journal ends at {last}: one of them is from another time or folder\n  mend: restore both from the same backup, or start the journal anew behind the ledger with `bunho rebuild --accept-loss`"
            )));
        }
        let (offer, zone) = ledger.highest_numbers().await?;
        recovery.numbers_used(offer, zone);
        let to_replay = journal.clone();
        let (recovery, replayed) = tokio::task::spawn_blocking(move || {
            let replayed = recovery.replay(&to_replay, offset);
            replayed.map(|replayed| (recovery, replayed))
        })
        .await
        .map_err(Failure::internal)??;
        if recovery.orphans() > 0 {
            let orphans = recovery.orphans();
            return Err(Failure::data(format_args!(
                "{orphans} records are about offers or zones that neither ledger nor journal defines\n  mend: restore ledger.db and journal/ from the same backup"
            )));
        }
        let options = Options {
            ack: config.ack,
            in_flight_max: config.limits.in_flight_per_zone_max,
            journal_backlog_bytes_max: config.journal_backlog_bytes_max,
            ticket_secret: secrets::ticket_secret(&config.data)?,
            time: TimeSource::System,
        };
        let engine = recovery.wanting(ledger.wanted()).start(journal.clone(), ledger.projected(), options);
        tracing::info!(offset, replayed, elapsed_ms = started.elapsed().as_millis() as u64, "state restored from ledger and journal");
        let projector = Arc::new(Projector::gathering(ledger.clone(), journal.clone(), gather(config.ack)));
        let (stop, stopped) = watch::channel(false);
        let tasks = vec![tokio::spawn(engine.clone().tick(stopped.clone())), {
            let projector = projector.clone();
            let mut stopped = stopped;
            tokio::spawn(async move {
                projector
                    .run(async move {
                        let _ = stopped.wait_for(|stop| *stop).await;
                    })
                    .await;
            })
        }];
        Ok(Self { engine, journal, ledger, projector, stop, tasks })
    }

    /// Waits until the ledger holds everything that the journal does.
    ///
    /// # Errors
    /// The projector makes no progress for half a minute.
    pub async fn catch_up(&self) -> Result<(), Failure> {
        let target = self.journal.last();
        let mut projected = self.ledger.projected();
        self.ledger.want(target);
        while *projected.borrow_and_update() < target {
            if !matches!(tokio::time::timeout(STALLED, projected.changed()).await, Ok(Ok(()))) {
                return Err(Failure::internal("the ledger does not take what the journal has; the log says why"));
            }
        }
        Ok(())
    }

    /// Writes what was decided, lets the projector finish what it is doing, and closes everything. A restart finds the rest.
    pub async fn close(self) {
        let _ = self.stop.send(true);
        let journal = self.journal.clone();
        let _ = tokio::task::spawn_blocking(move || journal.close()).await;
        for task in self.tasks {
            let _ = task.await;
        }
        self.ledger.close().await;
    }
}

/// How long the ledger may lag so that claims have the disk for themselves: twenty commits a second, two while a crowd arrives,
/// and at once if somebody asks for a list. With `ack = ledger` every answer waits for a commit, so none is put off.
const fn gather(ack: Ack) -> Duration {
    match ack {
        Ack::Engine | Ack::Journal => Duration::from_millis(50),
        Ack::Ledger => Duration::ZERO,
    }
}

async fn open_journal(path: PathBuf) -> Result<Journal, Failure> {
    Ok(tokio::task::spawn_blocking(move || Journal::open(&path)).await.map_err(Failure::internal)??)
}
