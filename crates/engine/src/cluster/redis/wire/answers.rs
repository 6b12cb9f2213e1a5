//! What the script says to commands: of offers, and as far as a tag's task reads them, of zones.

use super::{Malformed, Reader};
use bunho_domain::claim::Claim;
use bunho_domain::ids::ClaimId;
use bunho_domain::offer::refusal::Refusal;
use bunho_domain::offer::settings::OfferSettings;
use bunho_domain::offer::{OfferState, StandbyView, Stock};
use bunho_domain::time::Millis;

/// Done, with what follows, or done with nothing.
const DONE: i64 = 0;
/// Refused by a rule, with which.
const REFUSED: i64 = 1;
/// More is due than one run may settle.
const AGAIN: i64 = 6;

/// What the script said to one command, of offers or of a zone: its number, and its own part.
fn said(packed: &[u8]) -> Result<(i64, Reader<'_>), Malformed> {
    let mut reader = Reader::new(packed);
    reader.array()?;
    Ok((reader.int()?, reader))
}

/// The command's own part, if it was done.
pub(in crate::cluster::redis) fn done(packed: &[u8]) -> Option<Reader<'_>> {
    said(packed).ok().filter(|(number, _)| *number == DONE).map(|(_, reader)| reader)
}

/// Whether the rules had their say: it was done or refused, and not that nothing could be decided.
pub(in crate::cluster::redis) fn is_decided(packed: &[u8]) -> bool {
    said(packed).is_ok_and(|(number, _)| matches!(number, DONE | REFUSED))
}

/// Whether it is to be asked again.
pub(in crate::cluster::redis) fn is_again(packed: &[u8]) -> bool {
    said(packed).is_ok_and(|(number, _)| number == AGAIN)
}

/// What the script said to one command, before its own part.
pub(in crate::cluster::redis) enum Verdict<'a> {
    /// Done; what follows is the command's own.
    Done(Reader<'a>),
    Refused(Refusal),
    /// There is no such offer in Redis.
    Unknown,
    Suspended,
    /// The offer has another epoch.
    Epoch(u32),
    Overloaded,
    /// More is due than one run may settle.
    Again,
    /// A clock was given for an offer that was not created for it.
    Clock,
    Conflict(u32),
    Exists,
    /// Redis knows an older version of the offer than the journal.
    Stale,
}

pub(in crate::cluster::redis) fn verdict(packed: &[u8], offer: u32) -> Result<Verdict<'_>, Malformed> {
    let (number, mut reader) = said(packed)?;
    Ok(match number {
        DONE => Verdict::Done(reader),
        REFUSED => Verdict::Refused(refusal(&mut reader, offer)?),
        2 => Verdict::Unknown,
        3 => Verdict::Suspended,
        4 => Verdict::Epoch(reader.number_as()?),
        5 => Verdict::Overloaded,
        AGAIN => Verdict::Again,
        7 => Verdict::Clock,
        8 => Verdict::Conflict(reader.number_as()?),
        9 => Verdict::Exists,
        10 => Verdict::Stale,
        _ => return Err(Malformed("no answer has this number")),
    })
}

fn refusal(reader: &mut Reader<'_>, offer: u32) -> Result<Refusal, Malformed> {
    Ok(match reader.int()? {
        0 => Refusal::NotOpen { opens_at: Millis(reader.int()?) },
        1 => Refusal::Closed,
        2 => Refusal::PassRequired,
        3 => Refusal::PassInvalid,
        4 => Refusal::Forbidden,
        5 => {
            let pairs = reader.array()? / 2;
            let mut claims = Vec::with_capacity(pairs.min(bunho_domain::limits::REFUSAL_CLAIMS_MAX));
            for _ in 0..pairs {
                claims.push(ClaimId::new(offer, reader.number_as()?, reader.nonce()?));
            }
            Refusal::LimitReached { claims }
        }
        6 => Refusal::QuantityInvalid { min: reader.number_as()?, max: reader.number_as()? },
        7 => Refusal::SoldOut { standby_possible: reader.bool()?, held: reader.number_as()?, remaining: reader.number_as()? },
        8 => Refusal::KeyReused,
        9 => Refusal::NotHeld { status: reader.status()? },
        10 => Refusal::DeadlinePassed,
        11 => Refusal::UnknownClaim,
        12 => Refusal::UnknownStandby,
        13 => Refusal::NoStandby,
        14 => Refusal::QuantityTaken { taken: reader.number_as()? },
        15 => Refusal::InUse,
        16 => Refusal::PassUsed,
        _ => return Err(Malformed("no refusal has this number")),
    })
}

/// A claim in an answer, and whether it answers an earlier request with the same key.
pub(in crate::cluster::redis) fn claim_answer(reader: &mut Reader<'_>, offer: u32) -> Result<(Claim, bool), Malformed> {
    let seq = reader.number_as()?;
    let claim = Reader::new(reader.bytes()?).claim(offer, seq)?;
    Ok((claim, reader.bool()?))
}

pub(in crate::cluster::redis) fn view_answer(reader: &mut Reader<'_>, offer: u32) -> Result<StandbyView, Malformed> {
    let seq = reader.number_as()?;
    let standby = Reader::new(reader.bytes()?).standby(offer, seq)?;
    Ok(StandbyView { standby, position: reader.number_as()? })
}

/// An offer's settings, its offer, and when it should next be settled.
pub(in crate::cluster::redis) fn offer_answer(reader: &mut Reader<'_>) -> Result<(OfferSettings, Stock, Option<Millis>), Malformed> {
    let settings = Reader::new(reader.bytes()?).settings()?;
    let (remaining, held, confirmed, standby) = (reader.number_as()?, reader.number_as()?, reader.number_as()?, reader.number_as()?);
    let version = reader.number_as()?;
    let state = match reader.int()? {
        0 => OfferState::NotOpen,
        1 => OfferState::Open,
        2 => OfferState::SoldOut,
        3 => OfferState::Closed,
        _ => return Err(Malformed("no state has this number")),
    };
    let stock = Stock { quantity: settings.quantity, remaining, held, confirmed, standby, version, state };
    Ok((settings, stock, reader.time()?))
}

/// Claims in their order, and the sequence number to go on from.
pub(in crate::cluster::redis) fn claims_answer(reader: &mut Reader<'_>, offer: u32) -> Result<(Vec<Claim>, Option<u32>), Malformed> {
    let mut claims = Vec::new();
    for _ in 0..reader.array()? / 2 {
        let seq = reader.number_as()?;
        claims.push(Reader::new(reader.bytes()?).claim(offer, seq)?);
    }
    let more = reader.int_or_none()?.map(u32::try_from).transpose().map_err(|_| Malformed("a number is out of range"))?;
    Ok((claims, more))
}
