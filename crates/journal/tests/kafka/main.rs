//! The topic on a real broker: settings, round trip, order, kills and pauses of the broker, and readers that come and go.
//!
//! One broker for all, started by scripts/cluster/kafka.sh in a temporary folder, or the one of that script's folder that `BUNHO_TEST_KAFKA` names.
//! Tests that stop it have it to themselves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod broker;
mod faults;
mod identity;
mod readers;
mod topics;

use bunho_domain::event::{Event, TicketNumber, ZoneChange, ZoneEvent};
use bunho_domain::time::Millis;
use bunho_journal::kafka::{
    Assignment, Connection, Consumer, ConsumerOptions, Content, End, Ends, Message, Received, Retention, TopicSettings, Turn,
};
use std::collections::HashMap;
use std::time::Duration;

/// Everything here is over long before this; a machine with other work is slow to start a broker.
const LONG: Duration = Duration::from_secs(90);

/// What one broker can give.
fn settings(partitions: i32) -> TopicSettings {
    TopicSettings { partitions, replication: 1, retention: Retention::Unlimited }
}

/// A small message: the `seq`-th of `writer`.
fn small(writer: u32, seq: u32) -> Message {
    let at = Millis(i64::from(seq));
    let event = Event::Zone(ZoneEvent { zone: writer, change: ZoneChange::Admitted { ticket: TicketNumber { epoch: 1, seq }, at } });
    Message { at, epoch: 1, content: Content::Event(event), audit: None }
}

/// Who wrote a small message, and which of its messages it is.
fn written(received: &Received) -> (u32, u32) {
    match received.message.as_ref().unwrap().content {
        Content::Event(Event::Zone(ZoneEvent { zone, change: ZoneChange::Admitted { ticket, .. } })) => (zone, ticket.seq),
        ref other => panic!("not a small message: {other:?}"),
    }
}

/// Positions at the beginning of each partition.
fn from_the_beginning(assignment: Assignment) {
    let positions = assignment.partitions().iter().map(|partition| (*partition, 0)).collect();
    assignment.start(positions);
}

/// The whole topic, as a reader of its own group sees it.
async fn read_all(connection: &Connection) -> Vec<Received> {
    let ends: HashMap<i32, i64> =
        Ends::of(connection).unwrap().read().await.unwrap().into_iter().map(|End { partition, end, .. }| (partition, end)).collect();
    let mut left: i64 = ends.values().sum();
    let group = format!("{}-whole", connection.topic);
    let mut consumer = Consumer::join(connection, &ConsumerOptions::usual(&group)).unwrap();
    let mut records = Vec::new();
    while left > 0 {
        match tokio::time::timeout(LONG, consumer.next()).await.expect("the topic is read in time").unwrap() {
            Turn::Assigned(assignment) => from_the_beginning(assignment),
            Turn::Records(batch) => {
                left -= i64::try_from(batch.records.len()).unwrap();
                records.extend(batch.records);
            }
            Turn::Revoked(revocation) => revocation.done(),
        }
    }
    consumer.leave().await;
    records
}
