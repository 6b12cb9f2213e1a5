//! One history, decided by the domain's line and by the one in Redis, and compared after each step.

use super::*;

/// Both lines, and what clients and the journal keep.
pub(super) struct Run<'a> {
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

pub(super) fn settings() -> ZoneSettings {
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
        door: Door { challenge_bits: 12, enqueue: Enqueue::Token, pass_bound: true },
        ..ZoneSettings::new(ZoneId::parse("z").unwrap(), AppId::parse("a").unwrap(), Some(6))
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(runtime: &'a Runtime, server: &'a RedisServer) -> Self {
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
    pub(super) fn call(&mut self, command: Command<'_>) -> (Vec<u8>, Vec<ZoneEvent>) {
        self.call_held(command, None)
    }

    pub(super) fn call_held(&mut self, command: Command<'_>, told: Option<Answer>) -> (Vec<u8>, Vec<ZoneEvent>) {
        let period_ms = if let Some(Answer::Waiting(place)) = told { place.polling_ms } else { 0 };
        let commands = if period_ms == 0 { vec![command] } else { vec![Command::Hold { period_ms }, command] };
        let (mut answers, events) = self.run(&commands);
        (answers.pop().unwrap(), events)
    }

    pub(super) fn run(&mut self, commands: &[Command<'_>]) -> (Vec<Vec<u8>>, Vec<ZoneEvent>) {
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
    pub(super) fn tell(&mut self, command: Command<'_>) -> (bool, Vec<ZoneEvent>) {
        let (answer, events) = self.call(command);
        (line::done(&answer).unwrap().unwrap_or_else(|hindered| panic!("{command:?}: {hindered:?}")), events)
    }

    pub(super) fn apply(&mut self, op: &Op) {
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

    pub(super) fn sweep(&mut self) {
        while self.line.sweep(self.now, 1_000) {}
        for _ in 0..2_000 {
            if !self.tell(Command::Sweep { most: 1_000 }).0 {
                return;
            }
        }
        panic!("there is always more to sweep");
    }

    pub(super) fn client(&self, who: usize) -> Option<usize> {
        // Mostly recent ones: the others are gone.
        let recent = self.clients.len().min(24);
        (recent > 0).then(|| self.clients.len() - 1 - who % recent)
    }

    pub(super) fn join(&mut self, key: Option<u64>) {
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

    pub(super) fn poll_client(&mut self, who: usize) {
        let Some(who) = self.client(who) else { return };
        let client = self.clients[who];
        if let Some(answer) = self.poll(Poll { number: client.number, nonce: client.nonce, issued_at: client.issued_at }) {
            self.clients[who].answer = answer;
        }
    }

    pub(super) fn poll(&mut self, poll: Poll) -> Option<Answer> {
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
    pub(super) fn together(&mut self, steps: &[(u8, usize)]) {
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

    pub(super) fn leave(&mut self, who: usize) {
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

    pub(super) fn define(&mut self, edit: impl FnOnce(&mut ZoneSettings)) {
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
    pub(super) fn kept(&self) -> Vec<ZoneEvent> {
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

    pub(super) fn restart(&mut self, empty: bool) {
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

    pub(super) fn same_answer(&self, number: TicketNumber, mine: Answer, theirs: Answer) {
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

    pub(super) fn compare(&mut self) {
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
pub(super) fn reservation(event: &ZoneEvent) -> Option<(u32, u32)> {
    if let ZoneChange::Reserved { epoch, upto } = event.change { Some((epoch, upto)) } else { None }
}

/// Redis forgets everything but scripts.
pub(super) fn flush(runtime: &Runtime, server: &RedisServer) {
    runtime.block_on(async { redis::cmd("FLUSHALL").query_async::<()>(&mut server.connect().await).await }).unwrap();
}

pub(super) fn about(one: Option<u32>, other: Option<u32>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.abs_diff(other) <= 1,
        (one, other) => one == other,
    }
}
