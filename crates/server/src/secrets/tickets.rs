//! The secrets that sign tickets: files of the folder of keys, `keys/ticket.key` and, after a change, `keys/ticket-<id>.key`.
//!
//! Nobody who waits loses a place when they change: the newest signs, the older ones are read for as long as their file is there. An id
//! begins with the time it was made at, and a key signs only what is issued [`SIGNS_AFTER`] later: by then every node that shares the folder
//! has read it. What clients call themselves is hashed under the first secret for good, which stays in `keys/names.key` when its tickets
//! have ended: who joins again under a name finds the place it had.

use super::{random, remove_secret, write_secret};
use crate::exit::Failure;
use crate::pass::KeyRefusal;
use bunho_domain::ticket::{TICKET_KEY_BYTES, TicketKeys};
use bunho_domain::time::Millis;
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nodes look into the folder every second; what one writes is known to all of them well before it signs.
pub const SIGNS_AFTER: Duration = Duration::from_secs(5);
/// Secrets of one folder. A ticket that is none costs a look with each of them.
pub const KEYS_MAX: usize = 8;
/// The id of the secret that the first start made.
const FIRST: &str = "first";
/// Bytes of a secret's own checksum: a secret with a flipped bit is a secret too, and would end every waiting ticket in silence.
const CHECK_BYTES: usize = 8;

type Secret = [u8; TICKET_KEY_BYTES];

/// One secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketSecret {
    /// Public.
    pub id: String,
    /// When it was made.
    pub made_at: Millis,
    secret: Secret,
}

/// All of a folder, oldest first.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketSecrets {
    names: Secret,
    keys: Vec<TicketSecret>,
}

impl TicketSecret {
    /// From when on it signs.
    #[must_use]
    pub fn signs_from(&self) -> Millis {
        if self.id == FIRST { Millis(0) } else { self.made_at.plus_ms(SIGNS_AFTER.as_millis() as i64) }
    }
}

impl TicketSecrets {
    /// Reads a folder of secrets, and makes the first one where there is none.
    ///
    /// # Errors
    /// A file cannot be read or written, or is not what was written.
    pub fn load(data: &Path) -> Result<Self, Failure> {
        match Self::read(data)? {
            Some(secrets) => Ok(secrets),
            None => {
                write(&first_path(data), &random()?)?;
                Self::read(data)?.ok_or_else(|| Failure::internal("the secret that was just written is not there"))
            }
        }
    }

    /// Reads a folder of secrets; none: nothing was ever made there.
    ///
    /// # Errors
    /// A file cannot be read, is missing, or is not what was written.
    pub fn read(data: &Path) -> Result<Option<Self>, Failure> {
        let folder = data.join("keys");
        let mut keys = Vec::new();
        let listed = match std::fs::read_dir(&folder) {
            Ok(listed) => listed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&folder, &error)),
        };
        for entry in listed {
            let path = entry.map_err(|error| unreadable(&folder, &error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(id) = id_of(name) {
                keys.push(TicketSecret { made_at: made_at(&path, id), id: id.to_owned(), secret: read(&path)? });
            }
        }
        keys.sort_by_key(|key| (key.signs_from(), key.id.clone()));
        let names = match std::fs::exists(names_path(data)) {
            Ok(true) => Some(read(&names_path(data))?),
            Ok(false) => keys.iter().find(|key| key.id == FIRST).map(|key| key.secret),
            Err(error) => return Err(unreadable(&names_path(data), &error)),
        };
        match (names, keys.is_empty()) {
            (Some(names), false) => Ok(Some(Self { names, keys })),
            (None, true) => Ok(None),
            (Some(_), true) => Err(missing(&folder, "ticket.key, nor any ticket-*.key")),
            (None, false) => Err(missing(&folder, "names.key")),
        }
    }

    /// What signs and reads tickets.
    #[must_use]
    pub fn keys(&self) -> TicketKeys {
        // There is always one, or there would be no such set.
        let keys = self.keys.iter().map(|key| (key.signs_from(), key.secret));
        TicketKeys::new(&self.names, keys).unwrap_or_else(|| TicketKeys::one(&self.names))
    }

    /// What stays when tickets' keys change: for sessions, and to tell whether two nodes have the same.
    #[must_use]
    pub const fn names(&self) -> &Secret {
        &self.names
    }

    /// Every one, oldest first.
    #[must_use]
    pub fn list(&self) -> &[TicketSecret] {
        &self.keys
    }

    /// The one that signs what is issued now.
    #[must_use]
    pub fn signing(&self, now: Millis) -> &TicketSecret {
        self.keys.iter().rev().find(|key| key.signs_from() <= now).unwrap_or(&self.keys[0])
    }
}

/// Makes a secret, which signs in [`SIGNS_AFTER`]. Blocks on the disk.
///
/// # Errors
/// The folder cannot be used, or has as many secrets as it may.
pub fn rotate(data: &Path) -> Result<TicketSecret, Failure> {
    let known = TicketSecrets::load(data)?;
    if known.keys.len() >= KEYS_MAX {
        return Err(Failure::data(format_args!(
            "{} keys of tickets are there already\n  mend: drop those whose tickets have ended",
            known.keys.len()
        )));
    }
    // First what must never be lost: from the next line on `ticket.key` may be dropped.
    if !names_path(data).exists() {
        write(&names_path(data), &known.names)?;
    }
    // The first one's file may say anything, also a time to come.
    let newest = known.keys.iter().filter(|key| key.id != FIRST).map(|key| key.made_at.0).max().unwrap_or(0);
    let made_at = Millis(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64).max(newest + 1));
    let (secret, tail): (Secret, [u8; 2]) = (random()?, random()?);
    let id = format!("{:012x}{:02x}{:02x}", made_at.0, tail[0], tail[1]);
    write(&data.join("keys").join(format!("ticket-{id}.key")), &secret)?;
    Ok(TicketSecret { id, made_at, secret })
}

/// Drops a secret that does not sign; its tickets end. Blocks on the disk.
///
/// # Errors
/// Outer: the folder cannot be used. Inner: the secret cannot be dropped.
pub fn drop_key(data: &Path, id: &str, now: Millis) -> Result<Result<(), KeyRefusal>, Failure> {
    let known = TicketSecrets::load(data)?;
    if !known.keys.iter().any(|key| key.id == id) {
        return Ok(Err(KeyRefusal::Unknown));
    }
    if known.signing(now).id == id {
        return Ok(Err(KeyRefusal::Signing));
    }
    if !names_path(data).exists() {
        write(&names_path(data), &known.names)?;
    }
    let path = if id == FIRST { first_path(data) } else { data.join("keys").join(format!("ticket-{id}.key")) };
    remove_secret(&path).map(Ok)
}

/// Refuses a folder that has been used and has no secret any more: a new one would end every waiting ticket, and nobody
/// would know why.
///
/// # Errors
/// They are missing, or cannot be read.
pub fn check_present(data: &Path) -> Result<(), Failure> {
    if TicketSecrets::read(data)?.is_some() {
        return Ok(());
    }
    Err(Failure::data(format_args!(
        "{} is missing\n  mend: restore it from a backup; or make a new one with `bunho rebuild --accept-loss`: every waiting ticket ends then",
        first_path(data).display()
    )))
}

/// Makes a secret where there is none, and says where.
///
/// # Errors
/// The folder cannot be written.
pub fn make_missing(data: &Path) -> Result<Option<PathBuf>, Failure> {
    if TicketSecrets::read(data)?.is_some() {
        return Ok(None);
    }
    let path = first_path(data);
    write(&path, &random()?)?;
    Ok(Some(path))
}

/// Tells whether two nodes have the same secret, and nothing else about it.
#[must_use]
pub fn fingerprint(secret: &Secret) -> String {
    let digest = Sha256::new().chain_update(b"bunho ticket key ").chain_update(secret).finalize();
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn first_path(data: &Path) -> PathBuf {
    data.join("keys").join("ticket.key")
}

fn names_path(data: &Path) -> PathBuf {
    data.join("keys").join("names.key")
}

fn id_of(name: &str) -> Option<&str> {
    if name == "ticket.key" {
        return Some(FIRST);
    }
    let id = name.strip_prefix("ticket-")?.strip_suffix(".key")?;
    (id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// By its id; the first one's file tells.
fn made_at(path: &Path, id: &str) -> Millis {
    let by_id = || i64::from_str_radix(id.get(..12)?, 16).ok();
    let by_file = || Some(std::fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_millis() as i64);
    Millis(if id == FIRST { by_file() } else { by_id() }.unwrap_or(0))
}

fn write(path: &Path, secret: &Secret) -> Result<(), Failure> {
    let check = Sha256::digest(secret);
    write_secret(path, &[&secret[..], &check[..CHECK_BYTES]].concat())
}

fn read(path: &Path) -> Result<Secret, Failure> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let sound = || {
        let (secret, check) = bytes.split_first_chunk::<TICKET_KEY_BYTES>()?;
        (Sha256::digest(secret)[..CHECK_BYTES] == *check).then_some(*secret)
    };
    sound().ok_or_else(|| {
        Failure::data(format_args!(
            "{} is damaged\n  mend: restore it from a backup; or remove it and make a new one with `bunho rebuild --accept-loss`: every waiting ticket ends then",
            path.display()
        ))
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::data(format_args!("{} cannot be read: {error}", path.display()))
}

fn missing(folder: &Path, what: &str) -> Failure {
    Failure::data(format_args!("{} has no {what} any more\n  mend: restore the folder of keys from a backup", folder.display()))
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketSecret({})", self.id)
    }
}

impl fmt::Debug for TicketSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.keys).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_follow_each_other_and_the_names_stay() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = TicketSecrets::load(dir.path()).expect("made");
        assert_eq!(TicketSecrets::load(dir.path()).expect("read"), first);
        let made = rotate(dir.path()).expect("made");
        let both = TicketSecrets::load(dir.path()).expect("read");
        assert_eq!((both.names(), both.list().len()), (first.names(), 2));
        assert_eq!(both.signing(made.made_at).id, FIRST, "a node may not have read it yet");
        assert_eq!(both.signing(made.signs_from()).id, made.id);
        let gone = |id: &str, now| drop_key(dir.path(), id, now).expect("the folder can be used");
        assert_eq!(gone(FIRST, made.made_at), Err(KeyRefusal::Signing));
        assert_eq!(gone("0123", made.made_at), Err(KeyRefusal::Unknown));
        assert_eq!(gone(FIRST, made.signs_from()), Ok(()));
        assert_eq!(gone(&made.id, made.signs_from()), Err(KeyRefusal::Signing), "the last one stays");
        let after = TicketSecrets::load(dir.path()).expect("read");
        assert_eq!((after.names(), after.list()), (first.names(), &[made][..]));
        check_present(dir.path()).expect("present");
        for _ in 1..KEYS_MAX {
            rotate(dir.path()).expect("room");
        }
        assert!(rotate(dir.path()).expect_err("enough").to_string().contains("drop those"));
    }

    #[test]
    fn a_first_file_from_the_future_delays_no_other_key() {
        let dir = tempfile::tempdir().expect("a folder");
        TicketSecrets::load(dir.path()).expect("made");
        let now = SystemTime::now();
        let file = std::fs::File::options().write(true).open(first_path(dir.path())).expect("there");
        file.set_modified(now + Duration::from_secs(24 * 3_600)).expect("set");
        let (second, third) = (rotate(dir.path()).expect("made"), rotate(dir.path()).expect("made"));
        let in_an_hour = now.duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64 + 3_600_000;
        assert!(second.made_at < third.made_at && third.made_at.0 < in_an_hour, "{second:?} {third:?}");
        assert_eq!(TicketSecrets::load(dir.path()).expect("read").signing(Millis(in_an_hour)).id, third.id);
    }

    #[test]
    fn what_is_lost_or_damaged_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(check_present(dir.path()).is_err(), "nothing was made");
        TicketSecrets::load(dir.path()).expect("made");
        rotate(dir.path()).expect("made");
        let names = names_path(dir.path());
        let bytes = std::fs::read(&names).expect("there");
        std::fs::write(&names, &bytes[1..]).expect("written");
        assert!(TicketSecrets::load(dir.path()).expect_err("damaged").to_string().contains("is damaged"));
        std::fs::remove_file(first_path(dir.path())).expect("removed");
        std::fs::remove_file(&names).expect("removed");
        assert!(TicketSecrets::load(dir.path()).expect_err("missing").to_string().contains("names.key"));
    }
}
