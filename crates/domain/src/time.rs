//! Points in time, as the rules see them.
//!
//! The domain never reads a clock: `now` is an argument of every decision. Whoever calls passes server
//! time that does not run backwards.

/// Milliseconds since the Unix epoch, UTC. Ordered, copied, never negative in practice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub i64);

impl Millis {
    /// This instant and `ms` milliseconds more; saturates at the ends of the range.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// This instant and `seconds` more; saturates at the ends of the range.
    #[must_use]
    pub const fn plus_seconds(self, seconds: u32) -> Self {
        self.plus_ms(seconds as i64 * 1_000)
    }

    /// Milliseconds from `earlier` to this instant; negative when `earlier` is later.
    #[must_use]
    pub const fn since_ms(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}
