//! Pages of claims, minutes, audit entries and keys.

use crate::world::*;
use bunho_domain::claim::{Claim, Status};
use bunho_domain::event::{ZoneChange, ZoneMinute};
use bunho_domain::ids::ClaimId;
use bunho_ledger::{AuditFilter, Changed, ClaimQuery, NewKey, PageConflict, PageRow};

async fn a_users_claims_are_paged_newest_first() {
    let world = World::new().await;
    world.happened([defined(1, 1, goods("summer", 1_000)), defined(2, 1, goods("winter", 1_000))]).await;
    let mut expected = Vec::new();
    for seq in 0..25 {
        // Two offers at the same instants: the id decides where the time does not.
        for offer in [1, 2] {
            let claim = held(offer, seq, "u1");
            let claim = if seq % 5 == 0 { Claim { status: Status::Confirmed, ..claim } } else { claim };
            world.happened([now(u64::from(seq) + 2, &claim), now(u64::from(seq) + 2, &held(offer, 1_000 + seq, "u2"))]).await;
            expected.push(claim);
        }
    }
    world.projected().await;
    expected.sort_by_key(|claim| std::cmp::Reverse((claim.created_at, claim.id)));
    let name = user("u1");
    let winter = offer_id("winter");
    for (offer, status, limit) in [
        (None, None, 7),
        (Some(&winter), None, 4),
        (None, Some(Status::Confirmed), 3),
        (Some(&winter), Some(Status::Held), 200),
        (None, None, 50),
    ] {
        let mut found = Vec::new();
        let mut query = ClaimQuery { user: &name, offer, status, cursor: None, limit };
        loop {
            let page = world.ledger.claims_of_user(&query).await.expect("a page");
            assert!(page.claims.len() <= limit);
            found.extend(page.claims.into_iter().map(|row| row.claim));
            query.cursor = page.next;
            if page.next.is_none() {
                break;
            }
        }
        let wanted =
            |claim: &&Claim| offer.is_none_or(|_| claim.id.offer_number() == 2) && status.is_none_or(|status| claim.status == status);
        assert_eq!(found, expected.iter().filter(wanted).cloned().collect::<Vec<_>>(), "{offer:?} {status:?} {limit}");
    }
}

async fn an_offers_claims_are_paged_in_the_order_of_taking() {
    let world = World::new().await;
    world.happened([defined(1, 1, goods("summer", 1_000)), defined(2, 1, goods("winter", 1_000))]).await;
    world.happened((0..50).map(|seq| now(u64::from(seq) + 2, &held(1 + seq % 2, seq, "u1")))).await;
    world.projected().await;
    let (mut cursor, mut found) = (None, Vec::new());
    loop {
        let page = world.ledger.claims_of_offer(1, None, cursor, 10).await.expect("a page");
        assert!(page.claims.iter().all(|row| row.offer == offer_id("summer")));
        found.extend(page.claims.iter().map(|row| row.claim.id.seq()));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, (0..50).step_by(2).collect::<Vec<u32>>());
    assert_eq!(world.ledger.claims_of_offer(1, Some(Status::Confirmed), None, 10).await.expect("a page").claims, []);
    let one = world.ledger.claim(ClaimId::new(2, 1, 7)).await.expect("read").expect("is there");
    assert_eq!((one.offer, one.claim), (offer_id("winter"), held(2, 1, "u1")));
    assert_eq!(world.ledger.claim(ClaimId::new(2, 1, 8)).await.expect("read"), None);
}

#[tokio::test]
async fn lists_use_their_indexes() {
    let world = World::new().await;
    let check = async |statement: &str, expected: &str| {
        let plan = world.sql(&format!("EXPLAIN QUERY PLAN {statement}")).await.join("\n");
        assert!(plan.contains(expected) && !plan.contains("SCAN"), "{statement}\n{plan}");
    };
    check("SELECT status, count(*), sum(quantity) FROM claims WHERE offer_id = 'o' GROUP BY status", "(rowid>? AND rowid<?)").await;
    check("SELECT quantity FROM claims WHERE user_id = 'u'", "claims_user (user_id=?)").await;
    check("SELECT quantity FROM claim_rows WHERE place >= 1 AND place <= 9 ORDER BY place LIMIT 5", "(rowid>? AND rowid<?)").await;
    let by_minute = "SELECT entered, waiting FROM zone_minutes WHERE minute >= 'm' ORDER BY minute, zone_id";
    check(by_minute, "zone_minutes_minute (minute>?)").await;
    check("SELECT user_id FROM standby WHERE id >= 'a' AND id <= 'b' AND id > 'c' ORDER BY id LIMIT 5", "(id>? AND id<?)").await;
}

async fn minutes_lie_between_their_bounds() {
    let world = World::new().await;
    let minute = |n: u32| ZoneMinute {
        zone: zone_id("gate"),
        minute: START.plus_seconds(n * 60),
        entered: n,
        waiting: 0,
        dropped: 0,
        entry_limit: None,
    };
    world.happened((0..10).map(|n| zoned(1, ZoneChange::Minute(minute(n))))).await;
    world.projected().await;
    let found = world.ledger.zone_minutes(&zone_id("gate"), START.plus_seconds(120), START.plus_seconds(300)).await.expect("minutes");
    assert_eq!(found, [minute(2), minute(3), minute(4)]);
}

async fn keys_come_and_go_with_a_note_of_who_did_it() {
    let world = World::new().await;
    let new = |id| NewKey { id, role: "service", name: "shop", key_hash: "abc", expires_at: None, certificate: None };
    world.ledger.insert_key(&new("key-1"), START, &audit("key.new")).await.expect("kept");
    world.ledger.insert_key(&new("key-2"), START, &audit("key.new")).await.expect("kept");
    assert!(world.ledger.insert_key(&new("key-2"), START, &audit("key.twice")).await.is_err());
    assert_eq!(world.ledger.revoke_key("key-1", START, &audit("key.revoke")).await.expect("revoked"), Changed::Done);
    assert_eq!(world.ledger.revoke_key("key-1", START, &audit("key.revoke")).await.expect("asked"), Changed::Unknown, "once");
    world.ledger.append_audit(START, &audit("session.new")).await.expect("noted");
    let keys = world.ledger.keys().await.expect("keys");
    assert_eq!(
        keys.iter().map(|key| (&*key.id, &*key.role, &*key.name, &*key.key_hash)).collect::<Vec<_>>(),
        [("key-2", "service", "shop", "abc")]
    );

    let first = world.ledger.audit_log(None, AuditFilter::default(), 3).await.expect("entries");
    assert_eq!(first.iter().map(|row| &*row.audit.action).collect::<Vec<_>>(), ["session.new", "key.revoke", "key.new"]);
    let rest = world.ledger.audit_log(Some(first[2].id), AuditFilter::default(), 3).await.expect("entries");
    assert_eq!(rest.iter().map(|row| (row.at, &row.audit)).collect::<Vec<_>>(), [(START, &audit("key.new"))]);
}

async fn pages_have_revisions_and_a_note_of_who_changed_them() {
    let world = World::new().await;
    let gate = zone_id("gate");
    let put = |page, revision| {
        let (world, gate) = (&world, &gate);
        async move { world.ledger.put_page((7, gate), page, revision, START, &audit("zone.page.put")).await.expect("written") }
    };
    assert_eq!(put("{}", Some(1)).await, Err(PageConflict { current: 0 }), "there is none yet");
    assert_eq!(world.ledger.page_revisions().await.expect("listed"), [], "and a refused change leaves none");
    assert_eq!(put("{}", Some(0)).await, Ok(1));
    assert_eq!(put("{\"a\":\"번호 🙂\"}", Some(1)).await, Ok(2));
    assert_eq!(put("stale", Some(1)).await, Err(PageConflict { current: 2 }));
    assert_eq!(put("{\"b\":\"번호 🙂\"}", None).await, Ok(3));
    assert_eq!(world.ledger.page_revisions().await.expect("listed"), [(7, 3)]);
    let row = world.ledger.page(7).await.expect("read").expect("there");
    assert_eq!((&*row.zone_id, row.revision, &*row.page), ("gate", 3, "{\"b\":\"번호 🙂\"}"));
    world.ledger.import_page(&PageRow { revision: 9, ..row.clone() }, START).await.expect("imported");
    assert_eq!(world.ledger.page(7).await.expect("read"), Some(row.clone()), "what is there stays");
    world.ledger.import_page(&PageRow { zone_number: 8, ..row }, START).await.expect("imported");
    world.ledger.delete_page(7).await.expect("forgotten");
    assert_eq!(world.ledger.page_revisions().await.expect("listed"), [(8, 3)]);
    let noted = world.ledger.audit_log(None, AuditFilter::default(), 10).await.expect("entries");
    assert_eq!(noted.len(), 3, "each change once, and no refusal");
}

crate::backend::on_each!(
    a_users_claims_are_paged_newest_first,
    an_offers_claims_are_paged_in_the_order_of_taking,
    minutes_lie_between_their_bounds,
    keys_come_and_go_with_a_note_of_who_did_it,
    pages_have_revisions_and_a_note_of_who_changed_them,
);
