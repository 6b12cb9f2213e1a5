//! API keys: 256 random bits each, of which only a hash is kept. Looking up by hash needs no comparison in constant time.

use crate::tls::Required;
use arc_swap::ArcSwap;
use bunho_domain::time::Millis;
use bunho_ledger::{Ledger, LedgerError};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Every key that is made here begins with this, so that secret scanners find keys that leaked.
pub const KEY_PREFIX: &str = "bk_";

/// An unknown key makes the ledger be asked again at most this often: `bunho key new` writes there while we run.
const RELOAD_EVERY: Duration = Duration::from_secs(1);

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Acts for users and confirms.
    Service,
    /// Looks at everything that is administered.
    Viewer,
    /// Also changes zones and offers.
    Operator,
    /// Does everything.
    Admin,
}

impl Role {
    /// Reads a role's word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Service, Self::Viewer, Self::Operator, Self::Admin].into_iter().find(|role| role.word() == text)
    }

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Whether it may claim, confirm and release for users.
    #[must_use]
    pub const fn may_act_for_users(self) -> bool {
        matches!(self, Self::Service | Self::Admin)
    }

    /// Whether it may do what needs `least`. A service stands outside the ladder.
    #[must_use]
    pub fn may_administer(self, least: Self) -> bool {
        self.rung().is_some_and(|own| least.rung().is_some_and(|least| own >= least))
    }

    const fn rung(self) -> Option<u8> {
        match self {
            Self::Service => None,
            Self::Viewer => Some(1),
            Self::Operator => Some(2),
            Self::Admin => Some(3),
        }
    }
}

/// What somebody is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A key.
    Key,
    /// A name and a password.
    Account {
        /// And a code.
        totp: bool,
    },
}

impl Who {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Account { .. } => "account",
        }
    }
}

/// Whose key or account it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which of the two.
    pub who: Who,
    /// Public id of a key, name of an account.
    pub id: String,
    /// What it may do.
    pub role: Role,
    /// What people call it.
    pub name: String,
    /// Until when a key counts; none: until it is revoked.
    pub(crate) expires_at: Option<Millis>,
    /// Which client certificate must come with a key.
    pub(crate) certificate: Option<Required>,
}

impl Identity {
    fn counts(&self) -> bool {
        self.expires_at.is_none_or(|at| at.0 > jiff::Timestamp::now().as_millisecond())
    }
}

/// Every key that is not revoked, in memory.
#[derive(Debug, Default)]
pub struct Keys {
    by_hash: ArcSwap<HashMap<String, Arc<Identity>>>,
    /// A key of a part of this process: in no ledger, and gone with it.
    lent: OnceLock<(String, Arc<Identity>)>,
    reloaded: Mutex<Option<Instant>>,
    /// Held while keys are read and put in place: of two reloads at once, the one that read before a key was revoked could else
    /// finish last and bring it back.
    reloading: tokio::sync::Mutex<()>,
    /// Held while keys are made or revoked.
    pub(crate) changing: tokio::sync::Mutex<()>,
}

impl Keys {
    /// Reads the keys from the ledger.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn load(ledger: &Ledger) -> Result<Self, LedgerError> {
        let keys = Self::default();
        keys.reload(ledger).await?;
        Ok(keys)
    }

    /// Reads them again, after a change.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn reload(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        let _reloading = self.reloading.lock().await;
        let rows = ledger.keys().await?;
        // A role that this program does not know may do nothing.
        let known = rows.into_iter().filter_map(|row| {
            let role = Role::parse(&row.role)?;
            // One that this program cannot read is met by no certificate, and must not mean that none is needed.
            let certificate = match row.certificate {
                Some(text) => Some(Required::parse(&text)?),
                None => None,
            };
            let identity = Identity { who: Who::Key, id: row.id, role, name: row.name, expires_at: row.expires_at, certificate };
            Some((row.key_hash, Arc::new(identity)))
        });
        self.by_hash.store(Arc::new(known.collect()));
        Ok(())
    }

    /// Knows a key for as long as this process lives. There is one at most.
    pub(crate) fn lend(&self, key: &str, identity: Identity) {
        let _ = self.lent.set((key_hash(key), Arc::new(identity)));
    }

    /// Whose key this is. An unknown one is looked for in the ledger, now and then.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn find(&self, key: &str, ledger: &Ledger) -> Result<Option<Arc<Identity>>, LedgerError> {
        let hash = key_hash(key);
        if let Some((lent, identity)) = self.lent.get()
            && *lent == hash
        {
            return Ok(Some(identity.clone()));
        }
        if let Some(identity) = self.by_hash.load().get(&hash) {
            // One that has expired is known, so it is no reason to ask.
            return Ok(Some(identity).filter(|identity| identity.counts()).cloned());
        }
        // JWTs have dots and keys have none: users' tokens are no reason to ask.
        if !key.contains('.') {
            self.look_again(ledger).await?;
        }
        Ok(self.by_hash.load().get(&hash).filter(|identity| identity.counts()).cloned())
    }

    /// The key with this id, while it is not revoked and has not expired. One that another node has just made is looked for as by [`Self::find`].
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn by_id(&self, id: &str, ledger: &Ledger) -> Result<Option<Arc<Identity>>, LedgerError> {
        let known = || self.by_hash.load().values().find(|identity| identity.id == id && identity.counts()).cloned();
        if let Some(identity) = known() {
            return Ok(Some(identity));
        }
        self.look_again(ledger).await?;
        Ok(known())
    }

    /// However many ask: once in [`RELOAD_EVERY`].
    async fn look_again(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        let due = {
            let mut reloaded = self.reloaded.lock();
            let due = reloaded.is_none_or(|at| at.elapsed() >= RELOAD_EVERY);
            if due {
                *reloaded = Some(Instant::now());
            }
            due
        };
        if due { self.reload(ledger).await } else { Ok(()) }
    }
}

/// What is kept of a key: its SHA-256 in lower-case hexadecimal.
#[must_use]
pub fn key_hash(key: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: u8| [byte >> 4, byte & 0xf].map(|digit| char::from(DIGITS[usize::from(digit)]));
    Sha256::digest(key.as_bytes()).into_iter().flat_map(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_a_ladder_with_services_beside_it() {
        let roles = [Role::Viewer, Role::Operator, Role::Admin];
        for (own, role) in roles.into_iter().enumerate() {
            for (least, other) in roles.into_iter().enumerate() {
                assert_eq!(role.may_administer(other), own >= least, "{role:?} as {other:?}");
            }
            assert!(!Role::Service.may_administer(role));
            assert_eq!(Role::parse(role.word()), Some(role));
        }
        assert!(Role::Service.may_act_for_users() && Role::Admin.may_act_for_users());
        assert!(!Role::Viewer.may_act_for_users() && !Role::Operator.may_act_for_users());
        assert_eq!(Role::parse("root"), None);
    }

    #[test]
    fn a_hash_is_plain_sha_256() {
        assert_eq!(key_hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
