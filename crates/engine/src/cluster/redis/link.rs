//! The way to Redis: which node has a slot (`link/slots.rs`), one connection to each, and what an error says about whether the script ran.
//!
//! The last is the reason why this is written here. A client library's cluster mode asks again by itself after a broken connection, and a claim
//! without a key that is asked twice may be taken twice. Here what certainly did not run is asked again, and what may have
//! run is said to be so.

mod slots;

pub(super) use slots::{Address, slot_of};

use super::figures::LinkFigures;
use super::order::Order;
use super::script::Script;
use crate::cluster::rounds::Rounds;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, RedisResult, Value};
use slots::{Known, target};
use std::time::{Duration, Instant};

/// Between two attempts at what cannot run at the moment (a failover, a loading node, a slot on its way).
const PAUSE: Duration = Duration::from_millis(20);
/// How long a run waits for replicas to have what it wrote. The journal has it anyhow.
const REPLICAS_WITHIN: Duration = Duration::from_millis(50);
/// A primary whose replicas did not have it within that is not waited for again before this: it may have lost them.
const REPLICAS_AGAIN: Duration = Duration::from_secs(1);

/// How long things may take.
#[derive(Clone, Debug)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For an answer, before the connection counts as broken.
    pub respond: Duration,
    /// For a cluster that cannot run a command at the moment, before the command is refused.
    pub cluster: Duration,
}

/// Why a run brought no answers.
#[derive(Debug)]
pub(super) enum RunError {
    /// It certainly did not run.
    NotRun(String),
    /// It may have run.
    MayHaveRun(String),
    /// Redis has no memory for it, or cannot write; it did not run.
    Full(String),
    /// It ran into a bug before it wrote anything.
    Fault(String),
    /// It ran into a bug after it had written: its offers have stopped.
    Broken(String),
}

/// The id of an entry of the outbox; later entries have greater ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Redis's clock when it was written.
    pub ms: u64,
    /// Counts within the millisecond.
    pub seq: u64,
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl EntryId {
    /// The first id after this one, as far as there is any.
    pub(super) fn next(self) -> Self {
        match (self.seq.checked_add(1), self.ms.checked_add(1)) {
            (Some(seq), _) => Self { seq, ..self },
            (None, Some(ms)) => Self { ms, seq: 0 },
            (None, None) => self,
        }
    }
}

/// Commands whose keys are all in one slot.
pub(super) struct Run<'a> {
    pub(super) script: &'a Script,
    pub(super) slot: u16,
    pub(super) keys: Vec<String>,
    pub(super) outbox_max: usize,
    pub(super) orders: &'a [Order],
    /// Whether it touches no key but these.
    pub(super) all_declared: bool,
    /// Whether any of the commands may write: what replicas should have before it is answered.
    pub(super) may_write: bool,
}

/// What a run answered.
pub(super) struct Reply {
    /// Every entry of the outbox before this one is gone.
    pub(super) head: EntryId,
    /// What each answer depends on, and the answer.
    pub(super) answers: Vec<(Option<EntryId>, Vec<u8>)>,
    /// What the run appended to the outbox.
    pub(super) entries: Vec<(EntryId, Vec<u8>)>,
    /// Which life of which Redis process it was in.
    pub(super) life: Vec<u8>,
    /// As many replicas as are wanted have what it wrote.
    pub(super) replicated: bool,
}

pub(super) struct Link {
    seeds: Vec<ConnectionInfo>,
    patience: Patience,
    /// Replicas that should have what a run wrote before it is answered; none: no waiting.
    replicas: Option<usize>,
    known: Mutex<Known>,
    refreshes: Rounds,
    pub(super) figures: LinkFigures,
}

enum Attempt {
    /// The answer, and whether as many replicas as are wanted have what was written.
    Done(RedisResult<(Value, bool)>),
    NoConnection(RedisError),
}

impl Link {
    /// Finds the cluster.
    ///
    /// # Errors
    /// No seed answers, or what answers is not a cluster.
    pub(super) async fn open(seeds: &[String], patience: Patience, replicas: Option<usize>) -> RedisResult<Self> {
        let seeds = seeds.iter().map(|seed| seed.as_str().into_connection_info()).collect::<RedisResult<_>>()?;
        let link =
            Self { seeds, patience, replicas, known: Mutex::default(), refreshes: Rounds::default(), figures: LinkFigures::default() };
        link.find_slots().await?;
        Ok(link)
    }

    /// Runs a script over packed commands.
    pub(super) async fn run(&self, run: &Run<'_>) -> Result<Reply, RunError> {
        let give_up = Instant::now() + self.patience.cluster;
        let (slot, mut whole, mut asked) = (run.slot, false, None);
        loop {
            let again = match self.attempt(run, asked.as_ref(), whole).await {
                Attempt::Done(Ok((value, replicated))) => {
                    let reply = Reply::parse(value, replicated).filter(|reply| reply.answers.len() == run.orders.len());
                    return reply.ok_or_else(|| RunError::MayHaveRun("an answer of another form".into()));
                }
                Attempt::Done(Err(error)) => match error.code() {
                    Some("NOSCRIPT") => {
                        whole = true;
                        continue;
                    }
                    Some("MOVED") => {
                        asked = None;
                        self.moved(slot, &error);
                        error
                    }
                    // The node that the slot goes to would take every key that it has not got yet for one that there is not.
                    Some("ASK") if !run.all_declared => pause(error).await,
                    Some("ASK") => {
                        asked = target(&error);
                        continue;
                    }
                    Some("TRYAGAIN" | "BUSY" | "NOREPLICAS") => pause(error).await,
                    Some("CLUSTERDOWN" | "MASTERDOWN" | "LOADING" | "READONLY") => {
                        self.doubt(slot, asked.as_ref());
                        asked = None;
                        self.refresh().await;
                        error
                    }
                    Some("OOM" | "MISCONF") => {
                        // So that what is tried again at once is not tried all the time.
                        return Err(RunError::Full(pause(error).await.to_string()));
                    }
                    Some("FAULT") => return Err(RunError::Fault(error.to_string())),
                    Some("BROKEN") => return Err(RunError::Broken(error.to_string())),
                    Some("NOPERM" | "NOAUTH" | "CROSSSLOT") => return Err(RunError::NotRun(error.to_string())),
                    _ => {
                        self.forget(slot, asked.as_ref());
                        return Err(RunError::MayHaveRun(error.to_string()));
                    }
                },
                Attempt::NoConnection(error) => {
                    self.doubt(slot, asked.as_ref());
                    asked = None;
                    self.refresh().await;
                    error
                }
            };
            if Instant::now() > give_up {
                return Err(RunError::NotRun(again.to_string()));
            }
        }
    }

    async fn attempt(&self, run: &Run<'_>, asked: Option<&Address>, whole: bool) -> Attempt {
        let address = asked.cloned().or_else(|| self.address_of(run.slot));
        let Some(address) = address else { return Attempt::NoConnection(error("no node has this slot")) };
        let mut connection = match self.connection(&address).await {
            Ok(connection) => connection,
            Err(error) => return Attempt::NoConnection(error),
        };
        let mut pipeline = redis::Pipeline::new();
        if asked.is_some() {
            pipeline.cmd("ASKING");
        }
        pipeline.add_command(run.command(whole));
        let wait_for = self.replicas.filter(|_| run.may_write && !self.known.lock().lags(&address));
        if let Some(replicas) = wait_for {
            pipeline.cmd("WAIT").arg(replicas).arg(REPLICAS_WITHIN.as_millis() as u64);
        }
        let offset = usize::from(asked.is_some());
        let began = Instant::now();
        let answers = connection.send_packed_commands(&pipeline, offset, 1 + usize::from(wait_for.is_some())).await;
        self.figures.ran(began, run.orders.len());
        Attempt::Done(answers.and_then(|answers| {
            let mut answers = answers.into_iter();
            let answer = answers.next().ok_or_else(|| error("no answer"))?;
            let had = answers.next();
            let replicated = self.replicas.is_none_or(|wanted| matches!(had, Some(Value::Int(had)) if had >= wanted as i64));
            if wait_for.is_some() && !replicated {
                self.known.lock().lagging.insert(address, Instant::now() + REPLICAS_AGAIN);
            }
            answer.extract_error().map(|answer| (answer, replicated))
        }))
    }

    /// The time of whichever node has the first slot, in Unix milliseconds.
    pub(super) async fn time(&self) -> RedisResult<i64> {
        let address = self.address_of(0).ok_or_else(|| error("no node has the first slot"));
        let asked = match address {
            Ok(address) => match self.connection(&address).await {
                Ok(mut connection) => self.figures.trip(redis::cmd("TIME").query_async::<(i64, i64)>(&mut connection)).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        match asked {
            Ok((seconds, micros)) => Ok(seconds * 1_000 + micros / 1_000),
            Err(error) => {
                self.forget(0, None);
                self.refresh().await;
                Err(error)
            }
        }
    }

    pub(super) async fn connection(&self, address: &Address) -> RedisResult<MultiplexedConnection> {
        if let Some(connection) = self.known.lock().connections.get(address) {
            return Ok(connection.clone());
        }
        let seed = self.seeds.first().ok_or_else(|| error("no address of the cluster is set"))?;
        let connection = self.connect(seed.clone().set_addr(ConnectionAddr::Tcp(address.0.clone(), address.1))).await?;
        Ok(self.known.lock().connections.entry(address.clone()).or_insert(connection).clone())
    }

    fn connect(&self, info: ConnectionInfo) -> BoxFuture<'_, RedisResult<MultiplexedConnection>> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.patience.connect))
            .set_response_timeout(Some(self.patience.respond));
        Box::pin(async move { redis::Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await })
    }
}

impl Run<'_> {
    /// With the script's name, or with its whole text.
    fn command(&self, whole: bool) -> Cmd {
        let mut command = redis::cmd(if whole { "EVAL" } else { "EVALSHA" });
        command.arg(if whole { &*self.script.source } else { &self.script.sha1 }).arg(self.keys.len()).arg(&self.keys);
        command.arg(self.outbox_max);
        for order in self.orders {
            command.arg(&order.command[..]);
        }
        command
    }
}

fn error(reason: &'static str) -> RedisError {
    RedisError::from((redis::ErrorKind::Client, reason))
}

async fn pause(error: RedisError) -> RedisError {
    tokio::time::sleep(PAUSE).await;
    error
}

pub(super) fn entry_id(text: &[u8]) -> Option<EntryId> {
    let (ms, seq) = std::str::from_utf8(text).ok()?.split_once('-')?;
    Some(EntryId { ms: ms.parse().ok()?, seq: seq.parse().ok()? })
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

impl Reply {
    fn parse(value: Value, replicated: bool) -> Option<Self> {
        let Value::Array(parts) = value else { return None };
        let [at, kept, answers, entries, life]: [Value; 5] = parts.try_into().ok()?;
        let at = bytes(at)?;
        let head = match (at.is_empty(), kept) {
            (true, _) => EntryId::default(),
            (false, Value::Int(1)) => entry_id(&at)?,
            // Empty: the last one that it gave is gone too.
            (false, _) => entry_id(&at)?.next(),
        };
        let answers = pairs(answers)?.into_iter().map(|(id, answer)| (entry_id(&id), answer)).collect();
        let entries = pairs(entries)?.into_iter().map(|(id, entry)| Some((entry_id(&id)?, entry))).collect::<Option<_>>()?;
        Some(Self { head, answers, entries, life: bytes(life)?, replicated })
    }
}

fn pairs(value: Value) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let Value::Array(values) = value else { return None };
    let mut values = values.into_iter();
    let mut pairs = Vec::with_capacity(values.len() / 2);
    while let Some(first) = values.next() {
        pairs.push((bytes(first)?, bytes(values.next()?)?));
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_as_great_as_can_be_is_read_too() {
        let reply = |last: &str| {
            let nothing = || Value::Array(Vec::new());
            Reply::parse(
                Value::Array(vec![Value::BulkString(last.into()), Value::Int(0), nothing(), nothing(), Value::BulkString(Vec::new())]),
                true,
            )
            .expect("a reply")
            .head
        };
        assert_eq!(reply("5-7"), EntryId { ms: 5, seq: 8 });
        assert_eq!(reply(&format!("5-{}", u64::MAX)), EntryId { ms: 6, seq: 0 });
        assert_eq!(reply(&format!("{0}-{0}", u64::MAX)), EntryId { ms: u64::MAX, seq: u64::MAX });
    }
}
