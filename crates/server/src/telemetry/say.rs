//! The lines that scripts wait for, on standard output; and last words, on standard error. Whoever waits for a line reads it; whoever does
//! not, or has gone, keeps nobody: a pipe that is full or closed is given a second, once, and then no more.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(1);

type Said = (String, mpsc::Sender<()>);

/// Says a line on standard output.
pub(crate) fn say(line: impl Into<String>) {
    static OUT: LazyLock<Sender<Said>> = LazyLock::new(|| speaker(io::stdout));
    static HANGS: AtomicBool = AtomicBool::new(false);
    tell(&OUT, &HANGS, line.into());
}

/// Says a line on standard error, beside the log.
pub(crate) fn say_why(line: impl Into<String>) {
    static OUT: LazyLock<Sender<Said>> = LazyLock::new(|| speaker(io::stderr));
    static HANGS: AtomicBool = AtomicBool::new(false);
    tell(&OUT, &HANGS, line.into());
}

fn speaker<W: Write>(out: impl Fn() -> W + Send + 'static) -> Sender<Said> {
    let (sender, lines) = channel::<Said>();
    std::thread::spawn(move || {
        for (line, done) in lines {
            let mut out = out();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
            let _ = done.send(());
        }
    });
    sender
}

fn tell(out: &Sender<Said>, hangs: &AtomicBool, line: String) {
    let (done, is_done) = channel();
    if out.send((line, done)).is_ok() && !hangs.load(Ordering::Relaxed) && is_done.recv_timeout(PATIENCE).is_err() {
        hangs.store(true, Ordering::Relaxed);
    }
}
