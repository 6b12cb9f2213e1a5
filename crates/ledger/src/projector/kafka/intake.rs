//! What the consumer hands out, in larger portions: claims of one transaction share the index pages that they dirty and its commit.

use bunho_journal::kafka::{Assignment, Consumer, KafkaError, Received, Revocation, Turn};
use std::time::Duration;
use tokio::time::Instant;

/// What happens next; as [`Turn`], with records of several batches.
pub(super) enum Portion {
    Assigned(Assignment),
    Records(Vec<Received>),
    Revoked(Revocation),
}

/// The consumer with what was taken from it too early.
pub(super) struct Intake {
    consumer: Consumer,
    next: Option<Result<Turn, KafkaError>>,
    /// What gathers, and until when.
    records: Vec<Received>,
    until: Option<Instant>,
    gather: Duration,
    records_max: usize,
}

impl Intake {
    pub(super) fn of(consumer: Consumer, gather: Duration, records_max: usize) -> Self {
        Self { consumer, next: None, records: Vec::new(), until: None, gather, records_max }
    }

    /// Waits for records, and for more of them for as long as they gather. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Result<Portion, KafkaError> {
        while self.records.len() < self.records_max && self.next.is_none() {
            let turn = match self.until {
                None => self.consumer.next().await,
                Some(until) => match tokio::time::timeout_at(until, self.consumer.next()).await {
                    Ok(turn) => turn,
                    Err(_) => break,
                },
            };
            match turn {
                Ok(Turn::Records(batch)) => {
                    self.records.extend(batch.records);
                    self.until.get_or_insert_with(|| Instant::now() + self.gather);
                }
                other => self.next = Some(other),
            }
        }
        self.until = None;
        if !self.records.is_empty() {
            return Ok(Portion::Records(std::mem::take(&mut self.records)));
        }
        match self.next.take() {
            Some(Ok(Turn::Assigned(assignment))) => Ok(Portion::Assigned(assignment)),
            Some(Ok(Turn::Revoked(revocation))) => Ok(Portion::Revoked(revocation)),
            Some(Err(error)) => Err(error),
            Some(Ok(Turn::Records(batch))) => Ok(Portion::Records(batch.records)),
            None => Ok(Portion::Records(Vec::new())),
        }
    }

    pub(super) async fn leave(self) {
        // An assignment that waits for an answer would keep the consumer from leaving.
        drop(self.next);
        self.consumer.leave().await;
    }
}
