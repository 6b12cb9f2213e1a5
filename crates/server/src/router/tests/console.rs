//! What the console stands on beside accounts: the allow list, what is seen of zones, offers, claims and the installation, and what is noted of changes.

use super::*;
use bunho_domain::claim::Status;
use std::net::SocketAddr;
use std::time::Duration;

#[tokio::test]
async fn only_allowed_addresses_administer() {
    let network = |text| Network::parse(text).expect("a network");
    let rig = rig_with(|config| {
        config.console_allow_from = vec![network("10.0.0.0/8"), network("2001:db8::/32")];
        config.trusted_proxies = vec![network("192.168.0.1")];
    })
    .await;
    for (peer, forwarded, allowed) in [
        ("10.1.2.3:1", "", true),
        ("[::ffff:10.1.2.3]:1", "", true),
        ("[2001:db8::7]:1", "", true),
        ("11.1.2.3:1", "", false),
        ("11.1.2.3:1", "10.1.2.3", false),
        ("192.168.0.1:1", "", false),
        ("192.168.0.1:1", "10.1.2.3", true),
        ("192.168.0.1:1", "10.1.2.3, 11.1.2.3", false),
        ("192.168.0.1:1", "nonsense", false),
    ] {
        let peer: SocketAddr = peer.parse().expect("an address");
        for (line, body) in
            [("POST /admin/api/session", Some(json!({"key": ADMIN}))), ("GET /admin/api/zones", None), ("GET /admin/api/system", None)]
        {
            let bearer = format!("Bearer {ADMIN}");
            let mut request = request(line, &[("authorization", &bearer), ("x-forwarded-for", forwarded)], body);
            request.extensions_mut().insert(Peer(peer));
            let answer = rig.send(request).await;
            match allowed {
                true => assert!(answer.status.is_success(), "{peer} {forwarded} {line}: {}", answer.body),
                false => drop(answer.refuses(403, "address_refused")),
            }
        }
        // Those who wait are none of its business.
        let mut request = request("GET /v1/offers", &[], None);
        request.extensions_mut().insert(Peer(peer));
        rig.send(request).await.is(200);
    }
    rig.call("GET /admin/api/zones", &[("authorization", &format!("Bearer {ADMIN}"))], None).await.refuses(403, "address_refused");
}

#[tokio::test]
async fn zones_and_offers_are_seen_at_a_glance_and_as_they_move() {
    let rig = rig().await;
    rig.put("PUT /admin/api/zones/Z", json!({"entry_limit_per_minute": 60, "slot_seconds": 1, "poll_interval_ms": 100})).await;
    rig.put("PUT /admin/api/zones/OPEN", json!({"entry_limit_per_minute": null})).await;
    rig.put("PUT /admin/api/offers/o", json!({"kind": "goods", "quantity": 100, "hold_seconds": 0})).await;
    for line in ["GET /admin/api/overview", "GET /admin/api/zones/Z/live", "GET /admin/api/offers/o/sales", "GET /admin/api/system"] {
        rig.call(line, &[], None).await.refuses(401, "unauthenticated");
        rig.call(line, &[("authorization", &format!("Bearer {SERVICE}"))], None).await.refuses(403, "forbidden");
        rig.call(line, &[("authorization", &format!("Bearer {VIEWER}"))], None).await.is(200);
    }
    rig.admin("GET /admin/api/zones/NONE/live", None).await.refuses(404, "unknown_zone");
    rig.admin("GET /admin/api/offers/none/sales", None).await.refuses(404, "unknown_offer");
    rig.admin("GET /admin/api/offers/none/standby", None).await.refuses(404, "unknown_offer");
    // The sampler has looked once when a slot shows.
    let live = async || rig.admin("GET /admin/api/zones/Z/live", None).await.body;
    let until = async |what: &str, seen: &dyn Fn(&Value) -> bool| {
        for _ in 0..2_400 {
            let live = live().await;
            if seen(&live) {
                return live;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{what} was not seen: {}", live().await);
    };
    until("a slot", &|live| live["slots"].as_array().is_some_and(|slots| !slots.is_empty())).await;
    for n in 0..70 {
        rig.call("POST /traffic/wait", &[], Some(json!({"zoneId": "Z", "key": format!("c{n}")}))).await.is(200);
    }
    rig.user("u1", "POST /v1/offers/o/claims", Some(json!({"quantity": 3}))).await.is(201);
    let sum = |live: &Value, name: &str| -> u64 {
        live["slots"].as_array().map_or(0, |slots| slots.iter().filter_map(|slot| slot[name].as_u64()).sum())
    };
    let seen = until("the crowd", &|live| {
        sum(live, "entered") >= 60 && live["slots"].as_array().and_then(|slots| slots.last()).is_some_and(|slot| slot["waiting"] == 10)
    })
    .await;
    assert_eq!((&seen["slot_quota"], &seen["waiting"], &seen["id"]), (&json!(1), &json!(10), &json!("Z")));
    let slots = seen["slots"].as_array().expect("slots");
    assert!(slots.len() <= 100 && slots.iter().zip(&slots[1..]).all(|(a, b)| a["at"].as_str() < b["at"].as_str()), "{slots:?}");
    assert_eq!(rig.admin("GET /admin/api/zones/OPEN/live", None).await.is(200).body["slot_quota"], json!(null));

    let overview = rig.admin("GET /admin/api/overview", None).await;
    let zones = overview.is(200).body["zones"].as_array().expect("zones");
    assert_eq!(zones.len(), 2);
    assert!(zones.iter().all(|zone| zone["minutes"].as_array().is_some_and(|minutes| minutes.len() == 30) && zone["revision"] == 1));
    let offer = &overview.body["offers"][0];
    assert_eq!((&offer["id"], &offer["stock"]["confirmed"], offer["sold"].as_array().map(Vec::len)), (&json!("o"), &json!(3), Some(30)));

    let sales = rig.admin("GET /admin/api/offers/o/sales", None).await;
    let points = sales.is(200).body["points"].as_array().expect("points");
    let units = |name: &str| points.iter().filter_map(|point| point[name].as_u64()).sum::<u64>();
    assert_eq!(
        (points.len(), units("claimed"), units("confirmed"), units("released"), units("expired"), units("returned")),
        (60, 3, 3, 0, 0, 0)
    );
    for (query, status) in [
        ("from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z", 200),
        ("from=2026-01-01T00:00:00Z&to=2026-01-02T00:01:00Z", 400),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 400),
        ("from=0000-01-01T00:00:00Z&to=9999-12-30T00:00:00Z", 400),
        ("to=0000-01-01T00:00:00Z", 200),
        ("from=yesterday", 400),
        ("since=1", 400),
    ] {
        rig.admin(&format!("GET /admin/api/offers/o/sales?{query}"), None).await.is(status);
    }

    let system = rig.admin("GET /admin/api/system", None).await;
    let system = &system.is(200).body;
    assert_eq!(
        (&system["shape"], &system["ledger"]["kind"], &system["nodes"][0]["self"]),
        (&json!("embedded"), &json!("sqlite"), &json!(true))
    );
    assert_eq!(system["nodes"].as_array().map(Vec::len), Some(1));
    assert!(system["parts"].as_array().is_some_and(|parts| parts.iter().all(|part| part["well"] == true && part["detail"].is_null())));
    assert_eq!((&system["parked"]["count"], &system["findings"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn what_was_told_is_held_against_what_it_took() {
    let rig = rig().await;
    // A window of a second: who waits is in soon.
    let zone = json!({"entry_limit_per_minute": 2, "window_seconds": 1, "slot_seconds": 1, "poll_interval_ms": 100});
    rig.put("PUT /admin/api/zones/Z", zone).await;
    let join = async |key: &str| rig.call("POST /traffic/wait", &[], Some(json!({"zoneId": "Z", "key": key}))).await.body;
    let mut waiting = Vec::new();
    for n in 0..6 {
        let answer = join(&format!("c{n}")).await;
        if answer["canEnter"] == false && answer["waiting"]["estimatedSeconds"].is_u64() {
            waiting.push(answer["token"].as_str().expect("a token").to_owned());
        }
    }
    assert!(!waiting.is_empty(), "somebody waits and was told for how long");
    for token in &waiting {
        let mut tries = 0;
        loop {
            let answer = rig.call("POST /traffic/entry", &[], Some(json!({"zoneId": "Z", "token": token}))).await;
            if answer.body["canEnter"] == true {
                break;
            }
            tries += 1;
            assert!(tries < 200, "{}", answer.body);
            let period = answer.body["waiting"]["pollingPeriod"].as_u64().unwrap_or(200);
            tokio::time::sleep(Duration::from_millis(period)).await;
        }
    }
    let live = rig.admin("GET /admin/api/zones/Z/live", None).await;
    let eta = live.is(200).body["eta"].as_array().expect("samples").clone();
    assert_eq!(eta.len(), waiting.len(), "{eta:?}");
    assert!(eta.iter().all(|sample| sample["told"].is_u64() && sample["kept"].as_u64().is_some_and(|kept| kept < 60)), "{eta:?}");
}

#[tokio::test]
async fn a_zones_minutes_are_a_table_too() {
    let rig = rig().await;
    rig.put("PUT /admin/api/zones/a:b", json!({"entry_limit_per_minute": 1})).await;
    let table = rig.admin("GET /admin/api/zones/a:b/minutes?format=csv", None).await;
    assert_eq!(table.is(200).header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(table.header("content-disposition"), "attachment; filename=\"a-b-minutes.csv\"");
    assert_eq!(table.body, json!("minute,entered,waiting,dropped,entry_limit\r\n"));
    rig.admin("GET /admin/api/zones/a:b/minutes?format=json", None).await.is(200);
    rig.admin("GET /admin/api/zones/a:b/minutes?format=xls", None).await.refuses(400, "invalid_request");
}

#[tokio::test]
async fn claims_are_found_with_what_became_of_them() {
    let rig = rig().await;
    rig.put("PUT /admin/api/offers/o", json!({"kind": "goods", "quantity": 9, "hold_seconds": 300, "standby": true, "max_per_claim": 9}))
        .await;
    rig.put("PUT /admin/api/offers/p", json!({"kind": "goods", "quantity": 9})).await;
    let user = "u'; DROP TABLE claim_rows; -- \u{202e}👩‍🚀";
    let sent = std::str::from_utf8(user.as_bytes()).expect("UTF-8");
    let taken = async |offer: &str, quantity: u32| {
        let request = Request::builder()
            .method("POST")
            .uri(format!("/v1/offers/{offer}/claims"))
            .header("x-bunho-user", axum::http::HeaderValue::from_bytes(sent.as_bytes()).expect("a header"))
            .header("content-type", "application/json");
        let answer = rig.send(request.body(Body::from(json!({"quantity": quantity}).to_string())).expect("a request")).await;
        answer.is(201).body["id"].as_str().expect("an id").to_owned()
    };
    let (one, two) = (taken("o", 9).await, taken("p", 1).await);
    rig.user("w1", "POST /v1/offers/o/standby", Some(json!({"quantity": 2}))).await.is(201);
    let left = rig.user("w2", "POST /v1/offers/o/standby", Some(json!({"quantity": 1}))).await.is(201).body["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    rig.user("w3", "POST /v1/offers/o/standby", Some(json!({"quantity": 1}))).await.is(201);
    rig.user("w2", &format!("DELETE /v1/standby/{left}"), None).await.is(204);
    let standby = rig.admin("GET /admin/api/offers/o/standby?limit=2", None).await;
    let places: Vec<_> = standby.is(200).body["standby"]
        .as_array()
        .expect("places")
        .iter()
        .map(|place| (place["user"].clone(), place["position"].clone()))
        .collect();
    assert_eq!(places, [(json!("w1"), json!(1)), (json!("w2"), json!(null))]);
    let next = standby.body["next_cursor"].as_str().expect("more");
    let rest = rig.admin(&format!("GET /admin/api/offers/o/standby?cursor={next}"), None).await;
    assert_eq!((&rest.is(200).body["standby"][0]["position"], &rest.body["next_cursor"]), (&json!(2), &json!(null)));

    let encoded: String = user.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let found = rig.admin(&format!("GET /admin/api/claims?user={encoded}"), None).await;
    let ids: Vec<_> = found.is(200).body["claims"].as_array().expect("claims").iter().map(|claim| claim["id"].clone()).collect();
    assert_eq!(ids, [json!(two), json!(one)], "newest first");
    for (query, count) in [
        (format!("user={encoded}&offer=o"), 1),
        (format!("user={encoded}&status=confirmed"), 0),
        ("offer=o".into(), 1),
        ("offer=o&status=held".into(), 1),
        ("user=u".into(), 0),
        ("user=%25".into(), 0),
    ] {
        let found = rig.admin(&format!("GET /admin/api/claims?{query}"), None).await;
        assert_eq!(found.is(200).body["claims"].as_array().map(Vec::len), Some(count), "{query}");
    }
    for (query, status) in [
        ("", 400),
        ("status=held", 400),
        ("user=%00", 400),
        ("user=", 400),
        ("user=a&user=b", 400),
        ("user=a&status=lost", 400),
        ("user=a&offer=%2F", 400),
        ("user=a&cursor=x", 400),
        ("user=a&limit=0", 400),
        ("user=a&limit=201", 400),
        ("user=a&colour=red", 400),
        ("offer=none", 404),
    ] {
        assert_eq!(rig.admin(&format!("GET /admin/api/claims?{query}"), None).await.status, status, "{query}");
    }
    rig.call("GET /admin/api/claims?user=a", &[("authorization", &format!("Bearer {SERVICE}"))], None).await.refuses(403, "forbidden");

    rig.service(None, &format!("POST /v1/claims/{one}/confirm"), Some(json!({}))).await.is(200);
    let viewer = format!("Bearer {VIEWER}");
    let back = format!("POST /admin/api/claims/{one}/return");
    rig.call(&back, &[("authorization", &viewer)], Some(json!({"restock": true}))).await.refuses(403, "forbidden");
    rig.admin(&back, Some(json!({"restock": true}))).await.is(200);
    let history = rig.call(&format!("GET /admin/api/claims/{one}"), &[("authorization", &viewer)], None).await;
    let history = &history.is(200).body;
    assert_eq!((&history["user"], &history["status"], &history["attributes"]), (&json!(user), &json!("returned"), &json!({})));
    let states: Vec<_> =
        history["events"].as_array().expect("events").iter().map(|event| (event["version"].as_u64(), event["status"].as_str())).collect();
    assert_eq!(
        states,
        [(Some(1), Some("held")), (Some(2), Some("confirmed")), (Some(3), Some(crate::problem::status_word(Status::Returned)))]
    );
    for id in ["x", "%00", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-8fff-bfff-ffffffffffff"] {
        rig.admin(&format!("GET /admin/api/claims/{id}"), None).await.refuses(404, "unknown_claim");
    }
    let noted = rig.admin("GET /admin/api/audit?action=claim.return", None).await;
    let entry = &noted.is(200).body["entries"][0];
    assert_eq!(
        (&entry["before"]["status"], &entry["after"]["status"], &entry["detail"]),
        (&json!("confirmed"), &json!("returned"), &json!({"restock": true}))
    );
}

#[tokio::test]
async fn every_change_notes_what_was_there_before_and_after() {
    let rig = rig().await;
    let put = async |line: &str, revision: &str, body: Value| {
        let bearer = format!("Bearer {ADMIN}");
        rig.call(line, &[("authorization", &bearer), ("if-match", revision)], Some(body)).await
    };
    rig.put("PUT /admin/api/zones/Z", json!({"entry_limit_per_minute": 60, "name": "하나", "paused": true})).await;
    put("PUT /admin/api/zones/Z", "\"1\"", json!({"entry_limit_per_minute": 600, "name": "<script>"})).await.is(200);
    // Two operators at once: the second is told, and nothing is noted.
    put("PUT /admin/api/zones/Z", "\"1\"", json!({"entry_limit_per_minute": 6})).await.refuses(412, "revision_conflict");
    put("PUT /admin/api/zones/Z", "stale", json!({"entry_limit_per_minute": 6})).await.refuses(400, "invalid_request");
    rig.admin("POST /admin/api/zones/Z/resume", None).await.is(200);
    rig.admin("POST /admin/api/zones/Z/reset", None).await.is(200);
    rig.admin("DELETE /admin/api/zones/Z", None).await.is(204);
    rig.put("PUT /admin/api/offers/o", json!({"kind": "goods", "quantity": 5})).await;
    put("PUT /admin/api/offers/o", "\"1\"", json!({"kind": "goods", "quantity": 7})).await.is(200);
    put("PUT /admin/api/offers/o", "\"1\"", json!({"kind": "goods", "quantity": 8})).await.refuses(412, "revision_conflict");
    rig.admin("POST /admin/api/offers/o/restock", Some(json!({"delta": -2}))).await.is(200);
    rig.admin("POST /admin/api/offers/o/restock", Some(json!({"delta": -200}))).await.refuses(409, "quantity_taken");
    rig.admin("POST /admin/api/offers/o/close", None).await.is(200);
    rig.admin("DELETE /admin/api/offers/o", None).await.is(204);
    let made = rig.admin("POST /admin/api/keys", Some(json!({"role": "service", "name": "shop"}))).await.is(201).body["id"].clone();
    rig.admin(&format!("DELETE /admin/api/keys/{}", made.as_str().expect("an id")), None).await.is(204);

    let audit = rig.admin("GET /admin/api/audit?limit=200&actor=key:admin", None).await;
    let entries = audit.is(200).body["entries"].as_array().expect("entries");
    let mut noted: Vec<(&str, Value, Value)> = entries
        .iter()
        .rev()
        .map(|entry| {
            let short = |side: &Value| {
                let shown = ["entry_limit_per_minute", "paused", "epoch", "quantity", "role"];
                shown.iter().filter_map(|name| side.get(name)).cloned().collect::<Value>()
            };
            let side = |side: &Value| if side.is_null() { Value::Null } else { short(side) };
            (entry["action"].as_str().expect("a word"), side(&entry["before"]), side(&entry["after"]))
        })
        .collect();
    // What is journaled is noted a moment later than what is not.
    noted.sort_by_key(|(action, ..)| action.starts_with("key."));
    assert_eq!(
        noted,
        [
            ("zone.put", Value::Null, json!([60, true])),
            ("zone.put", json!([60, true]), json!([600, true])),
            ("zone.resume", json!([600, true]), json!([600, false])),
            ("zone.reset", json!([1]), json!([2])),
            ("zone.delete", json!([600, false]), Value::Null),
            ("offer.put", Value::Null, json!([5])),
            ("offer.put", json!([5]), json!([7])),
            ("offer.restock", json!([7]), json!([5])),
            ("offer.close", json!([]), json!([])),
            ("offer.delete", json!([5]), Value::Null),
            ("key.new", Value::Null, json!(["service"])),
            ("key.revoke", json!(["service"]), Value::Null),
        ]
    );
    // What was before can be put again as it is.
    let before = entries.iter().find(|entry| entry["action"] == "zone.delete").expect("noted")["before"].clone();
    rig.admin("PUT /admin/api/zones/Z", Some(before)).await.is(201);
    let before = entries.iter().find(|entry| entry["action"] == "offer.delete").expect("noted")["before"].clone();
    rig.admin("PUT /admin/api/offers/o", Some(before)).await.is(201);
    for (query, status) in [("actor=%00", 400), ("action=a%0Ab", 400), ("target=%E2%80%AE", 200), ("actor=%25", 200), ("who=me", 400)] {
        rig.admin(&format!("GET /admin/api/audit?{query}"), None).await.is(status);
    }
    rig.admin(&format!("GET /admin/api/audit?actor={}", "a".repeat(1_001)), None).await.is(400);
}
