//! A whole visit: a look at the offer, the line in front of it, and the claim with the pass that the line gave.

use super::line::Line;
use super::shop::Shop;
use super::{Moment, Next, Step, UNANSWERED_RETRY_US, problem_code};
use crate::driver::response::Answer;
use crate::meter::{Meter, Outcome};
use crate::record::{Call, Offer, Trail, Zone};

/// Visitors.
pub struct Mixed {
    line: Line,
    shop: Shop,
    read: Vec<u8>,
    visitors: Vec<Visitor>,
}

#[derive(Clone, Default)]
struct Visitor {
    place: Place,
    /// Its pass, from the line to the end of the claim.
    pass: Option<Box<str>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Outside,
    InLine,
    InShop,
}

impl Mixed {
    /// Visitors of a line that leads to a shop.
    #[must_use]
    pub fn new(host: &str, offer: &str, line: Line, shop: Shop) -> Self {
        let read = format!("GET /v1/offers/{offer} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes();
        Self { line, shop, read, visitors: Vec::new() }
    }

    /// See [`super::Crowd::begin`].
    pub fn begin(&mut self, user: u32, now_us: u64) -> u64 {
        if user as usize >= self.visitors.len() {
            self.visitors.resize(user as usize + 1, Visitor::default());
        }
        self.visitors[user as usize] = Visitor::default();
        self.line.begin(user, now_us)
    }

    /// See [`super::Crowd::request`].
    pub fn request(&mut self, user: u32, out: &mut Vec<u8>) -> Call {
        let visitor = &self.visitors[user as usize];
        match visitor.place {
            Place::Outside => {
                out.extend_from_slice(&self.read);
                Call::Read
            }
            Place::InLine => self.line.request(user, out),
            Place::InShop => self.shop.request(user, visitor.pass.as_deref(), out),
        }
    }

    /// See [`super::Crowd::answered`].
    pub fn answered<'a>(&mut self, user: u32, moment: Moment, answer: &Answer<'a>, meter: &mut Meter) -> Step<'a> {
        let visitor = &mut self.visitors[user as usize];
        match visitor.place {
            Place::Outside => {
                visitor.place = Place::InLine;
                let outcome = if answer.status == 200 { Outcome::Good } else { Outcome::Failed(problem_code(answer)) };
                Step { outcome, next: Next::At(moment.now_us) }
            }
            Place::InLine => {
                let (mut step, pass) = self.line.answered(user, moment, answer, meter);
                if let Some(pass) = pass {
                    visitor.pass = Some(pass.into());
                }
                // Once more in line where it asks for its pass again; then, or at once, it buys.
                if step.next == Next::Done && visitor.pass.is_some() {
                    visitor.place = Place::InShop;
                    step.next = Next::At(self.shop.begin(user, moment.now_us));
                }
                step
            }
            Place::InShop => self.shop.answered(user, moment, answer, meter),
        }
    }

    /// See [`super::Crowd::unanswered`].
    pub fn unanswered(&mut self, user: u32, now_us: u64, meter: &mut Meter) -> Next {
        match self.visitors[user as usize].place {
            Place::Outside => Next::At(now_us + UNANSWERED_RETRY_US),
            Place::InLine => self.line.unanswered(user, now_us),
            Place::InShop => self.shop.unanswered(user, now_us, meter),
        }
    }

    /// See [`super::Crowd::stop`].
    pub fn stop(&mut self, user: u32, meter: &mut Meter) {
        if self.visitors[user as usize].place == Place::InLine {
            self.line.stop(user, meter);
        }
    }

    /// What the record has of it.
    #[must_use]
    pub fn finish(self) -> (Zone, Vec<Trail>, Vec<Offer>) {
        let (zone, trails) = self.line.finish();
        (zone, trails, self.shop.finish())
    }
}
