//! What happens when the journal is out, a node dies with entries unshipped, Redis steps back or an offer is suspended.

use crate::crowd::{claim, claim_once_sure, read_once_sure, versions};
use crate::pair::shipped;
use crate::redis::{ask, audit, fresh_tag, hasty, nodes, offer_settings, open, open_dying, patient, resume, seeds, seeds_of};
use bunho_domain::event::{OfferChange, OfferEvent};
use bunho_domain::offer::refusal::Refusal;
use bunho_domain::offer::settings::Kind;
use bunho_engine::cluster::redis::{DecideError, Decider, DeciderClock, DeciderOptions, Gathering, Home, Shipper};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

fn fresh_home() -> Home {
    let tag = fresh_tag();
    Home { tag, offer: tag, epoch: 1 }
}

#[tokio::test]
async fn a_refusal_waits_for_the_claim_that_it_is_because_of() {
    let home = fresh_home();
    let (cluster, journal) = open(hasty(seeds())).await;
    let cluster = Arc::new(cluster);
    cluster.create(home, &offer_settings("one", Kind::Coupon, 1), &audit()).await.unwrap();
    journal.set_open(false);
    assert!(matches!(claim(&cluster, home, "a", Some("k")).await, Err(DecideError::Indeterminate(_))));
    let (refused, read) = tokio::join!(claim(&cluster, home, "b", None), cluster.offer(home));
    assert!(matches!(refused, Err(DecideError::Indeterminate(_))), "sold out is not durable yet");
    assert!(matches!(read, Err(DecideError::Indeterminate(_))), "nor is the stock");
    let waits = tokio::spawn({
        let cluster = cluster.clone();
        async move { claim(&cluster, home, "b", None).await }
    });
    tokio::task::yield_now().await;
    journal.set_open(true);
    assert!(matches!(waits.await.unwrap(), Ok(Err(Refusal::SoldOut { .. }))));
    // The key tells what became of the claim in doubt.
    assert_eq!(claim(&cluster, home, "a", Some("k")).await.unwrap().unwrap().user.as_str(), "a");
    assert_eq!(versions(&shipped(&journal, home.tag)), [1, 2]);
}

#[tokio::test]
async fn a_full_outbox_refuses_before_anything_is_decided() {
    let home = fresh_home();
    let options = hasty(seeds());
    let gathering = Gathering { outbox_max: 5, ..options.gathering.clone() };
    let (cluster, journal) = open(DeciderOptions { gathering, ..options }).await;
    cluster.create(home, &offer_settings("drop", Kind::Coupon, 100), &audit()).await.unwrap();
    journal.set_open(false);
    let names: Vec<String> = (0..20).map(|user| format!("u{user}")).collect();
    let calls = names.iter().map(|name| claim(&cluster, home, name, None));
    let told = futures_util::future::join_all(calls).await;
    let (mut doubtful, mut shed) = (0, 0);
    for told in told {
        match told {
            Err(DecideError::Indeterminate(_)) => doubtful += 1,
            Err(DecideError::Overloaded) => shed += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((doubtful, shed), (5, 15));
    journal.set_open(true);
    assert_eq!(until_read(&cluster, home).await, 5, "what was shed did not happen, what was in doubt did");
    assert_eq!(versions(&shipped(&journal, home.tag)), [1, 2, 3, 4, 5, 6]);
}

/// Confirmed units, once the offer can be read.
async fn until_read(cluster: &Decider, home: Home) -> u32 {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match cluster.offer(home).await {
            Ok(read) => return read.stock.confirmed,
            Err(DecideError::Overloaded | DecideError::Indeterminate(_)) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(Instant::now() < deadline, "in 30 s the offer could not be read");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_ships_what_a_dead_one_left() {
    let home = fresh_home();
    let (cluster, journal) = open(patient(seeds())).await;
    cluster.create(home, &offer_settings("one", Kind::Coupon, 1), &audit()).await.unwrap();
    let dead = open_dying(seeds()).await;
    assert!(matches!(claim(&dead, home, "a", Some("k")).await, Err(DecideError::Indeterminate(_))));
    until_version(home, 2);
    assert!(matches!(claim(&cluster, home, "b", None).await, Ok(Err(Refusal::SoldOut { .. }))));
    assert_eq!(claim(&cluster, home, "a", Some("k")).await.unwrap().unwrap().user.as_str(), "a");
    assert_eq!(versions(&shipped(&journal, home.tag)), [1, 2], "what was said is in the journal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_offer_refuses_and_what_its_old_epoch_left_is_drained() {
    let home = fresh_home();
    let (cluster, journal) = open(patient(seeds())).await;
    let cluster = Arc::new(cluster);
    cluster.create(home, &offer_settings("drop", Kind::Coupon, 10), &audit()).await.unwrap();
    journal.set_open(false);
    let waits = tokio::spawn({
        let cluster = cluster.clone();
        async move { claim(&cluster, home, "a", None).await }
    });
    let (other, other_journal) = open(patient(seeds())).await;
    until_version(home, 2);
    let risen = Home { epoch: 2, ..home };
    other.suspend(home, 2).await.unwrap();
    journal.set_open(true);
    assert!(matches!(waits.await.unwrap(), Err(DecideError::Indeterminate(_))), "shipped, but under an epoch that has ended");
    assert!(matches!(claim(&other, risen, "b", None).await, Err(DecideError::Suspended)));
    other.drain(home.tag).await.unwrap();
    assert_eq!(versions(&shipped(&other_journal, home.tag)), [2]);
    resume(&other, risen).await.unwrap();
    assert!(matches!(claim(&cluster, home, "b", None).await, Err(DecideError::Epoch { current: 2 })));
    assert_eq!(claim(&cluster, risen, "b", None).await.unwrap().unwrap().id.seq(), 1, "the claim in doubt stands");
}

/// Waits until the outbox has an entry.
fn until_version(home: Home, entries: usize) {
    let wanted = format!("entries-added\r\n:{entries}\r\n");
    let outbox = format!("XINFO STREAM bunho:{{{}}}:outbox", home.tag);
    crate::redis::until("the claim is decided", || nodes().iter().any(|node| ask(node.port, &outbox).contains(&wanted)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_that_stepped_back_stops_when_that_is_seen() {
    let home = fresh_home();
    let (cluster, journal) = open(patient(seeds())).await;
    let cluster = Arc::new(cluster);
    let settings = offer_settings("drop", Kind::Coupon, 10);
    cluster.create(home, &settings, &audit()).await.unwrap();
    journal.set_open(false);
    let waits = tokio::spawn({
        let cluster = cluster.clone();
        async move { claim(&cluster, home, "a", None).await }
    });
    until_version(home, 2);
    // As a replica that had not heard of the claim would stand there.
    let (other, _) = open(patient(seeds())).await;
    other.suspend(home, 1).await.unwrap();
    other.forget(home).await.unwrap();
    other.create_suspended(home, &settings).await.unwrap();
    resume(&other, home).await.unwrap();
    journal.set_open(true);
    assert!(matches!(waits.await.unwrap(), Err(DecideError::Indeterminate(_))));
    assert!(matches!(claim(&other, home, "b", None).await, Err(DecideError::Suspended)));
}

#[tokio::test]
async fn only_an_offer_that_was_made_for_it_obeys_a_clock_that_is_set() {
    let home = fresh_home();
    let (cluster, _) = open(patient(seeds())).await;
    cluster.create(home, &offer_settings("drop", Kind::Coupon, 10), &audit()).await.unwrap();
    let clock = DeciderClock::Manual(Arc::new(AtomicI64::new(5)));
    let (liar, _) = open(DeciderOptions { clock, ..patient(seeds()) }).await;
    assert!(matches!(claim(&liar, home, "a", None).await, Err(DecideError::Clock)));
    assert_eq!(cluster.offer(home).await.unwrap().stock.remaining, 10);
}

#[tokio::test]
async fn what_is_no_cluster_is_not_opened() {
    let (shipments, _receiver) = mpsc::channel(1);
    let options = DeciderOptions::new(vec!["redis://127.0.0.1:1".into()]);
    assert!(matches!(Decider::open(options, Shipper::Channel(shipments)).await, Err(DecideError::Unreachable(_))));
}

/// The node that has a slot, by asking each.
pub fn owner(key: &str) -> &'static crate::redis::Node {
    nodes().iter().find(|node| !ask(node.port, &format!("XLEN {key}")).starts_with("-MOVED")).unwrap()
}

pub fn node_id(port: u16) -> String {
    ask(port, "CLUSTER MYID").lines().nth(1).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_to_another_node_takes_its_offers_along() {
    let home = fresh_home();
    let (cluster, journal) = open(patient(seeds())).await;
    let cluster = Arc::new(cluster);
    cluster.create(home, &offer_settings("drop", Kind::Coupon, 1_000_000), &audit()).await.unwrap();
    let outbox = format!("bunho:{{{}}}:outbox", home.tag);
    let from = owner(&outbox);
    let to = nodes().iter().find(|node| node.port != from.port).unwrap();
    let slot = ask(from.port, &format!("CLUSTER KEYSLOT {outbox}"))[1..].trim().to_owned();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let claims: Vec<_> = (0..8)
        .map(|caller| {
            let (cluster, stopped) = (cluster.clone(), stopped.clone());
            tokio::spawn(async move {
                let mut taken = 0;
                while !*stopped.borrow() {
                    claim_once_sure(&cluster, home, &format!("{caller}-{taken}"), None).await.unwrap().unwrap();
                    taken += 1;
                }
                taken
            })
        })
        .collect();
    assert_eq!(ask(to.port, &format!("CLUSTER SETSLOT {slot} IMPORTING {}", node_id(from.port))), "+OK\r\n");
    assert_eq!(ask(from.port, &format!("CLUSTER SETSLOT {slot} MIGRATING {}", node_id(to.port))), "+OK\r\n");
    // One key at a time, so that for a while each node has a part of the offer.
    for key in [format!("bunho:{{{0}}}:{0}", home.tag), outbox.clone()] {
        let moved = ask(from.port, &format!("MIGRATE 127.0.0.1 {} {key} 0 5000", to.port));
        assert_eq!(moved, "+OK\r\n");
    }
    for node in [to, from].into_iter().chain(nodes()) {
        assert_eq!(ask(node.port, &format!("CLUSTER SETSLOT {slot} NODE {}", node_id(to.port))), "+OK\r\n");
    }
    let before = read_once_sure(&cluster, home).await.stock.confirmed;
    while read_once_sure(&cluster, home).await.stock.confirmed < before + 50 {}
    stop.send_replace(true);
    let mut taken = 0;
    for claims in claims {
        taken += claims.await.unwrap();
    }
    assert_eq!(owner(&outbox).port, to.port);
    assert_eq!(read_once_sure(&cluster, home).await.stock.confirmed, taken);
    assert_eq!(versions(&shipped(&journal, home.tag)), (1..=u64::from(taken) + 1).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_refuses_claims_and_still_lets_the_outbox_drain() {
    let home = fresh_home();
    let nodes = crate::redis::start();
    let all = |command: &str| nodes.iter().for_each(|node| assert_eq!(ask(node.port, command), "+OK\r\n"));
    let (cluster, journal) = open(patient(seeds_of(&nodes))).await;
    let cluster = Arc::new(cluster);
    cluster.create(home, &offer_settings("drop", Kind::Coupon, 10), &audit()).await.unwrap();
    journal.set_open(false);
    let waits = tokio::spawn({
        let cluster = cluster.clone();
        async move { claim(&cluster, home, "a", None).await }
    });
    let outbox = format!("XLEN bunho:{{{}}}:outbox", home.tag);
    crate::redis::until("the claim is decided", || nodes.iter().any(|node| ask(node.port, &outbox).starts_with(":1")));
    all("CONFIG SET maxmemory 1");
    assert!(matches!(claim(&cluster, home, "b", None).await, Err(DecideError::Overloaded)));
    journal.set_open(true);
    assert_eq!(waits.await.unwrap().unwrap().unwrap().user.as_str(), "a");
    all("CONFIG SET maxmemory 0");
    assert_eq!(claim(&cluster, home, "b", None).await.unwrap().unwrap().user.as_str(), "b");
    assert_eq!(versions(&shipped(&journal, home.tag)), [1, 2, 3]);
    // What a node left that died, too, although only reading shows that it is there.
    let dead = open_dying(seeds_of(&nodes)).await;
    assert!(matches!(claim(&dead, home, "c", None).await, Err(DecideError::Indeterminate(_))));
    crate::redis::until("the dead node's claim is decided", || nodes.iter().any(|node| ask(node.port, &outbox).starts_with(":1")));
    drop(dead);
    all("CONFIG SET maxmemory 1");
    cluster.drain(home.tag).await.unwrap();
    assert_eq!(versions(&shipped(&journal, home.tag)), [1, 2, 3, 4]);
}

/// After a failover a primary may be without replicas for as long as somebody needs to bring one back.
#[tokio::test]
async fn replicas_that_are_not_there_do_not_hold_up_every_run() {
    let home = fresh_home();
    let (cluster, _) = open(DeciderOptions { replicas: Some(1), ..patient(seeds()) }).await;
    let waits = || -> u64 {
        let told = |port| ask(port, "INFO commandstats").split_once("cmdstat_wait:calls=").map(|(_, rest)| rest.to_owned());
        let calls = |rest: String| rest.split(',').next().unwrap().parse::<u64>().unwrap();
        nodes().iter().filter_map(|node| told(node.port)).map(calls).sum()
    };
    cluster.create(home, &offer_settings("drop", Kind::Coupon, 500), &audit()).await.unwrap();
    let before = waits();
    for user in 0..200 {
        claim(&cluster, home, &format!("u{user}"), None).await.unwrap().unwrap();
    }
    let (waited, runs) = (waits() - before, 2 * 200);
    assert!(waited < runs / 4, "{waited} of {runs} runs waited for a replica");
}

#[tokio::test]
async fn what_is_loaded_in_pieces_is_whole_only_with_the_last_of_them() {
    let home = fresh_home();
    let (cluster, _) = open(patient(seeds())).await;
    let settings = offer_settings("drop", Kind::Coupon, 10);
    cluster.create(home, &settings, &audit()).await.unwrap();
    let mut events = Vec::new();
    for user in ["a", "b"] {
        let claim = claim(&cluster, home, user, None).await.unwrap().unwrap();
        events.push(OfferEvent { offer: home.offer, version: 0, change: OfferChange::Claim(Box::new(claim)) });
    }
    let (risen, version) = (Home { epoch: 2, ..home }, 3);
    let begin = async || {
        cluster.suspend(home, 2).await.unwrap();
        cluster.forget(risen).await.unwrap();
        cluster.create_suspended(risen, &settings).await.unwrap();
    };
    let last = [OfferEvent { offer: home.offer, version, change: OfferChange::Defined(Box::new(settings.clone())) }];

    begin().await;
    cluster.load(risen, &events[..1]).await.unwrap();
    assert!(matches!(cluster.resume(risen, version).await, Err(DecideError::Suspended)), "one piece is missing");
    // A replica is promoted that may have missed a piece.
    let key = format!("bunho:{{{}}}:{}", home.tag, home.offer);
    let moved = |node: &&crate::redis::Node| ask(node.port, &format!("HSET {key} i another")).starts_with(':');
    assert!(nodes().iter().any(|node| moved(&node)));
    for piece in [&events[1..], &last] {
        assert!(matches!(cluster.load(risen, piece).await, Err(DecideError::Suspended)), "it is another Redis");
    }
    begin().await;
    // Whoever was at it before is late.
    assert!(matches!(cluster.forget(home).await, Err(DecideError::Epoch { current: 2 })));
    cluster.load(risen, &events).await.unwrap();
    cluster.load(risen, &last).await.unwrap();
    cluster.resume(risen, version).await.unwrap();
    assert_eq!(cluster.offer(risen).await.unwrap().stock.confirmed, 2);
}

#[tokio::test]
async fn offers_that_change_together_decide_in_one_epoch() {
    let (tag, mut grants) = (fresh_tag(), offer_settings("stay", Kind::Booking, 10));
    let [thanks, stay] = [tag, tag + 1].map(|offer| Home { tag, offer, epoch: 1 });
    let (cluster, _) = open(patient(seeds())).await;
    let granted = offer_settings("thanks", Kind::Coupon, 10);
    grants.grants = Some(granted.id.clone());
    cluster.create(thanks, &granted, &audit()).await.unwrap();
    cluster.create(stay, &grants, &audit()).await.unwrap();
    claim(&cluster, stay, "a", None).await.unwrap().unwrap();
    // One was made while the other one was being restored.
    cluster.suspend(thanks, 2).await.unwrap();
    resume(&cluster, Home { epoch: 2, ..thanks }).await.unwrap();
    assert!(matches!(claim(&cluster, stay, "b", None).await, Err(DecideError::Epoch { current: 2 })));
}
