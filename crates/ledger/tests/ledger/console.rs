//! What the console asks for and writes: accounts, sessions, nodes, standby, sales, and what became of a claim.

use crate::world::*;
use bunho_domain::claim::{Standby, StandbyStatus, Status};
use bunho_domain::event::{ZoneChange, ZoneMinute};
use bunho_domain::time::Millis;
use bunho_ledger::{AccountChange, AccountRow, AuditFilter, Changed, NewKey, NodeRow, SessionRow, Totp};

fn account(name: &str, role: &str) -> AccountRow {
    AccountRow {
        name: name.into(),
        role: role.into(),
        password_hash: format!("hash of {name}"),
        totp_secret: None,
        totp_pending: None,
        totp_step: 0,
        disabled: false,
        created_at: START,
        last_signed_in_at: None,
    }
}

fn session(id: &str, kind: &str, subject: &str, opened_s: u32) -> SessionRow {
    SessionRow {
        id: id.into(),
        kind: kind.into(),
        subject: subject.into(),
        opened_at: START.plus_seconds(opened_s),
        ends_at: START.plus_seconds(1_000 + opened_s),
        address: "2001:db8::1".into(),
        user_agent: Some("\u{202e}브라우저 👩".into()),
    }
}

fn change<'a>() -> AccountChange<'a> {
    AccountChange::default()
}

async fn accounts_are_made_changed_and_taken_away() {
    let world = World::new().await;
    let ledger = &world.ledger;
    let made = async |name, role| ledger.insert_account(&account(name, role), START, &audit("account.new")).await.expect("asked");
    assert!(made("kim", "admin").await && made("lee", "viewer").await && made("Kim", "viewer").await, "names differ by case");
    assert!(!made("kim", "viewer").await, "once");
    assert_eq!(ledger.account("kim").await.expect("asked"), Some(account("kim", "admin")));
    assert_eq!(ledger.account("kim ").await.expect("asked"), None);
    assert_eq!(ledger.account("\' OR 1=1 --").await.expect("asked"), None);
    let names: Vec<_> = ledger.accounts().await.expect("a list").into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["Kim", "kim", "lee"]);

    let put = async |name, what| ledger.change_account(name, what, START, &audit("account.put")).await.expect("asked");
    assert_eq!(put("kim", AccountChange { role: Some("viewer"), ..change() }).await, Changed::LastAdmin);
    assert_eq!(put("kim", AccountChange { disabled: Some(true), ..change() }).await, Changed::LastAdmin);
    assert_eq!(ledger.remove_account("kim", START, &audit("account.delete")).await.expect("asked"), Changed::LastAdmin);
    assert_eq!(ledger.account("kim").await.expect("asked"), Some(account("kim", "admin")), "nothing was changed");
    assert_eq!(put("nobody", AccountChange { role: Some("admin"), ..change() }).await, Changed::Unknown);
    assert_eq!(put("lee", AccountChange { role: Some("admin"), password_hash: Some("other"), ..change() }).await, Changed::Done);
    let lee = AccountRow { role: "admin".into(), password_hash: "other".into(), ..account("lee", "") };
    assert_eq!(ledger.account("lee").await.expect("asked"), Some(lee));
    assert_eq!(put("kim", change()).await, Changed::Done, "nothing is to be another");
    assert_eq!(ledger.remove_account("kim", START, &audit("account.delete")).await.expect("asked"), Changed::Done);
    assert_eq!(ledger.remove_account("kim", START, &audit("account.delete")).await.expect("asked"), Changed::Unknown);
    // A key that may do everything is an administrator too.
    let key = NewKey { id: "key-1", role: "admin", name: "n", key_hash: "h", expires_at: None, certificate: None };
    ledger.insert_key(&key, START, &audit("key.new")).await.expect("kept");
    assert_eq!(put("lee", AccountChange { disabled: Some(true), ..change() }).await, Changed::Done);
    assert_eq!(ledger.revoke_key("key-1", START, &audit("key.revoke")).await.expect("asked"), Changed::LastAdmin);
    let actions: Vec<_> = ledger.audit_log(None, AuditFilter::default(), 200).await.expect("entries");
    let actions: Vec<_> = actions.iter().map(|row| &*row.audit.action).collect();
    assert_eq!(
        actions,
        ["account.put", "key.new", "account.delete", "account.put", "account.put", "account.new", "account.new", "account.new"]
    );
}

async fn of_two_administrators_who_take_each_other_away_one_stays() {
    let world = World::new().await;
    for name in ["kim", "lee"] {
        world.ledger.insert_account(&account(name, "admin"), START, &audit("account.new")).await.expect("kept");
    }
    let remove = |name: &'static str| {
        let ledger = world.ledger.clone();
        tokio::spawn(async move { ledger.remove_account(name, START, &audit("account.delete")).await })
    };
    let (one, two) = (remove("kim"), remove("lee"));
    let mut done = [one.await.expect("no panic").expect("asked"), two.await.expect("no panic").expect("asked")];
    done.sort_by_key(|changed| *changed == Changed::LastAdmin);
    assert_eq!(done, [Changed::Done, Changed::LastAdmin]);
    assert_eq!(world.ledger.accounts().await.expect("a list").len(), 1);
}

async fn codes_are_turned_on_used_once_and_turned_off() {
    let world = World::new().await;
    let ledger = &world.ledger;
    ledger.insert_account(&account("kim", "viewer"), START, &audit("account.new")).await.expect("kept");
    let set = async |totp, noted| {
        let audit = audit("account.totp");
        ledger.set_totp("kim", totp, START, if noted { Some(&audit) } else { None }).await.expect("asked")
    };
    assert!(!set(Totp::On("A", 1), true).await, "nothing was offered");
    assert!(!set(Totp::Off, true).await);
    assert!(set(Totp::Offered("A"), false).await && set(Totp::Offered("B"), false).await);
    assert!(!set(Totp::On("A", 7), true).await, "another one was offered since");
    assert!(set(Totp::On("B", 7), true).await);
    assert!(!set(Totp::On("B", 8), true).await && !set(Totp::Offered("C"), false).await, "they are on");
    let kim = ledger.account("kim").await.expect("asked").expect("there");
    assert_eq!((kim.totp_secret.as_deref(), kim.totp_pending, kim.totp_step), (Some("B"), None, 7));
    for (step, taken) in [(7, false), (6, false), (8, true), (8, false), (10, true), (9, false)] {
        assert_eq!(ledger.take_totp_step("kim", step).await.expect("asked"), taken, "{step}");
    }
    assert!(!ledger.take_totp_step("lee", 99).await.expect("asked"));
    let off = AccountChange { drops_totp: true, ..change() };
    assert_eq!(ledger.change_account("kim", off, START, &audit("account.put")).await.expect("asked"), Changed::Done);
    assert_eq!(ledger.account("kim").await.expect("asked").expect("there").totp_secret, None);
    assert!(set(Totp::Offered("D"), false).await && set(Totp::On("D", 11), true).await && set(Totp::Off, true).await);
}

async fn sessions_end_with_what_they_stand_for() {
    let world = World::new().await;
    let ledger = &world.ledger;
    for name in ["kim", "lee"] {
        ledger.insert_account(&account(name, "admin"), START, &audit("account.new")).await.expect("kept");
    }
    let key = NewKey { id: "kim", role: "admin", name: "n", key_hash: "h", expires_at: None, certificate: None };
    ledger.insert_key(&key, START, &audit("key.new")).await.expect("kept");
    let rows = [
        session("s1", "account", "kim", 1),
        session("s2", "account", "kim", 2),
        session("s3", "account", "lee", 3),
        session("s4", "key", "kim", 4),
        session("s5", "account", "lee", 5),
    ];
    for row in &rows {
        ledger.insert_session(row, &audit("session.open")).await.expect("kept");
    }
    let live = async |at| ledger.sessions(at).await.expect("a list").into_iter().map(|row| row.id).collect::<Vec<_>>();
    let now = START.plus_seconds(10);
    assert_eq!(ledger.sessions(now).await.expect("a list"), rows.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(live(START.plus_seconds(1_002)).await, ["s5", "s4", "s3"], "the time of the others is over");
    assert_eq!(ledger.session("s1", now).await.expect("asked"), Some(rows[0].clone()));
    assert_eq!(ledger.session("s1", START.plus_seconds(1_001)).await.expect("asked"), None);
    let kim = ledger.account("kim").await.expect("asked").expect("there");
    assert_eq!(kim.last_signed_in_at, Some(START.plus_seconds(2)));

    let password = AccountChange { password_hash: Some("x"), keep_session: Some("s2"), ..change() };
    assert_eq!(ledger.change_account("kim", password, now, &audit("account.password")).await.expect("asked"), Changed::Done);
    assert_eq!(live(now).await, ["s5", "s4", "s3", "s2"]);
    assert!(ledger.end_session("s3").await.expect("ended") && !ledger.end_session("s3").await.expect("asked"));
    let disabled = AccountChange { disabled: Some(true), ..change() };
    assert_eq!(ledger.change_account("lee", disabled, now, &audit("account.put")).await.expect("asked"), Changed::Done);
    assert_eq!(live(now).await, ["s4", "s2"]);
    assert_eq!(ledger.revoke_key("kim", now, &audit("key.revoke")).await.expect("asked"), Changed::Done);
    assert_eq!(live(now).await, ["s2"]);
    let other = NewKey { id: "key-2", role: "admin", name: "n", key_hash: "i", expires_at: None, certificate: None };
    ledger.insert_key(&other, START, &audit("key.new")).await.expect("kept");
    assert_eq!(ledger.remove_account("kim", now, &audit("account.delete")).await.expect("asked"), Changed::Done);
    assert!(live(now).await.is_empty());
    for n in 0..1_005 {
        ledger.insert_session(&session(&format!("t{n}"), "key", "kim", n), &audit("session.open")).await.expect("kept");
    }
    let left = live(START.plus_seconds(1)).await;
    assert_eq!(
        (left.len(), left.iter().any(|id| id == "t4"), left.iter().any(|id| id == "t5")),
        (1_000, false, true),
        "the oldest made room"
    );
}

async fn nodes_are_seen_and_forgotten() {
    let world = World::new().await;
    let node = |node: &str, seen_s: u32| NodeRow {
        node: node.into(),
        version: "1".into(),
        started_at: START,
        seen_at: START.plus_seconds(seen_s),
    };
    for (name, seen_s) in [("b", 1), ("a", 2), ("b", 30)] {
        world.ledger.note_node(&node(name, seen_s), START).await.expect("noted");
    }
    assert_eq!(world.ledger.nodes().await.expect("a list"), [node("a", 2), node("b", 30)]);
    world.ledger.note_node(&node("c", 31), START.plus_seconds(30)).await.expect("noted");
    assert_eq!(world.ledger.nodes().await.expect("a list"), [node("b", 30), node("c", 31)]);
}

async fn standby_is_paged_in_order_with_places_of_those_who_wait() {
    let world = World::new().await;
    world.happened([defined(1, 1, goods("a", 1)), defined(2, 1, goods("b", 1)), defined(3, 1, goods("c", 1))]).await;
    let mut expected = Vec::new();
    for seq in 0..25 {
        let place = standby(2, seq, &format!("u{seq}"));
        let status = if seq % 3 == 1 { StandbyStatus::Left } else { StandbyStatus::Waiting };
        let place = Standby { status, ..place };
        world.happened([standby_now(u64::from(seq) + 2, &place), standby_now(u64::from(seq) + 2, &standby(1, seq, "x"))]).await;
        world.happened([standby_now(u64::from(seq) + 2, &standby(3, seq, "x"))]).await;
        expected.push(place);
    }
    world.projected().await;
    let (mut found, mut positions, mut cursor) = (Vec::new(), Vec::new(), None);
    loop {
        let page = world.ledger.standby_of_offer(2, cursor, 10).await.expect("a page");
        for (place, position) in page.places {
            positions.extend(position);
            assert_eq!(position.is_some(), place.status == StandbyStatus::Waiting);
            found.push(place);
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(found, expected);
    assert_eq!(positions, (1..=17).collect::<Vec<u32>>());
    assert!(world.ledger.standby_of_offer(4, None, 10).await.expect("a page").places.is_empty());
}

async fn sales_and_histories_are_counted_from_events() {
    let world = World::new().await;
    world.happened([defined(1, 1, goods("a", 100)), defined(2, 1, goods("b", 100))]).await;
    let first = held(1, 0, "u1");
    let confirmed = then(&first, Status::Confirmed);
    let returned = then(&confirmed, Status::Returned);
    let expired = then(&held(1, 1, "u2"), Status::Expired);
    world.happened([now(2, &first), now(3, &held(1, 1, "u2")), now(2, &held(2, 0, "u1"))]).await;
    drop(world.projected().await);
    world.happened([now(4, &confirmed), now(5, &expired)]).await;
    drop(world.projected().await);
    world.happened([now(6, &returned)]).await;
    drop(world.projected().await);

    let states = world.ledger.claim_states(first.id).await.expect("a history");
    let seen: Vec<_> = states.iter().map(|state| (state.version, state.status, state.quantity, state.at)).collect();
    let state = |claim: &bunho_domain::claim::Claim| (claim.version, claim.status, claim.quantity, claim.updated_at);
    assert_eq!(seen, [state(&first), state(&confirmed), state(&returned)]);
    assert_eq!(world.ledger.claim_states(held(1, 99, "x").id).await.expect("a history"), []);

    let far = Millis(i64::from(u32::MAX) * 10_000);
    let units = world.ledger.sold_units(1, Millis(0), far).await.expect("units");
    assert!(units.iter().all(|sold| sold.minute.0 % 60_000 == 0));
    let sum = |status, is_first| {
        units.iter().filter(|sold| sold.status == status && sold.is_first == is_first).map(|sold| sold.units).sum::<u64>()
    };
    let quantity = u64::from(first.quantity);
    assert_eq!((sum(Status::Held, true), sum(Status::Held, false)), (2 * quantity, 0));
    assert_eq!((sum(Status::Confirmed, false), sum(Status::Expired, false), sum(Status::Returned, false)), (quantity, quantity, quantity));
    let at = first.updated_at;
    let only = world.ledger.sold_units(1, at, at.plus_ms(1)).await.expect("units");
    assert!(only.iter().all(|sold| sold.minute.0 == at.0 - at.0 % 60_000) && !only.is_empty());
    assert_eq!(world.ledger.sold_units(1, Millis(0), at).await.expect("units"), [], "the end is not included");
}

async fn minutes_of_all_zones_come_in_one_list() {
    let world = World::new().await;
    let minute = |zone: &str, n: u32| ZoneMinute {
        zone: zone_id(zone),
        minute: START.plus_seconds(n * 60),
        entered: n,
        waiting: 0,
        dropped: 0,
        entry_limit: None,
    };
    world.happened((0..5).flat_map(|n| ["b", "a"].map(|zone| zoned(1, ZoneChange::Minute(minute(zone, n)))))).await;
    world.projected().await;
    let found = world.ledger.minutes_since(START.plus_seconds(180)).await.expect("minutes");
    assert_eq!(found, [minute("a", 3), minute("b", 3), minute("a", 4), minute("b", 4)]);
}

async fn the_audit_log_is_searched_by_actor_action_and_target() {
    let world = World::new().await;
    for (actor, action, target) in [
        ("key:k1 shop", "zone.put", "GATE"),
        ("key:k10 shop", "zone.put", "GATE"),
        ("account:kim", "zone.pause", "GATE"),
        ("account:k_m", "zone.put", "100%"),
        ("key:k1 \u{202e}로봇", "offer.put", "GATE"),
    ] {
        let audit = bunho_journal::Audit { actor: actor.into(), action: action.into(), target: target.into(), ..audit("") };
        world.ledger.append_audit(START, &audit).await.expect("noted");
    }
    for (filter, found) in [
        (AuditFilter::default(), 5),
        (AuditFilter { actor: Some("key:k1"), ..AuditFilter::default() }, 2),
        (AuditFilter { actor: Some("key:k1 shop"), ..AuditFilter::default() }, 1),
        (AuditFilter { actor: Some("account:k_m"), ..AuditFilter::default() }, 1),
        (AuditFilter { actor: Some("%"), ..AuditFilter::default() }, 0),
        (AuditFilter { actor: Some("\\"), ..AuditFilter::default() }, 0),
        (AuditFilter { actor: Some("' OR '1'='1"), ..AuditFilter::default() }, 0),
        (AuditFilter { actor: Some("key:k1"), action: Some("zone.put"), target: Some("GATE") }, 1),
        (AuditFilter { target: Some("100%"), ..AuditFilter::default() }, 1),
        (AuditFilter { target: Some("gate"), ..AuditFilter::default() }, 0),
    ] {
        assert_eq!(world.ledger.audit_log(None, filter, 200).await.expect("entries").len(), found, "{filter:?}");
    }
}

crate::backend::on_each!(
    accounts_are_made_changed_and_taken_away,
    of_two_administrators_who_take_each_other_away_one_stays,
    codes_are_turned_on_used_once_and_turned_off,
    sessions_end_with_what_they_stand_for,
    nodes_are_seen_and_forgotten,
    standby_is_paged_in_order_with_places_of_those_who_wait,
    sales_and_histories_are_counted_from_events,
    minutes_of_all_zones_come_in_one_list,
    the_audit_log_is_searched_by_actor_action_and_target,
);
