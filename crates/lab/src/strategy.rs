//! The strategies, as data: what each is, what it needs, and what theory says that it may break. A run is held against this.

use std::fmt;

/// How a unit is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Read, decide, write.
    Naive,
    /// `SELECT … FOR UPDATE`.
    Pessimistic,
    /// Version column, and again.
    Optimistic,
    /// `UPDATE … WHERE remaining >= 1`.
    Conditional,
    /// A row for each unit.
    SkipLocked,
    /// The database's own named lock.
    Advisory,
    /// A lock in Redis around SQL and Redis.
    LockWriteThrough,
    /// A lock in Redis around Redis; SQL later.
    LockWriteBack,
    /// A script decides, SQL is written before the answer.
    Lua,
    /// A script decides, Kafka is told without waiting.
    LuaKafkaUnawaited,
    /// A script decides, Kafka has acknowledged before the answer.
    LuaKafkaAwaited,
    /// A cache in front of the conditional update.
    LookAside,
    /// One node with a journal of its own.
    BunhoEmbedded,
    /// A node on Redis Cluster, Kafka and SQL.
    BunhoCluster,
}

/// What can be ended in the middle of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The program that runs the strategy.
    Process,
    /// The Redis that it uses, which comes back with what it had written.
    Redis,
    /// The same, and it comes back empty: a snapshot that never was, a replica that had nothing yet.
    RedisData,
    /// Its Kafka broker.
    Broker,
}

/// What can go wrong, counted in the orders of SQL against the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// More units given out than there are.
    Oversold,
    /// Answered yes, and no order in SQL.
    Lost,
    /// A user with more than one unit.
    Double,
}

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// By concurrency alone.
    Always,
    /// When this dies in the middle.
    Killed(Victim),
}

/// What theory says of a strategy.
#[derive(Debug)]
pub struct Facts {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does, in a line.
    pub line: &'static str,
    /// What may happen, and when.
    pub may: &'static [(Harm, When)],
    /// Why.
    pub why: &'static str,
}

use Harm::{Double, Lost, Oversold};
use When::{Always, Killed};

impl Strategy {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 14] = [
        Self::Naive,
        Self::Pessimistic,
        Self::Optimistic,
        Self::Conditional,
        Self::SkipLocked,
        Self::Advisory,
        Self::LockWriteThrough,
        Self::LockWriteBack,
        Self::Lua,
        Self::LuaKafkaUnawaited,
        Self::LuaKafkaAwaited,
        Self::LookAside,
        Self::BunhoEmbedded,
        Self::BunhoCluster,
    ];

    /// What theory says of it.
    #[must_use]
    pub fn facts(self) -> Facts {
        let (name, line, may, why): (_, _, &'static [(Harm, When)], _) = match self {
            Self::Naive => (
                "naive",
                "reads what is left, decides in the application, writes what it computed; a transaction around it, and no unique index",
                &[(Oversold, Always), (Double, Always)],
                "two that read the same number both take the same unit; a transaction does not stop that at the levels that databases begin with",
            ),
            Self::Pessimistic => (
                "pessimistic",
                "SELECT … FOR UPDATE on the offer's row, then order and stock in the same transaction",
                &[],
                "the row is locked from the look to the commit: one at a time, also for who will be refused",
            ),
            Self::Optimistic => (
                "optimistic",
                "reads stock and version, writes where the version is still that, and begins again where it is not",
                &[],
                "only one writer of a version wins; under a crowd most work is done to be thrown away, and some give up",
            ),
            Self::Conditional => (
                "conditional",
                "order row, then UPDATE … SET remaining = remaining - 1 WHERE remaining >= 1, in one transaction",
                &[],
                "the test and the write are one statement; the hot row is locked last, and so for the shortest time",
            ),
            Self::SkipLocked => (
                "skip-locked",
                "a row for each unit, and FOR UPDATE SKIP LOCKED takes one that nobody else is taking",
                &[],
                "buyers do not wait for one another; near the end somebody may be told sold out because of a transaction that then is undone",
            ),
            Self::Advisory => (
                "advisory",
                "pg_advisory_xact_lock or GET_LOCK around read, decision and write",
                &[],
                "as the row lock, with a name instead of a row; whoever writes without asking for the lock is not stopped by it",
            ),
            Self::LockWriteThrough => (
                "lock-write-through",
                "a lock in Redis (SET NX PX, 1 s lease) around stock in Redis and order in SQL, both written before the answer",
                &[(Oversold, Killed(Victim::Process)), (Oversold, Killed(Victim::Redis)), (Oversold, Killed(Victim::RedisData))],
                "a holder that dies, or loses Redis, between the two writes leaves stock that has been sold; so does one that outlives its lease",
            ),
            Self::LockWriteBack => (
                "lock-write-back",
                "the same lock around Redis alone; orders are written to SQL in the background",
                &[(Lost, Killed(Victim::RedisData)), (Oversold, Killed(Victim::RedisData))],
                "until the background has been there, Redis is the only one that knows of an order; a power cut takes up to a second of it, a lost disk all",
            ),
            Self::Lua => (
                "lua",
                "one script decides (who has one, how many are given); the order is in SQL before the answer",
                &[(Oversold, Killed(Victim::RedisData))],
                "a Redis that comes back with less than it had sells those units again; a process that dies in between strands a unit that nobody has",
            ),
            Self::LuaKafkaUnawaited => (
                "lua-kafka-unawaited",
                "one script decides; the order goes to Kafka without waiting; a consumer writes it to SQL",
                &[(Lost, Killed(Victim::Process)), (Oversold, Killed(Victim::RedisData))],
                "what waits in the producer's buffer was answered and dies with the process, or with a broker that is away for longer than the producer tries (five minutes, here)",
            ),
            Self::LuaKafkaAwaited => (
                "lua-kafka-awaited",
                "the same, answered when Kafka has acknowledged",
                &[(Oversold, Killed(Victim::RedisData))],
                "nothing that was answered is only in memory; units are stranded where a process dies before Kafka knew, and sold again where Redis forgets",
            ),
            Self::LookAside => (
                "look-aside",
                "a cached “what is left” refuses early (look-aside, 1 s); whoever passes goes to the conditional update",
                &[],
                "the cache only says no; SQL decides. A no may be a second old",
            ),
            Self::BunhoEmbedded => (
                "bunho-embedded",
                "one Bunho node: decided in memory, answered when its journal is on disk, projected into SQL",
                &[],
                "promises 1 to 3 of its README",
            ),
            Self::BunhoCluster => (
                "bunho-cluster",
                "a Bunho node on Redis Cluster, Kafka and SQL: a script decides with an outbox, answered after Kafka has acknowledged",
                &[],
                "promises 1 to 3 of its README",
            ),
        };
        Facts { name, line, may, why }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.facts().name == name)
    }

    /// Whether a Redis is part of it.
    #[must_use]
    pub fn uses_redis(self) -> bool {
        self.uses_kafka() && self != Self::BunhoEmbedded
            || matches!(self, Self::LockWriteThrough | Self::LockWriteBack | Self::Lua | Self::LookAside)
    }

    /// Whether a Kafka is part of it.
    #[must_use]
    pub fn uses_kafka(self) -> bool {
        matches!(self, Self::LuaKafkaUnawaited | Self::LuaKafkaAwaited | Self::BunhoCluster)
    }

    /// Whether it is the real server.
    #[must_use]
    pub fn is_bunho(self) -> bool {
        matches!(self, Self::BunhoEmbedded | Self::BunhoCluster)
    }

    /// Whether this can die in the middle of it.
    #[must_use]
    pub fn has(self, victim: Victim) -> bool {
        match victim {
            Victim::Process => true,
            Victim::Redis | Victim::RedisData => self.uses_redis(),
            Victim::Broker => self.uses_kafka(),
        }
    }

    /// Whether theory allows this harm in a run in which that died.
    #[must_use]
    pub fn may(self, harm: Harm, killed: Option<Victim>) -> bool {
        let allowed = |when: When| when == Always || killed.is_some_and(|victim| when == Killed(victim));
        self.facts().may.iter().any(|(what, when)| *what == harm && allowed(*when))
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "process",
            Self::Redis => "redis",
            Self::RedisData => "redis-data",
            Self::Broker => "broker",
        })
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Oversold => "oversell",
            Lost => "lose",
            Double => "double",
        })
    }
}
