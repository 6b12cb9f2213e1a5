//! What the waiting page says, in each language: the files of `web/src/wait/strings`, which its script is given too. A third language is one more file.

use crate::assets::WAIT_STRINGS;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Texts by their keys.
pub(crate) type Texts = BTreeMap<String, String>;

/// The language of who speaks none of ours.
const FALLBACK: &str = "en";

static LANGUAGES: LazyLock<BTreeMap<&'static str, Texts>> = LazyLock::new(|| {
    let read = |json| serde_json::from_str(json).unwrap_or_default();
    WAIT_STRINGS.iter().map(|(language, json)| (*language, read(json))).collect()
});

/// Every language and what it calls itself.
pub(crate) fn languages() -> impl Iterator<Item = (&'static str, &'static str)> {
    LANGUAGES.iter().map(|(language, texts)| (*language, texts.get("language").map_or(*language, |name| name)))
}

/// The name under which a language is known here, if it is.
pub(crate) fn known(language: &str) -> Option<&'static str> {
    LANGUAGES.keys().copied().find(|known| language.eq_ignore_ascii_case(known))
}

/// Whether the page says something under this key.
pub(crate) fn is_key(key: &str) -> bool {
    LANGUAGES.values().any(|texts| texts.contains_key(key))
}

/// What the page says in a language, as it comes.
pub(crate) fn texts(language: &str) -> &'static Texts {
    static NONE: Texts = Texts::new();
    LANGUAGES.get(language).unwrap_or(&NONE)
}

/// The language to speak: the one asked for, else the first of `Accept-Language` that we know, by weight.
pub(crate) fn choose(asked: Option<&str>, accepted: Option<&str>) -> &'static str {
    if let Some(language) = asked.and_then(known) {
        return language;
    }
    let mut best: Option<(f32, &'static str)> = None;
    for range in accepted.unwrap_or_default().split(',') {
        let (tag, weight) = range.split_once(';').unwrap_or((range, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|q| q.parse().ok()).unwrap_or(1.0);
        // `ko-KR` is Korean.
        let Some(language) = tag.trim().split('-').next().and_then(known) else { continue };
        if weight > 0.0 && best.is_none_or(|(best, _)| weight > best) {
            best = Some((weight, language));
        }
    }
    best.map_or(FALLBACK, |(_, language)| language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_that_is_asked_for_else_the_first_that_is_accepted() {
        for (asked, accepted, language) in [
            (None, None, "en"),
            (None, Some("ko-KR,ko;q=0.9,en;q=0.8"), "ko"),
            (None, Some("fr, en;q=0.2, ko;q=0.3"), "ko"),
            (None, Some("ko;q=0, *"), "en"),
            (None, Some("fr"), "en"),
            (None, Some(";;q=x,,-"), "en"),
            (Some("ko"), Some("en"), "ko"),
            (Some("KO"), None, "ko"),
            (Some("../ko"), Some("ko"), "ko"),
            (Some("tlh"), None, "en"),
        ] {
            assert_eq!(choose(asked, accepted), language, "{asked:?} {accepted:?}");
        }
    }

    #[test]
    fn every_language_says_the_same_things() {
        let keys = |language| texts(language).keys().collect::<Vec<_>>();
        assert!(!keys(FALLBACK).is_empty());
        for (language, name) in languages() {
            assert_eq!(keys(language), keys(FALLBACK), "{language}");
            assert!(!name.is_empty() && is_key("language"));
        }
    }
}
