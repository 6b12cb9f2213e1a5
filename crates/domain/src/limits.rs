//! Every bound of the domain, named and derived, so that arithmetic cannot overflow and memory cannot be
//! grown by a client. Bounds of the HTTP edge (bodies, connections) are in the server's configuration.

/// Largest quantity of an offer, of a claim and of a per-user limit. Sums of two stay below `u32::MAX`.
pub const QUANTITY_MAX: u32 = 1_000_000_000;
const _: () = assert!(QUANTITY_MAX as u64 * 2 < u32::MAX as u64);

/// What `max_per_claim` is when an offer that is not a coupon does not say.
pub const MAX_PER_CLAIM_DEFAULT: u32 = 100;

/// Characters of a zone, offer or app id.
pub const ID_CHARS_MAX: usize = 64;
/// Bytes of a user id.
pub const USER_BYTES_MAX: usize = 128;
/// Characters of an Idempotency-Key.
pub const KEY_CHARS_MAX: usize = 128;
/// Bytes of a claim's `attributes` as compact JSON.
pub const ATTRIBUTES_BYTES_MAX: usize = 4_096;
/// Bytes of them as they are kept, where the pass that took the claim stands in front.
pub const STORED_ATTRIBUTES_BYTES_MAX: usize = ATTRIBUTES_BYTES_MAX + 64;
/// Characters of a display name, and of a zone's message.
pub const NAME_CHARS_MAX: usize = 200;

/// Zero bits that a zone may ask for before a join: 2^24 hashes on average, some seven seconds in a computer's browser (`docs/threats.md` has
/// the figures) and as many times more as a phone is slower.
/// More would keep people out, not machines.
pub const CHALLENGE_BITS_MAX: u32 = 24;

/// Seconds a hold may last: 30 days. Also the bound of every other duration in settings.
pub const SECONDS_MAX: u32 = 30 * 24 * 3_600;

/// Ordinals are given (and guarded by the ledger) for per-user limits up to this many claims; above it the
/// smallest unused ordinal would cost a walk of the user's claims, and the engine's own count stands alone.
pub const ORDINAL_LIMIT_MAX: u32 = 64;

/// Holds ended and places on standby served in one step at most. With the largest attributes their events take
/// 512 × 4.5 KB = 2.3 MB of one journal record, and about a millisecond under the offer's lock.
pub const SETTLE_MOST: usize = 512;

/// Claims and places on standby of one user that are forgotten in one step at most. Their events carry no texts: 512 × 150 B = 77 KB of a record.
pub const FORGET_MOST: usize = 512;

/// Claims and places on standby of one user in one offer that have ended without being confirmed. They stay in memory, since
/// their keys must answer alike for as long as the offer lives; so a client that claims and releases for ever is
/// stopped here: 10,000 × 4.5 KB = 45 MB at the very most.
pub const ENDED_PER_USER_MAX: u32 = 10_000;

/// Ids listed in a `limit_reached` refusal.
pub const REFUSAL_CLAIMS_MAX: usize = 10;

/// Entries a zone lets in per minute at most: ten million people in one minute.
pub const ENTRY_LIMIT_MAX: u32 = 10_000_000;
/// Shortest and longest poll interval a zone may set, milliseconds.
pub const POLL_INTERVAL_MS: core::ops::RangeInclusive<u32> = 100..=60_000;
