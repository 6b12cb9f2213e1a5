//! Work that a join must show: a text whose SHA-256, together with the challenge's, begins with so many zero bits. Finding one takes 2^bits hashes on average,
//! checking it takes one. The idea is Dwork and Naor's ("Pricing via Processing or Combatting Junk Mail", 1992), the form that of Back's Hashcash (1997).
//!
//! Nothing is kept of a challenge: it carries what it was asked for under a MAC. It is made for one key, and a key has one place in a line; so a solution that
//! is shown again finds the place that it got, on every node and after every restart. Only who has given that place up could begin anew with the same work,
//! until it expires; so each node counts how often it has seen it, and stops at [`SHOWN_MOST`], which is room for honest retries.
//!
//! A challenge is 64 characters, one whole block of SHA-256: who solves it hashes that block once and then one block for each try. Whoever attacks would do so
//! anyway; like this a browser does too.

use crate::exit::Failure;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bunho_domain::limits::CHALLENGE_BITS_MAX;
use bunho_domain::time::Millis;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// What a challenge asks for, by name: `sha256(challenge + solution)` begins with `bits` zero bits.
pub(crate) const ALGORITHM: &str = "sha256-leading-zero-bits";
/// Time to solve one: 24 bits are seven seconds in a computer's browser, and a phone may be twenty times as slow and out of luck.
const LIVES_MS: i64 = 10 * 60_000;
/// Longest solution: what SHA-256 takes into the block behind the challenge, so that no try costs more than another.
const SOLUTION_BYTES_MAX: usize = 55;
/// How often one solution is taken by one node.
const SHOWN_MOST: u8 = 8;
/// Solutions that are remembered in one generation, about 24 bytes each. Each was worked for, so filling two generations costs an attacker 2^bits × 400,000
/// hashes, and gains only that the oldest may be shown again.
const REMEMBERED_MAX: usize = 200_000;

const VERSION: u8 = 1;
/// Version 1 + zone number 4 + epoch 4 + bits 1 + expiry 8 + randomness 14.
const FIELD_BYTES: usize = 32;
const MAC_BYTES: usize = 16;
/// 48 bytes are 64 characters of base64url: a block.
const CHALLENGE_BYTES: usize = FIELD_BYTES + MAC_BYTES;
const CHALLENGE_CHARS: usize = CHALLENGE_BYTES / 3 * 4;
const _: () = assert!(CHALLENGE_CHARS == 64 && CHALLENGE_BYTES.is_multiple_of(3) && CHALLENGE_BITS_MAX <= u8::MAX as u32);
/// Keeps this MAC apart from any other use of the same secret.
const PURPOSE: &[u8] = b"bunho challenge\0";

/// Makes challenges and checks what comes back.
pub(super) struct Challenges {
    mac: Hmac<Sha256>,
    shown: Mutex<Seen>,
}

/// What is asked, and of whom.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The zone's number.
    pub(super) zone: u32,
    pub(super) epoch: u32,
    pub(super) bits: u32,
    /// The key of who is to join.
    pub(super) key: &'a str,
}

/// Why something is no solution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsolved {
    /// Not one of ours, another zone's, somebody else's, too easy by now, or over.
    Challenge,
    /// Not enough zero bits.
    Solution,
    /// Shown too often.
    Used,
}

impl Unsolved {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Challenge => "The challenge is not one for this zone and key, or it has expired",
            Self::Solution => "The solution does not solve the challenge",
            Self::Used => "The solution was used too often",
        }
    }
}

impl Challenges {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        // HMAC takes keys of every length.
        let mut mac = Hmac::<Sha256>::new(&block(secret).into());
        mac.update(PURPOSE);
        Self { mac, shown: Mutex::default() }
    }

    /// A new challenge, and until when it can be answered.
    pub(super) fn make(&self, asked: Asked<'_>, now: Millis) -> Result<(String, Millis), Failure> {
        let expires_at = now.plus_ms(LIVES_MS);
        let mut bytes = [0; CHALLENGE_BYTES];
        bytes[0] = VERSION;
        bytes[1..5].copy_from_slice(&asked.zone.to_be_bytes());
        bytes[5..9].copy_from_slice(&asked.epoch.to_be_bytes());
        bytes[9] = u8::try_from(asked.bits).unwrap_or(u8::MAX);
        bytes[10..18].copy_from_slice(&expires_at.0.to_be_bytes());
        getrandom::fill(&mut bytes[18..FIELD_BYTES])
            .map_err(|error| Failure::internal(format_args!("the system gives no randomness: {error}")))?;
        let mac = self.mac_of(&bytes[..FIELD_BYTES], asked.key).finalize().into_bytes();
        bytes[FIELD_BYTES..].copy_from_slice(&mac[..MAC_BYTES]);
        Ok((BASE64.encode(bytes), expires_at))
    }

    /// Takes a solution.
    pub(super) fn check(&self, asked: Asked<'_>, challenge: &str, solution: &str, now: Millis) -> Result<(), Unsolved> {
        let mut bytes = [0; CHALLENGE_BYTES];
        if challenge.len() != CHALLENGE_CHARS || BASE64.decode_slice(challenge, &mut bytes) != Ok(CHALLENGE_BYTES) {
            return Err(Unsolved::Challenge);
        }
        let (fields, mac) = bytes.split_at(FIELD_BYTES);
        self.mac_of(fields, asked.key).verify_truncated_left(mac).map_err(|_| Unsolved::Challenge)?;
        let is_for = fields[1..5] == asked.zone.to_be_bytes() && fields[5..9] == asked.epoch.to_be_bytes();
        let mut expires_at = [0; 8];
        expires_at.copy_from_slice(&fields[10..18]);
        if !is_for || u32::from(fields[9]) < asked.bits || i64::from_be_bytes(expires_at) <= now.0 {
            return Err(Unsolved::Challenge);
        }
        if solution.len() > SOLUTION_BYTES_MAX || zero_bits(challenge, solution) < asked.bits {
            return Err(Unsolved::Solution);
        }
        let mut name = [0; 8];
        name.copy_from_slice(&mac[..8]);
        if self.shown.lock().count(u64::from_be_bytes(name), now) { Ok(()) } else { Err(Unsolved::Used) }
    }

    fn mac_of(&self, fields: &[u8], key: &str) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(fields);
        // The fields have one length, so where the key begins cannot be shifted.
        mac.update(key.as_bytes());
        mac
    }
}

/// HMAC pads its key with zeros to a block of SHA-256.
fn block(secret: &[u8; 32]) -> [u8; 64] {
    let mut block = [0; 64];
    block[..32].copy_from_slice(secret);
    block
}

/// Zero bits at the beginning of the hash.
fn zero_bits(challenge: &str, solution: &str) -> u32 {
    let digest = Sha256::new().chain_update(challenge).chain_update(solution).finalize();
    let mut bits = 0;
    for byte in digest {
        bits += byte.leading_zeros();
        if byte != 0 {
            break;
        }
    }
    bits
}

/// How often each solution was shown lately, in two generations: one that is older than a challenge can live is dropped as a whole.
#[derive(Default)]
struct Seen {
    young: HashMap<u64, u8>,
    old: HashMap<u64, u8>,
    since: Millis,
}

impl Seen {
    /// Counts; false: too often.
    fn count(&mut self, name: u64, now: Millis) -> bool {
        if now.since_ms(self.since) >= LIVES_MS || self.young.len() >= REMEMBERED_MAX {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
        let before = self.old.get(&name).copied().unwrap_or(0);
        let times = self.young.entry(name).or_insert(before);
        if *times >= SHOWN_MOST {
            return false;
        }
        *times += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_800_000_000_000);
    const ASKED: Asked<'_> = Asked { zone: 3, epoch: 2, bits: 8, key: "kim" };

    fn solve(challenge: &str, bits: u32) -> String {
        (0_u64..).map(|n| n.to_string()).find(|text| zero_bits(challenge, text) >= bits).expect("there is one")
    }

    #[test]
    fn work_is_taken_for_what_it_was_done_for() {
        let challenges = Challenges::new(&[7; 32]);
        let (challenge, expires_at) = challenges.make(ASKED, NOW).expect("randomness");
        assert_eq!(challenge.len(), 64);
        let solution = solve(&challenge, 8);
        for (asked, at, result) in [
            (ASKED, NOW, Ok(())),
            (Asked { zone: 4, ..ASKED }, NOW, Err(Unsolved::Challenge)),
            (Asked { epoch: 3, ..ASKED }, NOW, Err(Unsolved::Challenge)),
            (Asked { key: "lee", ..ASKED }, NOW, Err(Unsolved::Challenge)),
            (Asked { key: "", ..ASKED }, NOW, Err(Unsolved::Challenge)),
            (Asked { bits: 9, ..ASKED }, NOW, Err(Unsolved::Challenge)),
            (Asked { bits: 7, ..ASKED }, NOW, Ok(())),
            (ASKED, expires_at.plus_ms(-1), Ok(())),
            (ASKED, expires_at, Err(Unsolved::Challenge)),
        ] {
            let found = challenges.check(asked, &challenge, &solution, at);
            assert_eq!(found, result, "{} {} {:?} {}", asked.zone, asked.epoch, asked.key, asked.bits);
        }
        let stranger = Challenges::new(&[8; 32]);
        assert_eq!(stranger.check(ASKED, &challenge, &solution, NOW), Err(Unsolved::Challenge), "another secret");
    }

    #[test]
    fn what_is_edited_or_unsolved_is_refused() {
        let challenges = Challenges::new(&[7; 32]);
        let (challenge, _) = challenges.make(ASKED, NOW).expect("randomness");
        for at in 0..challenge.len() {
            let mut bytes = challenge.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let edited = String::from_utf8(bytes).expect("ASCII");
            assert_eq!(challenges.check(ASKED, &edited, &solve(&edited, 8), NOW), Err(Unsolved::Challenge), "character {at}");
        }
        let wrong = (0_u64..).map(|n| n.to_string()).find(|text| zero_bits(&challenge, text) < 8).expect("there is one");
        assert_eq!(challenges.check(ASKED, &challenge, &wrong, NOW), Err(Unsolved::Solution));
        let long = (0_u64..).map(|n| format!("{n:056}")).find(|text| zero_bits(&challenge, text) >= 8).expect("there is one");
        assert_eq!(challenges.check(ASKED, &challenge, &long, NOW), Err(Unsolved::Solution), "no long texts to hash");
        for odd in ["", "é", &challenge[1..], &format!("{challenge}A")] {
            assert_eq!(challenges.check(ASKED, odd, "0", NOW), Err(Unsolved::Challenge), "{odd:?}");
        }
    }

    #[test]
    fn a_solution_is_taken_a_few_times_and_not_for_ever() {
        let challenges = Challenges::new(&[7; 32]);
        let (challenge, expires_at) = challenges.make(ASKED, NOW).expect("randomness");
        let solution = solve(&challenge, 8);
        for _ in 0..SHOWN_MOST {
            assert_eq!(challenges.check(ASKED, &challenge, &solution, NOW), Ok(()));
        }
        assert_eq!(challenges.check(ASKED, &challenge, &solution, NOW), Err(Unsolved::Used));
        // A generation ends meanwhile, and what was counted in it still counts.
        let (other, _) = challenges.make(ASKED, NOW.plus_ms(1)).expect("randomness");
        assert_eq!(challenges.check(ASKED, &other, &solve(&other, 8), expires_at), Ok(()));
        assert_eq!(challenges.check(ASKED, &challenge, &solution, expires_at.plus_ms(-1)), Err(Unsolved::Used));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut seen = Seen::default();
        for name in 0..3 * REMEMBERED_MAX as u64 {
            assert!(seen.count(name, NOW));
        }
        assert!(seen.young.len() <= REMEMBERED_MAX && seen.old.len() <= REMEMBERED_MAX);
    }
}
