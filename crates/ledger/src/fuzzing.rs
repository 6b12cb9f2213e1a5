//! What reads stored text and is nobody's interface, for the fuzz targets alone.

use crate::timestamp::{self, Timestamp};
use bunho_domain::time::Millis;

/// Reads a time as the ledger writes it.
#[must_use]
pub fn read_time(text: &str) -> Option<Millis> {
    timestamp::parse(text)
}

/// Writes a time as the ledger does.
#[must_use]
pub fn write_time(at: Millis) -> String {
    Timestamp::new(at).as_str().to_owned()
}
