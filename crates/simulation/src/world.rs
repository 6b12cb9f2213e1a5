//! One seed's world: a machine, a process on it, a crowd, and a scheduler that does one thing at a time, of which some are
//! disasters.

mod disasters;

use crate::chances::Chances;
use crate::crowd::Crowd;
use crate::dice::Dice;
use crate::history::History;
use crate::machine::{Finding, Machine, Node, said};
use crate::request::{Answer, Request};
use crate::tally::Tally;
use crate::task::{Decided, Task};
use crate::told::{Scene, Told};
use bunho_engine::{Ack, EngineError};
use bunho_journal::simulated::Did;
use bunho_ledger::Point;
use std::fmt::Debug;
use std::task::Poll;
use std::time::Duration;

/// 2026-01-01T00:00:00Z: where every clock begins.
const START_MS: i64 = 1_767_225_600_000;
/// Requests under way at a time.
const TASKS_MAX: usize = 48;
/// Steps between two stops at which everything is brought to rest and compared.
const REST_EVERY: u64 = 6_000;
/// Lines of the story that a finding ends with.
const STORY_LINES: usize = 400;

/// One seed's world.
pub struct World {
    seed: u64,
    dice: Dice,
    chances: Chances,
    pub(crate) machine: Machine,
    pub(crate) node: Option<Node>,
    tasks: Vec<Task>,
    crowd: Crowd,
    pub(crate) history: History,
    told: Told,
    /// What has happened so far.
    pub tally: Tally,
    true_ms: i64,
    lives: u64,
    decisions: u64,
    torn_from: Option<Did>,
    closing: bool,
    ack: Ack,
    story: Option<std::collections::VecDeque<String>>,
}

impl World {
    /// The world of a seed, with its offers and zones made.
    ///
    /// # Errors
    /// It cannot even begin.
    pub fn new(seed: u64) -> Result<Self, Finding> {
        let mut dice = Dice::new(seed);
        let journal = bunho_journal::Options { batch_records_max: dice.between(1, 12) as usize, batch_bytes_max: 1 << 20 };
        let ack = if dice.one_in(8) { Ack::Ledger } else { Ack::Journal };
        let machine = Machine::new(START_MS, journal, ack)?;
        let crowd = Crowd::new(&mut dice);
        let mut world = Self {
            seed,
            chances: Chances::draw(&mut dice),
            dice,
            machine,
            node: None,
            tasks: Vec::new(),
            crowd,
            history: History::beginning(START_MS),
            told: Told::default(),
            tally: Tally::default(),
            true_ms: START_MS,
            lives: 0,
            decisions: 0,
            torn_from: None,
            closing: false,
            ack,
            story: None,
        };
        world.start()?;
        for request in world.crowd.opening(&mut world.dice) {
            world.send(request);
            world.settle()?;
        }
        Ok(world)
    }

    /// Keeps the last lines of what happens, for [`Self::told_story`].
    pub fn tell_story(&mut self) {
        self.story = Some(std::collections::VecDeque::new());
    }

    /// The last lines of what happened.
    #[must_use]
    pub fn told_story(&self) -> String {
        self.story.iter().flatten().fold(String::new(), |text, line| text + line + "\n")
    }

    /// Does so many steps, brings everything to rest and compares.
    ///
    /// # Errors
    /// What was found.
    pub fn run(&mut self, steps: u64) -> Result<(), Finding> {
        for step in 1..=steps {
            self.step()?;
            if step % REST_EVERY == 0 {
                self.rest()?;
            }
        }
        self.rest()?;
        self.crash()?;
        self.start()?;
        self.rest()?;
        self.tally.result("claims", self.history.offers.values().map(|offer| offer.claims.len() as u64).sum());
        self.tally.result("admissions", self.history.zones.values().map(|zone| zone.admitted.len() as u64).sum());
        self.tally.result("places on standby", self.history.offers.values().map(|offer| offer.places.len() as u64).sum());
        self.tally.result("events", self.history.events);
        self.tally.result("records", self.history.offset);
        self.tally.result("records back in time (known gap)", self.history.back_in_time);
        Ok(())
    }

    /// One thing happens.
    fn step(&mut self) -> Result<(), Finding> {
        if self.node.is_none() {
            self.count("start");
            return self.start();
        }
        // Between two writes of one batch a crash is worth most.
        let every = if self.torn_from == Some(Did::Wrote) { self.chances.crash.min(30) } else { self.chances.crash };
        if self.dice.one_in(every) {
            self.count("crash");
            return if self.dice.one_in(8) { self.stop() } else { self.crash() };
        }
        if self.journal_ended() && self.dice.one_in(12) {
            self.count("crash");
            return self.crash();
        }
        let projector = if self.chances.projector == 0 { 0 } else { 12 / self.chances.projector.min(8) };
        let slow = if self.ack == Ack::Ledger { 3 } else { 0 };
        match self.dice.weighted(&[30, 40, 34, projector + slow, 3, 12, 1]) {
            0 => self.ask(),
            1 => self.go_on(),
            2 => self.commit(),
            3 => self.project(),
            4 => {
                self.count("tick");
                self.send(Request::Tick);
                Ok(())
            }
            5 => {
                self.pass_time();
                Ok(())
            }
            _ => self.trim(),
        }
    }

    fn count(&mut self, what: &'static str) {
        self.tally.step(what);
        self.note(&what);
    }

    fn note(&mut self, what: &dyn Debug) {
        self.tally.trace(what);
        if let Some(story) = &mut self.story {
            story.push_back(format!("{:>7} {} {what:?}", self.true_ms - START_MS, self.history.offset));
            if story.len() > STORY_LINES {
                story.pop_front();
            }
        }
    }

    fn journal_ended(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.journal.poisoned())
    }

    /// Somebody asks for something, perhaps twice.
    fn ask(&mut self) -> Result<(), Finding> {
        self.count("request");
        if self.tasks.len() >= TASKS_MAX {
            return self.go_on();
        }
        let clock_ms = self.machine.now_ms();
        let Some(request) = self.crowd.next(&mut self.dice, self.true_ms, clock_ms, &self.history) else { return Ok(()) };
        self.note(&request);
        if self.dice.one_in(self.chances.duplicate) {
            self.tally.fault("duplicate");
            self.send(request.clone());
        }
        self.send(request);
        Ok(())
    }

    fn send(&mut self, request: Request) {
        let Some(node) = &self.node else { return };
        let nonce = self.dice.bits();
        let _timers = self.machine.timers.enter();
        self.tasks.push(Task::new(node, request, nonce));
    }

    /// A request under way goes on, mostly one that can.
    fn go_on(&mut self) -> Result<(), Finding> {
        let ready: Vec<usize> = (0..self.tasks.len()).filter(|&index| self.tasks[index].is_ready()).collect();
        let all: Vec<usize> = if ready.is_empty() || self.dice.one_in(30) { (0..self.tasks.len()).collect() } else { ready };
        let Some(&index) = self.dice.pick(&all) else {
            self.count("idle");
            return Ok(());
        };
        self.count("poll");
        if self.dice.one_in(self.chances.cancelled) {
            self.tally.fault("request cancelled");
            let task = self.tasks.swap_remove(index);
            self.crowd.misses(&task.request, self.true_ms);
            return Ok(());
        }
        if self.ack == Ack::Ledger && self.dice.one_in(400) {
            self.tally.fault("ledger too slow");
            self.machine.timers.block_on(tokio::time::advance(Duration::from_secs(6)));
        }
        self.poll(index)
    }

    fn poll(&mut self, index: usize) -> Result<(), Finding> {
        let Some(node) = &self.node else { return Ok(()) };
        let clock_ms = self.machine.now_ms();
        self.history.clock_max = self.history.clock_max.max(clock_ms);
        let task = &mut self.tasks[index];
        let first = task.decided.is_none();
        if first {
            self.crowd.is_decided(&task.request, &mut self.history);
        }
        let polled = {
            let _timers = self.machine.timers.enter();
            task.poll()
        };
        if first {
            let appended = node.journal.last();
            self.decisions += 1;
            task.decided = Some(Decided { order: self.decisions, safe: self.history.offset, appended, clock_ms });
        }
        match polled {
            Poll::Pending => Ok(()),
            Poll::Ready(answer) => {
                let task = self.tasks.swap_remove(index);
                self.answered(task, &answer)
            }
        }
    }

    fn answered(&mut self, task: Task, answer: &Answer) -> Result<(), Finding> {
        if !matches!(answer, Answer::Ticked) {
            self.note(&(&task.request, answer));
        }
        if self.dice.one_in(self.chances.answer_lost) {
            self.tally.fault("answer lost");
            self.crowd.misses(&task.request, self.true_ms);
            return Ok(());
        }
        self.tally.result(kind(answer), 1);
        let Some(circumstances) = task.decided else { return Ok(()) };
        let Some(node) = &self.node else { return Ok(()) };
        let ledger = (self.ack == Ack::Ledger).then(|| *node.ledger.projected().borrow());
        let scene = Scene { history: &self.history, circumstances, ended: self.closing || node.journal.poisoned(), ledger };
        self.told.hear(&scene, &task.request, answer)?;
        self.crowd.hear(&task.request, answer, circumstances, self.true_ms, &mut self.history)
    }

    /// The committer does one thing, or fails to.
    fn commit(&mut self) -> Result<(), Finding> {
        self.count("commit");
        let Some(node) = &mut self.node else { return Ok(()) };
        if self.dice.one_in(self.chances.write_fails) {
            self.machine.disk.fail_next_write();
        }
        if self.dice.one_in(self.chances.sync_fails) {
            self.machine.disk.fail_next_sync();
        }
        let did = node.committer.step();
        self.torn_from = Some(did);
        self.note(&did);
        match did {
            Did::Synced => self.learn(),
            Did::Failed => {
                self.tally.fault("journal failed");
                Ok(())
            }
            Did::Nothing | Did::Took | Did::Wrote | Did::Published => Ok(()),
        }
    }

    /// Reads what has become safe.
    fn learn(&mut self) -> Result<(), Finding> {
        let records = self.machine.disk.safe_records(self.history.offset).map_err(said("read the disk"))?;
        for (offset, record) in &records {
            self.history.feed(*offset, record)?;
        }
        Ok(())
    }

    /// The projector does one batch, or fails to.
    fn project(&mut self) -> Result<(), Finding> {
        self.count("project");
        let Some(node) = &mut self.node else { return Ok(()) };
        let points = [Point::Begin, Point::Apply, Point::Commit, Point::Publish];
        let point = if self.dice.one_in(self.chances.projector_fails) { self.dice.pick(&points).copied() } else { None };
        let outcome = self.machine.runtime.block_on(node.projector.step(point));
        match (outcome, point) {
            (Ok(_), _) => Ok(()),
            (Err(_), Some(point)) => {
                self.tally.fault(match point {
                    Point::Begin => "projector: begin failed",
                    Point::Apply => "projector: rows failed",
                    Point::Commit => "projector: commit unknown",
                    Point::Publish => "projector: died unheard",
                });
                // Between commit and telling nothing can fail but the process.
                if point == Point::Publish || self.dice.one_in(3) { self.crash() } else { Ok(()) }
            }
            (Err(error), None) => Err(said("project")(error)),
        }
    }

    fn trim(&mut self) -> Result<(), Finding> {
        self.count("trim");
        if let Some(node) = &mut self.node {
            self.machine.runtime.block_on(node.projector.trim());
        }
        Ok(())
    }

    /// Lets every request under way end and everything be written, without faults.
    fn settle(&mut self) -> Result<(), Finding> {
        for _ in 0..100_000 {
            let Some(node) = &mut self.node else { return Ok(()) };
            let did = node.committer.step();
            match did {
                Did::Synced => self.learn()?,
                Did::Failed => return self.revive(),
                Did::Nothing if self.tasks.is_empty() => return Ok(()),
                _ => {}
            }
            if self.ack == Ack::Ledger && did == Did::Nothing {
                let Some(node) = &mut self.node else { return Ok(()) };
                self.machine.runtime.block_on(node.projector.step(None)).map_err(said("project"))?;
            }
            let ready = (0..self.tasks.len()).find(|&index| self.tasks[index].is_ready());
            if let Some(index) = ready {
                self.poll(index)?;
            }
        }
        let waits = self.tasks.first().map(|task| format!("{:?}", task.request));
        Err(format!("requests wait for ever: {waits:?}"))
    }

    fn revive(&mut self) -> Result<(), Finding> {
        self.crash()?;
        self.start()
    }

    /// Brings everything to rest: nothing under way, the ledger up to date; and compares all there is.
    fn rest(&mut self) -> Result<(), Finding> {
        self.count("rest");
        if self.node.is_none() || self.journal_ended() {
            self.revive()?;
        }
        self.settle()?;
        // Two rounds of the ticker: what is due is decided and recorded.
        for _ in 0..2 {
            self.send(Request::Tick);
            self.settle()?;
        }
        self.compare()
    }

    /// A name for a finding of this world.
    #[must_use]
    pub fn describe(&self, finding: &str) -> String {
        format!("seed {}, step {}, life {}: {finding}", self.seed, self.tally.total(), self.lives)
    }
}

fn kind(answer: &Answer) -> &'static str {
    match answer {
        Answer::Taken(Ok(Ok(taken))) if taken.replayed => "claims answered again",
        Answer::Taken(Ok(Ok(_))) => "claims answered",
        Answer::Taken(Ok(Err(_))) => "claims refused",
        Answer::Changed(Ok(Ok(_))) => "changes answered",
        Answer::Changed(Ok(Err(_))) => "changes refused",
        Answer::Place(Ok(_)) => "standby answered",
        Answer::Offer(_) => "stocks shown",
        Answer::Entry(entry) => match &**entry {
            Ok(entry) if matches!(entry.answer, bunho_domain::line::Answer::Admitted(_)) => "passes answered",
            Ok(_) => "places in line shown",
            Err(EngineError::TicketGone) => "tickets gone",
            Err(EngineError::TooFast { .. }) => "polls too fast",
            Err(_) => "other failures",
        },
        Answer::Ticked => "ticks",
        Answer::Done(Ok(_)) | Answer::Defined(Ok(_)) | Answer::Left(Ok(())) | Answer::Zone(Ok(())) => "edits and leaves",
        _ => "other failures",
    }
}
