//! The simulation, bounded.
