//! From where somebody calls: the other end of the connection, or, where that is a proxy of ours, whom it says it speaks for.

use super::Peer;
use crate::app::App;
use crate::config::Network;
use crate::problem::{ADDRESS_REFUSED, Problem};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// The address of whoever administers, which `console.allow_from` lets in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AllowedAddress(pub(crate) IpAddr);

impl FromRequestParts<Arc<App>> for AllowedAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        Self::of(&parts.extensions, &parts.headers, app)
    }
}

impl AllowedAddress {
    /// Whose request this is.
    ///
    /// # Errors
    /// 403 where the address is not allowed.
    pub(crate) fn of(extensions: &Extensions, headers: &HeaderMap, app: &App) -> Result<Self, Problem> {
        // A request that came through no socket, as in tests, comes from nowhere in particular.
        let peer = extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(peer)| peer.ip());
        let address = client(peer, headers, &app.live().trusted_proxies);
        let live = app.live();
        let allowed = &live.console_allow_from;
        if allowed.is_empty() || allowed.iter().any(|network| network.contains(address)) {
            Ok(Self(address))
        } else {
            Err(Problem::new(&ADDRESS_REFUSED))
        }
    }
}

/// The address of whoever joins a line; none where no limit looks at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JoinAddress(pub(crate) Option<IpAddr>);

impl FromRequestParts<Arc<App>> for JoinAddress {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<Peer>().filter(|_| app.doorkeeper.load().looks_at_addresses());
        Ok(Self(peer.map(|Peer(peer)| client(peer.ip(), &parts.headers, &app.live().trusted_proxies))))
    }
}

/// Of a chain of proxies the last address that none of ours has: what stands before it anybody may have written.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_ours = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    // Bytes, of which only what a proxy of ours wrote is read: strange ones of a stranger before it must not hide it.
    let said = headers.get_all("x-forwarded-for").iter().rev().flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    for text in said {
        if !is_ours(client) {
            break;
        }
        let Some(before) = address(text) else { break };
        client = before.to_canonical();
    }
    client
}

/// An address, also one with a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim();
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|at| at.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_client_is_whom_our_proxies_speak_for_and_nobody_else_says() {
        let trusted = [Network::parse("10.0.0.0/8").expect("a network"), Network::parse("::1").expect("a network")];
        for (peer, said, client_is) in [
            ("203.0.113.9", &[][..], "203.0.113.9"),
            ("203.0.113.9", &["1.2.3.4"], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
            ("::ffff:10.0.0.1", &["1.2.3.4:5555"], "1.2.3.4"),
            ("::1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.2.2.2"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["1.2.3.4, <script>"], "10.0.0.1"),
            ("10.0.0.1", &["unknown"], "10.0.0.1"),
            ("10.0.0.1", &["\u{ff}, 1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["\u{ff}", "6.6.6.6,1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &[",, 1.2.3.4"], "1.2.3.4"),
        ] {
            let mut headers = HeaderMap::new();
            for value in said {
                // As they are: not every byte is a letter.
                let bytes: Vec<u8> = value.chars().map(|letter| u8::try_from(letter).expect("a byte")).collect();
                headers.append("x-forwarded-for", HeaderValue::from_bytes(&bytes).expect("a value"));
            }
            let found = client(peer.parse().expect("an address"), &headers, &trusted);
            assert_eq!(found.to_string(), client_is, "{peer} {said:?}");
        }
    }
}
