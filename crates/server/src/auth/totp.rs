//! Codes of an authenticator (RFC 6238): six figures, a new one each half minute; the one before and the one after count too.

use totp_rs::{Builder, Secret};

/// Random bytes of a secret: the 160 bits that RFC 4226 asks for.
const SECRET_BYTES: usize = 20;
/// Whom the authenticator shows.
const ISSUER: &str = "Bunho";

/// A new secret, in base32.
///
/// # Errors
/// The system has no randomness to give.
pub(crate) fn new_secret() -> Result<String, getrandom::Error> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(Secret::from(bytes.to_vec()).to_base32())
}

/// What an authenticator reads from a picture.
pub(crate) fn uri(account: &str, secret: &str) -> String {
    let mut label = String::with_capacity(account.len());
    for byte in account.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            label.push(char::from(byte));
        } else {
            label.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("otpauth://totp/{ISSUER}:{label}?secret={secret}&issuer={ISSUER}")
}

/// The half minute whose code this is. None: it is no code of about now.
pub(crate) fn step(secret: &str, code: &str, unix_seconds: i64) -> Option<i64> {
    let totp = Builder::new().with_secret(Secret::try_from_base32(secret).ok()?).build().ok()?;
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    if code.len() != 6 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    totp.check(&code, unix_seconds.try_into().ok()?).and_then(|step| step.try_into().ok())
}

/// The code of a moment, for tests of what asks for one.
#[cfg(test)]
pub(crate) fn code(secret: &str, unix_seconds: i64) -> String {
    let secret = Secret::try_from_base32(secret).expect("base32");
    Builder::new().with_secret(secret).build().expect("a secret").generate(unix_seconds.unsigned_abs()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "12345678901234567890", of RFC 6238's appendix B.
    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn codes_are_those_of_the_standard() {
        for (at, code) in [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")] {
            assert_eq!(step(SECRET, code, at), Some(at / 30), "{code}");
            assert_eq!(step(SECRET, &format!(" {} {}", &code[..3], &code[3..]), at), Some(at / 30));
            assert_eq!(step(SECRET, code, at + 30), Some(at / 30), "half a minute late");
            assert_eq!(step(SECRET, code, at + 90), None);
        }
        for wrong in ["", "28708", "2870820", "28708a", "٢٨٧٠٨٢", "287083"] {
            assert_eq!(step(SECRET, wrong, 59), None, "{wrong}");
        }
        assert_eq!(step("!", "287082", 59), None);
    }

    #[test]
    fn a_secret_is_new_and_an_authenticator_can_read_it() {
        let (one, two) = (new_secret().expect("randomness"), new_secret().expect("randomness"));
        assert_ne!(one, two);
        assert_eq!(one.len(), 32);
        assert_eq!(step(&one, &code(&one, 1_000), 1_000), Some(33));
        assert_eq!(uri("a+b@c", "S"), "otpauth://totp/Bunho:a%2Bb%40c?secret=S&issuer=Bunho");
    }
}
