//! From the command line to what is played: every default and every size stands here or in [`seed`].

pub mod seed;

use crate::cli::{Command, How, HowMuch, OfferArgs, Where, ZoneArgs};
use crate::exit::Failure;
use crate::plan::{Model, Stages, length_of_time, stage};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longer than any run: an end is given by what is to be done.
pub(crate) const UNTIL_DONE: Duration = Duration::from_secs(604_800);
/// Shared connections, unless told. More would only mean more sockets to look at: a Bunho answers in milliseconds.
const CONNECTIONS: u32 = 64;
/// Buyers who have begun may come to their end after the last stage.
const FINISH: Duration = Duration::from_secs(20);

/// What is played, before anything was asked of the server.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// For the head of reports.
    pub title: String,
    /// Which source document, if any.
    pub seed: Option<crate::cli::SeedNumber>,
    /// Where.
    pub place: Where,
    /// How.
    pub how: How,
    /// Shared connections.
    pub connections: u32,
    /// How much.
    pub model: Model,
    /// Between a user's end and its next beginning.
    pub think_us: u64,
    /// How long those who have begun may go on after the last stage.
    pub finish_us: u64,
    /// Calls under way on one connection at most.
    pub pipeline: u32,
    /// Seed of random choices.
    pub random_seed: u64,
    /// Part of the names of everything that is made, so that two runs do not meet.
    pub run: String,
    /// What users do.
    pub play: Play,
    /// Settings worth printing besides those that every run has.
    pub settings: Vec<(String, String)>,
}

/// What users do.
#[derive(Clone, Debug)]
pub enum Play {
    /// Wait.
    Line(LinePlay),
    /// Claim.
    Shop(ShopPlay),
    /// Both.
    Mixed(LinePlay, ShopPlay),
    /// Ask for nothing.
    Null,
}

/// A line and its people.
#[derive(Clone, Debug)]
pub struct LinePlay {
    /// Where.
    pub zone: Thing,
    /// Probability of leaving without a word.
    pub leave: f64,
    /// Probability of leaving with a call.
    pub leave_openly: f64,
    /// Before joining, a pause up to this.
    pub pause_us: u64,
}

/// Offers and their buyers.
#[derive(Clone, Debug)]
pub struct ShopPlay {
    /// What is claimed; and, behind it, the coupon that it grants.
    pub offers: Vec<Thing>,
    /// Units of a claim.
    pub quantity: u32,
    /// Claims that one user sends at once.
    pub clicks: u32,
    /// Probability of leaving a held claim alone.
    pub leave: f64,
    /// Probability that a payment fails.
    pub fail: f64,
    /// Whether held claims are paid for.
    pub pays: bool,
    /// How long that takes at most.
    pub pay_us: u64,
    /// Attributes of each claim.
    pub attributes: Option<String>,
}

/// A zone or offer.
#[derive(Clone, Debug)]
pub enum Thing {
    /// It exists.
    Existing(String),
    /// It is made first.
    Made {
        /// Its id.
        id: String,
        /// Its settings.
        body: Value,
    },
}

impl Thing {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Existing(id) | Self::Made { id, .. } => id,
        }
    }
}

/// Sizes of a workload where none are given.
struct Usual {
    vus: u32,
    duration: Option<Duration>,
    total: Option<u64>,
    finish: Duration,
}

/// Reads what is to be played. `bench` is none of it.
///
/// # Errors
/// What was asked for cannot be done; the sentence says how it can.
pub fn of(command: &Command) -> Result<Scenario, Failure> {
    let endless = |vus, seconds| Usual { vus, duration: Some(Duration::from_secs(seconds)), total: None, finish: Duration::ZERO };
    let counted = |vus, total| Usual { vus, duration: None, total: Some(total), finish: FINISH };
    let run = run_name();
    let (title, place, how, much, usual, play) = match command {
        Command::Line(a) => ("line", &a.place, &a.how, &a.much, endless(1_000, 60), Play::Line(line(&a.zone, &run)?)),
        Command::Claims(a) => ("claims", &a.place, &a.how, &a.much, endless(64, 10), Play::Shop(claims(&a.offer, &run))),
        Command::Goods(a) => ("goods", &a.place, &a.how, &a.much, counted(200, 2_000), Play::Shop(goods(&a.offer, &run))),
        Command::Booking(a) => ("booking", &a.place, &a.how, &a.much, counted(100, 600), Play::Shop(booking(&a.offer, &run))),
        Command::Coupon(a) => ("coupon", &a.place, &a.how, &a.much, counted(256, 60_000), Play::Shop(coupon(&a.offer, &run))),
        Command::Mixed(a) => {
            let line = line(&a.zone, &run)?;
            let mut shop = goods(&OfferArgs { offer: None, quantity: a.quantity, pay_ms: a.pay_ms }, &run);
            if let Some(Thing::Made { body, .. }) = shop.offers.first_mut() {
                body["zone"] = line.zone.id().into();
            }
            ("mixed", &a.place, &a.how, &a.much, endless(500, 60), Play::Mixed(line, shop))
        }
        Command::Null(a) => ("null", &a.place, &a.how, &a.much, endless(64, 10), Play::Null),
        Command::Seed(a) => return seed::of(a, run),
        Command::Bench(_) | Command::Soak(_) => return Err(Failure::usage("bench and soak have ways of their own")),
    };
    Ok(Scenario {
        title: title.into(),
        seed: None,
        place: place.clone(),
        how: how.clone(),
        connections: how.connections.unwrap_or(CONNECTIONS),
        model: model(much, &usual)?,
        think_us: much.think * 1_000,
        finish_us: usual.finish.as_micros() as u64,
        pipeline: how.pipeline.unwrap_or(1),
        random_seed: random_seed(how),
        run,
        play,
        settings: settings(much),
    })
}

/// The seed that was given, or one from the clock.
pub(crate) fn random_seed(how: &How) -> u64 {
    how.seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64) % 1_000_000_000)
}

/// A name that no other run has: milliseconds since 1970.
fn run_name() -> String {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis()).to_string()
}

fn settings(much: &HowMuch) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    if !much.stages.is_empty() {
        settings.push(("stages".into(), much.stages.join(", ")));
    }
    if much.think > 0 {
        settings.push(("think".into(), format!("{} ms", much.think)));
    }
    settings
}

fn model(much: &HowMuch, usual: &Usual) -> Result<Model, Failure> {
    let full = much.rate.unwrap_or_else(|| much.vus.unwrap_or(usual.vus).into());
    if !(full.is_finite() && full > 0.0 && full <= 10_000_000.0) {
        return Err(Failure::usage(format_args!("--rate must be above 0 and at most 10,000,000, not {full}")));
    }
    let duration = match &much.duration {
        Some(text) => {
            let wrong = || Failure::usage(format_args!("--duration `{text}` is no length of time: write 500ms, 30s or 2m"));
            Some(length_of_time(text).filter(|length| !length.is_zero()).ok_or_else(wrong)?)
        }
        None => usual.duration,
    };
    let total = much.total.or(usual.total.filter(|_| much.duration.is_none() && much.stages.is_empty() && much.rate.is_none()));
    let stages = if much.stages.is_empty() {
        let endless = total.is_some() && much.duration.is_none();
        let length = duration.unwrap_or(Duration::from_secs(30));
        Stages::steady(full, if endless { UNTIL_DONE } else { length })
    } else {
        let parsed: Result<Vec<_>, _> = much.stages.iter().map(|text| stage(text, full).map_err(Failure::usage)).collect();
        Stages::new(&parsed?)
    };
    if stages.ends_us() == 0 {
        return Err(Failure::usage("the stages have no length: give one that lasts, such as --stage 30s:100%"));
    }
    Ok(if much.rate.is_some() { Model::Open { rate: stages } } else { Model::Closed { users: stages, total } })
}

fn probability(name: &str, value: f64) -> Result<f64, Failure> {
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(Failure::usage(format_args!("{name} is a probability: 0 to 1, not {value}"))) }
}

fn line(arguments: &ZoneArgs, run: &str) -> Result<LinePlay, Failure> {
    let zone = match &arguments.zone {
        Some(id) => Thing::Existing(id.clone()),
        None => {
            let mut body = json!({"name": "load", "entry_limit_per_minute": arguments.limit.unwrap_or(600)});
            let given = [
                ("window_seconds", arguments.window_seconds),
                ("slot_seconds", arguments.slot_seconds),
                ("poll_interval_ms", arguments.poll_ms),
                ("poll_interval_max_ms", arguments.poll_max_ms),
            ];
            for (name, value) in given {
                if let Some(value) = value {
                    body[name] = value.into();
                }
            }
            Thing::Made { id: format!("load-{run}"), body }
        }
    };
    Ok(LinePlay {
        zone,
        leave: probability("--leave", arguments.leave)?,
        leave_openly: probability("--leave-openly", arguments.leave_openly)?,
        pause_us: 0,
    })
}

fn offer(arguments: &OfferArgs, id: String, mut body: Value, quantity: u32) -> Thing {
    match &arguments.offer {
        Some(id) => Thing::Existing(id.clone()),
        None => {
            body["quantity"] = arguments.quantity.unwrap_or(quantity).into();
            Thing::Made { id, body }
        }
    }
}

const PLAIN: ShopPlay =
    ShopPlay { offers: Vec::new(), quantity: 1, clicks: 1, leave: 0.0, fail: 0.0, pays: false, pay_us: 0, attributes: None };
/// How long paying takes, at most, where nothing is said.
const PAY_MS: u64 = 200;

fn claims(arguments: &OfferArgs, run: &str) -> ShopPlay {
    ShopPlay { offers: vec![offer(arguments, format!("load-{run}"), json!({"kind": "coupon"}), 1_000_000_000)], ..PLAIN }
}

fn goods(arguments: &OfferArgs, run: &str) -> ShopPlay {
    let pay_us = arguments.pay_ms.unwrap_or(PAY_MS) * 1_000;
    let offers = vec![offer(arguments, format!("load-{run}"), json!({"kind": "goods", "per_user_limit": 1}), 1_000)];
    ShopPlay { offers, leave: 0.2, fail: 0.2, pays: true, pay_us, ..PLAIN }
}

fn booking(arguments: &OfferArgs, run: &str) -> ShopPlay {
    let pay_us = arguments.pay_ms.unwrap_or(PAY_MS) * 1_000;
    let thanks = format!("load-{run}-thanks");
    let coupon = json!({"kind": "coupon", "quantity": arguments.quantity.unwrap_or(1_000), "grant_only": true});
    let mut offers = vec![offer(arguments, format!("load-{run}"), json!({"kind": "booking", "grants": thanks}), 1_000)];
    if arguments.offer.is_none() {
        offers.push(Thing::Made { id: thanks, body: coupon });
    }
    ShopPlay { offers, quantity: 2, pays: true, pay_us, attributes: Some("{\"check_in\":\"2026-05-01\"}".into()), ..PLAIN }
}

fn coupon(arguments: &OfferArgs, run: &str) -> ShopPlay {
    ShopPlay { offers: vec![offer(arguments, format!("load-{run}"), json!({"kind": "coupon"}), 20_000)], clicks: 2, ..PLAIN }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    fn scenario(arguments: &str) -> Result<Scenario, Failure> {
        let cli = Cli::try_parse_from(std::iter::once("bunho-load").chain(arguments.split_whitespace())).expect(arguments);
        of(&cli.command)
    }

    #[test]
    fn sizes_are_those_that_were_asked_for() {
        let ends_s = |arguments| scenario(arguments).expect(arguments).model.ends_us() / 1_000_000;
        assert_eq!(ends_s("line"), 60);
        assert_eq!(ends_s("line --duration 2m"), 120);
        assert_eq!(ends_s("claims --rate 50 --stage 10s:50% --stage 110s:100%"), 120);
        assert_eq!(ends_s("goods"), UNTIL_DONE.as_secs());
        assert_eq!(ends_s("goods --duration 5s"), 5);
        assert_eq!(ends_s("goods --rate 100"), 30);
        assert_eq!(ends_s("seed 002"), 160);
        assert_eq!(ends_s("seed 002 --time-scale 0.1"), 16);
        let total = |arguments| match scenario(arguments).expect(arguments).model {
            Model::Closed { total, users } => (total, users.most() as u32),
            Model::Open { .. } => panic!("closed"),
        };
        assert_eq!(total("goods"), (Some(2_000), 200));
        assert_eq!(total("goods --duration 5s"), (None, 200));
        assert_eq!(total("goods --total 30 --vus 3"), (Some(30), 3));
        assert_eq!(total("seed 000"), (Some(7), 7));
        assert_eq!(total("seed 001"), (Some(1_000), 1_000));
        assert_eq!(total("seed 002"), (None, 600_000));
        assert_eq!(total("seed 003"), (Some(150_000), 1_000));
    }

    #[test]
    fn what_cannot_be_done_says_how_it_can() {
        for (arguments, word) in [
            ("line --leave 2", "0 to 1"),
            ("line --duration soon", "30s"),
            ("line --stage 5s", "LENGTH:LEVEL"),
            ("line --stage 0s:10", "--stage 30s:100%"),
            ("null --rate 0", "--rate"),
            ("seed 002 --time-scale 0", "--time-scale"),
        ] {
            let failure = scenario(arguments).expect_err(arguments);
            assert!(failure.code == crate::exit::USAGE && failure.message.contains(word), "{arguments}: {failure}");
        }
    }
}
