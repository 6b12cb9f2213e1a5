//! Where epochs begin. A fence is written down with the batch that it stands in, so whoever takes its partition over knows of it.

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::projector::multi_row::Kind::{Long, Text};
use crate::projector::multi_row::{Conflict, MultiRow};
use crate::rows::Columns;
use crate::sql::{Binder, Connection, query};
use crate::words;
use bunho_journal::kafka::Kind;
use std::collections::BTreeMap;

static FENCES: MultiRow = MultiRow::insert(
    "fences",
    &[("kind", Text), ("number", Long), ("epoch", Long)],
    Conflict::Replace { key: "kind, number", columns: &["epoch"], newer: Some(("epoch", ">")) },
);

/// The highest epoch that a fence of each offer and zone began.
#[derive(Debug, Default)]
pub(super) struct Fences(BTreeMap<(Kind, u32), u32>);

impl Ledger {
    /// The highest epoch that a fence of an offer or zone began, as far as the ledger has read the topic; 0: none did.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn fenced(&self, kind: Kind, number: u32) -> Result<u32, LedgerError> {
        let action = LedgerError::sql("read a fence");
        let fence = query("SELECT coalesce(max(epoch), 0) FROM fences WHERE kind = ? AND number = ?");
        let epoch = fence.bind(words::directory_kind(kind)).bind(number).fetch_long(&mut self.reader().await?.connection()).await;
        Ok(u32::try_from(epoch.map_err(action)?).unwrap_or(u32::MAX))
    }
}

impl Fences {
    /// All there are: few things are ever recovered.
    pub(super) async fn read(connection: &mut Connection<'_>) -> Result<Self, LedgerError> {
        let rows = query("SELECT kind, number, epoch FROM fences").fetch_all(connection).await.map_err(LedgerError::sql("read fences"))?;
        let fence = |row| {
            let mut columns = Columns::of(row, "fences");
            let kind = columns.parsed("kind", words::parse_directory_kind)?;
            Ok(((kind, columns.take()?), columns.take()?))
        };
        rows.iter().map(fence).collect::<Result<_, LedgerError>>().map(Self)
    }

    pub(super) async fn write(&self, connection: &mut Connection<'_>) -> Result<(), LedgerError> {
        let rows: Vec<_> = self.0.iter().collect();
        let bind = |&(&(kind, number), &epoch): &(&(Kind, u32), &u32), binder: &mut Binder| {
            binder.value(words::directory_kind(kind)).value(number).value(epoch);
        };
        FENCES.write(connection, &rows, bind).await.map(drop).map_err(LedgerError::sql("write fences"))
    }

    /// The epoch that counts from here on; 0: any.
    pub(super) fn epoch(&self, about: (Kind, u32)) -> u32 {
        self.0.get(&about).copied().unwrap_or(0)
    }

    /// One that was met. A lower one than was met before says nothing.
    pub(super) fn raise(&mut self, about: (Kind, u32), epoch: u32) {
        let highest = self.0.entry(about).or_default();
        *highest = epoch.max(*highest);
    }

    /// Takes over what another one knows.
    pub(super) fn merge(&mut self, other: Self) {
        other.0.into_iter().for_each(|(about, epoch)| self.raise(about, epoch));
    }
}
