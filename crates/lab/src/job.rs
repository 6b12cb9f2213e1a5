//! What the driver tells a worker, and the lines that they exchange.
//!
//! A worker is a process of its own, so that killing the application is a SIGKILL and not a make-believe: what it held in memory is gone, and what the
//! driver has read from its pipe is what a customer has seen.

use serde::{Deserialize, Serialize};

/// What a worker works on: the first line that it is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The strategy's name.
    pub strategy: String,
    /// Where the orders are, with the run's own database.
    pub sql: String,
    /// Where Redis is.
    pub redis: String,
    /// What every key begins with.
    pub prefix: String,
    /// Where Kafka is.
    pub brokers: String,
    /// The run's own topic.
    pub topic: String,
    /// Where a Bunho is.
    pub bunho: String,
    /// Units.
    pub quantity: i64,
    /// Attempts under way at a time.
    pub tasks: usize,
    /// Milliseconds between the two steps of a strategy that has two (what is read and what is written, SQL and Redis): what a call to another service would
    /// take. 0 where speed is looked at.
    pub think_ms: u64,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A unit.
    Yes,
    /// None: sold out, or the user has one.
    No,
    /// An error.
    Failed,
}

/// A line of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// It is connected.
    Ready,
    /// An attempt is answered; and how many round trips the worker has made so far.
    Answered {
        /// Which attempt.
        attempt: usize,
        /// What became of it.
        answer: Answer,
        /// Round trips to SQL and to Redis.
        trips: Trips,
    },
    /// Everything asynchronous has arrived.
    Drained(Trips),
}

/// Round trips of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trips {
    /// To SQL.
    pub sql: u64,
    /// To Redis.
    pub redis: u64,
}

impl Line {
    /// As it is sent.
    #[must_use]
    pub fn write(self) -> String {
        match self {
            Self::Ready => "ready\n".into(),
            Self::Answered { attempt, answer, trips } => {
                let word = match answer {
                    Answer::Yes => 'y',
                    Answer::No => 'n',
                    Answer::Failed => 'f',
                };
                format!("{word} {attempt} {} {}\n", trips.sql, trips.redis)
            }
            Self::Drained(trips) => format!("drained 0 {} {}\n", trips.sql, trips.redis),
        }
    }

    /// As it was sent. None: it is cut off, or something else's.
    #[must_use]
    pub fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        if kind == "ready" {
            return Some(Self::Ready);
        }
        let attempt = words.next()?.parse().ok()?;
        let trips = Trips { sql: words.next()?.parse().ok()?, redis: words.next()?.parse().ok()? };
        let answered = |answer| Some(Self::Answered { attempt, answer, trips });
        match kind {
            "y" => answered(Answer::Yes),
            "n" => answered(Answer::No),
            "f" => answered(Answer::Failed),
            "drained" => Some(Self::Drained(trips)),
            _ => None,
        }
    }
}
