//! `simulate`: many seeds, many steps, and a table of what was done to the machine.

use bunho_domain::planted::{self, Bug};
use bunho_simulation::tally::Tally;
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

/// Plays worlds of the real engine, journal and projector, and breaks what it can
#[derive(Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// First seed; each world takes the next one
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Steps in all
    #[arg(long, default_value_t = 1_000_000)]
    steps: u64,
    /// Steps of one world
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    per_world: u64,
    /// Switch a planted bug on
    #[arg(long, value_name = "NAME", value_parser = bug)]
    planted: Option<Bug>,
    /// Play one world and tell the last things that happened before a finding
    #[arg(long)]
    story: bool,
}

fn bug(name: &str) -> Result<Bug, String> {
    let names = || Bug::ALL.map(Bug::name).join(", ");
    Bug::ALL.into_iter().find(|bug| bug.name() == name).ok_or_else(|| format!("it is one of {}", names()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    planted::plant(arguments.planted);
    match simulate(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(finding) => {
            println!("\nFOUND: {finding}");
            ExitCode::FAILURE
        }
    }
}

fn simulate(arguments: &Arguments) -> Result<(), String> {
    if arguments.story {
        return bunho_simulation::retell(arguments.seed, arguments.per_world).map(|tally| println!("{tally}"));
    }
    let started = Instant::now();
    let mut all = Tally::default();
    let mut seed = arguments.seed;
    while all.total() < arguments.steps {
        let tally = bunho_simulation::run(seed, arguments.per_world.min(arguments.steps - all.total()).max(1))?;
        all.add(&tally);
        let seconds = started.elapsed().as_secs_f64();
        print!(
            "\r{} steps of {}, seed {seed}, {:.0} steps/s, {} faults, {} claims   ",
            all.total(),
            arguments.steps,
            all.total() as f64 / seconds,
            all.faults_total(),
            all.results.get("claims").copied().unwrap_or(0)
        );
        std::io::stdout().flush().map_err(|error| error.to_string())?;
        seed += 1;
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("\n\n{all}");
    println!("seeds      {} to {}, {} steps each", arguments.seed, seed - 1, arguments.per_world);
    println!("time       {seconds:.0} s, {:.0} steps a second", all.total() as f64 / seconds);
    println!("trace      {:016x}", all.trace);
    println!("found      nothing");
    Ok(())
}
