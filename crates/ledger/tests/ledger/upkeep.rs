//! Pruning, schema versions, the doctor's questions.

use crate::backend::Backend;
use crate::world::*;
use bunho_domain::claim::Claim;
use bunho_domain::event::ZoneChange;
use bunho_ledger::reconcile::{Reconciliation, Repair};
use bunho_ledger::{Ledger, LedgerError};
use std::sync::Arc;

async fn old_tickets_are_forgotten_and_needed_ones_stay() {
    let world = World::new().await;
    let mut settings = zone("gate");
    (settings.session_seconds, settings.pass_ttl_seconds) = (100, 90);
    // max(60, 90, 100) + 60 + 120.
    let keep_seconds = 280;
    world.happened([zoned(1, ZoneChange::Defined(Box::new(settings)))]).await;
    // Ten tickets a second for an hour; every hundredth comes back late and keeps its low number.
    let mut admitted = Vec::new();
    for seq in 0..36_000_u32 {
        let late = if seq % 100 == 0 { 150_000 } else { 0 };
        admitted.push((START.plus_ms(i64::from(seq) * 100 + late), seq));
    }
    admitted.sort();
    let now = admitted[admitted.len() - 1].0;
    for step in admitted.chunks(2_000) {
        world.happened(step.iter().map(|&(at, seq)| zoned(1, ZoneChange::Admitted { ticket: ticket(seq), at }))).await;
        // Who comes back late waits until then, and holds the front.
        let front = admitted.iter().filter(|(at, _)| *at > step[step.len() - 1].0).map(|(_, seq)| *seq).min().unwrap_or(36_000);
        world.happened([zoned(1, ZoneChange::Front { epoch: 1, seq: front })]).await;
        world.projected().await;
    }
    let left: Vec<u32> = world.sql("SELECT seq FROM tickets ORDER BY seq").await.iter().map(|seq| seq.parse().expect("a number")).collect();
    let needed: Vec<u32> = admitted.iter().filter(|(at, _)| now.since_ms(*at) <= keep_seconds * 1_000).map(|(_, seq)| *seq).collect();
    assert!(needed.iter().all(|seq| left.binary_search(seq).is_ok()), "what a restart needs is there");
    assert!(left.len() < 2 * needed.len() + 4_000, "{} are kept of {} needed", left.len(), needed.len());
}

async fn a_deleted_zone_keeps_no_tickets() {
    let world = World::new().await;
    world.happened([zoned(1, ZoneChange::Defined(Box::new(zone("gate"))))]).await;
    world.happened((0..300).map(|seq| zoned(1, ZoneChange::Admitted { ticket: ticket(seq), at: START }))).await;
    world.projected().await;
    assert_eq!(world.sql("SELECT count(*) FROM tickets").await, ["300"]);
    world.happened([zoned(1, ZoneChange::Deleted)]).await;
    world.projected().await;
    assert_eq!(world.sql("SELECT count(*) FROM tickets").await, ["0"]);
}

async fn a_newer_schema_is_refused() {
    let world = World::new().await;
    let known = world.ledger.check().await.expect("checked").schema_version;
    let checksum = if Backend::chosen() == Backend::Postgres { "decode('00', 'hex')" } else { "x'00'" };
    let mark = format!(
        "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)
         VALUES (9999, 'of tomorrow', '2026-01-01 00:00:00', TRUE, {checksum}, 0)"
    );
    world.shell().await.run(&mark).await;
    let refused = Ledger::open(world.ledger.place()).await.expect_err("refused");
    assert!(matches!(refused, LedgerError::SchemaNewer { found: 9_999, known: newest } if newest == known), "{refused:?}");
}

async fn the_doctor_sees_the_settings_in_force() {
    let world = World::new().await;
    let before = world.sql("SELECT count(*) FROM projector_offsets").await;
    let check = world.ledger.check().await.expect("checked");
    assert_eq!(check.complaints(), Vec::<String>::new());
    let (database, settings): (_, &[(&str, &str)]) = match Backend::chosen() {
        Backend::Sqlite => ("SQLite 3.", &[("journal_mode", "wal"), ("synchronous", "2")]),
        Backend::Postgres => ("PostgreSQL 1", &[("fsync", "on"), ("synchronous_commit", "on"), ("full_page_writes", "on")]),
        // Without a binary log there is nothing to sync.
        Backend::MariaDb => ("MariaDB 1", &[("innodb_flush_log_at_trx_commit", "1"), ("innodb_doublewrite", "1")]),
    };
    let found: Vec<(&str, &str)> = check.settings.iter().map(|(name, is)| (*name, is.as_str())).collect();
    assert!(check.database.starts_with(database), "{}", check.database);
    assert_eq!(found, settings);
    assert_eq!(world.sql("SELECT count(*) FROM projector_offsets").await, before, "it leaves nothing behind");
}

async fn a_database_belongs_to_one_installation() {
    let world = World::new().await;
    world.ledger.belongs_to("one").await.expect("the first");
    world.ledger.belongs_to("one").await.expect("again");
    let refused = world.ledger.belongs_to("two").await.expect_err("another");
    assert!(matches!(&refused, LedgerError::OtherInstallation { found, own, .. } if found == "one" && own == "two"), "{refused:?}");
    let again = Ledger::open(world.ledger.place()).await.expect("opened again");
    assert!(again.belongs_to("two").await.is_err(), "it is written down");
}

/// The server runs these on any of its threads.
async fn long_work_can_be_spawned() {
    let world = World::new().await;
    world.happened([defined(1, 1, goods("summer", 3))]).await;
    world.projected().await;
    let ledger = world.ledger.clone();
    let count = tokio::spawn(async move {
        let mut events = 0;
        ledger.load(&mut |_| events += 1).await.expect("loaded");
        let mut reconciliation = Reconciliation::new(&ledger, Repair::No);
        let engine: Arc<Vec<Claim>> = Arc::default();
        reconciliation.offer(1, |_, most| std::future::ready(engine.iter().take(most).cloned().collect())).await.expect("compared");
        assert!(reconciliation.finish().await.expect("a report").is_equal());
        events
    });
    assert_eq!(count.await.expect("it ends"), 1);
}

#[tokio::test]
async fn a_place_that_cannot_be_opened_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let refused = Ledger::open(&dir.path().join("no/such/ledger.db")).await.map(drop).expect_err("no folder");
    assert!(refused.to_string().contains("no/such/ledger.db"), "{refused}");
}

async fn a_short_window_keeps_what_the_longest_one_would_count() {
    let world = World::new().await;
    let mut settings = zone("gate");
    (settings.window_seconds, settings.slot_seconds, settings.session_seconds, settings.pass_ttl_seconds) = (1, 1, 1, 1);
    (settings.abandon_after_seconds, settings.resume_grace_seconds) = (1, 0);
    world.happened([zoned(1, ZoneChange::Defined(Box::new(settings)))]).await;
    // 61 s are kept.
    for (seq, second) in [(0, 0), (1, 10), (2, 65)] {
        let at = START.plus_seconds(second);
        world.happened([zoned(1, ZoneChange::Admitted { ticket: ticket(seq), at })]).await;
        world.happened([zoned(1, ZoneChange::Front { epoch: 1, seq: seq + 1 })]).await;
        world.projected().await;
    }
    assert_eq!(world.sql("SELECT seq FROM tickets ORDER BY seq").await, ["1", "2"]);
}

/// Somebody may wait on an old ticket for ever; whoever was admitted above it must stay known, or a restart would put
/// them back in front.
async fn nothing_is_forgotten_above_the_front() {
    let world = World::new().await;
    world.happened([zoned(1, ZoneChange::Defined(Box::new(zone("gate"))))]).await;
    world.happened([zoned(1, ZoneChange::Front { epoch: 1, seq: 1 })]).await;
    for (seq, hour) in [(0, 0), (2, 1), (3, 2), (4, 48)] {
        let at = START.plus_seconds(hour * 3_600);
        world.happened([zoned(1, ZoneChange::Admitted { ticket: ticket(seq), at })]).await;
        world.projected().await;
    }
    assert_eq!(world.sql("SELECT seq FROM tickets ORDER BY seq").await, ["2", "3", "4"]);
}

async fn a_restart_goes_on_forgetting_a_deleted_zone() {
    let world = World::new().await;
    world.happened([zoned(1, ZoneChange::Defined(Box::new(zone("gate"))))]).await;
    world.happened((0..3_500).map(|seq| zoned(1, ZoneChange::Admitted { ticket: ticket(seq), at: START }))).await;
    world.projected().await;
    world.happened([zoned(1, ZoneChange::Deleted)]).await;
    world.projected().await;
    assert_eq!(world.sql("SELECT count(*) FROM tickets").await, ["2500"]);
    // Each of these is another projector, and one step.
    for version in 1..10 {
        world.happened([defined(1, version, goods("summer", 3))]).await;
        world.projected().await;
    }
    assert_eq!(world.sql("SELECT count(*) FROM tickets").await, ["0"]);
}

crate::backend::on_each!(
    a_newer_schema_is_refused,
    the_doctor_sees_the_settings_in_force,
    a_database_belongs_to_one_installation,
    old_tickets_are_forgotten_and_needed_ones_stay,
    a_deleted_zone_keeps_no_tickets,
    long_work_can_be_spawned,
    a_short_window_keeps_what_the_longest_one_would_count,
    nothing_is_forgotten_above_the_front,
    a_restart_goes_on_forgetting_a_deleted_zone,
);
