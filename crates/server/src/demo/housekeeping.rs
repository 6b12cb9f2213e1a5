//! Keeps the demo usable for whoever comes next: what visitors have bought is taken back after a while, since three weekends with ten beds are soon full;
//! and the shelf is filled before a crowd comes, or when everything is sold.

use super::samples::{SHELF, SHOP_OFFER};
use super::{Demo, audit};
use bunho_domain::ids::{ClaimId, OfferId};
use bunho_domain::offer::Restock;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a purchase stands.
const STANDS: Duration = Duration::from_secs(15 * 60);
const EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether the shelf is empty: long enough to see what sold out means.
const DELIVERY_EVERY: Duration = Duration::from_secs(60);
/// Purchases that are remembered. Of what there is, fewer can be bought within the time that one stands; the bound is for what an operator may change.
const PURCHASES_MAX: usize = 10_000;

/// What visitors have paid for, oldest first. What is from before a restart stands until somebody takes it back by hand.
#[derive(Default)]
pub(super) struct Purchases(Mutex<VecDeque<(Instant, ClaimId)>>);

impl Purchases {
    /// Remembers what was paid for. A second payment of the same claim is no second purchase.
    pub(super) fn paid(&self, claim: ClaimId) {
        let mut purchases = self.0.lock();
        if purchases.len() < PURCHASES_MAX && !purchases.iter().any(|(_, known)| *known == claim) {
            purchases.push_back((Instant::now(), claim));
        }
    }

    fn due(&self, now: Instant) -> Option<ClaimId> {
        let mut purchases = self.0.lock();
        let due = purchases.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= STANDS);
        if due { purchases.pop_front().map(|(_, claim)| claim) } else { None }
    }
}

/// Takes purchases back, and fills an empty shelf, until the server stops.
pub(super) async fn run(demo: Arc<Demo>) {
    let mut shutdown = demo.app.shutdown.clone();
    let mut delivered = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = shutdown.wait_for(|stop| *stop) => return,
        }
        while let Some(claim) = demo.purchases.due(Instant::now()) {
            take_back(&demo, claim).await;
        }
        if delivered.elapsed() >= DELIVERY_EVERY {
            delivered = Instant::now();
            deliver(&demo).await;
        }
    }
}

/// Takes a confirmed claim back, its units to be had again. What fails is seen in the claim; the demo goes on.
pub(super) async fn take_back(demo: &Demo, claim: ClaimId) {
    match demo.app.engine.take_back(claim, Restock::Yes, audit("claim.return", &claim.to_string())).await {
        Ok(Ok(_)) => {}
        Ok(Err(refusal)) => tracing::debug!(%claim, ?refusal, "a claim of the demo was not taken back"),
        Err(error) => tracing::warn!(%claim, %error, "a claim of the demo could not be taken back"),
    }
}

/// Fills the shelf if everything is sold and nothing can come back. With a crowd here it stays as it is: to find it empty is what they came for.
async fn deliver(demo: &Demo) {
    let is_quiet = demo.crowd.lock().is_none();
    let Ok(id) = OfferId::parse(SHOP_OFFER) else { return };
    let Ok((_, stock)) = demo.app.engine.offer(&id).await else { return };
    if is_quiet && stock.remaining == 0 && stock.held == 0 {
        fill_shelf(demo).await;
    }
}

/// Puts as many pairs on the shelf as belong there; what came back from earlier purchases may be more.
pub(super) async fn fill_shelf(demo: &Demo) {
    let Ok(id) = OfferId::parse(SHOP_OFFER) else { return };
    let Ok((_, stock)) = demo.app.engine.offer(&id).await else { return };
    let delta = i64::from(SHELF) - i64::from(stock.remaining);
    // Whoever stands by is served first, and comes before a crowd anyway.
    if delta != 0
        && let Err(error) = demo.app.engine.restock(&id, delta, audit("offer.restock", SHOP_OFFER)).await
    {
        tracing::warn!(%error, "the demo's shelf could not be filled");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purchase_stands_for_a_while_and_is_known_once() {
        let purchases = Purchases::default();
        let claim = ClaimId::new(1, 2, 3);
        purchases.paid(claim);
        purchases.paid(claim);
        let now = Instant::now();
        assert_eq!(purchases.due(now), None);
        assert_eq!(purchases.due(now + STANDS), Some(claim));
        assert_eq!(purchases.due(now + STANDS), None);
    }
}
