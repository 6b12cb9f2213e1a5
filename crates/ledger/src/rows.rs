//! Rows as domain values. Domain types know nothing of SQL, so the mapping lives here; a value that this program
//! would never have written is an error that names its table and column.

pub(crate) mod claim;
pub(crate) mod offer;
pub(crate) mod zone;

use crate::error::LedgerError;
use crate::sql::{Row, Stored};
use crate::timestamp;
use bunho_domain::ids::IdError;
use bunho_domain::time::Millis;

/// Reads a row's columns from left to right, in the order in which the SELECT names them.
pub(crate) struct Columns<'r> {
    row: &'r Row,
    table: &'static str,
    next: usize,
}

impl<'r> Columns<'r> {
    pub(crate) fn of(row: &'r Row, table: &'static str) -> Self {
        Self { row, table, next: 0 }
    }

    /// The next column as the database holds it.
    pub(crate) fn take<T: Stored<'r>>(&mut self) -> Result<T, LedgerError> {
        let at = self.next;
        self.next += 1;
        T::read(self.row, at).map_err(LedgerError::sql("read a row"))
    }

    /// The next column, read back by `parse`.
    pub(crate) fn parsed<T>(&mut self, column: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, LedgerError> {
        let text: &str = self.take()?;
        parse(text).ok_or_else(|| self.unreadable(column, text))
    }

    /// The next column, read back by `parse` unless it is null.
    pub(crate) fn parsed_or_none<T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, LedgerError> {
        let text: Option<&str> = self.take()?;
        text.map(|text| parse(text).ok_or_else(|| self.unreadable(column, text))).transpose()
    }

    /// The next column as an id.
    pub(crate) fn id<T>(&mut self, column: &'static str, parse: impl FnOnce(&str) -> Result<T, IdError>) -> Result<T, LedgerError> {
        self.parsed(column, |text| parse(text).ok())
    }

    /// The next column as an id, unless it is null.
    pub(crate) fn id_or_none<T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Result<T, IdError>,
    ) -> Result<Option<T>, LedgerError> {
        self.parsed_or_none(column, |text| parse(text).ok())
    }

    /// The next column as an instant.
    pub(crate) fn time(&mut self, column: &'static str) -> Result<Millis, LedgerError> {
        self.parsed(column, timestamp::parse)
    }

    /// The next column as an instant, unless it is null.
    pub(crate) fn time_or_none(&mut self, column: &'static str) -> Result<Option<Millis>, LedgerError> {
        self.parsed_or_none(column, timestamp::parse)
    }

    /// The next column as owned text.
    pub(crate) fn text(&mut self) -> Result<Box<str>, LedgerError> {
        self.take::<&str>().map(Into::into)
    }

    /// The next column as owned text, unless it is null.
    pub(crate) fn text_or_none(&mut self) -> Result<Option<Box<str>>, LedgerError> {
        Ok(self.take::<Option<&str>>()?.map(Into::into))
    }

    fn unreadable(&self, column: &'static str, value: &str) -> LedgerError {
        LedgerError::Unreadable { table: self.table, column, value: value.to_owned() }
    }
}
