//! One run, from the command line to the exit code: check, set up, drive, look again, judge, report.

use crate::cli::{Cli, Command};
use crate::driver::{Drive, Driven, drive};
use crate::exit::{BROKEN, Failure, KEPT, USAGE};
use crate::judge::{Verdict, judge};
use crate::progress::Progress;
use crate::random::Random;
use crate::record::{End, Offer, Record};
use crate::scenario::{self, LinePlay, Play, Scenario, ShopPlay, seed};
use crate::scrape::Scrape;
use crate::setup::{Prepared, Setup};
use crate::target::{Target, allow_connections};
use crate::workload::Crowd;
use crate::workload::line::{Line, Manners};
use crate::workload::mixed::Mixed;
use crate::workload::shop::{Shop, Trade};
use crate::{json, report, summary};
use clap::Parser;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Where words go, and what ends a run early.
pub struct Outside<'a> {
    /// The summary, and JSON if asked for.
    pub out: &'a mut dyn Write,
    /// Progress and what is wrong.
    pub err: &'a mut dyn Write,
    /// `err` is a terminal.
    pub terminal: bool,
    /// Set from outside: the run ends, and reports.
    pub stop: &'a AtomicBool,
}

/// Does what the command line says; the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>, outside: &mut Outside<'_>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers; everything else is a mistake.
            let out = if error.use_stderr() { &mut *outside.err } else { &mut *outside.out };
            let _ = write!(out, "{error}");
            return if error.use_stderr() { USAGE } else { KEPT };
        }
    };
    match execute(&cli.command, outside) {
        Ok(code) => code,
        Err(failure) => {
            let _ = writeln!(outside.err, "bunho-load: {failure}");
            failure.code
        }
    }
}

fn execute(command: &Command, outside: &mut Outside<'_>) -> Result<u8, Failure> {
    if let Command::Bench(arguments) = command {
        return crate::bench::run(arguments, outside);
    }
    if let Command::Soak(arguments) = command {
        return crate::soak::run(arguments, outside);
    }
    let scenario = scenario::of(command)?;
    let target = Target::parse(&scenario.place.target, scenario.place.i_own_this_target)?;
    allow_connections(scenario.connections as usize)?;
    target.check()?;
    let record = play(&scenario, &target, outside)?;
    let verdicts = judge(&record);
    conclude(&scenario, &record, &verdicts, outside)
}

/// Plays a scenario; what it saw.
///
/// # Errors
/// What it needs is not on the server, or no connection could be opened.
pub fn play(scenario: &Scenario, target: &Target, outside: &mut Outside<'_>) -> Result<Record, Failure> {
    let mut setup = Setup::new(target, scenario);
    let began_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let crowd = crowd(scenario, target, &mut setup, began_unix_ms)?;
    let plan = Drive {
        address: target.address,
        connections: scenario.connections as usize,
        pipeline: scenario.pipeline as usize,
        model: scenario.model.clone(),
        think_us: scenario.think_us,
        finish_us: scenario.finish_us,
    };
    let _ = writeln!(outside.err, "{} against http://{}, seed of random choices {}", scenario.title, target.host, scenario.random_seed);
    let clock = Instant::now();
    let scrape = Scrape::begin(target, clock);
    let mut progress = Progress::new(outside.err, outside.terminal);
    let driven = drive(&plan, crowd, clock, outside.stop, &mut |second, meter| progress.second(second, meter));
    progress.end();
    let server = scrape.end();
    let driven = driven.map_err(|error| {
        let open = scenario.connections;
        Failure::unreachable(format_args!("http://{} does not take {open} connections: {error}; try fewer with --connections", target.host))
    })?;
    let mut record = record(scenario, began_unix_ms, driven);
    record.server = server;
    for offer in &mut record.offers {
        setup.look_again(offer, &tag(scenario));
    }
    if let Some(seed) = scenario.seed {
        record.published = seed::published(seed, &record);
    }
    Ok(record)
}

/// In front of users' names.
fn tag(scenario: &Scenario) -> String {
    format!("load-{}-", scenario.run)
}

fn crowd(scenario: &Scenario, target: &Target, setup: &mut Setup, began_unix_ms: i64) -> Result<Crowd, Failure> {
    let random = |number: u64| Random::new(scenario.random_seed.wrapping_add(number));
    Ok(match &scenario.play {
        Play::Null => Crowd::null(&target.host),
        Play::Line(play) => {
            let prepared = setup.zone(&play.zone)?;
            Crowd::Line(line(scenario, target, play, prepared, random(0), began_unix_ms))
        }
        Play::Shop(play) => {
            let offers = setup.offers(&play.offers)?;
            Crowd::Shop(shop(scenario, target, play, offers, setup, random(0)))
        }
        Play::Mixed(waiting, buying) => {
            // The offer names its zone, which must therefore be there.
            let prepared = setup.zone(&waiting.zone)?;
            let offers = setup.offers(&buying.offers)?;
            let id = offers.first().map_or_else(String::new, |offer| offer.id.clone());
            let line = line(scenario, target, waiting, prepared, random(0), began_unix_ms);
            let shop = shop(scenario, target, buying, offers, setup, random(1));
            Crowd::Mixed(Box::new(Mixed::new(&target.host, &id, line, shop)))
        }
    })
}

fn line(scenario: &Scenario, target: &Target, play: &LinePlay, prepared: Prepared, random: Random, began_unix_ms: i64) -> Line {
    let manners =
        Manners { leave_silently: play.leave, leave_openly: play.leave_openly, pause_us: play.pause_us, expected: scenario.model.people() };
    Line::new(&target.host, prepared.zone, manners, random, began_unix_ms + prepared.pass_ttl_ms)
}

fn shop(scenario: &Scenario, target: &Target, play: &ShopPlay, offers: Vec<Offer>, setup: &Setup, random: Random) -> Shop {
    let trade = Trade {
        tag: tag(scenario),
        quantity: play.quantity,
        clicks: play.clicks,
        leave: play.leave,
        fail: play.fail,
        pays: play.pays,
        pay_us: play.pay_us,
        key: setup.key().map(str::to_string),
        attributes: play.attributes.clone(),
        remembers: true,
    };
    // All that stands behind the first is granted.
    Shop::new(&target.host, offers, 1, trade, random)
}

fn record(scenario: &Scenario, began_unix_ms: i64, driven: Driven) -> Record {
    let (calls, seconds, faults) = driven.meter.finish();
    let (zones, trails, offers) = match driven.crowd {
        Crowd::Line(line) => {
            let (zone, trails) = line.finish();
            (vec![zone], trails, Vec::new())
        }
        Crowd::Shop(shop) => (Vec::new(), Vec::new(), shop.finish()),
        Crowd::Mixed(mixed) => {
            let (zone, trails, offers) = mixed.finish();
            (vec![zone], trails, offers)
        }
        Crowd::Polls(_) | Crowd::Null { .. } => (Vec::new(), Vec::new(), Vec::new()),
    };
    let end = driven.end;
    let elapsed_ms = driven.elapsed_ms;
    Record {
        title: scenario.title.clone(),
        settings: settings(scenario),
        began_unix_ms,
        elapsed_ms,
        end,
        published: Vec::new(),
        calls,
        seconds,
        zones,
        offers,
        trails,
        server: Vec::new(),
        faults,
    }
}

fn settings(scenario: &Scenario) -> Vec<(String, String)> {
    let mut settings = vec![("target".to_string(), scenario.place.target.clone()), ("model".into(), scenario.model.words())];
    settings.push(("connections".into(), scenario.connections.to_string()));
    if scenario.pipeline > 1 {
        settings.push(("calls under way on each".into(), scenario.pipeline.to_string()));
    }
    if let Play::Line(play) | Play::Mixed(play, _) = &scenario.play {
        for (name, probability) in [("leave without a word", play.leave), ("leave with a call", play.leave_openly)] {
            if probability > 0.0 {
                settings.push((name.into(), format!("{probability} of people")));
            }
        }
    }
    settings.extend(scenario.settings.iter().cloned());
    settings.push(("seed of random choices".into(), scenario.random_seed.to_string()));
    settings
}

/// Prints, writes, and says how it went.
fn conclude(scenario: &Scenario, record: &Record, verdicts: &[Verdict], outside: &mut Outside<'_>) -> Result<u8, Failure> {
    let how = &scenario.how;
    let mut written = Ok(());
    let to_out = how.json.as_deref() == Some(Path::new("-"));
    if to_out {
        // Whoever reads JSON from standard output wants nothing else there.
        let _ = writeln!(outside.out, "{}", json::render(record, verdicts));
        let _ = summary::print(record, verdicts, &mut outside.err);
    } else {
        let _ = summary::print(record, verdicts, &mut outside.out);
    }
    let files = [
        how.json.as_deref().filter(|_| !to_out).map(|path| (path, json::render(record, verdicts))),
        how.report.as_deref().map(|path| (path, report::render(record, verdicts))),
    ];
    for (path, text) in files.into_iter().flatten() {
        match std::fs::write(path, text) {
            Ok(()) => drop(writeln!(outside.err, "written: {}", path.display())),
            Err(error) => {
                let failure =
                    Failure::internal(format_args!("{} cannot be written: {error}; everything else was reported", path.display()));
                written = written.and(Err(failure));
            }
        }
    }
    written?;
    if let End::GaveUp(why) = &record.end {
        return Err(Failure::unreachable(format_args!("the target went away: {why}; what was measured until then stands above")));
    }
    Ok(if verdicts.iter().any(Verdict::failed) { BROKEN } else { KEPT })
}
