//! Whose name stands in a row's text: column `user_id` of `audit_log`, `parked_events` and `webhook_deliveries`.
//!
//! Whoever writes a row says it. A text is only read here, and only in the places where this program puts a user: somebody may be called `user` or
//! `default`, and where such words stand elsewhere in it they are nobody's name. Rows that are older than the column, and those of nodes that do not
//! know it yet, have null in it and are named when somebody is looked for.

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::Columns;
use crate::sql::query;
use bunho_domain::ids::UserId;
use serde_json::Value;

/// What stands for nobody; a user's id is never empty.
pub(crate) const NOBODY: &str = "";

/// Where a claim's user stands in an entry of the audit log.
pub(crate) const IN_AUDIT: [&str; 2] = ["/before/user", "/after/user"];
/// In a parked event.
const IN_PARKED: [&str; 2] = ["/claim/user", "/standby/user"];
/// In a message to a webhook.
const IN_MESSAGE: [&str; 1] = ["/data/user"];

/// Rows that are named at a time: some hundred milliseconds of the only connection that writes to a file.
const ROWS: i64 = 500;

/// Whom an entry of the audit log names.
pub(crate) fn in_audit(detail: Option<&str>) -> String {
    // Few do: most are not parsed.
    detail.filter(|detail| detail.contains("\"user\"")).map_or_else(String::new, |detail| named(detail, &IN_AUDIT))
}

/// The user in one of these places of a text of JSON, or [`NOBODY`]. What is no user's id may be too long for the column.
fn named(text: &str, places: &[&str]) -> String {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return NOBODY.into() };
    let mut users = places.iter().filter_map(|place| value.pointer(place)?.as_str());
    users.find(|user| UserId::parse(user).is_ok()).unwrap_or(NOBODY).into()
}

/// A table whose rows may have nobody's name yet: the rows, each by its key and its text, and how one is named.
struct Table {
    name: &'static str,
    unnamed: &'static str,
    set: &'static str,
    whose: fn(&str) -> String,
}

const TABLES: [Table; 3] = [
    Table {
        name: "audit_log",
        unnamed: "SELECT id, 0, coalesce(detail, '') FROM audit_log WHERE user_id IS NULL ORDER BY id LIMIT ?",
        set: "UPDATE audit_log SET user_id = ?1 WHERE id = ?2 AND ?3 = 0",
        whose: |text| in_audit(Some(text)),
    },
    Table {
        name: "parked_events",
        unnamed: "SELECT journal_offset, event_index, payload FROM parked_events WHERE user_id IS NULL \
                  ORDER BY journal_offset, event_index LIMIT ?",
        set: "UPDATE parked_events SET user_id = ?1 WHERE journal_offset = ?2 AND event_index = ?3",
        whose: |text| named(text, &IN_PARKED),
    },
    Table {
        name: "webhook_deliveries",
        unnamed: "SELECT seq, 0, body FROM webhook_deliveries WHERE user_id IS NULL ORDER BY seq LIMIT ?",
        set: "UPDATE webhook_deliveries SET user_id = ?1 WHERE seq = ?2 AND ?3 = 0",
        whose: |text| named(text, &IN_MESSAGE),
    },
];

impl Ledger {
    /// Sees to it that every row says whose it is. Once there are no old ones, three looks at an index.
    pub(crate) async fn name_rows(&self) -> Result<(), LedgerError> {
        let action = LedgerError::sql("note whose name stands in a row");
        for Table { name, unnamed, set, whose } in &TABLES {
            loop {
                let rows = query(*unnamed).bind(1_i64).fetch_all(&mut self.reader().await?.connection()).await.map_err(&action)?;
                if rows.is_empty() {
                    break;
                }
                let mut writing = self.begin_write().await?;
                let connection = &mut writing.connection();
                for row in &query(*unnamed).bind(ROWS).fetch_all(connection).await.map_err(&action)? {
                    let mut columns = Columns::of(row, name);
                    let (key, part, text): (i64, i64, &str) = (columns.take()?, columns.take()?, columns.take()?);
                    query(*set).bind(&whose(text)).bind(key).bind(part).execute(connection).await.map_err(&action)?;
                }
                writing.commit().await.map_err(&action)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_only_where_a_user_stands() {
        let audit = |detail: &str| in_audit(Some(detail));
        assert_eq!(audit(r#"{"body":{"restock":true},"before":{"user":"kim \"k\"","status":"held"},"after":null}"#), "kim \"k\"");
        assert_eq!(audit(r#"{"body":null,"before":null,"after":{"user":"user"}}"#), "user");
        assert_eq!(
            audit(r#"{"body":{"user":"kim"},"before":{"app":"default","confirm_by":"user"},"after":{"confirm_by":"user"}}"#),
            NOBODY
        );
        assert_eq!(audit(r#"{"users":2,"after":{"user":["kim"]}}"#), NOBODY);
        assert_eq!(audit(r#"{"after":{"user":"#), NOBODY);
        assert_eq!(audit(&format!(r#"{{"after":{{"user":"{}"}}}}"#, "u".repeat(129))), NOBODY, "no user's id");
        assert_eq!(in_audit(None), NOBODY);
        assert_eq!(named(r#"{"standby":{"user":"kim","status":"waiting"}}"#, &IN_PARKED), "kim");
        assert_eq!(named(r#"{"data":{"user":"kim","attributes":{"user":"lee"}},"user":"choi"}"#, &IN_MESSAGE), "kim");
    }
}
