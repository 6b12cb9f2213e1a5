//! Claims.

use super::*;

#[tokio::test]
async fn a_claim_is_taken_replayed_confirmed_and_listed() {
    let rig = rig().await;
    rig.put("PUT /admin/api/offers/stay", json!({"kind": "booking", "quantity": 3, "max_per_claim": 3, "standby": true})).await;
    let claim = |quantity: Value| Some(json!({"quantity": quantity, "attributes": {"b": 1, "a": "x"}}));
    let headers = [("x-bunho-user", "u1"), ("idempotency-key", "k1")];

    let taken = rig.call("POST /v1/offers/stay/claims", &headers, claim(json!(2))).await;
    taken.is(201);
    assert_eq!(taken.body["status"], "held");
    assert_eq!((&taken.body["offer"], &taken.body["user"], &taken.body["granted"]), (&json!("stay"), &json!("u1"), &json!([])));
    assert!(taken.body["hold_expires_at"].is_string());
    let id = taken.body["id"].as_str().expect("an id").to_owned();
    assert_eq!(taken.header("location"), format!("/v1/claims/{id}"));
    assert_eq!(taken.header("idempotency-replayed"), "");

    rig.user("u1", &format!("POST /v1/claims/{id}/confirm"), None).await.refuses(403, "forbidden");
    rig.user("u2", &format!("GET /v1/claims/{id}"), None).await.refuses(404, "unknown_claim");
    let confirmed = rig.service(None, &format!("POST /v1/claims/{id}/confirm"), None).await;
    assert_eq!((&confirmed.is(200).body["status"], &confirmed.body["hold_expires_at"]), (&json!("confirmed"), &Value::Null));

    let replayed = rig.call("POST /v1/offers/stay/claims", &headers, claim(json!(2))).await;
    assert_eq!((replayed.is(201).header("idempotency-replayed"), &replayed.body), ("true", &taken.body));
    rig.call("POST /v1/offers/stay/claims", &headers, claim(json!(1))).await.refuses(422, "key_reused");

    for (quantity, code) in [
        (json!(0), "quantity_invalid"),
        (json!(-1), "quantity_invalid"),
        (json!(1e300), "quantity_invalid"),
        (json!(4_294_967_296_u64), "quantity_invalid"),
        (json!(1.5), "invalid_request"),
        (json!("1"), "invalid_request"),
        (json!(null), "invalid_request"),
    ] {
        rig.user("u1", "POST /v1/offers/stay/claims", claim(quantity)).await.refuses(400, code);
    }
    let sold_out = rig.user("u2", "POST /v1/offers/stay/claims", Some(json!({"quantity": 2}))).await;
    assert_eq!(sold_out.refuses(409, "sold_out").body["standby_possible"], true);
    rig.user("u3", "POST /v1/offers/stay/claims", Some(json!({"quantity": 1}))).await.is(201);
    let place = rig.user("u2", "POST /v1/offers/stay/standby", Some(json!({"quantity": 1}))).await;
    assert_eq!((&place.is(201).body["status"], &place.body["position"]), (&json!("waiting"), &json!(1)));
    let place = place.body["id"].as_str().expect("an id").to_owned();
    rig.user("u2", &format!("GET /v1/standby/{place}"), None).await.is(200);

    let returned = rig.admin(&format!("POST /admin/api/claims/{id}/return"), Some(json!({"restock": true}))).await;
    assert_eq!(returned.is(200).body["status"], "returned");
    let served = rig.user("u2", &format!("GET /v1/standby/{place}"), None).await;
    assert_eq!(served.is(200).body["status"], "served");
    assert!(served.body["claim"].is_string());

    let list = rig.user("u1", "GET /v1/claims", None).await;
    assert_eq!((list.is(200).body["claims"][0]["id"].as_str(), &list.body["next_cursor"]), (Some(&*id), &Value::Null));
    rig.user("u1", "GET /v1/claims?user=u2", None).await.refuses(403, "forbidden");
    assert_eq!(rig.service(None, "GET /v1/claims?user=u2", None).await.is(200).body["claims"].as_array().map(Vec::len), Some(1));
    rig.service(None, "GET /v1/claims", None).await.refuses(400, "invalid_request");
    for bad in ["limit=0", "limit=201", "limit=x", "status=x", "cursor=x", "stauts=held", "offer=%20"] {
        rig.user("u1", &format!("GET /v1/claims?{bad}"), None).await.refuses(400, "invalid_request");
    }
    let all = rig.admin("GET /admin/api/offers/stay/claims?limit=1", None).await;
    let cursor = all.is(200).body["next_cursor"].as_str().expect("a second page").to_owned();
    let rest = rig.admin(&format!("GET /admin/api/offers/stay/claims?cursor={cursor}"), None).await;
    assert_eq!((rest.is(200).body["claims"].as_array().map(Vec::len), &rest.body["next_cursor"]), (Some(2), &Value::Null));

    let offer = rig.call("GET /v1/offers/stay", &[], None).await;
    let number = |name: &str| offer.body[name].as_u64().expect("a number");
    assert_eq!(number("remaining") + number("held") + number("confirmed"), number("quantity"));
    assert_eq!(rig.call("GET /v1/offers", &[], None).await.body["offers"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn an_offer_behind_a_zone_wants_its_pass() {
    let rig = rig().await;
    rig.put("PUT /admin/api/zones/A", json!({"entry_limit_per_minute": null})).await;
    rig.put("PUT /admin/api/zones/B", json!({"entry_limit_per_minute": null})).await;
    rig.put("PUT /admin/api/offers/drop", json!({"kind": "coupon", "quantity": 5, "zone": "A"})).await;
    let pass = async |zone: &str| {
        let answer = rig.call("POST /traffic/wait", &[], Some(json!({"zoneId": zone}))).await;
        answer.body["pass"].as_str().expect("a pass").to_owned()
    };
    let (good, other) = (pass("A").await, pass("B").await);
    for (headers, status, code) in [
        (vec![("x-bunho-user", "u1")], 403, "pass_required"),
        (vec![("x-bunho-user", "u1"), ("bunho-pass", "x")], 403, "pass_invalid"),
        (vec![("x-bunho-user", "u1"), ("bunho-pass", &other)], 403, "pass_invalid"),
        (vec![("bunho-pass", &good)], 401, "unauthenticated"),
    ] {
        rig.call("POST /v1/offers/drop/claims", &headers, Some(json!({"quantity": 1}))).await.refuses(status, code);
    }
    let headers = [("x-bunho-user", "u1"), ("bunho-pass", &*good)];
    let taken = rig.call("POST /v1/offers/drop/claims", &headers, Some(json!({"quantity": 1}))).await;
    assert_eq!(taken.is(201).body["status"], "confirmed");
    let again = rig.call("POST /v1/offers/drop/claims", &headers, Some(json!({"quantity": 1}))).await;
    assert_eq!(again.refuses(409, "limit_reached").body["claims"], json!([taken.body["id"]]));
}
