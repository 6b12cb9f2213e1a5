//! The `bunho-load` command.

use bunho_load::run::{Outside, run};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What shells answer for a program that was ended by SIGINT.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The first one ends the run and reports; a second one, which finds the flag set, ends the program.
        let handled =
            flag::register_conditional_shutdown(signal, INTERRUPTED, stop.clone()).and_then(|_| flag::register(signal, stop.clone()));
        if let Err(error) = handled {
            eprintln!("bunho-load: Ctrl-C will lose what was measured: {error}");
        }
    }
    let terminal = std::io::stderr().is_terminal();
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let mut outside = Outside { out: &mut out, err: &mut err, terminal, stop: &stop };
    ExitCode::from(run(std::env::args_os(), &mut outside))
}
