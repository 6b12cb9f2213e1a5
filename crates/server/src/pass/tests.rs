use super::*;
use bunho_domain::event::TicketNumber;
use ed25519_dalek::Signer;

const AT: i64 = 1_800_000_000;
const SUBJECT: Subject = Subject { zone: 3, ticket: TicketNumber { epoch: 2, seq: 41 }, bound_to: None };
const PASS: PassId = PassId { zone_number: SUBJECT.zone, ticket: SUBJECT.ticket };
const ADMISSION: Admission = Admission { at: Millis(AT * 1_000 + 250), expires_at: Millis((AT + 600) * 1_000) };

struct Desk {
    passes: Passes,
    zone: ZoneId,
    data: tempfile::TempDir,
}

fn desk() -> Desk {
    let data = tempfile::tempdir().expect("a folder");
    let passes = Passes::load(data.path(), "bunho").unwrap_or_else(|failure| panic!("{failure:?}"));
    Desk { passes, zone: ZoneId::parse("SALE").expect("an id"), data }
}

impl Desk {
    fn pass(&self) -> String {
        self.passes.sign(&self.zone, SUBJECT, ADMISSION)
    }

    /// A pass under the real key, with its header or claims edited before signing.
    fn forged(&self, header: impl FnOnce(&mut serde_json::Value), claims: impl FnOnce(&mut serde_json::Value)) -> String {
        let pass = self.pass();
        let mut parts = pass.split('.');
        let mut read = || -> serde_json::Value {
            serde_json::from_slice(&BASE64.decode(parts.next().expect("a part")).expect("base64")).expect("JSON")
        };
        let (mut head, mut body) = (read(), read());
        header(&mut head);
        claims(&mut body);
        let signed = format!("{}.{}", BASE64.encode(head.to_string()), BASE64.encode(body.to_string()));
        let pem = std::fs::read_to_string(key_path(&self.passes.folder, &self.passes.kids()[0])).expect("the key's file");
        let signature = SigningKey::from_pkcs8_pem(&pem).expect("a key").sign(signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(signature.to_bytes()))
    }
}

#[test]
fn a_pass_is_a_function_of_its_admission() {
    let desk = desk();
    let pass = desk.pass();
    assert_eq!(pass, desk.pass());
    assert_eq!(desk.passes.verify(&pass, "SALE", AT + 1), Ok(Holder { pass: PASS, bound_to: None }));
    assert_eq!(desk.passes.verify(&pass, "SALE", AT + 599), Ok(Holder { pass: PASS, bound_to: None }));
    assert_eq!(desk.passes.verify(&pass, "OTHER", AT), Err(PassRefusal::OtherZone));
}

#[test]
fn forgeries_are_refused() {
    use serde_json::Value;
    let desk = desk();
    let same = |_: &mut Value| {};
    assert!(desk.passes.verify(&desk.forged(same, same), "SALE", AT).is_ok(), "the forger's tool itself is right");
    let good = desk.pass();
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let (header, claims) = signed.split_once('.').expect("three parts");
    let none = BASE64.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let mut edited: Value = serde_json::from_slice(&BASE64.decode(claims).expect("base64")).expect("JSON");
    edited["exp"] = json!(AT + 60_000);
    for (why, pass) in [
        ("alg none", format!("{none}.{claims}.")),
        ("alg none in our header", desk.forged(|h| h["alg"] = json!("none"), same)),
        ("alg HS256", desk.forged(|h| h["alg"] = json!("HS256"), same)),
        ("alg ES256", desk.forged(|h| h["alg"] = json!("ES256"), same)),
        ("no kid", desk.forged(|h| drop(h.as_object_mut().map(|h| h.remove("kid"))), same)),
        ("unknown kid", desk.forged(|h| h["kid"] = json!("0"), same)),
        ("crit", desk.forged(|h| h["crit"] = json!(["exp"]), same)),
        ("wrong iss", desk.forged(same, |c| c["iss"] = json!("someone"))),
        ("several iss", desk.forged(same, |c| c["iss"] = json!(["bunho"]))),
        ("several aud", desk.forged(same, |c| c["aud"] = json!(["SALE"]))),
        ("exp as text", desk.forged(same, |c| c["exp"] = json!("9999999999"))),
        ("exp below zero", desk.forged(same, |c| c["exp"] = json!(-1))),
        ("expired", desk.forged(same, |c| c["exp"] = json!(AT))),
        ("nbf in the future", desk.forged(same, |c| c["nbf"] = json!(AT + 60))),
        ("no exp", desk.forged(same, |c| drop(c.as_object_mut().map(|c| c.remove("exp"))))),
        ("sub is no ticket", desk.forged(same, |c| c["sub"] = json!("me"))),
        ("another key under our kid", other_key_under(&desk.passes.kids()[0])),
        ("edited claims", format!("{header}.{}.{signature}", BASE64.encode(edited.to_string()))),
        ("no signature", format!("{signed}.")),
        ("two parts", signed.to_owned()),
        ("a longer signature", format!("{good}AA")),
        ("too long", "a".repeat(PASS_CHARS_MAX + 1)),
        ("padded", format!("{good}==")),
        ("not ASCII", good.replace('.', "．")),
        ("empty", String::new()),
    ] {
        assert_eq!(desk.passes.verify(&pass, "SALE", AT), Err(PassRefusal::Invalid), "{why}");
    }
}

/// A pass of another installation that names our key.
fn other_key_under(kid: &str) -> String {
    let other = desk();
    other.forged(|header| header["kid"] = json!(kid), |_| {})
}

#[test]
fn keys_change_while_passes_live() {
    let desk = desk();
    let old = desk.pass();
    let first = desk.passes.kids();
    let second = desk.passes.rotate().unwrap_or_else(|failure| panic!("{failure:?}"));
    let new = desk.pass();
    assert_ne!(old, new);
    assert_eq!(desk.passes.kids(), [first[0].clone(), second.clone()]);
    assert!(desk.passes.verify(&old, "SALE", AT).is_ok() && desk.passes.verify(&new, "SALE", AT).is_ok());
    let jwks: serde_json::Value = serde_json::from_str(&desk.passes.jwks()).expect("JSON");
    assert_eq!(jwks["keys"].as_array().map(Vec::len), Some(2));

    let again = Passes::load(desk.data.path(), "bunho").unwrap_or_else(|failure| panic!("{failure:?}"));
    assert_eq!(again.kids(), desk.passes.kids(), "a restart finds the same keys, the newest last");
    assert_eq!(again.sign(&desk.zone, SUBJECT, ADMISSION), new);

    let drop_key = |kid: &str| desk.passes.drop_key(kid, Millis(AT * 1_000)).unwrap_or_else(|failure| panic!("{failure:?}"));
    assert_eq!(drop_key(&second), Err(KeyRefusal::Signing));
    assert_eq!(drop_key("nothing"), Err(KeyRefusal::Unknown));
    assert_eq!(drop_key(&first[0]), Ok(()));
    assert_eq!(desk.passes.verify(&old, "SALE", AT), Err(PassRefusal::Invalid));
    assert!(desk.passes.verify(&new, "SALE", AT).is_ok());

    // Another process that shares the folder knows of a key as soon as it has looked.
    let third = desk.passes.rotate().unwrap_or_else(|failure| panic!("{failure:?}"));
    let newest = desk.pass();
    assert_eq!(again.verify(&newest, "SALE", AT), Err(PassRefusal::Invalid));
    again.look_again();
    assert!(again.verify(&newest, "SALE", AT).is_ok() && again.jwks().contains(&third));
}

#[test]
fn keys_that_cannot_be_read_are_told_of_once() {
    use tracing_subscriber::layer::SubscriberExt;
    let desk = desk();
    let said = desk.data.path().join("log");
    let log = tracing_subscriber::fmt::layer().with_writer(Arc::new(std::fs::File::create(&said).expect("made"))).with_ansi(false);
    let lines = || std::fs::read_to_string(&said).expect("text").lines().filter(|line| line.contains("cannot be read again")).count();
    let (keys, away) = (desk.data.path().join("keys"), desk.data.path().join("away"));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(log), || {
        for times in 1..3 {
            std::fs::rename(&keys, &away).expect("taken away");
            for _ in 0..3 {
                desk.passes.look_again();
            }
            assert_eq!(lines(), times);
            assert!(desk.passes.verify(&desk.pass(), "SALE", AT).is_ok(), "those in memory are used");
            std::fs::rename(&away, &keys).expect("brought back");
            desk.passes.look_again();
        }
    });
}

#[test]
fn key_files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let desk = desk();
    let path = key_path(&desk.data.path().join("keys"), &desk.passes.kids()[0]);
    let mode = std::fs::metadata(path).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_new_key_is_shown_before_it_signs() {
    let Desk { passes, zone, data: _data } = desk();
    let passes = passes.publishing_for(Duration::from_secs(60));
    let second = passes.rotate().unwrap_or_else(|failure| panic!("{failure:?}"));
    let made_at = passes.shown(Millis(0))[1].made_at.expect("it is in its name");
    let signed_by = |at: Millis| {
        let pass = passes.sign(&zone, SUBJECT, Admission { at, expires_at: at.plus_ms(600_000) });
        decode_header(&pass).expect("a header").kid.expect("a kid")
    };
    assert!(passes.jwks().contains(&second));
    assert_ne!(signed_by(made_at), second);
    assert_ne!(signed_by(made_at.plus_ms(59_999)), second);
    assert_eq!(signed_by(made_at.plus_ms(60_000)), second);
    // Who was admitted before asks again and gets the pass of then, whatever the time is now.
    assert_ne!(signed_by(made_at.plus_ms(59_999)), second);
    let first = passes.kids().remove(0);
    let drop_key = |now| passes.drop_key(&first, now).unwrap_or_else(|failure| panic!("{failure:?}"));
    assert_eq!(drop_key(made_at.plus_ms(59_999)), Err(KeyRefusal::Signing));
    assert_eq!(drop_key(made_at.plus_ms(60_000)), Ok(()));
    assert_eq!(signed_by(made_at), second, "nothing else is left");
}

#[test]
fn a_bound_pass_says_to_whom() {
    let desk = desk();
    let bound_to = Some(KeyHash::of("kim"));
    let pass = desk.passes.sign(&desk.zone, Subject { bound_to, ..SUBJECT }, ADMISSION);
    assert_eq!(desk.passes.verify(&pass, "SALE", AT + 1), Ok(Holder { pass: PASS, bound_to }));
    let claims: serde_json::Value =
        serde_json::from_slice(&BASE64.decode(pass.split('.').nth(1).expect("claims")).expect("base64")).expect("JSON");
    assert_eq!(claims["ckh"], KeyHash::of("kim").text());
    // What cannot be read binds to nobody, and so opens nothing.
    for odd in ["", "kim", "////////////////////////"] {
        let pass = desk.forged(|_| {}, |claims| claims["ckh"] = odd.into());
        assert_eq!(desk.passes.verify(&pass, "SALE", AT), Err(PassRefusal::Invalid), "{odd:?}");
    }
}
