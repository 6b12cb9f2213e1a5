//! Files that only their owner may read: the admin key and the secret that signs tickets.

use crate::exit::Failure;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
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
    Ok(format!("bk_{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

/// The secret of this folder's tickets, made at the first start. Losing it ends every waiting ticket.
///
/// # Errors
/// The file cannot be read or written, or is not 32 bytes.
pub fn ticket_secret(data: &Path) -> Result<[u8; 32], Failure> {
    let path = data.join("keys").join("ticket.key");
    match std::fs::read(&path) {
        Ok(bytes) => bytes.try_into().map_err(|_| {
            Failure::data(format_args!("{} is not 32 bytes\n  mend: restore it from a backup; without it every waiting ticket ends", path.display()))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let bytes = random()?;
            write_secret(&path, &bytes)?;
            Ok(bytes)
        }
        Err(error) => Err(Failure::data(format_args!("{} cannot be read: {error}", path.display()))),
    }
}

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
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error: std::io::Error| Failure::data(format_args!("{} cannot be written: {error}", path.display())))
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Failure::internal(format_args!("the system gives no randomness: {error}")))?;
    Ok(bytes)
}
