//! What the topic is made like, what is refused, and that messages go in and come out.

use crate::{LONG, broker, read_all, settings, small, written};
use bunho_journal::kafka::{
    Connection, Consumer, ConsumerOptions, Ends, KafkaError, Message, ProduceError, Producer, ProducerOptions, Retention, TopicSettings,
    Turn, Unreadable, topic,
};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_in_comes_out_in_order() {
    let (broker, _guard) = broker::shared().await;
    let connection = broker.topic("order");
    assert_eq!(topic::ensure(&connection, &settings(4)).await.unwrap(), []);
    let producer = Producer::new(connection.clone(), ProducerOptions::USUAL).unwrap();
    let (keys, each) = (20, 100);
    let mut answers = Vec::new();
    for seq in 0..each {
        for key in 0..keys {
            answers.push((key, seq, producer.produce(&format!("offer-{key}"), &small(key, seq)).unwrap()));
        }
    }
    let mut places = HashMap::new();
    for (key, seq, answer) in answers {
        let place = tokio::time::timeout(LONG, answer).await.unwrap().unwrap();
        assert!(places.insert((place.partition, place.offset), (key, seq)).is_none(), "a place is given once");
    }
    let figures = producer.figures();
    assert_eq!((figures.acked, figures.in_flight, figures.unknown, figures.not_written, figures.full), (2_000, 0, 0, 0, 0));

    let records = read_all(&connection).await;
    assert_eq!(records.len(), 2_000);
    let mut next = HashMap::new();
    let mut partition_of = HashMap::new();
    for record in &records {
        let (key, seq) = written(record);
        assert_eq!(places[&(record.partition, record.offset)], (key, seq), "it stands where its answer said");
        assert_eq!(seq, *next.entry(key).and_modify(|seq| *seq += 1).or_insert(0), "in order within its key");
        assert_eq!(record.partition, *partition_of.entry(key).or_insert(record.partition), "a key has one partition");
    }
    assert!(partition_of.values().collect::<HashSet<_>>().len() > 1, "keys are spread");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_with_other_settings_is_refused_and_left_alone() {
    let (broker, _guard) = broker::shared().await;
    let connection = broker.topic("other");
    assert!(matches!(topic::check(&connection, &settings(3)).await, Err(KafkaError::NoTopic { .. })));
    create(
        &connection,
        &[
            ("min.insync.replicas", "1"),
            ("cleanup.policy", "compact"),
            ("retention.ms", "60000"),
            ("retention.bytes", "1000000"),
            ("unclean.leader.election.enable", "true"),
            ("max.message.bytes", "1000"),
            ("compression.type", "uncompressed"),
        ],
    )
    .await;
    let wanted = TopicSettings { partitions: 3, replication: 3, retention: Retention::Unlimited };
    // `ensure` too must not touch what is there, so it is asked twice.
    for _ in 0..2 {
        let findings = topic::ensure(&connection, &wanted).await.unwrap();
        let found: Vec<_> = findings.iter().map(|finding| (finding.setting, &*finding.value)).collect();
        assert_eq!(
            found,
            [
                ("partitions", "2"),
                ("replication.factor", "1"),
                ("min.insync.replicas", "1"),
                ("cleanup.policy", "compact"),
                ("retention.ms", "60000"),
                ("retention.bytes", "1000000"),
                ("unclean.leader.election.enable", "true"),
                ("max.message.bytes", "1000"),
                ("compression.type", "uncompressed"),
            ]
        );
        let insync = findings.iter().find(|finding| finding.setting == "min.insync.replicas").unwrap().to_string();
        assert!(insync.contains("must be 2") && insync.contains("--add-config min.insync.replicas=2"), "{insync}");
        assert!(findings.iter().all(|finding| finding.mend.contains(&connection.topic) || finding.setting == "partitions"));
    }
    // What keeps records as long as is asked for is right.
    let minute = TopicSettings { partitions: 2, replication: 1, retention: Retention::AtLeast(Duration::from_secs(60)) };
    let findings = topic::check(&connection, &minute).await.unwrap();
    assert!(
        !findings.iter().any(|finding| matches!(finding.setting, "retention.ms" | "min.insync.replicas" | "partitions")),
        "{findings:?}"
    );
    assert!(!topic::cluster_id(&connection).await.unwrap().is_empty());
}

async fn create(connection: &Connection, config: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", &connection.brokers).create().unwrap();
    let topic =
        config.iter().fold(NewTopic::new(&connection.topic, 2, TopicReplication::Fixed(1)), |topic, (name, value)| topic.set(name, value));
    admin.create_topics([&topic], &AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)))).await.unwrap()[0]
        .as_ref()
        .unwrap();
    let end = Instant::now() + LONG;
    while matches!(topic::check(connection, &settings(2)).await, Err(KafkaError::NoTopic { .. })) {
        assert!(Instant::now() < end, "the topic never came");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_handed_out_with_its_reason() {
    let (broker, _guard) = broker::shared().await;
    let connection = broker.topic("unread");
    topic::ensure(&connection, &settings(1)).await.unwrap();
    let producer = Producer::new(connection.clone(), ProducerOptions::USUAL).unwrap();
    let newer = String::from_utf8(small(1, 1).encode()).unwrap().replace("admitted.v1", "admitted.v2");
    for bytes in [small(1, 0).encode(), newer.clone().into_bytes(), b"{}".to_vec(), small(1, 3).encode()] {
        producer.produce_encoded("key", &bytes).unwrap().await.unwrap();
    }
    let records = read_all(&connection).await;
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!((written(&records[0]), written(&records[3])), ((1, 0), (1, 3)));
    let unread = records[1].message.as_ref().unwrap_err();
    assert!(matches!(&unread.why, Unreadable::Type { found } if found == "bunho.zone.admitted.v2"));
    assert_eq!((&unread.bytes[..], unread.key.as_deref()), (newer.as_bytes(), Some(&b"key"[..])));
    assert!(matches!(records[2].message.as_ref().unwrap_err().why, Unreadable::Envelope(_)));
    assert!(Message::decode(&unread.bytes).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_room_or_is_too_large_is_refused_at_once() {
    // Nobody listens there, so nothing ever leaves the queue but by its timeout.
    let connection =
        Connection { brokers: "127.0.0.1:1".into(), topic: "none".into(), timeout: Duration::from_secs(1), properties: Vec::new() };
    let options = ProducerOptions { delivery_timeout: Duration::from_secs(10), queue_max: 10, ..ProducerOptions::USUAL };
    let producer = Producer::new(connection, options).unwrap();
    let begin = Instant::now();
    let waiting: Vec<_> = (0..10).map(|seq| producer.produce("key", &small(1, seq)).unwrap()).collect();
    assert_eq!(producer.produce("key", &small(1, 10)).unwrap_err(), ProduceError::Full);
    assert!(matches!(producer.produce_encoded("key", &vec![b' '; 1_000_000]), Err(ProduceError::NotWritten(_))));
    assert!(begin.elapsed() < options.delivery_timeout, "neither waits for room");
    assert_eq!(producer.figures().in_flight, 10);
    for answer in waiting {
        let answer = tokio::time::timeout(LONG, answer).await.expect("bounded by the delivery timeout");
        assert!(matches!(answer, Err(ProduceError::Unknown(_))), "{answer:?}");
    }
    let figures = producer.figures();
    assert_eq!((figures.in_flight, figures.unknown, figures.full, figures.not_written), (0, 10, 1, 1));
    producer.produce("key", &small(1, 11)).map(drop).expect("there is room again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_outside_of_the_topic_ends_reading_with_what_is_there() {
    let (broker, _guard) = broker::shared().await;
    let connection = broker.topic("outside");
    topic::ensure(&connection, &settings(1)).await.unwrap();
    let producer = Producer::new(connection.clone(), ProducerOptions::USUAL).unwrap();
    producer.produce("key", &small(1, 0)).unwrap().await.unwrap();
    let ends = Ends::of(&connection).unwrap().read().await.unwrap();
    assert_eq!(ends.iter().map(|end| (end.partition, end.first, end.end)).collect::<Vec<_>>(), [(0, 0, 1)]);

    let mut consumer = Consumer::join(&connection, &ConsumerOptions::usual("outside")).unwrap();
    let error = loop {
        match tokio::time::timeout(LONG, consumer.next()).await.unwrap() {
            Ok(Turn::Assigned(assignment)) => assignment.start(HashMap::from([(0, 7)])),
            Ok(other) => panic!("nothing can be read: {other:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, KafkaError::OutOfRange { partition: 0, position: 7, first: 0, end: 1 }), "{error:?}");

    // And one that is not given at all.
    let mut consumer = Consumer::join(&connection, &ConsumerOptions::usual("not given")).unwrap();
    let error = loop {
        match tokio::time::timeout(LONG, consumer.next()).await.unwrap() {
            Ok(Turn::Assigned(assignment)) => drop(assignment),
            Ok(other) => panic!("nothing can be read: {other:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, KafkaError::NotAnswered), "{error:?}");
}

/// What librdkafka says of a setting repeats its value.
#[tokio::test]
async fn a_setting_that_is_refused_is_named_without_its_value() {
    for (name, value) in [("sasl.pasword", "s3cret"), ("metadata.max.age.ms", "s3cret")] {
        let connection = Connection {
            brokers: "127.0.0.1:1".into(),
            topic: "none".into(),
            timeout: Duration::from_secs(1),
            properties: vec![(name.into(), value.into())],
        };
        let errors = [
            topic::cluster_id(&connection).await.map(drop).unwrap_err(),
            Ends::of(&connection).map(drop).unwrap_err(),
            Producer::new(connection.clone(), ProducerOptions::USUAL).map(drop).unwrap_err(),
            Consumer::join(&connection, &ConsumerOptions::usual("none")).map(drop).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(&error, KafkaError::Setting { name: found, .. } if found == name), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        }
    }
}
