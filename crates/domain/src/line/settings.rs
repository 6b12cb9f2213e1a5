//! What an operator says of a zone.

use crate::ids::{AppId, OfferId, ZoneId};
use crate::limits::{ENTRY_LIMIT_MAX, NAME_CHARS_MAX, POLL_INTERVAL_MS, SECONDS_MAX};
use crate::line::door::Door;
use crate::offer::settings::{SettingError, check_range};
use crate::time::Millis;

/// A zone's settings. Whole: editing replaces them and raises `revision`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneSettings {
    /// Its name in URLs.
    pub id: ZoneId,
    /// Its tenant.
    pub app: AppId,
    /// What it is called on screens.
    pub name: Box<str>,
    /// N: most admissions in any rolling window; 0 = closed, none = no limit.
    pub entry_limit_per_minute: Option<u32>,
    /// Length of the rolling window in seconds: 60. Shorter only where tests would wait for real minutes.
    pub window_seconds: u32,
    /// While a line exists, admissions are spread over slots of this length.
    pub slot_seconds: u32,
    /// A ticket without a poll for this long is dormant: counted in nobody's rank.
    pub abandon_after_seconds: u32,
    /// A dormant ticket back within this long has its place again; after that it is gone.
    pub resume_grace_seconds: u32,
    /// Shortest poll interval, near the front.
    pub poll_interval_ms: u32,
    /// Longest poll interval, far back; always below half of `abandon_after_seconds`.
    pub poll_interval_max_ms: u32,
    /// Nobody enters before this.
    pub opens_at: Option<Millis>,
    /// Nobody enters from here on.
    pub closes_at: Option<Millis>,
    /// The line holds.
    pub paused: bool,
    /// Most admitted people inside at a time.
    pub active_limit: Option<u32>,
    /// How long an admitted person counts as inside.
    pub session_seconds: u32,
    /// How long a pass is valid.
    pub pass_ttl_seconds: u32,
    /// The line stops while this offer has nothing left.
    pub offer: Option<OfferId>,
    /// Shown to everyone who waits.
    pub message: Option<Box<str>>,
    /// Who may join.
    pub door: Door,
    /// 1 at creation, one more with every edit.
    pub revision: u32,
    /// Raised by a reset; tickets of an older epoch have ended.
    pub epoch: u32,
}

impl ZoneSettings {
    /// A zone with the defaults of the design: a window of 60 s, slots of 6 s, abandoned after 60 s, 120 s of grace, polls every
    /// 3 to 20 s, sessions and passes of 600 s.
    #[must_use]
    pub fn new(id: ZoneId, app: AppId, entry_limit_per_minute: Option<u32>) -> Self {
        Self {
            name: id.as_str().into(),
            id,
            app,
            entry_limit_per_minute,
            window_seconds: 60,
            slot_seconds: 6,
            abandon_after_seconds: 60,
            resume_grace_seconds: 120,
            poll_interval_ms: 3_000,
            poll_interval_max_ms: 20_000,
            opens_at: None,
            closes_at: None,
            paused: false,
            active_limit: None,
            session_seconds: 600,
            pass_ttl_seconds: 600,
            offer: None,
            message: None,
            door: Door::default(),
            revision: 1,
            epoch: 1,
        }
    }

    /// Admissions a slot may have while a line exists: ceil(N × slot / window).
    #[must_use]
    pub fn slot_quota(&self) -> Option<u32> {
        let limit = u64::from(self.entry_limit_per_minute?);
        let quota = (limit * u64::from(self.slot_seconds)).div_ceil(u64::from(self.window_seconds.max(1)));
        Some(u32::try_from(quota).unwrap_or(u32::MAX))
    }

    /// Every setting out of its range, in the order of the fields.
    ///
    /// # Errors
    /// The list is never empty.
    pub fn check(&self) -> Result<(), Vec<SettingError>> {
        let mut errors = Vec::new();
        for (field, text) in [("name", Some(&self.name)), ("message", self.message.as_ref())] {
            if text.is_some_and(|t| t.chars().count() > NAME_CHARS_MAX || t.chars().any(char::is_control)) {
                errors.push(SettingError::new(field, format!("must be at most {NAME_CHARS_MAX} characters without control characters")));
            }
        }
        if let Some(limit) = self.entry_limit_per_minute {
            check_range(&mut errors, "entry_limit_per_minute", limit.into(), 0..=ENTRY_LIMIT_MAX.into());
        }
        check_range(&mut errors, "window_seconds", self.window_seconds.into(), 1..=60);
        check_range(&mut errors, "slot_seconds", self.slot_seconds.into(), 1..=u64::from(self.window_seconds.max(1)));
        check_range(&mut errors, "abandon_after_seconds", self.abandon_after_seconds.into(), 1..=3_600);
        check_range(&mut errors, "resume_grace_seconds", self.resume_grace_seconds.into(), 0..=SECONDS_MAX.into());
        check_range(
            &mut errors,
            "poll_interval_ms",
            self.poll_interval_ms.into(),
            u64::from(*POLL_INTERVAL_MS.start())..=u64::from(*POLL_INTERVAL_MS.end()),
        );
        // A ticket must be able to miss one poll without being dropped.
        let poll_max = (u64::from(self.abandon_after_seconds) * 500).saturating_sub(1).min(u64::from(*POLL_INTERVAL_MS.end()));
        check_range(&mut errors, "poll_interval_max_ms", self.poll_interval_max_ms.into(), u64::from(self.poll_interval_ms)..=poll_max);
        if let (Some(opens), Some(closes)) = (self.opens_at, self.closes_at)
            && closes < opens
        {
            errors.push(SettingError::new("closes_at", "must not be before opens_at"));
        }
        if let Some(limit) = self.active_limit {
            check_range(&mut errors, "active_limit", limit.into(), 0..=ENTRY_LIMIT_MAX.into());
        }
        check_range(&mut errors, "session_seconds", self.session_seconds.into(), 1..=SECONDS_MAX.into());
        check_range(&mut errors, "pass_ttl_seconds", self.pass_ttl_seconds.into(), 1..=SECONDS_MAX.into());
        self.door.check(&mut errors);
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}
