//! The window log: every admission of the last minute, exactly.
//!
//! The limit is kept by looking at what happened, not by refilling a bucket: an admission at t counts in every
//! window until just before t + window, so no window of that length, wherever it begins, holds more than N. One
//! entry per millisecond in which somebody entered, with a running total, so that counting from any moment and
//! finding the k-th admission are binary searches.

use crate::time::Millis;
use std::collections::VecDeque;

/// What is kept: the longest window a zone may have, so that lengthening the window finds what it needs.
pub(super) const KEPT_MS: i64 = 60_000;

/// Admissions of the last [`KEPT_MS`], oldest first: at most 60,000 entries.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// Admissions before the oldest entry.
    dropped: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Millis,
    /// Admissions up to and with this entry, since the line began.
    total: u64,
}

/// One admission of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Logged {
    pub(super) at: Millis,
    /// How many of the same millisecond were before it.
    pub(super) index: u32,
}

impl Log {
    /// Notes an admission; times do not run backwards.
    pub(super) fn push(&mut self, at: Millis) {
        while self.entries.front().is_some_and(|oldest| at.since_ms(oldest.at) >= KEPT_MS) {
            self.dropped = self.entries.pop_front().map_or(self.dropped, |oldest| oldest.total);
        }
        let total = self.total() + 1;
        match self.entries.back_mut() {
            Some(last) if last.at >= at => last.total = total,
            _ => self.entries.push_back(Entry { at, total }),
        }
    }

    /// Admissions since the line began.
    pub(super) fn total(&self) -> u64 {
        self.entries.back().map_or(self.dropped, |last| last.total)
    }

    /// Admissions since the line began that were before `moment`.
    pub(super) fn total_before(&self, moment: Millis) -> u64 {
        let after = self.entries.partition_point(|entry| entry.at < moment);
        after.checked_sub(1).and_then(|i| self.entries.get(i)).map_or(self.dropped, |entry| entry.total)
    }

    /// Admissions at or after `from` and before `until`.
    pub(super) fn between(&self, from: Millis, until: Millis) -> u32 {
        u32::try_from(self.total_before(until).saturating_sub(self.total_before(from))).unwrap_or(u32::MAX)
    }

    /// The admission with `total` admissions before it since the line began. None: it is not in the log, being too old or
    /// not having happened.
    pub(super) fn get(&self, total: u64) -> Option<Logged> {
        if total < self.dropped {
            return None;
        }
        let i = self.entries.partition_point(|entry| entry.total <= total);
        let entry = self.entries.get(i)?;
        let before = i.checked_sub(1).and_then(|i| self.entries.get(i)).map_or(self.dropped, |entry| entry.total);
        Some(Logged { at: entry.at, index: u32::try_from(total - before).unwrap_or(u32::MAX) })
    }

    /// Bytes on the heap.
    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}
