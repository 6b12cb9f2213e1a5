//! Who is told by HTTP of what happens, and how each of them does.

use super::audit;
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::Columns;
use crate::sql::{Connection, Query, Row, query};
use bunho_domain::time::Millis;
use bunho_journal::Audit;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookRow {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Where messages go.
    pub url: String,
    /// Names of events with commas between, or `*`.
    pub events: String,
    /// Only of this offer.
    pub offer: Option<String>,
    /// Only of offers of this app.
    pub app: Option<String>,
    /// What signs its messages, as its owner has it: `whsec_…`.
    pub secret: String,
    /// What also signs them until [`Self::previous_until`].
    pub previous_secret: Option<String>,
    /// When the one before ends.
    pub previous_until: Option<Millis>,
    /// Whether anything is queued for it and sent.
    pub enabled: bool,
    /// Why it was turned off by itself.
    pub disabled_reason: Option<String>,
    /// Raised by every change, from 1.
    pub revision: u32,
    /// It is gone but for what was queued.
    pub deleted: bool,
    /// When it was made.
    pub created_at: Millis,
    /// When it was changed.
    pub updated_at: Millis,
}

/// How one does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookState {
    /// Which one.
    pub webhook: String,
    /// Who delivers to it; empty: nobody.
    pub holder: String,
    /// Rises while somebody does.
    pub beat: i64,
    /// The last attempt.
    pub last_attempt_at: Option<Millis>,
    /// What it answered.
    pub last_status: Option<u32>,
    /// What went wrong.
    pub last_error: Option<String>,
    /// The last attempt that was taken.
    pub last_success_at: Option<Millis>,
    /// Messages taken.
    pub delivered: i64,
    /// Attempts in a row that failed.
    pub failures: i64,
}

const ALL: &str = "SELECT id, name, url, events, offer, app, secret, previous_secret, previous_until_ms, enabled, disabled_reason, revision, \
                   deleted, created_ms, updated_ms FROM webhooks ORDER BY created_ms, id";
const STATES: &str = "SELECT webhook, holder, beat, last_attempt_ms, last_status, last_error, last_success_ms, delivered, failures \
                      FROM webhook_states";
const CHANGE: &str = "UPDATE webhooks SET name = ?, url = ?, events = ?, offer = ?, app = ?, secret = ?, previous_secret = ?, \
                      previous_until_ms = ?, enabled = ?, disabled_reason = ?, revision = revision + 1, updated_ms = ? \
                      WHERE id = ? AND revision = ? AND deleted = 0";

/// What both a new row and a change say of it, in the order of both statements.
fn described<'a>(statement: Query<'a>, row: &'a WebhookRow) -> Query<'a> {
    let statement = statement.bind(&row.name).bind(&row.url).bind(&row.events).bind(row.offer.as_deref());
    statement.bind(row.app.as_deref()).bind(&row.secret)
}

impl Ledger {
    /// Adds one and notes who did, both or neither. False: there are `most`.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn insert_webhook(&self, row: &WebhookRow, most: usize, audit: &Audit) -> Result<bool, LedgerError> {
        let action = LedgerError::sql("add a webhook");
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        let there = query("SELECT count(*) FROM webhooks WHERE deleted = 0").fetch_long(connection).await.map_err(&action)?;
        if usize::try_from(there).is_ok_and(|there| there >= most) {
            writing.rollback().await.map_err(&action)?;
            return Ok(false);
        }
        let insert = query(
            "INSERT INTO webhooks (id, name, url, events, offer, app, secret, previous_secret, previous_until_ms, enabled, disabled_reason, \
             revision, deleted, created_ms, updated_ms) VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, ?, NULL, 1, 0, ?, ?)",
        )
        .bind(&row.id);
        described(insert, row)
            .bind(i64::from(row.enabled))
            .bind(row.created_at.0)
            .bind(row.created_at.0)
            .execute(connection)
            .await
            .map_err(&action)?;
        query("INSERT INTO webhook_states (webhook, holder, beat, delivered, failures) VALUES (?, '', 0, 0, 0)")
            .bind(&row.id)
            .execute(connection)
            .await
            .map_err(&action)?;
        audit::insert(connection, row.created_at, audit).await?;
        writing.commit().await.map_err(&action)?;
        Ok(true)
    }

    /// Changes one and notes who did, both or neither. `row` has the revision that it was read with. False: it is another by now, or gone.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn change_webhook(&self, row: &WebhookRow, audit: &Audit) -> Result<bool, LedgerError> {
        let action = LedgerError::sql("change a webhook");
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        let changed = described(query(CHANGE), row)
            .bind(row.previous_secret.as_deref())
            .bind(row.previous_until.map(|at| at.0))
            .bind(i64::from(row.enabled))
            .bind(row.disabled_reason.as_deref())
            .bind(row.updated_at.0)
            .bind(&row.id)
            .bind(row.revision)
            .execute(connection)
            .await
            .map_err(&action)?;
        if changed == 0 {
            writing.rollback().await.map_err(&action)?;
            return Ok(false);
        }
        audit::insert(connection, row.updated_at, audit).await?;
        writing.commit().await.map_err(&action)?;
        Ok(true)
    }

    /// Turns one off that should get nothing more, and says why. With `url`, only while that is its address: what the one before
    /// answered late says nothing of another. False: it is off, gone or elsewhere by now.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn disable_webhook(
        &self,
        id: &str,
        url: Option<&str>,
        reason: &str,
        now: Millis,
        audit: &Audit,
    ) -> Result<bool, LedgerError> {
        let action = LedgerError::sql("turn a webhook off");
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        let disable = "UPDATE webhooks SET enabled = 0, disabled_reason = ?, revision = revision + 1, updated_ms = ? \
                       WHERE id = ? AND enabled = 1 AND url = coalesce(?, url)";
        let changed = query(disable).bind(reason).bind(now.0).bind(id).bind(url).execute(connection).await.map_err(&action)?;
        if changed > 0 {
            audit::insert(connection, now, audit).await?;
        }
        writing.commit().await.map_err(&action)?;
        Ok(changed > 0)
    }

    /// Takes one away and notes who did. What was queued for it goes with [`Self::sweep_webhook`]. False: there is none.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn delete_webhook(&self, id: &str, now: Millis, audit: &Audit) -> Result<bool, LedgerError> {
        let action = LedgerError::sql("take a webhook away");
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        let mark = "UPDATE webhooks SET deleted = 1, enabled = 0, secret = '', previous_secret = NULL, updated_ms = ? WHERE id = ? AND deleted = 0";
        let marked = query(mark).bind(now.0).bind(id).execute(connection).await.map_err(&action)?;
        if marked > 0 {
            audit::insert(connection, now, audit).await?;
        }
        writing.commit().await.map_err(&action)?;
        Ok(marked > 0)
    }

    /// Forgets some of what was queued for one that was taken away; `whether_it_was` says that nothing more can come, and then also that it was
    /// there. True: that is done.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn sweep_webhook(&self, id: &str, whether_it_was: bool) -> Result<bool, LedgerError> {
        let action = LedgerError::sql("forget a webhook");
        // Its own rows last: a death in between leaves the mark.
        if self.forget_deliveries(id).await? {
            return Ok(false);
        }
        if !whether_it_was {
            return Ok(true);
        }
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        for forget in ["DELETE FROM webhook_states WHERE webhook = ?", "DELETE FROM webhooks WHERE id = ? AND deleted = 1"] {
            query(forget).bind(id).execute(connection).await.map_err(&action)?;
        }
        writing.commit().await.map_err(&action)?;
        Ok(true)
    }

    /// All of them, in the order of their making; those that were taken away until they are forgotten.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn webhooks(&self) -> Result<Vec<WebhookRow>, LedgerError> {
        let rows = query(ALL).fetch_all(&mut self.reader().await?.connection()).await;
        rows.map_err(LedgerError::sql("list webhooks"))?.iter().map(webhook).collect()
    }

    /// How each does.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn webhook_states(&self) -> Result<Vec<WebhookState>, LedgerError> {
        let rows = query(STATES).fetch_all(&mut self.reader().await?.connection()).await;
        rows.map_err(LedgerError::sql("read how webhooks do"))?.iter().map(state).collect()
    }

    /// Takes the delivering to one over from `seen`, as it was read, and says with what beat. None: somebody else did, or it goes on.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn hold_webhook(&self, seen: &WebhookState, holder: &str) -> Result<Option<i64>, LedgerError> {
        let take = "UPDATE webhook_states SET holder = ?, beat = ? WHERE webhook = ? AND holder = ? AND beat = ?";
        let next = seen.beat + 1;
        let taken = query(take).bind(holder).bind(next).bind(&seen.webhook).bind(&seen.holder).bind(seen.beat);
        let taken = taken.execute(&mut self.writer().await?.connection()).await.map_err(LedgerError::sql("take a webhook over"))?;
        Ok((taken > 0).then_some(next))
    }

    /// Gives the delivering to all that `holder` delivers to up.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn let_webhooks_go(&self, holder: &str) -> Result<(), LedgerError> {
        let release = query("UPDATE webhook_states SET holder = '', beat = beat + 1 WHERE holder = ?").bind(holder);
        release.execute(&mut self.writer().await?.connection()).await.map(drop).map_err(LedgerError::sql("give webhooks up"))
    }
}

/// Enters what attempts have shown.
pub(super) async fn note_attempts(
    connection: &mut Connection<'_>,
    webhook: &str,
    last: &super::deliveries::Attempted,
    taken: u32,
    failures: i64,
) -> Result<(), sqlx::Error> {
    query(
        "UPDATE webhook_states SET last_attempt_ms = ?, last_status = ?, last_error = ?, delivered = delivered + ?, failures = ?, \
         last_success_ms = coalesce(?, last_success_ms) WHERE webhook = ?",
    )
    .bind(last.at.0)
    .bind(last.status.map(i64::from))
    .bind(last.error.as_deref())
    .bind(taken)
    .bind(failures)
    .bind((taken > 0).then_some(last.at.0))
    .bind(webhook)
    .execute(connection)
    .await
    .map(drop)
}

fn webhook(row: &Row) -> Result<WebhookRow, LedgerError> {
    let mut columns = Columns::of(row, "webhooks");
    Ok(WebhookRow {
        id: columns.take()?,
        name: columns.take()?,
        url: columns.take()?,
        events: columns.take()?,
        offer: columns.take()?,
        app: columns.take()?,
        secret: columns.take()?,
        previous_secret: columns.take()?,
        previous_until: columns.take::<Option<i64>>()?.map(Millis),
        enabled: columns.take()?,
        disabled_reason: columns.take()?,
        revision: columns.take()?,
        deleted: columns.take()?,
        created_at: Millis(columns.take()?),
        updated_at: Millis(columns.take()?),
    })
}

fn state(row: &Row) -> Result<WebhookState, LedgerError> {
    let mut columns = Columns::of(row, "webhook_states");
    Ok(WebhookState {
        webhook: columns.take()?,
        holder: columns.take()?,
        beat: columns.take()?,
        last_attempt_at: columns.take::<Option<i64>>()?.map(Millis),
        last_status: columns.take()?,
        last_error: columns.take()?,
        last_success_at: columns.take::<Option<i64>>()?.map(Millis),
        delivered: columns.take()?,
        failures: columns.take()?,
    })
}
