//! The coupon drop: 20,000 coupons, one each; 30,000 users and as many impatient second clicks.

use futures_util::StreamExt;
use reqwest::StatusCode;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

const COUPONS: usize = 20_000;
const USERS: usize = 30_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_thousand_users_click_twice_for_twenty_thousand_coupons() {
    let server = Arc::new(super::server().await);
    server.put_offer("coupon", json!({"kind": "coupon", "quantity": COUPONS})).await;
    // Both clicks of a user are under way at once, one of them with the key of the other for every second user.
    let answers: Vec<(usize, StatusCode, String)> = futures_util::stream::iter(0..USERS * 2)
        .map(|click| {
            let server = server.clone();
            async move {
                let user = click / 2;
                let key = if user % 2 == 0 { Some("first-click".to_string()) } else { Some(format!("click-{}", click % 2)) };
                let (status, answer) = server.claim("coupon", &format!("u{user}"), key.as_deref(), json!({"quantity": 1})).await;
                let what = if status == StatusCode::CREATED { &answer["id"] } else { &answer["code"] };
                (user, status, what.as_str().unwrap_or_default().to_string())
            }
        })
        .buffer_unordered(256)
        .collect()
        .await;
    let mut won: HashMap<usize, String> = HashMap::new();
    for (user, status, what) in &answers {
        match *status {
            StatusCode::CREATED => {
                let first = won.entry(*user).or_insert_with(|| what.clone());
                assert_eq!(first, what, "user {user} has two coupons");
            }
            StatusCode::CONFLICT => assert!(matches!(what.as_str(), "sold_out" | "limit_reached"), "{what}"),
            other => panic!("{other} {what}"),
        }
    }
    assert_eq!(won.len(), COUPONS, "every coupon found its user");
    assert_eq!(server.offer("coupon").await["confirmed"], COUPONS);
    server.until_projected().await;
    let counted = "select count(*), count(distinct user_id), sum(quantity) from claims where offer_id = 'coupon' and status = 'confirmed'";
    assert_eq!(server.sql(counted), format!("{COUPONS}|{COUPONS}|{COUPONS}"));
    // COUNT instead of a counter: the check that the source wished for.
    assert_eq!(
        server.sql("select status, count(*), sum(quantity) from claims where offer_id = 'coupon' group by status"),
        format!("confirmed|{COUPONS}|{COUPONS}")
    );
    server.assert_reconciled();
}
