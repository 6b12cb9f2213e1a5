//! How the waiting pages of zones look and what they say. What stands in one is the server's to know; here it is JSON under a revision.

use super::audit;
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::Columns;
use crate::sql::{Connection, Row, Text, query};
use crate::timestamp::Timestamp;
use bunho_domain::ids::ZoneId;
use bunho_domain::time::Millis;
use bunho_journal::Audit;

/// A zone's page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRow {
    /// The number of its zone.
    pub zone_number: u32,
    /// The id of its zone, for people who read the table.
    pub zone_id: String,
    /// Raised by every change, from 1.
    pub revision: u32,
    /// Its settings, as JSON.
    pub page: String,
}

/// A change that was made from what is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageConflict {
    /// The revision that is; 0: none.
    pub current: u32,
}

const MAKE: Text = Text {
    mysql: "INSERT IGNORE INTO zone_pages (zone_number, zone_id, revision, page, updated_at) VALUES (?, ?, ?, ?, ?)",
    ..Text::same(
        "INSERT INTO zone_pages (zone_number, zone_id, revision, page, updated_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (zone_number) DO NOTHING",
    )
};

impl Ledger {
    /// Keeps a zone's page and notes who changed it, both or neither; its new revision. With `if_revision` only where that is the current one (0: none yet).
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn put_page(
        &self,
        zone: (u32, &ZoneId),
        page: &str,
        if_revision: Option<u32>,
        now: Millis,
        audit: &Audit,
    ) -> Result<Result<u32, PageConflict>, LedgerError> {
        let action = LedgerError::sql("keep a page");
        let (number, id) = zone;
        let at = Timestamp::new(now);
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        let row = PageRow { zone_number: number, zone_id: id.as_str().to_owned(), revision: 0, page: String::new() };
        make(connection, &row, at.as_str()).await.map_err(&action)?;
        let current = revision(connection, number).await.map_err(&action)?;
        if if_revision.is_some_and(|expected| expected != current) {
            return Ok(Err(PageConflict { current }));
        }
        let changed =
            query("UPDATE zone_pages SET zone_id = ?, revision = ?, page = ?, updated_at = ? WHERE zone_number = ? AND revision = ?")
                .bind(id.as_str())
                .bind(current + 1)
                .bind(page)
                .bind(at.as_str())
                .bind(number)
                .bind(current)
                .execute(connection)
                .await
                .map_err(&action)?;
        // Of two changes at once the second finds another revision than the one that it has just read.
        if changed == 0 {
            return Ok(Err(PageConflict { current: current + 1 }));
        }
        audit::insert(connection, now, audit).await?;
        writing.commit().await.map_err(&action)?;
        Ok(Ok(current + 1))
    }

    /// Keeps a page that another installation had, with its revision. One that is there stays.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn import_page(&self, row: &PageRow, now: Millis) -> Result<(), LedgerError> {
        let mut writer = self.writer().await?;
        make(&mut writer.connection(), row, Timestamp::new(now).as_str()).await.map_err(LedgerError::sql("keep a page"))
    }

    /// Forgets the page of a zone that is gone.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn delete_page(&self, zone_number: u32) -> Result<(), LedgerError> {
        let delete = query("DELETE FROM zone_pages WHERE zone_number = ?").bind(zone_number);
        delete.execute(&mut self.writer().await?.connection()).await.map(drop).map_err(LedgerError::sql("forget a page"))
    }

    /// Which zones have a page, and its revision.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn page_revisions(&self) -> Result<Vec<(u32, u32)>, LedgerError> {
        let rows = query("SELECT zone_number, revision FROM zone_pages").fetch_all(&mut self.reader().await?.connection()).await;
        let rows = rows.map_err(LedgerError::sql("list pages"))?;
        rows.iter()
            .map(|row| {
                let mut columns = Columns::of(row, "zone_pages");
                Ok((columns.take()?, columns.take()?))
            })
            .collect()
    }

    /// One zone's page.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn page(&self, zone_number: u32) -> Result<Option<PageRow>, LedgerError> {
        let row = query("SELECT zone_number, zone_id, revision, page FROM zone_pages WHERE zone_number = ?")
            .bind(zone_number)
            .fetch_optional(&mut self.reader().await?.connection())
            .await
            .map_err(LedgerError::sql("read a page"))?;
        row.as_ref().map(read).transpose()
    }
}

async fn make(connection: &mut Connection<'_>, row: &PageRow, at: &str) -> Result<(), sqlx::Error> {
    let PageRow { zone_number, zone_id, revision, page } = row;
    query(MAKE).bind(*zone_number).bind(zone_id).bind(*revision).bind(page).bind(at).execute(connection).await.map(drop)
}

async fn revision(connection: &mut Connection<'_>, zone_number: u32) -> Result<u32, sqlx::Error> {
    let found = query("SELECT revision FROM zone_pages WHERE zone_number = ?").bind(zone_number).fetch_long(connection).await?;
    Ok(u32::try_from(found).unwrap_or(u32::MAX))
}

fn read(row: &Row) -> Result<PageRow, LedgerError> {
    let mut columns = Columns::of(row, "zone_pages");
    Ok(PageRow { zone_number: columns.take()?, zone_id: columns.take()?, revision: columns.take()?, page: columns.take()? })
}
