//! The contract row by row: statuses, codes, headers; hostile input; slow and idle sockets. Nothing answers 500, and no refusal
//! changes stock.

use crate::harness::{ADMIN_KEY, Server, read, until};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One request and what must come back.
struct Case {
    request: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    status: u16,
    code: &'static str,
}

const JSON: (&str, &str) = ("content-type", "application/json");
const USER: (&str, &str) = ("x-bunho-user", "u1");

const fn case(
    request: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    status: u16,
    code: &'static str,
) -> Case {
    Case { request, headers, body, status, code }
}

const CLAIM: &str = "POST /v1/offers/drop/claims";

const CASES: &[Case] = &[
    // Quantities.
    case(CLAIM, &[JSON, USER], r#"{"quantity":0}"#, 400, "quantity_invalid"),
    case(CLAIM, &[JSON, USER], r#"{"quantity":-1}"#, 400, "quantity_invalid"),
    case(CLAIM, &[JSON, USER], r#"{"quantity":99}"#, 400, "quantity_invalid"),
    case(CLAIM, &[JSON, USER], r#"{"quantity":4294967297}"#, 400, "quantity_invalid"),
    case(CLAIM, &[JSON, USER], r#"{"quantity":99999999999999999999999}"#, 400, "quantity_invalid"),
    case(CLAIM, &[JSON, USER], r#"{"quantity":1.5}"#, 400, "invalid_request"),
    case(CLAIM, &[JSON, USER], r#"{"quantity":"1"}"#, 400, "invalid_request"),
    case(CLAIM, &[JSON, USER], r#"{"quantity":null}"#, 400, "invalid_request"),
    // Bodies.
    case(CLAIM, &[JSON, USER], r#"{"quantity":1,"price":0}"#, 400, "invalid_request"),
    case(CLAIM, &[JSON, USER], r#"{"quantity":1"#, 400, "invalid_request"),
    case(CLAIM, &[JSON, USER], "", 400, "invalid_request"),
    case(CLAIM, &[JSON, USER], "[]", 400, "invalid_request"),
    case(CLAIM, &[JSON, USER], r#"{"quantity":1,"attributes":[]}"#, 400, "invalid_request"),
    case(CLAIM, &[USER, ("content-type", "text/plain")], r#"{"quantity":1}"#, 415, "unsupported_media_type"),
    case(CLAIM, &[JSON, USER, ("accept", "text/html")], r#"{"quantity":1}"#, 406, "not_acceptable"),
    // Who calls.
    case(CLAIM, &[JSON], r#"{"quantity":1}"#, 401, "unauthenticated"),
    case(CLAIM, &[JSON, USER, ("authorization", "Bearer bk_wrong")], r#"{"quantity":1}"#, 401, "unauthenticated"),
    case(CLAIM, &[JSON, ("x-bunho-user", "")], r#"{"quantity":1}"#, 400, "invalid_request"),
    case(CLAIM, &[JSON, USER, ("idempotency-key", "with space")], r#"{"quantity":1}"#, 400, "invalid_request"),
    case("POST /v1/claims/00000001-0000-8000-8000-000000000001/confirm", &[JSON], "{}", 401, "unauthenticated"),
    case("GET /v1/claims", &[], "", 401, "unauthenticated"),
    // What is not there.
    case("POST /v1/offers/none/claims", &[JSON, USER], r#"{"quantity":1}"#, 404, "unknown_offer"),
    case("GET /v1/offers/none", &[], "", 404, "unknown_offer"),
    case("GET /v1/claims/00000001-0000-8000-8000-000000000001", &[USER], "", 404, "unknown_claim"),
    case("GET /v1/claims/nonsense", &[USER], "", 404, "unknown_claim"),
    case("GET /v1/standby/nonsense", &[USER], "", 404, "unknown_standby"),
    case("GET /nowhere", &[], "", 404, "not_found"),
    case("DELETE /v1/offers/drop", &[], "", 405, "method_not_allowed"),
    case("POST /v1/offers/plain/standby", &[JSON, USER], r#"{"quantity":1}"#, 409, "no_standby"),
    case("GET /v1/claims?limit=0", &[USER], "", 400, "invalid_request"),
    case("GET /v1/claims?cursor=nonsense", &[USER], "", 400, "invalid_request"),
    // The line.
    case("POST /traffic/wait", &[JSON], r#"{"zoneId":"NONE"}"#, 404, "unknown_zone"),
    case("POST /traffic/wait", &[JSON], r#"{"clientIp":"127.0.0.1"}"#, 400, "invalid_request"),
    case("POST /traffic/wait", &[JSON], r#"{"zoneId":7}"#, 400, "invalid_request"),
    case("POST /traffic/entry", &[JSON], r#"{"zoneId":"ZONE","token":"forged"}"#, 401, "ticket_invalid"),
    case("POST /traffic/entry", &[JSON], r#"{"zoneId":"ZONE"}"#, 400, "invalid_request"),
    case("GET /zones/NONE/status", &[], "", 404, "unknown_zone"),
    case("GET /verify?zone=ZONE", &[], "", 401, "pass_required"),
    case("GET /verify?zone=ZONE&pass=a.b.c", &[], "", 401, "pass_invalid"),
    // Administration.
    case("GET /admin/api/zones", &[], "", 401, "unauthenticated"),
    case("PUT /admin/api/zones/Z", &[JSON, USER], r#"{"entry_limit_per_minute":1}"#, 401, "unauthenticated"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_has_its_code_and_changes_nothing() {
    let server = prepared().await;
    let before = server.offer("drop").await;
    for case in CASES {
        let (method, path) = case.request.split_once(' ').unwrap();
        let mut request = server.request(method.parse().unwrap(), path).body(case.body);
        for (name, value) in case.headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_string());
        let (status, problem) = read(response).await;
        let name = format!("{} {:?} {}: {problem}", case.request, case.headers, case.body);
        assert_eq!((status.as_u16(), problem["code"].as_str()), (case.status, Some(case.code)), "{name}");
        assert_eq!(kind.as_deref(), Some("application/problem+json"), "{name}");
        for field in ["type", "title", "status", "detail", "request_id"] {
            assert!(!problem[field].is_null(), "{name} lacks {field}");
        }
    }
    assert_eq!(server.offer("drop").await, before, "a refusal changes nothing");
}

async fn prepared() -> Server {
    let server = Server::start().await;
    server.put_offer("drop", json!({"kind": "goods", "quantity": 10, "max_per_claim": 5, "standby": true})).await;
    server.put_offer("limited", json!({"kind": "goods", "quantity": 10, "max_per_claim": 5, "per_user_limit": 6})).await;
    server.put_offer("plain", json!({"kind": "goods", "quantity": 10})).await;
    server.put_zone("ZONE", json!({"entry_limit_per_minute": 10})).await;
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_replay_and_are_not_reused() {
    let server = prepared().await;
    let send = async |body: Value| {
        let request = server.request(Method::POST, "/v1/offers/drop/claims").header("x-bunho-user", "u1").header("idempotency-key", "k");
        request.json(&body).send().await.unwrap()
    };
    let first = send(json!({"quantity": 2, "attributes": {"b": 1, "a": [2]}})).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    assert!(first.headers().get("idempotency-replayed").is_none());
    let location = first.headers()["location"].to_str().unwrap().to_string();
    let claim = read(first).await.1;
    assert_eq!(location, format!("/v1/claims/{}", claim["id"].as_str().unwrap()));
    let (status, _) = server.user_post("u1", &format!("{location}/release"), json!({})).await;
    assert_eq!(status, StatusCode::OK);
    // The order of members is not part of a body's meaning; what became of the claim does not change the answer.
    let again = send(json!({"attributes": {"a": [2], "b": 1}, "quantity": 2})).await;
    assert_eq!((again.status(), again.headers()["idempotency-replayed"].to_str().unwrap()), (StatusCode::CREATED, "true"));
    assert_eq!(read(again).await.1, claim);
    let reused = send(json!({"quantity": 1})).await;
    let (status, problem) = read(reused).await;
    assert_eq!((status.as_u16(), problem["code"].as_str()), (422, Some("key_reused")));
    // Another user's key is another key.
    assert_eq!(server.claim("drop", "u2", Some("k"), json!({"quantity": 1})).await.0, StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_belong_to_their_user_and_only_a_service_confirms() {
    let server = prepared().await;
    let (_, claim) = server.claim("limited", "owner", None, json!({"quantity": 2})).await;
    let path = format!("/v1/claims/{}", claim["id"].as_str().unwrap());
    let code = |(status, body): (StatusCode, Value)| (status.as_u16(), body["code"].as_str().unwrap_or_default().to_string());
    assert_eq!(code(server.user_get("thief", &path).await), (404, "unknown_claim".into()));
    assert_eq!(code(server.user_post("thief", &format!("{path}/release"), json!({})).await), (404, "unknown_claim".into()));
    assert_eq!(code(server.user_post("owner", &format!("{path}/confirm"), json!({})).await), (403, "forbidden".into()));
    assert_eq!(code(server.get(&path).await), (401, "unauthenticated".into()));
    // A viewer's key may look at administration, not act for users.
    let (status, viewer) = server.admin(Method::POST, "keys", json!({"role": "viewer", "name": "desk"})).await;
    assert_eq!(status, StatusCode::CREATED);
    let as_viewer = server.request(Method::POST, &format!("{path}/confirm")).bearer_auth(viewer["key"].as_str().unwrap());
    assert_eq!(code(read(as_viewer.send().await.unwrap()).await), (403, "forbidden".into()));
    let (_, service) = server.admin(Method::POST, "keys", json!({"role": "service", "name": "shop"})).await;
    let service = service["key"].as_str().unwrap();
    let confirm = |user: Option<&str>| {
        let mut request = server.request(Method::POST, &format!("{path}/confirm")).bearer_auth(service);
        if let Some(user) = user {
            request = request.header("x-bunho-user", user);
        }
        request
    };
    assert_eq!(code(read(confirm(Some("thief")).send().await.unwrap()).await), (404, "unknown_claim".into()));
    let (status, confirmed) = read(confirm(Some("owner")).send().await.unwrap()).await;
    assert_eq!((status, confirmed["status"].as_str(), confirmed["version"].as_u64()), (StatusCode::OK, Some("confirmed"), Some(2)));
    let (status, again) = read(confirm(None).send().await.unwrap()).await;
    assert_eq!((status, again), (StatusCode::OK, confirmed), "confirming twice is one confirmation");
    let (status, lost) = server.user_post("owner", &format!("{path}/release"), json!({})).await;
    assert_eq!((status.as_u16(), lost["code"].as_str(), lost["status"].as_u64()), (409, Some("not_held"), Some(409)));
    // A service without a user cannot claim: for whom?
    let request = server.request(Method::POST, "/v1/offers/limited/claims").bearer_auth(service).json(&json!({"quantity": 1}));
    let (status, problem) = read(request.send().await.unwrap()).await;
    assert_eq!((status.as_u16(), problem["errors"][0]["field"].as_str()), (400, Some("X-Bunho-User")));
    // The user's limit counts what they have.
    let (status, problem) = server.claim("limited", "owner", None, json!({"quantity": 5})).await;
    assert_eq!(
        (status.as_u16(), problem["code"].as_str(), problem["claims"][0].as_str()),
        (409, Some("limit_reached"), claim["id"].as_str())
    );
    let (_, list) = server.user_get("owner", "/v1/claims?offer=limited&status=confirmed").await;
    assert_eq!(list["claims"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_passes_and_tickets_open_nothing() {
    let server = prepared().await;
    server.put_zone("OTHER", json!({"entry_limit_per_minute": 10})).await;
    let inside = server.join("ZONE").await.1;
    let (pass, token) = (inside["pass"].as_str().unwrap().to_string(), inside["token"].as_str().unwrap().to_string());
    let verify = async |pass: &str, zone: &str| {
        let request = server.request(Method::GET, &format!("/verify?zone={zone}")).header("bunho-pass", pass);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(verify(&pass, "ZONE").await, 204);
    assert_eq!(verify(&pass, "OTHER").await, 403, "a good pass of another zone");
    let parts: Vec<&str> = pass.split('.').collect();
    let encode = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let decode = |part: &str| -> Value { serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    let mut longer = decode(parts[1]);
    longer["exp"] = json!(9_999_999_999_u64);
    let kid = decode(parts[0])["kid"].clone();
    for forged in [
        format!("{}.{}.", encode(json!({"alg": "none", "typ": "JWT"})), parts[1]),
        format!("{}.{}.{}", encode(json!({"alg": "none", "kid": kid})), parts[1], parts[2]),
        format!("{}.{}.{}", encode(json!({"alg": "HS256", "kid": kid})), parts[1], parts[2]),
        format!("{}.{}.{}", encode(json!({"alg": "EdDSA", "kid": "unknown"})), parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], encode(longer), parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        "x".repeat(5_000),
    ] {
        assert_eq!(verify(&forged, "ZONE").await, 401, "{forged}");
    }
    // A ticket is good for its zone only, and every edit ends it.
    assert_eq!(server.poll("OTHER", &token).await.0, StatusCode::UNAUTHORIZED);
    for place in 0..token.len() {
        let mut edited = token.clone().into_bytes();
        edited[place] = if edited[place] == b'A' { b'B' } else { b'A' };
        let (status, problem) = server.poll("ZONE", std::str::from_utf8(&edited).unwrap()).await;
        assert_eq!((status.as_u16(), problem["code"].as_str()), (401, Some("ticket_invalid")), "character {place}");
    }
    // Keys rotate: new passes are under the new key, old passes stay good.
    let (status, _) = server.admin(Method::POST, "pass-keys", json!({})).await;
    assert!(status.is_success());
    let (_, keys) = server.get("/.well-known/jwks.json").await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    let newer = server.join("ZONE").await.1["pass"].as_str().unwrap().to_string();
    assert_ne!(decode(newer.split('.').next().unwrap())["kid"], kid);
    assert_eq!((verify(&pass, "ZONE").await, verify(&newer, "ZONE").await), (204, 204));
    // A reset ends passes too.
    server.admin(Method::POST, "zones/ZONE/reset", json!({})).await;
    assert_eq!(verify(&pass, "ZONE").await, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_fast_is_told_and_one_quick_retry_is_fine() {
    let server = prepared().await;
    let period_ms = 20_000;
    let settings = json!({"entry_limit_per_minute": 0, "poll_interval_ms": period_ms, "poll_interval_max_ms": period_ms});
    server.put_zone("SLOW", settings).await;
    let token = server.join("SLOW").await.1["token"].as_str().unwrap().to_string();
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let request = server.request(Method::POST, "/traffic/entry").json(&json!({"zoneId": "SLOW", "token": token}));
        let response = request.send().await.unwrap();
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            assert!(response.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
        }
        statuses.push(response.status().as_u16());
    }
    assert_eq!(&statuses[..3], [200, 200, 200]);
    assert_eq!(statuses[4], 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_out_of_range_name_the_range_and_edits_compare_revisions() {
    let server = prepared().await;
    for (path, body, field) in [
        ("zones/Z", json!({}), "entry_limit_per_minute"),
        ("zones/Z", json!({"entry_limit_per_minute": -1}), "entry_limit_per_minute"),
        ("zones/Z", json!({"entry_limit_per_minute": 1, "poll_interval_ms": 99}), "poll_interval_ms"),
        ("zones/Z", json!({"entry_limit_per_minute": 1, "offer": "none"}), "offer"),
        ("zones/Z", json!({"entry_limit_per_minute": 1, "colour": "red"}), "colour"),
        ("offers/O", json!({"kind": "coupon"}), "quantity"),
        ("offers/O", json!({"kind": "coupon", "quantity": -1}), "quantity"),
        ("offers/O", json!({"kind": "ticket", "quantity": 1}), "kind"),
        ("offers/O", json!({"kind": "goods", "quantity": 1, "grants": "drop"}), "grants"),
        ("offers/O", json!({"kind": "goods", "quantity": 1, "zone": "none"}), "zone"),
        ("offers/O", json!({"kind": "goods", "quantity": 1, "opens_at": "tomorrow"}), "opens_at"),
    ] {
        let (status, problem) = server.admin(Method::PUT, path, body.clone()).await;
        assert_eq!((status.as_u16(), problem["code"].as_str()), (400, Some("invalid_request")), "{body}: {problem}");
        assert_eq!(problem["errors"][0]["field"].as_str(), Some(field), "{body}: {problem}");
    }
    let response = server.request(Method::GET, "/admin/api/offers/drop").bearer_auth(ADMIN_KEY).send().await.unwrap();
    let etag = response.headers()["etag"].to_str().unwrap().to_string();
    let put = |etag: &str| {
        let body = json!({"kind": "goods", "quantity": 20});
        server.request(Method::PUT, "/admin/api/offers/drop").bearer_auth(ADMIN_KEY).header("if-match", etag).json(&body)
    };
    assert_eq!(put(&etag).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(put(&etag).send().await.unwrap().status(), StatusCode::PRECONDITION_FAILED);
    // Never below what is taken.
    server.claim("drop", "u", None, json!({"quantity": 5})).await;
    let (status, _) = server.admin(Method::POST, "offers/drop/restock", json!({"delta": -16})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(server.admin(Method::POST, "offers/drop/restock", json!({"delta": -15})).await.0, StatusCode::OK);
    assert_eq!(server.offer("drop").await["remaining"], 0);
    assert_eq!(server.admin(Method::DELETE, "offers/drop", json!({})).await.0, StatusCode::CONFLICT);
    // Everything that was done is in the audit log, with who did it.
    let (_, audit) = server.admin(Method::GET, "audit", Value::Null).await;
    let actions: Vec<&str> = audit["entries"].as_array().unwrap().iter().filter_map(|entry| entry["action"].as_str()).collect();
    assert!(actions.contains(&"offer.restock") && actions.contains(&"zone.put"), "{actions:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_idle_and_oversized_clients_hurt_nobody_else() {
    let environment = [("BUNHO_SERVER__HEADER_TIMEOUT_MS", "500"), ("BUNHO_SERVER__BODY_TIMEOUT_MS", "500")];
    let server = Server::start_with(&environment, &["--demo"]).await;
    let address = server.url.trim_start_matches("http://").to_string();
    let mut idle = Vec::new();
    for i in 0..1_000 {
        let mut socket = TcpStream::connect(&address).await.unwrap();
        match i % 3 {
            0 => {}
            1 => socket.write_all(b"POST /traffic/wait HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap(),
            _ => socket
                .write_all(b"POST /traffic/wait HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 60\r\n\r\n{")
                .await
                .unwrap(),
        }
        idle.push(socket);
    }
    assert_eq!(server.join("TEST_ZONE").await.0, StatusCode::OK, "others are served meanwhile");
    // A head that never ends is cut off, and a body that never comes is answered and cut off.
    for kind in [1, 2] {
        let mut answer = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), idle[kind].read_to_end(&mut answer)).await.expect("the server closes it").unwrap();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    }
    let huge = json!({"quantity": 1, "attributes": {"x": "y".repeat(100_000)}});
    let (status, problem) = server.claim("welcome-coupon", "u", None, huge).await;
    assert_eq!((status.as_u16(), problem["code"].as_str()), (413, Some("body_too_large")));
    let long = json!({"quantity": 1, "attributes": {"x": "y".repeat(5_000)}});
    let (status, problem) = server.claim("welcome-coupon", "u", None, long).await;
    assert_eq!((status.as_u16(), problem["errors"][0]["field"].as_str()), (400, Some("attributes")));
    let mut deep = "[".repeat(10_000);
    deep.push_str(&"]".repeat(10_000));
    let request = server
        .request(Method::POST, "/v1/offers/welcome-coupon/claims")
        .header("x-bunho-user", "u")
        .header("content-type", "application/json");
    let (status, _) = read(request.body(format!("{{\"quantity\":1,\"attributes\":{{\"x\":{deep}}}}}")).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let request = server.request(Method::GET, "/v1/offers").header("x-long", "h".repeat(40_000));
    let status = request.send().await.unwrap().status().as_u16();
    assert_eq!(status, 431);
    assert_eq!(server.offer("welcome-coupon").await["confirmed"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_and_waiting_are_pushed() {
    let server = prepared().await;
    let mut stock = server.request(Method::GET, "/v1/offers/drop/stock").send().await.unwrap();
    let first = next_event(&mut stock).await;
    assert_eq!(first["remaining"], 10);
    server.claim("drop", "u", None, json!({"quantity": 3})).await;
    let second = next_event(&mut stock).await;
    assert_eq!((second["remaining"].as_u64(), second["held"].as_u64()), (Some(7), Some(3)));

    server.put_zone("PUSH", json!({"entry_limit_per_minute": 1, "window_seconds": 15, "slot_seconds": 1, "poll_interval_ms": 200})).await;
    assert_eq!(server.join("PUSH").await.1["canEnter"], true);
    let token = server.join("PUSH").await.1["token"].as_str().unwrap().to_string();
    let line = server.request(Method::GET, &format!("/traffic/stream?zoneId=PUSH&token={token}")).timeout(Duration::from_secs(120));
    let mut line = line.send().await.unwrap();
    let mut last = next_event(&mut line).await;
    assert_eq!(last["canEnter"], false);
    let entered = async || {
        last = next_event(&mut line).await;
        last["canEnter"] == true
    };
    until("the stream says enter", Duration::from_secs(60), entered).await;
}

/// The data of the next event of a stream.
async fn next_event(stream: &mut reqwest::Response) -> Value {
    let mut text = String::new();
    loop {
        let chunk = tokio::time::timeout(Duration::from_secs(60), stream.chunk())
            .await
            .expect("an event comes")
            .unwrap()
            .expect("the stream goes on");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        if let Some(data) = text.lines().find_map(|line| line.strip_prefix("data:"))
            && text.ends_with("\n\n")
        {
            return serde_json::from_str(data.trim()).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_answer() {
    let server = prepared().await;
    assert_eq!(server.request(Method::GET, "/healthz").send().await.unwrap().status(), StatusCode::OK);
    let (status, ready) = server.get("/readyz").await;
    assert_eq!(status, StatusCode::OK, "{ready}");
    server.claim("drop", "u", None, json!({"quantity": 1})).await;
    let metrics = server.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    for name in ["bunho_claims_total", "bunho_http_requests_total", "bunho_offer_remaining", "bunho_zone_waiting"] {
        assert!(metrics.contains(name), "{name} is missing");
    }
    let (_, api) = server.get("/openapi.json").await;
    assert!(api["openapi"].as_str().unwrap().starts_with("3.") && api["paths"]["/v1/offers/{id}/claims"]["post"].is_object());
    for page in ["/docs/", "/"] {
        let response = server.request(Method::GET, page).header("accept", "text/html").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{page}");
        let html = response.text().await.unwrap();
        assert!(!html.contains("https://cdn") && !html.contains("//unpkg"), "{page} needs an outside host");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ack_says_when_a_claim_is_answered() {
    let server = Server::start_with(&[("BUNHO_ENGINE__ACK", "ledger")], &["--demo"]).await;
    for n in 0..20 {
        let (status, claim) = server.claim("sneaker-drop", &format!("u{n}"), None, json!({"quantity": 1})).await;
        assert_eq!(status, StatusCode::CREATED);
        // No waiting here: the row is there when the answer is.
        let id = claim["id"].as_str().unwrap();
        assert_eq!(server.sql(&format!("select status from claims where id = '{id}'")), "held");
    }
    let mut server = Server::start_with(&[("BUNHO_ENGINE__ACK", "engine")], &["--demo"]).await;
    let (status, _) = server.claim("sneaker-drop", "u", Some("k"), json!({"quantity": 1})).await;
    assert_eq!(status, StatusCode::CREATED);
    // A server that is stopped, not killed, loses nothing even so.
    assert_eq!(server.stop(), 0);
    server.restart().await;
    assert_eq!(server.offer("sneaker-drop").await["held"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administration_can_have_an_address_of_its_own() {
    let server = Server::start_with(&[("BUNHO_SERVER__ADMIN_LISTEN", "127.0.0.1:0")], &["--demo"]).await;
    for path in ["/admin/api/zones", "/metrics", "/openapi.json", "/docs/"] {
        let request = server.request(Method::GET, path).bearer_auth(ADMIN_KEY);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::NOT_FOUND, "{path} on the address for clients");
    }
    assert_eq!(server.join("TEST_ZONE").await.0, StatusCode::OK);
}
