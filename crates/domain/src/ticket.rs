//! One place in a line as a signed string.
//!
//! The client keeps its place, not the server: a ticket carries everything that puts its bearer back where it
//! stood, under a MAC that nobody without the key can make. So after a restart, or after losing all waiting
//! state, the polls themselves rebuild the line in its first order.
//!
//! A ticket is 60 characters of base64url over 45 bytes: version, zone number, epoch, sequence number, time of
//! issue, nonce (all big endian), and the first 128 bits of an HMAC-SHA-256 over those and the zone's id. The
//! id is not carried: it comes with the request, and a ticket of another zone fails as a forged one does. One that is bound to
//! its holder's key says so in version 2, which has 18 bytes more, behind the nonce.

use crate::event::TicketNumber;
use crate::ids::ZoneId;
use crate::time::Millis;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;

/// Bytes of a ticket key's secret.
pub const TICKET_KEY_BYTES: usize = 32;

/// Characters of every ticket that is bound to nobody.
pub const TICKET_CHARS: usize = TICKET_BYTES / 3 * 4;
/// Characters of every ticket that is.
pub const BOUND_TICKET_CHARS: usize = BOUND_TICKET_BYTES / 3 * 4;

/// The layout of tickets that are bound to nobody.
const VERSION: u8 = 1;
/// The layout of those that are.
const BOUND_VERSION: u8 = 2;
/// Version 1 + zone number 4 + epoch 4 + sequence number 4 + time of issue 8 + nonce 8.
const FIELD_BYTES: usize = 1 + 4 + 4 + 4 + 8 + 8;
/// 128 bits: guessing one takes 2^127 attempts on average, each of them a request.
const MAC_BYTES: usize = 16;
const TICKET_BYTES: usize = FIELD_BYTES + MAC_BYTES;
/// 144 bits of SHA-256: nobody finds another key with the same.
const KEY_HASH_BYTES: usize = 18;
const BOUND_FIELD_BYTES: usize = FIELD_BYTES + KEY_HASH_BYTES;
const BOUND_TICKET_BYTES: usize = BOUND_FIELD_BYTES + MAC_BYTES;
// Whole groups of three bytes leave no trailing bits, so one ticket has one spelling.
const _: () = assert!(TICKET_BYTES.is_multiple_of(3) && BOUND_TICKET_BYTES.is_multiple_of(3) && KEY_HASH_BYTES.is_multiple_of(3));

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
        // Their first byte says how long the fields are, so where they end and the id begins cannot be shifted.
        mac.update(zone.as_str().as_bytes());
        mac
    }
}

/// The keys of an installation at one moment, as they follow each other.
///
/// Which one signs a ticket is a matter of when the ticket was issued, not of when it is written down: so a place has one text for as long
/// as its key is there, whichever node writes it, also while nodes learn of a new key one after the other.
#[derive(Clone, Debug)]
pub struct TicketKeys {
    /// Of clients' names alone. It stays when keys change: who joins again under a name must find its place.
    names: TicketKey,
    /// From when on each signs, oldest first; never empty.
    keys: Vec<(Millis, TicketKey)>,
}

impl TicketKeys {
    /// One key for everything.
    #[must_use]
    pub fn one(secret: &[u8; TICKET_KEY_BYTES]) -> Self {
        let key = TicketKey::new(secret);
        Self { names: key.clone(), keys: vec![(Millis(0), key)] }
    }

    /// Several, each from when on it signs; none: there is no key.
    #[must_use]
    pub fn new(names: &[u8; TICKET_KEY_BYTES], keys: impl IntoIterator<Item = (Millis, [u8; TICKET_KEY_BYTES])>) -> Option<Self> {
        let mut keys: Vec<_> = keys.into_iter().map(|(from, secret)| (from, TicketKey::new(&secret))).collect();
        keys.sort_by_key(|(from, _)| *from);
        (!keys.is_empty()).then(|| Self { names: TicketKey::new(names), keys })
    }

    /// See [`TicketKey::client_nonce`].
    #[must_use]
    pub fn client_nonce(&self, zone: &ZoneId, client_key: &str) -> u64 {
        self.names.client_nonce(zone, client_key)
    }

    /// The ticket as text: always the same while its key is there.
    #[must_use]
    pub fn encode(&self, ticket: &Ticket, zone: &ZoneId) -> String {
        let signs = self.keys.iter().rposition(|(from, _)| *from <= ticket.issued_at).unwrap_or(0);
        ticket.encode(&self.keys[signs].1, zone)
    }

    /// Reads a ticket of any of the keys.
    ///
    /// # Errors
    /// [`TicketInvalid`] for every other text.
    pub fn decode(&self, text: &str, zone: &ZoneId) -> Result<Ticket, TicketInvalid> {
        let mut newest_first = self.keys.iter().rev();
        newest_first.find_map(|(_, key)| Ticket::decode(text, key, zone).ok()).ok_or(TicketInvalid)
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
    /// Whose it is, where the zone binds its passes.
    pub bound_to: Option<KeyHash>,
}

/// What a key begins with where somebody whom the operator trusts has vouched for it. What clients call themselves never does.
pub const VOUCHED_FOR: char = '\0';

/// What a ticket and its pass say of the key that their holder joined with: the first 144 bits of the key's SHA-256. Without a secret, so that whoever is
/// shown the key compares by itself; so a key that can be guessed can be found by guessing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash([u8; KEY_HASH_BYTES]);

impl KeyHash {
    /// Of a key.
    #[must_use]
    pub fn of(client_key: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(client_key.trim_start_matches(VOUCHED_FOR).as_bytes()).into();
        let mut hash = [0; KEY_HASH_BYTES];
        hash.copy_from_slice(&digest[..KEY_HASH_BYTES]);
        Self(hash)
    }

    /// Reads what [`Self::text`] wrote.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut hash = [0; KEY_HASH_BYTES];
        (text.len() == KEY_HASH_BYTES / 3 * 4 && URL_SAFE_NO_PAD.decode_slice(text, &mut hash) == Ok(KEY_HASH_BYTES)).then_some(Self(hash))
    }

    /// As text: 24 characters of base64url.
    #[must_use]
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

/// The text is no ticket of this zone: forged, edited, of another zone or under another key. Which, is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a ticket of this zone")]
pub struct TicketInvalid;

impl Ticket {
    /// The ticket as text: always the same for the same ticket, key and zone.
    #[must_use]
    pub fn encode(&self, key: &TicketKey, zone: &ZoneId) -> String {
        let mut bytes = [0; BOUND_TICKET_BYTES];
        bytes[..FIELD_BYTES].copy_from_slice(&self.fields());
        let mut len = FIELD_BYTES;
        if let Some(KeyHash(hash)) = &self.bound_to {
            bytes[FIELD_BYTES..BOUND_FIELD_BYTES].copy_from_slice(hash);
            len = BOUND_FIELD_BYTES;
        }
        let mac = key.mac(&bytes[..len], zone).finalize().into_bytes();
        bytes[len..len + MAC_BYTES].copy_from_slice(&mac[..MAC_BYTES]);
        URL_SAFE_NO_PAD.encode(&bytes[..len + MAC_BYTES])
    }

    /// Reads a ticket that [`Self::encode`] wrote with the same key for the same zone.
    ///
    /// # Errors
    /// [`TicketInvalid`] for every other text.
    pub fn decode(text: &str, key: &TicketKey, zone: &ZoneId) -> Result<Self, TicketInvalid> {
        let len = match text.len() {
            TICKET_CHARS => TICKET_BYTES,
            BOUND_TICKET_CHARS => BOUND_TICKET_BYTES,
            _ => return Err(TicketInvalid),
        };
        let mut bytes = [0; BOUND_TICKET_BYTES];
        if URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) != Ok(len) {
            return Err(TicketInvalid);
        }
        let (fields, mac) = bytes[..len].split_at(len - MAC_BYTES);
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
        fields[0] = if self.bound_to.is_none() { VERSION } else { BOUND_VERSION };
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
        let bound_to = match (*version, rest) {
            (VERSION, []) => None,
            (BOUND_VERSION, rest) => Some(KeyHash(rest.try_into().ok()?)),
            _ => return None,
        };
        Some(Self {
            zone_number: u32::from_be_bytes(*zone_number),
            number: TicketNumber { epoch: u32::from_be_bytes(*epoch), seq: u32::from_be_bytes(*seq) },
            issued_at: Millis(i64::from_be_bytes(*issued_at)),
            nonce: u64::from_be_bytes(*nonce),
            bound_to,
        })
    }
}

/// What a ticket is called where its text must not stand, as in a pass's `sub`: zone number, epoch and sequence
/// number, joined by hyphens.
#[must_use]
pub fn ticket_id(zone_number: u32, number: TicketNumber) -> String {
    format!("{zone_number}-{}-{}", number.epoch, number.seq)
}
