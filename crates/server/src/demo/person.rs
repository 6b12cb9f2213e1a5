//! One of a crowd: waits, perhaps slips away, enters, looks around, perhaps takes a pair or two, pays or does not, and leaves. Everything is a call of the
//! public API, and everything is given back in the end: a person who is told to stop ends what is under way first.

use super::api::{Api, name};
use super::housekeeping::take_back;
use super::samples::{SHOP_OFFER, SHOP_ZONE};
use super::{Demo, api::Reply};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use bunho_domain::ids::{ClaimId, UserId};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Where somebody is. The letter is what the page is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Whereabouts {
    /// Not here yet.
    Coming = b'.',
    /// In the line.
    Waiting = b'w',
    /// Has stopped asking without a word, as people do who close a tab.
    Silent = b's',
    /// Has left the line.
    Left = b'l',
    /// In the shop.
    Inside = b'i',
    /// Has paid.
    Paid = b'p',
    /// Was in the shop and has nothing: did not want, was too late, or could not pay.
    EmptyHanded = b'e',
}

/// What somebody is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Temper {
    /// When they come.
    comes_after: Duration,
    /// Patience, for those who have little, and whether they say good-bye.
    leaves: Option<(Duration, Leaving)>,
    looks_for: Duration,
    wants: Option<u32>,
    at_the_till: Duration,
    till: Till,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    Silently,
    Politely,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Till {
    Pays,
    CardRefused,
    WalksAway,
}

impl Temper {
    /// Draws one from random bits: of a hundred 22 slip away and 6 leave if the line is long; of those who enter 64 want something; of these 60 pay, 20 have
    /// a card that is refused and 20 walk away. So a pair that looked sold comes back now and then.
    pub(super) fn draw(bits: u64, comes_after: Duration) -> Self {
        let mut dice = Dice(bits);
        let seconds = |dice: &mut Dice, from: u64, to: u64| Duration::from_millis(1_000 * from + dice.roll(1_000 * (to - from)));
        let leaves = match dice.roll(100) {
            0..22 => Some((seconds(&mut dice, 4, 50), Leaving::Silently)),
            22..28 => Some((seconds(&mut dice, 6, 60), Leaving::Politely)),
            _ => None,
        };
        let looks_for = seconds(&mut dice, 2, 7);
        let wants = match dice.roll(100) {
            0..40 => Some(1),
            40..64 => Some(2),
            _ => None,
        };
        let till = match dice.roll(10) {
            0..6 => Till::Pays,
            6..8 => Till::CardRefused,
            _ => Till::WalksAway,
        };
        Self { comes_after, leaves, looks_for, wants, at_the_till: seconds(&mut dice, 1, 6), till }
    }
}

/// SplitMix64: enough for tempers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides.max(1)
    }
}

/// One of a crowd.
pub(super) struct Person {
    pub(super) demo: Arc<Demo>,
    pub(super) user: UserId,
    pub(super) temper: Temper,
    /// Read by whoever shows the crowd.
    pub(super) shown: Arc<[AtomicU8]>,
    pub(super) number: usize,
    /// Turns true when the crowd goes home.
    pub(super) stop: watch::Receiver<bool>,
}

/// Told to stop while waiting for something.
struct Stopped;

/// Tries of a call that had no good answer, a second apart.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

impl Person {
    pub(super) async fn live(mut self) {
        if self.pause(self.temper.comes_after).await.is_err() {
            return;
        }
        let Some((token, mut answer)) = self.join().await else { return self.show(Whereabouts::Left) };
        let pass = loop {
            if let Some(pass) = answer["pass"].as_str() {
                break Some(pass.to_owned());
            }
            let Ok(Some(next)) = self.wait(&token, &answer).await else { break None };
            answer = next;
        };
        let claim = match pass {
            Some(pass) => {
                self.show(Whereabouts::Inside);
                self.shop(&pass).await
            }
            None => None,
        };
        // Whoever slipped away says nothing until the crowd goes home; all others free their place at once.
        if self.is_silent() {
            let _ = self.stop.wait_for(|stop| *stop).await;
        }
        self.demo.api.traffic("leave", &json!({"zoneId": SHOP_ZONE, "token": token})).await;
        let _ = self.stop.wait_for(|stop| *stop).await;
        if let Some(claim) = claim {
            self.give_back(claim).await;
        }
    }

    async fn join(&mut self) -> Option<(String, Value)> {
        let body = json!({"zoneId": SHOP_ZONE, "clientAgent": "DEMO", "key": self.user.as_str()});
        let answer = self.tried("wait", &body).await?.json();
        self.show(Whereabouts::Waiting);
        Some((answer["token"].as_str()?.to_owned(), answer))
    }

    /// Waits for the next poll and makes it. None: the place is gone or given up.
    async fn wait(&mut self, token: &str, answer: &Value) -> Result<Option<Value>, Stopped> {
        let period = Duration::from_millis(answer["waiting"]["pollingPeriod"].as_u64().unwrap_or(1_000));
        match self.temper.leaves {
            Some((patience, leaving)) if patience <= period => {
                self.pause(patience).await?;
                self.show(if leaving == Leaving::Silently { Whereabouts::Silent } else { Whereabouts::Left });
                return Ok(None);
            }
            Some((patience, leaving)) => self.temper.leaves = Some((patience - period, leaving)),
            None => {}
        }
        self.pause(period).await?;
        let polled = self.tried("entry", &json!({"zoneId": SHOP_ZONE, "token": token})).await;
        if polled.is_none() {
            self.show(Whereabouts::Left);
        }
        Ok(polled.map(|reply| reply.json()))
    }

    /// A call of the line, tried again while the server asks for it.
    async fn tried(&mut self, call: &str, body: &Value) -> Option<Reply> {
        for _ in 0..TRIES {
            let reply = self.demo.api.traffic(call, body).await;
            if reply.status == StatusCode::OK {
                return Some(reply);
            }
            let may_pass = reply.status.is_server_error() || reply.status == StatusCode::TOO_MANY_REQUESTS;
            if !may_pass || self.pause(PAUSE).await.is_err() {
                return None;
            }
        }
        None
    }

    /// In the shop: the claim that is left to give back.
    async fn shop(&mut self, pass: &str) -> Option<ClaimId> {
        let looked = self.pause(self.temper.looks_for).await;
        let (Ok(()), Some(quantity)) = (looked, self.temper.wants) else {
            self.show(Whereabouts::EmptyHanded);
            return None;
        };
        let mut headers = HeaderMap::new();
        headers.extend(HeaderValue::try_from(pass).ok().map(|pass| (name("bunho-pass"), pass)));
        headers.insert(name("idempotency-key"), HeaderValue::from_static("first"));
        let path = format!("/v1/offers/{SHOP_OFFER}/claims");
        let taken = self.demo.api.for_user(&self.user, Method::POST, &path, headers, Some(Api::quantity(quantity))).await;
        let claim = taken.json()["id"].as_str().and_then(|id| ClaimId::parse(id).ok());
        let stopped = claim.is_some() && self.pause(self.temper.at_the_till).await.is_err();
        let paid = match (claim, self.temper.till) {
            (Some(claim), Till::Pays) if !stopped => self.settle(claim, "confirm").await,
            (Some(claim), Till::CardRefused) => {
                self.settle(claim, "release").await;
                false
            }
            _ => false,
        };
        self.show(if paid { Whereabouts::Paid } else { Whereabouts::EmptyHanded });
        claim
    }

    /// A hold is let go, a purchase taken back; of what is neither nothing is left.
    async fn give_back(&self, claim: ClaimId) {
        if !self.settle(claim, "release").await {
            take_back(&self.demo, claim).await;
        }
    }

    async fn settle(&self, claim: ClaimId, verb: &str) -> bool {
        let path = format!("/v1/claims/{claim}/{verb}");
        let reply = self.demo.api.for_user(&self.user, Method::POST, &path, HeaderMap::new(), Some("{}".into())).await;
        reply.status.is_success()
    }

    fn show(&self, whereabouts: Whereabouts) {
        self.shown[self.number].store(whereabouts as u8, Ordering::Relaxed);
    }

    fn is_silent(&self) -> bool {
        self.shown[self.number].load(Ordering::Relaxed) == Whereabouts::Silent as u8
    }

    /// Lets time pass, or ends when the crowd goes home.
    async fn pause(&mut self, time: Duration) -> Result<(), Stopped> {
        let until = Instant::now() + time;
        tokio::select! {
            () = tokio::time::sleep_until(until) => Ok(()),
            _ = self.stop.wait_for(|stop| *stop) => Err(Stopped),
        }
    }
}
