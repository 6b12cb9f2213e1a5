//! The lab on real services of its own: what must be seen is seen, and what must not is not. Small crowds; the figures are not looked at.

#![expect(clippy::unwrap_used, reason = "in tests an unwrap is an assertion")]

use bunho_lab::cell::{self, Cell, Plan};
use bunho_lab::cli::{Cli, Command, DatabaseName, RunArgs};
use bunho_lab::services::Services;
use bunho_lab::strategy::{Strategy, Victim};
use clap::Parser;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const PROGRAM: &str = env!("CARGO_BIN_EXE_bunho-lab");

/// A lab of a test's own.
struct Lab {
    args: RunArgs,
    services: Services,
}

impl Lab {
    /// Its ports are away from those of the others here, and below those of other suites, which begin at 20000.
    fn new(arguments: &[&str]) -> Self {
        let Command::Run(args) = Cli::parse_from([&["bunho-lab", "run"], arguments].concat()).command else { unreachable!() };
        Self { services: Services::new(&args).unwrap(), args: *args }
    }

    async fn run(&mut self, strategy: Strategy, database: DatabaseName, kill: Option<Victim>, think_ms: u64) -> Cell {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let (plan, stop) = (Plan { strategy, database, kill }, AtomicBool::new(false));
        let cell = cell::run(plan, &self.args, &mut self.services, &name, Path::new(PROGRAM), &stop, think_ms).await.unwrap();
        assert_eq!(cell.contradictions(), [], "{strategy:?} on {database:?}: {cell:?}");
        cell
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_naive_one_oversells() {
    let mut lab = Lab::new(&["--users", "300", "--attempts", "600", "--quantity", "100", "--tasks", "32", "--ports-from", "13000"]);
    for database in [DatabaseName::Postgres, DatabaseName::Mariadb] {
        // Everybody who comes while one of them thinks reads the same number.
        let naive = lab.run(Strategy::Naive, database, None, 20).await;
        assert!(naive.oversold > 0, "{naive:?}");
        let theirs =
            Strategy::ALL.into_iter().filter(|strategy| *strategy != Strategy::Naive && !strategy.uses_kafka() && !strategy.is_bunho());
        for strategy in theirs {
            let cell = lab.run(strategy, database, None, 0).await;
            assert_eq!((cell.oversold, cell.lost, cell.double), (0, 0, 0), "{strategy:?}: {cell:?}");
            assert_eq!((cell.units, cell.course.yes()), (100, 100), "{strategy:?}: {cell:?}");
            assert!(cell.course.trips.sql > 0 && (cell.course.trips.redis > 0) == strategy.uses_redis(), "{cell:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_answered_before_kafka_has_it_dies_with_the_process() {
    let mut lab = Lab::new(&["--users", "3000", "--attempts", "3000", "--quantity", "3000", "--ports-from", "14000"]);
    let unawaited = lab.run(Strategy::LuaKafkaUnawaited, DatabaseName::Postgres, Some(Victim::Process), 0).await;
    assert!(unawaited.lost > 0 && unawaited.killed.is_some(), "{unawaited:?}");
    let awaited = lab.run(Strategy::LuaKafkaAwaited, DatabaseName::Postgres, Some(Victim::Process), 0).await;
    assert!(awaited.lost == 0 && awaited.killed.is_some() && awaited.units > 1_500, "{awaited:?}");
}

/// So many runs without a death between the two writes are not to be expected in a lifetime.
const RUNS_MAX: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_between_two_writes_leaves_stock_that_was_sold() {
    let mut lab =
        Lab::new(&["--users", "60", "--attempts", "300", "--quantity", "30", "--tasks", "8", "--deaths", "5", "--ports-from", "15000"]);
    for victim in [Victim::Process, Victim::Redis] {
        let mut oversold = 0;
        // Nearly all of an attempt's time is between the two, and every other death is at a moment that the seed decides, of which any may be outside all the same.
        for _ in 0..RUNS_MAX {
            let cell = lab.run(Strategy::LockWriteThrough, DatabaseName::Postgres, Some(victim), 20).await;
            assert_eq!(cell.course.deaths, 5);
            lab.args.seed += 1;
            oversold += cell.oversold;
            if oversold > 0 {
                break;
            }
        }
        assert!(oversold > 0, "{RUNS_MAX} runs with five deaths of {victim} sold no more than there was");
    }
}

#[test]
fn what_cannot_be_done_is_told_in_a_sentence() {
    for (arguments, code, words) in [
        (&["--strategies", "hope"][..], 64, "no strategy is called hope"),
        (&["--kill", "redis", "--redis", "redis://127.0.0.1:1"], 64, "only what the lab starts itself is killed"),
        (&["--strategies", "naive", "--databases", "postgres", "--postgres", "postgres://127.0.0.1:1/x"], 69, "postgres"),
        (&["--strategies", "naive", "--databases", "postgres", "--scripts", "/nowhere"], 64, "--scripts"),
    ] {
        let output = std::process::Command::new(PROGRAM).arg("run").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}
