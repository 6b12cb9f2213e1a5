//! How often somebody may be wrong: so many times for one name and from one address, then not until a while has passed.
//!
//! An attempt counts before it is looked at, so that many at once do not slip by together, and is taken back where it was right. Unknown names are
//! counted as known ones are, so that nothing tells them apart. Each node counts for itself: a cluster of n nodes allows n times as many.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Wrong ones for one name.
const NAME_MISSES_MAX: u32 = 10;
/// Wrong ones from one address, behind which a whole office may sit.
const ADDRESS_MISSES_MAX: u32 = 40;
/// Counted from the first wrong one.
const WITHIN: Duration = Duration::from_secs(5 * 60);
/// Names and addresses that are remembered, each some 100 bytes. Beyond, the oldest is forgotten: whoever commands so many addresses is
/// still bound by the name.
const REMEMBERED_MAX: usize = 10_000;

/// Who was wrong lately.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    names: Mutex<Misses>,
    addresses: Mutex<Misses>,
}

#[derive(Debug, Default)]
struct Misses(HashMap<String, Missed>);

#[derive(Debug)]
struct Missed {
    times: u32,
    since: Instant,
}

impl Throttle {
    /// Counts an attempt. Refused: the seconds after which another one is looked at.
    pub(crate) fn attempt(&self, name: Option<&str>, address: Option<IpAddr>, now: Instant) -> Result<(), u32> {
        if let Some(address) = address {
            self.addresses.lock().count(&network(address), ADDRESS_MISSES_MAX, now)?;
        }
        if let Some(name) = name
            && let Err(seconds) = self.names.lock().count(name, NAME_MISSES_MAX, now)
        {
            // Nothing was looked at.
            self.take_back(None, address);
            return Err(seconds);
        }
        Ok(())
    }

    /// The attempt was right: the name begins anew. The address does not: one right name must not open the way for guesses at others.
    pub(crate) fn was_right(&self, name: Option<&str>, address: Option<IpAddr>) {
        self.take_back(None, address);
        if let Some(name) = name {
            self.names.lock().0.remove(name);
        }
    }

    /// The attempt said nothing about whether it was right.
    pub(crate) fn take_back(&self, name: Option<&str>, address: Option<IpAddr>) {
        if let Some(address) = address {
            self.addresses.lock().take_back(&network(address));
        }
        if let Some(name) = name {
            self.names.lock().take_back(name);
        }
    }
}

impl Misses {
    fn count(&mut self, key: &str, most: u32, now: Instant) -> Result<(), u32> {
        if !self.0.contains_key(key) && self.0.len() >= REMEMBERED_MAX {
            self.0.retain(|_, missed| now.duration_since(missed.since) < WITHIN);
            if self.0.len() >= REMEMBERED_MAX
                && let Some(oldest) = self.0.iter().min_by_key(|(_, missed)| missed.since).map(|(key, _)| key.clone())
            {
                self.0.remove(&oldest);
            }
        }
        let missed = self.0.entry(key.to_owned()).or_insert(Missed { times: 0, since: now });
        let passed = now.duration_since(missed.since);
        if passed >= WITHIN {
            *missed = Missed { times: 0, since: now };
        }
        if missed.times >= most {
            return Err(u32::try_from((WITHIN - passed).as_secs()).unwrap_or(u32::MAX).saturating_add(1));
        }
        missed.times += 1;
        Ok(())
    }

    fn take_back(&mut self, key: &str) {
        if let Some(missed) = self.0.get_mut(key) {
            missed.times = missed.times.saturating_sub(1);
        }
    }
}

/// Of IPv6 the first half: a household is given at least that much.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn a_name_is_closed_for_a_while_and_opens_again() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for n in 0..NAME_MISSES_MAX {
            assert_eq!(throttle.attempt(Some("kim"), address(&format!("10.0.0.{n}")), now), Ok(()), "{n}");
        }
        assert_eq!(throttle.attempt(Some("kim"), address("10.0.1.1"), now), Err(301));
        assert_eq!(throttle.attempt(Some("kim"), address("10.0.1.1"), now + WITHIN / 2), Err(151));
        assert_eq!(throttle.attempt(Some("lee"), address("10.0.1.1"), now), Ok(()), "another name");
        assert_eq!(throttle.attempt(Some("kim"), address("10.0.1.1"), now + WITHIN), Ok(()));
    }

    #[test]
    fn an_address_is_closed_whatever_the_names() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for n in 0..ADDRESS_MISSES_MAX {
            assert_eq!(throttle.attempt(Some(&format!("u{n}")), address(&format!("2001:db8::{n:x}")), now), Ok(()), "{n}");
        }
        assert!(throttle.attempt(Some("kim"), address("2001:db8:0:0:ffff::1"), now).is_err(), "the same network");
        assert!(throttle.attempt(Some("kim"), address("2001:db8:0:1::1"), now).is_ok());
    }

    #[test]
    fn who_is_right_begins_anew() {
        let (throttle, now, here) = (Throttle::default(), Instant::now(), address("10.0.0.1"));
        for _ in 0..10 * ADDRESS_MISSES_MAX {
            assert_eq!(throttle.attempt(Some("kim"), here, now), Ok(()));
            throttle.was_right(Some("kim"), here);
            assert_eq!(throttle.attempt(None, here, now), Ok(()));
            throttle.take_back(None, here);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut misses = Misses::default();
        let now = Instant::now();
        for n in 0..REMEMBERED_MAX + 100 {
            assert_eq!(misses.count(&n.to_string(), 1, now + Duration::from_millis(n as u64)), Ok(()));
        }
        assert_eq!(misses.0.len(), REMEMBERED_MAX);
        assert!(!misses.0.contains_key("0"), "the oldest made room");
    }
}
