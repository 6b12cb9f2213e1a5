//! What clients were told, held to what has happened: no answer may show anything that a power cut would take away, and none may
//! contradict an earlier one.

use crate::history::offer::OfferHistory;
use crate::history::{History, ensure};
use crate::machine::Finding;
use crate::request::{Answer, Request};
use crate::task::Decided as Circumstances;
use bunho_domain::claim::{Claim, StandbyStatus};
use bunho_domain::event::TicketNumber;
use bunho_domain::ids::{ClaimId, IdempotencyKey, OfferId, StandbyId, UserId};
use bunho_domain::line::{Admission, Answer as LineAnswer};
use bunho_domain::offer::refusal::Refusal;
use bunho_domain::offer::settings::OfferSettings;
use bunho_domain::offer::{OfferState, StandbyView, Stock, Taken};
use bunho_engine::{EngineError, Entry};
use std::collections::BTreeMap;

/// Everything that was ever told and must stay so.
#[derive(Default)]
pub struct Told {
    /// The claim that each key was told to have taken, as it was told.
    keys: BTreeMap<(u32, UserId, IdempotencyKey), Claim>,
    /// By place: when the position was decided, and what it was.
    positions: BTreeMap<StandbyId, (u64, u32)>,
    tickets: BTreeMap<(u32, TicketNumber), String>,
    admissions: BTreeMap<(u32, TicketNumber), Admission>,
    versions: BTreeMap<u32, u64>,
    /// The highest version that was told of each claim: a restart must know it.
    claims: BTreeMap<ClaimId, u32>,
}

/// What surrounds an answer.
pub struct Scene<'a> {
    /// What has happened.
    pub history: &'a History,
    /// When it was decided.
    pub circumstances: Circumstances,
    /// Whether the journal has failed or was closed: then the answer may be that nobody knows.
    pub ended: bool,
    /// How far the ledger is, where answers wait for it.
    pub ledger: Option<u64>,
}

impl Told {
    /// Takes in an answer.
    ///
    /// # Errors
    /// The promise that it breaks.
    pub fn hear(&mut self, scene: &Scene<'_>, request: &Request, answer: &Answer) -> Result<(), Finding> {
        match (request, answer) {
            (Request::Claim { .. }, Answer::Taken(Ok(Ok(taken)))) => self.taken(scene, request, taken),
            (_, Answer::Taken(Ok(Err(refusal)))) => self.refused(scene, request, refusal),
            (_, Answer::Changed(Ok(Ok(claim)))) => self.claim(scene, claim),
            (_, Answer::Changed(Ok(Err(refusal)))) => self.refused(scene, request, refusal),
            (_, Answer::Place(Ok(Ok(view)))) => self.place(scene, view),
            (_, Answer::Place(Ok(Err(refusal))) | Answer::Done(Ok(Err(refusal)))) => self.refused(scene, request, refusal),
            (_, Answer::Offer(answer)) => match &**answer {
                Ok((settings, stock)) => self.stock(scene, settings, stock),
                Err(error) => failed(scene, error),
            },
            (_, Answer::Entry(answer)) => match &**answer {
                Ok(entry) => self.entry(scene, request, entry),
                Err(error) => failed(scene, error),
            },
            (Request::Leave { .. }, Answer::Left(Ok(()))) => Ok(()),
            (_, Answer::Taken(Err(error)) | Answer::Changed(Err(error)) | Answer::Place(Err(error)) | Answer::Done(Err(error))) => {
                failed(scene, error)
            }
            (_, Answer::Left(Err(error)) | Answer::Zone(Err(error)) | Answer::Defined(Err(error))) => failed(scene, error),
            _ => Ok(()),
        }
    }

    fn taken(&mut self, scene: &Scene<'_>, request: &Request, taken: &Taken) -> Result<(), Finding> {
        let Request::Claim { offer, user, quantity, key, attributes } = request else { return Ok(()) };
        let claim = &taken.claim;
        let history = of(scene, claim.id)?;
        ensure!(history.settings.id == *offer, "a claim on {offer} answered with {} of {}", claim.id, history.settings.id);
        let asked = claim.user == *user && claim.quantity == *quantity && claim.attributes.as_deref() == *attributes && claim.key == *key;
        ensure!(asked, "{request:?} was answered with {claim:?}");
        let first = history.claims.get(&claim.id).and_then(|versions| versions.first());
        ensure!(first == Some(claim), "told {claim:?}, a power cut would leave {first:?}");
        if let Some(key) = key {
            let place = (history.number, user.clone(), key.clone());
            let before = self.keys.insert(place, claim.clone());
            ensure!(before.as_ref().is_none_or(|before| before == claim), "key {key} was told {before:?} and now {claim:?}");
        } else {
            ensure!(!taken.replayed, "a claim without a key is a replay: {claim:?}");
        }
        let seen = self.claims.entry(claim.id).or_default();
        *seen = (*seen).max(1);
        if let Some(ledger) = scene.ledger {
            let offset = history.stocks.iter().rev().find(|stock| stock.version == history.version_of_first(claim.id)).map(|at| at.offset);
            ensure!(offset.is_some_and(|offset| offset <= ledger), "claim {} was told before the ledger had it", claim.id);
        }
        Ok(())
    }

    fn claim(&mut self, scene: &Scene<'_>, claim: &Claim) -> Result<(), Finding> {
        let history = of(scene, claim.id)?;
        let version = history.claims.get(&claim.id).and_then(|versions| versions.iter().find(|known| known.version == claim.version));
        // What a claim was granted may be told of an earlier version too: the grant is kept beside the versions.
        ensure!(version == Some(claim), "told {claim:?}, a power cut would leave {version:?}");
        let seen = self.claims.entry(claim.id).or_default();
        *seen = (*seen).max(claim.version);
        Ok(())
    }

    fn place(&mut self, scene: &Scene<'_>, view: &StandbyView) -> Result<(), Finding> {
        let place = &view.standby;
        let history = scene.history.offers.get(&place.id.offer_number());
        let versions = history.and_then(|history| history.places.get(&place.id));
        let version = versions.and_then(|versions| versions.iter().find(|known| known.version == place.version));
        ensure!(version == Some(place), "told {place:?}, a power cut would leave {version:?}");
        let waits = place.status == StandbyStatus::Waiting;
        ensure!(waits == (view.position > 0), "told position {} of {place:?}", view.position);
        let now = (scene.circumstances.order, view.position);
        let other = *self.positions.entry(place.id).or_insert(now);
        let (earlier, later) = if other.0 < now.0 { (other, now) } else { (now, other) };
        ensure!(later.1 <= earlier.1, "place {} went from position {} to {}", place.id, earlier.1, later.1);
        self.positions.insert(place.id, later);
        Ok(())
    }

    fn stock(&mut self, scene: &Scene<'_>, settings: &OfferSettings, stock: &Stock) -> Result<(), Finding> {
        let id = &settings.id;
        let history = scene.history.by_id(id).ok_or_else(|| format!("told of offer {id}, which is not"))?;
        let sum = stock.remaining + stock.held + stock.confirmed;
        ensure!(sum == stock.quantity, "offer {id}: {sum} units in all, {} there are", stock.quantity);
        let at = history.stocks.binary_search_by_key(&stock.version, |at| at.version).ok().map(|index| history.stocks[index]);
        let numbers = at.map(|at| (at.quantity, at.held, at.confirmed, at.waiting));
        let told = (stock.quantity, stock.held, stock.confirmed, stock.standby);
        ensure!(numbers == Some(told), "told {told:?} of {id} at version {}, a power cut would leave {numbers:?}", stock.version);
        let oldest = history.stocks_since(scene.circumstances.safe).first().map_or(0, |at| at.version);
        ensure!(stock.version >= oldest, "told version {} of {id} when {oldest} was long there", stock.version);
        let sold_out = stock.remaining == 0 || stock.standby > 0;
        ensure!((stock.state == OfferState::SoldOut) <= sold_out, "told that {id} is sold out with {} left", stock.remaining);
        let highest = self.versions.entry(history.number).or_default();
        *highest = stock.version.max(*highest);
        Ok(())
    }

    fn refused(&mut self, scene: &Scene<'_>, request: &Request, refusal: &Refusal) -> Result<(), Finding> {
        let claim = match request {
            Request::Confirm { claim, .. } | Request::Release { claim, .. } => Some(*claim),
            Request::TakeBack { claim, .. } | Request::ReadClaim { claim, .. } => Some(*claim),
            _ => None,
        };
        let known = claim.and_then(|id| scene.history.offers.get(&id.offer_number())?.claims.get(&id));
        match (refusal, request) {
            (Refusal::SoldOut { held, remaining, .. }, Request::Claim { offer, quantity, .. }) => {
                sold_out(scene, offer, *quantity, *held, *remaining)
            }
            (Refusal::LimitReached { claims }, _) => match claims.iter().find(|id| of(scene, **id).is_err()) {
                Some(id) => Err(format!("refused because of claim {id}, which a power cut would take away")),
                None => Ok(()),
            },
            (Refusal::KeyReused, Request::Claim { offer, user, key: Some(key), .. }) => {
                let taken = scene.history.by_id(offer).and_then(|history| history.claim_of_key(user, key));
                ensure!(taken.is_some(), "refused because key {key} was used, which a power cut would take away");
                Ok(())
            }
            (Refusal::DeadlinePassed, _) => {
                let expired =
                    known.is_some_and(|versions| versions.iter().any(|claim| claim.status == bunho_domain::claim::Status::Expired));
                ensure!(expired, "told that the deadline of {claim:?} has passed, a power cut would leave {known:?}");
                Ok(())
            }
            (Refusal::NotHeld { status }, _) => {
                let was = known.is_some_and(|versions| versions.iter().any(|claim| claim.status == *status));
                ensure!(was, "told that {claim:?} is {status:?}, a power cut would leave {known:?}");
                Ok(())
            }
            (Refusal::UnknownClaim | Refusal::UnknownStandby, _) => {
                Err(format!("{request:?} is about something that was told: {refusal:?}"))
            }
            _ => Ok(()),
        }
    }

    fn entry(&mut self, scene: &Scene<'_>, request: &Request, entry: &Entry) -> Result<(), Finding> {
        let number = (entry.subject.zone, entry.subject.ticket);
        let zone = scene.history.zones.get(&number.0).ok_or_else(|| format!("told of zone {}, which is not", number.0))?;
        // A ticket that had fallen silent for too long before it was given up was gone already, which is not written down: after a
        // restart it may come back within the grace.
        let ended = matches!(request, Request::Poll { knock: true, .. }) && zone.left.contains(&number.1);
        ensure!(!ended, "ticket {number:?} was given up and is answered {:?}", entry.answer);
        // Without a key nobody joins twice, so this one found no line.
        let newcomer = matches!(request, Request::Join { key: None, .. });
        if let Some(token) = &entry.token {
            let before = self.tickets.insert(number, token.clone());
            ensure!(before.as_ref().is_none_or(|before| before == token), "number {number:?} was given to {before:?} and to {token}");
        }
        match &entry.answer {
            LineAnswer::Waiting(_) => {
                let admitted = self.admissions.get(&number);
                ensure!(admitted.is_none(), "ticket {number:?} was told {admitted:?} and now waits");
            }
            LineAnswer::Admitted(admission) => {
                let really = zone.admitted.get(&number.1);
                ensure!(really == Some(&admission.at.0), "ticket {number:?} was told {admission:?}, a power cut would leave {really:?}");
                let before = self.admissions.insert(number, *admission);
                ensure!(before.is_none_or(|before| before == *admission), "ticket {number:?} was told {before:?} and now {admission:?}");
                let clock_ms = scene.circumstances.clock_ms;
                ensure!(clock_ms < admission.expires_at.0, "ticket {number:?} was told {admission:?} at {clock_ms}");
                let past = zone.admitted_past.get(&number.1).copied().unwrap_or(0);
                ensure!(!newcomer || past == 0, "a newcomer, {number:?}, went past {past} who wait");
            }
        }
        Ok(())
    }

    /// Everything told is still there, as far as the history says; the history is held to the engine elsewhere.
    ///
    /// # Errors
    /// What is not.
    pub fn check(&self, history: &History) -> Result<(), Finding> {
        for (id, version) in &self.claims {
            let now = history.offers.get(&id.offer_number()).and_then(|offer| offer.claim(*id)).map_or(0, |claim| claim.version);
            ensure!(now >= *version, "claim {id} was told at version {version} and is at {now}");
        }
        for (number, version) in &self.versions {
            let now = history.offers.get(number).map_or(0, |offer| offer.version);
            ensure!(now >= *version, "offer number {number} was told at version {version} and is at {now}");
        }
        Ok(())
    }

    /// Whether a claim was told of.
    #[must_use]
    pub fn knows(&self, id: ClaimId) -> bool {
        self.claims.contains_key(&id)
    }
}

fn of<'a>(scene: &'a Scene<'_>, id: ClaimId) -> Result<&'a OfferHistory, Finding> {
    let offer = scene.history.offers.get(&id.offer_number());
    offer.filter(|offer| offer.claims.contains_key(&id)).ok_or_else(|| format!("told of claim {id}, which a power cut would take away"))
}

/// There must have been a moment, safe on the disk by now, at which the offer was as the refusal says.
fn sold_out(scene: &Scene<'_>, offer: &OfferId, quantity: u32, held: u32, remaining: u32) -> Result<(), Finding> {
    let history = scene.history.by_id(offer).ok_or_else(|| format!("told of offer {offer}, which is not"))?;
    let stocks = history.stocks_since(scene.circumstances.safe);
    let so = stocks.iter().any(|at| at.held == held && at.remaining() == remaining && (at.waiting > 0 || at.remaining() < quantity));
    ensure!(so, "told that {offer} is sold out with {held} held and {remaining} left, a power cut would leave {:?}", stocks.last());
    Ok(())
}

/// What may go wrong, and when.
fn failed(scene: &Scene<'_>, error: &EngineError) -> Result<(), Finding> {
    match error {
        EngineError::Indeterminate(_) | EngineError::Poisoned => {
            ensure!(scene.ended, "the journal is well and the answer is: {error}");
            Ok(())
        }
        EngineError::UnknownOffer | EngineError::UnknownZone | EngineError::TicketInvalid => {
            Err(format!("what was made is there no longer: {error}"))
        }
        _ => Ok(()),
    }
}
