//! Hours with a server of its own: everything that people, buyers and operators do, at a modest rate, while the server is killed, stopped, started with other
//! settings and kept alive for long; and a look whether memory and descriptors stay flat and the books equal.
//!
//! `plan` says what happens when; `people`, `shop` and `operator` are the load, each thread a `world::Caller`; `book` is what was told, `checks` holds it against
//! SQL, `sample` looks at the process, `outcome` judges. This file is the course of a run.

mod book;
mod checks;
mod node;
mod operator;
mod outcome;
mod page;
mod people;
mod plan;
mod sample;
mod season;
mod shop;
mod world;

use crate::cli::SoakArgs;
use crate::exit::{BROKEN, Failure, KEPT};
use crate::judge::wording::utc;
use crate::random::Random;
use crate::report::machine;
use crate::run::Outside;
use checks::{Looked, Which};
use node::Node;
use outcome::{Died, Outcome};
use people::People;
use plan::{Death, Plan};
use season::{Season, delete_line, make_steady, people_a_second, stories_a_second};
use shop::Buyers;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use world::{Caller, World, unix_ms};

/// Threads of buyers: each makes one call at a time.
const BUYERS: u32 = 8;
/// Threads that watch stock.
const WATCHERS: u32 = 2;
/// Threads that take back what was confirmed in a season that has ended. They have the rest of the next season for it.
const CLEARERS: u32 = 2;
/// Sessions last thirty seconds; a restart may begin them anew.
const LINE_EVERY: Duration = Duration::from_secs(5);
const LINE_MOST: Duration = Duration::from_secs(180);
const TICK: Duration = Duration::from_millis(50);
/// How long the holds of a season may take to end when the season is checked: a machine that stood still has the ends before it. And between two looks.
const HOLDS_END: Duration = Duration::from_secs(60);
const HOLDS_LOOK: Duration = Duration::from_millis(10);
/// The result is written this often, so that a run that is cut off has one.
const KEEP_EVERY: Duration = Duration::from_secs(60);
/// Marks a folder as a soak's, which may be emptied.
const RESULT: &str = "soak.json";

/// Plays, or shows what was played.
///
/// # Errors
/// The server does not start, or a file cannot be written.
pub fn run(arguments: &SoakArgs, outside: &mut Outside<'_>) -> Result<u8, Failure> {
    let outcome = match (&arguments.from, &arguments.server) {
        (Some(file), _) => read(file)?,
        (None, Some(server)) => play(arguments, server, outside)?,
        (None, None) => return Err(Failure::usage("name the server's program with --server")),
    };
    page::write(&outcome, arguments)?;
    let _ = write!(outside.out, "{}", page::summary(&outcome));
    Ok(if outcome.kept() { KEPT } else { BROKEN })
}

fn play(arguments: &SoakArgs, program: &Path, outside: &mut Outside<'_>) -> Result<Outcome, Failure> {
    if !program.is_file() {
        return Err(Failure::usage(format_args!("{} is no program; build it with `cargo build --release --bin bunho`", program.display())));
    }
    if !(0.5..=10_080.0).contains(&arguments.minutes) || !(10.0..=20_000.0).contains(&arguments.rate) {
        return Err(Failure::usage("--minutes is 0.5 to 10080, --rate 10 to 20000"));
    }
    let folder = &arguments.out;
    make_room(folder)?;
    let plan = Plan::of(arguments.minutes, arguments.rate);
    let seed = arguments.seed.unwrap_or_else(|| unix_ms() as u64);
    let _ = writeln!(outside.err, "soak of {:.1} minutes in {}, seed {seed}", arguments.minutes, folder.display());
    let node = Node::start(program, folder, &settings(0))?;
    let mut soak = Soak::begin(node, plan, seed, folder)?;
    soak.outcome.version = version(program);
    soak.go_on(outside);
    soak.conclude();
    soak.keep()?;
    Ok(soak.outcome)
}

/// How far a season that has ended is taken away.
#[derive(Clone, Copy)]
enum Ending {
    /// Nothing is sold any more; by then all holds have ended, too.
    Closed(Duration),
    /// What was confirmed is taken back.
    Clearing,
}

/// A run under way.
struct Soak<'a> {
    node: Node,
    plan: Plan,
    world: Arc<World>,
    threads: Vec<JoinHandle<()>>,
    folder: &'a Path,
    began: Instant,
    outcome: Outcome,
    life: u32,
    number: u32,
    /// The season that has ended, and how far it is taken away.
    ending: Option<(Arc<Season>, Ending)>,
    /// Lines that have ended, whose last people are still inside; since when, and when they are tried again.
    lines: Vec<(String, Duration, Duration)>,
    /// Deaths before this one have been.
    deaths: usize,
    next_sample: Duration,
    sampled: Instant,
    next_keep: Duration,
}

impl<'a> Soak<'a> {
    fn begin(node: Node, plan: Plan, seed: u64, folder: &'a Path) -> Result<Self, Failure> {
        let mut client = node.client();
        let season = Season::new(0, &plan);
        make_steady(&mut client, &season).and_then(|()| season.make(&mut client)).map_err(Failure::unreachable)?;
        let world = Arc::new(World::new(node.target().clone(), season));
        let (from, to) = plan.long_life();
        let outcome = Outcome {
            began: utc(unix_ms()),
            seed,
            machine: machine().into_iter().map(|(name, value)| (name.to_string(), value)).collect(),
            planned_seconds: plan.total.as_secs_f64(),
            long_life: (from.as_secs_f64(), to.as_secs_f64()),
            seasons: 1,
            ..Outcome::default()
        };
        let mut soak = Self {
            node,
            world,
            threads: Vec::new(),
            folder,
            began: Instant::now(),
            outcome,
            life: 0,
            number: 0,
            ending: None,
            lines: Vec::new(),
            deaths: 0,
            next_sample: plan.sample,
            sampled: Instant::now(),
            next_keep: KEEP_EVERY,
            plan,
        };
        soak.start_load(seed);
        Ok(soak)
    }

    fn start_load(&mut self, seed: u64) {
        let mut numbers = seed..;
        let mut caller = || Caller::new(self.world.clone(), Random::new(numbers.next().unwrap_or(seed)));
        let rate = self.plan.rate;
        for _ in 0..BUYERS {
            let buyers = Buyers::new(caller());
            self.threads.push(std::thread::spawn(move || buyers.work(stories_a_second(rate) / f64::from(BUYERS))));
        }
        let people = People::new(caller());
        self.threads.push(std::thread::spawn(move || people.work(people_a_second(rate))));
        let (operator, every) = (caller(), Duration::from_millis(500));
        self.threads.push(std::thread::spawn(move || operator::operate(operator, every)));
        // Twice as fast as claims come.
        let pace = Duration::from_secs_f64(f64::from(CLEARERS) / (2.0 * stories_a_second(rate)));
        for _ in 0..CLEARERS {
            let clearer = caller();
            self.threads.push(std::thread::spawn(move || operator::clear(clearer, pace)));
        }
        for _ in 0..WATCHERS {
            let watcher = caller();
            self.threads.push(std::thread::spawn(move || operator::watch(watcher)));
        }
    }

    /// Until its time is over, or somebody ends it.
    fn go_on(&mut self, outside: &mut Outside<'_>) {
        while self.began.elapsed() < self.plan.total && !outside.stop.load(Ordering::Relaxed) {
            let now = self.began.elapsed();
            if self.node.is_gone() {
                self.find("the server ended by itself".into());
                self.come_back(Death::Kill);
            }
            if self.world.is_over() {
                return;
            }
            if let Some((_, death)) = self.plan.deaths.get(self.deaths).copied().filter(|(at, _)| *at <= now) {
                self.deaths += 1;
                self.come_back(death);
            }
            self.turn(now);
            self.delete_lines(now);
            if now >= self.next_sample {
                self.next_sample = now + self.plan.sample;
                self.sample();
            }
            if now >= self.next_keep {
                self.next_keep = now + KEEP_EVERY;
                let kept = self.keep();
                let line = self.progress();
                let _ = match kept {
                    Ok(()) => writeln!(outside.err, "{line}"),
                    Err(failure) => writeln!(outside.err, "{failure}"),
                };
            }
            std::thread::sleep(TICK);
        }
        self.outcome.finished = !self.world.is_over() && self.began.elapsed() >= self.plan.total;
    }

    /// A season ends and the next one begins; one that ended is taken away.
    fn turn(&mut self, now: Duration) {
        let over = now.as_secs_f64() >= self.plan.season.as_secs_f64() * f64::from(self.number + 1);
        if over && self.ending.is_none() {
            self.number += 1;
            let next = Season::new(self.number, &self.plan);
            let mut client = self.node.client();
            if let Err(why) = next.make(&mut client) {
                return self.find(why);
            }
            let last = self.world.turn_season(next);
            if let Err(why) = last.close(&mut client) {
                self.find(why);
            }
            self.outcome.seasons += 1;
            self.ending = Some((last, Ending::Closed(now + self.plan.retire)));
            self.reload();
        }
        match &self.ending {
            Some((season, Ending::Closed(due))) if *due <= now => {
                let season = season.clone();
                self.settle(&season);
                self.ending = Some((season, Ending::Clearing));
            }
            Some((season, Ending::Clearing)) if self.world.is_clear() => {
                let season = season.clone();
                self.ending = None;
                self.delete(&season);
            }
            _ => {}
        }
    }

    /// All of a season's holds have ended: it is compared, and what is confirmed is to be taken back.
    fn settle(&mut self, season: &Season) {
        self.world.close();
        // One that does not end is found in SQL.
        let (mut client, began) = (self.node.client(), Instant::now());
        while season.held(&mut client) != Ok(0) && began.elapsed() < HOLDS_END {
            std::thread::sleep(HOLDS_LOOK);
        }
        let looked = self.check(Which::Ended(&season.offers()));
        self.world.clear(looked.confirmed);
        self.world.open();
    }

    /// Nobody has anything of a season any more: it is compared for the last time, and deleted.
    fn delete(&mut self, season: &Season) {
        self.world.close();
        self.check(Which::Deleted(&season.offers()));
        self.reconcile();
        if let Err(why) = season.delete(&mut self.node.client()) {
            self.find(why);
        }
        let now = self.began.elapsed();
        self.lines.push((season.zone(), now, now + LINE_EVERY));
        self.world.open();
    }

    /// Lines are deleted when the last of those inside has gone.
    fn delete_lines(&mut self, now: Duration) {
        let mut client = self.node.client();
        let (due, mut lines): (Vec<_>, Vec<_>) = std::mem::take(&mut self.lines).into_iter().partition(|(.., next)| *next <= now);
        for (zone, since, _) in due {
            match delete_line(&mut client, &zone) {
                Ok(true) => {}
                Ok(false) if now < since + LINE_MOST => lines.push((zone, since, now + LINE_EVERY)),
                Ok(false) => self.find(format!("{zone} has people {} s after its end", LINE_MOST.as_secs())),
                Err(why) => self.find(why),
            }
        }
        self.lines = lines;
    }

    fn reload(&mut self) {
        match self.node.reload(&settings(self.number)) {
            Ok(true) => self.outcome.reloads += 1,
            Ok(false) => {}
            Err(failure) => self.find(failure.message),
        }
    }

    /// The server dies and comes back, with other settings; before anybody is let in again, its books are compared.
    fn come_back(&mut self, death: Death) {
        let at = self.began.elapsed().as_secs_f64();
        if let Err(why) = self.node.end(death) {
            self.find(why);
        }
        self.world.close();
        self.life += 1;
        match self.node.start_again(&settings(self.life)) {
            Ok(took) => {
                let looked = self.check(Which::Open);
                let compared = looked.claims + looked.keys;
                self.reconcile();
                self.world.moved(self.node.target());
                self.outcome.deaths.push(Died { at, how: death.word().into(), ready_seconds: took.as_secs_f64(), compared });
                self.world.open();
            }
            Err(failure) => {
                self.find(failure.message);
                self.world.give_up();
            }
        }
    }

    /// The book against SQL. Nobody calls meanwhile.
    fn check(&mut self, which: Which<'_>) -> Looked {
        let projected = self.node.until_projected();
        let looked = projected.and_then(|()| checks::offers(&self.node.data(), &mut self.world.book(), which));
        match looked {
            Ok(looked) => {
                self.outcome.checks += 1;
                self.outcome.rows_compared += looked.claims;
                looked
            }
            Err(why) => {
                self.find(why);
                Looked::default()
            }
        }
    }

    fn reconcile(&mut self) {
        match self.node.reconcile() {
            Ok(compared) => self.outcome.reconciled += compared,
            Err(why) => self.find(why),
        }
    }

    fn sample(&mut self) {
        let since = self.sampled.elapsed();
        self.sampled = Instant::now();
        if let Some(sample) = sample::look(&self.node, &self.world, self.began.elapsed(), since) {
            self.outcome.samples.push(sample::Sample { life: self.life, season: self.number, ..sample });
        }
    }

    /// The end: everybody finishes, all holds end, and everything is compared: running, stopped, and after another start.
    fn conclude(&mut self) {
        self.world.finish();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        self.outcome.elapsed_seconds = self.began.elapsed().as_secs_f64();
        if !self.world.is_over() {
            let last = self.world.season();
            if let Err(why) = last.close(&mut self.node.client()) {
                self.find(why);
            }
            std::thread::sleep(self.plan.retire);
            if let Some((season, _)) = self.ending.take() {
                self.settle(&season);
            }
            self.settle(&last);
            self.reconcile();
            if let Err(why) = self.node.end(Death::Term) {
                self.find(why);
            }
            self.reconcile();
            let everything = checks::everything(&self.node.data(), &mut self.world.book());
            match everything {
                Ok(looked) => {
                    self.outcome.checks += 1;
                    self.outcome.rows_compared += looked.claims;
                }
                Err(why) => self.find(why),
            }
        }
        match checks::totals(&self.node.data()) {
            Ok(totals) => self.outcome.claims = totals,
            Err(why) => self.find(why),
        }
    }

    fn find(&self, what: String) {
        self.world.book().find(what);
    }

    fn progress(&self) -> String {
        let sample = self.outcome.samples.last().cloned().unwrap_or_default();
        format!(
            "{:>6.0} s  life {} season {}  {:>4.0} calls/s  {:>4.0} MB  {} descriptors  {} deaths  {} findings",
            self.began.elapsed().as_secs_f64(),
            self.life,
            self.number,
            sample.rate,
            sample.resident_bytes as f64 / 1e6,
            sample.descriptors,
            self.deaths,
            self.world.book().findings_total
        )
    }

    /// Writes what is known by now.
    fn keep(&mut self) -> Result<(), Failure> {
        {
            let meter = self.world.meter();
            // What came since the last look stays for the next one, too.
            let mut all = meter.all.clone();
            let _ = all.add(&meter.recent);
            let outcome = &mut self.outcome;
            (outcome.calls, outcome.later, outcome.unanswered) = (all.len(), meter.later, meter.unanswered);
            (outcome.p50_us, outcome.p99_us) = (all.value_at_quantile(0.5), all.value_at_quantile(0.99));
            (outcome.p999_us, outcome.max_us) = (all.value_at_quantile(0.999), all.max());
        }
        {
            let book = self.world.book();
            self.outcome.counts = book.counts.iter().map(|(name, count)| ((*name).to_string(), *count)).collect();
            (self.outcome.findings, self.outcome.findings_total) = (book.findings.clone(), book.findings_total);
        }
        if !self.outcome.finished {
            self.outcome.elapsed_seconds = self.began.elapsed().as_secs_f64();
        }
        let file = self.folder.join(RESULT);
        let text = serde_json::to_string(&self.outcome).map_err(Failure::internal)?;
        let beside = self.folder.join("soak.json.new");
        fs::write(&beside, text)
            .and_then(|()| fs::rename(&beside, &file))
            .map_err(|error| Failure::internal(format_args!("{} cannot be written: {error}", file.display())))
    }
}

/// Each life, and each reload, has other limits than the one before; all are far above what the load needs.
fn settings(number: u32) -> String {
    let (requests, streams) = [(10_000, 5_000), (8_000, 4_000), (6_000, 3_000)][number as usize % 3];
    format!("[server]\nin_flight_per_zone_max = {requests}\nstreams_max = {streams}\n\n[log]\nlevel = \"warn\"\n")
}

fn version(program: &Path) -> String {
    let output = std::process::Command::new(program).arg("--version").output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// The folder of an earlier soak is emptied; any other must not be there, or be empty.
fn make_room(folder: &Path) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| Failure::usage(format_args!("{} cannot be used: {error}", folder.display()));
    if folder.join(RESULT).is_file() {
        if folder.join("data").is_dir() {
            fs::remove_dir_all(folder.join("data")).map_err(cannot)?;
        }
        for file in [RESULT, "server.log", "bunho.toml"] {
            let _ = fs::remove_file(folder.join(file));
        }
    }
    fs::create_dir_all(folder).map_err(cannot)?;
    if folder.join("data").exists() {
        return Err(Failure::usage(format_args!("{} has data that is no soak's; name another folder with --out", folder.display())));
    }
    // From now on it is a soak's.
    fs::write(folder.join(RESULT), "{}").map_err(cannot)
}

fn read(file: &Path) -> Result<Outcome, Failure> {
    let text = fs::read_to_string(file).map_err(|error| Failure::usage(format_args!("{} cannot be read: {error}", file.display())))?;
    serde_json::from_str(&text).map_err(|error| Failure::usage(format_args!("{} is no soak's result: {error}", file.display())))
}
