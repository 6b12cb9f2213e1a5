//! `bunho rebuild`: a stopped node, or all that a cluster has in Redis, restored from the ledger.
//!
//! What the journal still has is carried into the ledger first; then the journal starts anew behind it, so that the next
//! `serve` builds its state from the ledger alone. Where the journal is damaged and the ledger has all that was acknowledged, nothing is
//! lost and nothing is asked. Else what is lost is said, and given up only with `--accept-loss`.

use crate::cli::Place;
use crate::config::{ClusterConfig, Config, Shape};
use crate::exit::{Failure, chain};
use crate::node::{Accepted, ClusterNode, EmbeddedNode, journal_path, prepare};
use crate::pass::Passes;
use crate::secrets;
use bunho_journal::{Journal, crash_point};
use bunho_ledger::Ledger;
use std::process::ExitCode;

/// Restores it.
///
/// # Errors
/// The folder is in use, or something is lost and no loss is accepted.
pub fn run(place: &Place, accept_loss: bool, accept_clock: bool) -> Result<ExitCode, Failure> {
    super::log_warnings();
    let config = super::checked(place)?;
    if let Shape::Cluster(cluster) = &config.shape {
        return super::block_on(rebuild_cluster(&config, cluster));
    }
    super::block_on(async {
        prepare(&config.data)?;
        let accepted = Accepted { missing_ledger: accept_loss, other_folder: accept_loss, earlier_clock: accept_clock };
        if accept_loss {
            for made in [secrets::tickets::make_missing(&config.secrets)?, Passes::make_missing(&config.secrets)?].into_iter().flatten() {
                eprintln!("bunho: {} was missing; a new one was made", made.display());
            }
        }
        if let Err(failure) = project(&config, accepted).await {
            give_up_the_end(&config, accepted, accept_loss, failure).await?;
        }
        if accept_loss {
            ensure_admin_key(&config).await?;
        }
        let offset = projected(&config).await?;
        crash_point!("rebuild::caught_up");
        Journal::reset(&journal_path(&config.data), offset).map_err(|error| Failure::data(chain(&error)))?;
        crash_point!("rebuild::restored");
        println!("restored: the ledger holds everything up to record {offset}; the journal goes on from there");
        Ok(ExitCode::SUCCESS)
    })
}

/// A cluster's nodes may go on meanwhile: each offer is suspended only while it is loaded.
async fn rebuild_cluster(config: &Config, cluster: &ClusterConfig) -> Result<ExitCode, Failure> {
    prepare(&config.data)?;
    let node = ClusterNode::open(config, cluster).await?;
    if let Err(failure) = caught_up(&node).await {
        node.close().await;
        return Err(failure);
    }
    let restored = node.engine.restore_everything(|done, all| println!("{done} of {all} offers and lines loaded from the ledger")).await;
    node.close().await;
    restored.map_err(|error| Failure::unavailable(chain(&error)))?;
    println!("restored: Redis has what the ledger has");
    Ok(ExitCode::SUCCESS)
}

/// Waits for the ledger to have the whole topic, as long as it gets on: one that was brought back may have hours to read.
async fn caught_up(node: &ClusterNode) -> Result<(), Failure> {
    let (mut furthest, mut in_vain) = (0, 0);
    loop {
        let Err(failure) = node.catch_up().await else { return Ok(()) };
        let health = node.engine.health();
        println!("the ledger has {} of the topic's {} messages", health.projected, health.topic);
        in_vain = if health.projected > furthest { 0 } else { in_vain + 1 };
        furthest = furthest.max(health.projected);
        if in_vain >= CATCH_UPS_IN_VAIN {
            return Err(failure);
        }
    }
}

/// Of some five seconds each.
const CATCH_UPS_IN_VAIN: u32 = 12;

/// Carries what the journal has into the ledger.
async fn project(config: &Config, accepted: Accepted) -> Result<(), Failure> {
    let node = EmbeddedNode::open_accepting(config, accepted).await?;
    let caught_up = node.catch_up().await;
    node.close().await;
    caught_up
}

/// A ledger that was made anew has no keys, and one without any is refused as lost.
async fn ensure_admin_key(config: &Config) -> Result<(), Failure> {
    let ledger = Ledger::open(&config.ledger).await?;
    let made = secrets::ensure_admin_key(&ledger, &config.data, None, super::key::now()).await?;
    ledger.close().await;
    if made.is_some() {
        println!("the admin key is in {}", secrets::admin_key_path(&config.data).display());
    }
    Ok(())
}

async fn projected(config: &Config) -> Result<u64, Failure> {
    let ledger = Ledger::open(&config.ledger).await?;
    let offset = *ledger.projected().borrow();
    ledger.close().await;
    Ok(offset)
}

/// The journal cannot be read to its end. Says what that costs, and saves what is before the damage.
async fn give_up_the_end(config: &Config, accepted: Accepted, accept_loss: bool, failure: Failure) -> Result<(), Failure> {
    if !failure.is_journal_lost() {
        return Err(failure);
    }
    let journal = journal_path(&config.data);
    // Before the attempts below, which lower it.
    let acknowledged = Journal::acknowledged(&journal).map_err(|error| Failure::data(chain(&error)))?;
    let has = projected(config).await?;
    let lost = match acknowledged {
        Some(acknowledged) if acknowledged == has => None,
        // Behind the ledger it is another journal's word, or one from before a power cut.
        Some(acknowledged) if acknowledged > has => Some(format!("records {} to {acknowledged}", has + 1)),
        _ => Some(format!("records after {has}, if there were any")),
    };
    match lost {
        None => {
            println!("the ledger has all that was acknowledged (up to record {has}); nothing is lost");
            eprintln!("bunho: the journal is given up: {failure}");
            return Ok(());
        }
        Some(lost) if !accept_loss => {
            return Err(Failure::data(format_args!(
                "{failure}\n  the ledger holds records up to {has}; at most {lost} would be lost\n  mend: restore the folder from a backup, or accept that with --accept-loss"
            )));
        }
        Some(_) => eprintln!("bunho: going on without the journal's end: {failure}"),
    }
    Journal::accept_loss(&journal).map_err(|error| eprintln!("bunho: nothing can be saved from the journal: {}", chain(&error))).ok();
    if let Err(failure) = project(config, accepted).await {
        eprintln!("bunho: nothing more can be saved from the journal: {failure}");
    }
    let has = projected(config).await?;
    match acknowledged {
        Some(acknowledged) if acknowledged == has => println!("all that was acknowledged could be saved; nothing is lost"),
        Some(acknowledged) if acknowledged > has => println!("LOST: records {} to {acknowledged}", has + 1),
        _ => println!("LOST: records after {has}, if there were any"),
    }
    Ok(())
}
