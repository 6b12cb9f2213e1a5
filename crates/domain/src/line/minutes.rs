//! The zone's history: what each minute looked like, and sums for whoever looks twice.

use crate::time::Millis;
use std::collections::VecDeque;

/// Finished minutes that are kept until they are asked for. Whoever holds the line asks every minute; an hour without
/// that means nobody keeps the history.
const PENDING_MAX: usize = 60;
const MINUTE_MS: i64 = 60_000;

/// A finished minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) minute: Millis,
    pub(super) entered: u32,
    pub(super) waiting: u32,
    pub(super) dropped: u32,
}

/// What happened since the line began, here or in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Gave their place up.
    pub(super) left: u64,
    /// Fell silent for so long that they are counted in nobody's rank.
    pub(super) silent: u64,
    /// Entries that the limit allowed and nobody took, while so many were waiting.
    pub(super) unused: u64,
}

/// The minute under way and the finished ones.
#[derive(Debug)]
pub(super) struct Minutes {
    /// Start of the minute under way.
    minute: Millis,
    pub(super) entered: u32,
    pub(super) dropped: u32,
    pub(super) sums: Sums,
    finished: VecDeque<Finished>,
}

impl Minutes {
    pub(super) const fn new(now: Millis) -> Self {
        Self {
            minute: start_of_minute(now),
            entered: 0,
            dropped: 0,
            sums: Sums { left: 0, silent: 0, unused: 0 },
            finished: VecDeque::new(),
        }
    }

    /// Start of the minute under way.
    pub(super) const fn started(&self) -> Millis {
        self.minute
    }

    /// Time has passed; `waiting` tickets are alive. Minutes in which nothing was are not kept.
    pub(super) fn pass(&mut self, now: Millis, waiting: u32) {
        if now.since_ms(self.minute) < MINUTE_MS {
            return;
        }
        let (entered, dropped) = (std::mem::take(&mut self.entered), std::mem::take(&mut self.dropped));
        self.finish(Finished { minute: self.minute, entered, waiting, dropped });
        // Minutes in which nobody asked anything: the line stood still.
        let current = start_of_minute(now);
        let kept_from = current.plus_ms(-MINUTE_MS * PENDING_MAX as i64);
        self.minute = self.minute.plus_ms(MINUTE_MS).max(kept_from);
        while self.minute < current {
            self.finish(Finished { minute: self.minute, entered: 0, waiting, dropped: 0 });
            self.minute = self.minute.plus_ms(MINUTE_MS);
        }
    }

    /// Counts admissions of before a restart, oldest first, whose minute is later than `told`, the last one
    /// that the history has. Not knowing that one, only those of the minute under way.
    pub(super) fn recover(&mut self, told: Option<Millis>, admissions: &[Millis]) {
        let told = told.unwrap_or_else(|| self.minute.plus_ms(-MINUTE_MS));
        for at in admissions.iter().filter(|at| start_of_minute(**at) > told) {
            let minute = start_of_minute(*at);
            if minute >= self.minute {
                self.entered += 1;
            } else if let Some(last) = self.finished.back_mut().filter(|last| last.minute == minute) {
                last.entered += 1;
            } else {
                self.finish(Finished { minute, entered: 1, waiting: 0, dropped: 0 });
            }
        }
    }

    /// Takes the oldest finished minute.
    pub(super) fn pop(&mut self) -> Option<Finished> {
        self.finished.pop_front()
    }

    fn finish(&mut self, minute: Finished) {
        if minute.entered == 0 && minute.waiting == 0 && minute.dropped == 0 {
            return;
        }
        if self.finished.len() == PENDING_MAX {
            self.finished.pop_front();
        }
        self.finished.push_back(minute);
    }
}

const fn start_of_minute(moment: Millis) -> Millis {
    Millis(moment.0.div_euclid(MINUTE_MS) * MINUTE_MS)
}
