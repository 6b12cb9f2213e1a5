//! The file that an embedded installation is moved in: what `bunho export` writes and `bunho import` reads.
//!
//! One JSON object a line, so that any size is written and read in constant memory:
//!
//! ```text
//! {"bunho_export": 1}                            first: what this is, in which form
//! {"source": {"installation": "…", "offers": 3, "zones": 1}}   whose it is, and the highest numbers that it gave to offers and zones
//! {"secret": {"name": "keys/ticket.key", "base64": "…"}}
//! {"key": {"id": "…", "role": "…", "name": "…", "key_hash": "…"}}
//! {"account": {"name": "…", "role": "…", "password_hash": "…", …}}
//! {"page": {"zone_number": 1, "zone_id": "…", "revision": 2, "page": "…"}}   how a zone's waiting page looks
//! {"event": {…}}                                 a CloudEvent, as on the topic
//! {"end": {"events": 123, "keys": 2, "accounts": 1, "secrets": 2, "pages": 1}}   last: nothing was cut off
//! ```
//!
//! It holds the keys that sign tickets and passes, and what authenticators' codes are made of, so it is its owner's alone.

use crate::auth::{accounts, passwords};
use crate::exit::Failure;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bunho_domain::time::Millis;
use bunho_journal::kafka::Message;
use bunho_ledger::{AccountRow, KeyRow, PageRow};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The form that this release writes and reads.
const FORM: u32 = 1;

/// One line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first.
    BunhoExport(u32),
    /// Where it comes from.
    Source(Source),
    /// A file of keys.
    Secret(Secret),
    /// A key of a service or an operator.
    Key(Key),
    /// An account of somebody who signs in.
    Account(Account),
    /// How a zone's waiting page looks and what it says.
    Page(Page),
    /// What happened, as a CloudEvent.
    Event(Box<RawValue>),
    /// The last.
    End(Counts),
}

/// Where an export comes from.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The installation's id.
    pub installation: String,
    /// The highest number of an offer that it ever gave; offers that were deleted had one too, and ids of claims begin with it.
    pub offers: u32,
    /// The same of zones.
    pub zones: u32,
}

/// A file of keys.
#[derive(Debug, Deserialize, Serialize)]
pub struct Secret {
    /// Below the folder of secrets, with `/`.
    pub name: String,
    base64: String,
}

/// A key of a service or an operator, as the ledger has it.
#[derive(Debug, Deserialize, Serialize)]
pub struct Key {
    /// Its public id.
    pub id: String,
    /// What it may do.
    pub role: String,
    /// What people call it.
    pub name: String,
    /// Hash of the secret.
    pub key_hash: String,
    /// Until when it counts, in Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<i64>,
    /// Which client certificate must come with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// An account of somebody who signs in, as the ledger has it. Sessions are not moved: everybody signs in anew.
#[derive(Debug, Deserialize, Serialize)]
pub struct Account {
    /// What its owner signs in with.
    pub name: String,
    /// What it may do.
    pub role: String,
    /// Hash of the password.
    pub password_hash: String,
    /// What codes are made of, where it asks for them.
    pub totp_secret: Option<String>,
    /// The last step whose code was taken.
    pub totp_step: i64,
    /// Nobody may sign in with it.
    pub disabled: bool,
    /// When it was made, in Unix milliseconds.
    pub created_ms: i64,
}

/// A zone's waiting page, as the ledger has it.
#[derive(Debug, Deserialize, Serialize)]
pub struct Page {
    /// The number of its zone.
    pub zone_number: u32,
    /// The id of its zone.
    pub zone_id: String,
    /// Raised by every change.
    pub revision: u32,
    /// Its settings, as JSON.
    pub page: String,
}

/// How many lines of each kind.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Events.
    pub events: u64,
    /// Keys.
    pub keys: u64,
    /// Accounts.
    #[serde(default)]
    pub accounts: u64,
    /// Files of keys.
    pub secrets: u64,
    /// Waiting pages.
    #[serde(default)]
    pub pages: u64,
}

/// Writes the file.
pub struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    counts: Counts,
}

impl Writer {
    /// Makes the file, which must not be there.
    ///
    /// # Errors
    /// It is there, or cannot be written.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file =
            file.map_err(|error| Failure::data(format_args!("{} cannot be made: {error}\n  mend: name another file", path.display())))?;
        let mut writer = Self { path: path.to_owned(), file: BufWriter::new(file), counts: Counts::default() };
        writer.line(&Line::BunhoExport(FORM))?;
        Ok(writer)
    }

    fn line(&mut self, line: &Line) -> Result<(), Failure> {
        let written = serde_json::to_writer(&mut self.file, line).map_err(Into::into).and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|error: std::io::Error| Failure::data(format_args!("{} cannot be written: {error}", self.path.display())))
    }

    /// Where it comes from.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn source(&mut self, source: Source) -> Result<(), Failure> {
        self.line(&Line::Source(source))
    }

    /// A file of keys.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn secret(&mut self, name: String, bytes: &[u8]) -> Result<(), Failure> {
        self.counts.secrets += 1;
        self.line(&Line::Secret(Secret { name, base64: BASE64_STANDARD.encode(bytes) }))
    }

    /// A key.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn key(&mut self, row: KeyRow) -> Result<(), Failure> {
        self.counts.keys += 1;
        self.line(&Line::Key(Key {
            id: row.id,
            role: row.role,
            name: row.name,
            key_hash: row.key_hash,
            expires_at_ms: row.expires_at.map(|at| at.0),
            certificate: row.certificate,
        }))
    }

    /// An account.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn account(&mut self, row: AccountRow) -> Result<(), Failure> {
        self.counts.accounts += 1;
        let AccountRow { name, role, password_hash, totp_secret, totp_step, disabled, created_at, .. } = row;
        self.line(&Line::Account(Account { name, role, password_hash, totp_secret, totp_step, disabled, created_ms: created_at.0 }))
    }

    /// A waiting page.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn page(&mut self, row: PageRow) -> Result<(), Failure> {
        self.counts.pages += 1;
        let PageRow { zone_number, zone_id, revision, page } = row;
        self.line(&Line::Page(Page { zone_number, zone_id, revision, page }))
    }

    /// What happened.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn event(&mut self, message: &Message) -> Result<(), Failure> {
        self.counts.events += 1;
        let json = String::from_utf8(message.encode()).map_err(Failure::internal)?;
        self.line(&Line::Event(RawValue::from_string(json).map_err(Failure::internal)?))
    }

    /// The last line; the file is on the disk after this.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self) -> Result<Counts, Failure> {
        let counts = self.counts;
        self.line(&Line::End(counts))?;
        let synced = self.file.into_inner().map_err(std::io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        synced.map_err(|error| Failure::data(format_args!("{} cannot be written: {error}", self.path.display())))?;
        Ok(counts)
    }
}

impl Secret {
    /// What is in it.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn bytes(&self) -> Result<Vec<u8>, Failure> {
        BASE64_STANDARD.decode(&self.base64).map_err(|error| Failure::data(format_args!("secret {} is damaged: {error}", self.name)))
    }

    /// Where it belongs: a file of `keys/`, and nowhere else.
    ///
    /// # Errors
    /// It names another place.
    pub fn path(&self, folder: &Path) -> Result<PathBuf, Failure> {
        let file = self.name.strip_prefix("keys/").filter(|file| {
            !file.is_empty() && !file.starts_with('.') && file.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        });
        let file =
            file.ok_or_else(|| Failure::data(format_args!("the export names a secret {:?}, which is no file of keys/", self.name)))?;
        Ok(folder.join("keys").join(file))
    }
}

impl Key {
    /// Whether it can be one.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.id.is_empty() && self.key_hash.len() == 64 && self.key_hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

impl Account {
    /// Whether it can be one.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        accounts::is_name(&self.name) && accounts::role(&self.role).is_some() && passwords::is_hash(&self.password_hash)
    }

    /// As the ledger keeps it.
    #[must_use]
    pub fn row(self) -> AccountRow {
        AccountRow {
            name: self.name,
            role: self.role,
            password_hash: self.password_hash,
            totp_secret: self.totp_secret,
            totp_pending: None,
            totp_step: self.totp_step,
            disabled: self.disabled,
            created_at: Millis(self.created_ms),
            last_signed_in_at: None,
        }
    }
}

/// Reads every line in turn; the last is checked against what came before it.
///
/// # Errors
/// The file cannot be read, is not whole, or is of another form; or what `take` fails with.
pub fn read(path: &Path, mut take: impl FnMut(Line) -> Result<(), Failure>) -> Result<Counts, Failure> {
    let refused = |line: u64, problem: &dyn std::fmt::Display| Failure::data(format_args!("{} line {line}: {problem}", path.display()));
    let file = File::open(path).map_err(|error| Failure::data(format_args!("{} cannot be read: {error}", path.display())))?;
    let (mut counts, mut end) = (Counts::default(), None);
    for (line, number) in BufReader::with_capacity(1 << 20, file).lines().zip(1_u64..) {
        let line = line.map_err(|error| refused(number, &error))?;
        let line: Line = serde_json::from_str(&line).map_err(|error| refused(number, &error))?;
        if end.is_some() {
            return Err(refused(number, &"comes after the end"));
        }
        if (number == 1) != matches!(line, Line::BunhoExport(_)) {
            return Err(refused(number, &"an export begins with one line that says so"));
        }
        match &line {
            Line::BunhoExport(FORM) | Line::Source(_) => {}
            Line::BunhoExport(form) => return Err(refused(number, &format_args!("is of form {form}; this release reads {FORM}"))),
            Line::Secret(_) => counts.secrets += 1,
            Line::Key(_) => counts.keys += 1,
            Line::Account(_) => counts.accounts += 1,
            Line::Page(_) => counts.pages += 1,
            Line::Event(_) => counts.events += 1,
            Line::End(counts) => end = Some(*counts),
        }
        take(line)?;
    }
    match end {
        Some(end) if end == counts => Ok(counts),
        Some(_) => Err(Failure::data(format_args!("{} has lost lines: its end counts others\n  mend: export again", path.display()))),
        None => Err(Failure::data(format_args!("{} has no end: it was cut off\n  mend: export again", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_off_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("export");
        let mut writer = Writer::create(&path).expect("a file");
        writer.secret("keys/ticket.key".into(), b"secret").expect("written");
        let row = PageRow { zone_number: 1, zone_id: "Z".into(), revision: 2, page: "{}".into() };
        writer.page(row).expect("written");
        assert_eq!(writer.finish().expect("finished"), Counts { secrets: 1, pages: 1, ..Counts::default() });
        let mut seen = Vec::new();
        read(&path, |line| {
            if let Line::Secret(secret) = line {
                seen.push(secret.bytes()?);
            }
            Ok(())
        })
        .expect("read");
        assert_eq!(seen, [b"secret"]);
        let whole = std::fs::read_to_string(&path).expect("text");
        let lines: Vec<&str> = whole.lines().collect();
        for (text, why) in [
            (lines[..3].join("\n"), "cut off"),
            ([lines[0], lines[3]].join("\n"), "lost lines"),
            (lines[1..].join("\n"), "begins with"),
            (whole.replace("\"bunho_export\":1", "\"bunho_export\":2"), "of form 2"),
            (format!("{whole}{}", lines[1]), "after the end"),
        ] {
            std::fs::write(&path, text).expect("written");
            let refused = read(&path, |_| Ok(())).expect_err(why).to_string();
            assert!(refused.contains(why), "{refused}");
        }
        assert!(Writer::create(&path).is_err(), "nothing is written over");
    }

    #[test]
    fn a_secret_goes_nowhere_else() {
        for name in ["ticket.key", "keys/", "keys/../x", "keys/a/b", "/etc/passwd", "keys/.hidden"] {
            let secret = Secret { name: name.into(), base64: String::new() };
            assert!(secret.path(Path::new("/x")).is_err(), "{name}");
        }
    }
}
