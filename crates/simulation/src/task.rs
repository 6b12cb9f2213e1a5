//! Requests under way, polled in whatever order the scheduler likes.

use crate::machine::Node;
use crate::request::{Answer, Request, UnderWay, send};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// One request under way.
pub struct Task {
    /// What was asked.
    pub request: Request,
    future: UnderWay,
    woken: Arc<Woken>,
    waker: Waker,
    /// When and on what it was decided; none before it was polled first.
    pub decided: Option<Decided>,
}

/// The circumstances in which a request was decided: the scheduler's view of them, not the engine's.
#[derive(Clone, Copy, Debug)]
pub struct Decided {
    /// Counts decisions: answers may arrive in another order.
    pub order: u64,
    /// Last record that was safe on the disk.
    pub safe: u64,
    /// Last record that had been appended, once it was decided.
    pub appended: u64,
    /// The system's clock.
    pub clock_ms: i64,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Task {
    /// Sends a request to a process.
    #[must_use]
    pub fn new(node: &Node, request: Request, nonce: u64) -> Self {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        Self { future: send(node, request.clone(), nonce), request, waker: Waker::from(woken.clone()), woken, decided: None }
    }

    /// Whether polling it may do something.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.woken.0.load(Ordering::Relaxed)
    }

    /// Lets it go on until it waits again.
    pub fn poll(&mut self) -> Poll<Answer> {
        self.woken.0.store(false, Ordering::Relaxed);
        self.future.as_mut().poll(&mut Context::from_waker(&self.waker))
    }
}
