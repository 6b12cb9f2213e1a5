//! What the console stands on: signing in, accounts, codes, sessions, the allow list, what is seen of zones, offers, claims and the
//! installation, and what of all that is noted.

use super::*;
use crate::auth::totp;
use crate::http::time::unix_seconds;
use bunho_domain::claim::Status;
use std::net::SocketAddr;
use std::time::Duration;

const PASSWORD: &str = "correct horse 배터리";

impl Rig {
    /// Makes an account of this name with [`PASSWORD`].
    async fn account(&self, name: &str, role: &str) {
        let body = json!({"name": name, "role": role, "password": PASSWORD});
        self.admin("POST /admin/api/accounts", Some(body)).await.is(201);
    }

    async fn sign_in(&self, body: Value) -> Answer {
        self.call("POST /admin/api/session", &[("user-agent", "Test/1 \u{e9}")], Some(body)).await
    }

    /// The cookie of a new session of an account with [`PASSWORD`].
    async fn cookie(&self, name: &str) -> String {
        let answer = self.sign_in(json!({"name": name, "password": PASSWORD})).await;
        cookie_of(answer.is(201))
    }

    async fn with(&self, cookie: &str, line: &str, body: Option<Value>) -> Answer {
        self.call(line, &[("cookie", cookie), ("x-requested-with", "bunho")], body).await
    }
}

fn cookie_of(answer: &Answer) -> String {
    answer.header("set-cookie").split(';').next().expect("a cookie").to_owned()
}

#[tokio::test]
async fn people_sign_in_with_a_name_and_everything_wrong_is_answered_alike() {
    let rig = rig().await;
    rig.account("kim", "operator").await;
    let answer = rig.sign_in(json!({"name": "kim", "password": PASSWORD})).await;
    let view = &answer.is(201).body;
    assert_eq!(
        (&view["id"], &view["kind"], &view["role"], &view["name"], &view["totp"]),
        (&json!("kim"), &json!("account"), &json!("operator"), &json!("kim"), &json!(false))
    );
    let set = answer.header("set-cookie");
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && !set.contains("Secure"), "{set}");
    let cookie = cookie_of(&answer);
    let own = rig.with(&cookie, "GET /admin/api/session", None).await;
    assert_eq!(&own.is(200).body, view, "the same view");
    let by_key = rig.admin("GET /admin/api/session", None).await;
    assert_eq!((&by_key.body["kind"], &by_key.body["expires_at"]), (&json!("key"), &json!(null)));
    let secure = [("x-forwarded-proto", "https")];
    let answer = rig.call("POST /admin/api/session", &secure, Some(json!({"name": "kim", "password": PASSWORD}))).await;
    assert!(answer.is(201).header("set-cookie").contains("; Secure"));

    rig.account("off", "operator").await;
    rig.admin("PUT /admin/api/accounts/off", Some(json!({"disabled": true}))).await.is(200);
    let mut details = std::collections::BTreeSet::new();
    for body in [
        json!({"name": "kim", "password": "wrong"}),
        json!({"name": "kim", "password": ""}),
        json!({"name": "KIM", "password": PASSWORD}),
        json!({"name": "nobody", "password": PASSWORD}),
        json!({"name": "off", "password": PASSWORD}),
        json!({"name": "", "password": PASSWORD}),
        json!({"name": "k".repeat(10_000), "password": PASSWORD}),
        json!({"name": "kim", "password": "p".repeat(10_000)}),
        json!({"name": "kim\u{0}", "password": PASSWORD}),
        json!({"name": "\u{202e}mik", "password": PASSWORD}),
        json!({"name": "' OR 1=1 --", "password": PASSWORD}),
        json!({"name": "👩‍🚀", "password": "\u{0}"}),
        json!({"key": "bk_wrong"}),
        json!({"key": ""}),
    ] {
        let answer = rig.sign_in(body.clone()).await;
        answer.refuses(401, "unauthenticated");
        assert_eq!(answer.header("set-cookie"), "", "{body}");
        details.insert(answer.body["detail"].to_string());
    }
    assert_eq!(details.len(), 1, "one text for all reasons: {details:?}");
    for body in [
        json!({}),
        json!({"name": "kim"}),
        json!({"password": PASSWORD}),
        json!({"key": ADMIN, "name": "kim", "password": PASSWORD}),
        json!({"name": 7, "password": PASSWORD}),
        json!({"name": "kim", "password": ["x"]}),
        json!({"name": "kim", "password": PASSWORD, "remember": true}),
        json!([]),
    ] {
        rig.sign_in(body).await.refuses(400, "invalid_request");
    }
    let signed_in = rig.admin("GET /admin/api/accounts", None).await;
    let kim = &signed_in.body["accounts"][0];
    assert!(kim["last_signed_in_at"].is_string(), "{kim}");
    assert!(!signed_in.body.to_string().contains("argon2"), "no hash leaves");
}

#[tokio::test]
async fn too_many_wrong_ones_are_not_looked_at() {
    let rig = rig().await;
    rig.account("kim", "viewer").await;
    rig.account("lee", "viewer").await;
    for _ in 0..10 {
        rig.sign_in(json!({"name": "kim", "password": "wrong"})).await.refuses(401, "unauthenticated");
    }
    // Not even the right one, and whether there is such an account is not told either.
    let closed = rig.sign_in(json!({"name": "kim", "password": PASSWORD})).await;
    let seconds: u32 = closed.refuses(429, "too_fast").header("retry-after").parse().expect("seconds");
    assert!((200..=301).contains(&seconds), "{seconds}");
    for _ in 0..20 {
        rig.cookie("lee").await;
    }
    for _ in 0..10 {
        rig.sign_in(json!({"name": "nobody", "password": "wrong"})).await.refuses(401, "unauthenticated");
    }
    rig.sign_in(json!({"name": "nobody", "password": "wrong"})).await.refuses(429, "too_fast");
    // Whatever the name, one address has so many.
    for n in 0..20 {
        rig.sign_in(json!({"key": format!("bk_{n}")})).await.refuses(401, "unauthenticated");
    }
    rig.sign_in(json!({"name": "lee", "password": PASSWORD})).await.refuses(429, "too_fast");
    // Whoever is inside stays inside.
    rig.admin("GET /admin/api/zones", None).await.is(200);
}

#[tokio::test]
async fn accounts_are_made_changed_and_taken_away_by_an_admin_alone() {
    let rig = rig().await;
    let made = rig.admin("POST /admin/api/accounts", Some(json!({"name": "kim", "role": "admin"}))).await;
    let password = made.is(201).body["password"].as_str().expect("shown once").to_owned();
    assert!(password.len() >= 20);
    let cookie = cookie_of(rig.sign_in(json!({"name": "kim", "password": password})).await.is(201));
    rig.account("lee", "operator").await;
    let made = rig.admin("POST /admin/api/accounts", Some(json!({"name": "park", "role": "viewer", "password": PASSWORD}))).await;
    assert!(made.is(201).body.get("password").is_none(), "whoever chose it knows it");
    rig.admin("POST /admin/api/accounts", Some(json!({"name": "kim", "role": "viewer"}))).await.refuses(409, "name_taken");
    for (field, body) in [
        ("name", json!({"name": "", "role": "viewer"})),
        ("name", json!({"name": "a".repeat(10_000), "role": "viewer"})),
        ("name", json!({"name": "a\nb", "role": "viewer"})),
        ("name", json!({"name": "\u{202e}kim", "role": "viewer"})),
        ("name", json!({"name": "'; DROP TABLE accounts; --", "role": "viewer"})),
        ("role", json!({"name": "x", "role": "service"})),
        ("role", json!({"name": "x", "role": "root"})),
        ("role", json!({"name": "x", "role": 1})),
        ("password", json!({"name": "x", "role": "viewer", "password": "123456789"})),
        ("password", json!({"name": "x", "role": "viewer", "password": "p".repeat(257)})),
        ("password", json!({"name": "x", "role": "viewer", "password": null, "hash": "x"})),
    ] {
        let answer = rig.admin("POST /admin/api/accounts", Some(body.clone())).await;
        let errors = &answer.refuses(400, "invalid_request").body["errors"];
        assert!(errors[0]["field"] == field || errors[0]["field"] == "hash", "{body} {errors}");
    }
    for (line, body) in [
        ("PUT /admin/api/accounts/lee", json!({"role": "service"})),
        ("PUT /admin/api/accounts/lee", json!({"totp": true})),
        ("PUT /admin/api/accounts/lee", json!({"disabled": "yes"})),
        ("PUT /admin/api/accounts/lee", json!({"password": "short"})),
        ("PUT /admin/api/accounts/lee", json!({"name": "other"})),
    ] {
        rig.admin(line, Some(body)).await.refuses(400, "invalid_request");
    }
    for line in ["PUT /admin/api/accounts/nobody", "PUT /admin/api/accounts/%00", "PUT /admin/api/accounts/%E2%80%AE"] {
        rig.admin(line, Some(json!({}))).await.refuses(404, "not_found");
    }
    rig.admin("DELETE /admin/api/accounts/nobody", None).await.refuses(404, "not_found");

    // A change counts for the sessions that are open.
    let lee = rig.cookie("lee").await;
    rig.with(&lee, "GET /admin/api/accounts", None).await.refuses(403, "forbidden");
    rig.with(&lee, "POST /admin/api/accounts", Some(json!({"name": "x", "role": "admin"}))).await.refuses(403, "forbidden");
    rig.with(&lee, "PUT /admin/api/zones/A", Some(json!({"entry_limit_per_minute": 1}))).await.is(201);
    assert_eq!(rig.with(&cookie, "PUT /admin/api/accounts/lee", Some(json!({"role": "viewer"}))).await.is(200).body["role"], "viewer");
    rig.with(&lee, "PUT /admin/api/zones/A", Some(json!({"entry_limit_per_minute": 2}))).await.refuses(403, "forbidden");
    rig.with(&lee, "GET /admin/api/zones", None).await.is(200);
    rig.admin("PUT /admin/api/accounts/lee", Some(json!({"password": "another password"}))).await.is(200);
    rig.with(&lee, "GET /admin/api/zones", None).await.refuses(401, "unauthenticated");
    let lee = cookie_of(rig.sign_in(json!({"name": "lee", "password": "another password"})).await.is(201));
    rig.admin("PUT /admin/api/accounts/lee", Some(json!({"disabled": true}))).await.is(200);
    rig.with(&lee, "GET /admin/api/zones", None).await.refuses(401, "unauthenticated");
    rig.admin("PUT /admin/api/accounts/lee", Some(json!({"disabled": false}))).await.is(200);
    rig.with(&lee, "GET /admin/api/zones", None).await.refuses(401, "unauthenticated");

    // One administrator stays, key or account.
    rig.with(&cookie, "DELETE /admin/api/keys/admin", None).await.is(204);
    rig.with(&cookie, "DELETE /admin/api/accounts/kim", None).await.refuses(409, "last_admin_key");
    rig.with(&cookie, "PUT /admin/api/accounts/kim", Some(json!({"role": "viewer"}))).await.refuses(409, "last_admin_key");
    rig.with(&cookie, "PUT /admin/api/accounts/kim", Some(json!({"disabled": true}))).await.refuses(409, "last_admin_key");
    rig.with(&cookie, "PUT /admin/api/accounts/park", Some(json!({"role": "admin"}))).await.is(200);
    rig.with(&cookie, "DELETE /admin/api/accounts/kim", None).await.is(204);
    rig.with(&cookie, "GET /admin/api/zones", None).await.refuses(401, "unauthenticated");
    rig.sign_in(json!({"name": "kim", "password": password})).await.refuses(401, "unauthenticated");

    let park = rig.cookie("park").await;
    let audit = rig.with(&park, "GET /admin/api/audit?target=lee&action=account.put&limit=200", None).await;
    let entries = audit.is(200).body["entries"].as_array().expect("entries").clone();
    assert_eq!(entries.len(), 4);
    let first = &entries[3];
    assert_eq!(
        (&first["actor"], &first["before"]["role"], &first["after"]["role"]),
        (&json!("account:kim"), &json!("operator"), &json!("viewer"))
    );
    assert!(!audit.body.to_string().contains("another password"));
}

#[tokio::test]
async fn one_changes_ones_own_password_and_the_other_sessions_end() {
    let rig = rig().await;
    rig.account("kim", "viewer").await;
    let (here, there) = (rig.cookie("kim").await, rig.cookie("kim").await);
    let line = "POST /admin/api/account/password";
    for (field, body) in [
        ("old", json!({"old": "wrong", "new": "a new password"})),
        ("new", json!({"old": PASSWORD, "new": "short"})),
        ("new", json!({"old": PASSWORD, "new": "가".repeat(257)})),
        ("new", json!({"old": PASSWORD})),
    ] {
        let answer = rig.with(&here, line, Some(body)).await;
        assert_eq!(answer.refuses(400, "invalid_request").body["errors"][0]["field"], field);
    }
    rig.call(line, &[], Some(json!({"old": PASSWORD, "new": "a new password"}))).await.refuses(401, "unauthenticated");
    rig.admin(line, Some(json!({"old": PASSWORD, "new": "a new password"}))).await.refuses(403, "forbidden");
    rig.with(&here, line, Some(json!({"old": PASSWORD, "new": "가나다라마바사아자차"}))).await.is(204);
    rig.with(&there, "GET /admin/api/session", None).await.refuses(401, "unauthenticated");
    rig.with(&here, "GET /admin/api/session", None).await.is(200);
    rig.sign_in(json!({"name": "kim", "password": PASSWORD})).await.refuses(401, "unauthenticated");
    rig.sign_in(json!({"name": "kim", "password": "가나다라마바사아자차"})).await.is(201);
    // Whoever found an open console does not guess the password behind it.
    for _ in 0..10 {
        rig.with(&here, line, Some(json!({"old": "wrong", "new": "a new password"}))).await.refuses(400, "invalid_request");
    }
    rig.with(&here, line, Some(json!({"old": "wrong", "new": "a new password"}))).await.refuses(429, "too_fast");
}

#[tokio::test]
async fn an_account_that_asks_for_codes_wants_each_once() {
    let rig = rig().await;
    rig.account("kim", "operator").await;
    let cookie = rig.cookie("kim").await;
    let line = |method: &str| format!("{method} /admin/api/account/totp");
    rig.admin(&line("POST"), None).await.refuses(403, "forbidden");
    rig.with(&cookie, &line("PUT"), Some(json!({"code": "000000"}))).await.refuses(404, "not_found");
    let replaced = rig.with(&cookie, &line("POST"), None).await.is(200).body["secret"].as_str().expect("a secret").to_owned();
    let offered = rig.with(&cookie, &line("POST"), None).await;
    let secret = offered.is(200).body["secret"].as_str().expect("a secret").to_owned();
    assert_eq!(offered.body["uri"], format!("otpauth://totp/Bunho:kim?secret={secret}&issuer=Bunho"));
    assert_ne!(secret, replaced);
    rig.with(&cookie, &line("PUT"), Some(json!({"code": totp::code(&replaced, unix_seconds())}))).await.refuses(400, "invalid_request");
    // Until a first code was given nothing is asked for.
    rig.cookie("kim").await;
    let now = unix_seconds();
    rig.with(&cookie, &line("PUT"), Some(json!({"code": totp::code(&secret, now)}))).await.is(204);
    rig.with(&cookie, &line("POST"), None).await.refuses(409, "in_use");
    assert_eq!(rig.with(&cookie, "GET /admin/api/session", None).await.body["totp"], true);
    assert!(!rig.admin("GET /admin/api/accounts", None).await.body.to_string().contains(&secret), "a secret is shown once");
    assert!(!rig.admin("GET /admin/api/audit?limit=200", None).await.body.to_string().contains(&secret));

    let with_code = |code: String| json!({"name": "kim", "password": PASSWORD, "code": code});
    rig.sign_in(json!({"name": "kim", "password": PASSWORD})).await.refuses(401, "totp_required");
    rig.sign_in(json!({"name": "kim", "password": "wrong"})).await.refuses(401, "unauthenticated");
    let wrong = json!({"name": "kim", "password": "wrong", "code": totp::code(&secret, now + 30)});
    rig.sign_in(wrong).await.refuses(401, "unauthenticated");
    for code in ["", "abc", "٠٠٠٠٠٠", "0000000", &totp::code(&secret, now), &totp::code(&secret, now + 300)] {
        rig.sign_in(with_code(code.to_owned())).await.refuses(401, "totp_required");
    }
    // The next half minute's: a clock may be ahead a little. Then never again.
    let next = totp::code(&secret, now + 30);
    let answer = rig.sign_in(with_code(format!("{} {}", &next[..3], &next[3..]))).await;
    assert_eq!(answer.is(201).body["totp"], true);
    rig.sign_in(with_code(next.clone())).await.refuses(401, "totp_required");
    rig.with(&cookie, &line("DELETE"), Some(json!({"code": next}))).await.refuses(400, "invalid_request");
    rig.with(&cookie, &line("DELETE"), None).await.refuses(415, "unsupported_media_type");

    // Who lost the authenticator asks an admin.
    assert_eq!(rig.admin("PUT /admin/api/accounts/kim", Some(json!({"totp": false}))).await.is(200).body["totp"], false);
    rig.cookie("kim").await;
    rig.with(&cookie, &line("DELETE"), Some(json!({"code": "000000"}))).await.refuses(404, "not_found");
}

#[tokio::test]
async fn sessions_are_seen_and_ended_by_their_owner_and_by_an_admin() {
    let rig = rig().await;
    rig.account("kim", "viewer").await;
    rig.account("lee", "operator").await;
    rig.account("boss", "admin").await;
    let (kim, phone, lee, boss) = (rig.cookie("kim").await, rig.cookie("kim").await, rig.cookie("lee").await, rig.cookie("boss").await);
    let key = cookie_of(rig.sign_in(json!({"key": OPERATOR})).await.is(201));
    let list = async |cookie: &str| {
        rig.with(cookie, "GET /admin/api/sessions", None).await.is(200).body["sessions"].as_array().cloned().unwrap_or_default()
    };
    let own = list(&kim).await;
    assert_eq!(own.len(), 2);
    assert!(own.iter().all(|session| session["name"] == "kim" && session["role"] == "viewer" && session["user_agent"].is_string()));
    assert_eq!(own.iter().filter(|session| session["current"] == true).count(), 1);
    assert_eq!((list(&lee).await.len(), list(&key).await.len(), list(&boss).await.len()), (1, 1, 5));
    let id = |sessions: &[Value], current: bool| -> String {
        let found = sessions.iter().find(|session| session["current"] == current).expect("a session");
        found["id"].as_str().expect("an id").to_owned()
    };
    let (other, lees) = (id(&own, false), id(&list(&lee).await, true));
    // An id is no token.
    rig.call("GET /admin/api/session", &[("cookie", &format!("bunho_session={other}"))], None).await.refuses(401, "unauthenticated");
    rig.with(&kim, &format!("DELETE /admin/api/sessions/{lees}"), None).await.refuses(404, "not_found");
    rig.call(&format!("DELETE /admin/api/sessions/{other}"), &[("cookie", &kim)], None).await.refuses(403, "forbidden");
    rig.with(&kim, &format!("DELETE /admin/api/sessions/{other}"), None).await.is(204);
    rig.with(&phone, "GET /admin/api/session", None).await.refuses(401, "unauthenticated");
    rig.with(&kim, &format!("DELETE /admin/api/sessions/{other}"), None).await.refuses(404, "not_found");
    rig.with(&boss, &format!("DELETE /admin/api/sessions/{lees}"), None).await.is(204);
    rig.with(&lee, "GET /admin/api/session", None).await.refuses(401, "unauthenticated");
    for id in ["%00", "..%2F..", "%27%20OR%201=1", &"a".repeat(5_000)] {
        rig.with(&boss, &format!("DELETE /admin/api/sessions/{id}"), None).await.refuses(404, "not_found");
    }
    let ended = rig.with(&boss, "GET /admin/api/audit?action=session.end", None).await;
    assert_eq!(ended.is(200).body["entries"].as_array().map(Vec::len), Some(2));
    rig.with(&kim, "DELETE /admin/api/session", None).await.is(204);
    rig.with(&kim, "GET /admin/api/session", None).await.refuses(401, "unauthenticated");
}

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
        for _ in 0..400 {
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
