//! Passes that take one claim: where it is kept which pass took which.
//!
//! A claim that was taken where [`super::settings::OfferSettings::pass_once`] is on says in its own attributes which pass took it. So whatever
//! carries claims (a journal, a ledger, a state that is loaded from either) carries this as well, and whoever reads a claim can see it. The member
//! stands first, so that it is read without reading JSON, and no client can send one: the server refuses the name.

use super::refusal::Refusal;
use super::{Offer, Pass};
use crate::event::TicketNumber;
use crate::limits::{ATTRIBUTES_BYTES_MAX, STORED_ATTRIBUTES_BYTES_MAX};
use crate::ticket::ticket_id;
use std::fmt;

/// The attribute that names the pass; clients cannot send it.
pub const PASS_ATTRIBUTE: &str = "bunho.pass";

/// What attributes begin with that name a pass.
const BEGIN: &str = "{\"bunho.pass\":\"";
// Three numbers of ten digits, two hyphens, and what closes the text and follows it.
const _: () = assert!(BEGIN.len() + 3 * 10 + 2 + 2 + ATTRIBUTES_BYTES_MAX <= STORED_ATTRIBUTES_BYTES_MAX);

/// Which pass it is: that of one place in one zone's line. A place that is admitted again, or whose pass is signed again, has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassId {
    /// The zone's number.
    pub zone_number: u32,
    /// The place. No other has its number, whatever becomes of the line.
    pub ticket: TicketNumber,
}

impl fmt::Display for PassId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ticket_id(self.zone_number, self.ticket))
    }
}

impl Offer {
    /// The name of the pass that a new claim would use up; none: this offer does not ask.
    pub(super) fn unused_pass(&self, pass: Pass) -> Result<Option<String>, Refusal> {
        let (true, Pass::Valid(id)) = (self.settings.pass_once, pass) else { return Ok(None) };
        let name = id.to_string();
        if self.book.knows_pass(&name) { Err(Refusal::PassUsed) } else { Ok(Some(name)) }
    }
}

/// A client's attributes with the pass in front.
pub(super) fn with_pass(attributes: Option<&str>, pass: &str) -> String {
    let (between, rest) = match attributes {
        Some(attributes) => (",", unopened(attributes)),
        None => ("", "}"),
    };
    format!("{BEGIN}{pass}\"{between}{rest}")
}

/// The pass that attributes name.
pub(super) fn pass_of(attributes: &str) -> Option<&str> {
    Some(parts(attributes)?.0)
}

/// Whether what is stored is what a client sends.
pub(super) fn are_same(stored: Option<&str>, sent: Option<&str>) -> bool {
    match stored.and_then(parts) {
        Some((_, own)) => own == sent.map(unopened),
        None => stored == sent,
    }
}

/// An object without its first brace.
fn unopened(attributes: &str) -> &str {
    attributes.strip_prefix('{').unwrap_or_default()
}

/// The pass and the client's own attributes without their first brace, of attributes that name a pass.
fn parts(attributes: &str) -> Option<(&str, Option<&str>)> {
    let (pass, rest) = attributes.strip_prefix(BEGIN)?.split_once('"')?;
    Some((pass, rest.strip_prefix(',')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sent_is_told_from_what_was_added() {
        for sent in [None, Some("{\"a\":1}"), Some("{\"a\":\"\\\"김\"}"), Some("{\"bunho.pass\":7}"), Some("{\"bunho.passes\":\"7-1-2\"}")]
        {
            let stored = with_pass(sent, "7-1-42");
            assert!(stored.starts_with("{\"bunho.pass\":\"7-1-42\"") && stored.ends_with('}'), "{stored}");
            assert_eq!((pass_of(&stored), sent.and_then(pass_of)), (Some("7-1-42"), None), "{stored}");
            for other in [None, Some("{\"a\":1}"), Some("{\"a\":2}"), Some("{\"a\":\"\\\"김\"}"), Some("{\"bunho.pass\":7}")] {
                assert_eq!((are_same(Some(&stored), other), are_same(sent, other)), (sent == other, sent == other), "{stored} {other:?}");
            }
        }
        assert!(BEGIN.contains(PASS_ATTRIBUTE));
    }

    #[test]
    fn the_longest_attributes_stay_in_their_bound() {
        let most = PassId { zone_number: u32::MAX, ticket: TicketNumber { epoch: u32::MAX, seq: u32::MAX } }.to_string();
        let sent = format!("{{\"a\":\"{}\"}}", "x".repeat(ATTRIBUTES_BYTES_MAX - 8));
        assert!(with_pass(Some(&sent), &most).len() <= STORED_ATTRIBUTES_BYTES_MAX);
    }
}
