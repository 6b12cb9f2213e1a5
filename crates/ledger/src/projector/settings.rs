//! Rows of `apps`, `offers` and `zones`: few, so they are written one by one, in the order of their numbers. A number
//! that reuses a deleted one's id is higher, so the deletion is written before the id is needed.

use super::batch::{OfferDraft, Placed, ZoneDraft};
use super::multi_row::Kind::{Long, Text};
use super::multi_row::{Conflict, MultiRow};
use crate::error::LedgerError;
use crate::sql::{self, Connection, query};
use crate::timestamp::Timestamp;
use crate::words;
use bunho_domain::ids::AppId;
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::settings::OfferSettings;
use bunho_domain::time::Millis;

static OFFERS: MultiRow = MultiRow::insert(
    "offers",
    &[
        ("number", Long),
        ("id", Text),
        ("app", Text),
        ("kind", Text),
        ("name", Text),
        ("quantity", Long),
        ("per_user_limit", Long),
        ("min_per_claim", Long),
        ("max_per_claim", Long),
        ("hold_seconds", Long),
        ("unit_price", Long),
        ("opens_at", Text),
        ("closes_at", Text),
        ("zone", Text),
        ("pass_once", Long),
        ("grants", Text),
        ("grant_only", Long),
        ("standby", Long),
        ("standby_hold_seconds", Long),
        ("confirm_by", Text),
        ("revision", Long),
        ("version", Long),
        ("created_at", Text),
        ("updated_at", Text),
    ],
    Conflict::Replace {
        key: "number",
        columns: &[
            "app",
            "kind",
            "name",
            "quantity",
            "per_user_limit",
            "min_per_claim",
            "max_per_claim",
            "hold_seconds",
            "unit_price",
            "opens_at",
            "closes_at",
            "zone",
            "pass_once",
            "grants",
            "grant_only",
            "standby",
            "standby_hold_seconds",
            "confirm_by",
            "revision",
            "updated_at",
        ],
        // Not the version, which claims raise too: where several nodes write, one of them may be here before a definition that is older.
        newer: Some(("revision", ">=")),
    },
)
.guarded();

static ZONES: MultiRow = MultiRow::insert(
    "zones",
    &[
        ("number", Long),
        ("id", Text),
        ("app", Text),
        ("name", Text),
        ("entry_limit_per_minute", Long),
        ("window_seconds", Long),
        ("slot_seconds", Long),
        ("abandon_after_seconds", Long),
        ("resume_grace_seconds", Long),
        ("poll_interval_ms", Long),
        ("poll_interval_max_ms", Long),
        ("opens_at", Text),
        ("closes_at", Text),
        ("paused", Long),
        ("active_limit", Long),
        ("session_seconds", Long),
        ("pass_ttl_seconds", Long),
        ("offer", Text),
        ("message", Text),
        ("challenge_bits", Long),
        ("enqueue", Text),
        ("pass_bound", Long),
        ("revision", Long),
        ("epoch", Long),
        ("created_at", Text),
        ("updated_at", Text),
    ],
    Conflict::Replace {
        key: "number",
        columns: &[
            "app",
            "name",
            "entry_limit_per_minute",
            "window_seconds",
            "slot_seconds",
            "abandon_after_seconds",
            "resume_grace_seconds",
            "poll_interval_ms",
            "poll_interval_max_ms",
            "opens_at",
            "closes_at",
            "paused",
            "active_limit",
            "session_seconds",
            "pass_ttl_seconds",
            "offer",
            "message",
            "challenge_bits",
            "enqueue",
            "pass_bound",
            "revision",
            "epoch",
            "updated_at",
        ],
        newer: Some(("revision", ">=")),
    },
)
.guarded();

const RAISE_RESERVED: &str = "UPDATE zones SET reserved_epoch = ?, reserved_upto = ?
    WHERE number = ? AND (reserved_epoch, reserved_upto) < (?, ?)";
const RAISE_FRONT: &str = "UPDATE zones SET front_epoch = ?, front_seq = ?
    WHERE number = ? AND (front_epoch, front_seq) < (?, ?)";

const DEFINE_APP: sql::Text = sql::Text {
    mysql: "INSERT INTO apps (id, name, created_at) VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE id = id",
    ..sql::Text::same("INSERT INTO apps (id, name, created_at) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING")
};

/// Whether a constraint let a row in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Yes,
    Refused,
}

/// Writes a definition of offer `number` as of the offer's `version`.
pub(crate) async fn define_offer(
    connection: &mut Connection<'_>,
    number: u32,
    version: u64,
    event: Placed<'_, OfferSettings>,
) -> Result<Written, LedgerError> {
    let settings = event.state;
    define_app(connection, &settings.app, event.place.at).await?;
    let refused = OFFERS
        .write(connection, &[settings], |settings, binder| {
            binder
                .value(number)
                .text(settings.id.as_str())
                .text(settings.app.as_str())
                .value(words::kind(settings.kind))
                .text(&settings.name)
                .value(settings.quantity)
                .value(settings.per_user_limit)
                .value(settings.min_per_claim)
                .value(settings.max_per_claim)
                .value(settings.hold_seconds)
                .long(settings.unit_price)
                .time_or_null(settings.opens_at)
                .time_or_null(settings.closes_at)
                .text_or_null(settings.zone.as_ref().map(|id| id.as_str()))
                .value(settings.pass_once)
                .text_or_null(settings.grants.as_ref().map(|id| id.as_str()))
                .value(settings.grant_only)
                .value(settings.standby)
                .value(settings.standby_hold_seconds)
                .value(words::confirm_by(settings.confirm_by))
                .value(settings.revision)
                .long(version)
                .time(event.place.at)
                .time(event.place.at);
        })
        .await
        .map_err(LedgerError::sql("write an offer"))?;
    Ok(if refused.is_empty() { Written::Yes } else { Written::Refused })
}

/// Raises the version of an offer's row to that of its latest event, and marks it deleted where it is.
pub(crate) async fn touch_offer(connection: &mut Connection<'_>, number: u32, draft: &OfferDraft<'_>) -> Result<(), LedgerError> {
    let action = LedgerError::sql("update an offer");
    let version = draft.version.cast_signed();
    query("UPDATE offers SET version = ? WHERE number = ? AND version < ?")
        .bind(version)
        .bind(number)
        .bind(version)
        .execute(connection)
        .await
        .map_err(&action)?;
    if let Some(at) = draft.deleted_at {
        let at = Timestamp::new(at);
        query("UPDATE offers SET deleted_at = ? WHERE number = ? AND deleted_at IS NULL")
            .bind(at.as_str())
            .bind(number)
            .execute(connection)
            .await
            .map_err(&action)?;
    }
    Ok(())
}

/// Writes a definition of zone `number`.
pub(crate) async fn define_zone(
    connection: &mut Connection<'_>,
    number: u32,
    event: Placed<'_, ZoneSettings>,
) -> Result<Written, LedgerError> {
    let settings = event.state;
    define_app(connection, &settings.app, event.place.at).await?;
    let refused = ZONES
        .write(connection, &[settings], |settings, binder| {
            binder
                .value(number)
                .text(settings.id.as_str())
                .text(settings.app.as_str())
                .text(&settings.name)
                .value(settings.entry_limit_per_minute)
                .value(settings.window_seconds)
                .value(settings.slot_seconds)
                .value(settings.abandon_after_seconds)
                .value(settings.resume_grace_seconds)
                .value(settings.poll_interval_ms)
                .value(settings.poll_interval_max_ms)
                .time_or_null(settings.opens_at)
                .time_or_null(settings.closes_at)
                .value(settings.paused)
                .value(settings.active_limit)
                .value(settings.session_seconds)
                .value(settings.pass_ttl_seconds)
                .text_or_null(settings.offer.as_ref().map(|id| id.as_str()))
                .text_or_null(settings.message.as_deref())
                .value(settings.door.challenge_bits)
                .text(words::enqueue(settings.door.enqueue))
                .value(settings.door.pass_bound)
                .value(settings.revision)
                .value(settings.epoch)
                .time(event.place.at)
                .time(event.place.at);
        })
        .await
        .map_err(LedgerError::sql("write a zone"))?;
    Ok(if refused.is_empty() { Written::Yes } else { Written::Refused })
}

/// Writes what a zone reserved and how far its front has come, and marks it deleted where it is.
pub(crate) async fn touch_zone(connection: &mut Connection<'_>, number: u32, draft: &ZoneDraft<'_>) -> Result<(), LedgerError> {
    let action = LedgerError::sql("update a zone");
    for (statement, told) in [(RAISE_RESERVED, draft.reserved), (RAISE_FRONT, draft.front)] {
        let Some((epoch, upto)) = told else { continue };
        query(statement).bind(epoch).bind(upto).bind(number).bind(epoch).bind(upto).execute(connection).await.map_err(&action)?;
    }
    if let Some(at) = draft.deleted_at {
        let at = Timestamp::new(at);
        query("UPDATE zones SET deleted_at = ? WHERE number = ? AND deleted_at IS NULL")
            .bind(at.as_str())
            .bind(number)
            .execute(connection)
            .await
            .map_err(&action)?;
    }
    Ok(())
}

async fn define_app(connection: &mut Connection<'_>, app: &AppId, at: Millis) -> Result<(), LedgerError> {
    query(DEFINE_APP)
        .bind(app.as_str())
        .bind(app.as_str())
        .bind(Timestamp::new(at).as_str())
        .execute(connection)
        .await
        .map_err(LedgerError::sql("write an app"))?;
    Ok(())
}
