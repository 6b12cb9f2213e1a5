//! The `bunho` binary: parse, then do one command.

use bunho_server::cli::{Cli, Command};
use bunho_server::commands;
use bunho_server::exit::Failure;
use clap::Parser;
use clap::error::ErrorKind;
use std::process::ExitCode;

/// A claim makes some forty small allocations on one thread and frees half of them on another (journal, ledger), which is where glibc's
/// allocator is slowest: with it a claim took a fifth more processor time. It also keeps what SQLite frees: 114 MB for 21 in use after two hours
/// (docs/reliability.md). This one gives back what has not been used for ten seconds.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Tests make the journal fail at named points (FAILPOINTS=journal::sync=return); release builds have none of it.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if asked { 0 } else { 64 });
        }
    };
    // The journal's library panics over it, whatever it is asked to open.
    if let Err(error) = std::env::current_dir() {
        return Failure::configuration(format_args!(
            "the folder that this was started in is gone: {error}\n  mend: change into one that is there"
        ))
        .report();
    }
    let done = match cli.command {
        Command::Serve { place, listen, demo } => commands::serve::run(&place, listen, demo),
        Command::Doctor { place } => commands::doctor::run(&place),
        Command::Migrate { place } => commands::migrate::run(&place),
        Command::Rehearse { server, rehearsal } => commands::rehearse::run(&server, &rehearsal),
        Command::Reconcile { place, running, repair, json } => commands::reconcile::run(&place, &running, repair, json),
        Command::Rebuild { place, accept_loss, accept_clock } => commands::rebuild::run(&place, accept_loss, accept_clock),
        Command::Backup { place, to, running } => commands::backup::run(&place, &to, &running),
        Command::Restore { from, data } => commands::restore::run(&from, &data),
        Command::Forget { place, users, running, json } => commands::forget::run(&place, &users, &running, json),
        Command::Export { place, file } => commands::export::run(&place, &file),
        Command::Import { place, file } => commands::import::run(&place, &file),
        Command::Key(command) => commands::key::run(command),
        Command::Account(command) => commands::account::run(command),
        Command::Config { place, .. } => commands::config::run(&place),
        Command::Manual { folder } => commands::manual::run(&folder),
        Command::Webhook { server, command } => commands::remote::webhook(&server, command),
        Command::Zone { server, command } => commands::remote::zone(&server, command),
        Command::Offer { server, command } => commands::remote::offer(&server, command),
    };
    done.unwrap_or_else(|failure| failure.report())
}
