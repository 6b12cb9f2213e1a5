//! As much of protobuf as spans need: numbers of three kinds, and what has a length. (A library would bring a compiler of descriptions
//! for one message that is only ever written; the tests read it with one.)

/// A message under construction.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH: u64 = 2;

impl Message {
    fn raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// An integer or an enum.
    pub(super) fn number(mut self, field: u64, value: u64) -> Self {
        self.raw(field << 3 | VARINT);
        self.raw(value);
        self
    }

    /// A `fixed64`.
    pub(super) fn fixed(mut self, field: u64, value: u64) -> Self {
        self.raw(field << 3 | FIXED_64);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Bytes or a string.
    pub(super) fn bytes(mut self, field: u64, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.raw(field << 3 | LENGTH);
        self.raw(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A message within.
    pub(super) fn message(self, field: u64, value: Self) -> Self {
        self.bytes(field, value.0)
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}
