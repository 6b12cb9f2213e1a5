//! Out of the outbox, into Kafka; and whose word counts.

use super::directory::Directory;
use super::redis::{Entry, Errand, Of, Question, Shipment};
use bunho_domain::event::Event;
use bunho_journal::crash_point;
use bunho_journal::kafka::{ProduceError, Producer, cloudevents};
use bunho_ledger::directory::Kind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// Does what comes, until nobody can send any more. A tag sends its next shipment only after it knows of the one before, so its messages
/// keep their order; the tags do not wait for one another.
pub(super) async fn ship(producer: Arc<Producer>, directory: Arc<Directory>, mut errands: mpsc::Receiver<Errand>) {
    let is_out = Arc::new(AtomicBool::new(false));
    while let Some(errand) = errands.recv().await {
        let (producer, directory, is_out) = (producer.clone(), directory.clone(), is_out.clone());
        tokio::spawn(async move {
            // Its tag may have ended; then another node's relay finds the entries.
            let _ = match errand {
                Errand::Ship(Shipment { entries, done }) => done.send(is_shipped(&producer, &directory, &entries, &is_out).await),
                Errand::Ask(Question { of, epoch, is_current }) => is_current.send(directory.is_current(of, epoch).await),
            };
        });
    }
}

async fn is_shipped(producer: &Producer, directory: &Directory, entries: &[Arc<Entry>], is_out: &AtomicBool) -> bool {
    match all(producer, directory, entries).await {
        Ok(()) => {
            if is_out.swap(false, Ordering::Relaxed) {
                tracing::info!("Kafka acknowledges again");
            }
            true
        }
        // Said once an outage.
        Err(error) => {
            if !is_out.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what was decided does not get into Kafka; it is sent until it does"
                );
            }
            false
        }
    }
}

/// Why a shipment is not in the topic, as far as is known.
#[derive(Debug, thiserror::Error)]
enum NotShipped {
    #[error(transparent)]
    Kafka(#[from] ProduceError),
    #[error("nobody knows whose events those of {0:?} {1} are")]
    Nameless(Kind, u32),
}

/// What is granted goes first and is awaited before what grants it: whoever recovers the two must never find a claim that grants one that there
/// is not. Their tag is named after the one that is granted.
async fn all(producer: &Producer, directory: &Directory, entries: &[Arc<Entry>]) -> Result<(), NotShipped> {
    crash_point!("cluster::to_ship");
    for is_granted in [true, false] {
        let mut deliveries = Vec::with_capacity(entries.len());
        for entry in entries {
            for (place, event) in entry.record.events.iter().enumerate() {
                let (kind, number, of) = match event {
                    Event::Offer(event) => (Kind::Offer, event.offer, Of::Offer(event.offer)),
                    Event::Zone(event) => (Kind::Zone, event.zone, Of::Zone(event.zone)),
                };
                if (of == entry.tag) != is_granted {
                    continue;
                }
                // Who did it is told once.
                let audit = entry.record.audit.as_ref().filter(|_| place == 0);
                let key = directory.name(kind, number).await.ok_or(NotShipped::Nameless(kind, number))?;
                let bytes = cloudevents::encode(entry.record.at, entry.epoch, event, audit);
                deliveries.push(producer.produce_encoded(&key, &bytes)?);
            }
        }
        for delivery in deliveries {
            delivery.await?;
        }
        crash_point!("cluster::partly_shipped");
    }
    crash_point!("cluster::shipped");
    Ok(())
}
