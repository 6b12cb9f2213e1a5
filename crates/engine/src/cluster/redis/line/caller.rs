//! One connection and one zone, without gathering and shipping: for tests and measurements.

use super::{Command, SCRIPT, ZoneHome, packed};
use bunho_domain::time::Millis;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult, Value};

/// What a run answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The id of the entry that each answer depends on, empty for none, and the answer.
    pub answers: Vec<(String, Vec<u8>)>,
    /// What the run appended to the outbox, by id.
    pub entries: Vec<(String, Vec<u8>)>,
}

/// Calls the script for one zone.
pub struct LineCaller {
    connection: MultiplexedConnection,
    /// The script's name in Redis.
    sha1: String,
    /// As whom it calls.
    pub home: ZoneHome,
    outbox: String,
    /// Entries that the outbox may hold.
    pub outbox_max: u32,
}

impl LineCaller {
    /// For this zone, over this connection. Loads the script.
    ///
    /// # Errors
    /// The connection failed, or Redis cannot read the script.
    pub async fn open(mut connection: MultiplexedConnection, prefix: &str, home: ZoneHome) -> RedisResult<Self> {
        let sha1 = redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT.as_str()).query_async(&mut connection).await?;
        Ok(Self { connection, sha1, home, outbox: home.outbox(prefix), outbox_max: 10_000 })
    }

    /// Runs commands at a time that a test sets, or at Redis's own.
    ///
    /// # Errors
    /// The connection failed, or the script did.
    pub async fn run(&mut self, clock: Option<Millis>, commands: &[Command<'_>]) -> RedisResult<Reply> {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.sha1).arg(1).arg(&self.outbox).arg(self.outbox_max);
        for command in commands {
            call.arg(packed(self.home, clock, None, *command));
        }
        let value: Value = call.query_async(&mut self.connection).await?;
        let Value::Array(parts) = value else { return Err(strange()) };
        let [_, _, answers, entries, _]: [Value; 5] = parts.try_into().map_err(|_| strange())?;
        Ok(Reply { answers: pairs(answers)?, entries: pairs(entries)? })
    }
}

fn pairs(value: Value) -> RedisResult<Vec<(String, Vec<u8>)>> {
    let Value::Array(values) = value else { return Err(strange()) };
    let mut pairs = Vec::with_capacity(values.len() / 2);
    let mut values = values.into_iter();
    while let (Some(Value::BulkString(id)), Some(Value::BulkString(packed))) = (values.next(), values.next()) {
        pairs.push((String::from_utf8(id).map_err(|_| strange())?, packed));
    }
    Ok(pairs)
}

fn strange() -> RedisError {
    RedisError::from((redis::ErrorKind::UnexpectedReturnType, "an answer of another form"))
}
