//! What the server asks when it forgets people by itself: whose offers are over, what is known of many people at once, and which node does it.
//!
//! One person costs [`Ledger::person`] a look at all of standby and of the messages that wait. Here a thousand share one look.

use super::persons::PersonRows;
use crate::directory::NOW;
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::Columns;
use crate::rows::claim::{first_place, last_place};
use crate::sql::{Connection, Row, Text, query};
use crate::timestamp::Timestamp;
use crate::words;
use bunho_domain::ids::{ClaimId, StandbyId, UserId};
use bunho_domain::time::Millis;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// An offer that ended long enough ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedOffer {
    /// Its number.
    pub number: u32,
    /// Rises with each edit.
    pub revision: i64,
}

/// What is known of one among many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// What stands under the name.
    pub rows: PersonRows,
    /// Whether the audit log, a mended parked event or a message that was given up names the person.
    pub noted: bool,
}

/// Rows that one statement reads at most: some megabytes of them.
const ROWS: i64 = 5_000;

/// Pseudonyms are 32 characters longer than what they begin with. The pattern keeps most of them out of what is read.
const CLAIMS: &str = "SELECT place, user_id FROM claim_rows WHERE place >= ? AND place <= ?
    AND user_id NOT LIKE 'forgotten-________________________________' ORDER BY place LIMIT ?";
const PLACES: &str = "SELECT DISTINCT user_id FROM standby WHERE offer_number = ?
    AND user_id NOT LIKE 'forgotten-________________________________'";
const AUDITED: &str = "SELECT id, detail FROM audit_log WHERE id > ? AND detail IS NOT NULL ORDER BY id LIMIT ?";
const PARKED: &str = "SELECT payload, CASE WHEN resolved_at IS NULL THEN 0 ELSE 1 END FROM parked_events";
const PLACES_AFTER: &str = "SELECT id, user_id FROM standby WHERE id > ? ORDER BY id LIMIT ?";
const MESSAGES: &str = "SELECT seq, body, dead FROM webhook_deliveries WHERE seq > ? ORDER BY seq LIMIT ?";

impl Ledger {
    /// Offers that closed, or were deleted, at `before` or earlier.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn ended_offers(&self, before: Millis) -> Result<Vec<EndedOffer>, LedgerError> {
        let before = Timestamp::new(before);
        let rows = query("SELECT number, revision FROM offers WHERE closes_at <= ?1 OR deleted_at <= ?1 ORDER BY number");
        let rows = rows.bind(before.as_str()).fetch_all(&mut self.reader().await?.connection()).await;
        let read = |row: &Row| {
            let mut columns = Columns::of(row, "offers");
            Ok(EndedOffer { number: columns.take()?, revision: columns.take()? })
        };
        rows.map_err(LedgerError::sql("look for offers that ended"))?.iter().map(read).collect()
    }

    /// People with claims in an offer from its claim `from` on, looking at no more than `limit` of theirs, and the claim to go on from: none, there are no more.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn claimers(&self, offer: u32, from: u32, limit: u32) -> Result<(HashSet<UserId>, Option<u32>), LedgerError> {
        let action = LedgerError::sql("look who had claims");
        let first = first_place(offer) | i64::from(from);
        let rows = query(CLAIMS).bind(first).bind(last_place(offer)).bind(i64::from(limit));
        let rows = rows.fetch_all(&mut self.reader().await?.connection()).await.map_err(&action)?;
        let mut people = HashSet::new();
        let mut next = None;
        for row in &rows {
            let mut columns = Columns::of(row, "claims");
            let place: i64 = columns.take()?;
            next = (place as u32).checked_add(1);
            people.insert(columns.id("user_id", UserId::parse)?);
        }
        people.retain(|user| !user.is_pseudonym());
        Ok((people, next.filter(|_| rows.len() == limit as usize)))
    }

    /// People who had places on the standby of an offer.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn standers(&self, offer: u32) -> Result<HashSet<UserId>, LedgerError> {
        let rows = query(PLACES).bind(i64::from(offer)).fetch_all(&mut self.reader().await?.connection()).await;
        let rows = rows.map_err(LedgerError::sql("look who stood by"))?;
        let users = rows.iter().map(|row| Columns::of(row, "standby").id("user_id", UserId::parse));
        users.filter(|user| !matches!(user, Ok(user) if user.is_pseudonym())).collect()
    }

    /// What is kept of each of these people by name. All have an entry.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn persons(&self, users: &HashSet<UserId>) -> Result<HashMap<UserId, Known>, LedgerError> {
        let mut reader = self.reader().await?;
        let connection = &mut reader.connection();
        let mut known: HashMap<UserId, Known> = users.iter().map(|user| (user.clone(), Known::default())).collect();
        for (user, known) in &mut known {
            claims_of(connection, user, &mut known.rows).await?;
        }
        places_of(connection, &mut known).await?;
        let names: HashMap<&str, &UserId> = users.iter().map(|user| (user.as_str(), user)).collect();
        for row in read(connection, PARKED, &[]).await? {
            let mut columns = Columns::of(&row, "parked_events");
            let (payload, is_mended): (&str, i64) = (columns.take()?, columns.take()?);
            for known in mentioned(payload, &names, &mut known) {
                if is_mended == 1 { known.noted = true } else { known.rows.parked += 1 }
            }
        }
        let mut last = 0_i64;
        while let Some(rows) = page(connection, AUDITED, last).await? {
            for row in &rows {
                let mut columns = Columns::of(row, "audit_log");
                last = columns.take()?;
                mentioned(columns.take()?, &names, &mut known).into_iter().for_each(|known| known.noted = true);
            }
        }
        last = 0;
        while let Some(rows) = page(connection, MESSAGES, last).await? {
            for row in &rows {
                let mut columns = Columns::of(row, "webhook_deliveries");
                last = columns.take()?;
                let (body, is_dead): (&str, i64) = (columns.take()?, columns.take()?);
                for known in mentioned(body, &names, &mut known) {
                    if is_dead == 1 { known.noted = true } else { known.rows.messages += 1 }
                }
            }
        }
        Ok(known)
    }

    /// Makes `holder` the one that forgets people by itself, for `lease` by the database's clock. False: another one is, whose time is not over.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn hold_retention(&self, holder: &str, lease: Duration) -> Result<bool, LedgerError> {
        let action = LedgerError::sql("take over the forgetting of people");
        let mut writer = self.writer().await?;
        let connection = &mut writer.connection();
        let now = query(NOW).fetch_long(connection).await.map_err(&action)?;
        let until = now.saturating_add(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX));
        let hold = query("UPDATE retention SET holder = ?, until_ms = ? WHERE only_row = 1 AND (holder = ? OR until_ms <= ?)");
        let held = hold.bind(holder).bind(until).bind(holder).bind(now).execute(connection).await.map_err(&action)?;
        Ok(held > 0)
    }

    /// Lets another one do it.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn let_retention_go(&self, holder: &str) -> Result<(), LedgerError> {
        let release = query("UPDATE retention SET until_ms = 0 WHERE only_row = 1 AND holder = ?").bind(holder);
        let released = release.execute(&mut self.writer().await?.connection()).await;
        released.map(drop).map_err(LedgerError::sql("give up the forgetting of people"))
    }

    /// Whether something was overwritten that is still to be wiped out of files.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn wipe_due(&self) -> Result<bool, LedgerError> {
        let due = query("SELECT wipe_due FROM retention WHERE only_row = 1");
        let due = due.fetch_long(&mut self.reader().await?.connection()).await;
        due.map(|due| due == 1).map_err(LedgerError::sql("ask what is to be wiped"))
    }

    /// Notes whether it is.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn set_wipe_due(&self, due: bool) -> Result<(), LedgerError> {
        let set = query("UPDATE retention SET wipe_due = ? WHERE only_row = 1").bind(i64::from(due));
        let set = set.execute(&mut self.writer().await?.connection()).await;
        set.map(drop).map_err(LedgerError::sql("note what is to be wiped"))
    }
}

/// Reads rows, with whole numbers for values.
async fn read(connection: &mut Connection<'_>, text: impl Into<Text>, values: &[i64]) -> Result<Vec<Row>, LedgerError> {
    let query = values.iter().fold(query(text), |query, value| query.bind(*value));
    query.fetch_all(connection).await.map_err(LedgerError::sql("look for what is kept of people"))
}

/// The rows after `last`; none at the end.
async fn page(connection: &mut Connection<'_>, text: &'static str, last: i64) -> Result<Option<Vec<Row>>, LedgerError> {
    let rows = read(connection, text, &[last, ROWS]).await?;
    Ok((!rows.is_empty()).then_some(rows))
}

async fn claims_of(connection: &mut Connection<'_>, user: &UserId, known: &mut PersonRows) -> Result<(), LedgerError> {
    let rows = query("SELECT id, status FROM claim_rows WHERE user_id = ? ORDER BY place").bind(user.as_str());
    for row in rows.fetch_all(connection).await.map_err(LedgerError::sql("look for a person's claims"))? {
        let mut columns = Columns::of(&row, "claims");
        known.claims.push((columns.id("id", ClaimId::parse)?, columns.parsed("status", words::parse_status)?));
    }
    Ok(())
}

async fn places_of(connection: &mut Connection<'_>, known: &mut HashMap<UserId, Known>) -> Result<(), LedgerError> {
    let mut last = String::new();
    loop {
        let rows = query(PLACES_AFTER).bind(&*last).bind(ROWS).fetch_all(connection).await;
        let rows = rows.map_err(LedgerError::sql("look for people's places"))?;
        for row in &rows {
            let mut columns = Columns::of(row, "standby");
            let (id, user) = (columns.id("id", StandbyId::parse)?, columns.id("user_id", UserId::parse)?);
            if let Some(known) = known.get_mut(&user) {
                known.rows.places.push(id);
            }
        }
        let Some(row) = rows.last() else { return Ok(()) };
        last = Columns::of(row, "standby").take::<&str>()?.to_owned();
    }
}

/// Those whose names stand in a text of JSON as whole texts.
fn mentioned<'k>(text: &str, names: &HashMap<&str, &UserId>, known: &'k mut HashMap<UserId, Known>) -> Vec<&'k mut Known> {
    let mut found = HashSet::new();
    if let Ok(value) = serde_json::from_str(text) {
        collect(&value, names, &mut found);
    }
    if found.is_empty() { Vec::new() } else { known.iter_mut().filter(|(user, _)| found.contains(user)).map(|(_, known)| known).collect() }
}

fn collect<'n>(value: &Value, names: &HashMap<&str, &'n UserId>, found: &mut HashSet<&'n UserId>) {
    match value {
        Value::String(text) => found.extend(names.get(&**text)),
        Value::Array(values) => values.iter().for_each(|value| collect(value, names, found)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, names, found)),
        _ => {}
    }
}
