//! Values on their way into a statement, in the form that each database takes them fastest.

use super::{Arguments, Dialect, Value};
use crate::timestamp::Timestamp;
use bunho_domain::time::Millis;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::mysql::MySqlArguments;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgTypeInfo};
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, Encode, Postgres, Type};
use std::fmt::Display;
use std::sync::Arc;

/// Gathers the values of many rows, one after the other. SQLite and MySQL take them in this order, a placeholder each;
/// PostgreSQL takes an array for each column, so that a statement has as few values as a row has columns.
pub(crate) enum Binder {
    Sqlite(SqliteArguments),
    Postgres(Columns),
    MySql(MySqlArguments, Option<BoxDynError>),
}

/// Rows turned into columns.
#[derive(Default)]
pub(crate) struct Columns {
    columns: Vec<Column>,
    /// Where the next value goes.
    at: usize,
    /// Rows are as wide as the first, which is being gathered or was.
    width: Option<usize>,
}

enum Column {
    Long(Vec<Option<i64>>),
    Text(Vec<Option<ArrayText>>),
}

/// A value of a row.
pub(crate) trait Bound {
    fn bind(self, binder: &mut Binder);
}

impl Binder {
    pub(crate) fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Sqlite => Self::Sqlite(SqliteArguments::default()),
            Dialect::Postgres => Self::Postgres(Columns::default()),
            Dialect::MySql => Self::MySql(MySqlArguments::default(), None),
        }
    }

    /// Says that the first row is whole, and how many are to come.
    pub(crate) fn first_row_done(&mut self, rows_left: usize) {
        match self {
            Self::Sqlite(arguments) if arguments.len() > 0 => arguments.reserve(arguments.len() * rows_left, 0),
            Self::Sqlite(_) | Self::MySql(..) => {}
            Self::Postgres(columns) => columns.row_done(rows_left),
        }
    }

    pub(crate) fn value(&mut self, value: impl Bound) -> &mut Self {
        value.bind(self);
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        // Arc<str> is the form that sqlx takes for SQLite with one allocation; a &str costs it two.
        self.value(Arc::<str>::from(text))
    }

    pub(crate) fn text_or_null(&mut self, text: Option<&str>) -> &mut Self {
        self.value(text.map(Arc::<str>::from))
    }

    pub(crate) fn shown(&mut self, value: impl Display) -> &mut Self {
        self.value(value.to_string())
    }

    pub(crate) fn shown_or_null(&mut self, value: Option<impl Display>) -> &mut Self {
        self.value(value.map(|value| value.to_string()))
    }

    pub(crate) fn time(&mut self, at: Millis) -> &mut Self {
        self.text(Timestamp::new(at).as_str())
    }

    pub(crate) fn time_or_null(&mut self, at: Option<Millis>) -> &mut Self {
        self.value(at.map(|at| Arc::<str>::from(Timestamp::new(at).as_str())))
    }

    /// A number that is below 2^63 by what it counts.
    pub(crate) fn long(&mut self, number: u64) -> &mut Self {
        self.value(number.cast_signed())
    }

    pub(crate) fn finish(self) -> Result<Arguments, sqlx::Error> {
        match self {
            Self::Sqlite(arguments) => Ok(Arguments::Sqlite(arguments)),
            Self::Postgres(columns) => columns.finish(),
            Self::MySql(arguments, None) => Ok(Arguments::MySql(arguments)),
            Self::MySql(_, Some(error)) => Err(sqlx::Error::Encode(error)),
        }
    }

    fn bind_long(&mut self, value: Option<i64>) {
        match self {
            Self::Sqlite(arguments) => infallible(arguments.add(value)),
            Self::Postgres(columns) => match columns.next(|| Column::Long(Vec::new())) {
                Column::Long(column) => column.push(value),
                // A null of unknown kind.
                Column::Text(column) => column.push(None),
            },
            Self::MySql(arguments, error) => note(arguments.add(value), error),
        }
    }

    fn bind_shared(&mut self, value: Option<Arc<str>>) {
        match self {
            Self::Sqlite(arguments) => infallible(arguments.add(value)),
            Self::Postgres(columns) => columns.push_text(value.map(ArrayText)),
            Self::MySql(arguments, error) => note(arguments.add(value.as_deref()), error),
        }
    }

    fn bind_owned(&mut self, value: Option<String>) {
        match self {
            Self::Sqlite(arguments) => infallible(arguments.add(value)),
            Self::Postgres(columns) => columns.push_text(value.map(|value| ArrayText(value.into()))),
            Self::MySql(arguments, error) => note(arguments.add(value.as_deref()), error),
        }
    }
}

/// SQLite's values are moved, not written: there is nothing that could fail.
fn infallible(added: Result<(), BoxDynError>) {
    debug_assert!(added.is_ok(), "{added:?}");
}

fn note(added: Result<(), BoxDynError>, error: &mut Option<BoxDynError>) {
    if let Err(failed) = added {
        error.get_or_insert(failed);
    }
}

impl Columns {
    fn next(&mut self, new: impl FnOnce() -> Column) -> &mut Column {
        let at = self.at;
        self.at = if self.width == Some(at + 1) { 0 } else { at + 1 };
        if at == self.columns.len() {
            self.columns.push(new());
        }
        &mut self.columns[at]
    }

    fn push_text(&mut self, value: Option<ArrayText>) {
        match self.next(|| Column::Text(Vec::new())) {
            Column::Text(column) => column.push(value),
            Column::Long(column) => column.push(None),
        }
    }

    fn row_done(&mut self, rows_left: usize) {
        if self.width.is_none() {
            (self.width, self.at) = (Some(self.columns.len()), 0);
            for column in &mut self.columns {
                match column {
                    Column::Long(column) => column.reserve(rows_left),
                    Column::Text(column) => column.reserve(rows_left),
                }
            }
        }
    }

    fn finish(self) -> Result<Arguments, sqlx::Error> {
        let mut arguments = PgArguments::default();
        for column in self.columns {
            match column {
                Column::Long(column) => arguments.add(column),
                Column::Text(column) => arguments.add(column),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(Arguments::Postgres(arguments))
    }
}

/// A text in an array, which sqlx has for other kinds of texts only.
struct ArrayText(Arc<str>);

impl Type<Postgres> for ArrayText {
    fn type_info() -> PgTypeInfo {
        <&str as Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for ArrayText {
    fn array_type_info() -> PgTypeInfo {
        <&str as PgHasArrayType>::array_type_info()
    }
}

impl Encode<'_, Postgres> for ArrayText {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <&str as Encode<'_, Postgres>>::encode_by_ref(&without_nul(&self.0).as_ref(), buffer)
    }
}

/// PostgreSQL's texts cannot hold U+0000, and a row that it can never take would stop the projector for ever. No id, key or name may
/// have one; what somebody sent for the audit log might.
fn without_nul(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// The values of one statement.
pub(super) fn arguments<'q>(dialect: Dialect, values: impl Iterator<Item = Value<'q>>) -> Result<Arguments, sqlx::Error> {
    let mut arguments = match dialect {
        Dialect::Sqlite => Arguments::Sqlite(SqliteArguments::default()),
        Dialect::Postgres => Arguments::Postgres(PgArguments::default()),
        Dialect::MySql => Arguments::MySql(MySqlArguments::default()),
    };
    for value in values {
        let added = match (&mut arguments, value) {
            (Arguments::Sqlite(arguments), Value::Long(value)) => arguments.add(value),
            (Arguments::Sqlite(arguments), Value::Text(value)) => arguments.add(value.map(Arc::<str>::from)),
            (Arguments::Postgres(arguments), Value::Long(value)) => arguments.add(value),
            (Arguments::Postgres(arguments), Value::Text(value)) => arguments.add(value.map(without_nul)),
            (Arguments::MySql(arguments), Value::Long(value)) => arguments.add(value),
            (Arguments::MySql(arguments), Value::Text(value)) => arguments.add(value),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

macro_rules! bound {
    ($($value:ty => $bind:ident),*) => {$(
        impl Bound for $value {
            fn bind(self, binder: &mut Binder) {
                binder.$bind(Some(self.into()));
            }
        }

        impl Bound for Option<$value> {
            fn bind(self, binder: &mut Binder) {
                binder.$bind(self.map(Into::into));
            }
        }
    )*};
}

bound!(i64 => bind_long, u32 => bind_long, bool => bind_long, Arc<str> => bind_shared, String => bind_owned, &'static str => bind_shared);
