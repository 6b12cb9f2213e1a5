//! Telling others by HTTP of what happens, at least once: `docs/webhooks.md`.
//!
//! ```text
//! projector ── rows and messages, one transaction ──▶ ledger ──▶ worker (one a webhook, on one node) ──▶ receiver
//!                                                       ▲            │ signed POST; 2xx: forgotten
//!                                                       └────────────┘ else: later, and in the end given up, for people to see
//! ```
//!
//! Nothing here is on anybody's way: messages are written by the projector, which follows the journal, and only while a webhook is there that
//! wants them. A message is forgotten after its answer, so a death at any line sends it again and loses nothing. Each webhook has a worker of
//! its own with bounded attempts under way, so one that hangs keeps no other waiting.
//!
//! On a cluster one node delivers to each webhook (`share`); which one is politeness, and two that both think so send some messages twice.

mod address;
mod policy;
mod send;
mod share;
mod sign;
mod work;

use crate::config::{Config, Shape, WebhookConfig};
use crate::exit::Failure;
use axum::body::Bytes;
use bunho_ledger::{Ledger, Outcome, Timestamp, WebhookRow};
use parking_lot::Mutex;
use send::{Lines, Message, Sender, now};
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, watch};

pub(crate) use send::Answer;
pub(crate) use sign::new_secret;

/// What sends messages, and what it knows of how that goes.
pub struct Webhooks {
    ledger: Ledger,
    config: WebhookConfig,
    sender: Sender,
    /// No other process delivers.
    alone: bool,
    /// This process, among those that may deliver.
    holder: String,
    /// For each webhook, messages that wait and that were given up; a few seconds old.
    counts: Mutex<HashMap<String, Counts>>,
    delivered: AtomicU64,
    failed: AtomicU64,
    dead: AtomicU64,
    /// Somebody changed something.
    look: Notify,
    /// The webhook that somebody wants something sent to at once.
    hurry: watch::Sender<String>,
}

/// Messages of one webhook.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) pending: u64,
    pub(crate) dead: u64,
}

/// Bytes of a process's name among those that deliver.
const HOLDER_BYTES: usize = 16;

impl Webhooks {
    /// # Errors
    /// A setting of `[webhooks]` cannot be used.
    pub fn new(config: &Config, ledger: Ledger) -> Result<Self, Failure> {
        let mut name = [0; HOLDER_BYTES];
        getrandom::fill(&mut name).map_err(|error| Failure::internal(format_args!("the system gives no randomness: {error}")))?;
        Ok(Self {
            ledger,
            sender: Sender::new(&config.webhooks)?,
            config: config.webhooks.clone(),
            alone: matches!(config.shape, Shape::Embedded),
            holder: name.iter().map(|byte| format!("{byte:02x}")).collect(),
            counts: Mutex::default(),
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            look: Notify::new(),
            hurry: watch::channel(String::new()).0,
        })
    }

    /// Whether messages may go to an address, as far as it can be told now.
    ///
    /// # Errors
    /// What it must be.
    pub(crate) async fn check(&self, url: &str) -> Result<(), String> {
        self.sender.check(url).await
    }

    /// As [`Self::check`], without resolving a name.
    ///
    /// # Errors
    /// What it must be.
    pub(crate) fn check_form(&self, url: &str) -> Result<(), String> {
        address::Target::parse(url, &self.config).map(drop)
    }

    /// Sends a message that tells of nothing, once.
    pub(crate) async fn test(&self, row: &WebhookRow, dice: u64) -> Answer {
        let id = format!("test-{dice:016x}");
        let event = json!({
            "specversion": "1.0",
            "id": id,
            "source": "/admin/api/webhooks",
            "type": "io.bunho.test",
            "subject": row.id,
            "time": Timestamp::new(now()).as_str(),
            "datacontenttype": "application/json",
            "data": {"webhook": row.id, "name": row.name},
        });
        self.sender.send(&row.url, &message(row, &id, event.to_string()), &Lines::default()).await
    }

    /// Looks at once for what has changed.
    pub(crate) fn look(&self) {
        self.look.notify_one();
    }

    /// Ends the pause of a webhook that has failed: somebody knows better. Where another node delivers to it, its pause ends by itself.
    pub(crate) fn hurry(&self, webhook: &str) {
        self.hurry.send_replace(webhook.to_owned());
    }

    /// Messages of a webhook, as they were counted last.
    pub(crate) fn counts(&self, webhook: &str) -> Counts {
        self.counts.lock().get(webhook).copied().unwrap_or_default()
    }

    /// Messages of all.
    pub(crate) fn totals(&self) -> Counts {
        let add = |sum: Counts, one: &Counts| Counts { pending: sum.pending + one.pending, dead: sum.dead + one.dead };
        self.counts.lock().values().fold(Counts::default(), add)
    }

    /// Attempts of this node, by what came of them.
    pub(crate) fn outcomes(&self) -> [(&'static str, u64); 3] {
        [("delivered", &self.delivered), ("failed", &self.failed), ("dead", &self.dead)]
            .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Delivered => &self.delivered,
            Outcome::Again(_) => &self.failed,
            Outcome::Dead => &self.dead,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A message as `row` gets it now.
fn message(row: &WebhookRow, event: &str, body: String) -> Message {
    let now = now();
    // What is signed has dots between its parts.
    let id = event.replace('.', "_");
    let timestamp = now.0.div_euclid(1_000);
    let previous = row.previous_secret.as_deref().filter(|_| row.previous_until.is_some_and(|until| now < until));
    let signatures = sign::signatures([Some(&*row.secret), previous].into_iter().flatten(), &id, timestamp, &body);
    Message { id, timestamp, signatures, body: Bytes::from(body) }
}
