//! What `bunho doctor` and a start ask: the settings that durability rests on, as the database itself reports them.

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::sql::{Connection, Dialect, query};

/// A setting that a promise rests on and that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What an operator calls it who waives the promise: `postgres.fsync`.
    pub name: &'static str,
    /// The setting as the database calls it.
    pub setting: &'static str,
    /// What it is.
    pub is: String,
    /// What it must be.
    pub must_be: &'static str,
    /// What breaks, and what to do about it.
    pub mend: &'static str,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is {}, not {}: {}", self.setting, self.is, self.must_be, self.mend)
    }
}

/// What the database says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Version of the schema.
    pub schema_version: i64,
    /// Which database, with its version.
    pub database: String,
    /// The settings that were looked at, with what they are.
    pub settings: Vec<(&'static str, String)>,
    /// Those that are not as they must be.
    pub findings: Vec<Finding>,
    /// What SQLite's `PRAGMA quick_check` found; empty: the file is sound.
    pub damage: Vec<String>,
}

impl Check {
    /// Everything that is wrong, each with its mend; empty: all is well.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let damage = self.damage.iter().map(|line| format!("the file is damaged ({line}): restore a copy"));
        self.findings.iter().map(Finding::to_string).chain(damage).collect()
    }
}

/// One setting that is looked at.
struct Wanted {
    name: &'static str,
    setting: &'static str,
    statement: &'static str,
    must_be: &'static str,
    /// Only where this other setting is on.
    only_with: Option<&'static str>,
    mend: &'static str,
}

const fn wanted(name: &'static str, setting: &'static str, statement: &'static str, must_be: &'static str, mend: &'static str) -> Wanted {
    Wanted { name, setting, statement, must_be, only_with: None, mend }
}

const SQLITE: &[Wanted] = &[
    wanted(
        "sqlite.journal_mode",
        "journal_mode",
        "PRAGMA journal_mode",
        "wal",
        "the folder's file system must allow shared memory (a local disk, not a network share)",
    ),
    wanted("sqlite.synchronous", "synchronous", "PRAGMA synchronous", "2", "a power cut could lose committed rows; it must be FULL"),
];

const POSTGRES: &[Wanted] = &[
    wanted("postgres.fsync", "fsync", "SELECT current_setting('fsync')", "on", "a power cut could lose everything; set fsync = on"),
    wanted(
        "postgres.synchronous_commit",
        "synchronous_commit",
        "SELECT CASE WHEN current_setting('synchronous_commit') = 'off' THEN 'off' ELSE 'on' END",
        "on",
        "a crash could lose committed rows; set synchronous_commit = on, or ALTER ROLE … SET synchronous_commit = on",
    ),
    wanted(
        "postgres.full_page_writes",
        "full_page_writes",
        "SELECT current_setting('full_page_writes')",
        "on",
        "a power cut could leave half a page; set full_page_writes = on",
    ),
];

const MYSQL: &[Wanted] = &[
    wanted(
        "mysql.innodb_flush_log_at_trx_commit",
        "innodb_flush_log_at_trx_commit",
        "SELECT CAST(@@GLOBAL.innodb_flush_log_at_trx_commit AS CHAR)",
        "1",
        "a crash could lose committed rows; set innodb_flush_log_at_trx_commit = 1",
    ),
    wanted(
        "mysql.innodb_doublewrite",
        "innodb_doublewrite",
        "SELECT CASE WHEN @@GLOBAL.innodb_doublewrite IN ('0', 'OFF') THEN '0' ELSE '1' END",
        "1",
        "a power cut could leave half a page; set innodb_doublewrite = ON",
    ),
    Wanted {
        name: "mysql.sync_binlog",
        setting: "sync_binlog",
        statement: "SELECT CAST(@@GLOBAL.sync_binlog AS CHAR)",
        must_be: "1",
        only_with: Some("SELECT CASE WHEN @@GLOBAL.log_bin = 0 THEN '0' ELSE '1' END"),
        mend: "after a crash replicas and backups made from the binary log could lack committed rows; set sync_binlog = 1",
    },
];

impl Ledger {
    /// Reads the settings in force, checks a file, and takes and gives back a transaction with a row written.
    /// Reads the whole file of SQLite.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn check(&self) -> Result<Check, LedgerError> {
        let action = LedgerError::sql("check itself");
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        let (settings, findings) = look(connection).await.map_err(&action)?;
        query(r#"INSERT INTO projector_offsets (name, "offset") VALUES ('doctor', 0)"#)
            .execute(connection)
            .await
            .map_err(LedgerError::sql("write"))?;
        let database = database(connection).await.map_err(&action)?;
        writing.rollback().await.map_err(&action)?;
        Ok(Check { schema_version: self.schema_version(), database, settings, findings, damage: self.damage().await? })
    }

    /// The settings that a promise rests on and that are not as they must be.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn findings(&self) -> Result<Vec<Finding>, LedgerError> {
        // SQLite's settings are a connection's own; it is the writing one's that matter.
        let mut writer = self.writer().await?;
        look(&mut writer.connection()).await.map(|(_, findings)| findings).map_err(LedgerError::sql("check itself"))
    }

    /// What SQLite's `PRAGMA quick_check` finds; nothing: the file is sound. Reads the whole file. The others watch over their own files.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn damage(&self) -> Result<Vec<String>, LedgerError> {
        if self.dialect() != Dialect::Sqlite {
            return Ok(Vec::new());
        }
        let action = LedgerError::sql("check itself");
        let rows = query("PRAGMA quick_check").fetch_all(&mut self.reader().await?.connection()).await.map_err(&action)?;
        let mut damage = Vec::new();
        for row in &rows {
            damage.extend(row.text(0).map_err(&action)?.filter(|line| *line != "ok").map(str::to_owned));
        }
        Ok(damage)
    }
}

async fn look(connection: &mut Connection<'_>) -> Result<(Vec<(&'static str, String)>, Vec<Finding>), sqlx::Error> {
    let wanted = match connection.dialect() {
        Dialect::Sqlite => SQLITE,
        Dialect::Postgres => POSTGRES,
        Dialect::MySql => MYSQL,
    };
    let (mut settings, mut findings) = (Vec::new(), Vec::new());
    for Wanted { name, setting, statement, must_be, only_with, mend } in wanted {
        if let Some(other) = only_with
            // Releases differ in the word.
            && matches!(&*text(connection, other).await?, "0" | "OFF")
        {
            continue;
        }
        let is = text(connection, statement).await?;
        if is != *must_be {
            findings.push(Finding { name, setting, is: is.clone(), must_be, mend });
        }
        settings.push((*setting, is));
    }
    Ok((settings, findings))
}

async fn database(connection: &mut Connection<'_>) -> Result<String, sqlx::Error> {
    Ok(match connection.dialect() {
        Dialect::Sqlite => format!("SQLite {}", text(connection, "SELECT sqlite_version()").await?),
        Dialect::Postgres => format!("PostgreSQL {}", text(connection, "SELECT current_setting('server_version')").await?),
        Dialect::MySql => match text(connection, "SELECT VERSION()").await? {
            version if version.contains("MariaDB") => format!("MariaDB {version}"),
            version => format!("MySQL {version}"),
        },
    })
}

async fn text(connection: &mut Connection<'_>, statement: &'static str) -> Result<String, sqlx::Error> {
    let row = query(statement).fetch_one(connection).await?;
    Ok(row.text(0)?.unwrap_or_default().to_owned())
}
