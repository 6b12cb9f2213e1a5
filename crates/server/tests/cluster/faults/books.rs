//! What the crowd asked for and was told.

use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

/// A claim as it was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub offer: &'static str,
    pub user: String,
    pub key: String,
    pub body: Value,
}

/// A claim that somebody was told of.
#[derive(Clone, Debug)]
pub struct Told {
    /// None: it was served to a place on standby.
    pub asked: Option<Asked>,
    /// The first answer, which its key gives again.
    pub answer: Value,
    /// The last status that was told.
    pub status: String,
    /// What its confirmation was said to have given.
    pub granted: Option<String>,
}

/// Somebody who was let in.
#[derive(Clone, Debug)]
pub struct Entered {
    /// Of its pass: zone, epoch and number of its ticket.
    pub ticket: (u32, u32, u32),
    pub at_ms: i64,
    /// Asked whenever it was told to, as far as anybody was answered.
    pub as_told: bool,
}

/// The books of everybody.
#[derive(Default)]
pub struct Books {
    pub users: u64,
    pub claims: BTreeMap<String, Told>,
    /// Claims whose only answer said that nothing happened: they must never be seen.
    pub never: Vec<Asked>,
    /// Places on standby: whose, and the last status that was told.
    pub places: BTreeMap<String, (String, String)>,
    pub entered: HashMap<String, Entered>,
    pub last_entered: Option<Instant>,
    /// Answers with 503, by code.
    pub unavailable: BTreeMap<String, u64>,
    pub replays: u64,
}

impl Books {
    pub fn new_user(&mut self) -> String {
        self.users += 1;
        format!("u{}", self.users)
    }

    /// A claim was answered for the first time.
    pub fn told(&mut self, asked: Option<Asked>, answer: Value) -> String {
        let (id, status) = (answer["id"].as_str().unwrap().to_owned(), answer["status"].as_str().unwrap().to_owned());
        let before = self.claims.insert(id.clone(), Told { asked, answer, status, granted: None });
        assert!(before.is_none(), "{id} was given twice: {before:?}");
        id
    }

    pub fn summary(&self) -> String {
        let as_told = self.entered.values().filter(|who| who.as_told).count();
        format!(
            "{} claims told, {} keys asked again, {} places, {} let in ({as_told} of them asked as told), {} said not to have happened, 503: {:?}",
            self.claims.len(),
            self.replays,
            self.places.len(),
            self.entered.len(),
            self.never.len(),
            self.unavailable
        )
    }
}

impl Told {
    /// Whether the claim may be so in the end: the last that was told, or that its hold ended by itself.
    pub fn may_end(&self, status: &str) -> bool {
        self.status == status || self.status == "held" && status == "expired" && self.ends_soon()
    }

    fn ends_soon(&self) -> bool {
        matches!(self.answer["offer"].as_str(), Some("flash" | "seats"))
    }
}
