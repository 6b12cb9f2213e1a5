//! The projector one step at a time, for a simulation that decides when it runs and where it fails.

use super::fault::{self, Point};
use super::{Progress, Projector, Work};
use crate::error::LedgerError;
use crate::ledger::Ledger;
use bunho_journal::Journal;

/// The projector with what its loop keeps between steps.
pub struct Stepped {
    projector: Projector,
    work: Work,
}

impl Stepped {
    /// As [`Projector::new`].
    #[must_use]
    pub fn new(ledger: Ledger, journal: Journal) -> Self {
        Self { projector: Projector::new(ledger, journal), work: Work::default() }
    }

    /// Events that a guard refused.
    #[must_use]
    pub fn parked(&self) -> u64 {
        self.projector.parked()
    }

    /// Projects one batch, or fails at `point`. Whether there is more. After a failure the caller may step again, as the loop
    /// does, or drop it, as the end of a process does.
    ///
    /// # Errors
    /// What the database or the journal said, or the simulated failure.
    pub async fn step(&mut self, point: Option<Point>) -> Result<bool, LedgerError> {
        let seen = self.projector.journal.durable();
        fault::arm(point);
        let outcome = self.projector.step(&mut self.work, seen).await;
        fault::arm(None);
        outcome.map(|progress| progress == Progress::More)
    }

    /// Trims the journal behind what was committed here.
    pub async fn trim(&mut self) {
        self.projector.trim(&mut self.work, 1).await;
    }
}
