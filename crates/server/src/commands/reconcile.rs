//! `bunho reconcile`: engine against ledger, claim by claim, in constant memory.

use super::remote::Remote;
use crate::cli::{Place, Running};
use crate::config::Shape;
use crate::exit::{Failure, chain};
use crate::node::{Node, prepare};
use bunho_engine::{Engine, EngineError};
use bunho_ledger::reconcile::{Example, Reconciliation, Repair, Report};
use bunho_ledger::{Ledger, ParkedRow};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::ExitCode;

/// Asks a running server; or opens the folder of a stopped one, lets the ledger take what the journal has, and compares.
///
/// # Errors
/// The server does not answer, or refuses the key; the folder is in use or cannot be read.
pub fn run(place: &Place, running: &Running, repair: bool, as_json: bool) -> Result<ExitCode, Failure> {
    if let Some(server) = Remote::of(running, place.data_folder())? {
        return print(&server.call("POST", &format!("reconcile?repair={repair}"), Some(json!({})))?, as_json);
    }
    super::log_warnings();
    let config = super::checked(place)?;
    // An empty folder would be made, and be equal.
    if matches!(config.shape, Shape::Embedded) && !["journal", "ledger.db"].iter().any(|part| config.data.join(part).exists()) {
        return Err(Failure::data(format_args!(
            "nothing is there to compare: {} is no data folder\n  mend: name the stopped server's with --data, or ask a running one with --url",
            config.data.display()
        )));
    }
    let report = super::block_on(async {
        prepare(&config.data)?;
        let node = Node::open(&config).await?;
        node.catch_up().await?;
        let report = compare(&node.engine(), node.ledger(), wanted(repair)).await?;
        node.close().await;
        Ok(report)
    })?;
    print(&report, as_json)
}

/// What is to be done about differences.
#[must_use]
pub fn wanted(repair: bool) -> Repair {
    if repair { Repair::Ledger { at: super::key::now() } } else { Repair::No }
}

/// Compares everything that either side has. The report is as the API and `--json` give it.
///
/// # Errors
/// The ledger cannot be read, or written in a repair.
pub async fn compare(engine: &Engine, ledger: &Ledger, repair: Repair) -> Result<Value, Failure> {
    let mut numbers: BTreeSet<u32> = engine.offer_numbers().await.map_err(cannot_read)?.into_iter().collect();
    numbers.extend(ledger.live_offers().await?.into_iter().map(|(number, _)| number));
    let failed: Mutex<Option<EngineError>> = Mutex::default();
    let mut reconciliation = Reconciliation::new(ledger, repair);
    for number in numbers {
        let claims_after = async |after: Option<bunho_domain::ids::ClaimId>, most: usize| {
            let mut from = after.map_or(0, |id| id.seq() + 1);
            let mut claims = Vec::new();
            // Fewer than asked for would mean the end; a page may be short where sequence numbers are missing.
            while claims.len() < most {
                let (page, next) = match engine.claims_from(number, from, (most - claims.len()) as u32).await {
                    Ok(page) => page,
                    Err(error) => {
                        // What follows is of no use: it ends below.
                        failed.lock().get_or_insert(error);
                        break;
                    }
                };
                claims.extend(page);
                match next {
                    Some(next) => from = next,
                    None => break,
                }
            }
            claims
        };
        reconciliation.offer(number, claims_after).await?;
        if let Some(error) = failed.lock().take() {
            return Err(cannot_read(error));
        }
    }
    let report = reconciliation.finish().await?;
    Ok(to_json(&report, &ledger.parked_events(None, PARKED_SHOWN).await?))
}

fn cannot_read(error: EngineError) -> Failure {
    Failure::unavailable(format_args!("the engine cannot be read: {}", chain(&error)))
}

/// Parked events that a report lists; all are counted.
const PARKED_SHOWN: usize = 100;

fn to_json(report: &Report, parked: &[ParkedRow]) -> Value {
    let oversold: Vec<Value> = report
        .oversold
        .iter()
        .map(|offer| json!({ "offer": offer.offer.as_str(), "quantity": offer.quantity, "taken": offer.taken }))
        .collect();
    json!({
        "equal": report.is_equal(),
        "compared": report.compared,
        "missing_in_ledger": report.missing_in_ledger,
        "missing_in_engine": report.missing_in_engine,
        "different": report.different,
        "repaired": report.repaired,
        "unrepaired": report.unrepaired,
        "parked": report.parked,
        "parked_events": parked.iter().map(parked_event).collect::<Vec<_>>(),
        "duplicates": report.duplicates,
        "history_differs": report.history_differs,
        "oversold": oversold,
        "examples": report.examples.iter().map(example).collect::<Vec<_>>(),
    })
}

fn parked_event(row: &ParkedRow) -> Value {
    json!({ "journal_offset": row.journal_offset, "claim": row.claim_id, "offer": row.offer_id, "reason": row.reason })
}

fn example(example: &Example) -> Value {
    let side = |side: &Option<(bunho_domain::claim::Status, u32)>| {
        side.as_ref().map(|(status, version)| json!({ "status": format!("{status:?}").to_lowercase(), "version": version }))
    };
    json!({ "claim": example.claim.to_string(), "engine": side(&example.engine), "ledger": side(&example.ledger) })
}

fn print(report: &Value, as_json: bool) -> Result<ExitCode, Failure> {
    let equal = report["equal"].as_bool().ok_or_else(|| Failure::unavailable("the server's report cannot be read"))?;
    if as_json {
        println!("{}", serde_json::to_string_pretty(report).map_err(Failure::internal)?);
    } else if equal {
        println!("equal: {} claims compared, engine and ledger agree", report["compared"]);
    } else {
        println!("DIFFERS:");
        for (name, value) in report.as_object().into_iter().flatten() {
            println!("  {name}: {value}");
        }
    }
    Ok(ExitCode::from(u8::from(!equal)))
}
