//! Runs an ignored test of this binary as another process: one to kill, or one whose failpoints are its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const DIR: &str = "BUNHO_JOURNAL_TEST_DIR";

/// Starts the test `name` of this binary on `dir`.
pub(crate) fn start(name: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The folder a child was started on; none where somebody runs the ignored tests by hand.
pub(crate) fn dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}
