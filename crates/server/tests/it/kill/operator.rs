//! The operator who edits, restocks, takes back, makes and deletes while the server is killed.

use super::books::{Act, Made};
use super::clients::{As, Caller, Gone};
use super::points::Deed;
use crate::harness::Random;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What has a life of its own: made, deleted, and never back.
#[derive(Clone, Copy)]
enum Kind {
    Offer,
    Zone,
    Key,
    Account,
    PassKey,
}

impl Caller {
    /// Works until the server is gone. `mostly` is done every second time.
    pub async fn operate(&self, mostly: Option<Deed>, random: &mut Random) -> Result<(), Gone> {
        while !self.stop.load(Ordering::Relaxed) {
            match (mostly, random.below(2)) {
                (Some(deed), 0) => self.deed(deed, random).await?,
                _ => self.chore(random).await?,
            }
            let pause_ms = if mostly.is_some() { 4 } else { 25 };
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
        Ok(())
    }

    async fn chore(&self, random: &mut Random) -> Result<(), Gone> {
        const RARE: [Deed; 13] = [
            Deed::Edit,
            Deed::Create,
            Deed::Delete,
            Deed::EditZone,
            Deed::CreateZone,
            Deed::DeleteZone,
            Deed::ResetZone,
            Deed::MakeKey,
            Deed::RevokeKey,
            Deed::MakeAccount,
            Deed::RemoveAccount,
            Deed::MakePassKey,
            Deed::DropPassKey,
        ];
        match random.below(20) {
            0..8 => self.take_back(random).await,
            8..16 => self.restock(random).await,
            _ => self.deed(RARE[random.below(RARE.len() as u64) as usize], random).await,
        }
    }

    async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Result<(StatusCode, Value), Gone> {
        self.call(As::Service, method, &format!("/admin/api/{path}"), body).await
    }

    /// So that what is scarce is never sold out for good.
    async fn take_back(&self, random: &mut Random) -> Result<(), Gone> {
        let id = {
            let mut books = self.books();
            let count = books.confirmed.len() as u64;
            (count > 0).then(|| books.confirmed.swap_remove(random.below(count) as usize))
        };
        match id {
            Some(id) => self.act(&id, Act::Return).await,
            None => Ok(()),
        }
    }

    async fn restock(&self, random: &mut Random) -> Result<(), Gone> {
        let (offer, delta) =
            [("flash", 3), ("seats", 1), ("thanks", 4), ("coupon", 2), ("drop", 1), ("flash", -1)][random.below(6) as usize];
        let (status, answer) = self.admin(Method::POST, &format!("offers/{offer}/restock"), Some(json!({"delta": delta}))).await?;
        assert!(matches!(status.as_u16(), 200 | 409 | 503), "{status} {answer}");
        Ok(())
    }

    pub async fn deed(&self, deed: Deed, random: &mut Random) -> Result<(), Gone> {
        match deed {
            Deed::Edit => self.edit(random).await,
            Deed::EditZone => {
                let body = gate_settings(random.below(1_000));
                self.admin(Method::PUT, "zones/GATE", Some(body)).await.map(drop)
            }
            Deed::ResetZone => {
                if self.admin(Method::POST, "zones/GATE/reset", Some(json!({}))).await?.0.is_success() {
                    self.books().resets += 1;
                }
                Ok(())
            }
            Deed::Create => self.make(Kind::Offer, random).await,
            Deed::Delete => self.unmake(Kind::Offer, random).await,
            Deed::CreateZone => self.make(Kind::Zone, random).await,
            Deed::DeleteZone => self.unmake(Kind::Zone, random).await,
            Deed::MakeKey => self.make(Kind::Key, random).await,
            Deed::RevokeKey => self.unmake(Kind::Key, random).await,
            Deed::MakeAccount => self.make(Kind::Account, random).await,
            Deed::RemoveAccount => self.unmake(Kind::Account, random).await,
            Deed::MakePassKey => self.make(Kind::PassKey, random).await,
            Deed::DropPassKey => self.unmake(Kind::PassKey, random).await,
        }
    }

    /// Gives an offer another name; what was told stays, what was not told may be so or not.
    async fn edit(&self, random: &mut Random) -> Result<(), Gone> {
        let name = format!("name {}", random.below(1 << 30));
        self.books().naming = Some(name.clone());
        let (status, answer) =
            self.admin(Method::PUT, "offers/named", Some(json!({"kind": "coupon", "quantity": 5, "name": name}))).await?;
        if status.is_success() {
            let mut books = self.books();
            books.name = Some(name);
            books.naming = None;
        } else {
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
        }
        Ok(())
    }

    async fn make(&self, kind: Kind, random: &mut Random) -> Result<(), Gone> {
        let name = format!("made-{}", random.below(1 << 40));
        let (status, answer) = match kind {
            Kind::Offer => self.admin(Method::PUT, &format!("offers/{name}"), Some(json!({"kind": "goods", "quantity": 1}))).await?,
            Kind::Zone => self.admin(Method::PUT, &format!("zones/{name}"), Some(json!({"entry_limit_per_minute": 1}))).await?,
            Kind::Key => self.admin(Method::POST, "keys", Some(json!({"role": "viewer", "name": name}))).await?,
            Kind::Account => self.admin(Method::POST, "accounts", Some(json!({"role": "viewer", "name": name}))).await?,
            Kind::PassKey => self.admin(Method::POST, "pass-keys", None).await?,
        };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return Ok(());
        }
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        let name = match kind {
            Kind::Offer | Kind::Zone | Kind::Account => name,
            Kind::Key => answer["id"].as_str().unwrap().into(),
            Kind::PassKey => answer["kid"].as_str().unwrap().into(),
        };
        self.made(kind, |made| {
            made.insert(name, Made::There);
        });
        Ok(())
    }

    async fn unmake(&self, kind: Kind, random: &mut Random) -> Result<(), Gone> {
        let name = self.made(kind, |made| {
            // The newest key of passes signs, and cannot be dropped.
            let kept = usize::from(matches!(kind, Kind::PassKey));
            let there: Vec<String> = made.iter().filter(|(_, made)| **made != Made::Gone).map(|(name, _)| name.clone()).collect();
            let count = there.len().saturating_sub(kept) as u64;
            (count > 0).then(|| there[random.below(count) as usize].clone())
        });
        let Some(name) = name else { return self.make(kind, random).await };
        let before = self.made(kind, |made| made.insert(name.clone(), Made::Leaving));
        if matches!(kind, Kind::Offer) && random.below(2) == 0 {
            self.admin(Method::POST, &format!("offers/{name}/close"), Some(json!({}))).await?;
        }
        let path = match kind {
            Kind::Offer => "offers",
            Kind::Zone => "zones",
            Kind::Key => "keys",
            Kind::Account => "accounts",
            Kind::PassKey => "pass-keys",
        };
        let (status, answer) = self.admin(Method::DELETE, &format!("{path}/{name}"), None).await?;
        match status.as_u16() {
            204 => drop(self.made(kind, |made| made.insert(name, Made::Gone))),
            // An earlier try had no answer, and was done.
            404 if before == Some(Made::Leaving) => drop(self.made(kind, |made| made.insert(name, Made::Gone))),
            503 => {}
            _ => panic!("{status} {answer}"),
        }
        Ok(())
    }

    fn made<T>(&self, kind: Kind, change: impl FnOnce(&mut BTreeMap<String, Made>) -> T) -> T {
        let mut books = self.books();
        change(match kind {
            Kind::Offer => &mut books.offers,
            Kind::Zone => &mut books.zones,
            Kind::Key => &mut books.keys,
            Kind::Account => &mut books.accounts,
            Kind::PassKey => &mut books.pass_keys,
        })
    }
}

/// The zone whose limit is checked: at most [`GATE_LIMIT`] in any [`GATE_WINDOW_MS`].
pub fn gate_settings(edit: u64) -> Value {
    json!({
        "entry_limit_per_minute": GATE_LIMIT, "window_seconds": GATE_WINDOW_MS / 1_000, "slot_seconds": 1, "poll_interval_ms": 100,
        "poll_interval_max_ms": 200, "session_seconds": 30, "pass_ttl_seconds": 30, "message": format!("edit {edit}")
    })
}

pub const GATE_LIMIT: usize = 5;
pub const GATE_WINDOW_MS: i64 = 3_000;
