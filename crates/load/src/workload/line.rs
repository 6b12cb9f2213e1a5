//! The waiting line: join, poll as told, perhaps stop polling without a word, enter.
//!
//! What is kept of somebody who waits: 16 bytes here, 40 in the record, a timer of 8, and the ticket, which lies in one array with all
//! others, since each is as long as the next.

use super::{Moment, Next, Step, UNANSWERED_RETRY_US, post, problem_code, retry_us};
use crate::driver::response::Answer;
use crate::meter::{Meter, Outcome};
use crate::random::Random;
use crate::record::{Call, Fate, Person, Trail, Zone};
use serde::Deserialize;
use std::borrow::Cow;

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

/// Tickets in one array: as many bytes for each as the longest has.
#[derive(Default)]
pub(super) struct Tickets {
    bytes: Vec<u8>,
    each: usize,
    lengths: Vec<u8>,
}

impl Tickets {
    pub(super) fn get(&self, user: u32) -> &[u8] {
        let index = user as usize;
        let length = self.lengths.get(index).copied().unwrap_or(0);
        &self.bytes[(index * self.each).min(self.bytes.len())..][..length.into()]
    }

    pub(super) fn set(&mut self, user: u32, ticket: &[u8]) {
        let index = user as usize;
        // A ticket too long to be kept is sent back cut, and refused for all to see.
        let ticket = &ticket[..ticket.len().min(255)];
        if ticket.len() > self.each {
            self.widen(ticket.len());
        }
        if index >= self.lengths.len() {
            self.lengths.resize(index + 1, 0);
            self.bytes.resize((index + 1) * self.each, 0);
        }
        self.lengths[index] = ticket.len() as u8;
        self.bytes[index * self.each..][..ticket.len()].copy_from_slice(ticket);
    }

    fn widen(&mut self, each: usize) {
        let mut bytes = vec![0; self.lengths.len() * each];
        for (index, length) in self.lengths.iter().enumerate() {
            let length = usize::from(*length);
            bytes[index * each..][..length].copy_from_slice(&self.bytes[index * self.each..][..length]);
        }
        (self.bytes, self.each) = (bytes, each);
    }
}

/// What is kept of one who waits, besides a ticket of 60 bytes: it must stay a few bytes.
const _: () = assert!(size_of::<Waiter>() + size_of::<Person>() + 8 + 1 + 60 <= 150);

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN_UNIX_MS: i64 = 1_767_225_600_000;

    fn line(manners: Manners) -> Line {
        let zone = Zone {
            id: "Z".into(),
            limit: Some(1),
            window_ms: 60_000,
            slot_ms: 6_000,
            poll_max_ms: 0,
            otherwise_bound: false,
            people: Vec::new(),
        };
        Line::new("h", zone, manners, Random::new(11), BEGAN_UNIX_MS + 600_000)
    }

    fn patient() -> Manners {
        Manners { leave_silently: 0.0, leave_openly: 0.0, pause_us: 0, expected: 8 }
    }

    fn waits(rank: u32, state: &str) -> String {
        format!(
            r#"{{"canEnter":false,"token":"t-{rank}","zoneId":"Z","waiting":{{"state":"{state}","rank":{rank},"behind":0,"estimatedSeconds":7,"pollingPeriod":3000}}}}"#
        )
    }

    fn enters(pass: &str) -> String {
        format!(r#"{{"canEnter":true,"token":"t","zoneId":"Z","pass":"{pass}","passExpiresAt":"2026-01-01T00:10:05.250Z"}}"#)
    }

    fn hear(line: &mut Line, user: u32, now_us: u64, body: &str) -> Next {
        let answer = Answer { status: 200, retry_after_s: None, replayed: false, close: false, body: body.as_bytes() };
        let (step, _) = line.answered(user, Moment { sent_us: now_us - 1_000, now_us }, &answer, &mut Meter::default());
        assert_eq!(step.outcome, Outcome::Good);
        step.next
    }

    #[test]
    fn somebody_joins_polls_as_told_and_enters() {
        let mut line = line(patient());
        assert_eq!(line.begin(0, 5_000), 5_000);
        assert_eq!(hear(&mut line, 0, 10_000, &waits(3, "waiting")), Next::At(3_010_000));
        let mut out = Vec::new();
        assert_eq!(line.request(0, &mut out), Call::Entry);
        assert!(String::from_utf8_lossy(&out).ends_with("content-length: 28\r\n\r\n{\"zoneId\":\"Z\",\"token\":\"t-3\"}"));
        assert_eq!(hear(&mut line, 0, 20_000, &waits(2, "waiting")), Next::At(3_020_000));
        hear(&mut line, 0, 30_000, &enters("p"));
        let (zone, trails) = line.finish();
        let person = zone.people[0];
        assert_eq!((person.fate, person.first_rank, person.first_estimate_ms, person.first_shown_ms), (Fate::Entered, 3, 7_000, 10));
        assert_eq!((person.join_sent_ms, person.join_answered_ms, person.entered_ms, person.admitted_server_ms), (9, 10, 30, 5_250));
        assert_eq!((person.rank_rose, person.contradictions, zone.poll_max_ms), (false, 0, 3_000));
        assert_eq!(trails[0].points, [(10, 3, Some(7_000)), (20, 2, Some(7_000))]);
    }

    #[test]
    fn what_contradicts_an_earlier_answer_is_noted() {
        let mut line = line(patient());
        for user in 0..3_000 {
            line.begin(user, 0);
            let asks_again = hear(&mut line, user, 10_000, &enters("p")) != Next::Done;
            let again = [enters("p"), enters("another"), waits(1, "waiting")];
            if asks_again {
                assert_eq!(hear(&mut line, user, 20_000, &again[user as usize % 3]), Next::Done);
            }
        }
        let contradictions: Vec<u32> = line
            .finish()
            .0
            .people
            .iter()
            .enumerate()
            .filter(|(_, person)| person.contradictions > 0)
            .map(|(user, _)| user as u32)
            .collect();
        assert!(
            (5..60).contains(&contradictions.len()),
            "one in a hundred asks again, and two of three are contradicted: {contradictions:?}"
        );
        assert!(contradictions.iter().all(|user| user % 3 != 0));
    }

    #[test]
    fn a_rank_that_rises_is_noted_unless_the_line_recovers() {
        for (states, rose) in [(["waiting", "waiting"], true), (["waiting", "recovering"], false), (["recovering", "waiting"], true)] {
            let mut line = line(patient());
            line.begin(0, 0);
            hear(&mut line, 0, 10_000, &waits(3, states[0]));
            hear(&mut line, 0, 20_000, &waits(4, states[1]));
            assert_eq!(line.finish().0.people[0].rank_rose, rose, "{states:?}");
        }
    }

    #[test]
    fn who_leaves_does_so_within_a_few_polls() {
        for (silently, openly, fate) in [(1.0, 0.0, Fate::LeftSilently), (0.0, 1.0, Fate::Left)] {
            let mut line = line(Manners { leave_silently: silently, leave_openly: openly, ..patient() });
            let mut meter = Meter::default();
            for user in 0..50 {
                line.begin(user, 0);
                let mut polls = 0;
                while hear(&mut line, user, 10_000, &waits(1, "waiting")) != Next::Done {
                    polls += 1;
                    if line.request(user, &mut Vec::new()) == Call::Leave {
                        let gone = Answer { status: 204, retry_after_s: None, replayed: false, close: false, body: b"" };
                        assert_eq!(line.answered(user, Moment { sent_us: 1, now_us: 2 }, &gone, &mut meter).0.next, Next::Done);
                        break;
                    }
                    assert!(u64::from(polls as u32) <= LEAVES_WITHIN_POLLS);
                }
            }
            assert!(line.finish().0.people.iter().all(|person| person.fate == fate));
        }
    }

    #[test]
    fn tickets_of_any_length_are_kept() {
        let mut tickets = Tickets::default();
        for (user, length) in [(5, 10), (2, 60), (9, 3), (2, 20), (7, 255), (8, 300)] {
            tickets.set(user, &vec![b'a' + user as u8; length]);
        }
        for (user, length) in [(5, 10), (9, 3), (2, 20), (7, 255), (8, 255), (0, 0), (4_000, 0)] {
            assert_eq!(tickets.get(user), vec![b'a' + (user % 26) as u8; length]);
        }
    }
}
