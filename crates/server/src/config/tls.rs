//! `[tls]`, checked.

use super::{Refused, TlsSettings, in_range};
use std::path::PathBuf;

/// Encryption of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificate and what stands between it and its authority.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// Whether clients show certificates.
    pub client_auth: ClientAuth,
    /// On the address for clients.
    pub on_public: bool,
    /// On the address for operators, where that is another.
    pub on_admin: bool,
    /// How long browsers come back through TLS alone; 0: nothing is said of it.
    pub hsts_seconds: u64,
}

/// Whether clients show certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    Off,
    /// They are asked; what they show must be of one of these authorities.
    Optional(PathBuf),
    /// Without one there is no connection.
    Required(PathBuf),
}

/// Two years; what browsers' lists ask for is one.
const HSTS_SECONDS_MAX: u64 = 63_072_000;

/// `has_admin`: administration has an address of its own.
pub(super) fn check(settings: TlsSettings, has_admin: bool) -> Result<Option<TlsConfig>, Refused> {
    let TlsSettings { addresses, cert_file, key_file, client_auth, client_ca_file, hsts_seconds } = settings;
    let (on_public, on_admin) = match addresses.as_str() {
        "all" => (true, true),
        "public" => (true, false),
        "admin" => (false, true),
        other => return Err(Refused::new("tls.addresses", format!("is {other:?}"), "use \"all\", \"public\" or \"admin\"")),
    };
    let client_auth = match (client_auth.as_str(), client_ca_file) {
        ("off", None) => ClientAuth::Off,
        ("optional", Some(file)) => ClientAuth::Optional(file),
        ("required", Some(file)) => ClientAuth::Required(file),
        ("off", Some(_)) => {
            let mend = "set it to \"optional\" or \"required\", or leave tls.client_ca_file out";
            return Err(Refused::new("tls.client_auth", "is \"off\" although tls.client_ca_file names authorities", mend));
        }
        ("optional" | "required", None) => {
            return Err(Refused::new(
                "tls.client_ca_file",
                "is missing",
                "name the PEM file of the authorities of your clients' certificates",
            ));
        }
        (other, _) => return Err(Refused::new("tls.client_auth", format!("is {other:?}"), "use \"off\", \"optional\" or \"required\"")),
    };
    in_range("tls.hsts_seconds", hsts_seconds, 0, HSTS_SECONDS_MAX)?;
    match (cert_file, key_file) {
        (Some(_), Some(_)) if !on_public && !has_admin => {
            let mend = "name server.admin_listen, or use \"all\"";
            Err(Refused::new(
                "tls.addresses",
                "is \"admin\", but administration has no address of its own: nothing would be encrypted",
                mend,
            ))
        }
        (Some(cert_file), Some(key_file)) => Ok(Some(TlsConfig { cert_file, key_file, client_auth, on_public, on_admin, hsts_seconds })),
        (Some(_), None) => Err(Refused::new("tls.key_file", "is missing", "name the PEM file of the certificate's key")),
        (None, Some(_)) => Err(Refused::new("tls.cert_file", "is missing", "name the PEM file of the key's certificate")),
        (None, None) if client_auth != ClientAuth::Off => {
            Err(Refused::new("tls.client_auth", "is set, but nothing is encrypted", "set tls.cert_file and tls.key_file, or leave it out"))
        }
        (None, None) => Ok(None),
    }
}
