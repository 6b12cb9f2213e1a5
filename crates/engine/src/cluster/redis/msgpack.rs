//! The part of [MessagePack](https://github.com/msgpack/msgpack/blob/master/spec.md) that Redis's `cmsgpack` reads and writes.
//!
//! Text and bytes are the same there (a Lua string is bytes), and `false` stands for "none", since a Lua table has no nil.

/// What was packed does not have the layout that was expected.
#[derive(Debug, thiserror::Error)]
#[error("Redis holds or answered something that this program did not write ({0})")]
pub struct Malformed(pub(super) &'static str);

/// Packs values one after another.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// Room for so many bytes at once.
    pub(super) fn with_room(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn array(mut self, len: usize) -> Self {
        match len {
            0..16 => self.0.push(0x90 | len as u8),
            16..0x1_0000 => self.tagged(0xdc, &(len as u16).to_be_bytes()),
            _ => self.tagged(0xdd, &(len as u32).to_be_bytes()),
        }
        self
    }

    /// Exact in Lua below 2^53.
    pub(super) fn int(mut self, value: i64) -> Self {
        match value {
            0..128 => self.0.push(value as u8),
            _ => self.tagged(0xd3, &value.to_be_bytes()),
        }
        self
    }

    pub(super) fn bytes(mut self, value: &[u8]) -> Self {
        match value.len() {
            0..32 => self.0.push(0xa0 | value.len() as u8),
            32..256 => self.tagged(0xd9, &[value.len() as u8]),
            256..0x1_0000 => self.tagged(0xda, &(value.len() as u16).to_be_bytes()),
            _ => self.tagged(0xdb, &(value.len() as u32).to_be_bytes()),
        }
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn text(self, value: &str) -> Self {
        self.bytes(value.as_bytes())
    }

    pub(super) fn bool(mut self, value: bool) -> Self {
        self.0.push(if value { 0xc3 } else { 0xc2 });
        self
    }

    pub(super) fn none(self) -> Self {
        self.bool(false)
    }

    pub(super) fn int_or_none(self, value: Option<i64>) -> Self {
        match value {
            Some(value) => self.int(value),
            None => self.none(),
        }
    }

    pub(super) fn text_or_none(self, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(value),
            None => self.none(),
        }
    }

    pub(super) fn bytes_or_none(self, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.bytes(value),
            None => self.none(),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn tagged(&mut self, tag: u8, rest: &[u8]) {
        self.0.push(tag);
        self.0.extend_from_slice(rest);
    }
}

/// Reads values one after another; whoever reads knows what comes.
pub(super) struct Reader<'a>(&'a [u8]);

enum Value<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    Bool(bool),
    Array(usize),
}

impl<'a> Reader<'a> {
    pub(super) const fn new(packed: &'a [u8]) -> Self {
        Self(packed)
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// A big-endian number of `len` bytes.
    fn number(&mut self, len: usize) -> Result<u64, Malformed> {
        Ok(self.take(len)?.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn value(&mut self) -> Result<Value<'a>, Malformed> {
        let tag = self.take(1)?[0];
        let signed = |number: u64, bits: u32| Value::Int((number << (64 - bits)) as i64 >> (64 - bits));
        Ok(match tag {
            0x00..=0x7f => Value::Int(tag.into()),
            0xe0..=0xff => Value::Int((tag as i8).into()),
            0x90..=0x9f => Value::Array((tag & 0xf).into()),
            0xa0..=0xbf => Value::Bytes(self.take((tag & 0x1f).into())?),
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xcc..=0xcf => {
                let number = self.number(1 << (tag - 0xcc))?;
                Value::Int(i64::try_from(number).map_err(|_| Malformed("a number is too large"))?)
            }
            0xd0..=0xd3 => signed(self.number(1 << (tag - 0xd0))?, 8 << (tag - 0xd0)),
            0xd9..=0xdb => {
                let len = self.number(1 << (tag - 0xd9))?;
                Value::Bytes(self.take(len as usize)?)
            }
            0xdc | 0xdd => Value::Array(self.number(2 << (tag - 0xdc))? as usize),
            _ => return Err(Malformed("a value of a type that is never written")),
        })
    }

    pub(super) fn int(&mut self) -> Result<i64, Malformed> {
        self.int_or_none()?.ok_or(Malformed("a number is missing"))
    }

    /// A whole number in the range of its type.
    pub(super) fn number_as<T: TryFrom<i64>>(&mut self) -> Result<T, Malformed> {
        T::try_from(self.int()?).map_err(|_| Malformed("a number is out of range"))
    }

    pub(super) fn int_or_none(&mut self) -> Result<Option<i64>, Malformed> {
        match self.value()? {
            Value::Int(value) => Ok(Some(value)),
            Value::Bool(false) => Ok(None),
            _ => Err(Malformed("not a number")),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        self.bytes_or_none()?.ok_or(Malformed("a text is missing"))
    }

    pub(super) fn bytes_or_none(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.value()? {
            Value::Bytes(value) => Ok(Some(value)),
            Value::Bool(false) => Ok(None),
            _ => Err(Malformed("not a text")),
        }
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    pub(super) fn text_or_none(&mut self) -> Result<Option<&'a str>, Malformed> {
        self.bytes_or_none()?.map(|bytes| std::str::from_utf8(bytes).map_err(|_| Malformed("a text is not UTF-8"))).transpose()
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.value()? {
            Value::Bool(value) => Ok(value),
            _ => Err(Malformed("neither true nor false")),
        }
    }

    pub(super) fn array(&mut self) -> Result<usize, Malformed> {
        self.array_or_none()?.ok_or(Malformed("a list is missing"))
    }

    pub(super) fn array_or_none(&mut self) -> Result<Option<usize>, Malformed> {
        match self.value()? {
            Value::Array(len) => Ok(Some(len)),
            Value::Bool(false) => Ok(None),
            _ => Err(Malformed("not a list")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_read() {
        for value in [0, 1, 127, 128, 65_536, 1 << 40, -1, -33, i64::MIN] {
            assert_eq!(Reader::new(&Writer::default().int(value).finish()).int().unwrap(), value);
        }
        for len in [0, 31, 32, 255, 256, 65_535, 65_536] {
            let text = vec![7; len];
            assert_eq!(Reader::new(&Writer::default().bytes(&text).finish()).bytes().unwrap(), text);
            assert_eq!(Reader::new(&Writer::default().array(len).finish()).array().unwrap(), len);
        }
    }

    #[test]
    fn what_is_not_packed_so_is_refused() {
        for packed in [&b""[..], b"\xa5abc", b"\xdb\xff\xff\xff\xff", b"\xc1", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", b"\x90"] {
            assert!(Reader::new(packed).int().is_err() && Reader::new(packed).bytes().is_err(), "{packed:?}");
        }
    }
}
