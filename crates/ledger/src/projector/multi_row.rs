//! One prepared statement for many rows.
//!
//! A row costs a hand-over to SQLite's thread when it is sent alone; 500 rows in one statement share it. Statements of
//! only a few lengths are used, so that each is prepared once and then found in the connection's cache.

use crate::error::is_constraint;
use crate::timestamp::Timestamp;
use bunho_domain::time::Millis;
use sqlx::sqlite::{Sqlite, SqliteArguments};
use sqlx::{Arguments, AssertSqlSafe, Encode, SqliteConnection, Type};
use std::fmt::Display;
use std::sync::{Arc, OnceLock};

/// Rows in the longest statement.
pub(crate) const CHUNK_ROWS_MAX: usize = 500;
/// Lengths of statements, longest first. Any number of rows is a sum of few of them.
const LENGTHS: [usize; 5] = [CHUNK_ROWS_MAX, 100, 20, 5, 1];
/// SQLite's limit of variables in a statement; the widest table has 24 columns.
const VARIABLES_MAX: usize = 32_766;
const _: () = assert!(CHUNK_ROWS_MAX * 24 <= VARIABLES_MAX);

/// A statement over a list of rows: `head row,row,… tail`.
pub(crate) struct MultiRow {
    head: &'static str,
    row: &'static str,
    tail: &'static str,
    texts: [OnceLock<Arc<str>>; LENGTHS.len()],
    /// Writes the rows of a chunk that was refused, one by one; none: this statement itself does.
    single: Option<&'static MultiRow>,
}

impl MultiRow {
    pub(crate) const fn new(head: &'static str, row: &'static str, tail: &'static str) -> Self {
        Self { head, row, tail, texts: [const { OnceLock::new() }; LENGTHS.len()], single: None }
    }

    /// The same, with `single` in place of itself where rows have to be tried one by one.
    pub(crate) const fn one_by_one(mut self, single: &'static MultiRow) -> Self {
        self.single = Some(single);
        self
    }

    /// The next statement for at most `rows` rows, and how many it takes.
    pub(crate) fn chunk(&self, rows: usize) -> (AssertSqlSafe<Arc<str>>, usize) {
        let longest = LENGTHS.iter().position(|&length| length <= rows).unwrap_or(LENGTHS.len() - 1);
        let text = self.texts[longest].get_or_init(|| self.text(LENGTHS[longest]).into());
        // Safe: the text is made of literals of this crate; every value is bound.
        (AssertSqlSafe(text.clone()), LENGTHS[longest])
    }

    fn text(&self, rows: usize) -> String {
        format!("{}{}{}", self.head, vec![self.row; rows].join(","), self.tail)
    }

    /// Writes `rows`; returns the indexes of those that a constraint refused. A statement that is refused leaves its
    /// transaction as it is, so its rows are then tried one by one.
    pub(crate) async fn write<R>(
        &self,
        connection: &mut SqliteConnection,
        rows: &[R],
        bind: impl Fn(&R, &mut Binder),
    ) -> Result<Vec<usize>, sqlx::Error> {
        let mut refused = Vec::new();
        let mut done = 0;
        while done < rows.len() {
            let (text, length) = self.chunk(rows.len() - done);
            match execute(connection, text, &rows[done..done + length], &bind).await {
                Ok(()) => {}
                Err(error) if is_constraint(&error) => {
                    let single = self.single.unwrap_or(self);
                    for (index, row) in rows.iter().enumerate().skip(done).take(length) {
                        match execute(connection, single.chunk(1).0, std::slice::from_ref(row), &bind).await {
                            Ok(()) => {}
                            Err(error) if is_constraint(&error) => refused.push(index),
                            Err(error) => return Err(error),
                        }
                    }
                }
                Err(error) => return Err(error),
            }
            done += length;
        }
        Ok(refused)
    }
}

async fn execute<R>(
    connection: &mut SqliteConnection,
    text: AssertSqlSafe<Arc<str>>,
    rows: &[R],
    bind: impl Fn(&R, &mut Binder),
) -> Result<(), sqlx::Error> {
    let mut binder = Binder::default();
    for (index, row) in rows.iter().enumerate() {
        bind(row, &mut binder);
        if index == 0 {
            // All rows have as many values as the first.
            binder.arguments.reserve(binder.arguments.len() * (rows.len() - 1), 0);
        }
    }
    sqlx::query_with(text, binder.finish()?).execute(connection).await.map(drop)
}

/// Gathers the values of a statement in order.
#[derive(Default)]
pub(crate) struct Binder {
    arguments: SqliteArguments,
    error: Option<sqlx::Error>,
}

impl Binder {
    pub(crate) fn value<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        if let Err(error) = Arguments::add(&mut self.arguments, value) {
            self.error.get_or_insert(sqlx::Error::Encode(error));
        }
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        // Arc<str> is the form that sqlx takes with one allocation; a &str costs it two.
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

    pub(crate) fn finish(self) -> Result<SqliteArguments, sqlx::Error> {
        self.error.map_or(Ok(self.arguments), Err)
    }
}
