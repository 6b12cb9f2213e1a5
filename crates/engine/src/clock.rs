//! Server time: as steady as the machine's own timer, and never before what was told already.
//!
//! Deadlines and windows are promises about time that passes: ten minutes to pay, at most N in any sixty seconds. The system's
//! clock is set by people and by NTP and may jump either way; an hour forward would end every hold at once and open a window a
//! second time. So server time is the system's clock at the start, and from then on what the machine's timer says has passed (time
//! asleep included). The system's clock is followed as far as no promise notices:
//!
//! * **Behind it**, server time runs faster by [`FASTER`], the rate at which NTP itself corrects a clock: sixty seconds are then at
//!   least 59.97. After a jump forward server time stays behind until a restart takes the new time.
//! * **Ahead of it**, server time runs slower by [`SLOWER`]: deadlines and windows get longer, never shorter.
//!
//! A start is never before the latest time in the records, nor before the latest that an earlier process told.

use bunho_domain::time::Millis;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// One part in this many: 500 ppm.
const FASTER: i64 = 2_000;
/// One part in this many: a hold of ten minutes lasts half a minute longer.
const SLOWER: i64 = 20;
/// A difference that is worth a line in the log: more than what NTP corrects day by day.
const TOLD_US: i64 = 1_000_000;

/// Where an engine's time comes from.
#[derive(Clone, Debug)]
pub enum TimeSource {
    /// The system's clock, and the machine's timer.
    System,
    /// One clock that its owner moves, in Unix milliseconds: for tests and simulations. It is followed at once; a step back makes
    /// time stand still.
    Manual(Arc<AtomicI64>),
    /// A system's clock (Unix milliseconds) and a timer (milliseconds) that their owner moves apart: for tests of steps.
    Apart {
        /// What people and NTP set.
        system: Arc<AtomicI64>,
        /// What passes.
        timer: Arc<AtomicI64>,
    },
}

impl TimeSource {
    /// What the system's clock says.
    #[must_use]
    pub fn system(&self) -> Millis {
        Millis(self.system_us().div_euclid(1_000))
    }

    fn system_us(&self) -> i64 {
        match self {
            Self::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX)) + set_by_a_test_us()
            }
            Self::Manual(clock) => clock.load(Ordering::Relaxed) * 1_000,
            Self::Apart { system, .. } => system.load(Ordering::Relaxed) * 1_000,
        }
    }

    fn timer_us(&self) -> i64 {
        match self {
            Self::System => boot_time_us(),
            Self::Manual(_) => 0,
            Self::Apart { timer, .. } => timer.load(Ordering::Relaxed) * 1_000,
        }
    }
}

/// Microseconds since some fixed moment, time asleep included: a laptop that was closed over night is not a night behind.
fn boot_time_us() -> i64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(clock);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// What a test adds to the system's clock of a running process: a file that holds milliseconds.
#[cfg(feature = "failpoints")]
fn set_by_a_test_us() -> i64 {
    let path = std::env::var_os("BUNHO_TEST_CLOCK_FILE");
    let text = path.and_then(|path| std::fs::read_to_string(path).ok());
    text.and_then(|text| text.trim().parse::<i64>().ok()).unwrap_or(0) * 1_000
}

#[cfg(not(feature = "failpoints"))]
const fn set_by_a_test_us() -> i64 {
    0
}

/// The engine's clock.
#[derive(Debug)]
pub(crate) struct Clock {
    source: TimeSource,
    /// Server time less the timer, in microseconds.
    ahead_us: AtomicI64,
    /// The timer when the system's clock was last looked at.
    looked_us: AtomicI64,
    /// Whether the log has been told that the two are apart.
    told: AtomicBool,
    latest: AtomicI64,
}

impl Clock {
    /// A clock that tells no time before `floor`.
    pub(crate) fn starting_at(floor: Millis, source: TimeSource) -> Self {
        let timer = source.timer_us();
        let start = source.system_us().max(floor.0.saturating_mul(1_000));
        Self {
            ahead_us: AtomicI64::new(start - timer),
            looked_us: AtomicI64::new(timer),
            told: AtomicBool::new(false),
            latest: AtomicI64::new(floor.0),
            source,
        }
    }

    /// The time.
    pub(crate) fn now(&self) -> Millis {
        let read = match &self.source {
            TimeSource::Manual(clock) => clock.load(Ordering::Relaxed),
            source => (source.timer_us() + self.ahead_us.load(Ordering::Relaxed)).div_euclid(1_000),
        };
        Millis(self.latest.fetch_max(read, Ordering::Relaxed).max(read))
    }

    /// Looks at the system's clock and follows it as far as may be. Called by one task, a few times a second.
    pub(crate) fn follow(&self) {
        if matches!(self.source, TimeSource::Manual(_)) {
            return;
        }
        let timer = self.source.timer_us();
        let passed = (timer - self.looked_us.swap(timer, Ordering::Relaxed)).max(0);
        let ahead = self.ahead_us.load(Ordering::Relaxed);
        let behind = self.source.system_us() - (timer + ahead);
        self.ahead_us.store(ahead + behind.clamp(-passed / SLOWER, passed / FASTER), Ordering::Relaxed);
        self.tell(behind);
    }

    fn tell(&self, behind_us: i64) {
        let apart = behind_us.abs() > TOLD_US;
        if apart == self.told.swap(apart, Ordering::Relaxed) {
            return;
        }
        let seconds = behind_us as f64 / 1e6;
        if !apart {
            tracing::info!("server time and the system's clock agree again");
        } else if behind_us > 0 {
            tracing::warn!(
                seconds,
                "the system's clock has jumped forward; so that no hold is cut short, server time stays behind it. A restart takes the new time"
            );
        } else {
            tracing::warn!(seconds, "the system's clock is behind server time, which runs slower until they agree");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Hands {
        system: Arc<AtomicI64>,
        timer: Arc<AtomicI64>,
        clock: Clock,
    }

    impl Hands {
        fn starting_at(floor: i64, system: i64) -> Self {
            let (system, timer) = (Arc::new(AtomicI64::new(system)), Arc::new(AtomicI64::new(77)));
            let source = TimeSource::Apart { system: system.clone(), timer: timer.clone() };
            Self { clock: Clock::starting_at(Millis(floor), source), system, timer }
        }

        /// Time passes, as both see it; the clock looks ten times a second.
        fn pass(&self, ms: i64) -> i64 {
            let before = self.clock.now();
            for _ in 0..ms / 100 {
                self.system.fetch_add(100, Ordering::Relaxed);
                self.timer.fetch_add(100, Ordering::Relaxed);
                self.clock.follow();
            }
            self.clock.now().since_ms(before)
        }

        fn step(&self, ms: i64) {
            self.system.fetch_add(ms, Ordering::Relaxed);
            self.clock.follow();
        }
    }

    #[test]
    fn a_step_changes_nothing_at_once_and_no_minute_becomes_shorter() {
        for step in [-3_600_000, -30_000, -1_000, -1, 1, 1_000, 30_000, 3_600_000, 86_400_000 * 365] {
            let hands = Hands::starting_at(0, 1_000_000_000);
            let before = hands.clock.now();
            hands.step(step);
            assert_eq!(hands.clock.now(), before, "step {step}");
            let passed = hands.pass(60_000);
            let expected = if step > 0 { 60_000..=60_030 } else { 57_000..=60_000 };
            assert!(expected.contains(&passed), "after a step of {step} ms a minute took {passed} ms of server time");
        }
    }

    #[test]
    fn it_comes_back_to_the_systems_clock() {
        let hands = Hands::starting_at(0, 1_000_000_000);
        hands.step(-1_000);
        hands.pass(21_000);
        assert_eq!(hands.clock.now(), hands.clock.source.system());
        hands.step(50);
        hands.pass(101_000);
        assert_eq!(hands.clock.now(), hands.clock.source.system());
    }

    #[test]
    fn it_starts_no_earlier_than_it_has_been() {
        let hands = Hands::starting_at(1_000_060_000, 1_000_000_000);
        assert_eq!(hands.clock.now(), Millis(1_000_060_000));
        let passed = hands.pass(60_000);
        assert!((57_000..60_000).contains(&passed), "{passed}: it goes on, slower");
        assert_eq!(Hands::starting_at(5, 1_000_000_000).clock.now(), Millis(1_000_000_000));
    }

    #[test]
    fn time_never_runs_backwards() {
        let hands = Hands::starting_at(0, 1_000_000_000);
        let mut last = hands.clock.now();
        for (i, step) in [7_000, -9_000, 3_600_000, -3_700_000, 1, -1].into_iter().cycle().take(300).enumerate() {
            hands.step(step);
            hands.pass(100 * (i as i64 % 7));
            assert!(hands.clock.now() >= last);
            last = hands.clock.now();
        }
    }
}
