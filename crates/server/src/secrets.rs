//! Files that only their owner may read: the admin key, and the secrets that sign tickets (`tickets`).

pub mod tickets;

use crate::auth::keys::{KEY_PREFIX, key_hash};
use crate::exit::Failure;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bunho_domain::time::Millis;
use bunho_journal::{Audit, crash_point};
use bunho_ledger::{Ledger, NewKey};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where the admin key made at the first start is kept.
#[must_use]
pub fn admin_key_path(data: &Path) -> PathBuf {
    data.join("admin.key")
}

/// A new API key: 256 random bits behind a prefix that secret scanners can look for.
///
/// # Errors
/// The system has no randomness to give.
pub fn new_key() -> Result<String, Failure> {
    let bytes: [u8; 32] = random()?;
    Ok(format!("{KEY_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

/// Makes sure that an administrator can get in: the key in `BUNHO_ADMIN_KEY`, else one that is made, kept in the folder and
/// returned to be printed, this once.
///
/// # Errors
/// The ledger or the folder cannot be written, or the key in the environment is too short to be one.
pub async fn ensure_admin_key(ledger: &Ledger, data: &Path, given: Option<String>, now: Millis) -> Result<Option<String>, Failure> {
    let known = ledger.keys().await?;
    if let Some(key) = given {
        if key.len() < ADMIN_KEY_CHARS_MIN || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::configuration(format_args!(
                "BUNHO_ADMIN_KEY refused: it must be at least {ADMIN_KEY_CHARS_MIN} visible ASCII characters\n  mend: for example $(openssl rand -hex 32)"
            )));
        }
        let hash = key_hash(&key);
        if !known.iter().any(|row| row.key_hash == hash) {
            // A key's id is made of its hash, so one that was revoked cannot come back by a restart.
            let added = add_key(ledger, "admin", "BUNHO_ADMIN_KEY", &key, now, Terms::default()).await;
            if let Err(failure) = added
                // Another node that starts at the same time has added it.
                && !ledger.keys().await?.iter().any(|row| row.key_hash == hash)
            {
                return Err(Failure::configuration(format_args!(
                    "BUNHO_ADMIN_KEY refused: {failure}\n  mend: if that key was revoked, set another one"
                )));
            }
        }
        return Ok(None);
    }
    let accounts = ledger.accounts().await?;
    if known.iter().any(|row| row.role == "admin" && row.expires_at.is_none())
        || accounts.iter().any(|account| account.role == "admin" && !account.disabled)
    {
        return Ok(None);
    }
    // The file first: if the process dies before the ledger has the key, the next start finds the file and uses it.
    let path = admin_key_path(data);
    let key = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().to_string(),
        Err(_) => new_key()?,
    };
    write_secret(&path, format!("{key}\n").as_bytes())?;
    crash_point!("secrets::admin_key_written");
    add_key(ledger, "admin", "first start", &key, now, Terms::default()).await?;
    crash_point!("secrets::admin_key_added");
    Ok(Some(key))
}

/// What a key counts by, beside itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    /// Until when; none: until it is revoked.
    pub expires_at: Option<Millis>,
    /// Which client certificate must come with it.
    pub certificate: Option<&'a str>,
}

/// Adds a key to the ledger and returns its public id.
///
/// # Errors
/// The ledger cannot be written.
pub async fn add_key(ledger: &Ledger, role: &str, name: &str, key: &str, now: Millis, terms: Terms<'_>) -> Result<String, Failure> {
    let id = format!("key-{}", &key_hash(key)[..12]);
    let audit = Audit { actor: "system".into(), action: "key.new".into(), target: id.clone(), detail: None, request_id: None };
    ledger
        .insert_key(
            &NewKey { id: &id, role, name, key_hash: &key_hash(key), expires_at: terms.expires_at, certificate: terms.certificate },
            now,
            &audit,
        )
        .await?;
    Ok(id)
}

/// Shorter ones could be guessed.
const ADMIN_KEY_CHARS_MIN: usize = 8;

/// Writes a file of mode 0600 that is complete or absent, whatever happens.
///
/// # Errors
/// The folder cannot be written.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let write = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let partial = path.with_extension("partial");
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        crash_point!("secrets::file_made");
        file.write_all(bytes)?;
        file.sync_all()?;
        crash_point!("secrets::file_written");
        std::fs::rename(&partial, path)?;
        crash_point!("secrets::file_placed");
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error: std::io::Error| Failure::data(format_args!("{} cannot be written: {error}", path.display())))
}

/// Removes a secret so that no power cut brings it back.
///
/// # Errors
/// It or its folder cannot be written.
pub fn remove_secret(path: &Path) -> Result<(), Failure> {
    let remove = || {
        std::fs::remove_file(path)?;
        std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    remove().map_err(|error: std::io::Error| Failure::data(format_args!("{} cannot be removed: {error}", path.display())))
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Failure::internal(format_args!("the system gives no randomness: {error}")))?;
    Ok(bytes)
}
