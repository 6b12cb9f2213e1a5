//! `bunho backup`: an embedded installation into a folder of its own, also while it is served from.

use super::remote::Remote;
use crate::backup::{Facts, Making, Manifest};
use crate::cli::{Place, Running};
use crate::config::{Config, Shape};
use crate::exit::Failure;
use crate::http::time::Rfc3339;
use crate::node::{EmbeddedNode, prepare};
use bunho_ledger::copy::{self, Copied};
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// What the backup must hold at least.
struct Wanted {
    offset: u64,
    installation: String,
}

/// Waits for the ledger to hold what was decided before, and copies it with the keys.
///
/// # Errors
/// The folder cannot be used, the server does not answer, or the backup cannot be written.
pub fn run(place: &Place, to: &Path, running: &Running) -> Result<ExitCode, Failure> {
    super::log_warnings();
    let config = super::checked(place)?;
    if !matches!(config.shape, Shape::Embedded) {
        return Err(Failure::configuration(
            "engine.shape is cluster\n  mend: back its database and cluster.secrets_dir up, as docs/backup.md says; Redis and Kafka need none",
        ));
    }
    let Some(ledger) = config.ledger.file() else {
        return Err(Failure::configuration(format_args!(
            "the ledger is on a server ({})\n  mend: back it up with the database's own tools, as docs/backup.md says, and keys/ of the data folder with it",
            config.ledger
        )));
    };
    let began = Instant::now();
    let made_at = Rfc3339(super::key::now()).to_string();
    let wanted = match Remote::of(running, &config.data)? {
        Some(server) => ask(&server)?,
        None => catch_up(&config)?,
    };
    let mut making = Making::begin(to)?;
    let copied = super::block_on(async {
        copy::copy(ledger, &making.ledger()).await.map_err(|error| not_copied(&error))?;
        Ok(copy::inspect(&making.ledger()).await?)
    })?;
    check(&copied, &wanted, running.url.as_deref())?;
    making.take_ledger()?;
    making.take_secrets(&config.data, &config.secrets)?;
    let Copied { offset, schema, claims, .. } = copied;
    let manifest = making.finish(Facts { installation: wanted.installation, offset, schema, claims, made_at })?;
    say(to, &manifest, began);
    Ok(ExitCode::SUCCESS)
}

fn not_copied(error: &bunho_ledger::LedgerError) -> Failure {
    Failure::data(format_args!(
        "the ledger could not be copied: {}\n  mend: look at both disks (space, permissions) and back up again; nothing was left behind",
        crate::exit::chain(error)
    ))
}

/// Asks the server that has the folder to let its ledger take what was decided.
fn ask(server: &Remote) -> Result<Wanted, Failure> {
    let answer = server.call("POST", "backup", Some(json!({})))?;
    let (Some(offset), Some(installation)) = (answer["offset"].as_u64(), answer["installation"].as_str()) else {
        return Err(Failure::unavailable(format_args!("{} gave an answer that cannot be read: {answer}", server.url())));
    };
    Ok(Wanted { offset, installation: installation.to_owned() })
}

/// Opens the folder of a stopped server and lets the ledger take what the journal has.
fn catch_up(config: &Config) -> Result<Wanted, Failure> {
    super::block_on(async {
        prepare(&config.data)?;
        let node = EmbeddedNode::open(config)
            .await
            .map_err(|failure| Failure::data(format_args!("{failure}\n  mend: of a server that runs, name its address with --url")))?;
        node.catch_up().await?;
        let (offset, installation) = (*node.ledger.projected().borrow(), node.ledger.installation().await?.unwrap_or_default());
        node.close().await;
        Ok(Wanted { offset, installation })
    })
}

/// Whoever answered may not be who serves from this folder.
fn check(copied: &Copied, wanted: &Wanted, url: Option<&str>) -> Result<(), Failure> {
    let installation = copied.installation.as_deref().unwrap_or_default();
    if installation == wanted.installation && copied.offset >= wanted.offset {
        return Ok(());
    }
    Err(Failure::configuration(format_args!(
        "the server at {} is of installation {} at record {}, and the folder is of {installation} at {}\n  mend: name the folder that it serves from with --data",
        url.unwrap_or("(none)"),
        wanted.installation,
        wanted.offset,
        copied.offset
    )))
}

fn say(to: &Path, manifest: &Manifest, began: Instant) {
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    println!(
        "{}: {} claims up to record {}, {:.1} MB in {:.1} s; it holds secrets, keep it safe",
        to.display(),
        manifest.claims,
        manifest.offset,
        bytes as f64 / 1e6,
        began.elapsed().as_secs_f64()
    );
    println!("to bring it back: bunho restore --from {} --data NEW-FOLDER", to.display());
}
