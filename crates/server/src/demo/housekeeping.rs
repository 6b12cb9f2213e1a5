//! Keeps the demo usable for whoever comes next: bookings are taken back after a while, since three weekends with ten beds are soon full; and the shelf
//! is filled before a crowd comes.

use super::samples::{SHELF, SHOP_OFFER};
use super::{Demo, audit};
use bunho_domain::ids::{ClaimId, OfferId};
use bunho_domain::offer::Restock;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a booking stands.
const BOOKING_STANDS: Duration = Duration::from_secs(15 * 60);
const EVERY: Duration = Duration::from_secs(5);
/// Bookings that are remembered. At most thirty guests have beds at a time, so this is never reached.
const BOOKINGS_MAX: usize = 1_000;

/// Bookings of visitors, oldest first. One from before a restart stands until somebody takes it back by hand.
#[derive(Default)]
pub(super) struct Rooms(Mutex<VecDeque<(Instant, ClaimId)>>);

impl Rooms {
    /// Remembers a booking that was paid for. A second payment of the same one is no second booking.
    pub(super) fn booked(&self, claim: ClaimId) {
        let mut bookings = self.0.lock();
        if bookings.len() < BOOKINGS_MAX && !bookings.iter().any(|(_, known)| *known == claim) {
            bookings.push_back((Instant::now(), claim));
        }
    }

    fn due(&self, now: Instant) -> Option<ClaimId> {
        let mut bookings = self.0.lock();
        let due = bookings.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= BOOKING_STANDS);
        if due { bookings.pop_front().map(|(_, claim)| claim) } else { None }
    }
}

/// Takes bookings back until the server stops.
pub(super) async fn run(demo: Arc<Demo>) {
    let mut shutdown = demo.app.shutdown.clone();
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = shutdown.wait_for(|stop| *stop) => return,
        }
        while let Some(claim) = demo.rooms.due(Instant::now()) {
            take_back(&demo, claim).await;
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

/// Fills the shelf.
pub(super) async fn fill_shelf(demo: &Demo) {
    let Ok(id) = OfferId::parse(SHOP_OFFER) else { return };
    let Ok((_, stock)) = demo.app.engine.offer(&id).await else { return };
    let missing = SHELF.saturating_sub(stock.remaining);
    // Whoever stands by is served first, and comes before the crowd anyway.
    if missing > 0
        && let Err(error) = demo.app.engine.restock(&id, missing.into(), audit("offer.restock", SHOP_OFFER)).await
    {
        tracing::warn!(%error, "the demo's shelf could not be filled");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_booking_stands_for_a_while_and_is_known_once() {
        let rooms = Rooms::default();
        let claim = ClaimId::new(1, 2, 3);
        rooms.booked(claim);
        rooms.booked(claim);
        let now = Instant::now();
        assert_eq!(rooms.due(now), None);
        assert_eq!(rooms.due(now + BOOKING_STANDS), Some(claim));
        assert_eq!(rooms.due(now + BOOKING_STANDS), None);
    }
}
