//! Named points at which a test can end the process, as `kill -9` would: no destructor runs, nothing is flushed.
//!
//! One stands between any two lines where state moves from one place to the next: from memory to the journal, to the disk,
//! to SQL, to a file, to an answer. `FAILPOINTS=engine::offer_recorded=36*off->return` ends the process at the 37th passing.
//! The kill tests of the server strike at every one of them; a test compares their table with the sources. Without the feature
//! `failpoints`, as in every release, not even the names are compiled in.

/// Ends the process here, if a test says so.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {
        $crate::crash::pass($name)
    };
}

/// Ends the process here, if a test says so: which it cannot in this build.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {};
}

/// Passes a point, or does not.
#[cfg(feature = "failpoints")]
pub fn pass(name: &'static str) {
    fail::fail_point!(name, |_| die());
}

#[cfg(feature = "failpoints")]
fn die() {
    // Not `abort`: that is how the engine ends itself after a panic, which a test must be able to tell from this.
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).ok();
    loop {
        std::thread::park();
    }
}
