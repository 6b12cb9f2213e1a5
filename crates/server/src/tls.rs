//! Encryption of connections: certificates that change while the server runs, and clients that show theirs.
//!
//! What is in force is swapped as a whole, and each new connection takes what is in force when it comes; those that are open go on. A pair
//! of files that cannot be used (unreadable, not belonging together, expired) is refused at a start. Later it is told, counted, and the old one
//! goes on serving. Files are looked at every second, and taken when two looks in a row saw them alike: whoever writes a certificate and
//! then its key is not told of the moment between.
//!
//! HTTP/1.1 is all that is offered (ALPN), TLS 1.2 the least.

mod client;
mod files;

use crate::config::{ClientAuth, Refused, TlsConfig};
use crate::exit::chain;
use arc_swap::ArcSwap;
pub(crate) use client::{ClientCertificate, Required};
pub(crate) use files::Stamp;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, version};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// What encrypts, as it changes.
pub struct Tls {
    in_force: ArcSwap<InForce>,
    /// Held while files are looked at.
    seen: Mutex<Seen>,
    taken: AtomicU64,
    refused: AtomicU64,
    /// Handshakes that came to nothing.
    failed: AtomicU64,
}

struct InForce {
    config: TlsConfig,
    server: Arc<ServerConfig>,
    /// Unix seconds.
    expires_at: i64,
    hsts: Option<axum::http::HeaderValue>,
}

/// Files as they were at the last look, and as they were when they were last tried.
struct Seen {
    last: Stamp,
    tried: Stamp,
}

/// What became of a look at the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    /// They are what they were.
    Same,
    /// They are in force.
    Taken,
    /// They cannot be used; what was in force stays.
    Refused,
}

impl Tls {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn load(config: &TlsConfig) -> Result<Arc<Self>, Refused> {
        let stamp = Stamp::of(config);
        Ok(Arc::new(Self {
            in_force: ArcSwap::from_pointee(InForce::load(config, now())?),
            seen: Mutex::new(Seen { last: stamp.clone(), tried: stamp }),
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }))
    }

    /// What the next connection is served with.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.in_force.load().server.clone()
    }

    /// When the certificate in force ends, in Unix seconds.
    pub(crate) fn expires_at(&self) -> i64 {
        self.in_force.load().expires_at
    }

    /// What `Strict-Transport-Security` says.
    pub(crate) fn hsts(&self) -> Option<axum::http::HeaderValue> {
        self.in_force.load().hsts.clone()
    }

    /// Changes taken and refused since the start.
    pub(crate) fn reloads(&self) -> (u64, u64) {
        (self.taken.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// A handshake came to nothing.
    pub(crate) fn handshake_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Handshakes that came to nothing.
    pub(crate) fn handshakes_failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Looks whether the files have changed, and takes them when they have come to rest. Blocks on the disk.
    pub(crate) fn look_again(&self) -> Looked {
        // Held to the end: settings that somebody takes meanwhile must not be overwritten with those from before.
        let mut seen = self.seen.lock();
        let config = self.in_force.load().config.clone();
        let stamp = Stamp::of(&config);
        let rests = stamp == seen.last;
        seen.last = stamp.clone();
        if !rests || stamp == seen.tried {
            return Looked::Same;
        }
        self.take_or_tell(&mut seen, &config)
    }

    /// Takes these settings and the files that they name, now. Blocks on the disk.
    ///
    /// # Errors
    /// They cannot be used; what was in force stays.
    pub(crate) fn take(&self, config: &TlsConfig) -> Result<(), Refused> {
        self.take_as(&mut self.seen.lock(), config)
    }

    fn take_as(&self, seen: &mut Seen, config: &TlsConfig) -> Result<(), Refused> {
        let stamp = Stamp::of(config);
        seen.tried = stamp.clone();
        seen.last = stamp;
        let new = InForce::load(config, now()).inspect_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
        })?;
        tracing::info!(until = shown(new.expires_at), "the certificate was read again and is in force");
        self.in_force.store(Arc::new(new));
        self.taken.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn take_or_tell(&self, seen: &mut Seen, config: &TlsConfig) -> Looked {
        match self.take_as(seen, config) {
            Ok(()) => Looked::Taken,
            Err(refused) => {
                tracing::error!(
                    setting = refused.setting,
                    problem = refused.problem,
                    "the new certificate cannot be used; the one in force goes on serving"
                );
                Looked::Refused
            }
        }
    }
}

impl InForce {
    fn load(config: &TlsConfig, now: i64) -> Result<Self, Refused> {
        let chain = certificates("tls.cert_file", &config.cert_file)?;
        let key = read("tls.key_file", &config.key_file)?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|error| refused("tls.key_file", &config.key_file, format!("has no private key: {error}"), "name a PEM file of one"))?;
        let expires_at = good_until(&config.cert_file, &chain[0], now)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| Refused::new("tls", error.to_string(), "tell us: this cannot be"))?;
        let builder = match &config.client_auth {
            ClientAuth::Off => builder.with_no_client_auth(),
            ClientAuth::Optional(file) => builder.with_client_cert_verifier(verifier(file, provider, true)?),
            ClientAuth::Required(file) => builder.with_client_cert_verifier(verifier(file, provider, false)?),
        };
        let mut server = builder.with_single_cert(chain, key).map_err(|error| {
            let mend = "name the key that the certificate was made for";
            refused("tls.key_file", &config.key_file, format!("does not go with {}: {error}", config.cert_file.display()), mend)
        })?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Those who come back need no new handshake, and none of them costs memory here.
        server.ticketer = ring::Ticketer::new().map_err(|error| Refused::new("tls", error.to_string(), "start again"))?;
        let hsts = (config.hsts_seconds > 0).then(|| format!("max-age={}", config.hsts_seconds)).and_then(|value| value.parse().ok());
        Ok(Self { config: config.clone(), server: Arc::new(server), expires_at, hsts })
    }
}

fn verifier(
    file: &Path,
    provider: Arc<CryptoProvider>,
    is_optional: bool,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, Refused> {
    const SETTING: &str = "tls.client_ca_file";
    let mend = "name a PEM file of the authorities of your clients' certificates";
    let mut roots = RootCertStore::empty();
    for authority in certificates(SETTING, file)? {
        roots.add(authority).map_err(|error| refused(SETTING, file, format!("has what is no authority: {error}"), mend))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if is_optional { builder.allow_unauthenticated() } else { builder };
    builder.build().map_err(|error| refused(SETTING, file, chain(&error), mend))
}

fn certificates(setting: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Refused> {
    let mend = "name a PEM file of certificates";
    let pem = read(setting, file)?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| refused(setting, file, format!("is not PEM: {error}"), mend))?;
    if found.is_empty() { Err(refused(setting, file, "has no certificate", mend)) } else { Ok(found) }
}

/// Until when a certificate is good, in Unix seconds. One that has ended, or has not begun, is good for nothing.
fn good_until(file: &Path, certificate: &CertificateDer<'_>, now: i64) -> Result<i64, Refused> {
    const SETTING: &str = "tls.cert_file";
    let read = Certificate::from_der(certificate).map_err(|error| {
        refused(SETTING, file, format!("has a certificate that cannot be read: {error}"), "name a PEM file of certificates")
    })?;
    let validity = read.tbs_certificate().validity();
    let seconds = |time: &x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    let (from, until) = (seconds(&validity.not_before), seconds(&validity.not_after));
    if until <= now {
        return Err(refused(SETTING, file, format!("expired at {}", shown(until)), "put a new certificate there"));
    }
    if from > now {
        return Err(refused(SETTING, file, format!("is not good before {}", shown(from)), "look whether the system's clock is right"));
    }
    Ok(until)
}

fn shown(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

fn read(setting: &str, file: &Path) -> Result<Vec<u8>, Refused> {
    std::fs::read(file).map_err(|error| refused(setting, file, format!("cannot be read: {error}"), "name a file that can be read"))
}

fn refused(setting: &str, file: &Path, problem: impl AsRef<str>, mend: &str) -> Refused {
    Refused::new(setting, format!("{} {}", file.display(), problem.as_ref()), mend)
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}
