//! From the journal to the tables.

use crate::backend::Shell;
use crate::world::*;
use bunho_domain::claim::{Claim, StandbyStatus, Status};
use bunho_domain::event::{Event, ZoneChange, ZoneMinute};
use bunho_ledger::{Place, Projector};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

async fn every_kind_of_event_is_written_in_the_words_of_the_contract() {
    let world = World::new().await;
    let first =
        Claim { key: Some(key("k-1")), attributes: Some(r#"{"check_in":"2026-05-01"}"#.into()), ..place(held(1, 0, "김지원"), 1) };
    let waits = standby(1, 0, "u2");
    let mut served = waits.clone();
    (served.status, served.version, served.claim) = (StandbyStatus::Served, 2, Some(first.id));
    let minute = ZoneMinute { zone: zone_id("gate"), minute: START, entered: 5, waiting: 4, dropped: 3, entry_limit: Some(600) };
    world
        .happened([
            zoned(1, ZoneChange::Defined(Box::new(zone("gate")))),
            zoned(1, ZoneChange::Reserved { epoch: 1, upto: 4096 }),
            defined(1, 1, goods("summer", 10)),
            now(2, &first),
            now(3, &then(&first, Status::Confirmed)),
            standby_now(4, &waits),
            standby_now(5, &served),
            zoned(1, ZoneChange::Admitted { ticket: ticket(0), at: START }),
            zoned(1, ZoneChange::Left { ticket: ticket(0), at: START.plus_seconds(2) }),
            zoned(1, ZoneChange::Minute(minute)),
            zoned(1, ZoneChange::Front { epoch: 1, seq: 1 }),
        ])
        .await;
    world.done_by(&audit("offer.restock"), &[defined(1, 6, goods("summer", 20))]).await;
    world.projected().await;

    let check = async |statement: &str, expected: &str| assert_eq!(world.sql(statement).await.join("\n"), expected, "{statement}");
    check(
        "SELECT id, offer_id, user_id, quantity, status, version, idempotency_key, attributes, created_at, hold_expires_at, updated_at, \
         offer_number, ordinal, granted FROM claims",
        "00000001-0000-8000-8000-000000000007|summer|김지원|1|confirmed|2|k-1|{\"check_in\":\"2026-05-01\"}|2026-01-01T00:00:00.000Z|\
         2026-01-01T00:05:00.000Z|2026-01-01T00:00:00.010Z|1|1|null",
    )
    .await;
    check("SELECT version, status, journal_offset FROM claim_events ORDER BY version", "1|held|4\n2|confirmed|5").await;
    check("SELECT id, kind, quantity, version, updated_at FROM offers", "summer|goods|20|6|2026-01-01T00:00:00.000Z").await;
    check("SELECT status, version, claim_id FROM standby", "served|2|00000001-0000-8000-8000-000000000007").await;
    check("SELECT id, entry_limit_per_minute, reserved_epoch, reserved_upto, front_epoch, front_seq FROM zones", "gate|600|1|4096|1|1")
        .await;
    check("SELECT seq, admitted_at, left_at FROM tickets", "0|2026-01-01T00:00:00.000Z|2026-01-01T00:00:02.000Z").await;
    check("SELECT zone_id, minute, entered, waiting, dropped, entry_limit FROM zone_minutes", "gate|2026-01-01T00:00:00.000Z|5|4|3|600")
        .await;
    check("SELECT actor, action, target, request_id, journal_offset FROM audit_log", "ops|offer.restock|summer|r-1|12").await;
    check("SELECT id FROM apps", "shop").await;
    check(r#"SELECT "offset" FROM projector_offsets"#, "12").await;
    check("SELECT status, count(*), sum(quantity) FROM claims WHERE offer_id = 'summer' GROUP BY status", "confirmed|1|1").await;
}

/// A sale with every ending, for tests that look at the whole.
pub fn sale(claims: u32) -> Vec<Event> {
    let mut dice = Dice(7);
    let mut events = vec![zoned(1, ZoneChange::Defined(Box::new(zone("gate")))), defined(1, 1, goods("summer", claims))];
    let mut open: Vec<Claim> = Vec::new();
    let mut version = 1;
    for seq in 0..claims {
        version += 1;
        let claim = Claim { key: Some(key(&format!("k{seq}"))), ..held(1, seq, &format!("u{}", seq % 97)) };
        events.push(now(version, &claim));
        open.push(claim);
        if dice.below(3) > 0 {
            version += 1;
            let index = dice.below(open.len() as u32) as usize;
            let end = [Status::Confirmed, Status::Released, Status::Expired][dice.below(3) as usize];
            let claim = then(&open.swap_remove(index), end);
            events.push(now(version, &claim));
        }
        if dice.below(4) == 0 {
            events.push(zoned(1, ZoneChange::Admitted { ticket: ticket(seq), at: START.plus_ms(seq.into()) }));
        }
    }
    events
}

async fn the_same_events_again_change_nothing() {
    let world = World::new().await;
    world.happened(sale(1_500)).await;
    world.projected().await;
    let once = world.everything().await;
    world.happened(sale(1_500)).await;
    let projector = world.projected().await;
    assert_eq!(world.everything().await, once);
    assert_eq!(projector.parked(), 0);
}

async fn one_batch_or_many_make_the_same_rows() {
    let (at_once, in_steps) = (World::new().await, World::new().await);
    at_once.happened(sale(700)).await;
    at_once.projected().await;
    for step in sale(700).chunks(61) {
        in_steps.happened(step.to_vec()).await;
        assert_eq!(in_steps.projected().await.parked(), 0);
    }
    assert_eq!(at_once.everything().await, in_steps.everything().await);
}

async fn a_projector_cut_off_anywhere_loses_nothing_and_does_nothing_twice() {
    let (cut, whole) = (World::new().await, World::new().await);
    whole.happened(sale(2_000)).await;
    whole.projected().await;
    for (turn, step) in sale(2_000).chunks(61).enumerate() {
        cut.happened(step.to_vec()).await;
        let (projected, target) = (cut.ledger.projected(), cut.journal.durable());
        let projector = Projector::new(cut.ledger.clone(), cut.journal.clone());
        let mut running = pin!(projector.run(std::future::pending()));
        // Each time it is woken once more: before the transaction, between its statements, around the commit, until all is done.
        let mut woken = 0;
        poll_fn(|context| {
            let is_over = woken == turn || running.as_mut().poll(context).is_ready() || *projected.borrow() >= target;
            woken += 1;
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    assert_eq!(cut.projected().await.parked(), 0);
    assert_eq!(cut.everything().await, whole.everything().await);
}

async fn a_failing_database_is_waited_for() {
    let world = World::new().await;
    let mut shell = world.shell().await;
    shell.run("ALTER TABLE claim_rows RENAME TO elsewhere").await;
    world.happened(sale(50)).await;
    let projector = Arc::new(Projector::new(world.ledger.clone(), world.journal.clone()));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let projector = projector.clone();
        async move { projector.run(async { drop(stopped.await) }).await }
    });
    let mut healthy = projector.watch_healthy();
    tokio::time::timeout(Duration::from_secs(30), healthy.wait_for(|healthy| !healthy)).await.expect("in time").expect("noticed");
    shell.run("ALTER TABLE elsewhere RENAME TO claim_rows").await;
    let target = world.journal.durable();
    tokio::time::timeout(Duration::from_secs(30), world.ledger.projected().wait_for(|&offset| offset >= target))
        .await
        .expect("in time")
        .expect("projected");
    drop(stop);
    running.await.expect("it ends");
    assert!(projector.healthy());
    assert_eq!(world.sql("SELECT count(*) FROM claims").await, ["50"]);
}

async fn others_read_while_it_writes() {
    let world = World::new().await;
    let projector = Arc::new(Projector::new(world.ledger.clone(), world.journal.clone()));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let projector = projector.clone();
        async move { projector.run(async { drop(stopped.await) }).await }
    });
    world.happened([defined(1, 1, goods("summer", 5_000))]).await;
    let mut shell = world.shell().await;
    let mut seen = 0;
    for seq in 0..2_000 {
        let claim = held(1, seq, "u1");
        world.journal.append(START, &[now(u64::from(seq) + 2, &claim)], None);
        if seq % 50 == 0 {
            let count: i64 = shell.lines("SELECT count(*) FROM claims").await[0].parse().expect("a number");
            assert!(count >= seen, "what was there stays there");
            seen = count;
        }
    }
    drop(stop);
    running.await.expect("it ends");
    world.projected().await;
    assert_eq!(world.sql("SELECT count(*) FROM claims").await, ["2000"]);
}

#[tokio::test]
async fn only_what_it_committed_itself_is_trimmed() {
    let world = World::new().await;
    world.happened(sale(100)).await;
    let last = world.journal.durable();
    // As a killed process may leave it: the offset is in the WAL, and nobody knows whether on the disk.
    let mut shell = world.shell().await;
    let offset = format!("INSERT INTO projector_offsets VALUES ('ledger', {last})");
    shell.run(&offset).await;
    Projector::new(world.ledger.clone(), world.journal.clone()).run(async {}).await;
    assert_eq!(world.journal.oldest(), Some(1));
    world.happened([defined(2, 1, goods("winter", 3))]).await;
    world.projected().await;
    assert_eq!(world.journal.oldest(), None, "its own commit synced what was before");
}

/// Batches of large records are short, and the projector goes on after each.
async fn large_records_are_projected_to_the_last() {
    let world = World::new().await;
    let large = |seq| Claim { attributes: Some("x".repeat(4_000).into()), ..held(1, seq, "u") };
    world.happened([defined(1, 1, goods("summer", 10_000))]).await;
    world.happened((0..10_000).map(|seq| now(u64::from(seq) + 2, &large(seq)))).await;
    let read = world.journal.read(0, 20_000).expect("read").len();
    assert!(read < 5_000, "{read} records of 4 KB in one batch");
    world.projected().await;
    assert_eq!(world.sql("SELECT count(*) FROM claims").await, ["10000"]);
}

/// The database may have done what it reports as failed. Who waits for those rows must hear of them though nothing follows.
#[cfg(feature = "simulation")]
#[tokio::test]
async fn a_commit_of_unknown_fate_is_told_of_once_it_is_known() {
    let world = World::new().await;
    world.happened([defined(1, 1, goods("summer", 10))]).await;
    let mut projector = bunho_ledger::Stepped::new(world.ledger.clone(), world.journal.clone());
    projector.step(Some(bunho_ledger::Point::Commit)).await.expect_err("reported as failed");
    assert_eq!(*world.ledger.projected().borrow(), 0);
    projector.step(None).await.expect("well again");
    assert_eq!(*world.ledger.projected().borrow(), 1);
}

async fn whoever_waits_does_not_wait_for_others_to_gather() {
    let world = World::new().await;
    let projector = Arc::new(Projector::gathering(world.ledger.clone(), world.journal.clone(), Duration::from_secs(3_600)));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let projector = projector.clone();
        async move { projector.run(async { drop(stopped.await) }).await }
    });
    // The first wish is there before the projector rests, the second comes while it does.
    for offer in 1..=2 {
        world.happened([defined(offer, 1, goods(&format!("summer-{offer}"), 10))]).await;
        let target = world.journal.durable();
        world.ledger.want(target);
        let waiting = async { world.ledger.projected().wait_for(|&offset| offset >= target).await.map(drop) };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("in time").expect("projected");
    }
    // And whoever stops does not either.
    world.happened([defined(3, 1, goods("winter", 10))]).await;
    drop(stop);
    tokio::time::timeout(Duration::from_secs(30), running).await.expect("in time").expect("it ends");
    assert_eq!(world.sql("SELECT count(*) FROM offers").await, ["3"]);
}

async fn the_texts_of_a_claim_are_what_the_program_would_write() {
    let world = World::new().await;
    let mut events = Vec::new();
    let mut expected = Vec::new();
    let mut dice = Dice(11);
    // SQLite's own calendar beside ours and the other databases'.
    let mut clock = Shell::to(&Place::from(&world.dir.path().join("clock.db"))).await;
    for (offer, seq) in
        [(1, 0), (1, 0xf), (1, 0x10), (2, 0xffff), (2, 0x1_0000), (0x7fff_ffff, 5), (0x8000_0000, 0xabcd_ef12), (u32::MAX, u32::MAX)]
    {
        if !events.iter().any(|event| matches!(event, Event::Offer(event) if event.offer == offer)) {
            events.push(defined(offer, 1, goods(&format!("offer-{offer}"), 10)));
        }
        let nonce = (u64::from(dice.below(u32::MAX)) << 32 | u64::from(dice.below(u32::MAX))) & bunho_domain::ids::NONCE_MASK;
        let at = START.plus_ms(i64::from(dice.below(u32::MAX)) * 7);
        let id = bunho_domain::ids::ClaimId::new(offer, seq, nonce);
        let claim = Claim { id, created_at: at, updated_at: at, hold_expires_at: Some(at.plus_ms(1)), ..held(offer, 0, "u") };
        events.push(now(2, &claim));
        let at = at.0;
        let day = clock.lines(&format!("SELECT strftime('%Y-%m-%dT%H:%M:%S', {at} / 1000, 'unixepoch')")).await.remove(0);
        expected.push((claim, format!("{id}|{day}.{:03}Z|{offer}", at % 1_000)));
    }
    world.happened(events).await;
    assert_eq!(world.projected().await.parked(), 0);
    for (claim, expected) in expected {
        let id = claim.id;
        assert_eq!(world.sql(&format!("SELECT id, created_at, offer_number FROM claims WHERE id = '{id}'")).await, [expected]);
        assert_eq!(world.ledger.claim(id).await.expect("read").map(|row| row.claim), Some(claim.clone()));
        let page = world.ledger.claims_between(id.offer_number(), None, Some(id), 10).await.expect("a page");
        assert_eq!(page.last(), Some(&claim));
    }
}

crate::backend::on_each!(
    every_kind_of_event_is_written_in_the_words_of_the_contract,
    the_same_events_again_change_nothing,
    one_batch_or_many_make_the_same_rows,
    a_projector_cut_off_anywhere_loses_nothing_and_does_nothing_twice,
    a_failing_database_is_waited_for,
    others_read_while_it_writes,
    large_records_are_projected_to_the_last,
    whoever_waits_does_not_wait_for_others_to_gather,
    the_texts_of_a_claim_are_what_the_program_would_write,
);
