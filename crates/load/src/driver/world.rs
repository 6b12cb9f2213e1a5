//! Everybody who plays: who begins when, whose call is due, and what an answer leads to.

use super::connection::Flight;
use super::response::Answer;
use super::timers::Timers;
use super::{Drive, times};
use crate::meter::{Meter, Times};
use crate::plan::Model;
use crate::workload::{Crowd, Moment, Next};
use std::collections::VecDeque;

/// A call that waits for a connection.
#[derive(Clone, Copy)]
struct Due {
    user: u32,
    at_us: u64,
}

/// The players.
pub(super) struct World {
    pub(super) crowd: Crowd,
    pub(super) meter: Meter,
    /// Nobody begins any more.
    pub(super) closing: bool,
    /// No new call is made.
    pub(super) ending: bool,
    model: Model,
    think_us: u64,
    finish_us: u64,
    timers: Timers,
    queue: VecDeque<Due>,
    /// Closed model: users below this play.
    wanted: u32,
    running: Vec<bool>,
    /// Open model: numbers of users that are done, and the first never used.
    free: Vec<u32>,
    unused: u32,
    /// Beginnings so far.
    begun: u64,
    playing: u64,
    scratch: Vec<u8>,
}

impl World {
    pub(super) fn new(drive: &Drive, crowd: Crowd) -> Self {
        Self {
            crowd,
            meter: Meter::default(),
            closing: false,
            ending: false,
            model: drive.model.clone(),
            think_us: drive.think_us,
            finish_us: drive.finish_us,
            timers: Timers::default(),
            queue: VecDeque::new(),
            wanted: 0,
            running: Vec::new(),
            free: Vec::new(),
            unused: 0,
            begun: 0,
            playing: 0,
            scratch: Vec::new(),
        }
    }

    pub(super) fn ends_us(&self) -> u64 {
        self.model.ends_us()
    }

    pub(super) const fn finish_us(&self) -> u64 {
        self.finish_us
    }

    pub(super) const fn playing(&self) -> u64 {
        self.playing
    }

    pub(super) fn queue_is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// So many were to begin in all, have begun, and are done.
    pub(super) fn all_done(&self) -> bool {
        matches!(self.model, Model::Closed { total: Some(total), .. } if self.begun >= total) && self.playing == 0
    }

    /// Begins everyone that the plan wants by now. `into_us` counts from the plan's begin, `now` from the clock's.
    pub(super) fn begin_wanted(&mut self, into_us: u64, now: u64) {
        if into_us >= self.ends_us() {
            return;
        }
        match &self.model {
            Model::Closed { users, .. } => {
                let wanted = users.level(into_us) as u32;
                if wanted == self.wanted {
                    return;
                }
                let before = std::mem::replace(&mut self.wanted, wanted);
                self.running.resize(self.running.len().max(wanted as usize), false);
                for user in before..wanted {
                    if !self.running[user as usize] {
                        self.begin(user, now);
                    }
                }
            }
            Model::Open { .. } => {
                while let Some(at_us) = self.arrival_us().filter(|at_us| *at_us <= into_us) {
                    let user = self.free.pop().unwrap_or_else(|| {
                        self.unused += 1;
                        self.unused - 1
                    });
                    self.begin(user, now - into_us + at_us);
                }
            }
        }
    }

    /// When the next one comes in the open model, from the plan's begin.
    fn arrival_us(&self) -> Option<u64> {
        match &self.model {
            Model::Open { rate } if !self.closing => rate.arrival_us(self.begun),
            _ => None,
        }
    }

    /// The next moment at which somebody may be due or begin, if it is before `latest`.
    pub(super) fn next_us(&self, now: u64, plan_begin_us: u64, latest: u64) -> u64 {
        let timer = self.timers.first_us(latest).unwrap_or(latest);
        let arrival = self.arrival_us().map_or(latest, |at_us| plan_begin_us + at_us);
        // A ramp of users goes on at each look, a millisecond apart.
        let ramp = match &self.model {
            Model::Closed { users, .. } if !self.closing && users.level(now + 1_000 - plan_begin_us) as u32 > self.wanted => now + 1_000,
            _ => latest,
        };
        timer.min(arrival).min(ramp).min(latest)
    }

    /// Moves whoever is due to the queue.
    pub(super) fn fire(&mut self, now: u64) {
        let Self { timers, queue, crowd, meter, wanted, running, playing, model, .. } = self;
        let closed = matches!(model, Model::Closed { .. });
        timers.fire(now, |user, at_us| {
            if closed && user >= *wanted && running.get(user as usize) == Some(&true) {
                crowd.stop(user, meter);
                running[user as usize] = false;
                *playing -= 1;
            } else {
                queue.push_back(Due { user, at_us });
                meter.due(1);
            }
        });
    }

    /// Writes the request at the front of the queue. None: nobody is due.
    pub(super) fn request(&mut self, now: u64, out: &mut Vec<u8>) -> Option<Flight> {
        let due = self.queue.pop_front()?;
        let call = self.crowd.request(due.user, out);
        Some(Flight { user: due.user, call, due_us: due.at_us, sent_us: now })
    }

    /// A call was answered.
    pub(super) fn answered(&mut self, flight: Flight, answer: &Answer<'_>, now: u64) {
        let step = self.crowd.answered(flight.user, Moment { sent_us: flight.sent_us, now_us: now }, answer, &mut self.meter);
        let times = Times { due_us: flight.due_us, sent_us: flight.sent_us, answered_us: now };
        self.meter.answered(flight.call, times, step.outcome);
        self.follow(flight.user, step.next, now);
    }

    /// A call will not be answered.
    pub(super) fn unanswered(&mut self, flight: Flight, now: u64) {
        self.meter.unanswered(flight.call, times(flight.due_us, flight.sent_us, now));
        let next = self.crowd.unanswered(flight.user, now, &mut self.meter);
        self.follow(flight.user, next, now);
    }

    /// Calls that were due and could not be sent before the run ended: a server that is too slow has earned them, a user who
    /// cut the run has not.
    pub(super) fn abandon_queue(&mut self, now: u64, cut: bool) {
        while let Some(due) = self.queue.pop_front() {
            if !cut {
                self.scratch.clear();
                let call = self.crowd.request(due.user, &mut self.scratch);
                self.meter.unanswered(call, times(due.at_us, now, now));
            }
        }
    }

    pub(super) fn forget_queue(&mut self) {
        self.queue.clear();
    }

    fn begin(&mut self, user: u32, now: u64) {
        if let Model::Closed { total, .. } = self.model {
            if total.is_some_and(|total| self.begun >= total) {
                return;
            }
            self.running[user as usize] = true;
        }
        self.begun += 1;
        self.playing += 1;
        let due_us = self.crowd.begin(user, now);
        self.schedule(user, due_us, now);
    }

    fn schedule(&mut self, user: u32, due_us: u64, now: u64) {
        if due_us <= now {
            self.queue.push_back(Due { user, at_us: due_us });
            self.meter.due(1);
        } else {
            self.timers.set(user, due_us);
        }
    }

    fn follow(&mut self, user: u32, next: Next, now: u64) {
        match next {
            Next::At(_) if self.ending => {}
            Next::At(due_us) => self.schedule(user, due_us, now),
            Next::Done => self.done(user, now),
        }
    }

    fn done(&mut self, user: u32, now: u64) {
        self.playing -= 1;
        match &self.model {
            Model::Open { .. } => self.free.push(user),
            Model::Closed { total, .. } => {
                let goes_on = !self.closing && user < self.wanted && total.is_none_or(|total| self.begun < total);
                if goes_on {
                    self.begun += 1;
                    self.playing += 1;
                    let due_us = self.crowd.begin(user, now + self.think_us);
                    self.schedule(user, due_us, now);
                } else {
                    self.running[user as usize] = false;
                }
            }
        }
    }
}
