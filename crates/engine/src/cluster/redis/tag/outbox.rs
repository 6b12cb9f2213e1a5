//! What becomes of the entries of a tag's outbox, and of the answers that wait for them: shipped, removed, and what others left, relayed.

use super::{Step, Tag};
use crate::cluster::redis::DecideError;
use crate::cluster::redis::link::{EntryId, entry_id};
use crate::cluster::redis::of::{ENTRIES_MOST, Of};
use crate::cluster::redis::order::{Left, Order, Removal};
use crate::cluster::redis::shipper::Entry;
use crate::cluster::redis::wire::{self, Written};
use bunho_journal::crash_point;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the outbox is looked at while answers wait for what another node ships.
pub(super) const PEEK: Duration = Duration::from_millis(2);
/// How often answers are thrown away that nobody waits for any more.
const SWEEP: Duration = Duration::from_millis(100);
/// Before entries are shipped again that the journal did not take.
const SHIP_AGAIN: Duration = Duration::from_millis(100);

impl Tag {
    pub(super) fn take_entry(&mut self, id: EntryId, written: Written) {
        if self.mine.insert(id) {
            crash_point!("cluster::decided");
            let Written { record, number, epoch, version } = written;
            self.unshipped.push(Arc::new(Entry { id, tag: self.of, of: self.of.decider(number), epoch, version, record }));
        }
    }

    pub(super) fn ship(&mut self) {
        if self.shipping || self.unshipped.is_empty() || Instant::now() < self.ship_from {
            return;
        }
        self.shipping = true;
        let (entries, shipper) = (std::mem::take(&mut self.unshipped), self.shipper.clone());
        self.steps.push(Box::pin(async move {
            let done = shipper.ship(entries.clone()).await;
            Step::Shipped(entries, done)
        }));
    }

    pub(super) fn shipped(&mut self, mut entries: Vec<Arc<Entry>>, done: bool) {
        self.shipping = false;
        if !done {
            entries.append(&mut self.unshipped);
            self.unshipped = entries;
            self.ship_from = Instant::now() + SHIP_AGAIN;
            return;
        }
        let mut by_decider: BTreeMap<(Of, u32, bool), Vec<&Entry>> = BTreeMap::new();
        for entry in &entries {
            let draining = self.drained.remove(&entry.id);
            by_decider.entry((entry.of, entry.epoch, draining)).or_default().push(entry);
        }
        for ((of, epoch, draining), entries) in by_decider {
            for entries in entries.chunks(ENTRIES_MOST) {
                self.queue.push_front(Order::removal(of, epoch, draining, entries));
            }
        }
    }

    pub(super) fn removed(&mut self, removal: Removal, answer: &[u8], replicated: bool) {
        let Removal { of, epoch, draining, ids } = removal;
        let is_done = wire::done(answer).is_some();
        if !is_done || replicated || draining {
            // If not: it was suspended meanwhile, or Redis has stepped back, and what these entries did may be undone.
            return self.are_gone(&ids, is_done);
        }
        let shipper = self.shipper.clone();
        self.steps.push(Box::pin(async move {
            let is_current = shipper.is_current(of, epoch).await;
            Step::Asked(ids, is_current)
        }));
    }

    pub(super) fn are_gone(&mut self, ids: &[EntryId], counts: bool) {
        if counts {
            crash_point!("cluster::removed");
            for id in ids {
                self.mine.remove(id);
            }
            self.release();
        } else {
            self.give_up(ids);
        }
    }

    /// Whoever waits for these entries cannot be told any more whether they stand.
    pub(super) fn give_up(&mut self, ids: &[EntryId]) {
        // They are to be found again: as what another node left.
        self.read_to = EntryId::default();
        for id in ids {
            self.mine.remove(id);
            for waiting in self.waiting.remove(id).into_iter().flatten() {
                let _ = waiting.to.send(Err(DecideError::Indeterminate("it was suspended before its entry was removed".into())));
            }
        }
    }

    /// Gives the answers that depend on nothing that is still in the outbox. What this node wrote has left it only when Redis said so to
    /// this node: an entry that is merely not there may have been lost with a primary.
    pub(super) fn release(&mut self) {
        let head = self.mine.first().map_or(self.head, |first| self.head.min(*first));
        let still = self.waiting.split_off(&head);
        for waiting in std::mem::replace(&mut self.waiting, still).into_values().flatten() {
            let _ = waiting.to.send(Ok(waiting.answer));
        }
    }

    /// What was in the outbox may be lost, and later entries may have lower ids: that one is not there says nothing of whether the journal has it.
    /// This node's own are another matter, since they leave when Redis says so to this node.
    pub(super) fn another_life(&mut self, life: Vec<u8>) {
        self.life = life;
        self.head = EntryId::default();
        self.read_to = EntryId::default();
        for (_, waiting) in self.waiting.extract_if(.., |id, _| !self.mine.contains(id)) {
            for waiting in waiting {
                let reason = "Redis may have lost what another node decided";
                let _ = waiting.to.send(Err(DecideError::Indeterminate(reason.into())));
            }
        }
    }

    /// Looks after answers that wait for what another node ships.
    pub(super) fn look(&mut self) {
        let now = Instant::now();
        if now >= self.swept + SWEEP {
            self.swept = now;
            self.waiting.retain(|_, waiting| {
                waiting.retain(|waiting| !waiting.to.is_closed());
                !waiting.is_empty()
            });
        }
        let held_up = self.held_up_since();
        let relay_after = self.gathering.relay_after;
        let late = held_up.is_some_and(|since| now >= since + relay_after) && now >= self.relayed + relay_after;
        if (late || self.relay_due.is_some_and(|due| now >= due)) && !self.relaying {
            (self.relaying, self.relay_due, self.relayed) = (true, None, now);
            let left = if std::mem::take(&mut self.draining) { Left::Ever } else { Left::Now };
            self.queue.push_front(Order::relay(self.of, self.read_to.next(), left, relay_after));
        } else if held_up.is_some() && self.runs == 0 && self.queue.is_empty() && now >= self.looked + PEEK {
            self.run(Vec::new(), self.full);
        }
    }

    /// Since when the first answer has waited for what another node ships, if it does. Of what waits for this node's own shipping there is
    /// nothing new to be found in the outbox.
    pub(super) fn held_up_since(&self) -> Option<Instant> {
        let (id, waiting) = self.waiting.first_key_value()?;
        self.mine.first().is_none_or(|mine| id < mine).then(|| waiting[0].since)
    }

    /// Has the outbox read at that time, if it is not read before.
    pub(super) fn relay_at(&mut self, due: Instant, left: Left) {
        self.relay_due = Some(self.relay_due.map_or(due, |before| before.min(due)));
        self.draining |= left == Left::Ever;
    }

    pub(super) fn relay(&mut self, answer: &[u8], left: Left, from: EntryId) {
        self.relaying = false;
        // Unless some of what is before was given up meanwhile.
        let goes_on = from <= self.read_to.next();
        let mut last = self.read_to;
        let Some(mut reader) = wire::done(answer) else { return };
        let Ok(count) = reader.array() else { return };
        for _ in 0..count / 2 {
            let (Ok(id), Ok(packed)) = (reader.bytes(), reader.bytes()) else { return };
            let Some(id) = entry_id(id) else { return };
            match wire::written(packed) {
                Ok(written) => {
                    if left == Left::Ever && !self.mine.contains(&id) {
                        self.give_up(&[id]);
                        self.drained.insert(id);
                    }
                    self.take_entry(id, written);
                }
                Err(error) => tracing::error!(tag = %self.of, %id, %error, "an entry of the outbox cannot be read"),
            }
            last = id;
        }
        if goes_on {
            self.read_to = last;
        }
        crash_point!("cluster::relayed");
        // Entries of this node's own runs came with their answers and may be later than these.
        self.unshipped.sort_by_key(|entry| entry.id);
        if count / 2 >= ENTRIES_MOST {
            self.relay_at(Instant::now(), left);
        }
    }
}
