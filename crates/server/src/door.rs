//! What somebody meets before a place in a line: limits by address, a token of the operator's own site, and work. Polls never come here.
//!
//! All of it is decided from the request, the zone's settings and secrets that all nodes have, so no join asks another node or waits for anything; what is
//! remembered (how much came from where, which work was shown) is this node's own and has a fixed size. What each part stops, and what it does not, is in
//! `docs/threats.md`.

pub(crate) mod challenge;
mod enqueue;
mod flood;

use crate::config::{JoinConfig, Refused};
use crate::http::time::Rfc3339;
use crate::problem::{CHALLENGE_REQUIRED, ENQUEUE_TOKEN_INVALID, ENQUEUE_TOKEN_REQUIRED, Problem, TOO_FAST};
use bunho_domain::ids::ZoneId;
use bunho_domain::line::door::Enqueue;
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::ticket::VOUCHED_FOR;
use bunho_domain::time::Millis;
use challenge::{ALGORITHM, Asked, Challenges};
use enqueue::EnqueueTokens;
use flood::Flood;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// Bytes of a client's own key at most.
const CLIENT_KEY_BYTES_MAX: usize = 128;

/// Stands before every line.
pub struct Doorkeeper {
    /// By which it was made.
    config: JoinConfig,
    flood: Option<Arc<Flood>>,
    challenges: Arc<Challenges>,
    tokens: Option<EnqueueTokens>,
}

/// What somebody who joins shows.
#[derive(Clone, Copy, Default)]
pub(crate) struct Shown<'a> {
    /// What they call themselves.
    pub(crate) key: Option<&'a str>,
    /// What the operator's site says of them.
    pub(crate) enqueue_token: Option<&'a str>,
    /// Work, and what asked for it.
    pub(crate) challenge: Option<&'a str>,
    pub(crate) solution: Option<&'a str>,
    /// From where they call; none where nobody looks.
    pub(crate) from: Option<IpAddr>,
}

impl Doorkeeper {
    /// A doorkeeper by the settings. Nodes with the same secret take each other's challenges.
    ///
    /// # Errors
    /// A key of enqueue tokens cannot be read.
    pub fn load(config: &JoinConfig, secret: &[u8; 32]) -> Result<Self, Refused> {
        Ok(Self {
            flood: Flood::new(config).map(Arc::new),
            challenges: Arc::new(Challenges::new(secret)),
            tokens: read_tokens(config)?,
            config: config.clone(),
        })
    }

    /// Another one, by other settings and by what is in the files of keys now. It knows which work was shown, and where limits stay what they are, how much came
    /// from where.
    ///
    /// # Errors
    /// A key of enqueue tokens cannot be read.
    pub(crate) fn again(&self, config: &JoinConfig) -> Result<Self, Refused> {
        let limits = |config: &JoinConfig| JoinConfig { token: None, ..config.clone() };
        let stay = limits(config) == limits(&self.config);
        Ok(Self {
            flood: if stay { self.flood.clone() } else { Flood::new(config).map(Arc::new) },
            challenges: self.challenges.clone(),
            tokens: read_tokens(config)?,
            config: config.clone(),
        })
    }

    /// Whether it matters from where somebody calls.
    pub(crate) const fn looks_at_addresses(&self) -> bool {
        self.flood.is_some()
    }

    /// Whether zones may ask for tokens of the operator's site.
    pub(crate) const fn knows_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// Lets somebody join, under the key that the line knows them by, or says what they lack.
    ///
    /// What costs nothing to find out is looked at first, and what is missing is said before anything is counted: who asks for a challenge has not joined yet.
    ///
    /// # Errors
    /// What is missing or wrong, as the answer.
    pub(crate) fn ask<'a>(
        &self,
        zone: &ZoneId,
        (number, settings): (u32, &ZoneSettings),
        shown: Shown<'a>,
        now: Millis,
    ) -> Result<Option<Cow<'a, str>>, Problem> {
        if shown.key.is_some_and(|key| !(1..=CLIENT_KEY_BYTES_MAX).contains(&key.len())) {
            return Err(Problem::field("key", format!("must be 1 to {CLIENT_KEY_BYTES_MAX} bytes")));
        }
        let door = settings.door;
        let by_token = door.enqueue == Enqueue::Token;
        if by_token && shown.enqueue_token.is_none() {
            return Err(Problem::new(&ENQUEUE_TOKEN_REQUIRED));
        }
        if by_token && door.challenge_bits == 0 {
            self.count(shown.from)?;
        }
        let key = match shown.enqueue_token.filter(|_| by_token) {
            Some(token) => {
                let vouched = self.vouched_for(token, zone);
                // No work stands before a forged token, and finding out costs a signature's check.
                if vouched.is_err() && door.challenge_bits > 0 {
                    self.count(shown.from)?;
                }
                Some(Cow::Owned(vouched?))
            }
            // Nobody calls themselves as if somebody else had vouched for them.
            None if shown.key.is_some_and(|key| key.starts_with(VOUCHED_FOR)) => {
                return Err(Problem::field("key", "must not begin with a control character"));
            }
            None => shown.key.map(Cow::Borrowed),
        };
        if key.is_none() && (door.pass_bound || door.challenge_bits > 0) {
            return Err(Problem::field("key", "is needed in this zone: a text of one's own, the same in every request"));
        }
        if door.challenge_bits > 0 {
            let asked = Asked { zone: number, epoch: settings.epoch, bits: door.challenge_bits, key: key.as_deref().unwrap_or_default() };
            self.check_work(asked, shown, now)?;
        } else if !by_token {
            self.count(shown.from)?;
        }
        Ok(key)
    }

    fn count(&self, from: Option<IpAddr>) -> Result<(), Problem> {
        match (&self.flood, from) {
            (Some(flood), Some(from)) => flood.count(from).map_err(|seconds| Problem::new(&TOO_FAST).retry_after(seconds)),
            _ => Ok(()),
        }
    }

    fn vouched_for(&self, token: &str, zone: &ZoneId) -> Result<String, Problem> {
        let known = self.tokens.as_ref().and_then(|tokens| tokens.read(token, zone));
        known.map(|user| format!("{VOUCHED_FOR}{user}")).ok_or_else(|| Problem::new(&ENQUEUE_TOKEN_INVALID))
    }

    fn check_work(&self, asked: Asked<'_>, shown: Shown<'_>, now: Millis) -> Result<(), Problem> {
        let (Some(challenge), Some(solution)) = (shown.challenge, shown.solution) else {
            return Err(self.required(asked, now, CHALLENGE_REQUIRED.title));
        };
        self.count(shown.from)?;
        self.challenges.check(asked, challenge, solution, now).map_err(|why| self.required(asked, now, why.text()))
    }

    /// A new challenge, and why the old one does not do.
    fn required(&self, asked: Asked<'_>, now: Millis, why: &'static str) -> Problem {
        match self.challenges.make(asked, now) {
            Ok((challenge, expires_at)) => Problem::new(&CHALLENGE_REQUIRED)
                .detail(why)
                .with("challenge", challenge)
                .with("bits", asked.bits)
                .with("algorithm", ALGORITHM)
                .with("expires_at", serde_json::json!(Rfc3339(expires_at))),
            Err(failure) => Problem::failure(&failure),
        }
    }
}

fn read_tokens(config: &JoinConfig) -> Result<Option<EnqueueTokens>, Refused> {
    config.token.as_ref().map(EnqueueTokens::load).transpose()
}

#[cfg(test)]
#[path = "door/tests.rs"]
mod tests;
