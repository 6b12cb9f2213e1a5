//! The farm-stay: seven bookings of two against a capacity of ten, and a thank-you coupon for whoever booked.
//! Threads that all read "10 left" oversold it; here exactly five succeed.

use crate::harness::{Server, until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

async fn stay(server: &Server, body: Value) {
    server.put_offer("thanks", json!({"kind": "coupon", "quantity": 100, "grant_only": true})).await;
    let mut offer = json!({"kind": "booking", "quantity": 10, "grants": "thanks"});
    offer.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    server.put_offer("stay", offer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seven_bookings_of_two_against_ten_are_exactly_five_with_a_coupon_each() {
    let server = Arc::new(super::server().await);
    for round in 0..20 {
        let (stay, thanks) = (format!("stay-{round}"), format!("thanks-{round}"));
        server.put_offer(&thanks, json!({"kind": "coupon", "quantity": 100, "grant_only": true})).await;
        server.put_offer(&stay, json!({"kind": "booking", "quantity": 10, "grants": thanks})).await;
        let bookings = (0..7).map(|user| {
            let (server, stay) = (server.clone(), stay.clone());
            tokio::spawn(async move {
                let user = format!("guest-{user}");
                let (status, claim) =
                    server.claim(&stay, &user, Some("booking"), json!({"quantity": 2, "attributes": {"check_in": "2026-05-01"}})).await;
                if status != StatusCode::CREATED {
                    assert_eq!((status, claim["code"].as_str()), (StatusCode::CONFLICT, Some("sold_out")));
                    return None;
                }
                let path = format!("/v1/claims/{}/confirm", claim["id"].as_str().unwrap());
                // Paid twice over by an impatient payment service: still one coupon.
                let (first, again) = tokio::join!(server.service_post(&path, json!({})), server.service_post(&path, json!({})));
                assert_eq!((first.0, again.0), (StatusCode::OK, StatusCode::OK));
                assert_eq!(first.1["granted"], again.1["granted"]);
                Some(first.1["granted"][0].as_str().unwrap().to_string())
            })
        });
        let coupons: Vec<Option<String>> = futures_util::future::join_all(bookings).await.into_iter().map(Result::unwrap).collect();
        let coupons: HashSet<String> = coupons.into_iter().flatten().collect();
        assert_eq!(coupons.len(), 5, "exactly five bookings, each with a coupon of its own");
        let offer = server.offer(&stay).await;
        assert_eq!((offer["confirmed"].as_u64(), offer["remaining"].as_u64()), (Some(10), Some(0)));
        assert_eq!(server.offer(&thanks).await["confirmed"], 5);
    }
    server.until_projected().await;
    assert_eq!(server.sql("select count(*), sum(quantity) from claims where offer_id like 'stay-%' and status = 'confirmed'"), "100|200");
    assert_eq!(
        server.sql("select count(*), count(distinct concat(user_id, offer_id)) from claims where offer_id like 'thanks-%'"),
        "100|100"
    );
    server.assert_reconciled();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_booking_gives_no_second_coupon_and_a_coupon_cannot_be_taken_without_booking() {
    let server = super::server().await;
    stay(&server, json!({"hold_seconds": 0})).await;
    let (status, first) = server.claim("stay", "guest", None, json!({"quantity": 2})).await;
    assert_eq!((status, first["status"].as_str()), (StatusCode::CREATED, Some("confirmed")));
    assert_eq!(first["granted"].as_array().unwrap().len(), 1);
    let (_, second) = server.claim("stay", "guest", None, json!({"quantity": 2})).await;
    assert_eq!((second["status"].as_str(), second["granted"].as_array().unwrap().len()), (Some("confirmed"), 0));
    let (status, refused) = server.claim("thanks", "thief", None, json!({"quantity": 1})).await;
    assert_eq!((status, refused["code"].as_str()), (StatusCode::FORBIDDEN, Some("forbidden")));
    // Returning the coupon does not make its owner eligible again.
    let coupon = first["granted"][0].as_str().unwrap();
    let (status, _) = server.admin(Method::POST, &format!("claims/{coupon}/return"), json!({"restock": true})).await;
    assert_eq!(status, StatusCode::OK);
    let (_, third) = server.claim("stay", "guest", None, json!({"quantity": 2})).await;
    assert_eq!(third["granted"].as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_booking_and_its_coupon_are_there_together_after_a_kill() {
    let mut server = super::server().await;
    stay(&server, json!({})).await;
    let mut confirmed = Vec::new();
    for guest in 0..5 {
        let (_, claim) = server.claim("stay", &format!("guest-{guest}"), None, json!({"quantity": 2})).await;
        let id = claim["id"].as_str().unwrap().to_string();
        let (status, claim) = server.service_post(&format!("/v1/claims/{id}/confirm"), json!({})).await;
        assert_eq!(status, StatusCode::OK);
        confirmed.push((format!("guest-{guest}"), id, claim["granted"][0].as_str().unwrap().to_string()));
        server.kill();
        server.restart().await;
        for (user, booking, coupon) in &confirmed {
            let (_, claim) = server.user_get(user, &format!("/v1/claims/{booking}")).await;
            assert_eq!((claim["status"].as_str(), claim["granted"][0].as_str()), (Some("confirmed"), Some(coupon.as_str())));
            let (_, claim) = server.user_get(user, &format!("/v1/claims/{coupon}")).await;
            assert_eq!(claim["status"], "confirmed");
        }
    }
    let rows = "select count(*) from claims where offer_id = 'thanks' and status = 'confirmed'";
    until("the ledger has the coupons", Duration::from_secs(40), async || server.sql(rows) == "5").await;
    server.assert_reconciled();
}
