//! Who visits the demo: a cookie of 256 random bits, which nobody guesses, and the user that is computed from it. So nothing is kept of visitors here,
//! however many come, and what a shop's list of claims shows of a user does not tell the cookie.

use crate::app::App;
use crate::auth::keys::key_hash;
use crate::auth::{cookie, secure};
use crate::problem::{Problem, UNAUTHENTICATED};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use bunho_domain::ids::UserId;
use std::sync::Arc;

const COOKIE: &str = "bunho_demo";
/// Hexadecimal digits of the cookie.
const COOKIE_CHARS: usize = 64;
/// Hexadecimal digits in the user's id: 64 bits are enough to tell visitors apart.
const USER_CHARS: usize = 16;
/// How long a browser is known.
const SECONDS: u32 = 7 * 24 * 3_600;

/// Somebody with a cookie.
pub(crate) struct Visitor(pub(super) UserId);

/// Somebody, perhaps new.
pub(crate) struct Guest {
    pub(super) user: UserId,
    /// The cookie to set, for who is new.
    pub(super) cookie: Option<HeaderValue>,
}

impl FromRequestParts<Arc<App>> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        known(&parts.headers)
            .map(Self)
            .ok_or_else(|| Problem::new(&UNAUTHENTICATED).detail("Open /demo first: its cookie says who you are"))
    }
}

impl FromRequestParts<Arc<App>> for Guest {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        match known(&parts.headers) {
            Some(user) => Ok(Self { user, cookie: None }),
            None => Self::new(&parts.headers),
        }
    }
}

impl Guest {
    /// Somebody new.
    pub(super) fn new(headers: &HeaderMap) -> Result<Self, Problem> {
        let value = random_hex().map_err(|error| Problem::internal(&error))?;
        let user = user(&value).ok_or_else(|| Problem::new(&UNAUTHENTICATED))?;
        let cookie = format!("{COOKIE}={value}; Path=/demo; HttpOnly; SameSite=Strict; Max-Age={SECONDS}{}", secure(headers));
        Ok(Self { user, cookie: HeaderValue::try_from(cookie).ok() })
    }
}

fn known(headers: &HeaderMap) -> Option<UserId> {
    cookie(headers, COOKIE).and_then(user)
}

fn user(cookie: &str) -> Option<UserId> {
    let well_formed = cookie.len() == COOKIE_CHARS && cookie.bytes().all(|b| b.is_ascii_hexdigit());
    well_formed.then(|| UserId::parse(&format!("demo-{}", &key_hash(cookie)[..USER_CHARS])).ok()).flatten()
}

/// 256 random bits as hexadecimal digits.
pub(super) fn random_hex() -> Result<String, getrandom::Error> {
    let mut bytes = [0; COOKIE_CHARS / 2];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_computed_from_the_cookie_and_does_not_tell_it() {
        let one = random_hex().expect("randomness");
        let id = user(&one).expect("a user");
        assert_eq!(user(&one), Some(id.clone()));
        assert!(!one.contains(&id.as_str()["demo-".len()..]));
        for cookie in ["", "a", "../../x", &one[1..], &format!("{one}0"), &"🙂".repeat(16)] {
            assert_eq!(user(cookie), None, "{cookie:?}");
        }
    }
}
