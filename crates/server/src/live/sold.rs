//! What offers sold in the last minutes, as this process has seen it: how their confirmed units grew. The ledger has all of it, and would
//! have to read every claim of every offer for one picture.

use bunho_domain::ids::OfferId;
use bunho_domain::time::Millis;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};

/// Minutes that are shown of an offer or a zone.
pub(crate) const MINUTES_SHOWN: i64 = 30;
const MINUTE_MS: i64 = 60_000;

/// Units of one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SoldMinute {
    pub(crate) minute: Millis,
    pub(crate) units: u32,
}

/// Every offer's.
#[derive(Debug, Default)]
pub(crate) struct Sold(Mutex<HashMap<OfferId, OfferSold>>);

#[derive(Debug)]
struct OfferSold {
    confirmed: u32,
    /// Those with any units; at most [`MINUTES_SHOWN`] and the one under way.
    minutes: VecDeque<SoldMinute>,
}

/// Start of a minute.
pub(crate) const fn minute_of(at: Millis) -> Millis {
    Millis(at.0.div_euclid(MINUTE_MS) * MINUTE_MS)
}

impl Sold {
    /// So many units are confirmed now.
    pub(crate) fn look(&self, offer: &OfferId, confirmed: u32, at: Millis) {
        let mut offers = self.0.lock();
        let Some(offer) = offers.get_mut(offer) else {
            offers.insert(offer.clone(), OfferSold { confirmed, minutes: VecDeque::new() });
            return;
        };
        // Fewer: some were taken back, which is no sale.
        let units = confirmed.saturating_sub(offer.confirmed);
        offer.confirmed = confirmed;
        // What is seen at the first moment of a minute happened in the one before.
        let minute = minute_of(at.plus_ms(-1));
        if units > 0 {
            match offer.minutes.back_mut() {
                Some(last) if last.minute == minute => last.units = last.units.saturating_add(units),
                _ => offer.minutes.push_back(SoldMinute { minute, units }),
            }
        }
        while offer.minutes.front().is_some_and(|first| minute.since_ms(first.minute) > MINUTES_SHOWN * MINUTE_MS) {
            offer.minutes.pop_front();
        }
    }

    /// An offer's last minutes with the one under way, oldest first.
    pub(crate) fn of(&self, offer: &OfferId, now: Millis) -> Vec<SoldMinute> {
        let last = minute_of(now);
        let offers = self.0.lock();
        let known = offers.get(offer);
        (1 - MINUTES_SHOWN..=0)
            .map(|minute| {
                let minute = last.plus_ms(minute * MINUTE_MS);
                let units = known.and_then(|known| known.minutes.iter().find(|sold| sold.minute == minute)).map_or(0, |sold| sold.units);
                SoldMinute { minute, units }
            })
            .collect()
    }

    /// Forgets offers that are no more.
    pub(crate) fn keep_only(&self, is_there: impl Fn(&OfferId) -> bool) {
        self.0.lock().retain(|id, _| is_there(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sales_stand_in_their_minutes() {
        let (sold, offer) = (Sold::default(), OfferId::parse("o").expect("an id"));
        for (at, confirmed) in [(0, 50), (6_000, 53), (60_000, 54), (66_000, 54), (120_000, 40), (126_000, 41)] {
            sold.look(&offer, confirmed, Millis(at));
        }
        let shown = sold.of(&offer, Millis(130_000));
        assert_eq!(shown.len(), MINUTES_SHOWN as usize);
        assert_eq!(shown[27..].iter().map(|sold| (sold.minute.0, sold.units)).collect::<Vec<_>>(), [(0, 4), (60_000, 0), (120_000, 1)]);
        for minute in 0..500 {
            sold.look(&offer, 100 + minute, Millis(200_000 + i64::from(minute) * MINUTE_MS));
        }
        assert!(sold.0.lock()[&offer].minutes.len() <= MINUTES_SHOWN as usize + 1);
        sold.keep_only(|_| false);
        assert_eq!(sold.of(&offer, Millis(0)).iter().map(|sold| sold.units).sum::<u32>(), 0);
    }
}
