//! A small crowd for a few seconds: what a page, a join, a poll and a claim cost this installation. Calls go over the network like everybody's; what they cost is read from
//! the server's own processor time, so it does not matter how fast the one who measures is.
//!
//! Everything happens in a zone and an offer of its own, made for it and removed after it. Claims are released, so nothing is sold; their rows stay in the ledger
//! under the name of the rehearsal. Its app is one that no webhook is told of.

use super::super::remote::Remote;
use crate::exit::Failure;
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
    /// Names of the zone and the offer.
    pub(super) name: String,
}

/// One kind of call, done for a while.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    /// Answers with 2xx, and others.
    pub(super) answered: u64,
    pub(super) refused: u64,
    pub(super) seconds: f64,
    /// Processor seconds of the server for each answer.
    pub(super) processor_seconds: f64,
    /// Of one Redis primary, for each answer; none where there is no Redis, or it is not told.
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
    /// No more than so many.
    most: usize,
}

impl Load<'_> {
    /// Time that scripts have taken in all Redis primaries; none where there is none. It is asked for every few seconds, so short measurements are told little.
    fn redis_seconds(&self) -> Option<f64> {
        let text = self.agent().get(&format!("{}/metrics", self.remote.url())).call().ok()?.body_mut().read_to_string().ok()?;
        sum(&text, "bunho_redis_script_seconds_total")
    }

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
        let page = Call { method: "GET", path: &path, body: &|_| None, user: &nobody, most: SAMPLES_MAX };
        self.run(&Call { most: LANGUAGES.len(), ..page }, Duration::MAX)?;
        let page = self.repeat(&page)?.0;
        say("joins");
        let join = Call {
            method: "POST",
            path: &|_| "/traffic/wait".into(),
            body: &|number| Some(json!({"zoneId": self.name, "key": format!("rehearsal-{number}")})),
            user: &nobody,
            most: TICKETS,
        };
        let (join, answers) = self.repeat(&join)?;
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
            most: SAMPLES_MAX,
        };
        let poll = self.repeat(&poll)?.0;
        let claim = if claims { self.claims(say)? } else { Err("not asked for".into()) };
        Ok(Crowd { page, join, poll, claim })
    }

    /// Claims, and releases what was claimed.
    fn claims(&self, say: &dyn Fn(&str)) -> Result<Result<Measured, String>, Failure> {
        say("claims");
        let user = |number: usize| Some(format!("{}-{number}", self.name));
        let path = |_: usize| format!("/v1/offers/{}/claims", self.name);
        let claim = Call { method: "POST", path: &path, body: &|_| Some(json!({"quantity": 1})), user: &user, most: SAMPLES_MAX };
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
            most: claimed.len(),
        };
        self.until_done(&release)?;
        Ok(Ok(claim))
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
        let before = Counters::read(self)?;
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
        let after = Counters::read(self)?;
        times.sort_by(f64::total_cmp);
        let at =
            |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1))).copied().unwrap_or_default();
        let each = |total: f64| total.max(0.0) / (times.len().max(1)) as f64;
        let redis_seconds = after.redis.zip(before.redis).map(|(after, before)| each(after - before));
        let measured = Measured {
            answered: times.len() as u64,
            refused: refused.into_inner(),
            seconds,
            processor_seconds: each(after.processor - before.processor),
            redis_seconds,
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            slowest: at(1.0),
            bytes: bytes.into_inner(),
        };
        Ok((measured, answers))
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

/// What the server has used so far.
struct Counters {
    processor: f64,
    /// Of all Redis primaries.
    redis: Option<f64>,
}

impl Counters {
    fn read(load: &Load<'_>) -> Result<Self, Failure> {
        let spent = load.remote.call("GET", "rehearsal", None)?;
        let processor = spent["processor_seconds"].as_f64().unwrap_or_default();
        Ok(Self { processor, redis: load.redis_seconds() })
    }
}

/// The sum of a metric's series; none if there is none.
fn sum(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    });
    values.reduce(|a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn series_of_one_metric_are_added() {
        let text = "# TYPE a counter\na{node=\"1\"} 1.5\na{node=\"2\"} 2\nab 9\na_total 4\nb 7\n";
        assert_eq!((sum(text, "a"), sum(text, "b"), sum(text, "c")), (Some(3.5), Some(7.0), None));
    }
}
