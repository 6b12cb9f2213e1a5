//! One file a command. Each returns the exit code of a job done, or a [`Failure`].

pub mod account;
pub mod backup;
pub mod config;
pub mod doctor;
pub mod export;
pub mod forget;
pub mod import;
pub mod key;
pub mod manual;
pub mod migrate;
pub mod rebuild;
pub mod reconcile;
pub mod rehearse;
pub mod remote;
pub mod restore;
pub mod serve;

use crate::cli::Place;
use crate::config::{Config, Flags, Settings, read};
use crate::exit::Failure;
use std::io::{ErrorKind, Write};

/// Settings of a command, read and not yet checked.
pub(crate) fn settings(place: &Place, listen: Option<String>) -> Result<Settings, Failure> {
    let flags = Flags { config: place.config.clone(), data: place.data.clone(), listen };
    Ok(read(&flags, std::env::vars())?)
}

/// Settings of a command that serves nothing.
fn checked(place: &Place) -> Result<Config, Failure> {
    Ok(settings(place, None)?.check()?)
}

/// Runs a command's work on a runtime of its own.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::internal)?.block_on(work)
}

/// Prints a line. Whoever reads may have had enough, as `head` has: that is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::internal(format_args!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Logs of commands other than `serve`: warnings, to standard error.
fn log_warnings() {
    let _ = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).try_init();
}
