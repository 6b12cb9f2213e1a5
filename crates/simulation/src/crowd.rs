//! Who asks: users who claim, pay, give back and wait, visitors who stand in line (some honest, some late, some silent), and an
//! operator who edits what they are after. They know only what they were told.

mod visitor;

use crate::dice::Dice;
use crate::history::History;
use crate::machine::Finding;
use crate::request::{Answer, Request};
use crate::task::Decided as Circumstances;
use bunho_domain::claim::StandbyStatus;
use bunho_domain::ids::{AppId, ClaimId, IdempotencyKey, OfferId, StandbyId, UserId, ZoneId};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::Restock;
use bunho_domain::offer::settings::{ConfirmBy, Kind, OfferSettings};
use std::collections::{BTreeMap, VecDeque};
use visitor::{Stands, Visitor};

/// Claims, places and attempts that the crowd remembers and comes back to.
const REMEMBERED: usize = 60;
/// Visitors of all zones at a time.
const VISITORS: usize = 40;

/// Everybody.
pub struct Crowd {
    users: Vec<UserId>,
    offers: Vec<OfferId>,
    offers_made: u32,
    claims: VecDeque<(ClaimId, UserId)>,
    places: VecDeque<StandbyId>,
    attempts: VecDeque<Request>,
    zones: Vec<ZoneId>,
    visitors: BTreeMap<u64, Visitor>,
    visitors_made: u64,
    keys_made: u64,
    /// Resets of zones that were decided: a ticket of before has ended.
    resets: u64,
    with_active_limit: bool,
}

impl Crowd {
    /// A crowd of its own for every seed.
    #[must_use]
    pub fn new(dice: &mut Dice) -> Self {
        let users = (0..dice.between(4, 24)).filter_map(|n| UserId::parse(&format!("user-{n}")).ok()).collect();
        Self {
            users,
            offers: Vec::new(),
            offers_made: 0,
            claims: VecDeque::new(),
            places: VecDeque::new(),
            attempts: VecDeque::new(),
            zones: Vec::new(),
            visitors: BTreeMap::new(),
            visitors_made: 0,
            keys_made: 0,
            resets: 0,
            with_active_limit: dice.one_in(3),
        }
    }

    /// Somebody pays for a claim, whatever became of it.
    #[must_use]
    pub fn pays(claim: ClaimId) -> Request {
        Request::Confirm { claim, by: None }
    }

    /// What there is from the beginning.
    pub fn opening(&mut self, dice: &mut Dice) -> Vec<Request> {
        let mut requests: Vec<Request> = (0..4).filter_map(|_| self.next_offer(dice)).collect();
        for name in ["gate", "hall"] {
            if let (Ok(id), Ok(app)) = (ZoneId::parse(name), AppId::parse("shop")) {
                let mut settings = ZoneSettings::new(id, app, Some(dice.between(3, 9) as u32));
                settings.window_seconds = dice.between(4, 12) as u32;
                settings.slot_seconds = dice.between(1, 2) as u32;
                settings.abandon_after_seconds = 10;
                settings.resume_grace_seconds = 10;
                settings.poll_interval_ms = 500;
                settings.poll_interval_max_ms = 4_000;
                settings.pass_ttl_seconds = dice.between(5, 30) as u32;
                settings.session_seconds = dice.between(5, 30) as u32;
                settings.active_limit = self.with_active_limit.then(|| dice.between(4, 10) as u32);
                requests.push(Request::PutZone { settings: Box::new(settings) });
            }
        }
        requests
    }

    /// An offer of one of four kinds; every fourth of them is granted by the one before it.
    fn next_offer(&mut self, dice: &mut Dice) -> Option<Request> {
        let n = self.offers_made;
        self.offers_made += 1;
        let id = |n: u32| OfferId::parse(&format!("offer-{n}")).ok();
        let app = AppId::parse("shop").ok()?;
        let quantity = dice.between(3, 14) as u32;
        let mut settings = match n % 4 {
            0 => {
                let mut gift = OfferSettings::new(id(n)?, app, Kind::Coupon, quantity);
                gift.grant_only = dice.one_in(2);
                gift
            }
            1 => {
                let mut goods = OfferSettings::new(id(n)?, app, Kind::Goods, quantity);
                goods.per_user_limit = Some(dice.between(1, 3) as u32);
                goods.grants = id(n - 1);
                goods.standby = true;
                goods
            }
            2 => OfferSettings::new(id(n)?, app, Kind::Coupon, quantity),
            _ => {
                let mut booking = OfferSettings::new(id(n)?, app, Kind::Booking, quantity);
                booking.max_per_claim = 4;
                booking.standby = true;
                booking.confirm_by = ConfirmBy::User;
                booking
            }
        };
        if settings.hold_seconds > 0 {
            settings.hold_seconds = dice.between(2, 15) as u32;
            settings.standby_hold_seconds = dice.between(0, 10) as u32;
        }
        Some(Request::PutOffer { settings: Box::new(settings) })
    }

    /// The next thing that somebody asks; none where nobody has anything to ask.
    pub fn next(&mut self, dice: &mut Dice, true_ms: i64, clock_ms: i64, history: &History) -> Option<Request> {
        match dice.weighted(&[30, 20, 8, 6, 4, 8, 5, 3, 4, 60, 5]) {
            0 => self.claim(dice),
            1 => self.confirm(dice),
            2 => self.release(dice),
            3 => self
                .claims
                .get(dice.below(REMEMBERED as u64) as usize)
                .map(|(claim, user)| Request::ReadClaim { claim: *claim, by: dice.one_in(2).then(|| user.clone()) }),
            4 => Some(Request::ReadOffer { offer: dice.pick(&self.offers)?.clone() }),
            5 => Some(Request::JoinStandby {
                offer: dice.pick(&self.offers)?.clone(),
                user: dice.pick(&self.users)?.clone(),
                quantity: dice.between(1, 2) as u32,
            }),
            6 => self.places.get(dice.below(REMEMBERED as u64) as usize).map(|place| Request::ReadStandby { place: *place }),
            7 => self.places.get(dice.below(REMEMBERED as u64) as usize).map(|place| Request::LeaveStandby { place: *place }),
            8 => self.attempts.get(dice.below(REMEMBERED as u64) as usize).cloned(),
            9 => self.visit(dice, true_ms, clock_ms),
            _ => self.operate(dice, history),
        }
    }

    fn claim(&mut self, dice: &mut Dice) -> Option<Request> {
        // What is new is wanted most.
        let newest = self.offers.len().saturating_sub(4);
        let wanted = if dice.one_in(2) { &self.offers[newest..] } else { &self.offers[..] };
        let offer = dice.pick(wanted)?.clone();
        let user = dice.pick(&self.users)?.clone();
        let quantity = if dice.one_in(3) { dice.between(1, 3) as u32 } else { 1 };
        let key = if dice.one_in(3) {
            None
        } else {
            self.keys_made += 1;
            // A few keys come again, with another body perhaps.
            let n = if dice.one_in(10) { dice.below(self.keys_made) } else { self.keys_made };
            IdempotencyKey::parse(&format!("key-{n}")).ok()
        };
        let attributes = dice.one_in(4).then_some("{\"nights\":2}");
        let request = Request::Claim { offer, user, quantity, key, attributes };
        remember(&mut self.attempts, request.clone());
        Some(request)
    }

    fn confirm(&mut self, dice: &mut Dice) -> Option<Request> {
        let (claim, user) = self.claims.get(dice.below(REMEMBERED as u64 / 3) as usize)?;
        Some(Request::Confirm { claim: *claim, by: dice.one_in(4).then(|| user.clone()) })
    }

    fn release(&mut self, dice: &mut Dice) -> Option<Request> {
        let (claim, user) = self.claims.get(dice.below(REMEMBERED as u64 / 2) as usize)?;
        Some(Request::Release { claim: *claim, by: dice.one_in(2).then(|| user.clone()) })
    }

    fn operate(&mut self, dice: &mut Dice, history: &History) -> Option<Request> {
        let offer = dice.pick(&self.offers)?.clone();
        let zone = dice.pick(&self.zones)?.clone();
        match dice.weighted(&[10, 8, 10, 1, 3, 1, 3]) {
            0 => {
                let (claim, _) = self.claims.get(dice.below(REMEMBERED as u64) as usize)?;
                Some(Request::TakeBack { claim: *claim, restock: if dice.one_in(2) { Restock::Yes } else { Restock::No } })
            }
            1 => Some(Request::Restock { offer, delta: dice.below(12) as i64 - 3 }),
            2 if self.offers_made < 60 => self.next_offer(dice),
            3 if self.offers.len() > 4 => Some(Request::CloseOffer { offer }),
            4 => Some(Request::PauseZone { zone, paused: dice.one_in(3) }),
            5 => Some(Request::ResetZone { zone }),
            _ => {
                // An edit: another limit. The rest stays, so that what was told can be held to it.
                let number = history.zones.values().rfind(|known| known.settings.id == zone)?;
                let mut settings = number.settings.clone();
                settings.entry_limit_per_minute = Some(dice.between(3, 9) as u32);
                Some(Request::PutZone { settings: Box::new(settings) })
            }
        }
    }

    fn visit(&mut self, dice: &mut Dice, true_ms: i64, clock_ms: i64) -> Option<Request> {
        if self.zones.is_empty() {
            return None;
        }
        if self.visitors.len() < VISITORS && dice.one_in(4) {
            return self.arrive(dice);
        }
        let ids: Vec<u64> = self.visitors.keys().copied().collect();
        // Whoever is due comes first: most people do as they are told.
        let start = dice.below(ids.len().max(1) as u64) as usize;
        let turned = ids.iter().cycle().skip(start).take(ids.len());
        let first_due = turned.clone().find(|id| self.visitors.get(id).is_some_and(|visitor| visitor.is_due(true_ms)));
        let id = *first_due.or_else(|| turned.clone().next())?;
        let visitor = self.visitors.get_mut(&id)?;
        if visitor.stands == Stands::Ended && visitor.token.is_none() {
            self.visitors.remove(&id);
            return None;
        }
        if visitor.asking > 0 && !dice.one_in(8) {
            return None;
        }
        let request = visitor.asks(id, dice, true_ms, clock_ms);
        if visitor.stands == Stands::Ended && dice.one_in(3) {
            self.visitors.remove(&id);
        } else if request.is_some() {
            visitor.asking += 1;
        }
        request
    }

    fn arrive(&mut self, dice: &mut Dice) -> Option<Request> {
        let id = self.visitors_made;
        self.visitors_made += 1;
        let zone = dice.pick(&self.zones)?.clone();
        let key = dice.one_in(3).then(|| format!("client-{id}"));
        let visitor = Visitor::new(zone.clone(), key.clone(), self.resets, dice);
        self.visitors.insert(id, visitor);
        Some(Request::Join { zone, visitor: id, key })
    }

    /// A request is decided now: until it is answered nobody knows when its visitor is to ask again, so it holds no place.
    pub fn is_decided(&mut self, request: &Request, history: &mut History) {
        if matches!(request, Request::ResetZone { .. }) {
            self.resets += 1;
        }
        let (Request::Poll { visitor, .. } | Request::Leave { visitor, .. } | Request::Join { visitor, .. }) = request else { return };
        if let Some(visitor) = self.visitors.get_mut(visitor) {
            visitor.is_decided(request, self.resets, history);
        }
    }

    /// An answer arrives.
    ///
    /// # Errors
    /// The promise that it breaks, which only its asker can know of.
    pub fn hear(
        &mut self,
        request: &Request,
        answer: &Answer,
        circumstances: Circumstances,
        true_ms: i64,
        history: &mut History,
    ) -> Result<(), Finding> {
        match (request, answer) {
            (_, Answer::Taken(Ok(Ok(taken)))) => remember(&mut self.claims, (taken.claim.id, taken.claim.user.clone())),
            (_, Answer::Changed(Ok(Ok(claim)))) => {
                if let Some(granted) = claim.granted {
                    remember(&mut self.claims, (granted, claim.user.clone()));
                }
            }
            (_, Answer::Place(Ok(Ok(view)))) => {
                if view.standby.status == StandbyStatus::Waiting {
                    remember(&mut self.places, view.standby.id);
                }
                if let Some(claim) = view.standby.claim {
                    remember(&mut self.claims, (claim, view.standby.user.clone()));
                }
            }
            (Request::PutOffer { settings }, Answer::Defined(Ok(Ok(true)))) => self.offers.push(settings.id.clone()),
            (Request::PutZone { settings }, Answer::Zone(Ok(()))) if !self.zones.contains(&settings.id) => {
                self.zones.push(settings.id.clone());
            }
            (Request::Join { visitor, .. } | Request::Poll { visitor, .. }, Answer::Entry(entry)) => {
                let resets = self.resets;
                if let Some(asker) = self.visitors.get_mut(visitor) {
                    asker.asking = asker.asking.saturating_sub(1);
                    return match &**entry {
                        Ok(entry) => asker.hears(entry, circumstances, true_ms, history, resets),
                        Err(error) => asker.is_refused(request, error, true_ms, history, resets),
                    };
                }
            }
            (Request::Leave { visitor, .. }, Answer::Left(left)) => {
                if let Some(asker) = self.visitors.get_mut(visitor) {
                    asker.asking = asker.asking.saturating_sub(1);
                    if left.is_ok() {
                        return asker.has_left(history);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// An answer is lost, or its request was.
    pub fn misses(&mut self, request: &Request, true_ms: i64) {
        let (Request::Poll { visitor, .. } | Request::Leave { visitor, .. } | Request::Join { visitor, .. }) = request else { return };
        if let Some(visitor) = self.visitors.get_mut(visitor) {
            visitor.asking = visitor.asking.saturating_sub(1);
            visitor.due_ms = visitor.due_ms.min(true_ms + 500);
        }
    }

    /// A process begins at this time at the earliest. The requests of the one before ended with it, and ranks begin afresh.
    pub fn restarted(&mut self, at_ms: i64) {
        for visitor in self.visitors.values_mut() {
            // With a clock that was set back across the restart, silence is counted from what it is floored by.
            visitor.touched_ms = visitor.touched_ms.min(at_ms);
            visitor.asking = 0;
            visitor.rank = None;
            visitor.surely_leaves = false;
        }
    }
}

fn remember<T>(what: &mut VecDeque<T>, one: T) {
    what.push_front(one);
    what.truncate(REMEMBERED);
}
