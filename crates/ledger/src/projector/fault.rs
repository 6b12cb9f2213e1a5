//! Named points at which a simulation makes the projector fail. In every other build [`at`] is the constant "go on".

use crate::error::LedgerError;

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before the transaction begins.
    Begin,
    /// With everything written and nothing committed.
    Apply,
    /// The commit fails, though the database did it: only the database knows.
    Commit,
    /// Committed, and nobody was told. Nothing can fail here; a process can die.
    Publish,
}

#[cfg(feature = "simulation")]
std::thread_local! {
    static ARMED: std::cell::Cell<Option<Point>> = const { std::cell::Cell::new(None) };
}

/// Makes the next pass through this point fail, on this thread.
#[cfg(feature = "simulation")]
pub(super) fn arm(point: Option<Point>) {
    ARMED.set(point);
}

/// Goes on, unless this point was to fail.
#[cfg(feature = "simulation")]
pub(super) fn at(point: Point) -> Result<(), LedgerError> {
    if ARMED.get() == Some(point) {
        ARMED.set(None);
        let source = sqlx::Error::Io(std::io::Error::other("simulated"));
        return Err(LedgerError::Sql { action: "go on", source });
    }
    Ok(())
}

/// Goes on: nothing fails here in this build.
#[cfg(not(feature = "simulation"))]
pub(super) const fn at(_: Point) -> Result<(), LedgerError> {
    Ok(())
}
