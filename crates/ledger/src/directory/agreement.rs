//! What all nodes of an installation must say alike: fingerprints of secrets, how many partitions the topic has, which Redis (its nodes may be
//! replaced one by one, so that is said anew) and which Kafka. Two clusters that were pointed at one database by mistake find each other out here.

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::sql::{Text, query};

const SAY: Text = Text {
    mysql: "INSERT INTO agreements (name, value) VALUES (?, ?) ON DUPLICATE KEY UPDATE name = VALUES(name)",
    ..Text::same("INSERT INTO agreements (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING")
};

const SAY_ANEW: Text = Text {
    mysql: "INSERT INTO agreements (name, value) VALUES (?, ?) ON DUPLICATE KEY UPDATE value = VALUES(value)",
    ..Text::same("INSERT INTO agreements (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
};

impl Ledger {
    /// What `name` is, where somebody has said so.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn agreed(&self, name: &str) -> Result<Option<String>, LedgerError> {
        let action = LedgerError::sql("read what the nodes agreed on");
        let rows = query("SELECT value FROM agreements WHERE name = ?")
            .bind(name)
            .fetch_all(&mut self.reader().await?.connection())
            .await
            .map_err(&action)?;
        rows.first().map(|row| Ok(row.text(0)?.unwrap_or_default().to_owned())).transpose().map_err(action)
    }

    /// Says that `name` is `value`, unless somebody has said something before. None: it is so; else what stands instead, for good.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn agree(&self, name: &str, value: &str) -> Result<Option<String>, LedgerError> {
        let action = LedgerError::sql("agree with the other nodes");
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        query(SAY).bind(name).bind(value).execute(connection).await.map_err(&action)?;
        let row = query("SELECT value FROM agreements WHERE name = ?").bind(name).fetch_one(connection).await.map_err(&action)?;
        let stands = row.text(0).map_err(&action)?.unwrap_or_default().to_owned();
        drop(row);
        writing.commit().await.map_err(&action)?;
        Ok((stands != value).then_some(stands))
    }

    /// Says that `name` is `value` from here on, whatever was said before: of what may change, by whoever knows.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn agree_anew(&self, name: &str, value: &str) -> Result<(), LedgerError> {
        let action = LedgerError::sql("agree with the other nodes");
        let mut writing = self.begin_write().await?;
        query(SAY_ANEW).bind(name).bind(value).execute(&mut writing.connection()).await.map_err(&action)?;
        writing.commit().await.map_err(&action)
    }
}
