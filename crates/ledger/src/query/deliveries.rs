//! What waits to be told by HTTP, what became of each attempt, and what was given up.

use super::{audit, page, webhooks};
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::projector::{MultiRow, Parts};
use crate::rows::Columns;
use crate::sql::{Row, Value, query};
use bunho_domain::time::Millis;
use bunho_journal::{Audit, crash_point};

/// A message to one who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its number, which is never given twice.
    pub seq: i64,
    /// The message's id.
    pub event: String,
    /// Its type, as `io.bunho.claim.confirmed`.
    pub event_type: String,
    /// The message.
    pub body: String,
    /// When what it tells of was decided.
    pub at: Millis,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next; 0: at once.
    pub next_at: Millis,
    /// Given up.
    pub dead: bool,
    /// The last attempt.
    pub last: Option<Attempted>,
}

/// What one attempt showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// When it ended.
    pub at: Millis,
    /// What was answered, if anything.
    pub status: Option<u16>,
    /// What was wrong; none: it was taken.
    pub error: Option<String>,
}

/// What becomes of a message after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Delivered,
    /// It is tried again.
    Again(Millis),
    /// It is given up.
    Dead,
}

/// A message that was tried.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Which.
    pub seq: i64,
    /// With this attempt.
    pub attempts: u32,
    /// What was seen.
    pub attempted: Attempted,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// Which messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryFilter {
    /// That wait.
    Pending,
    /// That were given up.
    Dead,
}

/// Rows of one statement that forgets: a fraction of a second for any of the databases.
const FORGET_ROWS: i64 = 5_000;

static DELETE: MultiRow = MultiRow::select(
    Parts { head: "DELETE FROM webhook_deliveries WHERE seq IN (", row: "?", between: ",", tail: ")" },
    "DELETE FROM webhook_deliveries WHERE seq = ANY($1)",
    Parts { head: "DELETE FROM webhook_deliveries WHERE seq IN (", row: "?", between: ",", tail: ")" },
);

/// Those of before first: a crowd's new ones must not keep them waiting for ever.
const AGAIN: &str = "SELECT seq, event, event_type, body, at_ms, attempts, next_ms, dead, last_ms, last_status, last_error FROM webhook_deliveries \
                     WHERE webhook = ? AND dead = 0 AND next_ms > 0 AND next_ms <= ? ORDER BY next_ms, seq LIMIT ?";
const NEW: &str = "SELECT seq, event, event_type, body, at_ms, attempts, next_ms, dead, last_ms, last_status, last_error FROM webhook_deliveries \
                   WHERE webhook = ? AND dead = 0 AND next_ms = 0 ORDER BY seq LIMIT ?";
const LIST: &str = "SELECT seq, event, event_type, body, at_ms, attempts, next_ms, dead, last_ms, last_status, last_error FROM webhook_deliveries \
                    WHERE webhook = ? AND dead = ? AND seq < ? ORDER BY seq DESC LIMIT ?";
/// Some of what waits for one that is turned off. In a table of its own, since MySQL takes no LIMIT in IN.
const FORGET_WAITING: &str = "DELETE FROM webhook_deliveries WHERE seq IN (SELECT seq FROM (SELECT seq FROM webhook_deliveries \
                              WHERE webhook = ?1 AND dead = 0 AND (?2 IS NULL OR seq = ?2) \
                              AND EXISTS (SELECT 1 FROM webhooks WHERE id = ?1 AND enabled = 0) LIMIT ?3) oldest)";

impl Ledger {
    /// What is to be sent now: up to `limit`, half of it new at least.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn due_deliveries(&self, webhook: &str, now: Millis, limit: usize) -> Result<Vec<DeliveryRow>, LedgerError> {
        let action = LedgerError::sql("read what is to be told");
        let mut reading = self.reader().await?;
        let connection = &mut reading.connection();
        let rows = query(AGAIN).bind(webhook).bind(now.0).bind(long(limit / 2)).fetch_all(connection).await.map_err(&action)?;
        let mut due = rows.iter().map(delivery).collect::<Result<Vec<_>, _>>()?;
        let rows = query(NEW).bind(webhook).bind(long(limit - due.len())).fetch_all(connection).await.map_err(&action)?;
        for row in &rows {
            due.push(delivery(row)?);
        }
        Ok(due)
    }

    /// Enters what attempts have shown, all or nothing.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn settle_deliveries(&self, webhook: &str, settled: &[Settled], failures: i64) -> Result<(), LedgerError> {
        let Some(last) = settled.iter().max_by_key(|one| one.attempted.at) else { return Ok(()) };
        let action = LedgerError::sql("note what was told");
        let taken: Vec<i64> = settled.iter().filter(|one| one.outcome == Outcome::Delivered).map(|one| one.seq).collect();
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        DELETE
            .read(connection, &taken, |seq, binder| {
                binder.value(*seq);
            })
            .await
            .map_err(&action)?;
        for one in settled {
            let (next, dead) = match one.outcome {
                Outcome::Delivered => continue,
                Outcome::Again(at) => (at.0, 0_i64),
                Outcome::Dead => (0, 1),
            };
            query("UPDATE webhook_deliveries SET attempts = ?, next_ms = ?, dead = ?, last_ms = ?, last_status = ?, last_error = ? WHERE seq = ?")
                .bind(one.attempts)
                .bind(next)
                .bind(dead)
                .bind(one.attempted.at.0)
                .bind(one.attempted.status.map(i64::from))
                .bind(one.attempted.error.as_deref())
                .bind(one.seq)
                .execute(connection)
                .await
                .map_err(&action)?;
        }
        let count = u32::try_from(taken.len()).unwrap_or(u32::MAX);
        webhooks::note_attempts(connection, webhook, &last.attempted, count, failures).await.map_err(&action)?;
        crash_point!("webhooks::settled");
        writing.commit().await.map_err(&action)
    }

    /// For each webhook how many messages wait, and how many were given up.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn delivery_counts(&self) -> Result<Vec<(String, u64, u64)>, LedgerError> {
        let count = "SELECT webhook, dead, count(*) FROM webhook_deliveries GROUP BY webhook, dead";
        let rows = query(count).fetch_all(&mut self.reader().await?.connection()).await.map_err(LedgerError::sql("count what waits"))?;
        let mut counts: Vec<(String, u64, u64)> = Vec::new();
        for row in &rows {
            let mut columns = Columns::of(row, "webhook_deliveries");
            let (webhook, dead, count): (String, bool, i64) = (columns.take()?, columns.take()?, columns.take()?);
            let at = counts.iter().position(|(other, ..)| *other == webhook).unwrap_or_else(|| {
                counts.push((webhook, 0, 0));
                counts.len() - 1
            });
            *(if dead { &mut counts[at].2 } else { &mut counts[at].1 }) = count.cast_unsigned();
        }
        Ok(counts)
    }

    /// A page of them, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn deliveries(
        &self,
        webhook: &str,
        filter: DeliveryFilter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Vec<DeliveryRow>, LedgerError> {
        let rows = query(LIST)
            .bind(webhook)
            .bind(i64::from(filter == DeliveryFilter::Dead))
            .bind(cursor.unwrap_or(i64::MAX))
            .bind(long(page(limit)))
            .fetch_all(&mut self.reader().await?.connection())
            .await;
        rows.map_err(LedgerError::sql("list what is to be told"))?.iter().map(delivery).collect()
    }

    /// Sends what was given up once more, one message or all, and notes who wanted it; how many there were.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn redeliver(&self, webhook: &str, seq: Option<i64>, now: Millis, audit: &Audit) -> Result<u64, LedgerError> {
        let again = "UPDATE webhook_deliveries SET dead = 0, attempts = 0, next_ms = 0 WHERE webhook = ?1 AND dead = 1 AND (?2 IS NULL OR seq = ?2)";
        self.change(again, &[webhook.into(), seq.into()], now, Some(audit)).await
    }

    /// Forgets what was given up, one message or all, and notes who wanted it; how many there were.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn discard(&self, webhook: &str, seq: Option<i64>, now: Millis, audit: &Audit) -> Result<u64, LedgerError> {
        let forget = "DELETE FROM webhook_deliveries WHERE webhook = ?1 AND dead = 1 AND (?2 IS NULL OR seq = ?2)";
        self.change(forget, &[webhook.into(), seq.into()], now, Some(audit)).await
    }

    /// Forgets what waits for a webhook that is turned off, one message or all, and notes who wanted it; how many there were. Of one that is turned on
    /// nothing is forgotten: that is sent.
    ///
    /// # Errors
    /// The database cannot be written. What was forgotten until then stays so.
    pub async fn discard_pending(&self, webhook: &str, seq: Option<i64>, now: Millis, audit: &Audit) -> Result<u64, LedgerError> {
        let mut forgotten = 0;
        // In steps, since there may be very many; the entry of the audit log is written with the first.
        loop {
            let audit = (forgotten == 0).then_some(audit);
            let some = self.change(FORGET_WAITING, &[webhook.into(), seq.into(), FORGET_ROWS.into()], now, audit).await?;
            forgotten += some;
            if some == 0 {
                return Ok(forgotten);
            }
        }
    }

    /// Changes messages and notes who wanted it, both or neither; nothing is noted where there were none.
    async fn change(&self, statement: &'static str, values: &[Value<'_>], now: Millis, audit: Option<&Audit>) -> Result<u64, LedgerError> {
        let action = LedgerError::sql("change what is to be told");
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        let statement = values.iter().fold(query(statement), |query, value| query.bind(*value));
        let changed = statement.execute(connection).await.map_err(&action)?;
        if let Some(audit) = audit.filter(|_| changed > 0) {
            audit::insert(connection, now, audit).await?;
        }
        writing.commit().await.map_err(&action)?;
        Ok(changed)
    }

    /// Forgets the oldest that were given up, so that `most` are left.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn trim_dead(&self, webhook: &str, most: u64) -> Result<u64, LedgerError> {
        let newest = "SELECT seq FROM webhook_deliveries WHERE webhook = ? AND dead = 1 ORDER BY seq DESC LIMIT 1 OFFSET ?";
        let action = LedgerError::sql("forget what was given up long ago");
        let mut writer = self.writer().await?;
        let connection = &mut writer.connection();
        let offset = i64::try_from(most).unwrap_or(i64::MAX);
        let Some(row) = query(newest).bind(webhook).bind(offset).fetch_optional(connection).await.map_err(&action)? else { return Ok(0) };
        let last: i64 = Columns::of(&row, "webhook_deliveries").take()?;
        let forget = "DELETE FROM webhook_deliveries WHERE webhook = ? AND dead = 1 AND seq <= ?";
        query(forget).bind(webhook).bind(last).execute(connection).await.map_err(&action)
    }

    /// Brings back what a clock that was ahead has put off for longer than any attempt waits.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn hasten_deliveries(&self, webhook: &str, latest: Millis) -> Result<u64, LedgerError> {
        let hasten = "UPDATE webhook_deliveries SET next_ms = ?1 WHERE webhook = ?2 AND dead = 0 AND next_ms > ?1";
        let hasten = query(hasten).bind(latest.0).bind(webhook);
        hasten.execute(&mut self.writer().await?.connection()).await.map_err(LedgerError::sql("mend when something is told"))
    }

    /// Forgets some of what was queued; whether there may be more.
    pub(super) async fn forget_deliveries(&self, webhook: &str) -> Result<bool, LedgerError> {
        // In a table of its own, since MySQL takes no LIMIT in IN.
        let forget = "DELETE FROM webhook_deliveries WHERE seq IN \
                      (SELECT seq FROM (SELECT seq FROM webhook_deliveries WHERE webhook = ? LIMIT ?) oldest)";
        let forgot = query(forget).bind(webhook).bind(FORGET_ROWS).execute(&mut self.writer().await?.connection()).await;
        forgot.map(|rows| rows > 0).map_err(LedgerError::sql("forget what was to be told"))
    }
}

fn long(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn delivery(row: &Row) -> Result<DeliveryRow, LedgerError> {
    let mut columns = Columns::of(row, "webhook_deliveries");
    let (seq, event, event_type, body) = (columns.take()?, columns.take()?, columns.take()?, columns.take()?);
    let (at, attempts, next_at, dead) = (Millis(columns.take()?), columns.take()?, Millis(columns.take()?), columns.take()?);
    let (last, status, error): (Option<i64>, Option<u32>, Option<String>) = (columns.take()?, columns.take()?, columns.take()?);
    let status = status.and_then(|status| u16::try_from(status).ok());
    let last = last.map(|at| Attempted { at: Millis(at), status, error });
    Ok(DeliveryRow { seq, event, event_type, body, at, attempts, next_at, dead, last })
}
