//! Failed writes and syncs: nobody is told, nothing more is written, and a restart shows none of it.

use crate::{append, read_all};
use bunho_journal::{Journal, JournalError};
use std::fs;
use std::path::Path;

fn with_records(dir: &Path, records: u32) {
    let journal = Journal::open(dir).unwrap();
    (0..records).for_each(|seq| drop(append(&journal, 1, seq)));
}

#[test]
fn what_a_marker_refuses_is_removed_for_good() {
    let dir = tempfile::tempdir().unwrap();
    with_records(dir.path(), 5);
    // It would say that all five were acknowledged, and no marker is believed against it.
    fs::remove_file(dir.path().join("witness")).unwrap();
    fs::write(dir.path().join("poisoned"), "refused_from 3\n").unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!((journal.durable(), journal.last()), (2, 2));
    assert_eq!(read_all(&journal, 0).len(), 2);
    assert!(!dir.path().join("poisoned").exists());
    assert_eq!(append(&journal, 1, 9).offset(), 3);
    drop(journal);
    assert_eq!(Journal::open(dir.path()).unwrap().durable(), 3);
}

#[test]
fn a_marker_keeps_what_was_trimmed_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    with_records(dir.path(), 5);
    let journal = Journal::open(dir.path()).unwrap();
    journal.trim(5).unwrap();
    let oldest = journal.oldest();
    drop(journal);
    fs::write(dir.path().join("poisoned"), "refused_from 18446744073709551615\n").unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!((journal.durable(), journal.oldest()), (5, oldest));
}

#[test]
fn an_unreadable_marker_is_not_guessed_at() {
    let dir = tempfile::tempdir().unwrap();
    with_records(dir.path(), 5);
    fs::write(dir.path().join("poisoned"), "refused_from soon\n").unwrap();
    assert!(matches!(Journal::open(dir.path()), Err(JournalError::Marker { .. })));
}

#[test]
fn a_replacement_cut_short_is_finished_or_undone() {
    let dir = tempfile::tempdir().unwrap();
    with_records(dir.path(), 5);
    let (store, new, old) = (dir.path().join("store"), dir.path().join("store.new"), dir.path().join("store.old"));

    fs::create_dir(&new).unwrap();
    fs::write(new.join("half"), "").unwrap();
    assert_eq!(Journal::open(dir.path()).unwrap().durable(), 5);
    assert!(!new.exists());

    fs::rename(&store, &new).unwrap();
    fs::create_dir(&old).unwrap();
    assert_eq!(Journal::open(dir.path()).unwrap().durable(), 5);
    assert!(store.exists() && !new.exists() && !old.exists());
}

#[cfg(feature = "failpoints")]
mod at_a_failpoint {
    use super::*;
    use crate::process;
    use std::io::Read;

    /// Each is a point, and what happens there.
    const FAILURES: [&str; 5] = [
        "journal::before_write=return",
        "journal::before_write=panic",
        "journal::after_write=return",
        "journal::sync=return",
        "journal::sync=panic",
    ];

    #[test]
    fn nobody_is_told_and_a_restart_shows_nothing() {
        for failure in FAILURES {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("failure"), failure).unwrap();
            let mut child = process::start("failure::at_a_failpoint::child", dir.path());
            let mut output = String::new();
            child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
            assert!(child.wait().unwrap().success(), "{failure}: {output}");
            assert!(dir.path().join("poisoned").exists(), "{failure}");

            let journal = Journal::open(dir.path()).unwrap();
            assert_eq!(journal.durable(), 3, "{failure}");
            assert_eq!(read_all(&journal, 0).len(), 3, "{failure}");
            assert_eq!(append(&journal, 1, 4).offset(), 4, "{failure}");
            drop(journal);
            assert_eq!(Journal::open(dir.path()).unwrap().durable(), 4, "{failure}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn child() {
        let Some(dir) = process::dir() else { return };
        let failure = fs::read_to_string(dir.join("failure")).unwrap();
        let (point, action) = failure.split_once('=').unwrap();
        let journal = Journal::open(&dir).unwrap();
        for seq in 0..3 {
            append(&journal, 1, seq).durable().await.unwrap();
        }
        fail::cfg(point, action).unwrap();
        let refused = [append(&journal, 1, 3), append(&journal, 1, 4)];
        assert_eq!(refused[0].offset(), 4);
        for commit in &refused {
            assert!(matches!(commit.durable().await, Err(JournalError::Poisoned)));
            assert!(!commit.is_durable());
        }
        journal.until_poisoned().await;
        assert!(journal.poisoned());

        fail::remove(point);
        let later = append(&journal, 1, 5);
        assert!(matches!(later.durable().await, Err(JournalError::Poisoned)), "it stays poisoned");
        for offset in [4, 5, 1_000] {
            assert!(matches!(journal.durable_at_least(offset).await, Err(JournalError::Poisoned)));
        }
        assert!(matches!(journal.trim(2), Err(JournalError::Poisoned)));
        assert_eq!((journal.durable(), read_all(&journal, 0).len()), (3, 3));
        journal.close();
        assert!(journal.poisoned());
    }
}
