//! `bunho doctor`: is everything here that the promises rest on? One line each.

use crate::cli;
use crate::config::{ClusterConfig, Shape};
use crate::exit::{Failure, chain};
use crate::node::{journal_path, prepare};
use crate::{machine, preflight};
use bunho_journal::{Journal, JournalError};
use bunho_ledger::{Ledger, Place};
use std::path::Path;
use std::process::ExitCode;

/// Checks and prints. A complaint makes the exit code 65.
///
/// # Errors
/// The configuration is refused.
pub fn run(place: &cli::Place) -> Result<ExitCode, Failure> {
    super::log_warnings();
    let settings = super::settings(place, None)?;
    let mut report = Report { complaints: 0 };
    let config = settings.check()?;
    report.good("configuration", format_args!("{} shape, ack = {}, data in {}", config.shape, config.ack, config.data.display()));
    prepare(&config.data)?;
    report.say("data folder", sync_times(&config.data).map_err(|error| error.to_string()));
    report.say("open files", open_files(config.limits.connections_max as u64));
    match &config.shape {
        Shape::Embedded => {
            report.say("journal", journal(&config.data));
            let ledger = super::block_on(async { Ok(ledger(&config.ledger).await) })?;
            report.say("ledger", ledger);
        }
        Shape::Cluster(cluster) => super::block_on(async {
            report.cluster(cluster, &config.ledger).await;
            Ok(())
        })?,
    }
    Ok(if report.complaints == 0 { ExitCode::SUCCESS } else { ExitCode::from(65) })
}

struct Report {
    complaints: u32,
}

impl Report {
    fn good(&self, what: &str, found: impl std::fmt::Display) {
        println!("ok    {what}: {found}");
    }

    async fn cluster(&mut self, cluster: &ClusterConfig, ledger: &Place) {
        let ledger = match Ledger::open(ledger).await {
            Ok(ledger) => ledger,
            Err(error) => return self.say("SQL", Err(Failure::from(error).to_string())),
        };
        let look = preflight::look(cluster, &ledger).await;
        for (component, seen) in look.components {
            self.say(component, seen.map_err(|failure| failure.to_string()));
        }
        for finding in look.findings {
            if cluster.waive.contains(&finding.name) {
                self.good(&finding.name, format_args!("WAIVED: {finding}"));
            } else {
                self.say(&finding.name, Err(finding.to_string()));
            }
        }
        ledger.close().await;
    }

    fn say(&mut self, what: &str, found: Result<String, String>) {
        match found {
            Ok(found) => self.good(what, found),
            Err(problem) => {
                self.complaints += 1;
                println!("FAIL  {what}: {problem}");
            }
        }
    }
}

fn sync_times(data: &Path) -> std::io::Result<String> {
    let times = machine::sync_times(data)?;
    let (mean, slowest, tries) = (times.mean, times.slowest, times.tries);
    Ok(format!("{} is writable; fdatasync takes {mean:.1?} in the mean, {slowest:.1?} at most ({tries} tries)", data.display()))
}

fn open_files(connections: u64) -> Result<String, String> {
    let (_, most) = rlimit::Resource::NOFILE.get().map_err(|error| error.to_string())?;
    // Journal and ledger keep some files open; 256 are more than both have been seen to use.
    if most < connections + 256 {
        Err(format!(
            "{most} may be open, server.connections_max is {connections}; mend: raise `ulimit -Hn`, or lower server.connections_max"
        ))
    } else {
        Ok(format!("{most} may be open"))
    }
}

fn journal(data: &Path) -> Result<String, String> {
    match Journal::open(&journal_path(data)) {
        Ok(journal) => {
            let found = format!("records {} to {} are readable", journal.oldest().unwrap_or(journal.last()), journal.last());
            journal.close();
            Ok(found)
        }
        Err(JournalError::Locked { .. }) => Ok("in use by a running server (not looked into)".into()),
        Err(error) => Err(chain(&error)),
    }
}

async fn ledger(place: &Place) -> Result<String, String> {
    let ledger = Ledger::open(place).await.map_err(|error| chain(&error))?;
    let check = ledger.check().await.map_err(|error| chain(&error))?;
    let complaints = check.complaints();
    ledger.close().await;
    if complaints.is_empty() {
        let settings = check.settings.iter().map(|(setting, is)| format!(", {setting} {is}")).collect::<String>();
        Ok(format!("{}, schema {}{settings}, quick_check ok", check.database, check.schema_version))
    } else {
        Err(complaints.join("; "))
    }
}
