//! Runs a test of this binary as another process: one to kill, or one whose failpoints are its own. Run by itself, as every
//! test is, such a child has no folder and does nothing.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const DIR: &str = "BUNHO_JOURNAL_TEST_DIR";

/// Starts the test `name` of this binary on `dir`.
pub(crate) fn start(name: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The folder a child was started on; none where it is run as a test of its own.
pub(crate) fn dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}
