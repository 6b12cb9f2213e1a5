//! Server time that never runs backwards.

use bunho_domain::time::Millis;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where an engine's time comes from.
#[derive(Clone, Debug)]
pub enum TimeSource {
    /// The system's clock.
    System,
    /// A clock that its owner moves, in Unix milliseconds: for tests and simulations.
    Manual(Arc<AtomicI64>),
}

impl TimeSource {
    fn read(&self) -> i64 {
        match self {
            Self::System => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64),
            Self::Manual(clock) => clock.load(Ordering::Relaxed),
        }
    }
}

/// The engine's clock: its source's, held at the latest time it has ever told or that the journal has seen.
///
/// A system clock that steps back makes time stand still until it has caught up: deadlines and windows last
/// longer than they would have, never shorter.
#[derive(Debug)]
pub(crate) struct Clock {
    source: TimeSource,
    latest: AtomicI64,
}

impl Clock {
    /// A clock that tells no time before `floor`.
    pub(crate) const fn starting_at(floor: Millis, source: TimeSource) -> Self {
        Self { source, latest: AtomicI64::new(floor.0) }
    }

    /// The time.
    pub(crate) fn now(&self) -> Millis {
        let read = self.source.read();
        Millis(self.latest.fetch_max(read, Ordering::Relaxed).max(read))
    }
}
