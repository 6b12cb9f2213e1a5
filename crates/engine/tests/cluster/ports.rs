//! Ports for servers that tests start: no two tests have the same one, whichever binaries run at the same time.
//!
//! A port that was free a moment ago may be another's by the time a server listens on it. So each has a file that is locked for as long as this
//! process lives; and they are below those that systems give to outgoing connections.

use std::fs::File;
use std::net::TcpListener;
use std::sync::Mutex;

const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A port that is this process's until it ends.
pub fn free() -> u16 {
    static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let folder = std::env::temp_dir().join("bunho-test-ports");
    std::fs::create_dir_all(&folder).expect("a folder for the locks of ports");
    // Processes begin at different places, so that they seldom meet.
    let begin = (std::process::id().wrapping_mul(97) % u32::from(COUNT)) as u16;
    for step in 0..COUNT {
        let port = FIRST + (begin + step) % COUNT;
        // Another user's file cannot be opened, and is as good as locked.
        let Ok(lock) = File::create(folder.join(port.to_string())) else { continue };
        // Whoever listens there may be no test at all.
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            TAKEN.lock().expect("no test fails while it takes a port").push(lock);
            return port;
        }
    }
    panic!("all of {COUNT} ports are taken");
}
