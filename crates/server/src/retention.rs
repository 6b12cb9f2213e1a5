//! People who are forgotten by themselves, once everything that they had in an offer is old: `retention.forget_after_days`.
//!
//! An offer that closed or was deleted so many days ago is gone through, and whoever has claims or standby in it is forgotten *in it*, exactly as
//! `bunho forget` does (`forget.rs`): what they have in other offers stays theirs until those are old too. What names a person beside that (the audit
//! log, messages that were given up) goes with the last of it, and *before* the last of it: afterwards nobody knows by what name to look. For the
//! same reason somebody whom a parked event or a message that still waits names is kept back until it is mended or delivered.
//!
//! Files are wiped once for a whole sweep. That it is due is written down before anything is overwritten, so a sweep that was cut off anywhere is
//! finished by the next one, and all of it can be repeated.
//!
//! On a cluster one node does it at a time, for as long as the database's clock says. That is politeness: two would find what the other left.

use crate::app::{App, Record};
use crate::commands::serve::caught_up;
use crate::config::Shape;
use crate::exit::chain;
use crate::forget::{self, ForgetError, OfOffer, Stores};
use bunho_domain::claim::Status;
use bunho_domain::ids::{StandbyId, UserId};
use bunho_domain::time::Millis;
use bunho_engine::EngineError;
use bunho_journal::{Audit, crash_point};
use bunho_ledger::{EndedOffer, Known};
use futures_util::future::try_join_all;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

/// How often it is looked who is to be forgotten. Days are counted, so hours late is early.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// After something failed.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// People that one sweep looks at, give or take a batch; the next one goes on. A file is written anew once for so many.
const SWEEP_PEOPLE: usize = 10_000;
/// Claims, or places on standby, that are read at once, and so people at most who are looked for together.
const BATCH: u32 = 1_000;
/// People under way at once, who share a sync of the journal. So few that a crowd's claims do not wait for them.
const AT_ONCE: usize = 16;
/// How long a node has the doing of it without saying so again, which it does with each batch: seconds.
const LEASE: Duration = Duration::from_secs(600);

/// How long a server that stops waits for the ledger to take it back.
const LET_GO_WITHIN: Duration = Duration::from_secs(2);

static FORGOTTEN: AtomicU64 = AtomicU64::new(0);

/// Claims that were given a pseudonym here since the start.
pub(crate) fn claims_forgotten() -> u64 {
    FORGOTTEN.load(Ordering::Relaxed)
}

/// Looks when the server starts and then every hour, until it stops. Cut off anywhere it goes on at the next start.
pub(crate) async fn follow(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut sweeper = Sweeper { app, done: HashMap::new(), next: (0, Turn::FIRST), holds: false };
    loop {
        let swept = tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => break,
            swept = sweeper.look() => swept,
        };
        let pause = match &swept {
            Ok(()) => LOOK_EVERY,
            Err(error) => {
                tracing::error!(error = chain(error), "people of ended offers could not be forgotten; it is tried again in a minute");
                AGAIN_AFTER
            }
        };
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    // In vain where the ledger does not answer: others take it over in minutes.
    let _ = timeout(LET_GO_WITHIN, sweeper.let_go()).await;
}

/// What one node remembers between two looks.
struct Sweeper {
    app: Arc<App>,
    /// Offers, with the revision of their settings, in which nobody is left. One that is edited is looked at again.
    done: HashMap<u32, i64>,
    /// The offer, and where in it, from which the next sweep goes on, so that nobody who is kept back keeps those behind them waiting.
    next: (u32, Turn),
    /// Of a cluster: this node is the one that does it.
    holds: bool,
}

/// Where a sweep is in an offer: with those who have claims from this one on, and then with those who have places on standby after this one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Claims(u32),
    Places(Option<StandbyId>),
}

impl Turn {
    const FIRST: Self = Self::Claims(0);
}

/// What one sweep did.
#[derive(Default)]
struct Swept {
    offers: u32,
    looked_at: usize,
    people: u64,
    claims: u64,
    standby: u64,
    noted: u64,
    /// In which offer, and who: whoever has claims and places in one is met twice.
    kept_back: HashSet<(u32, UserId)>,
    /// It is written down that files are to be wiped.
    is_due: bool,
}

impl Sweeper {
    /// One sweep, where there is something to do and nobody else does it.
    async fn look(&mut self) -> Result<(), ForgetError> {
        let app = self.app.clone();
        let days = app.live().forget_after_days;
        if days == 0 || !self.hold().await? {
            return Ok(());
        }
        let began = Instant::now();
        caught_up(&app.engine).await?;
        let before = app.engine.now().plus_ms(-i64::from(days) * MS_PER_DAY);
        let was_due = app.ledger.wipe_due().await?;
        let mut swept = Swept { is_due: was_due, ..Swept::default() };
        let goes_on = self.sweep(before, &mut swept).await?;
        crash_point!("retention::decided");
        if was_due || swept.people + swept.noted > 0 {
            self.finish(days, &swept).await?;
        } else if swept.is_due {
            // The engine refused them all.
            app.ledger.set_wipe_due(false).await?;
        }
        if swept.people > 0 || !swept.kept_back.is_empty() {
            let Swept { offers, people, claims, standby, ref kept_back, .. } = swept;
            let (kept_back, seconds) = (kept_back.len(), began.elapsed().as_secs_f64());
            tracing::info!(offers, people, claims, standby, kept_back, goes_on, seconds, "people of ended offers were forgotten");
        }
        self.let_go().await
    }

    /// Goes through offers that ended before then, from where the last sweep stopped. True: there is more.
    async fn sweep(&mut self, before: Millis, swept: &mut Swept) -> Result<bool, ForgetError> {
        let mut offers = self.app.ledger.ended_offers(before).await?;
        let ended: HashSet<u32> = offers.iter().map(|offer| offer.number).collect();
        self.done.retain(|number, _| ended.contains(number));
        let (first, from) = self.next;
        let turn = offers.iter().position(|offer| offer.number >= first).unwrap_or(0);
        offers.rotate_left(turn);
        for offer in &offers {
            if self.done.get(&offer.number) == Some(&offer.revision) || !self.is_over(offer.number, before).await? {
                continue;
            }
            let from = if offer.number == first { from } else { Turn::FIRST };
            let stopped_at = self.sweep_offer(offer, from, &ended, swept).await?;
            if let Some(turn) = stopped_at {
                self.next = (offer.number, turn);
                return Ok(true);
            }
        }
        self.next = (0, Turn::FIRST);
        Ok(false)
    }

    /// Forgets everybody in an offer from there on. Some: as many as one sweep looks at, and here the next one goes on.
    async fn sweep_offer(
        &mut self,
        offer: &EndedOffer,
        from: Turn,
        ended: &HashSet<u32>,
        swept: &mut Swept,
    ) -> Result<Option<Turn>, ForgetError> {
        let (kept_back, people) = (swept.kept_back.len(), swept.people);
        let mut turn = Some(from);
        while let Some(at) = turn {
            if swept.looked_at >= SWEEP_PEOPLE {
                return Ok(Some(at));
            }
            let ledger = &self.app.ledger;
            let some = match at {
                Turn::Claims(claim) => {
                    let (claimers, next) = ledger.claimers(offer.number, claim, BATCH).await?;
                    turn = Some(next.map_or(Turn::Places(None), Turn::Claims));
                    claimers
                }
                // What they had besides places went above, and the places with it.
                Turn::Places(after) => {
                    let (standers, next) = ledger.standers(offer.number, after, BATCH).await?;
                    turn = next.map(|place| Turn::Places(Some(place)));
                    standers
                }
            };
            self.forget_some(offer.number, some, ended, swept).await?;
        }
        swept.offers += u32::from(swept.people > people);
        if from == Turn::FIRST && swept.kept_back.len() == kept_back {
            self.done.insert(offer.number, offer.revision);
        }
        Ok(None)
    }

    /// Forgets these people in an offer, but for those who must be kept back.
    async fn forget_some(
        &mut self,
        number: u32,
        people: HashSet<UserId>,
        ended: &HashSet<u32>,
        swept: &mut Swept,
    ) -> Result<(), ForgetError> {
        if people.is_empty() {
            return Ok(());
        }
        if !self.hold().await? {
            return Err(ForgetError::Inside("another node has taken the forgetting of people over".into()));
        }
        swept.looked_at += people.len();
        let ledger = &self.app.ledger;
        let known = ledger.persons(&people).await?;
        let mut chosen = Vec::new();
        for (user, known) in known {
            match Choice::of(number, known, ended) {
                Choice::KeepBack => drop(swept.kept_back.insert((number, user))),
                Choice::Nothing => {}
                Choice::Forget { of_offer, clear_notes } => chosen.push((user, of_offer, clear_notes)),
            }
        }
        if !chosen.is_empty() && !std::mem::replace(&mut swept.is_due, true) {
            ledger.set_wipe_due(true).await?;
        }
        for (user, ..) in chosen.iter().filter(|(.., clear_notes)| *clear_notes) {
            let notes = ledger.forget_notes(user).await?;
            swept.noted += notes.audit_entries + notes.parked_events + notes.messages;
        }
        crash_point!("retention::noted");
        let stores = self.stores();
        for some in chosen.chunks(AT_ONCE) {
            let forgotten = some.iter().map(|(user, of_offer, _)| forget::forget_in(&stores, user, number, of_offer));
            for ((user, ..), (claims, standby)) in some.iter().zip(try_join_all(forgotten).await?) {
                FORGOTTEN.fetch_add(claims, Ordering::Relaxed);
                swept.claims += claims;
                swept.standby += standby;
                // None: what was closed was opened again, or something is held after all.
                match claims + standby {
                    0 => drop(swept.kept_back.insert((number, user.clone()))),
                    _ => swept.people += 1,
                }
            }
        }
        Ok(())
    }

    /// Notes what was done, and takes what it left behind out of files.
    async fn finish(&self, days: u32, swept: &Swept) -> Result<(), ForgetError> {
        caught_up(&self.app.engine).await?;
        let Swept { offers, people, claims, standby, noted, kept_back, .. } = swept;
        let detail = json!({
            "after_days": days, "offers": offers, "people": people, "claims": claims, "standby": standby, "notes": noted, "kept_back": kept_back.len()
        });
        let audit = Audit {
            actor: "system".into(),
            action: "retention.forget".into(),
            target: "retention".into(),
            detail: Some(detail.to_string()),
            request_id: None,
        };
        // Its commit syncs the ledger, and with it what the journal is trimmed behind.
        self.app.ledger.append_audit(Millis(jiff::Timestamp::now().as_millisecond()), &audit).await?;
        crash_point!("retention::audited");
        // Messages of a topic end by its own retention, of which docs/personal-data.md speaks.
        let left = forget::wipe(&self.stores(), None).await?;
        for left in &left {
            tracing::warn!(
                store = left.store,
                why = left.why,
                "what forgotten people left in files is not all gone; the next sweep goes on"
            );
        }
        if left.is_empty() {
            self.app.ledger.set_wipe_due(false).await?;
        }
        Ok(())
    }

    /// Whether an offer ended before then in the engine's own words, which the ledger may not have yet.
    async fn is_over(&self, number: u32, before: Millis) -> Result<bool, ForgetError> {
        let offer = match self.app.engine.offer_id(number).await {
            Ok(offer) => offer,
            // Deleted: only the ledger has it.
            Err(EngineError::UnknownOffer) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        match self.app.engine.offer(&offer).await {
            Ok((settings, _)) => Ok(settings.closes_at.is_some_and(|closes_at| closes_at <= before)),
            Err(EngineError::UnknownOffer) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this node is the one that does it, from now on for a while.
    async fn hold(&mut self) -> Result<bool, ForgetError> {
        if matches!(self.app.health.record, Record::Journal { .. }) {
            return Ok(true);
        }
        self.holds = self.app.ledger.hold_retention(&self.app.node, LEASE).await?;
        Ok(self.holds)
    }

    async fn let_go(&mut self) -> Result<(), ForgetError> {
        if std::mem::take(&mut self.holds) {
            self.app.ledger.let_retention_go(&self.app.node).await?;
        }
        Ok(())
    }

    fn stores(&self) -> Stores<'_> {
        let retention = match &self.app.config.shape {
            Shape::Embedded => None,
            Shape::Cluster(cluster) => Some(cluster.topic.retention),
        };
        Stores { engine: &self.app.engine, ledger: &self.app.ledger, record: &self.app.health.record, retention }
    }
}

const MS_PER_DAY: i64 = 24 * 3_600 * 1_000;

/// What is to be done about one person in one offer.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// It has to wait.
    KeepBack,
    /// Nothing is left of them in it.
    Nothing,
    /// Forget them, and where it is the last that there is of them, what was noted as well.
    Forget { of_offer: OfOffer, clear_notes: bool },
}

impl Choice {
    fn of(number: u32, known: Known, ended: &HashSet<u32>) -> Self {
        let Known { rows, noted } = known;
        let is_held = rows.claims.iter().any(|(id, status)| id.offer_number() == number && *status == Status::Held);
        let is_named = rows.parked + rows.messages > 0;
        let mut offers = forget::by_offer(rows);
        let Some(of_offer) = offers.remove(&number) else { return Self::Nothing };
        let is_last = offers.keys().all(|other| ended.contains(other));
        if is_held || (is_last && is_named) {
            return Self::KeepBack;
        }
        Self::Forget { of_offer, clear_notes: is_last && noted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bunho_domain::ids::ClaimId;
    use bunho_ledger::PersonRows;

    #[test]
    fn who_is_forgotten_in_an_offer_and_who_is_kept_back() {
        let (old, older, open) = (1, 2, 3);
        let ended = HashSet::from([old, older]);
        let claim = |offer, status| (ClaimId::new(offer, 7, 7), status);
        let check = |claims: Vec<(ClaimId, Status)>, parked, messages, noted| {
            let places = vec![StandbyId::new(old, 1, 1)];
            match Choice::of(old, Known { rows: PersonRows { claims, places, parked, messages }, noted }, &ended) {
                Choice::Forget { of_offer, clear_notes } => Some((of_offer.claims.len(), of_offer.places.len(), clear_notes)),
                Choice::KeepBack => None,
                Choice::Nothing => panic!("there is a place"),
            }
        };
        let taken = || vec![claim(old, Status::Confirmed), claim(older, Status::Returned)];
        assert_eq!(check(taken(), 0, 0, false), Some((1, 1, false)));
        assert_eq!(check(taken(), 0, 0, true), Some((1, 1, true)));
        assert_eq!(check(taken(), 1, 0, true), None, "a parked event");
        assert_eq!(check(taken(), 0, 1, true), None, "a message that waits");
        let lives = || vec![claim(old, Status::Expired), claim(open, Status::Held)];
        assert_eq!(check(lives(), 0, 1, true), Some((1, 1, false)), "what is noted stays until the last of it");
        assert_eq!(check(vec![claim(old, Status::Held)], 0, 0, false), None, "something is held");
        assert_eq!(check(vec![claim(older, Status::Held)], 0, 0, false), Some((0, 1, false)), "in another one");
        let elsewhere = Known { rows: PersonRows { claims: vec![claim(open, Status::Held)], ..PersonRows::default() }, noted: true };
        assert_eq!(Choice::of(old, elsewhere, &ended), Choice::Nothing);
    }
}
