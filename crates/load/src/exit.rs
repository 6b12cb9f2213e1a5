//! Why nothing was measured: a sentence for people, and a code for scripts.

use std::fmt;

/// Everything was as promised.
pub const KEPT: u8 = 0;
/// A promise was broken.
pub const BROKEN: u8 = 1;
/// What was asked for cannot be done: it says how to mend it.
pub const USAGE: u8 = 64;
/// The target is not there, or is no Bunho.
pub const UNREACHABLE: u8 = 69;
/// This program itself failed: a file that cannot be written.
pub const INTERNAL: u8 = 70;

/// A failure with its exit code.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Failure {
    /// What was asked for cannot be done.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { code: USAGE, message: message.to_string() }
    }

    /// The target is not there, or is no Bunho.
    pub fn unreachable(message: impl fmt::Display) -> Self {
        Self { code: UNREACHABLE, message: message.to_string() }
    }

    /// This program itself failed.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self { code: INTERNAL, message: message.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
