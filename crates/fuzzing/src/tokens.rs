//! What callers show: tickets, passes, users' tokens, and the key sets that tell good tokens from others.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bunho_domain::event::TicketNumber;
use bunho_domain::ids::ZoneId;
use bunho_domain::line::Admission;
use bunho_domain::offer::once::PassId;
use bunho_domain::ticket::{BOUND_TICKET_CHARS, KeyHash, TICKET_CHARS, Ticket, TicketKey};
use bunho_domain::time::Millis;
use bunho_engine::Subject;
use bunho_server::auth::users::UserTokens;
use bunho_server::config::JwtSettings;
use bunho_server::pass::{Holder, PassRefusal, Passes};
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePublicKey};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::Value;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// What passes are checked against, as Unix seconds.
const NOW: i64 = 1_800_000_000;

fn zone() -> ZoneId {
    ZoneId::parse("SALE").expect("an id")
}

/// Text that is no ticket of ours is refused, whatever it is; a ticket of any numbers reads back, is refused with any
/// character changed, and has one spelling.
pub fn ticket(bytes: &[u8]) {
    static KEY: LazyLock<TicketKey> = LazyLock::new(|| TicketKey::new(&[7; 32]));
    let other = ZoneId::parse("OTHER").expect("an id");
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(read) = Ticket::decode(text, &KEY, &zone())
    {
        // Nobody forges a MAC by trying, so this text was written here.
        assert_eq!(read.encode(&KEY, &zone()), text);
    }
    let mut numbers = bytes.chunks(8).map(|chunk| {
        let mut whole = [0; 8];
        whole[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(whole)
    });
    let mut number = || numbers.next().unwrap_or_default();
    let (one, two, edit) = (number(), number(), number());
    let ticket = Ticket {
        zone_number: one as u32,
        number: TicketNumber { epoch: (one >> 32) as u32, seq: two as u32 },
        issued_at: Millis(number().cast_signed()),
        nonce: number(),
        bound_to: (edit & 1 == 1).then(|| KeyHash::of("kim")),
    };
    let text = ticket.encode(&KEY, &zone());
    assert_eq!(text.len(), if edit & 1 == 1 { BOUND_TICKET_CHARS } else { TICKET_CHARS });
    assert_eq!(Ticket::decode(&text, &KEY, &zone()), Ok(ticket));
    assert!(Ticket::decode(&text, &KEY, &other).is_err(), "a ticket is good for its zone only");
    assert!(Ticket::decode(&text, &TicketKey::new(&[8; 32]), &zone()).is_err(), "and under its key only");
    let mut edited = text.clone().into_bytes();
    edited[edit as usize % text.len()] = (edit >> 8) as u8 & 0x7f;
    let edited = String::from_utf8(edited).expect("ASCII");
    assert!(edited == text || Ticket::decode(&edited, &KEY, &zone()).is_err(), "{edited}");
    assert!(Ticket::decode(&format!("{text}="), &KEY, &zone()).is_err());
}

struct Desk {
    passes: Passes,
    key: SigningKey,
    kid: String,
    good: String,
}

/// A desk whose private key the target knows.
static DESK: LazyLock<Desk> = LazyLock::new(|| {
    let data = tempfile::tempdir().expect("a folder");
    let passes = Passes::load(data.path(), "bunho").expect("a key is made");
    let kid = passes.kids()[0].clone();
    let pem = std::fs::read_to_string(data.path().join("keys").join(format!("pass-{kid}.pem"))).expect("the key's file");
    let subject = Subject { zone: 3, ticket: TicketNumber { epoch: 2, seq: 41 }, bound_to: None };
    let good = passes.sign(&zone(), subject, Admission { at: Millis(NOW * 1_000), expires_at: Millis((NOW + 600) * 1_000) });
    let pass = PassId { zone_number: subject.zone, ticket: subject.ticket };
    assert_eq!(passes.verify(&good, "SALE", NOW), Ok(Holder { pass, bound_to: None }));
    Desk { passes, key: SigningKey::from_pkcs8_pem(&pem).expect("a key"), kid, good }
});

/// Nothing that was not signed is a pass; what was signed is one only if it says what a pass must. The input is a text to be
/// refused, or a header, an empty line and claims, which are signed; `KID` stands for the key's name.
pub fn pass(bytes: &[u8]) {
    let Desk { passes, key, kid, good } = &*DESK;
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(passes.verify(text, "SALE", NOW).is_err(), "{text}");
    }
    assert_edits_are_refused(good, bytes, |text| passes.verify(text, "SALE", NOW).is_err());
    let (header, claims) = with_name(bytes, kid);
    for foreign in [unsigned(&header, &claims), keyed(&header, &claims, key)] {
        assert!(passes.verify(&foreign, "SALE", NOW).is_err(), "{foreign}");
    }
    let token = signed(&header, &claims, key);
    let verdict = passes.verify(&token, "SALE", NOW);
    let (Ok(_) | Err(PassRefusal::OtherZone)) = verdict else { return };
    let says = |json: &[u8], name: &str| serde_json::from_slice::<Value>(json).expect("JSON")[name].clone();
    assert_eq!((says(&header, "alg"), says(&header, "kid"), says(&header, "crit")), ("EdDSA".into(), kid.as_str().into(), Value::Null));
    assert_eq!(says(&claims, "iss"), "bunho");
    assert!(says(&claims, "exp").as_i64().is_some_and(|exp| exp > NOW), "it has not ended");
    assert!(says(&claims, "nbf").as_i64().is_some_and(|nbf| nbf <= NOW + 5), "it has begun");
    assert_eq!(says(&claims, "aud") == "SALE", verdict.is_ok(), "it is for one zone");
    let far = i64::MAX;
    assert!(passes.verify(&token, "SALE", far).is_err(), "every pass ends");
}

struct Issuer {
    tokens: UserTokens,
    key: SigningKey,
}

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let key = SigningKey::from_bytes(&[7; 32]);
    let path = folder.path().join("issuer.pem");
    std::fs::write(&path, key.verifying_key().to_public_key_pem(LineEnding::LF).expect("PEM")).expect("the folder can be written");
    let settings =
        JwtSettings { issuer: Some("shop".into()), audience: Some("bunho".into()), key_file: Some(path), ..JwtSettings::default() };
    Issuer { tokens: UserTokens::load(&settings).expect("the key is one"), key }
});

/// As [`pass`], for the tokens of the issuer that the operator names.
pub fn user_token(bytes: &[u8]) {
    let Issuer { tokens, key } = &*ISSUER;
    let user = |token: &str| block_on(tokens.verify(token));
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert_eq!(user(text), None, "{text}");
    }
    let (header, claims) = with_name(bytes, "issuer");
    let pem = key.verifying_key().to_public_key_pem(LineEnding::LF).expect("PEM");
    for foreign in [unsigned(&header, &claims), keyed(&header, &claims, key), hmac(&header, &claims, pem.as_bytes())] {
        assert_eq!(user(&foreign), None, "{foreign}");
    }
    let token = signed(&header, &claims, key);
    let Some(user) = user(&token) else { return };
    let says = |json: &[u8], name: &str| serde_json::from_slice::<Value>(json).expect("JSON")[name].clone();
    let names = |claim: Value, name: &str| claim == name || claim.as_array().is_some_and(|list| list.iter().any(|one| one == name));
    assert_eq!((says(&header, "alg"), says(&header, "crit")), ("EdDSA".into(), Value::Null));
    assert!(names(says(&claims, "iss"), "shop") && names(says(&claims, "aud"), "bunho"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs_f64();
    assert!(says(&claims, "exp").as_f64().is_some_and(|exp| exp >= now - 5.0), "it ends, and has not");
    assert_eq!(says(&claims, "sub"), user.as_str());
    assert_edits_are_refused(&token, bytes, |text| block_on(tokens.verify(text)).is_none());
}

/// A set of keys from outside is refused or usable: no token makes it panic, and none that its keys did not sign is good.
pub fn key_set(bytes: &[u8]) {
    thread_local! {
        static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a folder");
    }
    let path = FOLDER.with(|folder| folder.path().join("set.json"));
    std::fs::write(&path, bytes).expect("the folder can be written");
    let settings = JwtSettings { issuer: Some("shop".into()), jwks_file: Some(path), ..JwtSettings::default() };
    let Ok(tokens) = UserTokens::load(&settings) else { return };
    let claims = br#"{"sub":"u1","iss":"shop","exp":9999999999}"#;
    for algorithm in ["EdDSA", "ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "HS256", "none"] {
        let header = format!(r#"{{"alg":"{algorithm}"}}"#);
        for length in [0, 32, 64, 96, 256] {
            let token = format!("{}.{}", joined(header.as_bytes(), claims), BASE64.encode(vec![1; length]));
            assert_eq!(block_on(tokens.verify(&token)), None, "{algorithm}");
        }
    }
}

fn with_name(bytes: &[u8], kid: &str) -> (Vec<u8>, Vec<u8>) {
    let (header, claims) = crate::halves(bytes);
    let header = String::from_utf8_lossy(header).replace("KID", kid);
    (header.into_bytes(), claims.to_vec())
}

fn joined(header: &[u8], claims: &[u8]) -> String {
    format!("{}.{}", BASE64.encode(header), BASE64.encode(claims))
}

fn signed(header: &[u8], claims: &[u8], key: &SigningKey) -> String {
    let text = joined(header, claims);
    let signature = BASE64.encode(key.sign(text.as_bytes()).to_bytes());
    format!("{text}.{signature}")
}

fn unsigned(header: &[u8], claims: &[u8]) -> String {
    format!("{}.", joined(header, claims))
}

/// Under somebody else's key.
fn keyed(header: &[u8], claims: &[u8], not: &SigningKey) -> String {
    let other = SigningKey::from_bytes(&[9; 32]);
    assert_ne!(other.to_bytes(), not.to_bytes());
    signed(header, claims, &other)
}

/// Under the public key, as if it were a shared secret.
fn hmac(header: &[u8], claims: &[u8], secret: &[u8]) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let text = joined(header, claims);
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).expect("a secret of any length");
    mac.update(text.as_bytes());
    let signature = BASE64.encode(mac.finalize().into_bytes());
    format!("{text}.{signature}")
}

/// One character changed, at a place and to a value that the input chooses.
fn assert_edits_are_refused(good: &str, bytes: &[u8], is_refused: impl Fn(&str) -> bool) {
    let [at, low, to, ..] = *bytes else { return };
    let mut edited = good.as_bytes().to_vec();
    let at = (usize::from(at) << 8 | usize::from(low)) % edited.len();
    edited[at] = to & 0x7f;
    let edited = String::from_utf8(edited).expect("ASCII");
    assert!(edited == good || is_refused(&edited), "{edited} is taken for {good}");
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> =
        LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
    RUNTIME.block_on(future)
}
