//! The journal from outside: order and density, restarts and kills, failures, and the bytes on the wire.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cloudevents;
mod crash;
mod damage;
mod failure;
mod folder_image;
mod golden;
mod order;
mod process;
mod trim;
mod wire;

use bunho_domain::event::{Event, TicketNumber, ZoneChange, ZoneEvent};
use bunho_domain::time::Millis;
use bunho_journal::{Commit, Journal, Record};

/// A small record: the `seq`-th of `writer`.
fn small(writer: u32, seq: u32) -> [Event; 1] {
    let ticket = TicketNumber { epoch: 1, seq };
    [Event::Zone(ZoneEvent { zone: writer, change: ZoneChange::Admitted { ticket, at: Millis(i64::from(seq)) } })]
}

fn append(journal: &Journal, writer: u32, seq: u32) -> Commit {
    journal.append(Millis(i64::from(seq)), &small(writer, seq), None)
}

/// Who wrote a small record, and which of its records it is.
fn written(record: &Record) -> (u32, u32) {
    match record.events[..] {
        [Event::Zone(ZoneEvent { zone, change: ZoneChange::Admitted { ticket, .. } })] => (zone, ticket.seq),
        ref other => panic!("not a small record: {other:?}"),
    }
}

/// Every record after `after`, read a few at a time; panics unless they are dense.
fn read_all(journal: &Journal, after: u64) -> Vec<(u64, Record)> {
    let mut records: Vec<(u64, Record)> = Vec::new();
    loop {
        let last = records.last().map_or(after, |&(offset, _)| offset);
        let more = journal.read(last, 100).unwrap();
        if more.is_empty() {
            assert_eq!(last, journal.durable());
            return records;
        }
        for (expected, entry) in (last + 1..).zip(more) {
            assert_eq!(entry.0, expected);
            records.push(entry);
        }
    }
}
