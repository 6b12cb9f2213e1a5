//! Which webhooks this process delivers to.
//!
//! A process alone delivers to all. On a cluster each webhook has a *holder*, who raises its `beat` every other second. A webhook whose beat
//! another node has seen stand still for long enough by its own timer is taken over, by comparing and setting what was seen; so no clock
//! is compared with another's. A holder that hung and wakes up finds the beat changed and ends; what it had under way arrives twice.

use super::work::{deliver, turn_off};
use super::{Counts, Webhooks, policy, send};
use crate::exit::chain;
use bunho_domain::time::Millis;
use bunho_ledger::{LedgerError, WebhookRow, WebhookState};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often the ledger is asked what there is to deliver to; one small statement.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a holder says that it delivers.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// A holder that said nothing for so long is given up: five beats.
const SILENT: Duration = Duration::from_secs(10);
/// How often messages are counted; where that takes long, so many times as long passes between two counts.
const COUNT_EVERY: Duration = Duration::from_secs(3);
const COUNT_SHARE: u32 = 50;
/// A webhook with more than may wait is left on as long as no more than a tenth of that is added: it may be sending what waited.
const GROWS: u64 = 10;
/// Of what nobody delivers to a node takes a quarter at a time, so that others get some too.
const SHARE: usize = 4;
/// Rounds of forgetting what was queued for a webhook that is gone, before something else is looked at.
const SWEEPS: usize = 20;
/// For so long one that was taken away stays marked in a database on a server: what a transaction that began before queues for it is forgotten like
/// the rest. Twice as long as a projector's transaction may take before its connection is given up. A file has one transaction at a time.
const MARKED: Millis = Millis(600_000);

/// A webhook that this process delivers to.
struct Held {
    row: watch::Sender<Option<Arc<WebhookRow>>>,
    task: JoinHandle<()>,
    beat: i64,
    beaten: Instant,
    /// The fewest messages that were counted since it was taken.
    fewest: u64,
}

/// What this process knows of the sharing.
#[derive(Default)]
struct Shared {
    held: HashMap<String, Held>,
    /// Who else was seen to hold one, with what beat, and since when that is so.
    seen: HashMap<String, (String, i64, Instant)>,
    count_at: Option<Instant>,
}

impl Webhooks {
    /// Delivers until the server stops; then lets what is under way end, and gives up what it holds.
    pub async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut shared = Shared::default();
        let mut well = true;
        loop {
            let round = self.round(&mut shared).await;
            match &round {
                Ok(()) if !well => tracing::info!("webhooks are delivered to again"),
                Err(error) if well => {
                    tracing::error!(error = chain(error), "webhooks cannot be read; nothing is lost, it waits in the ledger")
                }
                _ => {}
            }
            well = round.is_ok();
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => break,
                () = self.look.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        for held in shared.held.values() {
            held.row.send_replace(None);
        }
        for (_, held) in shared.held.drain() {
            let _ = held.task.await;
        }
        if !self.alone
            && let Err(error) = self.ledger.let_webhooks_go(&self.holder).await
        {
            tracing::debug!(error = chain(&error), "webhooks are not given up; others take them over in seconds");
        }
    }

    async fn round(self: &Arc<Self>, shared: &mut Shared) -> Result<(), LedgerError> {
        let rows = self.ledger.webhooks().await?;
        shared.held.retain(|_, held| !held.task.is_finished());
        for (id, held) in &shared.held {
            if !rows.iter().any(|row| row.id == *id && row.enabled && !row.deleted) {
                held.row.send_replace(None);
            }
        }
        if rows.is_empty() {
            self.counts.lock().clear();
            return Ok(());
        }
        // Before any is taken: what waited by then is not what it lets grow.
        if shared.count_at.is_none_or(|at| at <= Instant::now()) {
            let took = self.recount(shared).await?;
            shared.count_at = Some(Instant::now() + COUNT_EVERY.max(took * COUNT_SHARE));
        }
        let states: HashMap<String, WebhookState> =
            self.ledger.webhook_states().await?.into_iter().map(|state| (state.webhook.clone(), state)).collect();
        let mut free = Vec::new();
        for row in rows.iter().filter(|row| row.enabled && !row.deleted) {
            let Some(state) = states.get(&row.id) else { continue };
            if shared.held.contains_key(&row.id) {
                self.go_on(shared, row).await?;
            } else if self.is_free(shared, state) {
                free.push((row, state));
            }
        }
        let take = if self.alone { free.len() } else { free.len().div_ceil(SHARE) };
        for (row, state) in free.into_iter().take(take) {
            self.take(shared, row, state).await?;
        }
        for row in rows.iter().filter(|row| row.deleted && !shared.held.contains_key(&row.id)) {
            let marked_long = self.ledger.path().is_some() || row.updated_at.plus_ms(MARKED.0) <= send::now();
            for _ in 0..SWEEPS {
                if self.ledger.sweep_webhook(&row.id, marked_long).await? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether nobody delivers, as far as can be seen from here.
    fn is_free(&self, shared: &mut Shared, state: &WebhookState) -> bool {
        if self.alone || state.holder.is_empty() || state.holder == self.holder {
            return true;
        }
        let now = Instant::now();
        match shared.seen.get(&state.webhook) {
            Some((holder, beat, since)) if *holder == state.holder && *beat == state.beat => since.elapsed() >= SILENT,
            _ => {
                shared.seen.insert(state.webhook.clone(), (state.holder.clone(), state.beat, now));
                false
            }
        }
    }

    async fn take(self: &Arc<Self>, shared: &mut Shared, row: &WebhookRow, state: &WebhookState) -> Result<(), LedgerError> {
        let beat = if self.alone { Some(0) } else { self.ledger.hold_webhook(state, &self.holder).await? };
        let Some(beat) = beat else { return Ok(()) };
        shared.seen.remove(&row.id);
        let fewest = self.counts.lock().get(&row.id).map_or(0, |counts| counts.pending);
        let (sender, receiver) = watch::channel(Some(Arc::new(row.clone())));
        let task = tokio::spawn(deliver(self.clone(), receiver, state.failures));
        shared.held.insert(row.id.clone(), Held { row: sender, task, beat, beaten: Instant::now(), fewest });
        Ok(())
    }

    async fn go_on(&self, shared: &mut Shared, row: &WebhookRow) -> Result<(), LedgerError> {
        let Some(held) = shared.held.get_mut(&row.id) else { return Ok(()) };
        // One that was told to end stays ended, and is begun anew when it has.
        held.row.send_if_modified(|known| {
            let changed = known.as_ref().is_some_and(|known| **known != *row);
            if changed {
                *known = Some(Arc::new(row.clone()));
            }
            changed
        });
        if self.alone || held.beaten.elapsed() < BEAT_EVERY {
            return Ok(());
        }
        let own = WebhookState { webhook: row.id.clone(), holder: self.holder.clone(), beat: held.beat, ..WebhookState::default() };
        match self.ledger.hold_webhook(&own, &self.holder).await? {
            Some(beat) => (held.beat, held.beaten) = (beat, Instant::now()),
            // Another node took it over.
            None => drop(held.row.send_replace(None)),
        }
        Ok(())
    }

    /// Counts messages, and keeps them within their bounds; how long the counting took.
    async fn recount(&self, shared: &mut Shared) -> Result<Duration, LedgerError> {
        let began = Instant::now();
        let counted = self.ledger.delivery_counts().await?;
        let took = began.elapsed();
        let counts: HashMap<String, Counts> = counted.into_iter().map(|(id, pending, dead)| (id, Counts { pending, dead })).collect();
        self.counts.lock().clone_from(&counts);
        let latest = send::now().plus_ms(i64::try_from(policy::longest_pause(&self.config).as_millis()).unwrap_or(i64::MAX / 2));
        for (id, held) in &mut shared.held {
            let Counts { pending, dead } = counts.get(id).copied().unwrap_or_default();
            held.fewest = held.fewest.min(pending);
            if is_too_many(pending, held.fewest, self.config.pending_max) {
                turn_off(self, id, "backlog_full", None).await;
            }
            if dead > self.config.dead_max {
                let forgotten = self.ledger.trim_dead(id, self.config.dead_max).await?;
                tracing::warn!(webhook = id, forgotten, "messages that were given up are forgotten to make room");
            }
            if pending > 0 {
                self.ledger.hasten_deliveries(id, latest).await?;
            }
        }
        Ok(took)
    }
}

/// Whether more wait than may, and more and more. `fewest` is the least that was counted since it was turned on, when what had waited began to be sent.
fn is_too_many(pending: u64, fewest: u64, most: u64) -> bool {
    pending > most && pending > fewest.saturating_add(most / GROWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_that_shrinks_is_sent_and_one_that_grows_is_too_much() {
        for (pending, fewest, too_many) in [
            (1_000, 0, false),
            (1_001, 0, true),
            // It was turned on with more than may wait.
            (1_500, 1_500, false),
            (1_600, 1_500, false),
            (1_601, 1_500, true),
            // And got some of it away.
            (1_001, 900, true),
            (1_000, 900, false),
            (u64::MAX, u64::MAX, false),
        ] {
            assert_eq!(is_too_many(pending, fewest, 1_000), too_many, "{pending} after {fewest}");
        }
    }
}
