//! Console sessions: a cookie that stands for a key until it ends. Kept in memory only: a restart ends them all.

use crate::http::time::unix_seconds;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use std::collections::HashMap;

/// How long a session lives: a working day and its overtime.
pub const SESSION_SECONDS: i64 = 12 * 3_600;

/// Sessions at a time; beyond, the one that ends first makes room. Each is some 150 bytes.
const SESSIONS_MAX: usize = 1_000;

/// Every open session.
#[derive(Debug, Default)]
pub struct Sessions {
    by_token: Mutex<HashMap<String, Session>>,
}

#[derive(Debug)]
struct Session {
    key_id: String,
    ends_at: i64,
}

impl Sessions {
    /// Opens a session for a key. Returns its token.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn open(&self, key_id: &str) -> Result<String, getrandom::Error> {
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

    /// The id of the key that a live session stands for.
    #[must_use]
    pub fn find(&self, token: &str) -> Option<String> {
        let now = unix_seconds();
        self.by_token.lock().get(token).filter(|session| session.ends_at > now).map(|session| session.key_id.clone())
    }

    /// Ends a session.
    pub fn close(&self, token: &str) {
        self.by_token.lock().remove(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_bounded_and_end() {
        let sessions = Sessions::default();
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
