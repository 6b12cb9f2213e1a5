//! Passes: signed proof that a ticket was admitted, which a protected service verifies by itself.
//!
//! A pass is a JWT under EdDSA (Ed25519). It is a function of the admission and the signing key, so asking again for the
//! same admission gives the same pass. Keys are files, `DIR/keys/pass-<kid>.pem`: the newest signs, older ones verify for as
//! long as their file is there. A `kid` begins with the time it was made at, so names sort by age.
//!
//! JWTs are read and written here, not by a JWT library: one algorithm, one header, six claims; what is not exactly
//! that is refused before any signature is looked at.

use crate::exit::Failure;
use crate::secrets::write_secret;
use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bunho_domain::ids::ZoneId;
use bunho_domain::line::Admission;
use bunho_domain::ticket::ticket_id;
use bunho_engine::Subject;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest pass that is looked at: ours have about 400 characters.
const PASS_CHARS_MAX: usize = 2_048;
/// Seconds that `nbf` may lie ahead: the engine's clock waits where the system's was set back.
const NBF_LEEWAY_SECONDS: i64 = 5;

/// What signs and verifies passes.
#[derive(Debug)]
pub struct Passes {
    folder: PathBuf,
    issuer: String,
    keys: ArcSwap<KeySet>,
    /// Held while keys are added or dropped.
    changing: Mutex<()>,
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
    /// The first part of every pass under this key, encoded.
    header: String,
    signing: SigningKey,
    verifying: VerifyingKey,
}

/// Why a pass is not good for a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassRefusal {
    /// Forged, edited, expired, not yet valid, under an unknown key, or no pass at all.
    Invalid,
    /// A good pass of another zone.
    OtherZone,
}

/// What a good pass says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The zone's number when it was admitted.
    pub zone_number: u32,
    /// The zone's epoch when it was admitted.
    pub epoch: u32,
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
struct Header<'a> {
    alg: Cow<'a, str>,
    kid: Cow<'a, str>,
    #[serde(default)]
    typ: Cow<'a, str>,
    /// Extensions that must be understood; we understand none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize, Serialize)]
struct Claims<'a> {
    iss: Cow<'a, str>,
    aud: Cow<'a, str>,
    sub: Cow<'a, str>,
    jti: Cow<'a, str>,
    iat: i64,
    nbf: i64,
    exp: i64,
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
        Ok(Self { folder, issuer: issuer.into(), keys: ArcSwap::from_pointee(KeySet::new(keys)), changing: Mutex::new(()) })
    }

    /// The pass of an admission.
    #[must_use]
    pub fn sign(&self, zone: &ZoneId, subject: Subject, admission: Admission) -> String {
        let sub = ticket_id(subject.zone, subject.ticket);
        let iat = admission.at.0.div_euclid(1_000);
        let claims = Claims {
            iss: Cow::Borrowed(&self.issuer),
            aud: Cow::Borrowed(zone.as_str()),
            jti: Cow::Owned(format!("{sub}-{}", admission.at.0)),
            sub: Cow::Owned(sub),
            iat,
            nbf: iat,
            // Rounded up: a pass is good for at least as long as it was said to be.
            exp: admission.expires_at.0.saturating_add(999).div_euclid(1_000),
        };
        self.keys.load().signing().sign(&claims)
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
        let (signed, signature) = pass.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header = BASE64.decode(header).ok()?;
        let header: Header<'_> = serde_json::from_slice(&header).ok()?;
        if header.alg != "EdDSA" || header.crit.is_some() {
            return None;
        }
        let keys = self.keys.load();
        let key = keys.find(&header.kid)?;
        let signature = Signature::from_slice(&BASE64.decode(signature).ok()?).ok()?;
        key.verifying.verify_strict(signed.as_bytes(), &signature).ok()?;
        let claims = BASE64.decode(claims).ok()?;
        let claims: Claims<'_> = serde_json::from_slice(&claims).ok()?;
        if claims.iss != self.issuer || claims.exp <= now || claims.nbf > now.saturating_add(NBF_LEEWAY_SECONDS) {
            return None;
        }
        if claims.aud != zone {
            return Some(Err(PassRefusal::OtherZone));
        }
        let mut parts = claims.sub.split('-');
        let zone_number = parts.next()?.parse().ok()?;
        let epoch = parts.next()?.parse().ok()?;
        Some(Ok(Holder { zone_number, epoch }))
    }

    /// The public keys as a JWK set.
    #[must_use]
    pub fn jwks(&self) -> String {
        self.keys.load().jwks.clone()
    }

    /// Every `kid`, oldest first; the last one signs.
    #[must_use]
    pub fn kids(&self) -> Vec<String> {
        self.keys.load().keys.iter().map(|key| key.kid.clone()).collect()
    }

    /// Makes a new key, which signs from now on. Blocks on the disk.
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
    pub fn drop_key(&self, kid: &str) -> Result<Result<(), KeyRefusal>, Failure> {
        let _changing = self.changing.lock();
        let mut keys = self.keys.load().keys.clone();
        let Some(at) = keys.iter().position(|key| key.kid == kid) else { return Ok(Err(KeyRefusal::Unknown)) };
        if at + 1 == keys.len() {
            return Ok(Err(KeyRefusal::Signing));
        }
        keys.remove(at);
        let path = key_path(&self.folder, kid);
        std::fs::remove_file(&path).map_err(|error| Failure::data(format_args!("{} cannot be removed: {error}", path.display())))?;
        self.keys.store(Arc::new(KeySet::new(keys)));
        Ok(Ok(()))
    }
}

impl KeySet {
    fn new(keys: Vec<Arc<PassKey>>) -> Self {
        let public = keys.iter().map(|key| {
            let x = BASE64.encode(key.verifying.as_bytes());
            json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.kid, "x": x})
        });
        let jwks = json!({"keys": public.collect::<Vec<_>>()}).to_string();
        Self { keys, jwks }
    }

    fn signing(&self) -> &PassKey {
        // Checked where sets are made: there is always a key.
        &self.keys[self.keys.len() - 1]
    }

    fn find(&self, kid: &str) -> Option<&PassKey> {
        self.keys.iter().rev().find(|key| key.kid == kid).map(|key| &**key)
    }
}

impl PassKey {
    fn new(kid: String, signing: SigningKey) -> Self {
        let header = json!({"alg": "EdDSA", "kid": kid, "typ": "JWT"});
        Self { kid, header: BASE64.encode(header.to_string()), verifying: signing.verifying_key(), signing }
    }

    fn sign(&self, claims: &Claims<'_>) -> String {
        let claims = serde_json::to_vec(claims).unwrap_or_default();
        let mut pass = String::with_capacity(self.header.len() + claims.len() * 4 / 3 + 96);
        pass.push_str(&self.header);
        pass.push('.');
        BASE64.encode_string(claims, &mut pass);
        let signature = self.signing.sign(pass.as_bytes());
        pass.push('.');
        BASE64.encode_string(signature.to_bytes(), &mut pass);
        pass
    }
}

fn key_path(folder: &Path, kid: &str) -> PathBuf {
    folder.join(format!("pass-{kid}.pem"))
}

fn read_keys(folder: &Path) -> Result<Vec<Arc<PassKey>>, Failure> {
    let unreadable = |path: &Path, error: &dyn std::fmt::Display| Failure::data(format_args!("{} cannot be read: {error}", path.display()));
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
        let signing = SigningKey::from_pkcs8_pem(&pem).map_err(|error| unreadable(&path, &error))?;
        keys.push(Arc::new(PassKey::new(kid, signing)));
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
    Ok(PassKey::new(kid, signing))
}

#[cfg(test)]
#[path = "pass/tests.rs"]
mod tests;
