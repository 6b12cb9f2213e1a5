//! Where people may be sent when they are let in. Nobody is sent to what a stranger put into a link: an address counts only below a prefix that the
//! operator allowed, compared as browsers read addresses, by origin and by whole segments of the path.

use url::Url;

/// Bytes of an address at most.
const ADDRESS_BYTES_MAX: usize = 2_000;
/// Stands for the host that this page is on, whose name a server behind proxies does not know.
const HERE: &str = "http://here.invalid";

/// A prefix that an operator allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(Url);

/// Where to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A path on this host, with query and fragment.
    Here(String),
    /// Another origin, which cookies of this one do not reach: the pass goes along in the address.
    Elsewhere(Url),
}

impl Prefix {
    /// Reads a prefix: a path on this host, or an origin with or without a path.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let url = read(text)?;
        (url.query().is_none() && url.fragment().is_none()).then_some(Self(url))
    }

    /// The prefix in the form in which scripts compare it: `/path` here, else the whole address.
    pub(crate) fn shown(&self) -> &str {
        let whole = self.0.as_str();
        whole.strip_prefix(HERE).unwrap_or(whole)
    }

    fn covers(&self, url: &Url) -> bool {
        let (prefix, path) = (self.0.path(), url.path());
        let within = path.strip_prefix(prefix).is_some_and(|rest| prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'));
        self.0.origin() == url.origin() && within
    }
}

/// Where an address leads, if one of the prefixes allows it.
pub(crate) fn allowed(address: &str, prefixes: &[Prefix]) -> Option<Destination> {
    let url = read(address)?;
    prefixes.iter().any(|prefix| prefix.covers(&url)).then(|| match url.as_str().strip_prefix(HERE) {
        Some(path) => Destination::Here(path.to_owned()),
        None => Destination::Elsewhere(url),
    })
}

/// An address as a browser on this page would read it; none where readers could differ over what it says.
fn read(address: &str) -> Option<Url> {
    // Browsers drop tabs and line ends from addresses, and take `\` for `/`.
    if address.len() > ADDRESS_BYTES_MAX || address.chars().any(|c| c <= ' ' || c == '\\' || c == '\u{7f}') {
        return None;
    }
    let rooted = address.starts_with('/') && !address.starts_with("//");
    let whole =
        ["http://", "https://"].iter().any(|scheme| address.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let url = if rooted {
        Url::parse(HERE).ok()?.join(address).ok()?
    } else if whole {
        Url::parse(address).ok().filter(|url| url.host_str() != Some("here.invalid"))?
    } else {
        return None;
    };
    // A slash that is written as %2F is one to some servers and none to others, so a prefix of the path would mean little.
    let path = url.path().to_ascii_lowercase();
    let plain = !path.contains("%2f") && !path.contains("%5c") && !path.starts_with("//");
    (url.username().is_empty() && url.password().is_none() && plain).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(address: &str, prefixes: &[&str]) -> Option<String> {
        let prefixes: Vec<_> = prefixes.iter().map(|text| Prefix::parse(text).expect("a prefix")).collect();
        allowed(address, &prefixes).map(|destination| match destination {
            Destination::Here(path) => path,
            Destination::Elsewhere(url) => url.into(),
        })
    }

    #[test]
    fn only_what_lies_below_a_prefix() {
        let all = &["/", "https://shop.example/sale", "https://tickets.example:8443"][..];
        for (address, expected) in [
            ("/", Some("/")),
            ("/sale?id=1#top", Some("/sale?id=1#top")),
            ("/a/../b", Some("/b")),
            ("/%E2%98%83/x y", None),
            ("/눈", Some("/%EB%88%88")),
            ("https://shop.example/sale", Some("https://shop.example/sale")),
            ("HTTPS://SHOP.example:443/sale/1?a=b", Some("https://shop.example/sale/1?a=b")),
            ("https://tickets.example:8443/any", Some("https://tickets.example:8443/any")),
            // Another path, port, scheme or host.
            ("https://shop.example/", None),
            ("https://shop.example/sales", None),
            ("https://shop.example/sale/../admin", None),
            ("https://shop.example/sale/%2e%2e/admin", None),
            ("https://shop.example/sale/..%2fadmin", None),
            ("https://shop.example/sale/..%5cadmin", None),
            ("https://shop.example:8443/sale", None),
            ("http://shop.example/sale", None),
            ("https://tickets.example/any", None),
            ("https://evil.example/sale", None),
            ("https://shop.example.evil/sale", None),
            ("https://shop.example@evil.example/sale", None),
            ("https://user@shop.example/sale", None),
            ("https://user:secret@shop.example/sale", None),
            ("https://evil.example#https://shop.example/sale", None),
            // What only looks like a path.
            ("//evil.example", None),
            ("///evil.example", None),
            ("/\\evil.example", None),
            ("\\\\evil.example", None),
            ("/\t/evil.example", None),
            ("/\n/evil.example", None),
            (" /", None),
            ("/.//evil.example", None),
            ("/..//evil.example", None),
            ("/%2f/evil.example", None),
            ("/%5cevil.example", None),
            ("https:evil.example", None),
            ("https:/evil.example", None),
            ("https:\\\\evil.example", None),
            ("javascript:alert(1)", None),
            ("JaVaScRiPt:alert(1)", None),
            ("data:text/html,x", None),
            ("sale", None),
            ("?next", None),
            ("", None),
            ("http://here.invalid/", None),
            ("https://shop%2eexample/sale", Some("https://shop.example/sale")),
            ("https://ｓhop.example/sale", Some("https://shop.example/sale")),
            ("https://shop。example/sale", Some("https://shop.example/sale")),
        ] {
            assert_eq!(leads(address, all).as_deref(), expected, "{address:?}");
        }
        assert_eq!(leads("/shop/1", &["/shop"]).as_deref(), Some("/shop/1"));
        assert_eq!(leads("/shopping", &["/shop"]), None);
        assert_eq!(leads("/", &[]), None);
        assert_eq!(leads(&format!("/{}", "a".repeat(ADDRESS_BYTES_MAX)), all), None);
    }

    #[test]
    fn prefixes_are_shown_as_scripts_compare_them() {
        for (text, shown) in [
            ("/", Some("/")),
            ("/shop/", Some("/shop/")),
            ("https://Shop.example", Some("https://shop.example/")),
            ("https://shop.example:443/a", Some("https://shop.example/a")),
            ("/?q", None),
            ("https://a@shop.example/", None),
            ("ftp://shop.example/", None),
            ("shop.example", None),
            ("*", None),
        ] {
            assert_eq!(Prefix::parse(text).as_ref().map(Prefix::shown), shown, "{text}");
        }
    }
}
