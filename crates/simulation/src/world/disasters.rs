//! Time that passes as it likes, ends of processes and machines, and starts after them.

use super::World;
use crate::crowd::Crowd;
use crate::history::ensure;
use crate::machine::Finding;
use bunho_domain::ids::ClaimId;
use bunho_journal::simulated::{Crash, Did, Tear};
use std::sync::atomic::Ordering;

impl World {
    /// Time passes: a little, up to the very deadline of a hold, by a jump, or back.
    pub(super) fn pass_time(&mut self) {
        self.count("clock");
        let now_ms = self.machine.now_ms();
        let mut delta = self.dice.between(1, 120) as i64;
        if self.dice.one_in(5)
            && let Some((deadline, claim)) = self.nearest_deadline(now_ms)
        {
            // The millisecond before, the very one, or the one after; and somebody who pays just then.
            delta = (deadline - now_ms + self.dice.below(3) as i64 - 1).max(1);
            if self.dice.one_in(2) {
                self.send(Crowd::pays(claim));
            }
        }
        self.true_ms += delta;
        if self.dice.one_in(self.chances.clock_jump) {
            self.tally.fault("clock forward");
            delta += self.dice.between(1_000, 90_000) as i64;
        } else if self.dice.one_in(self.chances.clock_back) {
            self.tally.fault("clock back");
            delta -= self.dice.between(1, 30_000) as i64;
        }
        self.machine.clock.fetch_add(delta, Ordering::Relaxed);
    }

    /// The next deadline of a hold within some seconds, as clients were told it.
    fn nearest_deadline(&self, now_ms: i64) -> Option<(i64, ClaimId)> {
        let claims =
            self.history.offers.values().flat_map(|offer| offer.claims.values().rev().take(12)).filter_map(|versions| versions.last());
        let held = claims
            .filter(|claim| claim.status == bunho_domain::claim::Status::Held)
            .filter_map(|claim| Some((claim.hold_expires_at?.0, claim.id)));
        held.filter(|(deadline, _)| (now_ms + 1..now_ms + 3_000).contains(deadline)).min()
    }

    /// The process is told to stop: it takes nothing more, writes what it has and answers everybody.
    pub(super) fn stop(&mut self) -> Result<(), Finding> {
        let Some(node) = &self.node else { return Ok(()) };
        self.tally.fault("orderly stop");
        node.journal.close();
        self.closing = true;
        let settled = self.settle();
        self.closing = false;
        settled?;
        // Settling has started it anew where the disk failed meanwhile.
        self.crash()
    }

    /// The process ends, or the whole machine.
    pub(super) fn crash(&mut self) -> Result<(), Finding> {
        let Some(node) = self.node.take() else { return Ok(()) };
        self.closing = false;
        for task in self.tasks.drain(..) {
            self.crowd.misses(&task.request, self.true_ms);
        }
        let mut tear = || {
            let at = self.dice.below(1_000) as u16;
            if self.dice.one_in(2) { Tear::Cut(at) } else { Tear::Hole(at) }
        };
        let tear = tear();
        let crash = if self.dice.one_in(2) {
            self.tally.fault("power cut");
            let kept = self.dice.below(self.machine.disk.unsynced() as u64 + 1) as usize;
            let torn = (!self.dice.one_in(3)).then_some(tear);
            if torn.is_some() && kept < self.machine.disk.unsynced() {
                self.tally.fault("torn write");
            }
            Crash::PowerCut { kept, torn }
        } else {
            self.tally.fault("kill");
            if self.torn_from == Some(Did::Wrote) && self.dice.one_in(2) {
                self.tally.fault("torn write");
                self.machine.disk.tear_last_write(tear);
            }
            Crash::Kill
        };
        self.note(&crash);
        self.torn_from = None;
        self.machine.end(node, crash);
        // A while passes before it is started again, and the clock may be set meanwhile.
        let while_ms = self.dice.between(1, 4_000) as i64;
        self.true_ms += while_ms;
        let mut delta = while_ms;
        if self.dice.one_in(6) {
            self.tally.fault("restart with earlier clock");
            delta -= self.dice.between(1, 60_000) as i64;
        }
        self.machine.clock.fetch_add(delta, Ordering::Relaxed);
        Ok(())
    }

    /// The process starts, and must know exactly what has happened.
    pub(super) fn start(&mut self) -> Result<(), Finding> {
        self.lives += 1;
        let noted = self.machine.disk.time();
        let node = self.machine.start(self.seed.wrapping_mul(1_000_003).wrapping_add(self.lives))?;
        self.history.clock_max = self.history.clock_max.max(self.machine.now_ms());
        let durable = node.journal.durable();
        ensure!(durable >= self.history.offset, "record {} was safe, the journal ends at {durable}", self.history.offset);
        self.learn()?;
        ensure!(durable == self.history.offset, "the journal ends at {durable}, the disk at {}", self.history.offset);
        self.history.check_grants()?;
        self.told.check(&self.history)?;
        for offer in self.history.offers.values().filter(|offer| !offer.deleted) {
            let engine = self.machine.runtime.block_on(node.claims_after(offer.number, None, usize::MAX));
            let expected = offer.claims.values().filter_map(|versions| versions.last());
            ensure!(
                engine.len() == offer.claims.len(),
                "offer {}: {} claims after a restart, {} before",
                offer.settings.id,
                engine.len(),
                offer.claims.len()
            );
            for (engine, expected) in engine.iter().zip(expected) {
                ensure!(engine == expected, "after a restart: {engine:?}, before: {expected:?}");
            }
        }
        let now_ms = self.machine.now_ms();
        self.history.restarted(*node.ledger.projected().borrow(), noted.0, now_ms);
        self.crowd.restarted(self.history.at.max(now_ms));
        self.node = Some(node);
        Ok(())
    }
}
