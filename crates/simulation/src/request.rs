//! What clients, operators and the ticker ask of an engine, as values that can be sent, sent again, and lost.

use bunho_domain::claim::Claim;
use bunho_domain::ids::{ClaimId, IdempotencyKey, OfferId, StandbyId, UserId, ZoneId};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::settings::OfferSettings;
use bunho_domain::offer::{Actor, ClaimRequest, Pass, Restock, StandbyRequest, StandbyView, Stock, Taken};
use bunho_engine::{Decided, EngineError, Entry};
use bunho_journal::Audit;
use std::future::Future;
use std::pin::Pin;

use crate::machine::Node;

/// One request.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is the engine's method of the same name, with its arguments")]
pub enum Request {
    Claim {
        offer: OfferId,
        user: UserId,
        quantity: u32,
        key: Option<IdempotencyKey>,
        attributes: Option<&'static str>,
    },
    Confirm {
        claim: ClaimId,
        by: Option<UserId>,
    },
    Release {
        claim: ClaimId,
        by: Option<UserId>,
    },
    TakeBack {
        claim: ClaimId,
        restock: Restock,
    },
    ReadClaim {
        claim: ClaimId,
        by: Option<UserId>,
    },
    JoinStandby {
        offer: OfferId,
        user: UserId,
        quantity: u32,
    },
    ReadStandby {
        place: StandbyId,
    },
    LeaveStandby {
        place: StandbyId,
    },
    ReadOffer {
        offer: OfferId,
    },
    PutOffer {
        settings: Box<OfferSettings>,
    },
    Restock {
        offer: OfferId,
        delta: i64,
    },
    CloseOffer {
        offer: OfferId,
    },
    Join {
        zone: ZoneId,
        visitor: u64,
        key: Option<String>,
    },
    /// Of a ticket that was told to have ended, where `knock` says so.
    Poll {
        zone: ZoneId,
        visitor: u64,
        token: String,
        knock: bool,
    },
    Leave {
        zone: ZoneId,
        visitor: u64,
        token: String,
    },
    PutZone {
        settings: Box<ZoneSettings>,
    },
    PauseZone {
        zone: ZoneId,
        paused: bool,
    },
    ResetZone {
        zone: ZoneId,
    },
    Tick,
}

/// What came back.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is what the engine's methods return")]
pub enum Answer {
    Taken(Decided<Taken>),
    Changed(Decided<Claim>),
    Place(Decided<StandbyView>),
    Done(Decided<()>),
    Offer(Box<Result<(OfferSettings, Stock), EngineError>>),
    Defined(Decided<bool>),
    Entry(Box<Result<Entry, EngineError>>),
    Left(Result<(), EngineError>),
    Zone(Result<(), EngineError>),
    Ticked,
}

/// A request under way.
pub type UnderWay = Pin<Box<dyn Future<Output = Answer>>>;

fn audit() -> Audit {
    Audit { actor: "operator".into(), action: "change".into(), target: "it".into(), detail: None, request_id: None }
}

fn actor(by: Option<&UserId>) -> Actor<'_> {
    by.map_or(Actor::Service(None), Actor::User)
}

/// Sends a request. Nothing happens before the future is polled.
#[must_use]
pub fn send(node: &Node, request: Request, nonce: u64) -> UnderWay {
    let engine = node.engine.clone();
    let embedded = node.embedded.clone();
    Box::pin(async move {
        match request {
            Request::Claim { offer, user, quantity, key, attributes } => {
                let request = ClaimRequest { user: &user, quantity, key: key.as_ref(), attributes, pass: Pass::Missing, nonce };
                Answer::Taken(engine.claim(&offer, request).await)
            }
            Request::Confirm { claim, by } => Answer::Changed(engine.confirm(actor(by.as_ref()), claim).await),
            Request::Release { claim, by } => Answer::Changed(engine.release(actor(by.as_ref()), claim).await),
            Request::TakeBack { claim, restock } => Answer::Changed(engine.take_back(claim, restock, audit()).await),
            Request::ReadClaim { claim, by } => Answer::Changed(engine.read_claim(actor(by.as_ref()), claim).await),
            Request::JoinStandby { offer, user, quantity } => {
                let request = StandbyRequest { user: &user, quantity, pass: Pass::Missing, nonce };
                Answer::Place(engine.join_standby(&offer, request).await)
            }
            Request::ReadStandby { place } => Answer::Place(engine.read_standby(Actor::Service(None), place).await),
            Request::LeaveStandby { place } => Answer::Done(engine.leave_standby(Actor::Service(None), place).await),
            Request::ReadOffer { offer } => Answer::Offer(Box::new(engine.offer(&offer).await)),
            Request::PutOffer { settings } => Answer::Defined(engine.put_offer(*settings, None, audit()).await),
            Request::Restock { offer, delta } => Answer::Done(engine.restock(&offer, delta, audit()).await),
            Request::CloseOffer { offer } => Answer::Done(engine.close_offer(&offer, audit()).await),
            Request::Join { zone, key, .. } => Answer::Entry(Box::new(engine.join(&zone, key.as_deref()).await)),
            Request::Poll { zone, token, .. } => Answer::Entry(Box::new(engine.poll(&zone, &token).await)),
            Request::Leave { zone, token, .. } => Answer::Left(engine.leave(&zone, &token).await),
            Request::PutZone { settings } => Answer::Zone(engine.put_zone(*settings, None, audit()).await.map(drop)),
            Request::PauseZone { zone, paused } => Answer::Zone(engine.pause_zone(&zone, paused, audit()).await),
            Request::ResetZone { zone } => Answer::Zone(engine.reset_zone(&zone, audit()).await),
            Request::Tick => {
                embedded.tick_once().await;
                Answer::Ticked
            }
        }
    })
}
