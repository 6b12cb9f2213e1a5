//! A command on its way through the task of its tag.

use super::DecideError;
use super::link::EntryId;
use super::of::{ENTRIES_MOST, Of};
use super::shipper::Entry;
use std::time::Duration;
use tokio::sync::oneshot;

/// A packed answer, or why there is none.
pub(super) type Answer = Result<Vec<u8>, DecideError>;

/// Whether a command that may have run can be asked again without doing it twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It never writes anything, so there is nothing to do twice. (Most reads do: they settle what is due.)
    Freely,
    Yes,
    No,
}

/// When an answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    Decided,
    Shipped,
}

/// What the task of a tag is asked for.
pub(super) enum Request {
    Decide(Order),
    /// To ship what the outbox holds, whoever wrote it.
    Relay(Left),
}

/// A command on its way.
pub(super) struct Order {
    pub(super) command: Vec<u8>,
    /// The offers whose keys it needs: mostly one. A zone has no use for them.
    pub(super) offer: u32,
    pub(super) others: Vec<u32>,
    pub(super) repeat: Repeat,
    pub(super) until: Until,
    pub(super) tries: u8,
    pub(super) to: To,
}

/// Who gets an order's answer.
pub(super) enum To {
    Caller(oneshot::Sender<Answer>),
    /// The tag's task: these entries should be gone now.
    Removal(Removal),
    /// The tag's task: entries to ship for others, from this id on.
    Relay(Left, EntryId),
}

/// Entries that the journal has.
#[derive(Clone, Debug)]
pub(super) struct Removal {
    /// Who decided them, and its epoch then.
    pub(super) of: Of,
    pub(super) epoch: u32,
    /// Whoever waits for them was told that nobody knows.
    pub(super) draining: bool,
    pub(super) ids: Vec<EntryId>,
}

/// What a relay does with what it finds in the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Ships what its node should have shipped by now, and removes what was decided under the epoch that the offer or zone still has.
    Now,
    /// Ships and removes everything, what an earlier epoch left as well: before state is loaded anew.
    Ever,
}

impl Order {
    pub(super) fn offers(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.offer).chain(self.others.iter().copied())
    }

    /// Whether an earlier try may have done what it asks for: after that no answer may say that nothing happened.
    pub(super) fn may_have_run(&self) -> bool {
        self.tries > 0 && self.repeat != Repeat::Freely
    }

    /// Whether it can be done when Redis is full: it frees memory, or takes none.
    pub(super) fn runs_when_full(&self) -> bool {
        matches!(self.to, To::Removal(_)) || !self.may_write()
    }

    pub(super) fn may_write(&self) -> bool {
        self.repeat != Repeat::Freely
    }

    pub(super) fn removal(of: Of, epoch: u32, draining: bool, entries: &[&Entry]) -> Self {
        let removal = Removal { of, epoch, draining, ids: entries.iter().map(|entry| entry.id).collect() };
        Self::of_the_task(of, of.removal(epoch, draining, entries), Repeat::Yes, To::Removal(removal))
    }

    pub(super) fn relay(tag: Of, from: EntryId, left: Left, relay_after: Duration) -> Self {
        // Younger ones are on their way, as a rule. Who drains is sure that they are not.
        let age = (left == Left::Now).then_some(relay_after);
        Self::of_the_task(tag, tag.read_outbox(from, ENTRIES_MOST, age), Repeat::Freely, To::Relay(left, from))
    }

    fn of_the_task(of: Of, command: Vec<u8>, repeat: Repeat, to: To) -> Self {
        let (Of::Offer(offer) | Of::Zone(offer)) = of;
        Self { command, offer, others: Vec::new(), repeat, until: Until::Decided, tries: 0, to }
    }
}
