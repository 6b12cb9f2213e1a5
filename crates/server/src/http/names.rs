//! Names of offers by number.
//!
//! A claim's id carries its offer's number, and answers carry the offer's name. A number is given once and means one name
//! for ever, so what was learned stays true. It is learned where a claim is made, and otherwise from the ledger, which
//! stores the name with each claim.

use crate::app::App;
use crate::problem::{INTERNAL, Problem, UNKNOWN_OFFER};
use arc_swap::ArcSwap;
use bunho_domain::ids::OfferId;
use std::collections::HashMap;

/// What has been learned.
#[derive(Debug, Default)]
pub(crate) struct OfferNames {
    by_number: ArcSwap<HashMap<u32, OfferId>>,
}

impl OfferNames {
    /// Notes a name.
    pub(crate) fn learn(&self, number: u32, name: &OfferId) {
        if !self.by_number.load().contains_key(&number) {
            self.by_number.rcu(|known| {
                let mut known = HashMap::clone(known);
                known.insert(number, name.clone());
                known
            });
        }
    }

    fn known(&self, number: u32) -> Option<OfferId> {
        self.by_number.load().get(&number).cloned()
    }
}

impl App {
    /// The name of an offer that somebody has something of.
    ///
    /// # Errors
    /// The ledger cannot say.
    pub(crate) async fn offer_name(&self, number: u32) -> Result<OfferId, Problem> {
        match self.names.known(number) {
            Some(name) => Ok(name),
            None => self.look_up_name(number).await?.ok_or_else(|| Problem::new(&INTERNAL)),
        }
    }

    /// The number of a live offer that claims were made of; none: there never were any.
    ///
    /// # Errors
    /// There is no such offer, or the ledger cannot say.
    pub(crate) async fn offer_number(&self, name: &OfferId) -> Result<Option<u32>, Problem> {
        if !self.engine.offer_ids().contains(name) {
            return Err(Problem::new(&UNKNOWN_OFFER));
        }
        // Newest first: of several offers that had this name, the last one is the live one.
        for number in self.engine.offer_numbers().into_iter().rev() {
            let found = match self.names.known(number) {
                Some(found) => Some(found),
                None => self.look_up_name(number).await?,
            };
            if found.as_ref() == Some(name) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    async fn look_up_name(&self, number: u32) -> Result<Option<OfferId>, Problem> {
        let (claims, _) = self.engine.claims_from(number, 0, 1);
        let Some(claim) = claims.first() else { return Ok(None) };
        self.engine.ledger_caught_up().await?;
        let row = self.ledger.claim(claim.id).await?;
        Ok(row.map(|row| {
            self.names.learn(number, &row.offer);
            row.offer
        }))
    }
}
