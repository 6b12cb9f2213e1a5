//! The commands about offers: packed, decided in Redis, read back as the types that every engine answers with.

use super::msgpack::Reader;
use super::of::Of;
use super::order::{Repeat, Until};
use super::wire::{self, Standing, Verdict, start};
use super::{DecideError, Decider, DeciderClock, Home, Malformed};
use bunho_domain::claim::Claim;
use bunho_domain::event::{OfferChange, OfferEvent};
use bunho_domain::ids::{ClaimId, StandbyId};
use bunho_domain::offer::refusal::Refusal;
use bunho_domain::offer::settings::OfferSettings;
use bunho_domain::offer::{Actor, ClaimRequest, ForgetRequest, Forgotten, Restock, StandbyRequest, StandbyView, Stock, Taken};
use bunho_domain::time::Millis;
use bunho_journal::Audit;

/// A decision, a refusal, or a failure to decide.
type Decided<T> = Result<Result<T, Refusal>, DecideError>;

/// An offer as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferState {
    /// What the operator said of it.
    pub settings: OfferSettings,
    /// Its numbers.
    pub stock: Stock,
    /// When it should be settled even if nobody asks; none: never, as things stand.
    pub next_deadline: Option<Millis>,
}

/// Claims that one command reads at most.
const CLAIMS_MOST: u32 = 512;
/// Events that one command loads at most: with the largest attributes some 2 MB.
const LOAD_MOST: usize = 512;

macro_rules! read {
    ($self:ident, $home:ident, $command:expr, $repeat:expr, $reader:ident => $read:expr) => {
        async {
            let answer = $self.ask_offer($home, $command, $repeat).await?;
            match done(&answer, $home.offer)? {
                Ok(mut reader) => {
                    let $reader = &mut reader;
                    Ok(Ok($read))
                }
                Err(refusal) => Ok(Err(refusal)),
            }
        }
        .await
    };
}

impl Decider {
    /// Takes units of an offer.
    ///
    /// # Errors
    /// [`DecideError`]; refusals are inside.
    pub async fn claim(&self, home: Home, request: ClaimRequest<'_>) -> Decided<Taken> {
        let command = start("claim", home.offer, home.epoch, 7)
            .time(self.clock())
            .none()
            .text(request.user.as_str())
            .int(request.quantity.into())
            .text_or_none(request.key.map(|key| key.as_str()))
            .text_or_none(request.attributes)
            .pass(request.pass)
            .nonce(request.nonce)
            .pass_id(request.pass);
        // With a key it answers alike however often it is asked.
        let repeat = if request.key.is_some() { Repeat::Yes } else { Repeat::No };
        read!(self, home, command.finish(), repeat, reader => {
            let (claim, replayed) = wire::claim_answer(reader, home.offer)?;
            Taken { claim: if replayed { claim.as_first_answered() } else { claim }, replayed }
        })
    }

    /// Makes a hold final, with what it grants.
    ///
    /// # Errors
    /// [`DecideError`]; refusals are inside.
    pub async fn confirm(&self, home: Home, actor: Actor<'_>, claim: ClaimId) -> Decided<Claim> {
        self.about_claim("confirm", home, actor, claim).await
    }

    /// Gives a hold back.
    ///
    /// # Errors
    /// [`DecideError`]; refusals are inside.
    pub async fn release(&self, home: Home, actor: Actor<'_>, claim: ClaimId) -> Decided<Claim> {
        self.about_claim("release", home, actor, claim).await
    }

    /// Reads a claim.
    ///
    /// # Errors
    /// [`DecideError`]; refusals are inside.
    pub async fn read_claim(&self, home: Home, actor: Actor<'_>, claim: ClaimId) -> Decided<Claim> {
        self.about_claim("read_claim", home, actor, claim).await
    }

    async fn about_claim(&self, name: &str, home: Home, actor: Actor<'_>, claim: ClaimId) -> Decided<Claim> {
        if claim.offer_number() != home.offer {
            return Ok(Err(Refusal::UnknownClaim));
        }
        let command = start(name, home.offer, home.epoch, 4).time(self.clock()).none().actor(actor);
        let command = command.int(claim.seq().into()).nonce(claim.nonce());
        read!(self, home, command.finish(), Repeat::Yes, reader => wire::claim_answer(reader, home.offer)?.0)
    }

    /// Takes a confirmed claim back.
    ///
    /// # Errors
    /// [`DecideError`]; refusals are inside.
    pub async fn take_back(&self, home: Home, claim: ClaimId, restock: Restock, audit: &Audit) -> Decided<Claim> {
        if claim.offer_number() != home.offer {
            return Ok(Err(Refusal::UnknownClaim));
        }
        let command = start("take_back", home.offer, home.epoch, 3).time(self.clock()).audit(Some(audit));
        let command = command.int(claim.seq().into()).nonce(claim.nonce()).bool(restock == Restock::Yes);
        read!(self, home, command.finish(), Repeat::Yes, reader => wire::claim_answer(reader, home.offer)?.0)
    }

    /// Joins an offer's standby.
    ///
    /// # Errors
    /// [`DecideError`]; refusals are inside.
    pub async fn join_standby(&self, home: Home, request: StandbyRequest<'_>) -> Decided<StandbyView> {
        let command = start("join_standby", home.offer, home.epoch, 4).time(self.clock()).none();
        let command = command.text(request.user.as_str()).int(request.quantity.into()).pass(request.pass).nonce(request.nonce);
        // A user has one place at a time, unless it was served at once and confirmed.
        read!(self, home, command.finish(), Repeat::No, reader => wire::view_answer(reader, home.offer)?)
    }

    /// Reads a place on standby.
    ///
    /// # Errors
    /// [`DecideError`]; refusals are inside.
    pub async fn read_standby(&self, home: Home, actor: Actor<'_>, standby: StandbyId) -> Decided<StandbyView> {
        let Some(command) = self.about_standby("read_standby", home, actor, standby) else { return Ok(Err(Refusal::UnknownStandby)) };
        read!(self, home, command, Repeat::Yes, reader => wire::view_answer(reader, home.offer)?)
    }

    /// Gives a place on standby up.
    ///
    /// # Errors
    /// [`DecideError`]; refusals are inside.
    pub async fn leave_standby(&self, home: Home, actor: Actor<'_>, standby: StandbyId) -> Decided<()> {
        let Some(command) = self.about_standby("leave_standby", home, actor, standby) else { return Ok(Err(Refusal::UnknownStandby)) };
        read!(self, home, command, Repeat::Yes, _reader => ())
    }

    fn about_standby(&self, name: &str, home: Home, actor: Actor<'_>, standby: StandbyId) -> Option<Vec<u8>> {
        let command = start(name, home.offer, home.epoch, 4).time(self.clock()).none().actor(actor);
        (standby.offer_number() == home.offer).then(|| command.int(standby.seq().into()).nonce(standby.nonce()).finish())
    }

    /// Puts a pseudonym in a user's place.
    ///
    /// # Errors
    /// [`DecideError`]; refusals are inside.
    pub async fn forget_user(&self, home: Home, request: ForgetRequest<'_>) -> Decided<Forgotten> {
        let ForgetRequest { user, pseudonym, claims, places, last } = request;
        let claims: Vec<_> = claims.iter().filter(|id| id.offer_number() == home.offer).collect();
        let places: Vec<_> = places.iter().filter(|id| id.offer_number() == home.offer).collect();
        let command = start("forget_user", home.offer, home.epoch, 5).time(self.clock()).none();
        let command = command.text(user.as_str()).text(pseudonym.as_str()).array(2 * claims.len());
        let command = claims.iter().fold(command, |command, id| command.int(id.seq().into()).nonce(id.nonce()));
        let command = places.iter().fold(command.array(2 * places.len()), |command, id| command.int(id.seq().into()).nonce(id.nonce()));
        // Asked again it finds nothing of the user's, and counts nothing.
        read!(self, home, command.bool(last).finish(), Repeat::Yes, reader => {
            Forgotten { claims: reader.number_as()?, places: reader.number_as()? }
        })
    }

    /// An offer's settings and numbers.
    ///
    /// # Errors
    /// [`DecideError`].
    pub async fn offer(&self, home: Home) -> Result<OfferState, DecideError> {
        let command = start("offer", home.offer, home.epoch, 0).time(self.clock()).none();
        let read: Decided<_> = read!(self, home, command.finish(), Repeat::Yes, reader => wire::offer_answer(reader)?);
        let (settings, stock, next_deadline) = read?.map_err(|_| Malformed("reading an offer was refused"))?;
        Ok(OfferState { settings, stock, next_deadline })
    }

    /// Creates an offer with its first event, under the epoch and tag of `home`; its number has been given to nothing else. The caller has
    /// checked the settings.
    ///
    /// # Errors
    /// [`DecideError::Exists`] and the rest.
    pub async fn create(&self, home: Home, settings: &OfferSettings, audit: &Audit) -> Result<(), DecideError> {
        self.create_as(home, settings, Some(audit), false).await
    }

    /// Creates an offer that is suspended and has nothing, to be filled with [`Self::load`].
    ///
    /// # Errors
    /// [`DecideError::Exists`] and the rest.
    pub async fn create_suspended(&self, home: Home, settings: &OfferSettings) -> Result<(), DecideError> {
        self.create_as(home, settings, None, true).await
    }

    async fn create_as(&self, home: Home, settings: &OfferSettings, audit: Option<&Audit>, suspended: bool) -> Result<(), DecideError> {
        let obeys_clock = matches!(self.options.clock, DeciderClock::Manual(_));
        let command = start("create", home.offer, home.epoch, 3).time(self.clock()).audit(audit);
        self.plainly(home, command.settings(settings).bool(obeys_clock).bool(suspended).finish(), Repeat::No).await
    }

    /// Replaces an offer's settings.
    ///
    /// # Errors
    /// [`DecideError::Conflict`] and the rest; refusals are inside.
    pub async fn define(&self, home: Home, settings: &OfferSettings, if_revision: Option<u32>, audit: &Audit) -> Decided<()> {
        let command = start("define", home.offer, home.epoch, 2).time(self.clock()).audit(Some(audit));
        let command = command.settings(settings).int_or_none(if_revision.map(Into::into));
        read!(self, home, command.finish(), Repeat::No, _reader => ())
    }

    /// Adds or removes units of an offer.
    ///
    /// # Errors
    /// [`DecideError`]; refusals are inside.
    pub async fn restock(&self, home: Home, delta: i64, audit: &Audit) -> Decided<()> {
        // Further than any quantity goes, and exact in Lua.
        let delta = delta.clamp(-(1 << 40), 1 << 40);
        let command = start("restock", home.offer, home.epoch, 1).time(self.clock()).audit(Some(audit)).int(delta);
        read!(self, home, command.finish(), Repeat::No, _reader => ())
    }

    /// Ends an offer now.
    ///
    /// # Errors
    /// [`DecideError`]; refusals are inside.
    pub async fn close(&self, home: Home, audit: &Audit) -> Decided<()> {
        let command = start("close", home.offer, home.epoch, 0).time(self.clock()).audit(Some(audit));
        read!(self, home, command.finish(), Repeat::Yes, _reader => ())
    }

    /// Deletes an offer that nobody has anything of. [`Self::forget`] frees its memory.
    ///
    /// # Errors
    /// [`DecideError`]; refusals are inside.
    pub async fn delete(&self, home: Home, audit: &Audit) -> Decided<()> {
        let command = start("delete", home.offer, home.epoch, 0).time(self.clock()).audit(Some(audit));
        read!(self, home, command.finish(), Repeat::No, _reader => ())
    }

    /// Stops all decisions about an offer under a new epoch, which must not be lower than the one it has.
    ///
    /// # Errors
    /// [`DecideError`].
    pub async fn suspend(&self, home: Home, epoch: u32) -> Result<(), DecideError> {
        let command = start("suspend", home.offer, home.epoch, 1).none().none().int(epoch.into());
        self.plainly(home, command.finish(), Repeat::Yes).await
    }

    /// Lets an offer go on under the epoch of `home`, if its state is still that of `version`.
    ///
    /// # Errors
    /// [`DecideError::Suspended`]: it has another version, or is broken; and the rest.
    pub async fn resume(&self, home: Home, version: u64) -> Result<(), DecideError> {
        let version = i64::try_from(version).map_err(|_| Malformed("a version is out of range"))?;
        let command = start("resume", home.offer, home.epoch, 1).none().none().int(version);
        self.plainly(home, command.finish(), Repeat::Yes).await
    }

    /// Removes a deleted or suspended offer from Redis. Entries of its outbox must have been shipped.
    ///
    /// # Errors
    /// [`DecideError::Exists`] while it is neither.
    pub async fn forget(&self, home: Home) -> Result<(), DecideError> {
        self.plainly(home, start("forget", home.offer, home.epoch, 0).none().none().finish(), Repeat::Yes).await
    }

    /// Makes a suspended offer's state what events say, in any order; versions that are not higher change nothing. The offer's version is
    /// afterwards the highest that was told, so what is loaded in pieces has none but in the last one.
    ///
    /// # Errors
    /// [`DecideError::Suspended`]: it is not suspended, or Redis is another one than when it was created; and the rest.
    pub async fn load(&self, home: Home, events: &[OfferEvent]) -> Result<(), DecideError> {
        for events in events.chunks(LOAD_MOST) {
            let mut command = start("load", home.offer, home.epoch, 1).none().none().array(4 * events.len());
            for event in events {
                let version = i64::try_from(event.version).map_err(|_| Malformed("a version is out of range"))?;
                command = match &event.change {
                    OfferChange::Defined(settings) => command.int(0).int(version).int(0).settings(settings),
                    OfferChange::Claim(claim) => command.int(1).int(version).int(claim.id.seq().into()).claim(claim),
                    OfferChange::Standby(place) => command.int(2).int(version).int(place.id.seq().into()).standby(place),
                    OfferChange::Deleted => command.int(3).int(version).int(0).none(),
                };
            }
            self.plainly(home, command.finish(), Repeat::Yes).await?;
        }
        Ok(())
    }

    /// Claims from sequence number `from` on, in their order, and where to go on. For reconciliation.
    ///
    /// # Errors
    /// [`DecideError`].
    pub async fn claims_from(&self, home: Home, from: u32, most: u32) -> Result<(Vec<Claim>, Option<u32>), DecideError> {
        let command = start("claims", home.offer, home.epoch, 2).none().none().int(from.into()).int(most.min(CLAIMS_MOST).into());
        let read: Decided<_> = read!(self, home, command.finish(), Repeat::Freely, reader => wire::claims_answer(reader, home.offer)?);
        Ok(read?.map_err(|_| Malformed("reading claims was refused"))?)
    }

    /// Where the states of several offers of one tag stand, in one run, also while they are suspended. None: Redis knows no such offer.
    ///
    /// # Errors
    /// [`DecideError`].
    pub async fn versions(&self, tag: u32, offers: &[u32]) -> Result<Vec<Option<Standing>>, DecideError> {
        let command = start("standings", tag, 0, 1).none().none().array(offers.len());
        let command = offers.iter().fold(command, |command, offer| command.int((*offer).into())).finish();
        let answer = self.ask_about(Of::Offer(tag), tag, offers.to_vec(), command, Repeat::Freely, Until::Decided).await?;
        let mut reader = done(&answer, tag)?.map_err(|_| Malformed("reading standings was refused"))?;
        Ok((0..reader.array()?).map(|_| reader.standing()).collect::<Result<_, _>>()?)
    }

    async fn ask_offer(&self, home: Home, command: Vec<u8>, repeat: Repeat) -> Result<Vec<u8>, DecideError> {
        self.ask_about(Of::Offer(home.tag), home.offer, Vec::new(), command, repeat, Until::Shipped).await
    }

    /// A command that the rules have no say in.
    async fn plainly(&self, home: Home, command: Vec<u8>, repeat: Repeat) -> Result<(), DecideError> {
        let answer = self.ask_offer(home, command, repeat).await?;
        done(&answer, home.offer)?.map(|_| ()).map_err(|_| DecideError::Exists)
    }
}

/// Whether an answer says that nothing was found to read.
fn done(answer: &[u8], offer: u32) -> Result<Result<Reader<'_>, Refusal>, DecideError> {
    match wire::verdict(answer, offer)? {
        Verdict::Done(reader) => Ok(Ok(reader)),
        Verdict::Refused(refusal) => Ok(Err(refusal)),
        Verdict::Unknown => Err(DecideError::UnknownOffer),
        Verdict::Suspended | Verdict::Stale => Err(DecideError::Suspended),
        Verdict::Epoch(current) => Err(DecideError::Epoch { current }),
        Verdict::Overloaded => Err(DecideError::Overloaded),
        Verdict::Again => Err(DecideError::Unavailable("more is due than could be settled".into())),
        Verdict::Clock => Err(DecideError::Clock),
        Verdict::Conflict(current) => Err(DecideError::Conflict { current }),
        Verdict::Exists => Err(DecideError::Exists),
    }
}
