//! Tokens of the operator's own site: who brings one is known there. A JWT with `sub` (who), `aud` (the zone) and `exp`, under a shared secret (HS256) or a key
//! pair. Whoever is in `sub` is one person to the line, so showing a token twice finds the same place, and giving it to friends gives them that place.

use crate::auth::users::{Key, key_set, public_key, read};
use crate::config::{Refused, TokenSettings};
use bunho_domain::ids::{UserId, ZoneId};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

/// Longest token that is looked at.
const TOKEN_CHARS_MAX: usize = 4_096;
/// Shorter secrets than the hash are the weakest part of HS256 (RFC 7518 §3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Seconds by which the site's clock may differ from ours.
const LEEWAY_SECONDS: u64 = 5;

/// Reads enqueue tokens.
pub(super) struct EnqueueTokens {
    issuer: Option<String>,
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

impl EnqueueTokens {
    pub(super) fn load(settings: &TokenSettings) -> Result<Self, Refused> {
        let any = |decoding| vec![Key { kid: None, decoding }];
        let keys = match (&settings.secret_file, &settings.key_file, &settings.jwks_file) {
            (Some(path), ..) => {
                let secret = read("join.token.secret_file", path)?;
                let secret = secret.trim();
                if secret.len() < SECRET_BYTES_MIN {
                    return Err(Refused::new(
                        "join.token.secret_file",
                        format!("{} has {} characters", path.display(), secret.len()),
                        format!("use at least {SECRET_BYTES_MIN}, for example `openssl rand -hex 32`"),
                    ));
                }
                any(DecodingKey::from_secret(secret.as_bytes()))
            }
            (_, Some(path), _) => any(public_key("join.token.key_file", path)?),
            (.., Some(path)) => {
                let text = read("join.token.jwks_file", path)?;
                key_set(&text).map_err(|problem| {
                    Refused::new(
                        "join.token.jwks_file",
                        format!("{}: {problem}", path.display()),
                        "name a JWK set (RFC 7517) with public keys",
                    )
                })?
            }
            // Checked where settings are read: there is one.
            (None, None, None) => Vec::new(),
        };
        Ok(Self { issuer: settings.issuer.clone(), keys })
    }

    /// Whom a good token for this zone names.
    pub(super) fn read(&self, token: &str, zone: &ZoneId) -> Option<UserId> {
        if token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let header = decode_header(token).ok()?;
        // An extension that must be understood is one that we do not (RFC 7515 §4.1.11).
        if header.crit.is_some() {
            return None;
        }
        let mut validation = Validation::new(header.alg);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS;
        validation.set_audience(&[zone.as_str()]);
        let mut required = vec!["exp", "aud", "sub"];
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        let kid = header.kid.as_deref();
        // The family is the key's, never the token's: a public key read as a secret is the classic way to forge one.
        let fits =
            |key: &&Key| key.decoding.family() == header.alg.family() && (key.kid.is_none() || kid.is_none() || key.kid.as_deref() == kid);
        let claims = self.keys.iter().filter(fits).find_map(|key| decode::<Claims>(token, &key.decoding, &validation).ok())?.claims;
        UserId::parse(&claims.sub).ok().filter(|user| !user.is_pseudonym())
    }
}
