//! An offer as a client sees it, one call at a time: the simplest thing that keeps the promises.

use super::checker::Model;
use std::collections::BTreeMap;

pub struct Shop;

/// Everything that answers depend on. Claims are known by user and key, since an answer that got lost tells no id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub quantity: u32,
    pub per_user_limit: u32,
    pub claims: BTreeMap<(u32, u32), Claim>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    quantity: u32,
    status: Status,
    /// Known once an answer told it.
    id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Held,
    Confirmed,
    Released,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Claim { user: u32, key: u32, quantity: u32 },
    Confirm { user: u32, key: u32 },
    Release { user: u32, key: u32 },
    Stock,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Claimed(String),
    SoldOut,
    LimitReached,
    KeyReused,
    /// The claim is so now.
    Is(Status),
    /// It is not held any more, but so.
    NotHeld(Status),
    Stock {
        remaining: u32,
        held: u32,
        confirmed: u32,
    },
}

impl State {
    pub const fn new(quantity: u32, per_user_limit: u32) -> Self {
        Self { quantity, per_user_limit, claims: BTreeMap::new() }
    }

    fn units(&self, of: impl Fn(&(u32, u32), &Claim) -> bool) -> u32 {
        self.claims.iter().filter(|(who, claim)| of(who, claim)).map(|(_, claim)| claim.quantity).sum()
    }

    fn stock(&self) -> Answer {
        let held = self.units(|_, claim| claim.status == Status::Held);
        let confirmed = self.units(|_, claim| claim.status == Status::Confirmed);
        Answer::Stock { remaining: self.quantity - held - confirmed, held, confirmed }
    }

    fn claim(&mut self, user: u32, key: u32, quantity: u32) -> Answer {
        if let Some(claim) = self.claims.get(&(user, key)) {
            return if claim.quantity == quantity { Answer::Claimed(claim.id.clone().unwrap_or_default()) } else { Answer::KeyReused };
        }
        let taken = |claim: &Claim| claim.status != Status::Released;
        if self.units(|who, claim| who.0 == user && taken(claim)) + quantity > self.per_user_limit {
            return Answer::LimitReached;
        }
        if self.units(|_, claim| taken(claim)) + quantity > self.quantity {
            return Answer::SoldOut;
        }
        self.claims.insert((user, key), Claim { quantity, status: Status::Held, id: None });
        Answer::Claimed(String::new())
    }

    fn change(&mut self, who: (u32, u32), to: Status) -> Option<Answer> {
        // Nobody confirms or releases what no answer has told of.
        let claim = self.claims.get_mut(&who)?;
        if claim.status == Status::Held {
            claim.status = to;
        }
        Some(if claim.status == to { Answer::Is(to) } else { Answer::NotHeld(claim.status) })
    }
}

impl Model for Shop {
    type State = State;
    type Op = Op;
    type Answer = Answer;

    fn step(state: &State, op: &Op, answer: Option<&Answer>) -> Option<State> {
        let mut after = state.clone();
        let given = match *op {
            Op::Claim { user, key, quantity } => after.claim(user, key, quantity),
            Op::Confirm { user, key } => after.change((user, key), Status::Confirmed)?,
            Op::Release { user, key } => after.change((user, key), Status::Released)?,
            Op::Stock => after.stock(),
        };
        let fits = match (answer, &given, op) {
            (None, ..) => true,
            (Some(Answer::Claimed(id)), Answer::Claimed(known), Op::Claim { user, key, .. }) => {
                // The first answer that tells the id tells it for good.
                let is_same = known.is_empty() || known == id;
                let is_new = after.claims.values().all(|claim| claim.id.as_ref() != Some(id)) || known == id;
                if let Some(claim) = after.claims.get_mut(&(*user, *key)) {
                    claim.id = Some(id.clone());
                }
                is_same && is_new
            }
            (Some(answer), given, _) => answer == given,
        };
        fits.then_some(after)
    }
}
