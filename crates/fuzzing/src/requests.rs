//! Whole requests into the router: whatever they are, the answer is one of the contract.

use crate::node::{Answer, Rig, request as read_request, with_rig};
use serde_json::{Map, Value, json};

/// Any head and body get a status and a code of the contract, never 500, and no offer has more or fewer units than its
/// quantity afterwards. The input is `METHOD target`, header lines, an empty line and a body.
pub fn request(bytes: &[u8]) {
    with_rig(|rig| {
        let Some(request) = read_request(&rig.named(bytes)) else { return };
        rig.send(request);
        let offers = rig.call("GET /v1/offers", &[], Vec::new());
        for offer in offers.body["offers"].as_array().into_iter().flatten() {
            let sum = ["remaining", "held", "confirmed"].map(|field| offer[field].as_u64().expect("a number")).iter().sum::<u64>();
            assert_eq!(Some(sum), offer["quantity"].as_u64(), "{offer}");
        }
    });
}

/// Settings and claims that are taken are kept as they were sent, and what is shown of them is taken again. The input is `zones`,
/// `offers` or `claims`, an empty line, and a body.
pub fn settings(bytes: &[u8]) {
    let (kind, body) = crate::halves(bytes);
    with_rig(|rig| match kind {
        b"claims" => claim(rig, body),
        b"zones" => put(rig, "zones", ZONE_SETTINGS, body),
        _ => put(rig, "offers", OFFER_SETTINGS, body),
    });
}

const ZONE_SETTINGS: &[&str] = &[
    "app",
    "name",
    "entry_limit_per_minute",
    "window_seconds",
    "slot_seconds",
    "abandon_after_seconds",
    "resume_grace_seconds",
    "poll_interval_ms",
    "poll_interval_max_ms",
    "opens_at",
    "closes_at",
    "paused",
    "active_limit",
    "session_seconds",
    "pass_ttl_seconds",
    "offer",
    "message",
    "challenge_bits",
    "enqueue",
    "pass_bound",
];
const OFFER_SETTINGS: &[&str] = &[
    "app",
    "name",
    "kind",
    "quantity",
    "per_user_limit",
    "min_per_claim",
    "max_per_claim",
    "hold_seconds",
    "unit_price",
    "opens_at",
    "closes_at",
    "zone",
    "pass_once",
    "grants",
    "grant_only",
    "standby",
    "standby_hold_seconds",
    "confirm_by",
];

fn put(rig: &Rig, group: &str, names: &[&str], body: &[u8]) {
    let path = format!("/admin/api/{group}/fuzzed");
    let admin = ("authorization", "Bearer bk_admin");
    let first = rig.call(&format!("PUT {path}"), &[admin], body.to_vec());
    if !first.status.is_success() {
        return;
    }
    assert_eq!(first.status, 201, "it was not there");
    let sent: Map<String, Value> = serde_json::from_slice(body).expect("what was taken is an object");
    for (name, value) in sent.iter().filter(|(name, _)| *name != "id") {
        assert!(names.contains(&&**name), "{name} was taken and is no setting");
        assert!(is_same(name, value, &first.body[name]), "{name}: {value} became {}", first.body[name]);
    }
    let shown: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), first.body[*name].clone())).collect();
    let etag = first.headers["etag"].to_str().expect("ASCII").to_owned();
    let again = rig.call(&format!("PUT {path}"), &[admin, ("if-match", &etag)], Value::Object(shown.clone()).to_string().into_bytes());
    assert_eq!(again.status, 200, "{}", again.body);
    for (name, value) in &shown {
        assert_eq!(&again.body[name], value, "{name}");
    }
    assert_eq!(rig.admin(&format!("DELETE {path}"), None).status, 204);
}

/// Null and absent are the default; numbers may be written as 2.0, times in any zone.
fn is_same(name: &str, sent: &Value, shown: &Value) -> bool {
    match (sent, shown) {
        (Value::Null, _) => true,
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::String(one), Value::String(other)) if name.ends_with("_at") => {
            let at = |text: &str| text.parse::<jiff::Timestamp>().expect("a time").as_millisecond();
            at(one) == at(other) && other.len() == "2026-01-01T00:00:00.000Z".len()
        }
        _ => sent == shown,
    }
}

fn claim(rig: &Rig, body: &[u8]) {
    let headers = [("authorization", "Bearer bk_service"), ("x-bunho-user", "fuzz"), ("idempotency-key", "k")];
    let send = |body: Vec<u8>| rig.call("POST /v1/offers/fuzzed/claims", &headers, body);
    let offer = json!({"kind": "goods", "quantity": 1_000, "max_per_claim": 1_000});
    assert_eq!(rig.admin("PUT /admin/api/offers/fuzzed", Some(&offer)).status, 201);
    let first = send(body.to_vec());
    if first.status == 201 {
        check_claim(&first, body);
        let again = send(body.to_vec());
        assert_eq!((again.headers.contains_key("idempotency-replayed"), &again.body), (true, &first.body));
        // What is shown of the attributes means the same to the server as what was sent.
        let echo = json!({"quantity": first.body["quantity"], "attributes": first.body["attributes"]});
        assert_eq!(send(echo.to_string().into_bytes()).body, first.body, "{echo}");
        let other = json!({"quantity": first.body["quantity"], "attributes": {"other": true}});
        assert_eq!(send(other.to_string().into_bytes()).body["code"], "key_reused");
        let id = first.body["id"].as_str().expect("an id");
        assert_eq!(rig.call(&format!("POST /v1/claims/{id}/release"), &headers, Vec::new()).status, 200);
    }
    assert_eq!(rig.admin("DELETE /admin/api/offers/fuzzed", None).status, 204);
}

fn check_claim(answer: &Answer, body: &[u8]) {
    let sent: Map<String, Value> = serde_json::from_slice(body).expect("what was taken is an object");
    assert!(sent.keys().all(|name| name == "quantity" || name == "attributes"), "unknown fields are refused");
    assert!(is_same("quantity", &sent["quantity"], &answer.body["quantity"]) && answer.body["quantity"] != 0);
    let attributes = sent.get("attributes").filter(|attributes| !attributes.is_null()).cloned().unwrap_or_else(|| json!({}));
    assert_eq!(answer.body["attributes"], attributes);
    assert!(attributes.to_string().len() <= 4_096 && levels(&attributes) <= 16);
}

fn levels(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}
