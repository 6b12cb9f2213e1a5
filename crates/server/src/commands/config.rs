//! `bunho config --print`: the settings in force, as a file that could be given back, but for passwords.

use crate::cli::Place;
use crate::exit::Failure;
use std::process::ExitCode;

/// Prints them. A setting that would be refused is printed all the same, and then refused.
///
/// # Errors
/// A setting is refused.
pub fn run(place: &Place) -> Result<ExitCode, Failure> {
    let settings = super::settings(place, None)?;
    print!("{}", toml::to_string_pretty(&settings.without_secrets()).map_err(Failure::internal)?);
    settings.check()?;
    Ok(ExitCode::SUCCESS)
}
