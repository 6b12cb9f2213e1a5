//! Zones' settings and what happens in their lines, in JSON. What is none is left out.

use super::{Unreadable, in_field};
use bunho_domain::event::{TicketNumber, ZoneMinute};
use bunho_domain::ids::{AppId, OfferId, ZoneId};
use bunho_domain::line::door::{Door, Enqueue};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::time::Millis;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

#[derive(Serialize, Deserialize)]
pub(super) struct ReservedJson {
    pub(super) epoch: u32,
    pub(super) upto: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TicketJson {
    pub(super) epoch: u32,
    pub(super) seq: u32,
    pub(super) at: i64,
}

impl TicketJson {
    pub(super) const fn number(&self) -> TicketNumber {
        TicketNumber { epoch: self.epoch, seq: self.seq }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct FrontJson {
    pub(super) epoch: u32,
    pub(super) seq: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct MinuteJson<'a> {
    #[serde(borrow)]
    zone: Cow<'a, str>,
    minute: i64,
    entered: u32,
    waiting: u32,
    dropped: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry_limit: Option<u32>,
}

impl<'a> From<&'a ZoneMinute> for MinuteJson<'a> {
    fn from(row: &'a ZoneMinute) -> Self {
        let &ZoneMinute { ref zone, minute, entered, waiting, dropped, entry_limit } = row;
        Self { zone: zone.as_str().into(), minute: minute.0, entered, waiting, dropped, entry_limit }
    }
}

impl TryFrom<MinuteJson<'_>> for ZoneMinute {
    type Error = Unreadable;

    fn try_from(row: MinuteJson<'_>) -> Result<Self, Unreadable> {
        let MinuteJson { zone, minute, entered, waiting, dropped, entry_limit } = row;
        let zone = ZoneId::parse(&zone).map_err(in_field("zone id"))?;
        Ok(Self { zone, minute: Millis(minute), entered, waiting, dropped, entry_limit })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ZoneJson<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    app: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry_limit_per_minute: Option<u32>,
    window_seconds: u32,
    slot_seconds: u32,
    abandon_after_seconds: u32,
    resume_grace_seconds: u32,
    poll_interval_ms: u32,
    poll_interval_max_ms: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    opens_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closes_at: Option<i64>,
    paused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_limit: Option<u32>,
    session_seconds: u32,
    pass_ttl_seconds: u32,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    offer: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    message: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    door: Option<DoorJson>,
    revision: u32,
    epoch: u32,
}

/// None: everybody may join.
#[derive(Serialize, Deserialize)]
struct DoorJson {
    challenge_bits: u32,
    enqueue: EnqueueJson,
    pass_bound: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EnqueueJson {
    Open,
    Token,
}

impl DoorJson {
    fn of(door: Door) -> Option<Self> {
        let enqueue = match door.enqueue {
            Enqueue::Open => EnqueueJson::Open,
            Enqueue::Token => EnqueueJson::Token,
        };
        (!door.is_open()).then_some(Self { challenge_bits: door.challenge_bits, enqueue, pass_bound: door.pass_bound })
    }

    fn door(self) -> Door {
        let enqueue = match self.enqueue {
            EnqueueJson::Open => Enqueue::Open,
            EnqueueJson::Token => Enqueue::Token,
        };
        Door { challenge_bits: self.challenge_bits, enqueue, pass_bound: self.pass_bound }
    }
}

impl<'a> From<&'a ZoneSettings> for ZoneJson<'a> {
    fn from(settings: &'a ZoneSettings) -> Self {
        Self {
            id: settings.id.as_str().into(),
            app: settings.app.as_str().into(),
            name: (&*settings.name).into(),
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
            offer: settings.offer.as_ref().map(|id| id.as_str().into()),
            message: settings.message.as_deref().map(Into::into),
            door: DoorJson::of(settings.door),
            revision: settings.revision,
            epoch: settings.epoch,
        }
    }
}

impl TryFrom<ZoneJson<'_>> for ZoneSettings {
    type Error = Unreadable;

    fn try_from(settings: ZoneJson<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            id: ZoneId::parse(&settings.id).map_err(in_field("zone id"))?,
            app: AppId::parse(&settings.app).map_err(in_field("app id"))?,
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
            offer: settings.offer.map(|id| OfferId::parse(&id)).transpose().map_err(in_field("offer id"))?,
            message: settings.message.map(Into::into),
            door: settings.door.map_or_else(Door::default, DoorJson::door),
            revision: settings.revision,
            epoch: settings.epoch,
        })
    }
}
