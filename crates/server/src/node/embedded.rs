//! A data folder brought to life: ledger, journal, engine and projector, in the order in which they need each other.

use super::installation;
use crate::config::Config;
use crate::exit::Failure;
use crate::http::time::Rfc3339;
use crate::secrets;
use bunho_engine::{Ack, Embedded, Options, Recovery, TimeSource};
use bunho_journal::{Journal, crash_point};
use bunho_ledger::{Ledger, Place, Projector};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// One running node of the embedded shape, without HTTP.
pub struct EmbeddedNode {
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

/// The journal's folder in a data folder.
#[must_use]
pub fn journal_path(data: &Path) -> PathBuf {
    data.join("journal")
}

/// How long the projector may show no progress before waiting for it is given up. A batch takes well under a second.
const STALLED: Duration = Duration::from_secs(30);

/// What an operator accepts so that a folder opens which else would be refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accepted {
    /// The ledger is gone; it is made anew from the journal.
    pub missing_ledger: bool,
    /// The folder is gone, or another one's: the ledger is this one's from here on.
    pub other_folder: bool,
    /// The system's clock is right, though records are from a later time.
    pub earlier_clock: bool,
}

/// Largest ledger that is checked at each start: a million claims are 400 MB, which takes half a second. `bunho doctor`
/// checks larger ones.
const CHECKED_BYTES_MAX: u64 = 1 << 30;

impl EmbeddedNode {
    /// Opens a folder and replays it. The projector and the ticker run from here on.
    ///
    /// # Errors
    /// Something in the folder cannot be used; nothing has been changed then.
    pub async fn open(config: &Config) -> Result<Self, Failure> {
        Self::open_accepting(config, Accepted::default()).await
    }

    /// As [`Self::open`], where an operator accepts more.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_accepting(config: &Config, accepted: Accepted) -> Result<Self, Failure> {
        let started = Instant::now();
        // The journal first: its lock keeps a second process away from everything else.
        let journal = open_journal(journal_path(&config.data)).await?;
        crash_point!("node::journal_open");
        check_complete(config, &journal, accepted)?;
        let ledger = Ledger::open(&config.ledger).await?;
        crash_point!("node::ledger_open");
        check_ledger_is_used(&ledger, &journal, accepted).await?;
        installation::own(config, &ledger, accepted).await?;
        let mut recovery = Recovery::default();
        let mut apply = |event| recovery.apply(&event);
        let (sound, offset) = tokio::join!(check_ledger(&ledger), ledger.load(&mut apply));
        sound?;
        let offset = offset?;
        if offset > journal.last() {
            let last = journal.last();
            return Err(Failure::journal_lost(format_args!(
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
            return Err(Failure::journal_lost(format_args!(
                "{orphans} records are about offers or zones that neither ledger nor journal defines\n  mend: restore ledger.db and journal/ from the same backup"
            )));
        }
        crash_point!("node::replayed");
        let time = TimeSource::System;
        check_clock(&time, &recovery, &journal, accepted)?;
        let options = Options {
            ack: config.ack,
            in_flight_max: config.limits.in_flight_per_zone_max,
            journal_backlog_bytes_max: config.journal_backlog_bytes_max,
            ticket_keys: secrets::tickets::TicketSecrets::load(&config.secrets)?.keys(),
            time,
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
        crash_point!("node::alive");
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
        crash_point!("node::journal_closed");
        for task in self.tasks {
            let _ = task.await;
        }
        crash_point!("node::tasks_ended");
        self.ledger.close().await;
        crash_point!("node::closed");
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

/// Files that a start makes where there are none, and that must not be made anew where there is something to lose.
fn check_complete(config: &Config, journal: &Journal, accepted: Accepted) -> Result<(), Failure> {
    let last = journal.last();
    if last == 0 {
        return Ok(());
    }
    // A file of no bytes is one that SQLite would fill. A database on a server is asked later.
    let is_there = config.ledger.file().is_none_or(|path| std::fs::metadata(path).is_ok_and(|file| file.len() > 0));
    if !is_there && !accepted.missing_ledger {
        return Err(ledger_is_missing(&config.ledger, journal));
    }
    secrets::tickets::check_present(&config.secrets)
}

/// How far the system's clock may be behind the latest time known here. Less is made up for by running slower for a while; more is
/// a clock that is wrong, or was.
const CLOCK_BEHIND_MAX_MS: i64 = 5 * 60 * 1_000;
/// A folder that is opened after so long is remarkable: every hold in it ends at once, rightly only if the clock is right.
const CLOCK_AHEAD_TOLD_MS: i64 = 30 * 24 * 3_600 * 1_000;

fn check_clock(time: &TimeSource, recovery: &Recovery, journal: &Journal, accepted: Accepted) -> Result<(), Failure> {
    let (now, floor) = (time.system(), recovery.floor(journal));
    let behind = floor.since_ms(now);
    let (shown_now, shown_floor) = (Rfc3339(now).to_string(), Rfc3339(floor).to_string());
    if behind < -CLOCK_AHEAD_TOLD_MS && floor.0 > 0 {
        tracing::warn!(now = shown_now, latest = shown_floor, "the latest time known here is long ago; is the system's clock right?");
    }
    if behind <= CLOCK_BEHIND_MAX_MS {
        return Ok(());
    }
    if accepted.earlier_clock {
        tracing::warn!(now = shown_now, latest = shown_floor, "the system's clock is believed; records are from a later time");
        return Ok(journal.disbelieve(floor.max(recovery.latest()), now)?);
    }
    Err(Failure::data(format_args!(
        "the system's clock says {shown_now}, but the latest time known here is {shown_floor}, {} later: deadlines could not be kept\n  mend: set the clock (NTP) and start again; or, if it was ahead when that was written and is right now, run `bunho rebuild --accept-clock` once",
        spoken(behind)
    )))
}

fn spoken(ms: i64) -> String {
    let minutes = ms / 60_000;
    match (minutes / 1_440, minutes / 60, minutes) {
        (0, 0, minutes) => format!("{minutes} minutes"),
        (0, hours, _) => format!("{hours} hours"),
        (days, ..) => format!("{days} days"),
    }
}

/// Whoever has recorded something had a key or an account, and those are in the ledger. One that has none was lost, and made anew by SQLite: with the file,
/// or with the write-ahead log that held all of it.
async fn check_ledger_is_used(ledger: &Ledger, journal: &Journal, accepted: Accepted) -> Result<(), Failure> {
    if journal.last() == 0 || accepted.missing_ledger || !ledger.keys().await?.is_empty() || !ledger.accounts().await?.is_empty() {
        return Ok(());
    }
    // Nothing of it stays open beside the file that will be restored.
    ledger.close().await;
    Err(ledger_is_missing(ledger.place(), journal))
}

fn ledger_is_missing(place: &Place, journal: &Journal) -> Failure {
    let last = journal.last();
    let trimmed = journal.oldest().unwrap_or(last + 1) - 1;
    let lost = if trimmed == 0 {
        "the API keys and accounts".into()
    } else {
        format!("the API keys, the accounts and all that is only in records 1 to {trimmed}")
    };
    Failure::data(format_args!(
        "{place} is missing or has lost its content, though the journal holds records up to {last}\n  mend: restore it from a backup that holds record {trimmed} (of a SQLite file ledger.db and ledger.db-wal), or make it anew from the journal with `bunho rebuild --accept-loss`: {lost} are lost then"
    ))
}

async fn check_ledger(ledger: &Ledger) -> Result<(), Failure> {
    // A database on a server looks after itself.
    let Some(path) = ledger.path() else { return Ok(()) };
    let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
    if bytes > CHECKED_BYTES_MAX {
        tracing::info!(bytes, "the ledger is too large to be checked at each start; `bunho doctor` does it");
        return Ok(());
    }
    let damage = ledger.damage().await?;
    match damage.first() {
        None => Ok(()),
        Some(first) => Err(Failure::data(format_args!(
            "{} is damaged in {} places, the first: {first}\n  mend: restore the whole data folder from one backup, or mend the file with `sqlite3 ledger.db .recover` into a new one and compare with `bunho reconcile`",
            path.display(),
            damage.len()
        ))),
    }
}

async fn open_journal(path: PathBuf) -> Result<Journal, Failure> {
    Ok(tokio::task::spawn_blocking(move || Journal::open(&path)).await.map_err(Failure::internal)??)
}
