//! One season's offers and line: made, and taken away when they are over.

use super::node::ADMIN_KEY;
use super::plan::Plan;
use crate::client::{Client, Reply};
use crate::random::Random;
use serde_json::{Value, json};

/// The zone that lives as long as the run, and whose limit is edited all the time.
pub(super) const STEADY: &str = "steady";
/// Limits are over so long: a minute would see few windows in a short run.
pub(super) const WINDOW_SECONDS: u32 = 10;
/// Of all people every third goes to the zone that stays.
pub(super) const STEADY_ONE_IN: u32 = 3;

/// What buyers, people in line and operators work on.
#[derive(Debug)]
pub(super) struct Season {
    pub(super) number: u32,
    /// Entries in any [`WINDOW_SECONDS`] of its line.
    pub(super) limit: u32,
    /// The most that the limit of [`STEADY`] ever is.
    pub(super) steady_limit_max: u32,
    offers: Vec<(String, Value)>,
}

/// What is sold, by the stories that are told about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shelf {
    /// Held, paid for or not.
    Goods,
    /// Taken at once, one for each.
    Coupon,
    /// Parties of two, who get a coupon.
    Stay,
    /// Few, often left to expire, with standby.
    Flash,
    /// Behind the line.
    Gated,
}

const SHELVES: [Shelf; 5] = [Shelf::Goods, Shelf::Coupon, Shelf::Stay, Shelf::Flash, Shelf::Gated];

impl Shelf {
    const fn word(self) -> &'static str {
        match self {
            Self::Goods => "goods",
            Self::Coupon => "coupon",
            Self::Stay => "stay",
            Self::Flash => "flash",
            Self::Gated => "gated",
        }
    }

    /// By how much it is asked for.
    pub(super) fn choose(random: &mut Random) -> Self {
        match random.below(100) {
            0..40 => Self::Goods,
            40..65 => Self::Coupon,
            65..80 => Self::Stay,
            _ => Self::Flash,
        }
    }
}

impl Season {
    pub(super) fn new(number: u32, plan: &Plan) -> Self {
        // So many buyers come in a season; most shelves are empty before it ends.
        let stories = plan.season.as_secs_f64() * stories_a_second(plan.rate);
        let share = |share: f64| ((stories * share) as u64).max(8);
        let hold = plan.hold_seconds;
        let id = |shelf: Shelf| format!("s{number}-{}", shelf.word());
        let thanks = format!("s{number}-thanks");
        let offers = vec![
            // It is granted, and therefore made first and taken away last.
            (thanks.clone(), json!({"kind": "coupon", "quantity": share(0.04), "grant_only": true})),
            (id(Shelf::Goods), json!({"kind": "goods", "quantity": share(0.4), "hold_seconds": hold, "per_user_limit": 2})),
            (id(Shelf::Coupon), json!({"kind": "coupon", "quantity": share(0.2)})),
            (id(Shelf::Stay), json!({"kind": "booking", "quantity": share(0.2), "hold_seconds": hold, "grants": thanks})),
            (
                id(Shelf::Flash),
                json!({"kind": "goods", "quantity": share(0.05), "hold_seconds": hold / 2, "standby": true, "per_user_limit": 1}),
            ),
            (
                id(Shelf::Gated),
                json!({"kind": "goods", "quantity": share(0.1), "hold_seconds": hold, "per_user_limit": 1, "zone": format!("s{number}-line")}),
            ),
        ];
        // Four in ten leave, and fewer than the others are let in: so a line forms, and moves.
        let arrivals = people_a_second(plan.rate) * f64::from(WINDOW_SECONDS);
        let (steady, own) = (1.0 / f64::from(STEADY_ONE_IN), 1.0 - 1.0 / f64::from(STEADY_ONE_IN));
        let limit = |share: f64| ((arrivals * share) as u32).max(4);
        Self { number, limit: limit(own * 0.5), steady_limit_max: limit(steady * 0.8), offers }
    }

    pub(super) fn offer(&self, shelf: Shelf) -> String {
        format!("s{}-{}", self.number, shelf.word())
    }

    pub(super) fn thanks(&self) -> String {
        format!("s{}-thanks", self.number)
    }

    pub(super) fn zone(&self) -> String {
        format!("s{}-line", self.number)
    }

    pub(super) fn shelves() -> impl Iterator<Item = Shelf> {
        SHELVES.into_iter()
    }

    /// All of its offers.
    pub(super) fn offers(&self) -> Vec<String> {
        self.offers.iter().map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn zone_body(&self) -> Value {
        line(self.limit)
    }

    /// Makes its line and its offers. Made twice it is as made once.
    pub(super) fn make(&self, client: &mut Client) -> Result<(), String> {
        put(client, &format!("zones/{}", self.zone()), &self.zone_body())?;
        for (id, body) in &self.offers {
            put(client, &format!("offers/{id}"), body)?;
        }
        Ok(())
    }

    /// Nothing more is sold.
    pub(super) fn close(&self, client: &mut Client) -> Result<(), String> {
        self.offers.iter().try_for_each(|(id, _)| admin(client, "POST", &format!("offers/{id}/close"), &json!({}), &[200, 409]))
    }

    /// Units of it that the server has held.
    pub(super) fn held(&self, client: &mut Client) -> Result<u64, String> {
        self.offers.iter().try_fold(0, |sum, (id, _)| {
            let path = format!("/v1/offers/{id}");
            let reply = client.get(&path, &[]).map_err(|error| format!("GET {path}: {error}"))?;
            let held = reply.json()["held"].as_u64();
            held.map(|held| sum + held).ok_or_else(|| format!("GET {path}: {}", reply.refusal()))
        })
    }

    /// Takes away what nobody has any more, first what names others; and ends the line.
    pub(super) fn delete(&self, client: &mut Client) -> Result<(), String> {
        for (id, _) in self.offers.iter().rev() {
            admin(client, "DELETE", &format!("offers/{id}"), &Value::Null, &[200, 204, 404])?;
        }
        admin(client, "POST", &format!("zones/{}/reset", self.zone()), &json!({}), &[200, 204])
    }
}

/// Deletes a line that has ended; whether it is gone. It is not while sessions of those who went in last.
pub(super) fn delete_line(client: &mut Client, zone: &str) -> Result<bool, String> {
    let path = format!("zones/{zone}");
    let reply = ask(client, "DELETE", &path, &Value::Null)?;
    match reply.status {
        200 | 204 | 404 => Ok(true),
        409 => Ok(false),
        _ => Err(format!("DELETE {path}: {}", reply.refusal())),
    }
}

/// Of all calls some half are buyers', who make two and a half each.
pub(super) fn stories_a_second(rate: f64) -> f64 {
    rate * 0.5 / 2.5
}

/// People who come to a line in a second.
pub(super) fn people_a_second(rate: f64) -> f64 {
    rate / 40.0
}

/// A line's settings.
pub(super) fn line(limit: u32) -> Value {
    json!({
        "entry_limit_per_minute": limit, "window_seconds": WINDOW_SECONDS, "slot_seconds": 1, "poll_interval_ms": 1_000,
        "poll_interval_max_ms": 5_000, "session_seconds": 30, "pass_ttl_seconds": 60, "abandon_after_seconds": 30, "resume_grace_seconds": 30,
    })
}

/// The zone that stays.
pub(super) fn make_steady(client: &mut Client, season: &Season) -> Result<(), String> {
    put(client, &format!("zones/{STEADY}"), &line(season.steady_limit_max))
}

fn put(client: &mut Client, path: &str, body: &Value) -> Result<(), String> {
    admin(client, "PUT", path, body, &[200, 201])
}

/// An operator's call outside of the load, which must be answered in one of these ways.
pub(super) fn admin(client: &mut Client, method: &str, path: &str, body: &Value, wanted: &[u16]) -> Result<(), String> {
    let reply = ask(client, method, path, body)?;
    if wanted.contains(&reply.status) { Ok(()) } else { Err(format!("{method} {path}: {}", reply.refusal())) }
}

fn ask(client: &mut Client, method: &str, path: &str, body: &Value) -> Result<Reply, String> {
    let bearer = format!("Bearer {ADMIN_KEY}");
    let body = Some(body).filter(|body| !body.is_null());
    let answered = client.call(method, &format!("/admin/api/{path}"), &[("authorization", &bearer)], body);
    answered.map_err(|error| format!("{method} {path}: {error}"))
}
