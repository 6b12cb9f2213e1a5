//! Zones' settings and their minutes.

use super::offer::in_field;
use crate::wire::WireError;
use bunho_domain::event::ZoneMinute;
use bunho_domain::ids::{AppId, OfferId, ZoneId};
use bunho_domain::line::door::{Door, Enqueue};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::time::Millis;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(super) struct ZoneSettingsV1<'a> {
    id: &'a str,
    app: &'a str,
    name: &'a str,
    entry_limit_per_minute: Option<u32>,
    window_seconds: u32,
    slot_seconds: u32,
    abandon_after_seconds: u32,
    resume_grace_seconds: u32,
    poll_interval_ms: u32,
    poll_interval_max_ms: u32,
    opens_at: Option<i64>,
    closes_at: Option<i64>,
    paused: bool,
    active_limit: Option<u32>,
    session_seconds: u32,
    pass_ttl_seconds: u32,
    offer: Option<&'a str>,
    message: Option<&'a str>,
    revision: u32,
    epoch: u32,
}

impl<'a> From<&'a ZoneSettings> for ZoneSettingsV1<'a> {
    fn from(settings: &'a ZoneSettings) -> Self {
        Self {
            id: settings.id.as_str(),
            app: settings.app.as_str(),
            name: &settings.name,
            entry_limit_per_minute: settings.entry_limit_per_minute,
            window_seconds: settings.window_seconds,
            slot_seconds: settings.slot_seconds,
            abandon_after_seconds: settings.abandon_after_seconds,
            resume_grace_seconds: settings.resume_grace_seconds,
            poll_interval_ms: settings.poll_interval_ms,
            poll_interval_max_ms: settings.poll_interval_max_ms,
            opens_at: settings.opens_at.map(|at| at.0),
            closes_at: settings.closes_at.map(|at| at.0),
            paused: settings.paused,
            active_limit: settings.active_limit,
            session_seconds: settings.session_seconds,
            pass_ttl_seconds: settings.pass_ttl_seconds,
            offer: settings.offer.as_ref().map(OfferId::as_str),
            message: settings.message.as_deref(),
            revision: settings.revision,
            epoch: settings.epoch,
        }
    }
}

impl TryFrom<ZoneSettingsV1<'_>> for ZoneSettings {
    type Error = WireError;

    fn try_from(settings: ZoneSettingsV1<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: ZoneId::parse(settings.id).map_err(in_field("zone id"))?,
            app: AppId::parse(settings.app).map_err(in_field("app id"))?,
            name: settings.name.into(),
            entry_limit_per_minute: settings.entry_limit_per_minute,
            window_seconds: settings.window_seconds,
            slot_seconds: settings.slot_seconds,
            abandon_after_seconds: settings.abandon_after_seconds,
            resume_grace_seconds: settings.resume_grace_seconds,
            poll_interval_ms: settings.poll_interval_ms,
            poll_interval_max_ms: settings.poll_interval_max_ms,
            opens_at: settings.opens_at.map(Millis),
            closes_at: settings.closes_at.map(Millis),
            paused: settings.paused,
            active_limit: settings.active_limit,
            session_seconds: settings.session_seconds,
            pass_ttl_seconds: settings.pass_ttl_seconds,
            offer: settings.offer.map(OfferId::parse).transpose().map_err(in_field("zone's offer"))?,
            message: settings.message.map(Into::into),
            // Stands beside the settings: this layout is from before there were doors.
            door: Door::default(),
            revision: settings.revision,
            epoch: settings.epoch,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct DoorV1 {
    challenge_bits: u32,
    enqueue: EnqueueV1,
    pass_bound: bool,
}

#[derive(Serialize, Deserialize)]
enum EnqueueV1 {
    Open,
    Token,
}

impl From<Door> for DoorV1 {
    fn from(door: Door) -> Self {
        let enqueue = match door.enqueue {
            Enqueue::Open => EnqueueV1::Open,
            Enqueue::Token => EnqueueV1::Token,
        };
        Self { challenge_bits: door.challenge_bits, enqueue, pass_bound: door.pass_bound }
    }
}

impl From<DoorV1> for Door {
    fn from(door: DoorV1) -> Self {
        let enqueue = match door.enqueue {
            EnqueueV1::Open => Enqueue::Open,
            EnqueueV1::Token => Enqueue::Token,
        };
        Self { challenge_bits: door.challenge_bits, enqueue, pass_bound: door.pass_bound }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct MinuteV1<'a> {
    zone: &'a str,
    minute: i64,
    entered: u32,
    waiting: u32,
    dropped: u32,
    entry_limit: Option<u32>,
}

impl<'a> From<&'a ZoneMinute> for MinuteV1<'a> {
    fn from(minute: &'a ZoneMinute) -> Self {
        Self {
            zone: minute.zone.as_str(),
            minute: minute.minute.0,
            entered: minute.entered,
            waiting: minute.waiting,
            dropped: minute.dropped,
            entry_limit: minute.entry_limit,
        }
    }
}

impl TryFrom<MinuteV1<'_>> for ZoneMinute {
    type Error = WireError;

    fn try_from(minute: MinuteV1<'_>) -> Result<Self, WireError> {
        Ok(Self {
            zone: ZoneId::parse(minute.zone).map_err(in_field("zone id"))?,
            minute: Millis(minute.minute),
            entered: minute.entered,
            waiting: minute.waiting,
            dropped: minute.dropped,
            entry_limit: minute.entry_limit,
        })
    }
}
