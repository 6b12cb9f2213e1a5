//! A directory that is older than the tables: both were brought back from a copy, and the topic has told the tables what came after it.

use super::{Entry, Kind, RAISE_VERSION, Standing, insert};
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::Columns;
use crate::sql::{Connection, query};
use crate::words;

/// What one grants lends it its tag.
const MISSING_OFFERS: &str = "
    SELECT o.number, o.id, coalesce(g.number, o.number) FROM offers o LEFT JOIN offers g ON g.id = o.grants AND g.deleted_at IS NULL
    WHERE o.deleted_at IS NULL AND NOT EXISTS (SELECT 1 FROM directory d WHERE d.kind = 'offer' AND d.number = o.number) ORDER BY o.number";
const MISSING_ZONES: &str = "
    SELECT number, id, number FROM zones
    WHERE deleted_at IS NULL AND NOT EXISTS (SELECT 1 FROM directory d WHERE d.kind = 'zone' AND d.number = zones.number) ORDER BY number";

impl Ledger {
    /// Adds what lives in the tables and is not in the directory, to be recovered by whoever looks next. How many there were.
    ///
    /// # Errors
    /// The database cannot be written, or has two living offers or zones of one id.
    pub async fn directory_complete(&self) -> Result<usize, LedgerError> {
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        let action = LedgerError::sql("complete the directory");
        query(RAISE_VERSION).execute(connection).await.map_err(&action)?;
        let mut count = 0;
        for kind in [Kind::Offer, Kind::Zone] {
            for (number, id, tag) in missing(connection, kind).await? {
                // Long ago, and so nobody's; whoever recovers it finds the epoch that Redis and the topic know.
                let entry = Entry { kind, number, id, tag, epoch: 1, standing: Standing::Recovering, changed_ms: 0 };
                insert(connection, &entry).await?;
                count += 1;
            }
        }
        writing.commit().await.map_err(action)?;
        Ok(count)
    }
}

async fn missing(connection: &mut Connection<'_>, kind: Kind) -> Result<Vec<(u32, String, u32)>, LedgerError> {
    let statement = match kind {
        Kind::Offer => MISSING_OFFERS,
        Kind::Zone => MISSING_ZONES,
    };
    let rows = query(statement).fetch_all(connection).await.map_err(LedgerError::sql("complete the directory"))?;
    let entry = |row| {
        let mut columns = Columns::of(row, "offers");
        Ok((columns.take()?, columns.take()?, columns.take()?))
    };
    rows.iter().map(entry).collect()
}

/// Refuses an id that lives in the tables under a number that the directory lacks.
pub(super) async fn refuse_missing(connection: &mut Connection<'_>, kind: Kind, id: &str) -> Result<(), LedgerError> {
    let statement = match kind {
        Kind::Offer => "SELECT number FROM offers WHERE id = ? AND deleted_at IS NULL",
        Kind::Zone => "SELECT number FROM zones WHERE id = ? AND deleted_at IS NULL",
    };
    let action = LedgerError::sql("add to the directory");
    let Some(row) = query(statement).bind(id).fetch_optional(connection).await.map_err(&action)? else { return Ok(()) };
    let number: u32 = Columns::of(&row, "offers").take()?;
    drop(row);
    let known = query("SELECT count(*) FROM directory WHERE kind = ? AND number = ?");
    let known = known.bind(words::directory_kind(kind)).bind(number).fetch_long(connection).await.map_err(action)?;
    if known > 0 { Ok(()) } else { Err(LedgerError::NotInDirectory { kind: words::directory_kind(kind), id: id.to_owned() }) }
}
