//! Compares an engine with the ledger, claim by claim, and the ledger with itself.
//!
//! Claim ids sort in the order of taking on both sides, so two ordered streams are merged page by page and memory does
//! not grow with the offer. A running engine is ahead of the ledger by what is on its way: a page that differs is read
//! again after a pause, and only what differs every time counts.

mod inside;
mod merge;
mod repair;

use crate::error::LedgerError;
use crate::ledger::Ledger;
use bunho_domain::claim::{Claim, Status};
use bunho_domain::ids::{ClaimId, OfferId};
use bunho_domain::time::Millis;
use merge::Difference;
use repair::Wrong;
use std::time::Duration;

/// Claims of a page. Two pages of some 300 bytes a claim are all that is kept: 0.6 MB.
const PAGE: usize = 1_000;
/// How often a page that differs is read again.
const SETTLE_TRIES: usize = 5;
/// Pause before that; several batches of a projector that keeps up.
const SETTLE_PAUSE: Duration = Duration::from_millis(100);
/// Such pauses of a whole run: real differences on every page of a large offer must not make it last for ever.
const SETTLE_PAUSES_MAX: usize = 50;
/// Differences that are listed one by one; the rest are counted.
const EXAMPLES_MAX: usize = 100;

/// What to do about differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Only report them.
    No,
    /// Write the engine's claims over the ledger's. Claims that only the ledger has are left to a human.
    Ledger {
        /// When; marks the parked events that this resolves.
        at: Millis,
    },
}

/// One claim that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Which.
    pub claim: ClaimId,
    /// How the engine has it: status and version; none: not at all.
    pub engine: Option<(Status, u32)>,
    /// How the ledger has it; none: not at all.
    pub ledger: Option<(Status, u32)>,
}

/// An offer of which more is taken than there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oversold {
    /// Its id.
    pub offer: OfferId,
    /// Units there are.
    pub quantity: u64,
    /// Units of held and confirmed claims.
    pub taken: u64,
}

/// What a reconciliation found. The counts are of what it met, also where it then repaired it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Claims that both sides have.
    pub compared: u64,
    /// Claims that only the engine has.
    pub missing_in_ledger: u64,
    /// Claims that only the ledger has.
    pub missing_in_engine: u64,
    /// Claims that both have, in different states.
    pub different: u64,
    /// Claims that were written to the ledger.
    pub repaired: u64,
    /// Claims that should have been, and a constraint of the ledger refused.
    pub unrepaired: u64,
    /// Parked events that nobody has mended; counted at the end.
    pub parked: u64,
    /// Offers of which the ledger has more taken than there is.
    pub oversold: Vec<Oversold>,
    /// Places of a user, or Idempotency-Keys, that the ledger gave to more than one claim.
    pub duplicates: u64,
    /// Claims whose row and newest row of history do not agree.
    pub history_differs: u64,
    /// The first hundred differences.
    pub examples: Vec<Example>,
}

impl Report {
    /// Whether both sides agree and the ledger agrees with itself.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.missing_in_ledger + self.missing_in_engine + self.different + self.parked + self.duplicates + self.history_differs == 0
            && self.oversold.is_empty()
    }
}

/// A reconciliation under way: [`Self::offer`] for each offer of either side, then [`Self::finish`].
#[derive(Debug)]
pub struct Reconciliation<'a> {
    ledger: &'a Ledger,
    repair: Repair,
    pauses_left: usize,
    report: Report,
}

/// Both sides of one range of ids.
struct Page {
    engine: Vec<Claim>,
    ledger: Vec<Claim>,
    /// Last id of the range; none: the range ends with the offer.
    upto: Option<ClaimId>,
}

impl<'a> Reconciliation<'a> {
    /// Begins one.
    #[must_use]
    pub fn new(ledger: &'a Ledger, repair: Repair) -> Self {
        Self { ledger, repair, pauses_left: SETTLE_PAUSES_MAX, report: Report::default() }
    }

    /// Compares one offer, by its number. `engine` gives at most so many of its claims after the given one, in the
    /// order of their ids; fewer than asked for means that there are no more. An offer that the engine does not have
    /// is a source that is always empty. (A plain function that returns a future, because what an `AsyncFnMut` returns
    /// cannot be said to be Send, and a server wants to spawn this.)
    ///
    /// # Errors
    /// The ledger cannot be read, or written in a repair.
    pub async fn offer<F>(&mut self, number: u32, mut engine: impl FnMut(Option<ClaimId>, usize) -> F) -> Result<(), LedgerError>
    where
        F: Future<Output = Vec<Claim>>,
    {
        let mut after = None;
        loop {
            let mut page = self.page(number, after, &mut engine).await?;
            let mut differences = merge::differences(&page.engine, &page.ledger);
            for _ in 0..SETTLE_TRIES {
                if differences.is_empty() || self.pauses_left == 0 {
                    break;
                }
                self.pauses_left -= 1;
                self.ledger.want_more();
                tokio::time::sleep(SETTLE_PAUSE).await;
                let seen: Vec<ClaimId> = differences.iter().map(Difference::id).collect();
                page = self.page(number, after, &mut engine).await?;
                differences = merge::differences(&page.engine, &page.ledger);
                differences.retain(|difference| seen.binary_search(&difference.id()).is_ok());
            }
            if differences.iter().any(Difference::is_ledger_newer) {
                // The engine was read first: what it has got to since is no difference.
                let again = engine(after, PAGE).await;
                let now = |id| again.binary_search_by_key(&id, |claim| claim.id).ok().map(|index| &again[index]);
                differences.retain(|difference| !difference.is_ledger_newer() || now(difference.id()) == difference.engine());
            }
            self.report.compared += merge::shared(&page.engine, &page.ledger);
            self.note(&differences);
            if let Repair::Ledger { at } = self.repair {
                self.mend(number, at, &differences).await?;
            }
            match page.upto {
                Some(upto) => after = Some(upto),
                None => return Ok(()),
            }
        }
    }

    /// Checks the ledger against itself and hands over the report.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn finish(mut self) -> Result<Report, LedgerError> {
        inside::check(self.ledger, &mut self.report).await?;
        Ok(self.report)
    }

    async fn page<F>(
        &self,
        number: u32,
        after: Option<ClaimId>,
        engine: &mut impl FnMut(Option<ClaimId>, usize) -> F,
    ) -> Result<Page, LedgerError>
    where
        F: Future<Output = Vec<Claim>>,
    {
        let mut engine = engine(after, PAGE).await;
        let engine_end = if engine.len() < PAGE { None } else { engine.last().map(|claim| claim.id) };
        let ledger = self.ledger.claims_between(number, after, engine_end, PAGE).await?;
        if ledger.len() < PAGE {
            return Ok(Page { engine, ledger, upto: engine_end });
        }
        // The ledger has as many in this range as fit: the rest of what the engine gave belongs to the next page.
        let upto = ledger.last().map(|claim| claim.id);
        engine.retain(|claim| Some(claim.id) <= upto);
        Ok(Page { engine, ledger, upto })
    }

    fn note(&mut self, differences: &[Difference<'_>]) {
        for difference in differences {
            match difference {
                Difference::MissingInLedger(_) => self.report.missing_in_ledger += 1,
                Difference::MissingInEngine(_) => self.report.missing_in_engine += 1,
                Difference::Different { .. } => self.report.different += 1,
            }
            if self.report.examples.len() < EXAMPLES_MAX {
                self.report.examples.push(difference.example());
            }
        }
    }

    async fn mend(&mut self, number: u32, at: Millis, differences: &[Difference<'_>]) -> Result<(), LedgerError> {
        let wrong: Vec<Wrong<'_>> =
            differences.iter().filter_map(|difference| Some(Wrong { engine: difference.engine()?, ledger: difference.ledger() })).collect();
        if !wrong.is_empty() {
            let written = self.ledger.write_claims(number, &wrong, at).await?;
            self.report.repaired += written.claims;
            self.report.unrepaired += written.refused;
        }
        Ok(())
    }
}

impl Ledger {
    /// Number and id of every offer that the ledger has and that is not deleted, in the order of their numbers.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn live_offers(&self) -> Result<Vec<(u32, OfferId)>, LedgerError> {
        inside::live_offers(self).await
    }
}
