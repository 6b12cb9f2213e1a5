//! `bunho export`: a stopped embedded installation as one file, to be taken to a cluster.

use crate::cli::Place;
use crate::config::Shape;
use crate::exit::Failure;
use crate::moving::{Source, Writer};
use crate::node::{EmbeddedNode, prepare};
use bunho_journal::kafka::Message;
use bunho_journal::kafka::cloudevents::Content;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Carries what the journal still has into the ledger, then writes everything that is live there.
///
/// # Errors
/// The folder cannot be used, or is in use; the file is there already, or cannot be written.
pub fn run(place: &Place, file: &Path) -> Result<ExitCode, Failure> {
    super::log_warnings();
    let config = super::checked(place)?;
    if !matches!(config.shape, Shape::Embedded) {
        return Err(Failure::configuration(
            "engine.shape is cluster\n  mend: what is exported is an embedded installation; a cluster's is in its database",
        ));
    }
    super::block_on(async {
        prepare(&config.data)?;
        let began = Instant::now();
        let node = EmbeddedNode::open(&config).await?;
        node.catch_up().await?;
        let mut writer = Writer::create(file)?;
        let (offers, zones) = node.ledger.highest_numbers().await?;
        let installation = node.ledger.installation().await?.unwrap_or_default();
        writer.source(Source { installation, offers, zones })?;
        let at = super::key::now();
        let folder = config.secrets.join("keys");
        let listed =
            std::fs::read_dir(&folder).map_err(|error| Failure::data(format_args!("{} cannot be read: {error}", folder.display())))?;
        for entry in listed {
            let entry = entry.map_err(Failure::internal)?;
            let bytes = std::fs::read(entry.path())
                .map_err(|error| Failure::data(format_args!("{} cannot be read: {error}", entry.path().display())))?;
            writer.secret(format!("keys/{}", entry.file_name().to_string_lossy()), &bytes)?;
        }
        for key in node.ledger.keys().await? {
            writer.key(key)?;
        }
        for account in node.ledger.accounts().await? {
            writer.account(account)?;
        }
        for (zone, _) in node.ledger.page_revisions().await? {
            if let Some(row) = node.ledger.page(zone).await? {
                writer.page(row)?;
            }
        }
        let mut failed = None;
        node.ledger
            .load(&mut |event| {
                if failed.is_none() {
                    failed = writer.event(&Message { at, epoch: EPOCH, content: Content::Event(event), audit: None }).err();
                }
            })
            .await?;
        if let Some(failure) = failed {
            return Err(failure);
        }
        let counts = writer.finish()?;
        node.close().await;
        println!(
            "{}: {} events, {} keys, {} accounts and {} files of keys in {:.1} s; it holds secrets, keep it safe",
            file.display(),
            counts.events,
            counts.keys,
            counts.accounts,
            counts.secrets,
            began.elapsed().as_secs_f64()
        );
        println!("next: bunho import {} with the cluster's configuration, then start its nodes", file.display());
        Ok(ExitCode::SUCCESS)
    })
}

/// The first epoch of everything that is moved.
const EPOCH: u32 = 1;
