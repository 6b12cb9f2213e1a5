//! Histories of clients that call at the same time, hang up too early and ask again: is there an order of all calls that explains every answer?

mod checker;
mod shop;

use crate::harness::{Random, Server, read, seeded};
use checker::{Call, check};
use reqwest::StatusCode;
use serde_json::{Value, json};
use shop::{Answer, Op, Shop, State, Status};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const QUANTITY: u32 = 6;
const PER_USER: u32 = 3;
const CLIENTS: u32 = 8;
const CALLS: usize = 40;

type History = Vec<Call<Op, Answer>>;

/// One client of an offer, who remembers the claims that it was told of.
struct Client {
    server: Arc<Server>,
    offer: String,
    clock: Arc<AtomicU64>,
    random: Random,
    told: Vec<(u32, u32, String)>,
    history: History,
}

impl Client {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    async fn play(mut self) -> History {
        for _ in 0..CALLS {
            let (user, key) = (self.random.below(4) as u32, self.random.below(6) as u32);
            let held = (!self.told.is_empty()).then(|| self.random.below(self.told.len() as u64) as usize);
            let (op, claim) = match (self.random.below(10), held) {
                (0..4, _) | (4..9, None) => (Op::Claim { user, key, quantity: self.random.below(2) as u32 + 1 }, None),
                (4..6, Some(at)) => (Op::Confirm { user: self.told[at].0, key: self.told[at].1 }, Some(self.told[at].2.clone())),
                (6..9, Some(at)) => (Op::Release { user: self.told[at].0, key: self.told[at].1 }, Some(self.told[at].2.clone())),
                _ => (Op::Stock, None),
            };
            let begin = self.tick();
            // A client in five is impatient: some of its calls arrive, some do not, and it knows of none.
            let patience = if self.random.below(5) == 0 {
                Duration::from_micros(self.random.below(super::IMPATIENT_US))
            } else {
                Duration::from_secs(30)
            };
            let answer = tokio::time::timeout(patience, self.call(&op, claim.as_deref())).await.ok().flatten();
            let end = answer.map(|answer| (self.tick(), answer));
            if let (Op::Claim { user, key, .. }, Some((_, Answer::Claimed(id)))) = (&op, &end) {
                self.told.push((*user, *key, id.clone()));
            }
            self.history.push(Call { begin, op, end });
        }
        self.history
    }

    /// What the server answered; none where it is not known whether anything happened.
    async fn call(&self, op: &Op, claim: Option<&str>) -> Option<Answer> {
        let name = |user: u32| format!("user-{user}");
        let post = |path: String, user: u32, body: Value| {
            self.server.request(reqwest::Method::POST, &path).header("x-bunho-user", name(user)).json(&body)
        };
        let request = match op {
            Op::Claim { user, key, quantity } => post(format!("/v1/offers/{}/claims", self.offer), *user, json!({"quantity": quantity}))
                .header("idempotency-key", format!("key-{key}")),
            Op::Confirm { user, .. } => post(format!("/v1/claims/{}/confirm", claim?), *user, json!({})),
            Op::Release { user, .. } => post(format!("/v1/claims/{}/release", claim?), *user, json!({})),
            Op::Stock => self.server.request(reqwest::Method::GET, &format!("/v1/offers/{}", self.offer)),
        };
        let (status, body) = read(request.send().await.ok()?).await;
        let number = |field: &str| body[field].as_u64().unwrap() as u32;
        Some(match (op, status, body["code"].as_str()) {
            (_, StatusCode::SERVICE_UNAVAILABLE, _) => return None,
            (Op::Claim { .. }, StatusCode::CREATED | StatusCode::OK, _) => Answer::Claimed(body["id"].as_str().unwrap().to_string()),
            (Op::Claim { .. }, StatusCode::CONFLICT, Some("sold_out")) => Answer::SoldOut,
            (Op::Claim { .. }, StatusCode::CONFLICT, Some("limit_reached")) => Answer::LimitReached,
            (Op::Claim { .. }, _, Some("key_reused")) => Answer::KeyReused,
            (Op::Confirm { .. } | Op::Release { .. }, StatusCode::OK, _) => Answer::Is(status_of(&body["status"])),
            (Op::Confirm { .. } | Op::Release { .. }, StatusCode::CONFLICT, Some("not_held")) => {
                Answer::NotHeld(status_of(&body["claim_status"]))
            }
            (Op::Stock, StatusCode::OK, _) => {
                Answer::Stock { remaining: number("remaining"), held: number("held"), confirmed: number("confirmed") }
            }
            _ => panic!("{op:?} was answered {status} {body}"),
        })
    }
}

fn status_of(text: &Value) -> Status {
    match text.as_str() {
        Some("held") => Status::Held,
        Some("confirmed") => Status::Confirmed,
        Some("released") => Status::Released,
        _ => panic!("a claim is {text}"),
    }
}

/// The whole history of an offer, from clients that call at the same time.
async fn history(server: &Arc<Server>, offer: &str, random: &mut Random) -> History {
    let body = json!({"kind": "goods", "quantity": QUANTITY, "per_user_limit": PER_USER, "hold_seconds": 3_600, "confirm_by": "user"});
    server.put_offer(offer, body).await;
    let clock = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| Client {
            server: server.clone(),
            offer: offer.to_string(),
            clock: clock.clone(),
            random: random.fork(),
            told: Vec::new(),
            history: Vec::new(),
        })
        .map(|client| tokio::spawn(client.play()))
        .collect();
    futures_util::future::join_all(clients).await.into_iter().flat_map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_history_has_an_order_that_explains_it() {
    let mut random = seeded("linear");
    let server = Arc::new(super::server().await);
    let (mut calls, mut unknown) = (0, 0);
    for round in 0..30 {
        let history = history(&server, &format!("linear-{round}"), &mut random).await;
        calls += history.len();
        unknown += history.iter().filter(|call| call.end.is_none()).count();
        if let Err(stuck) = check::<Shop>(State::new(QUANTITY, PER_USER), &history) {
            panic!("round {round}: after {} calls there is no place for {}; all: {history:#?}", stuck.in_order, stuck.call);
        }
    }
    println!("{calls} calls in 30 histories, {unknown} without an answer");
    assert!(unknown > 0, "nobody was impatient");
}

fn call(begin: u64, end: u64, op: Op, answer: Answer) -> Call<Op, Answer> {
    Call { begin, op, end: Some((end, answer)) }
}

fn takes(user: u32, key: u32, quantity: u32) -> Op {
    Op::Claim { user, key, quantity }
}

fn gets(id: &str) -> Answer {
    Answer::Claimed(id.to_string())
}

/// Histories that no correct server gives, and beside each what makes it right: the test of the test.
#[test]
fn broken_histories_are_found() {
    let lost = |begin: u64, op: Op| Call { begin, op, end: None };
    let stock = |remaining: u32, held: u32| Answer::Stock { remaining, held, confirmed: 0 };
    let broken: Vec<(&str, u32, History)> = vec![
        ("oversold", 1, vec![call(0, 2, takes(1, 1, 1), gets("a")), call(1, 3, takes(2, 1, 1), gets("b"))]),
        ("one key, two claims", 9, vec![call(0, 1, takes(1, 1, 1), gets("a")), call(2, 3, takes(1, 1, 1), gets("b"))]),
        ("one claim for two", 9, vec![call(0, 1, takes(1, 1, 1), gets("a")), call(2, 3, takes(2, 1, 1), gets("a"))]),
        ("above the user's limit", 9, vec![call(0, 1, takes(1, 1, 2), gets("a")), call(2, 3, takes(1, 2, 2), gets("b"))]),
        ("a claim that is lost", 9, vec![call(0, 1, takes(1, 1, 1), gets("a")), call(2, 3, Op::Stock, stock(9, 0))]),
        (
            "a read from the past",
            9,
            vec![
                call(0, 1, takes(1, 1, 1), gets("a")),
                call(2, 3, Op::Stock, stock(8, 1)),
                call(4, 5, takes(1, 2, 1), gets("b")),
                call(6, 7, Op::Stock, stock(8, 1)),
            ],
        ),
        ("sold out with units left", 2, vec![call(0, 1, takes(1, 1, 1), gets("a")), call(2, 3, takes(2, 1, 1), Answer::SoldOut)]),
        (
            "released and confirmed",
            2,
            vec![
                call(0, 1, takes(1, 1, 1), gets("a")),
                call(2, 4, Op::Confirm { user: 1, key: 1 }, Answer::Is(Status::Confirmed)),
                call(3, 5, Op::Release { user: 1, key: 1 }, Answer::Is(Status::Released)),
            ],
        ),
        ("an effect before its call", 1, vec![call(0, 1, takes(1, 1, 1), Answer::SoldOut), lost(2, takes(2, 1, 1))]),
        ("a lost call twice", 3, vec![lost(0, takes(1, 1, 1)), call(1, 2, Op::Stock, stock(2, 1)), call(3, 4, Op::Stock, stock(3, 0))]),
    ];
    for (name, quantity, history) in broken {
        assert!(check::<Shop>(State::new(quantity, PER_USER), &history).is_err(), "{name} was not found");
    }
    let right: Vec<(&str, u32, History)> = vec![
        ("who comes second", 1, vec![call(0, 2, takes(1, 1, 1), gets("a")), call(1, 3, takes(2, 1, 1), Answer::SoldOut)]),
        (
            "a lost call that happened",
            1,
            vec![lost(0, takes(1, 1, 1)), call(1, 2, takes(2, 1, 1), Answer::SoldOut), call(3, 4, takes(1, 1, 1), gets("a"))],
        ),
        ("a lost call that did not", 1, vec![lost(0, takes(1, 1, 1)), call(1, 2, takes(2, 1, 1), gets("b"))]),
        (
            "a read in the middle",
            9,
            vec![call(0, 9, takes(1, 1, 1), gets("a")), call(1, 2, Op::Stock, stock(9, 0)), call(3, 4, Op::Stock, stock(8, 1))],
        ),
        ("a key again, with less", 9, vec![call(0, 1, takes(1, 1, 1), gets("a")), call(2, 3, takes(1, 1, 2), Answer::KeyReused)]),
    ];
    for (name, quantity, history) in right {
        assert!(check::<Shop>(State::new(quantity, PER_USER), &history).is_ok(), "{name} is right");
    }
}
