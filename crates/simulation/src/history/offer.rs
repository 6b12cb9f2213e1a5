//! One offer's history: every version of every claim, who has what, who waits, and the stock after every event.

use super::ensure;
use crate::machine::Finding;
use bunho_domain::claim::{Claim, Standby, StandbyStatus, Status};
use bunho_domain::event::{Event, OfferChange, OfferEvent};
use bunho_domain::ids::{ClaimId, IdempotencyKey, StandbyId, UserId};
use bunho_domain::offer::settings::OfferSettings;
use bunho_journal::Record;
use std::collections::{BTreeMap, BTreeSet};

/// One offer.
pub struct OfferHistory {
    /// Its number.
    pub number: u32,
    /// As defined last.
    pub settings: OfferSettings,
    /// Of its last event.
    pub version: u64,
    /// Whether it was deleted.
    pub deleted: bool,
    /// Every version of every claim, oldest first.
    pub claims: BTreeMap<ClaimId, Vec<Claim>>,
    /// Every version of every place on standby, oldest first.
    pub places: BTreeMap<StandbyId, Vec<Standby>>,
    /// Places that wait, in order.
    pub waiting: BTreeSet<StandbyId>,
    keys: BTreeMap<(UserId, IdempotencyKey), ClaimId>,
    held: u32,
    confirmed: u32,
    taken: BTreeMap<UserId, u32>,
    had: BTreeSet<UserId>,
    granted_by: BTreeMap<String, ClaimId>,
    /// The offer's version when each claim was taken.
    taken_at: BTreeMap<ClaimId, u64>,
    /// The stock after each event.
    pub stocks: Vec<StockAt>,
}

/// An offer's numbers after one of its events.
#[derive(Clone, Copy, Debug)]
pub struct StockAt {
    /// The record.
    pub offset: u64,
    /// The offer's version.
    pub version: u64,
    /// Units there are.
    pub quantity: u32,
    /// Units held.
    pub held: u32,
    /// Units confirmed.
    pub confirmed: u32,
    /// Places waiting.
    pub waiting: u32,
}

/// What the offer that is granted would do.
pub struct Giver {
    /// Its number.
    pub number: u32,
    /// Whether it would give.
    pub gives: bool,
}

impl StockAt {
    /// Units nobody has.
    #[must_use]
    pub const fn remaining(&self) -> u32 {
        self.quantity - self.held - self.confirmed
    }
}

impl OfferHistory {
    pub(super) fn new(number: u32, settings: OfferSettings) -> Self {
        Self {
            number,
            settings,
            version: 0,
            deleted: false,
            claims: BTreeMap::new(),
            places: BTreeMap::new(),
            waiting: BTreeSet::new(),
            keys: BTreeMap::new(),
            held: 0,
            confirmed: 0,
            taken: BTreeMap::new(),
            had: BTreeSet::new(),
            granted_by: BTreeMap::new(),
            taken_at: BTreeMap::new(),
            stocks: Vec::new(),
        }
    }

    pub(super) fn feed(&mut self, record: &Record, event: &OfferEvent, giver: Option<&Giver>, offset: u64) -> Result<(), Finding> {
        ensure!(!self.deleted, "offer {} is deleted", self.number);
        ensure!(event.version == self.version + 1, "offer {} goes from version {} to {}", self.settings.id, self.version, event.version);
        self.version = event.version;
        match &event.change {
            OfferChange::Defined(settings) => self.define(settings)?,
            OfferChange::Claim(claim) => match self.claims.get(&claim.id).and_then(|versions| versions.last()).cloned() {
                None => self.take(record, claim, giver)?,
                Some(before) => self.change(record, &before, claim, giver)?,
            },
            OfferChange::Standby(place) => self.wait(record, place)?,
            OfferChange::Deleted => {
                ensure!(self.held + self.confirmed == 0, "offer {} is deleted with units taken", self.settings.id);
                self.deleted = true;
            }
        }
        let taken = self.held + self.confirmed;
        ensure!(taken <= self.settings.quantity, "offer {}: {taken} units taken of {}", self.settings.id, self.settings.quantity);
        self.stocks.push(StockAt {
            offset,
            version: self.version,
            quantity: self.settings.quantity,
            held: self.held,
            confirmed: self.confirmed,
            waiting: self.waiting.len() as u32,
        });
        Ok(())
    }

    fn define(&mut self, settings: &OfferSettings) -> Result<(), Finding> {
        ensure!(settings.id == self.settings.id, "offer number {} is {} and then {}", self.number, self.settings.id, settings.id);
        let revision = self.settings.revision;
        ensure!(settings.revision == revision + 1 || self.version == 1, "revision {} after {revision}", settings.revision);
        self.settings = settings.clone();
        Ok(())
    }

    /// A claim that was not there before.
    fn take(&mut self, record: &Record, claim: &Claim, giver: Option<&Giver>) -> Result<(), Finding> {
        let (id, at, settings) = (claim.id, record.at, &self.settings);
        ensure!(claim.version == 1, "claim {id} begins with version {}", claim.version);
        ensure!(id.seq() as usize == self.claims.len(), "claim {id} is not the {}th", self.claims.len());
        ensure!(claim.created_at == at && claim.updated_at == at, "claim {id} is of another time than its record");
        let open = settings.opens_at.is_none_or(|opens| opens <= at) && settings.closes_at.is_none_or(|closes| at < closes);
        ensure!(open, "claim {id} is taken while the offer is not open");
        let has = self.taken.get(&claim.user).copied().unwrap_or(0) + claim.quantity;
        ensure!(settings.per_user_limit.is_none_or(|limit| has <= limit), "user {} has {has} units with claim {id}", claim.user);
        ensure!(claim.quantity >= 1, "claim {id} takes nothing");
        match (claim.status, claim.hold_expires_at) {
            (Status::Held, Some(deadline)) => {
                let allowed = [settings.hold_seconds, settings.standby_hold_seconds].map(|seconds| at.plus_seconds(seconds));
                ensure!(allowed.contains(&deadline), "claim {id} is held until {}", deadline.0);
            }
            (Status::Confirmed, None) => {}
            (status, deadline) => return Err(format!("claim {id} begins {status:?} until {deadline:?}")),
        }
        // Units that come back are for who waits, before anyone new.
        let served = record.events.iter().any(|event| {
            matches!(event, Event::Offer(event) if matches!(&event.change, OfferChange::Standby(place)
                if place.claim == Some(id) && place.status == StandbyStatus::Served))
        });
        ensure!(served || self.waiting.is_empty(), "claim {id} overtakes {} who wait", self.waiting.len());
        if let Some(key) = &claim.key {
            let earlier = self.keys.insert((claim.user.clone(), key.clone()), id);
            ensure!(earlier.is_none(), "key {key} of {} took {} and then {id}", claim.user, earlier.unwrap_or(id));
        }
        if let Some(by) = claim.attributes.as_ref().filter(|text| text.starts_with("{\"granted_by\"")) {
            let earlier = self.granted_by.insert(by.to_string(), id);
            ensure!(earlier.is_none(), "{by} was granted twice");
            ensure!(!self.had.contains(&claim.user), "{} was granted a second one, {id}", claim.user);
        } else {
            ensure!(!settings.grant_only, "claim {id} took what is only granted");
        }
        if claim.status == Status::Confirmed {
            self.check_grant(claim, giver)?;
        }
        self.count(claim, 1);
        self.taken_at.insert(id, self.version);
        self.claims.insert(id, vec![claim.clone()]);
        Ok(())
    }

    /// A claim that changes.
    fn change(&mut self, record: &Record, before: &Claim, claim: &Claim, giver: Option<&Giver>) -> Result<(), Finding> {
        let (id, at) = (claim.id, record.at);
        ensure!(claim.version == before.version + 1, "claim {id} goes from version {} to {}", before.version, claim.version);
        ensure!(claim.updated_at == at, "claim {id} is of another time than its record");
        let mut same = claim.clone();
        same.status = before.status;
        same.version = before.version;
        same.updated_at = before.updated_at;
        same.granted = before.granted;
        ensure!(same == *before, "claim {id} became another one: {before:?}, {claim:?}");
        let in_time = before.hold_expires_at.is_some_and(|deadline| at < deadline);
        let fair = match (before.status, claim.status) {
            (Status::Held, Status::Confirmed | Status::Released) => in_time,
            (Status::Held, Status::Expired) => !in_time,
            (Status::Confirmed, Status::Returned) => true,
            _ => false,
        };
        ensure!(
            fair,
            "claim {id} goes from {:?} to {:?} at {}, its deadline is {:?}",
            before.status,
            claim.status,
            at.0,
            before.hold_expires_at
        );
        if claim.status == Status::Confirmed {
            self.check_grant(claim, giver)?;
        }
        self.count(before, -1);
        self.count(claim, 1);
        if let Some(versions) = self.claims.get_mut(&id) {
            versions.push(claim.clone());
        }
        Ok(())
    }

    /// Confirming gives what can be given, once. Whether the grant itself is there is checked when all records of a life are in.
    fn check_grant(&self, claim: &Claim, giver: Option<&Giver>) -> Result<(), Finding> {
        let id = claim.id;
        match (giver, claim.granted) {
            (None, None) => {}
            (Some(giver), Some(granted)) => {
                ensure!(granted.offer_number() == giver.number, "claim {id} was granted {granted}, of another offer");
            }
            (Some(giver), None) => ensure!(!giver.gives, "claim {id} is confirmed and was not granted what could be given"),
            (None, Some(granted)) => return Err(format!("claim {id} was granted {granted} of an offer that it does not grant")),
        }
        Ok(())
    }

    /// Whether this offer would be given to a user now.
    pub(super) fn would_give(&self, user: &UserId, at: i64) -> bool {
        let settings = &self.settings;
        let open = settings.opens_at.is_none_or(|opens| opens.0 <= at) && settings.closes_at.is_none_or(|closes| at < closes.0);
        let has = self.taken.get(user).copied().unwrap_or(0) + settings.min_per_claim;
        open && !self.deleted
            && !self.had.contains(user)
            && self.waiting.is_empty()
            && settings.per_user_limit.is_none_or(|limit| has <= limit)
            && settings.min_per_claim + self.held + self.confirmed <= settings.quantity
    }

    fn count(&mut self, claim: &Claim, sign: i32) {
        let delta = claim.quantity.cast_signed() * sign;
        let sum = match claim.status {
            Status::Held => &mut self.held,
            Status::Confirmed => &mut self.confirmed,
            _ => {
                return;
            }
        };
        *sum = sum.saturating_add_signed(delta);
        let taken = self.taken.entry(claim.user.clone()).or_default();
        *taken = taken.saturating_add_signed(delta);
        if claim.status == Status::Confirmed {
            self.had.insert(claim.user.clone());
        }
    }

    fn wait(&mut self, record: &Record, place: &Standby) -> Result<(), Finding> {
        let id = place.id;
        let before = self.places.get(&id).and_then(|versions| versions.last());
        match (before, place.status) {
            (None, StandbyStatus::Waiting) => {
                ensure!(place.version == 1, "place {id} begins with version {}", place.version);
                ensure!(id.seq() as usize == self.places.len(), "place {id} is not the {}th", self.places.len());
                let other = self.waiting.iter().find(|other| self.places[other].iter().any(|other| other.user == place.user));
                ensure!(other.is_none(), "user {} waits twice", place.user);
                self.waiting.insert(id);
            }
            (Some(before), status) if before.status == StandbyStatus::Waiting && status != StandbyStatus::Waiting => {
                ensure!(place.version == before.version + 1, "place {id} goes from version {} to {}", before.version, place.version);
                ensure!(place.quantity == before.quantity && place.user == before.user, "place {id} became another one");
                if status != StandbyStatus::Left {
                    ensure!(self.waiting.first() == Some(&id), "place {id} is {status:?} before its turn");
                }
                if status == StandbyStatus::Served {
                    let claim = place.claim.and_then(|claim| self.claims.get(&claim)).and_then(|versions| versions.last());
                    let fits = claim.is_some_and(|claim| claim.user == place.user && claim.quantity == place.quantity);
                    ensure!(fits, "place {id} is served with {:?}", place.claim);
                }
                self.waiting.remove(&id);
            }
            (before, status) => return Err(format!("place {id} goes from {:?} to {status:?}", before.map(|before| before.status))),
        }
        ensure!(place.updated_at == record.at, "place {id} is of another time than its record");
        self.places.entry(id).or_default().push(place.clone());
        Ok(())
    }

    /// After the ticker has looked: no hold has outlived its deadline, and nobody waits for units that are there.
    ///
    /// # Errors
    /// Something is due.
    pub fn check_nothing_due(&self, least_ms: i64, most_ms: i64) -> Result<(), Finding> {
        let newest = self.claims.values().filter_map(|versions| versions.last());
        let late =
            newest.filter(|claim| claim.status == Status::Held).find(|claim| claim.hold_expires_at.is_some_and(|at| at.0 <= least_ms));
        ensure!(late.is_none(), "at {least_ms} a hold has outlived its deadline: {late:?}");
        let closed = self.settings.closes_at.is_some_and(|closes| closes.0 <= most_ms);
        let first = self.waiting.first().and_then(|id| self.places.get(id)?.last());
        let left = self.settings.quantity - self.held - self.confirmed;
        let withheld = first.filter(|place| place.quantity <= left && !closed && !self.deleted);
        ensure!(withheld.is_none(), "offer {}: {left} units are left, and {withheld:?} waits", self.settings.id);
        Ok(())
    }

    /// The claim that a key took.
    #[must_use]
    pub fn claim_of_key(&self, user: &UserId, key: &IdempotencyKey) -> Option<&Claim> {
        self.claims.get(self.keys.get(&(user.clone(), key.clone()))?)?.first()
    }

    /// The offer's version when a claim was taken.
    #[must_use]
    pub fn version_of_first(&self, id: ClaimId) -> u64 {
        self.taken_at.get(&id).copied().unwrap_or(0)
    }

    /// The claim's last version.
    #[must_use]
    pub fn claim(&self, id: ClaimId) -> Option<&Claim> {
        self.claims.get(&id)?.last()
    }

    /// Stocks from the one that record `safe` left on.
    #[must_use]
    pub fn stocks_since(&self, safe: u64) -> &[StockAt] {
        let after = self.stocks.partition_point(|stock| stock.offset <= safe);
        &self.stocks[after.saturating_sub(1)..]
    }

    /// Claims and units by status, as SQL would count them.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, (u64, u64)> {
        let mut counts = BTreeMap::new();
        for claim in self.claims.values().filter_map(|versions| versions.last()) {
            let word = match claim.status {
                Status::Held => "held",
                Status::Confirmed => "confirmed",
                Status::Released => "released",
                Status::Expired => "expired",
                Status::Returned => "returned",
            };
            let (claims, units) = counts.entry(word).or_insert((0, 0));
            *claims += 1;
            *units += u64::from(claim.quantity);
        }
        counts
    }
}
