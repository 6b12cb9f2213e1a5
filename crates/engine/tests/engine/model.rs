//! The pure model: what an offer must do, written as plainly as possible and independently of the engine.
//!
//! Everything is a list that is scanned; nothing is indexed, cached or counted ahead. An engine, whichever it
//! is, must answer as this does.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Held,
    Confirmed,
    Released,
    Expired,
    Returned,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub user: u8,
    pub quantity: u32,
    pub status: Status,
    pub version: u32,
    pub key: Option<u8>,
    pub attributes: Option<String>,
    /// The pass that it used up.
    pub pass: Option<u8>,
    pub deadline: Option<i64>,
    /// Index of the claim in the granted offer.
    pub granted: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandbyStatus {
    Waiting,
    Served(usize),
    Left,
    Passed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    pub user: u8,
    pub quantity: u32,
    pub status: StandbyStatus,
}

#[derive(Clone, Debug)]
pub struct Terms {
    pub quantity: u32,
    pub per_user_limit: Option<u32>,
    pub min: u32,
    pub max: u32,
    pub hold_ms: i64,
    pub standby: bool,
    /// A pass is wanted, and takes one claim.
    pub once: bool,
    pub standby_hold_ms: i64,
    pub opens_at: Option<i64>,
    pub closes_at: Option<i64>,
    pub grants: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct Offer {
    pub terms: Terms,
    pub claims: Vec<Claim>,
    pub standby: Vec<Standby>,
}

/// Refusals by their stable codes.
pub type Refused = &'static str;

#[derive(Clone, Debug)]
pub struct World {
    pub offers: Vec<Offer>,
}

impl Offer {
    fn sum(&self, wanted: &[Status]) -> u32 {
        self.claims.iter().filter(|claim| wanted.contains(&claim.status)).map(|claim| claim.quantity).sum()
    }

    pub fn held(&self) -> u32 {
        self.sum(&[Status::Held])
    }

    pub fn confirmed(&self) -> u32 {
        self.sum(&[Status::Confirmed])
    }

    pub fn remaining(&self) -> u32 {
        self.terms.quantity - self.held() - self.confirmed()
    }

    pub fn waiting(&self) -> Vec<usize> {
        (0..self.standby.len()).filter(|&i| self.standby[i].status == StandbyStatus::Waiting).collect()
    }

    fn taken_by(&self, user: u8) -> u32 {
        let taken = |claim: &&Claim| claim.user == user && matches!(claim.status, Status::Held | Status::Confirmed);
        self.claims.iter().filter(taken).map(|claim| claim.quantity).sum()
    }

    fn within_limit(&self, user: u8, quantity: u32) -> bool {
        self.terms.per_user_limit.is_none_or(|limit| self.taken_by(user) + quantity <= limit)
    }

    /// With units left, a place that not even every open hold could satisfy is never served.
    fn can_be_served(&self, quantity: u32) -> bool {
        quantity <= self.terms.quantity && (self.remaining() == 0 || quantity <= self.remaining() + self.held())
    }

    fn is_closed(&self, now: i64) -> bool {
        self.terms.closes_at.is_some_and(|at| now >= at)
    }

    fn is_early(&self, now: i64) -> bool {
        self.terms.opens_at.is_some_and(|at| now < at)
    }
}

impl World {
    /// Ends holds that are past their deadline, then serves standby.
    pub fn settle(&mut self, offer: usize, now: i64) {
        let mut due: Vec<usize> = (0..self.offers[offer].claims.len())
            .filter(|&i| {
                let claim = &self.offers[offer].claims[i];
                claim.status == Status::Held && claim.deadline.is_some_and(|deadline| deadline <= now)
            })
            .collect();
        due.sort_by_key(|&i| (self.offers[offer].claims[i].deadline, i));
        for &i in &due {
            let claim = &mut self.offers[offer].claims[i];
            claim.status = Status::Expired;
            claim.version += 1;
        }
        self.serve(offer, self.offers[offer].terms.standby_hold_ms, now);
    }

    fn serve(&mut self, offer: usize, hold_ms: i64, now: i64) {
        if self.offers[offer].is_closed(now) || self.offers[offer].is_early(now) {
            return;
        }
        while let Some(&first) = self.offers[offer].waiting().first() {
            let Standby { user, quantity, .. } = self.offers[offer].standby[first].clone();
            if !self.offers[offer].within_limit(user, quantity) || !self.offers[offer].can_be_served(quantity) {
                self.offers[offer].standby[first].status = StandbyStatus::Passed;
            } else if quantity <= self.offers[offer].remaining() {
                let claim = self.take(offer, user, quantity, None, None, hold_ms, now);
                self.offers[offer].standby[first].status = StandbyStatus::Served(claim);
            } else {
                return;
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the model spells everything out")]
    fn take(
        &mut self,
        offer: usize,
        user: u8,
        quantity: u32,
        key: Option<u8>,
        attributes: Option<String>,
        hold_ms: i64,
        now: i64,
    ) -> usize {
        let index = self.offers[offer].claims.len();
        let granted = if hold_ms == 0 { self.grant(offer, index, user, now) } else { None };
        self.offers[offer].claims.push(Claim {
            user,
            quantity,
            status: if hold_ms == 0 { Status::Confirmed } else { Status::Held },
            version: 1,
            key,
            attributes,
            pass: None,
            deadline: (hold_ms > 0).then_some(now + hold_ms),
            granted,
        });
        index
    }

    /// One coupon, once, to who never had one, while it is open, left over and not promised to standby.
    fn grant(&mut self, offer: usize, _by: usize, user: u8, now: i64) -> Option<usize> {
        let granted = self.offers[offer].terms.grants?;
        self.settle(granted, now);
        let g = &self.offers[granted];
        let had = g.claims.iter().any(|claim| claim.user == user && matches!(claim.status, Status::Confirmed | Status::Returned));
        let quantity = g.terms.min;
        let possible = !g.is_closed(now)
            && !g.is_early(now)
            && !had
            && g.within_limit(user, quantity)
            && g.waiting().is_empty()
            && quantity <= g.remaining();
        possible.then(|| self.take(granted, user, quantity, None, None, 0, now))
    }

    #[expect(clippy::too_many_arguments, reason = "the model spells everything out")]
    pub fn claim(
        &mut self,
        offer: usize,
        user: u8,
        quantity: u32,
        key: Option<u8>,
        attributes: Option<&str>,
        pass: Option<u8>,
        now: i64,
    ) -> Result<(usize, bool), Refused> {
        self.settle(offer, now);
        let o = &self.offers[offer];
        if let Some(known) = o.claims.iter().position(|claim| key.is_some() && claim.user == user && claim.key == key) {
            let same = o.claims[known].quantity == quantity && o.claims[known].attributes.as_deref() == attributes;
            return if same { Ok((known, true)) } else { Err("key_reused") };
        }
        self.check_open(offer, now)?;
        let o = &self.offers[offer];
        let once = o.terms.once;
        if once && pass.is_none() {
            return Err("pass_required");
        }
        if once && o.claims.iter().any(|claim| claim.pass == pass) {
            return Err("pass_used");
        }
        if !o.within_limit(user, quantity) {
            return Err("limit_reached");
        }
        if quantity < o.terms.min || quantity > o.terms.max {
            return Err("quantity_invalid");
        }
        if !o.waiting().is_empty() || quantity > o.remaining() {
            return Err("sold_out");
        }
        let hold_ms = o.terms.hold_ms;
        let taken = self.take(offer, user, quantity, key, attributes.map(str::to_string), hold_ms, now);
        self.offers[offer].claims[taken].pass = pass.filter(|_| once);
        Ok((taken, false))
    }

    fn check_open(&self, offer: usize, now: i64) -> Result<(), Refused> {
        if self.offers[offer].is_closed(now) {
            return Err("closed");
        }
        if self.offers[offer].is_early(now) {
            return Err("not_open");
        }
        Ok(())
    }

    fn end(&mut self, offer: usize, claim: usize, status: Status) {
        let claim = &mut self.offers[offer].claims[claim];
        claim.status = status;
        claim.version += 1;
    }

    pub fn confirm(&mut self, offer: usize, claim: usize, now: i64) -> Result<(), Refused> {
        self.settle(offer, now);
        match self.offers[offer].claims[claim].status {
            Status::Confirmed => Ok(()),
            Status::Held => {
                let user = self.offers[offer].claims[claim].user;
                self.offers[offer].claims[claim].granted = self.grant(offer, claim, user, now);
                self.end(offer, claim, Status::Confirmed);
                Ok(())
            }
            Status::Expired => Err("deadline_passed"),
            _ => Err("not_held"),
        }
    }

    pub fn release(&mut self, offer: usize, claim: usize, now: i64) -> Result<(), Refused> {
        self.settle(offer, now);
        match self.offers[offer].claims[claim].status {
            Status::Released => Ok(()),
            Status::Held => {
                self.end(offer, claim, Status::Released);
                self.serve(offer, self.offers[offer].terms.standby_hold_ms, now);
                Ok(())
            }
            _ => Err("not_held"),
        }
    }

    pub fn take_back(&mut self, offer: usize, claim: usize, restock: bool, now: i64) -> Result<(), Refused> {
        self.settle(offer, now);
        match self.offers[offer].claims[claim].status {
            Status::Returned => Ok(()),
            Status::Confirmed => {
                self.end(offer, claim, Status::Returned);
                if restock {
                    self.serve(offer, self.offers[offer].terms.standby_hold_ms, now);
                } else {
                    self.offers[offer].terms.quantity -= self.offers[offer].claims[claim].quantity;
                }
                Ok(())
            }
            _ => Err("not_held"),
        }
    }

    pub fn join_standby(&mut self, offer: usize, user: u8, quantity: u32, now: i64) -> Result<usize, Refused> {
        self.settle(offer, now);
        self.check_open(offer, now)?;
        let o = &self.offers[offer];
        if !o.terms.standby {
            return Err("no_standby");
        }
        let newest = (0..o.standby.len()).rev().find(|&i| o.standby[i].user == user);
        let stands = newest.filter(|&i| match o.standby[i].status {
            StandbyStatus::Waiting => true,
            StandbyStatus::Served(claim) => o.claims[claim].status == Status::Held,
            StandbyStatus::Left | StandbyStatus::Passed => false,
        });
        if let Some(known) = stands {
            return if o.standby[known].quantity == quantity { Ok(known) } else { Err("limit_reached") };
        }
        if !o.within_limit(user, quantity) {
            return Err("limit_reached");
        }
        if quantity < o.terms.min || quantity > o.terms.max {
            return Err("quantity_invalid");
        }
        if !o.can_be_served(quantity) {
            return Err("quantity_invalid");
        }
        self.offers[offer].standby.push(Standby { user, quantity, status: StandbyStatus::Waiting });
        let index = self.offers[offer].standby.len() - 1;
        self.serve(offer, self.offers[offer].terms.hold_ms, now);
        Ok(index)
    }

    pub fn leave_standby(&mut self, offer: usize, standby: usize, now: i64) {
        self.settle(offer, now);
        if self.offers[offer].standby[standby].status == StandbyStatus::Waiting {
            self.offers[offer].standby[standby].status = StandbyStatus::Left;
            self.serve(offer, self.offers[offer].terms.standby_hold_ms, now);
        }
    }

    /// Everything of the user in a closed offer is `nobody`'s from here on. Whether there was anything.
    pub fn forget(&mut self, offer: usize, user: u8, nobody: u8, now: i64) -> Result<(u32, u32), Refused> {
        self.settle(offer, now);
        let closed = self.offers[offer].is_closed(now);
        let o = &mut self.offers[offer];
        if !closed || o.claims.iter().any(|claim| claim.user == user && claim.status == Status::Held) {
            return Err("in_use");
        }
        let (mut claims, mut places) = (0, 0);
        for claim in o.claims.iter_mut().filter(|claim| claim.user == user) {
            (claim.user, claim.key, claim.attributes, claim.pass) = (nobody, None, None, None);
            claim.version += 1;
            claims += 1;
        }
        for place in o.standby.iter_mut().filter(|place| place.user == user) {
            place.user = nobody;
            if place.status == StandbyStatus::Waiting {
                place.status = StandbyStatus::Left;
            }
            places += 1;
        }
        Ok((claims, places))
    }

    pub fn restock(&mut self, offer: usize, delta: i64, now: i64) -> Result<(), Refused> {
        self.settle(offer, now);
        let o = &mut self.offers[offer];
        let quantity = i64::from(o.terms.quantity) + delta;
        if quantity < i64::from(o.held() + o.confirmed()) {
            return Err("quantity_taken");
        }
        o.terms.quantity = u32::try_from(quantity).unwrap();
        self.serve(offer, self.offers[offer].terms.standby_hold_ms, now);
        Ok(())
    }

    /// An edit; whoever can be served by it is served next time anyone looks.
    pub fn define(&mut self, offer: usize, edit: impl FnOnce(&mut Terms), now: i64) -> Result<(), Refused> {
        self.settle(offer, now);
        let mut terms = self.offers[offer].terms.clone();
        edit(&mut terms);
        if terms.quantity < self.offers[offer].held() + self.offers[offer].confirmed() {
            return Err("quantity_taken");
        }
        if terms.once && !self.offers[offer].waiting().is_empty() {
            return Err("in_use");
        }
        self.offers[offer].terms = terms;
        Ok(())
    }

    pub fn close(&mut self, offer: usize, now: i64) {
        self.settle(offer, now);
        let terms = &mut self.offers[offer].terms;
        if terms.closes_at.is_none_or(|at| at > now) {
            terms.closes_at = Some(now);
            terms.opens_at = terms.opens_at.filter(|&at| at <= now);
        }
    }
}
