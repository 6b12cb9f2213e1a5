//! The line against a model that is too simple to be wrong: tickets in a map, everything counted by walking it.
//!
//! Random crowds join, poll on time, late and early, leave, and fall silent, while settings change and the server
//! restarts. After every step the line must have decided as the model does. Time moves in steps of the line's tick, so
//! that a deadline has come for both in the same step.

mod model;

use bunho_domain::event::{TicketNumber, ZoneChange, ZoneEvent};
use bunho_domain::ids::{AppId, ZoneId};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::line::{Answer, Issued, Join, JoinOutcome, Line, OfferLeft, POLL_SLACK_MS, Poll, PollRefusal, State, TICK_MS};
use bunho_domain::time::Millis;
use model::{Model, Standing, Ticket};
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
