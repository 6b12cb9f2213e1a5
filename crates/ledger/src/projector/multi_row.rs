//! One prepared statement for many rows.
//!
//! A row costs a hand-over to SQLite's thread, or a journey over the network, when it is sent alone; hundreds of rows in one
//! statement share it. SQLite and MySQL take a placeholder for each value: statements of only a few lengths are used, so that
//! each is prepared once and then found in the connection's cache. PostgreSQL takes an array for each column, so one text
//! serves any number of rows.

use crate::error::is_constraint;
use crate::sql::{self, Binder, Connection, Dialect, Row};
use sqlx::AssertSqlSafe;
use std::sync::{Arc, OnceLock};

/// Rows in the longest statement with a placeholder for each value.
pub(crate) const CHUNK_ROWS_MAX: usize = 500;
/// Lengths of such statements, longest first. Any number of rows is a sum of few of them.
const LENGTHS: [usize; 5] = [CHUNK_ROWS_MAX, 100, 20, 5, 1];
/// SQLite's limit of variables in a statement, half of MySQL's; the widest table has 24 columns.
const VARIABLES_MAX: usize = 32_766;
const _: () = assert!(CHUNK_ROWS_MAX * 24 <= VARIABLES_MAX);
/// Rows of one statement in PostgreSQL: some 400 KB of claims.
const ARRAY_ROWS_MAX: usize = 2_000;
/// Texts that are kept: SQLite's, MySQL's, and PostgreSQL's only one.
const TEXTS: usize = 2 * LENGTHS.len() + 1;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Long,
    Text,
}

/// What happens to a row whose key is there already.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Conflict {
    /// It is refused.
    Refuse,
    /// The row that is there stays as it is.
    Keep { key: &'static str },
    /// The row that is there takes these columns.
    Replace {
        key: &'static str,
        columns: &'static [&'static str],
        /// Only if the new row's is above (`>`) or not below (`>=`) its own.
        newer: Option<(&'static str, &'static str)>,
    },
    /// In words of its own: those of SQLite and PostgreSQL, and those of MySQL.
    Custom { standard: &'static str, mysql: &'static str },
}

/// A statement over a list of rows.
pub(crate) struct MultiRow {
    words: Words,
    texts: [OnceLock<Arc<str>>; TEXTS],
    /// Whether a constraint may refuse it, so that PostgreSQL must be able to come back to before it.
    is_guarded: bool,
    /// Writes the rows of a chunk that was refused, one by one; none: this statement itself does.
    single: Option<&'static MultiRow>,
}

enum Words {
    Insert {
        /// As SQLite has it; the others know only INSERT.
        verb: &'static str,
        table: &'static str,
        columns: &'static [(&'static str, Kind)],
        conflict: Conflict,
    },
    Select {
        sqlite: Parts,
        postgres: &'static str,
        mysql: Parts,
    },
}

/// `head row,row,… tail`, with something else between rows where a comma will not do.
#[derive(Clone, Copy)]
pub(crate) struct Parts {
    pub(crate) head: &'static str,
    pub(crate) row: &'static str,
    pub(crate) between: &'static str,
    pub(crate) tail: &'static str,
}

impl MultiRow {
    pub(crate) const fn insert(table: &'static str, columns: &'static [(&'static str, Kind)], conflict: Conflict) -> Self {
        Self::of(Words::Insert { verb: "INSERT", table, columns, conflict })
    }

    /// Statements that read; PostgreSQL's whole, with `$1` for the array of the first column.
    pub(crate) const fn select(sqlite: Parts, postgres: &'static str, mysql: Parts) -> Self {
        Self::of(Words::Select { sqlite, postgres, mysql })
    }

    const fn of(words: Words) -> Self {
        Self { words, texts: [const { OnceLock::new() }; TEXTS], is_guarded: false, single: None }
    }

    /// The same, with SQLite's own form of INSERT.
    pub(crate) const fn sqlite_verb(mut self, new: &'static str) -> Self {
        if let Words::Insert { verb, .. } = &mut self.words {
            *verb = new;
        }
        self
    }

    /// The same where constraints may refuse rows.
    pub(crate) const fn guarded(mut self) -> Self {
        self.is_guarded = true;
        self
    }

    /// The same, with `single` in place of itself where rows have to be tried one by one.
    pub(crate) const fn one_by_one(mut self, single: &'static MultiRow) -> Self {
        self.single = Some(single);
        self
    }

    /// The next statement for at most `rows` rows, and how many it takes.
    fn chunk(&self, dialect: Dialect, rows: usize) -> (AssertSqlSafe<Arc<str>>, usize) {
        let longest = LENGTHS.iter().position(|&length| length <= rows).unwrap_or(LENGTHS.len() - 1);
        let (slot, length) = match dialect {
            Dialect::Sqlite => (longest, LENGTHS[longest]),
            Dialect::MySql => (LENGTHS.len() + longest, LENGTHS[longest]),
            Dialect::Postgres => (TEXTS - 1, rows.min(ARRAY_ROWS_MAX)),
        };
        let text = self.texts[slot].get_or_init(|| self.words.text(dialect, length).into());
        // Safe: the text is made of literals of this crate; every value is bound.
        (AssertSqlSafe(text.clone()), length)
    }

    /// Writes `rows`; returns the indexes of those that a constraint refused. A statement that is refused leaves its
    /// transaction as it is, so its rows are then tried one by one.
    pub(crate) async fn write<R>(
        &self,
        connection: &mut Connection<'_>,
        rows: &[R],
        bind: impl Fn(&R, &mut Binder),
    ) -> Result<Vec<usize>, sqlx::Error> {
        let mut refused = Vec::new();
        let mut done = 0;
        while done < rows.len() {
            let (text, length) = self.chunk(connection.dialect(), rows.len() - done);
            match self.execute(connection, text, &rows[done..done + length], &bind).await {
                Ok(()) => {}
                Err(error) if is_constraint(&error) => {
                    let single = self.single.unwrap_or(self);
                    for (index, row) in rows.iter().enumerate().skip(done).take(length) {
                        let text = single.chunk(connection.dialect(), 1).0;
                        match single.execute(connection, text, std::slice::from_ref(row), &bind).await {
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

    /// Reads what the statement says of `rows`.
    pub(crate) async fn read<R>(
        &self,
        connection: &mut Connection<'_>,
        rows: &[R],
        bind: impl Fn(&R, &mut Binder),
    ) -> Result<Vec<Row>, sqlx::Error> {
        let mut found = Vec::new();
        let mut rest = rows;
        while !rest.is_empty() {
            let (text, length) = self.chunk(connection.dialect(), rest.len());
            let (chunk, after) = rest.split_at(length);
            rest = after;
            found.extend(sql::fetch_all(connection, text, arguments(connection.dialect(), chunk, &bind)?).await?);
        }
        Ok(found)
    }

    async fn execute<R>(
        &self,
        connection: &mut Connection<'_>,
        text: AssertSqlSafe<Arc<str>>,
        rows: &[R],
        bind: impl Fn(&R, &mut Binder),
    ) -> Result<(), sqlx::Error> {
        let arguments = arguments(connection.dialect(), rows, bind)?;
        // In PostgreSQL a refused statement spoils its transaction, unless there is a place to go back to.
        let is_guarded = self.is_guarded && connection.dialect() == Dialect::Postgres;
        if is_guarded {
            connection.run("SAVEPOINT rows").await?;
        }
        match sql::execute(connection, text, arguments).await {
            Ok(_) if is_guarded => connection.run("RELEASE SAVEPOINT rows").await,
            Ok(_) => Ok(()),
            Err(error) if is_guarded && is_constraint(&error) => {
                connection.run("ROLLBACK TO SAVEPOINT rows").await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }
}

fn arguments<R>(dialect: Dialect, rows: &[R], bind: impl Fn(&R, &mut Binder)) -> Result<sql::Arguments, sqlx::Error> {
    let mut binder = Binder::new(dialect);
    for (index, row) in rows.iter().enumerate() {
        bind(row, &mut binder);
        if index == 0 {
            binder.first_row_done(rows.len() - 1);
        }
    }
    binder.finish()
}

impl Words {
    fn text(&self, dialect: Dialect, rows: usize) -> String {
        match (self, dialect) {
            (Self::Select { postgres, .. }, Dialect::Postgres) => (*postgres).to_owned(),
            (Self::Select { sqlite, .. }, Dialect::Sqlite) => sqlite.text(rows),
            (Self::Select { mysql, .. }, Dialect::MySql) => mysql.text(rows),
            (Self::Insert { verb, table, columns, conflict }, _) => insert(dialect, verb, table, columns, *conflict, rows),
        }
    }
}

impl Parts {
    fn text(&self, rows: usize) -> String {
        format!("{}{}{}", self.head, vec![self.row; rows].join(self.between), self.tail)
    }
}

fn insert(dialect: Dialect, verb: &str, table: &str, columns: &[(&str, Kind)], conflict: Conflict, rows: usize) -> String {
    let names = columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let row = format!("({})", vec!["?"; columns.len()].join(","));
    match dialect {
        Dialect::Sqlite => {
            format!("{verb} INTO {table} ({names}) VALUES {}{}", vec![row; rows].join(","), conflict.standard(table))
        }
        Dialect::MySql => format!("INSERT INTO {table} ({names}) VALUES {}{}", vec![row; rows].join(","), conflict.mysql()),
        Dialect::Postgres => {
            let array = |(index, (_, kind)): (usize, &(&str, Kind))| {
                format!("${}::{}[]", index + 1, if *kind == Kind::Long { "bigint" } else { "text" })
            };
            let arrays = columns.iter().enumerate().map(array).collect::<Vec<_>>().join(", ");
            format!("INSERT INTO {table} ({names}) SELECT * FROM UNNEST({arrays}){}", conflict.standard(table))
        }
    }
}

impl Conflict {
    /// In the words that SQLite and PostgreSQL share.
    fn standard(self, table: &str) -> String {
        match self {
            Self::Refuse => String::new(),
            Self::Keep { key } => format!(" ON CONFLICT ({key}) DO NOTHING"),
            Self::Replace { key, columns, newer } => {
                let set = columns.iter().map(|column| format!("{column} = excluded.{column}")).collect::<Vec<_>>().join(", ");
                let newer = newer.map_or_else(String::new, |(column, above)| format!(" WHERE excluded.{column} {above} {table}.{column}"));
                format!(" ON CONFLICT ({key}) DO UPDATE SET {set}{newer}")
            }
            Self::Custom { standard, .. } => standard.to_owned(),
        }
    }

    /// MySQL updates the row of whichever unique index refuses the new one, also of another than the key's. The first thing that it is
    /// told to set is therefore the key: a row with another one would lose it, which a column that is never null refuses. And as it
    /// sets one column after the other, that which tells the newer comes last.
    fn mysql(self) -> String {
        let same_row = |key: &str| {
            let first = key.split(',').next().unwrap_or(key);
            format!("{first} = CASE WHEN VALUES({first}) = {first} THEN {first} END")
        };
        match self {
            Self::Refuse => String::new(),
            Self::Keep { key } => format!(" ON DUPLICATE KEY UPDATE {}", same_row(key)),
            Self::Replace { key, columns, newer } => {
                let mut set = vec![same_row(key)];
                let last = newer.map(|(column, _)| column);
                let (others, told): (Vec<&str>, Vec<&str>) = columns.iter().copied().partition(|column| Some(*column) != last);
                for column in others.into_iter().chain(told) {
                    set.push(match newer {
                        None => format!("{column} = VALUES({column})"),
                        Some((by, above)) => {
                            format!("{column} = CASE WHEN VALUES({by}) {above} {by} THEN VALUES({column}) ELSE {column} END")
                        }
                    });
                }
                format!(" ON DUPLICATE KEY UPDATE {}", set.join(", "))
            }
            Self::Custom { mysql, .. } => mysql.to_owned(),
        }
    }
}
