use super::*;
use serde_json::{Value, json};

/// The fields that are refused, in the order in which they are looked at.
fn wrong(body: Value) -> Vec<String> {
    let body: PageBody = serde_json::from_value(body).expect("a body");
    let Err(problem) = Page::check(body, 1) else { return Vec::new() };
    let said: Value = serde_json::from_slice(&problem.render("")).expect("JSON");
    assert_eq!(said["code"], "invalid_request");
    said["errors"].as_array().expect("errors").iter().map(|error| error["field"].as_str().expect("text").to_owned()).collect()
}

fn picture(kind: &str, bytes: &[u8]) -> String {
    format!("data:image/{kind};base64,{}", BASE64_STANDARD.encode(bytes))
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

#[test]
fn what_is_wrong_is_named() {
    let long = "가".repeat(TEXT_CHARS_MAX + 1);
    let large = [PNG, &[0; LOGO_BYTES_MAX]].concat();
    let largest = [PNG, &[0; LOGO_BYTES_MAX - 8]].concat();
    let many = vec!["/"; PREFIXES_MAX + 1];
    for (body, fields) in [
        (json!({}), &[][..]),
        (json!({"title": null, "logo": null, "colors": null, "texts": null, "return_to": null, "revision": 3}), &[]),
        (json!({"title": {"en": "Sale", "ko": "할인 🙂 \u{202e}"}}), &[]),
        (json!({"title": {"en": "", "ko": "a\nb", "xx": "c"}}), &["title.en", "title.ko", "title.xx"]),
        (json!({"title": {"en": "a".repeat(10_000)}}), &["title.en"]),
        (json!({"texts": {"en": {"waiting_title": "<b>&\n"}, "ko": {}}}), &[]),
        (
            json!({"texts": {"en": {"nonsense": ""}, "ko": {"in_text": long}, "EN": {}}}),
            &["texts.EN", "texts.en.nonsense", "texts.ko.in_text"],
        ),
        (json!({"logo": picture("png", &largest)}), &[]),
        (json!({"logo": picture("png", &large)}), &["logo"]),
        (json!({"logo": picture("jpeg", PNG)}), &["logo"]),
        (json!({"logo": picture("svg+xml", b"<svg/>")}), &["logo"]),
        (json!({"logo": "https://evil.example/a.png"}), &["logo"]),
        (json!({"logo": "data:image/png;base64,!"}), &["logo"]),
        (json!({"logo": picture("webp", b"RIFF\0\0\0\0WEBPVP8 ")}), &[]),
        (json!({"logo": picture("jpeg", &[0xff, 0xd8, 0xff, 0xe0])}), &[]),
        (json!({"colors": {"paper": "#ffffff", "slip": "#ffffff", "ink": "#000000", "mark": "#eeeeee"}}), &["colors.mark"]),
        (json!({"return_to": ["/", "https://shop.example/", "javascript:x"]}), &["return_to[2]"]),
        (json!({"return_to": []}), &[]),
        (json!({"return_to": many}), &["return_to"]),
    ] {
        assert_eq!(wrong(body.clone()), fields, "{body}");
    }
}

#[test]
fn what_is_not_set_is_as_it_comes() {
    let body: PageBody =
        serde_json::from_value(json!({"title": {"ko": "할인"}, "texts": {"ko": {"in_title": "환영해요"}}})).expect("a body");
    let page = Page::check(body, 2).unwrap_or_else(|problem| panic!("{problem:?}"));
    assert_eq!((page.title("ko", "zone"), page.title("en", "zone")), ("할인", "할인"));
    assert_eq!(Page::standard().title("en", "zone"), "zone");
    assert_eq!((&*page.texts("ko")["in_title"], &*page.texts("en")["in_title"]), ("환영해요", "You are in"));
    assert_eq!(page.prefixes, Page::standard().prefixes);
    let shown = serde_json::to_value(page.body.shown(2)).expect("JSON");
    assert_eq!(shown["return_to"], json!(["/"]));
    assert_eq!((&shown["logo"], &shown["revision"]), (&json!(null), &json!(2)));
    let again: PageBody = serde_json::from_value(shown).expect("what is shown can be put");
    assert_eq!(again.title, page.body.title);
}
