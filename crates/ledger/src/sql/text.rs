//! Statements in three dialects, and what stands in them for values.

use super::Dialect;
use std::fmt::Write;
use std::sync::Arc;

/// A statement: the same words for all, or one text for each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
    pub(crate) mysql: &'static str,
}

impl Text {
    /// The same words for all.
    pub(crate) const fn same(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text, mysql: text }
    }

    pub(crate) const fn of(self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
            Dialect::MySql => self.mysql,
        }
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self::same(text)
    }
}

/// The text with the dialect's own placeholders, and which of the `count` values stands where. `?` is the next value and `?2`
/// the second: SQLite knows both, PostgreSQL calls them `$1` and `$2`, and MySQL, which knows only the first, gets a value twice.
pub(super) fn placeholders(text: &'static str, dialect: Dialect, count: usize) -> (Arc<str>, Vec<usize>) {
    if dialect == Dialect::Sqlite {
        return (text.into(), (0..count).collect());
    }
    let (mut written, mut order) = (String::with_capacity(text.len() + 16), Vec::with_capacity(count));
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('?') {
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let value = after[..digits].parse().map_or(order.len(), |number: usize| number - 1);
        order.push(value);
        written.push_str(before);
        match dialect {
            // Writing to a String does not fail.
            Dialect::Postgres => write!(written, "${}", value + 1).unwrap_or(()),
            Dialect::Sqlite | Dialect::MySql => written.push('?'),
        }
        rest = &after[digits..];
    }
    written.push_str(rest);
    if dialect == Dialect::Postgres {
        order = (0..count).collect();
    }
    (written.into(), order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_has_its_placeholders() {
        let check = |text, dialect, count, expected: &str, order: &[usize]| {
            assert_eq!(placeholders(text, dialect, count), (expected.into(), order.to_vec()));
        };
        check("a = ? AND b = ?", Dialect::Sqlite, 2, "a = ? AND b = ?", &[0, 1]);
        check("a = ? AND b = ?", Dialect::Postgres, 2, "a = $1 AND b = $2", &[0, 1]);
        check("a = ? AND b = ?", Dialect::MySql, 2, "a = ? AND b = ?", &[0, 1]);
        check("a = ?2 AND b = ?1 OR c > ?2", Dialect::Postgres, 2, "a = $2 AND b = $1 OR c > $2", &[0, 1]);
        check("a = ?2 AND b = ?1 OR c > ?2", Dialect::MySql, 2, "a = ? AND b = ? OR c > ?", &[1, 0, 1]);
        check("SELECT 1", Dialect::MySql, 0, "SELECT 1", &[]);
    }
}
