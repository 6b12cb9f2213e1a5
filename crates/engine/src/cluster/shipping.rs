//! Out of the outbox, into Kafka.

use super::directory::Directory;
use super::redis::{Entry, Shipment};
use bunho_domain::event::Event;
use bunho_journal::Audit;
use bunho_journal::kafka::{Delivery, ProduceError, Producer, cloudevents};
use bunho_ledger::directory::Kind;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Produces what comes, until nobody can send any more. A tag sends its next shipment only after it knows of the one before, so its
/// messages keep their order; the tags do not wait for one another.
pub(super) async fn ship(producer: Arc<Producer>, directory: Arc<Directory>, mut shipments: mpsc::Receiver<Shipment>) {
    while let Some(Shipment { entries, done }) = shipments.recv().await {
        let (producer, directory) = (producer.clone(), directory.clone());
        tokio::spawn(async move {
            let shipped = all(&producer, &directory, &entries).await;
            // Its tag may have ended; then another node's relay finds the entries.
            let _ = done.send(shipped);
        });
    }
}

async fn all(producer: &Producer, directory: &Directory, entries: &[Arc<Entry>]) -> bool {
    let mut deliveries = Vec::with_capacity(entries.len());
    for entry in entries {
        for (place, event) in entry.record.events.iter().enumerate() {
            // Who did it is told once.
            let audit = entry.record.audit.as_ref().filter(|_| place == 0);
            match produce(producer, directory, entry, event, audit).await {
                Some(Ok(delivery)) => deliveries.push(delivery),
                Some(Err(error)) => {
                    tracing::warn!(%error, "a message was not taken by the Kafka client; it is sent again");
                    return false;
                }
                None => return false,
            }
        }
    }
    for delivery in deliveries {
        if let Err(error) = delivery.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "Kafka did not acknowledge a message; it is sent again");
            return false;
        }
    }
    true
}

async fn produce(
    producer: &Producer,
    directory: &Directory,
    entry: &Entry,
    event: &Event,
    audit: Option<&Audit>,
) -> Option<Result<Delivery, ProduceError>> {
    let (kind, number) = match event {
        Event::Offer(event) => (Kind::Offer, event.offer),
        Event::Zone(event) => (Kind::Zone, event.zone),
    };
    let Some(key) = directory.name(kind, number).await else {
        tracing::error!(?kind, number, "nobody knows whose event this is; it stays in the outbox");
        return None;
    };
    let bytes = cloudevents::encode(entry.record.at, entry.epoch, event, audit);
    Some(producer.produce_encoded(&key, &bytes))
}
