use super::*;
use crate::http::time::unix_seconds;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{EncodePrivateKey, EncodePublicKey};
use jsonwebtoken::{EncodingKey, Header, encode};
use parking_lot::Condvar;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};

struct Issuer {
    key: SigningKey,
    folder: tempfile::TempDir,
}

fn issuer() -> Issuer {
    Issuer { key: SigningKey::from_bytes(&[7; 32]), folder: tempfile::tempdir().expect("a folder") }
}

impl Issuer {
    fn public_pem(&self) -> String {
        self.key.verifying_key().to_public_key_pem(LineEnding::LF).expect("PEM")
    }

    fn tokens(&self, audience: Option<&str>) -> UserTokens {
        let path = self.folder.path().join("issuer.pem");
        std::fs::write(&path, self.public_pem()).expect("the folder can be written");
        let settings =
            JwtSettings { issuer: Some("shop".into()), audience: audience.map(Into::into), key_file: Some(path), ..JwtSettings::default() };
        UserTokens::load(&settings).expect("the key is one")
    }

    fn token(&self, header: &Header, claims: &Value) -> String {
        let der = self.key.to_pkcs8_der().expect("DER");
        encode(header, claims, &EncodingKey::from_ed_der(der.as_bytes())).expect("a token")
    }
}

#[tokio::test]
async fn only_whole_tokens_of_the_issuer_name_a_user() {
    let issuer = issuer();
    let tokens = issuer.tokens(Some("bunho"));
    let later = unix_seconds() + 600;
    let good = json!({"sub": "u1", "iss": "shop", "aud": "bunho", "exp": later});
    let edited = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    for (why, claims, user) in [
        ("good", good.clone(), Some("u1")),
        ("expired", edited("exp", json!(unix_seconds() - 1)), None),
        ("not yet", edited("nbf", json!(later)), None),
        ("another issuer", edited("iss", json!("other")), None),
        ("another audience", edited("aud", json!("other")), None),
        ("no audience", json!({"sub": "u1", "iss": "shop", "exp": later}), None),
        ("no end", json!({"sub": "u1", "iss": "shop", "aud": "bunho"}), None),
        ("no user", json!({"iss": "shop", "aud": "bunho", "exp": later}), None),
        ("a pseudonym", edited("sub", json!("forgotten-0123456789abcdef0123456789abcdef")), None),
        ("a user that is none", edited("sub", json!("a\nb")), None),
    ] {
        let token = issuer.token(&Header::new(Algorithm::EdDSA), &claims);
        assert_eq!(tokens.verify(&token).await.as_ref().map(UserId::as_str), user, "{why}");
    }
    let shared = encode(&Header::new(Algorithm::HS256), &good, &EncodingKey::from_secret(issuer.public_pem().as_bytes())).expect("a token");
    assert_eq!(tokens.verify(&shared).await, None, "the public key as a shared secret");
    let critical = Header { crit: Some(vec!["b64".into()]), ..Header::new(Algorithm::EdDSA) };
    assert_eq!(tokens.verify(&issuer.token(&critical, &good)).await, None, "an extension that must be understood");
    let stranger = Issuer { key: SigningKey::from_bytes(&[8; 32]), folder: tempfile::tempdir().expect("a folder") };
    assert_eq!(tokens.verify(&stranger.token(&Header::new(Algorithm::EdDSA), &good)).await, None, "another key");
    assert_eq!(tokens.verify("x").await, None);
    assert!(issuer.tokens(None).verify(&issuer.token(&Header::new(Algorithm::EdDSA), &good)).await.is_some());
}

#[test]
fn key_files_are_checked_when_they_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x");
    std::fs::write(&path, "nothing").expect("the folder can be written");
    let key_file = JwtSettings { key_file: Some(path.clone()), ..JwtSettings::default() };
    assert_eq!(UserTokens::load(&key_file).err().map(|refused| refused.setting), Some("auth.jwt.key_file".into()));
    let jwks_file = JwtSettings { jwks_file: Some(path), ..JwtSettings::default() };
    assert_eq!(UserTokens::load(&jwks_file).err().map(|refused| refused.setting), Some("auth.jwt.jwks_file".into()));
    // A shared secret is no public key, also where it stands in a set.
    assert!(key_set(r#"{"keys":[{"kty":"oct","kid":"1","k":"c2VjcmV0","alg":"HS256"}]}"#).is_err());
    assert!(key_set(r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"AAAA"}]}"#).is_err(), "half a key");
}

/// What is behind a URL: the set that is answered with, or none while the answer keeps one waiting.
#[derive(Default)]
struct Served {
    set: Mutex<Option<String>>,
    changed: Condvar,
}

impl Served {
    fn put(&self, set: Option<String>) {
        *self.set.lock() = set;
        self.changed.notify_all();
    }

    fn get(&self) -> String {
        let mut set = self.set.lock();
        self.changed.wait_while(&mut set, |set| set.is_none());
        set.clone().unwrap_or_default()
    }
}

/// Serves the set, to one after the other.
fn serve(served: Arc<Served>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/jwks.json", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let body = served.get();
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        }
    });
    url
}

#[tokio::test]
async fn a_set_at_a_url_is_fetched_for_new_keys_and_again_when_it_is_old() {
    let issuers = [[1; 32], [2; 32]].map(|secret| Issuer { key: SigningKey::from_bytes(&secret), ..issuer() });
    let set_of = |number: usize| {
        let x = BASE64_URL_SAFE_NO_PAD.encode(issuers[number].key.verifying_key().as_bytes());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": number.to_string(), "x": x}]}).to_string()
    };
    let token_of = |number: usize| {
        let header = Header { kid: Some(number.to_string()), ..Header::new(Algorithm::EdDSA) };
        issuers[number].token(&header, &json!({"sub": "u1", "iss": "shop", "exp": unix_seconds() + 600}))
    };
    let served = Arc::new(Served::default());
    served.put(Some(set_of(0)));
    let settings = JwtSettings { issuer: Some("shop".into()), jwks_url: Some(serve(served.clone())), ..JwtSettings::default() };
    let tokens = UserTokens::load(&settings).expect("it is fetched later");
    assert!(tokens.verify(&token_of(0)).await.is_some(), "the first one has it fetched");
    assert!(tokens.verify(&token_of(1)).await.is_none());
    // The issuer takes the first key out, as it does with one that was lost.
    served.put(Some(set_of(1)));
    assert!(tokens.verify(&token_of(0)).await.is_some() && tokens.verify(&token_of(1)).await.is_none(), "what is young is believed");
    served.put(None);
    tokens.doubt();
    assert!(tokens.verify(&token_of(0)).await.is_some(), "nobody waits for it");
    served.put(Some(set_of(1)));
    while tokens.verify(&token_of(0)).await.is_some() {
        tokio::task::yield_now().await;
    }
    assert!(tokens.verify(&token_of(1)).await.is_some());
    // What cannot be had leaves what was had last.
    served.put(Some("no set".into()));
    tokens.doubt();
    assert!(tokens.verify(&token_of(1)).await.is_some());
    while tokens.keys.next_fetch.lock().is_none_or(|at| at > Instant::now() + FETCH_AGAIN) {
        tokio::task::yield_now().await;
    }
    assert!(tokens.verify(&token_of(1)).await.is_some());
}
