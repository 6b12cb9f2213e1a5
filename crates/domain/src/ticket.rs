//! One place in a line as a signed string.
//!
//! The client keeps its place, not the server: a ticket carries everything that puts its bearer back where it
//! stood, under a MAC that nobody without the key can make. So after a restart, or after losing all waiting
//! state, the polls themselves rebuild the line in its first order.
//!
//! A ticket is 60 characters of base64url over 45 bytes: version, zone number, epoch, sequence number, time of
//! issue, nonce (all big endian), and the first 128 bits of an HMAC-SHA-256 over those and the zone's id. The
//! id is not carried: it comes with the request, and a ticket of another zone fails as a forged one does.

use crate::event::TicketNumber;
use crate::ids::ZoneId;
use crate::time::Millis;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// Bytes of a ticket key's secret.
pub const TICKET_KEY_BYTES: usize = 32;

/// Characters of every ticket.
pub const TICKET_CHARS: usize = TICKET_BYTES / 3 * 4;

/// The only layout there is so far.
const VERSION: u8 = 1;
/// Version 1 + zone number 4 + epoch 4 + sequence number 4 + time of issue 8 + nonce 8.
const FIELD_BYTES: usize = 1 + 4 + 4 + 4 + 8 + 8;
/// 128 bits: guessing one takes 2^127 attempts on average, each of them a request.
const MAC_BYTES: usize = 16;
const TICKET_BYTES: usize = FIELD_BYTES + MAC_BYTES;
// Whole groups of three bytes leave no trailing bits, so one ticket has one spelling.
const _: () = assert!(TICKET_BYTES.is_multiple_of(3));

/// Keeps this MAC apart from any other use of the same secret.
const PURPOSE: &[u8] = b"bunho ticket\0";
/// Bytes of a block of SHA-256, to which HMAC pads its key with zeros.
const BLOCK_BYTES: usize = 64;
const _: () = assert!(TICKET_KEY_BYTES <= BLOCK_BYTES);

/// What signs tickets: an HMAC-SHA-256 with the secret already absorbed, copied for each use.
#[derive(Clone)]
pub struct TicketKey(Hmac<Sha256>);

impl TicketKey {
    /// A key from its secret, which must be random.
    #[must_use]
    pub fn new(secret: &[u8; TICKET_KEY_BYTES]) -> Self {
        let mut block = [0; BLOCK_BYTES];
        block[..TICKET_KEY_BYTES].copy_from_slice(secret);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(PURPOSE);
        Self(mac)
    }

    /// The nonce of a ticket whose client calls itself `client_key` in `zone`: the same each time, and of no use to guess at.
    #[must_use]
    pub fn client_nonce(&self, zone: &ZoneId, client_key: &str) -> u64 {
        // No ticket's fields begin so: their first byte is a version. The id has no zero byte, so its end is plain.
        let mut mac = self.mac(b"client key\0", zone);
        mac.update(b"\0");
        mac.update(client_key.as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = mac.finalize().into_bytes().0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    fn mac(&self, fields: &[u8], zone: &ZoneId) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(fields);
        // The fields have one length, so where they end and the id begins cannot be shifted.
        mac.update(zone.as_str().as_bytes());
        mac
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey")
    }
}

/// What a client keeps of its place in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The zone's number. A zone deleted and made again under the same id has another one.
    pub zone_number: u32,
    /// The place.
    pub number: TicketNumber,
    /// When it was given out.
    pub issued_at: Millis,
    /// Randomness, or a keyed hash of what the client called itself.
    pub nonce: u64,
}

/// The text is no ticket of this zone: forged, edited, of another zone or under another key. Which, is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a ticket of this zone")]
pub struct TicketInvalid;

impl Ticket {
    /// The ticket as text: always the same for the same ticket, key and zone.
    #[must_use]
    pub fn encode(&self, key: &TicketKey, zone: &ZoneId) -> String {
        let fields = self.fields();
        let mac = key.mac(&fields, zone).finalize().into_bytes();
        let mut bytes = [0; TICKET_BYTES];
        bytes[..FIELD_BYTES].copy_from_slice(&fields);
        bytes[FIELD_BYTES..].copy_from_slice(&mac[..MAC_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a ticket that [`Self::encode`] wrote with the same key for the same zone.
    ///
    /// # Errors
    /// [`TicketInvalid`] for every other text.
    pub fn decode(text: &str, key: &TicketKey, zone: &ZoneId) -> Result<Self, TicketInvalid> {
        if text.len() != TICKET_CHARS {
            return Err(TicketInvalid);
        }
        let mut bytes = [0; TICKET_BYTES];
        if URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) != Ok(TICKET_BYTES) {
            return Err(TicketInvalid);
        }
        let (fields, mac) = bytes.split_at(FIELD_BYTES);
        key.mac(fields, zone).verify_truncated_left(mac).map_err(|_| TicketInvalid)?;
        Self::from_fields(fields).ok_or(TicketInvalid)
    }

    /// Its name in a pass: see [`ticket_id`].
    #[must_use]
    pub fn id(&self) -> String {
        ticket_id(self.zone_number, self.number)
    }

    fn fields(&self) -> [u8; FIELD_BYTES] {
        let mut fields = [0; FIELD_BYTES];
        fields[0] = VERSION;
        fields[1..5].copy_from_slice(&self.zone_number.to_be_bytes());
        fields[5..9].copy_from_slice(&self.number.epoch.to_be_bytes());
        fields[9..13].copy_from_slice(&self.number.seq.to_be_bytes());
        fields[13..21].copy_from_slice(&self.issued_at.0.to_be_bytes());
        fields[21..29].copy_from_slice(&self.nonce.to_be_bytes());
        fields
    }

    fn from_fields(fields: &[u8]) -> Option<Self> {
        let (version, rest) = fields.split_first()?;
        let (zone_number, rest) = rest.split_first_chunk()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (seq, rest) = rest.split_first_chunk()?;
        let (issued_at, rest) = rest.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        (*version == VERSION && rest.is_empty()).then(|| Self {
            zone_number: u32::from_be_bytes(*zone_number),
            number: TicketNumber { epoch: u32::from_be_bytes(*epoch), seq: u32::from_be_bytes(*seq) },
            issued_at: Millis(i64::from_be_bytes(*issued_at)),
            nonce: u64::from_be_bytes(*nonce),
        })
    }
}

/// What a ticket is called where its text must not stand, as in a pass's `sub`: zone number, epoch and sequence
/// number, joined by hyphens.
#[must_use]
pub fn ticket_id(zone_number: u32, number: TicketNumber) -> String {
    format!("{zone_number}-{}-{}", number.epoch, number.seq)
}
