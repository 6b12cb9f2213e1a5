//! `bunho-lab run`: what is asked for, one after another, each on its own, and the report at the end, however it ends.

use crate::cell::{self, Plan};
use crate::cli::{DatabaseName, RunArgs};
use crate::report::{COLUMNS, Report, render, row, verdict};
use crate::services::Services;
use crate::strategy::{Strategy, Victim};
use bunho_load::exit::{BROKEN, Failure, KEPT};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// What shells answer for a program that was ended by SIGINT.
const INTERRUPTED: u8 = 130;

/// Where something dies, a strategy that writes in two places works so long in between. Runs without a death, whose speed is looked at, do not.
const BETWEEN_MS: u64 = 2;

/// Runs everything that is asked for; the exit code.
///
/// # Errors
/// What is asked for cannot be done, or nothing of it could.
pub async fn run(args: &RunArgs, program: &Path) -> Result<u8, Failure> {
    let plans = plans(args)?;
    let stop = Arc::new(AtomicBool::new(false));
    tokio::spawn(listen(stop.clone()));
    let mut services = tokio::task::block_in_place(|| Services::new(args))?;
    let mut report = Report {
        command: std::env::args().collect::<Vec<_>>().join(" "),
        began_unix_ms: jiff::Timestamp::now().as_millisecond(),
        cells: Vec::new(),
        failures: Vec::new(),
        cut: false,
        versions: versions(args),
        quantity: args.quantity,
        crowd: (args.users, args.attempts),
        tasks: args.tasks,
    };
    report.command = named(&report.command);
    let run = format!("{:08x}", report.began_unix_ms.unsigned_abs() as u32 ^ std::process::id().rotate_left(16));
    for (number, plan) in plans.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("{} on {:?}", plan.strategy.facts().name, plan.database).to_lowercase();
        let killed = plan.kill.map(|victim| format!(", {victim} killed")).unwrap_or_default();
        let think_ms = if plan.kill.is_some() { BETWEEN_MS } else { 0 };
        eprintln!("[{}/{}] {name}{killed}", number + 1, plans.len());
        match cell::run(*plan, args, &mut services, &format!("{run}_{number}"), program, &stop, think_ms).await {
            Ok(cell) => {
                let figures = COLUMNS.iter().zip(row(&cell)).skip(2).map(|(column, value)| format!("{column} {value}"));
                eprintln!("        {}\n        {}", figures.collect::<Vec<_>>().join(", "), verdict(&cell));
                report.cells.push(cell);
            }
            // One that cannot be measured must not hide the others; what nothing can start is told at once.
            Err(failure) if report.cells.is_empty() && plans.len() == 1 => return Err(failure),
            Err(failure) => {
                eprintln!("        not measured: {failure}");
                report.failures.push(format!("{name}{killed}: {failure}"));
            }
        }
    }
    report.cut = stop.load(Ordering::Relaxed);
    eprintln!("stopping what the lab started");
    tokio::task::block_in_place(|| drop(services));
    write(args, &report)?;
    if report.cells.is_empty() && !report.cut {
        return Err(Failure::unreachable(report.failures.join("; ")));
    }
    Ok(if report.cut {
        INTERRUPTED
    } else if report.contradicts() || report.shows_nothing() || !report.failures.is_empty() {
        BROKEN
    } else {
        KEPT
    })
}

/// What is run, in order.
fn plans(args: &RunArgs) -> Result<Vec<Plan>, Failure> {
    let strategies = args.chosen().map_err(Failure::usage)?;
    let victims = args.kill.map_or(&[][..], |kill| kill.victims());
    for (victim, given) in [(Victim::Redis, &args.redis), (Victim::RedisData, &args.redis), (Victim::Broker, &args.kafka)] {
        if victims.contains(&victim) && given.is_some() {
            return Err(Failure::usage(format_args!(
                "--kill {victim} with an address of somebody else's: only what the lab starts itself is killed"
            )));
        }
    }
    let mut plans = Vec::new();
    for kill in std::iter::once(None).chain(victims.iter().copied().map(Some)) {
        for strategy in &strategies {
            let meant = kill.is_none_or(|victim| strategy.has(victim));
            plans.extend(args.databases.iter().filter(|_| meant).map(|database| Plan { strategy: *strategy, database: *database, kill }));
        }
    }
    Ok(plans)
}

/// The first Ctrl-C (or SIGTERM) ends the crowd, and what is known is reported; more of them change nothing, since services are still to be stopped.
async fn listen(stop: Arc<AtomicBool>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return eprintln!("bunho-lab: Ctrl-C will lose what was measured, and leave services running");
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if !stop.swap(true, Ordering::Relaxed) {
            eprintln!("bunho-lab: ending; what was measured is reported and what was started is stopped");
        }
    }
}

fn write(args: &RunArgs, report: &Report) -> Result<(), Failure> {
    let Some(folder) = &args.out else {
        println!("{}", report.markdown());
        return Ok(());
    };
    let failed = |error: std::io::Error| Failure::internal(format_args!("{}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(failed)?;
    std::fs::write(folder.join("lab.md"), report.markdown()).map_err(failed)?;
    std::fs::write(folder.join("lab.json"), format!("{:#}\n", report.json())).map_err(failed)?;
    std::fs::write(folder.join("lab.html"), render(report)).map_err(failed)?;
    println!("{} has lab.md, lab.json and lab.html", folder.display());
    Ok(())
}

/// The command as one would type it: programs by their names, and no password.
fn named(command: &str) -> String {
    let word = |word: &str| match word.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?.1))) {
        Some((scheme, host)) => format!("{scheme}://…@{host}"),
        None => word.rsplit_once('/').filter(|_| word.starts_with('/')).map_or(word, |(_, name)| name).to_owned(),
    };
    command.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// What the programs say of themselves.
fn versions(args: &RunArgs) -> Vec<(String, String)> {
    let chosen = args.chosen().unwrap_or_default();
    let said = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned())
    };
    let postgres = args.databases.contains(&DatabaseName::Postgres).then_some(("PostgreSQL", "psql"));
    let mariadb = args.databases.contains(&DatabaseName::Mariadb).then_some(("MariaDB", "mariadb"));
    let redis = chosen.iter().any(|strategy| strategy.uses_redis()).then_some(("Redis", "redis-server"));
    let programs = [postgres, mariadb, redis].into_iter().flatten();
    let mut versions: Vec<(String, String)> = programs.filter_map(|(name, program)| Some((name.to_owned(), said(program)?))).collect();
    if chosen.iter().any(|strategy| Strategy::uses_kafka(*strategy)) {
        let pom = std::fs::read_to_string(args.scripts.join("kafka/pom.xml")).unwrap_or_default();
        let version = pom.split("<kafka.version>").nth(1).and_then(|rest| rest.split('<').next());
        versions.extend(version.map(|version| ("Kafka".to_owned(), version.to_owned())));
    }
    versions
}
