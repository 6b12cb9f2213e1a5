//! A topic, a database, and what carries the one into the other.

use super::*;

/// A topic, and a ledger that nobody else uses.
pub(super) struct Scene {
    pub(super) connection: Connection,
    pub(super) producer: Producer,
    pub(super) ends: Ends,
    pub(super) ledger: Ledger,
    pub(super) _dir: tempfile::TempDir,
}

impl Scene {
    pub(super) async fn of(backend: Backend, name: &str, partitions: i32) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let place = backend.place(dir.path()).await;
        Self::at(name, partitions, dir, &place).await
    }

    pub(super) async fn at(name: &str, partitions: i32, dir: tempfile::TempDir, place: &Place) -> Self {
        let (broker, _guard) = broker::shared().await;
        let connection = broker.topic(name);
        let settings = TopicSettings { partitions, replication: 1, retention: Retention::Unlimited };
        kafka::topic::ensure(&connection, &settings).await.expect("a topic");
        let producer = Producer::new(connection.clone(), ProducerOptions::USUAL).expect("a producer");
        let ends = Ends::of(&connection).expect("a client");
        Self { producer, ends, connection, ledger: Ledger::open(place).await.expect("a ledger"), _dir: dir }
    }

    pub(super) fn options(&self) -> KafkaOptions {
        let mut options = KafkaOptions::usual(&self.connection.topic);
        options.consumer.batch_records_max = 200;
        options.records_max = 600;
        options
    }

    pub(super) fn projector(&self, ledger: &Ledger) -> Arc<KafkaProjector> {
        Arc::new(KafkaProjector::new(ledger.clone(), self.connection.clone(), self.options()))
    }

    /// One whose limits are as short as a broker allows: when it takes nothing for three seconds it is thrown out.
    pub(super) fn projector_soon_missed(&self, ledger: &Ledger) -> Arc<KafkaProjector> {
        let mut options = self.options();
        options.consumer.session_timeout = Duration::from_secs(6);
        options.consumer.answer_within = Duration::from_secs(3);
        Arc::new(KafkaProjector::new(ledger.clone(), self.connection.clone(), options))
    }

    /// One that makes no pause between two tries of what a guard refused.
    pub(super) fn projector_that_tries_at_once(&self) -> Arc<KafkaProjector> {
        let options = KafkaOptions { retry_pause: Duration::ZERO, ..self.options() };
        Arc::new(KafkaProjector::new(self.ledger.clone(), self.connection.clone(), options))
    }

    pub(super) async fn say(&self, messages: impl IntoIterator<Item = (String, Message)>) {
        let deliveries: Vec<_> = messages.into_iter().map(|(key, message)| self.producer.produce(&key, &message).expect("room")).collect();
        for delivery in deliveries {
            delivery.await.expect("written");
        }
    }

    pub(super) async fn ends(&self) -> BTreeMap<i32, i64> {
        self.ends.read().await.expect("ends").into_iter().map(|End { partition, end, .. }| (partition, end)).collect()
    }

    /// Waits until everything that is in the topic is in the tables.
    pub(super) async fn all_is_there(&self) {
        let ends = self.ends().await;
        assert!(self.ledger.reached(&ends, LONG).await.expect("read"), "{:?} of {ends:?}", self.ledger.positions().await);
    }

    pub(super) async fn sql(&self, statement: &str) -> Vec<String> {
        Shell::to(self.ledger.place()).await.lines(statement).await
    }
}

/// A projector that runs until it is told to end.
pub(super) struct Running {
    pub(super) stop: oneshot::Sender<()>,
    pub(super) task: JoinHandle<()>,
}

impl Running {
    pub(super) fn of(projector: &Arc<KafkaProjector>) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let projector = projector.clone();
        let task = tokio::spawn(async move { projector.run(async { drop(stopped.await) }).await });
        Self { stop, task }
    }

    pub(super) async fn end(self) {
        self.stop.send(()).expect("it runs");
        tokio::time::timeout(LONG, self.task).await.expect("it ends in time").expect("it ends");
    }
}
