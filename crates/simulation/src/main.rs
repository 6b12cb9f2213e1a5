//! `simulate`: many seeds, many steps, and a table of what was done to the machine.

use bunho_domain::planted::{self, Bug};
use bunho_simulation::tally::Tally;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "\
simulate [--seed S] [--steps N] [--per-world N] [--planted NAME] [--story]
  --seed S        first seed (default 1); each world takes the next one
  --steps N       steps in all (default 1000000)
  --per-world N   steps of one world (default 20000)
  --planted NAME  switches a planted bug on
  --story         runs one world and tells the last things that happened before a finding";

struct Arguments {
    seed: u64,
    steps: u64,
    per_world: u64,
    planted: Option<Bug>,
    story: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments { seed: 1, steps: 1_000_000, per_world: 20_000, planted: None, story: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--story" {
            arguments.story = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
        let number = || value.parse().map_err(|_| format!("{word} wants a number, not {value}"));
        match word.as_str() {
            "--seed" => arguments.seed = number()?,
            "--steps" => arguments.steps = number()?,
            "--per-world" => arguments.per_world = number()?.max(1),
            "--planted" => {
                let bug = Bug::ALL.into_iter().find(|bug| bug.name() == value);
                let names = Bug::ALL.map(Bug::name).join(", ");
                arguments.planted = Some(bug.ok_or_else(|| format!("{value} is not one of {names}"))?);
            }
            _ => return Err(format!("{word} is unknown")),
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(mistake) => {
            eprintln!("{mistake}\n{USAGE}");
            return ExitCode::from(64);
        }
    };
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
