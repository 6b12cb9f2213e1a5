//! Everything that can go wrong between Bunho and its SQL database, with what was being done at the time.

use crate::sql::Place;
use bunho_journal::JournalError;

/// A failure of the ledger. Its `Display` leaves the source out; whoever logs it prints the chain.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database file cannot be opened or made.
    #[error("cannot open the ledger at {place}")]
    Open {
        /// The file.
        place: Place,
        /// Why.
        source: sqlx::Error,
    },
    /// The database's server cannot be reached, or refuses who we say we are.
    #[error("cannot reach the ledger at {place}")]
    Unreachable {
        /// The database.
        place: Place,
        /// Why.
        source: sqlx::Error,
    },
    /// The database is another installation's.
    #[error(
        "the ledger at {place} belongs to installation {found}, and this one is {own}: give each a database of its own, or bring back the data that belong to it"
    )]
    OtherInstallation {
        /// The database.
        place: Place,
        /// Whose it is.
        found: String,
        /// Who asked.
        own: String,
    },
    /// Somebody else has held the lock of the directory for all the time that was waited.
    #[error("somebody else has been editing for seconds")]
    Busy,
    /// An import brings an offer or a zone whose number or id another one has.
    #[error("the directory has another {kind} with number {number} or with the id {id}: import into an empty database")]
    Imported {
        /// "offer" or "zone".
        kind: &'static str,
        /// Its number.
        number: u32,
        /// Its id.
        id: String,
    },
    /// Something lives in the tables that the directory does not know: the database was brought back from a copy.
    #[error("the {kind} {id} is in the ledger and not in the directory, which was brought back from an older copy: run `bunho rebuild`")]
    NotInDirectory {
        /// "offer" or "zone".
        kind: &'static str,
        /// Its id.
        id: String,
    },
    /// The database has not answered for so long that it is given up and asked anew.
    #[error("the ledger does not answer")]
    Silent,
    /// A migration failed.
    #[error("cannot bring the schema of the ledger at {place} up to date")]
    Migrate {
        /// Where.
        place: Place,
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

    /// Whether the database's server answers and does not let us in: another user, password or database is needed.
    #[must_use]
    pub fn is_locked_out(&self) -> bool {
        let Self::Unreachable { source: sqlx::Error::Database(error), .. } = self else { return false };
        // Classes of PostgreSQL and the others: no such user or a wrong password, and no such database.
        error.code().is_some_and(|code| code.starts_with("28") || matches!(&*code, "3D000" | "42000" | "42501"))
    }

    /// Whether the database is out, or the way to it, as against having refused what it was asked.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        match self {
            Self::Unreachable { .. } | Self::Busy => Some(Outage::Before),
            Self::Silent => Some(Outage::During),
            Self::Sql { source: sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed, .. } => Some(Outage::Before),
            Self::Sql { action, source } if is_outage(source) => {
                Some(if ACTIONS_BEFORE.contains(action) { Outage::Before } else { Outage::During })
            }
            _ => None,
        }
    }

    /// Whether the database gave one of two transactions up that waited for each other: it is to be tried again.
    pub(crate) fn is_deadlock(&self) -> bool {
        let Self::Sql { source, .. } = self else { return false };
        // PostgreSQL's word, and that of both for a transaction that cannot be put in order.
        source.as_database_error().and_then(|error| error.code()).is_some_and(|code| matches!(&*code, "40P01" | "40001"))
    }
}

/// How far something had come when the database was found to be out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// Nothing was asked yet, so nothing was changed.
    Before,
    /// A change may have been made or not.
    During,
}

/// What is done before anything is asked.
pub(crate) const ACTIONS_BEFORE: [&str; 4] = [GET_READER, GET_WRITER, BEGIN, BEGIN_READ];
pub(crate) const GET_READER: &str = "get a connection";
pub(crate) const GET_WRITER: &str = "get the writing connection";
pub(crate) const BEGIN: &str = "begin a transaction";
pub(crate) const BEGIN_READ: &str = "begin to read";

fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // PostgreSQL's classes of connections that failed, of resources that ran out and of an operator who intervened; what MySQL and MariaDB say of
        // the first and the last.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "53", "57"].iter().any(|class| code.starts_with(class) && code.len() == 5) && !code.starts_with("57014")
        }),
        _ => false,
    }
}

/// Whether a constraint of the schema refused a statement, as against the database being unable to run it.
pub(crate) fn is_constraint(error: &sqlx::Error) -> bool {
    use sqlx::error::ErrorKind::{CheckViolation, ForeignKeyViolation, NotNullViolation, UniqueViolation};
    let Some(error) = error.as_database_error() else { return false };
    // PostgreSQL's word for one key twice in one statement; alone, each is as good as the other.
    let is_met_twice = error.code().as_deref() == Some("21000");
    is_met_twice || matches!(error.kind(), UniqueViolation | NotNullViolation | CheckViolation | ForeignKeyViolation)
}
