//! The broker dies, or hangs, while messages are on their way.

use crate::{LONG, broker, read_all, settings, small, written};
use bunho_journal::kafka::{Connection, ProduceError, Producer, ProducerOptions, TopicSettings, topic};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_loses_nothing_that_was_acknowledged_and_doubles_nothing() {
    let (broker, _guard) = broker::alone().await;
    let connection = broker.topic("killed");
    topic::ensure(&connection, &settings(3)).await.unwrap();
    kill_while_producing(broker, &connection, &[1, 1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_brokers_one_may_be_killed() {
    // Alone, as four brokers at once are more than a small machine has time for.
    let (_, _guard) = broker::alone().await;
    let brokers = tokio::task::spawn_blocking(|| broker::Broker::of(3)).await.unwrap();
    let brokers: &'static broker::Broker = Box::leak(Box::new(brokers));
    let connection = brokers.topic("three");
    // Brokers that have just met may not have told one another of all three yet.
    let wanted = TopicSettings { replication: 3, ..settings(3) };
    let end = Instant::now() + LONG;
    let findings = loop {
        match topic::ensure(&connection, &wanted).await {
            Ok(findings) => break findings,
            Err(error) => assert!(Instant::now() < end, "{error:?}"),
        }
    };
    assert_eq!(findings, []);
    kill_while_producing(brokers, &connection, &[2]).await;
}

/// Kills brokers one after the other and starts each again; every message must be acknowledged in the end and be there once.
async fn kill_while_producing(broker: &'static broker::Broker, connection: &Connection, kills: &'static [u16]) {
    let options = ProducerOptions { delivery_timeout: Duration::from_secs(180), ..ProducerOptions::USUAL };
    let producer = Arc::new(Producer::new(connection.clone(), options).unwrap());
    let (go, acked) = (Arc::new(AtomicBool::new(true)), watch::Sender::new(0));
    let writers: Vec<_> = (0..4).map(|writer| tokio::spawn(write(producer.clone(), writer, go.clone(), acked.clone()))).collect();
    for &number in kills {
        more_of(&acked).await;
        tokio::task::spawn_blocking(move || broker.kill(number)).await.unwrap();
        if broker.is_one_of_several() {
            // The others go on without it.
            more_of(&acked).await;
        }
        tokio::task::spawn_blocking(move || broker.start_again(number)).await.unwrap();
    }
    more_of(&acked).await;
    go.store(false, Ordering::Relaxed);
    let mut answers = HashMap::new();
    for writer in writers {
        answers.extend(writer.await.unwrap());
    }
    let acked = answers.values().filter(|answer| answer.is_ok()).count();
    assert_eq!(acked, answers.len(), "the broker came back within the delivery timeout");
    let mut times: HashMap<(u32, u32), usize> = HashMap::new();
    for record in read_all(connection).await {
        *times.entry(written(&record)).or_default() += 1;
    }
    assert_eq!(times.values().filter(|times| **times > 1).count(), 0, "messages that are there twice");
    assert_eq!(times.len(), acked, "messages that are there");
}

type Answers = HashMap<(u32, u32), Result<(), ProduceError>>;

/// Eight messages on their way at a time, until told to stop.
async fn write(producer: Arc<Producer>, writer: u32, go: Arc<AtomicBool>, acked: watch::Sender<usize>) -> Answers {
    let mut answers = HashMap::new();
    for round in 0.. {
        if !go.load(Ordering::Relaxed) {
            break;
        }
        let sent: Vec<_> = (0..8)
            .map(|n| round * 8 + n)
            .map(|seq| (seq, producer.produce(&format!("offer-{writer}"), &small(writer, seq)).unwrap()))
            .collect();
        for (seq, answer) in sent {
            let answer = answer.await.map(drop);
            acked.send_modify(|acked| *acked += usize::from(answer.is_ok()));
            answers.insert((writer, seq), answer);
        }
    }
    answers
}

/// Until a few hundred more are acknowledged.
async fn more_of(acked: &watch::Sender<usize>) {
    let enough = *acked.borrow() + 400;
    let mut seen = acked.subscribe();
    let reached = tokio::time::timeout(LONG, seen.wait_for(|acked| *acked >= enough)).await.is_ok();
    assert!(reached, "{} of {enough}", *acked.borrow());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_leaves_it_unknown_in_time_and_then_goes_on() {
    let (broker, _guard) = broker::alone().await;
    let connection = broker.topic("hangs");
    topic::ensure(&connection, &settings(1)).await.unwrap();
    let options = ProducerOptions { delivery_timeout: Duration::from_secs(3), ..ProducerOptions::USUAL };
    let producer = Producer::new(connection.clone(), options).unwrap();
    producer.produce("key", &small(0, 0)).unwrap().await.unwrap();

    broker.pause();
    let begin = Instant::now();
    let given_up = tokio::time::Instant::now() + LONG;
    let hanging: Vec<_> = (1..=100).map(|seq| producer.produce("key", &small(0, seq)).unwrap()).collect();
    let mut answers = Vec::new();
    for answer in hanging {
        // Let the broker go on whatever happens, as others use it after this test.
        answers.push(tokio::time::timeout_at(given_up, answer).await);
    }
    let took = begin.elapsed();
    broker.go_on();
    for answer in answers {
        assert!(matches!(answer.expect("bounded"), Err(ProduceError::Unknown(_))));
    }
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(30), "{took:?} for a delivery timeout of 3 s");

    // The same producer goes on as soon as the broker does; until then what it is given may be unknown as well.
    let end = Instant::now() + LONG;
    let mut seq = 100;
    loop {
        seq += 1;
        match producer.produce("key", &small(0, seq)).unwrap().await {
            Ok(_) => break,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
    }
    let records: Vec<_> = read_all(&connection).await.iter().map(|record| written(record).1).collect();
    assert!(records.is_sorted_by(|a, b| a < b), "unknown ones are there once or not at all, in order: {records:?}");
    assert!(records.first() == Some(&0) && records.last() == Some(&seq));
}
