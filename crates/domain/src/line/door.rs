//! Who may join a line, and what the pass that comes of it is tied to. The line itself decides nothing by it: whoever lets people in does.

use crate::limits::CHALLENGE_BITS_MAX;
use crate::offer::settings::{SettingError, check_range};

/// A zone's door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Door {
    /// Work that a join must show, as zero bits of a hash: each one doubles it. 0: none.
    pub challenge_bits: u32,
    /// Whom it lets in.
    pub enqueue: Enqueue,
    /// Tickets, and so passes, name the key that their holder joined with.
    pub pass_bound: bool,
}

/// Whom a door lets in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enqueue {
    /// Everybody.
    #[default]
    Open,
    /// Who brings a token that the operator's own site has signed.
    Token,
}

impl Door {
    /// Whether nothing is asked of anybody, as of every zone from before there were doors.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self, errors: &mut Vec<SettingError>) {
        check_range(errors, "challenge_bits", self.challenge_bits.into(), 0..=CHALLENGE_BITS_MAX.into());
    }
}
