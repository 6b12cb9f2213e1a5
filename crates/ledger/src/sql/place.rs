//! Where a ledger is: a file, or a database on a server.

use std::fmt;
use std::path::{Path, PathBuf};
use url::Url;

/// A SQLite file, or the URL of a database. Shown without its password. URLs are large, and every error has room for a place: so they are boxed.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// A file; made where there is none.
    Sqlite(PathBuf),
    /// PostgreSQL 15 or later.
    Postgres(Box<Url>),
    /// MySQL 8 or later, MariaDB 10.11 or later.
    MySql(Box<Url>),
}

/// Why a text is not a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Not a URL, though it begins like one.
    #[error("is not a URL: {0}")]
    Url(url::ParseError),
    /// Of a kind of database that is not known.
    #[error("begins with {0}://, which is none of postgres://, mysql:// and mariadb://")]
    Scheme(String),
    /// Without the name of a database.
    #[error("names no database after the host")]
    NoDatabase,
}

impl Place {
    /// Reads `postgres://…`, `mysql://…`, `mariadb://…`; what has no `://` is a SQLite file.
    ///
    /// # Errors
    /// It begins like a URL and is not one that can be used.
    pub fn parse(text: &str) -> Result<Self, PlaceError> {
        let Some((scheme, rest)) = text.split_once("://") else { return Ok(Self::Sqlite(text.into())) };
        let (known, place): (_, fn(Box<Url>) -> Self) = match scheme {
            "postgres" | "postgresql" => ("postgres", Self::Postgres),
            "mysql" | "mariadb" => ("mysql", Self::MySql),
            other => return Err(PlaceError::Scheme(other.to_owned())),
        };
        let url = Url::parse(&format!("{known}://{rest}")).map_err(PlaceError::Url)?;
        if url.path().trim_matches('/').is_empty() {
            return Err(PlaceError::NoDatabase);
        }
        Ok(place(Box::new(url)))
    }

    /// Which database it is, in a word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
            Self::MySql(_) => "mysql",
        }
    }

    /// The file; none: it is on a server.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) | Self::MySql(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(url) | Self::MySql(url) => f.write_str(&without_secrets(url)),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::Sqlite(path.to_owned())
    }
}

impl From<&PathBuf> for Place {
    fn from(path: &PathBuf) -> Self {
        Self::Sqlite(path.clone())
    }
}

impl From<&Place> for Place {
    fn from(place: &Place) -> Self {
        place.clone()
    }
}

/// A password may stand before the host, or among the parameters.
fn without_secrets(url: &Url) -> String {
    let mut shown = url.clone();
    if shown.password().is_some() {
        // Cannot fail: it has a host, or it would have no password.
        shown.set_password(Some("***")).unwrap_or(());
    }
    if url.query().is_some() {
        let hidden = |name: &str| matches!(name, "password" | "passwd" | "pwd");
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| (name.to_string(), if hidden(&name) { "***".to_owned() } else { value.into_owned() }))
            .collect();
        shown.query_pairs_mut().clear().extend_pairs(pairs);
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_shown_without_passwords() {
        for (text, shown) in [
            ("./data/ledger.db", "./data/ledger.db"),
            ("postgres://bunho:s3cret@db:5432/ledger", "postgres://bunho:***@db:5432/ledger"),
            ("postgresql://db/ledger?password=s3cret&sslmode=require", "postgres://db/ledger?password=***&sslmode=require"),
            ("mariadb://root:s3cret@[::1]:3306/l", "mysql://root:***@[::1]:3306/l"),
            ("mysql://root@localhost/l?socket=/run/db.sock", "mysql://root@localhost/l?socket=%2Frun%2Fdb.sock"),
        ] {
            let place = Place::parse(text).expect("a place");
            assert_eq!(place.to_string(), shown);
            assert!(!format!("{place:?}").contains("s3cret"));
        }
        assert_eq!(Place::parse("oracle://x/y"), Err(PlaceError::Scheme("oracle".to_owned())));
        assert_eq!(Place::parse("postgres://db:5432"), Err(PlaceError::NoDatabase));
        assert!(matches!(Place::parse("postgres://db:port/x"), Err(PlaceError::Url(_))));
    }
}
