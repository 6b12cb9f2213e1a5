//! How much may join from one address, and from one network. Memory is fixed however many addresses attack, and no address is forgotten because others came.
//!
//! Each limit is a token bucket kept as one number, the time at which the bucket will be full again (the "virtual scheduling" form of the generic cell rate
//! algorithm, ITU-T I.371). Numbers stand in a count-min sketch (Cormode and Muthukrishnan, 2005) with conservative update: an address has one cell in each of
//! four rows, by a hash that nobody outside can compute, and the least of the four counts. Sharing a cell only makes a number larger, so no attacker gets more
//! than the limit. An innocent is refused only where all four of its cells are in use by attackers at their limits: with k such addresses at a time,
//! (1 − e^(−k/131072))^4, which is 1 in 33,000 for 10,000 of them and 1 in 42 for 65,536. A table of addresses would have to forget, and whoever
//! commands many would choose what.

use crate::config::{JoinConfig, Network, Rate};
use parking_lot::{Mutex, MutexGuard};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const ROWS: usize = 4;
/// 4 rows × 131,072 × 8 bytes: 4 MiB a limit, and only where it is set.
const CELLS: usize = 131_072;
/// Locks that addresses share: more than there are processors.
const TURNS: usize = 64;
/// Of IPv6, what one subscriber is given at least; whoever has one has all of its addresses.
const IPV6_ADDRESS_BITS: u8 = 64;

/// Counts joins by where they come from.
pub(super) struct Flood {
    address: Option<Meter>,
    prefix: Option<Meter>,
    ipv4_prefix: u8,
    ipv6_prefix: u8,
    exempt: Vec<Network>,
    began: Instant,
}

impl Flood {
    /// None where nothing is limited.
    pub(super) fn new(config: &JoinConfig) -> Option<Self> {
        let (address, prefix) = (config.per_address.map(Meter::new), config.per_prefix.map(Meter::new));
        (address.is_some() || prefix.is_some()).then(|| Self {
            address,
            prefix,
            ipv4_prefix: config.ipv4_prefix,
            ipv6_prefix: config.ipv6_prefix,
            exempt: config.exempt.clone(),
            began: Instant::now(),
        })
    }

    /// Counts a join. Refused: the seconds after which there is room for one more.
    ///
    /// This machine's own addresses are nobody's, and neither are those in `exempt`, among them our proxies': where one of them does not say whom it speaks
    /// for, everybody would share its limit.
    pub(super) fn count(&self, from: IpAddr) -> Result<(), u32> {
        let from = from.to_canonical();
        if from.is_loopback() || from.is_unspecified() || self.exempt.iter().any(|network| network.contains(from)) {
            return Ok(());
        }
        let now = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX / 2);
        self.count_at(from, now)
    }

    /// Both have room, or neither is charged: whoever comes again as told finds a bucket that refusals by others' joins have not emptied.
    fn count_at(&self, from: IpAddr, now_us: u64) -> Result<(), u32> {
        // Turns are taken in this order alone.
        let of_address = self.address.as_ref().map(|meter| meter.look(network_of(from, 32, IPV6_ADDRESS_BITS), now_us)).transpose()?;
        let of_prefix =
            self.prefix.as_ref().map(|meter| meter.look(network_of(from, self.ipv4_prefix, self.ipv6_prefix), now_us)).transpose()?;
        of_address.into_iter().chain(of_prefix).for_each(Room::take);
        Ok(())
    }
}

/// The network of an address as one number; those of IPv4 lie where IPv6 maps them.
fn network_of(address: IpAddr, ipv4_bits: u8, ipv6_bits: u8) -> u128 {
    let (bits, kept) = match address {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped().to_bits(), 96 + u32::from(ipv4_bits)),
        IpAddr::V6(v6) => (v6.to_bits(), u32::from(ipv6_bits)),
    };
    bits & u128::MAX.checked_shl(128 - kept).unwrap_or(0)
}

struct Meter {
    rows: [Box<[AtomicU64]>; ROWS],
    hashes: [RandomState; ROWS],
    /// Joins of one address take turns, for the time of four additions.
    turns: [Mutex<()>; TURNS],
    /// Between two joins at the steady rate.
    interval_us: u64,
    /// How far ahead of now a full burst reaches.
    burst_us: u64,
}

impl Meter {
    fn new(rate: Rate) -> Self {
        let interval_us = 60_000_000 / u64::from(rate.per_minute);
        Self {
            rows: std::array::from_fn(|_| std::iter::repeat_with(AtomicU64::default).take(CELLS).collect()),
            hashes: std::array::from_fn(|_| RandomState::new()),
            turns: std::array::from_fn(|_| Mutex::new(())),
            interval_us,
            burst_us: interval_us.saturating_mul(u64::from(rate.burst)),
        }
    }

    /// Whether there is room for one more join, which is kept until it is taken or given up. Refused: the seconds after which there is some.
    fn look(&self, key: u128, now_us: u64) -> Result<Room<'_>, u32> {
        let cells: [&AtomicU64; ROWS] = std::array::from_fn(|row| {
            let at = self.hashes[row].hash_one(key) as usize % CELLS;
            &self.rows[row][at]
        });
        // Two of one address at once are two. Others that share a cell only make it larger, in any order.
        let turn = self.turns[self.hashes[0].hash_one(key) as usize / CELLS % TURNS].lock();
        let least = cells.iter().map(|cell| cell.load(Ordering::Relaxed)).min().unwrap_or_default();
        let next = least.max(now_us).saturating_add(self.interval_us);
        let most = now_us.saturating_add(self.burst_us);
        if next > most {
            let seconds = (next - most).div_ceil(1_000_000);
            return Err(u32::try_from(seconds).unwrap_or(u32::MAX).max(1));
        }
        Ok(Room { cells, next, _turn: turn })
    }
}

/// Room for one join of somebody whose turn it is.
struct Room<'a> {
    cells: [&'a AtomicU64; ROWS],
    /// When the bucket is full again, with this join.
    next: u64,
    _turn: MutexGuard<'a, ()>,
}

impl Room<'_> {
    fn take(self) {
        for cell in self.cells {
            cell.fetch_max(self.next, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn flood(per_address: Option<Rate>, per_prefix: Option<Rate>) -> Flood {
        let config = JoinConfig { per_address, per_prefix, ipv4_prefix: 24, ipv6_prefix: 56, exempt: Vec::new(), token: None };
        Flood::new(&config).expect("something is limited")
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let flood = flood(Some(Rate { per_minute: 60, burst: 10 }), None);
        let here = address("203.0.113.9");
        for n in 0..10 {
            assert_eq!(flood.count_at(here, 0), Ok(()), "{n}");
        }
        assert_eq!(flood.count_at(here, 0), Err(1));
        assert_eq!(flood.count_at(address("203.0.113.10"), 0), Ok(()), "another address");
        assert_eq!(flood.count_at(here, SECOND), Ok(()), "one a second comes back");
        assert_eq!(flood.count_at(here, SECOND), Err(1));
        for n in 0..10 {
            assert_eq!(flood.count_at(here, 60 * SECOND), Ok(()), "{n}: the burst is whole again, and not more than whole");
        }
        assert!(flood.count_at(here, 60 * SECOND).is_err());
    }

    #[test]
    fn a_slow_rate_says_how_long_to_wait() {
        let flood = flood(Some(Rate { per_minute: 1, burst: 1 }), None);
        assert_eq!(flood.count_at(address("203.0.113.9"), 0), Ok(()));
        assert_eq!(flood.count_at(address("203.0.113.9"), 10 * SECOND), Err(50));
    }

    #[test]
    fn networks_share_a_limit() {
        let flood = flood(None, Some(Rate { per_minute: 1, burst: 2 }));
        for (text, allowed) in [
            ("203.0.113.1", true),
            ("203.0.113.2", true),
            ("203.0.113.3", false),
            ("203.0.114.3", true),
            ("2001:db8:0:1200::1", true),
            ("2001:db8:0:12ff::1", true),
            ("2001:db8:0:1234:5::1", false),
            ("2001:db8:0:1300::1", true),
        ] {
            assert_eq!(flood.count_at(address(text), 0).is_ok(), allowed, "{text}");
        }
    }

    #[test]
    fn a_busy_network_costs_nobody_their_own_room() {
        let flood = flood(Some(Rate { per_minute: 1, burst: 2 }), Some(Rate { per_minute: 60, burst: 2 }));
        let (here, other) = (address("203.0.113.9"), address("203.0.113.10"));
        assert_eq!((flood.count_at(other, 0), flood.count_at(other, 0)), (Ok(()), Ok(())));
        for n in 0..10 {
            assert_eq!(flood.count_at(here, 0), Err(1), "{n}: the network has no room");
        }
        // The network has room for one, and their own two are whole.
        assert_eq!(flood.count_at(here, SECOND), Ok(()));
        assert_eq!(flood.count_at(here, 2 * SECOND), Ok(()));
        assert_eq!(flood.count_at(here, 3 * SECOND), Err(58), "now their own are taken");
        assert_eq!(flood.count_at(address("203.0.113.11"), 3 * SECOND), Ok(()), "and what that refused is no join of the network's");
    }

    #[test]
    fn all_of_a_subscribers_ipv6_addresses_are_one() {
        let flood = flood(Some(Rate { per_minute: 1, burst: 1 }), None);
        assert_eq!(flood.count_at(address("2001:db8::1"), 0), Ok(()));
        assert!(flood.count_at(address("2001:db8::ffff:ffff:ffff:ffff"), 0).is_err());
        assert_eq!(flood.count_at(address("2001:db8:0:1::1"), 0), Ok(()));
    }

    #[test]
    fn ours_are_not_counted() {
        let mut flood = flood(Some(Rate { per_minute: 1, burst: 1 }), None);
        flood.exempt = vec![Network::parse("10.0.0.0/8").expect("a network")];
        for text in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3"] {
            assert!((0..10).all(|_| flood.count(address(text)).is_ok()), "{text}");
        }
        assert!(flood.count(address("11.0.0.1")).is_ok() && flood.count(address("11.0.0.1")).is_err());
    }

    /// As the head of this file reckons.
    #[test]
    fn a_botnet_at_its_limit_leaves_room_for_others() {
        let flood = flood(Some(Rate { per_minute: 1, burst: 1 }), None);
        for n in 0..10_000_u32 {
            let attacker = IpAddr::V4((0x0b00_0000 + n).into());
            while flood.count_at(attacker, 0).is_ok() {}
        }
        let refused = (0..10_000_u32).filter(|n| flood.count_at(IpAddr::V4((0xc600_0000 + n).into()), 0).is_err()).count();
        // The innocents fill cells too, so at the end twice as many are at their limits: 1 in 2,400.
        assert!(refused < 30, "{refused} of 10,000");
    }

    #[test]
    fn many_at_once_get_no_more_than_the_limit() {
        let flood = flood(Some(Rate { per_minute: 1, burst: 1_000 }), None);
        let taken = std::thread::scope(|scope| {
            let work = || (0..1_000).filter(|_| flood.count_at(address("203.0.113.9"), 0).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<usize>()
        });
        assert_eq!(taken, 1_000);
    }
}
