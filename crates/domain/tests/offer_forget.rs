//! A name goes with the last claim that shows it, and no sooner, however claims, closings and forgetting follow each other.

#![expect(clippy::unwrap_used, reason = "a test says what failed by its line")]

use bunho_domain::claim::Claim;
use bunho_domain::event::Event;
use bunho_domain::ids::{AppId, OfferId, UserId};
use bunho_domain::offer::settings::{Kind, OfferSettings};
use bunho_domain::offer::{Actor, ClaimRequest, ForgetRequest, Offer, Pass, Step};
use bunho_domain::time::Millis;

const NOW: Millis = Millis(1_700_000_000_000);

/// An offer, and whose each of its claims should be.
struct Scene {
    offer: Offer,
    claims: Vec<(Claim, UserId)>,
    pseudonyms: u128,
}

fn person(number: u32) -> UserId {
    UserId::parse(&format!("person-{number}")).unwrap()
}

impl Scene {
    fn with<T>(&mut self, what: impl FnOnce(&mut Offer, &mut Step<'_>) -> T) -> T {
        let mut events: Vec<Event> = Vec::new();
        what(&mut self.offer, &mut Step { now: NOW, grants: None, events: &mut events })
    }

    fn take(&mut self, number: u32) {
        let user = person(number);
        let nonce = self.claims.len() as u64 + 1;
        let request = ClaimRequest { user: &user, quantity: 1, key: None, attributes: Some("{}"), pass: Pass::Missing, nonce };
        let claim = self.with(|offer, step| offer.claim(request, step)).unwrap().claim;
        self.with(|offer, step| offer.confirm(Actor::Service(None), claim.id, step)).unwrap();
        self.claims.push((claim, user));
    }

    /// Forgets at most `most` of somebody's claims, as if these were the last.
    fn forget(&mut self, number: u32, most: usize) {
        let user = person(number);
        self.pseudonyms += 1;
        let pseudonym = UserId::pseudonym(self.pseudonyms);
        let theirs: Vec<_> = self.claims.iter().filter(|(_, whose)| *whose == user).map(|(claim, _)| claim.id).take(most).collect();
        let request = ForgetRequest { user: &user, pseudonym: &pseudonym, claims: &theirs, places: &[], last: true };
        let forgotten = self.with(|offer, step| offer.forget(request, step)).unwrap();
        assert_eq!(forgotten.claims as usize, theirs.len());
        for (claim, whose) in &mut self.claims {
            if theirs.contains(&claim.id) {
                whose.clone_from(&pseudonym);
            }
        }
        self.compare();
    }

    fn compare(&mut self) {
        for (claim, whose) in self.claims.clone() {
            let read = self.with(|offer, step| offer.claim_by_id(Actor::Service(None), claim.id, step)).unwrap();
            assert_eq!(read.user, whose);
        }
    }
}

#[test]
fn a_name_is_there_as_long_as_a_claim_shows_it() {
    let settings = OfferSettings::new(OfferId::parse("o").unwrap(), AppId::parse("a").unwrap(), Kind::Goods, 1_000);
    let mut scene = Scene { offer: Offer::new(1, settings.clone()), claims: Vec::new(), pseudonyms: 0 };
    for round in 0..3 {
        for number in 0..20 {
            for _ in 0..=number % 3 {
                scene.take(number);
            }
        }
        scene.with(|offer, step| offer.close(step));
        // Some wholly, some in part, some not, some in two parts, and some who have nothing.
        for number in [0, 1, 2, 19, 40] {
            scene.forget(number, usize::MAX);
        }
        for number in [5, 8, 11, 7] {
            scene.forget(number, 1);
        }
        scene.forget(5, 1);
        scene.forget(8, usize::MAX);
        // Opened again, some come back under the names that were forgotten, and some who never went take more.
        scene.with(|offer, step| offer.define(settings.clone(), step)).unwrap();
        scene.take(round);
        scene.compare();
    }
    scene.with(|offer, step| offer.close(step));
    for number in 0..20 {
        scene.forget(number, usize::MAX);
    }
    let named = scene.claims.iter().filter(|(_, whose)| !whose.is_pseudonym()).count();
    assert_eq!((named, scene.claims.len()), (0, 3 * (39 + 1)));
}
