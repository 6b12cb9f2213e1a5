//! Sessions that every node knows without asking: the token says for which key it stands and when it ends, under a MAC that only nodes can make.
//!
//! So a sign-in needs no place where all nodes look, and a guess costs no statement. What must be known everywhere is only what was ended early:
//! that stands in the ledger, which each node reads every second. A key that is revoked ends its sessions by itself.

use super::SESSION_SECONDS;
use crate::http::time::unix_seconds;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bunho_domain::time::Millis;
use bunho_ledger::{Ledger, LedgerError};
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::Sha256;
use std::collections::HashMap;
use std::fmt;

/// Keeps this MAC apart from any other use of the same secret.
const PURPOSE: &[u8] = b"bunho session\0";
/// A session ended on a node whose clock is behind by less than this is not missed.
const SKEW_MS: i64 = 5 * 60 * 1_000;

/// What signs sessions, and those that were ended before their time.
pub struct SharedSessions {
    key: Hmac<Sha256>,
    ended: Mutex<Ended>,
}

#[derive(Default)]
struct Ended {
    /// When each would have ended by itself, in seconds.
    by_id: HashMap<String, i64>,
    /// When the ledger was last asked.
    asked: Option<Millis>,
}

/// What a good token says.
struct Said<'a> {
    key_id: &'a str,
    ends_at: i64,
    id: &'a str,
}

impl SharedSessions {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let mut block = [0; 64];
        block[..32].copy_from_slice(secret);
        let mut key = Hmac::<Sha256>::new(&block.into());
        key.update(PURPOSE);
        Self { key, ended: Mutex::default() }
    }

    pub(super) fn open(&self, key_id: &str) -> Result<String, getrandom::Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        let said = format!("{key_id}.{}.{}", unix_seconds() + SESSION_SECONDS, BASE64_URL_SAFE_NO_PAD.encode(id));
        let mac = self.mac(&said).finalize().into_bytes();
        Ok(format!("{said}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac)))
    }

    pub(super) fn find(&self, token: &str) -> Option<String> {
        let said = self.read(token)?;
        let is_live = said.ends_at > unix_seconds() && !self.ended.lock().by_id.contains_key(said.id);
        is_live.then(|| said.key_id.to_owned())
    }

    pub(super) async fn close(&self, token: &str, ledger: &Ledger) -> Result<(), LedgerError> {
        let Some(Said { ends_at, id, .. }) = self.read(token).filter(|said| said.ends_at > unix_seconds()) else { return Ok(()) };
        self.ended.lock().by_id.insert(id.to_owned(), ends_at);
        ledger.end_session(id, Millis(unix_seconds() * 1_000), Millis(ends_at * 1_000)).await
    }

    /// What was ended since the last time, and a while before that, since nodes' clocks differ.
    pub(super) async fn follow(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        let now = unix_seconds();
        let since = self.ended.lock().asked.map_or(Millis(0), |asked| Millis(asked.0 - SKEW_MS));
        let found = ledger.sessions_ended(since).await?;
        let mut ended = self.ended.lock();
        ended.by_id.extend(found.into_iter().map(|(id, ends_at)| (id, ends_at.0 / 1_000)));
        ended.by_id.retain(|_, ends_at| *ends_at > now);
        ended.asked = Some(Millis(now * 1_000));
        Ok(())
    }

    fn read<'a>(&self, token: &'a str) -> Option<Said<'a>> {
        let (said, mac) = token.rsplit_once('.')?;
        self.mac(said).verify_slice(&BASE64_URL_SAFE_NO_PAD.decode(mac).ok()?).ok()?;
        let (said, id) = said.rsplit_once('.')?;
        let (key_id, ends_at) = said.rsplit_once('.')?;
        Some(Said { key_id, ends_at: ends_at.parse().ok()?, id })
    }

    fn mac(&self, said: &str) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        mac.update(said.as_bytes());
        mac
    }
}

impl fmt::Debug for SharedSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSessions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_is_known_where_the_secret_is_and_ends_everywhere() {
        let dir = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::open(&dir.path().join("ledger.db")).await.expect("a ledger");
        let (here, there, stranger) = (SharedSessions::new(&[7; 32]), SharedSessions::new(&[7; 32]), SharedSessions::new(&[8; 32]));
        let token = here.open("key-1").expect("randomness");
        assert_eq!(there.find(&token).as_deref(), Some("key-1"));
        assert_eq!(stranger.find(&token), None);
        for forged in [token.replacen("key-1", "key-2", 1), token[1..].to_owned(), format!("{token}A"), String::new(), "...".into()] {
            assert_eq!(there.find(&forged), None, "{forged}");
            there.close(&forged, &ledger).await.expect("nothing is written");
        }
        assert_eq!(ledger.sessions_ended(Millis(0)).await.expect("a list"), []);

        there.follow(&ledger).await.expect("followed");
        here.close(&token, &ledger).await.expect("ended");
        here.close(&token, &ledger).await.expect("twice, too");
        assert_eq!(here.find(&token), None);
        there.follow(&ledger).await.expect("followed");
        assert_eq!(there.find(&token), None);
        let started_later = SharedSessions::new(&[7; 32]);
        started_later.follow(&ledger).await.expect("followed");
        assert_eq!(started_later.find(&token), None);
    }
}
