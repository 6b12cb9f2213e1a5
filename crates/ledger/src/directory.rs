//! Which offers and zones live in the engine that several nodes share, and where. Only the cluster shape uses it.
//!
//! Every node keeps a copy and looks at [`Ledger::directory_version`] to know whether it has changed. A change is compare-and-set on what
//! the entry was, so a node that hung and wakes up with an old copy changes nothing: that alone is what correctness rests on. The lock
//! is politeness between nodes that edit at the same time.
//!
//! What is deleted stays, for its number is never given again; its id may come back under another one.

mod agreement;
mod copy;
mod lock;

pub use bunho_journal::kafka::Kind;
pub use lock::DirectoryLock;

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::Columns;
use crate::sql::{Connection, Row, Text, query};
use crate::words;

/// Whether it may decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Its first definition is not in the topic yet.
    Making,
    /// It decides.
    Live,
    /// It is suspended while its state is loaded anew.
    Recovering,
    /// It is gone, for good.
    Deleted,
}

/// One offer or zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which of the two.
    pub kind: Kind,
    /// Its number, given once and never again.
    pub number: u32,
    /// Its id, unique among those of its kind that are not deleted.
    pub id: String,
    /// The number that its keys are tagged with.
    pub tag: u32,
    /// Rises with each recovery.
    pub epoch: u32,
    /// Whether it may decide.
    pub standing: Standing,
    /// When this was last changed, by the database's clock.
    pub changed_ms: i64,
}

/// All entries, deleted ones too, in the order of kinds and numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// One more with each change.
    pub version: u64,
    /// When it was read, by the database's clock in Unix milliseconds: what [`Entry::changed_ms`] is to be compared with.
    pub read_ms: i64,
    /// The entries as of that version.
    pub entries: Vec<Entry>,
}

const VERSION: &str = "SELECT value FROM directory_counters WHERE name = 'version'";
/// The first statement of every change: whoever changes something has the row's lock until the end, so changes are one after the other.
const RAISE_VERSION: &str = "UPDATE directory_counters SET value = value + 1 WHERE name = 'version'";
const ENTRIES: &str = "SELECT kind, number, id, tag, epoch, standing, changed_ms FROM directory ORDER BY kind, number";
const LIVING: &str = "SELECT 'offer', number, id FROM offers WHERE deleted_at IS NULL
    UNION ALL SELECT 'zone', number, id FROM zones WHERE deleted_at IS NULL";
const INSERT: &str = "INSERT INTO directory (kind, number, id, tag, epoch, standing, changed_ms) VALUES (?, ?, ?, ?, ?, ?, ?)";
/// Milliseconds since 1970 by the clock that all nodes share.
pub(crate) const NOW: Text = Text {
    sqlite: "SELECT CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)",
    postgres: "SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)",
    mysql: "SELECT CAST(floor(unix_timestamp(now(3)) * 1000) AS SIGNED)",
};

impl Ledger {
    /// The whole directory.
    ///
    /// # Errors
    /// The database cannot be read, or holds something that this program did not write.
    pub async fn directory(&self) -> Result<Directory, LedgerError> {
        let action = LedgerError::sql("read the directory");
        let mut snapshot = self.begin_snapshot().await?;
        let connection = &mut snapshot.connection();
        let version = query(VERSION).fetch_long(connection).await.map_err(&action)?.cast_unsigned();
        let read_ms = query(NOW).fetch_long(connection).await.map_err(&action)?;
        let rows = query(ENTRIES).fetch_all(connection).await.map_err(&action)?;
        let entries = rows.iter().map(entry).collect::<Result<_, _>>()?;
        snapshot.rollback().await.map_err(&action)?;
        Ok(Directory { version, read_ms, entries })
    }

    /// What [`Directory::version`] is now.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn directory_version(&self) -> Result<u64, LedgerError> {
        let version = query(VERSION).fetch_long(&mut self.reader().await?.connection()).await;
        version.map(i64::cast_unsigned).map_err(LedgerError::sql("read the directory's version"))
    }

    /// Adds an offer or a zone under the next number, still being made, in the epoch of those that have its tag already, as one may
    /// decide for another of them; else in the first. `tag` none: its own number. None: a
    /// living one of this kind has the id.
    ///
    /// # Errors
    /// The database cannot be written. It may have been added all the same.
    pub async fn directory_add(&self, kind: Kind, id: &str, tag: Option<u32>) -> Result<Option<Entry>, LedgerError> {
        let action = LedgerError::sql("add to the directory");
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        query(RAISE_VERSION).execute(connection).await.map_err(&action)?;
        let living = query("SELECT count(*) FROM directory WHERE kind = ? AND id = ? AND standing <> 'deleted'");
        if living.bind(words::directory_kind(kind)).bind(id).fetch_long(connection).await.map_err(&action)? > 0 {
            writing.rollback().await.map_err(&action)?;
            return Ok(None);
        }
        copy::refuse_missing(connection, kind, id).await?;
        let number = next_number(connection, kind).await?;
        let changed_ms = query(NOW).fetch_long(connection).await.map_err(&action)?;
        let tag = tag.unwrap_or(number);
        let others = query("SELECT coalesce(max(epoch), 1) FROM directory WHERE kind = ? AND tag = ?");
        let epoch = others.bind(words::directory_kind(kind)).bind(tag).fetch_long(connection).await.map_err(&action)?;
        let epoch = u32::try_from(epoch).unwrap_or(u32::MAX);
        let entry = Entry { kind, number, id: id.to_owned(), tag, epoch, standing: Standing::Making, changed_ms };
        insert(connection, &entry).await?;
        writing.commit().await.map_err(&action)?;
        Ok(Some(entry))
    }

    /// Gives an entry another standing and epoch, if it still has the epoch and the standing that `entry` says. False: it has not, or
    /// it is deleted, which is for good.
    ///
    /// # Errors
    /// The database cannot be written. It may have been changed all the same.
    pub async fn directory_change(&self, entry: &Entry, standing: Standing, epoch: u32) -> Result<bool, LedgerError> {
        if entry.standing == Standing::Deleted {
            return Ok(false);
        }
        let action = LedgerError::sql("change the directory");
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        query(RAISE_VERSION).execute(connection).await.map_err(&action)?;
        let changed_ms = query(NOW).fetch_long(connection).await.map_err(&action)?;
        let changed = query(
            "UPDATE directory SET standing = ?, epoch = ?, changed_ms = ? WHERE kind = ? AND number = ? AND epoch = ? AND standing = ?",
        )
        .bind(words::standing(standing))
        .bind(epoch)
        .bind(changed_ms)
        .bind(words::directory_kind(entry.kind))
        .bind(entry.number)
        .bind(entry.epoch)
        .bind(words::standing(entry.standing))
        .execute(connection)
        .await
        .map_err(&action)?;
        let end = if changed > 0 { writing.commit().await } else { writing.rollback().await };
        end.map_err(&action)?;
        Ok(changed > 0)
    }

    /// Kind, number and id of every offer and zone that the tables have and that is not deleted: also of those of which the directory knows
    /// nothing, as after an import that was cut off.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn living(&self) -> Result<Vec<(Kind, u32, String)>, LedgerError> {
        let rows = query(LIVING).fetch_all(&mut self.reader().await?.connection()).await;
        let rows = rows.map_err(LedgerError::sql("list what is there"))?;
        let read = |row: &Row| {
            let mut columns = Columns::of(row, "offers");
            Ok((columns.parsed("kind", words::parse_directory_kind)?, columns.take()?, columns.take()?))
        };
        rows.iter().map(read).collect()
    }

    /// Takes over entries of another installation with their numbers, all or none, and never gives those numbers again, nor any up to
    /// `used`: the highest numbers of its offers and its zones, of which the last may be deleted. One that is
    /// there already with the same id is left as it is, so an import that was cut off can be repeated.
    ///
    /// # Errors
    /// The database cannot be written, or has another offer or zone with a number or an id of these.
    pub async fn directory_import(&self, entries: &[Entry], used: (u32, u32)) -> Result<(), LedgerError> {
        let action = LedgerError::sql("import into the directory");
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        query(RAISE_VERSION).execute(connection).await.map_err(&action)?;
        for entry in entries {
            let kind = words::directory_kind(entry.kind);
            let there = query("SELECT id FROM directory WHERE kind = ? AND number = ?").bind(kind).bind(entry.number);
            match there.fetch_optional(connection).await.map_err(&action)? {
                Some(row) if row.text(0).map_err(&action)? == Some(&*entry.id) => {}
                Some(_) => return Err(LedgerError::Imported { kind, number: entry.number, id: entry.id.clone() }),
                None => insert(connection, entry).await?,
            }
        }
        let highest = |kind, used: u32| entries.iter().filter(|entry| entry.kind == kind).map(|entry| entry.number).fold(used, u32::max);
        for (kind, used) in [(Kind::Offer, used.0), (Kind::Zone, used.1)] {
            let raised = query("UPDATE directory_counters SET value = ?1 WHERE name = ?2 AND value < ?1");
            raised.bind(highest(kind, used)).bind(words::directory_kind(kind)).execute(connection).await.map_err(&action)?;
        }
        writing.commit().await.map_err(&action)
    }
}

/// One more than any that was ever given: what the counter says, and what the tables hold, should they know more than a directory that
/// was brought back from a copy.
async fn next_number(connection: &mut Connection<'_>, kind: Kind) -> Result<u32, LedgerError> {
    let action = LedgerError::sql("number an entry of the directory");
    let highest = match kind {
        Kind::Offer => "SELECT coalesce(max(number), 0) FROM offers",
        Kind::Zone => "SELECT coalesce(max(number), 0) FROM zones",
    };
    let highest = query(highest).fetch_long(connection).await.map_err(&action)?;
    let name = words::directory_kind(kind);
    let given = query("SELECT value FROM directory_counters WHERE name = ?").bind(name).fetch_long(connection).await.map_err(&action)?;
    let next = highest.max(given) + 1;
    query("UPDATE directory_counters SET value = ? WHERE name = ?").bind(next).bind(name).execute(connection).await.map_err(&action)?;
    u32::try_from(next).map_err(|_| LedgerError::Unreadable { table: "directory_counters", column: "value", value: next.to_string() })
}

async fn insert(connection: &mut Connection<'_>, entry: &Entry) -> Result<(), LedgerError> {
    let kind = words::directory_kind(entry.kind);
    let inserted = query(INSERT)
        .bind(kind)
        .bind(entry.number)
        .bind(&entry.id)
        .bind(entry.tag)
        .bind(entry.epoch)
        .bind(words::standing(entry.standing))
        .bind(entry.changed_ms)
        .execute(connection)
        .await;
    match inserted {
        Ok(_) => Ok(()),
        Err(error) if crate::error::is_constraint(&error) => {
            Err(LedgerError::Imported { kind, number: entry.number, id: entry.id.clone() })
        }
        Err(error) => Err(LedgerError::sql("write an entry of the directory")(error)),
    }
}

fn entry(row: &Row) -> Result<Entry, LedgerError> {
    let mut columns = Columns::of(row, "directory");
    Ok(Entry {
        kind: columns.parsed("kind", words::parse_directory_kind)?,
        number: columns.take()?,
        id: columns.take()?,
        tag: columns.take()?,
        epoch: columns.take()?,
        standing: columns.parsed("standing", words::parse_standing)?,
        changed_ms: columns.take()?,
    })
}
