//! The `bunho-lab` command.

use bunho_lab::cli::{Cli, Command};
use bunho_lab::strategy::Strategy;
use bunho_lab::{report, run, worker};
use bunho_load::exit::{INTERNAL, KEPT, USAGE};
use clap::Parser;
use clap::error::ErrorKind;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if asked { KEPT } else { USAGE });
        }
    };
    ExitCode::from(match cli.command {
        Command::List => list(),
        Command::Worker => worker::work().map_or_else(|why| fail(INTERNAL, &why), |()| KEPT),
        Command::Run(args) => {
            let (Ok(runtime), Ok(program)) = (tokio::runtime::Runtime::new(), std::env::current_exe()) else {
                return ExitCode::from(fail(INTERNAL, "no threads, or no path to this program"));
            };
            runtime.block_on(run::run(&args, &program)).unwrap_or_else(|failure| fail(failure.code, &failure.message))
        }
    })
}

fn list() -> u8 {
    for strategy in Strategy::ALL {
        let facts = strategy.facts();
        // Whoever reads may have seen enough.
        let _ = writeln!(std::io::stdout(), "{:<20} {}\n{:<20} {}", facts.name, facts.line, "", report::may(strategy));
    }
    KEPT
}

fn fail(code: u8, why: &str) -> u8 {
    eprintln!("bunho-lab: {why}");
    code
}
