//! People in line: they come, poll as told, leave with and without a word, and go in. Those of a season's line then buy with their pass.

use super::season::{STEADY, STEADY_ONE_IN, Season, Shelf, WINDOW_SECONDS};
use super::shop::Buyers;
use super::world::{Call, Caller, Over, time, unix_ms};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Passes live so long in every zone here: what is left of it tells when one was let in.
const PASS_TTL_MS: i64 = 60_000;
/// Somebody who is never let in gives up: a line that does not move would else grow for ever.
const POLLS_MAX: u32 = 400;

/// Who was answered within so long has its place (`abandon_after_seconds` of every zone here, less a little).
const PLACE_KEPT: Duration = Duration::from_secs(25);

/// Somebody who waits.
struct Person {
    zone: String,
    season: Arc<Season>,
    token: String,
    user: String,
    /// Polls until it leaves, and whether it says so.
    patience: u32,
    openly: bool,
    polls: u32,
    /// When it was last answered.
    heard: Instant,
}

/// One thread of people.
pub(super) struct People {
    buyers: Buyers,
    /// By when they poll.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    people: HashMap<usize, Person>,
    came: usize,
    /// The latest admissions of each zone, by the server's clock.
    admitted: HashMap<String, VecDeque<i64>>,
}

impl People {
    pub(super) fn new(caller: Caller) -> Self {
        Self { buyers: Buyers::new(caller), due: BinaryHeap::new(), people: HashMap::new(), came: 0, admitted: HashMap::new() }
    }

    /// Lets people come at a rate, and plays them, until it is told to finish.
    pub(super) fn work(mut self, a_second: f64) {
        let every = Duration::from_secs_f64(1.0 / a_second.max(0.01));
        let mut next = Instant::now();
        while !self.buyers.caller.world.finishing() {
            let now = Instant::now();
            let polls = self.due.peek().is_some_and(|Reverse((due, _))| *due <= now);
            let done = if next <= now {
                next = (next + every).max(now);
                self.come()
            } else if polls {
                self.poll()
            } else {
                self.buyers.go_on()
            };
            if done.is_err() {
                return;
            }
        }
    }

    fn come(&mut self) -> Result<(), Over> {
        let caller = &mut self.buyers.caller;
        let season = caller.world.season();
        let zone = if self.came.is_multiple_of(STEADY_ONE_IN as usize) { STEADY.to_string() } else { season.zone() };
        let user = caller.world.new_user();
        let body = json!({"zoneId": zone, "clientIp": "127.0.0.1", "clientAgent": "WEB", "key": user});
        let reply = caller.insist(&Call::new("POST", "/traffic/wait", Some(body)))?;
        let (leaves, openly) = (caller.random.chance(0.38), caller.random.chance(0.2));
        let patience = if leaves { caller.random.below(12) as u32 } else { POLLS_MAX };
        self.came += 1;
        if reply.status != 200 {
            // The season has just ended.
            return self.odd(&zone, "joining", None, &reply);
        }
        let answer = reply.json();
        let token = answer["token"].as_str().unwrap_or_default().to_string();
        self.buyers.caller.world.book().count("joined");
        let person = Person { zone, season, token, user, patience, openly, polls: 0, heard: Instant::now() };
        self.hears(self.came, person, &answer)
    }

    fn poll(&mut self) -> Result<(), Over> {
        let Some(Reverse((_, number))) = self.due.pop() else { return Ok(()) };
        let Some(mut person) = self.people.remove(&number) else { return Ok(()) };
        let body = json!({"zoneId": person.zone, "token": person.token});
        if person.polls >= person.patience {
            let book = |what| self.buyers.caller.world.book().count(what);
            if !person.openly {
                book("left without a word");
                return Ok(());
            }
            book("left with a call");
            let reply = self.buyers.caller.insist(&Call::new("POST", "/traffic/leave", Some(body)))?;
            return if reply.status == 204 { Ok(()) } else { self.odd(&person.zone, "leaving", Some(person.heard), &reply) };
        }
        person.polls += 1;
        let reply = self.buyers.caller.insist(&Call::new("POST", "/traffic/entry", Some(body)))?;
        if reply.status != 200 {
            return self.odd(&person.zone, "polling", Some(person.heard), &reply);
        }
        self.hears(number, person, &reply.json())
    }

    fn hears(&mut self, number: usize, mut person: Person, answer: &Value) -> Result<(), Over> {
        person.heard = Instant::now();
        if answer["canEnter"] == true {
            return self.enters(&person, answer);
        }
        let Some(period_ms) = answer["waiting"]["pollingPeriod"].as_u64() else {
            self.buyers.caller.world.book().find(format!("neither in nor told when to ask: {answer}"));
            return Ok(());
        };
        self.due.push(Reverse((Instant::now() + Duration::from_millis(period_ms), number)));
        self.people.insert(number, person);
        Ok(())
    }

    fn enters(&mut self, person: &Person, answer: &Value) -> Result<(), Over> {
        let (Some(pass), Some(until)) = (answer["pass"].as_str(), time(&answer["passExpiresAt"])) else {
            self.buyers.caller.world.book().find(format!("let in without a pass: {answer}"));
            return Ok(());
        };
        self.note_admission(person, until - PASS_TTL_MS);
        if self.buyers.caller.random.chance(0.1) {
            self.asks_again(person, until)?;
        }
        if person.zone != STEADY {
            self.buyers.buy(&person.season, Shelf::Gated, &person.user, Some(pass))?;
        }
        Ok(())
    }

    /// Who was let in and asks again is told the same pass.
    fn asks_again(&mut self, person: &Person, until: i64) -> Result<(), Over> {
        let body = json!({"zoneId": person.zone, "token": person.token});
        let reply = self.buyers.caller.insist(&Call::new("POST", "/traffic/entry", Some(body)))?;
        if reply.status == 410 && unix_ms() > until {
            return Ok(());
        }
        if reply.status != 200 || time(&reply.json()["passExpiresAt"]) != Some(until) {
            let said = String::from_utf8_lossy(&reply.body).into_owned();
            // A line that was taken away has no passes any more.
            if reply.status != 404 && reply.status != 410 {
                self.buyers.caller.world.book().find(format!("{} was let in and then told {} {said}", person.user, reply.status));
            }
        }
        Ok(())
    }

    /// Never more than the limit in any window, as far as this thread's own people show.
    fn note_admission(&mut self, person: &Person, at: i64) {
        let limit = if person.zone == STEADY { person.season.steady_limit_max } else { person.season.limit };
        let times = self.admitted.entry(person.zone.clone()).or_default();
        let place = times.partition_point(|earlier| *earlier <= at);
        times.insert(place, at);
        let mut book = self.buyers.caller.world.book();
        book.count("let in");
        let limit = limit as usize;
        for first in place.saturating_sub(limit)..=place {
            if let (Some(first), Some(last)) = (times.get(first), times.get(first + limit))
                && last - first < i64::from(WINDOW_SECONDS) * 1_000
            {
                book.find(format!("{} let {} in within {} ms", person.zone, limit + 1, last - first));
                break;
            }
        }
        drop(book);
        // What an answer that comes late can still be beside.
        while times.len() > 4 * limit {
            times.pop_front();
        }
        if self.admitted.len() > 4 {
            let current = self.buyers.caller.world.season().zone();
            self.admitted.retain(|zone, _| zone == STEADY || *zone == current || *zone == person.zone);
        }
    }

    /// 404 and 410 are right when the season has ended, and 410 to who could not poll for longer than a place is kept.
    fn odd(&self, zone: &str, what: &'static str, heard: Option<Instant>, reply: &crate::client::Reply) -> Result<(), Over> {
        let world = &self.buyers.caller.world;
        let ended = zone != STEADY && world.season().zone() != zone;
        let mut book = world.book();
        match reply.status {
            404 | 410 if ended => book.count("the line had ended"),
            410 if heard.is_some_and(|heard| heard.elapsed() >= PLACE_KEPT) => book.count("gone after an outage"),
            _ => book.find(format!("{what} at {zone}: {}", reply.refusal())),
        }
        Ok(())
    }
}
