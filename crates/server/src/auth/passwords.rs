//! Passwords: hashed with Argon2id, two at a time and away from the threads that serve, since each costs some 20 MiB and tens of
//! milliseconds on purpose. A crowd of guesses waits in a short queue and is then refused; claims and polls do not feel it.

use crate::app::Slots;
use crate::problem::{OVERLOADED, Problem};
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::ops::RangeInclusive;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Characters of a password. Far longer ones than anybody types are somebody's mistake.
pub(crate) const PASSWORD_CHARS: RangeInclusive<usize> = 10..=256;

/// Hashed at a time: 2 × 19 MiB.
const AT_ONCE: usize = 2;
/// Who waits for a turn, at most: at 50 ms each the last one waits under two seconds.
const WAITING_MAX: usize = 64;
/// Compared with where there is no such account, so that unknown names cost what known ones do. No password has this hash.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlz$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Turns at hashing.
#[derive(Debug)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Slots,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), waiting: Slots::new(WAITING_MAX) }
    }
}

impl Passwords {
    /// The hash of a new password, in PHC form.
    ///
    /// # Errors
    /// Too many wait, or the system has no randomness to give.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Problem> {
        self.in_turn(move || hash(&password)).await?.map_err(|error| Problem::internal(&error))
    }

    /// Whether this is the password with that hash; none: there is no such account, which takes as long.
    ///
    /// # Errors
    /// Too many wait.
    pub(crate) async fn is(&self, password: String, hash: Option<String>) -> Result<bool, Problem> {
        let is_known = hash.is_some();
        let same = self.in_turn(move || verify(&password, hash.as_deref().unwrap_or(NOBODYS))).await?;
        Ok(same && is_known)
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let _waits = self.waiting.take().ok_or_else(|| Problem::new(&OVERLOADED).detail("Too many people sign in at once"))?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|error| Problem::internal(&error))?;
        let done = tokio::task::spawn_blocking(move || {
            // Held by the work, which goes on when nobody waits for it any more.
            let _turn = turn;
            work()
        });
        done.await.map_err(|error| Problem::internal(&error))
    }
}

/// Why there is no hash.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// No salt.
    #[error("the system gives no randomness")]
    Random(#[source] getrandom::Error),
    /// A bug: the parameters are constants.
    #[error("the password could not be hashed")]
    Hash(#[source] argon2::password_hash::Error),
}

/// Hashes a password; takes its time.
///
/// # Errors
/// The system has no randomness to give.
pub fn hash(password: &str) -> Result<String, HashError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(HashError::Random)?;
    let hash: PasswordHash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt).map_err(HashError::Hash)?;
    Ok(hash.to_string())
}

fn verify(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Whether a text can be the hash of a password.
#[must_use]
pub fn is_hash(text: &str) -> bool {
    text.len() <= 255 && text.starts_with("$argon2id$") && PasswordHash::new(text).is_ok_and(|hash| hash.hash.is_some())
}

/// A password that nobody guesses: 120 random bits in 20 characters.
///
/// # Errors
/// The system has no randomness to give.
pub fn new_password() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 15];
    getrandom::fill(&mut bytes)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_alone() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".into()).await.expect("hashed");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(is_hash(&hash));
        assert_ne!(hash, passwords.hash("correct horse".into()).await.expect("hashed"), "salted");
        for (password, stored, same) in [
            ("correct horse", Some(&hash), true),
            ("correct horsf", Some(&hash), false),
            ("", Some(&hash), false),
            ("correct horse", None, false),
            ("x", Some(&"no hash".to_owned()), false),
        ] {
            assert_eq!(passwords.is(password.into(), stored.cloned()).await.expect("compared"), same, "{password:?}");
        }
    }

    #[test]
    fn nobodys_hash_costs_what_a_real_one_does() {
        let (nobody, real) = (PasswordHash::new(NOBODYS).expect("a hash"), hash("x").expect("hashed"));
        let real = PasswordHash::new(&real).expect("a hash");
        assert_eq!((nobody.algorithm, nobody.version, &nobody.params), (real.algorithm, real.version, &real.params));
        assert_eq!(nobody.hash.map(|hash| hash.len()), real.hash.map(|hash| hash.len()));
    }

    #[test]
    fn hashes_are_told_from_other_texts() {
        for text in
            ["", "x", "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$", "$argon2id$v=19$m=19456,t=2,p=1"]
        {
            assert!(!is_hash(text), "{text}");
        }
        assert!(is_hash(NOBODYS));
        let (one, two) = (new_password().expect("randomness"), new_password().expect("randomness"));
        assert!(one != two && PASSWORD_CHARS.contains(&one.len()));
    }
}
