//! How the program ends: a sentence for people and a code for scripts (api.md §1).

use crate::config::Refused;
use bunho_journal::JournalError;
use bunho_ledger::LedgerError;
use std::fmt;
use std::process::ExitCode;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    what: String,
}

impl Failure {
    /// 64: the configuration, or the command itself, is refused.
    pub fn configuration(what: impl fmt::Display) -> Self {
        Self { code: 64, what: what.to_string() }
    }

    /// 65: the data are refused.
    pub fn data(what: impl fmt::Display) -> Self {
        Self { code: 65, what: what.to_string() }
    }

    /// 69: something needed is unreachable.
    pub fn unavailable(what: impl fmt::Display) -> Self {
        Self { code: 69, what: what.to_string() }
    }

    /// 70: something broke inside.
    pub fn internal(what: impl fmt::Display) -> Self {
        Self { code: 70, what: what.to_string() }
    }

    /// Says it and gives the code.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        eprintln!("bunho: {}", self.what);
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
        Self::data(format_args!("the ledger is refused: {}", chain(&error)))
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Self::data(format_args!("the journal is refused: {}", chain(&error)))
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
