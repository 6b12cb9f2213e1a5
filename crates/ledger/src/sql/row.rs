//! Rows of any of the databases: whole numbers and texts.

use sqlx::mysql::MySqlRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Column, Row as _};

/// One row.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
    MySql(MySqlRow),
}

impl Row {
    // Unchecked below: the decoders refuse what they cannot read, and the databases name one type in many ways.

    /// A whole number; none where it is null.
    pub(crate) fn long(&self, at: usize) -> Result<Option<i64>, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get_unchecked(at),
            Self::Postgres(row) => row.try_get_unchecked(at),
            Self::MySql(row) => row.try_get_unchecked(at),
        }
    }

    /// A text; none where it is null.
    pub(crate) fn text(&self, at: usize) -> Result<Option<&str>, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get_unchecked(at),
            Self::Postgres(row) => row.try_get_unchecked(at),
            Self::MySql(row) => row.try_get_unchecked(at),
        }
    }

    /// The name of a column, for whoever is told that it is not readable.
    pub(crate) fn name(&self, at: usize) -> String {
        let name = match self {
            Self::Sqlite(row) => row.try_column(at).map(|column| column.name().to_owned()),
            Self::Postgres(row) => row.try_column(at).map(|column| column.name().to_owned()),
            Self::MySql(row) => row.try_column(at).map(|column| column.name().to_owned()),
        };
        name.unwrap_or_default()
    }
}

/// What a column is read as.
pub(crate) trait Stored<'r>: Sized {
    fn read(row: &'r Row, at: usize) -> Result<Self, sqlx::Error>;
}

/// A value that is not what its column is read as.
fn unexpected(row: &Row, at: usize, what: &'static str) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: row.name(at), source: what.into() }
}

impl<'r> Stored<'r> for Option<i64> {
    fn read(row: &'r Row, at: usize) -> Result<Self, sqlx::Error> {
        row.long(at)
    }
}

impl<'r> Stored<'r> for Option<&'r str> {
    fn read(row: &'r Row, at: usize) -> Result<Self, sqlx::Error> {
        row.text(at)
    }
}

impl<'r> Stored<'r> for Option<u32> {
    fn read(row: &'r Row, at: usize) -> Result<Self, sqlx::Error> {
        let number = row.long(at)?;
        number.map(|number| u32::try_from(number).map_err(|_| unexpected(row, at, "not a number from 0 to 2^32"))).transpose()
    }
}

impl<'r> Stored<'r> for Option<bool> {
    fn read(row: &'r Row, at: usize) -> Result<Self, sqlx::Error> {
        Ok(row.long(at)?.map(|number| number != 0))
    }
}

impl<'r> Stored<'r> for Option<String> {
    fn read(row: &'r Row, at: usize) -> Result<Self, sqlx::Error> {
        Ok(row.text(at)?.map(Into::into))
    }
}

impl<'r> Stored<'r> for Option<Box<str>> {
    fn read(row: &'r Row, at: usize) -> Result<Self, sqlx::Error> {
        Ok(row.text(at)?.map(Into::into))
    }
}

macro_rules! never_null {
    ($($value:ty),*) => {$(
        impl<'r> Stored<'r> for $value {
            fn read(row: &'r Row, at: usize) -> Result<Self, sqlx::Error> {
                <Option<$value> as Stored<'r>>::read(row, at)?.ok_or_else(|| unexpected(row, at, "null"))
            }
        }
    )*};
}

never_null!(i64, &'r str, u32, bool, String, Box<str>);
