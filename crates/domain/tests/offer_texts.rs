//! Names, keys and attributes of every length that is allowed come back as they went in, whoever else has which.

#![expect(clippy::unwrap_used, reason = "a test says what failed by its line")]

use bunho_domain::claim::{Claim, Status};
use bunho_domain::event::{Event, OfferChange};
use bunho_domain::ids::{AppId, IdempotencyKey, OfferId, UserId};
use bunho_domain::limits::{ATTRIBUTES_BYTES_MAX, KEY_CHARS_MAX, QUANTITY_MAX, USER_BYTES_MAX};
use bunho_domain::offer::refusal::Refusal;
use bunho_domain::offer::settings::{Kind, OfferSettings};
use bunho_domain::offer::{Actor, ClaimRequest, Offer, Pass, Step};
use bunho_domain::time::Millis;

const NOW: Millis = Millis(1_700_000_000_000);

/// A claim as it is asked for.
#[derive(Clone)]
struct Asked {
    user: UserId,
    key: Option<IdempotencyKey>,
    attributes: Option<String>,
}

fn goods() -> Offer {
    let mut settings = OfferSettings::new(OfferId::parse("o").unwrap(), AppId::parse("a").unwrap(), Kind::Goods, QUANTITY_MAX);
    settings.hold_seconds = 60;
    Offer::new(1, settings)
}

fn claim(offer: &mut Offer, asked: &Asked, nonce: u64, events: &mut Vec<Event>) -> Result<(Claim, bool), Refusal> {
    let (user, key, attributes) = (&asked.user, asked.key.as_ref(), asked.attributes.as_deref());
    let request = ClaimRequest { user, quantity: 1, key, attributes, pass: Pass::Missing, nonce };
    offer.claim(request, &mut Step { now: NOW, grants: None, events }).map(|taken| (taken.claim, taken.replayed))
}

/// Names of all lengths, in letters of one to four bytes; keys of all lengths; no key; attributes up to the largest; none.
fn all_lengths() -> Vec<Asked> {
    let mut asked = Vec::new();
    for length in 1..=USER_BYTES_MAX.max(KEY_CHARS_MAX) {
        for (round, letter) in ["u", "é", "김", "🎫"].into_iter().enumerate() {
            if length < letter.len() {
                continue;
            }
            let name = letter.repeat(length / letter.len()) + &"x".repeat(length % letter.len());
            let key = (round != 1).then(|| IdempotencyKey::parse(&"k".repeat(length.min(KEY_CHARS_MAX))).unwrap());
            let attributes = match round {
                0 => None,
                1 => Some("{}".to_owned()),
                _ => Some(format!("{{\"a\":\"{}\"}}", letter.repeat((ATTRIBUTES_BYTES_MAX - 8) / letter.len() * length / USER_BYTES_MAX))),
            };
            asked.push(Asked { user: UserId::parse(&name[..floor(&name, USER_BYTES_MAX)]).unwrap(), key, attributes });
        }
    }
    asked
}

fn floor(text: &str, most: usize) -> usize {
    (0..=most.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

#[test]
fn what_was_claimed_is_read_back_live_and_after_a_replay() {
    let (mut offer, mut events) = (goods(), Vec::new());
    let asked = all_lengths();
    assert!(asked.iter().any(|asked| asked.user.as_str().len() == USER_BYTES_MAX));
    assert!(asked.iter().any(|asked| asked.attributes.as_ref().is_some_and(|text| text.len() > ATTRIBUTES_BYTES_MAX - 8)));
    let claims: Vec<Claim> = asked.iter().zip(1..).map(|(asked, nonce)| claim(&mut offer, asked, nonce, &mut events).unwrap().0).collect();
    // Applied last to first, as a replay may: most places are vacant when they are first seen.
    let mut replayed = goods();
    for event in events.iter().rev() {
        let Event::Offer(event) = event else { panic!("an offer has events of its own only") };
        assert!(matches!(event.change, OfferChange::Claim(_)));
        replayed.apply(event);
    }
    for (which, offer) in [("live", &mut offer), ("replayed", &mut replayed)] {
        for (asked, claimed) in asked.iter().zip(&claims) {
            let step = &mut Step { now: NOW, grants: None, events: &mut Vec::new() };
            let read = offer.claim_by_id(Actor::User(&asked.user), claimed.id, step).unwrap();
            assert_eq!(&read, claimed, "{which}");
            let given = (&read.user, &read.key, read.attributes.as_deref());
            assert_eq!(given, (&asked.user, &asked.key, asked.attributes.as_deref()), "{which}");
            if asked.key.is_some() {
                assert_eq!(claim(offer, asked, 0, &mut Vec::new()), Ok((claimed.clone(), true)), "{which}: the key answers again");
                let other = Asked { attributes: Some("{\"b\":1}".to_owned()), ..asked.clone() };
                assert_eq!(claim(offer, &other, 0, &mut Vec::new()), Err(Refusal::KeyReused), "{which}");
            }
        }
    }
}

#[test]
fn a_key_is_each_users_own_among_many() {
    const USERS: u32 = 20_000;
    let (mut offer, mut events) = (goods(), Vec::new());
    let asked = |number: u32| Asked {
        user: UserId::parse(&format!("{number:0>width$}", width = if number.is_multiple_of(7) { USER_BYTES_MAX } else { 6 })).unwrap(),
        key: Some(IdempotencyKey::parse("the-same-key").unwrap()),
        attributes: None,
    };
    let claims: Vec<Claim> = (0..USERS).map(|number| claim(&mut offer, &asked(number), number.into(), &mut events).unwrap().0).collect();
    for (number, claimed) in (0..).zip(&claims) {
        assert_eq!(claim(&mut offer, &asked(number), 0, &mut events), Ok((claimed.clone(), true)), "user {number}");
    }
    assert_eq!(events.len(), USERS as usize, "a repeated key takes nothing");
    let later = NOW.plus_seconds(60);
    let step = &mut Step { now: later, grants: None, events: &mut events };
    assert_eq!(offer.stock(step).held, 0);
    let expired: Vec<(u32, Status)> = events[USERS as usize..]
        .iter()
        .map(|event| match event {
            Event::Offer(event) => match &event.change {
                OfferChange::Claim(claim) => (claim.id.seq(), claim.status),
                other => panic!("{other:?}"),
            },
            Event::Zone(other) => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(expired, (0..USERS).map(|seq| (seq, Status::Expired)).collect::<Vec<_>>(), "holds end in the order in which they began");
}
