//! What is to be told by HTTP, written in the transaction of the rows that it tells of: so nothing that is in the ledger goes untold, and nothing
//! is told that is not.
//!
//! While nobody is to be told, a batch pays for one statement that finds nobody. A row is a whole message: what is sent again later is the same
//! bytes, whatever became of the claim meanwhile.

mod body;

use super::batch::Batch;
use super::guard::{Known, Working};
use super::multi_row::Kind::{Long, Text};
use super::multi_row::{Conflict, MultiRow};
use super::state::State;
use crate::error::LedgerError;
use crate::rows::Columns;
use crate::sql::{Connection, query};
use body::About;
use bunho_domain::claim::{Claim, StandbyStatus, Status};
use bunho_domain::time::Millis;
use std::collections::{HashMap, HashSet};

/// Every event that a webhook may ask for.
pub const WEBHOOK_EVENTS: [&str; 8] =
    ["claim.held", "claim.confirmed", "claim.released", "claim.expired", "claim.returned", FORGOTTEN, "standby.served", SOLD_OUT];
/// Whoever is told of claims keeps names too, and has to know when one goes.
const FORGOTTEN: &str = "claim.forgotten";
const SOLD_OUT: &str = "offer.sold_out";
/// The app of offers that are only played: nobody is told of them. A small crowd of thousands would stand before what real people wait for.
pub const REHEARSAL_APP: &str = "bunho-rehearsal";
/// Asks for all of them, also those that a later release brings.
pub const ALL_EVENTS: &str = "*";

static DELIVERIES: MultiRow = MultiRow::insert(
    "webhook_deliveries",
    &[
        ("webhook", Text),
        ("event", Text),
        ("event_type", Text),
        ("body", Text),
        ("at_ms", Long),
        ("attempts", Long),
        ("next_ms", Long),
        ("dead", Long),
        ("user_id", Text),
    ],
    Conflict::Refuse,
);
/// Messages of one statement: with the largest attributes some 5 KB each, far from what MySQL takes in one packet.
const STATEMENT_ROWS: usize = 500;

/// Somebody who is told.
struct Listener {
    id: String,
    events: String,
    offer: Option<String>,
    app: Option<String>,
}

impl Listener {
    fn wants(&self, event: &str, offer: &str, app: &str) -> bool {
        app != REHEARSAL_APP
            && (self.events == ALL_EVENTS || self.events.split(',').any(|wanted| wanted == event))
            && self.offer.as_deref().is_none_or(|only| only == offer)
            && self.app.as_deref().is_none_or(|only| only == app)
    }
}

/// One message to one of them.
struct Delivery<'l> {
    listener: &'l str,
    event: String,
    event_type: String,
    body: String,
    at: Millis,
    user: String,
}

/// Writes what the batch has to tell. `refused` are the claims that a guard kept out; they are told when they are let in.
pub(super) async fn write(
    connection: &mut Connection<'_>,
    state: &State,
    batch: &Batch<'_>,
    known: &HashMap<usize, Known>,
    refused: &HashSet<usize>,
    working: &Working,
) -> Result<(), LedgerError> {
    if batch.claims.is_empty() && batch.standby.is_empty() && batch.offers.is_empty() {
        return Ok(());
    }
    let listeners = listeners(connection).await?;
    if listeners.is_empty() {
        return Ok(());
    }
    let apps = apps(connection, batch).await?;
    let mut deliveries = Vec::new();
    let mut tell = |number: u32, event: &'static str, about: &About<'_>, at: Millis| {
        let (Some(offer), Some(app)) = (working.get(&number), apps.get(&number)) else { return };
        let told = listeners.iter().filter(|listener| listener.wants(event, &offer.id, app));
        let mut message = None;
        for listener in told {
            let (id, body) = message.get_or_insert_with(|| body::write(event, &offer.id, app, about, at));
            let event_type = body::type_of(event);
            deliveries.push(Delivery {
                listener: &listener.id,
                event: id.clone(),
                event_type,
                body: body.clone(),
                at,
                user: about.user().into(),
            });
        }
    };
    for (index, claim) in batch.claims.iter().enumerate().filter(|(index, _)| !refused.contains(index)) {
        let stored = known.get(&index).map(|known| known.version);
        // A message that came twice. Lower versions than the stored one may be new: several nodes write.
        for event in claim.states.iter().filter(|event| stored != Some(event.state.version)) {
            tell(claim.offer, of_claim(event.state), &About::Claim(event.state), event.place.at);
        }
    }
    for (id, event) in
        batch.standby.iter().filter(|(_, event)| event.state.status == StandbyStatus::Served && !event.state.user.is_pseudonym())
    {
        tell(id.offer_number(), "standby.served", &About::Standby(event.state), event.place.at);
    }
    for (&number, draft) in &batch.offers {
        let is_full =
            |state: &HashMap<u32, super::state::OfferState>| state.get(&number).is_some_and(|offer| offer.taken >= offer.quantity);
        if is_full(working) && !is_full(&state.offers) {
            let quantity = working.get(&number).map_or(0, |offer| offer.quantity);
            tell(number, SOLD_OUT, &About::Offer { number, version: draft.version, quantity }, batch.at);
        }
    }
    for rows in deliveries.chunks(STATEMENT_ROWS) {
        let written = DELIVERIES.write(connection, rows, |row, binder| {
            binder.text(row.listener).text(&row.event).text(&row.event_type).text(&row.body).value(row.at.0);
            binder.value(0_i64).value(0_i64).value(0_i64).text(&row.user);
        });
        written.await.map_err(LedgerError::sql("write what is to be told"))?;
    }
    Ok(())
}

/// A claim becomes a pseudonym's once; an operator may still take it back after that.
fn of_claim(claim: &Claim) -> &'static str {
    if claim.user.is_pseudonym() && claim.status != Status::Returned {
        return FORGOTTEN;
    }
    match claim.status {
        Status::Held => "claim.held",
        Status::Confirmed => "claim.confirmed",
        Status::Released => "claim.released",
        Status::Expired => "claim.expired",
        Status::Returned => "claim.returned",
    }
}

async fn listeners(connection: &mut Connection<'_>) -> Result<Vec<Listener>, LedgerError> {
    let rows = query("SELECT id, events, offer, app FROM webhooks WHERE enabled = 1 AND deleted = 0").fetch_all(connection).await;
    let rows = rows.map_err(LedgerError::sql("read who is told"))?;
    let read = |row| {
        let mut columns = Columns::of(row, "webhooks");
        Ok(Listener { id: columns.take()?, events: columns.take()?, offer: columns.take()?, app: columns.take()? })
    };
    rows.iter().map(read).collect()
}

/// The apps of the batch's offers. Most batches of a rush are about few.
async fn apps(connection: &mut Connection<'_>, batch: &Batch<'_>) -> Result<HashMap<u32, String>, LedgerError> {
    let mut apps = HashMap::with_capacity(batch.offers.len());
    for &number in batch.offers.keys() {
        let row = query("SELECT app FROM offers WHERE number = ?").bind(number).fetch_optional(connection).await;
        if let Some(row) = row.map_err(LedgerError::sql("read whose an offer is"))? {
            apps.insert(number, Columns::of(&row, "offers").take()?);
        }
    }
    Ok(apps)
}
