//! What the journal reads back from its files.

use bunho_journal::fuzzing::{self, marker};
use bunho_journal::{Record, RecordRef};

/// Any bytes are an error or a record, and a record means the same when it is written again.
pub fn record(bytes: &[u8]) {
    let Ok(read) = Record::decode(bytes) else { return };
    let mut written = Vec::new();
    let again = RecordRef { at: read.at, events: &read.events, audit: read.audit.as_ref() };
    again.encode(&mut written).expect("what was read can be written");
    assert_eq!(Record::decode(&written).expect("what was written can be read"), read);
    // A number may be spelled longer than it must be, never shorter than we do.
    assert!(written.len() <= bytes.len(), "{} bytes became {}", bytes.len(), written.len());
    for end in [0, written.len() / 2, written.len() - 1] {
        assert!(Record::decode(&written[..end]).is_err(), "a record cut short is none");
    }
}

/// Any bytes are an error or a chunk; a chunk has one spelling, and its offsets are dense. The first eight bytes say where it
/// begins. A marker's text is read the same way.
pub fn chunk(bytes: &[u8]) {
    let (first, body) = bytes.split_first_chunk().map_or((1, bytes), |(first, body)| (u64::from_le_bytes(*first), body));
    if let Ok(fuzzing::Read { records, again }) = fuzzing::chunk(first, body) {
        assert_eq!(again, body);
        assert!(!records.is_empty());
        for (at, (offset, _)) in records.iter().enumerate() {
            assert_eq!(*offset, first + at as u64);
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(offset) = marker(text)
    {
        assert_eq!(marker(&format!("refused_from {offset}    \n")), Some(offset));
    }
}
