//! A line, what happens to it, and a clock that the test moves.

use bunho_domain::event::{ZoneChange, ZoneEvent};
use bunho_domain::ids::{AppId, ZoneId};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::line::{Answer, Issued, Join, JoinOutcome, Line, OfferLeft, Place, Poll, PollRefusal};
use bunho_domain::time::Millis;

/// Start of a minute and of a slot.
pub const START: Millis = Millis(1_767_225_600_000);

/// A line, the events it gave, and a clock.
pub struct Story {
    pub line: Line,
    pub events: Vec<ZoneEvent>,
    pub now: Millis,
    nonce: u64,
}

impl Story {
    pub fn new(limit: Option<u32>, edit: impl FnOnce(&mut ZoneSettings)) -> Self {
        let mut settings = ZoneSettings::new(ZoneId::parse("z").expect("an id"), AppId::parse("a").expect("an id"), limit);
        edit(&mut settings);
        settings.check().expect("good settings");
        let mut story = Self { line: Line::new(9, settings.clone(), 1, START), events: Vec::new(), now: START, nonce: 0 };
        story.line.define(settings, START, &mut story.events);
        story
    }

    pub fn after(&mut self, ms: i64) {
        self.now = self.now.plus_ms(ms);
        while self.line.sweep(self.now, 1_000) {}
    }

    pub fn join(&mut self) -> Issued {
        self.nonce += 1;
        self.join_as(self.nonce)
    }

    pub fn join_as(&mut self, nonce: u64) -> Issued {
        if self.line.reserve(&mut self.events)
            && let Some(ZoneEvent { change: ZoneChange::Reserved { epoch, upto }, .. }) = self.events.last()
        {
            self.line.reserved(*epoch, *upto);
        }
        let outcome = self.line.join(Join { nonce, keyed: true }, OfferLeft::Untied, self.now, &mut self.events);
        let JoinOutcome::Issued(issued) = outcome else { panic!("{outcome:?}") };
        issued
    }

    pub fn poll(&mut self, ticket: Issued) -> Result<Answer, PollRefusal> {
        self.line.poll(as_poll(ticket), OfferLeft::Untied, self.now, &mut self.events)
    }

    pub fn place(&mut self, ticket: Issued) -> Place {
        place(self.poll(ticket).expect("an answer"))
    }

    pub fn leave(&mut self, ticket: Issued) {
        self.line.leave(as_poll(ticket), self.now, &mut self.events);
    }

    pub fn define(&mut self, edit: impl FnOnce(&mut ZoneSettings)) {
        let mut settings = self.line.settings().clone();
        edit(&mut settings);
        settings.revision += 1;
        self.line.define(settings, self.now, &mut self.events);
    }

    /// The front that is told now, if one is.
    pub fn front(&mut self) -> Option<u32> {
        let mut events = Vec::new();
        self.line.minute(self.now, &mut events);
        let epoch = self.line.settings().epoch;
        let front = events.iter().find_map(|event| match event.change {
            ZoneChange::Front { epoch: of, seq } => Some((of, seq)),
            _ => None,
        });
        self.events.append(&mut events);
        front.map(|(of, seq)| {
            assert_eq!(of, epoch);
            seq
        })
    }

    pub fn restart(&mut self) {
        self.line = Line::new(9, self.line.settings().clone(), 2, self.now);
        for event in &self.events {
            self.line.replay(&event.change);
        }
        self.line.recover(self.now);
    }
}

pub fn as_poll(ticket: Issued) -> Poll {
    Poll { number: ticket.number, nonce: ticket.nonce, issued_at: ticket.issued_at }
}

pub fn place(answer: Answer) -> Place {
    let Answer::Waiting(place) = answer else { panic!("{answer:?}") };
    place
}

pub fn entered(answer: Answer) -> bool {
    matches!(answer, Answer::Admitted(_))
}
