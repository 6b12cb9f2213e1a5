//! Random histories: the script must decide exactly as the domain does. Outcomes, records with their versions, times and audit, numbers and every
//! claim are compared.
//!
//! A failure prints the seed and shrinks to a short history. `PROPTEST_CASES` makes it longer.

use crate::pair::{self, Model, shipped};
use crate::redis::{audit, offer_settings, open, patient, resume, seeds};
use bunho_domain::event::{OfferChange, TicketNumber};
use bunho_domain::ids::{ClaimId, IdempotencyKey, OfferId, StandbyId, UserId, ZoneId};
use bunho_domain::limits::FORGET_MOST;
use bunho_domain::offer::once::PassId;
use bunho_domain::offer::settings::{ConfirmBy, Kind, OfferSettings};
use bunho_domain::offer::{Actor, ClaimRequest, ForgetRequest, Pass, Restock, StandbyRequest, Stock};
use bunho_domain::time::Millis;
use bunho_engine::cluster::redis::{DecideError, Decider, DeciderClock, DeciderOptions, Home, MemoryJournal};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

#[derive(Clone, Debug)]
enum Command {
    Claim {
        offer: usize,
        user: u8,
        quantity: u32,
        key: Option<u8>,
        attributes: bool,
        pass: u8,
    },
    Confirm(usize, Index, Who),
    Release(usize, Index, Who),
    Read(usize, Index, Who),
    TakeBack(usize, Index, bool),
    Join {
        offer: usize,
        user: u8,
        quantity: u32,
        pass: u8,
    },
    ReadStandby(usize, Index, Who),
    Leave(usize, Index, Who),
    Restock(usize, i64),
    Edit {
        offer: usize,
        terms: Terms,
        if_revision: Option<u32>,
    },
    Close(usize),
    Forget(usize, u8),
    Delete(usize),
    Settle(usize),
    Advance(i64),
    /// The state is thrown away and loaded from the events, as after a loss of Redis.
    Rebuild(usize),
}

/// Passes below are valid ones.
const MISSING: u8 = 8;
const INVALID: u8 = 9;

#[derive(Clone, Copy, Debug)]
enum Who {
    Anybody,
    Service(u8),
    User(u8),
}

#[derive(Clone, Debug)]
struct Terms {
    quantity: u32,
    limit: Option<u32>,
    least: u32,
    hold_seconds: u32,
    standby: bool,
    standby_hold_seconds: u32,
    opens_in_ms: Option<i64>,
    closes_in_ms: Option<i64>,
    zone: bool,
    pass_once: bool,
    grants: bool,
    grant_only: bool,
    user_confirms: bool,
    price: u64,
}

fn terms() -> impl Strategy<Value = Terms> {
    let counts = (0..8_u32, proptest::option::of(1..4_u32), prop_oneof![4 => Just(1_u32), 1 => Just(2)], 0..3_u32, 0..3_u32);
    let times = (proptest::option::weighted(0.2, 0..2_000_i64), proptest::option::weighted(0.3, 2_000..20_000_i64));
    let choices = (
        any::<bool>(),
        (proptest::bool::weighted(0.2), proptest::bool::weighted(0.3)),
        proptest::bool::weighted(0.8),
        proptest::bool::weighted(0.1),
        any::<bool>(),
    );
    (counts, times, choices, 0..=i64::MAX as u64).prop_map(|(counts, times, choices, price)| Terms {
        quantity: counts.0,
        limit: counts.1,
        least: counts.2,
        hold_seconds: counts.3,
        standby_hold_seconds: counts.4,
        opens_in_ms: times.0,
        closes_in_ms: times.1,
        // As the settings' own check has it.
        standby: choices.0 && !choices.1.1,
        zone: choices.1.0 || choices.1.1,
        pass_once: choices.1.1,
        grants: choices.2,
        grant_only: choices.3,
        user_confirms: choices.4,
        price,
    })
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![4 => Just(Who::Anybody), 1 => (0..4_u8).prop_map(Who::Service), 2 => (0..4_u8).prop_map(Who::User)]
}

fn command() -> impl Strategy<Value = Command> {
    let offer = || prop_oneof![3 => Just(0_usize), 1 => Just(1)];
    let index = any::<Index>;
    let pass = || prop_oneof![8 => 0..4_u8, 1 => Just(MISSING), 1 => Just(INVALID)];
    prop_oneof![
        10 => (offer(), 0..4_u8, 0..5_u32, proptest::option::of(0..3_u8), any::<bool>(), pass())
            .prop_map(|(offer, user, quantity, key, attributes, pass)| Command::Claim { offer, user, quantity, key, attributes, pass }),
        5 => (offer(), index(), who()).prop_map(|(offer, index, who)| Command::Confirm(offer, index, who)),
        4 => (offer(), index(), who()).prop_map(|(offer, index, who)| Command::Release(offer, index, who)),
        1 => (offer(), index(), who()).prop_map(|(offer, index, who)| Command::Read(offer, index, who)),
        2 => (offer(), index(), any::<bool>()).prop_map(|(offer, index, restock)| Command::TakeBack(offer, index, restock)),
        6 => (offer(), 0..4_u8, 0..4_u32, pass()).prop_map(|(offer, user, quantity, pass)| Command::Join { offer, user, quantity, pass }),
        1 => (offer(), index(), who()).prop_map(|(offer, index, who)| Command::ReadStandby(offer, index, who)),
        1 => (offer(), index(), who()).prop_map(|(offer, index, who)| Command::Leave(offer, index, who)),
        2 => (offer(), prop_oneof![8 => -3..4_i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN)])
            .prop_map(|(offer, delta)| Command::Restock(offer, delta)),
        1 => (offer(), terms(), proptest::option::weighted(0.3, 1..4_u32))
            .prop_map(|(offer, terms, if_revision)| Command::Edit { offer, terms, if_revision }),
        1 => offer().prop_map(Command::Close),
        2 => (offer(), 0..4_u8).prop_map(|(offer, user)| Command::Forget(offer, user)),
        1 => offer().prop_map(Command::Delete),
        1 => offer().prop_map(Command::Settle),
        7 => prop_oneof![Just(1), Just(999), Just(1_000), 0..5_000_i64].prop_map(Command::Advance),
        1 => offer().prop_map(Command::Rebuild),
    ]
}

/// A history of some 30 commands with two reads after each takes some 50 ms.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(96)
}

#[test]
fn the_script_decides_as_the_domain() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clock = Arc::new(AtomicI64::new(1_800_000_000_000));
    let options = DeciderOptions { clock: DeciderClock::Manual(clock.clone()), ..patient(seeds()) };
    let (cluster, journal) = runtime.block_on(open(options));
    let mut runner = TestRunner::new(Config { cases: cases(), ..Config::default() });
    let histories = (terms(), terms(), prop::collection::vec(command(), 1..60));
    let result = runner.run(&histories, |(stay, thanks, commands)| {
        let history = runtime.block_on(History::new(&cluster, &journal, &clock, stay, thanks));
        runtime.block_on(history.run(commands));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn settings(id: &str, kind: Kind, terms: &Terms, now: Millis) -> OfferSettings {
    let mut settings = offer_settings(id, kind, terms.quantity);
    settings.name = "숙박 \"stay\"".into();
    settings.per_user_limit = terms.limit;
    settings.min_per_claim = terms.least;
    settings.max_per_claim = 3;
    settings.hold_seconds = terms.hold_seconds;
    settings.standby = terms.standby;
    settings.standby_hold_seconds = terms.standby_hold_seconds;
    settings.opens_at = terms.opens_in_ms.map(|ms| now.plus_ms(ms));
    settings.closes_at = terms.closes_in_ms.map(|ms| now.plus_ms(ms));
    settings.zone = terms.zone.then(|| ZoneId::parse("zone").unwrap());
    settings.pass_once = terms.pass_once;
    settings.check().unwrap();
    settings.grants = (kind == Kind::Booking && terms.grants).then(|| OfferId::parse("thanks").unwrap());
    settings.grant_only = terms.grant_only;
    settings.confirm_by = if terms.user_confirms { ConfirmBy::User } else { ConfirmBy::Service };
    settings.unit_price = terms.price;
    settings
}

fn user_id(user: u8) -> UserId {
    UserId::parse(&format!("u{user} 김")).unwrap()
}

fn pass_of(pass: u8) -> Pass {
    match pass {
        MISSING => Pass::Missing,
        INVALID => Pass::Invalid,
        // The last has the longest name that there is.
        3 => Pass::Valid(PassId { zone_number: u32::MAX, ticket: TicketNumber { epoch: u32::MAX, seq: u32::MAX } }),
        seq => Pass::Valid(PassId { zone_number: 7, ticket: TicketNumber { epoch: 1, seq: seq.into() } }),
    }
}

struct History<'a> {
    cluster: &'a Decider,
    journal: &'a MemoryJournal,
    clock: &'a AtomicI64,
    model: Model,
    homes: [Home; 2],
    claims: [Vec<ClaimId>; 2],
    standby: [Vec<StandbyId>; 2],
    nonces: u64,
}

fn same<T: PartialEq + Debug>(told: Result<T, DecideError>, wanted: Option<T>, what: &dyn Debug) {
    match (told, wanted) {
        (Err(DecideError::UnknownOffer), None) => {}
        (Ok(told), Some(wanted)) => assert_eq!(told, wanted, "{what:?}"),
        (told, wanted) => panic!("{what:?}: told {told:?}, wanted {wanted:?}"),
    }
}

impl<'a> History<'a> {
    async fn new(cluster: &'a Decider, journal: &'a MemoryJournal, clock: &'a AtomicI64, stay: Terms, thanks: Terms) -> Self {
        let now = Millis(clock.load(Ordering::Relaxed));
        let both = [settings("stay", Kind::Booking, &stay, now), settings("thanks", Kind::Coupon, &thanks, now)];
        let (model, homes) = pair::create(cluster, both, now).await;
        Self { cluster, journal, clock, model, homes, claims: Default::default(), standby: Default::default(), nonces: 0 }
    }

    fn now(&self) -> Millis {
        Millis(self.clock.load(Ordering::Relaxed))
    }

    /// All bits of an id's random part are used.
    fn nonce(&mut self) -> u64 {
        self.nonces += 1;
        self.nonces.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    async fn run(mut self, commands: Vec<Command>) {
        for command in commands {
            self.step(&command).await;
            self.compare(&command).await;
        }
        let wanted = self.model.records;
        assert_eq!(shipped(self.journal, self.homes[0].tag), wanted, "the outbox has every record once, in order");
    }

    async fn step(&mut self, command: &Command) {
        let now = self.now();
        let by = audit();
        match command {
            Command::Claim { .. } => self.claim(command).await,
            Command::Join { .. } => self.join(command).await,
            Command::Confirm(offer, index, who) | Command::Release(offer, index, who) | Command::Read(offer, index, who) => {
                let (id, user, home) = (self.pick_claim(*offer, *index), user_of(*who), self.homes[*offer]);
                let actor = actor(*who, &user);
                let (told, wanted) = match command {
                    Command::Confirm(..) => {
                        let wanted = self.model.decide(*offer, now, None, |offer, step| offer.confirm(actor, id, step));
                        (self.cluster.confirm(home, actor, id).await, wanted)
                    }
                    Command::Release(..) => {
                        let wanted = self.model.decide(*offer, now, None, |offer, step| offer.release(actor, id, step));
                        (self.cluster.release(home, actor, id).await, wanted)
                    }
                    _ => {
                        let wanted = self.model.decide(*offer, now, None, |offer, step| offer.claim_by_id(actor, id, step));
                        (self.cluster.read_claim(home, actor, id).await, wanted)
                    }
                };
                same(told, wanted, command);
            }
            Command::TakeBack(offer, index, restock) => {
                let id = self.pick_claim(*offer, *index);
                let restock = if *restock { Restock::Yes } else { Restock::No };
                let wanted = self.model.decide(*offer, now, Some(&by), |offer, step| offer.take_back(id, restock, step));
                same(self.cluster.take_back(self.homes[*offer], id, restock, &by).await, wanted, command);
            }
            Command::ReadStandby(offer, index, who) | Command::Leave(offer, index, who) => {
                let (id, user, home) = (self.pick_standby(*offer, *index), user_of(*who), self.homes[*offer]);
                let actor = actor(*who, &user);
                if matches!(command, Command::Leave(..)) {
                    let wanted = self.model.decide(*offer, now, None, |offer, step| offer.leave_standby(actor, id, step));
                    same(self.cluster.leave_standby(home, actor, id).await, wanted, command);
                } else {
                    let wanted = self.model.decide(*offer, now, None, |offer, step| offer.standby_by_id(actor, id, step));
                    same(self.cluster.read_standby(home, actor, id).await, wanted, command);
                }
            }
            Command::Advance(ms) => {
                self.clock.fetch_add(*ms, Ordering::Relaxed);
            }
            Command::Rebuild(offer) => self.rebuild(*offer).await,
            _ => self.operate(command).await,
        }
    }

    /// What operators do.
    async fn operate(&mut self, command: &Command) {
        let (now, by) = (self.now(), audit());
        match command {
            Command::Restock(offer, delta) => {
                let wanted = self.model.decide(*offer, now, Some(&by), |offer, step| offer.restock(*delta, step));
                same(self.cluster.restock(self.homes[*offer], *delta, &by).await, wanted, command);
            }
            Command::Edit { offer, terms, if_revision } => {
                let (id, kind) = [("stay", Kind::Booking), ("thanks", Kind::Coupon)][*offer];
                let settings = settings(id, kind, terms, now);
                let told = self.cluster.define(self.homes[*offer], &settings, *if_revision, &by).await;
                let wanted = self.model.decide(*offer, now, Some(&by), |offer, step| {
                    let current = offer.settings().revision;
                    if if_revision.is_some_and(|revision| revision != current) { Err(current) } else { Ok(offer.define(settings, step)) }
                });
                match (told, wanted) {
                    (Err(DecideError::Conflict { current }), Some(Err(wanted))) => assert_eq!(current, wanted),
                    (told, wanted) => same(told, wanted.map(|wanted| wanted.unwrap()), command),
                }
            }
            Command::Close(offer) => {
                let wanted = self.model.decide(*offer, now, Some(&by), |offer, step| offer.close(step));
                same(self.cluster.close(self.homes[*offer], &by).await, wanted.map(Ok), command);
            }
            Command::Forget(offer, user) => self.forget(*offer, *user, command).await,
            Command::Delete(offer) => {
                let wanted = self.model.decide(*offer, now, Some(&by), |offer, step| offer.delete(step));
                same(self.cluster.delete(self.homes[*offer], &by).await, wanted, command);
            }
            Command::Settle(offer) => {
                let wanted = self.model.decide(*offer, now, None, |offer, _| offer.next_deadline());
                match (self.cluster.offer(self.homes[*offer]).await.map(|read| read.next_deadline), wanted) {
                    // The domain's may be that of a hold that ended early; Redis's is never later than the next that counts.
                    (Ok(told), Some(wanted)) => assert!(told.is_none() || wanted.is_some(), "{told:?} {wanted:?}"),
                    (Err(DecideError::UnknownOffer), None) => {}
                    (told, wanted) => panic!("{command:?}: told {told:?}, wanted {wanted:?}"),
                }
            }
            other => unreachable!("{other:?} is no operator's"),
        }
    }

    /// With the ids of everybody's claims and places; others' are passed by.
    async fn forget(&mut self, offer: usize, user: u8, command: &Command) {
        let (user, pseudonym) = (user_id(user), UserId::parse(&format!("forgotten-{}", self.nonce())).unwrap());
        let home = self.homes[offer];
        let (mut claims, mut places) = (Vec::new(), Vec::new());
        for event in self.model.events_of(home.offer) {
            match event.change {
                OfferChange::Claim(claim) => claims.push(claim.id),
                OfferChange::Standby(place) => places.push(place.id),
                OfferChange::Defined(_) | OfferChange::Deleted => {}
            }
        }
        for ids in [claims.len(), places.len()] {
            assert!(ids <= FORGET_MOST);
        }
        claims.sort_unstable();
        claims.dedup();
        places.sort_unstable();
        places.dedup();
        let request = ForgetRequest { user: &user, pseudonym: &pseudonym, claims: &claims, places: &places, last: true };
        let wanted = self.model.decide(offer, self.now(), None, |offer, step| offer.forget(request, step));
        same(self.cluster.forget_user(home, request).await, wanted, command);
    }

    async fn claim(&mut self, command: &Command) {
        let &Command::Claim { offer, user, quantity, key, attributes, pass } = command else { unreachable!() };
        let (user, key) = (user_id(user), key.map(|key| IdempotencyKey::parse(&format!("k{key}")).unwrap()));
        let nonce = self.nonce();
        let attributes = attributes.then_some("{\"a\":\"김\"}");
        let request = ClaimRequest { user: &user, quantity, key: key.as_ref(), attributes, pass: pass_of(pass), nonce };
        let wanted = self.model.decide(offer, self.now(), None, |offer, step| offer.claim(request, step));
        same(self.cluster.claim(self.homes[offer], request).await, wanted, command);
    }

    async fn join(&mut self, command: &Command) {
        let &Command::Join { offer, user, quantity, pass } = command else { unreachable!() };
        let (user, nonce) = (user_id(user), self.nonce());
        let request = StandbyRequest { user: &user, quantity, pass: pass_of(pass), nonce };
        let wanted = self.model.decide(offer, self.now(), None, |offer, step| offer.join_standby(request, step));
        if let Some(Ok(view)) = &wanted {
            self.standby[offer].push(view.standby.id);
        }
        same(self.cluster.join_standby(self.homes[offer], request).await, wanted, command);
    }

    async fn rebuild(&mut self, which: usize) {
        if self.model.offers[which].is_deleted() {
            return;
        }
        let old = self.homes;
        let risen = old.map(|home| Home { epoch: home.epoch + 1, ..home });
        for (old, home) in old.into_iter().zip(risen) {
            match self.cluster.suspend(old, home.epoch).await {
                // One that was deleted and forgotten.
                Err(DecideError::UnknownOffer) => {}
                suspended => suspended.unwrap(),
            }
        }
        let home = risen[which];
        assert!(matches!(self.cluster.offer(home).await, Err(DecideError::Suspended)));
        self.cluster.forget(home).await.unwrap();
        assert!(matches!(self.cluster.offer(home).await, Err(DecideError::UnknownOffer)));
        self.cluster.create_suspended(home, self.model.offers[which].settings()).await.unwrap();
        let events = self.model.events_of(home.offer);
        self.cluster.load(home, &events).await.unwrap();
        // Twice, too.
        self.cluster.load(home, &events).await.unwrap();
        resume(self.cluster, home).await.unwrap();
        // They change together, so one by itself does not go on.
        let other = risen[1 - which];
        resume(self.cluster, other)
            .await
            .or_else(|error| if matches!(error, DecideError::UnknownOffer) { Ok(()) } else { Err(error) })
            .unwrap();
        assert!(matches!(self.cluster.offer(old[which]).await, Err(DecideError::Epoch { current }) if current == home.epoch));
        self.homes = risen;
    }

    /// Everything that can be read equals the model.
    async fn compare(&mut self, after: &Command) {
        let now = self.now();
        for which in 0..2 {
            let wanted = self.model.decide(which, now, None, |offer, step| (offer.settings().clone(), offer.stock(step)));
            let told = self.cluster.offer(self.homes[which]).await.map(|read| (read.settings, read.stock));
            if let Some((_, Stock { quantity, remaining, held, confirmed, .. })) = &wanted {
                assert_eq!(remaining + held + confirmed, *quantity);
            }
            same(told, wanted, after);
            let (wanted, _) = self.model.offers[which].claims_from(0, 10_000);
            let (told, more) = self.cluster.claims_from(self.homes[which], 0, 512).await.unwrap();
            assert_eq!((&told, more), (&wanted, None), "claims after {after:?}");
            self.claims[which] = wanted.iter().map(|claim| claim.id).collect();
        }
    }

    /// A claim that there is, or now and then one that there is not.
    fn pick_claim(&self, offer: usize, index: Index) -> ClaimId {
        let ids = &self.claims[offer];
        let number = self.homes[offer].offer;
        match index.index(ids.len() + 1) {
            0 if ids.is_empty() => ClaimId::new(number, 0, 5),
            0 => ClaimId::new(number, ids[0].seq(), ids[0].nonce() ^ 1),
            i => ids[i - 1],
        }
    }

    fn pick_standby(&self, offer: usize, index: Index) -> StandbyId {
        let ids = &self.standby[offer];
        match index.index(ids.len() + 1) {
            0 => StandbyId::new(self.homes[offer].offer, 0, 5),
            i => ids[i - 1],
        }
    }
}

fn user_of(who: Who) -> UserId {
    match who {
        Who::Anybody => user_id(0),
        Who::Service(user) | Who::User(user) => user_id(user),
    }
}

fn actor(who: Who, user: &UserId) -> Actor<'_> {
    match who {
        Who::Anybody => Actor::Service(None),
        Who::Service(_) => Actor::Service(Some(user)),
        Who::User(_) => Actor::User(user),
    }
}
