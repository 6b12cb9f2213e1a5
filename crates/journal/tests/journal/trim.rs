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

/// A projector that stood still, and then one that keeps up: neither leaves the disk full.
#[tokio::test]
async fn disk_space_comes_back() {
    const RECORDS: u32 = 120_000;
    const RECORD_BYTES: usize = 4_096;
    /// fjall's journal files, in MiB: 64 sealed, one of 64 that went over, one active of 64, and what is written while
    /// four full tables of 16 wait for its worker.
    const STAYS_BYTES_MAX: u64 = (64 + 64 + 64 + 4 * 16) << 20;
    const WRITTEN_BYTES: u64 = RECORDS as u64 * RECORD_BYTES as u64;
    const _: () = assert!(WRITTEN_BYTES > STAYS_BYTES_MAX + STAYS_BYTES_MAX / 2);

    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let event = large(RECORD_BYTES);
    for _ in 0..RECORDS / 1_000 {
        write(&journal, &event, 1_000).await;
    }
    assert!(disk_bytes(dir.path()) > WRITTEN_BYTES);
    journal.trim(u64::MAX).unwrap();
    let stays = disk_bytes(dir.path());
    assert!(stays < STAYS_BYTES_MAX, "{} MiB stay of a long journal", stays >> 20);

    for _ in 0..RECORDS / 1_000 {
        write(&journal, &event, 1_000).await;
        journal.trim(journal.durable()).unwrap();
    }
    let stays = disk_bytes(dir.path());
    assert!(stays < STAYS_BYTES_MAX, "{} MiB stay of a short journal", stays >> 20);

    write(&journal, &event, 10).await;
    let (durable, oldest) = (journal.durable(), journal.oldest());
    drop(journal);
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!((journal.durable(), journal.oldest()), (durable, oldest));
    assert_eq!(read_all(&journal, durable - 10).len(), 10);
}

async fn write(journal: &Journal, events: &[Event], records: usize) {
    let commits: Vec<_> = (0..records).map(|_| journal.append(Millis(0), events, None)).collect();
    for commit in commits {
        commit.durable().await.unwrap();
    }
}

pub(crate) fn large(bytes: usize) -> [Event; 1] {
    let claim = Claim {
        id: ClaimId::new(1, 1, 1),
        user: UserId::parse("u").unwrap(),
        quantity: 1,
        status: Status::Held,
        version: 1,
        key: None,
        attributes: Some("x".repeat(bytes).into()),
        created_at: Millis(0),
        updated_at: Millis(0),
        hold_expires_at: None,
        ordinal: None,
        granted: None,
    };
    [Event::Offer(OfferEvent { offer: 1, version: 1, change: OfferChange::Claim(Box::new(claim)) })]
}

/// Blocks in use; fjall creates its files longer than what they hold.
fn disk_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries
        .map(|entry| if entry.path().is_dir() { disk_bytes(&entry.path()) } else { entry.metadata().map_or(0, |file| file.blocks() * 512) })
        .sum()
}

/// Whether a text stands in any file below the folder.
fn holds(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holds(&path, text)
        } else {
            std::fs::read(&path).unwrap().windows(text.len()).any(|part| part == text.as_bytes())
        }
    })
}

#[test]
fn what_was_erased_is_in_no_file_and_the_rest_is() {
    let claim_of = |user: &str, seq| {
        let id = ClaimId::new(1, seq, 7);
        let (user, created_at, updated_at) = (UserId::parse(user).unwrap(), Millis(1), Millis(1));
        let claim = Claim {
            id,
            user,
            quantity: 1,
            status: Status::Held,
            version: 1,
            key: None,
            attributes: None,
            created_at,
            updated_at,
            hold_expires_at: None,
            ordinal: None,
            granted: None,
        };
        [Event::Offer(OfferEvent { offer: 1, version: seq.into(), change: OfferChange::Claim(Box::new(claim)) })]
    };
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open_with(dir.path(), Options { batch_records_max: 10, batch_bytes_max: 1 << 20 }).unwrap();
    for seq in 0..1_000 {
        journal.append(Millis(1), &claim_of("forgotten-later", seq), None);
    }
    journal.close();
    drop(journal);
    let journal = Journal::open(dir.path()).unwrap();
    assert!(holds(dir.path(), "forgotten-later"));
    // Somebody writes all the while.
    let stop = std::sync::atomic::AtomicBool::new(false);
    let written = std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            let mut written = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                journal.append(Millis(1), &claim_of("somebody-else", 1_000 + written), None);
                written += 1;
                while journal.pressure() > 0 {
                    std::thread::yield_now();
                }
            }
            written
        });
        journal.trim(1_000).unwrap();
        let erased = journal.erase_trimmed().unwrap();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(erased);
        writer.join().unwrap()
    });
    assert!(!holds(dir.path(), "forgotten-later") && written > 0);
    journal.close();
    drop(journal);
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(read_all(&journal, 1_000).len() as u32, written);
    assert!(!holds(dir.path(), "forgotten-later") && holds(dir.path(), "somebody-else"));
    // Also where nothing at all is left, again and again.
    for _ in 0..3 {
        journal.trim(u64::MAX).unwrap();
        assert!(journal.erase_trimmed().unwrap());
        assert!(!holds(dir.path(), "somebody-else"));
        journal.append(Millis(1), &claim_of("somebody-else", 0), None);
        while journal.pressure() > 0 {
            std::thread::yield_now();
        }
    }
    journal.close();
    drop(journal);
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.oldest(), Some(journal.durable()), "one record is left");
}
