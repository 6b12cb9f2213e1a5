//! Users' tokens: JWTs of an issuer that the operator names, under keys from a file or a JWK set.
//!
//! Only asymmetric algorithms are taken: with a shared secret, whoever can verify a token could also make one; and a
//! public key read as a secret is the classic way to forge one.

use crate::config::{JwtSettings, Refused};
use crate::exit::chain;
use arc_swap::ArcSwap;
use bunho_domain::ids::UserId;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header};
use parking_lot::Mutex;
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A key set is fetched for unknown `kid`s at most this often, however many of them come; and again when it is so old, or a key that its issuer took out
/// would count for ever.
const FETCH_EVERY: Duration = Duration::from_secs(60);
/// The same after a fetch that failed: without a set nobody gets in, so that must not last a minute.
const FETCH_AGAIN: Duration = Duration::from_secs(5);
/// How long a fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an Ed25519 public key. The library panics over shorter ones.
const ED25519_BYTES: usize = 32;
/// Longest token that is looked at.
const TOKEN_CHARS_MAX: usize = 8_192;

/// Verifies users' tokens.
pub struct UserTokens {
    issuer: String,
    audience: Option<String>,
    jwks_url: Option<String>,
    keys: Arc<Keys>,
    /// Held while fetching, so that those who need the new set wait for one fetch together.
    fetching: tokio::sync::Mutex<()>,
}

/// What is known of the issuer's keys. Shared with a fetch under way, which goes on when who asked for it hangs up.
struct Keys {
    set: ArcSwap<Vec<Key>>,
    /// Before this, nothing is fetched for unknown `kid`s.
    next_fetch: Mutex<Option<Instant>>,
    /// From then on the set is old.
    old_at: Mutex<Option<Instant>>,
}

pub(crate) struct Key {
    /// None: a single key, for every token.
    pub(crate) kid: Option<String>,
    pub(crate) decoding: DecodingKey,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

impl UserTokens {
    /// Reads the keys. A set behind a URL is fetched when the first token comes.
    ///
    /// # Errors
    /// A file cannot be read or holds no usable key.
    pub fn load(settings: &JwtSettings) -> Result<Self, Refused> {
        let keys = match (&settings.key_file, &settings.jwks_file) {
            (Some(path), _) => vec![Key { kid: None, decoding: public_key("auth.jwt.key_file", path)? }],
            (None, Some(path)) => {
                let text = read("auth.jwt.jwks_file", path)?;
                key_set(&text).map_err(|problem| {
                    Refused::new(
                        "auth.jwt.jwks_file",
                        format!("{}: {problem}", path.display()),
                        "name a JWK set (RFC 7517) with public keys",
                    )
                })?
            }
            (None, None) => Vec::new(),
        };
        Ok(Self {
            issuer: settings.issuer.clone().unwrap_or_default(),
            audience: settings.audience.clone(),
            jwks_url: settings.jwks_url.clone(),
            keys: Arc::new(Keys { set: ArcSwap::from_pointee(keys), next_fetch: Mutex::new(None), old_at: Mutex::new(None) }),
            fetching: tokio::sync::Mutex::new(()),
        })
    }

    /// The user that a valid token names.
    pub async fn verify(&self, token: &str) -> Option<UserId> {
        if token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let header = decode_header(token).ok()?;
        // An extension that must be understood is one that we do not (RFC 7515 §4.1.11).
        if header.alg.family() == AlgorithmFamily::Hmac || header.crit.is_some() {
            return None;
        }
        let kid = header.kid.as_deref();
        if self.keys.has(kid) {
            self.renew();
        } else {
            self.fetch(kid).await;
        }
        let keys = self.keys.set.load();
        let named = keys.iter().filter(|key| key.matches(kid));
        // Without a `kid`, any key of the token's family may be the one.
        named.filter(|key| key.decoding.family() == header.alg.family()).find_map(|key| self.decode(token, key, header.alg))
    }

    fn decode(&self, token: &str, key: &Key, algorithm: Algorithm) -> Option<UserId> {
        let mut validation = Validation::new(algorithm);
        validation.validate_nbf = true;
        validation.leeway = 0;
        validation.set_issuer(&[&self.issuer]);
        let mut required = vec!["exp", "iss", "sub"];
        match &self.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                required.push("aud");
            }
            None => validation.validate_aud = false,
        }
        validation.set_required_spec_claims(&required);
        let claims = decode::<Claims>(token, &key.decoding, &validation).ok()?.claims;
        UserId::parse(&claims.sub).ok().filter(|user| !user.is_pseudonym())
    }

    async fn fetch(&self, kid: Option<&str>) {
        let Some(url) = self.jwks_url.clone() else { return };
        let _fetching = self.fetching.lock().await;
        if self.keys.has(kid) || self.keys.next_fetch.lock().is_some_and(|at| Instant::now() < at) {
            return;
        }
        let keys = self.keys.clone();
        // Said before it begins: whoever hangs up at once must not make the next one fetch again.
        keys.fetch_not_before(FETCH_EVERY);
        let _ = tokio::task::spawn_blocking(move || keys.fetch(&url)).await;
    }

    /// Has an old set fetched again. Nobody waits for it: it counts for whoever comes next.
    fn renew(&self) {
        let Some(url) = self.jwks_url.clone() else { return };
        if self.keys.becomes_old() {
            let keys = self.keys.clone();
            tokio::task::spawn_blocking(move || keys.fetch(&url));
        }
    }

    /// The next token has the set fetched again, however young it is.
    pub(crate) fn doubt(&self) {
        *self.keys.old_at.lock() = None;
    }
}

impl Keys {
    fn has(&self, kid: Option<&str>) -> bool {
        self.set.load().iter().any(|key| key.matches(kid))
    }

    /// Whether the set is old; then, once for everybody who asks meanwhile.
    fn becomes_old(&self) -> bool {
        let now = Instant::now();
        let mut old_at = self.old_at.lock();
        let is_old = old_at.is_none_or(|at| at <= now);
        if is_old {
            *old_at = Some(now + FETCH_EVERY);
        }
        is_old
    }

    fn fetch_not_before(&self, pause: Duration) {
        *self.next_fetch.lock() = Some(Instant::now() + pause);
    }

    fn fetch(&self, url: &str) {
        match fetch_set(url) {
            Ok(set) => {
                self.set.store(Arc::new(set));
                *self.old_at.lock() = Some(Instant::now() + FETCH_EVERY);
            }
            Err(problem) => {
                tracing::warn!(problem, "the key set of users' tokens cannot be had; the one that was had last is used");
                self.fetch_not_before(FETCH_AGAIN);
                *self.old_at.lock() = Some(Instant::now() + FETCH_AGAIN);
            }
        }
    }
}

impl Key {
    fn matches(&self, kid: Option<&str>) -> bool {
        match (&self.kid, kid) {
            (Some(own), Some(kid)) => own == kid,
            _ => true,
        }
    }
}

pub(crate) fn read(setting: &str, path: &Path) -> Result<String, Refused> {
    std::fs::read_to_string(path)
        .map_err(|error| Refused::new(setting, format!("{}: {error}", path.display()), "name a file that can be read"))
}

pub(crate) fn public_key(setting: &str, path: &Path) -> Result<DecodingKey, Refused> {
    let pem = read(setting, path)?;
    let pem = pem.as_bytes();
    let key = DecodingKey::from_ed_pem(pem).or_else(|_| DecodingKey::from_ec_pem(pem)).or_else(|_| DecodingKey::from_rsa_pem(pem));
    key.ok().filter(is_usable).ok_or_else(|| {
        let problem = format!("{} is no public key in PEM", path.display());
        Refused::new(setting, problem, "name the PEM file of an Ed25519, P-256, P-384 or RSA public key")
    })
}

/// Whether a key is public and whole.
pub(crate) fn is_usable(key: &DecodingKey) -> bool {
    match key.family() {
        AlgorithmFamily::Hmac => false,
        AlgorithmFamily::Ed => key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() == ED25519_BYTES),
        _ => true,
    }
}

/// The public keys of a JWK set; those of kinds that we do not take are left out.
pub(crate) fn key_set(text: &str) -> Result<Vec<Key>, String> {
    let set: JwkSet = serde_json::from_str(text).map_err(|error| format!("is no JWK set: {error}"))?;
    let keys: Vec<Key> = set
        .keys
        .iter()
        .filter_map(|jwk| Some(Key { kid: jwk.common.key_id.clone(), decoding: DecodingKey::from_jwk(jwk).ok()? }))
        .filter(|key| is_usable(&key.decoding))
        .collect();
    if keys.is_empty() { Err("has no public key that can be used".into()) } else { Ok(keys) }
}

fn fetch_set(url: &str) -> Result<Vec<Key>, String> {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(FETCH_TIMEOUT)).build().into();
    let mut answer = agent.get(url).call().map_err(|error| chain(&error))?;
    let text = answer.body_mut().read_to_string().map_err(|error| chain(&error))?;
    key_set(&text)
}

#[cfg(test)]
#[path = "users/tests.rs"]
mod tests;
