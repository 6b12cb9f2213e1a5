//! Rows of `tickets`, `zone_minutes` and `audit_log`.

use super::batch::Batch;
use super::multi_row::MultiRow;
use crate::error::LedgerError;
use sqlx::SqliteConnection;

static TICKETS: MultiRow = MultiRow::new(
    "INSERT INTO tickets (zone_number, epoch, seq, admitted_at, left_at) VALUES ",
    "(?,?,?,?,?)",
    " ON CONFLICT (zone_number, epoch, seq) DO UPDATE SET admitted_at = coalesce(tickets.admitted_at, excluded.admitted_at), \
     left_at = coalesce(tickets.left_at, excluded.left_at)",
);

static MINUTES: MultiRow = MultiRow::new(
    "INSERT INTO zone_minutes (zone_id, minute, entered, waiting, dropped, entry_limit) VALUES ",
    "(?,?,?,?,?,?)",
    " ON CONFLICT (zone_id, minute) DO UPDATE SET entered = excluded.entered, waiting = excluded.waiting, \
     dropped = excluded.dropped, entry_limit = excluded.entry_limit",
);

static AUDITS: MultiRow = MultiRow::new(
    "INSERT INTO audit_log (at, actor, action, target, detail, request_id, journal_offset) VALUES ",
    "(?,?,?,?,?,?,?)",
    " ON CONFLICT (journal_offset) DO NOTHING",
);

/// Writes all three; no constraint stands behind them.
pub(crate) async fn write(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), LedgerError> {
    let tickets: Vec<_> = batch.tickets.iter().collect();
    TICKETS
        .write(connection, &tickets, |((zone, ticket), draft), binder| {
            let binder = binder.value(*zone).value(ticket.epoch).value(ticket.seq);
            binder.time_or_null(draft.admitted_at).time_or_null(draft.left_at);
        })
        .await
        .map_err(LedgerError::sql("write tickets"))?;
    let minutes: Vec<_> = batch.minutes.values().collect();
    MINUTES
        .write(connection, &minutes, |minute, binder| {
            let binder = binder.text(minute.zone.as_str()).time(minute.minute);
            binder.value(minute.entered).value(minute.waiting).value(minute.dropped).value(minute.entry_limit);
        })
        .await
        .map_err(LedgerError::sql("write minutes"))?;
    AUDITS
        .write(connection, &batch.audits, |entry, binder| {
            let audit = entry.state;
            binder
                .time(entry.place.at)
                .text(&audit.actor)
                .text(&audit.action)
                .text(&audit.target)
                .text_or_null(audit.detail.as_deref())
                .text_or_null(audit.request_id.as_deref())
                .long(entry.place.offset);
        })
        .await
        .map_err(LedgerError::sql("write the audit log"))?;
    Ok(())
}
