//! What a run needs on the server: zones and offers, found or made; and what is looked at there before and after.

use crate::client::{Client, Reply};
use crate::exit::Failure;
use crate::record::{Claim, ClaimState, Offer, Stock, Zone};
use crate::scenario::{Scenario, Thing};
use crate::target::Target;
use serde_json::Value;
use std::path::Path;

/// A pass's life where the zone does not say.
const PASS_TTL_SECONDS: u64 = 600;
/// Claims that are read again after a run, of each offer.
const REREAD_MAX: usize = 200;

/// A client with the rights that a run has.
pub struct Setup {
    client: Client,
    host: String,
    key: Option<String>,
    /// What to say where a key would be needed.
    no_key: String,
}

/// A zone that is ready, and how long its passes live.
pub struct Prepared {
    /// For the record.
    pub zone: Zone,
    /// Milliseconds.
    pub pass_ttl_ms: i64,
}

impl Setup {
    /// A client of the scenario's target; its key is looked for.
    #[must_use]
    pub fn new(target: &Target, scenario: &Scenario) -> Self {
        let file = scenario.place.data.join("admin.key");
        let given = scenario.place.admin_key.clone().filter(|key| !key.is_empty());
        let key = given.or_else(|| read_key(&file));
        let no_key = format!(
            "no admin key: {} cannot be read; give --admin-key or BUNHO_ADMIN_KEY, or the server's data folder with --data",
            file.display()
        );
        Self { client: target.client(), host: target.host.clone(), key, no_key }
    }

    /// The key, if there is one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Finds or makes a zone.
    ///
    /// # Errors
    /// It does not exist, does not run, or cannot be made.
    pub fn zone(&mut self, zone: &Thing) -> Result<Prepared, Failure> {
        if let Thing::Made { id, body } = zone {
            self.put("zones", id, body, "--zone with a zone that exists (the demo's is TEST_ZONE)")?;
        }
        let id = zone.id();
        let status = self.get(&format!("/zones/{id}/status"))?;
        if status.status == 404 {
            return Err(self.missing("zone", id, "bunho zone list", "bunho zone put"));
        }
        let status = expect(status, &format!("the status of zone {id}"))?;
        let state = status["state"].as_str().unwrap_or_default();
        if matches!(state, "paused" | "closed" | "sold_out") {
            return Err(Failure::usage(format_args!(
                "zone `{id}` is {state}: nobody would get in; resume or reopen it, or name another with --zone"
            )));
        }
        let settings = match &self.key {
            Some(_) => expect(self.admin("GET", &format!("zones/{id}"), None)?, &format!("zone {id}"))?,
            None => Value::Null,
        };
        let number = |name: &str| settings[name].as_u64();
        let others_wait = status["waiting"].as_u64().unwrap_or(0) > 0;
        let bound = ["active_limit", "offer", "opens_at", "closes_at"].iter().any(|name| !settings[name].is_null());
        let zone = Zone {
            id: id.into(),
            limit: status["limitPerMinute"].as_u64().map(|limit| limit as u32),
            window_ms: (number("window_seconds").unwrap_or(60) * 1_000) as u32,
            slot_ms: (number("slot_seconds").unwrap_or(6) * 1_000) as u32,
            poll_max_ms: 0,
            // Without a key nobody tells what else binds it.
            otherwise_bound: bound || others_wait || settings.is_null(),
            people: Vec::new(),
        };
        Ok(Prepared { zone, pass_ttl_ms: number("pass_ttl_seconds").unwrap_or(PASS_TTL_SECONDS) as i64 * 1_000 })
    }

    /// Finds or makes offers: the first is claimed, those behind it are granted and therefore made first.
    ///
    /// # Errors
    /// One does not exist, cannot be claimed, or cannot be made.
    pub fn offers(&mut self, offers: &[Thing]) -> Result<Vec<Offer>, Failure> {
        for offer in offers.iter().rev() {
            if let Thing::Made { id, body } = offer {
                self.put("offers", id, body, "--offer with an offer that exists (`GET /v1/offers` lists them)")?;
            }
        }
        offers.iter().map(|offer| self.offer(offer)).collect()
    }

    fn offer(&mut self, offer: &Thing) -> Result<Offer, Failure> {
        let id = offer.id();
        let reply = self.get(&format!("/v1/offers/{id}"))?;
        if reply.status == 404 {
            return Err(self.missing("offer", id, "bunho offer list", "bunho offer put"));
        }
        let found = expect(reply, &format!("offer {id}"))?;
        let state = found["state"].as_str().unwrap_or_default();
        if matches!((offer, state), (Thing::Existing(_), "closed" | "not_open" | "suspended")) {
            return Err(Failure::usage(format_args!("offer `{id}` is {state}: nothing of it can be claimed; name another with --offer")));
        }
        Ok(Offer {
            id: id.into(),
            quantity: found["quantity"].as_u64().unwrap_or(0),
            per_user_limit: found["per_user_limit"].as_u64().map(|limit| limit as u32),
            claims: Vec::new(),
            hold_ms: found["hold_seconds"].as_u64().map_or(u32::MAX, |seconds| u32::try_from(seconds * 1_000).unwrap_or(u32::MAX)),
            before: stock(&found),
            after: None,
            granted: Vec::new(),
            reread: Vec::new(),
        })
    }

    /// Looks at an offer again after a run, and at some of the claims. `tag` stands in front of users' names.
    pub fn look_again(&mut self, offer: &mut Offer, tag: &str) {
        let reply = self.get(&format!("/v1/offers/{}", offer.id));
        offer.after = reply.ok().filter(|reply| reply.status == 200).and_then(|reply| stock(&reply.json()));
        let every = offer.claims.len().div_ceil(REREAD_MAX).max(1);
        for claim in offer.claims.iter().step_by(every) {
            // A server that does not answer any more has not lost a claim thereby.
            let Ok(read) = self.reread(claim, tag) else { break };
            offer.reread.push((claim.id.clone(), expected(claim), read));
        }
    }

    /// The claim's status; none: there is no such claim.
    fn reread(&mut self, claim: &Claim, tag: &str) -> Result<Option<String>, Failure> {
        let user = format!("{tag}{}", claim.user);
        let path = format!("/v1/claims/{}", claim.id);
        let reply = self.client.get(&path, &[("x-bunho-user", &user)]).map_err(Failure::unreachable)?;
        match reply.status {
            404 => Ok(None),
            _ => expect(reply, &path).map(|claim| claim["status"].as_str().map(str::to_string)),
        }
    }

    fn put(&mut self, kind: &str, id: &str, body: &Value, otherwise: &str) -> Result<(), Failure> {
        if self.key.is_none() {
            return Err(Failure::usage(format_args!("{}; or use {otherwise}", self.no_key)));
        }
        let reply = self.admin("PUT", &format!("{kind}/{id}"), Some(body))?;
        match reply.status {
            200 | 201 => Ok(()),
            401 | 403 => Err(Failure::usage(format_args!(
                "the admin key is not this server's ({}); give its key with --admin-key or BUNHO_ADMIN_KEY, or use {otherwise}",
                reply.refusal()
            ))),
            404 => Err(Failure::usage(format_args!(
                "http://{} has no administration: it may be served on an address of its own (server.admin_listen); use {otherwise}",
                self.host
            ))),
            _ => Err(Failure::usage(format_args!("{id} could not be made: {}", reply.refusal()))),
        }
    }

    fn missing(&self, kind: &str, id: &str, list: &str, make: &str) -> Failure {
        Failure::usage(format_args!(
            "http://{} has no {kind} `{id}`; `{list}` shows those it has, `{make} {id} '{{…}}'` makes it",
            self.host
        ))
    }

    fn get(&mut self, path: &str) -> Result<Reply, Failure> {
        let host = self.host.clone();
        self.client.get(path, &[]).map_err(|error| Failure::unreachable(format_args!("http://{host} broke off at {path}: {error}")))
    }

    fn admin(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Reply, Failure> {
        let bearer = format!("Bearer {}", self.key.as_deref().unwrap_or_default());
        let reply = self.client.call(method, &format!("/admin/api/{path}"), &[("authorization", &bearer)], body);
        reply.map_err(|error| Failure::unreachable(format_args!("http://{} broke off: {error}", self.host)))
    }
}

/// The key that a server's first start kept.
fn read_key(file: &Path) -> Option<String> {
    std::fs::read_to_string(file).ok().map(|text| text.trim().to_string()).filter(|key| !key.is_empty())
}

fn expect(reply: Reply, what: &str) -> Result<Value, Failure> {
    match (reply.status, reply.json()) {
        (200, json) if json.is_object() => Ok(json),
        (200, _) => Err(Failure::unreachable(format_args!("{what} is not what a Bunho answers; check the address"))),
        _ => Err(Failure::usage(format_args!("{what} could not be read: {}", reply.refusal()))),
    }
}

fn stock(offer: &Value) -> Option<Stock> {
    let number = |name: &str| offer[name].as_u64();
    Some(Stock { quantity: number("quantity")?, remaining: number("remaining")?, held: number("held")?, confirmed: number("confirmed")? })
}

/// A replayed answer tells what the claim was when it was taken, not what became of it.
fn expected(claim: &Claim) -> ClaimState {
    if claim.replayed && claim.state == ClaimState::Held { ClaimState::Unknown } else { claim.state }
}
