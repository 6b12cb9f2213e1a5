//! What the console shows of the last minutes, kept by each node in bounded memory: nothing of it binds, so a restart may forget it.
//!
//! `slots` is what a zone did in each slot of its limiter, `estimates` what people were told when they joined against what it took, `sold`
//! what offers sold in each minute. A task looks at zones and offers at whole seconds; requests take part only in `estimates`, and of those only
//! a few.

mod estimates;
mod slots;
mod sold;

pub(crate) use estimates::{Estimate, Estimates, Sums};
pub(crate) use slots::{Slot, Slots};
pub(crate) use sold::{MINUTES_SHOWN, Sold, SoldMinute, minute_of};

use crate::app::App;
use bunho_domain::ids::OfferId;
use bunho_domain::time::Millis;
use bunho_engine::Engine;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Looks at zones in one process are at each second, so that a slot's numbers are exact: all of them together are some locks of a
/// microsecond. On a cluster each look is a round trip for each zone, so half as many.
const LOOK_MS: i64 = 1_000;
const LOOK_CLUSTER_MS: i64 = 2_000;
/// Offers are looked at for a line of minutes alone.
const OFFERS_MS: i64 = 6_000;
/// An offer's numbers wait for the disk. When it stalls, the line of minutes can wait too.
const OFFERS_WITHIN: Duration = Duration::from_secs(1);

/// What is kept.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) slots: Slots,
    pub(crate) estimates: Estimates,
    pub(crate) sold: Sold,
}

/// Looks at zones and offers until the server stops.
pub(crate) async fn watch(app: Arc<App>) {
    let mut shutdown = app.shutdown.clone();
    let every = if matches!(app.engine, Engine::Cluster(_)) { LOOK_CLUSTER_MS } else { LOOK_MS };
    loop {
        let now = app.engine.now();
        let wait = every - now.0.rem_euclid(every);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(wait.unsigned_abs())) => {}
            _ = shutdown.wait_for(|stop| *stop) => return,
        }
        // A timer may be early by less than a millisecond, never by a whole look.
        let at = (now.0 + wait).max(app.engine.now().0 / every * every);
        if let Ok(reports) = app.engine.zones().await {
            app.live.slots.look(&reports, Millis(at), every);
            app.live.estimates.keep_only(|zone| reports.iter().any(|report| report.settings.id == *zone));
        }
        if at % OFFERS_MS == 0 {
            look_at_offers(&app, Millis(at)).await;
        }
    }
}

async fn look_at_offers(app: &App, at: Millis) {
    let Ok(ids) = app.engine.offer_ids().await else { return };
    let until = tokio::time::Instant::now() + OFFERS_WITHIN;
    for id in &ids {
        match tokio::time::timeout_at(until, app.engine.offer(id)).await {
            Ok(Ok((_, stock))) => app.live.sold.look(id, stock.confirmed, at),
            Ok(Err(_)) => {}
            Err(_) => return,
        }
    }
    let ids: BTreeSet<&OfferId> = ids.iter().collect();
    app.live.sold.keep_only(|id| ids.contains(id));
}
