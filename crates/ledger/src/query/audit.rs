//! Who did what. Journaled actions arrive through the projector; the others are written here.

use super::page;
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::names;
use crate::rows::Columns;
use crate::sql::{Connection, query};
use crate::timestamp::Timestamp;
use bunho_domain::time::Millis;
use bunho_journal::Audit;

/// One entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its place in the log; the cursor of a list.
    pub id: i64,
    /// When.
    pub at: Millis,
    /// What, and by whom.
    pub audit: Audit,
}

/// Which entries; none: all.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditFilter<'a> {
    /// Of this actor: all of its text, or its first word.
    pub actor: Option<&'a str>,
    /// Of this action.
    pub action: Option<&'a str>,
    /// Of what has this id.
    pub target: Option<&'a str>,
}

impl Ledger {
    /// Notes an action that is not journaled.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn append_audit(&self, at: Millis, audit: &Audit) -> Result<(), LedgerError> {
        insert(&mut self.writer().await?.connection(), at, audit).await
    }

    /// The audit log, newest first: at most `limit` (200) entries before `cursor` that the filter lets by.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn audit_log(&self, cursor: Option<i64>, filter: AuditFilter<'_>, limit: usize) -> Result<Vec<AuditRow>, LedgerError> {
        let pattern = filter.actor.map(first_word).unwrap_or_default();
        // Actors are a word, and then what people call them: whoever looks for one need not know all of it.
        let rows = query(
            "SELECT id, at, actor, action, target, detail, request_id FROM audit_log
             WHERE id < ?1 AND (?2 IS NULL OR actor = ?2 OR actor LIKE ?3 ESCAPE '!') AND (?4 IS NULL OR action = ?4)
             AND (?5 IS NULL OR target = ?5) ORDER BY id DESC LIMIT ?6",
        )
        .bind(cursor.unwrap_or(i64::MAX))
        .bind(filter.actor)
        .bind(&*pattern)
        .bind(filter.action)
        .bind(filter.target)
        .bind(page(limit) as i64)
        .fetch_all(&mut self.reader().await?.connection())
        .await
        .map_err(LedgerError::sql("list the audit log"))?;
        rows.iter()
            .map(|row| {
                let mut columns = Columns::of(row, "audit_log");
                let (id, at) = (columns.take()?, columns.time("at")?);
                let audit = Audit {
                    actor: columns.take()?,
                    action: columns.take()?,
                    target: columns.take()?,
                    detail: columns.take()?,
                    request_id: columns.take()?,
                };
                Ok(AuditRow { id, at, audit })
            })
            .collect()
    }
}

/// Of LIKE: what begins with this text and a space.
fn first_word(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    for c in text.chars() {
        if matches!(c, '!' | '%' | '_') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern + " %"
}

pub(crate) async fn insert(connection: &mut Connection<'_>, at: Millis, audit: &Audit) -> Result<(), LedgerError> {
    query("INSERT INTO audit_log (at, actor, action, target, detail, request_id, user_id) VALUES (?, ?, ?, ?, ?, ?, ?)")
        .bind(Timestamp::new(at).as_str())
        .bind(&*audit.actor)
        .bind(&*audit.action)
        .bind(&*audit.target)
        .bind(audit.detail.as_deref())
        .bind(audit.request_id.as_deref())
        .bind(&names::in_audit(audit.detail.as_deref()))
        .execute(connection)
        .await
        .map(drop)
        .map_err(LedgerError::sql("write the audit log"))
}
