//! People who wait at a zone through two nodes and poll when they are told to, under a clock that the test moves; and what the journal has of them.

use crate::redis::{audit, fresh_tag, open, patient, trusting};
use bunho_domain::event::{Event, ZoneChange, ZoneEvent};
use bunho_domain::ids::{AppId, ZoneId};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::line::{Answer, Issued, Join, OfferLeft, Poll, PollRefusal};
use bunho_engine::cluster::redis::{DecideError, Decider, DeciderClock, DeciderOptions, Entry, MemoryJournal, Of, ZoneHome};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// One enters in each second while there is a line, so that only who is at the front can be let in.
pub const LIMIT: usize = 10;
pub const WINDOW_MS: i64 = 10_000;
/// Polls that are due so close together are made together.
const TOGETHER_MS: i64 = 20;

pub fn settings() -> ZoneSettings {
    ZoneSettings {
        window_seconds: 10,
        slot_seconds: 1,
        abandon_after_seconds: 6,
        resume_grace_seconds: 8,
        poll_interval_ms: 500,
        poll_interval_max_ms: 2_500,
        message: Some("곧".into()),
        ..ZoneSettings::new(ZoneId::parse("z").unwrap(), AppId::parse("a").unwrap(), Some(LIMIT as u32))
    }
}

pub fn fresh_zone() -> ZoneHome {
    ZoneHome { number: fresh_tag(), epoch: 1 }
}

pub fn ticket(issued: &Issued) -> Poll {
    Poll { number: issued.number, nonce: issued.nonce, issued_at: issued.issued_at }
}

pub struct Person {
    pub issued: Issued,
    /// Whether it never polls, though it waits.
    pub silent: bool,
    /// When it was let in.
    pub admitted: Option<i64>,
    next: i64,
}

impl Person {
    fn told(&mut self, answer: Answer, now: i64) {
        match answer {
            Answer::Admitted(admission) => self.admitted = Some(admission.at.0),
            Answer::Waiting(place) => self.next = now + i64::from(place.polling_ms),
        }
    }

    pub fn waits(&self) -> bool {
        self.admitted.is_none() && !self.silent
    }
}

/// One zone, two nodes, and everybody there.
pub struct People {
    pub home: ZoneHome,
    pub nodes: [Arc<Decider>; 2],
    pub journals: [Arc<MemoryJournal>; 2],
    pub clock: Arc<AtomicI64>,
    pub all: Vec<Person>,
    /// Answers are lost, and either node may ship what the other has shipped too.
    trouble: bool,
}

impl People {
    pub async fn at(seeds: Vec<String>) -> Self {
        Self::through(trusting(seeds)).await
    }

    pub async fn in_trouble(seeds: Vec<String>) -> Self {
        Self { trouble: true, ..Self::through(patient(seeds)).await }
    }

    async fn through(options: DeciderOptions) -> Self {
        let clock = Arc::new(AtomicI64::new(1_800_000_000_000));
        let options = DeciderOptions { clock: DeciderClock::Manual(clock.clone()), ..options };
        let (one, one_journal) = open(options.clone()).await;
        let (other, other_journal) = open(options).await;
        let home = fresh_zone();
        one.create_zone(home, &settings(), &audit()).await.unwrap();
        Self {
            home,
            nodes: [Arc::new(one), Arc::new(other)],
            journals: [one_journal, other_journal],
            clock,
            all: Vec::new(),
            trouble: false,
        }
    }

    pub fn now(&self) -> i64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// So many come at once, each with a key and at both nodes.
    pub async fn come(&mut self, count: u64) {
        let home = self.home;
        let calls = (0..2 * count).map(|call| {
            let node = self.nodes[(call / 3 % 2) as usize].clone();
            async move { node.join(home, Join { nonce: 1_000 + call % count, keyed: true }, OfferLeft::Untied).await.unwrap() }
        });
        let now = self.now();
        let mut by_number: BTreeMap<u32, Person> = BTreeMap::new();
        for issued in join_all(calls).await {
            let person = Person { issued, silent: issued.number.seq % 5 == 4, admitted: None, next: now };
            let known = by_number.entry(issued.number.seq).or_insert(person);
            assert_eq!(known.issued.nonce, issued.nonce, "a number was given to two people");
            known.told(issued.answer, now);
        }
        assert_eq!(by_number.len() as u64, count, "a key gives one ticket");
        self.all.extend(by_number.into_values());
    }

    /// Everyone who waits asks at once, the last first.
    pub async fn all_ask(&mut self) {
        let who = (0..self.all.len()).rev().filter(|who| self.all[*who].waits()).collect();
        self.ask(who).await;
    }

    /// Moves the clock to the next poll, and makes those that are due. False: nobody waits.
    pub async fn next_polls(&mut self) -> bool {
        let waiting = || (0..self.all.len()).filter(|who| self.all[*who].waits());
        let Some(first) = waiting().map(|who| self.all[who].next).min() else { return false };
        let due: Vec<usize> = waiting().filter(|who| self.all[*who].next <= first + TOGETHER_MS).collect();
        let latest = due.iter().map(|who| self.all[*who].next).max().unwrap_or(first);
        self.clock.fetch_max(latest, Ordering::Relaxed);
        self.ask(due).await;
        true
    }

    async fn ask(&mut self, who: Vec<usize>) {
        let (now, home) = (self.now(), self.home);
        let calls = who.iter().enumerate().map(|(turn, who)| {
            let (node, poll) = (self.nodes[(turn + who) % 2].clone(), ticket(&self.all[*who].issued));
            async move { node.poll(home, poll, OfferLeft::Untied).await }
        });
        for (who, told) in who.iter().zip(join_all(calls).await) {
            match told {
                Ok(Ok(answer)) => self.all[*who].told(answer, now),
                Ok(Err(PollRefusal::TooFast { retry_ms })) if self.trouble => self.all[*who].next = now + i64::from(retry_ms),
                Err(DecideError::Indeterminate(_) | DecideError::Unavailable(_)) if self.trouble => {}
                told => panic!("{told:?}"),
            }
        }
    }

    /// What the journals have of this zone, in the order of its outbox.
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        let entries = self.journals.iter().flat_map(|journal| journal.entries());
        let mut entries: Vec<Arc<Entry>> = entries.filter(|entry| entry.of == Of::Zone(self.home.number)).collect();
        entries.sort_by_key(|entry| entry.id);
        if self.trouble {
            entries.dedup_by_key(|entry| entry.id);
        }
        assert!(entries.windows(2).all(|pair| pair[0].id != pair[1].id), "an entry was shipped twice, though nothing went wrong");
        entries
    }

    /// What was promised: each admission in the journal once and as it was told; the limit in every window; and the order of the line among
    /// those who waited from the same time on.
    pub fn check(&self) {
        let admitted = admissions(&self.entries());
        let told: BTreeMap<u32, i64> = self.all.iter().filter_map(|person| Some((person.issued.number.seq, person.admitted?))).collect();
        assert_eq!(admitted.iter().copied().collect::<BTreeMap<u32, i64>>(), told, "what was told is what the journal has");
        assert_eq!(admitted.len(), told.len(), "somebody was let in twice");
        let mut times: Vec<i64> = told.values().copied().collect();
        assert!(times.is_sorted(), "somebody was overtaken: {told:?}");
        times.sort_unstable();
        assert!(times.windows(LIMIT + 1).all(|some| some[LIMIT] - some[0] >= WINDOW_MS), "more than {LIMIT} in a window: {times:?}");
    }
}

pub fn events(entries: &[Arc<Entry>]) -> impl Iterator<Item = &ZoneEvent> {
    entries.iter().flat_map(|entry| &entry.record.events).map(|event| match event {
        Event::Zone(event) => event,
        Event::Offer(event) => panic!("no offer is here: {event:?}"),
    })
}

/// Number and time of each admission.
pub fn admissions(entries: &[Arc<Entry>]) -> Vec<(u32, i64)> {
    let admitted = events(entries).filter_map(|event| match event.change {
        ZoneChange::Admitted { ticket, at } => Some((ticket.seq, at.0)),
        _ => None,
    });
    admitted.collect()
}
