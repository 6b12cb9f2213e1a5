//! Deterministic simulation: the real engine, line, journal and projector under a scheduler that does one thing at a time, chosen
//! by a seed, with a fault wherever something waits.
//!
//! Nothing here is a model of the product. What runs is `Embedded` with its async functions, the journal with its batches and its
//! commit protocol (on a disk in memory that forgets what was not synced), the projector against a real SQLite file, and
//! the same start as the server's. Modelled are only what surrounds them: the disk, the clock and the crowd.
//!
//! * [`machine`]: disk, clock and ledger file, which outlive a process; and starting one.
//! * [`crowd`], [`request`], [`task`]: who asks for what, and requests as futures that are polled in any order, lost, doubled or dropped.
//! * [`world`]: the scheduler and its disasters.
//! * [`history`]: every durable record, read behind the journal's back and held to the promises. [`told`]: every answer, held to
//!   that history. `compare`: with everything at rest, engine, ledger and history are equal.
//!
//! A finding is a sentence with its seed; the same seed finds it again, step for step.

#![cfg(feature = "simulation")]

mod chances;
mod compare;
pub mod crowd;
pub mod dice;
pub mod history;
pub mod machine;
pub mod request;
pub mod tally;
pub mod task;
pub mod told;
pub mod world;

use machine::Finding;
use tally::Tally;
use world::World;

/// Runs one seed's world for so many steps.
///
/// # Errors
/// What was found, with the seed and the step.
pub fn run(seed: u64, steps: u64) -> Result<Tally, Finding> {
    let mut world = World::new(seed)?;
    match world.run(steps) {
        Ok(()) => Ok(world.tally),
        Err(finding) => Err(world.describe(&finding)),
    }
}

/// As [`run`], with the last things that happened before what was found.
///
/// # Errors
/// What was found, and the story of it.
pub fn retell(seed: u64, steps: u64) -> Result<Tally, Finding> {
    let mut world = World::new(seed)?;
    world.tell_story();
    match world.run(steps) {
        Ok(()) => Ok(world.tally),
        Err(finding) => Err(format!("{}{}", world.told_story(), world.describe(&finding))),
    }
}
