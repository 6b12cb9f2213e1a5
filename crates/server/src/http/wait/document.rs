//! The page as HTML: one answer with everything in it. With a script that fills it, or filled by the server for browsers that run none.
//!
//! Every text that an operator or a stranger wrote goes through maud, which escapes it; the script's data are JSON in an element that nothing runs.

use super::known::Front;
use super::texts;
use crate::assets;
use axum::body::Bytes;
use axum::http::HeaderValue;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use flate2::Compression;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::LazyLock;

/// What a page is to be filled with.
pub(crate) enum Content<'a> {
    /// The script asks and shows.
    Scripted(Purpose),
    /// The server has asked.
    Filled(&'a Filled<'a>),
}

/// What a page with a script is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Somebody waits.
    Waiting,
    /// The console shows what it will look like.
    Preview,
}

/// What the server knows of somebody's place.
#[derive(Default)]
pub(crate) struct Filled<'a> {
    /// `waiting`, or whatever else there are texts for.
    pub(crate) state: &'a str,
    pub(crate) rank: Option<u32>,
    pub(crate) behind: Option<u32>,
    pub(crate) remaining: Option<u32>,
    /// How long it takes, in words.
    pub(crate) span: Option<String>,
    pub(crate) message: Option<&'a str>,
    /// Where the page's own address leads, with all that must not get lost.
    pub(crate) action: String,
    /// A button, and the ticket that it is about: a stranger's form does not know it.
    pub(crate) button: Option<(&'static str, &'a str)>,
    /// A link to go on.
    pub(crate) next: Option<String>,
    /// Whether the page is asked for again by itself.
    pub(crate) renews: bool,
}

/// A page, ready to be sent.
pub(crate) struct Rendered {
    pub(crate) html: String,
    /// What it may load and run.
    pub(crate) policy: HeaderValue,
}

/// A page in the forms in which it is kept.
pub(crate) struct Kept {
    pub(crate) brotli: Bytes,
    pub(crate) gzip: Bytes,
    pub(crate) policy: HeaderValue,
    pub(crate) etag: String,
}

static SCRIPT: LazyLock<(&str, String)> = LazyLock::new(|| {
    let script = assets::WAIT.map_or("", |(script, _)| script.trim());
    (script, hash(script))
});

/// How the policy names a script or a style that stands in the page.
fn hash(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text.as_bytes())))
}

impl Rendered {
    pub(crate) fn new(front: &Front<'_>, content: &Content<'_>) -> Self {
        let style = style(front);
        let html = document(front, content, &style).into_string();
        let ancestors = if matches!(content, Content::Scripted(Purpose::Preview)) { "'self'" } else { "'none'" };
        let script = if matches!(content, Content::Scripted(_)) { &SCRIPT.1 } else { "'none'" };
        let policy = format!(
            "default-src 'none'; script-src {script}; style-src {}; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
             form-action 'self'; frame-ancestors {ancestors}",
            hash(&style)
        );
        Self { html, policy: HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'")) }
    }

    /// Compresses it as small as it gets, which takes a while.
    pub(crate) fn keep(self) -> Kept {
        let bytes = self.html.as_bytes();
        // Writing to memory does not fail.
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
        let gzip = gzip.write_all(bytes).and_then(|()| gzip.finish()).unwrap_or_default();
        let mut brotli = Vec::new();
        let params = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 18, size_hint: bytes.len(), ..Default::default() };
        let _ = brotli::BrotliCompress(&mut &*bytes, &mut brotli, &params);
        let etag = BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(bytes)[..12]);
        Kept { brotli: brotli.into(), gzip: gzip.into(), policy: self.policy, etag }
    }
}

/// The page's style, with the colours that an operator chose. Whatever has none of its own is written in ink then, whose contrast was checked.
fn style(front: &Front<'_>) -> String {
    let mut style = assets::WAIT.map_or("", |(_, style)| style.trim()).to_owned();
    if let Some(colors) = front.page.colors() {
        let (paper, slip, ink, mark) = (&colors.paper, &colors.slip, &colors.ink, &colors.mark);
        let _ = write!(
            style,
            ":root{{--paper:{paper};--slip:{slip};--ink:{ink};--mark:{mark};--soft:{ink};--edge:{ink};--good:{ink};--warn:{ink};--bad:{ink};--focus:{ink};--line:{ink}33}}"
        );
    }
    style
}

fn document(front: &Front<'_>, content: &Content<'_>, style: &str) -> Markup {
    let none = Filled { state: "joining", ..Filled::default() };
    let (filled, purpose) = match content {
        Content::Scripted(purpose) => (&none, Some(*purpose)),
        Content::Filled(filled) => (*filled, None),
    };
    let text = |key: &str| front.texts.get(key).map(String::as_str).unwrap_or_default();
    html! {
        (DOCTYPE)
        html lang=(front.language) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (front.title) }
                @if purpose == Some(Purpose::Waiting) {
                    noscript { meta http-equiv="refresh" content=(format!("0;url={}?plain=1&lang={}", front.path, front.language)); }
                }
                link rel="icon" href="data:,";
                style { (PreEscaped(style)) }
            }
            body {
                main #slip .slip data-state=(filled.state) {
                    header {
                        img #logo alt="" hidden[front.page.logo.is_none()] src=[front.logo()];
                        h1 #title dir="auto" { (front.title) }
                    }
                    div .place {
                        p #state .state { (text(&format!("{}_title", filled.state))) }
                        p #number .number hidden[filled.rank.is_none()] {
                            span #label { (text("number")) }
                            strong #big { (filled.rank.map(grouped).unwrap_or_default()) }
                        }
                        div #bar .bar role="progressbar" aria-label=(text("progress")) aria-valuemin="0" aria-valuemax="100" hidden { i {} }
                        dl #facts {
                            div #fact-left hidden[filled.span.is_none()] {
                                dt { (text(if filled.state == "not_open" { "opens_in" } else { "left" })) }
                                dd #left { span #left-at {} span #left-span { (filled.span.as_deref().unwrap_or_default()) } }
                            }
                            (fact("rank", text("number"), None))
                            (fact("behind", text("behind"), filled.behind.map(grouped)))
                            (fact("remaining", text("remaining"), filled.remaining.map(grouped)))
                        }
                    }
                    div .stub {
                        p #message dir="auto" hidden[filled.message.is_none()] { (filled.message.unwrap_or_default()) }
                        p #text { (text(&format!("{}_text", filled.state))) }
                        @if filled.renews { p { (text("plain")) } }
                        p #trouble hidden {}
                        (actions(front, filled, purpose.is_some()))
                    }
                    @if purpose.is_some() { p #live .unseen role="status" {} }
                }
                footer {
                    nav #languages {
                        @for (language, name) in texts::languages() {
                            @if language != front.language {
                                a lang=(language) hreflang=(language) href=(front.in_language(language, filled)) { (name) }
                            }
                        }
                    }
                }
                @if let Some(purpose) = purpose {
                    script #data type="application/json" { (PreEscaped(data(front, purpose))) }
                    script type="module" { (PreEscaped(SCRIPT.0)) }
                }
            }
        }
    }
}

/// A number with what it means; hidden while there is none.
fn fact(id: &str, name: &str, value: Option<String>) -> Markup {
    html! {
        div id=(format!("fact-{id}")) hidden[value.is_none()] {
            dt { (name) }
            dd id=(id) { (value.unwrap_or_default()) }
        }
    }
}

fn actions(front: &Front<'_>, filled: &Filled<'_>, scripted: bool) -> Markup {
    let text = |key: &str| front.texts.get(key).map(String::as_str).unwrap_or_default();
    html! {
        @if scripted {
            p .actions {
                a #go .main hidden {  (text("continue")) }
                button #again .main type="button" hidden { (text("again")) }
                button #leave type="button" hidden { (text("leave")) }
            }
        } @else {
            @if let Some(next) = &filled.next {
                p .actions { a .main href=(next) { (text("continue")) } }
            }
            @if let Some((action, ticket)) = filled.button {
                form .actions method="post" action=(filled.action) {
                    input type="hidden" name="ticket" value=(ticket);
                    button name="do" value=(action) class=[(action == "again").then_some("main")] { (text(action)) }
                }
            }
        }
    }
}

/// What the script needs to know. `<` could end the element that the data stand in.
fn data(front: &Front<'_>, purpose: Purpose) -> String {
    let prefixes: Vec<_> = front.page.prefixes.iter().map(super::return_to::Prefix::shown).collect();
    let data = json!({
        "zone": front.zone.as_str(),
        "lang": front.language,
        "texts": front.texts,
        "returnTo": prefixes,
        "preview": purpose == Purpose::Preview,
    });
    data.to_string().replace('<', "\\u003c")
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
#[path = "document/tests.rs"]
mod tests;
