//! Tells a connection that waits for its next request from one that holds half a request back.
//!
//! hyper has a timer for a request's head, but it also runs while a kept-alive connection is merely idle, and it is set
//! and dropped with every request. Clients of a line poll every 3 to 20 seconds on one connection; closing it after 5
//! would cost them a new one each time. So bytes are counted as they pass, and one timer per connection looks at the
//! count a few times per limit.
//!
//! The same look tells which connections are of least use, for when there are too many.

use super::stream::HELD_BYTES_MAX;
use http_body::{Body, Frame, SizeHint};
use hyper::body::{Bytes, Incoming};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Looks per limit: a head is cut off at most a fifth late.
const LOOKS: u32 = 5;
/// A kept-alive connection without any traffic is closed after this: longer than the longest poll interval (60 s).
const IDLE: Duration = Duration::from_secs(75);

/// What passes over a connection.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    read: AtomicU64,
    written: AtomicU64,
    /// Bytes came since the last request began.
    fresh: AtomicBool,
    /// Requests under way.
    calls: AtomicU32,
    /// Requests ever.
    begun: AtomicU64,
    /// Bytes that had been read when the last request was answered.
    read_at_answer: AtomicU64,
    /// The request under way waits for the rest of its body.
    awaits_body: AtomicBool,
    /// Half a request has been under way for several looks.
    half: AtomicBool,
    /// [`NEWCOMERS`] when it was last of use: made, asked or answered.
    used_at: AtomicU64,
    /// The request under way lets others go first and has not begun its work.
    lets_pass: AtomicBool,
    /// The last answer is small and whole: nothing more of it will come.
    is_whole: AtomicBool,
    /// It was told to end.
    closes: AtomicBool,
}

/// Connections ever made: a clock that moves only when somebody needs a place, and costs a request no more than two loads.
static NEWCOMERS: AtomicU64 = AtomicU64::new(0);
/// Half a request weighs more than any idleness: people who poll are idle most of the time, and nobody's head takes seconds.
const HALF: u64 = 1 << 48;
/// Looks after which half a request is not merely one that is on its way.
const HALF_LOOKS: u32 = 2;

/// A request under way.
pub(super) struct Call {
    pulse: Arc<Pulse>,
    /// It lay in the buffer behind another one.
    is_pipelined: bool,
}

impl Pulse {
    /// A connection is made.
    pub(super) fn of_a_newcomer() -> Arc<Self> {
        let pulse = Self::default();
        pulse.used_at.store(NEWCOMERS.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Arc::new(pulse)
    }

    /// A request's head is complete.
    pub(super) fn begin(self: &Arc<Self>) -> Call {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.used();
        let is_pipelined = !self.fresh.swap(false, Ordering::Relaxed);
        self.lets_pass.store(is_pipelined, Ordering::Relaxed);
        Call { pulse: self.clone(), is_pipelined }
    }

    /// Bytes came.
    pub(super) fn came(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        self.fresh.store(true, Ordering::Relaxed);
    }

    /// Bytes went.
    pub(super) fn went(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// What is to be sent need not leave before the connection is read again: it is whole, and nobody is working on the next.
    pub(super) fn can_hold(&self) -> bool {
        let works = self.calls.load(Ordering::Relaxed) > 0 && !self.lets_pass();
        !works && self.is_whole.load(Ordering::Relaxed)
    }

    /// The request under way is about to begin its work.
    pub(super) fn lets_pass(&self) -> bool {
        self.lets_pass.load(Ordering::Relaxed)
    }

    fn used(&self) {
        self.used_at.store(NEWCOMERS.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// How little would be lost with this connection; none: a request is under way, or it ends already.
    pub(super) fn uselessness(&self) -> Option<u64> {
        let half = self.half.load(Ordering::Relaxed);
        let busy = self.calls.load(Ordering::Relaxed) > 0 && !self.awaits_body.load(Ordering::Relaxed);
        if busy || self.closes.load(Ordering::Relaxed) {
            return None;
        }
        let unused = NEWCOMERS.load(Ordering::Relaxed).saturating_sub(self.used_at.load(Ordering::Relaxed));
        Some(if half { HALF + unused } else { unused })
    }

    /// It is about to end.
    pub(super) fn closing(&self) {
        self.closes.store(true, Ordering::Relaxed);
    }
}

impl Call {
    /// Questions in one breath are answered in as many turns: else a thousand connections with sixteen questions each would all
    /// be served before somebody's one.
    pub(super) async fn let_others_pass(&self) {
        if self.is_pipelined {
            tokio::task::yield_now().await;
            self.pulse.lets_pass.store(false, Ordering::Relaxed);
        }
    }

    /// The answer is there, with a body of so many bytes; none: it comes bit by bit.
    pub(super) fn answered(self, bytes: Option<u64>) {
        self.pulse.is_whole.store(bytes.is_some_and(|bytes| bytes <= HELD_BYTES_MAX as u64), Ordering::Relaxed);
    }
}

/// A request's body that says when it is waited for.
pub(super) struct Awaited {
    body: Incoming,
    pulse: Arc<Pulse>,
}

impl Awaited {
    pub(super) const fn new(body: Incoming, pulse: Arc<Pulse>) -> Self {
        Self { body, pulse }
    }
}

impl Body for Awaited {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.pulse.awaits_body.store(polled.is_pending(), Ordering::Relaxed);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.pulse.awaits_body.store(false, Ordering::Relaxed);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.pulse.read_at_answer.store(self.pulse.read.load(Ordering::Relaxed), Ordering::Relaxed);
        self.pulse.calls.fetch_sub(1, Ordering::Relaxed);
        self.pulse.used();
    }
}

/// What the watch thinks of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Fine,
    /// Nothing has passed for long: end it between requests.
    Idle,
    /// A head is under way for too long, or an answer is that nobody reads: cut it off.
    Stuck,
}

/// Counts at one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    read: u64,
    written: u64,
    begun: u64,
}

/// Looks at a connection now and then.
pub(super) struct Watch<'a> {
    pulse: &'a Pulse,
    ticks: Interval,
    limit: Duration,
    look: Duration,
    seen: Seen,
    quiet: Duration,
    partial: Duration,
    /// Looks in a row that saw half a request.
    halves: u32,
}

impl<'a> Watch<'a> {
    pub(super) fn new(pulse: &'a Pulse, limit: Duration) -> Self {
        let look = (limit / LOOKS).max(Duration::from_millis(1));
        let mut ticks = interval(look);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        Self { pulse, ticks, limit, look, seen: Seen::default(), quiet: Duration::ZERO, partial: Duration::ZERO, halves: 0 }
    }

    /// The next look's verdict.
    pub(super) async fn next(&mut self) -> Verdict {
        self.ticks.tick().await;
        self.look()
    }

    fn look(&mut self) -> Verdict {
        let pulse = self.pulse;
        let seen = Seen {
            read: pulse.read.load(Ordering::Relaxed),
            written: pulse.written.load(Ordering::Relaxed),
            begun: pulse.begun.load(Ordering::Relaxed),
        };
        let busy = pulse.calls.load(Ordering::Relaxed) > 0;
        let answered = pulse.read_at_answer.load(Ordering::Relaxed);
        // Before the first request even silence is a head that does not come.
        let partial = !busy && (seen.begun == 0 || seen.read != answered) && seen.begun == self.seen.begun;
        self.quiet = if busy || seen != self.seen { Duration::ZERO } else { self.quiet + self.look };
        self.partial = if partial { self.partial + self.look } else { Duration::ZERO };
        self.halves = if partial || pulse.awaits_body.load(Ordering::Relaxed) { self.halves.saturating_add(1) } else { 0 };
        pulse.half.store(self.halves >= HALF_LOOKS, Ordering::Relaxed);
        self.seen = seen;
        // One that is idle ends as soon as it is told to. One that does not is full of an answer that its client does not read.
        if self.partial >= self.limit || self.quiet >= IDLE + self.limit {
            Verdict::Stuck
        } else if self.quiet >= IDLE {
            Verdict::Idle
        } else {
            Verdict::Fine
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// The verdicts of so many looks, the last one only.
    fn looks(watch: &mut Watch<'_>, count: u32) -> Verdict {
        (0..count).map(|_| watch.look()).last().expect("a look")
    }

    #[tokio::test]
    async fn half_a_head_is_not_an_idle_connection() {
        let pulse = Arc::new(Pulse::default());
        let mut watch = Watch::new(&pulse, LIMIT);
        assert_eq!(looks(&mut watch, LOOKS - 1), Verdict::Fine);
        assert_eq!(watch.look(), Verdict::Stuck, "nothing was ever sent");

        let mut watch = Watch::new(&pulse, LIMIT);
        pulse.read.store(100, Ordering::Relaxed);
        let call = pulse.begin();
        assert_eq!(looks(&mut watch, 1_000), Verdict::Fine, "a request may take its time");
        drop(call);
        assert_eq!(looks(&mut watch, LOOKS * 10), Verdict::Fine, "between requests one may be silent");
        assert_eq!(looks(&mut watch, LOOKS * 5), Verdict::Idle, "but not for ever");
        assert_eq!(looks(&mut watch, LOOKS), Verdict::Stuck, "and not when it cannot end because nobody reads");

        pulse.read.store(101, Ordering::Relaxed);
        assert_eq!(looks(&mut watch, LOOKS - 1), Verdict::Fine);
        pulse.read.store(102, Ordering::Relaxed);
        assert_eq!(watch.look(), Verdict::Stuck, "a head drop by drop");
    }

    #[tokio::test]
    async fn a_stream_lives_by_what_is_written() {
        let pulse = Arc::new(Pulse::default());
        let mut watch = Watch::new(&pulse, LIMIT);
        pulse.read.store(100, Ordering::Relaxed);
        drop(pulse.begin());
        for written in 0..100 {
            pulse.written.store(written, Ordering::Relaxed);
            assert_eq!(looks(&mut watch, LOOKS), Verdict::Fine);
        }
    }
}
