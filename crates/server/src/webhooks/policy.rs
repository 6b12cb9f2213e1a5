//! What becomes of a message after an attempt, and how fast a webhook that fails is asked again.
//!
//! Each message has its own attempts, ever further apart. Beside that a webhook that fails on end is asked one message at a time, so that one
//! that is down meets a knock now and then and not a crowd, and one that hangs holds no more than one connection.

use super::send::Answer;
use crate::config::WebhookConfig;
use bunho_domain::time::Millis;
use bunho_ledger::Outcome;
use std::time::{Duration, Instant};

/// The receiver is gone for good, as it says itself.
const GONE: u16 = 410;
/// So many failures in a row, and messages are sent one at a time.
const FAILURES_CALM: i64 = 5;
/// Pause after the first failure of those; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Attempts are put off by up to a fifth more or less, so that those of many messages do not come together.
const JITTER_PER_CENT: u64 = 20;

/// What becomes of a message after its attempt number `attempts`. `dice` is any number.
pub(crate) fn outcome(config: &WebhookConfig, attempts: u32, answer: &Answer, now: Millis, dice: u64) -> Outcome {
    if answer.error.is_none() {
        return Outcome::Delivered;
    }
    let Some(pause) = config.retries.get(attempts as usize - 1).filter(|_| !is_gone(answer)) else {
        // A receiver that is gone is turned off; its messages wait for whoever turns it on again.
        return if is_gone(answer) { Outcome::Again(now) } else { Outcome::Dead };
    };
    let per_cent = 100 - JITTER_PER_CENT + dice % (2 * JITTER_PER_CENT + 1);
    let pause = pause.mul_f64(per_cent as f64 / 100.0).max(answer.retry_after.unwrap_or_default());
    Outcome::Again(now.plus_ms(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX / 2)))
}

/// The furthest that an attempt is ever put off.
pub(crate) fn longest_pause(config: &WebhookConfig) -> Duration {
    let longest = config.retries.iter().max().copied().unwrap_or_default();
    (longest * 2).max(Duration::from_secs(2 * 24 * 3_600))
}

/// Whether a webhook wants nothing more.
pub(crate) fn is_gone(answer: &Answer) -> bool {
    answer.status == Some(GONE)
}

/// How fast one webhook is asked.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    failures: i64,
    resume: Option<Instant>,
}

impl Pace {
    pub(crate) fn of(failures: i64) -> Self {
        Self { failures, resume: None }
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> i64 {
        self.failures
    }

    /// How many attempts may be under way at `now`.
    pub(crate) fn allowed(&self, concurrency: usize, now: Instant) -> usize {
        match self.resume {
            Some(resume) if now < resume => 0,
            _ if self.failures >= FAILURES_CALM => 1,
            _ => concurrency,
        }
    }

    /// When more may be sent; none: now.
    pub(crate) fn resume(&self) -> Option<Instant> {
        self.resume
    }

    /// Enters what an attempt has shown.
    pub(crate) fn note(&mut self, answer: &Answer, now: Instant) {
        if answer.error.is_none() {
            *self = Self::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let over = self.failures - FAILURES_CALM;
        let calm = (over >= 0).then(|| (PAUSE_MIN * 2_u32.saturating_pow(over.min(16) as u32)).min(PAUSE_MAX));
        let pause = calm.max(answer.retry_after.map(|asked| asked.min(PAUSE_MAX)));
        self.resume = pause.map(|pause| now + pause).max(self.resume);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn config() -> WebhookConfig {
        Settings::default().check().expect("settings").webhooks
    }

    fn answer(status: u16, retry_after: Option<u64>) -> Answer {
        let error = (status >= 300).then(|| format!("answered {status}"));
        Answer { status: Some(status), error, retry_after: retry_after.map(Duration::from_secs) }
    }

    #[test]
    fn a_message_is_tried_ever_later_and_then_given_up() {
        let now = Millis(1_000_000);
        for (attempts, status, retry_after, expected) in [
            (1, 200, None, None),
            (1, 204, None, None),
            (1, 500, None, Some(Some(5))),
            (2, 500, None, Some(Some(300))),
            (9, 302, None, Some(Some(86_400))),
            (10, 404, None, Some(None)),
            (1, 429, Some(120), Some(Some(120))),
            (2, 503, Some(120), Some(Some(300))),
            (3, 410, None, Some(Some(0))),
            (10, 410, None, Some(Some(0))),
        ] {
            for dice in [0, 20, 40, 41, u64::MAX] {
                let found = outcome(&config(), attempts, &answer(status, retry_after), now, dice);
                match expected {
                    None => assert_eq!(found, Outcome::Delivered),
                    Some(None) => assert_eq!(found, Outcome::Dead),
                    Some(Some(seconds)) => {
                        let Outcome::Again(at) = found else { panic!("{attempts} {status}: {found:?}") };
                        let (pause, middle) = (at.0 - now.0, seconds * 1_000);
                        assert!((middle * 8 / 10..=middle * 12 / 10).contains(&pause), "{attempts} {status}: {pause}");
                    }
                }
            }
        }
    }

    #[test]
    fn who_fails_on_end_is_asked_one_at_a_time_until_one_is_taken() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        for _ in 0..4 {
            pace.note(&answer(500, None), start);
            assert_eq!(pace.allowed(8, start), 8);
        }
        pace.note(&answer(500, None), start);
        assert_eq!((pace.allowed(8, start), pace.allowed(8, start + PAUSE_MIN)), (0, 1));
        for _ in 0..1_000 {
            pace.note(&answer(500, None), start);
        }
        assert_eq!((pace.failures(), pace.resume()), (1_005, Some(start + PAUSE_MAX)));
        pace.note(&answer(200, None), start);
        assert_eq!((pace.allowed(8, start), pace.failures()), (8, 0));
        pace.note(&answer(429, Some(7)), start);
        assert_eq!((pace.allowed(8, start), pace.allowed(8, start + Duration::from_secs(7))), (0, 8), "who asks for a pause gets it");
        pace.note(&answer(429, Some(100_000)), start);
        assert_eq!(
            pace.resume(),
            Some(start + PAUSE_MAX),
            "the webhook's own pause is bounded; the message waits as long as it was asked to"
        );
    }
}
