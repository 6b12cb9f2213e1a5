//! The whole edge over a real node in a folder of its own: requests in, answers out, no sockets. One table of requests after another, which is
//! why it is long.

#[path = "tests/wait.rs"]
mod wait;

use super::*;
use crate::app::Parts;
use crate::auth::Peer;
use crate::auth::accounts::Accounts;
use crate::auth::keys::{Keys, key_hash};
use crate::auth::sessions::Sessions;
use crate::config::{Config, Network, Settings, Users};
use crate::node::Node;
use crate::pass::Passes;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bunho_domain::time::Millis;
use bunho_journal::Audit;
use bunho_ledger::NewKey;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

const ADMIN: &str = "bk_admin";
const OPERATOR: &str = "bk_operator";
const VIEWER: &str = "bk_viewer";
const SERVICE: &str = "bk_service";

#[path = "tests/console.rs"]
mod console;

struct Rig {
    router: Router,
    app: Arc<App>,
    stop: watch::Sender<bool>,
    _node: Node,
    _data: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

async fn rig() -> Rig {
    rig_with(|_| {}).await
}

async fn rig_with(edit: impl FnOnce(&mut Config)) -> Rig {
    let data = tempfile::tempdir().expect("a folder");
    let mut settings = Settings::default();
    settings.data.dir = data.path().to_owned();
    let mut config = settings.check().expect("defaults are good");
    edit(&mut config);
    let failed = |failure: crate::exit::Failure| -> Node { panic!("{failure:?}") };
    let node = Node::open(&config).await.unwrap_or_else(failed);
    for (key, role) in [(ADMIN, "admin"), (OPERATOR, "operator"), (VIEWER, "viewer"), (SERVICE, "service")] {
        let audit = Audit { actor: "test".into(), action: "key.new".into(), target: role.into(), detail: None, request_id: None };
        let new = NewKey { id: role, role, name: role, key_hash: &key_hash(key) };
        node.ledger().insert_key(&new, Millis(0), &audit).await.expect("the ledger can be written");
    }
    let (stop, shutdown) = watch::channel(false);
    let app = App::new(Parts {
        engine: node.engine(),
        record: node.record(),
        ledger: node.ledger().clone(),
        passes: Passes::load(&config.data, &*config.pass_issuer).unwrap_or_else(|failure| panic!("{failure:?}")),
        config: Arc::new(config),
        keys: Keys::load(node.ledger()).await.expect("the ledger can be read"),
        sessions: Sessions::load(&[7; 32], node.ledger()).await.expect("the ledger can be read"),
        accounts: Accounts::load(node.ledger()).await.expect("the ledger can be read"),
        node: node.name(),
        findings: Vec::new(),
        user_tokens: None,
        reconcile: Box::new(|_repair| Box::pin(async { Ok(json!({"equal": true})) })),
        shutdown,
    });
    Rig { router: public(app.clone(), None), app, stop, _node: node, _data: data }
}

/// A request as `METHOD path`, with headers and perhaps a JSON body.
fn request(line: &str, headers: &[(&str, &str)], body: Option<Value>) -> Request<Body> {
    let (method, path) = line.split_once(' ').expect("METHOD path");
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match body {
        Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    }
    .expect("a request")
}

impl Rig {
    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        assert!(parts.headers.contains_key("x-request-id"));
        if !parts.status.is_success() && parts.status != StatusCode::PERMANENT_REDIRECT {
            assert_eq!(parts.headers["content-type"], "application/problem+json");
            assert_eq!(body["status"], parts.status.as_u16());
            assert_eq!(body["request_id"], parts.headers["x-request-id"].to_str().expect("ASCII"));
        }
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn call(&self, line: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        self.send(request(line, headers, body)).await
    }

    async fn admin(&self, line: &str, body: Option<Value>) -> Answer {
        self.call(line, &[("authorization", &format!("Bearer {ADMIN}"))], body).await
    }

    async fn user(&self, user: &str, line: &str, body: Option<Value>) -> Answer {
        self.call(line, &[("x-bunho-user", user)], body).await
    }

    async fn service(&self, user: Option<&str>, line: &str, body: Option<Value>) -> Answer {
        let bearer = format!("Bearer {SERVICE}");
        let mut headers = vec![("authorization", &*bearer)];
        headers.extend(user.map(|user| ("x-bunho-user", user)));
        self.call(line, &headers, body).await
    }

    async fn put(&self, line: &str, body: Value) {
        let answer = self.admin(line, Some(body)).await;
        assert!(answer.status.is_success(), "{line}: {}", answer.body);
    }
}

impl Answer {
    #[track_caller]
    fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self
    }

    #[track_caller]
    fn refuses(&self, status: u16, code: &str) -> &Self {
        self.is(status);
        assert_eq!(self.body["code"], code, "{}", self.body);
        self
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }
}

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

#[tokio::test]
async fn every_door_asks_for_its_key() {
    let rig = rig().await;
    rig.put("PUT /admin/api/zones/SALE", json!({"entry_limit_per_minute": 1})).await;
    let zone = Some(json!({"entry_limit_per_minute": 2}));
    for (line, body, least) in [
        ("GET /admin/api/zones", None, VIEWER),
        ("GET /admin/api/audit", None, VIEWER),
        ("PUT /admin/api/zones/SALE", zone, OPERATOR),
        ("POST /admin/api/zones/SALE/pause", None, OPERATOR),
        ("POST /admin/api/zones/SALE/resume", None, OPERATOR),
        ("POST /admin/api/reconcile", None, OPERATOR),
        ("POST /admin/api/zones/SALE/reset", None, ADMIN),
        ("GET /admin/api/keys", None, ADMIN),
        ("GET /admin/api/pass-keys", None, ADMIN),
    ] {
        rig.call(line, &[], body.clone()).await.refuses(401, "unauthenticated");
        rig.call(line, &[("authorization", "Bearer bk_wrong")], body.clone()).await.refuses(401, "unauthenticated");
        let ladder = [VIEWER, OPERATOR, ADMIN];
        let rung = |key: &str| ladder.iter().position(|other| *other == key);
        for key in [SERVICE, VIEWER, OPERATOR, ADMIN] {
            let answer = rig.call(line, &[("authorization", &format!("Bearer {key}"))], body.clone()).await;
            if rung(key) >= rung(least) {
                answer.is(200)
            } else {
                answer.refuses(403, "forbidden")
            };
        }
    }
    rig.put("PUT /admin/api/offers/drop", json!({"kind": "coupon", "quantity": 5})).await;
    let claim = Some(json!({"quantity": 1}));
    let line = "POST /v1/offers/drop/claims";
    rig.call(line, &[], claim.clone()).await.refuses(401, "unauthenticated");
    rig.call(line, &[("x-bunho-user", "u1"), ("authorization", "Bearer bk_wrong")], claim.clone()).await.refuses(401, "unauthenticated");
    rig.call(line, &[("authorization", "Basic eDp5"), ("x-bunho-user", "u1")], claim.clone()).await.refuses(401, "unauthenticated");
    rig.call(line, &[("x-bunho-user", "")], claim.clone()).await.refuses(400, "invalid_request");
    let no_user = rig.service(None, line, claim.clone()).await;
    assert_eq!(no_user.refuses(400, "invalid_request").body["errors"][0]["field"], "X-Bunho-User");
    rig.service(Some("u1"), line, claim.clone()).await.is(201);
    let viewer = format!("Bearer {VIEWER}");
    rig.call(line, &[("authorization", &viewer), ("x-bunho-user", "u2")], claim).await.refuses(403, "forbidden");
}

#[tokio::test]
async fn a_users_header_is_believed_from_trusted_addresses_only() {
    let trusted = vec![Network::parse("10.0.0.0/8").expect("a network")];
    let rig = rig_with(|config| config.users = Users::Header { trusted }).await;
    rig.put("PUT /admin/api/offers/drop", json!({"kind": "coupon", "quantity": 5})).await;
    for (peer, status) in [(Some("10.1.2.3:5"), 201), (Some("192.0.2.1:5"), 401), (None, 401)] {
        let mut request = request("POST /v1/offers/drop/claims", &[("x-bunho-user", "u1")], Some(json!({"quantity": 1})));
        request.extensions_mut().extend(peer.map(|peer| Peer(peer.parse().expect("an address"))).map_or_else(Default::default, |peer| {
            let mut extensions = axum::http::Extensions::new();
            extensions.insert(peer);
            extensions
        }));
        rig.send(request).await.is(status);
    }
}

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
async fn keys_and_sessions_live_and_end() {
    let rig = rig().await;
    rig.admin("DELETE /admin/api/keys/admin", None).await.refuses(409, "last_admin_key");
    let made = rig.admin("POST /admin/api/keys", Some(json!({"role": "operator", "name": "shop"}))).await;
    let (id, key) = (made.is(201).body["id"].as_str().expect("an id").to_owned(), made.body["key"].as_str().expect("a key").to_owned());
    rig.call("GET /admin/api/zones", &[("authorization", &format!("Bearer {key}"))], None).await.is(200);
    let listed = rig.admin("GET /admin/api/keys", None).await;
    assert!(!listed.is(200).body.to_string().contains(&key), "a key is shown once");
    rig.admin("POST /admin/api/keys", Some(json!({"role": "root", "name": ""}))).await.refuses(400, "invalid_request");

    rig.call("POST /admin/api/session", &[], Some(json!({"key": SERVICE}))).await.refuses(403, "forbidden");
    rig.call("POST /admin/api/session", &[], Some(json!({"key": "bk_wrong"}))).await.refuses(401, "unauthenticated");
    let session = rig.call("POST /admin/api/session", &[], Some(json!({"key": key}))).await;
    let set = session.is(201).header("set-cookie").to_owned();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict"), "{set}");
    let cookie = set.split(';').next().expect("a cookie").to_owned();
    let with_cookie = [("cookie", &*cookie)];
    assert_eq!(rig.call("GET /admin/api/session", &with_cookie, None).await.is(200).body["role"], "operator");
    let zone = Some(json!({"entry_limit_per_minute": 1}));
    rig.call("PUT /admin/api/zones/SALE", &with_cookie, zone).await.is(201);
    rig.call("POST /admin/api/zones/SALE/pause", &with_cookie, None).await.refuses(403, "forbidden");
    rig.call("POST /admin/api/zones/SALE/pause", &[with_cookie[0], ("x-requested-with", "bunho")], None).await.is(200);

    rig.admin(&format!("DELETE /admin/api/keys/{id}"), None).await.is(204);
    rig.call("GET /admin/api/session", &with_cookie, None).await.refuses(401, "unauthenticated");
    rig.call("GET /admin/api/zones", &[("authorization", &format!("Bearer {key}"))], None).await.refuses(401, "unauthenticated");
    rig.admin(&format!("DELETE /admin/api/keys/{id}"), None).await.refuses(404, "not_found");
    rig.call("DELETE /admin/api/session", &with_cookie, None).await.is(204);

    let first = rig.admin("GET /admin/api/pass-keys", None).await.body["keys"][0]["kid"].as_str().expect("a kid").to_owned();
    rig.admin(&format!("DELETE /admin/api/pass-keys/{first}"), None).await.refuses(409, "in_use");
    rig.admin("POST /admin/api/pass-keys", None).await.is(201);
    assert_eq!(rig.call("GET /.well-known/jwks.json", &[], None).await.is(200).body["keys"].as_array().map(Vec::len), Some(2));
    rig.admin(&format!("DELETE /admin/api/pass-keys/{first}"), None).await.is(204);
}

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

#[tokio::test]
async fn administration_can_have_an_address_of_its_own() {
    let rig = rig_with(|config| config.admin_listen = Some("127.0.0.1:1".parse().expect("an address"))).await;
    for path in ["/admin/api/zones", "/metrics", "/docs/", "/openapi.json"] {
        rig.call(&format!("GET {path}"), &[], None).await.refuses(404, "not_found");
    }
    rig.call("GET /healthz", &[], None).await.is(200);
    let admin = Rig { router: admin(rig.app.clone()), ..rig };
    admin.admin("GET /admin/api/zones", None).await.is(200);
    admin.call("GET /metrics", &[], None).await.is(200);
    admin.call("GET /readyz", &[], None).await.is(200);
    admin.call("GET /v1/offers", &[], None).await.refuses(404, "not_found");
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
    assert_eq!(rig.call("GET /.well-known/jwks.json", &[], None).await.is(200).header("cache-control"), "public, max-age=300");
}
