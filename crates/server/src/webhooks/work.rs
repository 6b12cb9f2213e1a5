//! The worker of one webhook: reads what is due, keeps some attempts under way, and writes down in batches what came of them.
//!
//! A message is in one place at a time: in the queue, under way, or waiting for its outcome to be written. All three are bounded, and what the
//! ledger has beyond them is left there.

use super::policy::{self, Pace};
use super::send::{Answer, Lines, now};
use super::{Webhooks, message};
use crate::exit::chain;
use bunho_journal::{Audit, crash_point};
use bunho_ledger::{Attempted, DeliveryRow, Settled, WebhookRow};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Messages read at a time, at some KB each.
const FETCH_ROWS: usize = 256;
/// So many outcomes are written together, or those of so long.
const SETTLE_ROWS: usize = 128;
const SETTLE_EVERY: Duration = Duration::from_millis(200);
/// How often the ledger is asked when nothing was due.
const IDLE: Duration = Duration::from_millis(300);
/// And when it could not be asked.
const LEDGER_PAUSE: Duration = Duration::from_secs(1);
/// What is under way when a worker ends may take so long; else it is sent again by the next.
const LAST_WAIT: Duration = Duration::from_secs(3);
/// Longest reason that is kept.
const ERROR_CHARS_MAX: usize = 200;

/// A message and what came of it.
struct Done {
    row: Arc<WebhookRow>,
    delivery: DeliveryRow,
    answer: Answer,
}

struct Work {
    webhooks: Arc<Webhooks>,
    id: String,
    queue: VecDeque<DeliveryRow>,
    /// In the queue or under way.
    busy: HashSet<i64>,
    settled: Vec<Settled>,
    /// When the oldest outcome is written at the latest.
    settle_by: Option<Instant>,
    /// When the ledger is asked next.
    look_at: Instant,
    pace: Pace,
    /// The address whose receiver wants nothing more.
    gone: Option<String>,
    dice: RandomState,
}

/// Delivers until `row` is none: a webhook that is turned off, taken away, or another node's.
pub(super) async fn deliver(webhooks: Arc<Webhooks>, mut row: watch::Receiver<Option<Arc<WebhookRow>>>, failures: i64) {
    let Some(id) = row.borrow().as_ref().map(|row| row.id.clone()) else { return };
    let mut work = Work {
        webhooks,
        id,
        queue: VecDeque::new(),
        busy: HashSet::new(),
        settled: Vec::new(),
        settle_by: None,
        look_at: Instant::now(),
        pace: Pace::of(failures),
        gone: None,
        dice: RandomState::new(),
    };
    let lines = Arc::new(Lines::default());
    let mut hurry = work.webhooks.hurry.subscribe();
    let mut under_way = FuturesUnordered::new();
    while work.gone.is_none() {
        let Some(current) = row.borrow_and_update().clone() else { break };
        let allowed = work.pace.allowed(work.webhooks.config.concurrency, Instant::now());
        while under_way.len() < allowed
            && let Some(delivery) = work.queue.pop_front()
        {
            under_way.push(attempt(work.webhooks.clone(), current.clone(), delivery, lines.clone()));
        }
        if work.queue.is_empty() && allowed > under_way.len() && work.look_at <= Instant::now() {
            work.fetch().await;
            continue;
        }
        let next = work.next(allowed > under_way.len());
        tokio::select! {
            changed = row.changed() => if changed.is_err() { break },
            _ = hurry.changed() => if *hurry.borrow_and_update() == work.id {
                (work.pace, work.look_at) = (Pace::default(), Instant::now());
            },
            Some(done) = under_way.next(), if !under_way.is_empty() => work.note(done),
            () = tokio::time::sleep_until(next.into()) => {}
        }
        if work.settled.len() >= SETTLE_ROWS || work.settle_by.is_some_and(|by| by <= Instant::now()) {
            work.settle().await;
        }
    }
    let until = tokio::time::Instant::now() + LAST_WAIT;
    while let Ok(Some(done)) = tokio::time::timeout_at(until, under_way.next()).await {
        work.note(done);
    }
    work.settle().await;
    if let Some(url) = &work.gone {
        turn_off(&work.webhooks, &work.id, "gone", Some(url)).await;
    }
}

async fn attempt(webhooks: Arc<Webhooks>, row: Arc<WebhookRow>, delivery: DeliveryRow, lines: Arc<Lines>) -> Done {
    let message = message(&row, &delivery.event, delivery.body.clone());
    crash_point!("webhooks::sending");
    let answer = webhooks.sender.send(&row.url, &message, &lines).await;
    crash_point!("webhooks::answered");
    Done { row, delivery, answer }
}

impl Work {
    /// When there is something to do again, if nothing happens before.
    fn next(&self, is_free: bool) -> Instant {
        let now = Instant::now();
        let look = (is_free && self.queue.is_empty()).then_some(self.look_at);
        let resume = self.pace.resume().filter(|resume| *resume > now);
        // Whoever has all that is allowed under way waits for an answer, which has a time of its own.
        [look, resume, self.settle_by].into_iter().flatten().min().unwrap_or(now + LEDGER_PAUSE)
    }

    async fn fetch(&mut self) {
        if !self.settle().await {
            self.look_at = Instant::now() + LEDGER_PAUSE;
            return;
        }
        let limit = FETCH_ROWS + self.busy.len();
        match self.webhooks.ledger.due_deliveries(&self.id, now(), limit).await {
            Ok(due) => {
                self.look_at = Instant::now() + if due.len() < limit / 2 { IDLE } else { Duration::ZERO };
                let (queue, busy) = (&mut self.queue, &mut self.busy);
                queue.extend(due.into_iter().filter(|delivery| busy.insert(delivery.seq)));
                if self.queue.is_empty() {
                    self.look_at = self.look_at.max(Instant::now() + IDLE);
                }
            }
            Err(error) => {
                tracing::debug!(webhook = self.id, error = chain(&error), "what is to be told cannot be read");
                self.look_at = Instant::now() + LEDGER_PAUSE;
            }
        }
    }

    /// Enters what came of an attempt.
    fn note(&mut self, Done { row, delivery, answer }: Done) {
        let (instant, at) = (Instant::now(), now());
        let attempts = delivery.attempts.saturating_add(1);
        let outcome = policy::outcome(&self.webhooks.config, attempts, &answer, at, self.dice.hash_one((delivery.seq, attempts)));
        if policy::is_gone(&answer) {
            self.gone = Some(row.url.clone());
        }
        let failures = self.pace.failures();
        self.pace.note(&answer, instant);
        self.webhooks.count(outcome);
        match &answer.error {
            Some(error) if failures == 0 => {
                tracing::warn!(webhook = self.id, error, "a webhook fails; its messages are kept and tried again")
            }
            None if failures > 0 => tracing::info!(webhook = self.id, "a webhook takes messages again"),
            _ => {}
        }
        let error = answer.error.map(|error| error.chars().filter(|c| !c.is_control()).take(ERROR_CHARS_MAX).collect());
        self.settled.push(Settled { seq: delivery.seq, attempts, attempted: Attempted { at, status: answer.status, error }, outcome });
        self.settle_by.get_or_insert(instant + SETTLE_EVERY);
    }

    /// Writes down what came of attempts. False: the ledger cannot be written; it is tried again.
    async fn settle(&mut self) -> bool {
        if self.settled.is_empty() {
            return true;
        }
        match self.webhooks.ledger.settle_deliveries(&self.id, &self.settled, self.pace.failures()).await {
            Ok(()) => {
                for one in self.settled.drain(..) {
                    self.busy.remove(&one.seq);
                }
                self.settle_by = None;
                crash_point!("webhooks::written");
                true
            }
            Err(error) => {
                tracing::debug!(webhook = self.id, error = chain(&error), "what was told cannot be noted");
                self.settle_by = Some(Instant::now() + LEDGER_PAUSE);
                false
            }
        }
    }
}

/// Turns a webhook off and says why; only while it has this address, where one is named.
pub(super) async fn turn_off(webhooks: &Webhooks, id: &str, reason: &str, url: Option<&str>) {
    let audit = Audit {
        actor: "system".into(),
        action: "webhook.disable".into(),
        target: id.to_owned(),
        detail: Some(serde_json::json!({ "reason": reason }).to_string()),
        request_id: None,
    };
    match webhooks.ledger.disable_webhook(id, url, reason, now(), &audit).await {
        Ok(true) => tracing::warn!(webhook = id, reason, "a webhook was turned off"),
        Ok(false) => tracing::info!(webhook = id, reason, "a webhook that was to be turned off is off, gone or elsewhere already"),
        Err(error) => tracing::error!(webhook = id, error = chain(&error), "a webhook that is to be turned off cannot be"),
    }
    webhooks.look();
}
