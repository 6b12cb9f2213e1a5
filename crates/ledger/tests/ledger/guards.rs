//! What the engine must never send, and what becomes of it here.

use crate::world::*;
use bunho_domain::claim::{Claim, Status};
use bunho_domain::event::Event;
use bunho_ledger::ParkedRow;

/// Projects `events` after offers 1 (`summer`, 3 units) and compares what was parked, as `seq version reason`, and the
/// claims that are there, as `seq status`.
async fn check(events: &[Event], parked: &[&str], claims: &[&str]) {
    let world = World::new().await;
    world.happened([defined(1, 1, goods("summer", 3))]).await;
    world.projected().await;
    world.happened(events.to_vec()).await;
    let projector = world.projected().await;
    let found: Vec<String> = world.ledger.parked_events(None, 200).await.expect("parked").iter().map(shown).collect();
    assert_eq!(found, parked);
    assert_eq!(projector.parked(), parked.len() as u64);
    assert_eq!(world.sql("SELECT user_id, status FROM claims ORDER BY id").await.join("\n").replace('|', " "), claims.join("\n"));
    let histories = world.sql("SELECT count(DISTINCT claim_id) FROM claim_events").await;
    assert_eq!(histories, [claims.len().to_string()], "the history is of the claims that are there");
}

/// Quantity, user, version and reason of a parked event.
fn shown(event: &ParkedRow) -> String {
    let payload: serde_json::Value = serde_json::from_str(&event.payload).expect("JSON");
    let claim = &payload["claim"];
    format!("{} {} {} {}", claim["quantity"], claim["user"].as_str().unwrap_or("-"), claim["version"], event.reason)
}

fn units(claim: Claim, quantity: u32) -> Claim {
    Claim { quantity, ..claim }
}

async fn what_a_guard_refuses_is_parked_and_the_rest_goes_on() {
    let (a, b, c) = (held(1, 0, "a"), held(1, 1, "b"), held(1, 2, "c"));
    // More than there is: the one that does not fit, with all its versions; a smaller one after it still fits.
    check(
        &[now(2, &units(a.clone(), 2)), now(3, &units(b.clone(), 2)), now(4, &units(then(&b, Status::Confirmed), 2)), now(5, &c)],
        &["2 b 1 capacity", "2 b 2 capacity"],
        &["a held", "c held"],
    )
    .await;
    // One place of a user, twice; one key, twice.
    let (first, again) = (place(held(1, 0, "a"), 1), place(held(1, 1, "a"), 1));
    check(&[now(2, &first), now(3, &again), now(4, &c)], &["1 a 1 duplicate"], &["a held", "c held"]).await;
    let keyed = |claim: Claim| Claim { key: Some(key("k")), ..claim };
    check(&[now(2, &keyed(a.clone())), now(3, &keyed(held(1, 5, "a")))], &["1 a 1 duplicate"], &["a held"]).await;
    // The same with a place of a user's as well, on the first, the second or both; the place or the key alone would do.
    let placed = |claim: Claim, ordinal| keyed(place(claim, ordinal));
    let second = held(1, 5, "a");
    check(&[now(2, &placed(a.clone(), 1)), now(3, &placed(second.clone(), 2))], &["1 a 1 duplicate"], &["a held"]).await;
    check(&[now(2, &placed(a.clone(), 1)), now(3, &keyed(second.clone()))], &["1 a 1 duplicate"], &["a held"]).await;
    check(&[now(2, &keyed(a.clone())), now(3, &placed(second.clone(), 1))], &["1 a 1 duplicate"], &["a held"]).await;
    let ended = then(&placed(a.clone(), 1), Status::Released);
    check(
        &[now(2, &placed(a.clone(), 1)), now(3, &ended), now(4, &placed(second.clone(), 1)), now(5, &b)],
        &["1 a 1 duplicate"],
        &["a released", "b held"],
    )
    .await;
    let other_key = Claim { key: Some(key("1")), ..place(second.clone(), 2) };
    check(&[now(2, &placed(a.clone(), 1)), now(3, &other_key)], &[], &["a held", "a held"]).await;
    // Two claims in one place of the offer.
    let impostor = Claim { id: bunho_domain::ids::ClaimId::new(1, 0, 8), ..held(1, 0, "z") };
    check(&[now(2, &a), now(3, &impostor), now(4, &b)], &["1 z 1 duplicate"], &["a held", "b held"]).await;
    // An offer that nobody defined.
    check(&[now(2, &held(9, 0, "x")), now(3, &a)], &["1 x 1 unknown_offer"], &["a held"]).await;
}

async fn units_freed_and_taken_again_in_one_batch_pass_the_guards() {
    let first = units(place(held(1, 0, "a"), 1), 3);
    let (released, again) = (then(&first, Status::Released), units(place(held(1, 1, "a"), 1), 3));
    check(&[now(2, &first), now(3, &released), now(4, &again)], &[], &["a released", "a held"]).await;

    // The same with the first one already in the tables.
    let world = World::new().await;
    world.happened([defined(1, 1, goods("summer", 3)), now(2, &first)]).await;
    world.projected().await;
    world.happened([now(3, &released), now(4, &again)]).await;
    assert_eq!(world.projected().await.parked(), 0);
    assert_eq!(world.sql("SELECT status FROM claims ORDER BY id").await, ["released", "held"]);
}

async fn refusals_among_many_rows_are_found_one_by_one() {
    let world = World::new().await;
    world.happened([defined(1, 1, goods("summer", 10_000))]).await;
    let claims = (0..1_200).map(|seq| place(held(1, seq, &format!("u{}", seq % 1_150)), 1));
    world.happened((2..).zip(claims).map(|(version, claim)| now(version, &claim))).await;
    assert_eq!(world.projected().await.parked(), 50);
    assert_eq!(world.sql("SELECT count(*), sum(quantity) FROM claims").await, ["1150|1150"]);
}

async fn a_quantity_below_what_is_taken_is_parked() {
    let world = World::new().await;
    let claim = units(held(1, 0, "a"), 3);
    world.happened([defined(1, 1, goods("summer", 3)), now(2, &claim)]).await;
    world.projected().await;
    world.happened([defined(1, 3, goods("summer", 2))]).await;
    assert_eq!(world.projected().await.parked(), 1);
    assert_eq!(world.sql("SELECT quantity, version FROM offers").await, ["3|3"]);
    // Given back first, it is as it should be.
    world.happened([now(4, &then(&claim, Status::Released)), defined(1, 5, goods("summer", 2))]).await;
    assert_eq!(world.projected().await.parked(), 1);
    assert_eq!(world.sql("SELECT quantity, version FROM offers").await, ["2|5"]);
}

async fn an_id_lives_once_at_a_time() {
    let world = World::new().await;
    world.happened([defined(1, 1, goods("summer", 3)), offer_deleted(1, 2), defined(2, 1, goods("summer", 4))]).await;
    assert_eq!(world.projected().await.parked(), 0);
    world.happened([defined(3, 1, goods("summer", 5))]).await;
    assert_eq!(world.projected().await.parked(), 1);
    assert_eq!(
        world.sql("SELECT number, CASE WHEN deleted_at IS NULL THEN 1 ELSE 0 END FROM offers ORDER BY number").await,
        ["1|0", "2|1"]
    );
    assert_eq!(world.ledger.highest_numbers().await.expect("numbers"), (3, 0), "what was refused keeps its number");
    let parked = world.ledger.parked_events(None, 10).await.expect("parked");
    assert_eq!((parked[0].reason.as_str(), parked[0].offer_id.as_deref()), ("id_in_use", Some("summer")));
    assert_eq!(world.ledger.parked_events(Some((parked[0].journal_offset, 0)), 10).await.expect("none"), []);
}

/// The guards in steps: what the tables hold already counts as what comes in the same batch does.
async fn a_key_that_the_tables_hold_is_not_taken_again() {
    let world = World::new().await;
    let keyed = |seq, ordinal| Claim { key: Some(key("k")), ..place(held(1, seq, "a"), ordinal) };
    let first = keyed(0, 1);
    world.happened([defined(1, 1, goods("summer", 30)), now(2, &first)]).await;
    assert_eq!(world.projected().await.parked(), 0);
    world.happened([now(3, &keyed(1, 2))]).await;
    assert_eq!(world.projected().await.parked(), 1);
    world.happened([now(4, &then(&first, Status::Released)), now(5, &keyed(2, 2))]).await;
    assert_eq!(world.projected().await.parked(), 2);
    world.happened([now(6, &Claim { key: Some(key("k")), ..held(1, 3, "a") }), now(7, &held(1, 4, "a"))]).await;
    assert_eq!(world.projected().await.parked(), 3);
    assert_eq!(world.sql("SELECT place & 15, status FROM claims ORDER BY place").await, ["0|released", "4|held"]);
    let history = "SELECT version, status, quantity, journal_offset FROM claim_events ORDER BY claim_id, version";
    assert_eq!(world.sql(history).await, ["1|held|1|2", "2|released|1|4", "1|held|1|7"]);
}

crate::backend::on_each!(
    what_a_guard_refuses_is_parked_and_the_rest_goes_on,
    units_freed_and_taken_again_in_one_batch_pass_the_guards,
    refusals_among_many_rows_are_found_one_by_one,
    a_quantity_below_what_is_taken_is_parked,
    an_id_lives_once_at_a_time,
    a_key_that_the_tables_hold_is_not_taken_again,
);
