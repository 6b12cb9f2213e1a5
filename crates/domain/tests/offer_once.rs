//! A pass takes one claim: over random histories, whatever becomes of the claim, of the offer's settings and of the state itself.
//!
//! The model is a list of who took what with which pass, scanned. What it does not know of (limits, deadlines, grants) the engines' conformance suites
//! compare elsewhere; here there is always enough for everybody, so that nothing but the rule refuses.

#![expect(clippy::unwrap_used, reason = "a test says what failed by its line")]

use bunho_domain::claim::Claim;
use bunho_domain::event::{Event, OfferChange, TicketNumber};
use bunho_domain::ids::{AppId, ClaimId, IdempotencyKey, OfferId, UserId, ZoneId};
use bunho_domain::offer::once::PassId;
use bunho_domain::offer::refusal::Refusal;
use bunho_domain::offer::settings::{Kind, OfferSettings};
use bunho_domain::offer::{Actor, ClaimRequest, ForgetRequest, Offer, Pass, Restock, StandbyRequest, Step};
use bunho_domain::time::Millis;
use proptest::prelude::*;
use proptest::sample::Index;

const NOW: Millis = Millis(1_700_000_000_000);
const HOLD_SECONDS: u32 = 60;

#[derive(Clone, Debug)]
enum Command {
    Claim {
        user: u8,
        pass: u8,
        key: Option<u8>,
        attributes: Option<&'static str>,
    },
    Confirm(Index),
    Release(Index),
    TakeBack(Index),
    /// Every hold expires.
    Wait,
    /// The rule is switched off, or on again.
    Switch,
    /// Closed, forgotten, opened again.
    Forget(u8),
    /// A state made of nothing but the events, first to last or last to first.
    Replay {
        backwards: bool,
    },
    /// A state made of what the claims are now, as a ledger has them.
    Load,
}

fn command() -> impl Strategy<Value = Command> {
    let attributes = prop_oneof![Just(None), Just(Some("{\"a\":\"김\"}")), Just(Some("{\"z\":{\"bunho.pass\":\"1-1-1\"}}"))];
    prop_oneof![
        12 => (0..4_u8, 0..6_u8, proptest::option::of(0..3_u8), attributes)
            .prop_map(|(user, pass, key, attributes)| Command::Claim { user, pass, key, attributes }),
        2 => any::<Index>().prop_map(Command::Confirm),
        3 => any::<Index>().prop_map(Command::Release),
        1 => any::<Index>().prop_map(Command::TakeBack),
        1 => Just(Command::Wait),
        1 => Just(Command::Switch),
        1 => (0..4_u8).prop_map(Command::Forget),
        2 => any::<bool>().prop_map(|backwards| Command::Replay { backwards }),
        1 => Just(Command::Load),
    ]
}

/// A claim as the model knows it.
#[derive(Clone, Debug)]
struct Taken {
    id: ClaimId,
    user: u8,
    key: Option<u8>,
    attributes: Option<&'static str>,
    /// The pass that it used up.
    pass: Option<u8>,
}

struct History {
    offer: Offer,
    events: Vec<Event>,
    now: Millis,
    taken: Vec<Taken>,
    nonces: u64,
}

fn settings(pass_once: bool) -> OfferSettings {
    let mut settings = OfferSettings::new(OfferId::parse("o").unwrap(), AppId::parse("a").unwrap(), Kind::Goods, 1_000_000);
    settings.hold_seconds = HOLD_SECONDS;
    settings.zone = Some(ZoneId::parse("GATE").unwrap());
    settings.pass_once = pass_once;
    settings.check().unwrap();
    settings
}

fn user_id(user: u8) -> UserId {
    UserId::parse(&format!("u{user}")).unwrap()
}

/// Numbers of which one is another's beginning.
fn pass_id(pass: u8) -> PassId {
    PassId { zone_number: 7, ticket: TicketNumber { epoch: 1 + u32::from(pass) / 3, seq: [1, 11, 111][usize::from(pass) % 3] } }
}

impl History {
    fn new() -> Self {
        let mut history = Self { offer: Offer::new(1, settings(true)), events: Vec::new(), now: NOW, taken: Vec::new(), nonces: 0 };
        history.decide(|offer, step| offer.create(step));
        history
    }

    fn decide<T>(&mut self, decision: impl FnOnce(&mut Offer, &mut Step<'_>) -> T) -> T {
        decision(&mut self.offer, &mut Step { now: self.now, grants: None, events: &mut self.events })
    }

    fn step(&mut self, command: &Command) {
        let picked = |index: &Index| (!self.taken.is_empty()).then(|| self.taken[index.index(self.taken.len())].id);
        match command {
            &Command::Claim { user, pass, key, attributes } => self.claim(user, pass, key, attributes),
            Command::Confirm(index) => {
                let Some(id) = picked(index) else { return };
                drop(self.decide(|offer, step| offer.confirm(Actor::Service(None), id, step)));
            }
            Command::Release(index) => {
                let Some(id) = picked(index) else { return };
                drop(self.decide(|offer, step| offer.release(Actor::Service(None), id, step)));
            }
            Command::TakeBack(index) => {
                let Some(id) = picked(index) else { return };
                drop(self.decide(|offer, step| offer.take_back(id, Restock::Yes, step)));
            }
            Command::Wait => self.now = self.now.plus_seconds(HOLD_SECONDS),
            Command::Switch => {
                let edited = OfferSettings { pass_once: !self.offer.settings().pass_once, ..self.offer.settings().clone() };
                self.decide(|offer, step| offer.define(edited, step)).unwrap();
            }
            &Command::Forget(user) => self.forget(user),
            Command::Replay { backwards } => self.replay(*backwards),
            Command::Load => self.load(),
        }
    }

    fn claim(&mut self, user: u8, pass: u8, key: Option<u8>, attributes: Option<&'static str>) {
        self.nonces += 1;
        let (nonce, name) = (self.nonces, user_id(user));
        let key_text = key.map(|key| IdempotencyKey::parse(&format!("k{key}")).unwrap());
        let request =
            ClaimRequest { user: &name, quantity: 1, key: key_text.as_ref(), attributes, pass: Pass::Valid(pass_id(pass)), nonce };
        let told = self.decide(|offer, step| offer.claim(request, step)).map(|taken| (taken.claim, taken.replayed));
        let known = self.taken.iter().find(|taken| key.is_some() && taken.user == user && taken.key == key);
        let once = self.offer.settings().pass_once;
        match (known, told) {
            (Some(known), Ok((claim, true))) => assert_eq!((known.id, known.attributes), (claim.id, attributes)),
            (Some(known), Err(Refusal::KeyReused)) => assert_ne!(known.attributes, attributes),
            (None, Err(Refusal::PassUsed)) => assert!(once && self.taken.iter().any(|taken| taken.pass == Some(pass))),
            (None, Ok((claim, false))) => {
                assert!(!once || self.taken.iter().all(|taken| taken.pass != Some(pass)), "pass {pass} took a second claim");
                let stored = claim.attributes.as_deref();
                assert_eq!(
                    stored.is_some_and(|text| text.starts_with(&format!("{{\"bunho.pass\":\"{}\"", pass_id(pass)))),
                    once,
                    "{stored:?}"
                );
                self.taken.push(Taken { id: claim.id, user, key, attributes, pass: once.then_some(pass) });
            }
            (known, told) => panic!("{known:?} {told:?}"),
        }
    }

    /// What is forgotten is as if it had never been, but for the units.
    fn forget(&mut self, user: u8) {
        let (name, pseudonym) = (user_id(user), UserId::pseudonym(self.events.len() as u128));
        let ids: Vec<ClaimId> = self.taken.iter().filter(|taken| taken.user == user).map(|taken| taken.id).collect();
        self.now = self.now.plus_seconds(HOLD_SECONDS);
        self.decide(|offer, step| offer.close(step));
        let request = ForgetRequest { user: &name, pseudonym: &pseudonym, claims: &ids, places: &[], last: true };
        let forgotten = self.decide(|offer, step| offer.forget(request, step)).unwrap();
        assert_eq!(forgotten.claims as usize, ids.len());
        let opened = OfferSettings { closes_at: None, ..self.offer.settings().clone() };
        self.decide(|offer, step| offer.define(opened, step)).unwrap();
        for taken in self.taken.iter_mut().filter(|taken| taken.user == user) {
            // A user number that nobody claims as.
            (taken.user, taken.key, taken.pass) = (u8::MAX, None, None);
        }
    }

    fn replay(&mut self, backwards: bool) {
        let before = self.claims();
        let mut offer = Offer::new(1, settings(false));
        let each = |event: &Event| match event {
            Event::Offer(event) => offer.apply(event),
            Event::Zone(other) => panic!("{other:?}"),
        };
        if backwards {
            self.events.iter().rev().for_each(each)
        } else {
            self.events.iter().for_each(each)
        }
        self.offer = offer;
        assert_eq!(self.claims(), before);
    }

    fn load(&mut self) {
        let mut offer = Offer::new(1, settings(false));
        let version = self.decide(|offer, step| offer.stock(step)).version;
        let settings = OfferChange::Defined(Box::new(self.offer.settings().clone()));
        let claims = self.claims().into_iter().map(|claim| OfferChange::Claim(Box::new(claim)));
        for change in std::iter::once(settings).chain(claims) {
            offer.apply(&bunho_domain::event::OfferEvent { offer: 1, version, change });
        }
        self.offer = offer;
    }

    fn claims(&self) -> Vec<Claim> {
        self.offer.claims_from(0, u32::MAX).0
    }
}

proptest! {
    #[test]
    fn no_pass_has_two_claims(commands in prop::collection::vec(command(), 1..80)) {
        let mut history = History::new();
        for command in &commands {
            history.step(command);
        }
        let names: Vec<_> = history.claims().iter().filter_map(|claim| claim.attributes.clone()).filter(|text| text.starts_with("{\"bunho.pass\"")).collect();
        let mut passes: Vec<_> = names.iter().filter_map(|text| text.split('"').nth(3)).collect();
        let all = passes.len();
        passes.sort_unstable();
        passes.dedup();
        prop_assert_eq!(all, passes.len(), "of {:?}", names);
    }
}

#[test]
fn the_rule_needs_a_zone_and_keeps_no_standby() {
    let field = |settings: OfferSettings| settings.check().unwrap_err().iter().map(|error| error.field).collect::<Vec<_>>();
    assert_eq!(field(OfferSettings { zone: None, ..settings(true) }), ["pass_once"]);
    assert_eq!(field(OfferSettings { standby: true, ..settings(true) }), ["standby"]);
    let mut history = History::new();
    let user = user_id(1);
    let request = StandbyRequest { user: &user, quantity: 1, pass: Pass::Valid(pass_id(0)), nonce: 1 };
    assert_eq!(history.decide(|offer, step| offer.join_standby(request, step)).unwrap_err(), Refusal::NoStandby);
}

#[test]
fn it_is_not_switched_on_over_the_heads_of_people_on_standby() {
    let mut history = History::new();
    let few = OfferSettings { quantity: 1, pass_once: false, standby: true, ..settings(true) };
    history.decide(|offer, step| offer.define(few, step)).unwrap();
    history.claim(1, 1, None, None);
    let user = user_id(2);
    let request = StandbyRequest { user: &user, quantity: 1, pass: Pass::Valid(pass_id(2)), nonce: 1 };
    let place = history.decide(|offer, step| offer.join_standby(request, step)).unwrap().standby.id;
    let wanted = OfferSettings { quantity: 1, ..settings(true) };
    assert_eq!(history.decide(|offer, step| offer.define(wanted.clone(), step)), Err(Refusal::InUse));
    history.decide(|offer, step| offer.leave_standby(Actor::User(&user), place, step)).unwrap();
    history.decide(|offer, step| offer.define(wanted, step)).unwrap();
    // What was taken before is not counted.
    history.now = history.now.plus_seconds(HOLD_SECONDS);
    history.claim(1, 1, None, None);
    history.claim(2, 1, None, None);
}
