//! The line in Redis against the line of the domain: the same crowd, the same clock, and after every step the same answers and events.
//!
//! A real redis-server of its own, on a port and in a folder of its own. Only jitter is another generator's: a waiting ticket's period may
//! differ by it, but is held to the one of the domain, so that one step never clouds the next.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says where it failed")]

mod redis_server;
mod run;

use bunho_domain::event::{Event, TicketNumber, ZoneChange, ZoneEvent};
use bunho_domain::ids::{AppId, ZoneId};
use bunho_domain::line::door::{Door, Enqueue};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::line::{Answer, Issued, Join, JoinOutcome, Line, OfferLeft, Place, Poll, PollRefusal, Status};
use bunho_domain::time::Millis;
use bunho_engine::cluster::redis::line::caller::{LineCaller, Reply};
use bunho_engine::cluster::redis::line::{self, Command, Facts, Hindered, Refused, ZoneHome};
use proptest::prelude::*;
use redis_server::RedisServer;
use run::Run;
use tokio::runtime::Runtime;

const START: i64 = 1_767_225_600_000;
const ZONE: u32 = 7;

#[derive(Clone, Debug)]
enum Op {
    Wait {
        ms: i64,
        sweep: bool,
    },
    Join {
        key: Option<u64>,
    },
    /// Whoever is at this place among the latest who got a ticket.
    Poll {
        who: usize,
    },
    /// The same, when told to: time moves there.
    PollWhenTold {
        who: usize,
    },
    /// A ticket that was never given out, or is another's.
    PollForged {
        seq: u32,
        epoch: u32,
        nonce: u64,
    },
    Leave {
        who: usize,
    },
    /// Newcomers, polls and leaves of one moment, in one run.
    Together {
        steps: Vec<(u8, usize)>,
    },
    Limit {
        limit: Option<u32>,
    },
    Slot {
        seconds: u32,
    },
    Window {
        seconds: u32,
    },
    Active {
        limit: Option<u32>,
    },
    Pause {
        paused: bool,
    },
    Stock {
        left: OfferLeft,
    },
    OpensIn {
        ms: i64,
    },
    ClosesIn {
        ms: i64,
    },
    /// Somebody may leave before the former line is swept.
    Reset {
        leaves: Option<usize>,
    },
    /// With what Redis still has, or with nothing.
    Restart {
        empty: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0_i64..2_000, any::<bool>()).prop_map(|(ms, sweep)| Op::Wait { ms, sweep }),
        1 => (2_000_i64..30_000).prop_map(|ms| Op::Wait { ms, sweep: true }),
        1 => (30_000_i64..400_000).prop_map(|ms| Op::Wait { ms, sweep: true }),
        9 => prop::option::of(0_u64..12).prop_map(|key| Op::Join { key }),
        14 => any::<usize>().prop_map(|who| Op::Poll { who }),
        14 => any::<usize>().prop_map(|who| Op::PollWhenTold { who }),
        1 => (0_u32..20_050, 0_u32..3, 0_u64..1_010).prop_map(|(seq, epoch, nonce)| Op::PollForged { seq, epoch, nonce }),
        2 => any::<usize>().prop_map(|who| Op::Leave { who }),
        3 => prop::collection::vec((0_u8..8, any::<usize>()), 1..40).prop_map(|steps| Op::Together { steps }),
        1 => prop::option::weighted(0.9, 0_u32..8).prop_map(|limit| Op::Limit { limit }),
        1 => (1_u32..=10).prop_map(|seconds| Op::Slot { seconds }),
        1 => (10_u32..=60).prop_map(|seconds| Op::Window { seconds }),
        1 => prop::option::of(0_u32..9).prop_map(|limit| Op::Active { limit }),
        1 => any::<bool>().prop_map(|paused| Op::Pause { paused }),
        1 => prop_oneof![Just(OfferLeft::Untied), Just(OfferLeft::Unknown), (0_u32..3).prop_map(OfferLeft::Some)].prop_map(|left| Op::Stock { left }),
        1 => (-5_000_i64..5_000).prop_map(|ms| Op::OpensIn { ms }),
        1 => (-1_000_i64..50_000).prop_map(|ms| Op::ClosesIn { ms }),
        1 => prop_oneof![
            1 => prop::option::of(any::<usize>()).prop_map(|leaves| Op::Reset { leaves }),
            3 => any::<bool>().prop_map(|empty| Op::Restart { empty }),
        ],
    ]
}

/// 64 crowds of up to 200 steps, or as many as `BUNHO_LINE_CASES` says.
fn cases() -> u32 {
    std::env::var("BUNHO_LINE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

#[test]
fn redis_decides_as_the_domain_does() {
    let server = RedisServer::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig { cases: cases(), max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = prop::test_runner::TestRunner::new(config);
    let outcome = runner.run(&prop::collection::vec(op(), 20..200), |ops| {
        let mut run = Run::new(&runtime, &server);
        ops.iter().for_each(|op| run.apply(op));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
