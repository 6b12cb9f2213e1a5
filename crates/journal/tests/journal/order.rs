//! Order, density and waiting, in one process.

use crate::{append, read_all, written};
use bunho_journal::{Journal, JournalError, Options};
use std::collections::HashMap;
use std::sync::Arc;

const WRITERS: u32 = 8;
const RECORDS_EACH: u32 = 500;

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_give_one_dense_order_that_a_restart_keeps() {
    let dir = tempfile::tempdir().unwrap();
    // Small bounds, so that batches of several values occur.
    let journal = Journal::open_with(dir.path(), Options { batch_records_max: 3, batch_bytes_max: 64 }).unwrap();
    let decisions = Arc::new(parking_lot::Mutex::new(HashMap::new()));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (journal, decisions) = (journal.clone(), Arc::clone(&decisions));
            tokio::spawn(async move {
                for seq in 0..RECORDS_EACH {
                    let commit = append(&journal, writer, seq);
                    decisions.lock().insert(commit.offset(), (writer, seq));
                    if seq % 7 == 0 {
                        journal.durable_at_least(commit.offset()).await.unwrap();
                    } else if seq % 3 == 0 {
                        commit.durable().await.unwrap();
                        assert!(commit.is_durable() && journal.durable() >= commit.offset());
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let total = u64::from(WRITERS * RECORDS_EACH);
    assert_eq!(journal.last(), total);
    journal.durable_at_least(total).await.unwrap();
    assert_eq!((journal.durable(), journal.pressure(), journal.oldest()), (total, 0, Some(1)));

    let records = read_all(&journal, 0);
    assert_eq!(records.len() as u64, total);
    let decisions = decisions.lock();
    let mut next = [0; WRITERS as usize];
    for (offset, record) in &records {
        let (writer, seq) = written(record);
        assert_eq!(decisions[offset], (writer, seq));
        assert_eq!(next[writer as usize], seq, "a writer's records stand in its order");
        next[writer as usize] += 1;
    }
    drop(journal);
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!((journal.durable(), journal.last()), (total, total));
    assert_eq!(read_all(&journal, 0), records);
}

#[tokio::test]
async fn what_is_not_appended_yet_can_be_waited_for_and_followed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!((journal.durable(), journal.last(), journal.oldest()), (0, 0, None));
    assert_eq!(journal.read(0, 10).unwrap(), []);
    let mut watch = journal.watch();
    let waiting = tokio::spawn({
        let journal = journal.clone();
        async move { journal.durable_at_least(2).await }
    });
    let commits = [append(&journal, 1, 1), append(&journal, 1, 2), append(&journal, 1, 3)];
    waiting.await.unwrap().unwrap();
    for commit in &commits {
        commit.durable().await.unwrap();
    }
    assert_eq!(*watch.wait_for(|&durable| durable >= 3).await.unwrap(), 3);
    let read = |after, most| journal.read(after, most).unwrap().iter().map(|&(offset, _)| offset).collect::<Vec<_>>();
    assert_eq!(read(0, 2), [1, 2]);
    assert_eq!(read(1, 100), [2, 3]);
    assert!(read(3, 100).is_empty());
    assert!(read(0, 0).is_empty());
}

#[tokio::test]
async fn closing_writes_what_was_appended_and_refuses_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let commits: Vec<_> = (0..100).map(|seq| append(&journal, 1, seq)).collect();
    journal.close();
    assert!(commits.iter().all(|commit| commit.is_durable()));
    let late = append(&journal, 1, 100);
    assert!(matches!(late.durable().await, Err(JournalError::Closed)));
    assert!(matches!(journal.durable_at_least(101).await, Err(JournalError::Closed)));
    assert!(!journal.poisoned());
    assert_eq!(journal.last(), 100);
    assert_eq!(read_all(&journal, 0).len(), 100, "reading goes on");
    journal.close();
}

#[test]
fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    assert!(matches!(Journal::open(dir.path()), Err(JournalError::Locked { .. })));
    assert!(matches!(Journal::reset(dir.path(), 0), Err(JournalError::Locked { .. })));
    let clone = journal.clone();
    drop(journal);
    assert!(matches!(Journal::open(dir.path()), Err(JournalError::Locked { .. })), "a clone still has it");
    drop(clone);
    Journal::open(dir.path()).unwrap();
}
