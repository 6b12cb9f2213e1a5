//! `bunho migrate`: the ledger's schema, brought up to date.

use crate::cli::Place;
use crate::exit::Failure;
use crate::node::prepare;
use bunho_ledger::Ledger;
use std::process::ExitCode;

/// Opens the ledger, which migrates it.
///
/// # Errors
/// The ledger is newer than this program, or cannot be opened.
pub fn run(place: &Place) -> Result<ExitCode, Failure> {
    super::log_warnings();
    let config = super::checked(place)?;
    super::block_on(async {
        prepare(&config.data)?;
        Ledger::open(&config.ledger).await?.close().await;
        println!("{}: schema is up to date", config.ledger);
        Ok(ExitCode::SUCCESS)
    })
}
