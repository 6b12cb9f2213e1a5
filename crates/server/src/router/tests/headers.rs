//! Headers that tell browsers what an answer may do: on every route there is, whatever it answers.

use super::*;

#[tokio::test]
async fn every_answer_says_what_it_is_and_what_it_may_do() {
    let rig = rig().await;
    rig.put("PUT /admin/api/zones/Z", json!({"entry_limit_per_minute": 1})).await;
    rig.put("PUT /admin/api/offers/o", json!({"kind": "goods", "quantity": 1})).await;
    let bearer = format!("Bearer {ADMIN}");
    let mut walked = 0;
    let others = [("GET", "/nothing"), ("DELETE", "/healthz"), ("OPTIONS", "/healthz")];
    let tables = [PUBLIC, PROBES, crate::router::ADMIN, CONSOLE, PAGES, DOCS, &others];
    for (method, path) in tables.into_iter().flatten() {
        let found = [("{zone}", "Z"), ("{id}", "o"), ("{name}", "none"), ("{kid}", "none"), ("{*file}", "index.html")];
        let path = found.iter().fold((*path).to_owned(), |path, (name, value)| path.replace(name, value));
        for headers in [&[][..], &[("authorization", bearer.as_str()), ("x-bunho-user", "kim")]] {
            let asked = format!("{method} {path}");
            let answer = rig.router.clone().oneshot(request(&asked, headers, None)).await.expect("infallible");
            let says = |name: &str| answer.headers().get(name).map(|value| value.to_str().expect("ASCII").to_owned()).unwrap_or_default();
            let seen = format!("{asked} {}: {:?}", answer.status(), answer.headers());
            assert_eq!(says("x-content-type-options"), "nosniff", "{seen}");
            assert!(answer.headers().get_all("content-security-policy").iter().count() <= 1, "{seen}");
            // Changes answer in JSON, to programs; whoever is led to another answer sees nothing run and nothing framed.
            let is_led_to = *method == "GET" || says("content-type").starts_with("text/html");
            if is_led_to {
                assert!(says("content-security-policy").contains("frame-ancestors"), "{seen}");
                assert!(says("content-security-policy").contains("default-src"), "{seen}");
                assert!(["no-referrer", "same-origin", "strict-origin-when-cross-origin"].contains(&&*says("referrer-policy")), "{seen}");
            }
            walked += 1;
        }
    }
    assert!(walked > 150, "{walked}");
}
