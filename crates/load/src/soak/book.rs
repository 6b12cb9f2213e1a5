//! The soak's own book: what was asked for, and what the server said to it.
//!
//! Every claim is asked for with a key, and a call without a sure answer is made again until it has one. So at any moment each key is asked for and open, or told
//! and there, or refused and not there; `checks` holds that against SQL.

use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// Findings that are told; further ones are only counted.
pub(super) const FINDINGS_MAX: usize = 50;

/// A claim's state, as the server names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Held,
    Confirmed,
    Released,
    Expired,
    Returned,
}

impl Status {
    pub(super) fn read(word: &str) -> Option<Self> {
        Some(match word {
            "held" => Self::Held,
            "confirmed" => Self::Confirmed,
            "released" => Self::Released,
            "expired" => Self::Expired,
            "returned" => Self::Returned,
            _ => return None,
        })
    }

    /// Whether a claim that was told to be so may be `later` when it is looked at again.
    pub(super) fn may_become(self, later: Self) -> bool {
        match self {
            Self::Held => true,
            Self::Confirmed => matches!(later, Self::Confirmed | Self::Returned),
            ended => ended == later,
        }
    }
}

/// A claim that was told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) user: String,
    pub(super) quantity: u64,
    pub(super) version: u64,
    pub(super) status: Status,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing sure is known: it may be there or not.
    Open,
    /// It gave this claim.
    Told(String),
    /// It was refused.
    Refused,
}

/// One offer.
#[derive(Default)]
pub(super) struct OfferBook {
    pub(super) claims: HashMap<String, Told>,
    pub(super) keys: HashMap<String, Fate>,
}

/// What an offer had when it was deleted: its rows must never change again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) claims: u64,
    /// Of all rows, in whatever order they come.
    pub(super) digest: u64,
}

/// Everything that was told.
#[derive(Default)]
pub(super) struct Book {
    pub(super) offers: BTreeMap<String, OfferBook>,
    pub(super) closed: BTreeMap<String, Closed>,
    /// What was told by each kind.
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// What must not be.
    pub(super) findings: Vec<String>,
    pub(super) findings_total: u64,
}

impl Book {
    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Something that must not be.
    pub(super) fn find(&mut self, what: String) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(what);
        }
    }

    fn offer(&mut self, offer: &str) -> &mut OfferBook {
        if !self.offers.contains_key(offer) {
            self.offers.insert(offer.into(), OfferBook::default());
        }
        self.offers.entry(offer.into()).or_default()
    }

    /// A key is about to be used.
    pub(super) fn asks(&mut self, offer: &str, key: &str) {
        self.offer(offer).keys.entry(key.into()).or_insert(Fate::Open);
    }

    /// A key was refused.
    pub(super) fn refused(&mut self, offer: &str, key: &str) {
        let fate = self.offer(offer).keys.insert(key.into(), Fate::Refused);
        if let Some(Fate::Told(claim)) = fate {
            self.find(format!("key {key} of {offer} gave {claim} and was refused later"));
        }
        self.count("refused");
    }

    /// A claim was answered; with the key that asked for it, or none where it came by a grant or by standby.
    pub(super) fn told(&mut self, key: Option<&str>, replayed: bool, answer: &Value) {
        let (Some(id), Some(told)) = (answer["id"].as_str(), read(answer)) else {
            return self.find(format!("an answer cannot be read: {answer}"));
        };
        let name = answer["offer"].as_str().unwrap_or_default();
        let offer = self.offer(name);
        let mut wrong = None;
        if let Some(key) = key {
            match offer.keys.insert(key.into(), Fate::Told(id.into())) {
                Some(Fate::Told(other)) if other != id => wrong = Some(format!("key {key} of {name} gave {other} and {id}")),
                Some(Fate::Refused) => wrong = Some(format!("key {key} of {name} was refused and gave {id} later")),
                _ => {}
            }
        }
        match offer.claims.get_mut(id) {
            None => {
                offer.claims.insert(id.into(), told);
                self.count("claims told");
            }
            // What a key answers is what was told at first.
            Some(known) if replayed => {
                if (&known.user, known.quantity) != (&told.user, told.quantity) {
                    wrong = Some(format!("{id} was told as {known:?} and then as {told:?}"));
                }
            }
            Some(known) if told.version < known.version || !known.status.may_become(told.status) => {
                wrong = Some(format!("{id} was told as {known:?} and then as {told:?}"));
            }
            Some(known) => *known = told,
        }
        if let Some(wrong) = wrong {
            self.find(wrong);
        }
    }

    /// A confirmation gave this claim of another offer.
    pub(super) fn granted(&mut self, offer: &str, id: &str, user: &str) {
        let told = Told { user: user.into(), quantity: 1, version: 1, status: Status::Confirmed };
        if self.offer(offer).claims.insert(id.into(), told).is_none() {
            self.count("coupons granted");
        }
    }
}

fn read(answer: &Value) -> Option<Told> {
    Some(Told {
        user: answer["user"].as_str()?.into(),
        quantity: answer["quantity"].as_u64()?,
        version: answer["version"].as_u64()?,
        status: Status::read(answer["status"].as_str()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claim(id: &str, version: u64, status: &str) -> Value {
        json!({"id": id, "offer": "o", "user": "u", "quantity": 1, "version": version, "status": status})
    }

    #[test]
    fn contradictions_are_found() {
        let check = |tell: &dyn Fn(&mut Book), findings: u64| {
            let mut book = Book::default();
            book.asks("o", "k");
            tell(&mut book);
            assert_eq!(book.findings_total, findings, "{:?}", book.findings);
        };
        check(&|book| book.told(Some("k"), false, &claim("a", 1, "held")), 0);
        let held_then = |version, status: &'static str, replayed| {
            move |book: &mut Book| {
                book.told(Some("k"), false, &claim("a", 1, "held"));
                book.told(None, false, &claim("a", 2, "confirmed"));
                book.told(Some("k"), replayed, &claim("a", version, status));
            }
        };
        check(&held_then(1, "held", true), 0);
        check(&held_then(1, "held", false), 1);
        check(&held_then(3, "returned", false), 0);
        check(&held_then(3, "released", false), 1);
        check(
            &|book| {
                book.told(Some("k"), false, &claim("a", 1, "held"));
                book.told(Some("k"), true, &claim("b", 1, "held"));
            },
            1,
        );
        check(
            &|book| {
                book.refused("o", "k");
                book.told(Some("k"), true, &claim("b", 1, "held"));
            },
            1,
        );
        check(
            &|book| {
                book.told(Some("k"), false, &claim("a", 1, "held"));
                book.refused("o", "k");
            },
            1,
        );
    }
}
