//! Settings of what stands before a line.

use super::{Network, Refused, Settings, TokenSettings, in_range, networks};

/// Checked settings of `[join]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinConfig {
    /// Of one address; none: not limited.
    pub per_address: Option<Rate>,
    /// Of one network; none: not limited.
    pub per_prefix: Option<Rate>,
    /// Bits that make a network of IPv4.
    pub ipv4_prefix: u8,
    /// Bits that make a network of IPv6.
    pub ipv6_prefix: u8,
    /// Whoever is not limited, our proxies among them.
    pub exempt: Vec<Network>,
    /// How tokens of the operator's own site are checked; none: no zone may ask for them.
    pub token: Option<TokenSettings>,
}

/// So many a minute, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At a steady pace.
    pub per_minute: u32,
    /// After a while without any.
    pub burst: u32,
}

/// Above it the time between two is nothing.
const PER_MINUTE_MAX: u64 = 10_000_000;
const BURST_MAX: u64 = 10_000_000;

impl Settings {
    pub(super) fn join(&self, proxies: &[Network]) -> Result<JoinConfig, Refused> {
        let join = &self.join;
        let rate = |names: [&str; 2], per_minute: u32, burst: u32| -> Result<Option<Rate>, Refused> {
            in_range(names[0], per_minute.into(), 0, PER_MINUTE_MAX)?;
            in_range(names[1], burst.into(), 1, BURST_MAX)?;
            Ok((per_minute > 0).then_some(Rate { per_minute, burst }))
        };
        let bits = |name, bits: u8, least, most| in_range(name, bits.into(), least, most).map(|_| bits);
        let mut exempt = networks("join.exempt", &join.exempt)?;
        exempt.extend_from_slice(proxies);
        Ok(JoinConfig {
            per_address: rate(
                ["join.per_address_per_minute", "join.per_address_burst"],
                join.per_address_per_minute,
                join.per_address_burst,
            )?,
            per_prefix: rate(["join.per_prefix_per_minute", "join.per_prefix_burst"], join.per_prefix_per_minute, join.per_prefix_burst)?,
            ipv4_prefix: bits("join.ipv4_prefix", join.ipv4_prefix, 8, 32)?,
            ipv6_prefix: bits("join.ipv6_prefix", join.ipv6_prefix, 16, 64)?,
            exempt,
            token: token(&join.token)?,
        })
    }
}

fn token(token: &TokenSettings) -> Result<Option<TokenSettings>, Refused> {
    let sources = [token.secret_file.is_some(), token.key_file.is_some(), token.jwks_file.is_some()];
    match sources.iter().filter(|set| **set).count() {
        0 if token.issuer.is_none() => Ok(None),
        1 => Ok(Some(token.clone())),
        _ => Err(Refused::new(
            "join.token",
            "needs exactly one source of keys",
            "set one of join.token.secret_file, join.token.key_file or join.token.jwks_file",
        )),
    }
}
