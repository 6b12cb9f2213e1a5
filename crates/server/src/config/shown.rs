//! Settings as they are shown: what lets somebody in is not.

use super::Settings;
use bunho_ledger::Place;

const HIDDEN: &str = "***";

/// Settings of librdkafka that let nobody in. Any other may be a password, also one that was misspelt.
const HARMLESS: [&str; 5] = ["debug", "sasl.mechanism", "sasl.mechanisms", "sasl.username", "security.protocol"];
/// What the names of others end with.
const HARMLESS_ENDS: [&str; 3] = [".bytes", ".location", ".ms"];

impl Settings {
    /// The same with `***` in place of passwords.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let mut shown = self.clone();
        if let Some(url) = &mut shown.ledger.url {
            *url =
                Place::parse(url).map_or_else(|_| without_password(url.split('?').next().unwrap_or_default()), |place| place.to_string());
        }
        for url in shown.redis.nodes.iter_mut().chain(&mut shown.auth.jwt.jwks_url) {
            *url = without_password(url);
        }
        for (name, value) in &mut shown.kafka.properties {
            if !HARMLESS.contains(&name.as_str()) && !HARMLESS_ENDS.iter().any(|end| name.ends_with(end)) {
                HIDDEN.clone_into(value);
            }
        }
        shown
    }
}

/// Of a text that may be no URL: a password may have any character, so all up to the last `@` is taken for user and password.
fn without_password(url: &str) -> String {
    let Some((before, host)) = url.rsplit_once('@') else { return url.to_owned() };
    let (scheme, user) = before.split_once("//").unwrap_or(("", before));
    let user = user.split(':').next().filter(|_| user.contains(':')).unwrap_or_default();
    let slashes = if before.contains("//") { "//" } else { "" };
    format!("{scheme}{slashes}{user}:{HIDDEN}@{host}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KafkaSettings;

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("redis://10.0.0.1:6379", "redis://10.0.0.1:6379"),
            ("redis://bunho:s3cret@10.0.0.1:6379", "redis://bunho:***@10.0.0.1:6379"),
            ("redis://:s3cret@a:1", "redis://:***@a:1"),
            ("redis://:s3cret@s3cret/@a:1", "redis://:***@a:1"),
            ("redis//:s3cret@a:1", "redis//:***@a:1"),
            ("s3cret@a:1", ":***@a:1"),
        ] {
            assert_eq!(without_password(url), shown);
        }
        let mut settings = Settings::default();
        settings.redis.nodes = vec!["redis://:s3cret@a:1".into()];
        settings.auth.jwt.jwks_url = Some("https://me:s3cret@idp/jwks".into());
        let harmless = [("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "PLAIN"), ("socket.timeout.ms", "900")];
        let secret = ["sasl.password", "sasl.pasword", "ssl.key.pem", "sasl.oauthbearer.client.secret"].map(|name| (name, "s3cret"));
        let properties = harmless.iter().chain(&secret).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        settings.kafka = KafkaSettings { properties, ..KafkaSettings::default() };
        for url in ["postgres://bunho:s3cret@db/l", "postgres://db/l?password=s3cret", "oracle://bunho:s3cret@db/l?password=s3cret"] {
            settings.ledger.url = Some(url.into());
            let shown = settings.without_secrets();
            assert!(!format!("{shown:?}").contains("s3cret"), "{shown:?}");
            for (name, value) in harmless {
                assert_eq!(shown.kafka.properties[name], value);
            }
        }
        assert_eq!(Settings::default().without_secrets(), Settings::default());
    }
}
