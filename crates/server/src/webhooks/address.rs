//! Where messages may go. An operator names an address and this program calls it from inside the network, so what only the inside can reach
//! (the machine itself, private networks, a cloud's metadata) is refused unless `[webhooks] allow_private` names it.
//!
//! What counts is the address that a connection is made to: names are resolved, judged and connected to in one step ([`super::send`]), so a name
//! that resolves to something else a moment later gains nothing.

use crate::config::{Network, WebhookConfig};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use url::{Host, Url};

/// Longest address.
const URL_BYTES_MAX: usize = 2_000;

/// An address that messages may be sent to, as far as it can be told without resolving it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) tls: bool,
    /// A name, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// For `Host`: with the port where it is not the scheme's own.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) path: String,
}

impl Target {
    /// Reads an address.
    ///
    /// # Errors
    /// What it must be.
    pub(crate) fn parse(text: &str, config: &WebhookConfig) -> Result<Self, String> {
        if text.len() > URL_BYTES_MAX {
            return Err(format!("must be at most {URL_BYTES_MAX} bytes"));
        }
        // The parser drops tabs, line ends and what surrounds; what is called must be what is shown.
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("must have no blanks or control characters".into());
        }
        let url = Url::parse(text).map_err(|error| format!("must be an absolute https address: {error}"))?;
        let tls = match url.scheme() {
            "https" => true,
            "http" if config.allow_http => false,
            "http" => return Err("must begin with https:// (webhooks.allow_http would let http in)".into()),
            _ => return Err("must begin with https://".into()),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must have no user or password in it; messages are signed".into());
        }
        if url.fragment().is_some() {
            return Err("must have no # part".into());
        }
        let (host, literal) = match url.host() {
            Some(Host::Domain(name)) => (name.to_owned(), None),
            Some(Host::Ipv4(address)) => (address.to_string(), Some(IpAddr::V4(address))),
            Some(Host::Ipv6(address)) => (address.to_string(), Some(IpAddr::V6(address))),
            None => return Err("must name a host".into()),
        };
        if let Some(kind) = literal.and_then(|address| refused(address, &config.allow_private)) {
            return Err(refusal(&host, kind));
        }
        let port = url.port_or_known_default().filter(|port| *port != 0).ok_or("must name a port that is not 0")?;
        let authority = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        Ok(Self { tls, host, port, authority, path })
    }
}

/// Why an address is refused, in words.
pub(crate) fn refusal(address: &str, kind: &str) -> String {
    format!("is {address}, {kind}; name its network in webhooks.allow_private if it is meant")
}

/// What kind of address it is, if messages may not go there.
pub(crate) fn refused(address: IpAddr, allowed: &[Network]) -> Option<&'static str> {
    // ::ffff:127.0.0.1 is 127.0.0.1 to whoever connects.
    let address = address.to_canonical();
    if allowed.iter().any(|network| network.contains(address)) {
        return None;
    }
    match address {
        IpAddr::V4(v4) => refused_v4(v4),
        IpAddr::V6(v6) => refused_v6(v6),
    }
}

/// The blocks of IANA's registry of special addresses that are not for everybody.
const V4: [(Ipv4Addr, u8, &str); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "an address of this machine"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private address"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "an address inside a provider's network"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "a loopback address"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "a link-local address"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private address"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "a reserved address"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "an address for documents"),
    (Ipv4Addr::new(192, 31, 196, 0), 24, "a reserved address"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a reserved address"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private address"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "an address for measurements"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "an address for documents"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "an address for documents"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast address"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "a reserved address"),
];

fn refused_v4(address: Ipv4Addr) -> Option<&'static str> {
    let has = |(block, prefix, _): &&(Ipv4Addr, u8, &str)| (u32::from(*block) ^ u32::from(address)) >> (32 - prefix) == 0;
    V4.iter().find(has).map(|(.., kind)| *kind)
}

/// Of IPv6 only 2000::/3 is given out for everybody; within it some blocks are not, and some carry an IPv4 address on to where nobody has judged it.
const V6: [(Ipv6Addr, u8, &str); 5] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "a reserved address"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "an address for documents"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "an IPv4 address inside an IPv6 one"),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, "a reserved address"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "an address for documents"),
];

fn refused_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_loopback() || address.is_unspecified() {
        return Some("an address of this machine");
    }
    if address.is_multicast() {
        return Some("a multicast address");
    }
    match address.segments()[0] {
        0xfe80..=0xfebf => return Some("a link-local address"),
        0xfc00..=0xfdff => return Some("a private address"),
        0x2000..=0x3fff => {}
        _ => return Some("a reserved address"),
    }
    let has = |(block, prefix, _): &&(Ipv6Addr, u8, &str)| (u128::from(*block) ^ u128::from(address)) >> (128 - prefix) == 0;
    V6.iter().find(has).map(|(.., kind)| *kind)
}

#[cfg(test)]
#[path = "address/tests.rs"]
mod tests;
