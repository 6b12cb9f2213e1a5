//! The command line. `--help` teaches; every command says what it does before it is needed.

use crate::commands::rehearse::Rehearsal;
use clap::{Args, Parser, Subcommand};
use std::path::{Path, PathBuf};

/// Bunho: the open engine for first-come, first-served events.
#[derive(Debug, Parser)]
#[command(
    name = "bunho",
    version,
    about = "First-come, first-served events: waiting lines, limited offers, claims",
    after_help = "Settings: defaults < --config FILE (TOML) < environment (BUNHO_SERVER__LISTEN, …) < flags.\nExit codes: 0 done, 1 differences found or not ready, 64 configuration refused, 65 data refused, 69 a needed service is unreachable, 70 internal."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server. With no configuration: one node, nothing to install, data under ./bunho-data
    Serve {
        /// Where and how.
        #[command(flatten)]
        place: Place,
        /// Address to serve on
        #[arg(long, value_name = "ADDR")]
        listen: Option<String>,
        /// Add sample zones and offers where they are missing
        #[arg(long)]
        demo: bool,
    },
    /// Check every backend and say, one line each, whether it keeps the promises
    Doctor {
        /// Where and how.
        #[command(flatten)]
        place: Place,
    },
    /// Bring the ledger's schema up to date (serve does so by itself)
    Migrate {
        /// Where and how.
        #[command(flatten)]
        place: Place,
    },
    /// Compare the engine with the ledger, claim by claim; exit 0 equal, 1 differs
    Reconcile {
        /// Where and how.
        #[command(flatten)]
        place: Place,
        /// Whom to ask.
        #[command(flatten)]
        running: Running,
        /// Write the engine's claims over the ledger's where they differ (the exit code tells what was found)
        #[arg(long)]
        repair: bool,
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Will a running server carry that crowd in that zone? Measures it for some seconds and says in one page what breaks first; exit 0 ready, 1 not
    Rehearse {
        /// Which server.
        #[command(flatten)]
        server: Server,
        /// What is rehearsed.
        #[command(flatten)]
        rehearsal: Rehearsal,
    },
    /// Restore a stopped node from its ledger: projects what the journal still has, then starts the journal anew. On a cluster: load all of Redis
    /// from the ledger, each offer and line suspended while it is loaded
    Rebuild {
        /// Where and how.
        #[command(flatten)]
        place: Place,
        /// Go on although the journal cannot be read to its end; what only it had is lost, and is said
        #[arg(long)]
        accept_loss: bool,
        /// The system's clock is right although records are from a later time: go on with its time
        #[arg(long)]
        accept_clock: bool,
    },
    /// Copy an embedded installation into a folder of its own: everything that was answered before, and the keys
    Backup {
        /// Where and how.
        #[command(flatten)]
        place: Place,
        /// The folder to make; it will hold secrets
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Whom to ask.
        #[command(flatten)]
        running: Running,
    },
    /// Make a data folder of what `bunho backup` wrote. What was decided after the backup is lost
    Restore {
        /// The folder that `bunho backup` made
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// The data folder to make
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
    /// Forget people: what they took stays taken, and nobody can tell any more who it was; exit 0 nothing is left of them, 1 something is
    Forget {
        /// Where and how.
        #[command(flatten)]
        place: Place,
        /// Ids of users; or - for standard input, one a line
        #[arg(required = true, value_name = "USER")]
        users: Vec<String>,
        /// Whom to ask.
        #[command(flatten)]
        running: Running,
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a stopped embedded installation into one file, to be moved to a cluster
    Export {
        /// Where and how.
        #[command(flatten)]
        place: Place,
        /// The file to write; it will hold secrets
        file: PathBuf,
    },
    /// Move what `bunho export` wrote into an empty cluster; ids, tickets, passes, keys and accounts stay what they were
    Import {
        /// Where and how.
        #[command(flatten)]
        place: Place,
        /// The file to read
        file: PathBuf,
    },
    /// Keys of services and operators
    #[command(subcommand)]
    Key(KeyCommand),
    /// Accounts of people who sign in to the console
    #[command(subcommand)]
    Account(AccountCommand),
    /// The configuration in force
    Config {
        /// Where and how.
        #[command(flatten)]
        place: Place,
        /// Print it as TOML
        #[arg(long, required = true)]
        print: bool,
    },
    /// Zones of a running server
    Zone {
        /// Which server.
        #[command(flatten)]
        server: Server,
        /// What to do.
        #[command(subcommand)]
        command: ZoneCommand,
    },
    /// Write the manual pages and the completions of shells into a folder, for packages
    #[command(hide = true)]
    Manual {
        /// Which; it is made where it is missing
        folder: PathBuf,
    },
    /// Webhooks of a running server: who is told of what happens
    Webhook {
        /// Which server.
        #[command(flatten)]
        server: Server,
        /// What to do.
        #[command(subcommand)]
        command: WebhookCommand,
    },
    /// Offers of a running server
    Offer {
        /// Which server.
        #[command(flatten)]
        server: Server,
        /// What to do.
        #[command(subcommand)]
        command: OfferCommand,
    },
}

/// Where settings and data lie.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// Configuration file (TOML); `bunho config --print` shows every setting
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data folder [default: ./bunho-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

impl Place {
    /// The data folder of the command line, or the usual one.
    pub(crate) fn data_folder(&self) -> &Path {
        self.data.as_deref().unwrap_or(Path::new("./bunho-data"))
    }
}

/// A running server, if one serves from the data folder.
#[derive(Args, Clone, Debug)]
pub struct Running {
    /// Ask the server at this address; without it the data folder must not be served from
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Admin key for --url [default: the one in DIR/admin.key]
    #[arg(long, env = "BUNHO_ADMIN_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// Authorities (PEM) of the server's certificate, where they are not public ones
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// A running server.
#[derive(Args, Clone, Debug)]
pub struct Server {
    /// Its address
    #[arg(long, default_value = "http://127.0.0.1:8080", global = true, value_name = "URL")]
    pub url: String,
    /// Admin or operator key [default: the one in DIR/admin.key]
    #[arg(long, env = "BUNHO_ADMIN_KEY", hide_env_values = true, global = true)]
    pub key: Option<String>,
    /// Data folder whose admin.key is used where --key is not given
    #[arg(long, default_value = "./bunho-data", global = true, value_name = "DIR")]
    pub data: PathBuf,
    /// Authorities (PEM) of its certificate, where they are not public ones
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// `bunho key …`
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and print it, this once
    New {
        /// Where and how.
        #[command(flatten)]
        place: Place,
        /// service, viewer, operator or admin
        #[arg(long)]
        role: String,
        /// What it is for
        #[arg(long, default_value = "from the command line")]
        name: String,
        /// Days after which it counts no more
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..))]
        expires_in_days: Option<u16>,
        /// The client certificate that must come with it (service keys): sha256:…, dns:…, uri:… or email:…
        #[arg(long)]
        certificate: Option<String>,
    },
    /// Make a new key that signs tickets, or passes; a server that runs takes it by itself, and what the old ones signed stays good
    Rotate {
        /// Where and how.
        #[command(flatten)]
        place: Place,
        /// Of tickets: it signs some seconds later
        #[arg(long, required_unless_present = "passes")]
        tickets: bool,
        /// Of passes: it signs when it was published for pass.key_publish_seconds
        #[arg(long)]
        passes: bool,
    },
    /// List keys (never the keys themselves)
    List {
        /// Where and how.
        #[command(flatten)]
        place: Place,
    },
}

/// `bunho account …`
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Make an account and print its password, this once
    New {
        /// Where and how.
        #[command(flatten)]
        place: Place,
        /// What its owner signs in with
        name: String,
        /// viewer, operator or admin
        #[arg(long)]
        role: String,
    },
    /// List accounts
    List {
        /// Where and how.
        #[command(flatten)]
        place: Place,
    },
}

/// `bunho zone …`
#[derive(Debug, Subcommand)]
pub enum ZoneCommand {
    /// All zones
    List,
    /// One zone
    Get {
        /// Its id.
        id: String,
    },
    /// Change some settings of a zone, and none of the others: bunho zone set SALE entry_limit_per_minute=300
    Set {
        /// Its id.
        id: String,
        /// Each a setting and what it is from now on: JSON, or a text as it stands.
        #[arg(required = true, value_name = "NAME=VALUE")]
        settings: Vec<String>,
    },
    /// Create a zone, or replace all of its settings (what is not named is the default): bunho zone put SALE '{"entry_limit_per_minute": 600}'
    Put {
        /// Its id.
        id: String,
        /// JSON, or - for standard input.
        body: String,
    },
    /// Delete a zone in which nobody waits
    Delete {
        /// Its id.
        id: String,
    },
    /// Let nobody in for now; the order is kept
    Pause {
        /// Its id.
        id: String,
    },
    /// Go on
    Resume {
        /// Its id.
        id: String,
    },
    /// End every ticket and begin a new line
    Reset {
        /// Its id.
        id: String,
    },
}

/// `bunho offer …`
#[derive(Debug, Subcommand)]
pub enum OfferCommand {
    /// All offers
    List,
    /// One offer
    Get {
        /// Its id.
        id: String,
    },
    /// Change some settings of an offer, and none of the others: bunho offer set drop closes_at=2026-12-24T18:00:00Z
    Set {
        /// Its id.
        id: String,
        /// Each a setting and what it is from now on: JSON, or a text as it stands.
        #[arg(required = true, value_name = "NAME=VALUE")]
        settings: Vec<String>,
    },
    /// Create an offer, or replace all of its settings (what is not named is the default): bunho offer put drop '{"kind": "coupon", "quantity": 1000}'
    Put {
        /// Its id.
        id: String,
        /// JSON, or - for standard input.
        body: String,
    },
    /// Delete an offer nobody has anything of
    Delete {
        /// Its id.
        id: String,
    },
    /// Add units, or take away units that nobody has: bunho offer restock drop -- -5
    Restock {
        /// Its id.
        id: String,
        /// How many more (negative: fewer).
        #[arg(allow_negative_numbers = true)]
        delta: i64,
    },
    /// End an offer now
    Close {
        /// Its id.
        id: String,
    },
}

/// `bunho webhook …`
#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// All webhooks, with how each does
    List,
    /// One webhook
    Get {
        /// Its id.
        id: String,
    },
    /// Make a webhook and print its secret, this once
    #[command(
        after_help = r#"As: bunho webhook new '{"name": "shop", "url": "https://shop.example.com/hooks", "events": ["claim.confirmed"]}'"#
    )]
    New {
        /// JSON, or - for standard input.
        body: String,
    },
    /// Change a webhook: bunho webhook put wh-… '{"enabled": false}'
    Put {
        /// Its id.
        id: String,
        /// JSON, or - for standard input.
        body: String,
    },
    /// Take a webhook away, with everything that waits for it
    Delete {
        /// Its id.
        id: String,
    },
    /// Make a new secret and print it, this once; the one before signs too for a while
    Secret {
        /// Its id.
        id: String,
        /// For so long (at most 30 days).
        #[arg(long, default_value_t = 86_400, value_name = "SECONDS")]
        previous_seconds: u32,
    },
    /// Send a message that tells of nothing, and say what came of it
    Test {
        /// Its id.
        id: String,
    },
    /// Messages that were given up, or that wait
    Deliveries {
        /// Its id.
        id: String,
        /// Those that wait
        #[arg(long)]
        pending: bool,
    },
    /// Send what was given up once more
    Redeliver {
        /// Its id.
        id: String,
        /// Only the message of this number.
        #[arg(long, value_name = "NUMBER")]
        delivery: Option<i64>,
    },
    /// Forget what was given up
    Discard {
        /// Its id.
        id: String,
        /// Only the message of this number.
        #[arg(long, value_name = "NUMBER")]
        delivery: Option<i64>,
        /// What waits instead, of a webhook that is turned off
        #[arg(long)]
        pending: bool,
    },
}
