//! When each user is due: a hashed wheel whose lists run through the users themselves.
//!
//! A user waits for one thing at a time, so a timer is two numbers of its own and costs nothing to set. A tick is 256 µs,
//! which is far below what one answer takes; 65,536 of them go once around in 16.8 s. Who is due later than that is looked at
//! once a round.

/// Length of a tick.
pub const TICK_US: u64 = 256;
const SLOTS: usize = 65_536;
const NONE: u32 = u32::MAX;

/// Timers of all users.
pub struct Timers {
    /// First user of each slot.
    heads: Vec<u32>,
    /// Per user, the next one of its slot.
    next: Vec<u32>,
    /// Per user, the tick it is due at.
    due: Vec<u32>,
    /// The first tick that has not been looked at.
    ahead: u32,
}

impl Default for Timers {
    fn default() -> Self {
        Self { heads: vec![NONE; SLOTS], next: Vec::new(), due: Vec::new(), ahead: 0 }
    }
}

impl Timers {
    /// Sets the timer of a user who has none. It goes off at the first tick not before `due_us`.
    pub fn set(&mut self, user: u32, due_us: u64) {
        let tick = u32::try_from(due_us.div_ceil(TICK_US)).unwrap_or(u32::MAX).max(self.ahead);
        let index = user as usize;
        if index >= self.next.len() {
            self.next.resize(index + 1, NONE);
            self.due.resize(index + 1, 0);
        }
        self.due[index] = tick;
        self.next[index] = std::mem::replace(&mut self.heads[tick as usize % SLOTS], user);
    }

    /// Hands out everyone who is due, in the order of their ticks, with the moment.
    pub fn fire(&mut self, now_us: u64, mut fired: impl FnMut(u32, u64)) {
        let now = u32::try_from(now_us / TICK_US).unwrap_or(u32::MAX);
        if now < self.ahead {
            return;
        }
        // After a pause longer than a round, each slot is looked at once.
        let slots = (now - self.ahead + 1).min(SLOTS as u32);
        for tick in self.ahead..self.ahead + slots {
            let slot = tick as usize % SLOTS;
            let mut user = std::mem::replace(&mut self.heads[slot], NONE);
            while user != NONE {
                let index = user as usize;
                let following = self.next[index];
                if self.due[index] <= now {
                    fired(user, u64::from(self.due[index]) * TICK_US);
                } else {
                    self.next[index] = std::mem::replace(&mut self.heads[slot], user);
                }
                user = following;
            }
        }
        self.ahead = now + 1;
    }

    /// The first moment before `until_us` at which somebody may be due.
    #[must_use]
    pub fn first_us(&self, until_us: u64) -> Option<u64> {
        let until = u32::try_from(until_us / TICK_US).unwrap_or(u32::MAX);
        (self.ahead..until).take(SLOTS).find(|tick| self.heads[*tick as usize % SLOTS] != NONE).map(|tick| u64::from(tick) * TICK_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn fire(timers: &mut Timers, now_us: u64) -> Vec<u32> {
        let mut users = Vec::new();
        timers.fire(now_us, |user, _| users.push(user));
        users
    }

    #[test]
    fn nobody_early_nobody_forgotten() {
        let mut timers = Timers::default();
        for (user, due_us) in [(0, 5_000), (1, 1_000), (2, 30_000_000), (3, 1_000), (4, 0)] {
            timers.set(user, due_us);
        }
        assert_eq!(timers.first_us(1_000_000), Some(0));
        assert_eq!(fire(&mut timers, 0), [4]);
        assert!(fire(&mut timers, 999).is_empty());
        let mut both = fire(&mut timers, 1_024);
        both.sort_unstable();
        assert_eq!(both, [1, 3]);
        assert_eq!(timers.first_us(1_000_000), Some(5_120));
        assert_eq!(fire(&mut timers, 20_000_000), [0]);
        assert!(fire(&mut timers, 29_999_999).is_empty());
        assert_eq!(fire(&mut timers, 30_000_128), [2]);
        // A pause longer than a round.
        timers.set(7, 31_000_000);
        assert_eq!(fire(&mut timers, 90_000_000), [7]);
        // What should have been long ago is due at the next look.
        timers.set(8, 5);
        assert_eq!(fire(&mut timers, 90_000_512), [8]);
    }

    #[test]
    fn random_timers_go_off_once_each_in_order() {
        let mut random = Random::new(1);
        let mut timers = Timers::default();
        let mut due = Vec::new();
        for user in 0..20_000 {
            due.push(random.below(60_000_000));
            timers.set(user, due[user as usize]);
        }
        let (mut now_us, mut seen, mut last) = (0, vec![false; due.len()], 0);
        while now_us < 61_000_000 {
            timers.fire(now_us, |user, at_us| {
                assert!(!std::mem::replace(&mut seen[user as usize], true), "user {user} twice");
                assert!(at_us >= due[user as usize] && at_us < due[user as usize] + TICK_US && at_us <= now_us && at_us >= last);
                last = at_us;
            });
            now_us += random.below(20_000);
        }
        assert!(seen.iter().all(|seen| *seen));
    }
}
