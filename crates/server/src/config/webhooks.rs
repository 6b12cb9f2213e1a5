//! `[webhooks]`, checked.

use super::{Network, Refused, WebhookSettings, in_range, networks};
use std::path::PathBuf;
use std::time::Duration;

/// How others are told of what happens.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// Whether addresses may begin with `http://`.
    pub allow_http: bool,
    /// Private networks that messages may go to all the same.
    pub allow_private: Vec<Network>,
    /// Certificates that sign those of receivers, beside Mozilla's.
    pub ca_file: Option<PathBuf>,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// Attempts under way to one webhook.
    pub concurrency: usize,
    /// Before each further attempt; after the last a message is given up.
    pub retries: Vec<Duration>,
    /// Webhooks in all.
    pub webhooks_max: usize,
    /// Messages that may wait for one webhook before it is turned off.
    pub pending_max: u64,
    /// Messages of one webhook that are kept after they were given up.
    pub dead_max: u64,
}

/// More would be a week of attempts at the least.
const RETRIES_MAX: usize = 30;
const RETRY_SECONDS_MAX: u32 = 7 * 24 * 3_600;

impl WebhookSettings {
    /// Checks all of it that can be checked without touching the outside.
    pub(super) fn check(self) -> Result<WebhookConfig, Refused> {
        if self.retry_seconds.len() > RETRIES_MAX || self.retry_seconds.iter().any(|seconds| !(1..=RETRY_SECONDS_MAX).contains(seconds)) {
            return Err(Refused::new(
                "webhooks.retry_seconds",
                format!("is {:?}", self.retry_seconds),
                format!("use at most {RETRIES_MAX} numbers from 1 to {RETRY_SECONDS_MAX}"),
            ));
        }
        Ok(WebhookConfig {
            allow_http: self.allow_http,
            allow_private: networks("webhooks.allow_private", &self.allow_private)?,
            ca_file: self.ca_file,
            // An operator's test is answered within the request's own time.
            timeout: Duration::from_millis(in_range("webhooks.timeout_ms", self.timeout_ms, 100, 60_000)?),
            concurrency: in_range("webhooks.concurrency", self.concurrency as u64, 1, 256)? as usize,
            retries: self.retry_seconds.iter().map(|seconds| Duration::from_secs((*seconds).into())).collect(),
            webhooks_max: in_range("webhooks.webhooks_max", self.webhooks_max as u64, 0, 1_000)? as usize,
            pending_max: in_range("webhooks.pending_max", self.pending_max, 1_000, 100_000_000)?,
            dead_max: in_range("webhooks.dead_max", self.dead_max, 100, 1_000_000)?,
        })
    }
}
