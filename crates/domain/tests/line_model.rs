//! The line against a model that is too simple to be wrong: tickets in a map, everything counted by walking it.
//!
//! Random crowds join, poll on time, late and early, leave, and fall silent, while settings change and the server
//! restarts. After every step the line must have decided as the model does. Time moves in steps of the line's tick, so
//! that a deadline has come for both in the same step.

use bunho_domain::event::{TicketNumber, ZoneChange, ZoneEvent};
use bunho_domain::ids::{AppId, ZoneId};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::line::{Answer, Issued, Join, JoinOutcome, Line, OfferLeft, POLL_SLACK_MS, Poll, PollRefusal, State, TICK_MS};
use bunho_domain::time::Millis;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};

const START: i64 = 1_767_225_600_000;

/// How often the front is told at most.
const FRONT_EVERY_MS: i64 = 10_000;

#[derive(Clone, Debug)]
enum Op {
    Wait {
        ticks: i64,
    },
    Join {
        key: Option<u64>,
    },
    /// Whoever is at this place among all who ever got a ticket.
    Poll {
        who: usize,
    },
    /// The same, when told to: time moves there.
    PollWhenTold {
        who: usize,
    },
    Leave {
        who: usize,
    },
    Limit {
        limit: Option<u32>,
    },
    Slot {
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
        ticks: i64,
    },
    Reset,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0_i64..8).prop_map(|ticks| Op::Wait { ticks }),
        1 => (8_i64..120).prop_map(|ticks| Op::Wait { ticks }),
        9 => prop::option::of(0_u64..12).prop_map(|key| Op::Join { key }),
        14 => any::<usize>().prop_map(|who| Op::Poll { who }),
        14 => any::<usize>().prop_map(|who| Op::PollWhenTold { who }),
        2 => any::<usize>().prop_map(|who| Op::Leave { who }),
        1 => prop::option::weighted(0.9, 0_u32..8).prop_map(|limit| Op::Limit { limit }),
        1 => (1_u32..=10).prop_map(|seconds| Op::Slot { seconds }),
        1 => prop::option::of(0_u32..9).prop_map(|limit| Op::Active { limit }),
        1 => any::<bool>().prop_map(|paused| Op::Pause { paused }),
        1 => prop_oneof![Just(OfferLeft::Untied), Just(OfferLeft::Unknown), (0_u32..3).prop_map(OfferLeft::Some)].prop_map(|left| Op::Stock { left }),
        1 => (-20_i64..20).prop_map(|ticks| Op::OpensIn { ticks }),
        1 => prop_oneof![1 => Just(Op::Reset), 3 => Just(Op::Restart)],
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Present,
    Absent,
    Dormant,
    Admitted {
        pass_over: bool,
        session_over: bool,
        met: bool,
    },
    /// Waited before a restart and has not been back.
    Lost,
    Ended,
}

#[derive(Clone, Debug)]
struct Ticket {
    nonce: u64,
    issued_at: Millis,
    standing: Standing,
    touched: Millis,
    period_ms: i64,
    hasty: u32,
    shown_rank: u32,
    /// Whether an event keeps it from coming back to the line after a restart.
    written_off: bool,
}

/// All tickets ever, by number, and all admissions ever.
struct Model {
    settings: ZoneSettings,
    left: OfferLeft,
    now: Millis,
    next: u32,
    reserved: u32,
    tickets: BTreeMap<u32, Ticket>,
    keys: HashMap<u64, u32>,
    /// Sessions of older epochs.
    former: BTreeMap<TicketNumber, Millis>,
    admissions: Vec<Millis>,
    highest_admitted: Option<u32>,
    listen_until: Millis,
    restore_until: Millis,
    below: u32,
    /// Told to be the first number that may still wait, and when that was looked at.
    front: u32,
    looked_at: Millis,
}

impl Model {
    fn entered_since(&self, from_exclusive: Millis) -> u32 {
        self.admissions.iter().filter(|at| **at > from_exclusive).count() as u32
    }

    fn window_room(&self) -> u32 {
        let window = self.now.plus_ms(-i64::from(self.settings.window_seconds) * 1_000);
        self.settings.entry_limit_per_minute.map_or(u32::MAX, |n| n.saturating_sub(self.entered_since(window)))
    }

    fn slot_room(&self) -> u32 {
        let slot_ms = i64::from(self.settings.slot_seconds) * 1_000;
        let start = Millis(self.now.0 / slot_ms * slot_ms - 1);
        self.settings.slot_quota().map_or(u32::MAX, |quota| quota.saturating_sub(self.entered_since(start)))
    }

    fn active(&self) -> u32 {
        let inside = |t: &&Ticket| matches!(t.standing, Standing::Admitted { session_over: false, .. });
        (self.tickets.values().filter(inside).count() + self.former.len()) as u32
    }

    fn seats(&self) -> u32 {
        self.settings.active_limit.map_or(u32::MAX, |limit| limit.saturating_sub(self.active()))
    }

    fn listens(&self) -> bool {
        self.now < self.listen_until
    }

    fn state(&self) -> State {
        let s = &self.settings;
        if s.opens_at.is_some_and(|at| self.now < at) {
            State::NotOpen
        } else if s.entry_limit_per_minute == Some(0) {
            State::Closed
        } else if s.paused {
            State::Paused
        } else if self.left == OfferLeft::Some(0) {
            State::SoldOut
        } else if self.listens() {
            State::Recovering
        } else {
            State::Waiting
        }
    }

    fn count(&self, seqs: impl std::ops::RangeBounds<u32>, counts: &[Standing]) -> u32 {
        self.tickets.range(seqs).filter(|(_, t)| counts.contains(&t.standing)).count() as u32
    }

    fn end(&mut self, seq: u32) {
        let Some(ticket) = self.tickets.get_mut(&seq) else { return };
        ticket.standing = Standing::Ended;
        let nonce = ticket.nonce;
        self.forget_key(nonce, seq);
    }

    fn forget_key(&mut self, nonce: u64, seq: u32) {
        if self.keys.get(&nonce) == Some(&seq) {
            self.keys.remove(&nonce);
        }
    }

    /// Every ticket changes as its deadlines say.
    fn tick(&mut self, now: Millis) {
        self.now = now;
        self.former.retain(|_, end| *end > now);
        let seqs: Vec<u32> = self.tickets.keys().copied().collect();
        for seq in seqs {
            let settings = &self.settings;
            let Some(ticket) = self.tickets.get_mut(&seq) else { continue };
            let abandoned = ticket.touched.plus_seconds(settings.abandon_after_seconds);
            if ticket.standing == Standing::Present && ticket.touched.plus_ms(ticket.period_ms + POLL_SLACK_MS).min(abandoned) <= now {
                ticket.standing = Standing::Absent;
            }
            if ticket.standing == Standing::Absent && abandoned <= now {
                ticket.standing = Standing::Dormant;
            }
            let mut ends = ticket.standing == Standing::Dormant && abandoned.plus_seconds(settings.resume_grace_seconds) <= now;
            let nonce = ticket.nonce;
            let mut over = false;
            if let Standing::Admitted { pass_over, session_over, .. } = &mut ticket.standing {
                *pass_over |= ticket.touched.plus_seconds(settings.pass_ttl_seconds) <= now;
                *session_over |= ticket.touched.plus_seconds(settings.session_seconds) <= now;
                ends = *pass_over && *session_over;
                over = *pass_over;
            }
            if over {
                self.forget_key(nonce, seq);
            }
            if ends {
                self.end(seq);
            }
        }
    }

    fn admit(&mut self, seq: u32) {
        let now = self.now;
        self.admissions.push(now);
        self.highest_admitted = self.highest_admitted.max(Some(seq));
        if let Some(ticket) = self.tickets.get_mut(&seq) {
            ticket.standing = Standing::Admitted { pass_over: false, session_over: false, met: true };
            ticket.written_off = true;
            ticket.touched = now;
        }
    }

    /// Finds a polled ticket, putting it back if a restart lost it. None: gone.
    fn find(&mut self, poll: Poll) -> Option<u32> {
        if poll.number.epoch != self.settings.epoch {
            return None;
        }
        let (now, below, lasts) = (self.now, self.below, self.now < self.restore_until);
        let seq = poll.number.seq;
        let ticket = self.tickets.get_mut(&seq)?;
        match &mut ticket.standing {
            Standing::Lost if lasts && seq < below => {
                ticket.standing = Standing::Present;
                ticket.touched = now;
                ticket.period_ms = 0;
                ticket.hasty = 0;
                ticket.shown_rank = u32::MAX;
                self.keys.entry(poll.nonce).or_insert(seq);
            }
            Standing::Lost | Standing::Ended => return None,
            Standing::Admitted { met: met @ false, pass_over, .. } => {
                *met = true;
                if !*pass_over {
                    self.keys.entry(poll.nonce).or_insert(seq);
                }
            }
            _ => {}
        }
        Some(seq)
    }

    /// What serving a known ticket must give: checked against the answer, from which only the period is taken over.
    fn serve(&mut self, seq: u32, answer: Answer) {
        let ticket = self.tickets.get_mut(&seq).expect("known");
        if let Standing::Admitted { .. } = ticket.standing {
            let Answer::Admitted(admission) = answer else { panic!("{seq} is admitted, not {answer:?}") };
            assert_eq!(admission.at, ticket.touched);
            assert_eq!(admission.expires_at, ticket.touched.plus_seconds(self.settings.pass_ttl_seconds));
            return;
        }
        ticket.standing = Standing::Present;
        ticket.touched = self.now;
        let ahead = self.count(..seq, &[Standing::Present]);
        let budget = self.window_room().min(self.slot_room()).min(self.seats());
        if self.state() == State::Waiting && ahead < budget {
            assert!(
                matches!(answer, Answer::Admitted(a) if a.at == self.now),
                "{seq}: {ahead} ahead of a budget of {budget}, but {answer:?}"
            );
            return self.admit(seq);
        }
        self.waits(seq, answer);
    }

    fn waits(&mut self, seq: u32, answer: Answer) {
        let ahead = self.count(..seq, &[Standing::Present]);
        let Answer::Waiting(place) = answer else { panic!("{seq} waits behind {ahead}, not {answer:?}") };
        assert_eq!(place.state, self.state());
        let alive = [Standing::Present, Standing::Absent];
        let mut rank = self.count(..seq, &alive) + 1;
        let listens = self.listens();
        let ticket = self.tickets.get_mut(&seq).expect("known");
        if listens {
            rank = rank.max((seq + 1).saturating_sub(self.front));
        } else {
            rank = rank.min(ticket.shown_rank);
            ticket.shown_rank = rank;
        }
        assert_eq!(place.rank, rank, "rank of {seq}");
        ticket.period_ms = i64::from(place.polling_ms);
        assert!((20..=self.settings.poll_interval_max_ms).contains(&place.polling_ms), "{place:?}");
        assert!(place.estimated_seconds.is_none() || place.state == State::Waiting, "{place:?}");
        assert_eq!(place.behind, self.count(seq + 1.., &alive));
    }

    /// What is to be told of the front now.
    fn moved_front(&mut self) -> Option<u32> {
        if self.now < self.restore_until || self.now.since_ms(self.looked_at) < FRONT_EVERY_MS {
            return None;
        }
        self.looked_at = self.now;
        let waits = |ticket: &Ticket| matches!(ticket.standing, Standing::Present | Standing::Absent | Standing::Dormant);
        let front = self.tickets.iter().find(|(_, ticket)| waits(ticket)).map_or(self.next, |(seq, _)| *seq);
        (front > self.front).then(|| {
            self.front = front;
            front
        })
    }

    /// Whether a restart still finds this event: not where it is of an old ticket before the front.
    fn is_kept(&self, event: &ZoneEvent) -> bool {
        let front = TicketNumber { epoch: self.settings.epoch, seq: self.front };
        match event.change {
            ZoneChange::Admitted { ticket, at } | ZoneChange::Left { ticket, at } => ticket >= front || self.now.since_ms(at) < 60_000,
            _ => true,
        }
    }

    /// Waiting is forgotten; what events told is not.
    fn restart(&mut self) {
        self.keys.clear();
        self.next = self.reserved;
        self.below = self.reserved;
        let s = &self.settings;
        if self.reserved > 0 {
            self.listen_until = self.now.plus_ms(2 * i64::from(s.poll_interval_ms));
            let silence = s.abandon_after_seconds + s.resume_grace_seconds;
            self.restore_until = self.now.plus_seconds(silence).plus_ms(i64::from(s.poll_interval_max_ms));
        }
        self.looked_at = self.now;
        for (seq, ticket) in &mut self.tickets {
            ticket.standing = match ticket.standing {
                Standing::Admitted { pass_over, session_over, .. } => Standing::Admitted { pass_over, session_over, met: false },
                Standing::Ended | Standing::Lost if *seq < self.front => Standing::Ended,
                Standing::Ended if ticket.written_off => Standing::Ended,
                _ => Standing::Lost,
            };
        }
    }
}

/// The line, the model, and what clients and the journal keep.
struct Run {
    line: Line,
    model: Model,
    journal: Vec<ZoneEvent>,
    clients: Vec<Issued>,
    nonces: u64,
}

impl Run {
    fn new() -> Self {
        let settings = ZoneSettings {
            window_seconds: 10,
            slot_seconds: 2,
            abandon_after_seconds: 6,
            resume_grace_seconds: 8,
            poll_interval_ms: 500,
            poll_interval_max_ms: 2_500,
            session_seconds: 12,
            pass_ttl_seconds: 9,
            ..ZoneSettings::new(ZoneId::parse("z").expect("an id"), AppId::parse("a").expect("an id"), Some(6))
        };
        assert_eq!(settings.check(), Ok(()));
        let now = Millis(START);
        let mut line = Line::new(1, settings.clone(), 42, now);
        let mut journal = Vec::new();
        line.define(settings.clone(), now, &mut journal);
        let model = Model {
            settings,
            left: OfferLeft::Untied,
            now,
            next: 0,
            reserved: 0,
            tickets: BTreeMap::new(),
            keys: HashMap::new(),
            former: BTreeMap::new(),
            admissions: Vec::new(),
            highest_admitted: None,
            listen_until: now,
            restore_until: now,
            below: 0,
            front: 0,
            looked_at: now,
        };
        Self { line, model, journal, clients: Vec::new(), nonces: 1_000 }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Wait { ticks } => self.wait_until(self.model.now.plus_ms(ticks * TICK_MS)),
            Op::Join { key } => self.join(key),
            Op::Poll { who } => self.poll(who),
            Op::PollWhenTold { who } => {
                if let Some(ticket) = self.client(who).and_then(|client| self.model.tickets.get(&client.number.seq)) {
                    let due = ticket.touched.plus_ms(ticket.period_ms);
                    self.wait_until(Millis((due.0 + TICK_MS - 1) / TICK_MS * TICK_MS));
                    self.poll(who);
                }
            }
            Op::Leave { who } => self.leave(who),
            Op::Limit { limit } => self.define(|s| s.entry_limit_per_minute = limit),
            Op::Slot { seconds } => self.define(|s| s.slot_seconds = seconds),
            Op::Active { limit } => self.define(|s| s.active_limit = limit),
            Op::Pause { paused } => self.define(|s| s.paused = paused),
            Op::OpensIn { ticks } => {
                let now = self.model.now;
                self.define(|s| s.opens_at = Some(now.plus_ms(ticks * TICK_MS)));
            }
            Op::Stock { left } => self.model.left = left,
            Op::Reset => self.reset(),
            Op::Restart => self.restart(),
        }
        self.compare();
    }

    fn wait_until(&mut self, now: Millis) {
        let now = now.max(self.model.now);
        self.model.tick(now);
        assert!(!self.line.sweep(now, usize::MAX));
    }

    fn client(&self, who: usize) -> Option<Issued> {
        // Mostly recent ones: the others are gone.
        let recent = self.clients.len().min(24);
        (recent > 0).then(|| self.clients[self.clients.len() - 1 - who % recent])
    }

    fn join(&mut self, key: Option<u64>) {
        self.nonces += 1;
        let nonce = key.unwrap_or(self.nonces);
        let mut events = Vec::new();
        if self.line.reserve(&mut events) {
            let ZoneChange::Reserved { epoch, upto } = events[0].change else { panic!("{events:?}") };
            let join = Join { nonce: 1, keyed: false };
            if self.model.reserved == 0 {
                let outcome = self.line.join(join, self.model.left, self.model.now, &mut Vec::new());
                assert_eq!(outcome, JoinOutcome::Unreserved, "nothing is given out before it is durable");
            }
            self.line.reserved(epoch, upto);
            self.model.reserved = upto;
        }
        let join = Join { nonce, keyed: key.is_some() };
        let outcome = self.line.join(join, self.model.left, self.model.now, &mut events);
        let JoinOutcome::Issued(issued) = outcome else { panic!("{outcome:?}") };
        self.journal.append(&mut events);
        let model = &mut self.model;
        assert_eq!(issued.nonce, nonce);
        if let Some(seq) = key.and_then(|key| model.keys.get(&key)).copied() {
            assert_eq!((issued.number.seq, issued.issued_at), (seq, model.tickets[&seq].issued_at), "the same key, the same ticket");
            return model.serve(seq, issued.answer);
        }
        let seq = model.next;
        model.next += 1;
        assert_eq!(issued.number, TicketNumber { epoch: model.settings.epoch, seq });
        let enters = model.count(.., &[Standing::Present, Standing::Absent]) == 0
            && model.state() == State::Waiting
            && model.window_room().min(model.seats()) > 0;
        let ticket = Ticket {
            nonce,
            issued_at: model.now,
            standing: Standing::Present,
            touched: model.now,
            period_ms: 0,
            hasty: 0,
            shown_rank: u32::MAX,
            written_off: false,
        };
        model.tickets.insert(seq, ticket);
        if key.is_some() {
            model.keys.insert(nonce, seq);
        }
        self.clients.push(issued);
        if enters {
            assert!(matches!(issued.answer, Answer::Admitted(_)), "nobody waits, but {:?}", issued.answer);
            model.admit(seq);
        } else {
            model.waits(seq, issued.answer);
        }
    }

    fn poll(&mut self, who: usize) {
        let Some(client) = self.client(who) else { return };
        let poll = Poll { number: client.number, nonce: client.nonce, issued_at: client.issued_at };
        let answer = self.line.poll(poll, self.model.left, self.model.now, &mut self.journal);
        let model = &mut self.model;
        let found = model.find(poll);
        let Some(seq) = found.filter(|seq| !matches!(model.tickets[seq].standing, Standing::Admitted { pass_over: true, .. })) else {
            assert_eq!(answer, Err(PollRefusal::Gone), "{:?}", model.tickets.get(&poll.number.seq));
            return;
        };
        let now = model.now;
        let ticket = model.tickets.get_mut(&seq).expect("known");
        if !matches!(ticket.standing, Standing::Admitted { .. }) {
            let elapsed = now.since_ms(ticket.touched);
            if elapsed * 3 >= ticket.period_ms {
                ticket.hasty = 0;
            } else if ticket.hasty < 3 {
                ticket.hasty += 1;
            } else {
                ticket.period_ms = (ticket.period_ms - elapsed).max(20);
                ticket.touched = now;
                assert_eq!(answer, Err(PollRefusal::TooFast { retry_ms: ticket.period_ms as u32 }));
                return;
            }
        }
        model.serve(seq, answer.unwrap_or_else(|refusal| panic!("{refusal:?} of {seq}")));
    }

    fn leave(&mut self, who: usize) {
        let Some(client) = self.client(who) else { return };
        let poll = Poll { number: client.number, nonce: client.nonce, issued_at: client.issued_at };
        let before = self.journal.len();
        self.line.leave(poll, self.model.now, &mut self.journal);
        let told = self.journal.len() > before;
        let model = &mut self.model;
        if poll.number.epoch < model.settings.epoch {
            assert_eq!(told, model.former.remove(&poll.number).is_some());
        } else if let Some(seq) = model.find(poll) {
            assert!(told);
            model.end(seq);
            model.tickets.get_mut(&seq).expect("known").written_off = true;
        } else {
            assert!(!told);
        }
        let again = self.journal.len();
        self.line.leave(poll, self.model.now, &mut self.journal);
        assert_eq!(self.journal.len(), again, "leaving twice is leaving once");
    }

    fn define(&mut self, edit: impl FnOnce(&mut ZoneSettings)) {
        edit(&mut self.model.settings);
        self.model.settings.revision += 1;
        self.line.define(self.model.settings.clone(), self.model.now, &mut self.journal);
    }

    fn reset(&mut self) {
        let model = &mut self.model;
        let epoch = model.settings.epoch;
        for (seq, ticket) in std::mem::take(&mut model.tickets) {
            if let Standing::Admitted { session_over: false, .. } = ticket.standing {
                model.former.insert(TicketNumber { epoch, seq }, ticket.touched.plus_seconds(model.settings.session_seconds));
            }
        }
        model.keys.clear();
        (model.next, model.reserved, model.highest_admitted) = (0, 0, None);
        (model.listen_until, model.restore_until, model.below) = (model.now, model.now, 0);
        (model.front, model.looked_at) = (0, model.now);
        self.define(|s| s.epoch += 1);
    }

    fn restart(&mut self) {
        let first = self.model.settings.clone();
        self.line = Line::new(1, first, 43, self.model.now);
        let model = &mut self.model;
        model.highest_admitted = None;
        for event in &self.journal {
            if !model.is_kept(event) {
                continue;
            }
            self.line.replay(&event.change);
            if let ZoneChange::Admitted { ticket, .. } = event.change
                && ticket.epoch == model.settings.epoch
            {
                model.highest_admitted = model.highest_admitted.max(Some(ticket.seq));
            }
        }
        self.line.recover(self.model.now);
        self.model.restart();
        // Admitted tickets whose pass and session are over have ended for the line too.
        self.model.tick(self.model.now);
    }

    fn tell(&mut self) {
        let before = self.journal.len();
        self.line.minute(self.model.now, &mut self.journal);
        let told: Vec<&ZoneChange> =
            self.journal[before..].iter().map(|event| &event.change).filter(|change| matches!(change, ZoneChange::Front { .. })).collect();
        let epoch = self.model.settings.epoch;
        let expected = self.model.moved_front().map(|seq| ZoneChange::Front { epoch, seq });
        assert_eq!(told, expected.iter().collect::<Vec<_>>());
    }

    fn compare(&mut self) {
        self.tell();
        let model = &self.model;
        let status = self.line.status(model.left, model.now);
        assert_eq!(status.waiting, model.count(.., &[Standing::Present, Standing::Absent]));
        assert_eq!(status.active, model.active());
        assert_eq!(status.state, model.state());
        assert_eq!(status.entered_last_minute, model.entered_since(model.now.plus_seconds(0).plus_ms(-60_000)));
    }
}

/// Every admission against every other, from the journal alone: never more than the limit in force in any window.
fn check_windows(journal: &[ZoneEvent]) {
    let mut limit = None;
    let mut admissions: Vec<Millis> = Vec::new();
    let mut tickets = BTreeSet::new();
    for event in journal {
        match &event.change {
            ZoneChange::Defined(settings) => limit = settings.entry_limit_per_minute,
            ZoneChange::Admitted { ticket, at } => {
                assert!(tickets.insert(*ticket), "{ticket:?} was admitted twice");
                admissions.push(*at);
                let in_window = admissions.iter().filter(|other| at.since_ms(**other) < 10_000).count() as u32;
                assert!(limit.is_none_or(|limit| in_window <= limit), "{in_window} in a window of {limit:?}");
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8_000, max_shrink_iters: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_line_decides_as_the_model_does(ops in prop::collection::vec(op(), 20..250)) {
        let mut run = Run::new();
        for op in &ops {
            run.apply(op);
        }
        check_windows(&run.journal);
    }
}
