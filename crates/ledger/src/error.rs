//! Everything that can go wrong between Bunho and its SQL database, with what was being done at the time.

use bunho_journal::JournalError;
use std::path::PathBuf;

/// A failure of the ledger. Its `Display` leaves the source out; whoever logs it prints the chain.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database file cannot be opened or made.
    #[error("cannot open the ledger at {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// A migration failed.
    #[error("cannot bring the schema of the ledger at {} up to date", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// The file was written by a newer program.
    #[error(
        "the ledger's schema is version {found}, this program knows versions up to {known}: start the newer program, or restore a copy made before it ran"
    )]
    SchemaNewer {
        /// Version in the file.
        found: i64,
        /// Newest version that this program knows.
        known: i64,
    },
    /// A statement failed.
    #[error("the ledger could not {action}")]
    Sql {
        /// What was being done.
        action: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// A stored value is not what this program writes.
    #[error("the ledger's {table}.{column} holds {value:?}, which is not readable")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// What it holds.
        value: String,
    },
    /// The journal could not be read.
    #[error("the projector could not read the journal")]
    Journal {
        /// Why.
        source: JournalError,
    },
    /// A bug; the message is in the log.
    #[error("the projector panicked")]
    Panicked,
    /// The thread that reads the journal ended early.
    #[error("the projector's journal reader stopped")]
    ReaderStopped {
        /// Why.
        source: tokio::task::JoinError,
    },
}

impl LedgerError {
    /// For `map_err` on a statement: says what was being done.
    pub(crate) fn sql(action: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |source| Self::Sql { action, source }
    }
}

/// Whether a constraint of the schema refused a statement, as against the database being unable to run it.
pub(crate) fn is_constraint(error: &sqlx::Error) -> bool {
    use sqlx::error::ErrorKind::{CheckViolation, ForeignKeyViolation, NotNullViolation, UniqueViolation};
    let kind = error.as_database_error().map(sqlx::error::DatabaseError::kind);
    matches!(kind, Some(UniqueViolation | NotNullViolation | CheckViolation | ForeignKeyViolation))
}
