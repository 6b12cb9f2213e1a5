//! The people waiting for a zone.
//!
//! One [`Line`] per zone holds everyone's place and decides who enters: a state machine whose caller passes the
//! time and, where something must not be forgotten, gets events to make durable. Waiting itself is not an event. Tickets
//! carry it, and a restarted line is rebuilt by the polls of those who wait ([`Line::recover`]).
//!
//! A ticket is *present* while it polls when told to; *absent* once it misses a poll: it keeps its place and its
//! rank, but holds nobody up; *dormant* after a long silence: counted in nobody's rank, but back at its place with
//! its next poll; then *gone*. It is admitted when fewer present tickets stand ahead than may enter now.
//!
//! * `slot`, `order`: what is remembered of a ticket, and how many stand ahead of it.
//! * `wheel`: when tickets change by themselves. `places`: how they change.
//! * `log`, `schedule`: who entered in the last minute, and so when the next may.
//! * `pace`, `view`: what is measured of the crowd, and what those who wait are told.
//! * `recovery`, `front`, `former`: what outlives a restart and a reset. `minutes`: the history.

pub mod door;
mod former;
mod front;
mod keys;
mod log;
mod minutes;
mod order;
mod pace;
mod places;
mod recovery;
mod schedule;
pub mod settings;
mod slot;
mod view;
mod wheel;

pub use slot::POLL_SLACK_MS;
pub use view::{PERIOD_FLOOR_MS, Status};
pub use wheel::TICK_MS;

use crate::event::{TicketNumber, ZoneChange, ZoneEvent, ZoneMinute};
use crate::planted::{self, Bug};
use crate::time::Millis;
use former::Former;
use front::Front;
use keys::Keys;
use log::Log;
use minutes::Minutes;
use order::Order;
use pace::Pace;
use places::Entrant;
use recovery::{Recovery, Replay};
use schedule::{Limits, Plan};
use settings::ZoneSettings;
use slot::{Standing, Term};
use wheel::Wheel;

/// Sequence numbers are reserved durably in blocks of this many. A restart skips what is left of one, and a sync of
/// the disk must end before half a block is given out: at 10 ms, 500,000 joins a second.
pub const RESERVE_BLOCK: u32 = 10_000;

/// Deadlines that any one call looks after on its way.
const SWEEP_BUDGET: usize = 64;

/// Someone who wants a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Join {
    /// Randomness, or the keyed hash of the client's own key.
    pub nonce: u64,
    /// Whether the nonce is such a hash: joining again with it gives the same ticket.
    pub keyed: bool,
}

/// What a verified ticket says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Its place.
    pub number: TicketNumber,
    /// Its nonce.
    pub nonce: u64,
    /// When it was given out.
    pub issued_at: Millis,
}

/// What is left of the offer that stops the line, as far as is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferLeft {
    /// No offer is tied to the zone.
    Untied,
    /// So many units; with 0 the line stops.
    Some(u32),
    /// One is tied, and nobody knows at the moment: the line waits until somebody does.
    Unknown,
}

/// Someone was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// When.
    pub at: Millis,
    /// When the pass ends.
    pub expires_at: Millis,
}

/// Whether the line moves. Only [`State::Waiting`] lets anyone in; tickets are given and keep their order in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It moves.
    Waiting,
    /// Its opening is still to come.
    NotOpen,
    /// An operator holds it.
    Paused,
    /// Its closing has passed, or N is 0.
    Closed,
    /// The offer tied to it has nothing left.
    SoldOut,
    /// It was restarted and listens for those who waited before.
    Recovering,
}

/// A place in the line, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whether the line moves.
    pub state: State,
    /// 1 for who is next; never rises, except while the line is recovering, when it is an upper bound.
    pub rank: u32,
    /// Tickets after this one that are not dormant.
    pub behind: u32,
    /// Seconds until entry, by the measured pace, rounded up. None: not to be said now.
    pub estimated_seconds: Option<u32>,
    /// Milliseconds until the next poll: [`PERIOD_FLOOR_MS`] to 60,000.
    pub polling_ms: u32,
}

/// What a ticket gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It may enter; the same again until the pass ends.
    Admitted(Admission),
    /// It waits.
    Waiting(Place),
}

/// A ticket, and what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Its place.
    pub number: TicketNumber,
    /// Its nonce.
    pub nonce: u64,
    /// When it was given out; on joining again, when it was first.
    pub issued_at: Millis,
    /// What it gets.
    pub answer: Answer,
}

/// What became of a [`Join`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinOutcome {
    /// A ticket.
    Issued(Issued),
    /// No durably reserved number is left: wait for the reservation in flight, then join again.
    Unreserved,
}

/// Why a ticket gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollRefusal {
    /// It was given up, silent for too long, used up, or is of an older epoch.
    Gone,
    /// The fourth poll in a row that came before a third of its period. The place is kept.
    TooFast {
        /// Milliseconds until a poll is due.
        retry_ms: u32,
    },
}

/// One zone's line.
#[derive(Debug)]
pub struct Line {
    number: u32,
    settings: ZoneSettings,
    /// Latest time seen; an earlier `now` counts as this.
    clock: Millis,
    /// State of the generator of jitter.
    random: u64,
    order: Order,
    wheel: Wheel,
    keys: Keys,
    /// Next number to give out.
    next: u32,
    /// Numbers below this are durably reserved.
    reserved: u32,
    /// A reservation that is not durable yet.
    reserving: Option<u32>,
    log: Log,
    plan: Plan,
    pace: Pace,
    /// People inside: running sessions, of this epoch and older ones.
    active: u32,
    former: Former,
    highest_admitted: Option<u32>,
    minutes: Minutes,
    front: Front,
    recovery: Option<Recovery>,
    replay: Replay,
}

impl Line {
    /// An empty line. `seed` is what its jitter is drawn from. Defining the zone is the caller's event.
    #[must_use]
    pub fn new(zone_number: u32, settings: ZoneSettings, seed: u64, now: Millis) -> Self {
        Self {
            number: zone_number,
            settings,
            clock: now,
            random: seed,
            order: Order::default(),
            wheel: Wheel::new(now),
            keys: Keys::new(),
            next: 0,
            reserved: 0,
            reserving: None,
            log: Log::default(),
            plan: Plan::default(),
            pace: Pace::new(now),
            active: 0,
            former: Former::default(),
            highest_admitted: None,
            minutes: Minutes::new(now),
            front: Front::new(0, now),
            recovery: None,
            replay: Replay::default(),
        }
    }

    /// What the operator said of the zone last.
    #[must_use]
    pub const fn settings(&self) -> &ZoneSettings {
        &self.settings
    }

    /// The zone's number.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Replaces the settings: an edit, a pause, a resume. A higher epoch is a reset: all tickets end, while the
    /// admissions of the last minute and the people inside still count. The epoch never goes down.
    pub fn define(&mut self, settings: ZoneSettings, now: Millis, events: &mut Vec<ZoneEvent>) {
        let now = self.pass(now);
        let epoch = self.settings.epoch;
        if settings.epoch > epoch {
            self.reset(epoch, now);
        }
        self.settings = settings;
        self.settings.epoch = self.settings.epoch.max(epoch);
        self.pace.interrupt();
        let change = ZoneChange::Defined(Box::new(self.settings.clone()));
        self.emit(change, events);
    }

    /// Reserves more numbers if fewer than half a block of durable ones is left and no reservation is in flight.
    /// Whether it did; then [`Self::reserved`] must be called once the event is durable.
    pub fn reserve(&mut self, events: &mut Vec<ZoneEvent>) -> bool {
        let left = self.reserved.saturating_sub(self.next);
        let upto = self.reserved.saturating_add(RESERVE_BLOCK);
        if left >= RESERVE_BLOCK / 2 || self.reserving.is_some() || upto == self.reserved {
            return false;
        }
        self.reserving = Some(upto);
        let change = ZoneChange::Reserved { epoch: self.settings.epoch, upto };
        self.emit(change, events);
        true
    }

    /// A reservation is durable. One of an older epoch means nothing any more.
    pub fn reserved(&mut self, epoch: u32, upto: u32) {
        if epoch == self.settings.epoch {
            self.reserved = self.reserved.max(upto);
            self.reserving = self.reserving.filter(|wanted| *wanted > upto);
        }
    }

    /// Gives a ticket; where nobody waits and the limits allow it, an admitted one.
    pub fn join(&mut self, join: Join, left: OfferLeft, now: Millis, events: &mut Vec<ZoneEvent>) -> JoinOutcome {
        let now = self.pass(now);
        if join.keyed
            && let Some(seq) = self.keyed(join.nonce, now)
            && let Some(slot) = self.order.get(seq)
        {
            let issued_at = slot.issued_at;
            let answer = self.serve(seq, left, now, events);
            return JoinOutcome::Issued(Issued { number: self.numbered(seq), nonce: join.nonce, issued_at, answer });
        }
        if self.next >= self.reserved {
            return JoinOutcome::Unreserved;
        }
        let seq = self.next;
        self.next += 1;
        let enters = self.order.alive() == 0 && self.state(left, now) == State::Waiting && self.burst_room(now) > 0;
        self.place(seq, join, now);
        let answer = if enters {
            Answer::Admitted(self.admit(seq, Entrant::Newcomer, now, events))
        } else {
            self.pace.joined();
            self.answer_waiting(seq, left, now)
        };
        JoinOutcome::Issued(Issued { number: self.numbered(seq), nonce: join.nonce, issued_at: now, answer })
    }

    /// Answers a ticket that asks for its place.
    ///
    /// # Errors
    /// [`PollRefusal`].
    pub fn poll(&mut self, poll: Poll, left: OfferLeft, now: Millis, events: &mut Vec<ZoneEvent>) -> Result<Answer, PollRefusal> {
        let now = self.pass(now);
        let seq = self.locate(poll, now).filter(|seq| self.is_good(*seq)).ok_or(PollRefusal::Gone)?;
        if let Some(retry_ms) = self.hasty(seq, now) {
            return Err(PollRefusal::TooFast { retry_ms });
        }
        Ok(self.serve(seq, left, now, events))
    }

    /// Gives up a place, or the seat inside, at once. Doing so again changes nothing.
    pub fn leave(&mut self, poll: Poll, now: Millis, events: &mut Vec<ZoneEvent>) {
        let now = self.pass(now);
        let seq = poll.number.seq;
        if poll.number.epoch < self.settings.epoch {
            if !self.former.remove(poll.number) {
                return;
            }
            self.active -= 1;
        } else if self.locate(poll, now).is_some() {
            if let Some(Standing::Waiting { presence, seen, .. }) = self.order.get(seq).map(|slot| slot.standing) {
                self.drop_out(presence, seen);
            }
            self.end(seq);
        } else {
            return;
        }
        self.emit(ZoneChange::Left { ticket: poll.number, at: now }, events);
    }

    /// Looks after at most `most` deadlines that have come. Whether there are more.
    pub fn sweep(&mut self, now: Millis, most: usize) -> bool {
        let now = self.pass(now);
        self.settle_due(now, most)
    }

    /// Tells of each finished minute in which anyone waited, entered or dropped out, and every few seconds up to which
    /// number all tickets have ended, if that has changed. Call it every few seconds, or more often.
    pub fn minute(&mut self, now: Millis, events: &mut Vec<ZoneEvent>) {
        let now = self.pass(now);
        while let Some(minute) = self.minutes.pop() {
            let row = ZoneMinute {
                zone: self.settings.id.clone(),
                minute: minute.minute,
                entered: minute.entered,
                waiting: minute.waiting,
                dropped: minute.dropped,
                entry_limit: self.settings.entry_limit_per_minute,
            };
            self.emit(ZoneChange::Minute(row), events);
        }
        self.tell_front(now, events);
    }

    /// Whether anybody waits or is inside.
    #[must_use]
    pub const fn has_live(&self) -> bool {
        self.order.alive() > 0 || self.active > 0
    }

    /// Takes in what happened before a restart. [`Self::recover`] follows, and only then anything else.
    pub fn replay(&mut self, change: &ZoneChange) {
        match change {
            ZoneChange::Defined(settings) => {
                if (settings.epoch, settings.revision) >= (self.settings.epoch, self.settings.revision) {
                    self.settings = (**settings).clone();
                }
            }
            ZoneChange::Reserved { epoch, upto } => self.replay.reserved = self.replay.reserved.max(Some((*epoch, *upto))),
            ZoneChange::Admitted { ticket, at } => {
                self.replay.admitted.insert(*ticket, *at);
            }
            ZoneChange::Left { ticket, .. } => {
                self.replay.left.insert(*ticket);
            }
            ZoneChange::Minute(row) => self.replay.minute = self.replay.minute.max(Some(row.minute)),
            ZoneChange::Front { epoch, seq } => self.replay.front = self.replay.front.max(Some((*epoch, *seq))),
            ZoneChange::Deleted => {}
        }
    }

    /// Before [`Self::recover`], where the clock that dated what was replayed was ahead: what it dated later than `now` counts as of
    /// now, so that the window and the sessions begin once more, and end.
    pub fn redate(&mut self, now: Millis) {
        self.clock = self.clock.min(now);
        self.replay.minute = self.replay.minute.map(|minute| minute.min(now));
        for at in self.replay.admitted.values_mut() {
            *at = (*at).min(now);
        }
    }

    /// Starts again from what was replayed: limits, passes and people inside are as before. If any number was ever
    /// reserved, the line listens for two short poll intervals, and for as long as a ticket may have been silent it puts
    /// unknown tickets back at their numbers, unless they are below the front that was told.
    pub fn recover(&mut self, now: Millis) {
        let replay = std::mem::take(&mut self.replay);
        let now = now.max(self.clock).max(replay.admitted.values().copied().max().unwrap_or(now));
        self.clock = now;
        self.wheel = Wheel::new(now);
        self.pace = Pace::new(now);
        self.minutes = Minutes::new(now);
        let epoch = self.settings.epoch;
        let of_this_epoch = |told: Option<(u32, u32)>| told.filter(|(of, _)| *of == epoch).map_or(0, |(_, number)| number);
        let (reserved, front) = (of_this_epoch(replay.reserved), of_this_epoch(replay.front));
        self.reserved = reserved;
        self.next = if planted::is(Bug::BlockReused) { reserved.saturating_sub(RESERVE_BLOCK) } else { reserved };
        self.front = Front::new(front, now);
        if reserved > 0 {
            self.recovery = Some(Recovery::new(&self.settings, now, front, reserved));
        }
        let mut times: Vec<Millis> = replay.admitted.values().copied().filter(|at| now.since_ms(*at) < log::KEPT_MS).collect();
        times.sort_unstable();
        for at in times.iter().filter(|_| !planted::is(Bug::WindowForgotten)) {
            self.log.push(*at);
        }
        self.minutes.recover(replay.minute, &times);
        for (ticket, at) in &replay.admitted {
            if !replay.left.contains(ticket) {
                self.restore_admitted(*ticket, *at, now);
            } else if ticket.epoch == epoch {
                self.highest_admitted = self.highest_admitted.max(Some(ticket.seq));
            }
        }
        for ticket in replay.left.iter().filter(|ticket| ticket.epoch == epoch) {
            self.remember_ended(ticket.seq);
        }
    }

    /// Bytes on the heap, for watching what a waiter costs. Walks the list of chunks.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.order.memory_bytes() + self.keys.memory_bytes() + self.wheel.memory_bytes() + self.log.memory_bytes()
    }

    /// What every call begins with: time passes, minutes and slots end, and a few deadlines are looked after. The time
    /// to go on with, which never runs backwards.
    fn pass(&mut self, now: Millis) -> Millis {
        let now = now.max(self.clock);
        self.clock = now;
        self.minutes.pass(now, self.order.alive());
        self.pace.pass(now, self.order.present());
        let unused = self.pace.watch(&self.log, Limits::of(&self.settings), now, self.order.present());
        self.minutes.sums.unused += u64::from(unused.min(self.seats()));
        if self.recovery.as_ref().is_some_and(|recovery| !recovery.lasts(now)) {
            self.recovery = None;
        }
        self.settle_due(now, SWEEP_BUDGET);
        now
    }

    fn reset(&mut self, epoch: u32, now: Millis) {
        for (seq, slot) in self.order.iter() {
            if let Standing::Admitted { session: Term::Running, session_seconds, .. } = slot.standing {
                self.former.insert(TicketNumber { epoch, seq }, slot.touched.plus_seconds(session_seconds));
            }
        }
        self.order = Order::default();
        self.wheel = Wheel::new(now);
        self.keys = Keys::new();
        self.next = 0;
        self.reserved = 0;
        self.reserving = None;
        self.highest_admitted = None;
        self.front = Front::new(0, now);
        self.recovery = None;
        self.pace = Pace::new(now);
    }

    const fn numbered(&self, seq: u32) -> TicketNumber {
        TicketNumber { epoch: self.settings.epoch, seq }
    }

    fn emit(&self, change: ZoneChange, events: &mut Vec<ZoneEvent>) {
        events.push(ZoneEvent { zone: self.number, change });
    }
}
