//! Accounts of people: who may sign in with a name, and what they may do now. Passwords and codes are looked up in the ledger when somebody
//! signs in; what each request needs is in memory.

use super::keys::{Identity, Role, Who};
use arc_swap::ArcSwap;
use bunho_ledger::{AccountRow, Ledger, LedgerError};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Characters of a name at most.
pub(crate) const NAME_CHARS_MAX: usize = 64;
/// A session of an account that is not known here makes the ledger be asked again at most this often.
const RELOAD_EVERY: Duration = Duration::from_secs(1);

/// Whether a text can be an account's name: one that stands in paths and in lists as it is, and that no other looks like.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte))
}

/// What an account may be. A service is no person.
#[must_use]
pub fn role(text: &str) -> Option<Role> {
    Role::parse(text).filter(|role| role.may_administer(Role::Viewer))
}

/// Every account that is not disabled, in memory.
#[derive(Debug, Default)]
pub struct Accounts {
    by_name: ArcSwap<HashMap<String, Arc<Identity>>>,
    reloaded: Mutex<Option<Instant>>,
    /// As with keys: of two reloads at once, the one that read first must not finish last.
    reloading: tokio::sync::Mutex<()>,
}

impl Accounts {
    /// Reads the accounts from the ledger.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn load(ledger: &Ledger) -> Result<Self, LedgerError> {
        let accounts = Self::default();
        accounts.reload(ledger).await?;
        Ok(accounts)
    }

    /// Reads them again, after a change.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn reload(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        let _reloading = self.reloading.lock().await;
        let rows = ledger.accounts().await?;
        let known = rows.iter().filter_map(|row| Some((row.name.clone(), Arc::new(identity(row)?))));
        self.by_name.store(Arc::new(known.collect()));
        Ok(())
    }

    /// Who this is, while the account is not disabled. One that another process has just made is looked for in the ledger, now and then.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn find(&self, name: &str, ledger: &Ledger) -> Result<Option<Arc<Identity>>, LedgerError> {
        if let Some(identity) = self.by_name.load().get(name) {
            return Ok(Some(identity.clone()));
        }
        let due = {
            let mut reloaded = self.reloaded.lock();
            let due = reloaded.is_none_or(|at| at.elapsed() >= RELOAD_EVERY);
            if due {
                *reloaded = Some(Instant::now());
            }
            due
        };
        if due {
            self.reload(ledger).await?;
        }
        Ok(self.by_name.load().get(name).cloned())
    }
}

/// Who an account is. None: it is disabled, or of a role that this program does not know.
pub(crate) fn identity(row: &AccountRow) -> Option<Identity> {
    let role = role(&row.role).filter(|_| !row.disabled)?;
    let who = Who::Account { totp: row.totp_secret.is_some() };
    Some(Identity { who, id: row.name.clone(), role, name: row.name.clone(), expires_at: None, certificate: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_roles_are_those_that_cannot_be_mistaken() {
        for name in ["a", "kim.minji@example.com", "ops+1", "A_b-9", &"n".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", " ", "a b", "a/b", "a:b", "김", "a\u{202e}b", "a\n", "a\0", "'; drop table accounts", &"n".repeat(65)] {
            assert!(!is_name(name), "{name:?}");
        }
        for (text, may) in [("viewer", true), ("operator", true), ("admin", true), ("service", false), ("root", false), ("", false)] {
            assert_eq!(role(text).is_some(), may, "{text}");
        }
    }
}
