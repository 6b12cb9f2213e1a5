//! The waiting line: join, poll as told, perhaps stop polling without a word, enter.
//!
//! What is kept of somebody who waits: 20 bytes here, 40 in the record, a timer of 8, and the ticket, which lies in one array with all
//! others, since each is as long as the next.

pub(super) mod tickets;

use super::{Moment, Next, Step, UNANSWERED_RETRY_US, post, problem_code, retry_us};
use crate::driver::response::Answer;
use crate::meter::{Meter, Outcome};
use crate::random::Random;
use crate::record::{Call, Fate, Person, Trail, Zone};
use serde::Deserialize;
use std::borrow::Cow;
use tickets::Tickets;

/// One in so many of those who enter asks once more, as one whose answer was lost: the pass must be the same.
const ASKS_AGAIN: u64 = 100;
/// Courses that are kept whole.
const TRAILS: u64 = 8;
/// Polls after which somebody who leaves has left, at most.
const LEAVES_WITHIN_POLLS: u64 = 5;
const NOBODY: u32 = u32::MAX;

/// How people behave.
#[derive(Clone, Debug)]
pub struct Manners {
    /// Probability of leaving without a word.
    pub leave_silently: f64,
    /// Probability of leaving with a call.
    pub leave_openly: f64,
    /// Before joining, a pause between nothing and this.
    pub pause_us: u64,
    /// People expected in all, of whom a few are followed.
    pub expected: u64,
}

/// People of one zone.
pub struct Line {
    zone: Zone,
    manners: Manners,
    random: Random,
    /// Unix time of the run's begin plus the life of a pass, milliseconds: `passExpiresAt` less this is when it was given.
    passes_from_unix_ms: i64,
    join: Vec<u8>,
    poll_head: Vec<u8>,
    leave_head: Vec<u8>,
    ticket_head: Vec<u8>,
    waiters: Vec<Waiter>,
    tickets: Tickets,
    trails: Vec<Trail>,
    joined: u64,
}

#[derive(Clone, Copy)]
struct Waiter {
    /// Index of its person, if it has one.
    person: u32,
    rank: u32,
    /// Of the pass it was given.
    pass: u32,
    state: State,
    /// Polls after which it leaves; 0: it does not.
    leaves_after: u8,
    leaves_openly: bool,
    /// Its person has rank and estimate as first shown: most polls need not look at it.
    shown: bool,
    /// Index of its trail plus one; 0: none.
    trail: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Is about to join.
    Coming,
    /// Has a ticket.
    Waiting,
    /// Is about to leave.
    Leaving,
    /// Is in, and asks once more.
    Checking,
    /// Does nothing.
    Away,
}

/// What both calls of the line answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    can_enter: bool,
    #[serde(borrow)]
    token: &'a str,
    #[serde(borrow, default)]
    waiting: Option<Place<'a>>,
    #[serde(default)]
    pass: Option<&'a str>,
    #[serde(default)]
    pass_expires_at: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place<'a> {
    #[serde(borrow)]
    state: Cow<'a, str>,
    rank: u32,
    #[serde(default)]
    estimated_seconds: Option<u32>,
    polling_period: u32,
}

impl Line {
    /// A line of nobody yet.
    #[must_use]
    pub fn new(host: &str, zone: Zone, manners: Manners, random: Random, passes_from_unix_ms: i64) -> Self {
        let head = |path: &str| format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n").into_bytes();
        let mut join = Vec::new();
        let body = format!("{{\"zoneId\":\"{}\",\"clientIp\":\"127.0.0.1\",\"clientAgent\":\"WEB\"}}", zone.id);
        post(&mut join, &head("/traffic/wait"), &[], &[body.as_bytes()]);
        Self {
            join,
            poll_head: head("/traffic/entry"),
            leave_head: head("/traffic/leave"),
            ticket_head: format!("{{\"zoneId\":\"{}\",\"token\":\"", zone.id).into_bytes(),
            zone,
            manners,
            random,
            passes_from_unix_ms,
            waiters: Vec::new(),
            tickets: Tickets::default(),
            trails: Vec::new(),
            joined: 0,
        }
    }

    /// See [`super::Crowd::begin`].
    pub fn begin(&mut self, user: u32, now_us: u64) -> u64 {
        let away =
            Waiter { person: NOBODY, rank: 0, pass: 0, state: State::Away, leaves_after: 0, leaves_openly: false, shown: false, trail: 0 };
        if user as usize >= self.waiters.len() {
            self.waiters.resize(user as usize + 1, away);
        }
        let mut waiter = Waiter { state: State::Coming, ..away };
        let manners = &self.manners;
        waiter.leaves_openly = self.random.chance(manners.leave_openly);
        if waiter.leaves_openly || self.random.chance(manners.leave_silently) {
            waiter.leaves_after = 1 + self.random.below(LEAVES_WITHIN_POLLS) as u8;
        }
        self.waiters[user as usize] = waiter;
        now_us + if manners.pause_us == 0 { 0 } else { self.random.below(manners.pause_us) }
    }

    /// See [`super::Crowd::request`].
    pub fn request(&mut self, user: u32, out: &mut Vec<u8>) -> Call {
        let ticket = self.tickets.get(user);
        match self.waiters[user as usize].state {
            State::Coming | State::Away => {
                out.extend_from_slice(&self.join);
                Call::Wait
            }
            State::Waiting | State::Checking => {
                post(out, &self.poll_head, &[], &[&self.ticket_head, ticket, b"\"}"]);
                Call::Entry
            }
            State::Leaving => {
                post(out, &self.leave_head, &[], &[&self.ticket_head, ticket, b"\"}"]);
                Call::Leave
            }
        }
    }

    /// See [`super::Crowd::answered`]; and the pass, for whoever enters with this answer.
    pub fn answered<'a>(&mut self, user: u32, moment: Moment, answer: &Answer<'a>, meter: &mut Meter) -> (Step<'a>, Option<&'a str>) {
        let state = self.waiters[user as usize].state;
        if state == State::Leaving {
            return (self.has_left(user, answer, meter), None);
        }
        if answer.status != 200 {
            return (self.refused(user, moment, answer, meter), None);
        }
        let Ok(entry) = serde_json::from_slice::<Entry<'a>>(answer.body) else {
            return (Step { outcome: Outcome::Failed("unreadable"), next: Next::At(moment.now_us + retry_us(answer)) }, None);
        };
        if state == State::Coming {
            self.joined(user, moment, entry.token, meter);
        }
        let (next, pass) =
            if entry.can_enter { self.enters(user, moment, &entry, meter) } else { (self.waits(user, moment, &entry, meter), None) };
        (Step { outcome: Outcome::Good, next }, pass)
    }

    /// See [`super::Crowd::unanswered`]: whoever has a ticket asks again with it.
    pub fn unanswered(&mut self, user: u32, now_us: u64) -> Next {
        match self.waiters[user as usize].state {
            State::Away => Next::Done,
            _ => Next::At(now_us + UNANSWERED_RETRY_US),
        }
    }

    /// See [`super::Crowd::stop`].
    pub fn stop(&mut self, user: u32, meter: &mut Meter) {
        if self.waiters[user as usize].state == State::Waiting {
            self.ends(user, Fate::LeftSilently);
            meter.left();
        }
    }

    /// What the record has of it.
    #[must_use]
    pub fn finish(self) -> (Zone, Vec<Trail>) {
        (self.zone, self.trails)
    }

    fn person(&mut self, user: u32) -> Option<&mut Person> {
        self.zone.people.get_mut(self.waiters[user as usize].person as usize)
    }

    fn joined(&mut self, user: u32, moment: Moment, token: &str, meter: &mut Meter) {
        let person = Person {
            join_sent_ms: moment.sent_ms(),
            join_answered_ms: moment.now_ms(),
            admitted_server_ms: i64::MIN,
            entered_ms: u32::MAX,
            first_rank: 0,
            first_estimate_ms: u32::MAX,
            first_shown_ms: u32::MAX,
            fate: Fate::Waiting,
            rank_rose: false,
            contradictions: 0,
        };
        let index = self.zone.people.len() as u32;
        let every = (self.manners.expected / TRAILS).max(1);
        let waiter = &mut self.waiters[user as usize];
        (waiter.person, waiter.state) = (index, State::Waiting);
        if self.joined.is_multiple_of(every) && (self.trails.len() as u64) < TRAILS {
            self.trails.push(Trail { person: index, points: Vec::new() });
            waiter.trail = self.trails.len() as u8;
        }
        self.joined += 1;
        self.zone.people.push(person);
        self.tickets.set(user, token.as_bytes());
        meter.arrived();
    }

    fn enters<'a>(&mut self, user: u32, moment: Moment, entry: &Entry<'a>, meter: &mut Meter) -> (Next, Option<&'a str>) {
        let pass = pass_mark(entry.pass.unwrap_or_default());
        let checks = self.random.below(ASKS_AGAIN) == 0;
        let from = self.passes_from_unix_ms;
        let waiter = &mut self.waiters[user as usize];
        if waiter.state == State::Checking {
            let differs = waiter.pass != pass;
            waiter.state = State::Away;
            if let (true, Some(person)) = (differs, self.person(user)) {
                person.contradictions += 1;
            }
            return (Next::Done, None);
        }
        (waiter.pass, waiter.state) = (pass, if checks { State::Checking } else { State::Away });
        let admitted = entry.pass_expires_at.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        if let Some(person) = self.person(user) {
            person.fate = Fate::Entered;
            person.entered_ms = moment.now_ms();
            person.admitted_server_ms = admitted.map_or(i64::MIN, |at| at.as_millisecond() - from);
        }
        if admitted.is_none() {
            meter.fault("an admission came without a readable `passExpiresAt`");
        }
        meter.entered();
        (if checks { Next::At(moment.now_us) } else { Next::Done }, entry.pass)
    }

    fn waits(&mut self, user: u32, moment: Moment, entry: &Entry<'_>, meter: &mut Meter) -> Next {
        let Some(place) = &entry.waiting else {
            meter.fault("an answer says neither that one may enter nor how one waits");
            return Next::At(moment.now_us + UNANSWERED_RETRY_US);
        };
        self.zone.poll_max_ms = self.zone.poll_max_ms.max(place.polling_period);
        let estimate_ms = place.estimated_seconds.map(|seconds| seconds.saturating_mul(1_000));
        let waiter = &mut self.waiters[user as usize];
        if waiter.state == State::Checking {
            // In, and told to wait: the worst that can be said.
            waiter.state = State::Away;
            if let Some(person) = self.person(user) {
                person.contradictions += 1;
            }
            return Next::Done;
        }
        let rose = place.rank > waiter.rank && waiter.rank != 0 && place.state != "recovering";
        waiter.rank = place.rank;
        let trail = usize::from(waiter.trail);
        let shown = waiter.shown;
        waiter.shown |= place.state == "waiting";
        if (rose || !shown)
            && let Some(person) = self.person(user)
        {
            person.rank_rose |= rose;
            if person.first_rank == 0 {
                person.first_rank = place.rank;
            }
            if !shown && place.state == "waiting" {
                person.first_shown_ms = moment.now_ms();
                person.first_estimate_ms = estimate_ms.unwrap_or(u32::MAX);
            }
        }
        if let Some(trail) = trail.checked_sub(1).and_then(|index| self.trails.get_mut(index)) {
            trail.points.push((moment.now_ms(), place.rank, estimate_ms));
        }
        self.stays(user, moment.now_us + u64::from(place.polling_period) * 1_000, meter)
    }

    /// The next poll, unless this is where it leaves.
    fn stays(&mut self, user: u32, poll_us: u64, meter: &mut Meter) -> Next {
        let waiter = &mut self.waiters[user as usize];
        if waiter.leaves_after == 0 {
            return Next::At(poll_us);
        }
        waiter.leaves_after -= 1;
        match (waiter.leaves_after, waiter.leaves_openly) {
            (1.., _) => Next::At(poll_us),
            (0, true) => {
                waiter.state = State::Leaving;
                Next::At(poll_us)
            }
            (0, false) => {
                self.ends(user, Fate::LeftSilently);
                meter.left();
                Next::Done
            }
        }
    }

    fn has_left<'a>(&mut self, user: u32, answer: &Answer<'a>, meter: &mut Meter) -> Step<'a> {
        self.ends(user, Fate::Left);
        meter.left();
        let outcome = if answer.status == 204 { Outcome::Good } else { Outcome::Failed(problem_code(answer)) };
        Step { outcome, next: Next::Done }
    }

    fn refused<'a>(&mut self, user: u32, moment: Moment, answer: &Answer<'a>, meter: &mut Meter) -> Step<'a> {
        let code = problem_code(answer);
        let state = self.waiters[user as usize].state;
        let next = match answer.status {
            429 | 500.. => Next::At(moment.now_us + retry_us(answer)),
            410 | 401 if state == State::Waiting => {
                self.ends(user, Fate::Lost);
                meter.left();
                Next::Done
            }
            _ if state == State::Coming => Next::At(moment.now_us + retry_us(answer)),
            _ => Next::Done,
        };
        Step { outcome: Outcome::Failed(code), next }
    }

    fn ends(&mut self, user: u32, fate: Fate) {
        self.waiters[user as usize].state = State::Away;
        if let Some(person) = self.person(user) {
            person.fate = fate;
        }
    }
}

/// FNV-1a: enough to see that a pass is another one.
fn pass_mark(pass: &str) -> u32 {
    pass.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// What is kept of one who waits, besides a ticket of 60 bytes: it must stay a few bytes.
const _: () = assert!(size_of::<Waiter>() + size_of::<Person>() + 8 + 1 + 60 <= 150);

#[cfg(test)]
mod tests;
