//! Everything that can go wrong with the journal, each with what it means to whoever reads it.

use crate::wire::WireError;
use std::path::PathBuf;

/// Why the journal did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file of the journal's folder could not be used.
    #[error("could not {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The embedded store could not do something.
    #[error("the journal's store could not {what}")]
    Store {
        /// What was tried.
        what: &'static str,
        /// What the store said.
        source: Box<fjall::Error>,
    },
    /// Another process, or another handle of this one, has the journal open.
    #[error("the journal in {} is in use by {by}; stop that one first", dir.display())]
    Locked {
        /// The journal's folder.
        dir: PathBuf,
        /// Who holds it.
        by: String,
    },
    /// Records that must be there are not.
    #[error("the journal is damaged: {what}")]
    Corrupt {
        /// First record that is lost.
        offset: u64,
        /// What is lost.
        what: String,
    },
    /// A record is there and cannot be read.
    #[error("the journal's record {offset} cannot be read")]
    Undecodable {
        /// Which record.
        offset: u64,
        /// Why.
        source: WireError,
    },
    /// The marker of an earlier failure does not say what was refused.
    #[error(
        "{} should say from which record on nobody was told anything, and cannot be read or contradicts what is known: records up to \
         {acknowledged} were acknowledged. To remove all after them write `refused_from {}` into it",
        path.display(), acknowledged.saturating_add(1)
    )]
    Marker {
        /// The marker file.
        path: PathBuf,
        /// Last record that is known to have been acknowledged.
        acknowledged: u64,
    },
    /// The records asked for were trimmed away.
    #[error("records after {after} were asked for, but those up to {trimmed} have been trimmed")]
    Trimmed {
        /// After which record reading was to begin.
        after: u64,
        /// Last record that is gone.
        trimmed: u64,
    },
    /// A write or a sync failed. Nothing is written any more; whether what waited is on disk is decided at the next start.
    #[error("the journal failed to write and accepts nothing more; restart after the disk's trouble is found")]
    Poisoned,
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    /// A panic of the store while it read its files.
    pub(crate) fn unreadable(dir: &std::path::Path) -> Self {
        let what = format!("the files in {} make no sense to the store (the log says where)", dir.display());
        Self::Corrupt { offset: 0, what }
    }

    pub(crate) fn store(what: &'static str) -> impl FnOnce(fjall::Error) -> Self {
        move |source| Self::Store { what, source: Box::new(source) }
    }

    pub(crate) fn gap(from: u64, to: u64) -> Self {
        Self::Corrupt { offset: from, what: format!("records {from} to {to} are missing") }
    }
}
