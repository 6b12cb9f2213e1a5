//! What is measured, part by part.

use super::Sizes;
use super::page::{Latency, Page, Row};
use super::server::Server;
use crate::driver::{Drive, Driven, drive};
use crate::exit::Failure;
use crate::meter::Meter;
use crate::plan::{Model, Stages};
use crate::random::Random;
use crate::record::{Call, CallTotals, Offer, Second};
use crate::run::Outside;
use crate::target::Target;
use crate::workload::Crowd;
use crate::workload::polls::Polls;
use crate::workload::shop::{Shop, Trade};
use serde_json::json;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Connections where nothing else is said.
const CONNECTIONS: u32 = 64;
/// Cold offers: each has so few claims that nothing of it stays in any cache.
const COLD_OFFERS: usize = 1_000;
/// Held longer than any benchmark.
const HOLD_SECONDS: u32 = 86_400;
/// How long a backlog of the ledger is built up.
const UNTIL_DONE: Duration = Duration::from_secs(3_600);

/// A benchmark under way.
pub(super) struct Bench<'a, 'b> {
    pub(super) server: &'a Path,
    pub(super) sizes: Sizes,
    pub(super) outside: &'a mut Outside<'b>,
}

/// Rates of the closed model, to be halved for the open one.
#[derive(Default)]
struct Highest {
    null: f64,
    claims: f64,
    polls: f64,
}

impl Bench<'_, '_> {
    /// Claims, polls, the null endpoint beside them, and their latency at half of what they reach.
    pub(super) fn speed(&mut self, page: &mut Page, wanted: &dyn Fn(&str) -> bool) -> Result<(), Failure> {
        let mut server = Server::start(self.server)?;
        let mut highest = Highest::default();
        if wanted("claims") || wanted("latency") {
            for connections in [64, 1_000] {
                let row = self.claims(&mut server, connections, 1, "on one offer")?;
                highest.claims = highest.claims.max(row.per_second);
                highest.null = highest.null.max(row.null_per_second);
                page.rows.push(row);
            }
        }
        if wanted("cold") {
            page.rows.push(self.claims(&mut server, CONNECTIONS, COLD_OFFERS, "over 1,000 offers")?);
        }
        if wanted("polls") || wanted("latency") {
            for &waiting in self.sizes.waiting {
                let (row, polls) = self.polls(&mut server, waiting)?;
                highest.polls = row.per_second;
                highest.null = highest.null.max(row.null_per_second);
                page.rows.push(row);
                let last = self.sizes.waiting.last() == Some(&waiting);
                if last && wanted("latency") {
                    self.latencies(&mut server, page, &highest, polls)?;
                }
            }
        }
        Ok(())
    }

    fn claims(&mut self, server: &mut Server, connections: u32, offers: usize, words: &str) -> Result<Row, Failure> {
        let name = format!("bench-{connections}-{offers}");
        let ids: Vec<String> = (0..offers).map(|number| format!("{name}-{number}")).collect();
        for id in &ids {
            server.put(&format!("offers/{id}"), &json!({"kind": "coupon", "quantity": 1_000_000_000}))?;
        }
        let title = format!("durable claims (`ack = journal`) {words}, {connections} connections");
        let host = server.target.host.clone();
        let mut turn = 0;
        self.in_turns(&server.target, &title, connections, Call::Claim, &mut |this| {
            turn += 1;
            let crowd = buyers(&host, &ids, &format!("t{turn}-"));
            this.push(crowd);
        })
    }

    fn polls(&mut self, server: &mut Server, waiting: u32) -> Result<(Row, Crowd), Failure> {
        let polls = self.fill(server, waiting)?;
        let mut kept = vec![Crowd::Polls(polls)];
        let title = format!("polls, {waiting} waiting");
        let target = server.target.clone();
        let row = self.turns_of(&target, &title, CONNECTIONS, Call::Entry, &mut kept, &mut |_| {})?;
        let polls = kept.pop().unwrap_or_else(|| Crowd::null(&target.host));
        Ok((row, polls))
    }

    /// A line of so many people.
    fn fill(&mut self, server: &mut Server, people: u32) -> Result<Polls, Failure> {
        let zone = format!("bench-{people}");
        let settings = json!({
            "entry_limit_per_minute": 60, "poll_interval_ms": 100, "poll_interval_max_ms": 100, "abandon_after_seconds": 3600,
        });
        server.put(&format!("zones/{zone}"), &settings)?;
        let crowd = Crowd::Polls(Polls::new(&server.target.host, &zone));
        let model = Model::Closed { users: Stages::steady(CONNECTIONS.into(), UNTIL_DONE), total: Some(people.into()) };
        let driven = self.drive(&server.target, CONNECTIONS, model, crowd)?;
        let (crowd, _) = self.counted(driven, Call::Wait, "joins")?;
        let Crowd::Polls(mut polls) = crowd else { return Err(Failure::internal("a line is filled by joins")) };
        self.say(&format!("{} wait in {zone}", polls.len()));
        polls.poll();
        Ok(polls)
    }

    fn in_turns(
        &mut self,
        target: &Target,
        title: &str,
        connections: u32,
        call: Call,
        make: &mut dyn FnMut(&mut Vec<Crowd>),
    ) -> Result<Row, Failure> {
        self.turns_of(target, title, connections, call, &mut Vec::new(), make)
    }

    /// The null endpoint and the work by turns. The crowd of each turn is the last of `crowds`, where `make` puts it, or
    /// leaves that of the turn before.
    fn turns_of(
        &mut self,
        target: &Target,
        title: &str,
        connections: u32,
        call: Call,
        crowds: &mut Vec<Crowd>,
        make: &mut dyn FnMut(&mut Vec<Crowd>),
    ) -> Result<Row, Failure> {
        let steady = || Model::Closed { users: Stages::steady(connections.into(), self.sizes.turn), total: None };
        let (model, turns) = (steady(), self.sizes.turns);
        let (mut done, mut null_done, mut latency) = (0.0, 0.0, None);
        for turn in 1..=turns {
            let driven = self.drive(target, connections, model.clone(), Crowd::null(&target.host))?;
            null_done += rate(&driven, Call::Null);
            self.counted(driven, Call::Null, "the null endpoint")?;
            make(crowds);
            let crowd = crowds.pop().unwrap_or_else(|| Crowd::null(&target.host));
            let driven = self.drive(target, connections, model.clone(), crowd)?;
            done += rate(&driven, call);
            let (crowd, calls) = self.counted(driven, call, title)?;
            crowds.push(crowd);
            match &mut latency {
                None => latency = Some(calls.service_us),
                Some(sum) => drop(hdrhistogram::Histogram::add(sum, &calls.service_us)),
            }
            self.say(&format!(
                "{title}: turn {turn} of {turns}: {:.0}/s, null endpoint {:.0}/s",
                done / f64::from(turn),
                null_done / f64::from(turn)
            ));
        }
        let at = |quantile| latency.as_ref().map_or(0, |latency| latency.value_at_quantile(quantile));
        Ok(Row {
            work: title.into(),
            per_second: done / f64::from(turns),
            null_per_second: null_done / f64::from(turns),
            p50_us: at(0.5),
            p99_us: at(0.99),
        })
    }

    /// Latency in the open model at half of what the closed one reached.
    fn latencies(&mut self, server: &mut Server, page: &mut Page, highest: &Highest, polls: Crowd) -> Result<(), Failure> {
        server.put("offers/bench-open", &json!({"kind": "coupon", "quantity": 1_000_000_000}))?;
        let target = server.target.clone();
        let claims = buyers(&target.host, &["bench-open".to_string()], "open-");
        let waiting = self.sizes.waiting.last().copied().unwrap_or_default();
        for (work, most, call, crowd) in [
            ("null endpoint".to_string(), highest.null, Call::Null, Crowd::null(&target.host)),
            ("durable claims".to_string(), highest.claims, Call::Claim, claims),
            (format!("polls, {waiting} waiting"), highest.polls, Call::Entry, polls),
        ] {
            let rate = (most / 2.0).floor().max(1.0);
            let model = Model::Open { rate: Stages::steady(rate, self.sizes.latency) };
            let driven = self.drive(&target, CONNECTIONS, model, crowd)?;
            let (_, calls) = self.counted(driven, call, &work)?;
            let at = |quantile| calls.latency_us.value_at_quantile(quantile);
            let row = Latency { work, rate, p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999), max_us: calls.latency_us.max() };
            self.say(&format!("{row:?}"));
            page.latencies.push(row);
        }
        Ok(())
    }

    /// Resident bytes of one who waits.
    pub(super) fn memory_of_waiting(&mut self, page: &mut Page) -> Result<(), Failure> {
        let mut server = Server::start(self.server)?;
        let before = server.resident_bytes()?;
        let polls = self.fill(&mut server, self.sizes.live)?;
        server.until_projected()?;
        let after = server.resident_bytes()?;
        page.bytes_per_waiting = Some(after.saturating_sub(before) as f64 / f64::from(polls.len().max(1)));
        Ok(())
    }

    /// Resident bytes of a held claim; what the ledger takes in a second; and a restart with all of them.
    ///
    /// The journal and the ledger have caches of a fixed size, which the first claims fill. Those are taken before anything is
    /// measured, or the caches would be counted as what claims keep; at the restart they are live like all others.
    pub(super) fn live_claims(&mut self, page: &mut Page) -> Result<(), Failure> {
        let mut server = Server::start(self.server)?;
        let offer = json!({"kind": "goods", "quantity": 1_000_000_000, "hold_seconds": HOLD_SECONDS});
        server.put("offers/bench-held", &offer)?;
        self.claim(&mut server, "filling-", self.sizes.filling)?;
        server.until_projected()?;
        let before = server.resident_bytes()?;
        let measured = self.sizes.measured();
        self.claim(&mut server, "live-", measured)?;
        server.until_projected()?;
        let after = server.resident_bytes()?;
        page.bytes_per_claim = Some(after.saturating_sub(before) as f64 / f64::from(measured));
        let backlog = self.sizes.replayed;
        if let Some(held) = server.hold_ledger() {
            self.claim(&mut server, "drain-", backlog)?;
            let (from, lag) = server.projected()?;
            drop(held);
            let began = Instant::now();
            server.until_projected()?;
            let rows = server.projected()?.0 - from;
            page.ledger = Some((rows, began.elapsed()));
            self.say(&format!("the ledger took {rows} records in {:?}, of which {lag} waited", began.elapsed()));
        }
        // Held for the rest of the server's life, so that what comes now is only in the journal when it is killed.
        let held = server.hold_ledger();
        page.ledger_was_held = held.is_some();
        self.claim(&mut server, "replayed-", backlog)?;
        let (_, lag) = server.projected()?;
        server.kill();
        drop(held);
        let (took, said) = server.restart()?;
        self.say(&format!("restarted in {took:?} with {lag} records to replay; it said: {}", said.as_deref().unwrap_or("nothing")));
        page.restart = Some((u64::from(self.sizes.live) + 2 * u64::from(backlog), lag, took, said));
        Ok(())
    }

    fn claim(&mut self, server: &mut Server, tag: &str, claims: u32) -> Result<(), Failure> {
        let crowd = buyers(&server.target.host, &["bench-held".to_string()], tag);
        let model = Model::Closed { users: Stages::steady(CONNECTIONS.into(), UNTIL_DONE), total: Some(claims.into()) };
        let driven = self.drive(&server.target, CONNECTIONS, model, crowd)?;
        self.counted(driven, Call::Claim, "claims").map(drop)
    }

    fn drive(&mut self, target: &Target, connections: u32, model: Model, crowd: Crowd) -> Result<Driven, Failure> {
        let plan =
            Drive { address: target.address, connections: connections as usize, pipeline: 1, model, think_us: 0, finish_us: 1_000_000 };
        let driven = drive(&plan, crowd, Instant::now(), self.outside.stop, &mut |_: &Second, _: &Meter| {});
        if self.outside.stop.load(Ordering::Relaxed) {
            return Err(Failure::usage("cut short: half a benchmark says nothing"));
        }
        driven.map_err(|error| Failure::unreachable(format_args!("the server does not take {connections} connections: {error}")))
    }

    /// The calls of one kind, all of which must have gone well: a benchmark of refusals is none.
    fn counted(&mut self, driven: Driven, call: Call, what: &str) -> Result<(Crowd, CallTotals), Failure> {
        let (mut calls, _, faults) = driven.meter.finish();
        let calls = calls.remove(&call).ok_or_else(|| Failure::unreachable(format_args!("{what}: no call was made")))?;
        let bad: Vec<_> = calls.outcomes.iter().filter(|(code, _)| *code != "2xx").collect();
        if bad.is_empty() && faults.is_empty() {
            return Ok((driven.crowd, calls));
        }
        Err(Failure::unreachable(format_args!("{what}: not every call went well: {bad:?} {faults:?}")))
    }

    fn say(&mut self, text: &str) {
        let _ = writeln!(self.outside.err, "{text}");
    }
}

fn rate(driven: &Driven, call: Call) -> f64 {
    driven.meter.good(call) as f64 / (driven.elapsed_ms as f64 / 1_000.0)
}

fn buyers(host: &str, offers: &[String], tag: &str) -> Crowd {
    let offer = |id: &String| Offer {
        id: id.clone(),
        quantity: 0,
        per_user_limit: None,
        hold_ms: 0,
        claims: Vec::new(),
        before: None,
        after: None,
        granted: Vec::new(),
        reread: Vec::new(),
    };
    let trade = Trade {
        tag: tag.into(),
        quantity: 1,
        clicks: 1,
        leave: 0.0,
        fail: 0.0,
        pays: false,
        pay_us: 0,
        key: None,
        attributes: None,
        remembers: false,
    };
    Crowd::Shop(Shop::new(host, offers.iter().map(offer).collect(), offers.len(), trade, Random::new(1)))
}
