//! `bunho restore`: a backup made by `bunho backup`, into a data folder of its own.

use crate::backup::{self, LEDGER, Manifest};
use crate::exit::{Failure, chain};
use crate::node::{journal_path, prepare};
use bunho_journal::{Audit, Journal};
use bunho_ledger::{Ledger, Place, copy};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Why webhooks of what was restored are off.
const RESTORED: &str = "restored";

/// Checks the backup, copies it, and begins a journal behind it.
///
/// # Errors
/// The backup is not whole, the folder is not empty, or cannot be written.
pub fn run(from: &Path, data: &Path) -> Result<ExitCode, Failure> {
    super::log_warnings();
    let began = Instant::now();
    check_empty(data)?;
    let manifest = backup::check(from)?;
    prepare(data)?;
    let restored = restore(from, &manifest, data);
    let silenced = restored.map_err(|failure| {
        Failure::data(format_args!(
            "{failure}\n  {} is not whole and will not be served from: empty it before the next try",
            data.display()
        ))
    })?;
    println!(
        "{}: {} claims up to record {}, as of {}, in {:.1} s",
        data.display(),
        manifest.claims,
        manifest.offset,
        manifest.made_at,
        began.elapsed().as_secs_f64()
    );
    if silenced > 0 {
        println!(
            "OFF: {silenced} webhooks (`restored`), or a copy would tell production's receivers of what becomes of its own claims; turn them on where this one takes over"
        );
    }
    println!("LOST: whatever was decided after that, by the folder that the backup was made of");
    println!("next: make sure that nothing serves from that folder any more, then bunho serve --data {}", data.display());
    Ok(ExitCode::SUCCESS)
}

fn check_empty(data: &Path) -> Result<(), Failure> {
    let refused = |why: &dyn std::fmt::Display| {
        Failure::configuration(format_args!(
            "{} {why}\n  mend: name a folder that is not there, or an empty one, with --data",
            data.display()
        ))
    };
    match fs::read_dir(data) {
        Ok(mut entries) => {
            if entries.next().is_none() {
                Ok(())
            } else {
                Err(refused(&"is not empty"))
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refused(&format_args!("cannot be read: {error}"))),
    }
}

/// The journal last: without one, a ledger that is ahead of it is refused by whoever would serve from the folder. Says how many webhooks are off now.
fn restore(from: &Path, manifest: &Manifest, data: &Path) -> Result<usize, Failure> {
    backup::place(from, manifest, data)?;
    let ledger = data.join(LEDGER);
    let silenced = super::block_on(async {
        let copied = copy::inspect(&ledger).await?;
        if copied.offset != manifest.offset || copied.installation.as_deref() != Some(&manifest.installation) {
            return Err(Failure::data("the ledger of the backup is not the one that its manifest is about\n  mend: restore another one"));
        }
        let ledger = Ledger::open(Place::from(&*ledger)).await?;
        ledger.skip_numbers().await?;
        let silenced = silence(&ledger).await?;
        ledger.close().await;
        Ok(silenced)
    })?;
    Journal::reset(&journal_path(data), manifest.offset).map_err(|error| Failure::data(chain(&error)))?;
    Ok(silenced)
}

/// Turns all webhooks off. Whether this is a drill or production from now on, nobody here knows; holds that run out in a drill are no news for anybody.
async fn silence(ledger: &Ledger) -> Result<usize, Failure> {
    let mut silenced = 0;
    for webhook in ledger.webhooks().await?.into_iter().filter(|webhook| webhook.enabled) {
        let target = webhook.id.clone();
        let audit = Audit { actor: "system".into(), action: "webhook.disable".into(), target, detail: None, request_id: None };
        ledger.disable_webhook(&webhook.id, None, RESTORED, super::key::now(), &audit).await?;
        silenced += 1;
    }
    Ok(silenced)
}
