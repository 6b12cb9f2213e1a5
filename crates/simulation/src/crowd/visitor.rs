//! Somebody who stands in line, and what they know of it.

use crate::dice::Dice;
use crate::history::{History, ensure};
use crate::machine::Finding;
use crate::request::Request;
use crate::task::Decided as Circumstances;
use bunho_domain::event::TicketNumber;
use bunho_domain::ids::ZoneId;
use bunho_domain::line::{Answer as LineAnswer, State};
use bunho_engine::EngineError;

/// One visitor.
pub(super) struct Visitor {
    pub(super) zone: ZoneId,
    pub(super) key: Option<String>,
    pub(super) habit: Habit,
    pub(super) stands: Stands,
    pub(super) token: Option<String>,
    pub(super) number: Option<(u32, TicketNumber)>,
    /// It stood in line when it was decided that it leaves.
    pub(super) surely_leaves: bool,
    /// When it was told to ask again, by true time.
    pub(super) due_ms: i64,
    /// What the clock said when it was told its place last.
    pub(super) touched_ms: i64,
    pub(super) resets: u64,
    /// The lowest rank that it was told since the last restart.
    pub(super) rank: Option<u32>,
    pub(super) asking: u32,
}

/// How it behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Habit {
    Honest,
    Late,
    Silent,
    Leaver,
}

/// Where it is, as far as it knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    Outside,
    Waiting,
    Inside { until_ms: i64 },
    Leaving,
    Ended,
}

impl Visitor {
    /// Somebody who is about to join.
    pub(super) fn new(zone: ZoneId, key: Option<String>, resets: u64, dice: &mut Dice) -> Self {
        let habit = [Habit::Honest, Habit::Late, Habit::Silent, Habit::Leaver][dice.weighted(&[12, 3, 2, 1])];
        Self {
            zone,
            key,
            habit,
            stands: Stands::Outside,
            token: None,
            number: None,
            surely_leaves: false,
            due_ms: i64::MAX,
            touched_ms: 0,
            resets,
            rank: None,
            asking: 1,
        }
    }

    /// It has been told to ask by now, and does as it is told.
    pub(super) fn is_due(&self, true_ms: i64) -> bool {
        self.asking == 0 && self.habit == Habit::Honest && self.due_ms <= true_ms
    }

    /// Its request is decided now. Until it is answered nobody knows when it is to ask again, so it holds no place.
    pub(super) fn is_decided(&mut self, request: &Request, resets: u64, history: &mut History) {
        let Some((zone, ticket)) = self.number else { return };
        let Some(zone) = history.zones.get_mut(&zone) else { return };
        let present = zone.present.remove(&ticket);
        if matches!(request, Request::Leave { token, .. } if self.token.as_ref() == Some(token)) {
            self.surely_leaves = self.resets == resets && present.is_some_and(|present| history.clock_max < present.until);
        }
    }

    /// It was told that it has left.
    ///
    /// # Errors
    /// That is not written down.
    pub(super) fn has_left(&mut self, history: &History) -> Result<(), Finding> {
        self.stands = Stands::Ended;
        let number = self.number;
        let known = number.is_some_and(|(zone, ticket)| history.zones.get(&zone).is_some_and(|zone| zone.left.contains(&ticket)));
        ensure!(known || !self.surely_leaves, "ticket {number:?} was told that it has left, a power cut would keep it");
        Ok(())
    }

    /// What it asks next, if anything.
    pub(super) fn asks(&mut self, id: u64, dice: &mut Dice, true_ms: i64, clock_ms: i64) -> Option<Request> {
        let zone = self.zone.clone();
        let Some(token) = self.token.clone() else {
            return Some(Request::Join { zone, visitor: id, key: self.key.clone() });
        };
        let leaves = match self.habit {
            Habit::Leaver => dice.one_in(2),
            _ => dice.one_in(40),
        };
        match self.stands {
            Stands::Ended => Some(Request::Poll { zone, visitor: id, token, knock: true }),
            Stands::Inside { until_ms } if clock_ms >= until_ms => Some(Request::Poll { zone, visitor: id, token, knock: false }),
            _ if leaves => {
                self.stands = Stands::Leaving;
                Some(Request::Leave { zone, visitor: id, token })
            }
            Stands::Leaving => Some(Request::Leave { zone, visitor: id, token }),
            Stands::Outside | Stands::Waiting | Stands::Inside { .. } => {
                let asks = match self.habit {
                    Habit::Honest | Habit::Leaver => self.due_ms <= true_ms || dice.one_in(20),
                    Habit::Late => dice.one_in(6),
                    Habit::Silent => dice.one_in(60),
                };
                if asks && self.key.is_some() && dice.one_in(10) {
                    return Some(Request::Join { zone, visitor: id, key: self.key.clone() });
                }
                asks.then_some(Request::Poll { zone, visitor: id, token, knock: false })
            }
        }
    }

    /// It is told its place, or that it may enter.
    pub(super) fn hears(
        &mut self,
        entry: &bunho_engine::Entry,
        circumstances: Circumstances,
        true_ms: i64,
        history: &mut History,
        resets: u64,
    ) -> Result<(), Finding> {
        if matches!(self.stands, Stands::Leaving | Stands::Ended) {
            return Ok(());
        }
        let number = (entry.subject.zone, entry.subject.ticket);
        if self.number != Some(number) {
            self.rank = None;
            // Under its key a client may get a new place when the old one has ended; it goes on with the newest.
            if self.number.is_some_and(|before| before.1 > number.1) {
                return Ok(());
            }
        }
        self.number = Some(number);
        if let Some(token) = &entry.token {
            self.token = Some(token.clone());
        }
        self.resets = resets;
        match &entry.answer {
            LineAnswer::Waiting(place) => {
                self.stands = Stands::Waiting;
                if let Some(zone) = history.zones.get_mut(&number.0)
                    && zone.settings.epoch == number.1.epoch
                {
                    zone.holds_place(number.1, circumstances.appended, circumstances.clock_ms, place.polling_ms);
                }
                self.touched_ms = circumstances.clock_ms;
                self.due_ms = true_ms + i64::from(place.polling_ms);
                if place.state != State::Recovering {
                    let before = self.rank.replace(place.rank);
                    ensure!(before.is_none_or(|before| place.rank <= before), "ticket {number:?} was rank {before:?}, now {}", place.rank);
                }
            }
            LineAnswer::Admitted(admission) => {
                self.stands = Stands::Inside { until_ms: admission.expires_at.0 };
                self.due_ms = true_ms + 3_000;
            }
        }
        Ok(())
    }

    /// It is told no.
    pub(super) fn is_refused(
        &mut self,
        request: &Request,
        error: &EngineError,
        true_ms: i64,
        history: &History,
        resets: u64,
    ) -> Result<(), Finding> {
        self.due_ms = true_ms + 500;
        match error {
            EngineError::TicketGone => {
                let Some((zone, ticket)) = self.number else { return Ok(()) };
                // An older ticket of the same client may have been asked for.
                if !matches!(request, Request::Poll { token, .. } if self.token.as_ref() == Some(token)) {
                    return Ok(());
                }
                let waited = self.stands == Stands::Waiting;
                if waited
                    && self.resets == resets
                    && let Some(zone) = history.zones.get(&zone)
                    && !zone.admitted.contains_key(&ticket)
                    && !zone.left.contains(&ticket)
                {
                    let silence_ms = history.clock_max - self.touched_ms;
                    let allowed = zone.settings.abandon_after_seconds + zone.settings.resume_grace_seconds;
                    let allowed_ms = i64::from(allowed) * 1_000;
                    ensure!(
                        silence_ms >= allowed_ms,
                        "ticket {ticket:?} is gone after {silence_ms} ms of silence, {allowed_ms} are allowed"
                    );
                }
                self.stands = Stands::Ended;
                // Told gone is not told for ever: within the grace after a restart it may come back. So it is not knocked with.
                self.token = None;
            }
            EngineError::TooFast { retry_ms } => self.due_ms = true_ms + i64::from(*retry_ms),
            _ => {}
        }
        Ok(())
    }
}
