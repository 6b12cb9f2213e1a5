//! The mill: one data folder, everybody at work, and the process killed again and again: at a named point, at a random moment,
//! while it starts, while it stops, while it mends. After every kill everything is checked against the books.

use super::books::Books;
use super::checks::{Depth, Gate, THANKS_AT_FIRST};
use super::clients::{Caller, Gone, answer_of};
use super::operator::gate_settings;
use super::points::{Deed, POINTS, Point, Reach};
use crate::harness::{Random, Server, until};
use bunho_domain::ticket::TicketKey;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a point is waited for before the process is killed without it.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a process that is to end may take.
pub(super) const END: Duration = Duration::from_secs(60);
/// Every so many checks everything ever told is looked at, and `reconcile` asked.
const EVERYTHING_EVERY: u64 = 10;
pub(super) const SIGKILL: i32 = 9;
/// Points at which the journal fails, and nobody is killed.
const FAILURES: [&str; 3] = ["journal::before_write", "journal::after_write", "journal::sync"];
/// What random moments are counted under.
pub const MOMENT: &str = "(random moments)";
/// The exit code of a poisoned journal.
const POISONED: i32 = 70;

/// Where to kill next.
#[derive(Clone, Copy, Debug)]
pub enum Strike {
    /// At a random moment.
    Moment,
    /// At a point, on one of the ways there.
    Point(&'static Point, Reach),
}

/// How a run under load is ended, where its point does not end it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// SIGKILL after so many milliseconds.
    Kill { after_ms: u64 },
    /// SIGTERM after so many milliseconds.
    Terminate { after_ms: u64 },
    /// It ends by itself.
    Itself,
}

/// One data folder and what is known of it.
pub struct Mill {
    pub(super) server: Server,
    books: Arc<Mutex<Books>>,
    ticket_key: Arc<TicketKey>,
    gate: Gate,
    pub(super) random: Random,
    /// How often by point, and under [`MOMENT`].
    pub struck: BTreeMap<&'static str, u64>,
    checks: u64,
}

impl Mill {
    pub async fn new(mut random: Random) -> Self {
        let server = Server::start().await;
        let offer = |kind: &str, quantity: i64, rest: Value| {
            let mut body = json!({"kind": kind, "quantity": quantity});
            body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            body
        };
        for (id, body) in [
            ("drop", offer("goods", 1_000_000, json!({"hold_seconds": 7_200, "per_user_limit": 2, "max_per_claim": 2}))),
            ("flash", offer("goods", 25, json!({"hold_seconds": 1, "per_user_limit": 1}))),
            ("thanks", offer("coupon", THANKS_AT_FIRST, json!({"grant_only": true}))),
            ("stay", offer("booking", 1_000_000, json!({"hold_seconds": 7_200, "per_user_limit": 1, "grants": "thanks"}))),
            ("seats", offer("goods", 8, json!({"hold_seconds": 1, "standby": true, "standby_hold_seconds": 1, "max_per_claim": 2}))),
            ("coupon", offer("coupon", 20, json!({}))),
            ("mended", offer("goods", 3, json!({"hold_seconds": 7_200}))),
            ("named", offer("coupon", 5, json!({"name": "name"}))),
        ] {
            server.put_offer(id, body).await;
        }
        server.put_zone("GATE", gate_settings(0)).await;
        server.put_zone("QUEUE", queue_settings(Some(0))).await;
        let (status, _) = server.claim("mended", "mender", None, json!({"quantity": 1})).await;
        assert_eq!(status, StatusCode::CREATED);
        let secret: [u8; 32] = *std::fs::read(server.data().join("keys/ticket.key")).unwrap().first_chunk().unwrap();
        let books = Books { name: Some("name".into()), ..Books::default() };
        let mut mill = Self {
            server,
            books: Arc::new(Mutex::new(books)),
            ticket_key: Arc::new(TicketKey::new(&secret)),
            gate: Gate::default(),
            random: random.fork(),
            struck: BTreeMap::new(),
            checks: 0,
        };
        mill.server.kill();
        mill
    }

    /// Processes killed. One whose journal fails ends by itself.
    pub fn kills(&self) -> u64 {
        self.struck.iter().filter(|(name, _)| !FAILURES.contains(name)).map(|(_, times)| times).sum()
    }

    /// Kills as asked. Where the point is not reached, the process is killed without it.
    pub async fn strike(&mut self, strike: Strike) {
        let began = Instant::now();
        let (kills, checks) = (self.kills(), self.checks);
        match strike {
            Strike::Moment => {
                let after_ms = self.random.below(250);
                self.work(&[], None, Ending::Kill { after_ms }).await;
            }
            Strike::Point(point, reach) => {
                if self.strike_at(point, reach).await {
                    *self.struck.entry(point.name).or_default() += 1;
                }
            }
        }
        let name = if let Strike::Point(point, _) = strike { point.name } else { MOMENT };
        let (killed, checked) = (self.kills() > kills, self.checks > checks);
        println!("{name} struck {:?} killed {killed} checked {checked} in {:.0?}", self.struck.get(name), began.elapsed());
    }

    async fn strike_at(&mut self, point: &'static Point, reach: Reach) -> bool {
        let armed = armed(point.name, self.random.below(point.most), "return");
        let after_ms = 40 + self.random.below(120);
        let ended = match reach {
            Reach::Crowd => self.work(&[("FAILPOINTS", &armed)], None, Ending::Itself).await,
            Reach::Operator(deed) => self.work(&[("FAILPOINTS", &armed)], Some(deed), Ending::Itself).await,
            Reach::LedgerAck => self.work(&[("FAILPOINTS", &armed), ("BUNHO_ENGINE__ACK", "ledger")], None, Ending::Itself).await,
            Reach::Drain => self.work(&[("FAILPOINTS", &armed)], None, Ending::Terminate { after_ms }).await,
            Reach::Failing => return self.fail(point).await,
            Reach::Mending => {
                self.poison("").await;
                self.start(&armed).await
            }
            Reach::Start => self.start(&armed).await,
            Reach::Restart => {
                self.work(&[], None, Ending::Kill { after_ms }).await;
                self.start(&armed).await
            }
            Reach::FirstStart => return self.first_start(&armed).await,
            Reach::Rebuild => self.rebuild(&armed),
            Reach::Repair => self.repair(&armed).await,
        };
        ended.signal() == Some(SIGKILL)
    }

    pub(super) fn caller(&self) -> Caller {
        Caller {
            url: self.server.url.clone(),
            client: Client::builder().timeout(Duration::from_secs(8)).build().unwrap(),
            books: self.books.clone(),
            stop: Arc::new(AtomicBool::new(false)),
            ticket_key: self.ticket_key.clone(),
        }
    }

    /// Starts, checks everything, and lets everybody work until the process ends.
    async fn work(&mut self, environment: &[(&str, &str)], mostly: Option<Deed>, ending: Ending) -> ExitStatus {
        self.server.set_environment(environment);
        if let Err((status, lines)) = self.server.try_launch() {
            return expected(status, &lines);
        }
        let caller = self.caller();
        if let Err(status) = self.check(&caller).await {
            return expected(status, &[]);
        }
        let mut tasks = caller.crowd(&mut self.random);
        let (operator, mut random) = (caller.clone(), self.random.fork());
        tasks.push(tokio::spawn(async move {
            // Gone: the end of the work.
            let _ = operator.operate(mostly, &mut random).await;
        }));
        let status = self.end(ending).await;
        caller.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for task in tasks {
            task.await.unwrap();
        }
        expected(status, &[])
    }

    /// Waits until it is ready and checks it. `Err`: it died meanwhile.
    pub(super) async fn check(&mut self, caller: &Caller) -> Result<(), ExitStatus> {
        let began = Instant::now();
        while answer_of(caller.client.get(format!("{}/readyz", caller.url))).await.is_none_or(|(status, _)| status != StatusCode::OK) {
            if let Some(status) = self.server.has_ended() {
                return Err(status);
            }
            assert!(began.elapsed() < END, "it is not ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.checks += 1;
        let depth = if self.checks.is_multiple_of(EVERYTHING_EVERY) { Depth::Everything } else { Depth::Recent };
        self.check_at(caller, depth).await
    }

    async fn check_at(&mut self, caller: &Caller, depth: Depth) -> Result<(), ExitStatus> {
        match caller.check(&self.server, &mut self.gate, depth, &mut self.random).await {
            Ok(()) => Ok(()),
            // Without an answer it must be dead, not stuck.
            Err(Gone) => Err(self.ended().await),
        }
    }

    pub(super) async fn end(&mut self, ending: Ending) -> ExitStatus {
        let began = Instant::now();
        let patience = match ending {
            Ending::Kill { after_ms } | Ending::Terminate { after_ms } => Duration::from_millis(after_ms),
            Ending::Itself => PATIENCE,
        };
        while began.elapsed() < patience {
            if let Some(status) = self.server.has_ended() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        if matches!(ending, Ending::Terminate { .. }) {
            self.server.ask_to_stop();
            return self.ended().await;
        }
        self.server.kill();
        *self.struck.entry(MOMENT).or_default() += 1;
        // Not the point's doing.
        ExitStatus::from_raw(0)
    }

    async fn ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.server.has_ended() {
                return status;
            }
            assert!(began.elapsed() < END, "it neither answers nor ends");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A start that is to end at a point. Where it does not, it is killed.
    async fn start(&mut self, armed: &str) -> ExitStatus {
        self.server.set_environment(&[("FAILPOINTS", armed)]);
        match self.server.try_launch() {
            Err((status, lines)) => expected(status, &lines),
            // Some of the last points come when it serves already.
            Ok(()) => self.end(Ending::Itself).await,
        }
    }

    /// The journal fails in the middle of the work: the process ends with 70, or where `at` says.
    async fn poison(&mut self, at: &str) -> ExitStatus {
        let armed = format!("{}{at}", armed("journal::sync", self.random.below(60), "return"));
        self.work(&[("FAILPOINTS", &armed), ("BUNHO_LOG__LEVEL", "off")], None, Ending::Itself).await
    }

    async fn fail(&mut self, point: &'static Point) -> bool {
        // Where the journal itself fails nobody is killed, but the process ends and says why.
        if FAILURES.contains(&point.name) {
            let armed = armed(point.name, self.random.below(point.most), "return");
            let ended = self.work(&[("FAILPOINTS", &armed), ("BUNHO_LOG__LEVEL", "off")], None, Ending::Itself).await;
            return ended.code() == Some(POISONED);
        }
        self.poison(&format!(";{}=return", point.name)).await.signal() == Some(SIGKILL)
    }

    /// The last start: everything is checked, the line goes in in its order, and a stopped folder is equal too.
    pub async fn finish(&mut self) -> String {
        self.server.set_environment(&[]);
        self.server.try_launch().unwrap();
        let caller = self.caller();
        self.check(&caller).await.unwrap();
        self.check_at(&caller, Depth::Everything).await.unwrap();
        self.admit_queue(&caller).await;
        self.server.assert_reconciled();
        assert_eq!(self.server.stop(), 0, "SIGTERM drains and ends well");
        let offline = Command::new(env!("CARGO_BIN_EXE_bunho")).args(["reconcile", "--data"]).arg(self.server.data()).output().unwrap();
        assert!(offline.status.success(), "{}", String::from_utf8_lossy(&offline.stdout));
        let books = self.books.lock().unwrap();
        assert!(books.ranked > 0 && books.replays > 0 && self.gate.admissions() > 0);
        format!(
            "{} kills, {} starts checked, {} answers, {} claims told, {} keys asked again, {} places on standby, {} admissions, {} tickets, the line in its order {} times: none lost, none twice",
            self.kills(),
            self.checks,
            books.answers,
            books.claims.len(),
            books.replays,
            books.places.len(),
            self.gate.admissions(),
            books.numbers.len(),
            books.ranked
        )
    }

    /// The line that waited through every kill is let in: in its order, up to who shares a slot. Who is not heard of for a while keeps nobody
    /// else from entering, so there is no order where this machine stood still.
    async fn admit_queue(&self, caller: &Caller) {
        let queue: Vec<String> = caller.books().queue.iter().map(|who| who.token.clone()).collect();
        let (mut round_began, mut longest_round) = (Instant::now(), Duration::ZERO);
        for token in &queue {
            caller.poll_queue(token).await.unwrap();
        }
        self.server.put_zone("QUEUE", queue_settings(None)).await;
        let mut entered: Vec<usize> = Vec::new();
        let all_in = async || {
            longest_round = longest_round.max(round_began.elapsed());
            round_began = Instant::now();
            for (rank, token) in queue.iter().enumerate().rev() {
                if !entered.contains(&rank) && caller.poll_queue(token).await.unwrap().1["canEnter"] == true {
                    entered.push(rank);
                }
            }
            tokio::time::sleep(Duration::from_millis(90)).await;
            entered.len() == queue.len()
        };
        until("everybody in line has entered", Duration::from_secs(60), all_in).await;
        longest_round = longest_round.max(round_began.elapsed());
        if longest_round > ROUND_MAX {
            println!("the order in which the line was let in is not judged: a round of polls took {longest_round:.1?}");
            return;
        }
        for (place, rank) in entered.iter().enumerate() {
            assert!(place.abs_diff(*rank) < QUEUE_SLOT, "rank {rank} entered as number {place}: {entered:?}");
        }
    }
}

/// Entries of one slot of the line whose order is checked.
const QUEUE_SLOT: usize = 4;
/// Two seconds after the poll that it was told to make, a ticket counts as absent. Between two of its polls are two rounds at most.
const ROUND_MAX: Duration = Duration::from_secs(1);

/// Closed by its seats, or open with [`QUEUE_SLOT`] entries a second.
fn queue_settings(seats: Option<u32>) -> Value {
    json!({
        "entry_limit_per_minute": 2 * QUEUE_SLOT, "window_seconds": 2, "slot_seconds": 1, "active_limit": seats, "poll_interval_ms": 250,
        "poll_interval_max_ms": 500
    })
}

/// What makes a point strike at its passing after so many.
fn armed(name: &str, after: u64, action: &str) -> String {
    if after == 0 { format!("{name}={action}") } else { format!("{name}={after}*off->{action}") }
}

/// A process may be killed, end well, or end because its journal failed; nothing else.
pub(super) fn expected(status: ExitStatus, lines: &[String]) -> ExitStatus {
    let fine = status.signal() == Some(SIGKILL) || matches!(status.code(), Some(0 | POISONED));
    assert!(fine, "the process ended with {status}: {lines:#?}");
    status
}

/// Each point once, in any order, and then points and random moments.
pub fn schedule(kills: u64, random: &mut Random) -> Vec<Strike> {
    let mut strikes: Vec<Strike> = POINTS.iter().map(|point| at(point, random)).collect();
    for last in (1..strikes.len()).rev() {
        strikes.swap(last, random.below(last as u64 + 1) as usize);
    }
    while (strikes.len() as u64) < kills {
        let somewhere = random.below(4) > 0;
        strikes.push(if somewhere { at(&POINTS[random.below(POINTS.len() as u64) as usize], random) } else { Strike::Moment });
    }
    strikes
}

/// A point, by one of its ways.
pub fn at(point: &'static Point, random: &mut Random) -> Strike {
    Strike::Point(point, point.reach[random.below(point.reach.len() as u64) as usize])
}
