//! Durable records a second, with 1, 64 and 1,000 waiting at a time. A raw `fdatasync` loop on the same disk stands
//! beside it as the limit.
//!
//! `cargo run --release -p bunho-journal --example commit_rate [folder]`

use bunho_domain::claim::{Claim, Status};
use bunho_domain::event::{Event, OfferChange, OfferEvent};
use bunho_domain::ids::{ClaimId, IdempotencyKey, UserId};
use bunho_domain::time::Millis;
use bunho_journal::Journal;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const RUN: Duration = Duration::from_secs(3);
const WAITERS: [usize; 3] = [1, 64, 1_000];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args_os().nth(1).map_or_else(|| std::env::temp_dir().join("bunho-commit-rate"), PathBuf::from);
    std::fs::create_dir_all(&dir)?;
    println!("fdatasync alone: {:>8.0} a second", sync_rate(&dir)?);
    let journal = Journal::open(&dir.join("journal"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    for waiters in WAITERS {
        let before = journal.durable();
        let syncs = Arc::new(AtomicU64::new(0));
        let counting = count_syncs(&runtime, &journal, Arc::clone(&syncs));
        let started = Instant::now();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..waiters).map(|_| tokio::spawn(write_until(journal.clone(), started + RUN))).collect();
            for task in tasks {
                task.await.ok();
            }
        });
        let records = (journal.durable() - before) as f64;
        let (seconds, syncs) = (started.elapsed().as_secs_f64(), syncs.load(Ordering::Relaxed) as f64);
        counting.abort();
        println!(
            "{waiters:>5} waiting: {:>8.0} records a second, {:>6.0} syncs, {:>6.1} records each",
            records / seconds,
            syncs / seconds,
            records / syncs
        );
        journal.trim(journal.durable())?;
    }
    drop(journal);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn count_syncs(runtime: &tokio::runtime::Runtime, journal: &Journal, syncs: Arc<AtomicU64>) -> tokio::task::JoinHandle<()> {
    let mut watch = journal.watch();
    runtime.spawn(async move {
        while watch.changed().await.is_ok() {
            syncs.fetch_add(1, Ordering::Relaxed);
        }
    })
}

async fn write_until(journal: Journal, end: Instant) {
    let event = [Event::Offer(OfferEvent { offer: 1, version: 1, change: OfferChange::Claim(Box::new(claim())) })];
    while Instant::now() < end && journal.append(Millis(1_760_000_000_000), &event, None).durable().await.is_ok() {}
}

#[expect(clippy::unwrap_used, reason = "constants")]
fn claim() -> Claim {
    Claim {
        id: ClaimId::new(1, 1, 1),
        user: UserId::parse("user-1234567").unwrap(),
        quantity: 1,
        status: Status::Held,
        version: 1,
        key: Some(IdempotencyKey::parse("0f0c6f6e-8d1c-4f5e-9f11-1d6f3c2b7a90").unwrap()),
        attributes: None,
        created_at: Millis(1_760_000_000_000),
        updated_at: Millis(1_760_000_000_000),
        hold_expires_at: Some(Millis(1_760_000_300_000)),
        ordinal: Some(1),
        granted: None,
    }
}

fn sync_rate(dir: &std::path::Path) -> std::io::Result<f64> {
    let mut file = std::fs::File::create(dir.join("raw"))?;
    let started = Instant::now();
    let mut syncs = 0;
    while started.elapsed() < RUN {
        file.write_all(&[7; 128])?;
        file.sync_data()?;
        syncs += 1;
    }
    Ok(f64::from(syncs) / started.elapsed().as_secs_f64())
}
