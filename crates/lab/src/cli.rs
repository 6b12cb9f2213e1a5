//! The command line.

use crate::strategy::{Strategy, Victim};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Runs every strategy for giving out a limited quantity over real databases, side by side, and counts what each one broke.
///
/// Exit codes: 0 every strategy did what theory says of it; 1 one broke what it should not; 64 what was asked for cannot be done; 69 a service is not
/// there; 70 the lab itself failed; 130 ended by Ctrl-C, after which it still reports.
#[derive(Debug, Parser)]
#[command(name = "bunho-lab", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs strategies and writes what came of it
    Run(Box<RunArgs>),
    /// Explains each strategy in a line
    List,
    /// The process in which a strategy runs
    #[command(hide = true)]
    Worker,
}

/// A database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DatabaseName {
    /// PostgreSQL
    Postgres,
    /// MariaDB, or MySQL
    Mariadb,
}

/// What dies in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kill {
    /// The application, or the Bunho node: SIGKILL and a new one
    Process,
    /// Redis: SIGKILL, a second's outage, and started again on its files
    Redis,
    /// The same, and it comes back empty, as after a snapshot that never was
    RedisData,
    /// Kafka's broker, likewise
    Broker,
    /// Each of them, in runs of their own
    All,
}

impl Kill {
    /// Whom it means.
    #[must_use]
    pub fn victims(self) -> &'static [Victim] {
        match self {
            Self::Process => &[Victim::Process],
            Self::Redis => &[Victim::Redis],
            Self::RedisData => &[Victim::RedisData],
            Self::Broker => &[Victim::Broker],
            Self::All => &[Victim::Process, Victim::Redis, Victim::RedisData, Victim::Broker],
        }
    }
}

/// `run`
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Different users
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub users: u32,
    /// Attempts of all users together, in a random order
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub attempts: u32,
    /// Units
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub quantity: u32,
    /// Attempts under way at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=150))]
    pub tasks: u16,
    /// Names with commas between, or all; `bunho-lab list` tells them
    #[arg(long, default_value = "all", value_delimiter = ',')]
    pub strategies: Vec<String>,
    /// Databases with commas between
    #[arg(long, value_enum, default_value = "postgres,mariadb", value_delimiter = ',')]
    pub databases: Vec<DatabaseName>,
    /// After each plain run, runs in which this dies in the middle
    #[arg(long, value_enum)]
    pub kill: Option<Kill>,
    /// How often the process or Redis dies in such a run; what comes back empty, and the broker, die once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub deaths: u32,
    /// Writes lab.md, lab.json and lab.html into this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Seed of the order in which users come
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The server's program [default: bunho beside bunho-lab]
    #[arg(long, value_name = "PATH")]
    pub bunho: Option<PathBuf>,
    /// A PostgreSQL to use instead of one of the lab's own; the user must be allowed to make databases
    #[arg(long, value_name = "URL")]
    pub postgres: Option<String>,
    /// A MariaDB or MySQL, likewise
    #[arg(long, value_name = "URL")]
    pub mysql: Option<String>,
    /// A Redis to use instead of one of the lab's own
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,
    /// Kafka's brokers, host:port with commas between, likewise
    #[arg(long, value_name = "BROKERS")]
    pub kafka: Option<String>,
    /// Where the lab's own services look for free ports; best below those that the system gives to outgoing connections
    #[arg(long, value_name = "PORT", default_value_t = 21_000, value_parser = clap::value_parser!(u16).range(1_024..60_000))]
    pub ports_from: u16,
    /// The repository's scripts/cluster, which starts them
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/cluster"))]
    pub scripts: PathBuf,
}

impl RunArgs {
    /// The strategies that are meant.
    ///
    /// # Errors
    /// A name that is none.
    pub fn chosen(&self) -> Result<Vec<Strategy>, String> {
        let mut chosen = Vec::new();
        for name in &self.strategies {
            let these: Vec<Strategy> = match name.as_str() {
                "all" => Strategy::ALL.to_vec(),
                name => {
                    vec![Strategy::named(name).ok_or_else(|| format!("no strategy is called {name}; bunho-lab list tells their names"))?]
                }
            };
            chosen.extend(these.into_iter().filter(|strategy| !chosen.contains(strategy)).collect::<Vec<_>>());
        }
        Ok(chosen)
    }
}
