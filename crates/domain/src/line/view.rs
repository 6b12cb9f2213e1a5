//! What those who wait are told: whether the line moves, their rank, when they may enter, and when to ask again.

use crate::line::pace::survivors;
use crate::line::schedule::{Limits, POLLS_PER_MS};
use crate::line::slot::Standing;
use crate::line::{Line, OfferLeft, Place, State};
use crate::time::Millis;

/// No poll is told to come sooner than after this many milliseconds.
pub const PERIOD_FLOOR_MS: u32 = 20;
/// Far back, one polls so many times on the way to the front.
const POLLS_ON_THE_WAY: i64 = 4;
/// Periods are drawn from the tenth part below to the tenth part above, so that a crowd that came in one second
/// does not poll in one second for ever.
const JITTER_PARTS: i64 = 10;

/// A zone as anyone may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether the line moves.
    pub state: State,
    /// Tickets present or absent.
    pub waiting: u32,
    /// Tickets present: those of them that poll when they are told to.
    pub present: u32,
    /// Admissions in the last 60 s.
    pub entered_last_minute: u32,
    /// N; none = no limit.
    pub limit_per_minute: Option<u32>,
    /// Seconds that one who joined now would wait. None: not to be said now.
    pub estimated_seconds: Option<u32>,
    /// People inside.
    pub active: u32,
    /// Admissions since the line began, here or in this process: whoever looks twice knows how many entered in between.
    pub entered_in_all: u64,
    /// Start of the minute under way.
    pub minute: Millis,
    /// Who dropped out in it so far.
    pub dropped_in_minute: u32,
    /// Who gave a place up since the line began, as with admissions.
    pub left_in_all: u64,
    /// Who fell silent for so long that they are counted in nobody's rank.
    pub silent_in_all: u64,
    /// Entries that the limit allowed in slots that are over and nobody took, while so many were waiting.
    pub unused_in_all: u64,
}

impl Line {
    /// The zone as anyone may see it.
    pub fn status(&mut self, left: OfferLeft, now: Millis) -> Status {
        let now = self.pass(now);
        let state = self.state(left, now);
        let waiting = self.order.alive();
        let estimated_seconds = match state {
            State::Waiting if waiting == 0 && self.burst_room(now) > 0 => Some(0),
            State::Waiting => self.estimate(self.order.present(), now),
            _ => None,
        };
        Status {
            state,
            waiting,
            present: self.order.present(),
            entered_last_minute: self.log.between(now.plus_ms(1 - crate::line::log::KEPT_MS), now.plus_ms(1)),
            limit_per_minute: self.settings.entry_limit_per_minute,
            estimated_seconds,
            active: self.active,
            entered_in_all: self.log.total(),
            minute: self.minutes.started(),
            dropped_in_minute: self.minutes.dropped,
            left_in_all: self.minutes.sums.left,
            silent_in_all: self.minutes.sums.silent,
            unused_in_all: self.minutes.sums.unused,
        }
    }

    /// Whether the line moves at `now`.
    pub(super) fn state(&self, left: OfferLeft, now: Millis) -> State {
        let settings = &self.settings;
        if settings.opens_at.is_some_and(|opens| now < opens) {
            State::NotOpen
        } else if settings.closes_at.is_some_and(|closes| closes <= now) || settings.entry_limit_per_minute == Some(0) {
            State::Closed
        } else if settings.paused {
            State::Paused
        } else if left == OfferLeft::Some(0) {
            State::SoldOut
        } else if left == OfferLeft::Unknown || self.listens(now) {
            State::Recovering
        } else {
            State::Waiting
        }
    }

    /// How many may enter now while a line exists: what window, slot and seats inside all allow.
    pub(super) fn room(&self, now: Millis) -> u32 {
        let limited = Limits::of(&self.settings).map_or(u32::MAX, |limits| limits.room(&self.log, now));
        limited.min(self.seats())
    }

    /// How many may enter now where nobody waits: a short burst makes no line, so the slot does not count.
    pub(super) fn burst_room(&self, now: Millis) -> u32 {
        let limited = Limits::of(&self.settings).map_or(u32::MAX, |limits| limits.window_room(&self.log, now));
        limited.min(self.seats())
    }

    /// What a waiting ticket is told. Its rank never rises: who comes back ahead of it takes nothing from what it was shown.
    pub(super) fn show(&mut self, seq: u32, left: OfferLeft, now: Millis) -> Place {
        let state = self.state(left, now);
        if state == State::Waiting {
            self.pace.runs();
        } else {
            self.pace.interrupt();
        }
        let alive_ahead = self.order.alive_ahead(seq);
        let behind = self.order.alive().saturating_sub(alive_ahead).saturating_sub(1);
        let present_ahead = self.order.present_ahead(seq);
        let mut rank = alive_ahead + 1;
        let mut ahead = present_ahead;
        if let Some(recovery) = self.recovery.as_ref().filter(|recovery| now < recovery.listen_until) {
            // Others are still to come back. Most of them are between the last admission and this one, which is good enough for
            // when to ask again; but whoever was let in may have gone past some, and those come back as well.
            ahead = alive_ahead.max(self.highest_admitted.map_or(seq, |highest| seq.saturating_sub(highest).saturating_sub(1)));
            rank = rank.max(seq.saturating_sub(recovery.front).saturating_add(1));
        } else if let Some(slot) = self.order.get_mut(seq)
            && let Standing::Waiting { shown_rank, .. } = &mut slot.standing
        {
            rank = rank.min(*shown_rank);
            *shown_rank = rank;
        }
        let estimated_seconds = if state == State::Waiting { self.estimate(present_ahead, now) } else { None };
        Place { state, rank, behind, estimated_seconds, polling_ms: self.period(state, ahead, now) }
    }

    fn listens(&self, now: Millis) -> bool {
        self.recovery.as_ref().is_some_and(|recovery| now < recovery.listen_until)
    }

    /// Seats inside that are free.
    pub(super) fn seats(&self) -> u32 {
        self.settings.active_limit.map_or(u32::MAX, |limit| limit.saturating_sub(self.active))
    }

    /// When the limiter lets someone in who has `ahead` to wait for, if all of them enter as soon as they may: at
    /// the earliest when the line opens and has listened. None: never.
    fn moment(&mut self, ahead: u32, now: Millis) -> Option<Millis> {
        let listened = self.recovery.as_ref().map_or(now, |recovery| recovery.listen_until);
        let from = now.max(listened).max(self.settings.opens_at.unwrap_or(now));
        match Limits::of(&self.settings) {
            Some(limits) => self.plan.moment(&self.log, limits, from, ahead),
            None if from > now => Some(from.plus_ms(i64::from(ahead / POLLS_PER_MS))),
            None => Some(from),
        }
    }

    /// Seconds until one enters who has `ahead` present tickets ahead, if those drop out as they were measured to.
    fn estimate(&mut self, ahead: u32, now: Millis) -> Option<u32> {
        let seats_bind = ahead >= self.seats();
        let behind = self.order.present().saturating_sub(ahead).saturating_sub(1);
        let ahead = self.pace.really_waiting(ahead, behind);
        let seconds = if seats_bind {
            self.seconds_by_pace(ahead)?
        } else if self.settings.entry_limit_per_minute.is_none() {
            0.0
        } else {
            self.seconds_by_schedule(ahead, now)?
        };
        Some(seconds.ceil() as u32)
    }

    /// Where seats inside are what is short, nothing but the measured pace tells when one is free.
    fn seconds_by_pace(&self, ahead: f64) -> Option<f64> {
        let all = (ahead + 1.0) / self.pace.admissions_per_second()?;
        Some(survivors(all, self.pace.loss_per_second(), all))
    }

    /// By the limiter's schedule and the measured share of it that is used. None: nobody may enter.
    fn seconds_by_schedule(&mut self, ahead: f64, now: Millis) -> Option<f64> {
        let loss = self.pace.loss_per_second();
        let utilisation = self.pace.utilisation();
        let seconds_to = |moment: Millis| moment.since_ms(now) as f64 / 1_000.0;
        // Until the first may enter, those ahead only drop out; from then on they enter as well.
        let first = seconds_to(self.moment(0, now)?);
        let ahead = ahead * (-loss * first).exp();
        let all = (seconds_to(self.moment(ahead.round() as u32, now)?) - first) / utilisation;
        let entering = survivors(ahead, loss, all);
        let last = (seconds_to(self.moment(entering.round() as u32, now)?) - first) / utilisation;
        Some(first + last)
    }

    /// Milliseconds until the next poll. Near the front it ends exactly when the entry becomes free. Far back it is a
    /// part of the way, between the shortest and the longest interval.
    fn period(&mut self, state: State, ahead: u32, now: Millis) -> u32 {
        let short = i64::from(self.settings.poll_interval_ms);
        let long = i64::from(self.settings.poll_interval_max_ms);
        let runs = matches!(state, State::Waiting | State::NotOpen | State::Recovering);
        let seated = state == State::Waiting && ahead >= self.seats();
        let moment = if state == State::Closed { None } else { self.moment(ahead, now) };
        let Some(mut wait) = moment.map(|moment| moment.since_ms(now)) else { return self.jittered(long, long) };
        if seated {
            // No schedule tells when somebody inside leaves.
            wait = self.estimate(ahead, now).map_or(wait, |seconds| wait.max(i64::from(seconds) * 1_000)).max(short);
        } else if runs && wait <= (short + short / 2).min(long) {
            return wait.max(i64::from(PERIOD_FLOOR_MS)) as u32;
        }
        let period = self.jittered((wait / POLLS_ON_THE_WAY).clamp(short, long), long);
        if runs { period.min(u32::try_from(wait).unwrap_or(u32::MAX)) } else { period }
    }

    /// `around` give or take a tenth, but at most `most`.
    fn jittered(&mut self, around: i64, most: i64) -> u32 {
        let around = around.min(most - most / (JITTER_PARTS + 1));
        let width = around / JITTER_PARTS;
        let drawn = (self.draw() % (2 * width as u64 + 1)) as i64;
        (around - width + drawn).clamp(i64::from(PERIOD_FLOOR_MS), most) as u32
    }

    /// SplitMix64 (Steele, Lea and Flood 2014): enough to keep polls apart, and the same from the same seed.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
