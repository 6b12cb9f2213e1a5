//! Tokens of the operator's site: what is taken, and every way to forge one that has a name.

use super::*;
use crate::config::TokenSettings;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::path::PathBuf;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).expect("written");
        Self { folder }
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.path().join(name))
    }

    fn keeper(&self, token: TokenSettings) -> Result<Doorkeeper, Refused> {
        let config =
            JoinConfig { per_address: None, per_prefix: None, ipv4_prefix: 24, ipv6_prefix: 56, exempt: Vec::new(), token: Some(token) };
        Doorkeeper::load(&config, &[7; 32])
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn good() -> Value {
    json!({"sub": "kim", "aud": "GATE", "exp": now() + 60, "iss": "shop"})
}

fn signed(algorithm: Algorithm, claims: &Value, secret: &str) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).expect("a token")
}

fn gate() -> ZoneId {
    ZoneId::parse("GATE").expect("an id")
}

#[test]
fn a_token_is_taken_for_its_zone_and_time_only() {
    let site = Site::new();
    let keeper = site
        .keeper(TokenSettings { issuer: Some("shop".into()), secret_file: site.file("secret"), ..TokenSettings::default() })
        .expect("a secret");
    let edited = |edit: fn(&mut Value)| {
        let mut claims = good();
        edit(&mut claims);
        signed(Algorithm::HS256, &claims, SECRET)
    };
    for (why, token, taken) in [
        ("good", edited(|_| {}), true),
        ("one of several zones", edited(|claims| claims["aud"] = json!(["X", "GATE"])), true),
        ("with an id", edited(|claims| claims["jti"] = "1".into()), true),
        ("another zone", edited(|claims| claims["aud"] = "OTHER".into()), false),
        ("a longer zone", edited(|claims| claims["aud"] = "GATE2".into()), false),
        ("no zone", edited(|claims| claims["aud"] = Value::Null), false),
        ("expired", edited(|claims| claims["exp"] = (now() - 6).into()), false),
        ("for ever", edited(|claims| claims["exp"] = Value::Null), false),
        ("not yet", edited(|claims| claims["nbf"] = (now() + 60).into()), false),
        ("nobody", edited(|claims| claims["sub"] = Value::Null), false),
        ("an empty name", edited(|claims| claims["sub"] = "".into()), false),
        ("a name with a control character", edited(|claims| claims["sub"] = "kim\u{0}".into()), false),
        ("a pseudonym", edited(|claims| claims["sub"] = "forgotten-0123456789abcdef0123456789abcdef".into()), false),
        ("another issuer", edited(|claims| claims["iss"] = "evil".into()), false),
        ("another secret", signed(Algorithm::HS256, &good(), "another secret of enough characters"), false),
        ("another algorithm of the family", signed(Algorithm::HS512, &good(), SECRET), true),
        ("none", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJraW0ifQ.".into(), false),
        ("nothing", String::new(), false),
        ("long", "a".repeat(5_000), false),
    ] {
        assert_eq!(keeper.vouched_for(&token, &gate()).is_ok(), taken, "{why}");
    }
    let key = keeper.vouched_for(&edited(|_| {}), &gate()).expect("taken");
    assert_eq!(key, "\0kim", "what a client calls itself never begins so");
}

#[test]
fn a_public_key_is_no_secret() {
    use ed25519_dalek::SigningKey;
    use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
    use ed25519_dalek::pkcs8::{EncodePrivateKey, EncodePublicKey};
    let site = Site::new();
    let own = SigningKey::from_bytes(&[3; 32]);
    let public = own.verifying_key().to_public_key_pem(LineEnding::LF).expect("PEM");
    std::fs::write(site.folder.path().join("public.pem"), &public).expect("written");
    let keeper = site.keeper(TokenSettings { key_file: site.file("public.pem"), ..TokenSettings::default() }).expect("a key");
    let by = |key: &SigningKey| {
        let der = key.to_pkcs8_der().expect("DER");
        encode(&Header::new(Algorithm::EdDSA), &good(), &EncodingKey::from_ed_der(der.as_bytes())).expect("a token")
    };
    assert!(keeper.vouched_for(&by(&own), &gate()).is_ok());
    assert!(keeper.vouched_for(&by(&SigningKey::from_bytes(&[4; 32])), &gate()).is_err(), "somebody else's key");
    assert!(keeper.vouched_for(&signed(Algorithm::HS256, &good(), &public), &gate()).is_err(), "the public key as a secret");
    assert!(keeper.vouched_for(&signed(Algorithm::HS256, &good(), public.trim()), &gate()).is_err());
}

#[test]
fn keys_that_are_none_are_refused_at_the_start() {
    let site = Site::new();
    std::fs::write(site.folder.path().join("short"), "hunter2").expect("written");
    std::fs::write(site.folder.path().join("nonsense"), "nonsense").expect("written");
    for (settings, setting) in [
        (TokenSettings { secret_file: site.file("short"), ..TokenSettings::default() }, "join.token.secret_file"),
        (TokenSettings { secret_file: site.file("missing"), ..TokenSettings::default() }, "join.token.secret_file"),
        (TokenSettings { key_file: site.file("nonsense"), ..TokenSettings::default() }, "join.token.key_file"),
        (TokenSettings { jwks_file: site.file("nonsense"), ..TokenSettings::default() }, "join.token.jwks_file"),
    ] {
        let refused = site.keeper(settings).err().expect("it is refused");
        assert_eq!(refused.setting, setting);
        assert!(!refused.to_string().contains("hunter2"), "a secret is not shown: {refused}");
    }
}
