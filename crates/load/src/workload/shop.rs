//! Claims: taken, and where they are held, left alone, paid for or given back, as in the goods drop of the source documents.
//!
//! Every beginning is a new buyer with a number of its own, whoever plays it. A claim whose answer was lost is asked for again
//! with the same key, and a confirmation again as it is: the contract says that this is safe, and the judge looks whether it was.

use super::{Moment, Next, Step, UNANSWERED_RETRY_US, post, problem_code, retry_us, write_number};
use crate::driver::response::Answer;
use crate::meter::{Meter, Outcome};
use crate::random::Random;
use crate::record::{Call, Claim, ClaimState, Offer};
use serde::Deserialize;

/// A buyer who was told so often to come back later gives up.
const TRIES_MAX: u8 = 100;
const NO_CLAIM: u32 = u32::MAX;

/// What buyers do.
#[derive(Clone, Debug)]
pub struct Trade {
    /// In front of every user's name and key, so that two runs do not meet.
    pub tag: String,
    /// Units of one claim.
    pub quantity: u32,
    /// Claims one user sends at once: 2 is an impatient second click. Of every other user both have the same key.
    pub clicks: u32,
    /// Of held claims: probability that the buyer goes away and leaves it to expire.
    pub leave: f64,
    /// Of those who pay: probability that the payment fails, so that the claim is given back.
    pub fail: f64,
    /// Whether held claims are paid for at all.
    pub pays: bool,
    /// Paying takes up to this.
    pub pay_us: u64,
    /// What confirms: a service's or an admin's key.
    pub key: Option<String>,
    /// Sent along with each claim: a JSON object.
    pub attributes: Option<String>,
    /// Whether claims are remembered. A benchmark of claims has no use for them.
    pub remembers: bool,
}

/// Buyers, and the offers they buy from in turns.
pub struct Shop {
    trade: Trade,
    offers: Vec<Offer>,
    /// How many of the offers, from the front, buyers choose from. Those behind are only granted.
    sold: usize,
    claim_heads: Vec<Vec<u8>>,
    claim_body: Vec<u8>,
    host: String,
    random: Random,
    buyers: Vec<Buyer>,
    begun: u32,
}

#[derive(Clone, Copy)]
struct Buyer {
    number: u32,
    claim: u32,
    state: State,
    tries: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Claiming,
    Confirming,
    Releasing,
    Away,
}

#[derive(Deserialize)]
struct ClaimAnswer<'a> {
    id: &'a str,
    quantity: u32,
    status: &'a str,
    #[serde(borrow, default)]
    granted: Vec<&'a str>,
}

impl Shop {
    /// A shop without buyers yet. Of `offers`, the first `sold` are claimed; the others are what these may grant.
    #[must_use]
    pub fn new(host: &str, offers: Vec<Offer>, sold: usize, trade: Trade, random: Random) -> Self {
        let head =
            |offer: &Offer| format!("POST /v1/offers/{}/claims HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n", offer.id);
        let attributes = trade.attributes.as_ref().map(|json| format!(",\"attributes\":{json}")).unwrap_or_default();
        Self {
            claim_heads: offers[..sold].iter().map(|offer| head(offer).into_bytes()).collect(),
            claim_body: format!("{{\"quantity\":{}{attributes}}}", trade.quantity).into_bytes(),
            host: host.into(),
            trade,
            offers,
            sold,
            random,
            buyers: Vec::new(),
            begun: 0,
        }
    }

    /// See [`super::Crowd::begin`].
    pub fn begin(&mut self, user: u32, now_us: u64) -> u64 {
        let buyer = Buyer { number: self.begun, claim: NO_CLAIM, state: State::Claiming, tries: 0 };
        self.begun += 1;
        if user as usize >= self.buyers.len() {
            self.buyers.resize(user as usize + 1, Buyer { state: State::Away, ..buyer });
        }
        self.buyers[user as usize] = buyer;
        now_us
    }

    /// See [`super::Crowd::request`]; with a pass where the offer's zone needs one.
    pub fn request(&mut self, user: u32, pass: Option<&str>, out: &mut Vec<u8>) -> Call {
        let buyer = self.buyers[user as usize];
        match buyer.state {
            State::Claiming | State::Away => {
                self.write_claim(buyer, pass, out);
                Call::Claim
            }
            State::Confirming => {
                self.write_step(buyer, "confirm", out);
                Call::Confirm
            }
            State::Releasing => {
                self.write_step(buyer, "release", out);
                Call::Release
            }
        }
    }

    /// See [`super::Crowd::answered`].
    pub fn answered<'a>(&mut self, user: u32, moment: Moment, answer: &Answer<'a>, meter: &mut Meter) -> Step<'a> {
        let state = self.buyers[user as usize].state;
        match (answer.status, state) {
            (200 | 201, State::Claiming) if !self.trade.remembers => {
                meter.claimed();
                Step { outcome: Outcome::Good, next: Next::Done }
            }
            (200 | 201, _) => match serde_json::from_slice::<ClaimAnswer<'a>>(answer.body) {
                Ok(claim) if state == State::Claiming => self.taken(user, moment, &claim, answer.replayed, meter),
                Ok(claim) => self.stepped(user, &claim),
                Err(_) => Step { outcome: Outcome::Failed("unreadable"), next: Next::Done },
            },
            (429 | 500.., _) => self.later(user, moment, answer),
            _ => self.refused(user, answer),
        }
    }

    /// See [`super::Crowd::unanswered`].
    pub fn unanswered(&mut self, user: u32, now_us: u64, _meter: &mut Meter) -> Next {
        let buyer = &mut self.buyers[user as usize];
        buyer.tries = buyer.tries.saturating_add(1);
        let tired = buyer.tries >= TRIES_MAX;
        let buyer = *buyer;
        if let Some(claim) = self.claim_of(buyer) {
            claim.state = ClaimState::Unknown;
        }
        if tired { Next::Done } else { Next::At(now_us + UNANSWERED_RETRY_US) }
    }

    /// What the record has of it.
    #[must_use]
    pub fn finish(self) -> Vec<Offer> {
        self.offers
    }

    fn offer_index(&self, buyer: Buyer) -> usize {
        (buyer.number / self.trade.clicks) as usize % self.sold
    }

    fn claim_of(&mut self, buyer: Buyer) -> Option<&mut Claim> {
        let offer = self.offer_index(buyer);
        self.offers[offer].claims.get_mut(buyer.claim as usize)
    }

    fn write_claim(&self, buyer: Buyer, pass: Option<&str>, out: &mut Vec<u8>) {
        let person = u64::from(buyer.number / self.trade.clicks);
        let click = u64::from(buyer.number % self.trade.clicks);
        out.extend_from_slice(&self.claim_heads[self.offer_index(buyer)]);
        self.write_user(person, out);
        out.extend_from_slice(b"idempotency-key: ");
        out.extend_from_slice(self.trade.tag.as_bytes());
        write_number(out, person);
        // The second click of every other user has a key of its own, as from a client that makes a new one for each attempt.
        if person % 2 == 1 && click > 0 {
            out.push(b'.');
            write_number(out, click);
        }
        out.extend_from_slice(b"\r\n");
        match pass {
            Some(pass) => post(out, b"", &[("bunho-pass", pass.as_bytes())], &[&self.claim_body]),
            None => post(out, b"", &[], &[&self.claim_body]),
        }
    }

    fn write_user(&self, person: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"x-bunho-user: ");
        out.extend_from_slice(self.trade.tag.as_bytes());
        write_number(out, person);
        out.extend_from_slice(b"\r\n");
    }

    fn write_step(&self, buyer: Buyer, step: &str, out: &mut Vec<u8>) {
        let offer = &self.offers[self.offer_index(buyer)];
        let id = offer.claims.get(buyer.claim as usize).map_or("", |claim| claim.id.as_str());
        for part in ["POST /v1/claims/", id, "/", step, " HTTP/1.1\r\nhost: ", &self.host, "\r\ncontent-type: application/json\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        match &self.trade.key {
            Some(key) if step == "confirm" => {
                for part in ["authorization: Bearer ", key, "\r\n"] {
                    out.extend_from_slice(part.as_bytes());
                }
            }
            _ => self.write_user(u64::from(buyer.number / self.trade.clicks), out),
        }
        post(out, b"", &[], &[b"{}"]);
    }

    fn taken<'a>(&mut self, user: u32, moment: Moment, claim: &ClaimAnswer<'a>, replayed: bool, meter: &mut Meter) -> Step<'a> {
        let buyer = self.buyers[user as usize];
        let person = buyer.number / self.trade.clicks;
        let offer = self.offer_index(buyer);
        let state = state_of(claim.status);
        let claims = &mut self.offers[offer].claims;
        let index = claims.len() as u32;
        claims.push(Claim { id: claim.id.into(), user: person, quantity: claim.quantity, answered_ms: moment.now_ms(), replayed, state });
        if !replayed {
            meter.claimed();
        }
        self.granted(person, &claim.granted);
        let next = if state == ClaimState::Held && self.trade.pays { self.pays(user, index, moment) } else { Next::Done };
        Step { outcome: Outcome::Good, next }
    }

    fn pays(&mut self, user: u32, claim: u32, moment: Moment) -> Next {
        let buyer = &mut self.buyers[user as usize];
        (buyer.claim, buyer.tries) = (claim, 0);
        if self.random.chance(self.trade.leave) {
            buyer.state = State::Away;
            return Next::Done;
        }
        buyer.state = if self.random.chance(self.trade.fail) { State::Releasing } else { State::Confirming };
        Next::At(moment.now_us + if self.trade.pay_us == 0 { 0 } else { self.random.below(self.trade.pay_us) })
    }

    fn stepped<'a>(&mut self, user: u32, answer: &ClaimAnswer<'a>) -> Step<'a> {
        let buyer = self.buyers[user as usize];
        let state = state_of(answer.status);
        if let Some(claim) = self.claim_of(buyer) {
            claim.state = state;
        }
        if state == ClaimState::Confirmed {
            self.granted(buyer.number / self.trade.clicks, &answer.granted);
        }
        self.buyers[user as usize].state = State::Away;
        Step { outcome: Outcome::Good, next: Next::Done }
    }

    /// Coupons that a confirmation gave, noted with the offer they are of. A confirmation that is repeated names them again.
    fn granted(&mut self, person: u32, ids: &[&str]) {
        let Some(offer) = self.offers.get_mut(self.sold) else { return };
        for id in ids {
            offer.granted.push((person, (*id).to_string()));
        }
    }

    fn refused<'a>(&mut self, user: u32, answer: &Answer<'a>) -> Step<'a> {
        let code = problem_code(answer);
        let buyer = self.buyers[user as usize];
        let expected = match buyer.state {
            State::Claiming => matches!(code, "sold_out" | "limit_reached" | "closed"),
            _ => code == "deadline_passed",
        };
        if let Some(claim) = self.claim_of(buyer) {
            claim.state = ClaimState::Unknown;
        }
        self.buyers[user as usize].state = State::Away;
        Step { outcome: if expected { Outcome::Refused(code) } else { Outcome::Failed(code) }, next: Next::Done }
    }

    fn later<'a>(&mut self, user: u32, moment: Moment, answer: &Answer<'a>) -> Step<'a> {
        let buyer = &mut self.buyers[user as usize];
        buyer.tries = buyer.tries.saturating_add(1);
        let next = if buyer.tries >= TRIES_MAX { Next::Done } else { Next::At(moment.now_us + retry_us(answer)) };
        Step { outcome: Outcome::Failed(problem_code(answer)), next }
    }
}

fn state_of(status: &str) -> ClaimState {
    match status {
        "held" => ClaimState::Held,
        "confirmed" => ClaimState::Confirmed,
        "released" => ClaimState::Released,
        _ => ClaimState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop(clicks: u32) -> Shop {
        let offer = |id: &str| Offer {
            id: id.into(),
            quantity: 10,
            per_user_limit: None,
            hold_ms: 1_000,
            claims: Vec::new(),
            before: None,
            after: None,
            granted: Vec::new(),
            reread: Vec::new(),
        };
        let trade = Trade {
            tag: "r-".into(),
            quantity: 2,
            clicks,
            leave: 0.0,
            fail: 0.0,
            pays: true,
            pay_us: 0,
            key: Some("bk".into()),
            attributes: Some("{\"a\":1}".into()),
            remembers: true,
        };
        Shop::new("h", vec![offer("stay"), offer("thanks")], 1, trade, Random::new(1))
    }

    fn request(shop: &mut Shop, user: u32) -> String {
        let mut out = Vec::new();
        shop.request(user, None, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    fn hear(shop: &mut Shop, status: u16, replayed: bool, body: &str) -> Next {
        let answer = Answer { status, retry_after_s: Some(2), replayed, close: false, body: body.as_bytes() };
        shop.answered(0, Moment { sent_us: 1_000, now_us: 2_000 }, &answer, &mut Meter::default()).next
    }

    #[test]
    fn a_lost_answer_is_asked_for_again_with_the_same_key() {
        let mut shop = shop(1);
        shop.begin(0, 0);
        let first = request(&mut shop, 0);
        assert!(first.starts_with("POST /v1/offers/stay/claims HTTP/1.1\r\nhost: h\r\n"), "{first}");
        assert!(
            first.contains("x-bunho-user: r-0\r\nidempotency-key: r-0\r\n") && first.ends_with("{\"quantity\":2,\"attributes\":{\"a\":1}}")
        );
        assert_eq!(shop.unanswered(0, 1_000, &mut Meter::default()), Next::At(501_000));
        assert_eq!(request(&mut shop, 0), first);
        assert_eq!(hear(&mut shop, 503, false, "{\"code\":\"overloaded\"}"), Next::At(2_002_000));
        assert_eq!(request(&mut shop, 0), first);
        assert_eq!(hear(&mut shop, 201, true, r#"{"id":"c1","quantity":2,"status":"held","granted":[]}"#), Next::At(2_000));
        let confirm = request(&mut shop, 0);
        assert!(
            confirm.starts_with("POST /v1/claims/c1/confirm HTTP/1.1\r\n") && confirm.contains("authorization: Bearer bk\r\n"),
            "{confirm}"
        );
        // Nothing sure is known of the claim until the confirmation is answered.
        shop.unanswered(0, 1_000, &mut Meter::default());
        assert_eq!(shop.offers[0].claims[0].state, ClaimState::Unknown);
        assert_eq!(request(&mut shop, 0), confirm);
        assert_eq!(hear(&mut shop, 200, false, r#"{"id":"c1","quantity":2,"status":"confirmed","granted":["g1"]}"#), Next::Done);
        let offers = shop.finish();
        assert_eq!((offers[0].claims.len(), offers[0].claims[0].replayed, offers[0].claims[0].state), (1, true, ClaimState::Confirmed));
        assert_eq!(offers[1].granted, [(0, "g1".to_string())]);
    }

    #[test]
    fn second_clicks_have_the_same_key_for_every_other_user() {
        let mut shop = shop(2);
        let keys: Vec<String> = (0..4)
            .map(|_| {
                shop.begin(0, 0);
                let request = request(&mut shop, 0);
                request.lines().filter(|line| line.starts_with("x-b") || line.starts_with("ide")).collect::<Vec<_>>().join(" ")
            })
            .collect();
        let wanted = ["0 idempotency-key: r-0", "0 idempotency-key: r-0", "1 idempotency-key: r-1", "1 idempotency-key: r-1.1"];
        assert_eq!(keys, wanted.map(|rest| format!("x-bunho-user: r-{rest}")));
    }
}
