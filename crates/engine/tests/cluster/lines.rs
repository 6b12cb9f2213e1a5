//! Waiting lines through the same gatherer, outbox and shipper as offers: crowds, nodes that die, Redis that forgets.

use crate::bad_days::{node_id, owner};
use crate::people::{LIMIT, People, admissions, events, fresh_zone, settings, ticket};
use crate::redis::{ask, audit, fresh_tag, hasty, nodes, offer_settings, open, open_dying, patient, seeds, seeds_of, trusting, until};
use bunho_domain::event::ZoneChange;
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::line::{Answer, Issued, Join, OfferLeft, PollRefusal, State};
use bunho_domain::offer::settings::Kind;
use bunho_engine::Ack;
use bunho_engine::cluster::redis::{
    DecideError, Decider, DeciderOptions, Entry, Facts, Home, MemoryJournal, Of, Standing, ZoneDeletion, ZoneHome,
};
use futures_util::future::join_all;
use std::sync::Arc;
use std::time::Duration;

async fn join(node: &Decider, home: ZoneHome, key: u64) -> Result<Issued, DecideError> {
    node.join(home, Join { nonce: key, keyed: true }, OfferLeft::Untied).await
}

async fn poll(node: &Decider, home: ZoneHome, issued: &Issued) -> Result<Result<Answer, PollRefusal>, DecideError> {
    node.poll(home, ticket(issued), OfferLeft::Untied).await
}

fn entries(journal: &MemoryJournal, home: ZoneHome) -> Vec<Arc<Entry>> {
    journal.entries().into_iter().filter(|entry| entry.of == Of::Zone(home.number)).collect()
}

fn outbox_len(home: ZoneHome) -> usize {
    let outbox = format!("XLEN bunho:{{z{}}}:outbox", home.number);
    let len = nodes().iter().find_map(|node| ask(node.port, &outbox).strip_prefix(':').map(str::to_owned));
    len.unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_two_nodes_is_let_in_in_its_order() {
    let mut people = People::at(seeds()).await;
    people.come(80).await;
    assert_eq!(people.all.iter().filter(|person| person.admitted.is_some()).count(), LIMIT, "a burst of the limit passes");
    while people.next_polls().await {}
    people.check();
    assert_eq!(people.all.iter().filter(|person| person.admitted.is_some()).count(), 80 - 14, "everyone who asked is in");
    assert_eq!(outbox_len(people.home), 0);
    let entries = people.entries();
    let versions: Vec<u64> = entries.iter().map(|entry| entry.version).collect();
    assert!(versions.is_sorted() && *versions.last().unwrap() == events(&entries).count() as u64, "each event is one version");
    assert!(entries.iter().all(|entry| (entry.tag, entry.epoch) == (Of::Zone(people.home.number), 1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_ships_what_a_dead_one_left() {
    let home = fresh_zone();
    let (node, journal) = open(patient(seeds())).await;
    node.create_zone(home, &settings(), &audit()).await.unwrap();
    let dead = open_dying(seeds()).await;
    let left_behind = || until("what the dead node decided is in the outbox", || outbox_len(home) == 1);
    assert!(matches!(join(&dead, home, 1).await, Err(DecideError::Indeterminate(_))), "its numbers are reserved by nobody");
    left_behind();
    // It waits for the reservation, ships that itself, and then has a number.
    let first = join(&node, home, 1).await.unwrap();
    assert_eq!(first.number.seq, 0);
    assert!(matches!(join(&dead, home, 2).await, Err(DecideError::Indeterminate(_))), "let in, but not in the journal");
    left_behind();
    let second = join(&node, home, 2).await.unwrap();
    assert_eq!(second.number.seq, 1);
    assert!(matches!(second.answer, Answer::Admitted(_)));
    let admitted: Vec<u32> = admissions(&entries(&journal, home)).iter().map(|(seq, _)| *seq).collect();
    assert_eq!(admitted, [0, 1], "what was said is in the journal, once");
    assert!(matches!(dead.leave(home, ticket(&second)).await, Err(DecideError::Indeterminate(_))));
    left_behind();
    // As a node's background does, again and again: what is young is left to whoever decided it.
    until("it was relayed", || {
        node.relay_zone(home.number).unwrap();
        outbox_len(home) == 0
    });
    assert!(matches!(events(&entries(&journal, home)).last().unwrap().change, ZoneChange::Left { ticket, .. } if ticket.seq == 1));
}

#[tokio::test]
async fn who_waits_is_told_so_while_the_journal_is_out_and_who_is_let_in_is_not() {
    let home = fresh_zone();
    let (node, journal) = open(hasty(seeds())).await;
    node.create_zone(home, &settings(), &audit()).await.unwrap();
    for key in 0..LIMIT as u64 {
        join(&node, home, key).await.unwrap();
    }
    journal.set_open(false);
    let waiting = join(&node, home, 100).await.unwrap();
    assert!(matches!(waiting.answer, Answer::Waiting(place) if place.rank == 1));
    assert!(matches!(poll(&node, home, &waiting).await.unwrap().unwrap(), Answer::Waiting(_)));
    assert_eq!(node.zone(home, OfferLeft::Untied).await.unwrap().status.waiting, 1);
    assert!(matches!(node.leave(home, ticket(&waiting)).await, Err(DecideError::Indeterminate(_))), "that it left is not durable");
    journal.set_open(true);
    node.leave(home, ticket(&waiting)).await.unwrap();
    assert_eq!(poll(&node, home, &waiting).await.unwrap(), Err(PollRefusal::Gone));
    assert_eq!(events(&entries(&journal, home)).filter(|event| matches!(event.change, ZoneChange::Left { .. })).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_reserved_again_and_again_and_each_is_given_once() {
    const PEOPLE: u64 = 16_000;
    let home = fresh_zone();
    let (one, one_journal) = open(trusting(seeds())).await;
    let (other, other_journal) = open(trusting(seeds())).await;
    one.create_zone(home, &settings(), &audit()).await.unwrap();
    let mut numbers: Vec<u32> = Vec::new();
    for first in (0..PEOPLE).step_by(4_000) {
        let come = (first..first + 4_000).map(|nonce| {
            let node = if nonce % 2 == 0 { &one } else { &other };
            node.join(home, Join { nonce, keyed: false }, OfferLeft::Untied)
        });
        numbers.extend(join_all(come).await.into_iter().map(|issued| issued.unwrap().number.seq));
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..PEOPLE as u32), "no number is left out or given twice");
    let mut written = [entries(&one_journal, home), entries(&other_journal, home)].concat();
    written.sort_by_key(|entry| entry.id);
    let reserved =
        events(&written).filter_map(|event| if let ZoneChange::Reserved { upto, .. } = event.change { Some(upto) } else { None });
    assert!(reserved.eq([10_000, 20_000, 30_000]), "a block more whenever half of one is left");
}

#[tokio::test]
async fn a_poll_that_lets_in_answers_when_the_journal_has_it() {
    let home = fresh_zone();
    let (node, journal) = open(hasty(seeds())).await;
    let (other, _) = open(trusting(seeds())).await;
    node.create_zone(home, &ZoneSettings { paused: true, ..settings() }, &audit()).await.unwrap();
    let issued = join(&node, home, 1).await.unwrap();
    assert!(matches!(issued.answer, Answer::Waiting(place) if place.state == State::Paused));
    node.define_zone(home, &settings(), None, &audit()).await.unwrap();
    journal.set_open(false);
    assert!(matches!(poll(&node, home, &issued).await, Err(DecideError::Indeterminate(_))));
    assert!(matches!(poll(&node, home, &issued).await, Err(DecideError::Indeterminate(_))), "nor is it told by asking again");
    journal.set_open(true);
    let Answer::Admitted(admission) = poll(&other, home, &issued).await.unwrap().unwrap() else { panic!("it is inside") };
    assert_eq!(admissions(&entries(&journal, home)), [(0, admission.at.0)]);
}

#[tokio::test]
async fn without_waiting_for_the_journal_numbers_are_still_reserved_first() {
    let home = fresh_zone();
    let (node, journal) = open(DeciderOptions { ack: Ack::Engine, ..hasty(seeds()) }).await;
    node.create_zone(home, &settings(), &audit()).await.unwrap();
    journal.set_open(false);
    assert!(matches!(join(&node, home, 1).await, Err(DecideError::Overloaded)));
    journal.set_open(true);
    assert_eq!(join(&node, home, 1).await.unwrap().number.seq, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_zone_decides_nothing_and_what_its_old_epoch_left_is_drained() {
    let home = fresh_zone();
    let (node, journal) = open(patient(seeds())).await;
    let node = Arc::new(node);
    node.create_zone(home, &settings(), &audit()).await.unwrap();
    let first = join(&node, home, 1).await.unwrap();
    journal.set_open(false);
    let waits = tokio::spawn({
        let node = node.clone();
        async move { join(&node, home, 2).await }
    });
    until("the join is decided", || outbox_len(home) == 1);
    let (other, other_journal) = open(patient(seeds())).await;
    let risen = ZoneHome { epoch: 2, ..home };
    other.suspend_zone(home, 2).await.unwrap();
    journal.set_open(true);
    assert!(matches!(waits.await.unwrap(), Err(DecideError::Indeterminate(_))), "shipped, but under an epoch that has ended");
    assert!(matches!(join(&other, risen, 3).await, Err(DecideError::Suspended)));
    assert!(matches!(poll(&other, risen, &first).await, Err(DecideError::Suspended)));
    assert!(matches!(other.leave(risen, ticket(&first)).await, Err(DecideError::Suspended)));
    assert!(matches!(other.sweep(risen, 10).await, Err(DecideError::Suspended)));
    assert!(matches!(other.minute(risen).await, Err(DecideError::Suspended)));
    assert!(matches!(other.define_zone(risen, &settings(), None, &audit()).await, Err(DecideError::Suspended)));
    assert!(matches!(other.zone(risen, OfferLeft::Untied).await, Err(DecideError::Suspended)));
    assert!(matches!(join(&other, home, 3).await, Err(DecideError::Epoch { current: 2 })), "as for who has slept");
    assert!(matches!(other.suspend_zone(home, 1).await, Err(DecideError::Epoch { current: 2 })));
    let standing = other.zone_version(home.number).await.unwrap().unwrap();
    assert!(matches!(standing, Standing { epoch: 2, version: 4, suspended: true, broken: false, deleted: false }), "{standing:?}");
    other.drain_zone(home.number).await.unwrap();
    assert_eq!((outbox_len(home), entries(&other_journal, home).len()), (0, 1));
    other.resume_zone(risen).await.unwrap();
    assert!(matches!(poll(&node, home, &first).await, Err(DecideError::Epoch { current: 2 })));
    assert!(matches!(poll(&node, risen, &first).await.unwrap().unwrap(), Answer::Admitted(_)));
    assert_eq!(join(&other, risen, 2).await.unwrap().number.seq, 1, "the admission in doubt stands");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_redis_has_lost_comes_back_with_the_polls_of_those_who_wait() {
    let own = crate::redis::start();
    let mut people = People::at(seeds_of(&own)).await;
    people.come(40).await;
    while people.all.iter().filter(|person| person.admitted.is_some()).count() < LIMIT + 5 {
        assert!(people.next_polls().await);
    }
    for node in &own {
        assert_eq!(ask(node.port, "FLUSHALL"), "+OK\r\n");
    }
    let (number, waits) = (people.home.number, people.all.iter().find(|person| person.waits()).unwrap().issued);
    assert!(
        matches!(poll(&people.nodes[0], people.home, &waits).await, Err(DecideError::UnknownZone)),
        "nobody is let in, nobody is sent away"
    );
    assert_eq!(people.nodes[1].zone_version(number).await.unwrap(), None);
    let before = people.entries();
    let version = before.last().unwrap().version;
    let mut facts = Facts::new(settings(), version);
    events(&before).for_each(|event| facts.take(&event.change));
    let old = people.home;
    people.home.epoch = 2;
    people.nodes[0].restore_zone(people.home, facts.clone()).await.unwrap();
    // Once more, as by a node that did not hear that it was done.
    people.home.epoch = 3;
    people.nodes[1].restore_zone(people.home, facts.clone()).await.unwrap();
    assert!(matches!(people.nodes[0].restore_zone(old, facts).await, Err(DecideError::Epoch { current: 3 })));
    let standing = people.nodes[0].zone_version(number).await.unwrap().unwrap();
    assert_eq!(standing, Standing { epoch: 3, version, suspended: false, broken: false, deleted: false });
    let report = people.nodes[0].zone(people.home, OfferLeft::Untied).await.unwrap();
    assert_eq!((report.status.state, report.status.entered_last_minute as usize), (State::Recovering, LIMIT + 5));
    let inside = people.all.iter().find(|person| person.admitted.is_some()).unwrap();
    let again = poll(&people.nodes[1], people.home, &inside.issued).await.unwrap().unwrap();
    assert!(matches!(again, Answer::Admitted(admission) if Some(admission.at.0) == inside.admitted), "who was let in still is");
    people.all_ask().await;
    while people.next_polls().await {}
    people.check();
    assert_eq!(people.all.iter().filter(|person| person.admitted.is_some()).count(), 40 - 6);
    let newcomer = join(&people.nodes[0], people.home, 7).await.unwrap();
    assert_eq!(newcomer.number.seq, 10_000, "no number is given twice");
}

#[tokio::test]
async fn settings_are_replaced_and_a_zone_is_deleted_when_it_is_empty() {
    let home = fresh_zone();
    let (node, journal) = open(patient(seeds())).await;
    node.create_zone(home, &settings(), &audit()).await.unwrap();
    assert!(matches!(node.create_zone(home, &settings(), &audit()).await, Err(DecideError::Exists)));
    let mut edited = settings();
    edited.paused = true;
    node.define_zone(home, &edited, Some(1), &audit()).await.unwrap();
    assert!(matches!(node.define_zone(home, &edited, Some(1), &audit()).await, Err(DecideError::Conflict { current: 2 })));
    edited.paused = false;
    node.define_zone(home, &edited, None, &audit()).await.unwrap();
    let report = node.zone(home, OfferLeft::Untied).await.unwrap();
    assert_eq!((report.settings.revision, report.settings.paused, report.version), (3, false, 3));
    assert_eq!(report.settings.message.as_deref(), Some("곧"));
    let written = entries(&journal, home);
    assert!(written.len() == 3 && written.iter().all(|entry| entry.record.audit == Some(audit())));

    let issued = join(&node, home, 1).await.unwrap();
    assert_eq!(node.delete_zone(home, &audit()).await.unwrap(), ZoneDeletion::InUse);
    assert!(matches!(node.discard(home).await, Err(DecideError::Exists)));
    assert!(matches!(node.forget_zone(home).await, Err(DecideError::Exists)));
    node.leave(home, ticket(&issued)).await.unwrap();
    node.minute(home).await.unwrap();
    node.sweep(home, 100).await.unwrap();
    assert_eq!(node.delete_zone(home, &audit()).await.unwrap(), ZoneDeletion::Deleted);
    assert!(matches!(join(&node, home, 2).await, Err(DecideError::UnknownZone)));
    assert!(node.zone_version(home.number).await.unwrap().unwrap().deleted);
    while node.discard(home).await.unwrap() {}
    assert_eq!(node.zone_version(home.number).await.unwrap(), None);
    assert_eq!(keys_of(home), 1, "but for the empty outbox");
}

fn keys_of(home: ZoneHome) -> usize {
    let keys = format!("KEYS bunho:{{z{}}}:*", home.number);
    nodes().iter().map(|node| ask(node.port, &keys)[1..].lines().next().unwrap().parse::<usize>().unwrap()).sum()
}

#[tokio::test]
async fn a_zone_that_is_forgotten_can_be_made_anew() {
    let home = fresh_zone();
    let (node, _) = open(patient(seeds())).await;
    node.create_zone(home, &settings(), &audit()).await.unwrap();
    let issued = join(&node, home, 1).await.unwrap();
    let risen = ZoneHome { epoch: 2, ..home };
    node.suspend_zone(home, 2).await.unwrap();
    assert!(matches!(node.forget_zone(home).await, Err(DecideError::Epoch { current: 2 })));
    node.forget_zone(risen).await.unwrap();
    assert_eq!(keys_of(home), 1);
    assert!(matches!(poll(&node, risen, &issued).await, Err(DecideError::UnknownZone)));
    node.create_zone_suspended(risen, &settings()).await.unwrap();
    assert!(matches!(join(&node, risen, 1).await, Err(DecideError::Suspended)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_lets_nobody_in_and_still_lets_the_outbox_drain() {
    let home = fresh_zone();
    let own = crate::redis::start();
    let all = |command: &str| own.iter().for_each(|node| assert_eq!(ask(node.port, command), "+OK\r\n"));
    let (node, journal) = open(patient(seeds_of(&own))).await;
    let node = Arc::new(node);
    node.create_zone(home, &settings(), &audit()).await.unwrap();
    journal.set_open(false);
    let waits = tokio::spawn({
        let node = node.clone();
        async move { join(&node, home, 1).await }
    });
    let outbox = format!("XLEN bunho:{{z{}}}:outbox", home.number);
    until("numbers are being reserved", || own.iter().any(|node| ask(node.port, &outbox).starts_with(":1")));
    all("CONFIG SET maxmemory 1");
    assert!(matches!(join(&node, home, 2).await, Err(DecideError::Overloaded)));
    journal.set_open(true);
    // The reservation is taken over although Redis is full, and the join that waited for it asks again.
    assert!(matches!(waits.await.unwrap(), Err(DecideError::Overloaded)));
    all("CONFIG SET maxmemory 0");
    assert_eq!(join(&node, home, 1).await.unwrap().number.seq, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polls_whose_answers_were_lost_are_made_again() {
    for node in nodes() {
        assert_eq!(ask(node.port, "ACL SETUSER line on >secret ~* &* +@all"), "+OK\r\n");
    }
    let seeds = seeds().iter().map(|seed| seed.replace("//", "//line:secret@")).collect();
    let mut people = People::in_trouble(seeds).await;
    people.come(30).await;
    let mut rounds = 0;
    while people.next_polls().await {
        rounds += 1;
        if rounds % 5 == 0 {
            let kill = nodes().iter().map(|node| tokio::task::spawn_blocking(|| ask(node.port, "CLIENT KILL USER line")));
            let ((), _killed) = tokio::join!(people.all_ask(), join_all(kill));
        }
    }
    people.check();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_to_another_node_takes_its_line_along() {
    let mut people = People::at(seeds()).await;
    people.come(40).await;
    let base = format!("bunho:{{z{}}}:", people.home.number);
    let from = owner(&format!("{base}outbox"));
    let to = nodes().iter().find(|node| node.port != from.port).unwrap();
    let slot = ask(from.port, &format!("CLUSTER KEYSLOT {base}outbox"))[1..].trim().to_owned();
    // The outbox goes in the middle: before and after that some keys are where nobody looks for them.
    let listed = ask(from.port, &format!("CLUSTER GETKEYSINSLOT {slot} 1000"));
    let mut keys: Vec<&str> = listed.split("\r\n").filter(|key| key.starts_with(&base) && !key.ends_with(":outbox")).collect();
    assert!(keys.len() > 10, "{keys:?}");
    // What every answer to one who waits is counted from goes first.
    keys.sort_unstable();
    let outbox = format!("{base}outbox");
    keys.insert(keys.len() / 2, &outbox);
    assert_eq!(ask(to.port, &format!("CLUSTER SETSLOT {slot} IMPORTING {}", node_id(from.port))), "+OK\r\n");
    assert_eq!(ask(from.port, &format!("CLUSTER SETSLOT {slot} MIGRATING {}", node_id(to.port))), "+OK\r\n");
    // One who is inside and one who waits, again and again: nothing else is ever said to them.
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let ask_on = people.all.iter().filter(|person| person.admitted.is_some() || person.waits()).skip(LIMIT - 1).take(2);
    let asking: Vec<_> = ask_on
        .zip(people.nodes.clone())
        .map(|(person, node)| {
            let (home, known, stopped) = (people.home, person.issued, stopped.clone());
            tokio::spawn(async move {
                while !*stopped.borrow() {
                    let told = match join(&node, home, known.nonce).await {
                        // It has got into another Redis process: somebody makes sure of it, as recovery would.
                        Err(DecideError::Suspended) => {
                            let _ = node.resume_zone(home).await;
                            continue;
                        }
                        told => told.unwrap(),
                    };
                    assert_eq!((told.number, told.issued_at), (known.number, known.issued_at));
                    assert_eq!(matches!(told.answer, Answer::Admitted(_)), matches!(known.answer, Answer::Admitted(_)));
                }
            })
        })
        .collect();
    let runs = || people.nodes.iter().map(|node| node.figures().run_us.read().count).sum::<u64>();
    for key in keys {
        // So that people ask between two keys as well; what they are told is checked, not when.
        let before = runs();
        let asked = async {
            while runs() == before {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(30), asked).await.is_ok(), "nobody asks before {key} moves");
        assert_eq!(ask(from.port, &format!("MIGRATE 127.0.0.1 {} {key} 0 5000", to.port)), "+OK\r\n");
    }
    for node in [to, from].into_iter().chain(nodes()) {
        assert_eq!(ask(node.port, &format!("CLUSTER SETSLOT {slot} NODE {}", node_id(to.port))), "+OK\r\n");
    }
    stop.send_replace(true);
    for asking in asking {
        asking.await.unwrap();
    }
    assert_eq!(owner(&outbox).port, to.port);
    people.nodes[0].resume_zone(people.home).await.unwrap();
    while people.next_polls().await {}
    people.check();
    assert_eq!(people.all.iter().filter(|person| person.admitted.is_some()).count(), 40 - 6);
}

#[tokio::test]
async fn versions_of_offers_and_zones_are_told_also_while_they_are_suspended() {
    let tag = fresh_tag();
    let (node, _) = open(patient(seeds())).await;
    for offer in [tag, tag + 1] {
        node.create(Home { tag, offer, epoch: 1 }, &offer_settings("drop", Kind::Coupon, 5), &audit()).await.unwrap();
    }
    let home = Home { tag, offer: tag + 1, epoch: 1 };
    node.restock(home, 1, &audit()).await.unwrap().unwrap();
    node.suspend(home, 4).await.unwrap();
    let known = |epoch, version, suspended| Some(Standing { epoch, version, suspended, broken: false, deleted: false });
    let told = node.versions(tag, &[tag + 1, tag + 2, tag]).await.unwrap();
    assert_eq!(told, [known(4, 2, true), None, known(1, 1, false)]);
    let zone = fresh_zone();
    assert_eq!(node.zone_version(zone.number).await.unwrap(), None);
    node.create_zone_suspended(zone, &settings()).await.unwrap();
    assert_eq!(node.zone_version(zone.number).await.unwrap(), known(1, 0, true));
}
