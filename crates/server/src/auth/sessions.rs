//! Console sessions: a cookie that stands for a key until it ends.
//!
//! A process alone keeps them in memory: a restart ends them all. Nodes of a cluster, which requests reach by turns, sign them: see `shared.rs`.

mod shared;

use crate::http::time::unix_seconds;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bunho_ledger::{Ledger, LedgerError};
use parking_lot::Mutex;
use shared::SharedSessions;
use std::collections::HashMap;

/// How long a session lives: a working day and its overtime.
pub const SESSION_SECONDS: i64 = 12 * 3_600;

/// Sessions at a time; beyond, the one that ends first makes room. Each is some 150 bytes.
const SESSIONS_MAX: usize = 1_000;

/// Every open session.
#[derive(Debug)]
pub enum Sessions {
    /// This process's.
    Own(OwnSessions),
    /// All nodes'.
    Shared(SharedSessions),
}

impl Default for Sessions {
    fn default() -> Self {
        Self::Own(OwnSessions::default())
    }
}

impl Sessions {
    /// Sessions of all nodes that have this secret.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn shared(secret: &[u8; 32], ledger: &Ledger) -> Result<Self, LedgerError> {
        let shared = SharedSessions::new(secret);
        shared.follow(ledger).await?;
        Ok(Self::Shared(shared))
    }

    /// Opens a session for a key. Returns its token.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn open(&self, key_id: &str) -> Result<String, getrandom::Error> {
        match self {
            Self::Own(sessions) => sessions.open(key_id),
            Self::Shared(sessions) => sessions.open(key_id),
        }
    }

    /// The id of the key that a live session stands for.
    #[must_use]
    pub fn find(&self, token: &str) -> Option<String> {
        match self {
            Self::Own(sessions) => sessions.find(token),
            Self::Shared(sessions) => sessions.find(token),
        }
    }

    /// Ends a session, on all nodes where they share it.
    ///
    /// # Errors
    /// The ledger cannot be written; on this node it has ended all the same.
    pub async fn close(&self, token: &str, ledger: &Ledger) -> Result<(), LedgerError> {
        match self {
            Self::Own(sessions) => {
                sessions.close(token);
                Ok(())
            }
            Self::Shared(sessions) => sessions.close(token, ledger).await,
        }
    }

    /// Notices what other nodes have ended.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn follow(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        match self {
            Self::Own(_) => Ok(()),
            Self::Shared(sessions) => sessions.follow(ledger).await,
        }
    }
}

/// Sessions in memory, by token.
#[derive(Debug, Default)]
pub struct OwnSessions {
    by_token: Mutex<HashMap<String, Session>>,
}

#[derive(Debug)]
struct Session {
    key_id: String,
    ends_at: i64,
}

impl OwnSessions {
    fn open(&self, key_id: &str) -> Result<String, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let token = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let now = unix_seconds();
        let mut sessions = self.by_token.lock();
        if sessions.len() >= SESSIONS_MAX {
            sessions.retain(|_, session| session.ends_at > now);
        }
        if sessions.len() >= SESSIONS_MAX
            && let Some(first) = sessions.iter().min_by_key(|(_, session)| session.ends_at).map(|(token, _)| token.clone())
        {
            sessions.remove(&first);
        }
        sessions.insert(token.clone(), Session { key_id: key_id.into(), ends_at: now + SESSION_SECONDS });
        Ok(token)
    }

    fn find(&self, token: &str) -> Option<String> {
        let now = unix_seconds();
        self.by_token.lock().get(token).filter(|session| session.ends_at > now).map(|session| session.key_id.clone())
    }

    fn close(&self, token: &str) {
        self.by_token.lock().remove(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_bounded_and_end() {
        let sessions = OwnSessions::default();
        let token = sessions.open("k1").expect("randomness");
        assert_eq!(sessions.find(&token).as_deref(), Some("k1"));
        assert_eq!(sessions.find("guess"), None);
        sessions.close(&token);
        assert_eq!(sessions.find(&token), None);

        let ended = sessions.open("k2").expect("randomness");
        sessions.by_token.lock().get_mut(&ended).expect("it is there").ends_at = 0;
        assert_eq!(sessions.find(&ended), None);
        for _ in 0..SESSIONS_MAX + 10 {
            sessions.open("k3").expect("randomness");
        }
        assert_eq!(sessions.by_token.lock().len(), SESSIONS_MAX);
    }
}
