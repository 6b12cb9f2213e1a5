//! Which settings count without a restart, and what a file that was edited changes.
//!
//! A setting is live where whoever obeys it reads it from the configuration in force each time (`App::config`), or is told by
//! `reload.rs`. A new section joins by standing in [`LIVE`].

use super::{Config, Refused, Settings};

/// Settings, or whole sections, that count as soon as they are read again.
const LIVE: &[&str] = &[
    "auth.jwt",
    "auth.trusted_proxies",
    "console.allow_from",
    "join",
    "log.level",
    "retention.forget_after_days",
    "server.body_bytes_max",
    "server.body_timeout_ms",
    "server.connections_max",
    "server.drain_delay_seconds",
    "server.drain_seconds",
    "server.header_bytes_max",
    "server.header_timeout_ms",
    "server.in_flight_max",
    "server.request_timeout_ms",
    "server.streams_max",
    "tls.cert_file",
    "tls.client_auth",
    "tls.client_ca_file",
    "tls.hsts_seconds",
    "tls.key_file",
    "trace.sample_ratio",
];

/// What settings that were read again mean for a server that runs under others.
#[derive(Debug)]
pub(crate) struct Change {
    /// What is in force from now on: the old settings with what could change.
    pub(crate) settings: Settings,
    /// The same, checked.
    pub(crate) config: Config,
    /// Names of those that count now.
    pub(crate) taken: Vec<String>,
    /// Names of those that count from the next start on.
    pub(crate) waiting: Vec<String>,
}

impl Change {
    /// Of what is in force and what was read.
    ///
    /// # Errors
    /// What was read would be refused at a start; or what could change of it does not go with what stays.
    pub(crate) fn between(old: &Settings, new: &Settings) -> Result<Self, Refused> {
        new.clone().check()?;
        let (old_table, new_table) = (table(old)?, table(new)?);
        let mut names = Vec::new();
        differing(&mut Vec::new(), Some(&old_table), Some(&new_table), &mut names);
        // TLS that was not there cannot begin, nor end: addresses that were told would mean another thing.
        let begins_or_ends = old.tls.cert_file.is_some() != new.tls.cert_file.is_some();
        let counts = |name: &String| is_live(name) && !(begins_or_ends && name.starts_with("tls."));
        let (taken, waiting): (Vec<_>, Vec<_>) = names.into_iter().partition(counts);
        let mut merged = old_table;
        for name in &taken {
            put(&mut merged, name, find(&new_table, name));
        }
        let settings: Settings =
            merged.try_into().map_err(|error: toml::de::Error| Refused::new("(file)", error.to_string(), "start the server anew"))?;
        let config = settings.clone().check()?;
        Ok(Self { settings, config, taken, waiting })
    }
}

fn is_live(name: &str) -> bool {
    LIVE.iter().any(|live| name == *live || name.strip_prefix(live).is_some_and(|rest| rest.starts_with('.')))
}

fn table(settings: &Settings) -> Result<toml::Value, Refused> {
    toml::Value::try_from(settings).map_err(|error| Refused::new("(file)", error.to_string(), "start the server anew"))
}

/// Names of the leaves that differ.
fn differing(path: &mut Vec<String>, old: Option<&toml::Value>, new: Option<&toml::Value>, names: &mut Vec<String>) {
    let tables = [old, new].map(|value| value.and_then(toml::Value::as_table));
    if tables.iter().all(Option::is_none) {
        if old != new {
            names.push(path.join("."));
        }
        return;
    }
    let keys: std::collections::BTreeSet<_> = tables.iter().flatten().flat_map(|table| table.keys()).collect();
    for key in keys {
        path.push(key.clone());
        differing(path, tables[0].and_then(|table| table.get(key)), tables[1].and_then(|table| table.get(key)), names);
        path.pop();
    }
}

fn find(value: &toml::Value, name: &str) -> Option<toml::Value> {
    name.split('.').try_fold(value, |value, key| value.get(key)).cloned()
}

fn put(value: &mut toml::Value, name: &str, new: Option<toml::Value>) {
    let (group, last) = name.rsplit_once('.').unwrap_or(("", name));
    let mut at = value;
    for key in group.split('.').filter(|key| !key.is_empty()) {
        let Some(table) = at.as_table_mut() else { return };
        at = table.entry(key).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    }
    let Some(table) = at.as_table_mut() else { return };
    match new {
        Some(new) => drop(table.insert(last.to_owned(), new)),
        None => drop(table.remove(last)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_change_does_and_the_rest_is_named() {
        let old = Settings::default();
        let mut new = old.clone();
        new.server.body_bytes_max = 2_048;
        new.server.listen = "127.0.0.1:9".into();
        new.auth.trusted_proxies = vec!["10.0.0.0/8".into()];
        new.auth.jwt.issuer = Some("me".into());
        new.join.per_address_burst = 7;
        new.join.token.issuer = Some("shop".into());
        new.join.token.key_file = Some("site.pem".into());
        new.ledger.url = Some("postgres://a/b".into());
        new.trace.sample_ratio = crate::config::Ratio(500_000);
        let change = Change::between(&old, &new).expect("both are good");
        let taken = [
            "auth.jwt.issuer",
            "auth.trusted_proxies",
            "join.per_address_burst",
            "join.token.issuer",
            "join.token.key_file",
            "server.body_bytes_max",
            "trace.sample_ratio",
        ];
        assert_eq!(change.taken, taken);
        assert_eq!(change.waiting, ["ledger.url", "server.listen"]);
        assert_eq!((change.config.limits.body_bytes_max, change.config.listen.port()), (2_048, 8_080));
        assert_eq!(change.settings.auth, new.auth);
        assert_eq!(change.settings.ledger, old.ledger);
        // And back: what is no longer set is no longer set.
        let back = Change::between(&change.settings, &old).expect("good");
        assert_eq!((back.settings, back.waiting), (old.clone(), Vec::new()));
        assert!(Change::between(&old, &old).expect("good").taken.is_empty());
    }

    #[test]
    fn what_would_be_refused_changes_nothing() {
        let old = Settings::default();
        let mut new = old.clone();
        new.server.body_bytes_max = 1;
        assert_eq!(Change::between(&old, &new).expect_err("too small").setting, "server.body_bytes_max");
        // Good by itself, and not with the address that stays.
        let mut old = old;
        old.server.listen = "0.0.0.0:80".into();
        old.auth.trusted_proxies = vec!["10.0.0.0/8".into()];
        let mut new = old.clone();
        new.server.listen = "127.0.0.1:80".into();
        new.auth.trusted_proxies = Vec::new();
        assert_eq!(Change::between(&old, &new).expect_err("anybody could be anyone").setting, "auth.user");
    }
}
