//! Databases that die, pause or cannot be reached.
