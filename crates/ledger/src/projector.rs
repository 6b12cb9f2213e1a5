//! Carries the journal into the tables.
//!
//! One transaction holds the rows of one batch of records *and* the offset of the last of them, so a crash loses
//! neither and applies neither twice. Behind the engine this is also the last guard: what the schema or the capacity
//! check refuses is parked with its reason, and the rest of the batch goes on.
//!
//! A failing database never ends it, nor does a bug. It says so once, tries again at most a second later, and says once
//! that it is well again; meanwhile the journal keeps everything.

mod apply;
mod batch;
mod claims;
pub mod fault;
mod guard;
pub mod kafka;
mod multi_row;
mod park;
mod prune;
mod settings;
mod state;
#[cfg(feature = "simulation")]
pub mod stepped;
mod tickets;
mod twins;
mod webhooks;

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::Columns;
use crate::sql::{Connection, Row, Text, query};
use batch::Batch;
use bunho_domain::planted::{self, Bug};
use bunho_journal::{Journal, JournalError, Record, crash_point};
use fault::Point;
use futures_util::FutureExt;
use state::State;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) use claims::{ClaimRow, write_whole};
pub(crate) use multi_row::{MultiRow, Parts};
pub(crate) use park::event as parked_event;
pub(crate) use twins::is_twin;
pub use webhooks::{ALL_EVENTS, REHEARSAL_APP, WEBHOOK_EVENTS};

/// Name of this projector's row in `projector_offsets`.
const NAME: &str = "ledger";
/// Records of one transaction. When it is behind, larger batches are faster, because the claims of a batch share the
/// index pages they dirty: 20,000 were measured 1.5 times as fast as 5,000. At some 400 bytes each that is 8 MB.
const BATCH_RECORDS_MAX: usize = 20_000;
/// The journal is trimmed when this many of its records have been projected since the last time.
const TRIM_EVERY_RECORDS: u64 = 50_000;
/// With so many records waiting after [`Projector::gathering`]'s time, more are on their way, and it is worth to wait on:
/// claims that share an index page share the work of writing it. In SQLite alone, with two indexes on users and 300,000 rows, a
/// claim was measured to take 21 us of processor time in batches of 1,000 and 4.4 in batches of 20,000.
const CROWD_RECORDS: u64 = 100;
/// So many are enough; those that arrive while they are being written join the same batch.
const ENOUGH_RECORDS: u64 = BATCH_RECORDS_MAX as u64 / 2;
/// So many times the gathering time is the longest that records wait, if nobody waits for them: see [`Ledger::want`].
const GATHER_ROUNDS_MAX: u32 = 10;
/// Pause after the first failure; doubled up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A batch takes well under a second; a database on a server that has said nothing for so long is reported.
const SILENT: Duration = Duration::from_secs(5);
/// And after so long its connection is given up. Counting a hundred million claims anew must fit in.
const GIVEN_UP: Duration = Duration::from_secs(300);

/// The projector: [`Self::run`] does the work, the rest says how it goes.
pub struct Projector {
    ledger: Ledger,
    journal: Journal,
    gather: Duration,
    healthy: watch::Sender<bool>,
    parked: AtomicU64,
}

/// Whether the journal had more than one batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    More,
    CaughtUp,
}

impl Projector {
    /// A projector from `journal` into `ledger`. At most one runs at a time.
    #[must_use]
    pub fn new(ledger: Ledger, journal: Journal) -> Self {
        Self::gathering(ledger, journal, Duration::ZERO)
    }

    /// A projector that lets records gather for so long before it takes them, and ten times as long while a crowd arrives, unless
    /// somebody waits ([`Ledger::want`]). Each of its commits syncs the disk that the journal syncs too, and small commits cost
    /// more for each row: both would be taken from claims.
    #[must_use]
    pub fn gathering(ledger: Ledger, journal: Journal, gather: Duration) -> Self {
        Self { ledger, journal, gather, healthy: watch::Sender::new(true), parked: AtomicU64::new(0) }
    }

    /// Whether the last attempt succeeded.
    #[must_use]
    pub fn healthy(&self) -> bool {
        *self.healthy.borrow()
    }

    /// The same, to wait for a change of it.
    #[must_use]
    pub fn watch_healthy(&self) -> watch::Receiver<bool> {
        self.healthy.subscribe()
    }

    /// Events that a guard refused and nobody has mended yet.
    #[must_use]
    pub fn parked(&self) -> u64 {
        self.parked.load(Ordering::Relaxed)
    }

    /// Projects whatever becomes durable until `shutdown` completes; then projects what is durable by that time,
    /// unless the database fails, and returns.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut durable = self.journal.watch();
        let mut wanted = self.ledger.wanted().subscribe();
        let mut work = Work::default();
        let mut backoff = BACKOFF_MIN;
        let mut stopping = false;
        loop {
            // Seen before reading, so that nothing which becomes durable meanwhile is slept through.
            let seen = *durable.borrow_and_update();
            let outcome = self.in_time(unless_it_panics(self.step(&mut work, seen))).await;
            if matches!(outcome, Err(LedgerError::Panicked | LedgerError::Silent)) {
                // Whatever it left half done is counted and read afresh.
                work = Work::default();
            }
            self.report(&outcome);
            match outcome {
                Ok(Progress::More) => backoff = BACKOFF_MIN,
                Ok(Progress::CaughtUp) if stopping => break,
                Ok(Progress::CaughtUp) => {
                    backoff = BACKOFF_MIN;
                    tokio::select! {
                        () = &mut shutdown => stopping = true,
                        changed = durable.changed() => if changed.is_err() {
                            // The journal is closed: nothing will follow.
                            shutdown.as_mut().await;
                            stopping = true;
                        },
                    }
                    if !stopping && !self.gather.is_zero() {
                        stopping = self.let_gather(&durable, &mut wanted, &mut shutdown).await;
                    }
                }
                Err(_) if stopping => break,
                Err(_) => {
                    tokio::select! {
                        () = &mut shutdown => stopping = true,
                        () = tokio::time::sleep(backoff) => {},
                    }
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
        self.trim(&mut work, 1).await;
    }

    /// Waits for a step. A database that is reached over a network may fall silent in the middle: that is said after
    /// [`SILENT`], and after [`GIVEN_UP`] the connection is taken for lost.
    async fn in_time(&self, step: impl Future<Output = Result<Progress, LedgerError>>) -> Result<Progress, LedgerError> {
        if !self.ledger.is_shared() {
            return step.await;
        }
        let mut step = pin!(step);
        match tokio::time::timeout(SILENT, step.as_mut()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.report(&Err(LedgerError::Silent));
                tokio::time::timeout(GIVEN_UP - SILENT, step).await.unwrap_or(Err(LedgerError::Silent))
            }
        }
    }

    /// Lets records gather while a crowd arrives and nobody waits; whether it was told to stop meanwhile.
    async fn let_gather(
        &self,
        durable: &watch::Receiver<u64>,
        wanted: &mut watch::Receiver<u64>,
        shutdown: &mut (impl Future<Output = ()> + Unpin),
    ) -> bool {
        let projected = *self.ledger.projected().borrow();
        for _ in 0..GATHER_ROUNDS_MAX {
            tokio::select! {
                () = &mut *shutdown => return true,
                _ = wanted.wait_for(|&wanted| wanted > projected) => break,
                () = tokio::time::sleep(self.gather) => {},
            }
            if !(CROWD_RECORDS..ENOUGH_RECORDS).contains(&(*durable.borrow() - projected)) {
                break;
            }
        }
        false
    }

    /// Reads one batch and applies it. `seen` is an offset that is durable: with less than that done, there is more.
    async fn step(&self, work: &mut Work, seen: u64) -> Result<Progress, LedgerError> {
        if work.state.is_none() {
            let mut counting = self.ledger.begin_write().await?;
            work.records.clear();
            if self.ledger.is_shared() {
                // After a commit whose answer was lost: whatever became of it has ended by then.
                lock_offset(&mut counting.connection()).await?;
            }
            let state = self.seed(&mut counting.connection()).await?;
            if self.ledger.is_shared() {
                counting.rollback().await.map_err(LedgerError::sql("end counting"))?;
            }
            // After a commit that failed and was done all the same, nobody has been told of it yet, and nothing may follow.
            self.ledger.publish_projected(state.offset);
            work.state = Some(state);
            crash_point!("projector::counted");
        }
        let Some(state) = work.state.as_mut() else { return Ok(Progress::CaughtUp) };
        if work.records.is_empty() {
            work.records = work.reader.next(&self.journal, state.offset).await?;
        }
        let Some(&(upto, _)) = work.records.last() else { return Ok(Progress::CaughtUp) };
        // Not told by the length of the batch, which large records cut short.
        let more = upto < seen;
        if more {
            // The other core decodes the next batch while SQLite works on this one.
            work.reader.prefetch(&self.journal, upto);
        }
        crash_point!("projector::read");
        let batch = Batch::of(&work.records);
        fault::at(Point::Begin)?;
        if planted::is(Bug::OffsetApart) {
            let mut apart = self.ledger.begin_write().await?;
            write_offset(&mut apart.connection(), batch.upto).await?;
            apart.commit().await.map_err(LedgerError::sql("commit the offset"))?;
        }
        let mut transaction = self.ledger.begin_write().await?;
        crash_point!("projector::begun");
        let mut connection = transaction.connection();
        if self.ledger.is_shared() {
            let offset = lock_offset(&mut connection).await?;
            if offset != state.offset || state::read_repairs(&mut connection).await? != state.repairs_of_all {
                // Somebody else projected or repaired: these records may be in the tables already.
                work.state = None;
                transaction.rollback().await.map_err(LedgerError::sql("give a batch up"))?;
                return Ok(Progress::More);
            }
        }
        // Whoever repairs says so while it holds the only connection that writes, so here it is known.
        if state.repairs != self.ledger.repairs() {
            *state = self.seed(&mut connection).await?;
        }
        let applied = apply::apply(&mut connection, state, &batch).await?;
        write_offset(&mut connection, batch.upto).await?;
        crash_point!("projector::applied");
        fault::at(Point::Apply)?;
        let committed = transaction.commit().await.map_err(LedgerError::sql("commit a batch"));
        if let Err(error) = committed.and_then(|()| fault::at(Point::Commit)) {
            // It may or may not have been committed; only the database knows.
            work.state = None;
            return Err(error);
        }
        crash_point!("projector::committed");
        fault::at(Point::Publish)?;
        applied.log();
        self.parked.fetch_add(applied.parked_count(), Ordering::Relaxed);
        drop(applied.enter(state));
        state.offset = upto;
        work.records.clear();
        work.committed = Some(upto);
        crash_point!("projector::entered");
        self.ledger.publish_projected(upto);
        crash_point!("projector::published");
        self.trim(work, TRIM_EVERY_RECORDS).await;
        Ok(if more { Progress::More } else { Progress::CaughtUp })
    }

    async fn seed(&self, connection: &mut Connection<'_>) -> Result<State, LedgerError> {
        let state = State::seed(connection, self.ledger.repairs()).await?;
        self.parked.store(state.parked, Ordering::Relaxed);
        Ok(state)
    }

    /// Trims the journal when `least` records or more have been projected since the last time. Only a commit of this
    /// projector will do: an offset found at the start may be one that a killed process wrote and did not live to sync, and
    /// until the next commit syncs it with its own, a power cut would leave it neither here nor there.
    async fn trim(&self, work: &mut Work, least: u64) {
        let Some(upto) = work.committed else { return };
        if upto < work.trimmed + least {
            return;
        }
        work.trimmed = upto;
        let journal = self.journal.clone();
        match tokio::task::spawn_blocking(move || journal.trim(upto)).await {
            Ok(Ok(())) | Ok(Err(JournalError::Closed)) => {}
            Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, upto, "the journal could not be trimmed"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, upto, "trimming the journal was cut off"),
        }
    }

    /// Logs a change from well to failing or back; silence in between.
    fn report(&self, outcome: &Result<Progress, LedgerError>) {
        let was_healthy = self.healthy.send_replace(outcome.is_ok());
        match outcome {
            Ok(_) if !was_healthy => tracing::info!("the ledger is reachable again, the projector goes on"),
            Err(error) if was_healthy => {
                let error = error as &dyn std::error::Error;
                tracing::error!(error, "the projector cannot write to the ledger; the journal keeps everything and it tries again");
            }
            _ => {}
        }
    }
}

/// What the loop keeps between steps.
#[derive(Default)]
struct Work {
    state: Option<State>,
    reader: Reader,
    /// Read and not yet committed: a failed attempt is repeated without reading again.
    records: Vec<(u64, Record)>,
    /// Offset of the last batch that was committed here.
    committed: Option<u64>,
    trimmed: u64,
}

/// A panic as a failure like any other: it is said once and tried again, while the journal keeps everything. A task that
/// had died of it would look healthy for ever.
async fn unless_it_panics(step: impl Future<Output = Result<Progress, LedgerError>>) -> Result<Progress, LedgerError> {
    AssertUnwindSafe(step).catch_unwind().await.unwrap_or(Err(LedgerError::Panicked))
}

/// Reads the journal on a blocking thread, one batch ahead.
#[derive(Default)]
struct Reader {
    ahead: Option<(u64, JoinHandle<ReadResult>)>,
}

type ReadResult = Result<Vec<(u64, Record)>, JournalError>;

impl Reader {
    fn prefetch(&mut self, journal: &Journal, after: u64) {
        if self.ahead.as_ref().is_none_or(|(from, _)| *from != after) {
            let journal = journal.clone();
            self.ahead = Some((after, tokio::task::spawn_blocking(move || journal.read(after, BATCH_RECORDS_MAX))));
        }
    }

    async fn next(&mut self, journal: &Journal, after: u64) -> Result<Vec<(u64, Record)>, LedgerError> {
        self.prefetch(journal, after);
        let Some((_, read)) = self.ahead.take() else { return Ok(Vec::new()) };
        read.await.map_err(|source| LedgerError::ReaderStopped { source })?.map_err(|source| LedgerError::Journal { source })
    }
}

/// The journal offset up to which everything has been applied.
pub(crate) async fn read_offset(connection: &mut Connection<'_>) -> Result<u64, LedgerError> {
    let row = query(r#"SELECT "offset" FROM projector_offsets WHERE name = ?"#)
        .bind(NAME)
        .fetch_optional(connection)
        .await
        .map_err(LedgerError::sql("read the projected offset"))?;
    offset_of(row.as_ref())
}

/// As [`read_offset`], and from here on nobody else writes claims in this projector's name until the transaction ends: after a
/// network's failure its own earlier transaction may still be under way, and so may another node's.
async fn lock_offset(connection: &mut Connection<'_>) -> Result<u64, LedgerError> {
    let row = query(r#"SELECT "offset" FROM projector_offsets WHERE name = ? FOR UPDATE"#)
        .bind(NAME)
        .fetch_optional(connection)
        .await
        .map_err(LedgerError::sql("lock the projected offset"))?;
    offset_of(row.as_ref())
}

fn offset_of(row: Option<&Row>) -> Result<u64, LedgerError> {
    let stored: Option<i64> = row.map(|row| Columns::of(row, "projector_offsets").take()).transpose()?;
    Ok(stored.unwrap_or(0).cast_unsigned())
}

/// The offset only rises.
const WRITE_OFFSET: Text = Text {
    mysql: r#"INSERT INTO projector_offsets (name, "offset") VALUES (?, ?)
              ON DUPLICATE KEY UPDATE "offset" = greatest("offset", VALUES("offset"))"#,
    ..Text::same(
        r#"INSERT INTO projector_offsets (name, "offset") VALUES (?, ?)
           ON CONFLICT (name) DO UPDATE SET "offset" = excluded."offset" WHERE excluded."offset" > projector_offsets."offset""#,
    )
};

async fn write_offset(connection: &mut Connection<'_>, offset: u64) -> Result<(), LedgerError> {
    query(WRITE_OFFSET)
        .bind(NAME)
        .bind(offset.cast_signed())
        .execute(connection)
        .await
        .map(drop)
        .map_err(LedgerError::sql("write the projected offset"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let outcome = unless_it_panics(async { panic!("a bug") }).await;
        assert!(matches!(outcome, Err(LedgerError::Panicked)));
    }
}
