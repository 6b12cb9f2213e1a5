//! A record as bytes: one version byte, then the record in [postcard](https://postcard.jamesmunns.com/wire-format).
//!
//! The layouts are mirrors of the domain's types, kept apart from them: the domain may be rearranged, a layout that
//! has been written never changes. Within a version, variants may be added at the end of an enum (older records stay
//! readable); anything else is a new version with its own module, and the old one stays for reading.
//! `tests/journal/golden.rs` holds the bytes of one record of each kind.
//!
//! Encoding borrows from the events and copies each byte once, because it happens while the engine holds a lock.

use bunho_domain::event::Event;
use bunho_domain::ids::IdError;
use bunho_domain::time::Millis;

mod v1;

/// The version that is written.
pub const WIRE_VERSION: u8 = 1;

/// Who did something by hand, and what; kept beside the events it caused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Name of the administrator or key.
    pub actor: String,
    /// What was done, as a stable code.
    pub action: String,
    /// To what.
    pub target: String,
    /// More about it, as JSON.
    pub detail: Option<String>,
    /// The request that did it.
    pub request_id: Option<String>,
}

/// A record about to be written.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// When it was decided.
    pub at: Millis,
    /// What happened, in order.
    pub events: &'a [Event],
    /// Who did it, where a person did.
    pub audit: Option<&'a Audit>,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was decided.
    pub at: Millis,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// Who did it, where a person did.
    pub audit: Option<Audit>,
}

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// There are none.
    #[error("it is empty")]
    Empty,
    /// A newer program wrote them.
    #[error("it has version {found} and this program reads version {WIRE_VERSION}: a newer release wrote it")]
    Version {
        /// The version found.
        found: u8,
    },
    /// They do not follow their version's layout.
    #[error("it does not have the layout of its version")]
    Layout(#[source] postcard::Error),
    /// More bytes than the record has.
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    /// An id in it was never a valid one.
    #[error("its {field} is not valid")]
    Field {
        /// Which one.
        field: &'static str,
        /// What it must be.
        source: IdError,
    },
}

impl RecordRef<'_> {
    /// Appends the record to `out`.
    ///
    /// # Errors
    /// Not for any record there is; `out` then ends in a part of the record.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        out.push(WIRE_VERSION);
        v1::encode(self, out)
    }
}

impl Record {
    /// Reads one record, which must fill `bytes`.
    ///
    /// # Errors
    /// [`WireError`] says why it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        match bytes.split_first() {
            None => Err(WireError::Empty),
            Some((&1, payload)) => v1::decode(payload),
            Some((&found, _)) => Err(WireError::Version { found }),
        }
    }
}
