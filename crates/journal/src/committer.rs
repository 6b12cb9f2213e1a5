//! The one thread that writes: take the whole open batch, write it, `fdatasync`, wake those who wait for it.
//!
//! There is no timer. While one batch is synced the next one fills, so batches grow with load by themselves, and an
//! idle journal commits a lone record at once.

use crate::JournalError;
use crate::crash_point;
use crate::journal::Shared;
use crate::pending::{Batch, Fate, State};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Runs until the journal is closed or a batch fails.
pub(crate) fn run(shared: &Shared) {
    while let Some(batch) = next_batch(shared) {
        // A panic below would leave everyone waiting for ever; it is a failed write like any other.
        let written = catch_unwind(AssertUnwindSafe(|| write(shared, &batch)));
        match written {
            Ok(Ok(())) => publish(shared, batch),
            Ok(Err(error)) => return give_up(shared, &batch, Some(&error)),
            Err(_) => return give_up(shared, &batch, None),
        }
    }
}

fn next_batch(shared: &Shared) -> Option<Batch> {
    let mut pending = shared.pending.lock();
    loop {
        match pending.state {
            State::Ended(_) => return None,
            State::Closing | State::Running => {}
        }
        if let Some(batch) = pending.take() {
            return Some(batch);
        }
        if pending.state == State::Closing {
            pending.end(Fate::Closed);
            drop(pending);
            shared.end(Fate::Closed);
            return None;
        }
        shared.work.wait(&mut pending);
    }
}

fn write(shared: &Shared, batch: &Batch) -> Result<(), JournalError> {
    crash_point!("journal::taken");
    fail::fail_point!("journal::before_write", |_| Err(simulated("before_write")));
    for chunk in &batch.chunks {
        shared.store.write(chunk)?;
        crash_point!("journal::chunk_written");
    }
    fail::fail_point!("journal::after_write", |_| Err(simulated("after_write")));
    fail::fail_point!("journal::sync", |_| Err(simulated("sync")));
    let began = Instant::now();
    shared.store.sync()?;
    shared.figures.sync_us.note_since(began);
    crash_point!("journal::synced");
    Ok(())
}

#[cfg(feature = "failpoints")]
fn simulated(point: &'static str) -> JournalError {
    JournalError::Io { what: "write (simulated by a failpoint)", path: point.into(), source: std::io::Error::other("simulated") }
}

pub(crate) fn publish(shared: &Shared, batch: Batch) {
    let Batch { chunks, bytes, ack } = batch;
    // Before anyone is woken, or what was acknowledged could be missing without a trace; and not under the lock of all appends.
    let landing = shared.pending.lock().in_flight_upto();
    shared.store.acknowledge(landing.unwrap_or_default());
    let before = shared.durable.load(Ordering::Relaxed);
    let durable = {
        let mut pending = shared.pending.lock();
        let durable = pending.in_flight_upto().unwrap_or_default();
        // Before the flight is forgotten, so that whoever finds no flight finds the offset durable.
        shared.durable.store(durable, Ordering::Release);
        pending.landed(chunks);
        durable
    };
    shared.figures.batch_records.note(durable.saturating_sub(before));
    crash_point!("journal::landed");
    shared.pressure.fetch_sub(bytes, Ordering::Relaxed);
    // Fails only where it was decided before, and a batch in flight is decided here.
    ack.set(Fate::Durable).ok();
    crash_point!("journal::acknowledged");
    shared.watch.send_replace(durable);
}

pub(crate) fn give_up(shared: &Shared, batch: &Batch, error: Option<&JournalError>) {
    match error {
        Some(error) => tracing::error!(error = error as &dyn std::error::Error, "the journal could not make a batch durable"),
        None => tracing::error!("the journal's committer panicked"),
    }
    shared.poison(Some(batch));
    batch.ack.set(Fate::Poisoned).ok();
}
