//! One fault after another under a crowd that claims and waits in line: nothing that was told becomes untrue, and service comes back by itself.
//!
//! Each row of [`FAULTS`] gets two nodes on a database, a topic and keys of their own. `strike` is what is done to whom; `load` the way to the
//! nodes, and how long nobody was served; `buyers` and `line` the crowd; `books` what it was told; `checks` what must be true afterwards; `points` where nodes are killed.
//! The components are the suite's own, as no other test would bear what is done to them.
//!
//! `cargo test` has the rows that are marked; `make test-faults` has all of them, and `BUNHO_TEST_FAULTS` takes a word that the names are to contain.

mod books;
mod buyers;
mod checks;
mod line;
mod load;
mod points;
mod strike;

use crate::harness::{Random, seeded, until};
use futures_util::FutureExt;
use load::Load;
use points::Reach::{Crowd, Doubt, Loss, Operator};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use strike::Grounds;
use strike::Strike::{self, AtPoints, ComeAndGo, FlushRedis, Kill, LoseRedis, PromoteStale, Roll, Stop};
use strike::Target::{AllBrokers, Broker, Database, Node, Primary};

/// One fault.
struct Fault {
    name: &'static str,
    strike: Strike,
    on: On,
    /// How long it lasts before it is undone.
    lasts: u64,
    serves: Serves,
    when: When,
}

/// What the nodes stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Postgres,
    Mariadb,
    ThreeBrokers,
}

/// Whether somebody is served at any time, or service may be away until the fault is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Serves {
    Throughout,
    Later,
}

/// In which runs it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    Asked,
}

const fn fault(name: &'static str, strike: Strike, on: On, lasts: u64, serves: Serves, when: When) -> Fault {
    Fault { name, strike, on, lasts, serves, when }
}

/// In seconds. A Redis node counts as failed after 5, a broker after 6, a node's work is taken over after 15.
const FAULTS: &[Fault] = &[
    fault("a node is killed", Kill(Node), On::Postgres, 3, Serves::Throughout, When::Always),
    fault("nodes are upgraded one after the other", Roll, On::Postgres, 60, Serves::Throughout, When::Always),
    fault("all of Redis is emptied", FlushRedis, On::Postgres, 0, Serves::Later, When::Always),
    fault("a Redis primary is killed", Kill(Primary), On::Postgres, 14, Serves::Later, When::Always),
    fault("nodes are killed at every point of a claim's way", AtPoints(&[Crowd]), On::Postgres, 0, Serves::Throughout, When::Always),
    fault("nodes are killed at every point of an edit", AtPoints(&[Operator]), On::Postgres, 0, Serves::Throughout, When::Always),
    fault("nodes are killed at every point of a recovery", AtPoints(&[Doubt, Loss]), On::Postgres, 0, Serves::Later, When::Always),
    fault("a node hangs", Stop(Node), On::Postgres, 25, Serves::Throughout, When::Asked),
    fault("a third node comes and goes", ComeAndGo, On::Postgres, 4, Serves::Throughout, When::Asked),
    fault("a Redis primary hangs", Stop(Primary), On::Postgres, 14, Serves::Later, When::Asked),
    fault("a stale replica is promoted", PromoteStale, On::Postgres, 14, Serves::Later, When::Asked),
    fault("all of Redis is lost with its data", LoseRedis, On::Postgres, 3, Serves::Later, When::Asked),
    fault("the broker is killed", Kill(AllBrokers), On::Postgres, 6, Serves::Later, When::Asked),
    fault("the broker hangs", Stop(AllBrokers), On::Postgres, 15, Serves::Later, When::Asked),
    fault("PostgreSQL is killed", Kill(Database), On::Postgres, 6, Serves::Throughout, When::Asked),
    fault("PostgreSQL hangs", Stop(Database), On::Postgres, 15, Serves::Throughout, When::Asked),
    fault("MariaDB is killed", Kill(Database), On::Mariadb, 6, Serves::Throughout, When::Asked),
    fault("MariaDB hangs", Stop(Database), On::Mariadb, 15, Serves::Throughout, When::Asked),
    fault("all of Redis is emptied, on MariaDB", FlushRedis, On::Mariadb, 0, Serves::Later, When::Asked),
    fault("one broker of three is killed", Kill(Broker), On::ThreeBrokers, 12, Serves::Throughout, When::Asked),
    fault("one broker of three hangs", Stop(Broker), On::ThreeBrokers, 15, Serves::Throughout, When::Asked),
    fault("all three brokers are killed", Kill(AllBrokers), On::ThreeBrokers, 6, Serves::Later, When::Asked),
];

/// The crowd at work before a fault, and after service is back.
const WORK: Duration = Duration::from_secs(3);
/// Service must be back by then.
const RECOVERY: Duration = Duration::from_secs(60);
/// Longest time without any 2xx where somebody is served throughout: a request that fails costs its client this much.
const HICCUP: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_fails_nothing_told_is_untrue_and_service_comes_back() {
    let asked = std::env::var("BUNHO_TEST_FAULTS").ok();
    let mut random = seeded("faults");
    let mut grounds = Grounds::default();
    let (mut report, mut failed) = (Vec::new(), 0);
    for fault in FAULTS {
        let is_wanted = match asked.as_deref() {
            None => fault.when == When::Always,
            Some("all") => true,
            Some(word) => fault.name.contains(word),
        };
        if is_wanted {
            println!("{} …", fault.name);
            // One that is not borne must not hide what becomes of the others.
            let played = AssertUnwindSafe(fault.play(&mut grounds, &mut random)).catch_unwind().await;
            failed += usize::from(played.is_err());
            let line = played.unwrap_or_else(|_| format!("{}: NOT BORNE", fault.name));
            println!("{line}");
            report.push(line);
        }
    }
    println!("\n{}", report.join("\n"));
    assert!(!report.is_empty(), "no fault has {asked:?} in its name");
    assert_eq!(failed, 0, "faults were not borne: why stands above");
}

impl Fault {
    async fn play(&self, grounds: &mut Grounds, random: &mut Random) -> String {
        let mut stage = grounds.stage(self.on, self.strike.replicas()).await;
        let load = Arc::new(Load::new(stage.server.urls()));
        load::put_everything(&stage.server).await;
        let mut crowd = load.crowd(random);
        until("the crowd is at work", RECOVERY, async || load.is_served_since(load.began)).await;
        tokio::time::sleep(WORK).await;

        let struck = Instant::now();
        stage.strike(self.strike, Duration::from_secs(self.lasts), &load, random).await;
        let undone = Instant::now();
        until("service is back everywhere", RECOVERY, async || load.is_served_since(undone)).await;
        stage.until_all_say_so(RECOVERY).await;
        let back = undone.elapsed();
        tokio::time::sleep(WORK).await;

        load.stop.store(true, Ordering::Relaxed);
        while let Some(member) = crowd.join_next().await {
            member.unwrap();
        }
        let (overall, by_kind) = load.without_service(struck);
        stage.check(&load, random).await;
        if self.serves == Serves::Throughout {
            assert!(overall < HICCUP, "{}: nobody was served for {overall:.1?}", self.name);
        }
        format!(
            "{}: without service {overall:.1?} (of one kind at most {by_kind}); whole {back:.1?} after the end of the fault; {}",
            self.name,
            load.books().summary()
        )
    }
}
