//! A journal in a temporary folder and a ledger on the chosen database, and short ways to say what happened.

use crate::backend::{Backend, Shell};
use bunho_domain::claim::{Claim, Standby, StandbyStatus, Status};
use bunho_domain::event::{Event, OfferChange, OfferEvent, TicketNumber, ZoneChange, ZoneEvent};
use bunho_domain::ids::{AppId, ClaimId, IdempotencyKey, OfferId, StandbyId, UserId, ZoneId};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::settings::{Kind, OfferSettings};
use bunho_domain::time::Millis;
use bunho_journal::{Audit, Journal};
use bunho_ledger::{Ledger, Place, Projector};
use tempfile::TempDir;

/// 2026-01-01T00:00:00.000Z.
pub const START: Millis = Millis(1_767_225_600_000);

pub struct World {
    pub journal: Journal,
    pub ledger: Ledger,
    pub dir: TempDir,
}

impl World {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let place = Backend::chosen().place(dir.path()).await;
        Self::at(dir, &place).await
    }

    /// One whose ledger is at a place.
    pub async fn at(dir: TempDir, place: &Place) -> Self {
        let journal = Journal::open(&dir.path().join("journal")).expect("a journal");
        let ledger = Ledger::open(place).await.expect("a ledger");
        Self { journal, ledger, dir }
    }

    /// Appends one record for each event, durably.
    pub async fn happened(&self, events: impl IntoIterator<Item = Event>) {
        let commits: Vec<_> = events.into_iter().map(|event| self.journal.append(at_of(&event), &[event], None)).collect();
        if let Some(last) = commits.last() {
            last.durable().await.expect("durable");
        }
    }

    /// Appends one record with someone's name on it.
    pub async fn done_by(&self, audit: &Audit, events: &[Event]) {
        self.journal.append(START, events, Some(audit)).durable().await.expect("durable");
    }

    /// A projector that has projected everything durable.
    pub async fn projected(&self) -> Projector {
        let projector = Projector::new(self.ledger.clone(), self.journal.clone());
        projector.run(async {}).await;
        assert!(projector.healthy());
        assert_eq!(*self.ledger.projected().borrow(), self.journal.durable());
        projector
    }

    /// A connection as a shell would have it.
    pub async fn shell(&self) -> Shell {
        Shell::to(self.ledger.place()).await
    }

    /// The answer to a statement, a row a line, columns with `|` between them.
    pub async fn sql(&self, statement: &str) -> Vec<String> {
        self.shell().await.lines(statement).await
    }

    /// Everything that must not change when events are repeated.
    pub async fn everything(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for statement in [
            "SELECT * FROM offers ORDER BY number",
            "SELECT * FROM zones ORDER BY number",
            "SELECT * FROM claims ORDER BY id",
            "SELECT * FROM claim_rows ORDER BY place",
            "SELECT claim_id, version, offer_id, status, quantity, at FROM claim_events ORDER BY claim_id, version",
            "SELECT * FROM standby ORDER BY id",
            "SELECT * FROM tickets ORDER BY zone_number, epoch, seq",
            "SELECT * FROM zone_minutes ORDER BY zone_id, minute",
        ] {
            lines.extend(self.sql(statement).await);
        }
        lines
    }
}

fn at_of(event: &Event) -> Millis {
    match event {
        Event::Offer(OfferEvent { change: OfferChange::Claim(claim), .. }) => claim.updated_at,
        Event::Zone(ZoneEvent { change: ZoneChange::Admitted { at, .. } | ZoneChange::Left { at, .. }, .. }) => *at,
        _ => START,
    }
}

pub fn user(name: &str) -> UserId {
    UserId::parse(name).expect("a user")
}

pub fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::parse(text).expect("a key")
}

pub fn offer_id(text: &str) -> OfferId {
    OfferId::parse(text).expect("an offer id")
}

pub fn zone_id(text: &str) -> ZoneId {
    ZoneId::parse(text).expect("a zone id")
}

pub fn goods(id: &str, quantity: u32) -> OfferSettings {
    OfferSettings::new(offer_id(id), AppId::parse("shop").expect("an app"), Kind::Goods, quantity)
}

pub fn zone(id: &str) -> ZoneSettings {
    ZoneSettings::new(zone_id(id), AppId::parse("shop").expect("an app"), Some(600))
}

pub fn defined(offer: u32, version: u64, settings: OfferSettings) -> Event {
    Event::Offer(OfferEvent { offer, version, change: OfferChange::Defined(Box::new(settings)) })
}

pub fn offer_deleted(offer: u32, version: u64) -> Event {
    Event::Offer(OfferEvent { offer, version, change: OfferChange::Deleted })
}

pub fn zoned(zone: u32, change: ZoneChange) -> Event {
    Event::Zone(ZoneEvent { zone, change })
}

pub fn ticket(seq: u32) -> TicketNumber {
    TicketNumber { epoch: 1, seq }
}

/// The event that a claim is now so.
pub fn now(version: u64, claim: &Claim) -> Event {
    Event::Offer(OfferEvent { offer: claim.id.offer_number(), version, change: OfferChange::Claim(Box::new(claim.clone())) })
}

pub fn standby_now(version: u64, standby: &Standby) -> Event {
    Event::Offer(OfferEvent { offer: standby.id.offer_number(), version, change: OfferChange::Standby(Box::new(standby.clone())) })
}

pub fn standby(offer: u32, seq: u32, name: &str) -> Standby {
    Standby {
        id: StandbyId::new(offer, seq, 5),
        user: user(name),
        quantity: 1,
        status: StandbyStatus::Waiting,
        version: 1,
        created_at: START,
        updated_at: START,
        claim: None,
    }
}

/// A hold of one unit, taken `seq` milliseconds after the start.
pub fn held(offer: u32, seq: u32, name: &str) -> Claim {
    let at = START.plus_ms(seq.into());
    Claim {
        id: ClaimId::new(offer, seq, 7),
        user: user(name),
        quantity: 1,
        status: Status::Held,
        version: 1,
        key: None,
        attributes: None,
        created_at: at,
        updated_at: at,
        hold_expires_at: Some(at.plus_seconds(300)),
        ordinal: None,
        granted: None,
    }
}

/// The same claim one version later.
pub fn then(claim: &Claim, status: Status) -> Claim {
    Claim { status, version: claim.version + 1, updated_at: claim.updated_at.plus_ms(10), ..claim.clone() }
}

/// The same claim as one of a user's limited places.
pub fn place(claim: Claim, ordinal: u32) -> Claim {
    Claim { ordinal: Some(ordinal), ..claim }
}

/// A small generator of repeatable accidents: xorshift64*.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % u64::from(bound)) as u32
    }
}

pub fn audit(action: &str) -> Audit {
    Audit { actor: "ops".into(), action: action.into(), target: "summer".into(), detail: None, request_id: Some("r-1".into()) }
}
