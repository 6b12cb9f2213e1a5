//! Bugs that can be switched on, so that the deterministic simulation can show that it would find them.
//!
//! A test that never fails proves little until it has been seen to fail for the right reason. Each [`Bug`] is a mistake that
//! would be easy to make at the place where [`is`] asks for it, in whichever layer. Without the feature `planted-bugs`,
//! which nothing but that simulation turns on, [`is`] is the constant false and leaves no trace in the program; with it, a bug
//! is there only on a thread that called [`plant`].

/// One mistake. Its [`name`](Bug::name) is what `simulate --planted` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Engine: a claim is answered before its record is durable.
    AnswerBeforeDurable,
    /// Engine: only what wrote a record waits for the disk; refusals and reads show what a crash may take away.
    RefusalShowsUndurable,
    /// Engine: a restart forgets which key gave which claim.
    KeyForgotten,
    /// Engine: a booking and what it grants are two records, and a crash can come between.
    GrantApart,
    /// Domain: a hold that is confirmed at its very deadline is confirmed.
    DeadlineInclusive,
    /// Domain: units that come back go to a newcomer, though people wait for them.
    StandbyOvertaken,
    /// Domain: the window is one slot shorter than it says.
    WindowShort,
    /// Domain: a restart forgets who entered in the last window.
    WindowForgotten,
    /// Domain: a restart gives out again what was left of a block of sequence numbers, though some of it was used.
    BlockReused,
    /// Journal: a torn chunk is taken for a whole one.
    TornChunk,
    /// Journal: a failed sync leaves no mark, and the next start builds upon what is not on disk.
    FailedSyncUnmarked,
    /// Ledger: the projector's offset is written outside the transaction of the rows.
    OffsetApart,
}

impl Bug {
    /// Every one of them.
    pub const ALL: [Self; 12] = [
        Self::AnswerBeforeDurable,
        Self::RefusalShowsUndurable,
        Self::KeyForgotten,
        Self::GrantApart,
        Self::DeadlineInclusive,
        Self::StandbyOvertaken,
        Self::WindowShort,
        Self::WindowForgotten,
        Self::BlockReused,
        Self::TornChunk,
        Self::FailedSyncUnmarked,
        Self::OffsetApart,
    ];

    /// Its name on a command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AnswerBeforeDurable => "answer-before-durable",
            Self::RefusalShowsUndurable => "refusal-shows-undurable",
            Self::KeyForgotten => "key-forgotten",
            Self::GrantApart => "grant-apart",
            Self::DeadlineInclusive => "deadline-inclusive",
            Self::StandbyOvertaken => "standby-overtaken",
            Self::WindowShort => "window-short",
            Self::WindowForgotten => "window-forgotten",
            Self::BlockReused => "block-reused",
            Self::TornChunk => "torn-chunk",
            Self::FailedSyncUnmarked => "failed-sync-unmarked",
            Self::OffsetApart => "offset-apart",
        }
    }
}

#[cfg(feature = "planted-bugs")]
std::thread_local! {
    /// One thread's, so that tests in one process do not plant bugs in each other.
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug on this thread in place of the one before it; none takes it out.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted here.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this bug is planted here: never in this build.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}
