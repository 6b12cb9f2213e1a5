//! From the topic to the tables: several members, epochs that end, databases that die, records that nobody can read.

mod scene;

use crate::backend::{Backend, Server, Shell};
use crate::broker;
use crate::world::*;
use bunho_domain::claim::{Claim, Status};
use bunho_domain::event::{Event, OfferEvent, ZoneChange};
use bunho_domain::offer::settings::OfferSettings;
use bunho_journal::kafka::{self, Connection, Content, End, Ends, Kind, Message, Producer, ProducerOptions, Retention, TopicSettings};
use bunho_ledger::{KafkaOptions, KafkaProjector, Ledger, Loaded, Place};
use scene::{Running, Scene};
use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const UNRESOLVED: &str = "SELECT count(*) FROM parked_events WHERE resolved_at IS NULL";

/// Everything here is over long before this.
const LONG: Duration = Duration::from_secs(50);

fn message(epoch: u32, event: Event) -> Message {
    Message { at: START, epoch, content: Content::Event(event), audit: None }
}

fn fence(of: Kind, number: u32, epoch: u32) -> Message {
    Message { at: START, epoch, content: Content::Fence { of, number }, audit: None }
}

/// What happened to an offer of 40 things whose claims are given back and taken again, as two nodes would write it, which decide in one order and
/// are heard in another: neighbours change places, and some messages come twice.
fn rush(offer: u32, claims: u32, dice: &mut Dice) -> (Vec<Message>, BTreeMap<String, String>) {
    let mut told = Vec::new();
    let mut version = 1;
    let mut say = |claim: &Claim| {
        version += 1;
        told.push(message(1, Event::Offer(OfferEvent { offer, version, change: changed(claim) })));
    };
    let (mut open, mut last): (Vec<Claim>, BTreeMap<String, Claim>) = Default::default();
    for seq in 0..claims {
        if open.len() == 40 {
            let mut one = open.swap_remove(dice.below(40) as usize);
            if dice.below(2) == 0 {
                one = then(&one, Status::Confirmed);
                say(&one);
                one = then(&one, Status::Returned);
            } else {
                one = then(&one, Status::Released);
            }
            say(&one);
            last.insert(one.id.to_string(), one);
        }
        // Few users, who come back: each has one place, so a new claim is refused until the old one is known to have ended.
        let name = format!(
            "u{}",
            (0..)
                .map(|_| dice.below(60))
                .find(|name| open.iter().all(|claim| claim.user.as_str() != format!("u{name}")))
                .expect("fewer hold one than there are")
        );
        let claim = place(Claim { key: Some(key(&format!("k{seq}"))), ..held(offer, seq, &name) }, 1);
        say(&claim);
        last.insert(claim.id.to_string(), claim.clone());
        open.push(claim);
    }
    let mut heard = vec![message(1, defined(offer, 1, goods(&format!("goods-{offer}"), 40)))];
    for message in told {
        heard.push(message);
        let end = heard.len() - 1;
        if end > 1 && dice.below(6) == 0 {
            heard.swap(end, end - 1);
        }
        if dice.below(10) == 0 {
            let again = heard[end.saturating_sub(dice.below(20) as usize)].clone();
            heard.push(again);
        }
    }
    (heard, last.into_iter().map(|(id, claim)| (id, format!("{}|{}", claim.version, word(claim.status)))).collect())
}

fn changed(claim: &Claim) -> bunho_domain::event::OfferChange {
    bunho_domain::event::OfferChange::Claim(Box::new(claim.clone()))
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Held => "held",
        Status::Confirmed => "confirmed",
        Status::Released => "released",
        Status::Expired => "expired",
        Status::Returned => "returned",
    }
}

/// A member on a thread of its own, which can be made to stand still wherever it is: until the other side of what it is sent is gone.
fn member_that_hangs(projector: Arc<KafkaProjector>) -> (std::thread::JoinHandle<()>, UnboundedSender<Option<mpsc::Receiver<()>>>) {
    let (say, mut said) = tokio::sync::mpsc::unbounded_channel::<Option<mpsc::Receiver<()>>>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let running = tokio::spawn(async move { projector.run(std::future::pending()).await });
            while let Some(Some(gate)) = said.recv().await {
                // Nothing else happens on this thread.
                gate.iter().for_each(drop);
            }
            running.abort();
        });
    });
    (thread, say)
}

async fn two_members_apply_every_message_once_though_one_hangs(backend: Backend) {
    let scene = Scene::of(backend, "members", 6).await;
    let mut dice = Dice(11);
    let mut expected = BTreeMap::new();
    let mut streams: Vec<std::vec::IntoIter<(String, Message)>> = Vec::new();
    for offer in 1..=16 {
        let (heard, last) = rush(offer, 480, &mut dice);
        expected.extend(last);
        streams.push(heard.into_iter().map(|message| (format!("goods-{offer}"), message)).collect::<Vec<_>>().into_iter());
    }
    let mut messages = Vec::new();
    while !streams.is_empty() {
        let index = dice.below(streams.len() as u32) as usize;
        match streams[index].next() {
            Some(message) => messages.push(message),
            None => drop(streams.swap_remove(index)),
        }
    }
    assert!(messages.len() > 15_000, "{}", messages.len());

    let other = Ledger::open(scene.ledger.place()).await.expect("the other node's");
    let (one, two) = (scene.projector_soon_missed(&scene.ledger), scene.projector_soon_missed(&other));
    let first = Running::of(&one);
    let (thread, second) = member_that_hangs(two.clone());
    let total = messages.len();
    let mut messages = messages.into_iter();
    scene.say(messages.by_ref().take(total / 4)).await;
    // In the middle of whatever it does. What is sent to nobody is taken by it when it stands still.
    let (gate, stands) = mpsc::sync_channel(0);
    second.send(Some(stands)).expect("it runs");
    tokio::task::block_in_place(|| gate.send(())).expect("it stands still");
    for _ in 0..20 {
        scene.say(messages.by_ref().take(total / 40)).await;
        // Until it is thrown out and the other has its share: at the latest after half as long again as that takes, since it may stand there with rows locked.
        scene.ledger.reached(&scene.ends().await, Duration::from_millis(450)).await.expect("read");
    }
    scene.say(messages.by_ref().take(total / 8)).await;
    drop(gate);
    second.send(None).expect("it runs");
    tokio::task::spawn_blocking(|| thread.join()).await.expect("joined").expect("it ends");
    scene.say(messages).await;
    scene.all_is_there().await;
    // What was heard too early, and what it waited for during a pause, is tried when that is over.
    let mut parked = one.watch_parked();
    let mended = async {
        while scene.sql(UNRESOLVED).await != ["0"] {
            parked.changed().await.expect("it runs");
        }
    };
    tokio::time::timeout(LONG, mended).await.expect("everything fits in");
    first.end().await;

    assert_eq!(scene.ledger.positions().await.expect("read"), scene.ends().await);
    let found: BTreeMap<String, String> = scene
        .sql("SELECT id, version, status FROM claims ORDER BY id")
        .await
        .into_iter()
        .map(|line| line.split_once('|').map(|(id, rest)| (id.to_owned(), rest.to_owned())).expect("columns"))
        .collect();
    assert_eq!(found, expected);
    let states: usize = expected.values().map(|last| last.split('|').next().expect("a version").parse::<usize>().expect("a number")).sum();
    assert_eq!(scene.sql("SELECT count(*) FROM claim_events").await, [states.to_string()], "every state of every claim");
    assert_eq!(scene.sql("SELECT journal_offset, reason FROM parked_events WHERE resolved_at IS NULL").await, Vec::<String>::new());
    let mended: u32 = scene.sql("SELECT count(*) FROM parked_events").await[0].parse().expect("a number");
    println!("{} messages, {mended} of them were heard too early", total);
    assert_eq!((one.parked(), one.fenced(), one.healthy()), (0, 0, true));
}

async fn a_fence_drops_what_comes_late_and_nothing_else(backend: Backend) {
    let scene = Scene::of(backend, "fences", 1).await;
    let key = |offer: u32| format!("goods-{offer}");
    let projector = scene.projector(&scene.ledger);
    let running = Running::of(&projector);
    for offer in [1, 2] {
        scene.say([(key(offer), message(1, defined(offer, 1, goods(&key(offer), 10))))]).await;
        scene.say([(key(offer), message(1, now(2, &held(offer, 0, "early"))))]).await;
    }
    scene.say([(key(1), fence(Kind::Offer, 1, 2)), (key(1), fence(Kind::Zone, 2, 9))]).await;
    for offer in [1, 2] {
        scene.say([(key(offer), message(1, now(3, &held(offer, 1, "late"))))]).await;
    }
    scene.say([(key(1), message(2, now(3, &held(1, 2, "anew"))))]).await;
    // A zone's epochs are its own, and so are a gate's tickets.
    scene.say([("gate".into(), message(1, zoned(1, ZoneChange::Defined(Box::new(zone("gate"))))))]).await;
    scene.all_is_there().await;
    running.end().await;
    assert_eq!(projector.fenced(), 1);

    // Whoever goes on knows of the fence, also of one that is in its own batch, and a lower fence says nothing.
    let projector = scene.projector(&scene.ledger);
    let running = Running::of(&projector);
    scene.say([(key(1), fence(Kind::Offer, 1, 1)), (key(1), message(1, now(4, &held(1, 3, "later"))))]).await;
    scene.say([(key(1), fence(Kind::Offer, 1, 3)), (key(1), message(2, now(4, &held(1, 4, "of the second"))))]).await;
    scene.say([(key(1), message(3, now(4, &held(1, 5, "of the third"))))]).await;
    scene.all_is_there().await;
    running.end().await;
    assert_eq!((projector.fenced(), projector.parked()), (2, 0));
    let users = scene.sql("SELECT offer_id, user_id FROM claims ORDER BY id").await;
    assert_eq!(users, ["goods-1|early", "goods-1|anew", "goods-1|of the third", "goods-2|early", "goods-2|late"]);
    assert_eq!(scene.sql("SELECT kind, number, epoch FROM fences ORDER BY kind").await, ["offer|1|3", "zone|2|9"]);
    assert_eq!(scene.sql("SELECT id FROM zones").await, ["gate"]);
}

/// Whoever shipped it died before it was removed from the outbox, and another node shipped it again.
async fn who_did_something_is_said_once(backend: Backend) {
    let scene = Scene::of(backend, "audited", 1).await;
    let projector = scene.projector(&scene.ledger);
    let running = Running::of(&projector);
    let done_by = |action: &str, event| Message { audit: Some(audit(action)), ..message(1, event) };
    let restocked = done_by("offer.restock", defined(1, 2, OfferSettings { revision: 2, ..goods("a", 9) }));
    let paused = done_by("zone.pause", zoned(1, ZoneChange::Defined(Box::new(zone("gate")))));
    scene.say([("a".into(), done_by("offer.new", defined(1, 1, goods("a", 1))))]).await;
    scene.say([("a".into(), restocked.clone()), ("a".into(), restocked.clone()), ("gate".into(), paused.clone())]).await;
    scene.all_is_there().await;
    scene.say([("a".into(), restocked), ("gate".into(), paused)]).await;
    scene.say([("a".into(), done_by("offer.close", defined(1, 3, OfferSettings { revision: 3, ..goods("a", 9) })))]).await;
    scene.all_is_there().await;
    running.end().await;
    let said = scene.sql("SELECT action, event FROM audit_log ORDER BY id").await;
    assert_eq!(said, ["offer.new|offer-1.1", "offer.restock|offer-1.2", "zone.pause|zone-1.settings.1", "offer.close|offer-1.3"]);
}

/// Waits until so many events are parked.
async fn parked(projector: &KafkaProjector, wanted: u64) {
    let mut parked = projector.watch_parked();
    let in_time = tokio::time::timeout(LONG, parked.wait_for(|parked| *parked == wanted)).await.is_ok();
    assert!(in_time, "{} are parked, not {wanted}", projector.parked());
}

/// Two nodes decide in one order and are heard in another.
async fn what_is_heard_too_early_fits_in_later(backend: Backend) {
    let scene = Scene::of(backend, "early", 1).await;
    let projector = scene.projector(&scene.ledger);
    let running = Running::of(&projector);
    let say = async |event| {
        scene.say([("a".to_owned(), message(1, event))]).await;
        scene.all_is_there().await;
    };
    let wait = async |wanted: u64| parked(&projector, wanted).await;
    say(defined(1, 1, goods("a", 2))).await;
    let (first, second) = (place(held(1, 0, "u1"), 1), place(held(1, 1, "u2"), 1));
    say(now(2, &first)).await;
    say(now(3, &second)).await;
    // The same user again, and a third one: both of after the release that is not here yet.
    let again = place(held(1, 2, "u1"), 1);
    say(now(6, &again)).await;
    wait(1).await;
    let third = place(held(1, 3, "u3"), 1);
    say(now(7, &then(&then(&third, Status::Confirmed), Status::Returned))).await;
    say(now(5, &then(&second, Status::Confirmed))).await;
    assert_eq!(projector.parked(), 1, "what does not help does not mend");
    // A try that helped nobody is followed by a pause, and what comes in it is tried when that is over.
    say(now(4, &then(&first, Status::Released))).await;
    wait(0).await;
    // An edit that a claim was heard before, and an older one that comes last.
    let edit = |quantity, revision| OfferSettings { revision, ..goods("a", quantity) };
    say(now(11, &place(held(1, 4, "u4"), 1))).await;
    wait(1).await;
    say(defined(1, 10, edit(4, 3))).await;
    wait(0).await;
    say(defined(1, 9, edit(1, 2))).await;
    running.end().await;
    assert_eq!(projector.parked(), 0);
    assert_eq!(scene.sql("SELECT quantity, revision, version FROM offers").await, ["4|3|11"]);
    let claims = scene.sql("SELECT user_id, status, version FROM claims ORDER BY id").await;
    assert_eq!(claims, ["u1|released|2", "u2|confirmed|2", "u1|held|1", "u3|returned|3", "u4|held|1"]);
    assert_eq!(scene.sql("SELECT count(*) FROM parked_events WHERE resolved_at IS NOT NULL").await, ["2"]);
}

async fn more_than_is_tried_at_once_is_mended_too(backend: Backend) {
    let scene = Scene::of(backend, "many-early", 1).await;
    let projector = scene.projector_that_tries_at_once();
    let running = Running::of(&projector);
    let say = async |offer: u32, events: Vec<Event>| {
        scene.say(events.into_iter().map(|event| (format!("o{offer}"), message(1, event)))).await;
        scene.all_is_there().await;
    };
    let parked = async |wanted: u64| parked(&projector, wanted).await;
    let edit = |offer: u32, version| defined(offer, version, OfferSettings { revision: 2, ..goods(&format!("o{offer}"), 9_000) });
    // All of them fit once the edit is here, and nothing follows it.
    say(1, vec![defined(1, 1, goods("o1", 1))]).await;
    say(1, (0..2_301).map(|seq| now(u64::from(seq) + 2, &held(1, seq, &format!("u{seq}")))).collect()).await;
    parked(2_300).await;
    say(1, vec![edit(1, 5_000)]).await;
    parked(0).await;
    // One user's place, more than a thousand times; behind them somebody who has waited for the edit.
    say(2, vec![defined(2, 1, goods("o2", 1))]).await;
    let places = (0..1_100).map(|seq| now(u64::from(seq) + 2, &place(held(2, seq, "greedy"), 1)));
    say(2, places.chain([now(2_000, &held(2, 1_100, "patient"))]).collect()).await;
    parked(1_100).await;
    say(2, vec![edit(2, 5_000)]).await;
    parked(1_099).await;
    running.end().await;
    assert_eq!(scene.sql("SELECT user_id FROM claims WHERE offer_id = 'o2' ORDER BY id").await, ["greedy", "patient"]);
}

/// Another member has that partition and has counted without it.
async fn what_is_parked_of_another_partition_is_left_to_its_owner(backend: Backend) {
    let scene = Scene::of(backend, "owners", 1).await;
    let projector = scene.projector(&scene.ledger);
    let running = Running::of(&projector);
    let say = async |events: Vec<Event>| {
        scene.say(events.into_iter().map(|event| ("a".to_owned(), message(1, event)))).await;
        scene.all_is_there().await;
    };
    say(vec![defined(1, 1, goods("a", 1)), now(2, &held(1, 0, "u0")), now(3, &held(1, 1, "u1"))]).await;
    running.end().await;
    assert_eq!(scene.sql(UNRESOLVED).await, ["1"]);
    let mut shell = Shell::to(scene.ledger.place()).await;
    shell.run("UPDATE parked_events SET journal_offset = 7 * 281474976710656").await;
    // What it would try it has tried by the time that the next is there.
    let projector = scene.projector_that_tries_at_once();
    let running = Running::of(&projector);
    say(vec![defined(1, 4, OfferSettings { revision: 2, ..goods("a", 5) }), now(5, &held(1, 2, "u2"))]).await;
    say(vec![now(6, &held(1, 3, "u3"))]).await;
    running.end().await;
    assert_eq!(scene.sql("SELECT user_id FROM claims ORDER BY id").await, ["u0", "u2", "u3"]);
    assert_eq!(scene.sql(UNRESOLVED).await, ["1"]);
}

async fn what_nobody_can_read_is_parked_and_the_rest_goes_on(backend: Backend) {
    let scene = Scene::of(backend, "poison", 2).await;
    let projector = scene.projector(&scene.ledger);
    let running = Running::of(&projector);
    scene.say([("a".into(), message(1, defined(1, 1, goods("a", 10)))), ("a".into(), message(1, now(2, &held(1, 0, "u1"))))]).await;
    for poison in [&b"\xff\x00 not a message"[..], br#"{"specversion":"1.0","type":"bunho.claim.v9","epoch":1,"data":{}}"#] {
        scene.producer.produce_encoded("a", poison).expect("room").await.expect("written");
    }
    scene.say([("a".into(), message(1, now(3, &held(1, 1, "u2"))))]).await;
    scene.all_is_there().await;
    assert_eq!(scene.sql("SELECT user_id FROM claims ORDER BY id").await, ["u1", "u2"]);
    // What is in the tables is counted a moment later.
    running.end().await;
    assert_eq!((projector.parked(), projector.healthy()), (2, true));

    let parked = scene.ledger.parked_events(None, 10).await.expect("read");
    let partition = parked[0].journal_offset >> 48;
    assert_eq!(parked.iter().map(|row| row.journal_offset & 0xffff).collect::<Vec<_>>(), [2, 3]);
    assert!(parked.iter().all(|row| row.reason == "unreadable" && row.journal_offset >> 48 == partition));
    assert!(parked[0].payload.contains(r#""bytes":"ff00206e6f74"#), "{}", parked[0].payload);
    assert!(parked[1].payload.contains("bunho.claim.v9") && parked[1].payload.contains(r#""key":"a""#), "{}", parked[1].payload);
    // A restart takes nothing of it, and its offer comes back whole.
    let Loaded::Offer(offer) = scene.ledger.load_offer(1).await.expect("loaded") else { panic!("it is not there") };
    assert_eq!((offer.version, offer.is_whole, offer.events), (3, true, vec![]));
}

/// More than a database takes in one statement, from somebody who writes to the wrong topic.
async fn large_messages_of_others_stop_nobody(backend: Backend) {
    let scene = Scene::of(backend, "large", 1).await;
    let poison = vec![b'x'; 250 * 1_024];
    for _ in 0..80 {
        scene.producer.produce_encoded("a", &poison).expect("room").await.expect("written");
    }
    scene.say([("a".into(), message(1, defined(1, 1, goods("a", 10)))), ("a".into(), message(1, now(2, &held(1, 0, "u1"))))]).await;
    let projector = scene.projector(&scene.ledger);
    let running = Running::of(&projector);
    scene.all_is_there().await;
    running.end().await;
    assert_eq!((projector.parked(), projector.healthy()), (80, true));
    assert_eq!(scene.sql("SELECT user_id FROM claims").await, ["u1"]);
    let parked = scene.ledger.parked_events(None, 1).await.expect("read").remove(0);
    assert!(parked.payload.contains(r#""length":256000"#) && parked.payload.len() < 140_000, "{}", parked.payload.len());
}

async fn a_database_that_dies_is_waited_for(backend: Backend) {
    let server = Server::start(backend);
    let place = crate::backend::new_database(&server.url).await;
    let scene = Scene::at("dies", 3, tempfile::tempdir().expect("a folder"), &place).await;
    let projector = scene.projector(&scene.ledger);
    let running = Running::of(&projector);
    let offers = 1..=6_u32;
    scene.say(offers.clone().map(|offer| (format!("o{offer}"), message(1, defined(offer, 1, goods(&format!("o{offer}"), 2_000)))))).await;
    let claims = |range: std::ops::Range<u32>| {
        let one = |offer, seq: u32| (format!("o{offer}"), message(1, now(u64::from(seq) + 2, &held(offer, seq, &format!("u{seq}")))));
        offers.clone().flat_map(move |offer| range.clone().map(move |seq| one(offer, seq))).collect::<Vec<_>>()
    };
    scene.say(claims(0..300)).await;
    scene.all_is_there().await;
    scene.say(claims(300..600)).await;
    server.kill();
    scene.say(claims(600..900)).await;
    let end = Instant::now() + LONG;
    while projector.healthy() {
        assert!(Instant::now() < end, "nobody noticed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.restart();
    scene.all_is_there().await;
    // What is in the tables is known to the projector a moment later.
    running.end().await;
    assert_eq!((projector.parked(), projector.healthy()), (0, true));
    assert_eq!(scene.sql("SELECT count(*), count(DISTINCT user_id) FROM claims").await, ["5400|900"]);
}

crate::backend::on_servers!(
    two_members_apply_every_message_once_though_one_hangs,
    a_fence_drops_what_comes_late_and_nothing_else,
    who_did_something_is_said_once,
    what_is_heard_too_early_fits_in_later,
    more_than_is_tried_at_once_is_mended_too,
    what_is_parked_of_another_partition_is_left_to_its_owner,
    what_nobody_can_read_is_parked_and_the_rest_goes_on,
    large_messages_of_others_stop_nobody,
    a_database_that_dies_is_waited_for,
);
