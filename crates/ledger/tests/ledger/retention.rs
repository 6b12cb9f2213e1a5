//! What the server asks when it forgets people by itself: whose offers are over, who had something in them, what else is known of them, and who does it.

use crate::world::*;
use bunho_domain::claim::Status;
use bunho_domain::ids::UserId;
use bunho_domain::time::Millis;
use bunho_journal::Audit;
use std::collections::HashSet;
use std::time::Duration;

/// The highest number that an offer can have; in SQL it comes before the others.
const HIGH: u32 = u32::MAX;

fn closing(id: &str, closes_at: Option<Millis>) -> bunho_domain::offer::settings::OfferSettings {
    bunho_domain::offer::settings::OfferSettings { closes_at, ..goods(id, 10) }
}

async fn offers_that_closed_or_were_deleted_are_over() {
    let world = World::new().await;
    let at = START.plus_seconds(10);
    world
        .happened([
            defined(1, 1, closing("closed", Some(at))),
            defined(2, 1, closing("open", None)),
            defined(3, 1, closing("later", Some(at.plus_ms(1)))),
            defined(4, 1, closing("deleted", None)),
            offer_deleted(4, 2),
            defined(HIGH, 1, closing("high", Some(START))),
        ])
        .await;
    world.projected().await;
    let ended = async |before: Millis| {
        let offers = world.ledger.ended_offers(before).await.expect("a list");
        offers.into_iter().map(|offer| offer.number).collect::<Vec<_>>()
    };
    assert_eq!(ended(START.plus_ms(-1)).await, Vec::<u32>::new());
    // The deletion's record is as old as the start.
    assert_eq!(ended(START).await, [4, HIGH]);
    assert_eq!(ended(at).await, [1, 4, HIGH]);
    assert_eq!(ended(at.plus_ms(1)).await, [1, 3, 4, HIGH]);
    let revision = async || world.ledger.ended_offers(at).await.expect("a list")[0].revision;
    let before = revision().await;
    let edited = bunho_domain::offer::settings::OfferSettings { revision: 7, ..closing("closed", Some(at)) };
    world.happened([defined(1, 3, edited)]).await;
    world.projected().await;
    assert!(revision().await > before, "an edit is seen");
}

async fn people_are_listed_page_by_page_and_pseudonyms_are_not() {
    let world = World::new().await;
    let nobody = UserId::pseudonym(7);
    // As long as a pseudonym.
    let kim = format!("forgotten-{:z<32}", "kim");
    for offer in [1, HIGH] {
        let name = format!("offer-{offer}");
        let claims = [(0, "a"), (1, nobody.as_str()), (2, &*kim), (3, "b"), (4, "a"), (u32::MAX, "last")];
        let claims = claims.iter().zip(2..).map(|((seq, who), version)| now(version, &held(offer, *seq, who)));
        world.happened(std::iter::once(defined(offer, 1, goods(&name, 10))).chain(claims)).await;
        let places = [(0, "b"), (1, nobody.as_str()), (2, &*kim), (3, "c"), (4, "b")];
        world.happened(places.iter().zip(20..).map(|((seq, who), version)| standby_now(version, &standby(offer, *seq, who)))).await;
    }
    world.projected().await;
    for offer in [1, HIGH] {
        let mut pages = Vec::new();
        let mut from = Some(0);
        while let Some(at) = from {
            let (people, next) = world.ledger.claimers(offer, at, 2).await.expect("a page");
            let mut names: Vec<_> = people.iter().map(|user| user.as_str().to_owned()).collect();
            names.sort();
            pages.push((names.join(" "), next));
            from = next;
        }
        let page = |names: &str, next| (names.to_owned(), next);
        // The last claim that there can be has none after it.
        assert_eq!(pages, [page(&format!("a {kim}"), Some(3)), page("a b", Some(5)), page("last", None)], "offer {offer}");
        let (some, after) = world.ledger.standers(offer, None, 2).await.expect("a page");
        assert_eq!((some, after), (HashSet::from([user("b"), user(&kim)]), Some(standby(offer, 2, &kim).id)));
        let (some, after) = world.ledger.standers(offer, after, 2).await.expect("a page");
        assert_eq!((some, after), (HashSet::from([user("b"), user("c")]), Some(standby(offer, 4, "b").id)));
        assert_eq!(world.ledger.standers(offer, after, 2).await.expect("a page"), (HashSet::new(), None));
    }
    assert_eq!(world.ledger.claimers(2, 0, 10).await.expect("a page"), (HashSet::new(), None));
}

async fn what_is_known_of_many_is_what_is_known_of_each() {
    let world = World::new().await;
    world.happened([defined(1, 1, goods("one", 10)), defined(2, 1, goods("two", 10))]).await;
    let kim = user("kim \"k\" 김");
    let claims = [held(1, 0, kim.as_str()), held(1, 1, "lee"), held(2, 0, kim.as_str())];
    world.happened([now(2, &claims[0]), now(3, &claims[1]), now(2, &claims[2]), now(3, &then(&claims[2], Status::Confirmed))]).await;
    world.happened([standby_now(4, &standby(2, 0, kim.as_str())), standby_now(5, &standby(2, 1, "park"))]).await;
    world.projected().await;
    let named = |place: &str, who: &UserId| format!("{{\"{place}\":{{\"user\":{}}}}}", serde_json::Value::from(who.as_str()));
    let audit = |who: &UserId| Audit { detail: Some(named("before", who)), ..audit("claim.return") };
    world.ledger.append_audit(START, &audit(&user("lee"))).await.expect("noted");
    world.ledger.append_audit(START, &audit(&user("lee and others"))).await.expect("noted");
    let mut shell = world.shell().await;
    for (index, (who, resolved)) in [(&kim, "NULL"), (&kim, "NULL"), (&user("choi"), "'2026-01-01T00:00:00.000Z'")].into_iter().enumerate()
    {
        let payload = named("claim", who);
        // A backslash in a text is one to all three only where it is no escape.
        let payload = if payload.contains('\\') { payload.replace("\\\"", "\\u0022").replace('\\', backslash(&world)) } else { payload };
        let columns = "journal_offset, event_index, reason, payload, parked_at, resolved_at";
        shell
            .run(&format!(
                "INSERT INTO parked_events ({columns}) VALUES (9, {index}, 'r', '{payload}', '2026-01-01T00:00:00.000Z', {resolved})"
            ))
            .await;
    }
    for (who, dead) in [("lee", 0), ("park", 1), ("park", 1)] {
        let body = named("data", &user(who));
        let columns = "webhook, event, event_type, body, at_ms, attempts, next_ms, dead";
        shell.run(&format!("INSERT INTO webhook_deliveries ({columns}) VALUES ('w', 'e', 't', '{body}', 1, 0, 0, {dead})")).await;
    }
    let users = HashSet::from([kim.clone(), user("lee"), user("park"), user("choi"), user("nobody")]);
    let known = world.ledger.persons(&users).await.expect("all of them");
    assert_eq!(known.len(), users.len());
    for who in &users {
        let rows = &known[who].rows;
        let alone = world.ledger.person(who).await.expect("one of them");
        assert_eq!((&rows.claims, &rows.places), (&alone.claims, &alone.places), "{who:?}");
        assert_eq!(rows.messages, alone.messages, "{who:?}");
    }
    assert_eq!((known[&kim].rows.claims.len(), known[&kim].rows.places.len(), known[&kim].rows.parked), (2, 1, 2));
    assert_eq!((known[&user("lee")].noted, known[&user("lee")].rows.messages), (true, 1), "in the audit log, and a message waits");
    assert_eq!((known[&user("park")].noted, known[&user("park")].rows.messages), (true, 0), "messages that were given up");
    assert!(known[&user("choi")].noted && known[&user("choi")].rows.parked == 0, "a parked event that was mended");
    assert!(!known[&kim].noted && !known[&user("nobody")].noted);
    // What was noted is forgotten as it is of one.
    for who in ["lee", "park", "choi"] {
        world.ledger.forget_notes(&user(who)).await.expect("forgotten");
    }
    assert!(world.ledger.persons(&users).await.expect("all of them").values().all(|known| !known.noted));
}

/// Everything that may be noted of a person, as the server and the projector write it; what is known of them and what is not theirs.
async fn who_is_called_like_a_word_of_ours_is_only_themselves() {
    const WORDS: [&str; 4] = ["user", "default", "held", "kim"];
    let world = World::new().await;
    let trail = |who: &str| {
        let detail = format!(
            r#"{{"body":{{"user":"body"}},"before":{{"app":"default","user":"{who}","confirm_by":"user"}},"after":{{"status":"held","user":"{who}"}}}}"#
        );
        Audit { detail: Some(detail), ..audit("claim.return") }
    };
    let hook = "INSERT INTO webhooks (id, name, url, events, secret, enabled, revision, deleted, created_ms, updated_ms)
                VALUES ('w', 'w', 'https://example.com/', '*', 's', 1, 1, 0, 1, 1)";
    world.shell().await.run(hook).await;
    let mut settings = goods("one", 1);
    settings.app = bunho_domain::ids::AppId::parse("default").expect("an app");
    let claim = |seq: u32, who: &str| bunho_domain::claim::Claim {
        attributes: Some(r#"{"user":"attribute","default":"held"}"#.into()),
        ..held(1, seq, who)
    };
    world.happened([defined(1, 1, settings.clone())]).await;
    // Of each two messages of which one is given up, two parked events of which one is mended, one entry by either way.
    for (who, at) in WORDS.iter().zip(0..) {
        let taken = claim(at, who);
        settings.quantity = at + 1;
        settings.revision = at + 2;
        let version = u64::from(at) * 10 + 2;
        world.happened([defined(1, version, settings.clone()), now(version + 1, &taken)]).await;
        world.happened([now(version + 2, &then(&taken, Status::Confirmed))]).await;
        world.happened([now(version + 3, &claim(100 + at, who)), now(version + 4, &claim(200 + at, who))]).await;
        world.done_by(&trail(who), &[]).await;
        world.projected().await;
        world.ledger.append_audit(START, &trail(who)).await.expect("noted");
    }
    let mut shell = world.shell().await;
    shell.run("UPDATE webhook_deliveries SET dead = 1 WHERE event_type = 'io.bunho.claim.confirmed'").await;
    for at in 200..200 + WORDS.len() as u32 {
        let id = claim(at, "any").id;
        shell.run(&format!("UPDATE parked_events SET resolved_at = '2026-01-01T00:00:00.000Z' WHERE claim_id = '{id}'")).await;
    }
    let users: HashSet<UserId> = WORDS.into_iter().chain(["attribute", "body"]).map(user).collect();
    for is_old in [false, true] {
        if is_old {
            // As a release before this one left them.
            for table in ["audit_log", "parked_events", "webhook_deliveries"] {
                shell.run(&format!("UPDATE {table} SET user_id = NULL")).await;
            }
        }
        let known = world.ledger.persons(&users).await.expect("all of them");
        for who in WORDS {
            let (known, alone) = (&known[&user(who)], world.ledger.person(&user(who)).await.expect("one of them"));
            assert_eq!((known.rows.parked, known.rows.messages, known.noted), (1, 1, true), "{who} {is_old}");
            assert_eq!(known.rows, alone, "{who} {is_old}");
        }
        for who in ["attribute", "body"] {
            assert_eq!(known[&user(who)], bunho_ledger::Known::default(), "{who} {is_old}");
        }
    }
    let left = async || {
        let count = async |what: &str| world.sql(&format!("SELECT count(*) FROM {what}")).await.remove(0);
        let others = count("audit_log WHERE detail LIKE '%\"app\":\"default\"%' AND detail LIKE '%\"status\":\"held\"%'").await;
        let waits = count("webhook_deliveries WHERE dead = 0 AND event_type LIKE '%claim%'").await;
        [others, waits, count("parked_events").await, count("webhook_deliveries WHERE dead = 1").await]
    };
    assert_eq!(left().await, ["8", "4", "8", "4"]);
    for (who, less) in WORDS.iter().zip(1_u32..) {
        let gone = world.ledger.forget_notes(&user(who)).await.expect("forgotten");
        assert_eq!((gone.audit_entries, gone.parked_events, gone.messages), (2, 1, 1), "{who}");
        assert_eq!(left().await, ["8".to_owned(), "4".to_owned(), (8 - less).to_string(), (4 - less).to_string()], "{who}");
        let mended = world.ledger.forget_notes(&user(who)).await.expect("again");
        assert_eq!(mended, bunho_ledger::RowsForgotten::default(), "{who}");
    }
    assert_eq!(world.sql("SELECT count(*) FROM audit_log WHERE detail LIKE '%\"user\":\"(forgotten)\"%'").await, ["8"]);
}

async fn what_nobody_could_read_may_name_anybody() {
    let world = World::new().await;
    let payload = r#"{"why":"it is not a CloudEvent in JSON","key":null,"length":3,"bytes":"6b696d"}"#;
    let columns = "journal_offset, event_index, reason, payload, parked_at";
    let mut shell = world.shell().await;
    for index in 0..2 {
        let row = format!("(9, {index}, 'unreadable', '{payload}', '2026-01-01T00:00:00.000Z')");
        shell.run(&format!("INSERT INTO parked_events ({columns}) VALUES {row}")).await;
    }
    let unreadable = async || world.ledger.unreadable_events().await.expect("counted");
    assert_eq!(unreadable().await, 2);
    assert_eq!(world.ledger.person(&user("kim")).await.expect("known").parked, 0, "nobody is kept back for it");
    shell.run("UPDATE parked_events SET resolved_at = '2026-01-01T00:00:00.000Z' WHERE event_index = 1").await;
    assert_eq!(world.ledger.forget_notes(&user("kim")).await.expect("forgotten").parked_events, 1);
    assert_eq!((unreadable().await, world.sql("SELECT event_index FROM parked_events").await), (1, vec!["0".to_owned()]));
}

/// How a backslash is written in a statement.
fn backslash(world: &World) -> &'static str {
    if matches!(world.ledger.place(), bunho_ledger::Place::MySql(_)) { "\\\\" } else { "\\" }
}

async fn one_node_does_it_at_a_time() {
    let world = World::new().await;
    let ledger = &world.ledger;
    let long = Duration::from_secs(3_600);
    let hold = async |who, lease| ledger.hold_retention(who, lease).await.expect("asked");
    assert!(hold("n1", long).await && hold("n1", long).await, "it goes on");
    assert!(!hold("n2", long).await, "somebody does it");
    ledger.let_retention_go("n2").await.expect("asked");
    assert!(!hold("n2", long).await, "it was not theirs to give up");
    ledger.let_retention_go("n1").await.expect("given up");
    assert!(hold("n2", Duration::ZERO).await);
    assert!(hold("n1", long).await, "whose time is over has it no more");
    assert!(!hold("n2", long).await);
    assert!(!ledger.wipe_due().await.expect("asked"));
    ledger.set_wipe_due(true).await.expect("noted");
    assert!(ledger.wipe_due().await.expect("asked"));
    ledger.set_wipe_due(false).await.expect("noted");
    assert!(!ledger.wipe_due().await.expect("asked"));
}

crate::backend::on_each!(
    offers_that_closed_or_were_deleted_are_over,
    people_are_listed_page_by_page_and_pseudonyms_are_not,
    what_is_known_of_many_is_what_is_known_of_each,
    who_is_called_like_a_word_of_ours_is_only_themselves,
    what_nobody_could_read_may_name_anybody,
    one_node_does_it_at_a_time,
);
