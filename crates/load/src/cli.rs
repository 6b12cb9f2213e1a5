//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Puts a running Bunho under load over HTTP, and judges what it saw against the promises.
///
/// Exit codes: 0 every promise was kept; 1 one was broken; 64 what was asked for cannot be done; 69 the target is unreachable or no
/// Bunho; 70 a report could not be written; 130 ended by a second Ctrl-C. The first Ctrl-C ends the run early and still reports.
#[derive(Debug, Parser)]
#[command(name = "bunho-load", version)]
pub struct Cli {
    /// What to play.
    #[command(subcommand)]
    pub command: Command,
}

/// What to play.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// People join a line, poll as told and enter
    Line(LineArgs),
    /// One claim after another, confirmed at once
    Claims(ShopArgs),
    /// A goods drop: claim, a fifth leave, pay, a fifth fail, confirm
    Goods(ShopArgs),
    /// Parties of two book, and get a coupon when confirmed
    Booking(ShopArgs),
    /// A coupon drop with impatient second clicks
    Coupon(ShopArgs),
    /// A line in front of a goods drop: join, wait, claim with the pass, pay
    Mixed(MixedArgs),
    /// An experiment of the source documents with its size, and its published figure beside today's
    Seed(SeedArgs),
    /// GET /healthz: what HTTP itself costs
    Null(NullArgs),
    /// Measures a server that it starts itself, and writes a page of tables
    Bench(BenchArgs),
    /// Hours of mixed use of a server that it starts itself, with deaths, and looks whether memory, descriptors and books stay as they should
    Soak(SoakArgs),
}

/// Where load goes, and with what right.
#[derive(Clone, Debug, Args)]
pub struct Where {
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub target: String,
    /// Load may be sent to this target although it is not this machine
    #[arg(long)]
    pub i_own_this_target: bool,
    /// Admin key, to make zones and offers and to confirm claims [default: DATA/admin.key where that can be read]
    #[arg(long, env = "BUNHO_ADMIN_KEY", hide_env_values = true)]
    pub admin_key: Option<String>,
    /// The server's data folder, whose admin.key is used
    #[arg(long, default_value = "./bunho-data")]
    pub data: PathBuf,
}

/// How the client works, and what it writes.
#[derive(Clone, Debug, Args)]
pub struct How {
    /// Connections that all users share
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: Option<u32>,
    /// Calls under way on one connection [default: 1; seed 002: 8]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub pipeline: Option<u32>,
    /// Seed of the random choices [default: another each time, printed]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Write what was measured as JSON to this file, or - for standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write one self-contained HTML page to this file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// How much load.
#[derive(Clone, Debug, Args)]
pub struct HowMuch {
    /// Closed model: so many users at a time
    #[arg(long, conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub vus: Option<u32>,
    /// Closed model: milliseconds between a user's end and its next beginning
    #[arg(long, value_name = "MS", conflicts_with = "rate", default_value_t = 0)]
    pub think: u64,
    /// Open model: so many users come in a second, whatever became of those before
    #[arg(long)]
    pub rate: Option<f64>,
    /// A stage, LENGTH:LEVEL, in a straight line from the level before; levels in users, arrivals a second, or % of --vus or --rate
    #[arg(long = "stage", value_name = "STAGE", conflicts_with = "duration")]
    pub stages: Vec<String>,
    /// How long, at a steady level: 500ms, 30s, 2m
    #[arg(long)]
    pub duration: Option<String>,
    /// Closed model: so many beginnings in all, then end
    #[arg(long, conflicts_with = "rate")]
    pub total: Option<u64>,
}

/// A line of its own, or one that exists.
#[derive(Clone, Debug, Args)]
pub struct ZoneArgs {
    /// An existing zone [default: one of its own, made with the admin key]
    #[arg(long)]
    pub zone: Option<String>,
    /// Own zone: entries in any window
    #[arg(long, value_name = "N", conflicts_with = "zone")]
    pub limit: Option<u32>,
    /// Own zone: the window, seconds
    #[arg(long, value_name = "S", conflicts_with = "zone")]
    pub window_seconds: Option<u32>,
    /// Own zone: the slot, seconds
    #[arg(long, value_name = "S", conflicts_with = "zone")]
    pub slot_seconds: Option<u32>,
    /// Own zone: shortest poll interval
    #[arg(long, value_name = "MS", conflicts_with = "zone")]
    pub poll_ms: Option<u32>,
    /// Own zone: longest poll interval
    #[arg(long, value_name = "MS", conflicts_with = "zone")]
    pub poll_max_ms: Option<u32>,
    /// Probability that somebody leaves without a word
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub leave: f64,
    /// Probability that somebody leaves with a call
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub leave_openly: f64,
}

/// `line`
#[derive(Debug, Args)]
pub struct LineArgs {
    /// Where load goes.
    #[command(flatten)]
    pub place: Where,
    /// How the client works.
    #[command(flatten)]
    pub how: How,
    /// How much load.
    #[command(flatten)]
    pub much: HowMuch,
    /// The line.
    #[command(flatten)]
    pub zone: ZoneArgs,
}

/// `claims`, `goods`, `booking`, `coupon`
#[derive(Debug, Args)]
pub struct ShopArgs {
    /// Where load goes.
    #[command(flatten)]
    pub place: Where,
    /// How the client works.
    #[command(flatten)]
    pub how: How,
    /// How much load.
    #[command(flatten)]
    pub much: HowMuch,
    /// The offer.
    #[command(flatten)]
    pub offer: OfferArgs,
}

/// An offer of its own, or one that exists.
#[derive(Clone, Debug, Args)]
pub struct OfferArgs {
    /// An existing offer [default: one of its own, made with the admin key]
    #[arg(long)]
    pub offer: Option<String>,
    /// Own offer: its quantity
    #[arg(long, value_name = "N", conflicts_with = "offer")]
    pub quantity: Option<u32>,
    /// Paying takes up to so many milliseconds
    #[arg(long, value_name = "MS")]
    pub pay_ms: Option<u64>,
}

/// `mixed`
#[derive(Debug, Args)]
pub struct MixedArgs {
    /// Where load goes.
    #[command(flatten)]
    pub place: Where,
    /// How the client works.
    #[command(flatten)]
    pub how: How,
    /// How much load.
    #[command(flatten)]
    pub much: HowMuch,
    /// The line.
    #[command(flatten)]
    pub zone: ZoneArgs,
    /// The offer's quantity
    #[arg(long, value_name = "N")]
    pub quantity: Option<u32>,
    /// Paying takes up to so many milliseconds
    #[arg(long, value_name = "MS")]
    pub pay_ms: Option<u64>,
}

/// Which source document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SeedNumber {
    /// The farm-stay: seven bookings of two against ten
    #[value(name = "000")]
    Farm,
    /// The goods drop: 1,000 buyers
    #[value(name = "001")]
    Goods,
    /// The waiting room: 600,000 users over 160 s
    #[value(name = "002")]
    Line,
    /// The coupon drop: 150,000 clicks of 1,000 users
    #[value(name = "003")]
    Coupon,
}

/// `seed`
#[derive(Debug, Args)]
pub struct SeedArgs {
    /// The document
    pub number: SeedNumber,
    /// Where load goes.
    #[command(flatten)]
    pub place: Where,
    /// How the client works.
    #[command(flatten)]
    pub how: How,
    /// Users [default: the document's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub vus: Option<u32>,
    /// 002: entries a minute of the zone that is made for it
    #[arg(long, value_name = "N", default_value_t = 6_000)]
    pub limit: u32,
    /// 002: probability that somebody leaves without a word
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub leave: f64,
    /// 002: an existing zone
    #[arg(long)]
    pub zone: Option<String>,
    /// All lengths of time times this: 0.1 plays it in a tenth of its time
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub time_scale: f64,
}

/// `null`
#[derive(Debug, Args)]
pub struct NullArgs {
    /// Where load goes.
    #[command(flatten)]
    pub place: Where,
    /// How the client works.
    #[command(flatten)]
    pub how: How,
    /// How much load.
    #[command(flatten)]
    pub much: HowMuch,
}

/// `bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The server's program
    #[arg(long, value_name = "FILE")]
    pub server: PathBuf,
    /// Write the page here
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// A short look: shorter turns, smaller crowds
    #[arg(long)]
    pub quick: bool,
    /// Only parts whose names contain this: claims, cold, polls, latency, memory, restart
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
}

/// `soak`
#[derive(Clone, Debug, Args)]
pub struct SoakArgs {
    /// The server's program
    #[arg(long, value_name = "FILE", required_unless_present = "from")]
    pub server: Option<PathBuf>,
    /// How long
    #[arg(long, default_value_t = 120.0)]
    pub minutes: f64,
    /// Calls a second that are aimed at
    #[arg(long, default_value_t = 500.0)]
    pub rate: f64,
    /// Seed of the random choices [default: another each time, printed]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Folder of the server's data, its log and the result; what is in it is not touched unless it is an earlier soak's
    #[arg(long, value_name = "DIR", default_value = "soak")]
    pub out: PathBuf,
    /// Play nothing: read this result (DIR/soak.json) for --into, --page and --pictures
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    pub from: Option<PathBuf>,
    /// Write the figures into this page, between its two soak marks
    #[arg(long, value_name = "FILE")]
    pub into: Option<PathBuf>,
    /// Write the charts as SVG into this folder
    #[arg(long, value_name = "DIR")]
    pub pictures: Option<PathBuf>,
}
