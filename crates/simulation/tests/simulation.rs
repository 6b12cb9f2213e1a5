//! The simulation, bounded: it finds nothing, it repeats itself, and it finds what was planted.
//!
//! `simulate` runs as long as one likes; what it prints when it finds something is a seed for `retell`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bunho_domain::event::{Event, OfferChange, OfferEvent};
use bunho_domain::planted::{self, Bug};
use bunho_domain::time::Millis;
use bunho_journal::simulated::{Committer, Crash, Did, Disk, Tear};
use bunho_journal::{Journal, Options};
use bunho_simulation::{retell, run};

/// Steps of each world here; the reported runs have 20,000.
const STEPS: u64 = 8_000;
/// Seeds within which everything planted must be found. The rarest needs a crash between two writes of one batch: some twenty worlds.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=160;
/// Seeds that are run as they are.
const HONEST_SEEDS: std::ops::RangeInclusive<u64> = 1..=20;

#[test]
fn nothing_is_found() {
    for seed in HONEST_SEEDS {
        if let Err(finding) = run(seed, STEPS) {
            let story = retell(seed, STEPS).expect_err("the same seed finds it again");
            panic!("{story}\n{finding}");
        }
    }
}

#[test]
fn a_seed_repeats_itself_and_another_does_not() {
    let first = run(77, STEPS).unwrap();
    assert_eq!(run(77, STEPS).unwrap(), first);
    assert_ne!(run(78, STEPS).unwrap().trace, first.trace);
    assert!(first.total() >= STEPS && first.faults_total() > 0, "{first}");
}

/// A test of the test: each planted bug is found, by a seed that finds nothing without it.
#[test]
fn every_planted_bug_is_found() {
    for bug in Bug::ALL {
        planted::plant(Some(bug));
        let found = SEEDS.clone().find_map(|seed| Some((seed, run(seed, STEPS).err()?)));
        let Some((seed, finding)) = found else { panic!("{} was not found with seeds {SEEDS:?}", bug.name()) };
        assert_eq!(run(seed, STEPS), Err(finding.clone()), "the same seed finds the same");
        planted::plant(None);
        let without = run(seed, STEPS);
        assert!(without.is_ok(), "{}: seed {seed} finds something without it, too: {without:?}", bug.name());
        println!("{}: {finding}", bug.name());
    }
}

fn event(version: u64) -> [Event; 1] {
    [Event::Offer(OfferEvent { offer: 1, version, change: OfferChange::Deleted })]
}

fn small_batches(disk: &Disk) -> (Journal, Committer) {
    Journal::simulated(disk, Options { batch_records_max: 1, batch_bytes_max: 1 << 20 }).unwrap()
}

fn append(journal: &Journal, records: std::ops::RangeInclusive<u64>) {
    for record in records {
        assert_eq!(journal.append(Millis(0), &event(record), None).offset(), record);
    }
}

/// Steps until the committer did this.
fn until(committer: &mut Committer, did: Did) {
    for _ in 0..100 {
        if committer.step() == did {
            return;
        }
    }
    panic!("it never did {did:?}");
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_a_prefix_of_the_rest() {
    for (kept, torn, last) in [(0, None, 1), (1, None, 2), (1, Some(Tear::Cut(500)), 2), (0, Some(Tear::Hole(300)), 1), (3, None, 4)] {
        let disk = Disk::default();
        let (journal, mut committer) = small_batches(&disk);
        append(&journal, 1..=1);
        until(&mut committer, Did::Synced);
        assert_eq!(journal.durable(), 0, "synced and not told");
        until(&mut committer, Did::Published);
        assert_eq!(journal.durable(), 1);
        append(&journal, 2..=4);
        assert_eq!([(); 4].map(|()| committer.step()), [Did::Took, Did::Wrote, Did::Wrote, Did::Wrote]);
        assert_eq!((disk.unsynced(), disk.safe_upto().unwrap()), (3, 1));
        drop((journal, committer));
        disk.crash(Crash::PowerCut { kept, torn });
        assert_eq!(small_batches(&disk).0.durable(), last, "{kept} kept, {torn:?}");
    }
}

#[test]
fn a_killed_process_loses_nothing_that_it_wrote_but_what_it_was_writing() {
    let disk = Disk::default();
    let (journal, mut committer) = small_batches(&disk);
    append(&journal, 1..=3);
    assert_eq!([(); 4].map(|()| committer.step()), [Did::Took, Did::Wrote, Did::Wrote, Did::Wrote]);
    drop((journal, committer));
    disk.tear_last_write(Tear::Cut(900));
    disk.crash(Crash::Kill);
    assert_eq!(small_batches(&disk).0.durable(), 2);
    assert_eq!(disk.safe_upto().unwrap(), 2, "a start syncs what it found");
}

#[test]
fn what_a_failed_sync_refused_is_removed_at_the_next_start() {
    let disk = Disk::default();
    let (journal, mut committer) = small_batches(&disk);
    append(&journal, 1..=1);
    until(&mut committer, Did::Published);
    append(&journal, 2..=2);
    disk.fail_next_sync();
    until(&mut committer, Did::Failed);
    assert!(journal.poisoned());
    drop((journal, committer));
    disk.crash(Crash::Kill);
    let (journal, mut committer) = small_batches(&disk);
    assert_eq!(journal.durable(), 1);
    append(&journal, 2..=2);
    until(&mut committer, Did::Published);
    drop((journal, committer));
    disk.crash(Crash::PowerCut { kept: 0, torn: None });
    assert_eq!(small_batches(&disk).0.durable(), 2);
}
