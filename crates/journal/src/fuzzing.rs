//! What reads stored bytes and is nobody's interface, for the fuzz targets alone.

use crate::JournalError;
use crate::chunk::{Chunk, Stored};
use crate::folder;

/// The records of a stored chunk, and the chunk written anew from them.
///
/// # Errors
/// The bytes are no chunk.
pub fn chunk(first: u64, bytes: &[u8]) -> Result<(Vec<(u64, &[u8])>, Vec<u8>), JournalError> {
    let stored = Stored::parse(first, bytes)?;
    let records: Vec<_> = stored.records().collect();
    let mut again = Chunk::starting_at(first, Vec::new());
    records.iter().for_each(|(_, record)| again.push(record));
    Ok((records, again.into_buffer()))
}

/// The offset that a marker's text says.
#[must_use]
pub fn marker(text: &str) -> Option<u64> {
    folder::read_marker(text)
}
