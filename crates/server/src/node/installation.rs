//! Whose database this is: an embedded folder has one of its own, the nodes of a cluster have one in common, and nobody sells what is
//! another's.
//!
//! The folder and the database each keep the id. A database on a server that was configured for a cluster, or for another folder, is found out
//! by that before anything is read from it; else its offers would be loaded and their units given a second time.

use super::embedded::Accepted;
use super::identity::random_name;
use crate::config::Config;
use crate::exit::Failure;
use crate::secrets;
use bunho_ledger::Ledger;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What ids of either shape begin with: the one cannot go on where the other was.
const EMBEDDED: &str = "embedded-";
const CLUSTER: &str = "cluster-";

/// A name for a cluster.
///
/// # Errors
/// The system gives no randomness.
pub(crate) fn cluster_id() -> Result<String, Failure> {
    Ok(format!("{CLUSTER}{}", random_name()?))
}

/// Refuses the database of an embedded installation where a cluster is configured.
///
/// # Errors
/// It is one.
pub(crate) fn check_is_cluster(id: &str, ledger: &Ledger) -> Result<(), Failure> {
    if id.starts_with(CLUSTER) {
        return Ok(());
    }
    Err(Failure::configuration(format_args!(
        "{} is the ledger of an embedded installation, and engine.shape is cluster\n  mend: name a database of the cluster's own in ledger.url; what the other has is moved by `bunho export` and `bunho import`",
        ledger.place()
    )))
}

/// Makes sure that this folder's ledger is nobody else's.
///
/// # Errors
/// It is, or one of the two cannot be used.
pub(crate) async fn own(config: &Config, ledger: &Ledger, accepted: Accepted) -> Result<(), Failure> {
    let (path, theirs) = (path(&config.data), ledger.installation().await?);
    let own = match read(&path) {
        Err(_) if accepted.other_folder => None,
        own => own?,
    };
    let id = match (own, theirs) {
        (_, Some(theirs)) if theirs.starts_with(CLUSTER) => {
            return Err(Failure::configuration(format_args!(
                "{} is the ledger of a cluster, and engine.shape is embedded\n  mend: set engine.shape = \"cluster\", or name another database in ledger.url",
                ledger.place()
            )));
        }
        (own, Some(theirs)) if own.as_ref() == Some(&theirs) => return Ok(()),
        // A file in the folder is the folder's, also where a backup was brought back without the id.
        (None, Some(theirs)) if is_inside(config) => theirs,
        // Under a new name, so that the folder that had it is refused should it come back.
        (_, Some(_)) if accepted.other_folder => {
            let id = draw()?;
            secrets::write_secret(&path, id.as_bytes())?;
            return Ok(ledger.take_over(&id).await?);
        }
        (own, Some(_)) => return Err(other(config, ledger, own.is_some())),
        (Some(own), None) => own,
        (None, None) => draw()?,
    };
    // The folder first: a ledger whose folder knows nothing of it would be refused.
    secrets::write_secret(&path, id.as_bytes())?;
    if ledger.join(&id).await? == id { Ok(()) } else { Err(other(config, ledger, true)) }
}

fn draw() -> Result<String, Failure> {
    Ok(format!("{EMBEDDED}{}", random_name()?))
}

fn other(config: &Config, ledger: &Ledger, has_another: bool) -> Failure {
    let folder = config.data.display();
    let has = if has_another { "has another one" } else { "has none yet" };
    Failure::data(format_args!(
        "{} is the ledger of another installation: the data folder {folder} {has}\n  mend: name the folder that belongs to it with --data, or an empty database in ledger.url; if that folder is gone for good and nothing serves from it, go on from the ledger alone with `bunho rebuild --accept-loss`",
        ledger.place()
    ))
}

fn is_inside(config: &Config) -> bool {
    config.ledger.file().is_some_and(|file| file.starts_with(&config.data))
}

fn path(data: &Path) -> PathBuf {
    data.join("installation.id")
}

fn read(path: &Path) -> Result<Option<String>, Failure> {
    let unusable = |why: &dyn std::fmt::Display| {
        Failure::data(format_args!("{} cannot be used: {why}\n  mend: restore it from a backup of the folder", path.display()))
    };
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().starts_with(EMBEDDED) => Ok(Some(text.trim().to_owned())),
        Ok(_) => Err(unusable(&"it is damaged")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(&error)),
    }
}
