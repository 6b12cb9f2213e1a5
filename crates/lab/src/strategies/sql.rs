//! The strategies that need nothing but the database. True: the user has a unit.

use super::Failure;
use crate::database::{Database, Kind};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// How often an optimistic attempt reads again before it gives up.
const OPTIMISTIC_MAX: u64 = 100;
/// Seconds that an attempt waits for MariaDB's named lock.
const LOCK_SECONDS: i64 = 10;

const TAKE: &str = "UPDATE offers SET remaining = remaining - 1 WHERE id = 1";
const TAKE_WHERE_LEFT: &str = "UPDATE offers SET remaining = remaining - 1 WHERE id = 1 AND remaining >= 1";
const LEFT: &str = "SELECT remaining FROM offers WHERE id = 1";

/// What the source document `000` begins with: the transaction is there, and does not help.
pub async fn naive(database: &Database, user: i64, think_ms: u64) -> Result<bool, Failure> {
    let work = async |open: &mut crate::database::Transaction<'_>| {
        let [remaining] = open.row(LEFT, &[]).await?.unwrap_or_default();
        let [has] = open.row("SELECT COUNT(*) FROM orders WHERE offer_id = 1 AND user_id = ?", &[user]).await?.unwrap_or_default();
        if remaining < 1 || has > 0 {
            return Ok(false);
        }
        if think_ms > 0 {
            tokio::time::sleep(Duration::from_millis(think_ms)).await;
        }
        // As an object mapper writes it: the number that was read, less one.
        open.execute("UPDATE offers SET remaining = ? WHERE id = 1", &[remaining - 1]).await?;
        open.execute("INSERT INTO orders (offer_id, user_id) VALUES (1, ?)", &[user]).await?;
        Ok(true)
    };
    Ok(database.session().await?.transaction(work).await?)
}

pub async fn pessimistic(database: &Database, user: i64) -> Result<bool, Failure> {
    let work = async |open: &mut crate::database::Transaction<'_>| {
        let [remaining] = open.row("SELECT remaining FROM offers WHERE id = 1 FOR UPDATE", &[]).await?.unwrap_or_default();
        if remaining < 1 || !open.order(user).await? {
            return Ok(false);
        }
        open.execute(TAKE, &[]).await?;
        Ok(true)
    };
    Ok(database.session().await?.transaction(work).await?)
}

pub async fn optimistic(database: &Database, user: i64) -> Result<bool, Failure> {
    let mut session = database.session().await?;
    for turn in 1..=OPTIMISTIC_MAX {
        let seen: Option<[i64; 2]> = session.row("SELECT remaining, version FROM offers WHERE id = 1", &[]).await?;
        let [remaining, version] = seen.unwrap_or_default();
        if remaining < 1 {
            return Ok(false);
        }
        let mut outrun = false;
        let work = async |open: &mut crate::database::Transaction<'_>| {
            let update = "UPDATE offers SET remaining = ?, version = version + 1 WHERE id = 1 AND version = ?";
            outrun = open.execute(update, &[remaining - 1, version]).await? == 0;
            Ok(!outrun && open.order(user).await?)
        };
        if session.transaction(work).await? {
            return Ok(true);
        }
        if !outrun {
            return Ok(false);
        }
        // Who lost many times waits longer, and everybody a little differently.
        let pause = (user.unsigned_abs() * 7 + turn * 13) % (turn.min(20) * 1_000) + 100;
        tokio::time::sleep(Duration::from_micros(pause)).await;
    }
    Err(Failure::Other(format!("outrun {OPTIMISTIC_MAX} times")))
}

pub async fn conditional(database: &Database, user: i64) -> Result<bool, Failure> {
    // The row that everybody wants comes last, right before the commit.
    let work =
        async |open: &mut crate::database::Transaction<'_>| Ok(open.order(user).await? && open.execute(TAKE_WHERE_LEFT, &[]).await? == 1);
    Ok(database.session().await?.transaction(work).await?)
}

pub async fn skip_locked(database: &Database, user: i64) -> Result<bool, Failure> {
    let work = async |open: &mut crate::database::Transaction<'_>| {
        if !open.order(user).await? {
            return Ok(false);
        }
        let free = "SELECT id FROM units WHERE offer_id = 1 AND user_id = 0 LIMIT 1 FOR UPDATE SKIP LOCKED";
        let Some([unit]) = open.row(free, &[]).await? else { return Ok(false) };
        open.execute("UPDATE units SET user_id = ? WHERE id = ?", &[user, unit]).await?;
        Ok(true)
    };
    Ok(database.session().await?.transaction(work).await?)
}

pub async fn advisory(database: &Database, user: i64, run: &str) -> Result<bool, Failure> {
    let mut session = database.session().await?;
    // MariaDB's locks have names that the whole server shares; PostgreSQL's have numbers, and end with the transaction.
    let mut hasher = DefaultHasher::new();
    run.hash(&mut hasher);
    let name = (hasher.finish() >> 2).cast_signed();
    let mariadb = database.kind == Kind::Mariadb;
    if mariadb {
        let got: Option<[i64; 1]> = session.row("SELECT CAST(GET_LOCK(CAST(? AS CHAR), ?) AS SIGNED)", &[name, LOCK_SECONDS]).await?;
        if got != Some([1]) {
            return Err(Failure::Other(format!("no lock within {LOCK_SECONDS} s")));
        }
    }
    let work = async |open: &mut crate::database::Transaction<'_>| {
        if !mariadb {
            open.execute("SELECT 1 FROM pg_advisory_xact_lock(?)", &[name]).await?;
        }
        let [remaining] = open.row(LEFT, &[]).await?.unwrap_or_default();
        if remaining < 1 || !open.order(user).await? {
            return Ok(false);
        }
        open.execute(TAKE, &[]).await?;
        Ok(true)
    };
    let done = session.transaction(work).await;
    if mariadb {
        session.execute("DO RELEASE_LOCK(CAST(? AS CHAR))", &[name]).await?;
    }
    Ok(done?)
}
