//! The waiting page: settings in and out, what a browser gets, and the page for those that run no script.

use super::*;
use crate::assets;
use std::io::Read as _;

const PAGE: &str = "/admin/api/zones/gate/page";
const PNG: &str = "data:image/png;base64,iVBORw0KGgo=";

async fn gate(rig: &Rig) {
    rig.put("PUT /admin/api/zones/gate", json!({"entry_limit_per_minute": 1, "name": "Gate"})).await;
}

impl Rig {
    /// An answer as a browser gets it: problems are pages too.
    async fn browse(&self, line: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
        let (status, headers, bytes) = self.bytes(request(line, headers, None)).await;
        (status, headers, String::from_utf8(bytes).expect("UTF-8"))
    }

    async fn bytes(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let (parts, body) = self.router.clone().oneshot(request).await.expect("infallible").into_parts();
        (parts.status, parts.headers, body.collect().await.expect("a body").to_bytes().into())
    }

    /// A form, as a browser without scripts sends it.
    async fn submit(&self, path: &str, cookie: &str, form: &str) -> (StatusCode, HeaderMap, String) {
        let request = Request::post(path).header("cookie", cookie).header("content-type", "application/x-www-form-urlencoded");
        let (status, headers, bytes) = self.bytes(request.body(Body::from(form.to_owned())).expect("a request")).await;
        (status, headers, String::from_utf8(bytes).expect("UTF-8"))
    }
}

/// The cookies that an answer sets, as a browser sends them back.
fn cookies(headers: &HeaderMap) -> String {
    let set = headers.get_all("set-cookie").iter().map(|value| value.to_str().expect("ASCII").split(';').next().expect("a pair"));
    set.collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn a_zones_page_is_edited_as_a_zone_is() {
    let rig = rig().await;
    gate(&rig).await;
    let fresh = rig.admin(&format!("GET {PAGE}"), None).await;
    assert_eq!(fresh.is(200).body, json!({"title": null, "logo": null, "colors": null, "texts": {}, "return_to": ["/"], "revision": 0}));
    assert_eq!(fresh.headers["etag"], "\"0\"");
    let body =
        json!({"title": {"en": "Sale"}, "logo": PNG, "texts": {"en": {"in_title": "Welcome"}}, "return_to": ["https://shop.example/"]});
    let made = rig.admin(&format!("PUT {PAGE}"), Some(body.clone())).await;
    assert_eq!((&made.is(200).body["revision"], &made.body["title"]), (&json!(1), &json!({"en": "Sale"})));
    assert_eq!(rig.admin(&format!("GET {PAGE}"), None).await.body, made.body, "it is seen at once");
    // What was read can be put back, from the revision that it was read at.
    let put = |headers: &'static str| {
        let (rig, again) = (&rig, made.body.clone());
        async move {
            rig.call(&format!("PUT {PAGE}"), &[("authorization", &format!("Bearer {OPERATOR}")), ("if-match", headers)], Some(again)).await
        }
    };
    put("\"0\"").await.refuses(412, "revision_conflict");
    assert_eq!(put("\"1\"").await.is(200).headers["etag"], "\"2\"");
    put("\"1\"").await.refuses(412, "revision_conflict");
    rig.admin(&format!("PUT {PAGE}"), Some(json!({"colour": 1}))).await.refuses(400, "invalid_request");
    rig.admin(&format!("PUT {PAGE}"), Some(json!({"return_to": ["//evil"]}))).await.refuses(400, "invalid_request");
    let viewer = [("authorization", &*format!("Bearer {VIEWER}"))];
    rig.call(&format!("GET {PAGE}"), &viewer, None).await.is(200);
    rig.call(&format!("PUT {PAGE}"), &viewer, Some(json!({}))).await.refuses(403, "forbidden");
    rig.call(&format!("GET {PAGE}"), &[], None).await.refuses(401, "unauthenticated");
    rig.admin("GET /admin/api/zones/other/page", None).await.refuses(404, "unknown_zone");
    let audit = rig.admin("GET /admin/api/audit", None).await;
    let changes = audit.body["entries"].as_array().expect("entries").iter().filter(|entry| entry["action"] == "zone.page.put");
    let changes: Vec<_> = changes.collect();
    assert_eq!(changes.len(), 2, "each change once, and no refusal");
    assert!(changes.iter().all(|entry| entry["target"] == "gate" && !entry["detail"].to_string().contains("base64")), "{changes:?}");
    // A zone that is made anew has a page of its own.
    rig.admin("DELETE /admin/api/zones/gate", None).await.is(204);
    rig.admin(&format!("GET {PAGE}"), None).await.refuses(404, "unknown_zone");
    gate(&rig).await;
    assert_eq!(rig.admin(&format!("GET {PAGE}"), None).await.body["revision"], 0);
}

#[tokio::test]
async fn what_another_node_changes_is_followed_and_what_cannot_be_used_is_left_out() {
    let rig = rig().await;
    gate(&rig).await;
    assert!(rig.browse("GET /wait/gate", &[]).await.2.contains("<title>Gate</title>"));
    let gate = bunho_domain::ids::ZoneId::parse("gate").expect("an id");
    let (number, _) = rig.app.engine.zone_settings(&gate).await.expect("a zone");
    let audit = || Audit { actor: "other".into(), action: "zone.page.put".into(), target: "gate".into(), detail: None, request_id: None };
    for (json, title) in [("{\"title\":{\"en\":\"Elsewhere\"}}", "Elsewhere"), ("{\"from\": \"a later release\"}", "Gate")] {
        rig.app.ledger.put_page((number, &gate), json, None, Millis(0), &audit()).await.expect("written").expect("no conflict");
        rig.app.pages.follow(&rig.app.ledger).await.expect("followed");
        let (_, _, html) = rig.browse("GET /wait/gate", &[]).await;
        assert!(html.contains(&format!("<title>{title}</title>")), "{title}: {html}");
    }
    rig.app.ledger.delete_page(number).await.expect("deleted");
    rig.app.pages.follow(&rig.app.ledger).await.expect("followed");
    assert_eq!(rig.admin(&format!("GET {PAGE}"), None).await.body["revision"], 0);
}

#[tokio::test]
async fn the_page_says_what_it_may_run_and_escapes_what_operators_write() {
    let rig = rig().await;
    let hostile = "</script><script>alert(1)</script><!-- \"'&\u{202e}🙂";
    rig.put("PUT /admin/api/zones/gate", json!({"entry_limit_per_minute": 1, "name": hostile, "message": hostile})).await;
    let texts = json!({"waiting_title": hostile, "left": hostile, "leave": hostile});
    let colors = json!({"paper": "#000000", "slip": "#101010", "ink": "#ffffff", "mark": "#ffff00"});
    rig.put(&format!("PUT {PAGE}"), json!({"title": {"en": hostile}, "texts": {"en": texts}, "colors": colors, "logo": PNG})).await;
    // Whoever is first is in; the next one waits.
    rig.browse("GET /wait/gate?plain=1", &[]).await;
    for path in ["/wait/gate", "/wait/gate?plain=1", "/wait/gate?preview=1"] {
        let (status, headers, html) = rig.browse(&format!("GET {path}"), &[]).await;
        assert_eq!(status, 200);
        assert!(!html.contains("<script>alert"), "{path}: {html}");
        let plain = path.ends_with("plain=1");
        assert_eq!(html.matches("</script>").count(), if plain || assets::WAIT.is_none() { 0 } else { 2 }, "{path}");
        let policy = headers["content-security-policy"].to_str().expect("ASCII");
        assert!(!policy.contains("unsafe") && policy.contains("default-src 'none'"), "{policy}");
        assert_eq!(policy.contains("frame-ancestors 'self'"), path.ends_with("preview=1"), "{policy}");
        assert_eq!(html.contains("--mark:#ffff00"), !path.ends_with("preview=1"), "a preview shows what it is sent");
        assert_eq!(html.contains("/wait/gate/logo?v=1"), !path.ends_with("preview=1"));
    }
    let (status, headers, picture) = rig.bytes(request("GET /wait/gate/logo?v=1", &[], None)).await;
    assert_eq!(
        (status, &headers["content-type"], &*picture),
        (StatusCode::OK, &axum::http::HeaderValue::from_static("image/png"), &b"\x89PNG\r\n\x1a\n"[..])
    );
    assert!(headers["cache-control"].to_str().expect("ASCII").contains("immutable"));
}

#[tokio::test]
async fn the_page_is_one_small_answer_in_the_language_of_who_asks() {
    if assets::WAIT.is_none() {
        return;
    }
    let rig = rig().await;
    gate(&rig).await;
    for (headers, language) in [(("accept-language", "ko-KR"), "ko"), (("accept-language", "fr"), "en")] {
        for encoding in ["gzip", "br", "identity"] {
            let (status, answer, body) = rig.bytes(request("GET /wait/gate", &[headers, ("accept-encoding", encoding)], None)).await;
            assert_eq!(status, 200);
            let html = match encoding {
                "gzip" => {
                    let mut html = String::new();
                    flate2::read::GzDecoder::new(&*body).read_to_string(&mut html).expect("gzip");
                    html
                }
                "br" => {
                    let mut html = Vec::new();
                    brotli::BrotliDecompress(&mut &*body, &mut html).expect("brotli");
                    String::from_utf8(html).expect("UTF-8")
                }
                _ => String::from_utf8(body.clone()).expect("UTF-8"),
            };
            assert!(html.contains(&format!("<html lang=\"{language}\">")));
            assert!(
                encoding == "identity" || body.len() <= 14_336,
                "{} bytes of {encoding} are more than the first packets hold",
                body.len()
            );
            let etag = answer["etag"].to_str().expect("ASCII").to_owned();
            let (status, _, body) =
                rig.bytes(request("GET /wait/gate", &[headers, ("accept-encoding", encoding), ("if-none-match", &etag)], None)).await;
            assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0));
        }
    }
    let (_, before, _) = rig.browse("GET /wait/gate", &[]).await;
    rig.put("PUT /admin/api/zones/gate", json!({"entry_limit_per_minute": 1, "name": "Other"})).await;
    let (_, after, html) = rig.browse("GET /wait/gate", &[]).await;
    assert!(before["etag"] != after["etag"] && html.contains("Other"), "a change is another page");
    let (status, _, html) = rig.browse("GET /wait/nothing", &[]).await;
    assert!(status == 404 && html.contains("No such line") && !html.contains("urn:bunho"), "{html}");
}

#[tokio::test]
async fn the_last_room_is_enough_for_a_page_without_a_script() {
    let rig = rig().await;
    gate(&rig).await;
    let mut taken: Vec<_> = std::iter::from_fn(|| rig.app.in_flight.take()).collect();
    assert_eq!(rig.browse("GET /wait/gate?plain=1", &[]).await.0, 503);
    taken.pop();
    let (status, headers, html) = rig.browse("GET /wait/gate?plain=1", &[]).await;
    assert!(status == 200 && headers.contains_key("set-cookie"), "{html}");
}

#[tokio::test]
async fn without_a_script_one_waits_leaves_joins_again_and_enters() {
    let rig = rig().await;
    gate(&rig).await;
    rig.browse("GET /wait/gate?plain=1", &[]).await;
    let (_, headers, html) =
        rig.browse("GET /wait/gate?plain=1&lang=ko&return_to=%2Fshop%3Fa%3D1", &[("x-forwarded-proto", "https")]).await;
    assert!(html.contains("내 순번") && html.contains("<strong id=\"big\">1</strong>") && !html.contains("<script"), "{html}");
    let (seconds, address) = headers["refresh"].to_str().expect("ASCII").split_once(";url=").expect("an address");
    assert!(seconds.parse::<u32>().expect("seconds") >= 2);
    assert_eq!(address, "/wait/gate?plain=1&return_to=%2Fshop%3Fa%3D1&lang=ko");
    let set = headers["set-cookie"].to_str().expect("ASCII");
    assert!(set.contains("Path=/wait/gate; SameSite=Lax") && set.ends_with("; Secure"), "{set}");
    let cookie = cookies(&headers);
    let ticket = cookie.strip_prefix("bunho_ticket=").expect("the ticket");
    assert_eq!(rig.admin("GET /admin/api/zones/gate", None).await.body["waiting"], 1);
    rig.browse("GET /wait/gate?plain=1", &[("cookie", &cookie)]).await;
    assert_eq!(rig.admin("GET /admin/api/zones/gate", None).await.body["waiting"], 1, "the same place");

    // A stranger's form has the cookie at most.
    for form in ["do=leave", "do=leave&ticket=x", "do=leave&ticket=", "nonsense"] {
        let (status, headers, _) = rig.submit("/wait/gate?plain=1", &cookie, form).await;
        assert_eq!((status, &headers["location"]), (StatusCode::SEE_OTHER, &axum::http::HeaderValue::from_static("/wait/gate?plain=1")));
    }
    assert_eq!(rig.admin("GET /admin/api/zones/gate", None).await.body["waiting"], 1);
    let (_, _, html) = rig.submit("/wait/gate?plain=1&lang=ko", &cookie, &format!("do=leave&ticket={ticket}")).await;
    assert!(html.contains("줄에서 나왔어요"), "{html}");
    assert_eq!(rig.admin("GET /admin/api/zones/gate", None).await.body["waiting"], 0);
    let (_, _, html) = rig.browse("GET /wait/gate?plain=1", &[("cookie", &cookie)]).await;
    assert!(html.contains("Your place is gone") && html.contains("value=\"again\""), "{html}");
    let (status, headers, _) = rig.submit("/wait/gate?plain=1", &cookie, &format!("do=again&ticket={ticket}")).await;
    assert_eq!((status, &*cookies(&headers)), (StatusCode::SEE_OTHER, "bunho_ticket="));
    let (_, headers, _) = rig.browse("GET /wait/gate?plain=1", &[("cookie", "bunho_ticket=")]).await;
    let cookie = cookies(&headers);

    rig.put("PUT /admin/api/zones/gate", json!({"entry_limit_per_minute": null})).await;
    let enter = |query: &'static str, referrer: &'static str| {
        let (rig, cookie) = (&rig, &cookie);
        async move { rig.browse(&format!("GET /wait/gate?plain=1{query}"), &[("cookie", cookie), ("referer", referrer)]).await }
    };
    let (status, headers, _) = enter("&return_to=%2Fshop%3Fa%3D1", "").await;
    assert_eq!((status, &headers["location"]), (StatusCode::SEE_OTHER, &axum::http::HeaderValue::from_static("/shop?a=1")));
    assert!(cookies(&headers).contains("bunho_pass=ey"), "{headers:?}");
    let (_, headers, _) = enter("", "http://h/wait/gate?return_to=%2Fback").await;
    assert_eq!(headers["location"], "/back", "from the page that a browser with scripts would have stayed on");
    let (status, headers, html) = enter("&return_to=%2F%2Fevil.example", "").await;
    assert!(status == 200 && html.contains("You are in") && !headers.contains_key("location"), "{html}");
    rig.put(&format!("PUT {PAGE}"), json!({"return_to": ["https://shop.example"]})).await;
    let (_, headers, _) = enter("&return_to=https://shop.example/a", "").await;
    assert!(headers["location"].to_str().expect("ASCII").starts_with("https://shop.example/a?pass=ey"));
}
