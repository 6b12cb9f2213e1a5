//! Names of things. Each is checked where it enters, so that the rest of the program need not ask again.

use crate::limits::{ID_CHARS_MAX, KEY_CHARS_MAX, USER_BYTES_MAX};
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Zone, offer and app ids.
    #[error("must be 1 to {ID_CHARS_MAX} characters of A-Z a-z 0-9 _ . : -")]
    Name,
    /// User ids.
    #[error("must be 1 to {USER_BYTES_MAX} bytes of UTF-8 without control characters")]
    User,
    /// Idempotency keys.
    #[error("must be 1 to {KEY_CHARS_MAX} visible ASCII characters")]
    Key,
    /// Claim and standby ids.
    #[error("is not an id that was given out here")]
    Uuid,
}

fn is_name(text: &str) -> bool {
    (1..=ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-'))
}

fn is_user(text: &str) -> bool {
    (1..=USER_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn is_key(text: &str) -> bool {
    (1..=KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| (0x21..=0x7e).contains(&b))
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:ident, $error:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and takes it.
            ///
            /// # Errors
            /// [`IdError`] says what the id must be.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                if $check(text) { Ok(Self(text.into())) } else { Err(IdError::$error) }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, to be shared with whoever keeps it for a while.
            #[must_use]
            pub const fn shared(&self) -> &Arc<str> {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// A tenant.
    AppId, is_name, Name
);
text_id!(
    /// One protected screen of an app.
    ZoneId, is_name, Name
);
text_id!(
    /// Something limited.
    OfferId, is_name, Name
);
text_id!(
    /// Who claims: whatever the operator's own service calls its user.
    UserId, is_user, User
);
text_id!(
    /// A client's name for one attempt; the same key gives the same claim for as long as the offer lives.
    IdempotencyKey, is_key, Key
);

/// What pseudonyms begin with; 32 digits follow.
const PSEUDONYM: &str = "forgotten-";

impl UserId {
    /// What stands in the place of somebody who was forgotten.
    #[must_use]
    pub fn pseudonym(random: u128) -> Self {
        Self(format!("{PSEUDONYM}{random:032x}").into())
    }

    /// Whether it is one of those. Nobody else should be called so.
    #[must_use]
    pub fn is_pseudonym(&self) -> bool {
        self.as_str().strip_prefix(PSEUDONYM).is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
    }

    /// Takes `text`, which is that of an id that was checked before.
    pub(crate) fn known(text: &str) -> Self {
        debug_assert!(is_user(text), "{text:?}");
        Self(text.into())
    }
}

impl IdempotencyKey {
    /// Takes `text`, which is that of a key that was checked before.
    pub(crate) fn known(text: &str) -> Self {
        debug_assert!(is_key(text), "{text:?}");
        Self(text.into())
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// A version 8 UUID (RFC 9562 §5.8): the offer's number in the first 32 bits, the dense sequence number
        /// in the next 32 (around the version and variant bits), 58 random bits at the end. So an id finds its
        /// offer and its place without an index, sorts in the order of taking, and cannot be guessed.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Builds the id of the `seq`-th entry of offer number `offer`; the low 58 bits of `nonce` are used.
            #[must_use]
            pub const fn new(offer: u32, seq: u32, nonce: u64) -> Self {
                let top = (offer as u128) << 96 | ((seq >> 16) as u128) << 80;
                let middle = 0x8_u128 << 76 | (((seq >> 4) & 0xfff) as u128) << 64;
                let low = 0b10_u128 << 62 | ((seq & 0xf) as u128) << 58 | (nonce & NONCE_MASK) as u128;
                Self(Uuid::from_u128(top | middle | low))
            }

            /// Reads an id back from its text.
            ///
            /// # Errors
            /// [`IdError::Uuid`] for anything that [`Self::new`] did not build.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let id = Self(Uuid::try_parse(text).map_err(|_| IdError::Uuid)?);
                if Self::new(id.offer_number(), id.seq(), id.nonce()) == id { Ok(id) } else { Err(IdError::Uuid) }
            }

            /// Reads an id back from the sixteen bytes of [`Self::as_bytes`].
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The sixteen bytes, big endian.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// Its text, written into a buffer of the caller's.
            pub fn encode(self, buffer: &mut [u8; UUID_CHARS]) -> &str {
                self.0.hyphenated().encode_lower(buffer)
            }

            /// Number of the offer it belongs to.
            #[must_use]
            pub const fn offer_number(self) -> u32 {
                (self.0.as_u128() >> 96) as u32
            }

            /// Place in its offer, counted from 0.
            #[must_use]
            pub const fn seq(self) -> u32 {
                let bits = self.0.as_u128();
                (((bits >> 80) as u32 & 0xffff) << 16) | (((bits >> 64) as u32 & 0xfff) << 4) | ((bits >> 58) as u32 & 0xf)
            }

            /// The random part.
            #[must_use]
            pub const fn nonce(self) -> u64 {
                self.0.as_u128() as u64 & NONCE_MASK
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

/// Characters of a claim's or standby's id.
pub const UUID_CHARS: usize = uuid::fmt::Hyphenated::LENGTH;

/// The random bits of a claim's or standby's id.
pub const NONCE_MASK: u64 = (1 << 58) - 1;

uuid_id!(
    /// One claim.
    ClaimId
);
uuid_id!(
    /// One place on standby.
    StandbyId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_id_tells_its_offer_and_place() {
        for (offer, seq, nonce) in [(0, 0, 0), (1, 0xabcd_1234, 42), (u32::MAX, u32::MAX, NONCE_MASK)] {
            let id = ClaimId::new(offer, seq, nonce);
            assert_eq!((id.offer_number(), id.seq(), id.nonce()), (offer, seq, nonce));
            assert_eq!(ClaimId::parse(&id.to_string()), Ok(id));
        }
        assert!(ClaimId::new(1, 15, NONCE_MASK) < ClaimId::new(1, 16, 0), "ids sort in the order of taking");
        assert_eq!(ClaimId::parse("00000000-0000-4000-8000-000000000000"), Err(IdError::Uuid));
        assert_eq!(ClaimId::parse("x"), Err(IdError::Uuid));
    }

    #[test]
    fn a_pseudonym_is_known_as_one() {
        let pseudonym = UserId::pseudonym(7);
        assert!(pseudonym.is_pseudonym() && UserId::parse(pseudonym.as_str()) == Ok(pseudonym));
        assert!(!UserId::known("forgotten-kim").is_pseudonym());
    }

    #[test]
    fn ids_are_checked() {
        let long = "a".repeat(65);
        for (text, good) in [("TEST_ZONE", true), ("a.b:c-d", true), ("", false), ("a b", false), ("é", false), (&*long, false)] {
            assert_eq!(ZoneId::parse(text).is_ok(), good, "{text:?}");
        }
        for (text, good) in [("u1", true), ("김지원", true), ("a\nb", false), ("\u{85}", false), ("", false)] {
            assert_eq!(UserId::parse(text).is_ok(), good, "{text:?}");
        }
        for (text, good) in [("k-1", true), ("a b", false), ("ключ", false)] {
            assert_eq!(IdempotencyKey::parse(text).is_ok(), good, "{text:?}");
        }
    }
}
