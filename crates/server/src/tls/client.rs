//! Certificates that clients show, and keys that count only together with one.

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// A certificate that a client has shown, of an authority that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    sha256: String,
    /// As in [`Required`].
    names: Vec<String>,
}

impl ClientCertificate {
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Self {
        let sha256 = Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect();
        let names = Certificate::from_der(certificate).ok().and_then(|read| {
            let (_, names) = read.tbs_certificate().get_extension::<SubjectAltName>().ok()??;
            let name = |name: &GeneralName| match name {
                GeneralName::DnsName(name) => Some(format!("dns:{}", name.to_string().to_ascii_lowercase())),
                GeneralName::UniformResourceIdentifier(name) => Some(format!("uri:{name}")),
                GeneralName::Rfc822Name(name) => Some(format!("email:{name}")),
                _ => None,
            };
            Some(names.0.iter().filter_map(name).collect())
        });
        Self { sha256, names: names.unwrap_or_default() }
    }
}

/// Which certificate a key must come with: `sha256:` and the 64 digits of a certificate, or a name of it as `dns:shop.internal`,
/// `uri:spiffe://…` or `email:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Required(String);

/// Longest text that can be one: what the ledger keeps.
const CHARS_MAX: usize = 500;

impl Required {
    /// Reads one, in the one spelling that is kept. `openssl x509 -fingerprint` puts colons between the digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.chars().count() > CHARS_MAX || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return None;
        }
        let (kind, value) = text.split_once(':').filter(|(_, value)| !value.is_empty())?;
        match kind {
            "sha256" => {
                let digits = value.replace(':', "").to_ascii_lowercase();
                (digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| Self(format!("sha256:{digits}")))
            }
            "dns" => Some(Self(format!("dns:{}", value.to_ascii_lowercase()))),
            "uri" | "email" => Some(Self(text.to_owned())),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is what was shown.
    pub(crate) fn is(&self, shown: &ClientCertificate) -> bool {
        match self.0.strip_prefix("sha256:") {
            Some(digits) => digits == shown.sha256,
            None => shown.names.contains(&self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_bound_to_a_certificate_or_a_name_of_it() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new(["Shop.internal".to_owned()]).expect("a name");
        let spiffe = rcgen::string::Ia5String::try_from("spiffe://example/shop").expect("ASCII");
        parameters.subject_alt_names.push(rcgen::SanType::URI(spiffe));
        let made = parameters.self_signed(&key).expect("a certificate");
        let shown = ClientCertificate::read(made.der());
        let digits: String = Sha256::digest(made.der()).iter().map(|byte| format!("{byte:02X}")).collect();
        let colons = digits.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned()).collect::<Vec<_>>().join(":");
        for (text, is) in [
            (format!("sha256:{digits}"), true),
            (format!("sha256:{colons}"), true),
            (format!("sha256:{}", "0".repeat(64)), false),
            ("dns:shop.INTERNAL".into(), true),
            ("dns:internal".into(), false),
            ("uri:spiffe://example/shop".into(), true),
            ("uri:spiffe://example/other".into(), false),
            ("email:shop.internal".into(), false),
        ] {
            assert_eq!(Required::parse(&text).expect("one").is(&shown), is, "{text}");
        }
        for text in ["", "sha256:", "sha256:12", "cn:shop", "shop.internal", "dns:", "dns:a b", "uri:a\nb"] {
            assert_eq!(Required::parse(text), None, "{text:?}");
        }
        assert_eq!(ClientCertificate::read(&CertificateDer::from(vec![1, 2, 3])).names, Vec::<String>::new());
    }
}
