//! People who are forgotten by themselves, because what they had is old. The clock is set forward between two starts; all else is real.

use crate::clock::{DAY_MS, SystemClock};
use crate::forget::{MARK, claim, close, lived, marked, post, sums};
use crate::harness::{Server, until};
use crate::scrape::{self, page};
use reqwest::StatusCode;
use serde_json::json;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
const DAYS: (&str, &str) = ("BUNHO_RETENTION__FORGET_AFTER_DAYS", "30");
const FORGOTTEN: &str = "bunho_retention_forgotten_total";

/// Starts it again some days after it was started first.
async fn after_days(server: &mut Server, clock: &SystemClock, days: i64, more: &[(&str, &str)]) {
    server.stop();
    clock.set(days * DAY_MS);
    let [(name, path)] = clock.environment();
    server.set_environment(&[&[DAYS, (name, &path)], more].concat());
    server.restart().await;
}

fn sweeps(server: &Server) -> usize {
    server.sql("select count(*) from audit_log where action = 'retention.forget'").parse().unwrap()
}

/// What a sweep is done with last.
async fn until_wiped(server: &Server, sweep: usize) {
    until("what is old is forgotten", SOON, async || sweeps(server) == sweep && server.sql("select wipe_due from retention") == "0").await;
}

fn names_in(server: &Server, offer: &str) -> String {
    server.sql(&format!("select count(*) from claims where offer_id = '{offer}' and user_id not like 'forgotten-%'"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_old_is_forgotten_and_what_is_not_stays() {
    let clock = SystemClock::new();
    let mut server = clock.server().await;
    lived(&server).await;
    server.until_projected().await;
    after_days(&mut server, &clock, 10, &[]).await;
    server.put_offer("late", json!({"kind": "goods", "quantity": 10, "hold_seconds": 600})).await;
    let late = claim(&server, "late", MARK, 0).await;
    post(&server, &format!("/v1/claims/{}/confirm", late["id"].as_str().unwrap()), json!({})).await;
    close(&server, "late").await;
    server.until_projected().await;
    assert_eq!((sweeps(&server), scrape::value(&page(&server).await, FORGOTTEN)), (0, Some(0.0)), "nothing is old");
    let stay = server.offer("stay").await;
    let of_stay: f64 = server.sql("select count(*) from claims where offer_id in ('stay', 'gone')").parse().unwrap();

    // Closed 31 days ago, and deleted 31 days ago; `late` was closed 21 days ago, and `open` is open.
    after_days(&mut server, &clock, 31, &[]).await;
    until_wiped(&server, 1).await;
    assert_eq!([names_in(&server, "stay"), names_in(&server, "gone")], ["0", "0"]);
    assert_eq!([names_in(&server, "late"), names_in(&server, "open")], ["1", "1"]);
    assert_eq!(server.sql("select count(*) from standby where user_id not like 'forgotten-%'"), "0");
    assert_eq!(scrape::value(&page(&server).await, FORGOTTEN), Some(of_stay));
    let noted = "select count(*) from audit_log where detail like '%marked-person%'";
    assert_eq!(server.sql(noted), "1", "somebody who has something elsewhere is known still");
    let entry = server.sql("select actor || detail from audit_log where action = 'retention.forget'");
    assert!(entry.starts_with("system") && entry.contains("\"offers\":2") && !entry.contains(MARK), "{entry}");
    server.assert_reconciled();

    // The last of it.
    until("the hold in the open offer is over", SOON, async || {
        server.user_get(MARK, "/v1/claims").await.1["claims"].as_array().unwrap().iter().all(|claim| claim["status"] != "held")
    })
    .await;
    let before_all = sums(&server);
    close(&server, "open").await;
    after_days(&mut server, &clock, 62, &[]).await;
    until_wiped(&server, 2).await;
    assert_eq!(marked(server.data()), Vec::<String>::new(), "neither rows nor files say who it was");
    assert_eq!(server.sql(noted), "0");
    assert_eq!(sums(&server), before_all, "all is counted as it was");
    for field in ["quantity", "confirmed", "remaining"] {
        assert_eq!(server.offer("stay").await[field], stay[field], "{field}");
    }
    server.assert_reconciled();
    server.kill();
    server.restart().await;
    server.assert_reconciled();
    assert_eq!((marked(server.data()), sweeps(&server)), (Vec::new(), 2), "and there is nothing more to do");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_holds_something_is_kept_back_and_goes_later() {
    let clock = SystemClock::new();
    let mut server = clock.server().await;
    server.put_offer("past", json!({"kind": "goods", "quantity": 50, "hold_seconds": 86_400})).await;
    let held = claim(&server, "past", MARK, 0).await["id"].as_str().unwrap().to_owned();
    for number in 0..20 {
        let claim = claim(&server, "past", &format!("u{number}"), number).await;
        post(&server, &format!("/v1/claims/{}/confirm", claim["id"].as_str().unwrap()), json!({})).await;
    }
    // Closed as long ago as the operator says.
    let closes_at = (jiff::Timestamp::now() - Duration::from_secs(40 * 86_400)).to_string();
    server.put_offer("past", json!({"kind": "goods", "quantity": 50, "hold_seconds": 86_400, "closes_at": closes_at})).await;
    server.until_projected().await;
    after_days(&mut server, &clock, 0, &[]).await;
    until_wiped(&server, 1).await;
    assert_eq!(names_in(&server, "past"), "1");
    assert!(server.sql("select detail from audit_log where action = 'retention.forget'").contains("\"kept_back\":1"));
    let (status, confirmed) = server.service_post(&format!("/v1/claims/{held}/confirm"), json!({})).await;
    assert_eq!((status, confirmed["user"].as_str()), (StatusCode::OK, Some(MARK)), "{confirmed}");
    server.until_projected().await;
    after_days(&mut server, &clock, 0, &[]).await;
    until_wiped(&server, 2).await;
    assert_eq!((names_in(&server, "past"), marked(server.data())), ("0".into(), Vec::new()));
    server.assert_reconciled();
}

/// Whatever line it dies at, the next start goes on, and then nothing is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_is_mended_by_the_next_start() {
    const OWN: [&str; 3] = ["retention::noted", "retention::decided", "retention::audited"];
    const SHARED: [&str; 3] = ["forget::part_decided", "forget::trimmed", "forget::wiped"];
    let mut sources = crate::harness::points_of_the_sources();
    sources.retain(|name| name.starts_with("retention::"));
    assert_eq!(sources, OWN.iter().map(|point| (*point).to_owned()).collect(), "every point of the sources is struck");
    for point in OWN.into_iter().chain(SHARED) {
        let clock = SystemClock::new();
        let mut server = clock.server().await;
        lived(&server).await;
        close(&server, "open").await;
        server.until_projected().await;
        let before = sums(&server);
        server.stop();
        clock.set(31 * DAY_MS);
        let [(name, path)] = clock.environment();
        server.set_environment(&[DAYS, (name, &path), ("FAILPOINTS", &format!("{point}=return"))]);
        // It may die before it says where it serves.
        if server.try_launch().is_ok() {
            server.ended().await;
        }
        server.set_environment(&[DAYS, (name, &path)]);
        server.restart().await;
        until("nothing says who it was", SOON, async || {
            server.sql("select wipe_due from retention") == "0" && marked(server.data()).is_empty()
        })
        .await;
        assert_eq!(names_in(&server, "stay"), "0", "{point}");
        let pseudonyms = "select count(distinct user_id) from claims where offer_id = 'stay'";
        let people = "select count(*) from claims where offer_id = 'stay'";
        // Six claims are of one person; those who filled it have one or more.
        assert!(server.sql(pseudonyms).parse::<u32>().unwrap() <= server.sql(people).parse::<u32>().unwrap() - 5, "{point}");
        // The held claim of `open` expires on the way.
        let counted = |sums: String| sums.lines().filter(|line| line.starts_with("stay") || line.starts_with("gone")).count();
        assert_eq!(counted(sums(&server)), counted(before), "{point}");
        server.assert_reconciled();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sweep_is_bounded_and_the_next_goes_on() {
    const PEOPLE: usize = 11_500;
    let clock = SystemClock::new();
    let mut server = clock.server().await;
    // Confirmed at once: whoever's hold is only just being ended is kept back until the next sweep.
    server.put_offer("crowd", json!({"kind": "goods", "quantity": 20_000, "hold_seconds": 0})).await;
    let lanes: Vec<_> = (0..16)
        .map(|lane| {
            let (client, url) = (server.client.clone(), server.url.clone());
            tokio::spawn(async move {
                for number in (lane..PEOPLE).step_by(16) {
                    let request = client.post(format!("{url}/v1/offers/crowd/claims")).header("x-bunho-user", format!("c{number}"));
                    assert_eq!(request.json(&json!({"quantity": 1})).send().await.unwrap().status(), StatusCode::CREATED);
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    close(&server, "crowd").await;
    server.put_offer("lives", json!({"kind": "goods", "quantity": 1_000_000})).await;
    server.until_projected().await;
    after_days(&mut server, &clock, 31, &[]).await;
    let (began, mut claims, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    // Others go on claiming.
    let crowd = async {
        loop {
            let asked = Instant::now();
            claim(&server, "lives", &format!("new{claims}"), 0).await;
            slowest = slowest.max(asked.elapsed());
            claims += 1;
        }
    };
    tokio::select! {
        () = crowd => unreachable!("it claims for as long as it may"),
        () = until_wiped(&server, 1) => {}
    }
    println!("{claims} claims meanwhile, the slowest in {slowest:?}");
    assert!(claims > 0 && server.offer("lives").await["held"].as_u64().is_some_and(|held| held >= claims));
    let left: usize = names_in(&server, "crowd").parse().unwrap();
    println!("{} of {PEOPLE} people were forgotten in {:?}", PEOPLE - left, began.elapsed());
    assert!((1_000..=1_500).contains(&left), "{left} are left to the next sweep");
    server.assert_reconciled();
    after_days(&mut server, &clock, 31, &[]).await;
    until_wiped(&server, 2).await;
    assert_eq!(names_in(&server, "crowd"), "0");
    let people = server.sql("select count(distinct user_id) from claims where offer_id = 'crowd'");
    assert_eq!(people, PEOPLE.to_string(), "each has a pseudonym");
    assert_ne!(names_in(&server, "lives"), "0", "who has something that is not old is known");
    server.assert_reconciled();
}
