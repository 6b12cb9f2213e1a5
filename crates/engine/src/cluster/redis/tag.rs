//! One task for each tag: gathers commands into runs, ships what they wrote, and gives an answer when what it depends on is durable.
//!
//! Everything about a tag is the state of its task, so there is no lock. While a run is under way the next one gathers: it
//! leaves when the one before is back, when it is full, or when its oldest command has waited as long as it may.

use super::DecideError;
use super::link::{EntryId, Link, Reply, RunError, slot_of};
use super::msgpack::{Reader, Writer};
use super::script::{SCRIPT, WHEN_FULL};
use super::shipper::{Entry, Shipper};
use super::wire::{self, Verdict};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
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
}

/// Times a command that may be repeated is sent again after a connection broke.
const TRIES_MAX: u8 = 5;
/// Commands in memory before the task takes no more; what is beyond waits in the channel, which is bounded too.
const QUEUE_MAX: usize = 4_096;
/// Entries that a relay reads at once, and ids in one command that removes them: below Lua's limit for unpack.
const ENTRIES_MOST: usize = 256;
/// How often the outbox is looked at while answers wait for what another node ships.
const PEEK: Duration = Duration::from_millis(2);
/// Before entries are shipped again that the journal did not take.
const SHIP_AGAIN: Duration = Duration::from_millis(100);

/// A packed answer, or why there is none.
pub(super) type Answer = Result<Vec<u8>, DecideError>;

/// Whether a command that may have run can be asked again without doing it twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    Yes,
    No,
}

/// When an answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    Decided,
    Shipped,
}

/// A command on its way.
pub(super) struct Order {
    pub(super) command: Vec<u8>,
    /// The offer whose keys it needs.
    pub(super) offer: u32,
    pub(super) repeat: Repeat,
    pub(super) until: Until,
    pub(super) tries: u8,
    pub(super) to: To,
}

/// Who gets an order's answer.
pub(super) enum To {
    Caller(oneshot::Sender<Answer>),
    /// This task: these entries should be gone now.
    Removal(Vec<EntryId>),
    /// This task: entries to ship for others.
    Relay(Left),
}

/// What of the outbox a relay ships.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// What was decided under the epoch that the offer still has.
    Now,
    /// What an earlier epoch left as well: before state is loaded anew.
    Ever,
}

struct Waiting {
    answer: Vec<u8>,
    to: oneshot::Sender<Answer>,
    since: Instant,
}

enum Step {
    Landed(Vec<Order>, Result<Reply, RunError>),
    Shipped(Vec<Arc<Entry>>, bool),
}

pub(super) struct Tag {
    number: u32,
    slot: u16,
    outbox: String,
    link: Arc<Link>,
    shipper: Shipper,
    gathering: Gathering,
    orders: mpsc::Receiver<Order>,
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
    waiting: BTreeMap<EntryId, Vec<Waiting>>,
    looked: Instant,
    relayed: Instant,
    /// Redis had no memory for the last run.
    full: bool,
    /// An answer was lost, and with it perhaps entries that nobody ships.
    relay_due: Option<Instant>,
}

impl Tag {
    pub(super) fn new(
        prefix: &str,
        number: u32,
        link: Arc<Link>,
        shipper: Shipper,
        gathering: Gathering,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        let now = Instant::now();
        Self {
            number,
            slot: slot_of(&number.to_string()),
            outbox: format!("{prefix}:{{{number}}}:outbox"),
            link,
            shipper,
            gathering,
            orders,
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
            waiting: BTreeMap::new(),
            looked: now,
            relayed: now,
            full: false,
            relay_due: None,
        }
    }

    /// Until nobody can send orders any more and all that were sent are answered.
    pub(super) async fn serve(mut self) {
        let mut open = true;
        while open || !self.queue.is_empty() || !self.steps.is_empty() || !self.unshipped.is_empty() {
            self.look();
            self.send();
            self.ship();
            let wake = tokio::time::Instant::from_std(self.wake());
            tokio::select! {
                order = self.orders.recv(), if open && self.queue.len() < QUEUE_MAX => match order {
                    Some(order) => {
                        self.queue.push_back(order);
                        while self.queue.len() < QUEUE_MAX && let Ok(order) = self.orders.try_recv() {
                            self.queue.push_back(order);
                        }
                    }
                    None => open = false,
                },
                Some(step) = self.steps.next(), if !self.steps.is_empty() => match step {
                    Step::Landed(orders, result) => self.landed(orders, result),
                    Step::Shipped(entries, done) => self.shipped(entries, done),
                },
                () = tokio::time::sleep_until(wake) => {}
            }
            if self.gathering_since.is_none() && !self.queue.is_empty() {
                self.gathering_since = Some(Instant::now());
            }
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
        if !self.waiting.is_empty() && self.runs == 0 {
            wake = wake.min(self.looked + PEEK);
        }
        self.relay_due.map_or(wake, |due| wake.min(due))
    }

    /// Sends runs as long as one is due.
    fn send(&mut self) {
        while !self.queue.is_empty() && self.runs < self.gathering.runs_max {
            let full = self.queue.len() >= self.gathering.commands_max;
            let waited = self.gathering_since.is_some_and(|since| since.elapsed() >= self.gathering.wait);
            if self.runs > 0 && !full && !waited {
                return;
            }
            // Removals stand in front. When Redis is full they run alone, so that it need not stay so.
            let removals = self.queue.iter().take_while(|order| matches!(order.to, To::Removal(_))).count();
            let alone = self.full && removals > 0;
            let most = if alone { removals } else { self.queue.len() };
            let orders: Vec<Order> = self.queue.drain(..most.min(self.gathering.commands_max)).collect();
            self.gathering_since = (!self.queue.is_empty()).then(Instant::now);
            self.run(orders, alone);
        }
    }

    fn run(&mut self, orders: Vec<Order>, removals_alone: bool) {
        self.runs += 1;
        self.looked = Instant::now();
        let base = self.outbox.strip_suffix("outbox").unwrap_or_default();
        let offers: BTreeSet<u32> = orders.iter().map(|order| order.offer).chain([self.number]).collect();
        let mut keys = vec![self.outbox.clone()];
        // All are named, not only the one that tells the slot: while a slot is on its way to another node, Redis then refuses the run
        // instead of deciding with half of the state.
        keys.extend(offers.iter().flat_map(|offer| ["", ":due", ":wait"].map(|set| format!("{base}{offer}{set}"))));
        let mut arguments = vec![self.gathering.outbox_max.to_string().into_bytes()];
        arguments.extend(orders.iter().map(|order| order.command.clone()));
        let (link, slot) = (self.link.clone(), self.slot);
        self.steps.push(Box::pin(async move {
            let script = if removals_alone { &WHEN_FULL } else { &SCRIPT };
            let result = link.run(script, slot, &keys, &arguments).await;
            Step::Landed(orders, result)
        }));
    }

    fn landed(&mut self, orders: Vec<Order>, result: Result<Reply, RunError>) {
        self.runs -= 1;
        match result {
            Ok(reply) => {
                self.full &= orders.iter().all(|order| matches!(order.to, To::Removal(_)));
                self.answered(orders, reply);
            }
            Err(RunError::Full) => {
                self.full = true;
                let (removals, others): (Vec<Order>, Vec<Order>) = orders.into_iter().partition(|order| matches!(order.to, To::Removal(_)));
                others.into_iter().for_each(|order| self.fail(order, &RunError::Full));
                removals.into_iter().for_each(|order| self.queue.push_front(order));
            }
            Err(RunError::MayHaveRun(reason)) => {
                tracing::warn!(tag = self.number, reason, "a run of commands may or may not have happened");
                self.relay_due.get_or_insert(Instant::now() + self.gathering.relay_after);
                for order in orders.into_iter().rev() {
                    self.ask_again(order, &reason);
                }
            }
            Err(error) => {
                tracing::warn!(tag = self.number, ?error, "a run of commands did not happen");
                for order in orders {
                    self.fail(order, &error);
                }
            }
        }
    }

    fn ask_again(&mut self, mut order: Order, reason: &str) {
        order.tries += 1;
        if order.repeat == Repeat::Yes && order.tries < TRIES_MAX {
            self.queue.push_front(order);
        } else if let To::Caller(to) = order.to {
            // Whoever asked may be gone.
            let _ = to.send(Err(DecideError::Indeterminate(reason.to_owned())));
        }
    }

    fn fail(&mut self, order: Order, error: &RunError) {
        match order.to {
            To::Caller(to) => {
                let _ = to.send(Err(DecideError::from(error)));
            }
            // The entries stay in the outbox, and whoever finds them there ships them again.
            To::Removal(ids) => {
                self.give_up(&ids);
                self.relay_due = Some(Instant::now() + self.gathering.relay_after);
            }
            To::Relay(_) => self.relay_due = Some(Instant::now() + self.gathering.relay_after),
        }
    }

    fn answered(&mut self, orders: Vec<Order>, reply: Reply) {
        for (id, packed) in reply.entries {
            match wire::written(&packed) {
                Ok(written) => self.take_entry(id, written),
                // Never shipped, never answered: whoever waits for it is told that the result is unknown.
                Err(error) => tracing::error!(tag = self.number, %id, %error, "an entry of the outbox cannot be read"),
            }
        }
        self.head = self.head.max(reply.head);
        for (order, (depends, answer)) in orders.into_iter().zip(reply.answers) {
            self.answer(order, depends, answer);
        }
        self.release();
    }

    fn take_entry(&mut self, id: EntryId, written: wire::Written) {
        if self.mine.insert(id) {
            let wire::Written { record, offer, epoch, version } = written;
            self.unshipped.push(Arc::new(Entry { id, tag: self.number, offer, epoch, version, record }));
        }
    }

    fn answer(&mut self, order: Order, depends: Option<EntryId>, answer: Vec<u8>) {
        match order.to {
            To::Removal(ids) => self.removed(ids, &answer),
            To::Relay(left) => self.relay(&answer, left),
            // More is due than one run may settle: its turn comes again.
            To::Caller(_) if matches!(wire::verdict(&answer, order.offer), Ok(Verdict::Again)) => self.queue.push_back(order),
            To::Caller(to) => match depends.filter(|id| order.until == Until::Shipped && *id >= self.head) {
                Some(id) => self.waiting.entry(id).or_default().push(Waiting { answer, to, since: Instant::now() }),
                None => {
                    let _ = to.send(Ok(answer));
                }
            },
        }
    }

    /// Gives the answers that depend on nothing that is still in the outbox. What this node wrote has left it only when Redis said so to
    /// this node: an entry that is merely not there may have been lost with a primary.
    fn release(&mut self) {
        let head = self.mine.first().map_or(self.head, |first| self.head.min(*first));
        let still = self.waiting.split_off(&head);
        for waiting in std::mem::replace(&mut self.waiting, still).into_values().flatten() {
            let _ = waiting.to.send(Ok(waiting.answer));
        }
    }

    fn ship(&mut self) {
        if self.shipping || self.unshipped.is_empty() || Instant::now() < self.ship_from {
            return;
        }
        self.shipping = true;
        let (entries, shipper) = (std::mem::take(&mut self.unshipped), self.shipper.clone());
        self.steps.push(Box::pin(async move {
            let done = shipper.ship(entries.clone()).await;
            Step::Shipped(entries, done)
        }));
    }

    fn shipped(&mut self, mut entries: Vec<Arc<Entry>>, done: bool) {
        self.shipping = false;
        if !done {
            entries.append(&mut self.unshipped);
            self.unshipped = entries;
            self.ship_from = Instant::now() + SHIP_AGAIN;
            return;
        }
        let mut by_decider: BTreeMap<(u32, u32, bool), Vec<&Entry>> = BTreeMap::new();
        for entry in &entries {
            let draining = self.drained.remove(&entry.id);
            by_decider.entry((entry.offer, entry.epoch, draining)).or_default().push(entry);
        }
        for ((offer, epoch, draining), entries) in by_decider {
            for entries in entries.chunks(ENTRIES_MOST) {
                self.queue.push_front(removal(offer, epoch, draining, entries));
            }
        }
    }

    fn removed(&mut self, ids: Vec<EntryId>, answer: &[u8]) {
        match wire::verdict(answer, self.number) {
            Ok(Verdict::Done(_)) => {
                for id in ids {
                    self.mine.remove(&id);
                }
            }
            // The offer was suspended meanwhile, or Redis has stepped back: what these entries did may be undone.
            _ => self.give_up(&ids),
        }
    }

    /// Whoever waits for these entries cannot be told any more whether they stand.
    fn give_up(&mut self, ids: &[EntryId]) {
        for id in ids {
            self.mine.remove(id);
            for waiting in self.waiting.remove(id).into_iter().flatten() {
                let _ = waiting.to.send(Err(DecideError::Indeterminate("the offer was suspended before its entry was removed".into())));
            }
        }
    }

    /// Looks after answers that wait for what another node ships.
    fn look(&mut self) {
        let now = Instant::now();
        // Nobody waits any more for an answer whose caller has gone away.
        self.waiting.retain(|_, waiting| {
            waiting.retain(|waiting| !waiting.to.is_closed());
            !waiting.is_empty()
        });
        let foreign = self.waiting.iter().find(|(id, _)| !self.mine.contains(*id)).and_then(|(_, waiting)| waiting.first());
        let relay_after = self.gathering.relay_after;
        let late = foreign.is_some_and(|waiting| now >= waiting.since + relay_after) && now >= self.relayed + relay_after;
        if late || self.relay_due.is_some_and(|due| now >= due) {
            if self.runs == 0 && self.queue.iter().all(|order| !matches!(order.to, To::Relay(_))) {
                self.relay_due = None;
                self.relayed = now;
                self.queue.push_front(relay(self.number, self.head, Left::Now));
            }
        } else if !self.waiting.is_empty() && self.runs == 0 && self.queue.is_empty() && now >= self.looked + PEEK {
            self.run(Vec::new(), false);
        }
    }

    fn relay(&mut self, answer: &[u8], left: Left) {
        let Ok(Verdict::Done(mut reader)) = wire::verdict(answer, self.number) else { return };
        let Ok(count) = reader.array() else { return };
        for _ in 0..count / 2 {
            let (Ok(id), Ok(packed)) = (reader.bytes(), reader.bytes()) else { return };
            match (super::link::entry_id(id), wire::written(packed)) {
                (Some(id), Ok(written)) => {
                    if left == Left::Ever && !self.mine.contains(&id) {
                        self.give_up(&[id]);
                        self.drained.insert(id);
                    }
                    self.take_entry(id, written);
                }
                _ => tracing::error!(tag = self.number, "an entry of the outbox cannot be read"),
            }
        }
        // Entries of this node's own runs came with their answers and may be later than these.
        self.unshipped.sort_by_key(|entry| entry.id);
        if count / 2 >= ENTRIES_MOST {
            self.relay_due = Some(Instant::now() + PEEK);
        }
    }
}

/// The start of every command.
pub(super) fn start(name: &str, offer: u32, epoch: u32, arguments: usize) -> Writer {
    Writer::default().array(5 + arguments).text(name).int(offer.into()).int(epoch.into())
}

fn removal(offer: u32, epoch: u32, draining: bool, entries: &[&Entry]) -> Order {
    let mut command = start("shipped", offer, epoch, 2).none().none().array(2 * entries.len());
    for entry in entries {
        command = command.text(&entry.id.to_string()).int(entry.version as i64);
    }
    command = command.bool(draining);
    let to = To::Removal(entries.iter().map(|entry| entry.id).collect());
    Order { command: command.finish(), offer, repeat: Repeat::Yes, until: Until::Decided, tries: 0, to }
}

/// Entries of a tag's outbox from an id on.
pub(super) fn read_outbox(tag: u32, from: EntryId) -> Vec<u8> {
    start("outbox", tag, 0, 2).none().none().text(&from.to_string()).int(ENTRIES_MOST as i64).finish()
}

pub(super) fn relay(tag: u32, from: EntryId, left: Left) -> Order {
    Order { command: read_outbox(tag, from), offer: tag, repeat: Repeat::Yes, until: Until::Decided, tries: 0, to: To::Relay(left) }
}

/// Whether an answer says that nothing was found to read.
pub(super) fn done<'a>(answer: &'a [u8], offer: u32) -> Result<Result<Reader<'a>, bunho_domain::offer::refusal::Refusal>, DecideError> {
    match wire::verdict(answer, offer)? {
        Verdict::Done(reader) => Ok(Ok(reader)),
        Verdict::Refused(refusal) => Ok(Err(refusal)),
        Verdict::Unknown => Err(DecideError::UnknownOffer),
        Verdict::Suspended | Verdict::Stale => Err(DecideError::Suspended),
        Verdict::Epoch(current) => Err(DecideError::Epoch { current }),
        Verdict::Overloaded => Err(DecideError::Overloaded),
        Verdict::Again => Err(DecideError::Unavailable("more is due than could be settled".into())),
        Verdict::Clock => Err(DecideError::Clock),
        Verdict::Conflict(current) => Err(DecideError::Conflict { current }),
        Verdict::Exists => Err(DecideError::Exists),
    }
}
