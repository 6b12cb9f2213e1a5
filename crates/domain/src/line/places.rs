//! How a ticket's place changes: taken, seen again, missed, let in, ended.

use crate::event::{TicketNumber, ZoneChange, ZoneEvent};
use crate::line::slot::{Bearer, Presence, Seen, Slot, Standing, Term};
use crate::line::view::PERIOD_FLOOR_MS;
use crate::line::{Admission, Answer, Join, Line, OfferLeft, Poll, State};
use crate::time::Millis;

/// Polls in a row that may come too soon; the next one is refused.
const HASTY_MAX: u8 = 3;

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entrant {
    /// Someone who waited: says something of the line's pace.
    Waiter,
    /// Someone who found no line.
    Newcomer,
}

impl Line {
    /// The ticket, if it is known: settled as of `now`, and put back if it may be.
    pub(super) fn locate(&mut self, poll: Poll, now: Millis) -> Option<u32> {
        let seq = poll.number.seq;
        if poll.number.epoch != self.settings.epoch {
            return None;
        }
        self.settle(seq, now);
        let Some(slot) = self.order.get_mut(seq) else {
            let returns = self.recovery.as_ref().is_some_and(|recovery| recovery.may_return(seq));
            return returns.then(|| self.restore_waiting(poll, now));
        };
        if let Standing::Admitted { bearer: bearer @ Bearer::Unmet, pass, .. } = &mut slot.standing {
            *bearer = Bearer::Known;
            let pass = *pass;
            (slot.nonce, slot.issued_at) = (poll.nonce, poll.issued_at);
            if pass == Term::Running {
                self.keys.insert(&self.order, poll.nonce, seq);
            }
        } else if slot.nonce != poll.nonce {
            // The number was given out twice, which takes the loss of durable state. Who holds the place keeps it.
            return None;
        }
        Some(seq)
    }

    /// Whether a known ticket is still answered: someone inside whose pass has ended is only counted.
    pub(super) fn is_good(&self, seq: u32) -> bool {
        self.order.get(seq).is_some_and(|slot| !matches!(slot.standing, Standing::Admitted { pass: Term::Over, .. }))
    }

    /// The ticket that was given to this key, if it still is one.
    pub(super) fn keyed(&mut self, nonce: u64, now: Millis) -> Option<u32> {
        let seq = self.keys.find(&self.order, nonce)?;
        self.settle(seq, now);
        self.keys.find(&self.order, nonce)
    }

    /// Takes the place of number `seq`.
    pub(super) fn place(&mut self, seq: u32, join: Join, now: Millis) {
        self.order.insert(seq, Slot::waiting(join.nonce, now, now));
        if join.keyed {
            self.keys.insert(&self.order, join.nonce, seq);
        }
    }

    /// Answers a ticket that is known: its admission again, its admission now, or its place.
    pub(super) fn serve(&mut self, seq: u32, left: OfferLeft, now: Millis, events: &mut Vec<ZoneEvent>) -> Answer {
        if let Some(slot) = self.order.get(seq)
            && let Standing::Admitted { pass_seconds, .. } = slot.standing
        {
            return Answer::Admitted(Admission { at: slot.touched, expires_at: slot.pass_ends(pass_seconds) });
        }
        self.see(seq, now);
        if self.state(left, now) == State::Waiting && self.order.present_ahead(seq) < self.room(now) {
            return Answer::Admitted(self.admit(seq, Entrant::Waiter, now, events));
        }
        self.answer_waiting(seq, left, now)
    }

    /// Tells a ticket its place, and holds it to the poll that it is told to make.
    pub(super) fn answer_waiting(&mut self, seq: u32, left: OfferLeft, now: Millis) -> Answer {
        let place = self.show(seq, left, now);
        if let Some(slot) = self.order.get_mut(seq)
            && let Standing::Waiting { period_ms, .. } = &mut slot.standing
        {
            *period_ms = u16::try_from(place.polling_ms).unwrap_or(u16::MAX);
        }
        self.arm(seq);
        Answer::Waiting(place)
    }

    /// Counts a poll that comes before a third of its period; the fourth in a row is refused, with the rest of the
    /// period as the milliseconds to wait. Even then it is a sign of life.
    pub(super) fn hasty(&mut self, seq: u32, now: Millis) -> Option<u32> {
        let slot = self.order.get_mut(seq)?;
        let Standing::Waiting { hasty, period_ms, .. } = &mut slot.standing else { return None };
        let elapsed = now.since_ms(slot.touched);
        if elapsed * 3 >= i64::from(*period_ms) {
            *hasty = 0;
            return None;
        }
        if *hasty < HASTY_MAX {
            *hasty += 1;
            return None;
        }
        let rest = u16::try_from(i64::from(*period_ms) - elapsed).unwrap_or(*period_ms).max(PERIOD_FLOOR_MS as u16);
        *period_ms = rest;
        slot.touched = now;
        Some(u32::from(rest))
    }

    /// Lets a ticket in.
    pub(super) fn admit(&mut self, seq: u32, entrant: Entrant, now: Millis, events: &mut Vec<ZoneEvent>) -> Admission {
        let pass_seconds = self.settings.pass_ttl_seconds;
        if let Some(slot) = self.order.get_mut(seq) {
            slot.touched = now;
            slot.standing = Standing::Admitted {
                session: Term::Running,
                pass: Term::Running,
                bearer: Bearer::Known,
                session_seconds: self.settings.session_seconds,
                pass_seconds,
            };
        }
        self.order.mark(seq);
        self.arm(seq);
        self.log.push(now);
        self.pace.runs();
        if entrant == Entrant::Waiter {
            self.pace.admitted();
        }
        self.active += 1;
        self.minutes.entered += 1;
        self.highest_admitted = self.highest_admitted.max(Some(seq));
        self.emit(ZoneChange::Admitted { ticket: self.numbered(seq), at: now }, events);
        Admission { at: now, expires_at: now.plus_seconds(pass_seconds) }
    }

    /// A waiting ticket is given up, which counts unless it already had when it fell silent.
    pub(super) fn drop_out(&mut self, presence: Presence, seen: Seen) {
        if presence == Presence::Present {
            self.pace.lost(seen);
        }
        if presence != Presence::Dormant {
            self.minutes.dropped += 1;
            self.minutes.sums.left += 1;
        }
    }

    /// Forgets a ticket for good.
    pub(super) fn end(&mut self, seq: u32) {
        let Some(slot) = self.order.get(seq) else { return };
        let (nonce, standing) = (slot.nonce, slot.standing);
        if let Standing::Admitted { session: Term::Running, .. } = standing {
            self.active -= 1;
        }
        self.keys.remove(nonce, seq);
        self.wheel.disarm(&mut self.order, seq);
        self.order.remove(seq, self.next);
        self.remember_ended(seq);
    }

    /// While tickets are restored, one that has ended must not be.
    pub(super) fn remember_ended(&mut self, seq: u32) {
        if let Some(recovery) = &mut self.recovery {
            recovery.end(seq);
        }
    }

    /// Settles at most `most` tickets and former sessions whose deadline has come. Whether there are more.
    pub(super) fn settle_due(&mut self, now: Millis, most: usize) -> bool {
        for _ in 0..most {
            if self.former.pop(now).is_some() {
                self.active -= 1;
            } else if let Some(seq) = self.wheel.pop(&mut self.order, now) {
                self.settle(seq, now);
                self.arm(seq);
            } else {
                return false;
            }
        }
        true
    }

    /// A ticket that was admitted before a restart.
    pub(super) fn restore_admitted(&mut self, ticket: TicketNumber, at: Millis, now: Millis) {
        let (session_seconds, pass_seconds) = (self.settings.session_seconds, self.settings.pass_ttl_seconds);
        let session = if at.plus_seconds(session_seconds) > now { Term::Running } else { Term::Over };
        let pass = if at.plus_seconds(pass_seconds) > now { Term::Running } else { Term::Over };
        if ticket.epoch < self.settings.epoch {
            if session == Term::Running {
                self.former.insert(ticket, at.plus_seconds(session_seconds));
                self.active += 1;
            }
            return;
        }
        self.highest_admitted = self.highest_admitted.max(Some(ticket.seq));
        if session == Term::Over && pass == Term::Over {
            return self.remember_ended(ticket.seq);
        }
        let standing = Standing::Admitted { session, pass, bearer: Bearer::Unmet, session_seconds, pass_seconds };
        self.order.insert(ticket.seq, Slot { touched: at, standing, ..Slot::EMPTY });
        self.arm(ticket.seq);
        if session == Term::Running {
            self.active += 1;
        }
    }

    /// A ticket that waited before a restart is back at its number.
    fn restore_waiting(&mut self, poll: Poll, now: Millis) -> u32 {
        let seq = poll.number.seq;
        self.order.insert(seq, Slot::waiting(poll.nonce, poll.issued_at, now));
        self.pace.joined();
        self.keys.insert(&self.order, poll.nonce, seq);
        self.arm(seq);
        seq
    }

    /// A waiting ticket shows a sign of life: it is present, wherever it was.
    fn see(&mut self, seq: u32, now: Millis) {
        let Some(slot) = self.order.get_mut(seq) else { return };
        slot.touched = now;
        let Standing::Waiting { presence, seen, .. } = &mut slot.standing else { return };
        let before = std::mem::replace(seen, Seen::Again);
        if std::mem::replace(presence, Presence::Present) == Presence::Present {
            self.pace.asked(before);
        } else {
            self.pace.returned(before);
            self.order.mark(seq);
        }
    }

    /// Lets a ticket change as far as its deadlines have come.
    fn settle(&mut self, seq: u32, now: Millis) {
        while let Some(slot) = self.order.get_mut(seq)
            && let Some(deadline) = slot.deadline(&self.settings)
            && deadline <= now
        {
            let touched = slot.touched;
            match &mut slot.standing {
                Standing::Unknown => return,
                Standing::Waiting { presence: presence @ Presence::Present, seen, .. } => {
                    *presence = Presence::Absent;
                    self.pace.lost(*seen);
                    self.order.mark(seq);
                }
                Standing::Waiting { presence: presence @ Presence::Absent, .. } => {
                    *presence = Presence::Dormant;
                    self.order.mark(seq);
                    self.minutes.dropped += 1;
                    self.minutes.sums.silent += 1;
                }
                Standing::Waiting { presence: Presence::Dormant, .. } => return self.end(seq),
                Standing::Admitted { session, pass, session_seconds, pass_seconds, .. } => {
                    if *pass == Term::Running && touched.plus_seconds(*pass_seconds) <= now {
                        *pass = Term::Over;
                        let nonce = slot.nonce;
                        self.keys.remove(nonce, seq);
                    } else if *session == Term::Running && touched.plus_seconds(*session_seconds) <= now {
                        *session = Term::Over;
                        self.active -= 1;
                    } else {
                        return self.end(seq);
                    }
                }
            }
        }
        if let Some(slot) = self.order.get(seq)
            && let Standing::Admitted { session: Term::Over, pass: Term::Over, .. } = slot.standing
        {
            self.end(seq);
        }
    }

    /// Puts the ticket's next deadline into the wheel.
    fn arm(&mut self, seq: u32) {
        if let Some(deadline) = self.order.get(seq).and_then(|slot| slot.deadline(&self.settings)) {
            self.wheel.arm(&mut self.order, seq, deadline);
        }
    }
}
