//! Rows of `tickets`, `zone_minutes` and `audit_log`.

use super::batch::Batch;
use super::multi_row::Kind::{Long, Text};
use super::multi_row::{Conflict, MultiRow};
use crate::error::LedgerError;
use crate::names;
use crate::sql::Connection;

static TICKETS: MultiRow = MultiRow::insert(
    "tickets",
    &[("zone_number", Long), ("epoch", Long), ("seq", Long), ("admitted_at", Text), ("left_at", Text)],
    Conflict::Custom {
        standard: " ON CONFLICT (zone_number, epoch, seq) DO UPDATE SET admitted_at = coalesce(tickets.admitted_at, excluded.admitted_at), \
                   left_at = coalesce(tickets.left_at, excluded.left_at)",
        mysql: " ON DUPLICATE KEY UPDATE admitted_at = coalesce(admitted_at, VALUES(admitted_at)), left_at = coalesce(left_at, VALUES(left_at))",
    },
);

static MINUTES: MultiRow = MultiRow::insert(
    "zone_minutes",
    &[("zone_id", Text), ("minute", Text), ("entered", Long), ("waiting", Long), ("dropped", Long), ("entry_limit", Long)],
    Conflict::Replace { key: "zone_id, minute", columns: &["entered", "waiting", "dropped", "entry_limit"], newer: None },
);

static AUDITS: MultiRow = MultiRow::insert(
    "audit_log",
    &[
        ("at", Text),
        ("actor", Text),
        ("action", Text),
        ("target", Text),
        ("detail", Text),
        ("request_id", Text),
        ("journal_offset", Long),
        ("event", Text),
        ("user_id", Text),
    ],
    // Known by where it stands, and by what it is.
    Conflict::Custom { standard: " ON CONFLICT DO NOTHING", mysql: " ON DUPLICATE KEY UPDATE id = audit_log.id" },
);

/// Writes all three; no constraint stands behind them.
pub(crate) async fn write(connection: &mut Connection<'_>, batch: &Batch<'_>) -> Result<(), LedgerError> {
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
            let audit = entry.audit;
            binder
                .time(entry.place.at)
                .text(&audit.actor)
                .text(&audit.action)
                .text(&audit.target)
                .text_or_null(audit.detail.as_deref())
                .text_or_null(audit.request_id.as_deref())
                .long(entry.place.offset)
                .text_or_null(entry.event.as_deref())
                .text(&names::in_audit(audit.detail.as_deref()));
        })
        .await
        .map_err(LedgerError::sql("write the audit log"))?;
    Ok(())
}
