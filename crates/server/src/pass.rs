//! Passes: signed proof that a ticket was admitted, which a protected service verifies by itself.
//!
//! A pass is a JWT under EdDSA (Ed25519). It is a function of the admission and the signing key, so asking again for the
//! same admission gives the same pass. Keys are files, `DIR/keys/pass-<kid>.pem`: the newest signs, older ones verify for as
//! long as their file is there. A `kid` begins with the time it was made at, so names sort by age. A new key is published
//! for a while before it signs what is admitted from then on ([`Passes::publishing_for`]): who verifies may keep the set of keys that long.
//!
//! `jsonwebtoken` reads and writes them. Three things it leaves to us: which key a `kid` names, times (which are an argument
//! here, not a clock), and zones (another zone's good pass is another answer than a bad one). It reads the key again for
//! every signature, which costs more than the signature itself; passes are signed for admissions, not for polls that wait.

use crate::exit::Failure;
use crate::node::journal_path;
use crate::secrets::{remove_secret, write_secret};
use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bunho_domain::event::TicketNumber;
use bunho_domain::ids::ZoneId;
use bunho_domain::line::Admission;
use bunho_domain::offer::once::PassId;
use bunho_domain::ticket::{KeyHash, ticket_id};
use bunho_domain::time::Millis;
use bunho_engine::Subject;
use bunho_journal::Journal;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ed25519_dalek::{SigningKey, pkcs8};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest pass that is looked at: ours have about 400 characters.
const PASS_CHARS_MAX: usize = 2_048;
/// Seconds that `nbf` may lie ahead: the engine's clock waits where the system's was set back.
const NBF_LEEWAY_SECONDS: i64 = 5;

/// What signs and verifies passes.
#[derive(Debug)]
pub struct Passes {
    folder: PathBuf,
    issuer: String,
    validation: Validation,
    keys: ArcSwap<KeySet>,
    /// How long a key that is not the first is only shown.
    published_ms: i64,
    /// Held while keys are added, dropped or read again.
    changing: Mutex<()>,
    /// They could not be read when they were last looked at, and that was said.
    fails: AtomicBool,
}

/// The keys at one moment, oldest first; never empty.
#[derive(Debug)]
struct KeySet {
    keys: Vec<Arc<PassKey>>,
    jwks: String,
}

#[derive(Debug)]
struct PassKey {
    kid: String,
    /// None: it has no time in its name, and signs where there is none newer.
    made_at: Option<Millis>,
    header: Header,
    signing: EncodingKey,
    verifying: DecodingKey,
    /// The public key as a JWK has it.
    x: String,
}

/// Why a pass is not good for a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassRefusal {
    /// Forged, edited, expired, not yet valid, under an unknown key, or no pass at all.
    Invalid,
    /// A good pass of another zone.
    OtherZone,
    /// A good pass of somebody else: bound to a key that was not shown.
    OtherHolder,
}

/// What a good pass says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which pass it is: the zone's number and epoch when it was admitted, and its place in the line.
    pub pass: PassId,
    /// The key whose holder alone may use it; none: whoever has it.
    pub bound_to: Option<KeyHash>,
}

/// A key, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyShown {
    /// Its name.
    pub kid: String,
    /// When it was made.
    pub made_at: Option<Millis>,
    /// From when on it signs.
    pub signs_from: Millis,
    /// Whether it is the one that signs now.
    pub is_signing: bool,
}

/// Why a key cannot be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefusal {
    /// There is none with this `kid`.
    Unknown,
    /// It is the one that signs.
    Signing,
}

#[derive(Deserialize, Serialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    jti: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    /// Hash of the key that its holder joined with ("client key hash"): the first 18 bytes of SHA-256, in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ckh: Option<String>,
}

impl Passes {
    /// Reads the keys under `data`, and makes the first one where there is none.
    ///
    /// # Errors
    /// The folder cannot be read or written, or a key file is not a key.
    pub fn load(data: &Path, issuer: impl Into<String>) -> Result<Self, Failure> {
        let folder = data.join("keys");
        let keys = match read_keys(&folder)? {
            keys if keys.is_empty() => vec![Arc::new(make_key(&folder, None)?)],
            keys => keys,
        };
        let issuer = issuer.into();
        let validation = validation(&issuer);
        let keys = ArcSwap::from_pointee(KeySet::new(keys));
        Ok(Self { folder, issuer, validation, keys, published_ms: 0, changing: Mutex::default(), fails: AtomicBool::new(false) })
    }

    /// Shows every further key for so long before it signs.
    #[must_use]
    pub const fn publishing_for(mut self, published: Duration) -> Self {
        self.published_ms = published.as_millis() as i64;
        self
    }

    /// Refuses a folder that was served and has no key any more: a new one in silence would end every pass. Where something was
    /// recorded there was a key.
    ///
    /// # Errors
    /// The keys are missing, or something cannot be read.
    pub fn check_present(data: &Path, secrets: &Path) -> Result<(), Failure> {
        let folder = secrets.join("keys");
        let recorded = Journal::acknowledged(&journal_path(data))?.is_some_and(|last| last > 0);
        if !recorded || !read_keys(&folder)?.is_empty() {
            return Ok(());
        }
        Err(Failure::data(format_args!(
            "{} holds no pass-*.pem any more, the keys that sign passes\n  mend: restore them from a backup; or make a new one with `bunho rebuild --accept-loss`: passes given so far end then",
            folder.display()
        )))
    }

    /// Makes a key where there is none, and says where.
    ///
    /// # Errors
    /// The folder cannot be read or written, or a key file is not a key.
    pub fn make_missing(data: &Path) -> Result<Option<PathBuf>, Failure> {
        let folder = data.join("keys");
        if !read_keys(&folder)?.is_empty() {
            return Ok(None);
        }
        let key = make_key(&folder, None)?;
        Ok(Some(key_path(&folder, &key.kid)))
    }

    /// The pass of an admission.
    #[must_use]
    pub fn sign(&self, zone: &ZoneId, subject: Subject, admission: Admission) -> String {
        let sub = ticket_id(subject.zone, subject.ticket);
        let iat = admission.at.0.div_euclid(1_000);
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: zone.as_str().to_owned(),
            jti: format!("{sub}-{}", admission.at.0),
            sub,
            iat,
            nbf: iat,
            // Rounded up: a pass is good for at least as long as it was said to be.
            exp: admission.expires_at.0.saturating_add(999).div_euclid(1_000),
            ckh: subject.bound_to.map(|hash| hash.text()),
        };
        self.keys.load().signing(admission.at, self.published_ms).sign(&claims)
    }

    /// Whether `pass` is good for `zone` at `now` (Unix seconds).
    ///
    /// # Errors
    /// [`PassRefusal`] says why it is not.
    pub fn verify(&self, pass: &str, zone: &str, now: i64) -> Result<Holder, PassRefusal> {
        self.read(pass, zone, now).unwrap_or(Err(PassRefusal::Invalid))
    }

    fn read(&self, pass: &str, zone: &str, now: i64) -> Option<Result<Holder, PassRefusal>> {
        if pass.len() > PASS_CHARS_MAX {
            return None;
        }
        let header = decode_header(pass).ok()?;
        // Extensions that must be understood; we understand none, and the library does not look.
        if header.crit.is_some() {
            return None;
        }
        let kid = header.kid.as_deref()?;
        let keys = self.keys.load();
        let key = keys.find(kid)?;
        let claims = decode::<Claims>(pass, &key.verifying, &self.validation).ok()?.claims;
        if claims.exp <= now || claims.nbf > now.saturating_add(NBF_LEEWAY_SECONDS) {
            return None;
        }
        if claims.aud != zone {
            return Some(Err(PassRefusal::OtherZone));
        }
        let mut parts = claims.sub.split('-');
        let zone_number = parts.next()?.parse().ok()?;
        let ticket = TicketNumber { epoch: parts.next()?.parse().ok()?, seq: parts.next()?.parse().ok()? };
        let bound_to = match &claims.ckh {
            Some(text) => Some(KeyHash::read(text)?),
            None => None,
        };
        Some(Ok(Holder { pass: PassId { zone_number, ticket }, bound_to }))
    }

    /// Reads the folder again: another node may share it, and have made or dropped a key. Blocks on the disk; a server does so every second,
    /// and no request does, however unknown the key that it names.
    pub(crate) fn look_again(&self) {
        let _changing = self.changing.lock();
        let fails = match read_keys(&self.folder) {
            Ok(keys) if !keys.is_empty() => {
                self.keys.store(Arc::new(KeySet::new(keys)));
                None
            }
            Ok(_) => Some("there are none any more".to_owned()),
            Err(failure) => Some(failure.to_string()),
        };
        let failed_before = self.fails.swap(fails.is_some(), Ordering::Relaxed);
        if let Some(failure) = fails.filter(|_| !failed_before) {
            tracing::error!(failure, folder = %self.folder.display(), "the keys that sign passes cannot be read again; those in memory are used");
        }
    }

    /// The public keys as a JWK set.
    #[must_use]
    pub fn jwks(&self) -> String {
        self.keys.load().jwks.clone()
    }

    /// How long others may keep the set of keys.
    pub(crate) const fn published_seconds(&self) -> i64 {
        self.published_ms / 1_000
    }

    /// Every `kid`, oldest first.
    #[must_use]
    pub fn kids(&self) -> Vec<String> {
        self.keys.load().keys.iter().map(|key| key.kid.clone()).collect()
    }

    /// Every key as it stands at `now`, oldest first.
    #[must_use]
    pub fn shown(&self, now: Millis) -> Vec<KeyShown> {
        let keys = self.keys.load();
        let signing = &keys.signing(now, self.published_ms).kid;
        let shown = keys.keys.iter().enumerate().map(|(at, key)| KeyShown {
            kid: key.kid.clone(),
            made_at: key.made_at,
            signs_from: key.signs_from(at, self.published_ms),
            is_signing: key.kid == *signing,
        });
        shown.collect()
    }

    /// Makes a new key, which is shown from now on and signs later. Blocks on the disk.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn rotate(&self) -> Result<String, Failure> {
        let _changing = self.changing.lock();
        let mut keys = self.keys.load().keys.clone();
        let key = make_key(&self.folder, keys.last().map(|key| &*key.kid))?;
        let kid = key.kid.clone();
        keys.push(Arc::new(key));
        self.keys.store(Arc::new(KeySet::new(keys)));
        Ok(kid)
    }

    /// Drops a key that does not sign; its passes end. Blocks on the disk.
    ///
    /// # Errors
    /// Outer: the folder cannot be written. Inner: the key cannot be dropped.
    pub fn drop_key(&self, kid: &str, now: Millis) -> Result<Result<(), KeyRefusal>, Failure> {
        let _changing = self.changing.lock();
        let mut keys = self.keys.load().keys.clone();
        let Some(at) = keys.iter().position(|key| key.kid == kid) else { return Ok(Err(KeyRefusal::Unknown)) };
        if self.keys.load().signing(now, self.published_ms).kid == kid {
            return Ok(Err(KeyRefusal::Signing));
        }
        keys.remove(at);
        let path = key_path(&self.folder, kid);
        remove_secret(&path)?;
        self.keys.store(Arc::new(KeySet::new(keys)));
        Ok(Ok(()))
    }
}

impl KeySet {
    fn new(keys: Vec<Arc<PassKey>>) -> Self {
        let public =
            keys.iter().map(|key| json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.kid, "x": key.x}));
        let jwks = json!({"keys": public.collect::<Vec<_>>()}).to_string();
        Self { keys, jwks }
    }

    /// What signs an admission: the same key whenever it is asked about, as long as that is there.
    fn signing(&self, admitted_at: Millis, published_ms: i64) -> &PassKey {
        let signs = |at: &usize| self.keys[*at].signs_from(*at, published_ms) <= admitted_at;
        // Checked where sets are made: there is always a key, and the oldest has always signed.
        &self.keys[(0..self.keys.len()).rev().find(signs).unwrap_or(0)]
    }

    fn find(&self, kid: &str) -> Option<&PassKey> {
        self.keys.iter().rev().find(|key| key.kid == kid).map(|key| &**key)
    }
}

impl PassKey {
    /// Of the `at`-th key: the oldest has nobody to wait for.
    fn signs_from(&self, at: usize, published_ms: i64) -> Millis {
        if at == 0 || published_ms == 0 { Millis(0) } else { self.made_at.map_or(Millis(0), |made_at| made_at.plus_ms(published_ms)) }
    }

    fn new(kid: String, key: &SigningKey) -> Result<Self, pkcs8::Error> {
        let public = key.verifying_key();
        Ok(Self {
            made_at: kid.get(..12).and_then(|at| i64::from_str_radix(at, 16).ok()).map(Millis),
            header: Header { kid: Some(kid.clone()), ..Header::new(Algorithm::EdDSA) },
            kid,
            signing: EncodingKey::from_ed_der(key.to_pkcs8_der()?.as_bytes()),
            // The library wants the bare 32 bytes here, whatever the name says.
            verifying: DecodingKey::from_ed_der(public.as_bytes()),
            x: BASE64.encode(public.as_bytes()),
        })
    }

    fn sign(&self, claims: &Claims) -> String {
        // Fails only under a key that is none, and this one was a key when it was read.
        encode(&self.header, claims, &self.signing).unwrap_or_default()
    }
}

/// One algorithm, one issuer. Times and the zone are checked by who verifies.
fn validation(issuer: &str) -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["iss"]);
    validation
}

fn key_path(folder: &Path, kid: &str) -> PathBuf {
    folder.join(format!("pass-{kid}.pem"))
}

fn read_keys(folder: &Path) -> Result<Vec<Arc<PassKey>>, Failure> {
    let unreadable = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::data(format_args!(
            "{} cannot be read: {error}\n  mend: restore it from a backup; or remove it: passes that it signed end then",
            path.display()
        ))
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder, &error)),
    };
    let mut keys = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(kid) = name.strip_prefix("pass-").and_then(|name| name.strip_suffix(".pem")).map(str::to_owned) else { continue };
        let pem = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        let key = SigningKey::from_pkcs8_pem(&pem).and_then(|key| PassKey::new(kid, &key)).map_err(|error| unreadable(&path, &error))?;
        keys.push(Arc::new(key));
    }
    keys.sort_by(|one, other| one.kid.cmp(&other.kid));
    Ok(keys)
}

/// Makes a key whose `kid` sorts after `newest`, also where the clock was set back.
fn make_key(folder: &Path, newest: Option<&str>) -> Result<PassKey, Failure> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| Failure::internal(format_args!("the system gives no randomness: {error}")))?;
    let signing = SigningKey::from_bytes(&secret);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let after = newest.and_then(|kid| u64::from_str_radix(kid.get(..12)?, 16).ok()).map_or(0, |at| at + 1);
    let public = signing.verifying_key().to_bytes();
    let kid = format!("{:012x}{:02x}{:02x}", now.max(after), public[0], public[1]);
    let pem = signing.to_pkcs8_pem(LineEnding::LF).map_err(Failure::internal)?;
    write_secret(&key_path(folder, &kid), pem.as_bytes())?;
    PassKey::new(kid, &signing).map_err(Failure::internal)
}

#[cfg(test)]
#[path = "pass/tests.rs"]
mod tests;
