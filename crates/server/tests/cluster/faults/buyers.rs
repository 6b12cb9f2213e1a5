//! People who claim, confirm, release, leave and stand by. Whatever is not answered is asked again, at the next node, with the same key.

use super::books::Asked;
use super::load::{As, Ask, Load, Tried};
use crate::harness::Random;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

impl Asked {
    pub fn request(&self) -> Ask<'_> {
        Ask {
            kind: self.offer,
            who: As::User(&self.user),
            method: Method::POST,
            path: format!("/v1/offers/{}/claims", self.offer),
            body: Some(self.body.clone()),
            key: Some(&self.key),
        }
    }
}

impl Load {
    pub async fn buy(&self, random: &mut Random) {
        let offer = ["drop", "drop", "drop", "flash", "stay", "stay", "coupon"][random.below(7) as usize];
        let user = self.books().new_user();
        let quantity = if offer == "drop" { 1 + random.below(2) } else { 1 };
        let body = json!({"quantity": quantity, "attributes": {"of": user}});
        let asked = Asked { offer, key: format!("k-{user}"), user, body };
        if let Some(id) = self.claim(asked.clone(), random.below(3) == 0).await {
            if random.below(6) == 0 {
                self.claim_again(&id, &asked).await;
            }
            match random.below(10) {
                _ if offer == "coupon" => {}
                // Nobody comes back to these; holds that are short end by themselves.
                0..3 => {}
                3 | 4 => self.settle(&id, "release").await,
                _ => self.settle(&id, "confirm").await,
            }
            if offer == "drop" && quantity == 2 {
                self.ask_for_too_much(&id, &asked).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    /// Claims until it is answered. Who `goes_home` does so when the first answer is that nothing happened.
    async fn claim(&self, asked: Asked, goes_home: bool) -> Option<String> {
        let request = asked.request();
        let (status, answer) = match self.try_once(&request).await {
            Tried::Answered(status, answer) => (status, answer),
            Tried::Nothing if goes_home => {
                self.books().never.push(asked);
                return None;
            }
            Tried::Nothing | Tried::Unknown => self.ask(&request).await,
        };
        match (status, answer["code"].as_str()) {
            (StatusCode::CREATED, _) => Some(self.books().told(Some(asked), answer)),
            (StatusCode::CONFLICT, Some("sold_out")) if matches!(asked.offer, "flash" | "coupon" | "seats") => None,
            _ => panic!("{asked:?}: {status} {answer}"),
        }
    }

    /// The same key gives the same answer.
    pub async fn claim_again(&self, id: &str, asked: &Asked) {
        let (status, again) = self.ask(&asked.request()).await;
        let mut books = self.books();
        assert_eq!((status, &again), (StatusCode::CREATED, &books.claims[id].answer), "{asked:?}");
        books.replays += 1;
    }

    /// Whoever has all they may have gets no more, whatever became of the cluster.
    async fn ask_for_too_much(&self, id: &str, asked: &Asked) {
        if matches!(self.books().claims[id].status.as_str(), "held" | "confirmed") {
            let asked = Asked { key: format!("{}-more", asked.key), body: json!({"quantity": 1}), ..asked.clone() };
            let (status, answer) = self.ask(&asked.request()).await;
            assert_eq!((status, answer["code"].as_str()), (StatusCode::CONFLICT, Some("limit_reached")), "{asked:?}: {answer}");
        }
    }

    /// Confirms or releases, until it is answered.
    async fn settle(&self, id: &str, step: &str) {
        let (kind, user) = {
            let books = self.books();
            let answer = &books.claims[id].answer;
            (kind_of(answer), answer["user"].as_str().unwrap().to_owned())
        };
        let who = if step == "confirm" { As::Service } else { As::User(&user) };
        let path = format!("/v1/claims/{id}/{step}");
        let (status, answer) = self.ask(&Ask { kind, who, method: Method::POST, path, body: Some(json!({})), key: None }).await;
        let now = match (status, answer["code"].as_str()) {
            (StatusCode::OK, _) => answer["status"].as_str(),
            // Its hold ended before, or the first try was not answered and did it.
            (StatusCode::CONFLICT, Some("deadline_passed")) => Some("expired"),
            (StatusCode::CONFLICT, Some("not_held")) => answer["claim_status"].as_str(),
            _ => None,
        };
        let now = now.unwrap_or_else(|| panic!("{step} {id}: {status} {answer}")).to_owned();
        let done = if step == "confirm" { "confirmed" } else { "released" };
        let mut books = self.books();
        let told = books.claims.get_mut(id).unwrap();
        assert!(now == done || now == "expired" && matches!(kind, "flash" | "seats"), "{step} {id}: {status} {answer}, {told:?}");
        if status == StatusCode::OK && kind == "stay" && now == "confirmed" {
            told.granted = Some(answer["granted"][0].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned());
        }
        told.status = now;
    }

    /// Takes a seat, or waits for one that comes back; all of them come back.
    pub async fn stand_by(&self, random: &mut Random) {
        let user = self.books().new_user();
        let asked = Asked { offer: "seats", key: format!("k-{user}"), user: user.clone(), body: json!({"quantity": 1}) };
        let id = match self.claim(asked, false).await {
            Some(id) => id,
            None => match self.served(&user, random).await {
                Some(id) => id,
                None => return,
            },
        };
        if random.below(2) == 0 {
            self.settle(&id, "release").await;
        }
    }

    /// Joins standby and asks until it is served, gives up, or everything ends.
    async fn served(&self, user: &str, random: &mut Random) -> Option<String> {
        let who = As::User(user);
        let seats = |method, path, body| Ask { kind: "seats", who, method, path, body, key: None };
        let (status, place) = self.ask(&seats(Method::POST, "/v1/offers/seats/standby".into(), Some(json!({"quantity": 1})))).await;
        if status != StatusCode::CREATED {
            // Something came free in between: then one claims.
            assert!(matches!(status, StatusCode::BAD_REQUEST | StatusCode::CONFLICT), "{status} {place}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            return None;
        }
        let id = place["id"].as_str().unwrap().to_owned();
        self.books().places.insert(id.clone(), (user.to_owned(), place["status"].as_str().unwrap().to_owned()));
        let path = format!("/v1/standby/{id}");
        let claim = loop {
            let (status, place) = self.ask(&seats(Method::GET, path.clone(), None)).await;
            assert_eq!(status, StatusCode::OK, "a place that was given is there: {place}");
            let now = place["status"].as_str().unwrap();
            self.books().places.get_mut(&id).unwrap().1 = now.to_owned();
            match (now, place["claim"].as_str()) {
                (_, Some(claim)) => break claim.to_owned(),
                ("waiting", None) if self.goes_on() && random.below(60) > 0 => {}
                ("waiting", None) => {
                    let (status, answer) = self.ask(&seats(Method::DELETE, path, None)).await;
                    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
                    // It may have been served just before; then there was nothing to give up.
                    self.books().places.get_mut(&id).unwrap().1 = "left or served".into();
                    return None;
                }
                _ => return None,
            }
            tokio::time::sleep(Duration::from_millis(60)).await;
        };
        let (status, answer) = self.ask(&seats(Method::GET, format!("/v1/claims/{claim}"), None)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        Some(self.books().told(None, answer))
    }
}

fn kind_of(answer: &Value) -> &'static str {
    match answer["offer"].as_str().unwrap() {
        "drop" => "drop",
        "flash" => "flash",
        "stay" => "stay",
        "seats" => "seats",
        other => panic!("nobody settles a claim of {other}"),
    }
}
