//! Which node has which slots, and whom to believe about that.

use super::{Link, PAUSE, error};
use redis::aio::MultiplexedConnection;
use redis::{ConnectionAddr, RedisError, RedisResult, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Slots of a cluster.
const SLOTS: usize = 16_384;
/// How long a node that could not decide is asked last who has which slots: as long as a failover takes.
const DOUBTED_FOR: Duration = Duration::from_secs(5);

pub(in crate::cluster::redis) type Address = (String, u16);

/// First slot of each range and who has it, up to the next range; none: nobody.
type Ranges = BTreeMap<u16, Option<Address>>;

/// What is known of the cluster.
#[derive(Default)]
pub(super) struct Known {
    ranges: Ranges,
    pub(super) connections: BTreeMap<Address, MultiplexedConnection>,
    /// Primaries whose replicas are not waited for, and until when.
    pub(super) lagging: BTreeMap<Address, Instant>,
    /// Nodes that did not answer, or said that they cannot decide, and until when they are asked last: what they say of slots may be long past.
    doubtful: BTreeMap<Address, Instant>,
}

impl Known {
    fn failed(&mut self, address: &Address) {
        self.connections.remove(address);
        self.doubtful.insert(address.clone(), Instant::now() + DOUBTED_FOR);
    }

    pub(super) fn lags(&mut self, address: &Address) -> bool {
        let Some(until) = self.lagging.get(address) else { return false };
        let lags = Instant::now() < *until;
        if !lags {
            self.lagging.remove(address);
        }
        lags
    }
}

impl Link {
    pub(super) fn address_of(&self, slot: u16) -> Option<Address> {
        self.known.lock().ranges.range(..=slot).next_back().and_then(|(_, address)| address.clone())
    }

    /// Nodes that have slots.
    pub(in crate::cluster::redis) fn primaries(&self) -> Vec<Address> {
        let known = self.known.lock();
        known.ranges.values().flatten().collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }

    /// A connection that failed is not used again.
    pub(super) fn forget(&self, slot: u16, asked: Option<&Address>) {
        if let Some(address) = asked.cloned().or_else(|| self.address_of(slot)) {
            self.known.lock().failed(&address);
        }
    }

    pub(super) fn doubt(&self, slot: u16, asked: Option<&Address>) {
        if let Some(address) = asked.cloned().or_else(|| self.address_of(slot)) {
            self.known.lock().doubtful.insert(address, Instant::now() + DOUBTED_FOR);
        }
    }

    /// One slot has another node, at once; the rest is learnt by the next refresh.
    pub(super) fn moved(&self, slot: u16, error: &RedisError) {
        let Some(target) = target(error) else { return };
        let mut known = self.known.lock();
        let after = known.ranges.range(..=slot).next_back().and_then(|(_, address)| address.clone());
        if usize::from(slot) + 1 < SLOTS {
            known.ranges.entry(slot + 1).or_insert(after);
        }
        known.ranges.insert(slot, Some(target));
    }

    /// Learns anew who has which slots, once for all that ask at the same time. What cannot be learnt now is asked for again by whoever needs it.
    pub(super) async fn refresh(&self) {
        // The pause is part of the round, so that there are no more rounds than that however many tags meet an outage.
        let round = async {
            tokio::time::sleep(PAUSE).await;
            self.find_slots().await
        };
        let _ = self.refreshes.after_now(round).await;
    }

    /// Asks one node after the other who has which slots, until one knows it of all. Those in doubt are asked last: a primary that was cut off
    /// goes on saying that its slots are its own. And a node that has just started empty knows of no slots at all.
    pub(super) async fn find_slots(&self) -> RedisResult<()> {
        let (nodes, doubtful): (Vec<Address>, BTreeSet<Address>) = {
            let mut known = self.known.lock();
            known.doubtful.retain(|_, until| Instant::now() < *until);
            (known.connections.keys().cloned().collect(), known.doubtful.keys().cloned().collect())
        };
        let seeds = self.seeds.iter().filter_map(|seed| match seed.addr() {
            ConnectionAddr::Tcp(host, port) => Some((host.clone(), *port)),
            _ => None,
        });
        let (last, first): (Vec<Address>, Vec<Address>) = nodes.into_iter().chain(seeds).partition(|address| doubtful.contains(address));
        let mut failure = error("no address of the cluster is set");
        let mut best: Option<(usize, Ranges)> = None;
        let mut asked = BTreeSet::new();
        for address in first.into_iter().chain(last) {
            if !asked.insert(address.clone()) {
                continue;
            }
            match self.slots(&address).await {
                Ok(ranges) => {
                    let served = served(&ranges);
                    if best.as_ref().is_none_or(|(most, _)| served > *most) {
                        best = Some((served, ranges));
                    }
                    if served == SLOTS {
                        break;
                    }
                }
                Err(error) => {
                    self.known.lock().failed(&address);
                    failure = error;
                }
            }
        }
        let Some((_, ranges)) = best else { return Err(failure) };
        self.known.lock().ranges = ranges;
        Ok(())
    }

    async fn slots(&self, from: &Address) -> RedisResult<Ranges> {
        let mut connection = self.connection(from).await?;
        let rows: Vec<Value> = self.figures.trip(redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection)).await?;
        let mut ranges = BTreeMap::from([(0, None)]);
        for row in rows {
            let (first, last, host, port) = range_of(row).ok_or_else(|| error("CLUSTER SLOTS answered in another form"))?;
            // A node that does not know its own name stands as the one that was asked.
            let host = if host.is_empty() { from.0.clone() } else { host };
            ranges.insert(first, Some((host, port)));
            if usize::from(last) + 1 < SLOTS {
                ranges.entry(last + 1).or_insert(None);
            }
        }
        Ok(ranges)
    }
}

/// Slots that somebody has.
fn served(ranges: &Ranges) -> usize {
    let ends = ranges.keys().skip(1).map(|first| usize::from(*first)).chain([SLOTS]);
    ranges.iter().zip(ends).filter(|((_, address), _)| address.is_some()).map(|((first, _), end)| end - usize::from(*first)).sum()
}

/// First and last slot, and the host and port of the primary.
fn range_of(row: Value) -> Option<(u16, u16, String, u16)> {
    let (first, last, primary): (u16, u16, Vec<Value>) = match row {
        Value::Array(mut row) if row.len() >= 3 => {
            let primary = redis::from_redis_value(row.swap_remove(2)).ok()?;
            let last = redis::from_redis_value(row.swap_remove(1)).ok()?;
            (redis::from_redis_value(row.swap_remove(0)).ok()?, last, primary)
        }
        _ => return None,
    };
    let mut primary = primary.into_iter();
    let host: Option<String> = redis::from_redis_value(primary.next()?).ok()?;
    Some((first, last, host.unwrap_or_default(), redis::from_redis_value(primary.next()?).ok()?))
}

pub(super) fn target(error: &RedisError) -> Option<Address> {
    error.redirect_node().and_then(|(node, _)| {
        let (host, port) = node.rsplit_once(':')?;
        Some((host.to_owned(), port.parse().ok()?))
    })
}

/// The slot of a key whose hash tag is `tag`: CRC-16/XMODEM, as the specification of Redis Cluster has it.
pub(in crate::cluster::redis) fn slot_of(tag: &str) -> u16 {
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    });
    crc % SLOTS as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // From the specification, and `CLUSTER KEYSLOT`.
        assert_eq!(slot_of("123456789"), 0x31c3);
        assert_eq!(slot_of("foo"), 12_182);
    }
}
