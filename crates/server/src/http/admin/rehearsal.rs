//! What the node that answers has, for `bunho rehearse`: its limits, its machine, and what its promises rest on, looked at now. Connections to the
//! database are opened on the way, so the crowd does not wait for them.

use crate::app::{App, Record};
use crate::auth::Operator;
use crate::config::Shape;
use crate::exit::Failure;
use crate::http::json::ok;
use crate::http::time::Rfc3339;
use crate::problem::{Answered, Problem};
use crate::{machine, preflight};
use axum::extract::State;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;
use utoipa::ToSchema;

/// Questions put to the database at once: the connections that it keeps are all needed then.
const QUESTIONS_AT_ONCE: usize = 16;

/// What a node has. It answers, and nothing else runs meanwhile that it would not run anyhow.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Facts {
    /// Server time.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) now: Rfc3339,
    pub(crate) node: String,
    pub(crate) version: String,
    /// `embedded` or `cluster`.
    pub(crate) shape: String,
    /// Nodes of the installation that have said lately that they run.
    pub(crate) nodes: u32,
    /// Processors that the process may use.
    pub(crate) processors: u32,
    pub(crate) memory_available_bytes: Option<u64>,
    /// On the disk of the data folder.
    pub(crate) disk_free_bytes: Option<u64>,
    /// What making something durable takes there, in microseconds: in the mean, and at most.
    pub(crate) sync_mean_us: Option<u64>,
    pub(crate) sync_slowest_us: Option<u64>,
    /// Files that the process may have open.
    pub(crate) open_files_max: Option<u64>,
    pub(crate) connections_max: u64,
    pub(crate) in_flight_max: u64,
    pub(crate) in_flight_per_zone_max: u64,
    pub(crate) body_bytes_max: u64,
    /// Connections that the kernel completes before they are accepted: `backlog` is asked for, `net.core.somaxconn` is the most it gives.
    pub(crate) backlog: u64,
    pub(crate) somaxconn: Option<u64>,
    pub(crate) syn_backlog: Option<u64>,
    pub(crate) syn_cookies: Option<u64>,
    pub(crate) conntrack_max: Option<u64>,
    /// Ports for connections to others: lowest, highest.
    pub(crate) local_ports: Option<(u64, u64)>,
    /// Durable records that the ledger does not have yet.
    pub(crate) lag: u64,
    /// Events that a guard of the ledger refused and nobody has mended.
    pub(crate) parked: u64,
    /// How long the database took for many questions at once, in microseconds.
    pub(crate) ledger_us: Option<u64>,
    /// What the promises rest on, part by part.
    pub(crate) parts: Vec<Part>,
}

/// Something that the promises rest on.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// Whether it is as it must be.
    pub(crate) well: bool,
    /// What was seen, or what is wrong and the mend.
    pub(crate) found: String,
}

/// What this node has, and whether what it stands on is as it must be.
#[utoipa::path(post, path = "/admin/api/rehearsal", tag = "admin", responses((status = 200, body = Facts)))]
pub(crate) async fn run(State(app): State<Arc<App>>, _: Operator) -> Answered {
    let folder = app.config.data.clone();
    let synced = tokio::task::spawn_blocking(move || (machine::sync_times(&folder), machine::disk_free_bytes(&folder)));
    let (synced, disk_free_bytes) = synced.await.map_err(|error| Problem::internal(&error))?;
    let before = Instant::now();
    let answers = join_all((0..QUESTIONS_AT_ONCE).map(|_| app.ledger.installation())).await;
    let ledger_us = answers.iter().all(Result::is_ok).then(|| micros(before.elapsed()));
    let mut parts = parts(&app).await;
    if let Err(error) = &synced {
        parts.push(Part { name: "data folder".into(), well: false, found: error.to_string() });
    }
    let in_force = app.in_force.load_full();
    let (limits, synced) = (&in_force.limits, synced.ok());
    let progress = app.health.progress(&app.ledger);
    let nodes = match app.config.shape {
        Shape::Embedded => 1,
        Shape::Cluster(_) => app.ledger.nodes().await.map_or(1, |rows| rows.iter().filter(|row| runs(row.seen_at)).count().max(1)),
    };
    Ok(ok(&Facts {
        now: Rfc3339(app.engine.now()),
        node: app.node.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        shape: app.config.shape.to_string(),
        nodes: u32::try_from(nodes).unwrap_or(u32::MAX),
        processors: machine::processors(),
        memory_available_bytes: machine::memory_available_bytes(),
        disk_free_bytes,
        sync_mean_us: synced.as_ref().map(|times| micros(times.mean)),
        sync_slowest_us: synced.as_ref().map(|times| micros(times.slowest)),
        open_files_max: machine::open_files_max(),
        connections_max: limits.connections_max as u64,
        in_flight_max: limits.in_flight_max as u64,
        in_flight_per_zone_max: limits.in_flight_per_zone_max.into(),
        body_bytes_max: limits.body_bytes_max as u64,
        backlog: limits.backlog.into(),
        somaxconn: machine::sysctl("net.core.somaxconn"),
        syn_backlog: machine::sysctl("net.ipv4.tcp_max_syn_backlog"),
        syn_cookies: machine::sysctl("net.ipv4.tcp_syncookies"),
        conntrack_max: machine::sysctl("net.netfilter.nf_conntrack_max"),
        local_ports: machine::local_ports(),
        lag: progress.lag(),
        parked: app.health.parked(),
        ledger_us,
        parts,
    }))
}

/// What a node has used so far, and for how many requests.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
pub(crate) struct Spent {
    /// Time on processors since the start, in seconds.
    pub(crate) processor_seconds: f64,
    /// Time that all primaries of Redis together have spent in scripts, in seconds, for whichever node; null where there is no Redis, or one of them does not tell.
    pub(crate) redis_seconds: Option<f64>,
    pub(crate) answered: Answers,
}

/// Requests that this node itself has answered with 2xx since its start, by kind.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
pub(crate) struct Answers {
    /// `GET /wait/{zone}`.
    pub(crate) pages: u64,
    /// `POST /traffic/wait`.
    pub(crate) joins: u64,
    /// `POST /traffic/entry`.
    pub(crate) polls: u64,
    /// `POST /v1/offers/{id}/claims`.
    pub(crate) claims: u64,
}

/// What this node has used so far, and for how many requests: the difference of two readings is what was done between them has cost. Primaries of Redis are asked
/// now, for three seconds at most.
#[utoipa::path(get, path = "/admin/api/rehearsal", tag = "admin", responses((status = 200, body = Spent)))]
pub(crate) async fn spent(State(app): State<Arc<App>>, _: Operator) -> Answered {
    let redis = match &app.health.record {
        Record::Journal { .. } => None,
        Record::Kafka { cluster, .. } => cluster.script_time().await,
    };
    let of = |method, route| app.metrics.answered_well(method, route);
    let answered = Answers {
        pages: of("GET", "/wait/{zone}"),
        joins: of("POST", "/traffic/wait"),
        polls: of("POST", "/traffic/entry"),
        claims: of("POST", "/v1/offers/{id}/claims"),
    };
    let redis_seconds = redis.map(|time| time.as_secs_f64());
    Ok(ok(&Spent { processor_seconds: machine::processor_seconds(), redis_seconds, answered }))
}

/// A node says every second that it runs.
const SILENCE_MAX_MS: i64 = 15_000;

fn runs(seen_at: bunho_domain::time::Millis) -> bool {
    super::now().since_ms(seen_at) < SILENCE_MAX_MS
}

async fn parts(app: &App) -> Vec<Part> {
    let part = |name: &str, seen: Result<String, String>| {
        let well = seen.is_ok();
        Part { name: name.into(), well, found: seen.unwrap_or_else(|problem| problem) }
    };
    match &app.config.shape {
        Shape::Embedded => {
            let journal = if app.health.journal_well() { Ok("takes records".into()) } else { Err("a write failed: start again".into()) };
            let ledger = async {
                let check = app.ledger.check().await.map_err(|error| Failure::from(error).to_string())?;
                let complaints = check.complaints();
                if complaints.is_empty() {
                    Ok(format!("{}, schema {}", check.database, check.schema_version))
                } else {
                    Err(complaints.join("; "))
                }
            };
            vec![part("journal", journal), part("SQL", ledger.await)]
        }
        Shape::Cluster(cluster) => {
            let look = preflight::look(cluster, &app.ledger).await;
            let mut parts: Vec<Part> =
                look.components.into_iter().map(|(name, seen)| part(name, seen.map_err(|failure| failure.to_string()))).collect();
            parts.extend(look.findings.into_iter().map(|finding| {
                let waived = cluster.waive.contains(&finding.name);
                let found = if waived { format!("waived: {finding}") } else { finding.to_string() };
                Part { name: finding.name, well: waived, found }
            }));
            parts
        }
    }
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
