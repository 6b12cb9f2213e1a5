//! Console sessions: a cookie that stands for an account or a key until it ends.
//!
//! The token is the session's id under a MAC that only nodes with the same secret can make: a guess costs no statement. Sessions themselves are in
//! the ledger, so that all nodes know them, everybody can see their own and end them, and a restart ends none. Each process keeps a copy: what
//! it does itself it knows at once, what other nodes do it reads every second.

use crate::http::time::unix_seconds;
use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bunho_domain::time::Millis;
use bunho_journal::Audit;
use bunho_ledger::{Ledger, LedgerError, SessionRow};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// How long a session lives: a working day and its overtime.
pub const SESSION_SECONDS: i64 = 12 * 3_600;
/// Keeps this MAC apart from any other use of the same secret.
const PURPOSE: &[u8] = b"bunho session\0";
/// Random bytes of an id.
const ID_BYTES: usize = 16;

type Live = HashMap<String, Arc<SessionRow>>;

/// What signs sessions, and those that live.
pub struct Sessions {
    key: Hmac<Sha256>,
    live: ArcSwap<Live>,
    /// Held while the copy and the ledger change, so that what was read before a session ended does not bring it back.
    changing: tokio::sync::Mutex<()>,
}

/// A session that was just opened.
pub(crate) struct Opened {
    pub(crate) token: String,
    pub(crate) session: Arc<SessionRow>,
}

/// An id that nobody draws twice.
///
/// # Errors
/// The system has no randomness to give.
pub(crate) fn new_id() -> Result<String, getrandom::Error> {
    let mut id = [0; ID_BYTES];
    getrandom::fill(&mut id)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(id))
}

/// Whether a text can be an id.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

impl Sessions {
    /// The sessions that live, under a secret that all nodes have.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn load(secret: &[u8; 32], ledger: &Ledger) -> Result<Self, LedgerError> {
        let mut block = [0; 64];
        block[..32].copy_from_slice(secret);
        let mut key = Hmac::<Sha256>::new(&block.into());
        key.update(PURPOSE);
        let sessions = Self { key, live: ArcSwap::default(), changing: tokio::sync::Mutex::default() };
        sessions.reload(ledger).await?;
        Ok(sessions)
    }

    /// Reads them again: what was opened and ended elsewhere, or by a change of an account.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn reload(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        let _changing = self.changing.lock().await;
        let rows = ledger.sessions(now()).await?;
        self.live.store(Arc::new(rows.into_iter().map(|row| (row.id.clone(), Arc::new(row))).collect()));
        Ok(())
    }

    /// Opens a session, and notes it.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub(crate) async fn open(&self, session: SessionRow, audit: &Audit, ledger: &Ledger) -> Result<Opened, LedgerError> {
        let _changing = self.changing.lock().await;
        ledger.insert_session(&session, audit).await?;
        let session = Arc::new(session);
        self.change(|live| drop(live.insert(session.id.clone(), session.clone())));
        let mac = self.mac(&session.id).finalize().into_bytes();
        Ok(Opened { token: format!("{}.{}", session.id, BASE64_URL_SAFE_NO_PAD.encode(mac)), session })
    }

    /// The session of a token, while it lives. One that another node has just opened is looked for in the ledger.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub(crate) async fn find(&self, token: &str, ledger: &Ledger) -> Result<Option<Arc<SessionRow>>, LedgerError> {
        let Some(id) = self.id_in(token) else { return Ok(None) };
        let now = now();
        if let Some(session) = self.live.load().get(id) {
            return Ok(Some(session.clone()).filter(|session| session.ends_at > now));
        }
        let _changing = self.changing.lock().await;
        let found = ledger.session(id, now).await?.map(Arc::new);
        if let Some(session) = &found {
            self.change(|live| drop(live.insert(id.to_owned(), session.clone())));
        }
        Ok(found)
    }

    /// Ends a session. False: there is none.
    ///
    /// # Errors
    /// The ledger cannot be written; on this node it has ended all the same.
    pub(crate) async fn end(&self, id: &str, ledger: &Ledger) -> Result<bool, LedgerError> {
        let _changing = self.changing.lock().await;
        self.change(|live| drop(live.remove(id)));
        ledger.end_session(id).await
    }

    /// Ends the session of a token, if it is one.
    ///
    /// # Errors
    /// As [`Self::end`].
    pub(crate) async fn close(&self, token: &str, ledger: &Ledger) -> Result<(), LedgerError> {
        match self.id_in(token) {
            Some(id) => self.end(id, ledger).await.map(drop),
            None => Ok(()),
        }
    }

    fn id_in<'a>(&self, token: &'a str) -> Option<&'a str> {
        let (id, mac) = token.split_once('.')?;
        self.mac(id).verify_slice(&BASE64_URL_SAFE_NO_PAD.decode(mac).ok()?).ok()?;
        Some(id)
    }

    fn mac(&self, id: &str) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        mac.update(id.as_bytes());
        mac
    }

    /// Under `changing`.
    fn change(&self, change: impl FnOnce(&mut Live)) {
        let mut live = Live::clone(&self.live.load());
        change(&mut live);
        self.live.store(Arc::new(live));
    }
}

fn now() -> Millis {
    Millis(unix_seconds() * 1_000)
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(subject: &str) -> SessionRow {
        let opened_at = now();
        SessionRow {
            id: new_id().expect("randomness"),
            kind: "account".into(),
            subject: subject.into(),
            opened_at,
            ends_at: Millis(opened_at.0 + 60_000),
            address: "127.0.0.1".into(),
            user_agent: None,
        }
    }

    fn audit() -> Audit {
        Audit { actor: "test".into(), action: "session.open".into(), target: "t".into(), detail: None, request_id: None }
    }

    #[tokio::test]
    async fn a_session_is_known_where_the_secret_is_and_ends_everywhere() {
        let dir = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::open(&dir.path().join("ledger.db")).await.expect("a ledger");
        let here = Sessions::load(&[7; 32], &ledger).await.expect("loaded");
        let there = Sessions::load(&[7; 32], &ledger).await.expect("loaded");
        let stranger = Sessions::load(&[8; 32], &ledger).await.expect("loaded");
        let Opened { token, session } = here.open(row("kim"), &audit(), &ledger).await.expect("opened");
        for (sessions, knows) in [(&here, true), (&there, true), (&stranger, false)] {
            let found = sessions.find(&token, &ledger).await.expect("looked");
            assert_eq!(found.map(|found| found.subject.clone()), knows.then(|| "kim".to_owned()));
        }
        for forged in
            [session.id.clone(), format!("{}.", session.id), token[1..].to_owned(), format!("{token}A"), String::new(), ".".into()]
        {
            assert!(there.find(&forged, &ledger).await.expect("looked").is_none(), "{forged}");
            there.close(&forged, &ledger).await.expect("nothing is ended");
        }
        assert_eq!(ledger.sessions(now()).await.expect("a list").len(), 1);

        let other = here.open(row("lee"), &audit(), &ledger).await.expect("opened");
        here.close(&token, &ledger).await.expect("ended");
        here.close(&token, &ledger).await.expect("twice, too");
        assert!(here.find(&token, &ledger).await.expect("looked").is_none());
        there.reload(&ledger).await.expect("read");
        assert!(there.find(&token, &ledger).await.expect("looked").is_none());
        let restarted = Sessions::load(&[7; 32], &ledger).await.expect("loaded");
        assert!(restarted.find(&token, &ledger).await.expect("looked").is_none());
        assert!(restarted.find(&other.token, &ledger).await.expect("looked").is_some(), "a restart ends none");
        let ended = SessionRow { ends_at: now(), ..row("kim") };
        let ended = here.open(ended, &audit(), &ledger).await.expect("opened");
        assert!(here.find(&ended.token, &ledger).await.expect("looked").is_none(), "its time is over");
    }
}
