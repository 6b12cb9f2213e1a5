//! Many people, two nodes, one offer: nobody has anything twice, everything is sold, and the journal has it all once.

use crate::pair::shipped;
use crate::redis::{ask, audit, fresh_tag, nodes, offer_settings, open, patient, resume, seeds, seeds_of, start, trusting, until};
use bunho_domain::claim::{Claim, Status};
use bunho_domain::event::{Event, OfferChange, OfferEvent, TicketNumber};
use bunho_domain::ids::{ClaimId, IdempotencyKey, UserId, ZoneId};
use bunho_domain::limits::SETTLE_MOST;
use bunho_domain::offer::once::PassId;
use bunho_domain::offer::refusal::Refusal;
use bunho_domain::offer::settings::Kind;
use bunho_domain::offer::{Actor, ClaimRequest, OfferState, Pass};
use bunho_domain::time::Millis;
use bunho_engine::cluster::redis::{DecideError, Decider, DeciderClock, DeciderOptions, Home, Of, ReadOffer};
use bunho_journal::Record;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

pub async fn claim(cluster: &Decider, home: Home, user: &str, key: Option<&str>) -> Result<Result<Claim, Refusal>, DecideError> {
    static NONCES: AtomicU64 = AtomicU64::new(1);
    let nonce = NONCES.fetch_add(1, Ordering::Relaxed);
    let user = UserId::parse(user).unwrap();
    let key = key.map(|key| IdempotencyKey::parse(key).unwrap());
    let request = ClaimRequest { user: &user, quantity: 1, key: key.as_ref(), attributes: None, pass: Pass::Missing, nonce };
    Ok(cluster.claim(home, request).await?.map(|taken| taken.claim))
}

/// A claim that is asked again where the offer has got into another Redis process: somebody makes sure of it, as recovery would.
pub async fn claim_once_sure(cluster: &Decider, home: Home, user: &str, key: Option<&str>) -> Result<Result<Claim, Refusal>, DecideError> {
    loop {
        match claim(cluster, home, user, key).await {
            Err(DecideError::Suspended) => make_sure(cluster, home).await,
            told => return told,
        }
    }
}

/// An offer's state, made sure of.
pub async fn read_once_sure(cluster: &Decider, home: Home) -> ReadOffer {
    loop {
        match cluster.offer(home).await {
            Err(DecideError::Suspended) => make_sure(cluster, home).await,
            told => return told.unwrap(),
        }
    }
}

async fn make_sure(cluster: &Decider, home: Home) {
    // Whoever is second finds it done; while keys are on their way nobody can.
    let _ = resume(cluster, home).await;
}

/// Versions of an offer's events in the order in which the outbox has them.
pub fn versions(records: &[Record]) -> Vec<u64> {
    let events = records.iter().flat_map(|record| &record.events);
    events
        .map(|event| match event {
            Event::Offer(event) => event.version,
            Event::Zone(_) => panic!("no zone is here"),
        })
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// Redis forgets the script.
    ScriptFlush,
    /// Every connection is cut.
    CutConnections,
    /// Every server crashes and comes back with its log.
    Crash,
}

impl Trouble {
    const fn loses_answers(self) -> bool {
        matches!(self, Self::CutConnections | Self::Crash)
    }
}

/// 1,000 users ask for 100 coupons through two nodes, each twice with the same key.
async fn rush(trouble: Trouble) {
    let tag = fresh_tag();
    let home = Home { tag, offer: tag, epoch: 1 };
    let own = (trouble == Trouble::Crash).then(start);
    let nodes = own.as_deref().unwrap_or_else(|| nodes());
    // Under a name of its own, so that cutting these connections leaves other tests alone.
    for node in nodes {
        assert_eq!(ask(node.port, "ACL SETUSER crowd on >secret ~* &* +@all"), "+OK\r\n");
    }
    let mut seeds = seeds_of(nodes);
    // A crash forgets the name.
    if trouble != Trouble::Crash {
        seeds.iter_mut().for_each(|seed| *seed = seed.replace("//", "//crowd:secret@"));
    }
    let options = if trouble.loses_answers() { patient(seeds) } else { trusting(seeds) };
    let (one, one_journal) = open(options.clone()).await;
    let (other, other_journal) = open(options).await;
    one.create(home, &offer_settings("drop", Kind::Coupon, 100), &audit()).await.unwrap();
    let both = [Arc::new(one), Arc::new(other)];
    let calls: Vec<_> = (0..2_000)
        .map(|call| {
            let cluster = both[(call / 3) % 2].clone();
            tokio::spawn(async move {
                let user = call % 1_000;
                // Cut connections lose answers: whoever asks again with the key learns what happened.
                for _ in 0..20 {
                    match claim_once_sure(&cluster, home, &format!("u{user}"), Some(&format!("k{user}"))).await {
                        Err(DecideError::Indeterminate(_) | DecideError::Unavailable(_)) => tokio::task::yield_now().await,
                        told => return (user, told.unwrap()),
                    }
                }
                panic!("user {user} never learnt what happened");
            })
        })
        .collect();
    // In the middle: some have been answered and most have not.
    while trouble != Trouble::None && calls.iter().filter(|call| call.is_finished()).count() < 200 {
        tokio::task::yield_now().await;
    }
    for node in nodes {
        match trouble {
            Trouble::None => {}
            Trouble::ScriptFlush => assert_eq!(ask(node.port, "SCRIPT FLUSH"), "+OK\r\n"),
            Trouble::CutConnections => assert!(ask(node.port, "CLIENT KILL USER crowd").starts_with(':')),
            // The connection ends with the server.
            Trouble::Crash => crate::redis::tell(node.port, "DEBUG CRASH-AND-RECOVER 100"),
        }
    }
    let (mut winners, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for call in calls {
        match call.await.unwrap() {
            (user, Ok(claim)) => {
                assert_eq!(claim.status, Status::Confirmed);
                winners.insert(user);
                ids.insert(claim.id);
            }
            (_, Err(Refusal::SoldOut { .. })) => {}
            (user, Err(refusal)) => panic!("user {user}: {refusal:?}"),
        }
    }
    assert_eq!((winners.len(), ids.len()), (100, 100), "one each, and both calls of one user have the same");
    let read = read_once_sure(&both[1], home).await;
    assert_eq!((read.stock.confirmed, read.stock.remaining, read.stock.state), (100, 0, OfferState::SoldOut));
    let mut records = shipped_by_either(&one_journal, &other_journal, tag, trouble);
    records.dedup_by_key(|(id, _)| *id);
    let records: Vec<Record> = records.into_iter().map(|(_, record)| record).collect();
    assert_eq!(versions(&records), (1..=101).collect::<Vec<u64>>(), "every event is in the outbox once, in order");
}

type Shipped = Vec<(bunho_engine::cluster::redis::EntryId, Record)>;

/// In the order of the outbox. Where answers were lost, either node may have shipped an entry for the other.
fn shipped_by_either(
    one: &bunho_engine::cluster::redis::MemoryJournal,
    other: &bunho_engine::cluster::redis::MemoryJournal,
    tag: u32,
    trouble: Trouble,
) -> Shipped {
    let entries = one.entries().into_iter().chain(other.entries());
    let mut all: Shipped = entries.filter(|entry| entry.tag == Of::Offer(tag)).map(|entry| (entry.id, entry.record.clone())).collect();
    all.sort_by_key(|(id, _)| *id);
    if !trouble.loses_answers() {
        assert!(all.windows(2).all(|pair| pair[0].0 != pair[1].0), "an entry was shipped twice, though no answer was lost");
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_two_nodes_gets_what_there_is() {
    rush(Trouble::None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_does_not_notice_that_redis_forgot_the_script() {
    rush(Trouble::ScriptFlush).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_whose_answers_were_lost_learns_them_by_asking_again() {
    rush(Trouble::CutConnections).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_outlives_a_crash_of_every_server() {
    rush(Trouble::Crash).await;
}

/// 400 users show one pass at two nodes, each twice with the same key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_pass_takes_one_claim_whoever_shows_it_wherever() {
    let tag = fresh_tag();
    let home = Home { tag, offer: tag, epoch: 1 };
    let (one, _journal) = open(patient(seeds())).await;
    let (other, _other_journal) = open(patient(seeds())).await;
    let mut settings = offer_settings("drop", Kind::Goods, 1_000);
    (settings.zone, settings.pass_once) = (Some(ZoneId::parse("GATE").unwrap()), true);
    one.create(home, &settings, &audit()).await.unwrap();
    let both = [Arc::new(one), Arc::new(other)];
    let show = |user: u64, seq: u32, cluster: &Arc<Decider>| {
        let cluster = cluster.clone();
        async move {
            let (user, key) = (UserId::parse(&format!("u{user}")).unwrap(), IdempotencyKey::parse("k").unwrap());
            let pass = Pass::Valid(PassId { zone_number: 3, ticket: TicketNumber { epoch: 1, seq } });
            let request = ClaimRequest { user: &user, quantity: 1, key: Some(&key), attributes: None, pass, nonce: 5 };
            cluster.claim(home, request).await.unwrap()
        }
    };
    let calls: Vec<_> = (0..800).map(|call| tokio::spawn(show(call % 400, 1, &both[(call / 3 % 2) as usize]))).collect();
    let mut taken = Vec::new();
    for call in calls {
        match call.await.unwrap() {
            Ok(won) => taken.push(won.claim),
            Err(refusal) => assert_eq!(refusal, Refusal::PassUsed),
        }
    }
    assert_eq!((taken.len(), taken[0].id), (2, taken[1].id), "one claim, and both calls of one user have it");
    assert_eq!(taken[0].attributes.as_deref(), Some("{\"bunho.pass\":\"3-1-1\"}"));
    both[0].release(home, Actor::Service(None), taken[0].id).await.unwrap().unwrap();
    assert_eq!(show(1_000, 1, &both[1]).await.unwrap_err(), Refusal::PassUsed, "also when it was given back");
    show(1_000, 2, &both[1]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_holds_that_fall_due_at_once_end_in_bounded_rounds() {
    const HOLDS: u32 = 100_000;
    let (tag, now) = (fresh_tag(), 1_800_000_000_000);
    let home = Home { tag, offer: tag, epoch: 1 };
    let clock = Arc::new(AtomicI64::new(now));
    // Its runs are long, and other tests' commands would wait for them.
    let nodes = start();
    // Some 50 runs one after another: on a busy machine they take their time.
    let options = DeciderOptions { clock: DeciderClock::Manual(clock.clone()), ..patient(seeds_of(&nodes)) };
    let (cluster, journal) = open(options).await;
    let mut settings = offer_settings("rush", Kind::Goods, HOLDS);
    settings.per_user_limit = Some(2);
    cluster.create_suspended(home, &settings).await.unwrap();
    let events: Vec<OfferEvent> = (0..HOLDS).map(|seq| hold(tag, seq, Millis(now))).collect();
    cluster.load(home, &events).await.unwrap();
    resume(&cluster, home).await.unwrap();
    let before = cluster.offer(home).await.unwrap();
    assert_eq!((before.stock.held, before.stock.version, before.next_deadline), (HOLDS, u64::from(HOLDS), Some(Millis(now + 1_000))));
    clock.fetch_add(1_000, Ordering::Relaxed);
    let after = cluster.offer(home).await.unwrap();
    for node in &nodes {
        eprintln!("SLOW {}", ask(node.port, "SLOWLOG GET 100").split("\r\n").filter(|l| l.starts_with(':')).collect::<Vec<_>>().join(" "));
    }
    assert_eq!((after.stock.held, after.stock.remaining, after.next_deadline), (0, HOLDS, None));
    let records = shipped(&journal, tag);
    assert!(records.iter().all(|record| record.events.len() <= SETTLE_MOST), "a record is longer than a round");
    assert_eq!(versions(&records), (u64::from(HOLDS) + 1..=2 * u64::from(HOLDS)).collect::<Vec<u64>>());
    let expired = |event: &Event| matches!(event, Event::Offer(OfferEvent { change: OfferChange::Claim(claim), .. }) if claim.status == Status::Expired);
    assert!(records.iter().flat_map(|record| &record.events).all(expired));
}

fn hold(offer: u32, seq: u32, at: Millis) -> OfferEvent {
    let claim = Claim {
        id: ClaimId::new(offer, seq, seq.into()),
        user: UserId::parse(&format!("u{}", seq / 2)).unwrap(),
        quantity: 1,
        status: Status::Held,
        version: 1,
        key: None,
        attributes: None,
        created_at: at,
        updated_at: at,
        hold_expires_at: Some(at.plus_ms(1_000)),
        ordinal: Some(seq % 2 + 1),
        granted: None,
    };
    OfferEvent { offer, version: u64::from(seq) + 1, change: OfferChange::Claim(Box::new(claim)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_in_the_outbox_when_all_is_answered() {
    let tag = fresh_tag();
    let home = Home { tag, offer: tag, epoch: 1 };
    let (cluster, journal) = open(patient(seeds())).await;
    cluster.create(home, &offer_settings("few", Kind::Coupon, 3), &audit()).await.unwrap();
    for user in ["a", "b", "c"] {
        claim(&cluster, home, user, None).await.unwrap().unwrap();
    }
    // The answers came after the entries were gone.
    let len = nodes().iter().find_map(|node| ask(node.port, &format!("XLEN bunho:{{{tag}}}:outbox")).strip_prefix(':').map(str::to_owned));
    assert_eq!(len.unwrap().trim(), "0");
    until("every record was shipped", || shipped(&journal, tag).len() == 4);
}
