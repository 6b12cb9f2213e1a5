//! A bound of what is under way at once: one crowd cannot take all of a node.

use crate::error::EngineError;
use std::sync::atomic::{AtomicU32, Ordering};

/// One request under way in a bulkhead.
pub(crate) struct InFlight<'a>(&'a AtomicU32);

impl<'a> InFlight<'a> {
    pub(crate) fn enter(count: &'a AtomicU32, most: u32) -> Result<Self, EngineError> {
        if count.fetch_add(1, Ordering::Relaxed) < most {
            Ok(Self(count))
        } else {
            count.fetch_sub(1, Ordering::Relaxed);
            Err(EngineError::Overloaded)
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
