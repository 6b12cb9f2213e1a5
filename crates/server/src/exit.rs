//! How the program ends: a sentence for people and a code for scripts (api.md §1).

use crate::config::Refused;
use crate::telemetry::say::say_why;
use bunho_journal::JournalError;
use bunho_ledger::LedgerError;
use std::fmt;
use std::process::ExitCode;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    what: String,
    lost: bool,
}

impl Failure {
    /// 64: the configuration, or the command itself, is refused.
    pub fn configuration(what: impl fmt::Display) -> Self {
        Self { code: 64, what: what.to_string(), lost: false }
    }

    /// 65: the data are refused.
    pub fn data(what: impl fmt::Display) -> Self {
        Self { code: 65, what: what.to_string(), lost: false }
    }

    /// 65: the journal has lost something, or does not fit the ledger. `bunho rebuild` is the way on.
    pub fn journal_lost(what: impl fmt::Display) -> Self {
        Self { code: 65, what: what.to_string(), lost: true }
    }

    /// Whether the journal is at fault, and may be started anew behind the ledger where its loss is accepted.
    #[must_use]
    pub fn is_journal_lost(&self) -> bool {
        self.lost
    }

    /// 69: something needed is unreachable.
    pub fn unavailable(what: impl fmt::Display) -> Self {
        Self { code: 69, what: what.to_string(), lost: false }
    }

    /// 70: something broke inside.
    pub fn internal(what: impl fmt::Display) -> Self {
        Self { code: 70, what: what.to_string(), lost: false }
    }

    /// Says it and gives the code.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        // Also where nobody reads it: the code is for whoever waits for the end.
        say_why(format!("bunho: {}", self.what));
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::configuration(refused)
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let what = chain(&error);
        match &error {
            // It says itself what to do.
            LedgerError::SchemaNewer { .. } => Self::data(format_args!("the ledger is refused: {what}")),
            _ if error.is_locked_out() => Self::configuration(format_args!(
                "the database does not let us in: {what}\n  mend: set ledger.url to a user, a password and a database that it knows"
            )),
            _ if error.outage().is_some() => Self::unavailable(format_args!(
                "the ledger cannot be used: {what}\n  mend: start the database, or name another one in ledger.url"
            )),
            LedgerError::Migrate { place, .. } if place.file().is_none() => Self::data(format_args!(
                "the ledger is refused: {what}\n  mend: the user of ledger.url must be allowed to make tables; the database's log says more"
            )),
            _ => Self::data(format_args!(
                "the ledger is refused: {what}\n  mend: look at the disk (space, permissions) and the database's log; if ledger.db itself is damaged, stop the server \
                 and restore the data folder from a backup"
            )),
        }
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        let what = format!("the journal is refused: {}", chain(&error));
        match error {
            JournalError::Corrupt { .. } | JournalError::Store { .. } | JournalError::Undecodable { .. } | JournalError::Trimmed { .. } => {
                Self::journal_lost(format_args!(
                    "{what}\n  mend: `bunho rebuild` restores from the ledger if that has all that was acknowledged, and else says what is lost; \
                 or restore the whole data folder from one backup"
                ))
            }
            JournalError::Io { .. } => Self::data(format_args!(
                "{what}\n  mend: look at the disk (space, permissions, mount options), then start again; nothing was lost"
            )),
            _ => Self::data(what),
        }
    }
}

/// An error and everything it came from, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
