//! An engine against the ledger.

use crate::backend::Backend;
use crate::world::*;
use bunho_domain::claim::{Claim, Status};
use bunho_domain::ids::ClaimId;
use bunho_ledger::reconcile::{Reconciliation, Repair, Report};

/// Reconciles offer 1 with an engine that has `claims`.
async fn reconciled(world: &World, claims: &[Claim], repair: Repair) -> Report {
    let mut reconciliation = Reconciliation::new(&world.ledger, repair);
    for (number, _) in world.ledger.live_offers().await.expect("offers") {
        let engine = |after: Option<ClaimId>, most: usize| {
            std::future::ready(
                claims.iter().filter(|claim| claim.id.offer_number() == number && Some(claim.id) > after).take(most).cloned().collect(),
            )
        };
        reconciliation.offer(number, engine).await.expect("compared");
    }
    reconciliation.finish().await.expect("a report")
}

async fn sold(claims: &[Claim]) -> World {
    let world = World::new().await;
    world.happened([defined(1, 1, goods("summer", 100_000))]).await;
    world.happened((2..).zip(claims).map(|(version, claim)| now(version, claim))).await;
    world.projected().await;
    world
}

fn claims(range: std::ops::Range<u32>) -> Vec<Claim> {
    range.map(|seq| held(1, seq, &format!("u{seq}"))).collect()
}

async fn equal_sides_are_equal() {
    for count in [0, 1, 999, 1_000, 1_001, 2_500] {
        let all = claims(0..count);
        let report = reconciled(&sold(&all).await, &all, Repair::No).await;
        assert!(report.is_equal(), "{report:?}");
        assert_eq!(report.compared, u64::from(count));
    }
}

async fn differences_are_found_counted_and_mended() {
    let all = claims(0..2_500);
    let (ledger, mut engine) = (all[..2_400].to_vec(), all.clone());
    engine.drain(1_500..1_510);
    engine[20] = then(&engine[20], Status::Confirmed);
    engine.remove(0);
    let world = sold(&ledger).await;
    let report = reconciled(&world, &engine, Repair::No).await;
    assert!(!report.is_equal());
    assert_eq!((report.missing_in_ledger, report.missing_in_engine, report.different), (100, 11, 1));
    assert_eq!(report.compared, 2_389);
    assert_eq!(report.examples.len(), 100);
    let changed = report.examples.iter().find(|example| example.claim.seq() == 20).expect("an example");
    assert_eq!((changed.engine, changed.ledger), (Some((Status::Confirmed, 2)), Some((Status::Held, 1))));

    let mended = reconciled(&world, &engine, Repair::Ledger { at: START }).await;
    assert_eq!((mended.repaired, mended.unrepaired, mended.history_differs), (101, 0, 0));
    let after = reconciled(&world, &engine, Repair::No).await;
    assert_eq!((after.missing_in_ledger, after.missing_in_engine, after.different), (0, 11, 0), "what only the ledger has is left");
}

async fn a_repair_resolves_what_was_parked_and_the_projector_counts_afresh() {
    let (first, second) = (place(held(1, 0, "a"), 1), place(held(1, 1, "a"), 1));
    let world = World::new().await;
    world.happened([defined(1, 1, goods("summer", 1)), now(2, &first), now(3, &second)]).await;
    let projector = world.projected().await;
    assert_eq!(projector.parked(), 1);
    // What the engine really has: the first one was released, and that event is lost.
    let engine = [then(&first, Status::Released), second];
    let report = reconciled(&world, &engine, Repair::Ledger { at: START }).await;
    assert_eq!((report.different, report.missing_in_ledger, report.repaired, report.parked), (1, 1, 2, 0));
    assert!(reconciled(&world, &engine, Repair::No).await.is_equal());
    // The one unit is taken now: the running projector knows.
    world.happened([now(4, &held(1, 2, "b"))]).await;
    projector.run(async {}).await;
    assert_eq!(projector.parked(), 1);
    assert_eq!(world.ledger.parked_events(None, 10).await.expect("parked")[0].reason, "capacity");
}

async fn the_ledger_is_checked_against_itself() {
    let all = claims(0..10);
    let world = sold(&all).await;
    let mut shell = world.shell().await;
    for statement in [
        "UPDATE offers SET quantity = 9",
        "UPDATE claims SET status = 'confirmed' WHERE user_id = 'u3'",
        if Backend::chosen() == Backend::MariaDb { "DROP INDEX claims_user ON claim_rows" } else { "DROP INDEX claims_user" },
        "UPDATE claims SET user_id = 'u1', ordinal = 1 WHERE user_id IN ('u1', 'u2')",
    ] {
        shell.run(statement).await;
    }
    let report = reconciled(&world, &all, Repair::No).await;
    assert_eq!((report.oversold.len(), report.oversold[0].taken, report.oversold[0].quantity), (1, 10, 9));
    assert_eq!((report.history_differs, report.duplicates, report.different), (1, 1, 3));
}

/// Reconciles offer 1 with an engine of which each reading has a number, from 1.
async fn repaired_while<F: Future<Output = Vec<Claim>>>(world: &World, mut read: impl FnMut(u32, Option<ClaimId>, usize) -> F) -> Report {
    let mut reconciliation = Reconciliation::new(&world.ledger, Repair::Ledger { at: START });
    let mut readings = 0;
    let engine = |after: Option<ClaimId>, most: usize| {
        readings += 1;
        read(readings, after, most)
    };
    reconciliation.offer(1, engine).await.expect("compared");
    reconciliation.finish().await.expect("a report")
}

fn page_of(claims: &[Claim], after: Option<ClaimId>, most: usize) -> Vec<Claim> {
    claims.iter().filter(|claim| Some(claim.id) > after).take(most).cloned().collect()
}

/// The engine is read, the claim is confirmed, the ledger is read; and there are no more pauses in which to look again.
async fn what_the_ledger_has_newer_is_not_written_over() {
    let old = claims(0..10_001);
    let world = sold(&old).await;
    let last = old.last().expect("a claim").clone();
    world.happened([now(20_000, &then(&last, Status::Confirmed))]).await;
    world.projected().await;
    // On every page before it one that differs for good.
    let mut before = old.clone();
    for claim in before.iter_mut().step_by(1_000).take(10) {
        *claim = then(claim, Status::Released);
    }
    let mut after = before.clone();
    after[10_000] = then(&last, Status::Confirmed);
    let mut seen = 0;
    let report = repaired_while(&world, |_, from, most| {
        let is_last = from.is_some_and(|id| id.seq() >= 9_999);
        seen += u32::from(is_last);
        std::future::ready(page_of(if is_last && seen > 1 { &after } else { &before }, from, most))
    })
    .await;
    assert_eq!((report.different, report.repaired, report.unrepaired), (10, 10, 0));
    assert!(reconciled(&world, &after, Repair::No).await.is_equal());
}

/// Between the last look and the writing the projector goes on.
async fn what_is_projected_before_a_repair_writes_stays() {
    let (edited, late) = (held(1, 0, "u0"), held(1, 1, "u1"));
    let world = sold(std::slice::from_ref(&edited)).await;
    world.shell().await.run("UPDATE claims SET version = 9 WHERE user_id = 'u0'").await;
    let engine = [edited, late.clone()];
    let (world, engine) = (&world, &engine);
    let report = repaired_while(world, |reading, from, most| {
        let late = late.clone();
        async move {
            // The page, five times again, and once more because the ledger looks newer.
            if reading == 7 {
                world.happened([now(3, &late), now(4, &then(&late, Status::Confirmed))]).await;
                world.projected().await;
            }
            page_of(engine, from, most)
        }
    })
    .await;
    assert_eq!((report.missing_in_ledger, report.different, report.repaired, report.unrepaired), (1, 1, 1, 0));
    assert_eq!(world.sql("SELECT user_id, status, version FROM claims ORDER BY id").await, ["u0|held|1", "u1|confirmed|2"]);
}

crate::backend::on_each!(
    what_the_ledger_has_newer_is_not_written_over,
    what_is_projected_before_a_repair_writes_stays,
    equal_sides_are_equal,
    differences_are_found_counted_and_mended,
    a_repair_resolves_what_was_parked_and_the_projector_counts_afresh,
    the_ledger_is_checked_against_itself,
);
