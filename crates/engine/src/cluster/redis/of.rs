//! What a tag is of: some offers, or one zone's line. All that a tag's task does differently for the two is here: the script, the keys
//! that a run declares, and the commands about the outbox itself.

use super::line::{self, ZoneHome};
use super::link::{EntryId, slot_of};
use super::script::Script;
use super::shipper::Entry;
use super::wire::start;
use bunho_domain::event::{Event, ZoneChange};
use std::collections::BTreeSet;
use std::time::Duration;

/// Entries that a relay reads at once, and ids in one command that removes them: below Lua's limit for unpack.
pub(super) const ENTRIES_MOST: usize = 256;

/// An offer or a zone by its number. As the name of an outbox: that of the offers whose tag has this number, or the zone's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Of {
    /// An offer.
    Offer(u32),
    /// A zone.
    Zone(u32),
}

impl std::fmt::Display for Of {
    /// The text between the braces of its keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Offer(number) => write!(f, "{number}"),
            Self::Zone(number) => write!(f, "z{number}"),
        }
    }
}

impl Of {
    pub(super) fn slot(self) -> u16 {
        slot_of(&self.to_string())
    }

    pub(super) fn outbox(self, prefix: &str) -> String {
        format!("{prefix}:{{{self}}}:outbox")
    }

    /// Who it is that has this number in an entry of this outbox.
    pub(super) const fn decider(self, number: u32) -> Self {
        match self {
            Self::Offer(_) => Self::Offer(number),
            Self::Zone(_) => Self::Zone(number),
        }
    }

    pub(super) fn script(self, when_full: bool) -> &'static Script {
        match (self, when_full) {
            (Self::Offer(_), false) => &super::script::SCRIPT,
            (Self::Offer(_), true) => &super::script::WHEN_FULL,
            (Self::Zone(_), false) => &line::script::RUN,
            (Self::Zone(_), true) => &line::script::WHEN_FULL,
        }
    }

    /// The keys of a run over commands about these offers.
    ///
    /// Of offers all are named, not only the one that tells the slot: while a slot is on its way to another node, Redis then refuses the run
    /// instead of deciding with half of the state. A line's keys are too many for that: nothing is decided about it until its whole
    /// slot has arrived (see `lua/line/main.lua`).
    pub(super) fn keys(self, outbox: &str, offers: impl Iterator<Item = u32>) -> Vec<String> {
        let mut keys = vec![outbox.to_owned()];
        if let Self::Offer(number) = self {
            let base = outbox.strip_suffix("outbox").unwrap_or_default();
            let offers: BTreeSet<u32> = offers.chain([number]).collect();
            keys.extend(offers.iter().flat_map(|offer| ["", ":due", ":wait"].map(|set| format!("{base}{offer}{set}"))));
        }
        keys
    }

    /// Whether [`Self::keys`] are all keys that a run may touch.
    pub(super) const fn declares_all(self) -> bool {
        matches!(self, Self::Offer(_))
    }

    /// The command that removes entries which the journal has. What a zone reserved by them it may use from then on.
    pub(super) fn removal(self, epoch: u32, draining: bool, entries: &[&Entry]) -> Vec<u8> {
        match self {
            Self::Offer(offer) => {
                let mut command = start("shipped", offer, epoch, 2).none().none().array(2 * entries.len());
                for entry in entries {
                    command = command.text(&entry.id.to_string()).int(entry.version.cast_signed());
                }
                command.bool(draining).finish()
            }
            Self::Zone(number) => {
                let reserved = entries.iter().flat_map(|entry| &entry.record.events).filter_map(reservation).max();
                let entries: Vec<(String, u64)> = entries.iter().map(|entry| (entry.id.to_string(), entry.version)).collect();
                let command = line::Command::Shipped { entries: &entries, reserved, draining };
                line::packed(ZoneHome { number, epoch }, None, None, command)
            }
        }
    }

    /// The command that reads entries from an id on; with an age, only such as are at least so old.
    pub(super) fn read_outbox(self, from: EntryId, most: usize, age: Option<Duration>) -> Vec<u8> {
        let age_ms = age.map(|age| age.as_millis() as u64);
        match self {
            Self::Offer(tag) => {
                let command = start("outbox", tag, 0, 3).none().none().text(&from.to_string()).int(most as i64);
                command.int_or_none(age_ms.map(u64::cast_signed)).finish()
            }
            Self::Zone(number) => {
                let command = line::Command::Outbox { from: &from.to_string(), most: most as u32, age_ms };
                line::packed(ZoneHome { number, epoch: 0 }, None, None, command)
            }
        }
    }
}

const fn reservation(event: &Event) -> Option<(u32, u32)> {
    match event {
        Event::Zone(event) => match event.change {
            ZoneChange::Reserved { epoch, upto } => Some((epoch, upto)),
            _ => None,
        },
        Event::Offer(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_spread_over_the_slots_as_offers_are() {
        // From `CLUSTER KEYSLOT`, of the keys "x:{7}:outbox" and "x:{z7}:outbox".
        assert_eq!((Of::Offer(7).outbox("x").as_str(), Of::Offer(7).slot()), ("x:{7}:outbox", 1_716));
        assert_eq!((Of::Zone(7).outbox("x").as_str(), Of::Zone(7).slot()), ("x:{z7}:outbox", 8_486));
        assert_eq!(ZoneHome { number: 7, epoch: 1 }.outbox("x"), Of::Zone(7).outbox("x"));
        let thirds: BTreeSet<u16> = (0..300).map(|number| Of::Zone(number).slot() / 5_462).collect();
        assert_eq!(thirds.len(), 3);
    }
}
