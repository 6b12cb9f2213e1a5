//! The directory of what lives in a shared engine: nodes that edit it at the same time, and one that wakes up late.

use crate::backend::Backend;
use crate::world::World;
use bunho_ledger::directory::{Entry, Kind, Standing};
use bunho_ledger::{Ledger, LedgerError};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Two nodes on one database; a file has only one.
async fn two_nodes() -> (World, Ledger) {
    let world = World::new().await;
    let other = match Backend::chosen() {
        Backend::Sqlite => world.ledger.clone(),
        Backend::Postgres | Backend::MariaDb => Ledger::open(world.ledger.place()).await.expect("another connection"),
    };
    (world, other)
}

async fn add(ledger: &Ledger, kind: Kind, id: &str) -> Option<Entry> {
    ledger.directory_add(kind, id, None).await.expect("added")
}

async fn numbers_are_given_once_and_ids_are_of_the_living() {
    let (world, other) = two_nodes().await;
    let before = world.ledger.directory().await.expect("read");
    assert_eq!((before.version, before.entries.len()), (0, 0));
    let first = add(&world.ledger, Kind::Offer, "summer").await.expect("new");
    assert_eq!((first.number, first.tag, first.epoch, first.standing), (1, 1, 1, Standing::Making));
    assert_eq!(add(&other, Kind::Offer, "summer").await, None, "it lives");
    assert_eq!(add(&other, Kind::Zone, "summer").await.map(|zone| zone.number), Some(1), "another kind");
    let thanks = other.directory_add(Kind::Offer, "thanks", Some(1)).await.expect("added").expect("new");
    assert_eq!((thanks.number, thanks.tag), (2, 1));
    let version = other.directory_version().await.expect("read");
    assert_eq!(version, 3, "what changed nothing is no version");

    assert!(other.directory_change(&first, Standing::Deleted, 1).await.expect("changed"));
    assert_eq!(other.directory_version().await.expect("read"), 4);
    let again = add(&world.ledger, Kind::Offer, "summer").await.expect("the id is free");
    assert_eq!(again.number, 3);
    let directory = other.directory().await.expect("read");
    assert_eq!(directory.version, 5);
    let seen: Vec<(Kind, u32, &str, Standing)> =
        directory.entries.iter().map(|entry| (entry.kind, entry.number, &*entry.id, entry.standing)).collect();
    assert_eq!(
        seen,
        [
            (Kind::Offer, 1, "summer", Standing::Deleted),
            (Kind::Offer, 2, "thanks", Standing::Making),
            (Kind::Offer, 3, "summer", Standing::Making),
            (Kind::Zone, 1, "summer", Standing::Making),
        ]
    );
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    assert!(directory.entries.iter().all(|entry| (entry.changed_ms - now).abs() < 600_000), "{directory:?} at {now}");
}

async fn of_many_who_race_for_an_id_one_gets_it() {
    let (world, other) = two_nodes().await;
    let mut racing = tokio::task::JoinSet::new();
    for turn in 0..40 {
        let ledger = if turn % 2 == 0 { world.ledger.clone() } else { other.clone() };
        racing.spawn(async move { add(&ledger, Kind::Offer, &format!("race-{}", turn / 4)).await });
    }
    let won: Vec<Entry> = racing.join_all().await.into_iter().flatten().collect();
    assert_eq!(won.len(), 10, "one for each id");
    let numbers: BTreeSet<u32> = won.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, (1..=10).collect(), "dense, each once");
    assert_eq!(world.ledger.directory().await.expect("read").version, 10);
}

async fn who_wakes_up_late_changes_nothing() {
    let (world, other) = two_nodes().await;
    let made = add(&world.ledger, Kind::Offer, "summer").await.expect("new");
    assert!(world.ledger.directory_change(&made, Standing::Live, 1).await.expect("changed"));
    assert!(!other.directory_change(&made, Standing::Deleted, 1).await.expect("looked"), "it is not being made any more");
    let live = other.directory().await.expect("read").entries.remove(0);
    assert_eq!(live.standing, Standing::Live);

    // Both want to recover it; one does.
    let (one, two) =
        tokio::join!(world.ledger.directory_change(&live, Standing::Recovering, 2), other.directory_change(&live, Standing::Recovering, 2));
    assert_eq!(u8::from(one.expect("looked")) + u8::from(two.expect("looked")), 1);
    let recovering = other.directory().await.expect("read").entries.remove(0);
    assert_eq!((recovering.epoch, recovering.standing), (2, Standing::Recovering));
    assert!(!world.ledger.directory_change(&live, Standing::Live, 1).await.expect("looked"), "of an epoch that has ended");
    assert!(world.ledger.directory_change(&recovering, Standing::Deleted, 2).await.expect("changed"));
    let deleted = Entry { standing: Standing::Deleted, ..recovering };
    assert!(!world.ledger.directory_change(&deleted, Standing::Live, 3).await.expect("looked"), "for good");
}

async fn an_import_keeps_numbers_and_can_be_repeated() {
    let (world, _) = two_nodes().await;
    let entry = |kind, number, id: &str, standing| Entry { kind, number, id: id.into(), tag: number, epoch: 1, standing, changed_ms: 5 };
    let entries = [
        entry(Kind::Offer, 4, "summer", Standing::Deleted),
        entry(Kind::Offer, 7, "summer", Standing::Making),
        entry(Kind::Zone, 2, "gate", Standing::Making),
    ];
    for _ in 0..2 {
        world.ledger.directory_import(&entries, (11, 0)).await.expect("imported");
    }
    assert_eq!(world.ledger.directory().await.expect("read").entries, entries);
    for taken in [entry(Kind::Offer, 7, "winter", Standing::Making), entry(Kind::Offer, 9, "summer", Standing::Making)] {
        let fresh = entry(Kind::Zone, 50, "new", Standing::Making);
        let refused = world.ledger.directory_import(&[fresh, taken], (90, 90)).await.expect_err("taken");
        assert!(matches!(refused, LedgerError::Imported { kind: "offer", .. }), "{refused:?}");
    }
    assert_eq!(world.ledger.directory().await.expect("read").entries, entries, "all or none");
    assert_eq!(add(&world.ledger, Kind::Offer, "autumn").await.expect("new").number, 12, "some were deleted there");
    assert_eq!(add(&world.ledger, Kind::Zone, "exit").await.expect("new").number, 3);
}

async fn one_edits_at_a_time() {
    let (world, other) = two_nodes().await;
    let held = world.ledger.directory_lock().await.expect("free");
    let began = Instant::now();
    assert!(matches!(other.directory_lock().await, Err(LedgerError::Busy)));
    assert!(began.elapsed() >= Duration::from_secs(4), "it was waited for");
    // Edits do not wait for it, whoever makes them, nor does the holder's own.
    assert!(add(&world.ledger, Kind::Offer, "summer").await.is_some());
    assert!(add(&other, Kind::Offer, "winter").await.is_some());

    // It has begun to wait before the lock is let go.
    let (turn, ()) = tokio::join!(other.directory_lock(), async { drop(held) });
    drop(turn.expect("it is free"));
    // Many of one process wait without taking the connections that the holder needs.
    let mut turns = tokio::task::JoinSet::new();
    for turn in 0..20 {
        let ledger = world.ledger.clone();
        turns.spawn(async move {
            let _held = ledger.directory_lock().await.expect("a turn");
            add(&ledger, Kind::Zone, &format!("gate-{turn}")).await.expect("new")
        });
    }
    assert_eq!(turns.join_all().await.len(), 20);
}

async fn what_was_said_first_stands() {
    let (world, other) = two_nodes().await;
    let (one, two) = tokio::join!(world.ledger.agree("topic", "bunho"), other.agree("topic", "bunho-2"));
    let stands = match (one.expect("said"), two.expect("said")) {
        (None, Some(stands)) | (Some(stands), None) => stands,
        both => panic!("one of the two: {both:?}"),
    };
    assert_eq!(world.ledger.agree("topic", &stands).await.expect("said"), None);
    assert_eq!(other.agree("topic", "bunho-3").await.expect("said"), Some(stands));
    assert_eq!(other.agree("partitions", "12").await.expect("said"), None);
}

crate::backend::on_each!(
    numbers_are_given_once_and_ids_are_of_the_living,
    of_many_who_race_for_an_id_one_gets_it,
    who_wakes_up_late_changes_nothing,
    an_import_keeps_numbers_and_can_be_repeated,
    one_edits_at_a_time,
    what_was_said_first_stands,
);
