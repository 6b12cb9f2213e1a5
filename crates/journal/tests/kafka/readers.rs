//! Readers come and go, with positions that the caller keeps as the ledger does: in one step with what was applied.

use crate::{LONG, broker, settings, small, written};
use bunho_journal::kafka::{Batch, Connection, Consumer, ConsumerOptions, Producer, ProducerOptions, Received, Turn, topic};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::watch;

/// For each partition the first record's offset, and the offset after the last: the position before and after the batch is applied.
fn spans(batch: &Batch) -> Vec<(i32, Range<i64>)> {
    let mut spans: Vec<(i32, Range<i64>)> = Vec::new();
    for &Received { partition, offset, .. } in &batch.records {
        match spans.iter_mut().find(|(of, _)| *of == partition) {
            Some((_, span)) => span.end = offset + 1,
            None => spans.push((partition, offset..offset + 1)),
        }
    }
    spans
}

/// Stands for the ledger: rows and positions, which change together or not at all. Whoever waits for a state of it is woken by each change.
#[derive(Debug, Default)]
struct Books {
    positions: HashMap<i32, i64>,
    /// How often each message was applied.
    applied: HashMap<(u32, u32), usize>,
    by_reader: HashMap<&'static str, usize>,
    /// Nothing more has to be written.
    is_enough: bool,
}

impl Books {
    fn positions(&self, partitions: &[i32]) -> HashMap<i32, i64> {
        partitions.iter().map(|partition| (*partition, self.positions.get(partition).copied().unwrap_or(0))).collect()
    }

    /// One transaction: refused as a whole if any position is not where the batch begins.
    fn apply(&mut self, reader: &'static str, batch: &Batch) -> bool {
        let spans = spans(batch);
        if spans.iter().any(|(partition, span)| self.positions.get(partition).copied().unwrap_or(0) != span.start) {
            return false;
        }
        for (partition, span) in spans {
            self.positions.insert(partition, span.end);
        }
        for record in &batch.records {
            *self.applied.entry(written(record)).or_default() += 1;
            *self.by_reader.entry(reader).or_default() += 1;
        }
        true
    }
}

/// What the projector does, until told to stop.
async fn read(reader: &'static str, connection: Connection, books: Arc<watch::Sender<Books>>, mut stop: watch::Receiver<bool>) {
    let mut options = ConsumerOptions::usual("readers");
    // Small, so that a rebalance finds batches on their way.
    (options.batch_records_max, options.batches_waiting_max) = (7, 2);
    let mut consumer = Consumer::join(&connection, &options).unwrap();
    loop {
        let turn = tokio::select! {
            turn = consumer.next() => turn.unwrap(),
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match turn {
            Turn::Assigned(assignment) => {
                let positions = books.borrow().positions(assignment.partitions());
                assignment.start(positions);
            }
            Turn::Records(batch) => {
                assert!(batch.records.len() <= 7);
                let applied = books.send_if_modified(|books| books.apply(reader, &batch));
                assert!(applied, "partitions are one reader's at a time, and begin where the books say");
            }
            Turn::Revoked(revocation) => revocation.done(),
        }
    }
    consumer.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_readers_share_and_take_over_and_apply_each_record_once() {
    let (broker, _guard) = broker::shared().await;
    let connection = broker.topic("readers");
    topic::ensure(&connection, &settings(4)).await.unwrap();
    let producer = Arc::new(Producer::new(connection.clone(), ProducerOptions::USUAL).unwrap());
    let books = Arc::new(watch::Sender::new(Books::default()));
    let (stop_first, first_stops) = watch::channel(false);
    let (stop_second, second_stops) = watch::channel(false);

    let writer = tokio::spawn(write_until(producer.clone(), books.clone()));
    let first = tokio::spawn(read("first", connection.clone(), books.clone(), first_stops));
    wait_for(&books, "the first reads", |books| books.by_reader.get("first").is_some_and(|count| *count > 200)).await;
    let second = tokio::spawn(read("second", connection.clone(), books.clone(), second_stops));
    wait_for(&books, "both read", |books| books.by_reader.get("second").is_some_and(|count| *count > 200)).await;
    stop_first.send(true).unwrap();
    first.await.unwrap();
    let (before, partitions) = {
        let books = books.borrow();
        (books.positions.clone(), books.positions.len())
    };
    assert_eq!(partitions, 4, "every partition is read");
    wait_for(&books, "the second has all", |books| before.iter().all(|(partition, position)| books.positions[partition] > *position)).await;
    books.send_modify(|books| books.is_enough = true);
    let sent = writer.await.unwrap();
    wait_for(&books, "all is applied", |books| books.applied.len() == sent).await;
    stop_second.send(true).unwrap();
    second.await.unwrap();

    let books = books.borrow();
    assert_eq!(books.applied.values().filter(|times| **times != 1).count(), 0, "applied once each");
    assert_eq!(books.applied.len(), sent);
}

/// Messages of 32 keys, one after the other, until the books say that it is enough; how many there are.
async fn write_until(producer: Arc<Producer>, books: Arc<watch::Sender<Books>>) -> usize {
    let mut sent = 0;
    for seq in 0.. {
        let answers: Vec<_> = (0..32).map(|key| producer.produce(&format!("offer-{key}"), &small(key, seq)).unwrap()).collect();
        for answer in answers {
            answer.await.unwrap();
            sent += 1;
        }
        if books.borrow().is_enough {
            break;
        }
    }
    sent
}

async fn wait_for(books: &watch::Sender<Books>, what: &str, holds: impl Fn(&Books) -> bool) {
    let mut changes = books.subscribe();
    let in_time = tokio::time::timeout(LONG, changes.wait_for(|books| holds(books))).await.is_ok();
    assert!(in_time, "{what}: not within {LONG:?}; {:?}", books.borrow().by_reader);
}
