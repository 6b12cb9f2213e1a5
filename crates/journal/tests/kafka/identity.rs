//! Members with a fixed identity: what is started again has its partitions back at once, what leaves gives them up, and of two the newer is it.

use crate::{LONG, broker, from_the_beginning, settings};
use bunho_journal::kafka::{Connection, Consumer, ConsumerOptions, KafkaError, Turn, topic};
use std::time::{Duration, Instant};

/// A member that is taken for dead only when the test is long over.
fn options(connection: &Connection, instance: &str) -> ConsumerOptions {
    ConsumerOptions { instance: Some(instance.into()), session_timeout: SESSION, ..ConsumerOptions::usual(&connection.topic) }
}

const SESSION: Duration = Duration::from_secs(80);
/// Before it is over.
const SOON: Duration = Duration::from_secs(60);

/// The partitions of the next assignment that has any.
async fn assigned(consumer: &mut Consumer) -> Vec<i32> {
    loop {
        match tokio::time::timeout(LONG, consumer.next()).await.expect("it is assigned something in time").unwrap() {
            Turn::Assigned(assignment) => {
                let partitions = assignment.partitions().to_vec();
                from_the_beginning(assignment);
                if !partitions.is_empty() {
                    return partitions;
                }
            }
            Turn::Records(_) => {}
            Turn::Revoked(revocation) => revocation.done(),
        }
    }
}

async fn the_topic(name: &str) -> Connection {
    let (broker, _guard) = broker::shared().await;
    let connection = broker.topic(name);
    topic::ensure(&connection, &settings(4)).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_with_one_identity_the_newer_goes_on_at_once_and_the_older_is_told() {
    let connection = the_topic("identity-twice").await;
    let mut older = Consumer::join(&connection, &options(&connection, "node-1")).unwrap();
    let partitions = assigned(&mut older).await;
    let began = Instant::now();
    let mut newer = Consumer::join(&connection, &options(&connection, "node-1")).unwrap();
    assert_eq!(assigned(&mut newer).await, partitions);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let told = loop {
        match tokio::time::timeout(LONG, older.next()).await.expect("it is told in time") {
            Ok(Turn::Assigned(assignment)) => from_the_beginning(assignment),
            Ok(Turn::Records(_)) => {}
            Ok(Turn::Revoked(revocation)) => revocation.done(),
            Err(error) => break error,
        }
    };
    assert!(matches!(&told, KafkaError::Fenced { instance } if instance == "node-1"), "{told:?}");
    newer.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_gives_the_partitions_up_at_once() {
    let connection = the_topic("identity-leaves").await;
    let mut first = Consumer::join(&connection, &options(&connection, "node-1")).unwrap();
    assert_eq!(assigned(&mut first).await, [0, 1, 2, 3]);
    let began = Instant::now();
    first.leave().await;
    let mut second = Consumer::join(&connection, &options(&connection, "node-2")).unwrap();
    assert_eq!(assigned(&mut second).await, [0, 1, 2, 3]);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    second.leave().await;
}
