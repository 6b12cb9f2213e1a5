//! Who gets a place in a line, and who is told what is missing.

use super::*;
use crate::config::{Rate, TokenSettings};
use jsonwebtoken::{EncodingKey, Header, encode};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::time::Instant;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// As `@bunho/client` does, and as the contract says it.
fn solve(challenge: &str, bits: u64) -> String {
    let zeros = |text: &str| {
        let digest = Sha256::digest(format!("{challenge}{text}"));
        digest.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).take_while(|bit| *bit == 0).count() as u64
    };
    (0_u32..).map(|n| n.to_string()).find(|text| zeros(text) >= bits).expect("there is one")
}

fn vouched(user: &str, zone: &str) -> String {
    let claims = json!({"sub": user, "aud": zone, "exp": jiff::Timestamp::now().as_second() + 60});
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("a token")
}

async fn rig_with_tokens() -> Rig {
    let folder = tempfile::tempdir().expect("a folder");
    let secret_file = folder.path().join("secret");
    std::fs::write(&secret_file, SECRET).expect("written");
    rig_with(|config| config.join.token = Some(TokenSettings { secret_file: Some(secret_file), ..TokenSettings::default() })).await
}

impl Rig {
    async fn join(&self, body: Value) -> Answer {
        self.call("POST /traffic/wait", &[], Some(body)).await
    }

    async fn from(&self, peer: &str, said: Option<&str>, line: &str, body: Value) -> Answer {
        let mut request = request(line, &[], Some(body));
        request.extensions_mut().insert(Peer(SocketAddr::new(peer.parse().expect("an address"), 4_711)));
        if let Some(said) = said {
            request.headers_mut().insert("x-forwarded-for", said.parse().expect("a value"));
        }
        self.send(request).await
    }
}

#[tokio::test]
async fn a_door_is_a_setting_of_the_zone() {
    let rig = rig().await;
    let zone = json!({"entry_limit_per_minute": 0, "challenge_bits": 8, "pass_bound": true});
    rig.put("PUT /admin/api/zones/GATE", zone).await;
    let read = rig.admin("GET /admin/api/zones/GATE", None).await;
    assert_eq!((&read.body["challenge_bits"], &read.body["enqueue"], &read.body["pass_bound"]), (&json!(8), &json!("open"), &json!(true)));
    // What is absent is its default, here as for every other setting.
    rig.put("PUT /admin/api/zones/GATE", json!({"entry_limit_per_minute": 0})).await;
    let read = rig.admin("GET /admin/api/zones/GATE", None).await;
    assert_eq!((&read.body["challenge_bits"], &read.body["pass_bound"]), (&json!(0), &json!(false)));
    for (field, value) in
        [("challenge_bits", json!(25)), ("enqueue", json!("closed")), ("enqueue", json!("token")), ("pass_bound", json!(1))]
    {
        let answer = rig.admin("PUT /admin/api/zones/GATE", Some(json!({"entry_limit_per_minute": 0, field: value}))).await;
        assert_eq!(answer.refuses(400, "invalid_request").body["errors"][0]["field"], field, "{value}");
    }
    let audit = rig.admin("GET /admin/api/audit", None).await;
    assert!(audit.body.to_string().contains("challenge_bits"), "{}", audit.body);
}

#[tokio::test]
async fn a_line_that_wants_work_says_which_and_takes_it_once_a_place() {
    let rig = rig().await;
    rig.put("PUT /admin/api/zones/GATE", json!({"entry_limit_per_minute": 0, "challenge_bits": 10})).await;
    let nameless = rig.join(json!({"zoneId": "GATE"})).await;
    assert_eq!(nameless.refuses(400, "invalid_request").body["errors"][0]["field"], "key");
    let asked = rig.join(json!({"zoneId": "GATE", "key": "kim"})).await;
    let challenge = asked.refuses(403, "challenge_required").body["challenge"].as_str().expect("a challenge").to_owned();
    assert_eq!((&asked.body["bits"], &asked.body["algorithm"]), (&json!(10), &json!("sha256-leading-zero-bits")));
    assert!(asked.body["expires_at"].is_string());
    let solution = solve(&challenge, 10);
    let with =
        |key: &str, challenge: &str, solution: &str| json!({"zoneId": "GATE", "key": key, "challenge": challenge, "solution": solution});
    let joined = rig.join(with("kim", &challenge, &solution)).await;
    let token = joined.is(200).body["token"].clone();
    let again = rig.join(with("kim", &challenge, &solution)).await;
    assert_eq!(again.is(200).body["token"], token, "the same work is the same place");
    for (why, body) in [
        ("somebody else", with("lee", &challenge, &solution)),
        ("edited", with("kim", &format!("B{}", &challenge[1..]), &solution)),
        ("not solved", with("kim", &challenge, "")),
        ("too long", with("kim", &challenge, &"0".repeat(56))),
        ("half", json!({"zoneId": "GATE", "key": "kim", "solution": solution})),
    ] {
        let refused = rig.join(body).await;
        let next = refused.refuses(403, "challenge_required").body["challenge"].as_str().expect("another challenge");
        assert_ne!(next, challenge, "{why}");
    }
    // Whoever has a place polls it as ever.
    rig.call("POST /traffic/entry", &[], Some(json!({"zoneId": "GATE", "token": token}))).await.is(200);
    // A reset begins a new line, and the work for the old one is worth nothing.
    rig.admin("POST /admin/api/zones/GATE/reset", None).await.is(200);
    rig.join(with("kim", &challenge, &solution)).await.refuses(403, "challenge_required");
    let metrics = rig.admin("GET /metrics", None).await;
    let counted = metrics.body.as_str().expect("text").lines().any(|line| line.contains("challenge_required") && !line.ends_with(" 0"));
    assert!(counted, "refused joins are counted by their code");
}

#[tokio::test]
async fn a_line_for_known_people_knows_them_by_their_tokens() {
    let rig = rig_with_tokens().await;
    let zone = json!({"entry_limit_per_minute": 0, "enqueue": "token", "pass_bound": true});
    rig.put("PUT /admin/api/zones/GATE", zone).await;
    rig.join(json!({"zoneId": "GATE", "key": "kim"})).await.refuses(403, "enqueue_token_required");
    for token in ["x", &vouched("kim", "OTHER"), &vouched("", "GATE")] {
        rig.join(json!({"zoneId": "GATE", "enqueueToken": token})).await.refuses(403, "enqueue_token_invalid");
    }
    let place = async |user: &str, key: &str| {
        let answer = rig.join(json!({"zoneId": "GATE", "enqueueToken": vouched(user, "GATE"), "key": key})).await;
        answer.is(200).body["token"].clone()
    };
    let (kim, lee) = (place("kim", "phone").await, place("lee", "phone").await);
    assert_eq!(place("kim", "laptop").await, kim, "one person has one place, whatever they call their device");
    assert_ne!(kim, lee);
    // A key of one's own is never one that somebody has vouched for, also from before the door was shut.
    rig.put("PUT /admin/api/zones/GATE", json!({"entry_limit_per_minute": 0, "pass_bound": true})).await;
    let own = rig.join(json!({"zoneId": "GATE", "key": "kim"})).await;
    assert_ne!(own.is(200).body["token"], kim);
    rig.join(json!({"zoneId": "GATE", "key": "\u{0}kim"})).await.refuses(400, "invalid_request");
}

#[tokio::test]
async fn forged_tokens_count_also_where_work_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret_file = folder.path().join("secret");
    std::fs::write(&secret_file, SECRET).expect("written");
    let rig = rig_with(|config| {
        config.join.token = Some(TokenSettings { secret_file: Some(secret_file), ..TokenSettings::default() });
        config.join.per_address = Some(Rate { per_minute: 1, burst: 2 });
    })
    .await;
    rig.put("PUT /admin/api/zones/GATE", json!({"entry_limit_per_minute": 0, "enqueue": "token", "challenge_bits": 8})).await;
    let join = async |from: &str, token: &str| {
        rig.from(from, None, "POST /traffic/wait", json!({"zoneId": "GATE", "key": "x", "enqueueToken": token})).await
    };
    for code in ["enqueue_token_invalid", "enqueue_token_invalid"] {
        join("203.0.113.9", "forged").await.refuses(403, code);
    }
    join("203.0.113.9", "forged").await.refuses(429, "too_fast");
    // Who is known and asks for work has not joined yet.
    for _ in 0..4 {
        join("203.0.113.10", &vouched("kim", "GATE")).await.refuses(403, "challenge_required");
    }
}

#[tokio::test]
async fn a_bound_pass_is_good_for_whoever_it_was_given_to() {
    let rig = rig_with_tokens().await;
    rig.put("PUT /admin/api/zones/GATE", json!({"entry_limit_per_minute": null, "pass_bound": true})).await;
    rig.put("PUT /admin/api/zones/CLUB", json!({"entry_limit_per_minute": null, "pass_bound": true, "enqueue": "token"})).await;
    for (offer, zone) in [("drop", "GATE"), ("gift", "CLUB")] {
        rig.put(&format!("PUT /admin/api/offers/{offer}"), json!({"kind": "coupon", "quantity": 5, "zone": zone})).await;
    }
    let nameless = rig.join(json!({"zoneId": "GATE"})).await;
    assert_eq!(nameless.refuses(400, "invalid_request").body["errors"][0]["field"], "key");
    let joined = rig.join(json!({"zoneId": "GATE", "key": "phone-7"})).await;
    let pass = joined.is(200).body["pass"].as_str().expect("a pass").to_owned();
    let token = joined.body["token"].clone();
    let polled = rig.call("POST /traffic/entry", &[], Some(json!({"zoneId": "GATE", "token": token}))).await;
    assert_eq!(polled.is(200).body["pass"], pass, "the ticket itself says whose it is");
    for (headers, path, status) in [
        (&[("bunho-client-key", "phone-7")][..], "/verify?zone=GATE", 204),
        (&[("cookie", "bunho_key=phone-7")], "/verify?zone=GATE", 204),
        (&[], "/verify?zone=GATE&key=phone-7", 204),
        (&[], "/verify?zone=GATE", 403),
        (&[("bunho-client-key", "phone-8")], "/verify?zone=GATE", 403),
        // What stands first counts: a client adds to the query what its proxy says in the header.
        (&[("bunho-client-key", "phone-8")], "/verify?zone=GATE&key=phone-7", 403),
    ] {
        let headers: Vec<_> = headers.iter().copied().chain([("bunho-pass", &*pass)]).collect();
        assert_eq!(rig.call(&format!("GET {path}"), &headers, None).await.status.as_u16(), status, "{headers:?} {path}");
    }
    let claim = async |offer: &str, headers: &[(&str, &str)]| {
        rig.call(&format!("POST /v1/offers/{offer}/claims"), headers, Some(json!({"quantity": 1}))).await
    };
    claim("drop", &[("x-bunho-user", "u1"), ("bunho-pass", &pass)]).await.refuses(403, "pass_invalid");
    let wrong = [("x-bunho-user", "u1"), ("bunho-pass", &*pass), ("bunho-client-key", "phone-8")];
    claim("drop", &wrong).await.refuses(403, "pass_invalid");
    claim("drop", &[("x-bunho-user", "u1"), ("bunho-pass", &pass), ("bunho-client-key", "phone-7")]).await.is(201);

    // Where the site vouches for people the pass is theirs: it is claimed as the user, and the name alone, which is no secret, opens nothing.
    let joined = rig.join(json!({"zoneId": "CLUB", "enqueueToken": vouched("kim", "CLUB")})).await;
    let pass = joined.is(200).body["pass"].as_str().expect("a pass").to_owned();
    claim("gift", &[("x-bunho-user", "lee"), ("bunho-pass", &pass), ("bunho-client-key", "kim")]).await.refuses(403, "pass_invalid");
    claim("gift", &[("x-bunho-user", "kim"), ("bunho-pass", &pass)]).await.is(201);
}

#[tokio::test]
async fn a_flood_from_one_address_is_slowed_and_nobody_else_is() {
    let rate = |burst| Some(Rate { per_minute: 1, burst });
    let rig = rig_with(|config| {
        config.trusted_proxies = vec![Network::parse("10.0.0.0/8").expect("a network")];
        config.join.exempt = config.trusted_proxies.clone();
        config.join.per_address = rate(3);
        config.join.per_prefix = rate(5);
    })
    .await;
    rig.put("PUT /admin/api/zones/GATE", json!({"entry_limit_per_minute": 0})).await;
    let zone = || json!({"zoneId": "GATE"});
    let join = async |peer: &str, said: Option<&str>| rig.from(peer, said, "POST /traffic/wait", zone()).await;
    let (mut token, began) = (Value::Null, Instant::now());
    for _ in 0..3 {
        token = join("203.0.113.9", None).await.is(200).body["token"].clone();
    }
    let refused = join("203.0.113.9", None).await;
    refused.refuses(429, "too_fast");
    let after: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!(after <= 60 && after + began.elapsed().as_secs() + 1 >= 60, "{after} s, {:?} after the first", began.elapsed());
    // Who is in line is not limited: three polls in a row are the line's own bound, and it is reached no sooner.
    rig.from("203.0.113.9", None, "POST /traffic/entry", json!({"zoneId": "GATE", "token": token})).await.is(200);
    // What an untrusted one says of itself is not looked at.
    join("203.0.113.9", Some("198.51.100.1")).await.refuses(429, "too_fast");
    // Its network is limited too.
    join("203.0.113.10", None).await.is(200);
    join("203.0.113.11", None).await.is(200);
    join("203.0.113.12", None).await.refuses(429, "too_fast");
    join("203.0.114.1", None).await.is(200);
    // Behind our proxies everybody is who they are: the last address that is not ours, whatever stands before it.
    for n in 0..3 {
        join("10.0.0.1", Some(&format!("6.6.6.{n}, 198.51.100.7"))).await.is(200);
    }
    join("10.0.0.1", Some("1.2.3.4, 198.51.100.7, 10.0.0.2")).await.refuses(429, "too_fast");
    join("10.0.0.1", Some("198.51.101.7")).await.is(200);
    // A proxy that says nothing is not everybody at once, and neither is this machine.
    for _ in 0..10 {
        join("10.0.0.1", None).await.is(200);
        join("127.0.0.1", None).await.is(200);
    }
}

#[tokio::test]
async fn asking_for_a_challenge_is_not_joining() {
    let rig = rig_with(|config| config.join.per_address = Some(Rate { per_minute: 1, burst: 1 })).await;
    rig.put("PUT /admin/api/zones/GATE", json!({"entry_limit_per_minute": 0, "challenge_bits": 4})).await;
    let join = async |body: Value| rig.from("203.0.113.9", None, "POST /traffic/wait", body).await;
    for _ in 0..5 {
        join(json!({"zoneId": "GATE", "key": "kim"})).await.refuses(403, "challenge_required");
    }
    let asked = join(json!({"zoneId": "GATE", "key": "kim"})).await;
    let challenge = asked.body["challenge"].as_str().expect("a challenge");
    let body = json!({"zoneId": "GATE", "key": "kim", "challenge": challenge, "solution": solve(challenge, 4)});
    join(body.clone()).await.is(200);
    join(body).await.refuses(429, "too_fast");
}

#[tokio::test]
async fn the_page_without_scripts_says_what_a_door_wants() {
    let rig = rig_with_tokens().await;
    let browse = async |line: &str| {
        let response = rig.router.clone().oneshot(request(line, &[], None)).await.expect("infallible");
        let (parts, body) = response.into_parts();
        (parts, String::from_utf8(body.collect().await.expect("a body").to_bytes().to_vec()).expect("UTF-8"))
    };
    rig.put("PUT /admin/api/zones/WORK", json!({"entry_limit_per_minute": 0, "challenge_bits": 8})).await;
    let (parts, page) = browse("GET /wait/WORK?plain=1&lang=en").await;
    assert_eq!(parts.status, StatusCode::FORBIDDEN);
    assert!(page.contains("data-state=\"script\"") && page.contains("This line needs JavaScript"), "{page}");
    rig.put("PUT /admin/api/zones/CLUB", json!({"entry_limit_per_minute": 0, "enqueue": "token", "pass_bound": true})).await;
    let (parts, page) = browse("GET /wait/CLUB?plain=1&lang=ko").await;
    assert_eq!(parts.status, StatusCode::FORBIDDEN);
    assert!(page.contains("data-state=\"members\""), "{page}");
    let token = vouched("kim", "CLUB");
    let (parts, page) = browse(&format!("GET /wait/CLUB?plain=1&enqueue={token}")).await;
    assert_eq!(parts.status, StatusCode::OK, "{page}");
    let refresh = parts.headers["refresh"].to_str().expect("ASCII");
    assert!(refresh.contains(&format!("enqueue={token}")), "it is passed on: {refresh}");
    rig.put("PUT /admin/api/zones/GATE", json!({"entry_limit_per_minute": null, "pass_bound": true})).await;
    let (parts, _) = browse("GET /wait/GATE?plain=1").await;
    let set: Vec<_> = parts.headers.get_all("set-cookie").iter().map(|value| value.to_str().expect("ASCII")).collect();
    let value = |name: &str| set.iter().find_map(|text| text.strip_prefix(name)?.split(';').next()).expect("a cookie");
    let cookies = format!("bunho_pass={}; bunho_key={}", value("bunho_pass="), value("bunho_key="));
    rig.call("GET /verify?zone=GATE", &[("cookie", &cookies)], None).await.is(204);
}

#[tokio::test]
async fn the_console_is_framed_by_nobody() {
    let rig = rig().await;
    let response = rig.router.clone().oneshot(request("GET /", &[], None)).await.expect("infallible");
    assert_eq!(response.headers()["x-frame-options"], "DENY");
    let policy = response.headers()["content-security-policy"].to_str().expect("ASCII");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
}

#[tokio::test]
async fn a_pass_takes_one_claim_of_an_offer_that_says_so() {
    let rig = rig().await;
    rig.put("PUT /admin/api/zones/GATE", json!({"entry_limit_per_minute": null})).await;
    let drop = json!({"kind": "goods", "quantity": 9, "zone": "GATE", "pass_once": true});
    rig.put("PUT /admin/api/offers/drop", drop.clone()).await;
    rig.put("PUT /admin/api/offers/free", json!({"kind": "goods", "quantity": 9, "zone": "GATE"})).await;
    let join = async || {
        let joined = rig.join(json!({"zoneId": "GATE"})).await;
        joined.is(200).body["pass"].as_str().expect("a pass").to_owned()
    };
    let (first, second) = (join().await, join().await);
    let claim = async |offer: &str, user: &str, pass: &str, key: &str, attributes: Value| {
        let mut headers = vec![("x-bunho-user", user), ("bunho-pass", pass)];
        headers.extend((!key.is_empty()).then_some(("idempotency-key", key)));
        let body = json!({"quantity": 1, "attributes": attributes});
        rig.call(&format!("POST /v1/offers/{offer}/claims"), &headers, Some(body)).await
    };
    let colour = json!({"colour": "red"});
    let taken = claim("drop", "kim", &first, "k", colour.clone()).await;
    let id = taken.is(201).body["id"].as_str().expect("an id").to_owned();
    let named = taken.body["attributes"]["bunho.pass"].as_str().expect("which pass took it").to_owned();
    assert_eq!(taken.body["attributes"], json!({"bunho.pass": named, "colour": "red"}));

    // The same attempt is answered alike, whatever pass it comes with; another one is refused, whoever makes it.
    for pass in [&*first, &second, "x"] {
        let again = claim("drop", "kim", pass, "k", colour.clone()).await;
        assert_eq!((again.is(201).body["id"].as_str(), again.header("idempotency-replayed")), (Some(&*id), "true"));
    }
    claim("drop", "kim", &first, "k", json!({})).await.refuses(422, "key_reused");
    for (user, key) in [("kim", "other"), ("kim", ""), ("lee", "k")] {
        claim("drop", user, &first, key, colour.clone()).await.refuses(403, "pass_used");
    }
    rig.user("kim", &format!("POST /v1/claims/{id}/release"), None).await.is(200);
    claim("drop", "kim", &first, "", json!({})).await.refuses(403, "pass_used");
    claim("drop", "kim", &second, "", json!({})).await.is(201);
    for _ in 0..2 {
        let free = claim("free", "kim", &first, "", json!({})).await;
        assert_eq!(free.is(201).body["attributes"], json!({}), "each offer for itself");
    }
    // Nobody writes the server's own word, on whatever offer.
    for offer in ["drop", "free"] {
        let forged = claim(offer, "kim", &join().await, "", json!({"bunho.pass": named, "a": 1})).await;
        assert_eq!(forged.refuses(400, "invalid_request").body["errors"][0]["field"], "attributes");
    }
    let metrics = rig.admin("GET /metrics", None).await;
    assert!(metrics.body.as_str().expect("text").contains("bunho_offer_refused_total{offer=\"drop\",code=\"pass_used\"} 4"));
}

#[tokio::test]
async fn what_cannot_go_with_one_claim_a_pass_is_said() {
    let rig = rig().await;
    rig.put("PUT /admin/api/zones/GATE", json!({"entry_limit_per_minute": null})).await;
    let offer = |rest: Value| {
        let mut body = json!({"kind": "goods", "quantity": 1, "zone": "GATE", "pass_once": true});
        body.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        body
    };
    for (field, body) in [
        ("pass_once", offer(json!({"zone": null}))),
        ("standby", offer(json!({"standby": true}))),
        ("pass_once", offer(json!({"pass_once": "yes"}))),
    ] {
        let answer = rig.admin("PUT /admin/api/offers/drop", Some(body)).await;
        assert_eq!(answer.refuses(400, "invalid_request").body["errors"][0]["field"], field, "{}", answer.body);
    }
    // Switched on while somebody stands by: they would be served without a pass.
    rig.put("PUT /admin/api/offers/drop", offer(json!({"pass_once": false, "standby": true}))).await;
    let pass = rig.join(json!({"zoneId": "GATE"})).await.is(200).body["pass"].as_str().expect("a pass").to_owned();
    let headers = |user: &'static str| [("x-bunho-user", user), ("bunho-pass", &*pass)];
    rig.call("POST /v1/offers/drop/claims", &headers("kim"), Some(json!({"quantity": 1}))).await.is(201);
    let place = rig.call("POST /v1/offers/drop/standby", &headers("lee"), Some(json!({"quantity": 1}))).await;
    let place = place.is(201).body["id"].as_str().expect("an id").to_owned();
    let refused = rig.admin("PUT /admin/api/offers/drop", Some(offer(json!({})))).await;
    assert_eq!(refused.refuses(409, "in_use").body["detail"], "It has live claims or people on standby");
    rig.user("lee", &format!("DELETE /v1/standby/{place}"), None).await.is(204);
    rig.admin("PUT /admin/api/offers/drop", Some(offer(json!({})))).await.is(200);
    let read = rig.admin("GET /admin/api/offers/drop", None).await;
    assert_eq!((&read.body["pass_once"], &read.body["standby"]), (&json!(true), &json!(false)));
    rig.call("POST /v1/offers/drop/standby", &headers("lee"), Some(json!({"quantity": 1}))).await.refuses(409, "no_standby");
    let audit = rig.admin("GET /admin/api/audit", None).await;
    assert!(audit.body.to_string().contains("pass_once"), "{}", audit.body);
}
