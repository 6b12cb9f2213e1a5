//! How an operator makes a zone's page their own: what may be set, and what is refused before anyone sees it.

use super::colors::Colors;
use super::return_to::Prefix;
use super::texts;
use crate::problem::{FieldError, Problem};
use axum::body::Bytes;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bunho_domain::limits::NAME_CHARS_MAX;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Bytes of a logo at most.
const LOGO_BYTES_MAX: usize = 32 * 1_024;
/// Characters of one text at most.
const TEXT_CHARS_MAX: usize = 500;
/// Prefixes at most, and bytes of each: all of them stand in the page.
const PREFIXES_MAX: usize = 20;
const PREFIX_BYTES_MAX: usize = 200;

/// A page's settings. What is absent or null is as it comes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageBody {
    /// What stands at the top, by language; else the zone's name.
    #[serde(default)]
    title: Option<BTreeMap<String, String>>,
    /// A `data:` address of a PNG, JPEG or WebP picture of at most 32 KiB.
    #[serde(default)]
    logo: Option<String>,
    #[serde(default)]
    colors: Option<Colors>,
    /// Texts to say instead of the page's own, by language and key.
    #[serde(default)]
    texts: Option<BTreeMap<String, BTreeMap<String, String>>>,
    /// Where people may be sent when they are let in: paths on this host, or origins with or without a path, and whatever is below. Absent: `/`.
    #[serde(default)]
    return_to: Option<Vec<String>>,
    /// As it was read; taken and ignored, `If-Match` is what counts.
    #[serde(default, skip_serializing)]
    revision: Option<u32>,
}

/// A picture, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logo {
    pub(crate) content_type: &'static str,
    pub(crate) bytes: Bytes,
}

/// Settings that were checked, in the form in which pages are made of them.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// 0: nobody has set anything.
    pub(crate) revision: u32,
    pub(crate) body: PageBody,
    pub(crate) logo: Option<Logo>,
    pub(crate) prefixes: Vec<Prefix>,
}

impl Page {
    /// Checks settings.
    ///
    /// # Errors
    /// `invalid_request`, with every field that is wrong.
    pub(crate) fn check(body: PageBody, revision: u32) -> Result<Self, Problem> {
        let mut errors = Vec::new();
        let mut wrong = |field: String, reason: String| errors.push(FieldError { field: field.into(), reason: reason.into() });
        for (language, text) in body.title.iter().flatten() {
            check_language(language, "title", &mut wrong);
            if text.trim().is_empty() || text.chars().count() > NAME_CHARS_MAX || text.chars().any(char::is_control) {
                wrong(format!("title.{language}"), format!("must be 1 to {NAME_CHARS_MAX} characters without control characters"));
            }
        }
        let logo = body.logo.as_deref().map(Logo::parse).transpose().unwrap_or_else(|reason| {
            wrong("logo".into(), reason);
            None
        });
        for (name, reason) in body.colors.iter().flat_map(Colors::check) {
            wrong(format!("colors.{name}"), reason);
        }
        for (language, texts) in body.texts.iter().flatten() {
            check_language(language, "texts", &mut wrong);
            for (key, text) in texts {
                if !texts::is_key(key) {
                    wrong(format!("texts.{language}.{key}"), "is no text of the page".into());
                } else if text.chars().count() > TEXT_CHARS_MAX || text.chars().any(|c| c.is_control() && c != '\n') {
                    wrong(
                        format!("texts.{language}.{key}"),
                        format!("must be at most {TEXT_CHARS_MAX} characters without control characters"),
                    );
                }
            }
        }
        let listed = body.return_to.as_deref();
        if listed.is_some_and(|listed| listed.len() > PREFIXES_MAX) {
            wrong("return_to".into(), format!("must be at most {PREFIXES_MAX} prefixes"));
        }
        let mut prefixes = Vec::new();
        let standard = ["/".to_owned()];
        for (at, text) in listed.unwrap_or(&standard).iter().enumerate() {
            match Prefix::parse(text).filter(|_| text.len() <= PREFIX_BYTES_MAX) {
                Some(prefix) => prefixes.push(prefix),
                None => wrong(
                    format!("return_to[{at}]"),
                    format!("must be a path on this host or an http(s) origin with or without a path, at most {PREFIX_BYTES_MAX} bytes"),
                ),
            }
        }
        if errors.is_empty() { Ok(Self { revision, body, logo, prefixes }) } else { Err(Problem::invalid(errors)) }
    }

    /// A page that nobody has set anything of.
    pub(crate) fn standard() -> Self {
        let prefixes = Prefix::parse("/").into_iter().collect();
        Self { revision: 0, body: PageBody::default(), logo: None, prefixes }
    }

    /// What stands at the top.
    pub(crate) fn title<'a>(&'a self, language: &str, zone_name: &'a str) -> &'a str {
        let titles = self.body.title.as_ref();
        titles.and_then(|titles| titles.get(language).or_else(|| titles.values().next())).map_or(zone_name, |title| title)
    }

    pub(crate) fn colors(&self) -> Option<&Colors> {
        self.body.colors.as_ref()
    }

    /// What it says in a language.
    pub(crate) fn texts(&self, language: &str) -> texts::Texts {
        let mut said = texts::texts(language).clone();
        let own = self.body.texts.iter().filter_map(|texts| texts.get(language)).flatten();
        said.extend(own.map(|(key, text)| (key.clone(), text.clone())));
        said
    }
}

impl PageBody {
    /// As it is shown to who may edit it.
    pub(crate) fn shown(&self, revision: u32) -> PageView<'_> {
        const STANDARD: &[&str] = &["/"];
        let return_to = match &self.return_to {
            Some(listed) => listed.iter().map(String::as_str).collect(),
            None => STANDARD.to_vec(),
        };
        PageView {
            title: &self.title,
            logo: &self.logo,
            colors: &self.colors,
            texts: self.texts.clone().unwrap_or_default(),
            return_to,
            revision,
        }
    }

    /// The same for the audit log, which is no place for pictures.
    pub(crate) fn noted(&self) -> Value {
        let logo = self.logo.as_ref().map(|logo| format!("{} characters", logo.len()));
        serde_json::to_value(Self { logo, ..self.clone() }).unwrap_or_default()
    }
}

/// A page's settings, as they are read.
#[derive(Serialize, ToSchema)]
pub(crate) struct PageView<'a> {
    title: &'a Option<BTreeMap<String, String>>,
    logo: &'a Option<String>,
    colors: &'a Option<Colors>,
    texts: BTreeMap<String, BTreeMap<String, String>>,
    return_to: Vec<&'a str>,
    /// Raised by every change; also the `ETag`. 0: nothing was ever set.
    revision: u32,
}

fn check_language(language: &str, field: &str, wrong: &mut impl FnMut(String, String)) {
    if texts::known(language) != Some(language) {
        let known: Vec<_> = texts::languages().map(|(language, _)| language).collect();
        wrong(format!("{field}.{language}"), format!("is no language of the page: {}", known.join(", ")));
    }
}

impl Logo {
    /// Reads a `data:` address. What a picture is its first bytes say, and they must say what the address does.
    fn parse(address: &str) -> Result<Self, String> {
        let wrong = || "must be a data: address of a PNG, JPEG or WebP picture".to_owned();
        let (kind, encoded) = address.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")).ok_or_else(wrong)?;
        let content_type = ["image/png", "image/jpeg", "image/webp"].into_iter().find(|known| *known == kind).ok_or_else(wrong)?;
        if encoded.len() > LOGO_BYTES_MAX.div_ceil(3) * 4 {
            return Err(format!("must be a picture of at most {LOGO_BYTES_MAX} bytes"));
        }
        let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| wrong())?;
        if bytes.len() > LOGO_BYTES_MAX {
            return Err(format!("must be a picture of at most {LOGO_BYTES_MAX} bytes"));
        }
        let found = match &*bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => "image/png",
            [0xff, 0xd8, 0xff, ..] => "image/jpeg",
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
            _ => "something else",
        };
        if found == content_type {
            Ok(Self { content_type, bytes: bytes.into() })
        } else {
            Err(format!("says {content_type} and is {found}"))
        }
    }
}

#[cfg(test)]
#[path = "settings/tests.rs"]
mod tests;
