//! How the installation does: its nodes, what they stand on, and what asks for somebody.

use crate::app::App;
use crate::auth::Viewer;
use crate::config::Shape;
use crate::http::json::ok;
use crate::http::time::Rfc3339;
use crate::problem::Answered;
use axum::extract::State;
use bunho_domain::time::Millis;
use bunho_ledger::directory::Standing;
use bunho_ledger::{NodeRow, ParkedRow};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Entries of each list at most.
const SHOWN_MAX: usize = 50;
/// Records that the ledger may lack before it is worth a word: a projector that runs is a second behind at most.
const LAG_TOLD: u64 = 100_000;

/// The installation.
#[derive(Serialize, ToSchema)]
pub(crate) struct SystemView<'a> {
    #[schema(value_type = String, format = DateTime)]
    now: Rfc3339,
    /// `embedded` or `cluster`.
    shape: String,
    version: &'static str,
    #[schema(value_type = String, format = DateTime)]
    started_at: Rfc3339,
    /// The node that answers.
    node: &'a str,
    nodes: Vec<NodeView>,
    parts: Vec<PartView>,
    journal: JournalView,
    ledger: LedgerView,
    parked: ParkedView,
    /// The last that were restored, newest first.
    recoveries: Vec<RecoveryView>,
    /// What asks for somebody, in words.
    findings: Vec<String>,
}

/// A node.
#[derive(Serialize, ToSchema)]
pub(crate) struct NodeView {
    node: String,
    version: String,
    #[schema(value_type = String, format = DateTime)]
    started_at: Rfc3339,
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: Rfc3339,
    /// Whether it is the one that answers.
    #[serde(rename = "self")]
    is_self: bool,
}

/// What a node stands on.
#[derive(Serialize, ToSchema)]
pub(crate) struct PartView {
    /// `journal`, `ledger`, `redis` or `kafka`.
    name: &'static str,
    well: bool,
    detail: Option<&'static str>,
}

/// The journal; of a cluster, the topic.
#[derive(Serialize, ToSchema)]
pub(crate) struct JournalView {
    durable: u64,
    backlog_bytes: usize,
}

/// The ledger.
#[derive(Serialize, ToSchema)]
pub(crate) struct LedgerView {
    projected: u64,
    /// Durable records that it does not have yet.
    lag: u64,
    /// `sqlite`, `postgres` or `mysql`.
    kind: &'static str,
}

/// Events that one of the ledger's guards refused and nobody has mended.
#[derive(Serialize, ToSchema)]
pub(crate) struct ParkedView {
    count: u64,
    /// The oldest, at most 50.
    events: Vec<ParkedEvent>,
}

/// One of them.
#[derive(Serialize, ToSchema)]
pub(crate) struct ParkedEvent {
    id: String,
    claim: Option<String>,
    offer: Option<String>,
    reason: String,
    #[schema(value_type = String, format = DateTime)]
    at: Rfc3339,
}

/// Something that was restored.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecoveryView {
    target: String,
    #[schema(value_type = String, format = DateTime)]
    at: Rfc3339,
    reason: String,
}

/// How the installation does.
#[utoipa::path(get, path = "/admin/api/system", tag = "admin", responses((status = 200, body = SystemView)))]
pub(crate) async fn read(State(app): State<Arc<App>>, _: Viewer) -> Answered {
    let (health, progress) = (&app.health, app.health.progress(&app.ledger));
    let lag = progress.lag();
    // A ledger that is out is what this page must be able to tell.
    let rows = app.ledger.parked_events(None, SHOWN_MAX).await.unwrap_or_default();
    let parked = ParkedView { count: health.parked().max(rows.len() as u64), events: rows.into_iter().map(parked).collect() };
    let findings = findings(&app, lag, parked.count);
    Ok(ok(&SystemView {
        now: Rfc3339(app.engine.now()),
        shape: app.config.shape.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        started_at: Rfc3339(app.started_at),
        node: &app.node,
        nodes: nodes(&app).await,
        parts: parts(&app),
        journal: JournalView { durable: progress.durable, backlog_bytes: health.backlog_bytes() },
        ledger: LedgerView { projected: progress.projected, lag, kind: app.ledger.place().kind() },
        parked,
        recoveries: recoveries(&app).await,
        findings,
    }))
}

/// Nodes that have said so lately, and this one, which need not be asked.
async fn nodes(app: &App) -> Vec<NodeView> {
    let own = app.node_row();
    let mut rows = match app.config.shape {
        Shape::Embedded => Vec::new(),
        Shape::Cluster(_) => app.ledger.nodes().await.unwrap_or_default(),
    };
    rows.retain(|row| row.node != own.node);
    rows.push(own);
    rows.sort_by(|a, b| a.node.cmp(&b.node));
    let view = |NodeRow { node, version, started_at, seen_at }| NodeView {
        is_self: node == app.node,
        node,
        version,
        started_at: Rfc3339(started_at),
        last_seen_at: Rfc3339(seen_at),
    };
    rows.into_iter().map(view).collect()
}

fn parts(app: &App) -> Vec<PartView> {
    let (health, part) = (&app.health, |name, well, detail: &'static str| PartView { name, well, detail: (!well).then_some(detail) });
    let ledger =
        part("ledger", health.ledger_well(), "the last attempt to write to it failed; claims go on, and are written when it is back");
    match health.decides() {
        None => {
            let full = health.backlog_bytes() > app.config.journal_backlog_bytes_max;
            let detail = if full { "more waits for the disk than it takes" } else { "a write failed: nothing is decided until a restart" };
            vec![part("journal", health.journal_well() && !full, detail), ledger]
        }
        Some((redis, kafka)) => vec![
            part("redis", redis, "it does not answer: nothing is decided until it does"),
            part("kafka", kafka, "it does not take messages: claims wait, and are refused when too many do"),
            ledger,
        ],
    }
}

/// On a cluster, what Redis was loaded with anew; in one process, the start, which restores everything.
async fn recoveries(app: &App) -> Vec<RecoveryView> {
    if matches!(app.config.shape, Shape::Embedded) {
        let reason = "started: restored from the ledger and the journal".to_owned();
        return vec![RecoveryView { target: app.node.clone(), at: Rfc3339(app.started_at), reason }];
    }
    let mut entries = app.ledger.directory().await.map(|directory| directory.entries).unwrap_or_default();
    // The first epoch is what something was made under.
    entries.retain(|entry| entry.standing == Standing::Recovering || (entry.standing == Standing::Live && entry.epoch > 1));
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.changed_ms));
    let view = |entry: bunho_ledger::directory::Entry| RecoveryView {
        reason: match entry.standing {
            Standing::Recovering => format!("suspended while it is loaded from the ledger, as epoch {}", entry.epoch),
            _ => format!("loaded from the ledger after Redis was in doubt, as epoch {}", entry.epoch),
        },
        target: entry.id,
        at: Rfc3339(Millis(entry.changed_ms)),
    };
    entries.into_iter().take(SHOWN_MAX).map(view).collect()
}

fn findings(app: &App, lag: u64, parked: u64) -> Vec<String> {
    let mut findings = app.findings.clone();
    if parked > 0 {
        findings.push(format!(
            "{parked} events were refused by the ledger and wait for somebody: see the table parked_events and `bunho reconcile`"
        ));
    }
    if lag > LAG_TOLD {
        findings.push(format!("the ledger is {lag} records behind: lists and histories are late"));
    }
    findings
}

fn parked(row: ParkedRow) -> ParkedEvent {
    ParkedEvent {
        id: format!("{}-{}", row.journal_offset, row.event_index),
        claim: row.claim_id,
        offer: row.offer_id,
        reason: row.reason,
        at: Rfc3339(row.parked_at),
    }
}
