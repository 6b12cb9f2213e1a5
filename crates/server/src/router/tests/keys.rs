//! Who may call what.

use super::*;

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
        ("POST /admin/api/backup", None, ADMIN),
        ("POST /admin/api/forget", Some(json!({"users": ["nobody"]})), ADMIN),
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
