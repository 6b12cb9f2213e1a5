//! Work that many want at once and that is done once for all of them.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;

/// Whoever asks gets the outcome of a round that began after it asked: what it sees is never older than its question.
#[derive(Default)]
pub(super) struct Rounds {
    begun: AtomicU64,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    round: u64,
    /// Why it failed, if it did.
    failure: Option<String>,
}

/// The round failed, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Failed(String);

impl Rounds {
    /// Does the work, unless a round does that began after this call.
    ///
    /// # Errors
    /// The round failed; all that waited for it learn so, and nobody tries again in their stead.
    pub(super) async fn after_now<E: Display>(&self, work: impl Future<Output = Result<(), E>>) -> Result<(), Failed> {
        let asked = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if last.round <= asked {
            let round = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            // Who is given up here leaves the round to the next in line.
            let failure = work.await.err().map(|error| error.to_string());
            *last = Last { round, failure };
        }
        last.failure.clone().map_or(Ok(()), |failure| Err(Failed(failure)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test]
    async fn many_share_a_round_and_none_gets_one_that_began_before_it_asked() {
        let (rounds, count) = (Arc::new(Rounds::default()), Arc::new(AtomicU64::new(0)));
        let ask = || {
            let (rounds, count) = (rounds.clone(), count.clone());
            tokio::spawn(async move {
                rounds
                    .after_now(async {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        count.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, Infallible>(())
                    })
                    .await
            })
        };
        let first = ask();
        while rounds.begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // All of these ask while the first round is under way, so one more round is for all of them.
        let others: Vec<_> = (0..100).map(|_| ask()).collect();
        first.await.expect("a task").expect("a round");
        for other in others {
            other.await.expect("a task").expect("a round");
        }
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn whoever_gives_up_leaves_the_work_to_the_next() {
        let rounds = Rounds::default();
        let endless = rounds.after_now(std::future::pending::<Result<(), Infallible>>());
        let work = async { Ok::<_, Infallible>(()) };
        let (gone, done) = tokio::join!(tokio::time::timeout(Duration::from_millis(20), endless), rounds.after_now(work));
        assert!(gone.is_err());
        done.expect("a round of its own");
    }

    #[tokio::test]
    async fn a_failure_is_everybodys() {
        let rounds = Rounds::default();
        let failed = rounds.after_now(async { Err("no answer") }).await;
        assert_eq!(failed.expect_err("a failure").to_string(), "no answer");
        rounds.after_now(async { Ok::<_, Infallible>(()) }).await.expect("the next one is well");
    }
}
