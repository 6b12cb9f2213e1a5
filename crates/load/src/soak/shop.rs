//! Buyers: each is a story of a few calls, some of them later. Beside what most do there is what should be rare: keys used again, with and without another
//! body, second clicks, confirmations after the deadline.

use super::operator::take_back;
use super::season::{Season, Shelf};
use super::world::{Call, Caller, Over, time, unix_ms};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A deadline is the server's to decide; by this machine's clock it is judged with this much to spare.
const DEADLINE_SPARE_MS: i64 = 1_000;
/// How often somebody on standby asks, and how many times.
const STANDBY_EVERY: Duration = Duration::from_millis(700);
const STANDBY_ASKS_MAX: u8 = 6;
/// Confirmed claims that an operator may take back.
const RETURNABLE_ONE_IN: u64 = 40;

/// What a buyer does later.
struct Later {
    due: Instant,
    what: What,
    season: Arc<Season>,
}

enum What {
    Confirm(Held),
    Release(Held),
    Ask { place: String, user: String, offer: String, asks: u8 },
}

/// A claim that waits for what its buyer does.
struct Held {
    id: String,
    user: String,
    offer: String,
    shelf: Shelf,
    expires_ms: i64,
}

/// One thread of buyers.
pub(super) struct Buyers {
    pub(super) caller: Caller,
    later: Vec<Later>,
    /// Who takes back what is confirmed.
    returned: Vec<String>,
}

impl Buyers {
    pub(super) const fn new(caller: Caller) -> Self {
        Self { caller, later: Vec::new(), returned: Vec::new() }
    }

    /// Begins stories at a rate, and goes on with those begun, until it is told to finish.
    pub(super) fn work(mut self, a_second: f64) {
        let every = Duration::from_secs_f64(1.0 / a_second.max(0.01));
        let mut next = Instant::now() + every.mul_f64(self.caller.random.below(1_000) as f64 / 1_000.0);
        while !self.caller.world.finishing() {
            let done = if next <= Instant::now() {
                // After a pause nobody makes up for what was not begun.
                next = (next + every).max(Instant::now());
                self.story()
            } else {
                self.go_on()
            };
            if done.is_err() {
                return;
            }
        }
    }

    /// Whatever is due; else a little sleep.
    pub(super) fn go_on(&mut self) -> Result<(), Over> {
        let now = Instant::now();
        let Some(at) = self.later.iter().position(|later| later.due <= now) else {
            std::thread::sleep(Duration::from_millis(2));
            return Ok(());
        };
        let Later { what, season, .. } = self.later.swap_remove(at);
        match what {
            What::Confirm(held) => self.confirm(&season, &held),
            What::Release(held) => self.step(&held, "release"),
            What::Ask { place, user, offer, asks } => self.ask(&season, place, user, offer, asks),
        }
    }

    fn story(&mut self) -> Result<(), Over> {
        let season = self.caller.world.season();
        let shelf = Shelf::choose(&mut self.caller.random);
        let user = self.caller.world.new_user();
        self.buy(&season, shelf, &user, None)?;
        if self.returned.len() >= 4 {
            let id = self.returned.remove(0);
            let restock = self.caller.random.chance(0.5);
            take_back(&mut self.caller, &id, restock)?;
        }
        Ok(())
    }

    /// Claims, and perhaps decides what follows.
    pub(super) fn buy(&mut self, season: &Arc<Season>, shelf: Shelf, user: &str, pass: Option<&str>) -> Result<(), Over> {
        let offer = season.offer(shelf);
        let quantity = match shelf {
            Shelf::Stay => 2,
            Shelf::Goods => 1 + self.caller.random.below(2),
            _ => 1,
        };
        let key = format!("k-{user}");
        let Some(answer) = self.claim(&offer, user, &key, quantity, pass)? else {
            return if shelf == Shelf::Flash { self.stand_by(season, &offer, user) } else { Ok(()) };
        };
        match self.caller.random.below(100) {
            0..10 => self.again(&offer, user, &key, quantity, pass, &answer)?,
            10..13 => self.other_body(&offer, user, &key, quantity, pass)?,
            13..23 if shelf == Shelf::Coupon => self.second_click(&offer, user)?,
            23..30 => self.read(user, &answer)?,
            _ => {}
        }
        if answer["status"] == "held" {
            self.decide(season, shelf, &answer, user);
        }
        Ok(())
    }

    fn claim(&mut self, offer: &str, user: &str, key: &str, quantity: u64, pass: Option<&str>) -> Result<Option<Value>, Over> {
        self.caller.world.book().asks(offer, key);
        let reply = self.caller.insist(&claim_call(offer, user, key, quantity, pass))?;
        let mut book = self.caller.world.book();
        match reply.status {
            201 => {
                let answer = reply.json();
                book.told(Some(key), reply.replayed, &answer);
                Ok(Some(answer))
            }
            409 | 400 => {
                book.refused(offer, key);
                Ok(None)
            }
            // The pass of somebody whose line ended meanwhile, or an offer that was taken away.
            401 | 403 | 404 => {
                book.refused(offer, key);
                book.count("too late for the offer");
                Ok(None)
            }
            _ => {
                book.find(format!("a claim of {offer} with {key}: {}", reply.refusal()));
                Ok(None)
            }
        }
    }

    /// The same key and body: the same answer.
    fn again(&mut self, offer: &str, user: &str, key: &str, quantity: u64, pass: Option<&str>, first: &Value) -> Result<(), Over> {
        let reply = self.caller.insist(&claim_call(offer, user, key, quantity, pass))?;
        let mut book = self.caller.world.book();
        book.count("keys asked again");
        if (reply.status, reply.replayed) != (201, true) || reply.json()["id"] != first["id"] {
            book.find(format!("{key} of {offer} gave {} and then {}: {}", first["id"], reply.status, String::from_utf8_lossy(&reply.body)));
        }
        Ok(())
    }

    /// The same key with another body is refused.
    fn other_body(&mut self, offer: &str, user: &str, key: &str, quantity: u64, pass: Option<&str>) -> Result<(), Over> {
        let reply = self.caller.insist(&claim_call(offer, user, key, quantity + 1, pass))?;
        let mut book = self.caller.world.book();
        book.count("keys with another body");
        if reply.status != 422 {
            book.find(format!("{key} of {offer} with another body: {}", reply.refusal()));
        }
        Ok(())
    }

    /// A second key of who has all that one may have is refused.
    fn second_click(&mut self, offer: &str, user: &str) -> Result<(), Over> {
        if let Some(answer) = self.claim(offer, user, &format!("k2-{user}"), 1, None)? {
            self.caller.world.book().find(format!("{user} has a second coupon of {offer}: {}", answer["id"]));
        }
        Ok(())
    }

    fn read(&mut self, user: &str, answer: &Value) -> Result<(), Over> {
        let path = format!("/v1/claims/{}", answer["id"].as_str().unwrap_or_default());
        let reply = self.caller.insist(&Call::new("GET", path.as_str(), None).of(user))?;
        let mut book = self.caller.world.book();
        match reply.status {
            200 => book.told(None, false, &reply.json()),
            _ => book.find(format!("{path}, which was told, cannot be read: {}", reply.refusal())),
        }
        Ok(())
    }

    /// Pays, fails, goes away, or comes too late.
    fn decide(&mut self, season: &Arc<Season>, shelf: Shelf, answer: &Value, user: &str) {
        let (Some(id), Some(expires_ms)) = (answer["id"].as_str(), time(&answer["hold_expires_at"])) else {
            return self.caller.world.book().find(format!("a hold without a deadline: {answer}"));
        };
        let held = Held { id: id.into(), user: user.into(), offer: season.offer(shelf), shelf, expires_ms };
        let left = Duration::from_millis((expires_ms - unix_ms()).max(0) as u64);
        let soon = left.mul_f64(self.caller.random.below(500) as f64 / 1_000.0);
        let leaves = if shelf == Shelf::Flash { 40 } else { 12 };
        let (due, what) = match self.caller.random.below(100) {
            n if n < leaves => return,
            n if n < leaves + 12 => (soon, What::Release(held)),
            n if n < leaves + 18 => (left + Duration::from_millis(1_500), What::Confirm(held)),
            _ => (soon, What::Confirm(held)),
        };
        self.later.push(Later { due: Instant::now() + due, what, season: season.clone() });
    }

    fn confirm(&mut self, season: &Arc<Season>, held: &Held) -> Result<(), Over> {
        let began_ms = unix_ms();
        let path = format!("/v1/claims/{}/confirm", held.id);
        let call = Call::new("POST", path.as_str(), Some(json!({}))).operator();
        let reply = self.caller.insist(&call)?;
        let ended_ms = unix_ms();
        if reply.status != 200 {
            return self.not_held(held, &reply, (ended_ms < held.expires_ms - DEADLINE_SPARE_MS).then_some("before its deadline"));
        }
        let answer = reply.json();
        {
            let mut book = self.caller.world.book();
            book.told(None, false, &answer);
            if began_ms > held.expires_ms + DEADLINE_SPARE_MS {
                book.find(format!("{} was confirmed {} ms after its deadline", held.id, began_ms - held.expires_ms));
            }
            for granted in answer["granted"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                book.granted(&season.thanks(), granted, &held.user);
            }
            book.count("confirmed");
        }
        if self.caller.random.chance(0.05) {
            let again = self.caller.insist(&call)?;
            let same = again.status == 200 && again.json()["granted"] == answer["granted"];
            let mut book = self.caller.world.book();
            book.count("confirmations repeated");
            // Somebody may have taken it back meanwhile; this one's own buyers have not.
            if !same {
                book.find(format!("{} confirmed again: {}", held.id, String::from_utf8_lossy(&again.body)));
            }
        }
        if held.shelf != Shelf::Stay && self.caller.random.below(RETURNABLE_ONE_IN) == 0 {
            self.returned.push(held.id.clone());
        }
        Ok(())
    }

    fn step(&mut self, held: &Held, step: &str) -> Result<(), Over> {
        let path = format!("/v1/claims/{}/{step}", held.id);
        let reply = self.caller.insist(&Call::new("POST", path.as_str(), Some(json!({}))).of(&held.user))?;
        if reply.status != 200 {
            let early = (unix_ms() < held.expires_ms - DEADLINE_SPARE_MS).then_some("before its deadline");
            return self.not_held(held, &reply, early);
        }
        let mut book = self.caller.world.book();
        book.told(None, false, &reply.json());
        book.count("released");
        Ok(())
    }

    /// Confirming or releasing was refused: right if the deadline has passed.
    fn not_held(&self, held: &Held, reply: &crate::client::Reply, wrong: Option<&str>) -> Result<(), Over> {
        let mut book = self.caller.world.book();
        let code = reply.json()["code"].as_str().unwrap_or_default().to_string();
        match (reply.status, code.as_str(), wrong) {
            (409, "deadline_passed" | "not_held", None) => book.count("came after the deadline"),
            // Its offer was taken away after all of its holds had ended.
            (404, "unknown_claim" | "unknown_offer", None) => book.count("too late for the offer"),
            _ => book.find(format!("{} of {}: {} {}", held.id, held.offer, reply.refusal(), wrong.unwrap_or_default())),
        }
        Ok(())
    }

    /// Sold out: waits for what comes back.
    fn stand_by(&mut self, season: &Arc<Season>, offer: &str, user: &str) -> Result<(), Over> {
        let reply = self.caller.insist(&Call::new("POST", format!("/v1/offers/{offer}/standby"), Some(json!({"quantity": 1}))).of(user))?;
        let place = reply.json();
        match (reply.status, place["id"].as_str()) {
            (201, Some(id)) => {
                self.caller.world.book().count("places on standby");
                let what = What::Ask { place: id.into(), user: user.into(), offer: offer.into(), asks: 0 };
                self.later.push(Later { due: Instant::now() + STANDBY_EVERY, what, season: season.clone() });
            }
            (400 | 404 | 409, _) => self.caller.world.book().count("standby refused"),
            _ => self.caller.world.book().find(format!("standby of {offer}: {}", reply.refusal())),
        }
        Ok(())
    }

    fn ask(&mut self, season: &Arc<Season>, place: String, user: String, offer: String, asks: u8) -> Result<(), Over> {
        let path = format!("/v1/standby/{place}");
        if asks >= STANDBY_ASKS_MAX {
            let reply = self.caller.insist(&Call::new("DELETE", path.as_str(), None).of(&user))?;
            if !matches!(reply.status, 204 | 404 | 409) {
                self.caller.world.book().find(format!("leaving standby {place}: {}", reply.refusal()));
            }
            return Ok(());
        }
        let reply = self.caller.insist(&Call::new("GET", path.as_str(), None).of(&user))?;
        let answer = reply.json();
        match (reply.status, answer["status"].as_str(), answer["claim"].as_str()) {
            (200, Some("served"), Some(claim)) => self.served(season, claim, &user),
            (200, Some("waiting"), _) => {
                let what = What::Ask { place, user, offer, asks: asks + 1 };
                self.later.push(Later { due: Instant::now() + STANDBY_EVERY, what, season: season.clone() });
                Ok(())
            }
            (200, ..) | (404, ..) => Ok(()),
            _ => {
                self.caller.world.book().find(format!("standby {place} of {offer}: {}", reply.refusal()));
                Ok(())
            }
        }
    }

    fn served(&mut self, season: &Arc<Season>, claim: &str, user: &str) -> Result<(), Over> {
        let reply = self.caller.insist(&Call::new("GET", format!("/v1/claims/{claim}"), None).of(user))?;
        let answer = reply.json();
        let mut book = self.caller.world.book();
        match reply.status {
            200 => {
                book.told(None, false, &answer);
                book.count("served from standby");
            }
            404 => book.count("too late for the offer"),
            _ => book.find(format!("{claim}, which standby brought: {}", reply.refusal())),
        }
        drop(book);
        if answer["status"] == "held" {
            self.decide(season, Shelf::Flash, &answer, user);
        }
        Ok(())
    }
}

fn claim_call<'a>(offer: &str, user: &'a str, key: &'a str, quantity: u64, pass: Option<&'a str>) -> Call<'a> {
    let body = json!({"quantity": quantity, "attributes": {"of": user}});
    let call = Call::new("POST", format!("/v1/offers/{offer}/claims"), Some(body)).of(user);
    Call { idempotency_key: Some(key), pass, ..call }
}
