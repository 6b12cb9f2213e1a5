//! The driver: one thread that plays everybody over a fixed set of shared connections.
//!
//! A user is a number. When its timer goes off its call is *due* and goes into a queue; when a connection is free, the call at the front is
//! written to it. How long an answer took is counted from when the call was due, so that a server that stalls, and thereby
//! keeps calls from being sent, is charged with all of them (coordinated omission); the time from sending is kept beside it.
//!
//! Each turn of the loop: begin whom the plan wants, move whoever is due to the queue, send while connections are free, and
//! sleep until something comes or is due. Nothing on the way of a call allocates.

pub mod connection;
pub mod response;
pub mod timers;
mod wires;
mod world;

use crate::meter::{Meter, Times};
use crate::plan::Model;
use crate::record::{End, Second};
use crate::workload::Crowd;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use wires::Wires;
use world::World;

/// After the last stage, calls under way get this long.
const DRAIN_US: u64 = 10_000_000;
/// After Ctrl-C, this.
const DRAIN_INTERRUPTED_US: u64 = 5_000_000;
/// A target that takes no connection for so long is gone.
const GONE_US: u64 = 15_000_000;
/// Longest sleep: Ctrl-C and stages are looked at this often.
const SLEEP_US_MAX: u64 = 10_000;
const SECOND_US: u64 = 1_000_000;

/// How to drive.
#[derive(Clone, Debug)]
pub struct Drive {
    /// Whom.
    pub address: SocketAddr,
    /// Shared connections.
    pub connections: usize,
    /// Calls under way on one of them at most.
    pub pipeline: usize,
    /// How much, when.
    pub model: Model,
    /// Between a user's end and its next beginning, in the closed model.
    pub think_us: u64,
    /// After the last stage, those who have begun get this long to come to their end. 0: only calls under way are awaited.
    pub finish_us: u64,
}

/// A second is over; who is told looks at it and at everything so far.
pub type EachSecond<'a> = &'a mut dyn FnMut(&Second, &Meter);

/// What a run left behind.
pub struct Driven {
    /// The crowd, with what it remembers.
    pub crowd: Crowd,
    /// The counts.
    pub meter: Meter,
    /// Why it ended.
    pub end: End,
    /// How long it took.
    pub elapsed_ms: u64,
}

/// Plays a crowd until its plan ends, or `stop` is set.
///
/// # Errors
/// The connections could not be opened to begin with, or the poller failed.
pub fn drive(drive: &Drive, crowd: Crowd, clock: Instant, stop: &AtomicBool, each_second: EachSecond<'_>) -> io::Result<Driven> {
    let mut wires = Wires::open(drive)?;
    let mut world = World::new(drive, crowd);
    let mut run = Run { phase: Phase::Running, next_second_us: now_us(clock) + SECOND_US };
    let begin_us = now_us(clock);
    let end = loop {
        let now = now_us(clock);
        if let Some(end) = run.step(now - begin_us, now, stop, &mut world, &mut wires) {
            break end;
        }
        while now >= run.next_second_us {
            run.next_second_us += SECOND_US;
            let second = world.meter.end_second();
            each_second(&second, &world.meter);
            wires.expire(now, &mut world);
        }
        wires.dispatch(clock, &mut world);
        let until = world.next_us(now, begin_us, now + SLEEP_US_MAX).min(run.next_second_us);
        wires.wait(clock, until)?;
        wires.receive(clock, &mut world);
    };
    let now = now_us(clock);
    wires.abandon(now, &mut world);
    world.abandon_queue(now, end == End::Interrupted);
    let second = world.meter.end_second();
    each_second(&second, &world.meter);
    Ok(Driven { crowd: world.crowd, meter: world.meter, end, elapsed_ms: (now - begin_us) / 1_000 })
}

/// Microseconds since the run's clock began.
fn now_us(clock: Instant) -> u64 {
    u64::try_from(clock.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// The plan is over: nobody begins; until then those who have begun go on.
    Finishing {
        until_us: u64,
    },
    /// Only calls under way are awaited.
    Draining {
        until_us: u64,
        interrupted: bool,
    },
}

struct Run {
    phase: Phase,
    next_second_us: u64,
}

impl Run {
    /// What the plan and the outside want now. Some: the run is over.
    fn step(&mut self, into_us: u64, now: u64, stop: &AtomicBool, world: &mut World, wires: &mut Wires) -> Option<End> {
        if stop.load(Ordering::Relaxed) && !matches!(self.phase, Phase::Draining { interrupted: true, .. }) {
            (world.closing, world.ending) = (true, true);
            world.forget_queue();
            self.phase = Phase::Draining { until_us: now + DRAIN_INTERRUPTED_US, interrupted: true };
        }
        if wires.unreachable_us(now) > GONE_US {
            return Some(End::GaveUp(format!("no connection could be opened for {} s", GONE_US / SECOND_US)));
        }
        match self.phase {
            Phase::Running => {
                world.begin_wanted(into_us, now);
                if into_us >= world.ends_us() || world.all_done() {
                    world.closing = true;
                    self.phase = Phase::Finishing { until_us: now + world.finish_us() };
                }
                world.fire(now);
                None
            }
            Phase::Finishing { until_us } => {
                if now < until_us && world.playing() > 0 {
                    world.fire(now);
                    return None;
                }
                world.ending = true;
                self.phase = Phase::Draining { until_us: now + DRAIN_US, interrupted: false };
                None
            }
            Phase::Draining { until_us, interrupted } => {
                let drained = wires.flights() == 0 && world.queue_is_empty();
                (drained || now >= until_us).then_some(if interrupted { End::Interrupted } else { End::Planned })
            }
        }
    }
}

/// Opens a connection the blocking way, before a run.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// A call that will not be answered.
fn times(due_us: u64, sent_us: u64, now_us: u64) -> Times {
    Times { due_us, sent_us, answered_us: now_us }
}

#[cfg(test)]
mod tests;
