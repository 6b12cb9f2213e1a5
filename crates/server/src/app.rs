//! Everything a handler may need, built once by `serve` from its parts and shared by all requests.

use crate::auth::accounts::Accounts;
use crate::auth::keys::{Identity, Keys, Who};
use crate::auth::passwords::Passwords;
use crate::auth::sessions::Sessions;
use crate::auth::throttle::Throttle;
use crate::auth::users::UserTokens;
use crate::config::{Config, LiveConfig};
use crate::door::Doorkeeper;
use crate::http::admin::sales::Counted;
use crate::http::edge::RequestIds;
use crate::http::json::LARGE_BODIES_BYTES_MAX;
use crate::http::wait::known::Pages;
use crate::live::Live;
use crate::metrics::{Metrics, MetricsPage};
use crate::pass::{Holder, PassRefusal, Passes};
use crate::problem::Problem;
use crate::secrets::tickets::TicketSecrets;
use crate::telemetry::otlp::Tracer;
use crate::tls::Tls;
use crate::webhooks::Webhooks;
use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use bunho_domain::ids::ZoneId;
use bunho_domain::line::door::Enqueue;
use bunho_domain::ticket::KeyHash;
use bunho_domain::time::Millis;
use bunho_engine::{Ack, Cluster, Engine};
use bunho_journal::Journal;
use bunho_ledger::{KafkaProjector, Ledger, LedgerError, NodeRow, Projector, SessionRow};
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::watch;

/// What `reconcile` answers: a report, or why there is none.
pub type Reconciled = Pin<Box<dyn Future<Output = Result<serde_json::Value, String>> + Send>>;

/// What an [`App`] is built from.
pub struct Parts {
    /// Live state.
    pub engine: Engine,
    /// What was decided, and what carries it into SQL; for health and metrics.
    pub record: Record,
    /// SQL.
    pub ledger: Ledger,
    /// Checked settings.
    pub config: Arc<Config>,
    /// What signs and verifies passes.
    pub passes: Passes,
    /// What stands before every line.
    pub doorkeeper: Doorkeeper,
    /// Keys of services and operators.
    pub keys: Keys,
    /// Accounts of people.
    pub accounts: Accounts,
    /// Which node this is.
    pub node: String,
    /// What a start found and went on with.
    pub findings: Vec<String>,
    /// Administrators who have signed in.
    pub sessions: Sessions,
    /// Verifies users' tokens, where `auth.user = "jwt"`.
    pub user_tokens: Option<UserTokens>,
    /// What signs tickets, as the engine has it.
    pub tickets: TicketSecrets,
    /// What encrypts connections, where anything does.
    pub tls: Option<Arc<Tls>>,
    /// Compares the engine with the ledger; true: and mends the ledger.
    pub reconcile: Box<dyn Fn(bool) -> Reconciled + Send + Sync>,
    /// What tells others of what happens.
    pub webhooks: Arc<Webhooks>,
    /// Turns true when the server is to stop.
    pub shutdown: watch::Receiver<bool>,
}

/// Everything a handler may need.
pub struct App {
    pub(crate) engine: Engine,
    pub(crate) health: Health,
    pub(crate) ledger: Ledger,
    /// As it was at the start: for what only a start changes.
    pub(crate) config: Arc<Config>,
    /// As it is now: see `live`.
    pub(crate) in_force: LiveConfig,
    pub(crate) passes: Arc<Passes>,
    pub(crate) doorkeeper: ArcSwap<Doorkeeper>,
    pub(crate) keys: Keys,
    pub(crate) accounts: Accounts,
    pub(crate) passwords: Passwords,
    pub(crate) throttle: Throttle,
    pub(crate) live: Live,
    pub(crate) sales: Counted,
    pub(crate) node: String,
    pub(crate) findings: Vec<String>,
    pub(crate) sessions: Sessions,
    pub(crate) user_tokens: ArcSwapOption<UserTokens>,
    pub(crate) tickets: ArcSwap<TicketSecrets>,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) tracer: Option<Arc<Tracer>>,
    pub(crate) reconcile: Box<dyn Fn(bool) -> Reconciled + Send + Sync>,
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) shutdown: watch::Receiver<bool>,
    /// Told to stop, and still serving (`server.drain_delay_seconds`).
    leaving: AtomicBool,
    pub(crate) metrics: Metrics,
    pub(crate) pages: Pages,
    pub(crate) in_flight: Slots,
    pub(crate) streams: Slots,
    pub(crate) large_bodies: Slots,
    pub(crate) metrics_page: MetricsPage,
    pub(crate) request_ids: RequestIds,
    pub(crate) started: Instant,
    pub(crate) started_at: Millis,
}

impl App {
    /// Puts the parts together. Within a runtime, since a small task folds metrics from here on.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let limits = &parts.config.limits;
        let app = Arc::new(Self {
            health: Health { record: parts.record, needs_ledger: parts.config.ack == Ack::Ledger },
            in_flight: Slots::new(limits.in_flight_max),
            streams: Slots::new(limits.streams_max),
            large_bodies: Slots::new(large_bodies(limits.body_bytes_max)),
            in_force: Arc::new(ArcSwap::new(parts.config.clone())),
            tickets: ArcSwap::from_pointee(parts.tickets),
            tls: parts.tls,
            tracer: parts.config.trace.as_ref().map(|config| Tracer::start(config, &parts.node)),
            metrics_page: MetricsPage::default(),
            engine: parts.engine,
            ledger: parts.ledger,
            config: parts.config,
            passes: Arc::new(parts.passes),
            doorkeeper: ArcSwap::from_pointee(parts.doorkeeper),
            keys: parts.keys,
            accounts: parts.accounts,
            passwords: Passwords::default(),
            throttle: Throttle::default(),
            live: Live::default(),
            sales: Counted::default(),
            node: parts.node,
            findings: parts.findings,
            sessions: parts.sessions,
            user_tokens: ArcSwapOption::new(parts.user_tokens.map(Arc::new)),
            reconcile: parts.reconcile,
            webhooks: parts.webhooks,
            shutdown: parts.shutdown,
            leaving: AtomicBool::new(false),
            metrics: Metrics::new(),
            pages: Pages::default(),
            request_ids: RequestIds::new(RandomState::new().hash_one(0_u8)),
            started: Instant::now(),
            started_at: Millis(jiff::Timestamp::now().as_millisecond()),
        });
        tokio::spawn(crate::metrics::fold(app.clone()));
        tokio::spawn(crate::live::watch(app.clone()));
        app
    }

    /// The configuration in force. Settings that count without a restart (`config/live.rs`) are read here each time: it costs no more than
    /// a look at a pointer. Nothing may keep it.
    pub(crate) fn live(&self) -> Guard<Arc<Config>> {
        self.in_force.load()
    }

    /// Puts another configuration in force.
    pub(crate) fn put_in_force(&self, config: Config) {
        let limits = &config.limits;
        self.in_flight.set_most(limits.in_flight_max);
        self.streams.set_most(limits.streams_max);
        self.large_bodies.set_most(large_bodies(limits.body_bytes_max));
        if let (Some(tracer), Some(trace)) = (&self.tracer, &config.trace) {
            tracer.set_ratio(trace.millionths);
        }
        self.in_force.store(Arc::new(config));
    }

    /// Signs and reads tickets with these from now on.
    pub(crate) fn put_tickets(&self, tickets: TicketSecrets) {
        self.engine.set_ticket_keys(tickets.keys());
        self.tickets.store(Arc::new(tickets));
    }

    /// Whose session this is, as far as the key or the account still counts.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub(crate) async fn who(&self, session: &SessionRow) -> Result<Option<Arc<Identity>>, LedgerError> {
        if session.kind == Who::Key.word() {
            self.keys.by_id(&session.subject, &self.ledger).await
        } else {
            self.accounts.find(&session.subject, &self.ledger).await
        }
    }

    /// This node, which runs.
    pub(crate) fn node_row(&self) -> NodeRow {
        let seen_at = Millis(jiff::Timestamp::now().as_millisecond());
        NodeRow { node: self.node.clone(), version: env!("CARGO_PKG_VERSION").into(), started_at: self.started_at, seen_at }
    }

    /// From now on it is not ready, so that balancers send nobody here; all else goes on.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether the server is stopping, or about to.
    pub(crate) fn stopping(&self) -> bool {
        self.leaving.load(Ordering::Relaxed) || *self.shutdown.borrow()
    }

    /// Server time in whole seconds. Passes are made by it, so they are checked by it too.
    pub(crate) fn server_seconds(&self) -> i64 {
        self.engine.now().0.div_euclid(1_000)
    }

    /// What a pass says that lets its bearer into a zone now. A reset of the zone ends the passes from before it.
    ///
    /// # Errors
    /// The zone does not exist.
    pub(crate) async fn check_pass(&self, pass: &str, zone: &ZoneId, shown: Shown<'_>) -> Result<Result<Holder, PassRefusal>, Problem> {
        let holder = match self.passes.verify(pass, zone.as_str(), self.server_seconds()) {
            Ok(holder) => holder,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (number, settings) = self.engine.zone_settings(zone).await?;
        if (holder.pass.zone_number, holder.pass.ticket.epoch) != (number, settings.epoch) {
            return Ok(Err(PassRefusal::Invalid));
        }
        // Where people are known by what their site calls them, that is no secret: who says it alone has shown nothing.
        let own = shown.key.filter(|_| settings.door.enqueue == Enqueue::Open);
        let is_theirs = holder.bound_to.is_none_or(|hash| [shown.vouched, own].into_iter().flatten().any(|key| KeyHash::of(key) == hash));
        Ok(if is_theirs { Ok(holder) } else { Err(PassRefusal::OtherHolder) })
    }
}

fn large_bodies(body_bytes_max: usize) -> usize {
    (LARGE_BODIES_BYTES_MAX / body_bytes_max).max(1)
}

/// What is shown beside a pass, which may be bound to it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Shown<'a> {
    /// Who it is, as somebody says who is believed: the user that a claim is for, or whatever a protected service passes on.
    pub(crate) vouched: Option<&'a str>,
    /// The key that only who joined with it has.
    pub(crate) key: Option<&'a str>,
}

/// What was decided, and what carries it into SQL.
#[derive(Clone)]
pub enum Record {
    /// The embedded shape's.
    Journal {
        /// The record.
        journal: Journal,
        /// What carries it into SQL.
        projector: Arc<Projector>,
    },
    /// The cluster's.
    Kafka {
        /// What decides, and ships to Kafka.
        cluster: Arc<Cluster>,
        /// What carries the topic's partitions of this node into SQL.
        projector: Arc<KafkaProjector>,
    },
}

/// The parts of readiness.
pub(crate) struct Health {
    pub(crate) record: Record,
    /// Claims are answered only when they are in SQL.
    needs_ledger: bool,
}

impl Health {
    /// Whether what is decided is taken by the journal, or by Redis and Kafka.
    pub(crate) fn journal_well(&self) -> bool {
        match &self.record {
            Record::Journal { journal, .. } => !journal.poisoned(),
            Record::Kafka { cluster, .. } => cluster.health().decides(),
        }
    }

    /// Whether the last attempt to write to the ledger succeeded.
    pub(crate) fn ledger_well(&self) -> bool {
        match &self.record {
            Record::Journal { projector, .. } => projector.healthy(),
            Record::Kafka { projector, .. } => projector.healthy(),
        }
    }

    /// Events that one of the ledger's guards refused and nobody has mended.
    pub(crate) fn parked(&self) -> u64 {
        match &self.record {
            Record::Journal { projector, .. } => projector.parked(),
            Record::Kafka { projector, .. } => projector.parked(),
        }
    }

    /// Records that are durable, and how many of them the ledger has.
    pub(crate) fn progress(&self, ledger: &Ledger) -> Progress {
        match &self.record {
            Record::Journal { journal, .. } => Progress { durable: journal.durable(), projected: *ledger.projected().borrow() },
            Record::Kafka { cluster, .. } => {
                let health = cluster.health();
                Progress { durable: health.topic, projected: health.projected }
            }
        }
    }

    /// Of a cluster, whether Redis decides and Kafka takes what was decided.
    pub(crate) fn decides(&self) -> Option<(bool, bool)> {
        match &self.record {
            Record::Journal { .. } => None,
            Record::Kafka { cluster, .. } => {
                let health = cluster.health();
                Some((health.redis, health.kafka))
            }
        }
    }

    /// Bytes that wait for the journal's disk; a cluster has none.
    pub(crate) fn backlog_bytes(&self) -> usize {
        match &self.record {
            Record::Journal { journal, .. } => journal.pressure(),
            Record::Kafka { .. } => 0,
        }
    }

    /// Whether the ledger's state, good or bad, leaves claims and polls served.
    pub(crate) fn ledger_well_enough(&self) -> bool {
        !self.needs_ledger || self.ledger_well()
    }
}

/// How far the ledger has come.
pub(crate) struct Progress {
    /// Records that are durable: the last offset, or on a cluster the sum of all partitions' ends.
    pub(crate) durable: u64,
    /// The same, of those that are in the ledger.
    pub(crate) projected: u64,
}

impl Progress {
    /// Durable records that the ledger does not have.
    pub(crate) fn lag(&self) -> u64 {
        self.durable.saturating_sub(self.projected)
    }
}

/// A number of places, taken and given back without waiting.
#[derive(Debug)]
pub(crate) struct Slots {
    used: AtomicUsize,
    most: AtomicUsize,
}

/// A place that is taken; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot<'a>(&'a Slots);

/// A place that its holder does not need for the moment.
pub(crate) struct Lent<'a>(&'a Slots);

/// A place among the open streams, which the stream keeps for as long as it lives.
pub(crate) struct StreamSlot(Arc<App>);

impl StreamSlot {
    /// Takes a place, if there is one.
    pub(crate) fn take(app: &Arc<App>) -> Option<Self> {
        app.streams.count_in().then(|| Self(app.clone()))
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.0.streams.give_back();
    }
}

impl Slots {
    pub(crate) const fn new(most: usize) -> Self {
        Self { used: AtomicUsize::new(0), most: AtomicUsize::new(most) }
    }

    /// There are so many from now on. Those who have one keep it.
    pub(crate) fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Takes a place, if there is one.
    pub(crate) fn take(&self) -> Option<Slot<'_>> {
        self.count_in().then(|| Slot(self))
    }

    /// Lends a place that is taken to whoever else needs one.
    pub(crate) fn lend(&self) -> Lent<'_> {
        self.give_back();
        Lent(self)
    }

    /// Counting first and looking after cannot let two in where one place is left.
    fn count_in(&self) -> bool {
        let taken = self.used.fetch_add(1, Ordering::Relaxed) < self.most();
        if !taken {
            self.give_back();
        }
        taken
    }

    fn give_back(&self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
    }

    /// Places taken.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Lent<'_> {
    /// Takes the place back; false where that makes more than there are, and whoever lent it must end.
    pub(crate) fn take_back(self) -> bool {
        self.0.used() < self.0.most()
    }
}

impl Drop for Lent<'_> {
    /// Its holder gives it back another time.
    fn drop(&mut self) {
        self.0.used.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_come_back() {
        let slots = Slots::new(2);
        let (one, two) = (slots.take(), slots.take());
        assert!(one.is_some() && two.is_some() && slots.take().is_none());
        assert_eq!(slots.used(), 2, "a refused attempt leaves nothing behind");
        drop(one);
        assert!(slots.take().is_some());
        drop(two);
        assert_eq!(slots.used(), 0);
    }

    #[test]
    fn a_place_that_is_lent_serves_somebody_else_meanwhile() {
        let slots = Slots::new(1);
        let own = slots.take().expect("a place");
        let lent = slots.lend();
        let other = slots.take().expect("the place that is lent");
        assert!(!lent.take_back(), "it is taken");
        assert_eq!(slots.used(), 2, "until its holder ends");
        drop(own);
        drop(other);
        let own = slots.take().expect("a place");
        assert!(slots.lend().take_back());
        drop((own, slots.lend()));
        assert_eq!(slots.used(), 0);
    }
}
