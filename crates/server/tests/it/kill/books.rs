//! What clients know: what they asked, and what they were told. The server must never contradict it, however often it died.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A claim as it was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub offer: &'static str,
    pub user: String,
    pub key: String,
    pub quantity: u64,
}

/// What may be done to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    Confirm,
    Release,
    Return,
}

/// A claim that somebody was told of.
#[derive(Clone, Debug)]
pub struct Told {
    /// None: it was served to a place on standby.
    pub asked: Option<Asked>,
    pub offer: String,
    pub user: String,
    /// The first answer, which its key gives again.
    pub answer: Value,
    /// The last status that was told.
    pub status: String,
    /// What was tried, with or without an answer.
    pub tried: BTreeSet<Act>,
    /// What its confirmation was said to have given.
    pub granted: Option<Value>,
}

/// A place on standby that somebody was told of.
#[derive(Clone, Debug)]
pub struct Place {
    pub user: String,
    pub status: String,
    pub leaving: bool,
}

/// A ticket of the line whose order is checked.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub token: String,
    /// Leaving was tried and not answered.
    pub leaving: bool,
}

/// Something that is created and deleted: offers, zones and keys. Absent where nobody knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    There,
    /// Its deletion was tried and not answered.
    Leaving,
    Gone,
}

/// The books of everybody.
#[derive(Default)]
pub struct Books {
    pub users: u64,
    pub claims: BTreeMap<String, Told>,
    /// Claims whose fate was told since the books were last compared.
    pub touched: BTreeSet<String>,
    /// Claims that are held and whom nobody minds at the moment.
    pub loose: Vec<String>,
    /// Confirmed claims that may be taken back.
    pub confirmed: Vec<String>,
    /// Claims that were asked for without an answer.
    pub unsure: Vec<Asked>,
    /// Claims whose only answer was 503: they must never be seen.
    pub failed: Vec<Asked>,
    pub places: BTreeMap<String, Place>,
    /// Places that wait, as far as is known.
    pub waiting: Vec<String>,
    /// Tickets of the gate that wait.
    pub gate: Vec<String>,
    /// Who was told to be in, by the name in the pass: when.
    pub entered: HashMap<String, i64>,
    /// The line whose order is checked, in its order.
    pub queue: Vec<Waiting>,
    /// How often all of them were heard in time after a restart, and had the ranks of their order.
    pub ranked: u64,
    /// Every ticket's place: zone, epoch, number.
    pub numbers: HashMap<(u32, u32, u32), String>,
    pub resets: u64,
    /// Name of an edited offer as it was last told, and where it is being changed, what it may be as well.
    pub name: Option<String>,
    pub naming: Option<String>,
    pub offers: BTreeMap<String, Made>,
    pub zones: BTreeMap<String, Made>,
    pub keys: BTreeMap<String, Made>,
    pub accounts: BTreeMap<String, Made>,
    pub pass_keys: BTreeMap<String, Made>,
    pub answers: u64,
    pub replays: u64,
}

impl Books {
    pub fn new_user(&mut self) -> String {
        self.users += 1;
        format!("u{}", self.users)
    }

    /// A claim was answered.
    pub fn told(&mut self, asked: Option<&Asked>, answer: Value) -> String {
        let text = |field: &str| answer[field].as_str().unwrap().to_string();
        let id = text("id");
        let told = Told {
            asked: asked.cloned(),
            offer: text("offer"),
            user: text("user"),
            status: text("status"),
            tried: BTreeSet::new(),
            granted: None,
            answer,
        };
        if told.status == "confirmed" {
            self.confirmed.push(id.clone());
        }
        self.touched.insert(id.clone());
        let before = self.claims.insert(id.clone(), told);
        assert!(before.is_none(), "{id} was given twice");
        id
    }

    /// An act on a claim was answered: it is so now.
    pub fn became(&mut self, id: &str, status: &str) {
        let told = self.claims.get_mut(id).unwrap();
        told.status = status.to_string();
        self.touched.insert(id.to_string());
        if status == "confirmed" {
            self.confirmed.push(id.to_string());
        }
    }

    pub fn try_to(&mut self, id: &str, act: Act) {
        self.claims.get_mut(id).unwrap().tried.insert(act);
        self.touched.insert(id.to_string());
    }
}

impl Told {
    /// Whether the claim may be in this state, given what was told and tried.
    pub fn may_be(&self, status: &str) -> bool {
        let tried = |act| self.tried.contains(&act);
        match (self.status.as_str(), status) {
            (told, now) if told == now => true,
            ("held", "expired") => self.offer != "drop" && self.offer != "stay",
            ("held", "confirmed") => tried(Act::Confirm),
            ("held", "released") => tried(Act::Release),
            ("confirmed" | "held", "returned") => tried(Act::Return),
            _ => false,
        }
    }
}
