//! Texts that stay for as long as the offer does: its users' names, and the keys and attributes of its claims.
//!
//! A text of its own on the heap costs a header, a rounding and a wide pointer, together more than most names are long. Here one
//! costs its length, a byte or two in front that say the length, and six bytes wherever it is referred to. Nothing is ever
//! removed (what is to be forgotten is overwritten), and nothing moves: texts stand in chunks that are filled one after the other.

use crate::limits::{KEY_CHARS_MAX, STORED_ATTRIBUTES_BYTES_MAX, USER_BYTES_MAX};

/// Bytes of one chunk. A longer record has a chunk of its own.
const CHUNK: usize = 1 << 16;

/// A digit of a length has so many bits, and the next bit says that another digit follows: so each is one ASCII character.
const DIGIT_BITS: u32 = 6;
const MORE: u8 = 1 << DIGIT_BITS;

/// Where a record is: the number of its chunk in 32 bits, and the byte in it in 16. Three halves of words, so that whatever keeps
/// one is not padded for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TextAt([u16; 3]);

// There are fewer than 2^32 users and 2^32 claims, so fewer than 2^33 records. Of a chunk at most a sixteenth or so stays empty, what the
// largest record did not fit in; so their chunks can be counted in 32 bits.
const RECORD_MAX: u64 = (USER_BYTES_MAX + KEY_CHARS_MAX + STORED_ATTRIBUTES_BYTES_MAX + 6) as u64;
const _: () = assert!((1 << 33) * RECORD_MAX / (CHUNK as u64 - RECORD_MAX) < u32::MAX as u64);

/// Records of texts, each of which may be missing.
#[derive(Debug)]
pub(super) struct Texts {
    /// A `String` keeps what it was given valid, so reading needs no check.
    chunks: Vec<String>,
}

impl Texts {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    /// Keeps a record.
    pub(super) fn push<const N: usize>(&mut self, record: [Option<&str>; N]) -> TextAt {
        let needed: usize = record.iter().map(|text| prefix_bytes(*text) + text.map_or(0, str::len)).sum();
        if self.chunks.last().is_none_or(|last| last.len() + needed > CHUNK) {
            // The first chunk grows by itself, so that a small offer stays small.
            let capacity = if self.chunks.is_empty() { needed } else { needed.max(CHUNK) };
            self.chunks.push(String::with_capacity(capacity));
        }
        let number = self.chunks.len() - 1;
        let chunk = &mut self.chunks[number];
        let at = TextAt::new(number, chunk.len());
        for text in record {
            push_prefix(chunk, text);
            chunk.push_str(text.unwrap_or_default());
        }
        at
    }

    /// Overwrites the first `N` texts of the record at `at`, which nobody refers to any more.
    pub(super) fn erase<const N: usize>(&mut self, at: TextAt) {
        let mut from = at.byte();
        for _ in 0..N {
            let chunk = &mut self.chunks[at.chunk()];
            if let Some(length) = read_prefix(chunk.as_bytes(), &mut from) {
                chunk.replace_range(from..from + length, &"x".repeat(length));
                from += length;
            }
        }
    }

    /// The first `N` texts of the record at `at`.
    pub(super) fn get<const N: usize>(&self, at: TextAt) -> [Option<&str>; N] {
        let (chunk, mut from) = (self.chunks[at.chunk()].as_str(), at.byte());
        std::array::from_fn(|_| {
            let text = read_prefix(chunk.as_bytes(), &mut from)?;
            let start = from;
            from += text;
            Some(&chunk[start..from])
        })
    }
}

impl TextAt {
    /// For what has no texts yet; not to be read.
    pub(super) const NOWHERE: Self = Self([u16::MAX; 3]);

    fn new(chunk: usize, byte: usize) -> Self {
        let chunk = u32::try_from(chunk).expect("fewer chunks than 2^32, as asserted above");
        let byte = u16::try_from(byte).expect("what begins in a chunk begins within its first 2^16 bytes");
        Self([(chunk >> 16) as u16, chunk as u16, byte])
    }

    fn chunk(self) -> usize {
        usize::from(self.0[0]) << 16 | usize::from(self.0[1])
    }

    fn byte(self) -> usize {
        self.0[2].into()
    }
}

/// What stands in front of a text: 0 for a missing one, else its length and one more, lowest digit first.
fn push_prefix(chunk: &mut String, text: Option<&str>) {
    let mut rest = text.map_or(0, |text| text.len() + 1);
    loop {
        let digit = rest as u8 & (MORE - 1);
        rest >>= DIGIT_BITS;
        chunk.push(char::from(if rest == 0 { digit } else { digit | MORE }));
        if rest == 0 {
            break;
        }
    }
}

fn prefix_bytes(text: Option<&str>) -> usize {
    let number = text.map_or(0, |text| text.len() + 1);
    (usize::BITS - number.leading_zeros()).div_ceil(DIGIT_BITS).max(1) as usize
}

/// The length in front of a text, none for a missing one; `from` is where the text begins afterwards.
fn read_prefix(chunk: &[u8], from: &mut usize) -> Option<usize> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let digit = chunk[*from];
        *from += 1;
        number |= usize::from(digit & (MORE - 1)) << shift;
        shift += DIGIT_BITS;
        if digit & MORE == 0 {
            return number.checked_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(records: &[[Option<String>; 2]]) {
        let mut texts = Texts::new();
        let at: Vec<TextAt> = records.iter().map(|record| texts.push(record.each_ref().map(Option::as_deref))).collect();
        for (at, record) in at.iter().zip(records) {
            assert_eq!(texts.get(*at), record.each_ref().map(Option::as_deref));
            assert_eq!(texts.get(*at), [record[0].as_deref()], "the first alone");
        }
    }

    #[test]
    fn texts_of_every_length_come_back() {
        let around = |length: usize| length.saturating_sub(3)..length + 3;
        let lengths = [3, 64, 128, 4_096, CHUNK, 1 << 18].into_iter().flat_map(around);
        check(&lengths.map(|length| [Some("é".repeat(length / 2) + &"x".repeat(length % 2)), Some("김".into())]).collect::<Vec<_>>());
    }

    #[test]
    fn a_record_that_just_fits_fills_its_chunk() {
        for spare in 0..8 {
            let mut texts = Texts::new();
            let long = "x".repeat(CHUNK - 20);
            let first = texts.push([Some(&long)]);
            let short = "y".repeat(20 - 3 - 1 - spare);
            let second = texts.push([Some(&short)]);
            let third = texts.push([Some("third")]);
            assert_eq!((texts.get(first), texts.get(second), texts.get(third)), ([Some(&*long)], [Some(&*short)], [Some("third")]));
            assert_eq!((first.chunk(), second.chunk(), third.chunk()), (0, 0, if spare < 6 { 1 } else { 0 }), "{spare} bytes were left");
        }
    }

    #[test]
    fn what_is_erased_is_nowhere_and_what_is_beside_it_stays() {
        let mut texts = Texts::new();
        let records = [[Some("before"), None], [Some("김 the secret"), Some("{\"secret\":1}")], [Some("after"), Some("{}")]];
        let at = records.map(|record| texts.push(record));
        texts.erase::<2>(at[1]);
        assert_eq!((texts.get(at[0]), texts.get(at[2])), (records[0], records[2]));
        assert!(!texts.chunks.concat().contains("secret"));
    }

    #[test]
    fn a_chunk_beyond_16_bits_is_told_apart() {
        let at = TextAt::new(0xfedc_ba98, 0xffff);
        assert_eq!((at.chunk(), at.byte()), (0xfedc_ba98, 0xffff));
    }

    proptest! {
        #[test]
        fn records_come_back(
            records in proptest::collection::vec([proptest::option::of(".{0,200}"), proptest::option::of(".{0,5000}")], 0..60),
        ) {
            check(&records);
        }
    }
}
