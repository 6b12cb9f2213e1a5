//! A small crowd for a few seconds: what a page, a join, a poll and a claim cost this installation. Calls go over the network like everybody's; what they cost is read from
//! a node's own processor time, so it does not matter how fast the one who measures is. Where several nodes answer the crowd, that time is divided by what this one answered.
//!
//! Everything happens in a zone and an offer of its own, made for it and removed after it. Claims are released, so nothing is sold; their rows stay in the ledger
//! under the name of the rehearsal. Its app is one that no webhook is told of.

use super::super::remote::Remote;
use crate::exit::Failure;
use crate::http::admin::rehearsal::{Answers, Spent};
use bunho_ledger::REHEARSAL_APP;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use ureq::Agent;
use ureq::http::Request;
use ureq::tls::TlsConfig;

/// Tickets that poll by turns. Each may be polled again after a third of its period, so many are needed for a quick one.
const TICKETS: usize = 20_000;
/// More would measure the one who measures.
const SAMPLES_MAX: usize = 200_000;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// In which the page is rendered.
const LANGUAGES: [&str; 2] = ["en", "ko"];
/// Units of the offer that is claimed from, more than can be claimed meanwhile.
const UNITS: u32 = 10_000_000;

/// Where, as whom, and how hard.
pub(super) struct Load<'a> {
    /// For administration and metrics.
    pub(super) remote: &'a Remote,
    /// For clients.
    pub(super) public: String,
    /// Whom clients believe.
    pub(super) tls: TlsConfig,
    pub(super) seconds: f64,
    pub(super) connections: usize,
    /// Nodes of the installation, of which `remote` is one.
    pub(super) nodes: u32,
    /// Names of the zone and the offer.
    pub(super) name: String,
}

/// One kind of call, done for a while.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    /// Answers with 2xx, and others; of any node.
    pub(super) answered: u64,
    pub(super) refused: u64,
    /// Answers with 2xx that the node gave whose processor time is read.
    pub(super) own: u64,
    pub(super) seconds: f64,
    /// Processor seconds of a node for each answer that it gave itself.
    pub(super) processor_seconds: f64,
    /// Of one Redis primary, for each answer of any node; none where there is no Redis, or it is not told.
    pub(super) redis_seconds: Option<f64>,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) slowest: f64,
    /// Bytes of the last answer's body as sent.
    pub(super) bytes: u64,
}

impl Measured {
    pub(super) fn per_second(&self) -> f64 {
        self.answered as f64 / self.seconds.max(f64::EPSILON)
    }
}

/// What was measured of each.
#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) page: Measured,
    pub(super) join: Measured,
    pub(super) poll: Measured,
    /// Why there are none, where there are none.
    pub(super) claim: Result<Measured, String>,
}

/// What a call is: what it asks for, by its number.
#[derive(Clone, Copy)]
struct Call<'a> {
    method: &'static str,
    path: &'a (dyn Fn(usize) -> String + Sync),
    body: &'a (dyn Fn(usize) -> Option<Value> + Sync),
    user: &'a (dyn Fn(usize) -> Option<String> + Sync),
    /// Such answers of one node, of those that it has counted.
    counted: fn(&Answers) -> u64,
    /// Whether something on the way to the nodes may have answered for them, as a cache does.
    may_be_kept: bool,
    /// No more than so many.
    most: usize,
}

impl Load<'_> {
    /// Plays it, tidies up, also where something went wrong.
    pub(super) fn play(&self, zone: &str, claims: bool, say: &dyn Fn(&str)) -> Result<Crowd, Failure> {
        let made = self.make(claims);
        let played = made.and_then(|()| self.measure(zone, claims, say));
        let tidied = self.tidy(claims);
        let crowd = played?;
        tidied?;
        Ok(crowd)
    }

    fn make(&self, claims: bool) -> Result<(), Failure> {
        let zone = json!({
            "name": "rehearsal", "app": REHEARSAL_APP, "entry_limit_per_minute": 0, "poll_interval_ms": 100, "poll_interval_max_ms": 100,
        });
        self.remote.call("PUT", &format!("zones/{}", self.name), Some(zone))?;
        if claims {
            let offer = json!({"name": "rehearsal", "app": REHEARSAL_APP, "kind": "goods", "quantity": UNITS, "hold_seconds": 600});
            self.remote.call("PUT", &format!("offers/{}", self.name), Some(offer))?;
        }
        Ok(())
    }

    fn measure(&self, zone: &str, claims: bool, say: &dyn Fn(&str)) -> Result<Crowd, Failure> {
        say("the waiting page");
        let nobody = |_: usize| None;
        // Whoever is first pays for its rendering; nobody of the crowd is.
        let path = |number: usize| format!("/wait/{zone}?lang={}", LANGUAGES[number % LANGUAGES.len()]);
        let page = Call {
            method: "GET",
            path: &path,
            body: &|_| None,
            user: &nobody,
            counted: |node| node.pages,
            may_be_kept: true,
            most: SAMPLES_MAX,
        };
        self.run(&Call { most: LANGUAGES.len(), ..page }, Duration::MAX)?;
        let page = self.repeat(&page)?.0;
        say("joins");
        let join = Call {
            method: "POST",
            path: &|_| "/traffic/wait".into(),
            body: &|number| Some(json!({"zoneId": self.name, "key": format!("rehearsal-{number}")})),
            user: &nobody,
            counted: |node| node.joins,
            may_be_kept: false,
            most: TICKETS,
        };
        let (join, answers) = self.repeat(&join)?;
        let join = self.known(join)?;
        let tickets: Vec<String> = answers.iter().filter_map(|answer| answer["token"].as_str().map(str::to_owned)).collect();
        if tickets.is_empty() {
            return Err(Failure::data(format_args!("nobody could join the line of {}: see the server's log", self.name)));
        }
        say("polls");
        let poll = Call {
            method: "POST",
            path: &|_| "/traffic/entry".into(),
            body: &|number| Some(json!({"zoneId": self.name, "token": tickets[number % tickets.len()]})),
            user: &nobody,
            counted: |node| node.polls,
            may_be_kept: false,
            most: SAMPLES_MAX,
        };
        let poll = self.known(self.repeat(&poll)?.0)?;
        let claim = if claims { self.claims(say)? } else { Err("not asked for".into()) };
        Ok(Crowd { page, join, poll, claim })
    }

    /// Claims, and releases what was claimed.
    fn claims(&self, say: &dyn Fn(&str)) -> Result<Result<Measured, String>, Failure> {
        say("claims");
        let user = |number: usize| Some(format!("{}-{number}", self.name));
        let path = |_: usize| format!("/v1/offers/{}/claims", self.name);
        let claim = Call {
            method: "POST",
            path: &path,
            body: &|_| Some(json!({"quantity": 1})),
            user: &user,
            counted: |node| node.claims,
            may_be_kept: false,
            most: SAMPLES_MAX,
        };
        let (claim, answers) = self.repeat(&claim)?;
        let claimed: Vec<(String, String)> =
            answers.iter().filter_map(|answer| Some((answer["id"].as_str()?.to_owned(), answer["user"].as_str()?.to_owned()))).collect();
        if claimed.is_empty() {
            return Ok(Err("no claim was accepted: the key must be a service's or an administrator's".into()));
        }
        say("releasing them");
        let release = Call {
            method: "POST",
            path: &|number| format!("/v1/claims/{}/release", claimed[number].0),
            body: &|_| Some(json!({})),
            user: &|number| Some(claimed[number].1.clone()),
            counted: |_| 0,
            may_be_kept: false,
            most: claimed.len(),
        };
        self.until_done(&release)?;
        self.known(claim).map(Ok)
    }

    fn tidy(&self, claims: bool) -> Result<(), Failure> {
        let reset = self.remote.call("POST", &format!("zones/{}/reset", self.name), Some(json!({})));
        let zone = reset.and_then(|_| self.remote.call("DELETE", &format!("zones/{}", self.name), None));
        let offer = if claims { self.remote.call("DELETE", &format!("offers/{}", self.name), None) } else { Ok(Value::Null) };
        let left = |failure: Failure| {
            Failure::data(format_args!(
                "{failure}\n  mend: the zone and the offer {} of this rehearsal are left; delete them in the console",
                self.name
            ))
        };
        zone.and(offer).map(drop).map_err(left)
    }

    /// As often as fits into the time.
    fn repeat(&self, call: &Call<'_>) -> Result<(Measured, Vec<Value>), Failure> {
        self.run(call, Duration::from_secs_f64(self.seconds))
    }

    /// What something costs can be told only if the node that is asked answered some of it.
    fn known(&self, measured: Measured) -> Result<Measured, Failure> {
        if measured.own > 0 || measured.answered == 0 {
            return Ok(measured);
        }
        Err(Failure::data(format_args!(
            "none of {} answers of {} came from the node at {}, so what they cost is not known\n  \
             mend: give with --public an address that leads to that node, alone or among others",
            measured.answered,
            self.public,
            self.remote.url()
        )))
    }

    fn until_done(&self, call: &Call<'_>) -> Result<(), Failure> {
        let (measured, _) = self.run(call, Duration::MAX)?;
        if measured.refused == 0 {
            Ok(())
        } else {
            Err(Failure::data(format_args!(
                "{} claims of the rehearsal could not be released; they end by themselves after ten minutes",
                measured.refused
            )))
        }
    }

    fn run(&self, call: &Call<'_>, time: Duration) -> Result<(Measured, Vec<Value>), Failure> {
        let next = AtomicUsize::new(0);
        let (refused, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let before = self.spent()?;
        let began = Instant::now();
        let work = || {
            let agent = self.agent();
            let (mut times, mut answers) = (Vec::new(), Vec::new());
            while began.elapsed() < time {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= call.most {
                    break;
                }
                let sent = Instant::now();
                match self.once(&agent, call, number) {
                    Some(body) => {
                        times.push(sent.elapsed().as_secs_f64());
                        bytes.store(body.len() as u64, Ordering::Relaxed);
                        answers.extend(serde_json::from_slice::<Value>(&body).ok());
                    }
                    None => {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            (times, answers)
        };
        let (mut times, mut answers) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.connections).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                if let Ok((own_times, own_answers)) = worker.join() {
                    times.extend(own_times);
                    answers.extend(own_answers);
                }
            }
        });
        let seconds = began.elapsed().as_secs_f64();
        let after = self.spent()?;
        times.sort_by(f64::total_cmp);
        let at =
            |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1))).copied().unwrap_or_default();
        let answered = times.len() as u64;
        let own = (call.counted)(&after.answered).saturating_sub((call.counted)(&before.answered));
        // Of pages that were kept on the way the node gave few; it would have to give an even share.
        let even = if call.may_be_kept { answered.div_ceil(self.nodes.max(1).into()) } else { 0 };
        let measured = Measured {
            answered,
            refused: refused.into_inner(),
            own,
            seconds,
            processor_seconds: each(after.processor_seconds - before.processor_seconds, own.max(even)).unwrap_or_default(),
            // No script takes no time: where none was told it is not known.
            redis_seconds: after.redis_seconds.zip(before.redis_seconds).and_then(|(after, before)| each(after - before, answered)),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            slowest: at(1.0),
            bytes: bytes.into_inner(),
        };
        Ok((measured, answers))
    }

    /// What the node has used so far, and Redis.
    fn spent(&self) -> Result<Spent, Failure> {
        let spent = self.remote.call("GET", "rehearsal", None)?;
        serde_json::from_value(spent).map_err(|error| super::another_version(self.remote.url(), &error))
    }

    /// The body of a good answer. What is refused is counted, and why is in the server's metrics.
    fn once(&self, agent: &Agent, call: &Call<'_>, number: usize) -> Option<Vec<u8>> {
        let mut request = Request::builder().method(call.method).uri(format!("{}{}", self.public, (call.path)(number)));
        if let Some(user) = (call.user)(number) {
            request = request.header("authorization", format!("Bearer {}", self.remote.key())).header("x-bunho-user", user);
        }
        let body = (call.body)(number).map(|body| body.to_string());
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let mut answer = agent.run(request.body(body.unwrap_or_default()).ok()?).ok()?;
        let good = answer.status().is_success();
        let body = answer.body_mut().read_to_vec().ok()?;
        good.then_some(body)
    }

    /// Connections of its own, which ask for compressed pages as browsers do.
    fn agent(&self) -> Agent {
        let config = Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).accept_encoding("br, gzip");
        config.tls_config(self.tls.clone()).build().into()
    }
}

/// What one of so many has cost, of a total; none if it cost nothing, or there was none.
fn each(total: f64, count: u64) -> Option<f64> {
    (total > 0.0 && count > 0).then(|| total / count as f64)
}

#[cfg(test)]
mod tests {
    use super::each;

    #[test]
    fn what_cost_nothing_was_not_told() {
        assert_eq!((each(3.0, 2), each(0.0, 2), each(-1.0, 2), each(3.0, 0)), (Some(1.5), None, None, None));
    }
}
