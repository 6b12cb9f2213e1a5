//! Signatures as [Standard Webhooks](https://www.standardwebhooks.com) has them: HMAC-SHA256 over `id.timestamp.body` under a secret of the
//! form `whsec_…`. While a secret is being replaced a message carries one of each, and a receiver takes either.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const PREFIX: &str = "whsec_";
/// Standard Webhooks asks for 24 to 64.
const SECRET_BYTES: usize = 32;

/// A new secret.
///
/// # Errors
/// The system gives no randomness.
pub(crate) fn new_secret() -> Result<String, getrandom::Error> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{PREFIX}{}", BASE64_STANDARD.encode(bytes)))
}

/// What `webhook-signature` says: a signature for each secret, the newest first.
pub(crate) fn signatures<'s>(secrets: impl Iterator<Item = &'s str>, id: &str, timestamp: i64, body: &str) -> String {
    secrets.filter_map(|secret| signature(secret, id, timestamp, body)).collect::<Vec<_>>().join(" ")
}

fn signature(secret: &str, id: &str, timestamp: i64, body: &str) -> Option<String> {
    let key = BASE64_STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    Some(format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_specification() {
        // The example of the specification's own libraries.
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let found = signatures([secret].into_iter(), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(found, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn either_of_two_secrets_verifies() {
        let (old, new) = (new_secret().expect("random"), new_secret().expect("random"));
        assert_ne!(old, new);
        let found = signatures([&*new, &*old].into_iter(), "a", 1, "{}");
        assert_eq!(found, format!("{} {}", signature(&new, "a", 1, "{}").expect("one"), signature(&old, "a", 1, "{}").expect("one")));
        assert_eq!(signatures(["", "whsec_*"].into_iter(), "a", 1, "{}"), "");
    }
}
