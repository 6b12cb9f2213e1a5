//! What is remembered of one ticket: 48 bytes, of which millions lie side by side.

use crate::line::settings::ZoneSettings;
use crate::time::Millis;

/// How long after the poll it was told to make a ticket still counts as present: a slow network, a busy phone.
pub const POLL_SLACK_MS: i64 = 2_000;

/// No ticket, in a list of tickets. Sequence numbers stay below it.
pub(super) const NOBODY: u32 = u32::MAX;

/// In no bucket of the wheel.
pub(super) const UNARMED: u16 = u16::MAX;

/// One ticket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// As in the ticket.
    pub(super) nonce: u64,
    /// As in the ticket.
    pub(super) issued_at: Millis,
    /// Its last sign of life; of an admitted ticket, when it was admitted.
    pub(super) touched: Millis,
    pub(super) standing: Standing,
    /// Neighbours in its bucket of the wheel.
    pub(super) next: u32,
    pub(super) previous: u32,
    /// Its bucket of the wheel.
    pub(super) bucket: u16,
}

// A waiting ticket costs its slot, 3 bits of the maps and at most 12 bytes of the key table.
const _: () = assert!(size_of::<Slot>() == 48);

/// Where a ticket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not known here: never given out, given up, gone, or used up.
    Unknown,
    /// In the line.
    Waiting {
        presence: Presence,
        seen: Seen,
        /// Polls in a row that came too soon.
        hasty: u8,
        /// What its bearer was last told to wait, at most 60,000.
        period_ms: u16,
        /// Lowest rank it was ever shown.
        shown_rank: u32,
    },
    /// Let in.
    Admitted {
        /// Whether it counts as inside.
        session: Term,
        /// Whether its pass is answered again.
        pass: Term,
        bearer: Bearer,
        session_seconds: u32,
        pass_seconds: u32,
    },
}

/// How a waiting ticket counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Polls when told to: counts for rank, and holds its place against those behind.
    Present,
    /// Missed its poll: counts for rank, holds nobody up.
    Absent,
    /// Long silent: counts for nobody.
    Dormant,
}

/// How often a waiting ticket was seen. Many take one and never ask again; who does ask again mostly stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// When it was given out.
    Once,
    /// It has asked for its place since.
    Again,
}

/// Whether something that lasts a while still lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Term {
    Running,
    Over,
}

/// Whether the nonce of a ticket is known: the event of an admission does not carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bearer {
    Known,
    /// Admitted before a restart and not seen since.
    Unmet,
}

impl Slot {
    pub(super) const EMPTY: Self = Self {
        nonce: 0,
        issued_at: Millis(0),
        touched: Millis(0),
        standing: Standing::Unknown,
        next: NOBODY,
        previous: NOBODY,
        bucket: UNARMED,
    };

    /// A ticket that waits and was seen just now.
    pub(super) const fn waiting(nonce: u64, issued_at: Millis, now: Millis) -> Self {
        Self {
            nonce,
            issued_at,
            touched: now,
            standing: Standing::Waiting { presence: Presence::Present, seen: Seen::Once, hasty: 0, period_ms: 0, shown_rank: u32::MAX },
            ..Self::EMPTY
        }
    }

    /// When an admitted ticket's pass ends.
    pub(super) const fn pass_ends(&self, pass_seconds: u32) -> Millis {
        self.touched.plus_seconds(pass_seconds)
    }

    /// When this ticket changes by itself next. None: it does not.
    pub(super) fn deadline(&self, settings: &ZoneSettings) -> Option<Millis> {
        let abandoned = self.touched.plus_seconds(settings.abandon_after_seconds);
        match self.standing {
            Standing::Unknown => None,
            Standing::Waiting { presence: Presence::Present, period_ms, .. } => {
                Some(abandoned.min(self.touched.plus_ms(i64::from(period_ms) + POLL_SLACK_MS)))
            }
            Standing::Waiting { presence: Presence::Absent, .. } => Some(abandoned),
            Standing::Waiting { presence: Presence::Dormant, .. } => Some(abandoned.plus_seconds(settings.resume_grace_seconds)),
            Standing::Admitted { session, pass, session_seconds, pass_seconds, .. } => {
                let ends = |term, seconds| (term == Term::Running).then(|| self.touched.plus_seconds(seconds));
                match (ends(session, session_seconds), ends(pass, pass_seconds)) {
                    (Some(one), Some(other)) => Some(one.min(other)),
                    (one, other) => one.or(other),
                }
            }
        }
    }
}
