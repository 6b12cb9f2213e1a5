//! Rows of `zones` and `zone_minutes`.

use super::Columns;
use crate::error::LedgerError;
use crate::sql::Row;
use crate::words;
use bunho_domain::event::ZoneMinute;
use bunho_domain::ids::{AppId, OfferId, ZoneId};
use bunho_domain::line::door::Door;
use bunho_domain::line::settings::ZoneSettings;

/// What [`zone`] reads, in its order.
macro_rules! zone_columns {
    () => {
        "number, reserved_epoch, reserved_upto, front_epoch, front_seq, id, app, name, entry_limit_per_minute, window_seconds, \
         slot_seconds, abandon_after_seconds, resume_grace_seconds, poll_interval_ms, poll_interval_max_ms, opens_at, closes_at, \
         paused, active_limit, session_seconds, pass_ttl_seconds, offer, message, challenge_bits, enqueue, pass_bound, revision, epoch"
    };
}
pub(crate) use zone_columns;

/// A stored zone.
pub(crate) struct StoredZone {
    pub(crate) number: u32,
    pub(crate) reserved_epoch: u32,
    pub(crate) reserved_upto: u32,
    pub(crate) front_epoch: u32,
    pub(crate) front_seq: u32,
    pub(crate) settings: ZoneSettings,
}

pub(crate) fn zone(row: &Row) -> Result<StoredZone, LedgerError> {
    let mut columns = Columns::of(row, "zones");
    let (number, reserved_epoch, reserved_upto) = (columns.take()?, columns.take()?, columns.take()?);
    let (front_epoch, front_seq) = (columns.take()?, columns.take()?);
    let id = columns.id("id", ZoneId::parse)?;
    let app = columns.id("app", AppId::parse)?;
    let settings = ZoneSettings {
        id,
        app,
        name: columns.text()?,
        entry_limit_per_minute: columns.take()?,
        window_seconds: columns.take()?,
        slot_seconds: columns.take()?,
        abandon_after_seconds: columns.take()?,
        resume_grace_seconds: columns.take()?,
        poll_interval_ms: columns.take()?,
        poll_interval_max_ms: columns.take()?,
        opens_at: columns.time_or_none("opens_at")?,
        closes_at: columns.time_or_none("closes_at")?,
        paused: columns.take()?,
        active_limit: columns.take()?,
        session_seconds: columns.take()?,
        pass_ttl_seconds: columns.take()?,
        offer: columns.id_or_none("offer", OfferId::parse)?,
        message: columns.text_or_none()?,
        door: Door {
            challenge_bits: columns.take()?,
            enqueue: columns.parsed("enqueue", words::parse_enqueue)?,
            pass_bound: columns.take()?,
        },
        revision: columns.take()?,
        epoch: columns.take()?,
    };
    Ok(StoredZone { number, reserved_epoch, reserved_upto, front_epoch, front_seq, settings })
}

pub(crate) fn minute(row: &Row) -> Result<ZoneMinute, LedgerError> {
    let mut columns = Columns::of(row, "zone_minutes");
    Ok(ZoneMinute {
        zone: columns.id("zone_id", ZoneId::parse)?,
        minute: columns.time("minute")?,
        entered: columns.take()?,
        waiting: columns.take()?,
        dropped: columns.take()?,
        entry_limit: columns.take()?,
    })
}
