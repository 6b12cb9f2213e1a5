//! The line in Redis against the line of the domain: the same crowd, the same clock, and after every step the same answers and events.
//!
//! A real redis-server of its own, on a port and in a folder of its own. Only jitter is another generator's: a waiting ticket's period may
//! differ by it, but is held to the one of the domain, so that one step never clouds the next.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says where it failed")]

mod redis_server;

use bunho_domain::event::{Event, TicketNumber, ZoneChange, ZoneEvent};
use bunho_domain::ids::{AppId, ZoneId};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::line::{Answer, Issued, Join, JoinOutcome, Line, OfferLeft, Place, Poll, PollRefusal, Status};
use bunho_domain::time::Millis;
use bunho_engine::cluster::redis::line::caller::{LineCaller, Reply};
use bunho_engine::cluster::redis::line::{self, Command, Facts, Hindered, Refused, ZoneHome};
use proptest::prelude::*;
use redis_server::RedisServer;
use tokio::runtime::Runtime;

const START: i64 = 1_767_225_600_000;
const ZONE: u32 = 7;

#[derive(Clone, Debug)]
enum Op {
    Wait {
        ms: i64,
        sweep: bool,
    },
    Join {
        key: Option<u64>,
    },
    /// Whoever is at this place among the latest who got a ticket.
    Poll {
        who: usize,
    },
    /// The same, when told to: time moves there.
    PollWhenTold {
        who: usize,
    },
    /// A ticket that was never given out, or is another's.
    PollForged {
        seq: u32,
        epoch: u32,
        nonce: u64,
    },
    Leave {
        who: usize,
    },
    /// Newcomers, polls and leaves of one moment, in one run.
    Together {
        steps: Vec<(u8, usize)>,
    },
    Limit {
        limit: Option<u32>,
    },
    Slot {
        seconds: u32,
    },
    Window {
        seconds: u32,
    },
    Active {
        limit: Option<u32>,
    },
    Pause {
        paused: bool,
    },
    Stock {
        left: OfferLeft,
    },
    OpensIn {
        ms: i64,
    },
    ClosesIn {
        ms: i64,
    },
    /// Somebody may leave before the former line is swept.
    Reset {
        leaves: Option<usize>,
    },
    /// With what Redis still has, or with nothing.
    Restart {
        empty: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0_i64..2_000, any::<bool>()).prop_map(|(ms, sweep)| Op::Wait { ms, sweep }),
        1 => (2_000_i64..30_000).prop_map(|ms| Op::Wait { ms, sweep: true }),
        1 => (30_000_i64..400_000).prop_map(|ms| Op::Wait { ms, sweep: true }),
        9 => prop::option::of(0_u64..12).prop_map(|key| Op::Join { key }),
        14 => any::<usize>().prop_map(|who| Op::Poll { who }),
        14 => any::<usize>().prop_map(|who| Op::PollWhenTold { who }),
        1 => (0_u32..20_050, 0_u32..3, 0_u64..1_010).prop_map(|(seq, epoch, nonce)| Op::PollForged { seq, epoch, nonce }),
        2 => any::<usize>().prop_map(|who| Op::Leave { who }),
        3 => prop::collection::vec((0_u8..8, any::<usize>()), 1..40).prop_map(|steps| Op::Together { steps }),
        1 => prop::option::weighted(0.9, 0_u32..8).prop_map(|limit| Op::Limit { limit }),
        1 => (1_u32..=10).prop_map(|seconds| Op::Slot { seconds }),
        1 => (10_u32..=60).prop_map(|seconds| Op::Window { seconds }),
        1 => prop::option::of(0_u32..9).prop_map(|limit| Op::Active { limit }),
        1 => any::<bool>().prop_map(|paused| Op::Pause { paused }),
        1 => prop_oneof![Just(OfferLeft::Untied), Just(OfferLeft::Unknown), (0_u32..3).prop_map(OfferLeft::Some)].prop_map(|left| Op::Stock { left }),
        1 => (-5_000_i64..5_000).prop_map(|ms| Op::OpensIn { ms }),
        1 => (-1_000_i64..50_000).prop_map(|ms| Op::ClosesIn { ms }),
        1 => prop_oneof![
            1 => prop::option::of(any::<usize>()).prop_map(|leaves| Op::Reset { leaves }),
            3 => any::<bool>().prop_map(|empty| Op::Restart { empty }),
        ],
    ]
}

/// Both lines, and what clients and the journal keep.
struct Run<'a> {
    runtime: &'a Runtime,
    server: &'a RedisServer,
    caller: LineCaller,
    line: Line,
    settings: ZoneSettings,
    left: OfferLeft,
    now: Millis,
    journal: Vec<ZoneEvent>,
    version: u64,
    clients: Vec<Issued>,
    nonces: u64,
    seed: u64,
}

fn settings() -> ZoneSettings {
    ZoneSettings {
        window_seconds: 10,
        slot_seconds: 2,
        abandon_after_seconds: 6,
        resume_grace_seconds: 8,
        poll_interval_ms: 500,
        poll_interval_max_ms: 2_500,
        session_seconds: 12,
        pass_ttl_seconds: 9,
        message: Some("soon".into()),
        ..ZoneSettings::new(ZoneId::parse("z").unwrap(), AppId::parse("a").unwrap(), Some(6))
    }
}

impl<'a> Run<'a> {
    fn new(runtime: &'a Runtime, server: &'a RedisServer) -> Self {
        let (settings, now) = (settings(), Millis(START));
        assert_eq!(settings.check(), Ok(()));
        flush(runtime, server);
        let home = ZoneHome { number: ZONE, epoch: 1 };
        let connection = runtime.block_on(server.connect());
        let caller = runtime.block_on(LineCaller::open(connection, "test", home)).unwrap();
        let line = Line::new(ZONE, settings.clone(), 42, now);
        let journal = vec![ZoneEvent { zone: ZONE, change: ZoneChange::Defined(Box::new(settings.clone())) }];
        let left = OfferLeft::Untied;
        let mut run =
            Self { runtime, server, caller, line, settings, left, now, journal, version: 0, clients: Vec::new(), nonces: 1_000, seed: 42 };
        let created = run.settings.clone();
        let (_, events) = run.call(Command::Create { settings: &created, test_clock: true, suspended: false });
        assert_eq!(events, run.journal);
        run
    }

    /// Runs one command in Redis: its answer, and the events it wrote, which are in the outbox no more.
    fn call(&mut self, command: Command<'_>) -> (Vec<u8>, Vec<ZoneEvent>) {
        self.call_held(command, None)
    }

    fn call_held(&mut self, command: Command<'_>, told: Option<Answer>) -> (Vec<u8>, Vec<ZoneEvent>) {
        let period_ms = if let Some(Answer::Waiting(place)) = told { place.polling_ms } else { 0 };
        let commands = if period_ms == 0 { vec![command] } else { vec![Command::Hold { period_ms }, command] };
        let (mut answers, events) = self.run(&commands);
        (answers.pop().unwrap(), events)
    }

    fn run(&mut self, commands: &[Command<'_>]) -> (Vec<Vec<u8>>, Vec<ZoneEvent>) {
        let run = self.caller.run(Some(self.now), commands);
        let reply: Reply = self.runtime.block_on(run).unwrap_or_else(|error| panic!("{commands:?}: {error}"));
        let mut events = Vec::new();
        let mut shipped = Vec::new();
        for (id, packed) in &reply.entries {
            let written = line::written(packed).unwrap();
            assert_eq!((written.number, written.epoch), (ZONE, self.caller.home.epoch));
            self.version += written.record.events.len() as u64;
            assert_eq!(written.version, self.version, "every event has a version");
            shipped.push((id.clone(), written.version));
            events.extend(written.record.events.into_iter().map(|event| match event {
                Event::Zone(event) => event,
                Event::Offer(event) => panic!("no offer is here: {event:?}"),
            }));
        }
        if !shipped.is_empty() {
            let reserved = events.iter().filter_map(reservation).max();
            let command = Command::Shipped { entries: &shipped, reserved, draining: false };
            let shipped = self.runtime.block_on(self.caller.run(Some(self.now), &[command])).unwrap();
            assert_eq!(line::done(&shipped.answers[0].1).unwrap(), Ok(false));
        }
        (reply.answers.into_iter().map(|(_, answer)| answer).collect(), events)
    }

    /// Runs one that only does something. Whether there is more to do.
    fn tell(&mut self, command: Command<'_>) -> (bool, Vec<ZoneEvent>) {
        let (answer, events) = self.call(command);
        (line::done(&answer).unwrap().unwrap_or_else(|hindered| panic!("{command:?}: {hindered:?}")), events)
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Wait { ms, sweep } => {
                self.now = self.now.plus_ms(ms);
                if sweep {
                    self.sweep();
                }
            }
            Op::Join { key } => self.join(key),
            Op::Poll { who } => self.poll_client(who),
            Op::PollWhenTold { who } => {
                if let Some(Issued { answer: Answer::Waiting(place), .. }) = self.client(who).map(|who| self.clients[who]) {
                    self.now = self.now.plus_ms(place.polling_ms.into());
                    self.poll_client(who);
                }
            }
            Op::PollForged { seq, epoch, nonce } => {
                self.poll(Poll { number: TicketNumber { epoch: self.settings.epoch + 1 - epoch.min(1), seq }, nonce, issued_at: self.now });
            }
            Op::Leave { who } => self.leave(who),
            Op::Together { ref steps } => self.together(steps),
            Op::Limit { limit } => self.define(|s| s.entry_limit_per_minute = limit),
            Op::Slot { seconds } => self.define(|s| s.slot_seconds = seconds),
            Op::Window { seconds } => self.define(|s| s.window_seconds = seconds),
            Op::Active { limit } => self.define(|s| s.active_limit = limit),
            Op::Pause { paused } => self.define(|s| s.paused = paused),
            Op::Stock { left } => self.left = left,
            Op::OpensIn { ms } => {
                let now = self.now;
                self.define(|s| s.opens_at = Some(now.plus_ms(ms)));
            }
            Op::ClosesIn { ms } => {
                let now = self.now;
                self.define(|s| s.closes_at = Some(now.plus_ms(ms)).filter(|_| ms > 0));
            }
            Op::Reset { leaves } => {
                self.define(|s| s.epoch += 1);
                if let Some(who) = leaves {
                    self.leave(who);
                }
                self.sweep();
            }
            Op::Restart { empty } => self.restart(empty),
        }
        self.compare();
    }

    fn sweep(&mut self) {
        while self.line.sweep(self.now, 1_000) {}
        for _ in 0..2_000 {
            if !self.tell(Command::Sweep { most: 1_000 }).0 {
                return;
            }
        }
        panic!("there is always more to sweep");
    }

    fn client(&self, who: usize) -> Option<usize> {
        // Mostly recent ones: the others are gone.
        let recent = self.clients.len().min(24);
        (recent > 0).then(|| self.clients.len() - 1 - who % recent)
    }

    fn join(&mut self, key: Option<u64>) {
        self.nonces += 1;
        let join = Join { nonce: key.unwrap_or(self.nonces << 33 | self.nonces), keyed: key.is_some() };
        for _ in 0..3 {
            let mut events = Vec::new();
            self.line.reserve(&mut events);
            let outcome = self.line.join(join, self.left, self.now, &mut events);
            let told = if let JoinOutcome::Issued(issued) = outcome { Some(issued.answer) } else { None };
            let (answer, written) = self.call_held(Command::Join { join, left: self.left }, told);
            assert_eq!(written, events);
            let issue = line::issue(&answer).unwrap().unwrap();
            for event in &events {
                if let Some((epoch, upto)) = reservation(event) {
                    self.line.reserved(epoch, upto);
                }
            }
            self.journal.extend(events);
            match (outcome, issue.outcome) {
                (JoinOutcome::Issued(mine), JoinOutcome::Issued(theirs)) => {
                    assert_eq!(Issued { answer: mine.answer, ..theirs }, mine);
                    self.same_answer(mine.number, mine.answer, theirs.answer);
                    match self.clients.iter_mut().find(|client| client.number == mine.number) {
                        Some(client) => client.answer = mine.answer,
                        None => self.clients.push(mine),
                    }
                    return;
                }
                (mine, theirs) => {
                    assert_eq!(mine, theirs);
                    assert!(issue.reserving);
                }
            }
        }
        panic!("numbers that were reserved are not given out");
    }

    fn poll_client(&mut self, who: usize) {
        let Some(who) = self.client(who) else { return };
        let client = self.clients[who];
        if let Some(answer) = self.poll(Poll { number: client.number, nonce: client.nonce, issued_at: client.issued_at }) {
            self.clients[who].answer = answer;
        }
    }

    fn poll(&mut self, poll: Poll) -> Option<Answer> {
        let mut events = Vec::new();
        let mine = self.line.poll(poll, self.left, self.now, &mut events);
        let (answer, written) = self.call_held(Command::Poll { poll, left: self.left }, mine.ok());
        assert_eq!(written, events, "{poll:?}");
        self.journal.extend(events);
        match (mine, line::poll_answer(&answer).unwrap()) {
            (Ok(mine), Ok(theirs)) => {
                self.same_answer(poll.number, mine, theirs);
                Some(mine)
            }
            (Err(PollRefusal::TooFast { .. } | PollRefusal::Gone), Err(Hindered::Refused(Refused::Poll(theirs)))) => {
                assert_eq!(mine, Err(theirs));
                None
            }
            (mine, theirs) => panic!("{poll:?} at {:?}: {mine:?}, but in Redis {theirs:?}", self.now),
        }
    }

    /// What one run does is what its commands do one after another. Numbers are there: whoever asks for the first ones comes alone.
    fn together(&mut self, steps: &[(u8, usize)]) {
        self.join(None);
        let mut events = Vec::new();
        let mut commands = Vec::new();
        let mut answers = Vec::new();
        for (kind, who) in steps {
            let poll =
                self.client(*who).map(|who| self.clients[who]).map(|c| Poll { number: c.number, nonce: c.nonce, issued_at: c.issued_at });
            let (left, now) = (self.left, self.now);
            let (command, answer) = match (kind, poll) {
                (0, Some(poll)) => {
                    self.line.leave(poll, now, &mut events);
                    (Command::Leave { poll }, None)
                }
                (1..4, _) => {
                    self.nonces += 1;
                    let join =
                        Join { nonce: if *kind == 1 { *who as u64 % 12 } else { self.nonces << 33 | self.nonces }, keyed: *kind == 1 };
                    self.line.reserve(&mut events);
                    let JoinOutcome::Issued(issued) = self.line.join(join, left, now, &mut events) else { panic!("no number is reserved") };
                    if !self.clients.iter().any(|client| client.number == issued.number) {
                        self.clients.push(issued);
                    }
                    (Command::Join { join, left }, Some((issued.number, Ok(issued.answer))))
                }
                (_, Some(poll)) => (Command::Poll { poll, left }, Some((poll.number, self.line.poll(poll, left, now, &mut events)))),
                _ => continue,
            };
            if let Some((_, Ok(Answer::Waiting(place)))) = answer {
                commands.push(Command::Hold { period_ms: place.polling_ms });
                answers.push(None);
            }
            commands.push(command);
            answers.push(answer);
        }
        let (theirs, written) = self.run(&commands);
        assert_eq!(written, events);
        for (command, (mine, theirs)) in commands.iter().zip(answers.into_iter().zip(theirs)) {
            match (mine, command) {
                (Some((number, Ok(mine))), Command::Join { .. }) => {
                    let JoinOutcome::Issued(theirs) = line::issue(&theirs).unwrap().unwrap().outcome else {
                        panic!("{number:?}: no number")
                    };
                    assert_eq!(theirs.number, number);
                    self.same_answer(number, mine, theirs.answer);
                }
                (Some((number, mine)), _) => match (mine, line::poll_answer(&theirs).unwrap()) {
                    (Ok(mine), Ok(theirs)) => self.same_answer(number, mine, theirs),
                    (mine, theirs) => assert_eq!(mine.map_err(|refusal| Hindered::Refused(Refused::Poll(refusal))), theirs, "{number:?}"),
                },
                (None, _) => assert_eq!(line::done(&theirs).unwrap(), Ok(false)),
            }
        }
        for event in &events {
            if let Some((epoch, upto)) = reservation(event) {
                self.line.reserved(epoch, upto);
            }
        }
        self.journal.extend(events);
    }

    fn leave(&mut self, who: usize) {
        let Some(who) = self.client(who) else { return };
        let client = self.clients[who];
        let poll = Poll { number: client.number, nonce: client.nonce, issued_at: client.issued_at };
        for _ in 0..2 {
            let mut events = Vec::new();
            self.line.leave(poll, self.now, &mut events);
            let (_, written) = self.tell(Command::Leave { poll });
            assert_eq!(written, events, "{poll:?}");
            self.journal.extend(events);
        }
    }

    fn define(&mut self, edit: impl FnOnce(&mut ZoneSettings)) {
        edit(&mut self.settings);
        self.settings.revision += 1;
        let settings = self.settings.clone();
        let mut events = Vec::new();
        self.line.define(settings.clone(), self.now, &mut events);
        let conflict = self.call(Command::Define { settings: &settings, if_revision: Some(settings.revision) }).0;
        assert_eq!(line::done(&conflict).unwrap(), Err(Hindered::Conflict(settings.revision - 1)));
        let (_, written) = self.tell(Command::Define { settings: &settings, if_revision: Some(settings.revision - 1) });
        assert_eq!(written, events);
        self.journal.extend(events);
    }

    /// What the ledger would not keep is forgotten: old tickets before the front.
    fn kept(&self) -> Vec<ZoneEvent> {
        let epoch = self.settings.epoch;
        let front = self.journal.iter().filter_map(|event| match event.change {
            ZoneChange::Front { epoch: of, seq } if of == epoch => Some(seq),
            _ => None,
        });
        let front = TicketNumber { epoch, seq: front.max().unwrap_or(0) };
        let kept = |event: &&ZoneEvent| match event.change {
            ZoneChange::Admitted { ticket, at } | ZoneChange::Left { ticket, at } => ticket >= front || self.now.since_ms(at) < 60_000,
            _ => true,
        };
        self.journal.iter().filter(kept).cloned().collect()
    }

    fn restart(&mut self, empty: bool) {
        let kept = self.kept();
        self.seed += 1;
        self.line = Line::new(ZONE, self.settings.clone(), self.seed, self.now);
        let mut facts = Facts::new(self.settings.clone(), self.version);
        for event in &kept {
            self.line.replay(&event.change);
            facts.take(&event.change);
        }
        self.line.recover(self.now);
        let settings = self.settings.clone();
        if empty {
            flush(self.runtime, self.server);
            self.caller.home.epoch += 1;
            self.tell(Command::Create { settings: &settings, test_clock: true, suspended: true });
        } else {
            let epoch = self.caller.home.epoch + 1;
            self.tell(Command::Suspend { epoch });
            let late = self.call(Command::Sweep { most: 1 }).0;
            assert_eq!(line::done(&late).unwrap(), Err(Hindered::Epoch(epoch)));
            self.caller.home.epoch = epoch;
        }
        let early = self.call(Command::Sweep { most: 1 }).0;
        assert_eq!(line::done(&early).unwrap(), Err(Hindered::Suspended));
        for command in facts.sorted().commands(self.now) {
            let (answer, events) = self.call(command);
            assert!(answer.len() > 1 && answer[1] == 0 && events.is_empty(), "{command:?}: {answer:?}");
        }
        self.sweep();
    }

    fn same_answer(&self, number: TicketNumber, mine: Answer, theirs: Answer) {
        let (Answer::Waiting(mine), Answer::Waiting(theirs)) = (mine, theirs) else {
            assert_eq!(mine, theirs, "{number:?} at {:?}", self.now);
            return;
        };
        let estimated_seconds = mine.estimated_seconds;
        assert!(about(mine.estimated_seconds, theirs.estimated_seconds), "{number:?} at {:?}: {mine:?}, in Redis {theirs:?}", self.now);
        assert_eq!(Place { estimated_seconds, polling_ms: mine.polling_ms, ..theirs }, mine, "{number:?} at {:?}", self.now);
        let (one, other) = (mine.polling_ms, theirs.polling_ms);
        // Nine tenths of a period to eleven tenths of it; an estimate that differs by a second moves it by a quarter of one. What is below the
        // shortest interval is timed to an entry, without jitter.
        let timed = one.min(other) < self.settings.poll_interval_ms * 9 / 10;
        let slack =
            if timed { 0 } else { one.max(other) * 2 / 11 + 2 } + if theirs.estimated_seconds == estimated_seconds { 0 } else { 250 };
        assert!(one.abs_diff(other) <= slack, "{number:?} at {:?}: told {one} ms, in Redis {other} ms, {mine:?}", self.now);
    }

    fn compare(&mut self) {
        let mut events = Vec::new();
        self.line.minute(self.now, &mut events);
        let (_, written) = self.tell(Command::Minute);
        assert_eq!(written, events);
        self.journal.extend(events);
        let mine = self.line.status(self.left, self.now);
        let answer = self.call(Command::Status { left: self.left }).0;
        let report = line::report(&answer).unwrap().unwrap();
        let estimated_seconds = mine.estimated_seconds;
        assert!(about(mine.estimated_seconds, report.status.estimated_seconds), "{mine:?}, in Redis {:?}", report.status);
        assert_eq!(Status { estimated_seconds, ..report.status }, mine, "at {:?}", self.now);
        assert_eq!((&report.settings, report.version), (self.line.settings(), self.version));
    }
}

/// What Redis is told together with the removal of the entry, and the other line by itself.
fn reservation(event: &ZoneEvent) -> Option<(u32, u32)> {
    if let ZoneChange::Reserved { epoch, upto } = event.change { Some((epoch, upto)) } else { None }
}

/// Redis forgets everything but scripts.
fn flush(runtime: &Runtime, server: &RedisServer) {
    runtime.block_on(async { redis::cmd("FLUSHALL").query_async::<()>(&mut server.connect().await).await }).unwrap();
}

fn about(one: Option<u32>, other: Option<u32>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.abs_diff(other) <= 1,
        (one, other) => one == other,
    }
}

/// 64 crowds of up to 200 steps, or as many as `BUNHO_LINE_CASES` says.
fn cases() -> u32 {
    std::env::var("BUNHO_LINE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

#[test]
fn redis_decides_as_the_domain_does() {
    let server = RedisServer::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig { cases: cases(), max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = prop::test_runner::TestRunner::new(config);
    let outcome = runner.run(&prop::collection::vec(op(), 20..200), |ops| {
        let mut run = Run::new(&runtime, &server);
        ops.iter().for_each(|op| run.apply(op));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
