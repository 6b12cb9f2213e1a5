//! What every request is held to, whatever it asks for.

use super::*;

#[tokio::test]
async fn what_is_not_a_request_is_told_so() {
    let rig = rig_with(|config| config.limits.body_bytes_max = 1_000).await;
    rig.put("PUT /admin/api/zones/SALE", json!({"entry_limit_per_minute": 1})).await;
    rig.call("GET /nothing", &[], None).await.refuses(404, "not_found");
    let allowed = rig.call("GET /traffic/wait", &[], None).await;
    assert_eq!(allowed.refuses(405, "method_not_allowed").header("allow"), "POST");
    let claims = rig.call("DELETE /v1/claims", &[], None).await;
    assert_eq!(claims.refuses(405, "method_not_allowed").header("allow"), "GET,HEAD");
    rig.call("GET /v1/offers", &[("accept", "text/html")], None).await.refuses(406, "not_acceptable");
    rig.call("GET /v1/offers", &[("accept", "application/json")], None).await.is(200);
    let body = |content_type: &str, text: &str| {
        Request::builder()
            .method("POST")
            .uri("/traffic/wait")
            .header("content-type", content_type)
            .body(Body::from(text.to_owned()))
            .expect("a request")
    };
    rig.send(body("text/plain", "{}")).await.refuses(415, "unsupported_media_type");
    rig.send(body("application/json", "{")).await.refuses(400, "invalid_request");
    rig.send(body("application/json", &format!("{{\"zoneId\":\"{}\"}}", "x".repeat(1_000)))).await.refuses(413, "body_too_large");
    let wide = "x".repeat(20_000);
    rig.call("GET /v1/offers", &[("x-wide", &wide)], None).await.refuses(431, "headers_too_large");
    rig.call("GET /v1/offers/none", &[], None).await.refuses(404, "unknown_offer");
    rig.call("GET /v1/offers/%FF", &[], None).await.refuses(404, "not_found");
    rig.user("u1", "GET /v1/claims/none", None).await.refuses(404, "unknown_claim");
    rig.user("u1", "GET /v1/standby/none", None).await.refuses(404, "unknown_standby");
    let named = rig.call("GET /nothing", &[("x-request-id", "mine-1")], None).await;
    assert_eq!(named.header("x-request-id"), "mine-1");
}

#[tokio::test]
async fn nothing_a_client_sends_is_our_failure() {
    let rig = rig().await;
    rig.put("PUT /admin/api/zones/Z", json!({"entry_limit_per_minute": 1})).await;
    rig.put("PUT /admin/api/offers/o", json!({"kind": "goods", "quantity": 1})).await;
    let zone = |name: &str, value: Value| json!({"entry_limit_per_minute": 1, name: value});
    let offer = |name: &str, value: Value| {
        let mut body = json!({"kind": "goods", "quantity": 1});
        body[name] = value;
        body
    };
    for (line, body) in [
        ("PUT /admin/api/zones/X", zone("opens_at", json!("9999999-01-01T00:00:00Z"))),
        ("PUT /admin/api/zones/X", zone("opens_at", json!("-009999-01-01T00:00:00Z"))),
        ("PUT /admin/api/zones/X", zone("opens_at", json!(1e18))),
        ("PUT /admin/api/zones/X", zone("name", json!("a\u{0}b"))),
        ("PUT /admin/api/zones/X", zone("message", json!("\u{1F469}".repeat(201)))),
        ("PUT /admin/api/zones/X", zone("session_seconds", json!(u64::MAX))),
        ("PUT /admin/api/zones/X", zone("abandon_after_seconds", json!(u32::MAX))),
        ("PUT /admin/api/zones/X", zone("window_seconds", json!(0))),
        ("PUT /admin/api/zones/X", zone("app", json!("a/b"))),
        ("PUT /admin/api/zones/%00", zone("paused", json!(true))),
        ("PUT /admin/api/offers/X", offer("quantity", json!(-1))),
        ("PUT /admin/api/offers/X", offer("unit_price", json!(u64::MAX))),
        ("PUT /admin/api/offers/X", offer("min_per_claim", json!(u32::MAX))),
        ("PUT /admin/api/offers/X", offer("hold_seconds", json!(1e300))),
        ("PUT /admin/api/offers/X", offer("grants", json!("X"))),
        ("POST /admin/api/offers/o/restock", json!({"delta": i64::MAX})),
        ("POST /admin/api/offers/o/restock", json!({"delta": 1e300})),
        ("POST /admin/api/keys", json!({"role": "admin", "name": "\u{0}"})),
        ("POST /admin/api/keys", json!({"role": "admin", "name": "n".repeat(201)})),
    ] {
        assert_eq!(rig.admin(line, Some(body.clone())).await.status, 400, "{line} {body}");
    }
    for (line, status) in [
        ("POST /admin/api/offers/o/restock", 409),
        ("GET /admin/api/zones/Z/minutes?from=9999-12-31T00:00:00Z", 400),
        ("GET /admin/api/zones/Z/minutes?from=0000-01-01T00:00:00Z&to=9999-12-30T00:00:00Z", 200),
        ("GET /admin/api/zones/Z/minutes?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 200),
        ("GET /admin/api/audit?cursor=-9223372036854775808", 200),
        ("GET /admin/api/audit?cursor=9223372036854775808", 400),
        ("GET /admin/api/audit?limit=4294967296", 400),
        ("GET /admin/api/offers/o/claims?cursor=AAAAAAAAAAAAAAAAAAAAAA", 200),
        ("GET /admin/api/offers/o/claims?cursor=_____________________w", 200),
        ("DELETE /admin/api/pass-keys/..%2F..%2Fadmin", 404),
        ("DELETE /admin/api/keys/%27%20or%201=1", 404),
        ("GET /docs/..%2F..%2Fetc%2Fpasswd", 404),
        ("GET /zones/%00/status", 404),
        ("GET /zones/%E2%80%AE/status", 404),
        ("GET /v1/claims?user=%00", 400),
        ("GET /v1/claims?user=a&user=b", 400),
        ("GET /v1/claims/00000000-0000-0000-0000-000000000000", 404),
        ("GET /v1/claims/ffffffff-ffff-8fff-bfff-ffffffffffff", 404),
        ("DELETE /v1/standby/ffffffff-ffff-8fff-bfff-ffffffffffff", 404),
        ("GET /traffic/stream?zoneId=Z&zoneId=Z&token=x", 400),
        ("GET /traffic/stream?zoneId=Z&token=%00", 401),
    ] {
        let body = line.ends_with("restock").then(|| json!({"delta": i64::MIN}));
        assert_eq!(rig.admin(line, body).await.status, status, "{line}");
    }
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    for body in [
        format!(r#"{{"zoneId":"Z","extra":{deep}}}"#),
        format!(r#"{{"zoneId":{deep}}}"#),
        r#"{"zoneId":"Z","key":"\ud800"}"#.to_owned(),
        r#"{"zoneId":"Z","zoneId":"Z"}"#.to_owned(),
        r#"{"zoneId":1e999}"#.to_owned(),
        "\u{feff}{}".to_owned(),
        "null".to_owned(),
    ] {
        let request = Request::builder().method("POST").uri("/traffic/wait").header("content-type", "application/json");
        let answer = rig.send(request.body(Body::from(body.clone())).expect("a request")).await;
        assert!(answer.status == 400 || answer.status == 200 && body.contains("extra"), "{}", answer.body);
    }
    for headers in [
        &[("x-bunho-user", "u1"), ("idempotency-key", "a"), ("idempotency-key", "b")][..],
        &[("x-bunho-user", "u1"), ("idempotency-key", "a b")],
        &[("x-bunho-user", "u1"), ("x-bunho-user", "u2")],
        &[("x-bunho-user", "")],
    ] {
        rig.call("POST /v1/offers/o/claims", headers, Some(json!({"quantity": 1}))).await.refuses(400, "invalid_request");
    }
}

#[tokio::test]
async fn heads_options_and_caches_are_told_what_they_need() {
    let rig = rig().await;
    rig.put("PUT /admin/api/offers/o", json!({"kind": "goods", "quantity": 1})).await;
    let head = rig.call("HEAD /v1/offers/o", &[], None).await;
    assert_eq!((head.is(200).header("cache-control"), &head.body), ("no-store", &json!("")));
    let options = rig.call("OPTIONS /v1/offers/o", &[], None).await;
    assert_eq!(options.is(204).header("allow"), "GET,HEAD");
    for line in ["GET /v1/offers/none", "GET /v1/offers/none/stock", "GET /nothing", "GET /v1/claims"] {
        let answer = rig.call(line, &[], None).await;
        assert_eq!((answer.status.is_client_error(), answer.header("cache-control")), (true, "no-store"), "{line}");
    }
    assert_eq!(rig.admin("GET /admin/api/keys", None).await.is(200).header("cache-control"), "no-store");
    assert_eq!(rig.call("GET /.well-known/jwks.json", &[], None).await.is(200).header("cache-control"), "public, max-age=0");
}
