//! The demo's own small backend: there only with `--demo`, for a visitor what the visitor has and no more, and a crowd within bounds that leaves nothing behind.

use crate::harness::{Server, read, until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);
/// A crowd is answered for by then, whether all of it is there, or gone, or not.
const ANSWERED_ANYWAY: Duration = Duration::from_secs(8);

async fn demo() -> Server {
    Server::start_with(&[], &["--demo"]).await
}

/// A visitor: a cookie, and the calls that a page makes with it.
struct Visitor<'a> {
    server: &'a Server,
    cookie: String,
}

impl<'a> Visitor<'a> {
    async fn new(server: &'a Server) -> Self {
        let response = server.request(Method::GET, "/demo/api/v1/claims").send().await.unwrap();
        let cookie = response.headers()["set-cookie"].to_str().unwrap().to_string();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && cookie.contains("Path=/demo"), "{cookie}");
        Self { server, cookie: cookie.split(';').next().unwrap().to_string() }
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = self.server.request(method, &format!("/demo/api{path}")).header("cookie", &self.cookie);
        read(request.json(&body).send().await.unwrap()).await
    }

    async fn book(&self, guests: u32) -> (String, String) {
        let (status, claim) = self.call(Method::POST, "/v1/offers/farm-stay/claims", json!({"quantity": guests})).await;
        assert_eq!((status, claim["status"].as_str()), (StatusCode::CREATED, Some("held")), "{claim}");
        (claim["id"].as_str().unwrap().into(), claim["user"].as_str().unwrap().into())
    }

    async fn pay(&self, claim: &str, outcome: &str) -> (StatusCode, Value) {
        self.call(Method::POST, "/pay", json!({"claim": claim, "outcome": outcome})).await
    }
}

#[track_caller]
fn refused(answer: &(StatusCode, Value), status: u16, code: &str) {
    assert_eq!((answer.0.as_u16(), answer.1["code"].as_str()), (status, Some(code)), "{}", answer.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_a_demo_only_where_one_is_asked_for() {
    let server = Server::start().await;
    for (method, path) in
        [(Method::GET, "/demo"), (Method::GET, "/demo/api/v1/claims"), (Method::POST, "/demo/api/pay"), (Method::POST, "/demo/api/crowd")]
    {
        let answer = read(server.request(method, path).json(&json!({})).send().await.unwrap()).await;
        refused(&answer, 404, "not_found");
    }
    let server = demo().await;
    let page = server.request(Method::GET, "/demo").send().await.unwrap();
    assert!(page.status().is_success() && page.headers()["content-security-policy"].to_str().unwrap().contains("script-src 'self'"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_till_settles_what_the_visitor_has_and_nothing_else() {
    let server = demo().await;
    let (one, other) = (Visitor::new(&server).await, Visitor::new(&server).await);
    let (claim, user) = one.book(3).await;

    refused(&other.pay(&claim, "succeed").await, 404, "unknown_claim");
    refused(&other.pay(&claim, "fail").await, 404, "unknown_claim");
    refused(&other.call(Method::GET, &format!("/v1/claims/{claim}"), Value::Null).await, 404, "unknown_claim");
    refused(&other.call(Method::POST, &format!("/v1/claims/{claim}/release"), json!({})).await, 404, "unknown_claim");
    refused(&one.pay("../../admin/api/keys", "succeed").await, 404, "unknown_claim");
    refused(&one.pay(&claim, "steal").await, 400, "invalid_request");
    let unknown = Visitor { server: &server, cookie: "bunho_demo=0000".into() };
    refused(&unknown.pay(&claim, "succeed").await, 401, "unauthenticated");
    // Not past the till either: a user may not confirm, whoever one says one is.
    let confirm = format!("/v1/claims/{claim}/confirm");
    refused(&read(server.request(Method::POST, &confirm).send().await.unwrap()).await, 401, "unauthenticated");
    refused(&server.user_post(&user, &confirm, json!({})).await, 403, "forbidden");
    assert_eq!(server.offer("farm-stay").await["held"], 3);

    let (status, paid) = one.pay(&claim, "succeed").await;
    assert_eq!((status, paid["status"].as_str()), (StatusCode::OK, Some("confirmed")));
    assert_eq!(paid["granted"].as_array().unwrap().len(), 1, "the thank-you coupon");
    refused(&one.pay(&claim, "fail").await, 409, "not_held");
    let (claim, _) = one.book(2).await;
    assert_eq!(one.pay(&claim, "fail").await.1["status"], "released");
    let (_, mine) = one.call(Method::GET, "/v1/claims", Value::Null).await;
    assert_eq!(mine["claims"].as_array().unwrap().len(), 3, "{mine}");
    let (_, nothing) = other.call(Method::GET, "/v1/claims", Value::Null).await;
    assert_eq!(nothing["claims"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shop_sells_what_it_has_and_shows_its_key_to_nobody() {
    let server = demo().await;
    let visitor = Visitor::new(&server).await;
    for offer in ["sneaker-drop", "farm-thanks", "nothing", "farm-stay%2F..%2F..%2Fclaims"] {
        let taken = visitor.call(Method::POST, &format!("/v1/offers/{offer}/claims"), json!({"quantity": 1})).await;
        refused(&taken, 404, "unknown_offer");
    }
    refused(&visitor.call(Method::POST, "/v1/offers/demo-sneakers/claims", json!({"quantity": 1})).await, 403, "pass_required");
    refused(&visitor.call(Method::POST, "/v1/offers/demo-sneakers/standby", json!({"quantity": 1})).await, 403, "pass_required");
    let huge = json!({"quantity": 1, "attributes": {"note": "🙂".repeat(2_000)}});
    refused(&visitor.call(Method::POST, "/v1/offers/farm-stay/claims", huge).await, 400, "invalid_request");
    let (_, keys) = server.admin(Method::GET, "keys", Value::Null).await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "the shop's key is in no list: {keys}");

    // A form of another site has no JSON, and its cookie stays at home.
    let form = server.request(Method::POST, "/demo/api/crowd").header("cookie", &visitor.cookie).body("size=100").send().await.unwrap();
    assert_eq!(form.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);

    // A hundred at a time: faster than what is given out anew.
    let told_to_wait = async || {
        let calls = (0..100).map(|_| server.request(Method::POST, "/demo/api/visitor").json(&json!({})).send());
        let answers = futures_util::future::join_all(calls).await;
        answers
            .into_iter()
            .map(Result::unwrap)
            .any(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS && answer.headers().contains_key("retry-after"))
    };
    until("a script is slowed down", DEADLINE, told_to_wait).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_bounded_and_leaves_nothing_behind() {
    let server = demo().await;
    let (one, other) = (Visitor::new(&server).await, Visitor::new(&server).await);
    for size in [json!(0), json!(9), json!(2_001), json!(-1), json!(1e9), json!("many"), Value::Null] {
        refused(&one.call(Method::POST, "/crowd", json!({"size": size})).await, 400, "invalid_request");
    }
    let nobody = server.request(Method::POST, "/demo/api/crowd").json(&json!({"size": 100})).send().await.unwrap();
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(one.call(Method::DELETE, "/crowd", Value::Null).await.0, StatusCode::NO_CONTENT, "there is none");

    let asked = Instant::now();
    let (status, brought) = one.call(Method::POST, "/crowd", json!({"size": 200})).await;
    let in_time = asked.elapsed() < ANSWERED_ANYWAY;
    assert_eq!((status, brought["crowd"]["mine"].as_bool()), (StatusCode::CREATED, Some(true)), "{brought}");
    let people = brought["crowd"]["people"].as_str().unwrap();
    assert_eq!(people.len(), 200);
    if in_time {
        assert!(!people[..80].contains('.') && people.ends_with('.'), "some are there, the others come: {people}");
    }
    refused(&other.call(Method::POST, "/crowd", json!({"size": 100})).await, 409, "in_use");
    refused(&other.call(Method::DELETE, "/crowd", Value::Null).await, 403, "forbidden");
    let (_, seen) = other.call(Method::GET, "/crowd", Value::Null).await;
    assert_eq!(seen["crowd"]["mine"], false);
    let forms = async || server.get("/zones/demo-shop/status").await.1["waiting"].as_u64().unwrap() >= 20;
    until("a line forms", DEADLINE, forms).await;

    let sold = async || server.offer("demo-sneakers").await["confirmed"].as_u64().unwrap() >= 3;
    until("some have paid", DEADLINE, sold).await;
    let asked = Instant::now();
    assert_eq!(one.call(Method::DELETE, "/crowd", Value::Null).await.0, StatusCode::NO_CONTENT);
    let in_time = asked.elapsed() < ANSWERED_ANYWAY;
    let gone = async || one.call(Method::GET, "/crowd", Value::Null).await.1["crowd"].is_null();
    if in_time {
        assert!(gone().await, "it is gone when that is answered");
    }
    until("the crowd is gone", DEADLINE, gone).await;
    let (_, line) = server.get("/zones/demo-shop/status").await;
    assert_eq!(line["waiting"], 0, "{line}");
    let shelf = server.offer("demo-sneakers").await;
    assert_eq!((shelf["remaining"].as_u64(), shelf["held"].as_u64()), (Some(80), Some(0)), "{shelf}");
    let (_, claims) = server.admin(Method::GET, "offers/demo-sneakers/claims?status=returned&limit=200", Value::Null).await;
    let returned = claims["claims"].as_array().unwrap().len();
    assert!(returned >= 2, "{claims}");
    server.until_projected().await;
    assert_eq!(server.sql("select count(*) from claims where offer_id = 'demo-sneakers' and status in ('held', 'confirmed')"), "0");
    assert_eq!(one.call(Method::POST, "/crowd", json!({"size": 10})).await.0, StatusCode::CREATED, "and the next may come");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_is_through_goes_by_itself() {
    let server = demo().await;
    let visitor = Visitor::new(&server).await;
    // Somebody has bought before: the shelf is filled up for the crowd, and what is theirs stays theirs.
    let (_, entered) = server.join("demo-shop").await;
    let pass = entered["pass"].as_str().unwrap();
    let bought = server.request(Method::POST, "/demo/api/v1/offers/demo-sneakers/claims").header("cookie", &visitor.cookie);
    let (_, claim) = read(bought.header("bunho-pass", pass).json(&json!({"quantity": 2})).send().await.unwrap()).await;
    assert_eq!(visitor.pay(claim["id"].as_str().unwrap(), "succeed").await.0, StatusCode::OK, "{claim}");
    assert_eq!(visitor.call(Method::POST, "/crowd", json!({"size": 10})).await.0, StatusCode::CREATED);
    let gone = async || visitor.call(Method::GET, "/crowd", Value::Null).await.1["crowd"].is_null();
    until("the crowd is gone", Duration::from_secs(90), gone).await;
    let shelf = server.offer("demo-sneakers").await;
    let numbers = ["quantity", "remaining", "held", "confirmed"].map(|field| shelf[field].as_u64().unwrap());
    assert_eq!(numbers, [82, 80, 0, 2], "{shelf}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_crowd_stops_and_starts_again() {
    let mut server = demo().await;
    let cookie = Visitor::new(&server).await.cookie;
    let visitor = Visitor { server: &server, cookie: cookie.clone() };
    let (claim, user) = visitor.book(4).await;
    assert_eq!(visitor.call(Method::POST, "/crowd", json!({"size": 500})).await.0, StatusCode::CREATED);
    let sold = async || server.offer("demo-sneakers").await["confirmed"].as_u64().unwrap() >= 3;
    until("some have paid", DEADLINE, sold).await;
    assert_eq!(server.stop(), 0);
    server.restart().await;
    server.until_projected().await;
    let left = server.sql("select count(*) from claims where offer_id = 'demo-sneakers' and status in ('held', 'confirmed')");
    assert_eq!(left, "0", "a crowd gives back what it has before the server ends");
    let visitor = Visitor { server: &server, cookie };
    // The same visitor, by the same cookie, at a till with another key.
    let (status, paid) = visitor.pay(&claim, "succeed").await;
    assert_eq!((status, paid["user"].as_str()), (StatusCode::OK, Some(user.as_str())), "{paid}");
    assert_eq!(visitor.call(Method::GET, "/crowd", Value::Null).await.1["crowd"], Value::Null);
}
