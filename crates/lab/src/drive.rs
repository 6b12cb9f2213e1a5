//! The driver: a crowd of users who send their attempts to a worker, so many at a time, and believe what they read.

use crate::cell::Plan;
use crate::job::{Answer, Job, Line, Trips};
use crate::node::Node;
use crate::services::Services;
use crate::strategy::Victim;
use crate::worker::END;
use bunho_load::exit::Failure;
use bunho_load::random::Random;
use hdrhistogram::Histogram;
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How long a service that was killed is away.
const OUTAGE: Duration = Duration::from_secs(1);
/// Something dies within so long after it is due, and the time between two writes: longer than most strategies work on one attempt.
const MOMENT_US: u64 = 5_000;
/// A user who met an error does not come back at once, or a crowd would be used up by one outage.
const AFTER_ERROR: Duration = Duration::from_millis(100);
/// Answer times beyond this are all the same.
const SLOWEST_US: u64 = 600_000_000;
/// Nothing takes longer; a worker that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(120);

/// Who comes.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Different users.
    pub users: u32,
    /// Attempts of all of them.
    pub attempts: u32,
    /// Units.
    pub quantity: u32,
    /// Attempts under way at a time.
    pub tasks: usize,
    /// Seed of their order, and of the moments at which something dies.
    pub seed: u64,
    /// How often something dies that comes back as it was.
    pub deaths: u32,
}

/// What happened, as the users saw it.
#[derive(Clone, Debug)]
pub struct Course {
    /// Attempts that were sent.
    pub sent: u64,
    /// Answered no.
    pub refused: u64,
    /// Answered with an error, or not at all.
    pub failed: u64,
    /// Answered yes, by user.
    pub accepted: HashMap<i64, u64>,
    /// From the first attempt to the last answer.
    pub elapsed: Duration,
    /// Answer times, microseconds.
    pub latency_us: Histogram<u64>,
    /// Round trips, those of the drain included.
    pub trips: Trips,
    /// How often what should die has died.
    pub deaths: u32,
    /// Whether the run was cut.
    pub cut: bool,
}

impl Course {
    /// Answered yes, in all.
    #[must_use]
    pub fn yes(&self) -> u64 {
        self.accepted.values().sum()
    }
}

impl Crowd {
    /// How often something dies: where it comes back as it was, often enough to hit what has a small window.
    const fn deaths(&self, victim: Victim) -> u32 {
        match victim {
            Victim::Process | Victim::Redis => self.deaths,
            Victim::RedisData | Victim::Broker => 1,
        }
    }

    /// Each attempt's user: everybody about equally often, in a random order.
    fn order(&self) -> Vec<i64> {
        let mut users: Vec<i64> = (0..self.attempts).map(|attempt| i64::from(attempt % self.users) + 1).collect();
        let mut random = Random::new(self.seed);
        for last in (1..users.len()).rev() {
            let other = random.below(last as u64 + 1) as usize;
            users.swap(last, other);
        }
        users
    }
}

/// Sends the crowd through a worker; kills what the plan says, at even distances in what can be had, every other time after a moment that the seed decides:
/// always at an answer would be always at the same line of the next attempt.
///
/// # Errors
/// A worker does not start or ends by itself, or what was killed does not come back.
pub async fn drive(
    crowd: &Crowd,
    job: &Job,
    plan: Plan,
    services: &mut Services,
    mut node: Option<&mut Node>,
    program: &Path,
    stop: &AtomicBool,
) -> Result<Course, Failure> {
    let mut run = Run::new(crowd, Worker::start(program, job).await?);
    let mut moments = Random::new(crowd.seed);
    let began = Instant::now();
    loop {
        run.send().await?;
        if run.open.is_empty() && run.waiting_until.is_empty() {
            break;
        }
        run.receive().await?;
        if stop.load(Ordering::Relaxed) && !run.course.cut {
            run.course.cut = true;
            run.waiting.clear();
        }
        let deaths = plan.kill.map_or(0, |victim| crowd.deaths(victim));
        let part = |of: u32| (u64::from(of) * u64::from(run.course.deaths + 1)).div_ceil(u64::from(deaths) + 1);
        let due = run.course.yes() >= part(crowd.quantity.min(crowd.users)) || run.answered >= part(crowd.attempts);
        let Some(victim) = plan.kill.filter(|_| due && run.course.deaths < deaths && !run.course.cut) else { continue };
        run.course.deaths += 1;
        // Every other death at once, while all are at work: whoever waits a moment also lets a buffer run empty.
        if run.course.deaths.is_multiple_of(2) {
            tokio::time::sleep(Duration::from_micros(moments.below(MOMENT_US + job.think_ms * 1_000))).await;
        }
        match (victim, node.as_deref_mut()) {
            (Victim::Process, None) => {
                run.worker.kill().await;
                run.read_what_is_left().await;
                run.worker = Worker::start(program, job).await?;
            }
            (Victim::Process, Some(node)) => tokio::task::block_in_place(|| node.kill_and_start())?,
            (victim, node) => tokio::task::block_in_place(|| services.strike(victim, node.is_some(), OUTAGE))?,
        }
    }
    run.course.elapsed = began.elapsed();
    run.drain().await?;
    Ok(run.course)
}

struct Run {
    worker: Worker,
    course: Course,
    /// Attempts still to be made, with their users.
    waiting: VecDeque<(usize, i64)>,
    /// Attempts under way.
    open: HashMap<usize, (i64, Instant)>,
    /// Users who wait after an error; each takes one of the places.
    waiting_until: VecDeque<Instant>,
    tasks: usize,
    answered: u64,
    /// Round trips of workers that have ended, and of this one.
    ended: Trips,
    last: Trips,
}

impl Run {
    fn new(crowd: &Crowd, worker: Worker) -> Self {
        let course = Course {
            sent: 0,
            refused: 0,
            failed: 0,
            accepted: HashMap::new(),
            elapsed: Duration::ZERO,
            latency_us: Histogram::new_with_bounds(1, SLOWEST_US, 3)
                .unwrap_or_else(|error| unreachable!("these bounds are allowed: {error}")),
            trips: Trips::default(),
            deaths: 0,
            cut: false,
        };
        Self {
            worker,
            course,
            waiting: crowd.order().into_iter().enumerate().collect(),
            open: HashMap::new(),
            waiting_until: VecDeque::new(),
            tasks: crowd.tasks,
            answered: 0,
            ended: Trips::default(),
            last: Trips::default(),
        }
    }

    /// Sends as many attempts as there are places.
    async fn send(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        while self.waiting_until.front().is_some_and(|until| *until <= now) {
            self.waiting_until.pop_front();
        }
        let mut lines = String::new();
        while self.open.len() + self.waiting_until.len() < self.tasks {
            let Some((attempt, user)) = self.waiting.pop_front() else { break };
            lines.push_str(&format!("{attempt} {user}\n"));
            self.open.insert(attempt, (user, now));
            self.course.sent += 1;
        }
        self.worker.write(&lines).await
    }

    /// Waits for an answer, or until somebody who waits may go on.
    async fn receive(&mut self) -> Result<(), Failure> {
        let pause = self.waiting_until.front().map(|until| until.saturating_duration_since(Instant::now()));
        match tokio::time::timeout(pause.unwrap_or(SILENCE), self.worker.lines.next_line()).await {
            Ok(Ok(Some(line))) => self.take(&line),
            Ok(_) => return Err(Failure::internal("the worker ended by itself; what it said stands above")),
            Err(_) if pause.is_none() => return Err(Failure::internal("the worker hangs")),
            Err(_) => {}
        }
        Ok(())
    }

    fn take(&mut self, line: &str) {
        // A line that is cut off by a kill was not read by anybody.
        let Some(Line::Answered { attempt, answer, trips }) = Line::read(line) else { return };
        let Some((user, since)) = self.open.remove(&attempt) else { return };
        self.last = trips;
        self.answered += 1;
        match answer {
            Answer::Yes => *self.course.accepted.entry(user).or_default() += 1,
            Answer::No => self.course.refused += 1,
            Answer::Failed => {
                self.course.failed += 1;
                self.waiting_until.push_back(Instant::now() + AFTER_ERROR);
                return;
            }
        }
        self.course.latency_us.saturating_record(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
    }

    /// After a kill: answers that were on the way have been sent, and are read. The others got none.
    async fn read_what_is_left(&mut self) {
        while let Ok(Some(line)) = self.worker.lines.next_line().await {
            self.take(&line);
        }
        self.course.failed += self.open.len() as u64;
        self.open.clear();
        self.ended.sql += self.last.sql;
        self.ended.redis += self.last.redis;
        self.last = Trips::default();
    }

    /// Lets the worker finish what it does behind its answers.
    async fn drain(&mut self) -> Result<(), Failure> {
        self.worker.write(&format!("{END}\n")).await?;
        loop {
            match tokio::time::timeout(SILENCE, self.worker.lines.next_line()).await {
                Ok(Ok(Some(line))) => {
                    if let Some(Line::Drained(trips)) = Line::read(&line) {
                        self.course.trips = Trips { sql: self.ended.sql + trips.sql, redis: self.ended.redis + trips.redis };
                        let _ = self.worker.process.wait().await;
                        return Ok(());
                    }
                }
                Ok(_) => return Err(Failure::internal("the worker ended by itself; what it said stands above")),
                Err(_) => return Err(Failure::internal("the worker does not finish")),
            }
        }
    }
}

/// The process that runs the strategy.
struct Worker {
    process: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    async fn start(program: &Path, job: &Job) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        command.arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).process_group(0);
        let mut process = command.spawn().map_err(|error| Failure::internal(format_args!("{}: {error}", program.display())))?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Failure::internal("a worker without pipes"));
        };
        let mut worker = Self { process, input, lines: BufReader::new(output).lines() };
        // An address may hold a password: it goes through the pipe, where no list of processes shows it.
        let job = serde_json::to_string(job).map_err(Failure::internal)?;
        worker.write(&format!("{job}\n")).await?;
        match tokio::time::timeout(SILENCE, worker.lines.next_line()).await {
            Ok(Ok(Some(line))) if Line::read(&line) == Some(Line::Ready) => Ok(worker),
            _ => Err(Failure::unreachable(
                "the strategy cannot connect to what it needs, as said above; scripts/setup.sh cluster installs services and scripts/cluster starts them",
            )),
        }
    }

    async fn write(&mut self, lines: &str) -> Result<(), Failure> {
        self.input.write_all(lines.as_bytes()).await.map_err(|error| Failure::internal(format_args!("the worker is gone: {error}")))
    }

    async fn kill(&mut self) {
        let _ = self.process.kill().await;
    }
}
