//! `bunho rebuild`: a stopped node restored from its ledger.
//!
//! What the journal still has is carried into the ledger first; then the journal starts anew behind it, so that the next
//! `serve` builds its state from the ledger alone. Where the journal cannot be read to its end, what only it had is
//! lost: that is said, and done only with `--accept-loss`.

use crate::cli::Place;
use crate::exit::{Failure, chain};
use crate::node::{Node, journal_path, ledger_path, prepare};
use bunho_journal::{Journal, crash_point};
use bunho_ledger::Ledger;
use std::process::ExitCode;

/// Restores it.
///
/// # Errors
/// The folder is in use, or the journal is damaged and no loss is accepted.
pub fn run(place: &Place, accept_loss: bool) -> Result<ExitCode, Failure> {
    super::log_warnings();
    let config = super::checked(place)?;
    super::block_on(async {
        prepare(&config.data)?;
        match Node::open(&config).await {
            Ok(node) => {
                let caught_up = node.catch_up().await;
                node.close().await;
                caught_up?;
            }
            Err(failure) if accept_loss => eprintln!("bunho: going on without the journal's end: {failure}"),
            Err(failure) => {
                return Err(Failure::data(format_args!(
                    "{failure}\n  mend: restore the folder from a backup, or accept the loss of what only the journal had with --accept-loss"
                )));
            }
        }
        let ledger = Ledger::open(&ledger_path(&config.data)).await?;
        let offset = *ledger.projected().borrow();
        ledger.close().await;
        crash_point!("rebuild::caught_up");
        Journal::reset(&journal_path(&config.data), offset).map_err(|error| Failure::data(chain(&error)))?;
        crash_point!("rebuild::restored");
        println!("restored: the ledger holds everything up to record {offset}; the journal goes on from there");
        Ok(ExitCode::SUCCESS)
    })
}
