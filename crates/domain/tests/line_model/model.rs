//! The model: everything is kept, nothing is summed up, and each question is answered by walking.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
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
pub(super) struct Ticket {
    pub(super) nonce: u64,
    pub(super) issued_at: Millis,
    pub(super) standing: Standing,
    pub(super) touched: Millis,
    pub(super) period_ms: i64,
    pub(super) hasty: u32,
    pub(super) shown_rank: u32,
    /// Whether an event keeps it from coming back to the line after a restart.
    pub(super) written_off: bool,
}

/// All tickets ever, by number, and all admissions ever.
pub(super) struct Model {
    pub(super) settings: ZoneSettings,
    pub(super) left: OfferLeft,
    pub(super) now: Millis,
    pub(super) next: u32,
    pub(super) reserved: u32,
    pub(super) tickets: BTreeMap<u32, Ticket>,
    pub(super) keys: HashMap<u64, u32>,
    /// Sessions of older epochs.
    pub(super) former: BTreeMap<TicketNumber, Millis>,
    pub(super) admissions: Vec<Millis>,
    pub(super) highest_admitted: Option<u32>,
    pub(super) listen_until: Millis,
    pub(super) restore_until: Millis,
    pub(super) below: u32,
    /// Told to be the first number that may still wait, and when that was looked at.
    pub(super) front: u32,
    pub(super) looked_at: Millis,
}

impl Model {
    pub(super) fn entered_since(&self, from_exclusive: Millis) -> u32 {
        self.admissions.iter().filter(|at| **at > from_exclusive).count() as u32
    }

    pub(super) fn window_room(&self) -> u32 {
        let window = self.now.plus_ms(-i64::from(self.settings.window_seconds) * 1_000);
        self.settings.entry_limit_per_minute.map_or(u32::MAX, |n| n.saturating_sub(self.entered_since(window)))
    }

    pub(super) fn slot_room(&self) -> u32 {
        let slot_ms = i64::from(self.settings.slot_seconds) * 1_000;
        let start = Millis(self.now.0 / slot_ms * slot_ms - 1);
        self.settings.slot_quota().map_or(u32::MAX, |quota| quota.saturating_sub(self.entered_since(start)))
    }

    pub(super) fn active(&self) -> u32 {
        let inside = |t: &&Ticket| matches!(t.standing, Standing::Admitted { session_over: false, .. });
        (self.tickets.values().filter(inside).count() + self.former.len()) as u32
    }

    pub(super) fn seats(&self) -> u32 {
        self.settings.active_limit.map_or(u32::MAX, |limit| limit.saturating_sub(self.active()))
    }

    pub(super) fn listens(&self) -> bool {
        self.now < self.listen_until
    }

    pub(super) fn state(&self) -> State {
        let s = &self.settings;
        if s.opens_at.is_some_and(|at| self.now < at) {
            State::NotOpen
        } else if s.entry_limit_per_minute == Some(0) {
            State::Closed
        } else if s.paused {
            State::Paused
        } else if self.left == OfferLeft::Some(0) {
            State::SoldOut
        } else if self.left == OfferLeft::Unknown || self.listens() {
            State::Recovering
        } else {
            State::Waiting
        }
    }

    pub(super) fn count(&self, seqs: impl std::ops::RangeBounds<u32>, counts: &[Standing]) -> u32 {
        self.tickets.range(seqs).filter(|(_, t)| counts.contains(&t.standing)).count() as u32
    }

    pub(super) fn end(&mut self, seq: u32) {
        let Some(ticket) = self.tickets.get_mut(&seq) else { return };
        ticket.standing = Standing::Ended;
        let nonce = ticket.nonce;
        self.forget_key(nonce, seq);
    }

    pub(super) fn forget_key(&mut self, nonce: u64, seq: u32) {
        if self.keys.get(&nonce) == Some(&seq) {
            self.keys.remove(&nonce);
        }
    }

    /// Every ticket changes as its deadlines say.
    pub(super) fn tick(&mut self, now: Millis) {
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

    pub(super) fn admit(&mut self, seq: u32) {
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
    pub(super) fn find(&mut self, poll: Poll) -> Option<u32> {
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
    pub(super) fn serve(&mut self, seq: u32, answer: Answer) {
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

    pub(super) fn waits(&mut self, seq: u32, answer: Answer) {
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
    pub(super) fn moved_front(&mut self) -> Option<u32> {
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
    pub(super) fn is_kept(&self, event: &ZoneEvent) -> bool {
        let front = TicketNumber { epoch: self.settings.epoch, seq: self.front };
        match event.change {
            ZoneChange::Admitted { ticket, at } | ZoneChange::Left { ticket, at } => ticket >= front || self.now.since_ms(at) < 60_000,
            _ => true,
        }
    }

    /// Waiting is forgotten; what events told is not.
    pub(super) fn restart(&mut self) {
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
