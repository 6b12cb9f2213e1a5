//! `bunho forget`: people who are to be forgotten, in a running server or a stopped folder.

use super::remote::Remote;
use crate::cli::{Place, Running};
use crate::config::Shape;
use crate::exit::{Failure, chain};
use crate::forget::{self, Stores, USERS_MAX};
use crate::node::{Node, prepare};
use bunho_domain::ids::UserId;
use bunho_journal::Audit;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// A SQLite file is written anew: a hundred million claims are an hour.
const TIMEOUT: Duration = Duration::from_secs(3_600);

/// Forgets people. Exit code 1: something of them is left.
///
/// # Errors
/// A user cannot be one; the server does not answer, or the folder cannot be used.
pub fn run(place: &Place, users: &[String], running: &Running, as_json: bool) -> Result<ExitCode, Failure> {
    super::log_warnings();
    let users = named(users)?;
    let report = match Remote::of(running, place.data_folder())? {
        Some(server) => {
            let users: Vec<&str> = users.iter().map(UserId::as_str).collect();
            server.call_for(TIMEOUT, "POST", "forget", Some(json!({ "users": users })))?
        }
        None => here(place, &users)?,
    };
    print(&report, as_json)
}

/// The users of the command line; `-`: one a line from standard input, since others can read a command line.
fn named(users: &[String]) -> Result<Vec<UserId>, Failure> {
    let read = if users == ["-"] {
        std::io::stdin().lines().collect::<Result<Vec<_>, _>>().map_err(Failure::configuration)?
    } else {
        users.to_vec()
    };
    let parsed = read.iter().filter(|user| !user.is_empty()).map(|user| UserId::parse(user));
    let parsed: Vec<UserId> = parsed.collect::<Result<_, _>>().map_err(|error| Failure::configuration(format_args!("a user {error}")))?;
    if (1..=USERS_MAX).contains(&parsed.len()) {
        Ok(parsed)
    } else {
        Err(Failure::configuration(format_args!("{} users\n  mend: name 1 to {USERS_MAX}; for more, call again", parsed.len())))
    }
}

/// Opens the folder of a stopped server, or joins the cluster.
fn here(place: &Place, users: &[UserId]) -> Result<Value, Failure> {
    let config = super::checked(place)?;
    super::block_on(async {
        prepare(&config.data)?;
        let node = Node::open(&config).await.map_err(|failure| match config.shape {
            Shape::Embedded => Failure::data(format_args!("{failure}\n  mend: of a server that runs, name its address with --url")),
            Shape::Cluster(_) => failure,
        })?;
        node.catch_up().await?;
        let retention = match &config.shape {
            Shape::Embedded => None,
            Shape::Cluster(cluster) => Some(cluster.topic.retention),
        };
        let (engine, record) = (node.engine(), node.record());
        let stores = Stores { engine: &engine, ledger: node.ledger(), record: &record, retention };
        let audit = |detail: Value| Audit {
            actor: "system".into(),
            action: "user.forget".into(),
            target: "user".into(),
            detail: Some(detail.to_string()),
            request_id: None,
        };
        let report = forget::forget(&stores, users, audit).await;
        drop((engine, record));
        node.close().await;
        let report = report.map_err(|error| Failure::unavailable(format_args!("{}\n  mend: forget again", chain(&error))))?;
        serde_json::to_value(&report).map_err(Failure::internal)
    })
}

fn print(report: &Value, as_json: bool) -> Result<ExitCode, Failure> {
    let complete = report["complete"].as_bool().ok_or_else(|| Failure::unavailable("the server's report cannot be read"))?;
    if as_json {
        println!("{}", serde_json::to_string_pretty(report).map_err(Failure::internal)?);
        return Ok(ExitCode::from(u8::from(!complete)));
    }
    println!(
        "forgotten: {} claims and {} places on standby are a pseudonym's now; {} audit entries, {} parked events and {} messages to webhooks were cleared",
        report["claims"], report["standby"], report["audit_entries"], report["parked_events"], report["webhook_messages"]
    );
    let said = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for left in report["remains"].as_array().into_iter().flatten() {
        let offer = left["offer"].as_str().map(|offer| format!(" {offer}")).unwrap_or_default();
        let count = left["count"].as_u64().map(|count| format!(" ({count})")).unwrap_or_default();
        let until = left["until"].as_str().map(|until| format!(", until {until}")).unwrap_or_default();
        println!("REMAINS in {}{offer}{count}: {}{until}\n  mend: {}", said(&left["store"]), said(&left["why"]), said(&left["mend"]));
    }
    for place in report["elsewhere"].as_array().into_iter().flatten() {
        println!("not ours to erase: {}", said(place));
    }
    Ok(ExitCode::from(u8::from(!complete)))
}
