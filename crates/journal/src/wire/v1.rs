//! Version 1 of a record's layout. Frozen: see the module above before touching a field.
//!
//! The same types write and read. Text is borrowed both ways, from the event when writing and from the bytes when
//! reading, so writing allocates nothing and reading allocates only what the domain's own types keep.

use super::{Audit, Record, RecordRef, WireError};
use bunho_domain::event::Event;
use bunho_domain::time::Millis;
use event::EventV1;
use postcard::ser_flavors::Flavor;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

mod event;
mod offer;
mod zone;

#[derive(Serialize)]
struct Written<'a> {
    at: i64,
    events: WrittenEvents<'a>,
    audit: Option<AuditV1<'a>>,
}

/// Same layout as [`Written`], with the events as a list.
#[derive(Deserialize)]
struct Read<'a> {
    at: i64,
    #[serde(borrow)]
    events: Vec<EventV1<'a>>,
    audit: Option<AuditV1<'a>>,
}

struct WrittenEvents<'a>(&'a [Event]);

impl Serialize for WrittenEvents<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(EventV1::from))
    }
}

#[derive(Serialize, Deserialize)]
struct AuditV1<'a> {
    actor: &'a str,
    action: &'a str,
    target: &'a str,
    detail: Option<&'a str>,
    request_id: Option<&'a str>,
}

impl<'a> From<&'a Audit> for AuditV1<'a> {
    fn from(audit: &'a Audit) -> Self {
        let Audit { actor, action, target, detail, request_id } = audit;
        Self { actor, action, target, detail: detail.as_deref(), request_id: request_id.as_deref() }
    }
}

impl From<AuditV1<'_>> for Audit {
    fn from(audit: AuditV1<'_>) -> Self {
        Self {
            actor: audit.actor.into(),
            action: audit.action.into(),
            target: audit.target.into(),
            detail: audit.detail.map(Into::into),
            request_id: audit.request_id.map(Into::into),
        }
    }
}

/// postcard's own `Vec` flavour takes the vector away; this one appends to the caller's.
struct Appending<'a>(&'a mut Vec<u8>);

impl Flavor for Appending<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

pub(super) fn encode(record: &RecordRef<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
    let written = Written { at: record.at.0, events: WrittenEvents(record.events), audit: record.audit.map(AuditV1::from) };
    postcard::serialize_with_flavor(&written, Appending(out)).map_err(WireError::Layout)
}

pub(super) fn decode(payload: &[u8]) -> Result<Record, WireError> {
    let (read, rest) = postcard::take_from_bytes::<Read<'_>>(payload).map_err(WireError::Layout)?;
    if !rest.is_empty() {
        return Err(WireError::Trailing(rest.len()));
    }
    let events = read.events.into_iter().map(Event::try_from).collect::<Result<_, _>>()?;
    Ok(Record { at: Millis(read.at), events, audit: read.audit.map(Audit::from) })
}
