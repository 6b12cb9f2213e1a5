//! Forgetting: what was trimmed, what a reset discards, and the disk space of both.

use crate::{append, read_all, small};
use bunho_domain::claim::{Claim, Status};
use bunho_domain::event::{Event, OfferChange, OfferEvent};
use bunho_domain::ids::{ClaimId, UserId};
use bunho_domain::time::Millis;
use bunho_journal::{Journal, JournalError, Options};
use std::path::Path;

/// Batches of at most ten records, all of them durable.
fn with_records(dir: &Path, records: u32) -> Journal {
    let journal = Journal::open_with(dir, Options { batch_records_max: 10, batch_bytes_max: 1 << 20 }).unwrap();
    for seq in 0..records {
        append(&journal, 1, seq);
    }
    journal.close();
    drop(journal);
    Journal::open_with(dir, Options { batch_records_max: 10, batch_bytes_max: 1 << 20 }).unwrap()
}

#[test]
fn whole_batches_are_forgotten_and_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let journal = with_records(dir.path(), 1_000);
    journal.trim(555).unwrap();
    let oldest = journal.oldest().unwrap();
    assert!((546..=556).contains(&oldest), "{oldest}");
    assert_eq!(read_all(&journal, oldest - 1).len() as u64, 1_001 - oldest);
    assert!(matches!(journal.read(0, 10), Err(JournalError::Trimmed { after: 0, trimmed }) if trimmed == oldest - 1));
    journal.trim(3).unwrap();
    assert_eq!(journal.oldest(), Some(oldest), "trimming less changes nothing");

    drop(journal);
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!((journal.oldest(), journal.durable()), (Some(oldest), 1_000));
    journal.trim(u64::MAX).unwrap();
    assert_eq!((journal.oldest(), journal.durable()), (None, 1_000));

    drop(journal);
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!((journal.oldest(), journal.durable()), (None, 1_000));
    assert_eq!(append(&journal, 1, 0).offset(), 1_001);
    journal.close();
    assert_eq!(journal.oldest(), Some(1_001));
    assert_eq!(read_all(&journal, 1_000).len(), 1);
}

#[test]
fn a_reader_and_a_trimmer_do_not_disturb_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let journal = with_records(dir.path(), 2_000);
    std::thread::scope(|threads| {
        threads.spawn(|| (1..=200).for_each(|step| journal.trim(step * 10).unwrap()));
        while let Some(oldest) = journal.oldest() {
            match journal.read(oldest - 1, 1_000) {
                Ok(records) => assert_eq!(records[0].0, oldest),
                Err(JournalError::Trimmed { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
}

#[test]
fn a_reset_begins_after_the_given_record() {
    let dir = tempfile::tempdir().unwrap();
    drop(with_records(dir.path(), 10));
    Journal::reset(dir.path(), 7_000).unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!((journal.durable(), journal.oldest()), (7_000, None));
    assert_eq!(append(&journal, 1, 0).offset(), 7_001);
    journal.close();
    assert_eq!(read_all(&journal, 7_000)[0].1.events, small(1, 0));
    drop(journal);
    let fresh = tempfile::tempdir().unwrap();
    Journal::reset(&fresh.path().join("new"), 0).unwrap();
    assert_eq!(Journal::open(&fresh.path().join("new")).unwrap().durable(), 0);
}

/// Writes four times what may stay on disk, trimming behind.
#[tokio::test]
async fn disk_space_comes_back() {
    const RECORDS: u32 = 300_000;
    const RECORD_BYTES: usize = 4_096;
    /// Sealed and active journal files of fjall with the memory table that filled the last one, as each is exceeded
    /// by what arrives while it is written out.
    const STAYS_BYTES_MAX: u64 = 200 << 20;
    const _: () = assert!(RECORDS as u64 * RECORD_BYTES as u64 > 390 << 20);

    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let claim = Claim {
        id: ClaimId::new(1, 1, 1),
        user: UserId::parse("u").unwrap(),
        quantity: 1,
        status: Status::Held,
        version: 1,
        key: None,
        attributes: Some("x".repeat(RECORD_BYTES).into()),
        created_at: Millis(0),
        updated_at: Millis(0),
        hold_expires_at: None,
        ordinal: None,
        granted: None,
    };
    let event = [Event::Offer(OfferEvent { offer: 1, version: 1, change: OfferChange::Claim(Box::new(claim)) })];
    let mut most = 0;
    for record in 0..RECORDS {
        let commit = journal.append(Millis(0), &event, None);
        if record % 1_000 == 0 {
            commit.durable().await.unwrap();
            if record >= 250_000 { journal.trim(journal.durable().saturating_sub(1_000)).unwrap(); }
            if record % 10_000 == 0 { println!("{} MiB", disk_bytes(dir.path()) >> 20); }
            most = most.max(disk_bytes(dir.path()));
        }
    }
    journal.close();
    journal.trim(u64::MAX).unwrap();
    println!("most on disk: {} MiB", most >> 20);
    assert!(most < STAYS_BYTES_MAX, "{} MiB on disk", most >> 20);
}

/// Blocks in use; fjall creates its files longer than what they hold.
fn disk_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).unwrap().filter_map(Result::ok);
    entries
        .map(|entry| if entry.path().is_dir() { disk_bytes(&entry.path()) } else { entry.metadata().map_or(0, |m| m.blocks() * 512) })
        .sum()
}
