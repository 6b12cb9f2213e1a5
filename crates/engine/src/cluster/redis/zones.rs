//! The commands about zones: packed, decided in Redis by one script for each line, read back as the domain's types.
//!
//! Who waits is told so at once, since a place in the line is in the ticket and nothing that is told of it binds. Who is let in, and who leaves,
//! is told when the journal has it.

use super::line::wire::standing;
use super::line::{self, Command, Facts, Hindered, Refused, Report, ZoneHome, done, issue, poll_answer, report};
use super::of::Of;
use super::order::{Repeat, Until};
use super::wire::{self, Standing, packed_audit};
use super::{DecideError, Decider, DeciderClock, EntryId, Malformed};
use crate::types::Ack;
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::line::{Answer, Issued, Join, JoinOutcome, OfferLeft, Poll, PollRefusal};
use bunho_domain::time::Millis;
use bunho_journal::Audit;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What became of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneDeletion {
    /// The zone is deleted. [`Decider::discard`] frees its memory.
    Deleted,
    /// Somebody waits or is inside.
    InUse,
}

/// Pieces of a deleted zone that one command takes away: some 64 keys each, which Redis frees on another thread.
const PIECES_MOST: u32 = 64;
/// Times that restoring begins again after a lost answer.
const RESTORES_MOST: usize = 5;
/// Between two looks at what nobody waits for.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

impl Decider {
    /// Joins a zone's line, or enters at once. Where numbers have to be reserved first, it waits for that.
    ///
    /// # Errors
    /// [`DecideError`]; [`DecideError::Overloaded`] also where the numbers of the line's epoch are used up.
    pub async fn join(&self, home: ZoneHome, join: Join, left: OfferLeft) -> Result<Issued, DecideError> {
        // With a key it answers alike however often it is asked. Without one, asking again would leave a ticket behind that nobody holds: that may have
        // been let in, and then takes an entry of this minute and a seat inside from those who wait.
        let repeat = if join.keyed { Repeat::Yes } else { Repeat::No };
        let give_up = Instant::now() + self.options.durable_within;
        loop {
            let answer = self.ask_zone(home, None, Command::Join { join, left }, repeat, Until::Shipped).await?;
            let issue = told(issue(&answer)?)?;
            match issue.outcome {
                JoinOutcome::Issued(issued) => return Ok(issued),
                JoinOutcome::Unreserved if issue.reserving && Instant::now() < give_up => {
                    // The answer came when the reservation was removed from the outbox, and with that the line had the numbers; unless
                    // answers are not to wait for that.
                    if self.options.ack == Ack::Engine {
                        sleep(LOOK_AGAIN).await;
                    }
                }
                JoinOutcome::Unreserved => return Err(DecideError::Overloaded),
            }
        }
    }

    /// Polls with a ticket. Safe to repeat: who was let in is told the same again.
    ///
    /// # Errors
    /// [`DecideError`]; refusals are inside.
    pub async fn poll(&self, home: ZoneHome, poll: Poll, left: OfferLeft) -> Result<Result<Answer, PollRefusal>, DecideError> {
        let answer = self.ask_zone(home, None, Command::Poll { poll, left }, Repeat::Yes, Until::Shipped).await?;
        match poll_answer(&answer)? {
            Ok(answer) => Ok(Ok(answer)),
            Err(Hindered::Refused(Refused::Poll(refusal))) => Ok(Err(refusal)),
            Err(hindered) => Err(error(hindered)),
        }
    }

    /// Gives a place, or the seat inside, up. Twice, too.
    ///
    /// # Errors
    /// [`DecideError`].
    pub async fn leave(&self, home: ZoneHome, poll: Poll) -> Result<(), DecideError> {
        self.tell_zone(home, None, Command::Leave { poll }, Repeat::Yes, Until::Shipped).await.map(|_| ())
    }

    /// A zone as its operator sees it.
    ///
    /// # Errors
    /// [`DecideError`].
    pub async fn zone(&self, home: ZoneHome, left: OfferLeft) -> Result<Report, DecideError> {
        let answer = self.ask_zone(home, None, Command::Status { left }, Repeat::Yes, Until::Decided).await?;
        told(report(&answer)?)
    }

    /// Where the state of a zone stands, also while it is suspended. None: Redis knows no such zone.
    ///
    /// # Errors
    /// [`DecideError`].
    pub async fn zone_version(&self, number: u32) -> Result<Option<Standing>, DecideError> {
        let command = line::packed(ZoneHome { number, epoch: 0 }, None, None, Command::Standing);
        let answer = self.ask_about(Of::Zone(number), number, Vec::new(), command, Repeat::Freely, Until::Decided).await?;
        told(standing(&answer)?)
    }

    /// Looks after at most so many deadlines that have come. Whether there are more. For a node's background: every decision looks after some.
    ///
    /// # Errors
    /// [`DecideError`].
    pub async fn sweep(&self, home: ZoneHome, most: u32) -> Result<bool, DecideError> {
        self.tell_zone(home, None, Command::Sweep { most }, Repeat::Yes, Until::Decided).await
    }

    /// Tells of finished minutes and of the front. For a node's background, every few seconds.
    ///
    /// # Errors
    /// [`DecideError`].
    pub async fn minute(&self, home: ZoneHome) -> Result<(), DecideError> {
        self.tell_zone(home, None, Command::Minute, Repeat::Yes, Until::Decided).await.map(|_| ())
    }

    /// Creates a zone with its first event, under the epoch of `home`; its number has been given to nothing else. The caller has checked the settings.
    ///
    /// # Errors
    /// [`DecideError::Exists`] and the rest.
    pub async fn create_zone(&self, home: ZoneHome, settings: &ZoneSettings, audit: &Audit) -> Result<(), DecideError> {
        let command = Command::Create { settings, test_clock: self.obeys_clock(), suspended: false };
        self.tell_zone(home, Some(audit), command, Repeat::No, Until::Shipped).await.map(|_| ())
    }

    /// Creates a zone that is suspended and has nothing, to be restored.
    ///
    /// # Errors
    /// [`DecideError::Exists`] and the rest.
    pub async fn create_zone_suspended(&self, home: ZoneHome, settings: &ZoneSettings) -> Result<(), DecideError> {
        let command = Command::Create { settings, test_clock: self.obeys_clock(), suspended: true };
        self.tell_zone(home, None, command, Repeat::No, Until::Decided).await.map(|_| ())
    }

    /// Replaces a zone's settings. The revision becomes one more than it was; a higher epoch of the settings is a reset.
    ///
    /// # Errors
    /// [`DecideError::Conflict`] and the rest.
    pub async fn define_zone(
        &self,
        home: ZoneHome,
        settings: &ZoneSettings,
        if_revision: Option<u32>,
        audit: &Audit,
    ) -> Result<(), DecideError> {
        let command = Command::Define { settings, if_revision };
        self.tell_zone(home, Some(audit), command, Repeat::No, Until::Shipped).await.map(|_| ())
    }

    /// Deletes a zone in which nobody waits or is.
    ///
    /// # Errors
    /// [`DecideError`].
    pub async fn delete_zone(&self, home: ZoneHome, audit: &Audit) -> Result<ZoneDeletion, DecideError> {
        let answer = self.ask_zone(home, Some(audit), Command::Delete, Repeat::No, Until::Shipped).await?;
        match done(&answer)? {
            Ok(_) => Ok(ZoneDeletion::Deleted),
            Err(Hindered::Refused(_)) => Ok(ZoneDeletion::InUse),
            Err(hindered) => Err(error(hindered)),
        }
    }

    /// Takes away a piece of what is left of a deleted zone. Whether there is more, which there is while its outbox is not empty.
    ///
    /// # Errors
    /// [`DecideError::Exists`] while it is not deleted.
    pub async fn discard(&self, home: ZoneHome) -> Result<bool, DecideError> {
        self.tell_zone(home, None, Command::Discard { pieces: PIECES_MOST }, Repeat::Yes, Until::Decided).await
    }

    /// Removes a deleted or suspended zone from Redis.
    ///
    /// # Errors
    /// [`DecideError::Exists`] while it is neither; [`DecideError::Unavailable`] while its outbox is not empty.
    pub async fn forget_zone(&self, home: ZoneHome) -> Result<(), DecideError> {
        let read = Of::Zone(home.number).read_outbox(EntryId::default(), 1, None);
        let answer = self.ask_about(Of::Zone(home.number), home.number, Vec::new(), read, Repeat::Freely, Until::Decided).await?;
        if wire::done(&answer).ok_or(Malformed("reading the outbox was refused"))?.array()? > 0 {
            return Err(DecideError::Unavailable("its outbox is not empty".into()));
        }
        self.tell_zone(home, None, Command::Forget, Repeat::Yes, Until::Decided).await?;
        while self.discard(home).await? {}
        Ok(())
    }

    /// Stops all decisions about a zone under a new epoch, which must not be lower than the one it has.
    ///
    /// # Errors
    /// [`DecideError`].
    pub async fn suspend_zone(&self, home: ZoneHome, epoch: u32) -> Result<(), DecideError> {
        self.tell_zone(home, None, Command::Suspend { epoch }, Repeat::Yes, Until::Decided).await.map(|_| ())
    }

    /// Lets a zone go on as it is, under the epoch of `home`.
    ///
    /// # Errors
    /// [`DecideError`].
    pub async fn resume_zone(&self, home: ZoneHome) -> Result<(), DecideError> {
        self.tell_zone(home, None, Command::Resume, Repeat::Yes, Until::Decided).await.map(|_| ())
    }

    /// Makes a zone's state what its facts say, whatever Redis knows of it, and lets it go on under the epoch of `home`. Its outbox has been drained.
    ///
    /// # Errors
    /// [`DecideError::Epoch`]: somebody else restores it under a later epoch; and the rest.
    pub async fn restore_zone(&self, home: ZoneHome, facts: Facts) -> Result<(), DecideError> {
        let facts = facts.sorted();
        let mut tries = 0;
        loop {
            tries += 1;
            match self.restore_once(home, &facts).await {
                // What was told twice would count twice, so it begins with nothing again.
                Err(DecideError::Indeterminate(reason)) if tries < RESTORES_MOST => {
                    tracing::warn!(zone = home.number, reason, "restoring a zone begins again");
                }
                told => return told,
            }
        }
    }

    async fn restore_once(&self, home: ZoneHome, facts: &line::Sorted) -> Result<(), DecideError> {
        match self.create_zone_suspended(home, facts.settings()).await {
            Err(DecideError::Exists) => self.suspend_zone(home, home.epoch).await?,
            created => created?,
        }
        // Without a clock of tests the zone's time is Redis's, or that of the latest fact.
        let now = self.clock().unwrap_or(Millis(0));
        for command in facts.commands(now) {
            let repeat = if matches!(command, Command::Recover) { Repeat::Yes } else { Repeat::No };
            let answer = self.ask_zone(home, None, command, repeat, Until::Decided).await?;
            // Of what is done the answer tells the time, which is not needed.
            if wire::done(&answer).is_none() {
                told(done(&answer)?)?;
            }
        }
        Ok(())
    }

    const fn obeys_clock(&self) -> bool {
        matches!(self.options.clock, DeciderClock::Manual(_))
    }

    /// A command that answers no more than whether there is more to do.
    async fn tell_zone(
        &self,
        home: ZoneHome,
        audit: Option<&Audit>,
        command: Command<'_>,
        repeat: Repeat,
        until: Until,
    ) -> Result<bool, DecideError> {
        told(done(&self.ask_zone(home, audit, command, repeat, until).await?)?)
    }

    async fn ask_zone(
        &self,
        home: ZoneHome,
        audit: Option<&Audit>,
        command: Command<'_>,
        repeat: Repeat,
        until: Until,
    ) -> Result<Vec<u8>, DecideError> {
        let command = line::packed(home, self.clock(), audit.map(packed_audit).as_deref(), command);
        self.ask_about(Of::Zone(home.number), home.number, Vec::new(), command, repeat, until).await
    }
}

fn told<T>(said: Result<T, Hindered>) -> Result<T, DecideError> {
    said.map_err(error)
}

const fn error(hindered: Hindered) -> DecideError {
    match hindered {
        // To a poll and to a deletion it is an answer.
        Hindered::Refused(_) | Hindered::Exists => DecideError::Exists,
        Hindered::Unknown => DecideError::UnknownZone,
        Hindered::Suspended | Hindered::Stale => DecideError::Suspended,
        Hindered::Epoch(current) => DecideError::Epoch { current },
        Hindered::Overloaded => DecideError::Overloaded,
        Hindered::Clock => DecideError::Clock,
        Hindered::Conflict(current) => DecideError::Conflict { current },
    }
}
