//! `bunho manual`: what a package ships beside the program, written by the program itself, so that it cannot tell of another one.

use crate::cli::Cli;
use crate::exit::Failure;
use clap::CommandFactory;
use clap_complete::{Shell, generate_to};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Shells whose completions are written.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Writes `bunho.1` and one page for each command, and `bunho.bash`, `_bunho`, `bunho.fish`.
///
/// # Errors
/// The folder cannot be written.
pub fn run(folder: &Path) -> Result<ExitCode, Failure> {
    let unwritable = |error| Failure::data(format_args!("{} cannot be written: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(unwritable)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(unwritable)?;
    for shell in SHELLS {
        generate_to(shell, &mut Cli::command(), "bunho", folder).map_err(unwritable)?;
    }
    Ok(ExitCode::SUCCESS)
}
