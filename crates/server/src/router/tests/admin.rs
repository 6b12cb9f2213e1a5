//! Settings, and what operators see.

use super::*;

#[tokio::test]
async fn settings_are_created_replaced_and_guarded() {
    let rig = rig().await;
    let made = rig.admin("PUT /admin/api/zones/SALE", Some(json!({"entry_limit_per_minute": 600, "message": "안녕"}))).await;
    assert_eq!((made.is(201).header("etag"), &made.body["poll_interval_ms"]), ("\"1\"", &json!(3_000)));
    let edited = rig.admin("PUT /admin/api/zones/SALE", Some(json!({"entry_limit_per_minute": null, "paused": true}))).await;
    assert_eq!((&edited.is(200).body["state"], &edited.body["message"]), (&json!("paused"), &Value::Null));
    let admin = format!("Bearer {ADMIN}");
    let body = Some(json!({"entry_limit_per_minute": 5}));
    let stale = rig.call("PUT /admin/api/zones/SALE", &[("authorization", &admin), ("if-match", "\"1\"")], body.clone()).await;
    assert_eq!(stale.refuses(412, "revision_conflict").body["revision"], edited.body["revision"]);
    let fresh = [("authorization", &*admin), ("if-match", edited.header("etag"))];
    rig.call("PUT /admin/api/zones/SALE", &fresh, body).await.is(200);

    for (line, body, field) in [
        ("PUT /admin/api/zones/X", json!({}), "entry_limit_per_minute"),
        ("PUT /admin/api/zones/X", json!({"entry_limit_per_minute": 1, "nope": 1}), "nope"),
        ("PUT /admin/api/zones/X", json!({"entry_limit_per_minute": -1}), "entry_limit_per_minute"),
        ("PUT /admin/api/zones/X", json!({"entry_limit_per_minute": 1, "poll_interval_ms": 99}), "poll_interval_ms"),
        ("PUT /admin/api/zones/X", json!({"entry_limit_per_minute": 1, "opens_at": "soon"}), "opens_at"),
        ("PUT /admin/api/zones/X", json!({"entry_limit_per_minute": 1, "offer": "none"}), "offer"),
        ("PUT /admin/api/zones/X", json!({"entry_limit_per_minute": 1, "id": "Y"}), "id"),
        ("PUT /admin/api/zones/a%20b", json!({"entry_limit_per_minute": 1}), "id"),
        ("PUT /admin/api/offers/X", json!({"quantity": 1}), "kind"),
        ("PUT /admin/api/offers/X", json!({"kind": "coupon"}), "quantity"),
        ("PUT /admin/api/offers/X", json!({"kind": "ticket", "quantity": 1}), "kind"),
        ("PUT /admin/api/offers/X", json!({"kind": "goods", "quantity": 10_000_000_000_u64}), "quantity"),
        ("PUT /admin/api/offers/X", json!({"kind": "goods", "quantity": 1, "zone": "none"}), "zone"),
        ("PUT /admin/api/offers/X", json!({"kind": "goods", "quantity": 1, "per_user_limit": 0}), "per_user_limit"),
    ] {
        let answer = rig.admin(line, Some(body.clone())).await;
        assert_eq!(answer.refuses(400, "invalid_request").body["errors"][0]["field"], field, "{body}: {}", answer.body);
    }
    let coupon = rig.admin("PUT /admin/api/offers/c", Some(json!({"kind": "coupon", "quantity": 10}))).await;
    assert_eq!((&coupon.is(201).body["per_user_limit"], &coupon.body["hold_seconds"]), (&json!(1), &json!(0)));
    let goods = json!({"kind": "goods", "quantity": 10, "per_user_limit": null, "opens_at": "2026-01-01T09:00:00+09:00", "hold_seconds": 60, "max_per_claim": 5});
    let goods = rig.admin("PUT /admin/api/offers/g", Some(goods)).await;
    assert_eq!((&goods.is(201).body["opens_at"], &goods.body["standby_hold_seconds"]), (&json!("2026-01-01T00:00:00.000Z"), &json!(60)));
    rig.user("u1", "POST /v1/offers/g/claims", Some(json!({"quantity": 4}))).await.is(201);
    let restocked = rig.admin("POST /admin/api/offers/g/restock", Some(json!({"delta": -6}))).await;
    assert_eq!(restocked.is(200).body["stock"]["remaining"], 0);
    rig.admin("POST /admin/api/offers/g/restock", Some(json!({"delta": -1}))).await.refuses(409, "quantity_taken");
    rig.admin("DELETE /admin/api/offers/g", None).await.refuses(409, "in_use");
    assert_eq!(rig.admin("POST /admin/api/offers/c/close", None).await.is(200).body["state"], "closed");
    rig.admin("DELETE /admin/api/offers/c", None).await.is(204);
    rig.admin("GET /admin/api/offers/c", None).await.refuses(404, "unknown_offer");
    rig.admin("GET /admin/api/zones/SALE/minutes", None).await.is(200);

    let audit = rig.admin("GET /admin/api/audit?limit=2", None).await;
    let newest = &audit.is(200).body["entries"][0];
    assert_eq!((&newest["action"], &newest["actor"], &newest["target"]), (&json!("offer.delete"), &json!("key:admin admin"), &json!("c")));
    assert!(newest["request_id"].is_string() && audit.body["next_cursor"].is_string());
}

#[tokio::test]
async fn operators_see_how_it_does() {
    let rig = rig().await;
    rig.put("PUT /admin/api/zones/SALE", json!({"entry_limit_per_minute": 7})).await;
    rig.put("PUT /admin/api/offers/drop", json!({"kind": "coupon", "quantity": 5})).await;
    rig.user("u1", "POST /v1/offers/drop/claims", Some(json!({"quantity": 1}))).await.is(201);
    rig.call("GET /healthz", &[], None).await.is(200);
    assert_eq!(rig.call("GET /readyz", &[], None).await.is(200).body["ready"], true);
    let metrics = rig.call("GET /metrics", &[("accept", "text/plain")], None).await;
    let text = metrics.is(200).body.as_str().expect("text").to_owned();
    for line in [
        "bunho_zone_limit_per_minute{zone=\"SALE\"} 7",
        "bunho_offer_remaining{offer=\"drop\"} 4",
        "bunho_offer_confirmed{offer=\"drop\"} 1",
        "bunho_claims_total{outcome=\"taken\"} 1",
        "bunho_journal_up 1",
        "bunho_http_requests_total{method=\"POST\",route=\"/v1/offers/{id}/claims\",status=\"201\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(rig.call("GET /openapi.json", &[], None).await.is(200).body["paths"].is_object());
    rig.call("GET /docs", &[], None).await.is(308);
    let docs = rig.call("GET /docs/", &[], None).await;
    assert!(docs.is(200).header("content-security-policy").contains("default-src 'self'"));
    rig.call("GET /docs/swagger-ui.css", &[], None).await.is(200);
    rig.call("GET /docs/nothing", &[], None).await.refuses(404, "not_found");
    assert!(rig.call("GET /", &[("accept", "text/html")], None).await.is(200).header("content-type").starts_with("text/html"));
    assert_eq!(rig.admin("POST /admin/api/reconcile", None).await.is(200).body, json!({"equal": true}));
    rig.stop.send_replace(true);
    let stopping = rig.router.clone().oneshot(request("GET /readyz", &[], None)).await.expect("infallible");
    assert_eq!(stopping.status(), StatusCode::SERVICE_UNAVAILABLE);
}
