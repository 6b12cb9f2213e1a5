//! People inside whose ticket's epoch has ended: a reset ends tickets, but puts nobody out.

use crate::event::TicketNumber;
use crate::time::Millis;
use std::collections::{BTreeMap, BTreeSet};

/// Sessions of older epochs, by ticket and by their end.
#[derive(Debug, Default)]
pub(super) struct Former {
    by_ticket: BTreeMap<TicketNumber, Millis>,
    by_end: BTreeSet<(Millis, TicketNumber)>,
}

impl Former {
    pub(super) fn insert(&mut self, ticket: TicketNumber, end: Millis) {
        self.remove(ticket);
        self.by_ticket.insert(ticket, end);
        self.by_end.insert((end, ticket));
    }

    /// Ends a session. Whether there was one.
    pub(super) fn remove(&mut self, ticket: TicketNumber) -> bool {
        self.by_ticket.remove(&ticket).is_some_and(|end| self.by_end.remove(&(end, ticket)))
    }

    /// Ends one session that is over by `now`, if there is one.
    pub(super) fn pop(&mut self, now: Millis) -> Option<TicketNumber> {
        let (_, ticket) = self.by_end.first().copied().filter(|(end, _)| *end <= now)?;
        self.remove(ticket);
        Some(ticket)
    }
}
