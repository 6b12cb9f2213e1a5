//! A line and its passes.

use super::*;

#[tokio::test]
async fn a_line_is_joined_polled_and_entered() {
    let rig = rig().await;
    rig.put("PUT /admin/api/zones/SALE", json!({"entry_limit_per_minute": 1})).await;
    let join = |key: &str| json!({"zoneId": "SALE", "clientIp": "1.2.3.4", "clientAgent": "WEB", "key": key, "extra": 1});

    let first = rig.call("POST /traffic/wait", &[], Some(join("a"))).await;
    first.is(200);
    assert_eq!((&first.body["canEnter"], &first.body["zoneId"]), (&json!(true), &json!("SALE")));
    assert!(first.body["pass"].is_string() && first.body["waiting"].is_null() && first.header("retry-after").is_empty());

    let second = rig.call("POST /traffic/wait", &[], Some(join("b"))).await;
    second.is(200);
    let waiting = &second.body["waiting"];
    assert_eq!((&second.body["canEnter"], &waiting["state"], &waiting["rank"]), (&json!(false), &json!("waiting"), &json!(1)));
    let seconds = waiting["pollingPeriod"].as_u64().expect("a number").div_ceil(1_000);
    assert_eq!(second.header("retry-after"), seconds.to_string());
    let again = rig.call("POST /traffic/wait", &[], Some(join("b"))).await;
    assert_eq!(again.body["token"], second.body["token"], "the same key gives the same ticket");

    let poll = |token: &Value| json!({"zoneId": "SALE", "token": token});
    let entered = rig.call("POST /traffic/entry", &[], Some(poll(&first.body["token"]))).await;
    assert_eq!(entered.body["pass"], first.body["pass"], "the same admission gives the same pass");
    let pass = first.body["pass"].as_str().expect("a pass").to_owned();
    let bearer = format!("Bearer {pass}");
    for headers in [("bunho-pass", &*pass), ("authorization", &bearer), ("cookie", &format!("x=1; bunho_pass={pass}"))] {
        rig.call("GET /verify?zone=SALE", &[headers], None).await.is(204);
        rig.call("GET /verify", &[headers, ("x-bunho-zone", "SALE")], None).await.is(204);
        rig.call("GET /verify?zone=OTHER", &[headers], None).await.refuses(403, "pass_invalid");
        rig.call("GET /verify", &[headers], None).await.refuses(403, "pass_invalid");
    }
    rig.call(&format!("GET /verify?zone=SALE&pass={pass}"), &[], None).await.is(204);
    rig.call("GET /verify?zone=SALE", &[("accept", "text/html")], None).await.refuses(401, "pass_required");
    rig.call("GET /verify?zone=SALE&pass=x.y.z", &[], None).await.refuses(401, "pass_invalid");

    let status = rig.call("GET /zones/SALE/status", &[], None).await;
    assert_eq!(
        (&status.body["waiting"], &status.body["enteredLastMinute"], &status.body["limitPerMinute"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(status.header("cache-control"), "public, max-age=1");

    for _ in 0..2 {
        rig.call("POST /traffic/leave", &[], Some(poll(&second.body["token"]))).await.is(204);
    }
    rig.call("POST /traffic/entry", &[], Some(poll(&second.body["token"]))).await.refuses(410, "ticket_gone");
    rig.call("POST /traffic/entry", &[], Some(poll(&json!("x")))).await.refuses(401, "ticket_invalid");
    rig.call("POST /traffic/wait", &[], Some(json!({"zoneId": "NONE"}))).await.refuses(404, "unknown_zone");
    let wrong = rig.call("POST /traffic/wait", &[], Some(json!({"zoneId": 1}))).await;
    assert_eq!(wrong.refuses(400, "invalid_request").body["errors"][0]["field"], "zoneId");
    let long = json!({"zoneId": "SALE", "key": "k".repeat(129)});
    assert_eq!(rig.call("POST /traffic/wait", &[], Some(long)).await.refuses(400, "invalid_request").body["errors"][0]["field"], "key");

    rig.admin("POST /admin/api/zones/SALE/reset", None).await.is(200);
    rig.call("GET /verify?zone=SALE", &[("bunho-pass", &pass)], None).await.refuses(401, "pass_invalid");
}

#[tokio::test]
async fn streams_tell_and_end() {
    let rig = rig_with(|config| config.limits.streams_max = 2).await;
    rig.put("PUT /admin/api/offers/drop", json!({"kind": "coupon", "quantity": 5})).await;
    rig.put("PUT /admin/api/zones/SALE", json!({"entry_limit_per_minute": null})).await;
    let joined = rig.call("POST /traffic/wait", &[], Some(json!({"zoneId": "SALE"}))).await;
    let token = joined.body["token"].as_str().expect("a token").to_owned();
    let entered = rig.call(&format!("GET /traffic/stream?zoneId=SALE&token={token}"), &[("accept", "text/event-stream")], None).await;
    let text = entered.is(200).body.as_str().expect("events").to_owned();
    assert!(text.starts_with("event: enter\ndata: {\"canEnter\":true"), "{text}");
    rig.call("GET /traffic/stream?zoneId=SALE&token=x", &[], None).await.refuses(401, "ticket_invalid");
    rig.call("GET /traffic/stream?zoneId=SALE", &[], None).await.refuses(400, "invalid_request");

    let open = || request("GET /v1/offers/drop/stock", &[], None);
    let mut stock = rig.router.clone().oneshot(open()).await.expect("infallible").into_body();
    let first = stock.frame().await.expect("an event").expect("bytes").into_data().expect("data");
    let first = String::from_utf8(first.to_vec()).expect("UTF-8");
    assert!(first.starts_with("event: stock\ndata: {\"remaining\":5,\"held\":0,\"confirmed\":0,\"standby\":0,"), "{first}");
    rig.user("u1", "POST /v1/offers/drop/claims", Some(json!({"quantity": 1}))).await.is(201);
    let next = stock.frame().await.expect("an event").expect("bytes").into_data().expect("data");
    assert!(String::from_utf8(next.to_vec()).expect("UTF-8").contains("\"remaining\":4"));

    let _second = rig.router.clone().oneshot(open()).await.expect("infallible");
    rig.send(open()).await.refuses(503, "overloaded");
    rig.stop.send_replace(true);
    let rest = stock.collect().await.expect("it ends").to_bytes();
    assert_eq!(String::from_utf8_lossy(&rest), ": the server is stopping\n\n");
}

#[tokio::test]
async fn one_good_pass_is_enough_and_the_zone_is_not_the_clients_choice() {
    let rig = rig().await;
    let mut passes = Vec::new();
    for zone in ["A", "B"] {
        rig.put(&format!("PUT /admin/api/zones/{zone}"), json!({"entry_limit_per_minute": null})).await;
        let joined = rig.call("POST /traffic/wait", &[], Some(json!({"zoneId": zone, "clientIp": 7, "clientAgent": {"os": []}}))).await;
        passes.push(joined.is(200).body["pass"].as_str().expect("a pass").to_owned());
    }
    let (good, other) = (format!("bunho_pass={}", passes[0]), format!("bunho_pass={}", passes[1]));
    let own = ("authorization", "Bearer the.services.own");
    let answer = rig.call("GET /verify?zone=A", &[own, ("cookie", &good)], None).await;
    assert_eq!(answer.is(204).header("cache-control"), "no-store");
    rig.call("GET /verify?zone=A", &[("authorization", "Basic eDp5"), ("cookie", &good)], None).await.is(204);
    rig.call("GET /verify?zone=A", &[("bunho-pass", "old"), ("cookie", &good)], None).await.is(204);
    rig.call("GET /verify?zone=A", &[own, ("cookie", &other)], None).await.refuses(403, "pass_invalid");
    rig.call("GET /verify?zone=A", &[own], None).await.refuses(401, "pass_invalid");
    rig.call("GET /verify?zone=A", &[("cookie", &good), ("x-bunho-zone", "A")], None).await.is(204);
    rig.call("GET /verify?zone=A", &[("cookie", &good), ("x-bunho-zone", "B")], None).await.refuses(403, "pass_invalid");
    rig.call("GET /verify?zone=A&zone=A&pass=x", &[("cookie", &good)], None).await.refuses(401, "pass_invalid");

    rig.put("PUT /admin/api/offers/drop", json!({"kind": "coupon", "quantity": 5, "zone": "A"})).await;
    let twice = [("x-bunho-user", "u1"), ("bunho-pass", &*passes[0]), ("bunho-pass", &*passes[0])];
    let answer = rig.call("POST /v1/offers/drop/claims", &twice, Some(json!({"quantity": 1}))).await;
    assert_eq!(answer.refuses(400, "invalid_request").body["errors"][0]["field"], "Bunho-Pass");
}
