//! The goods drop: a thousand buyers, one unit each; a fifth leave before paying, a fifth of the payments fail.
//! What the source lists as never to happen is checked against the clients' own books and against SQL.

use crate::harness::{Server, seeded, until};
use futures_util::StreamExt;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const BUYERS: usize = 1_000;

/// What one buyer's own book says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Book {
    Paid,
    PaymentFailed,
    Left,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_buyers_and_the_books_agree() {
    let mut random = seeded("seed_001");
    let server = Arc::new(super::server().await);
    server.put_offer("shoe", json!({"kind": "goods", "quantity": BUYERS, "hold_seconds": 40, "standby": true, "per_user_limit": 1})).await;
    // The source's two steps: a fifth leave at the payment screen, and of those who pay, a fifth fail.
    let fates: Vec<Book> = (0..BUYERS)
        .map(|_| match (random.below(5), random.below(5)) {
            (0, _) => Book::Left,
            (_, 0) => Book::PaymentFailed,
            _ => Book::Paid,
        })
        .collect();
    let mut held: Vec<(usize, String, Book)> = futures_util::stream::iter(fates.into_iter().enumerate())
        .map(|(buyer, fate)| {
            let server = server.clone();
            async move {
                let (status, claim) = server.claim("shoe", &format!("b{buyer}"), Some("order"), json!({"quantity": 1})).await;
                assert_eq!(status, StatusCode::CREATED, "{claim}");
                assert_eq!(claim["status"], "held");
                (buyer, claim["id"].as_str().unwrap().to_string(), fate)
            }
        })
        .buffer_unordered(128)
        .collect()
        .await;
    held.sort();
    let offer = server.offer("shoe").await;
    assert_eq!((offer["state"].as_str(), offer["held"].as_u64()), (Some("sold_out"), Some(1_000)));
    let waiting = join_standby(&server, 50).await;

    futures_util::stream::iter(held.clone())
        .for_each_concurrent(128, |(_, id, fate)| {
            let server = server.clone();
            async move {
                let step = match fate {
                    Book::Paid => "confirm",
                    Book::PaymentFailed => "release",
                    Book::Left => return,
                };
                let (status, claim) = server.service_post(&format!("/v1/claims/{id}/{step}"), json!({})).await;
                assert_eq!(status, StatusCode::OK, "{claim}");
            }
        })
        .await;
    // The released units went to standby in order, before anyone new.
    let served = served_in_order(&server, &waiting).await;
    let (status, refused) = server.claim("shoe", "newcomer", None, json!({"quantity": 1})).await;
    let count = |book| held.iter().filter(|(_, _, fate)| *fate == book).count();
    let freed = count(Book::PaymentFailed);
    assert_eq!(served, freed.min(waiting.len()));
    assert_eq!(status == StatusCode::CREATED, freed > waiting.len(), "{refused}");

    // Whoever left pays too late: the deadline has passed, whatever a sweeper did.
    until("the holds of those who left have expired", Duration::from_secs(120), async || server.offer("shoe").await["held"] == 0).await;
    for (_, id, _) in held.iter().filter(|(_, _, fate)| *fate == Book::Left).take(20) {
        let (status, refused) = server.service_post(&format!("/v1/claims/{id}/confirm"), json!({})).await;
        assert_eq!((status, refused["code"].as_str()), (StatusCode::CONFLICT, Some("deadline_passed")));
    }
    server.until_projected().await;
    assert_eq!(server.sql("select count(*) from claims where offer_id = 'shoe' and status = 'confirmed'"), count(Book::Paid).to_string());
    assert_eq!(server.sql("select count(*) from claims where offer_id = 'shoe' and status = 'released'"), freed.to_string());
    let late = "select count(*) from claims where status = 'confirmed' and updated_at >= hold_expires_at";
    assert_eq!(server.sql(late), "0", "nothing is confirmed after its deadline");
    let expired = format!(
        "select count(*) from claims c join claims b on b.id = c.id where c.status = 'expired' and c.user_id in ({})",
        users(&held)
    );
    assert_eq!(server.sql(&expired), count(Book::Left).to_string());
    server.assert_reconciled();
}

fn users(held: &[(usize, String, Book)]) -> String {
    held.iter().map(|(buyer, ..)| format!("'b{buyer}'")).collect::<Vec<_>>().join(",")
}

async fn join_standby(server: &Server, people: usize) -> Vec<(String, String)> {
    let mut waiting = Vec::new();
    for person in 0..people {
        let user = format!("s{person}");
        let (status, refused) = server.claim("shoe", &user, None, json!({"quantity": 1})).await;
        assert_eq!((status, refused["code"].as_str()), (StatusCode::CONFLICT, Some("sold_out")));
        assert_eq!((refused["standby_possible"].as_bool(), refused["held"].as_u64()), (Some(true), Some(1_000)));
        let (status, place) = server.user_post(&user, "/v1/offers/shoe/standby", json!({"quantity": 1})).await;
        assert_eq!(status, StatusCode::CREATED, "{place}");
        assert_eq!((place["status"].as_str(), place["position"].as_u64()), (Some("waiting"), Some(person as u64 + 1)));
        waiting.push((user, place["id"].as_str().unwrap().to_string()));
    }
    waiting
}

/// How many were served; the served are the first of the line, and each has a hold.
async fn served_in_order(server: &Server, waiting: &[(String, String)]) -> usize {
    let mut states = Vec::new();
    for (user, id) in waiting {
        let (_, place) = server.user_get(user, &format!("/v1/standby/{id}")).await;
        if place["status"] == "served" {
            let (status, claim): (StatusCode, Value) =
                server.user_get(user, &format!("/v1/claims/{}", place["claim"].as_str().unwrap())).await;
            assert_eq!((status, claim["user"].as_str()), (StatusCode::OK, Some(user.as_str())));
        }
        states.push(place["status"] == "served");
    }
    let served = states.iter().filter(|served| **served).count();
    assert!(states[..served].iter().all(|served| *served), "served out of order: {states:?}");
    served
}

#[tokio::test]
async fn nobody_buys_before_opening_or_after_closing() {
    let server = super::server().await;
    let at = |ms: u64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
        jiff::Timestamp::from_millisecond(now + ms as i64).unwrap().to_string()
    };
    let (opens, closes) = (at(10_000), at(25_000));
    server.put_offer("drop", json!({"kind": "goods", "quantity": 5, "opens_at": opens, "closes_at": closes})).await;
    let (status, early) = server.claim("drop", "abuser", None, json!({"quantity": 1})).await;
    assert_eq!((status, early["code"].as_str()), (StatusCode::CONFLICT, Some("not_open")));
    assert_eq!(early["opens_at"].as_str().unwrap()[..22], opens[..22]);
    assert_eq!(server.offer("drop").await["state"], "not_open");
    let opened = async || server.claim("drop", "buyer", Some("k"), json!({"quantity": 1})).await.0 == StatusCode::CREATED;
    until("the offer opens", Duration::from_secs(60), opened).await;
    let closed = async || {
        let (status, refused) = server.claim("drop", "late", None, json!({"quantity": 9})).await;
        (status, refused["code"].as_str()) == (StatusCode::CONFLICT, Some("closed"))
    };
    until("the offer closes", Duration::from_secs(60), closed).await;
    assert_eq!(server.offer("drop").await["held"], 1, "refusals change nothing");
}
