//! One task for each tag: gathers commands into runs, ships what they wrote, and gives an answer when what it depends on is durable
//! (`tag/outbox.rs`).
//!
//! A tag is of some offers or of one zone (`of.rs`), which makes no difference here. Everything about a tag is the state of its task, so there
//! is no lock. While a run is under way the next one gathers: it leaves when the one before is back, when it is full, or when its oldest
//! command has waited as long as it may.

mod outbox;

use super::DecideError;
use super::figures::Depth;
use super::link::{EntryId, Link, Reply, Run, RunError};
use super::of::Of;
use super::order::{Answer, Left, Order, Repeat, Request, To, Until};
use super::shipper::{Entry, Shipper};
use super::wire;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use outbox::PEEK;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How commands are gathered, and what bounds the outbox.
#[derive(Clone, Debug)]
pub struct Gathering {
    /// Longest that a command waits for others while a run is under way.
    pub wait: Duration,
    /// Commands in one run. Each is decided in some ten microseconds, during which Redis does nothing else.
    pub commands_max: usize,
    /// Runs of one tag under way at once.
    pub runs_max: usize,
    /// Entries of one tag that may wait to be shipped, beyond which nothing is decided.
    pub outbox_max: usize,
    /// Entries that another node should have shipped by now are shipped by this one.
    pub relay_after: Duration,
    /// After so long with nothing to do a tag's task ends. The next command makes it anew.
    pub idle: Duration,
}

/// Times a command that may be repeated is sent again after a connection broke.
const TRIES_MAX: u8 = 5;
/// Commands in memory before the task takes no more; what is beyond waits in the channel, which is bounded too.
const QUEUE_MAX: usize = 4_096;

struct Waiting {
    answer: Vec<u8>,
    to: oneshot::Sender<Answer>,
    since: Instant,
}

enum Step {
    Landed(Vec<Order>, Result<Reply, RunError>),
    Shipped(Vec<Arc<Entry>>, bool),
    /// Whether what was removed counts.
    Asked(Vec<EntryId>, bool),
}

pub(super) struct Tag {
    of: Of,
    slot: u16,
    outbox: String,
    link: Arc<Link>,
    shipper: Shipper,
    gathering: Gathering,
    requests: mpsc::Receiver<Request>,
    queue: VecDeque<Order>,
    gathering_since: Option<Instant>,
    steps: FuturesUnordered<BoxFuture<'static, Step>>,
    runs: usize,
    shipping: bool,
    ship_from: Instant,
    unshipped: Vec<Arc<Entry>>,
    /// Entries that this task has and that may still be in the outbox.
    mine: BTreeSet<EntryId>,
    /// Of these, what is removed whatever epoch its offer has.
    drained: BTreeSet<EntryId>,
    /// Every entry of the outbox before this one is gone.
    head: EntryId,
    /// In this life of Redis; empty until the first answer.
    life: Vec<u8>,
    waiting: BTreeMap<EntryId, Vec<Waiting>>,
    looked: Instant,
    swept: Instant,
    /// When the outbox was last read for what others left, and up to which entry: what is before that this task has, or had.
    relayed: Instant,
    read_to: EntryId,
    /// Whether it is being read.
    relaying: bool,
    /// When to read it next: an answer was lost, and with it perhaps entries that nobody ships; or somebody asks for it.
    relay_due: Option<Instant>,
    /// What it then holds is all to be removed.
    draining: bool,
    /// Redis had no memory for the last run.
    full: bool,
    /// The last run failed, and that was said.
    broken: bool,
    depth: Depth,
}

impl Tag {
    pub(super) fn new(
        prefix: &str,
        of: Of,
        link: Arc<Link>,
        shipper: Shipper,
        gathering: Gathering,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        let (now, depth) = (Instant::now(), Depth::of(link.clone()));
        Self {
            of,
            slot: of.slot(),
            outbox: of.outbox(prefix),
            link,
            shipper,
            gathering,
            requests,
            queue: VecDeque::new(),
            gathering_since: None,
            steps: FuturesUnordered::new(),
            runs: 0,
            shipping: false,
            ship_from: now,
            unshipped: Vec::new(),
            mine: BTreeSet::new(),
            drained: BTreeSet::new(),
            head: EntryId::default(),
            life: Vec::new(),
            waiting: BTreeMap::new(),
            looked: now,
            swept: now,
            relayed: now,
            read_to: EntryId::default(),
            relaying: false,
            relay_due: None,
            draining: false,
            full: false,
            broken: false,
            depth,
        }
    }

    /// Until nobody can send orders any more and all that were sent are answered.
    pub(super) async fn serve(mut self) {
        let (mut open, mut used) = (true, Instant::now());
        while open || self.has_work() {
            let nobody_waits = self.waiting.is_empty() && self.relay_due.is_none();
            if used.elapsed() >= self.gathering.idle && nobody_waits && !self.has_work() {
                // Whoever sends from here on is told so, and makes a new task; what was sent before still comes.
                self.requests.close();
            }
            self.look();
            self.send();
            self.ship();
            let wake = tokio::time::Instant::from_std(self.wake());
            tokio::select! {
                request = self.requests.recv(), if open && self.queue.len() < QUEUE_MAX => match request {
                    Some(request) => {
                        used = Instant::now();
                        self.take(request);
                        while self.queue.len() < QUEUE_MAX && let Ok(request) = self.requests.try_recv() {
                            self.take(request);
                        }
                    }
                    None => open = false,
                },
                Some(step) = self.steps.next(), if !self.steps.is_empty() => match step {
                    Step::Landed(orders, result) => self.landed(orders, result),
                    Step::Shipped(entries, done) => self.shipped(entries, done),
                    Step::Asked(ids, counts) => self.are_gone(&ids, counts),
                },
                () = tokio::time::sleep_until(wake) => {}
            }
            self.depth.tell(self.mine.len() as u64);
            if self.gathering_since.is_none() && !self.queue.is_empty() {
                self.gathering_since = Some(Instant::now());
            }
        }
    }

    fn has_work(&self) -> bool {
        !(self.queue.is_empty() && self.steps.is_empty() && self.unshipped.is_empty())
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Decide(order) => self.queue.push_back(order),
            Request::Relay(left) => self.relay_at(Instant::now(), left),
        }
    }

    fn wake(&self) -> Instant {
        let mut wake = Instant::now() + Duration::from_secs(1);
        if let Some(since) = self.gathering_since
            && self.runs < self.gathering.runs_max
        {
            wake = wake.min(since + self.gathering.wait);
        }
        if !self.unshipped.is_empty() && !self.shipping {
            wake = wake.min(self.ship_from);
        }
        if self.runs == 0 && self.held_up_since().is_some() {
            wake = wake.min(self.looked + PEEK);
        }
        match self.relay_due {
            Some(due) if !self.relaying => wake.min(due),
            _ => wake,
        }
    }

    /// Sends runs as long as one is due.
    fn send(&mut self) {
        while !self.queue.is_empty() && self.runs < self.gathering.runs_max {
            let full = self.queue.len() >= self.gathering.commands_max;
            let waited = self.gathering_since.is_some_and(|since| since.elapsed() >= self.gathering.wait);
            if self.runs > 0 && !full && !waited {
                return;
            }
            // When Redis is full, what needs no memory runs alone: removals, so that it need not stay full, and what finds something to remove.
            let alone = self.full && self.queue.iter().any(Order::runs_when_full);
            let later = if alone { self.set_aside_what_needs_memory() } else { VecDeque::new() };
            let orders: Vec<Order> = self.queue.drain(..self.queue.len().min(self.gathering.commands_max)).collect();
            self.queue.extend(later);
            self.gathering_since = (!self.queue.is_empty()).then(Instant::now);
            self.run(orders, alone);
        }
    }

    fn set_aside_what_needs_memory(&mut self) -> VecDeque<Order> {
        let (left, aside) = std::mem::take(&mut self.queue).into_iter().partition(Order::runs_when_full);
        self.queue = left;
        aside
    }

    fn run(&mut self, orders: Vec<Order>, needs_no_memory: bool) {
        self.runs += 1;
        self.looked = Instant::now();
        let keys = self.of.keys(&self.outbox, orders.iter().flat_map(Order::offers));
        let (link, slot, outbox_max) = (self.link.clone(), self.slot, self.gathering.outbox_max);
        let (script, all_declared) = (self.of.script(needs_no_memory), self.of.declares_all());
        let may_write = orders.iter().any(Order::may_write);
        self.steps.push(Box::pin(async move {
            let result = link.run(&Run { script, slot, keys, outbox_max, orders: &orders, all_declared, may_write }).await;
            Step::Landed(orders, result)
        }));
    }

    fn landed(&mut self, orders: Vec<Order>, result: Result<Reply, RunError>) {
        self.runs -= 1;
        match result {
            Ok(reply) => {
                self.full &= orders.iter().all(Order::runs_when_full);
                if std::mem::take(&mut self.broken) {
                    tracing::info!(tag = %self.of, "runs of commands succeed again");
                }
                self.answered(orders, reply);
            }
            Err(RunError::Full(reason)) => self.refused_for_memory(orders, reason),
            Err(error @ RunError::MayHaveRun(_)) => {
                self.say_broken(&error);
                self.relay_at(Instant::now() + self.gathering.relay_after, Left::Now);
                for order in orders.into_iter().rev() {
                    self.ask_again(order, &error);
                }
            }
            Err(error) => {
                self.say_broken(&error);
                for order in orders {
                    self.fail(order, &error);
                }
            }
        }
    }

    fn refused_for_memory(&mut self, orders: Vec<Order>, reason: String) {
        let before = std::mem::replace(&mut self.full, true);
        if !before {
            tracing::error!(tag = %self.of, reason, "Redis refuses to write");
        }
        let error = RunError::Full(reason);
        for order in orders.into_iter().rev() {
            // Where even that is refused which needs no memory, only entries have nobody else to ask for them.
            match order.to {
                To::Removal(_) | To::Relay(..) => self.queue.push_front(order),
                To::Caller(_) if !before && order.runs_when_full() => self.queue.push_front(order),
                To::Caller(_) => self.fail(order, &error),
            }
        }
    }

    /// Said once an outage: a crowd that meets it is many runs.
    fn say_broken(&mut self, error: &RunError) {
        if !std::mem::replace(&mut self.broken, true) {
            tracing::warn!(tag = %self.of, ?error, "runs of commands fail");
        }
    }

    fn ask_again(&mut self, mut order: Order, error: &RunError) {
        order.tries += 1;
        if order.repeat != Repeat::No && order.tries < TRIES_MAX {
            self.queue.push_front(order);
        } else {
            self.fail(order, error);
        }
    }

    fn fail(&mut self, order: Order, error: &RunError) {
        let in_doubt = order.may_have_run();
        match order.to {
            To::Caller(to) => {
                let error = DecideError::from(error);
                // Whoever asked may be gone.
                let _ = to.send(Err(if in_doubt { DecideError::Indeterminate(error.to_string()) } else { error }));
            }
            // The entries stay in the outbox, and whoever finds them there ships them again.
            To::Removal(removal) => {
                self.give_up(&removal.ids);
                self.relay_at(Instant::now() + self.gathering.relay_after, Left::Now);
            }
            To::Relay(left, _) => {
                self.relaying = false;
                self.relay_at(Instant::now() + self.gathering.relay_after, left);
            }
        }
    }

    fn answered(&mut self, orders: Vec<Order>, reply: Reply) {
        for (id, packed) in reply.entries {
            match wire::written(&packed) {
                Ok(written) => self.take_entry(id, written),
                // Never shipped, never answered: whoever waits for it is told that the result is unknown.
                Err(error) => tracing::error!(tag = %self.of, %id, %error, "an entry of the outbox cannot be read"),
            }
        }
        // An outbox that there was does not end, unless Redis has lost it.
        if self.life != reply.life || (reply.head == EntryId::default() && self.head > reply.head) {
            self.another_life(reply.life);
        }
        self.head = self.head.max(reply.head);
        for (order, (depends, answer)) in orders.into_iter().zip(reply.answers) {
            self.answer(order, depends, answer, reply.replicated);
        }
        self.release();
    }

    fn answer(&mut self, order: Order, depends: Option<EntryId>, answer: Vec<u8>, replicated: bool) {
        let in_doubt = order.may_have_run();
        match order.to {
            To::Removal(removal) => self.removed(removal, &answer, replicated),
            To::Relay(left, from) => self.relay(&answer, left, from),
            // More is due than one run may settle: its turn comes again.
            To::Caller(_) if wire::is_again(&answer) => self.queue.push_back(order),
            To::Caller(to) if in_doubt && !wire::is_decided(&answer) => {
                let _ = to.send(Err(DecideError::Indeterminate("it may have run, and now Redis does not decide about it".into())));
            }
            To::Caller(to) => match depends.filter(|id| order.until == Until::Shipped && (*id >= self.head || self.mine.contains(id))) {
                Some(id) => self.waiting.entry(id).or_default().push(Waiting { answer, to, since: Instant::now() }),
                None => {
                    let _ = to.send(Ok(answer));
                }
            },
        }
    }
}
