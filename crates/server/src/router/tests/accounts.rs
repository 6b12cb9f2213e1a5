//! Who signs in to the console: accounts, codes, sessions.

use super::*;
use crate::auth::totp;
use crate::http::time::unix_seconds;

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
