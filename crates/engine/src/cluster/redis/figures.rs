//! What is counted on the way to Redis, and what a primary says of itself.

use super::link::{Address, Link};
use bunho_journal::measure::{SIZES, Spread, TIMES_US};
use redis::{RedisError, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Counted for each run of commands and each question; not for each command.
#[derive(Debug)]
pub struct LinkFigures {
    /// Times that something was sent: a run of commands, or a question (the clock, the slots, what a primary says of itself).
    pub round_trips: AtomicU64,
    /// Microseconds until a run was answered, or given up.
    pub run_us: Spread,
    /// Commands in a run.
    pub run_commands: Spread,
    /// Entries of outboxes that the tasks of all tags have and that may still be there.
    pub outbox: AtomicU64,
}

/// What a primary says of itself, since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrimaryFigures {
    /// Runs of scripts.
    pub script_calls: u64,
    /// Microseconds that they took.
    pub script_us: u64,
    /// Commands that its slow log has noted, as far as it was seen: a log that was emptied does not tell until it notes another one.
    pub slow: u64,
    /// Which life of the process says so: the beginning of the name that it gives itself at each start. 0: it does not tell.
    pub life: u64,
}

impl PrimaryFigures {
    /// These, after those that were read `before` of the same primary: within one life of it nothing that was seen is unseen again.
    pub(in super::super) fn after(self, before: Option<Self>) -> Self {
        let seen = before.filter(|before| before.life == self.life).map_or(0, |before| before.slow);
        Self { slow: self.slow.max(seen), ..self }
    }
}

impl Default for LinkFigures {
    fn default() -> Self {
        Self {
            round_trips: AtomicU64::new(0),
            run_us: Spread::over(&TIMES_US),
            run_commands: Spread::over(&SIZES),
            outbox: AtomicU64::new(0),
        }
    }
}

impl LinkFigures {
    /// A run of so many commands was answered, or given up.
    pub(super) fn ran(&self, began: Instant, commands: usize) {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        self.run_us.note_since(began);
        self.run_commands.note(commands as u64);
    }

    /// Counts a question.
    pub(super) async fn trip<T>(&self, question: impl Future<Output = T>) -> T {
        let answer = question.await;
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        answer
    }
}

/// What the task of one tag has in its outbox, as a part of [`LinkFigures::outbox`]; taken off when the task ends.
pub(super) struct Depth {
    link: Arc<Link>,
    told: u64,
}

impl Depth {
    pub(super) const fn of(link: Arc<Link>) -> Self {
        Self { link, told: 0 }
    }

    pub(super) fn tell(&mut self, entries: u64) {
        if entries != self.told {
            // Wraps around where it falls, and the sum is right again.
            self.link.figures.outbox.fetch_add(entries.wrapping_sub(self.told), Ordering::Relaxed);
            self.told = entries;
        }
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        self.tell(0);
    }
}

impl Link {
    /// What a primary says of itself. None: it does not answer, or does not let this user ask.
    pub(super) async fn primary_figures(&self, address: &Address) -> Option<PrimaryFigures> {
        let mut connection = self.connection(address).await.ok()?;
        let mut pipeline = redis::Pipeline::new();
        pipeline.cmd("INFO").arg("server").arg("commandstats").cmd("SLOWLOG").arg("GET").arg(1);
        let asked = self.figures.trip(connection.send_packed_commands(&pipeline, 0, 2)).await;
        let read = asked.and_then(|answers| {
            let [statistics, slow]: [Value; 2] = answers.try_into().map_err(|_| unlike())?;
            let statistics: String = redis::from_redis_value(statistics.extract_error()?)?;
            let slow: Vec<Vec<Value>> = redis::from_redis_value(slow.extract_error()?)?;
            let (script_calls, script_us) = scripts(&statistics);
            Ok(PrimaryFigures { script_calls, script_us, slow: slow.first().map_or(0, |latest| noted(latest)), life: life(&statistics) })
        });
        read.inspect_err(|error: &RedisError| tracing::debug!(address = address.0, port = address.1, %error, "a primary told no figures"))
            .ok()
    }
}

fn unlike() -> RedisError {
    RedisError::from((redis::ErrorKind::Client, "answers of another form"))
}

/// Calls and microseconds of `EVAL` and `EVALSHA` together, as `cmdstat_evalsha:calls=12,usec=3456,…` has them.
fn scripts(statistics: &str) -> (u64, u64) {
    let of_scripts = statistics.lines().filter_map(|line| line.strip_prefix("cmdstat_eval:").or(line.strip_prefix("cmdstat_evalsha:")));
    of_scripts.fold((0, 0), |(calls, us), line| {
        let field = |name: &str| {
            let value = line.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
            value.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        (calls + field("calls"), us + field("usec"))
    })
}

/// The first 64 bits of `run_id:`, which is another one after each start.
fn life(statistics: &str) -> u64 {
    let name = statistics.lines().find_map(|line| line.strip_prefix("run_id:"));
    name.and_then(|name| u64::from_str_radix(name.trim().get(..16)?, 16).ok()).unwrap_or(0)
}

/// Entries of the slow log are numbered from 0 since the start: the latest one tells how many there were.
fn noted(latest: &[Value]) -> u64 {
    match latest.first() {
        Some(Value::Int(id)) => id.unsigned_abs() + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_those_run_by_name_and_by_text() {
        let told = "# Commandstats\r\ncmdstat_evalsha:calls=10,usec=2500,usec_per_call=250.00,rejected_calls=0,failed_calls=1\r\n\
                    cmdstat_eval:calls=2,usec=700,usec_per_call=350.00,rejected_calls=0,failed_calls=0\r\ncmdstat_get:calls=99,usec=1\r\n";
        assert_eq!(scripts(told), (12, 3_200));
        assert_eq!(scripts(""), (0, 0));
    }

    #[test]
    fn the_latest_entry_of_the_slow_log_tells_how_many_there_were() {
        assert_eq!((noted(&[Value::Int(0), Value::Int(5)]), noted(&[Value::Int(41)]), noted(&[])), (1, 42, 0));
    }

    #[test]
    fn a_slow_log_that_was_emptied_counts_on() {
        let read = |slow, life| PrimaryFigures { slow, life, ..PrimaryFigures::default() };
        let mut before = None;
        for (told, counted) in [(read(41, 1), 41), (read(0, 1), 41), (read(42, 1), 42), (read(0, 2), 0), (read(1, 2), 1)] {
            let now = told.after(before);
            assert_eq!(now.slow, counted, "{told:?} after {before:?}");
            before = Some(now);
        }
        let told = "# Server\r\nredis_version:7.2.4\r\nrun_id:00000000000000ffaaaaaaaaaaaaaaaaaaaaaaaa\r\n# Commandstats\r\n";
        assert_eq!((life(told), life("run_id:\r\n"), life("")), (255, 0, 0));
    }
}
