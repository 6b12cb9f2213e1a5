//! What the server asks when it forgets people by itself: whose offers are over, what is known of many people at once, and which node does it.
//!
//! A thousand people share a few statements, each of which finds their rows by an index: what they cost does not depend on what there is of others.

use super::persons::PersonRows;
use crate::directory::NOW;
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::projector::{MultiRow, Parts};
use crate::rows::Columns;
use crate::rows::claim::{first_place, last_place, place};
use crate::sql::{Binder, Connection, Row, Text, query};
use crate::timestamp::Timestamp;
use crate::words;
use bunho_domain::ids::{ClaimId, StandbyId, UserId};
use bunho_domain::time::Millis;
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

/// Pseudonyms are kept out of what is read: as [`UserId::is_pseudonym`] has it, so that whoever is only called something like it is read.
macro_rules! but_pseudonyms {
    ($before:literal, $after:literal) => {
        Text {
            sqlite: concat!($before, "user_id NOT GLOB 'forgotten-", digits!(), digits!(), digits!(), digits!(), "'", $after),
            postgres: concat!($before, "user_id !~ '^forgotten-[0-9a-fA-F]{32}$'", $after),
            mysql: concat!($before, "user_id NOT REGEXP '^forgotten-[0-9a-fA-F]{32}$'", $after),
        }
    };
}
/// Eight of them.
macro_rules! digits {
    () => {
        "[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F]"
    };
}
const CLAIMS: Text =
    but_pseudonyms!("SELECT place, user_id FROM claim_rows WHERE place >= ? AND place <= ? AND ", " ORDER BY place LIMIT ?");
const PLACES: Text = but_pseudonyms!("SELECT id, user_id FROM standby WHERE id > ? AND id < ? AND ", " ORDER BY id LIMIT ?");

/// What a table has of these users.
macro_rules! of_users {
    ($head:literal, $tail:literal) => {
        MultiRow::select(
            Parts { head: concat!($head, " WHERE user_id IN ("), row: "?", between: ",", tail: concat!(")", $tail) },
            concat!($head, " WHERE user_id = ANY($1)", $tail),
            Parts { head: concat!($head, " WHERE user_id IN ("), row: "?", between: ",", tail: concat!(")", $tail) },
        )
    };
}
static CLAIMS_OF: MultiRow = of_users!("SELECT user_id, id, status FROM claim_rows", "");
static PLACES_OF: MultiRow = of_users!("SELECT user_id, id FROM standby", "");
static AUDITED: MultiRow = of_users!("SELECT DISTINCT user_id FROM audit_log", "");
static PARKED: MultiRow = of_users!("SELECT user_id, count(*), count(resolved_at) FROM parked_events", " GROUP BY user_id");
static MESSAGES: MultiRow = of_users!("SELECT user_id, dead, count(*) FROM webhook_deliveries", " GROUP BY user_id, dead");

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
        Ok((people, next.filter(|_| rows.len() == limit as usize)))
    }

    /// People with places on the standby of an offer after the place `after`, looking at no more than `limit` of theirs, and the place to go on after:
    /// none, there are no more.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn standers(
        &self,
        offer: u32,
        after: Option<StandbyId>,
        limit: u32,
    ) -> Result<(HashSet<UserId>, Option<StandbyId>), LedgerError> {
        // The sign after a hyphen.
        let (first, end) = (format!("{offer:08x}-"), format!("{offer:08x}."));
        let first = after.map_or(first, |after| after.to_string());
        let rows = query(PLACES).bind(&first).bind(&end).bind(i64::from(limit));
        let rows = rows.fetch_all(&mut self.reader().await?.connection()).await.map_err(LedgerError::sql("look who stood by"))?;
        let mut people = HashSet::new();
        let mut next = None;
        for row in &rows {
            let mut columns = Columns::of(row, "standby");
            next = Some(columns.id("id", StandbyId::parse)?);
            people.insert(columns.id("user_id", UserId::parse)?);
        }
        Ok((people, next.filter(|_| rows.len() == limit as usize)))
    }

    /// What is kept of each of these people by name. All have an entry.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn persons(&self, users: &HashSet<UserId>) -> Result<HashMap<UserId, Known>, LedgerError> {
        self.name_rows().await?;
        let mut reader = self.reader().await?;
        let connection = &mut reader.connection();
        let mut known: HashMap<UserId, Known> = users.iter().map(|user| (user.clone(), Known::default())).collect();
        let users: Vec<&UserId> = users.iter().collect();
        of(connection, &CLAIMS_OF, "claims", &users, &mut known, |columns, known| {
            known.rows.claims.push((columns.id("id", ClaimId::parse)?, columns.parsed("status", words::parse_status)?));
            Ok(())
        })
        .await?;
        of(connection, &PLACES_OF, "standby", &users, &mut known, |columns, known| {
            known.rows.places.push(columns.id("id", StandbyId::parse)?);
            Ok(())
        })
        .await?;
        for Known { rows, .. } in known.values_mut() {
            rows.claims.sort_unstable_by_key(|(id, _)| place(*id));
            rows.places.sort_unstable();
        }
        of(connection, &PARKED, "parked_events", &users, &mut known, |columns, known| {
            let (all, mended): (i64, i64) = (columns.take()?, columns.take()?);
            known.rows.parked = (all - mended).cast_unsigned();
            known.noted |= mended > 0;
            Ok(())
        })
        .await?;
        of(connection, &MESSAGES, "webhook_deliveries", &users, &mut known, |columns, known| {
            let (is_dead, count): (bool, i64) = (columns.take()?, columns.take()?);
            if is_dead {
                known.noted = true
            } else {
                known.rows.messages = count.cast_unsigned()
            }
            Ok(())
        })
        .await?;
        of(connection, &AUDITED, "audit_log", &users, &mut known, |_, known| {
            known.noted = true;
            Ok(())
        })
        .await?;
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

/// Hands what a statement says of each of these users to whatever takes it in; the user is read already.
async fn of(
    connection: &mut Connection<'_>,
    statement: &MultiRow,
    table: &'static str,
    users: &[&UserId],
    known: &mut HashMap<UserId, Known>,
    take: impl Fn(&mut Columns<'_>, &mut Known) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let bind = |user: &&UserId, binder: &mut Binder| {
        binder.text(user.as_str());
    };
    let rows = statement.read(connection, users, bind).await.map_err(LedgerError::sql("look for what is kept of people"))?;
    for row in &rows {
        let mut columns = Columns::of(row, table);
        if let Some(known) = known.get_mut(columns.take::<&str>()?) {
            take(&mut columns, known)?;
        }
    }
    Ok(())
}
