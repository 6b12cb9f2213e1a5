//! What a node says and does while a Redis process does not answer, has lost something, or is another one than before.

use crate::crowd::claim;
use crate::redis::{
    Node, ask, audit, fresh_tag, hasty, nodes, offer_settings, open, open_dying, patient, resume, seeds, seeds_of, start, start_alone,
    trusting, until,
};
use bunho_domain::offer::settings::Kind;
use bunho_engine::cluster::redis::{DecideError, Decider, DeciderOptions, Gathering, Home, MemoryJournal, Of, Patience, Shipper};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After which a connection counts as broken here. A Redis stands still for some five times as long, which must be below its own time limit.
const RESPOND: Duration = Duration::from_millis(300);

fn fresh_home() -> Home {
    let tag = fresh_tag();
    Home { tag, offer: tag, epoch: 1 }
}

fn outbox(home: Home) -> String {
    format!("bunho:{{{}}}:outbox", home.tag)
}

/// The node of a cluster that has an offer.
fn owner(nodes: &[Node], home: Home) -> &Node {
    nodes.iter().find(|node| !ask(node.port, &format!("XLEN {}", outbox(home))).starts_with("-MOVED")).unwrap()
}

/// A node that soon takes a connection for broken, and has one to the Redis that has this offer.
async fn open_impatient(nodes: &[Node], home: Home, cluster: Duration) -> Decider {
    let patience = Patience { connect: RESPOND, respond: RESPOND, cluster };
    let options = DeciderOptions { patience, ..patient(seeds_of(nodes)) };
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let opened = Decider::open(options.clone(), Shipper::Memory(Arc::new(MemoryJournal::default()))).await;
        if let Ok(node) = opened
            && node.offer(home).await.is_ok()
        {
            return node;
        }
        assert!(Instant::now() < deadline, "in 30 s no connection answered within {RESPOND:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_run_is_never_said_not_to_have_happened() {
    let (nodes, home) = (start(), fresh_home());
    let (other, _) = open(patient(seeds_of(&nodes))).await;
    other.create(home, &offer_settings("drop", Kind::Coupon, 10), &audit()).await.unwrap();
    let cluster = open_impatient(&nodes, home, 3 * RESPOND).await;
    let frozen = owner(&nodes, home).freeze();
    // The second try finds nobody to ask; but the first is in a socket.
    let told = claim(&cluster, home, "a", Some("k")).await;
    drop(frozen);
    assert!(matches!(told, Err(DecideError::Indeterminate(_))), "{told:?}");
    assert_eq!(other.offer(home).await.unwrap().stock.confirmed, 1, "it did happen");

    // Now the second try is told that the offer is suspended.
    let cluster = Arc::new(open_impatient(&nodes, home, Duration::from_secs(30)).await);
    let runs = cluster.figures().run_us.read().count;
    let frozen = owner(&nodes, home).freeze();
    let claimed = tokio::spawn({
        let cluster = cluster.clone();
        async move { claim(&cluster, home, "b", Some("k")).await }
    });
    until("the first try is given up", || cluster.figures().run_us.read().count > runs);
    let suspended = tokio::spawn(async move { other.suspend(home, 2).await });
    tokio::task::yield_now().await;
    drop(frozen);
    suspended.await.unwrap().unwrap();
    let told = claimed.await.unwrap();
    assert!(matches!(told, Err(DecideError::Indeterminate(_))), "{told:?}");
    until("the first try has run", || {
        ask(owner(&nodes, home).port, &format!("XINFO STREAM {}", outbox(home))).contains("entries-added\r\n:3")
    });
}

#[tokio::test]
async fn a_node_that_knows_of_no_slots_is_not_believed() {
    let (alone, home) = (start_alone(), fresh_home());
    let seeds = seeds_of(std::slice::from_ref(&alone)).into_iter().chain(seeds()).collect();
    let (cluster, _) = open(patient(seeds)).await;
    cluster.create(home, &offer_settings("drop", Kind::Coupon, 10), &audit()).await.unwrap();
}

/// As after a failover in which the old primary was cut off from the others, and not from this node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_cut_off_is_not_believed() {
    let mut old = start();
    // That it is of another cluster makes no difference to what it says.
    let cut_off = old.swap_remove(0);
    drop(old);
    until("it knows that it is cut off", || ask(cut_off.port, "CLUSTER INFO").contains("cluster_state:fail"));
    let slot = |home: &Home| ask(cut_off.port, &format!("CLUSTER KEYSLOT {}", outbox(*home)))[1..].trim().parse::<usize>().unwrap();
    let is_its_own = |home: &Home| slot(home) < 16_384 / 3;
    let home = std::iter::repeat_with(fresh_home).find(is_its_own).unwrap();
    let mut seeds = seeds_of(std::slice::from_ref(&cut_off));
    seeds.extend(seeds_of(nodes()));
    let (cluster, _) = open(patient(seeds)).await;
    cluster.create(home, &offer_settings("drop", Kind::Coupon, 10), &audit()).await.unwrap();
}

/// A node that gives every answer up half a second after it was asked: for what is not to succeed.
fn giving_up(nodes: &[Node]) -> DeciderOptions {
    DeciderOptions { durable_within: Duration::from_millis(500), ..patient(seeds_of(nodes)) }
}

fn calls_of(nodes: &[Node], command: &str) -> u64 {
    let named = format!("cmdstat_{command}:calls=");
    let calls = |info: String| info.split_once(&named).map(|(_, rest)| rest.split(',').next().unwrap().parse::<u64>().unwrap());
    nodes.iter().filter_map(|node| calls(ask(node.port, "INFO commandstats"))).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_is_out_keeps_redis_no_busier() {
    const LEFT: u64 = 600;
    let (nodes, home) = (start(), fresh_home());
    let (creator, _) = open(patient(seeds_of(&nodes))).await;
    creator.create(home, &offer_settings("drop", Kind::Coupon, 10_000), &audit()).await.unwrap();
    let (one, one_journal) = open(giving_up(&nodes)).await;
    one_journal.set_open(false);
    let before = calls_of(&nodes, "evalsha");
    let told = claim(&one, home, "a", None).await;
    assert!(matches!(told, Err(DecideError::Indeterminate(_))));
    let runs = calls_of(&nodes, "evalsha") - before;
    assert!(runs < 10, "{runs} runs while a node waited for its own entry to be shipped");

    let names: Vec<String> = (1..LEFT).map(|user| format!("u{user}")).collect();
    futures_util::future::join_all(names.iter().map(|name| claim(&one, home, name, None))).await;
    let left = |entries: u64| ask(owner(&nodes, home).port, &format!("XLEN {}", outbox(home))).trim() == format!(":{entries}");
    until("all of it is decided", || left(LEFT));
    let (other, other_journal) = open(giving_up(&nodes)).await;
    other_journal.set_open(false);
    let before = calls_of(&nodes, "evalsha");
    for _ in 0..5 {
        other.relay(home.tag).unwrap();
        // Half a second, in which it waits for all of what it read.
        assert!(matches!(claim(&other, home, "a", None).await, Ok(Err(_)) | Err(DecideError::Indeterminate(_))));
    }
    let runs = calls_of(&nodes, "evalsha") - before;
    assert!(runs < 100, "{runs} runs of a node that relays");
    other_journal.set_open(true);
    until("all of it is shipped", || left(0));
    assert_eq!(other_journal.entries().iter().filter(|entry| entry.version <= LEFT + 1).count() as u64, LEFT, "what is far behind too");
}

#[tokio::test]
async fn what_is_on_its_way_is_not_relayed_until_it_is_late() {
    let home = fresh_home();
    let (one, one_journal) = open(hasty(seeds())).await;
    one.create(home, &offer_settings("drop", Kind::Coupon, 10), &audit()).await.unwrap();
    one_journal.set_open(false);
    assert!(matches!(claim(&one, home, "a", None).await, Err(DecideError::Indeterminate(_))));
    let (early, earlys_journal) = open(DeciderOptions { durable_within: Duration::from_millis(500), ..trusting(seeds()) }).await;
    early.relay(home.tag).unwrap();
    assert!(matches!(early.offer(home).await, Err(DecideError::Indeterminate(_))), "it waits for what it does not ship");
    assert_eq!(earlys_journal.entries().len(), 0);
    let (late, lates_journal) = open(patient(seeds())).await;
    late.relay(home.tag).unwrap();
    assert_eq!(late.offer(home).await.unwrap().stock.confirmed, 1);
    assert_eq!(lates_journal.entries().len(), 1);
}

#[tokio::test]
async fn replicas_are_not_waited_for_where_nothing_is_written() {
    let (nodes, home) = (start(), fresh_home());
    // None of no replicas is always there, so every run that waits does so.
    let (cluster, _) = open(DeciderOptions { replicas: Some(0), ..patient(seeds_of(&nodes)) }).await;
    cluster.create(home, &offer_settings("drop", Kind::Coupon, 500), &audit()).await.unwrap();
    let written = calls_of(&nodes, "wait");
    assert!(written >= 2, "one for the entry, one for its removal");
    for _ in 0..20 {
        cluster.versions(home.tag, &[home.offer]).await.unwrap();
    }
    cluster.relay(home.tag).unwrap();
    cluster.drain(home.tag).await.unwrap();
    assert_eq!(calls_of(&nodes, "wait"), written);
}

/// As after a failover to a replica that did not have the last entries.
fn loses_its_last_entries(node: &Node, home: Home) {
    assert_eq!(ask(node.port, "DEBUG CHANGE-REPL-ID"), "+OK\r\n");
    assert_eq!(ask(node.port, &format!("XTRIM {} MAXLEN 0", outbox(home))), ":1\r\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_node_wrote_and_redis_lost_is_not_answered_for() {
    let (nodes, home) = (start(), fresh_home());
    // It never ships for others, as if there was no time to.
    let (cluster, _) = open(trusting(seeds_of(&nodes))).await;
    let cluster = Arc::new(cluster);
    cluster.create(home, &offer_settings("one", Kind::Coupon, 1), &audit()).await.unwrap();
    let dead = open_dying(seeds_of(&nodes)).await;
    assert!(matches!(claim(&dead, home, "a", Some("k")).await, Err(DecideError::Indeterminate(_))));
    until("the dead node's claim is decided", || ask(owner(&nodes, home).port, &format!("XLEN {}", outbox(home))).starts_with(":1"));
    drop(dead);
    let before = calls_of(&nodes, "evalsha");
    let replayed = tokio::spawn({
        let cluster = cluster.clone();
        async move { claim(&cluster, home, "a", Some("k")).await }
    });
    until("it waits for the dead node's entry", || calls_of(&nodes, "evalsha") > before + 3);
    loses_its_last_entries(owner(&nodes, home), home);
    let told = replayed.await.unwrap();
    assert!(matches!(&told, Err(DecideError::Indeterminate(reason)) if reason.contains("lost")), "{told:?}");
}

#[tokio::test]
async fn entries_of_a_primary_whose_clock_is_behind_are_waited_for_too() {
    let (nodes, home) = (start(), fresh_home());
    let (cluster, journal) = open(hasty(seeds_of(&nodes))).await;
    let outbox = outbox(home);
    let node = owner(&nodes, home);
    let ahead_ms = 3_600_000 + std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    ask(node.port, &format!("XADD {outbox} {ahead_ms}-1 r x"));
    ask(node.port, &format!("XDEL {outbox} {ahead_ms}-1"));
    cluster.create(home, &offer_settings("drop", Kind::Coupon, 10), &audit()).await.unwrap();
    // The replica that takes over has seen the removal and is an hour behind.
    assert_eq!(ask(node.port, "DEBUG CHANGE-REPL-ID"), "+OK\r\n");
    assert_eq!(ask(node.port, &format!("DEL {outbox}")), ":1\r\n");
    resume(&cluster, home).await.unwrap();
    journal.set_open(false);
    let told = claim(&cluster, home, "a", None).await;
    assert!(matches!(told, Err(DecideError::Indeterminate(_))), "{told:?}");
    assert_eq!(journal.entries().len(), 1, "it is in Redis alone");
}

#[tokio::test]
async fn a_tag_without_work_has_no_task() {
    let home = fresh_home();
    let options = patient(seeds());
    let gathering = Gathering { idle: Duration::from_millis(1), ..options.gathering.clone() };
    let (cluster, _) = open(DeciderOptions { gathering, ..options }).await;
    cluster.create(home, &offer_settings("drop", Kind::Coupon, 1_000), &audit()).await.unwrap();
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let none = || async {
        let given_up = Instant::now() + Duration::from_secs(60);
        // One for the connection to each node.
        while alive() > nodes().len() {
            assert!(Instant::now() < given_up, "{} tasks", alive());
            tokio::task::yield_now().await;
        }
    };
    none().await;
    // While it is about to end, too, it takes what is asked, or another does.
    for user in 0..300 {
        claim(&cluster, home, &format!("u{user}"), None).await.unwrap().unwrap();
        // More and more of the millisecond after which it ends is over when the next comes, so that some meet the end.
        for _ in 0..user {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(cluster.offer(home).await.unwrap().stock.confirmed, 300);
    none().await;
}

/// A primary that was cut off takes claims, and removes their entries, for a moment after another one was put in its place.
#[tokio::test]
async fn what_replicas_do_not_confirm_is_told_only_under_an_epoch_that_counts() {
    let tag = fresh_tag();
    let home = Home { tag, offer: tag, epoch: 1 };
    let (cluster, journal) = open(DeciderOptions { replicas: Some(1), ..patient(seeds()) }).await;
    cluster.create(home, &offer_settings("drop", Kind::Coupon, 10), &audit()).await.unwrap();
    claim(&cluster, home, "a", None).await.unwrap().unwrap();
    journal.end_before(Of::Offer(tag), 2);
    assert!(matches!(claim(&cluster, home, "b", None).await, Err(DecideError::Indeterminate(_))));
    cluster.suspend(home, 2).await.unwrap();
    let risen = Home { epoch: 2, ..home };
    resume(&cluster, risen).await.unwrap();
    claim(&cluster, risen, "c", None).await.unwrap().unwrap();
}
