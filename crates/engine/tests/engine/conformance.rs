//! Random histories: the engine must answer exactly as the pure model does, and stand exactly as it stands.
//!
//! A failure prints the seed and shrinks to a short history. `PROPTEST_CASES` makes it longer.

use crate::harness::{Node, audit, offer_settings};
use crate::model::{self, World};
use bunho_domain::claim::{self, Status};
use bunho_domain::event::TicketNumber;
use bunho_domain::ids::{AppId, ClaimId, IdempotencyKey, OfferId, StandbyId, UserId, ZoneId};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::once::PassId;
use bunho_domain::offer::refusal::Refusal;
use bunho_domain::offer::settings::{Kind, OfferSettings};
use bunho_domain::offer::{Actor, ClaimRequest, ForgetRequest, Pass, Restock, StandbyRequest};
use bunho_domain::time::Millis;
use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Clone, Debug)]
enum Command {
    Claim { offer: usize, user: u8, quantity: u32, key: Option<u8>, attributes: bool, pass: Option<u8> },
    Confirm(usize, Index),
    Release(usize, Index),
    TakeBack(usize, Index, bool),
    JoinStandby { offer: usize, user: u8, quantity: u32 },
    LeaveStandby(usize, Index),
    Restock(usize, i64),
    Edit { offer: usize, quantity: u32, limit: Option<u32>, standby: bool, once: bool, opens_in_ms: Option<i64> },
    Close(usize),
    Forget(usize, u8),
    Advance(i64),
    Restart,
}

/// Offer 0 is a booking that grants offer 1, a coupon that may also be taken directly.
const OFFERS: [&str; 2] = ["stay", "thanks"];

fn command() -> impl Strategy<Value = Command> {
    let offer = || prop_oneof![3 => Just(0_usize), 1 => Just(1)];
    prop_oneof![
        8 => (offer(), 0..4_u8, 0..5_u32, proptest::option::of(0..3_u8), any::<bool>(), proptest::option::weighted(0.9, 0..4_u8))
            .prop_map(|(offer, user, quantity, key, attributes, pass)| Command::Claim { offer, user, quantity, key, attributes, pass }),
        5 => (offer(), any::<Index>()).prop_map(|(offer, index)| Command::Confirm(offer, index)),
        4 => (offer(), any::<Index>()).prop_map(|(offer, index)| Command::Release(offer, index)),
        2 => (offer(), any::<Index>(), any::<bool>()).prop_map(|(offer, index, restock)| Command::TakeBack(offer, index, restock)),
        4 => (offer(), 0..4_u8, 0..4_u32).prop_map(|(offer, user, quantity)| Command::JoinStandby { offer, user, quantity }),
        1 => (offer(), any::<Index>()).prop_map(|(offer, index)| Command::LeaveStandby(offer, index)),
        2 => (offer(), -3..4_i64).prop_map(|(offer, delta)| Command::Restock(offer, delta)),
        1 => (offer(), 0..8_u32, proptest::option::of(1..4_u32), any::<bool>(), proptest::bool::weighted(0.3), proptest::option::weighted(0.3, 0..3_000_i64))
            .prop_map(|(offer, quantity, limit, standby, once, opens_in_ms)| {
                Command::Edit { offer, quantity, limit, standby: standby && !once, once, opens_in_ms }
            }),
        1 => offer().prop_map(Command::Close),
        2 => (offer(), 0..4_u8).prop_map(|(offer, user)| Command::Forget(offer, user)),
        6 => prop_oneof![Just(1), Just(999), Just(1_000), 0..5_000_i64].prop_map(Command::Advance),
        1 => Just(Command::Restart),
    ]
}

#[derive(Clone, Debug)]
struct Terms {
    quantity: u32,
    limit: Option<u32>,
    hold_seconds: u32,
    standby: bool,
    once: bool,
    standby_hold_seconds: u32,
    opens_in_ms: Option<i64>,
    closes_in_ms: Option<i64>,
}

fn terms() -> impl Strategy<Value = Terms> {
    (
        0..8_u32,
        proptest::option::of(1..4_u32),
        0..3_u32,
        any::<(bool, bool)>(),
        0..3_u32,
        proptest::option::weighted(0.2, 0..2_000_i64),
        proptest::option::weighted(0.3, 2_000..20_000_i64),
    )
        .prop_map(|(quantity, limit, hold_seconds, (standby, once), standby_hold_seconds, opens_in_ms, closes_in_ms)| Terms {
            quantity,
            limit,
            hold_seconds,
            standby: standby && !once,
            once,
            standby_hold_seconds,
            opens_in_ms,
            closes_in_ms,
        })
}

/// A history of some 30 commands is synced to disk command by command: 64 take seconds.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn the_engine_answers_as_the_model(stay in terms(), thanks in terms(), commands in prop::collection::vec(command(), 1..60)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(stay, thanks, commands));
    }
}

struct Pair {
    node: Node,
    model: World,
    claims: [Vec<ClaimId>; 2],
    standby: [Vec<StandbyId>; 2],
    forgotten: u8,
}

/// Users from here on are pseudonyms.
const FIRST_NOBODY: u8 = 100;

async fn run(stay: Terms, thanks: Terms, commands: Vec<Command>) {
    let node = Node::new();
    let now = node.now();
    let zone = ZoneSettings::new(zone_id(), AppId::parse("default").unwrap(), None);
    node.engine.put_zone(zone, None, audit()).await.unwrap();
    let (thanks_settings, thanks_model) = both("thanks", Kind::Coupon, &thanks, None, now);
    let (stay_settings, stay_model) = both("stay", Kind::Booking, &stay, Some("thanks"), now);
    assert!(node.engine.put_offer(thanks_settings, None, audit()).await.unwrap().unwrap());
    assert!(node.engine.put_offer(stay_settings, None, audit()).await.unwrap().unwrap());
    let model = World { offers: vec![stay_model, thanks_model] };
    let mut pair = Pair { node, model, claims: Default::default(), standby: Default::default(), forgotten: 0 };
    for command in commands {
        pair = pair.step(command).await;
        pair.compare().await;
    }
}

fn both(id: &str, kind: Kind, terms: &Terms, grants: Option<&str>, now: i64) -> (OfferSettings, model::Offer) {
    let mut settings = offer_settings(id, kind, terms.quantity);
    settings.per_user_limit = terms.limit;
    settings.min_per_claim = 1;
    settings.max_per_claim = 3;
    settings.hold_seconds = terms.hold_seconds;
    settings.standby = terms.standby;
    (settings.pass_once, settings.zone) = (terms.once, terms.once.then(zone_id));
    settings.standby_hold_seconds = terms.standby_hold_seconds;
    settings.opens_at = terms.opens_in_ms.map(|ms| Millis(now + ms));
    settings.closes_at = terms.closes_in_ms.map(|ms| Millis(now + ms));
    settings.grants = grants.map(|id| OfferId::parse(id).unwrap());
    let model = model::Terms {
        quantity: terms.quantity,
        per_user_limit: terms.limit,
        min: 1,
        max: 3,
        hold_ms: i64::from(terms.hold_seconds) * 1_000,
        standby: terms.standby,
        once: terms.once,
        standby_hold_ms: i64::from(terms.standby_hold_seconds) * 1_000,
        opens_at: terms.opens_in_ms.map(|ms| now + ms),
        closes_at: terms.closes_in_ms.map(|ms| now + ms),
        grants: grants.map(|_| 1),
    };
    (settings, model::Offer { terms: model, claims: Vec::new(), standby: Vec::new() })
}

fn offer_id(offer: usize) -> OfferId {
    OfferId::parse(OFFERS[offer]).unwrap()
}

fn zone_id() -> ZoneId {
    ZoneId::parse("GATE").unwrap()
}

fn pass_id(pass: u8) -> PassId {
    PassId { zone_number: 1, ticket: TicketNumber { epoch: 1, seq: pass.into() } }
}

fn user_id(user: u8) -> UserId {
    UserId::parse(&format!("u{user}")).unwrap()
}

fn code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NotOpen { .. } => "not_open",
        Refusal::Closed => "closed",
        Refusal::LimitReached { .. } => "limit_reached",
        Refusal::QuantityInvalid { .. } => "quantity_invalid",
        Refusal::SoldOut { .. } => "sold_out",
        Refusal::KeyReused => "key_reused",
        Refusal::NotHeld { .. } => "not_held",
        Refusal::DeadlinePassed => "deadline_passed",
        Refusal::NoStandby => "no_standby",
        Refusal::QuantityTaken { .. } => "quantity_taken",
        Refusal::InUse => "in_use",
        Refusal::PassRequired => "pass_required",
        Refusal::PassUsed => "pass_used",
        other => panic!("the model has no word for {other:?}"),
    }
}

impl Pair {
    async fn step(mut self, command: Command) -> Self {
        let now = self.node.now();
        match command {
            Command::Claim { .. } => self.claim(command).await,
            Command::Confirm(offer, index) => {
                let Some(claim) = pick(&self.claims[offer], index) else { return self };
                let told = self.node.engine.confirm(Actor::Service(None), self.claims[offer][claim]).await.unwrap();
                assert_eq!(told.map(|_| ()).map_err(|r| code(&r)), self.model.confirm(offer, claim, now));
            }
            Command::Release(offer, index) => {
                let Some(claim) = pick(&self.claims[offer], index) else { return self };
                let told = self.node.engine.release(Actor::Service(None), self.claims[offer][claim]).await.unwrap();
                assert_eq!(told.map(|_| ()).map_err(|r| code(&r)), self.model.release(offer, claim, now));
            }
            Command::TakeBack(offer, index, restock) => {
                let Some(claim) = pick(&self.claims[offer], index) else { return self };
                let how = if restock { Restock::Yes } else { Restock::No };
                let told = self.node.engine.take_back(self.claims[offer][claim], how, audit()).await.unwrap();
                assert_eq!(told.map(|_| ()).map_err(|r| code(&r)), self.model.take_back(offer, claim, restock, now));
            }
            Command::JoinStandby { offer, user, quantity } => {
                let user_id = user_id(user);
                let request = StandbyRequest { user: &user_id, quantity, pass: Pass::Valid(pass_id(0)), nonce: self.node.engine.nonce() };
                let told = self.node.engine.join_standby(&offer_id(offer), request).await.unwrap();
                let told = told.map(|view| view.standby.id).map_err(|r| code(&r));
                if let Ok(id) = told
                    && id.seq() as usize == self.standby[offer].len()
                {
                    self.standby[offer].push(id);
                }
                assert_eq!(told.map(|id| id.seq() as usize), self.model.join_standby(offer, user, quantity, now));
            }
            Command::LeaveStandby(offer, index) => {
                let Some(place) = pick(&self.standby[offer], index) else { return self };
                self.node.engine.leave_standby(Actor::Service(None), self.standby[offer][place]).await.unwrap().unwrap();
                self.model.leave_standby(offer, place, now);
            }
            Command::Restock(offer, delta) => {
                let told = self.node.engine.restock(&offer_id(offer), delta, audit()).await.unwrap();
                assert_eq!(told.map_err(|r| code(&r)), self.model.restock(offer, delta, now));
            }
            Command::Edit { offer, quantity, limit, standby, once, opens_in_ms } => {
                let (mut settings, _) = self.node.engine.offer(&offer_id(offer)).await.unwrap();
                settings.quantity = quantity;
                settings.per_user_limit = limit;
                settings.standby = standby;
                (settings.pass_once, settings.zone) = (once, once.then(zone_id));
                settings.opens_at = opens_in_ms.map(|ms| Millis(now + ms));
                let told = self.node.engine.put_offer(settings, None, audit()).await.unwrap();
                let edit = |terms: &mut model::Terms| {
                    terms.quantity = quantity;
                    terms.per_user_limit = limit;
                    terms.standby = standby;
                    terms.once = once;
                    terms.opens_at = opens_in_ms.map(|ms| now + ms);
                };
                assert_eq!(told.map(|_| ()).map_err(|r| code(&r)), self.model.define(offer, edit, now));
            }
            Command::Close(offer) => {
                self.node.engine.close_offer(&offer_id(offer), audit()).await.unwrap().unwrap();
                self.model.close(offer, now);
            }
            Command::Forget(offer, user) => self.forget(offer, user).await,
            Command::Advance(ms) => self.node.advance(ms),
            Command::Restart => self.node = self.node.restart(),
        }
        self
    }

    async fn claim(&mut self, command: Command) {
        let Command::Claim { offer, user, quantity, key, attributes, pass } = command else { unreachable!() };
        let now = self.node.now();
        let user_id = user_id(user);
        let key_text = key.map(|key| IdempotencyKey::parse(&format!("k{key}")).unwrap());
        let attributes = attributes.then_some("{\"a\":1}");
        let nonce = self.node.engine.nonce();
        let request = ClaimRequest {
            user: &user_id,
            quantity,
            key: key_text.as_ref(),
            attributes,
            pass: pass.map_or(Pass::Missing, |pass| Pass::Valid(pass_id(pass))),
            nonce,
        };
        let told = self.node.engine.claim(&offer_id(offer), request).await.unwrap();
        let wanted = self.model.claim(offer, user, quantity, key, attributes, pass, now);
        assert_eq!(
            told.as_ref().map(|taken| (taken.claim.id.seq() as usize, taken.replayed)).map_err(code),
            wanted,
            "claim by {user} of {quantity} with {key:?} and {pass:?}"
        );
        if let Ok(taken) = told {
            assert_eq!(taken.claim.version, 1, "an answer shows the claim as it was first answered");
            assert_eq!(taken.claim.status == Status::Held, taken.claim.hold_expires_at.is_some());
        }
    }

    /// All that is known of the user by id, as the ledger would know it; others' ids among them are passed by.
    async fn forget(&mut self, offer: usize, user: u8) {
        let now = self.node.now();
        let nobody = FIRST_NOBODY + self.forgotten;
        self.forgotten += 1;
        let (user_id, pseudonym) = (user_id(user), user_id(nobody));
        let request =
            ForgetRequest { user: &user_id, pseudonym: &pseudonym, claims: &self.claims[offer], places: &self.standby[offer], last: true };
        let told = self.node.engine.forget(2 - offer as u32, request).await.unwrap();
        let told = told.map(|forgotten| (forgotten.claims, forgotten.places)).map_err(|r| code(&r));
        assert_eq!(told, self.model.forget(offer, user, nobody, now));
    }

    /// Everything that can be read equals the model, and the promises hold.
    async fn compare(&mut self) {
        let now = self.node.now();
        for (offer, name) in OFFERS.iter().enumerate() {
            let (_, stock) = self.node.engine.offer(&offer_id(offer)).await.unwrap();
            self.model.settle(offer, now);
            let model = &self.model.offers[offer];
            assert!(model.held() + model.confirmed() <= model.terms.quantity, "the model oversold: it is wrong itself");
            assert_eq!(
                (stock.quantity, stock.remaining, stock.held, stock.confirmed, stock.standby as usize),
                (model.terms.quantity, model.remaining(), model.held(), model.confirmed(), model.waiting().len()),
                "stock of {name}"
            );
        }
        for offer in 0..OFFERS.len() {
            let number = 2 - offer as u32;
            let (claims, more) = self.node.engine.claims_from(number, 0, 10_000).await.unwrap();
            assert_eq!(more, None);
            let model = &self.model.offers[offer];
            self.claims[offer] = claims.iter().map(|claim| claim.id).collect();
            assert_eq!(claims.len(), model.claims.len());
            for (claim, wanted) in claims.iter().zip(&model.claims) {
                assert_same(claim, wanted);
            }
        }
    }
}

fn assert_same(claim: &claim::Claim, wanted: &model::Claim) {
    let status = match claim.status {
        Status::Held => model::Status::Held,
        Status::Confirmed => model::Status::Confirmed,
        Status::Released => model::Status::Released,
        Status::Expired => model::Status::Expired,
        Status::Returned => model::Status::Returned,
    };
    assert_eq!(
        (claim.user.as_str(), claim.quantity, status, claim.version, claim.hold_expires_at.map(|at| at.0)),
        (&*format!("u{}", wanted.user), wanted.quantity, wanted.status, wanted.version, wanted.deadline)
    );
    let named = wanted.pass.map(|pass| format!("{{\"bunho.pass\":\"{}\"", pass_id(pass)));
    assert!(named.is_none_or(|named| claim.attributes.as_ref().is_some_and(|text| text.starts_with(&named))), "{claim:?}");
    let kept = if wanted.user >= FIRST_NOBODY { (None, None) } else { (wanted.key.map(|key| format!("k{key}")), claim.attributes.clone()) };
    assert_eq!((claim.key.as_ref().map(ToString::to_string), claim.attributes.clone()), kept, "what is forgotten is gone");
    assert_eq!(claim.granted.map(|id| id.seq() as usize), wanted.granted);
}

fn pick<T>(list: &[T], index: Index) -> Option<usize> {
    (!list.is_empty()).then(|| index.index(list.len()))
}
